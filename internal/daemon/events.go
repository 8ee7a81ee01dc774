package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/broker"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

const (
	pointsStep     = 60 // seconds of centreon:* series: the usual time between two checks
	streamPatience = 2 * time.Second
	scriptPatience = 3 * time.Second // of a connector's last flush
	bbdoPatience   = time.Second
	killAfter      = 10 * time.Second // and twice the time of a call, when no error can be raised in it
)

// events is the event path: from pollers through the stream to connectors, and
// from statuses to series.
type events struct {
	config   *config.Config
	registry *telemetry.Registry
	log      *slog.Logger
	driver   timeseries.Driver // nil when no series are kept
	limited  *telemetry.Limited

	stream     *stream.Stream
	scripts    *script.Registry
	connectors *connectors
	pollers    []pollers

	mu          sync.Mutex // for what follows: one poller's events at a time
	cache       *broker.Cache
	file        *broker.File
	synthesizer *broker.Synthesizer
	points      *broker.Points
	room        []event.Event
}

// pollers is a source of BBDO: a [bbdo.Listener] or a [bbdo.Dialer].
type pollers interface {
	bbdo.Source
	Start(context.Context) error
	Stop(context.Context) error
}

func newEvents(cfg *config.Config, s *store.Store, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger) *events {
	c := cfg.Events.Stream.Config
	c.Path = filepath.Join(cfg.Data, "stream")
	e := &events{
		config: cfg, registry: reg, log: log, scripts: scripts, stream: stream.New(c, reg, log),
		limited: telemetry.NewLimited(log, time.Minute, 5),
	}
	if s != nil {
		e.driver = s
	}
	e.cache = broker.NewCache(log)
	e.points = broker.NewPoints(e.cache, pointsStep, reg)
	e.connectors = &connectors{config: cfg, make: e.connector, setup: e.setup, claim: e.stream.Claim, log: log}
	for i, b := range cfg.Events.BBDO {
		name := "bbdo"
		if i > 0 {
			name = fmt.Sprintf("bbdo.%d", i+1)
		}
		c := b.Config
		c.Name, c.Identity = name, bbdo.Identity{BrokerName: "weir", PeerType: bbdo.Broker}
		if b.Version != "" {
			c.Version, _ = bbdo.ParseVersion(b.Version) // one of those that the configuration takes
		}
		if b.Connects() {
			c.Address = b.Connect.Address
			e.pollers = append(e.pollers, bbdo.NewDialer(c, e.sink(b.Synthesize), reg, log))
		} else {
			c.Address = b.Listen.Address
			e.pollers = append(e.pollers, bbdo.NewListener(c, e.sink(b.Synthesize), reg, log))
		}
	}
	reg.Register(e.stream.Collector())
	reg.Register(cacheFigures{e})
	reg.Register(bbdo.Collector(func() []bbdo.Source {
		sources := make([]bbdo.Source, len(e.pollers))
		for i, p := range e.pollers {
			sources[i] = p
		}
		return sources
	}))
	return e
}

func (e *events) connector(c config.Connector) *connector.Connector {
	setup, budget := e.setup(c)
	made := connector.New(setup, budget, e.stream, e.scripts, e.registry, e.log)
	made.SeedFrom(func(w io.Writer) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		buffered := bufio.NewWriterSize(w, 256<<10)
		return errors.Join(e.cache.Save(buffered), buffered.Flush())
	})
	return made
}

// setup is what a connector is made from.
func (e *events) setup(c config.Connector) (connector.Setup, script.Budget) {
	setup := c.Setup
	setup.Memory = int64(c.Memory) / 4 * 3 // the script sees an error before the process is killed
	setup.Forget = e.config.Events.Broker.Forget
	setup.Cache = filepath.Join(e.config.Data, "connectors", setup.Name+".cache")
	setup.Quarantine = filepath.Join(e.config.Data, "connectors", setup.Name+".quarantine")
	budget := script.DefaultBudget()
	budget.Soft = 0 // the script half raises the error, in the call that takes long
	budget.Hard = 2*setup.Call + killAfter
	budget.Memory, budget.Errors = int64(c.Memory), c.Errors
	return setup, budget
}

// parts are the components of the event path in the order they start.
func (e *events) parts() []part {
	parts := []part{{"stream", e.openStream, e.closeStream, streamPatience}}
	parts = append(parts, part{"connectors", e.connectors.start, e.connectors.stop, scriptPatience})
	for i, p := range e.pollers {
		name := fmt.Sprintf("sources.bbdo[%d]", i)
		parts = append(parts, part{"bbdo", func(ctx context.Context) error {
			if err := p.Start(context.WithoutCancel(ctx)); err != nil {
				return e.config.Fail(name, err)
			}
			return nil
		}, p.Stop, bbdoPatience})
	}
	return parts
}

// openStream opens what is on disk: the stream, and what the broker knows.
func (e *events) openStream(ctx context.Context) error {
	dir := filepath.Join(e.config.Data, "broker")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return e.config.Fail("data", err)
	}
	file, err := broker.OpenFile(filepath.Join(dir, "cache"), e.cache, e.log)
	if err != nil {
		return e.config.Fail("data", err)
	}
	synthesizer, err := broker.OpenSynthesizer(filepath.Join(dir, "numbers"), e.cache, e.log)
	if err != nil {
		return e.config.Fail("data", errors.Join(err, file.Close()))
	}
	if e.config.Events.Broker.Forget {
		e.cache.ForgetDeleted()
	}
	e.file, e.synthesizer = file, synthesizer
	if err := e.stream.Start(ctx); err != nil {
		return e.config.Fail("stream", errors.Join(err, file.Close(), synthesizer.Close()))
	}
	e.stream.Claim(queues(e.config))
	return nil
}

func (e *events) closeStream(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(e.stream.Stop(ctx), e.synthesizer.Close(), e.file.Close())
}

// sink takes what one poller sent: it is durable, with what is made of it and with
// what the broker learned from it, before the poller is acknowledged.
func (e *events) sink(synthesize bool) bbdo.Sink {
	return func(ctx context.Context, _ bbdo.Info, list []event.Event) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		for i := range list {
			e.cache.Update(list[i])
		}
		if err := e.file.Flush(); err != nil {
			return err
		}
		all := list
		if synthesize {
			var err error
			if all, err = e.synthesizer.Append(e.room[:0], list); err != nil {
				return err
			}
			e.room = all[:0]
		}
		if err := e.stream.Append(ctx, all); err != nil {
			e.synthesizer.Undo()
			return err
		}
		e.keepPoints(ctx, list)
		return nil
	}
}

// keepPoints stores the series of statuses. Events do not wait for it when it
// cannot be done: the stream has them.
func (e *events) keepPoints(ctx context.Context, list []event.Event) {
	if e.driver == nil {
		return
	}
	points := e.points.Of(list)
	if len(points) == 0 {
		return
	}
	if err := e.driver.Append(ctx, points); err != nil {
		e.limited.Warn("cannot store points of statuses", "points", len(points), "error", err)
	}
}

// where is where pollers connect to and where Weir connects to pollers, as URLs.
func (e *events) where() (listening, connecting []string) {
	for _, p := range e.pollers {
		switch p := p.(type) {
		case *bbdo.Listener:
			listening = append(listening, "tcp://"+p.Addr().String())
		case *bbdo.Dialer:
			connecting = append(connecting, "tcp://"+p.Address())
		}
	}
	return listening, connecting
}

// sources are what the status page shows of pollers.
func (e *events) sources() []api.Source {
	var sources []api.Source
	for _, p := range e.pollers {
		s := api.Source{Name: p.Stats().Source, Connections: p.Status()}
		switch p := p.(type) {
		case *bbdo.Listener:
			s.Listen = []string{"tcp://" + p.Addr().String()}
		case *bbdo.Dialer:
			s.Connect, s.Waiting = "tcp://"+p.Address(), p.Waiting()
		}
		for _, c := range s.Connections {
			if c.LastEvent.After(s.LastInput) {
				s.LastInput = c.LastEvent
			}
		}
		sources = append(sources, s)
	}
	return sources
}
