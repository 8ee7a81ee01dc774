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
	"github.com/weirhq/weir/internal/countergroup/feed"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

const (
	pointsStep     = 60 // seconds of centreon:* series: the usual time between two checks
	streamPatience = 2 * time.Second
	scriptPatience = 3 * time.Second // of a connector's last flush
	bbdoPatience   = time.Second
)

// events is the event path: from pollers through the stream to connectors, and
// from statuses to series.
type events struct {
	config   *config.Config
	registry *telemetry.Registry
	log      *slog.Logger
	driver   timeseries.Driver // nil when no series are kept
	feeder   *feed.Feeder      // of counter groups; nil when there are none
	limited  *telemetry.Limited

	stream     *stream.Stream
	scripts    *script.Registry
	connectors *connectors
	pollers    []pollers

	mu            sync.Mutex // for what follows: one poller's events at a time
	installations map[string]*installation
}

// pollers is a source of BBDO: a [bbdo.Listener] or a [bbdo.Dialer].
type pollers interface {
	bbdo.Source
	Start(context.Context) error
	Stop(context.Context) error
}

func newEvents(cfg *config.Config, driver timeseries.Driver, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger) *events {
	c := cfg.Events.Stream.Config
	c.Path = filepath.Join(cfg.Data, "stream")
	e := &events{
		config: cfg, registry: reg, log: log, driver: driver, scripts: scripts, stream: stream.New(c, reg, log),
		limited: telemetry.NewLimited(log, time.Minute, 5),
	}
	e.installations = make(map[string]*installation)
	for _, name := range cfg.Installations() {
		e.installations[name] = newInstallation(name, reg, log)
	}
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
			e.pollers = append(e.pollers, bbdo.NewDialer(c, e.sink(e.installations[b.Installation], b.Synthesize), reg, log))
		} else {
			c.Address = b.Listen.Address
			e.pollers = append(e.pollers, bbdo.NewListener(c, e.sink(e.installations[b.Installation], b.Synthesize), reg, log))
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
	of := e.installations[c.Installation]
	if of == nil { // after a reload that names one; its pollers connect after a restart
		return made
	}
	made.SeedFrom(func(w io.Writer) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		buffered := bufio.NewWriterSize(w, 256<<10)
		return errors.Join(of.save(buffered), buffered.Flush())
	})
	return made
}

// setup is what a connector is made from.
func (e *events) setup(c config.Connector) (connector.Setup, script.Budget) {
	setup := c.Setup
	setup.Memory = int64(c.Memory) / 4 * 3 // the script sees an error before the process is killed
	setup.Forget = e.config.Events.Broker.Forget
	file := setup.Name
	if _, only := e.installations[""]; len(e.installations) > 1 || !only { // a connector may come to belong to another one
		setup.Apart, setup.Of = true, broker.InstallationNumber(c.Installation)
		file += "@" + c.Installation
	}
	setup.Cache = filepath.Join(e.config.Data, "connectors", file+".cache")
	setup.Quarantine = filepath.Join(e.config.Data, "connectors", setup.Name+".quarantine")
	budget := callBudget(setup.Call, int64(c.Memory))
	budget.Errors = c.Errors
	return setup, budget
}

// parts are what takes events on their way, in the order they start.
func (e *events) parts() []part {
	return []part{{"stream", e.openStream, e.closeStream, streamPatience}, {"connectors", e.connectors.start, e.connectors.stop, scriptPatience}}
}

// pollerParts are where events come from.
func (e *events) pollerParts() []part {
	var parts []part
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
	for _, i := range e.installations {
		if err := i.open(dir, e.config.Events.Broker.Forget, e.log); err != nil {
			return e.config.Fail("data", errors.Join(err, e.closeInstallations()))
		}
	}
	if err := e.stream.Start(ctx); err != nil {
		return e.config.Fail("stream", errors.Join(err, e.closeInstallations()))
	}
	e.stream.Claim(queues(e.config))
	return nil
}

func (e *events) closeStream(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(e.stream.Stop(ctx), e.closeInstallations())
}

func (e *events) closeInstallations() error {
	var failed []error
	for _, i := range e.installations {
		failed = append(failed, i.close())
	}
	return errors.Join(failed...)
}

// sink takes what one poller sent: it is durable, with what is made of it and with
// what the broker learned from it, before the poller is acknowledged.
func (e *events) sink(i *installation, synthesize bool) bbdo.Sink {
	apart := len(e.installations) > 1 || i.name != ""
	return func(ctx context.Context, _ bbdo.Info, list []event.Event) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		all, err := i.take(list, synthesize)
		if err != nil {
			return err
		}
		if apart {
			i.stamp(all)
		}
		if err := e.stream.Append(ctx, all); err != nil {
			i.synthesizer.Undo()
			return err
		}
		if e.feeder != nil {
			e.feeder.Events(all)
		}
		e.keepPoints(ctx, i, list)
		return nil
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
