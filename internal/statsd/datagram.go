package statsd

import (
	"context"
	"net"
	"net/netip"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/udp"
)

// datagrams listens on UDP, with a socket for every lane. As in the
// reference daemon, an IPv6 socket also takes IPv4 senders, even when the address is of IPv6 only.
type datagrams struct {
	in     *intake
	lanes  []Lane // one for each socket
	server *udp.Server
}

func (in *intake) listenUDP(l Listen, lanes []Lane) (listener, error) {
	sockets := len(lanes)
	server, err := udp.Listen(l.Network, l.Address, sockets, in.receiveBuffer)
	if err != nil {
		return nil, err
	}
	in.log.Info("StatsD receive buffer", "address", server.Address(), "bytes", server.ReceiveBuffer(), "wanted", in.receiveBuffer, "sockets", sockets)
	return &datagrams{in: in, lanes: lanes, server: server}, nil
}

func (d *datagrams) address() net.Addr { return d.server.Address() }

func (d *datagrams) drops() { d.server.CountDrops() }

func (d *datagrams) close(ctx context.Context) { d.server.Close(ctx) }

func (d *datagrams) serve() {
	d.server.Serve(udp.Handler{
		Senders: len(d.in.handlers) > 0,
		Dropped: d.in.dropped,
		Failed:  func(err error) { d.in.problems.Warn("cannot read from the StatsD socket", "error", err) },
		Receive: func(socket int, packets [][]byte, from []netip.AddrPort) {
			d.in.take(d.lanes[socket], packets, d.remotes(from))
		},
	})
}

// remotes says where packets came from in the words of backends. Without one that asks there is nothing to say.
func (d *datagrams) remotes(from []netip.AddrPort) []backend.Remote {
	if len(d.in.handlers) == 0 {
		return nil
	}
	remotes := make([]backend.Remote, len(from))
	for i, address := range from {
		remotes[i] = backend.Remote{Network: "udp", Address: address}
	}
	return remotes
}
