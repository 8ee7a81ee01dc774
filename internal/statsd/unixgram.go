package statsd

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/weirhq/weir/backend"
)

// maxUnixDatagram is more than a datagram of a Unix socket holds: its sender's send buffer bounds it, 208 KiB by default.
const maxUnixDatagram = 1 << 20

// unixDatagrams listens on a Unix socket of datagrams. The kernel drops nothing on it: a sender waits, or learns that it would have to.
type unixDatagrams struct {
	in      *intake
	lane    Lane
	conn    *net.UnixConn
	path    string
	until   context.Context // set before the deadline that ends reading
	reading sync.WaitGroup
}

func (in *intake) listenUnixgram(l Listen, lane Lane) (listener, error) {
	if err := removeDeadSocket(l.Address); err != nil {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: l.Address})
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(in.receiveBuffer) // what the kernel allows is enough: senders wait
	if l.Mode != 0 {
		if err := os.Chmod(l.Address, l.Mode); err != nil {
			conn.Close()
			os.Remove(l.Address)
			return nil, err
		}
	}
	return &unixDatagrams{in: in, lane: lane, conn: conn, path: l.Address}, nil
}

func (d *unixDatagrams) address() net.Addr { return d.conn.LocalAddr() }

func (d *unixDatagrams) drops() {}

func (d *unixDatagrams) serve() { d.reading.Go(d.read) }

func (d *unixDatagrams) read() {
	buffer := make([]byte, maxUnixDatagram)
	packet, from := make([][]byte, 1), []backend.Remote{{Network: "unix"}}
	for {
		n, err := d.conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			d.in.problems.Warn("cannot read from the StatsD socket", "error", err)
			time.Sleep(50 * time.Millisecond) // asking again at once would not help
			continue
		}
		d.take(buffer[:n], packet, from)
	}
	raw, err := d.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for d.until.Err() == nil {
			n, _, err := syscall.Recvfrom(int(fd), buffer, syscall.MSG_DONTWAIT)
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				return // nothing is left
			}
			d.take(buffer[:n], packet, from)
		}
	})
}

func (d *unixDatagrams) take(datagram []byte, packet [][]byte, from []backend.Remote) {
	if len(datagram) == maxUnixDatagram {
		d.in.packets.Received(1)
		d.in.tooLong.Add(1)
		d.in.problems.Warn("StatsD datagram dropped: it is too long", "most", maxUnixDatagram)
		return
	}
	packet[0] = datagram
	d.in.take(d.lane, packet, from)
}

// close takes in what has arrived, from senders that go on for drainTime at most.
func (d *unixDatagrams) close(ctx context.Context) {
	os.Remove(d.path) // whoever comes now shall see that nobody listens
	drained, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	d.until = drained
	d.conn.SetReadDeadline(time.Now())
	waited(ctx, &d.reading)
	d.conn.Close()
}
