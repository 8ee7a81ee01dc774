package statsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// listener is one bound address.
type listener interface {
	address() net.Addr
	serve() // begins to receive
	// close takes in what has arrived, as far as ctx lets it, and closes the
	// sockets. It is called once, whether serve was called or not.
	close(ctx context.Context)
	// drops counts what the kernel dropped since the last call.
	drops()
}

// Lane takes in what one UDP reader, and its share of the stream connections, receive.
// It is called by several goroutines at once; what it is given is valid only until it returns.
type Lane interface {
	// Take takes in packets: datagrams, or the complete lines of one read of a stream.
	Take(packets [][]byte)
	// Invalid is told the beginning of a line that is too long to be one.
	Invalid(line []byte)
}

// intake is what all listeners share: where packets go and how they are counted.
type intake struct {
	lanes    []Lane // a socket of every UDP address for each
	log      *slog.Logger
	problems *telemetry.Limited
	handlers []*packetHandler // fixed before the first packet
	last     atomic.Int64     // when the last packet came, in Unix nanoseconds; 0 before the first

	packets    *telemetry.Ledger // "<component>.packets"
	kernelDrop *telemetry.Discard
	unfinished *telemetry.Discard
	tooLong    *telemetry.Discard

	connections *telemetry.Ledger // "<component>.connections"
	tooMany     *telemetry.Discard
	spare       atomic.Int64 // bytes left for unfinished lines of all connections
	open        atomic.Int64

	receiveBuffer int // bytes to ask for, per UDP socket

	mu        sync.Mutex
	listeners []listener
}

func newIntake(lanes []Lane, component string, reg *telemetry.Registry, log *slog.Logger) *intake {
	in := &intake{
		lanes: lanes, log: log, problems: telemetry.NewLimited(log, logPeriod, logBurst),
		packets: reg.Ledger(component+".packets", "packets"), connections: reg.Ledger(component+".connections", "connections"),
		receiveBuffer: 32 << 20,
	}
	in.kernelDrop, in.unfinished, in.tooLong =
		in.packets.Reason("kernel_drop"), in.packets.Reason("unfinished_line"), in.packets.Reason("line_too_long")
	in.tooMany = in.connections.Reason("too_many")
	in.spare.Store(maxUnfinished)
	in.connections.Hold(in.open.Load)
	// Whoever reads the ledger gets the kernel's count as of now: no later packet is needed to bring it.
	in.packets.Hold(func() int64 {
		in.countDrops()
		return 0
	})
	return in
}

// take takes in packets that came to one lane.
func (in *intake) take(lane Lane, packets [][]byte, from []backend.Remote) {
	in.packets.Received(len(packets))
	for _, h := range in.handlers {
		h.take(packets, from)
	}
	lane.Take(packets)
	in.last.Store(time.Now().UnixNano())
	in.packets.Passed(len(packets))
}

// listen binds one address.
func (in *intake) listen(l Listen) (listener, error) {
	var bound listener
	var err error
	lanes := in.lanesOf(l)
	switch l.Network {
	case "udp", "udp4", "udp6":
		bound, err = in.listenUDP(l, lanes)
	case "tcp", "unix":
		bound, err = in.listenStream(l, lanes)
	case "unixgram":
		bound, err = in.listenUnixgram(l, lanes[0])
	default:
		err = errors.New(`the network must be "udp", "udp4", "udp6", "tcp", "unix" or "unixgram"`)
	}
	if err != nil {
		return nil, listenError(l, err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.listeners = append(in.listeners, bound)
	return bound, nil
}

// listenError says what could not be bound and what would help.
func listenError(l Listen, err error) error {
	reason, advice := err, ""
	var number syscall.Errno
	if errors.As(err, &number) {
		reason = number
		switch number {
		case syscall.EADDRINUSE:
			advice = "; stop the program that listens there or configure another address"
		case syscall.EACCES, syscall.EPERM:
			advice = "; ports below 1024 and paths of others need privileges, configure another address"
		case syscall.EADDRNOTAVAIL:
			advice = "; no interface of this machine has the address"
		}
	}
	return fmt.Errorf("cannot listen for StatsD on \"%s://%s\": %w%s", l.Network, l.Address, reason, advice)
}

// countDrops counts what the kernel dropped on all sockets since the last call.
func (in *intake) countDrops() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range in.listeners {
		l.drops()
	}
}

// dropped counts n packets the kernel dropped.
func (in *intake) dropped(n int) {
	if n == 0 {
		return
	}
	in.packets.Received(n)
	in.kernelDrop.Add(n)
	in.problems.Warn("the kernel dropped packets because the receive buffer was full; raise net.core.rmem_max or send less", "packets", n)
}

// handle has r's backend see every packet, if it wants to.
func (in *intake) handle(r *runner, reg *telemetry.Registry) {
	if h, ok := r.backend.(backend.PacketHandler); ok {
		l := reg.Ledger("statsd.backend."+r.name+".packets", "packets")
		in.handlers = append(in.handlers, &packetHandler{handler: h, ledger: l, panicked: l.Reason("panic"), problems: r.problems})
	}
}

// packetHandler shows packets to one backend.
type packetHandler struct {
	handler  backend.PacketHandler
	ledger   *telemetry.Ledger // "statsd.backend.<name>.packets"
	panicked *telemetry.Discard
	problems *telemetry.Limited
}

func (h *packetHandler) take(packets [][]byte, from []backend.Remote) {
	h.ledger.Received(len(packets))
	for i, packet := range packets {
		h.packet(packet, from[i])
	}
}

func (h *packetHandler) packet(packet []byte, from backend.Remote) {
	defer func() {
		if p := recover(); p != nil {
			h.panicked.Add(1)
			h.problems.Warn("the backend panicked over a packet", "panic", p)
		}
	}()
	h.handler.Packet(packet, from)
	h.ledger.Passed(1)
}
