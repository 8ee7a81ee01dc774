//go:build !linux

package statsd

import (
	"context"
	"net"
	"time"

	"github.com/weirhq/weir/backend"
)

// udp is one socket read packet by packet: what every system offers. The
// kernel's drops are not known here.
type udp struct {
	in   *intake
	conn *net.UDPConn
	done chan struct{}
}

func (in *intake) listenUDP(l Listen) (listener, error) {
	conn, err := net.ListenPacket(l.Network, l.Address)
	if err != nil {
		return nil, err
	}
	u := &udp{in: in, conn: conn.(*net.UDPConn)}
	for size := in.receiveBuffer; size >= 64<<10 && u.conn.SetReadBuffer(size) != nil; size /= 2 {
	}
	return u, nil
}

func (u *udp) address() net.Addr { return u.conn.LocalAddr() }

func (u *udp) drops() {}

func (u *udp) serve() {
	u.done = make(chan struct{})
	go func() {
		defer close(u.done)
		buffer := make([]byte, 65535)
		packets, from := make([][]byte, 1), make([]backend.Remote, 1)
		for {
			n, address, err := u.conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			packets[0], from[0] = buffer[:n], backend.Remote{Network: "udp", Address: address}
			u.in.take(u.in.aggregator.shards[0], packets, from)
		}
	}()
}

func (u *udp) close(ctx context.Context) {
	if u.done != nil {
		u.conn.SetReadDeadline(time.Now())
		select {
		case <-u.done:
		case <-ctx.Done():
		}
	}
	u.conn.Close()
}
