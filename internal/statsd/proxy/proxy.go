package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/management"
	"github.com/weirhq/weir/internal/telemetry"
)

// Warnings about lines: at most so many in each period.
const (
	logPeriod = 10 * time.Second
	logBurst  = 10
)

// Proxy sends lines on to the nodes that own their names.
type Proxy struct {
	config   Config
	log      *slog.Logger
	problems *telemetry.Limited
	nodes    []*node
	ring     atomic.Pointer[ring]
	lanes    []*lane
	receiver *statsd.Receiver
	console  *management.Port // nil for none
	health   management.Health
	started  time.Time

	lines                    *telemetry.Ledger
	noNode, tooLong, notSent *telemetry.Discard
	refused                  atomic.Int64 // datagrams a node's machine said it could not deliver

	checking sync.WaitGroup
	stop     context.CancelFunc // ends the checks; nil before Start

	mu sync.Mutex // guards the state of nodes, and replacing the ring
}

// New returns a Proxy for cfg, which [Config.Check] has nothing to say about. Ledgers in reg: "<component>.lines",
// "<component>.packets" and "<component>.connections".
func New(cfg Config, reg *telemetry.Registry, log *slog.Logger) *Proxy {
	p := &Proxy{config: cfg, log: log, problems: telemetry.NewLimited(log, logPeriod, logBurst)}
	p.lines = reg.Ledger(cfg.Component+".lines", "lines")
	p.noNode, p.tooLong, p.notSent = p.lines.Reason("no_node"), p.lines.Reason("line_too_long"), p.lines.Reason("send_failed")
	metric := "weir_" + strings.ReplaceAll(cfg.Component, ".", "_")
	reg.Gauge(metric+"_nodes", "Nodes of the StatsD proxy that are healthy.", func() float64 { return float64(len(p.Active())) })
	reg.Counter(metric+"_refused_total", "Datagrams of the StatsD proxy that a node's machine refused after they were sent: nothing listened on its port.",
		func() float64 { return float64(p.refused.Load()) })
	for _, n := range cfg.Nodes {
		p.nodes = append(p.nodes, &node{Node: n, id: n.ID(), active: true}) // so that its first failed check is told
	}
	p.ring.Store(newRing(nil, nil))
	lanes := cfg.Lanes
	if lanes <= 0 {
		lanes = runtime.GOMAXPROCS(0)
	}
	var receivers []statsd.Lane
	for range lanes {
		l := &lane{proxy: p, routes: make([]route, len(p.nodes))}
		p.lanes, receivers = append(p.lanes, l), append(receivers, l)
	}
	p.receiver = statsd.NewReceiver(cfg.Listen, receivers, cfg.Component, reg, log)
	if cfg.Management != "" {
		p.console = management.NewPort(cfg.Management, p.answer, log)
	}
	return p
}

// Start looks at every node, which takes up to the check interval when one does not answer, and then listens. A
// [*statsd.ListenError] says which address could not be bound. ctx bounds the start only.
func (p *Proxy) Start(ctx context.Context) error {
	p.started = time.Now()
	var first sync.WaitGroup
	for _, n := range p.nodes {
		first.Go(func() { p.look(ctx, n) })
	}
	first.Wait()
	p.rebuild()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot start the StatsD proxy: %w", err)
	}
	if p.console != nil {
		if err := p.console.Start(); err != nil {
			return err
		}
	}
	if err := p.receiver.Start(ctx); err != nil {
		if p.console != nil {
			p.console.Stop()
		}
		return err
	}
	running, stop := context.WithCancel(context.Background())
	p.stop = stop
	for _, n := range p.nodes {
		p.checking.Go(func() { p.watch(running, n) })
	}
	return nil
}

// watch checks n at every interval, until ctx ends.
func (p *Proxy) watch(ctx context.Context, n *node) {
	tick := time.NewTicker(p.config.CheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.look(ctx, n)
		}
	}
}

// look checks n once and takes it from the ring, or puts it back.
func (p *Proxy) look(ctx context.Context, n *node) {
	err := n.check(ctx, p.config.CheckInterval)
	if ctx.Err() != nil {
		return // it was not the node that failed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		if !n.active {
			p.log.Warn(fmt.Sprintf("Adding node %s to the ring.", n.id), "failed_checks", n.failures)
			n.active = true
			p.rebuildLocked()
		}
		n.failures = 0
	default:
		n.failures++
		if n.active {
			p.log.Warn(fmt.Sprintf("Removing node %s from the ring.", n.id), "error", err)
			n.active = false
			p.rebuildLocked()
		}
	}
}

func (p *Proxy) rebuild() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rebuildLocked()
}

// rebuildLocked makes the ring of the nodes that are healthy and were found. Callers hold mu.
func (p *Proxy) rebuildLocked() {
	var identities []string
	var indices []int
	for i, n := range p.nodes {
		if n.active && n.address.Load() != nil {
			identities, indices = append(identities, n.id), append(indices, i)
		}
	}
	p.ring.Store(newRing(identities, indices))
}

// Active are the nodes on the ring, as "host:port", in the order of the configuration.
func (p *Proxy) Active() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var active []string
	for _, n := range p.nodes {
		if n.active {
			active = append(active, n.id)
		}
	}
	return active
}

// LastPacket is when the last packet came, zero before the first. Any goroutine.
func (p *Proxy) LastPacket() time.Time { return p.receiver.LastPacket() }

// Addresses is where lines arrive, in the order of Config.Listen; valid after Start.
func (p *Proxy) Addresses() []net.Addr { return p.receiver.Addresses() }

// Console is where the management console listens, nil without one; valid after Start.
func (p *Proxy) Console() net.Addr {
	if p.console == nil {
		return nil
	}
	return p.console.Address()
}

// SetHealthy sets what the management command health answers, until a client changes it.
func (p *Proxy) SetHealthy(healthy bool) { p.health.SetHealthy(healthy) }

// Stop sends on what has arrived, as far as ctx lets it, and closes everything.
func (p *Proxy) Stop(ctx context.Context) error {
	if p.stop == nil {
		return errors.New("cannot stop the StatsD proxy: it was not started")
	}
	p.receiver.Stop(ctx)
	p.stop()
	p.checking.Wait()
	if p.console != nil {
		p.console.Stop()
	}
	for _, l := range p.lanes {
		l.close()
	}
	return nil
}
