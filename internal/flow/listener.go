package flow

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/udp"
)

// Listener takes in datagrams on UDP addresses. Each may bring any of the formats.
type Listener struct {
	cfg      ListenerConfig
	sink     func(records []Record)
	reg      *telemetry.Registry
	log      *slog.Logger
	problems *telemetry.Limited

	mu      sync.Mutex // the decoder and the sink see one datagram at a time
	decoder *Decoder
	last    time.Time // when the last datagram came

	ledger     *telemetry.Ledger // the decoder's
	kernelDrop *telemetry.Discard
	servers    []*udp.Server
	stop       chan struct{}
	upkeep     sync.WaitGroup
}

// ListenerConfig says where and how.
type ListenerConfig struct {
	Listen        []Listen
	Templates     string // the file that keeps templates over a restart; its folder is made
	ReceiveBuffer int    // bytes to ask the kernel for, per address
	Sampling      Sampling
}

// Listen is one address.
type Listen struct{ Network, Address string }

// NewListener returns a listener that gives the records of each datagram to sink, from one goroutine at a time. The
// records are valid until sink returns.
func NewListener(cfg ListenerConfig, sink func(records []Record), reg *telemetry.Registry, log *slog.Logger) *Listener {
	l := &Listener{cfg: cfg, sink: sink, reg: reg, log: log, problems: telemetry.NewLimited(log, time.Minute, 5), decoder: NewDecoder(cfg.Sampling, reg, log), stop: make(chan struct{})}
	l.ledger = reg.Ledger("flow.datagrams", "datagrams")
	l.kernelDrop = l.ledger.Reason("kernel_drop")
	// Whoever reads the ledger gets the kernel's count as of now.
	l.ledger.Hold(func() int64 {
		for _, s := range l.servers {
			s.CountDrops()
		}
		return 0
	})
	reg.Ledger("flow.held", "sets").Hold(func() int64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.decoder.Held()
	})
	return l
}

// Start reads the templates of before and binds the addresses. A file of templates that is damaged is logged and put aside.
func (l *Listener) Start(context.Context) error {
	if err := os.MkdirAll(filepath.Dir(l.cfg.Templates), 0o755); err != nil {
		return fmt.Errorf("cannot keep the templates of flows: %w", err)
	}
	if err := l.decoder.Load(l.cfg.Templates); err != nil {
		l.log.Warn(err.Error())
	}
	for i, listen := range l.cfg.Listen {
		server, err := udp.Listen(listen.Network, listen.Address, 1, l.cfg.ReceiveBuffer)
		if err != nil {
			for _, s := range l.servers {
				s.Close(context.Background())
			}
			return &ListenError{i, err}
		}
		l.servers = append(l.servers, server)
	}
	for _, server := range l.servers {
		l.log.Info("flow receive buffer", "address", server.Address(), "bytes", server.ReceiveBuffer(), "wanted", l.cfg.ReceiveBuffer)
		server.Serve(udp.Handler{
			Senders: true,
			Receive: l.receive,
			Dropped: func(n int) {
				l.ledger.Received(n)
				l.kernelDrop.Add(n)
				l.problems.Warn("the kernel dropped flow datagrams because the receive buffer was full; raise net.core.rmem_max or send less", "datagrams", n)
			},
			Failed: func(err error) { l.problems.Warn("cannot read from the socket of flows", "error", err) },
		})
	}
	l.upkeep.Go(l.keep)
	return nil
}

// ListenError says which address of the configuration could not be bound, and why.
type ListenError struct {
	Index int
	Err   error
}

func (e *ListenError) Error() string { return fmt.Sprintf("cannot listen for flows: %v", e.Err) }
func (e *ListenError) Unwrap() error { return e.Err }

// Addresses are what is bound, in the order of the configuration.
func (l *Listener) Addresses() []net.Addr {
	var out []net.Addr
	for _, s := range l.servers {
		out = append(out, s.Address())
	}
	return out
}

// LastInput is when the last datagram came; zero before the first.
func (l *Listener) LastInput() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *Listener) receive(_ int, datagrams [][]byte, from []netip.AddrPort) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = now
	for i, datagram := range datagrams {
		if records := l.decoder.Decode(datagram, from[i].Addr(), now); len(records) > 0 {
			l.sink(records)
		}
	}
}

// keep saves templates soon after they came, and drops what waits for them too long.
func (l *Listener) keep() {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-ticker.C:
			l.mu.Lock()
			l.decoder.Expire(now)
			l.save()
			l.mu.Unlock()
		}
	}
}

func (l *Listener) save() {
	if !l.decoder.Changed() {
		return
	}
	if err := l.decoder.Save(l.cfg.Templates); err != nil {
		l.problems.Warn(err.Error())
	}
}

// Stop takes in what has arrived, as far as ctx lets it, and saves the templates.
func (l *Listener) Stop(ctx context.Context) error {
	for _, s := range l.servers {
		s.Close(ctx)
	}
	close(l.stop)
	l.upkeep.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.decoder.Changed() {
		return l.decoder.Save(l.cfg.Templates)
	}
	return nil
}
