// Package repeater is StatsD's repeater backend: it sends every packet on to
// other servers as it came (StatsD specification section 6.4).
package repeater

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// Config is what can be chosen.
type Config struct {
	Targets  []string // "host:port"; every packet goes to each of them
	Protocol string   // "udp4", "udp6" or "tcp"; "" means udp4

	// Ledger accounts for the packets, each once per target; nil keeps an account nobody sees.
	Ledger *telemetry.Ledger
}

// Bounds of what waits for one target.
const (
	maxQueue       = 4 << 20  // bytes
	maxConnections = 5        // of TCP, opened one after the other when the others cannot keep up
	busy           = 64 << 10 // bytes that wait when another connection is opened
)

const (
	connectTimeout = 5 * time.Second
	retryAfter     = time.Second // between attempts to connect or to resolve a name
	resolveAgain   = time.Minute // names may move
)

// Backend repeats packets. Intake only copies a packet into a queue per target;
// goroutines of the target's own send it. What does not fit is dropped and counted.
type Backend struct {
	config  Config
	network string
	log     *slog.Logger
	warn    *telemetry.Limited
	targets []*target
	socket  *net.UDPConn // nil for TCP

	ledger                       *telemetry.Ledger
	full, resolve, send, stopped *telemetry.Discard
	held                         atomic.Int64 // packets in queues and in the hands of senders

	running context.Context // ends when Stop gives up
	abandon context.CancelFunc
	tasks   sync.WaitGroup
}

// New returns a Backend; sockets are opened by Init.
func New(config Config) *Backend {
	b := &Backend{config: config, network: config.Protocol, ledger: config.Ledger}
	if b.network == "" {
		b.network = "udp4"
	}
	if b.ledger == nil {
		b.ledger = telemetry.NewLedger("statsd.repeater", "packets")
	}
	b.full, b.resolve = b.ledger.Reason("queue_full"), b.ledger.Reason("resolve")
	b.send, b.stopped = b.ledger.Reason("send"), b.ledger.Reason("stopped")
	b.ledger.Hold(b.held.Load)
	return b
}

// Name implements [backend.Backend].
func (*Backend) Name() string { return "repeater" }

// Init implements [backend.Backend]. It refuses a protocol or a target that
// cannot be right; whether a target answers shows later.
func (b *Backend) Init(_ context.Context, env backend.Environment) error {
	b.log = env.Log
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.warn = telemetry.NewLimited(b.log, time.Minute, 5)
	for _, address := range b.config.Targets {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("cannot repeat packets to %q: it must be host:port: %w", address, err)
		}
	}
	switch b.network {
	case "udp4", "udp6":
		socket, err := net.ListenUDP(b.network, nil)
		if err != nil {
			return fmt.Errorf("cannot open a socket to repeat packets over %s: %w", b.network, err)
		}
		b.socket = socket
	case "tcp":
	default:
		return fmt.Errorf("cannot repeat packets with protocol %q: it must be udp4, udp6 or tcp", b.network)
	}
	b.running, b.abandon = context.WithCancel(context.Background())
	for _, address := range b.config.Targets {
		t := newTarget(address, b.network == "tcp")
		send := b.datagrams
		if b.network == "tcp" {
			send = b.stream
		}
		t.start = func() { b.tasks.Go(func() { send(t) }) }
		b.targets = append(b.targets, t)
	}
	return nil
}

// Packet implements [backend.PacketHandler]. It never waits for a target.
func (b *Backend) Packet(packet []byte, _ backend.Remote) {
	for _, t := range b.targets {
		b.ledger.Received(1)
		b.held.Add(1)
		switch t.push(packet) {
		case queued:
		case tooMuch:
			b.drop(b.full, 1)
			if missed, ok := b.warn.Allow(); ok {
				b.log.Warn("packet not repeated: the target does not keep up", "target", t.address, "queued_bytes", maxQueue, "left_out", missed)
			}
		case closed:
			b.drop(b.stopped, 1)
		}
	}
}

// Flush implements [backend.Backend]; flushes are not repeated.
func (*Backend) Flush(context.Context, *backend.Flush) error { return nil }

// Stop implements [backend.Stopper]: queues are sent until ctx ends, and what
// is left then is counted.
func (b *Backend) Stop(ctx context.Context) error {
	for _, t := range b.targets {
		t.close()
	}
	done := make(chan struct{})
	go func() {
		b.tasks.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		b.abandon()
		if b.socket != nil {
			b.socket.Close()
		}
		<-done
		for _, t := range b.targets {
			b.drop(b.stopped, t.discard())
		}
		err = fmt.Errorf("cannot repeat every packet before the end: %w", ctx.Err())
	}
	b.abandon()
	if b.socket != nil {
		b.socket.Close()
	}
	return err
}

func (b *Backend) pass(n int) {
	b.held.Add(int64(-n))
	b.ledger.Passed(n)
}

func (b *Backend) drop(reason *telemetry.Discard, n int) {
	b.held.Add(int64(-n))
	reason.Add(n)
}
