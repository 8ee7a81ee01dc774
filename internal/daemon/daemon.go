// Package daemon is the composition root: it turns a configuration into running
// components, and starts, reloads and stops them in order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/grafolean"
	"github.com/weirhq/weir/internal/inventory"
	"github.com/weirhq/weir/internal/ntopng"
	"github.com/weirhq/weir/internal/prometheus"
	"github.com/weirhq/weir/internal/resident"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/statsd/bridge"
	"github.com/weirhq/weir/internal/telemetry"
)

// Options are what a Daemon gets from the process it runs in.
type Options struct {
	Version string         // shown by the API
	Stdout  io.Writer      // where the console backend prints
	Level   *slog.LevelVar // of the log, so that a reload can change it
}

// Daemon is everything weir run runs.
type Daemon struct {
	options  Options
	log      *slog.Logger
	registry *telemetry.Registry
	created  time.Time
	failed   chan error
	notReady atomic.Pointer[string] // why; nil when everything is up
	settled  context.CancelFunc     // ends what keeps memory small

	series     *series // nil when none are kept
	inventory  *inventory.Inventory
	collectors *collectors // nil without bots
	web        *web
	intake     *intake   // nil without a StatsD source
	events     *events   // nil without a BBDO source and without connectors
	counts     *counting // nil when nothing feeds or watches counter groups
	scripts    *script.Registry

	carbon *carbon      // nil without a Graphite source
	proxy  *statsdProxy // nil without nodes

	running []part // what Start started, in this order

	mu      sync.Mutex
	started *config.Config // what the components were made from
	current *config.Config // what was loaded last
}

// part is a component with the option to name when it cannot start.
type part struct {
	name     string
	start    func(context.Context) error
	stop     func(context.Context) error
	patience time.Duration // how long stop may take
}

// How long the parts may take to stop, together less than the bound of Stop.
const (
	intakePatience = 6 * time.Second // the last flush included
	webPatience    = time.Second
	storePatience  = 3 * time.Second
)

// New returns a Daemon for cfg. Nothing is opened before Start.
func New(cfg *config.Config, log *slog.Logger, options Options) *Daemon {
	d := &Daemon{
		options: options, log: log, registry: telemetry.NewRegistry(), created: time.Now(), failed: make(chan error, 1),
		started: cfg, current: cfg,
	}
	d.setNotReady("starting")
	d.scripts = script.NewRegistry(d.registry)
	d.inventory = inventory.New(cfg.InventoryConfig(), log)
	d.series = newSeries(cfg, d.scripts, d.registry, log)
	if cfg.Events.Runs() {
		d.events = newEvents(cfg, d.series.driver(), d.scripts, d.registry, log)
	}
	if cfg.CountsGroups() {
		d.counts = newCounting(cfg, d.series.driver(), d.scripts, d.registry, log, options.Version, false)
		if d.events != nil {
			d.counts.alerts, d.counts.entries, d.events.feeder = d.events.alerts, d.events.resources, d.counts.feeder
		}
	}
	if len(cfg.StatsD.Listen) > 0 {
		var more []backend.Backend
		if d.counts != nil {
			if b := d.counts.feeder.Backend(); b != nil {
				more = append(more, b)
			}
		}
		var stream bridge.Stream
		if d.events != nil {
			stream = d.events.stream
		}
		d.intake = newIntake(cfg, d.series.driver(), stream, d.scripts, d.registry, log, options.Stdout, more...)
		if d.events != nil {
			d.intake.server.OnNotices(d.events.notices)
		}
	}
	if len(cfg.Graphite) > 0 {
		d.carbon = newCarbon(cfg, d.series, d.registry, log)
	}
	if len(cfg.StatsDProxy.Nodes) > 0 {
		d.proxy = newStatsDProxy(cfg, d.registry, log)
	}
	d.collectors = newCollectors(house{cfg, d.inventory, d.counts, d.scripts, d.registry, log}, d.series.driver())
	d.web = newWeb(cfg, d.dependencies(), log, d.fail)
	return d
}

// dependencies are what the API answers from, without the token.
func (d *Daemon) dependencies() api.Dependencies {
	deps := api.Dependencies{
		Registry: d.registry, Log: d.log, Version: d.options.Version, Started: d.created, Ready: d.ready, Sources: d.sources,
	}
	answer := func(h http.Handler, patterns ...string) {
		for _, pattern := range patterns {
			deps.Endpoints = append(deps.Endpoints, api.Endpoint{Pattern: pattern, Handler: h})
		}
	}
	answer(d.scripts, "GET /api/v1/scripts")
	rest := grafolean.New(grafolean.Config{Inventory: d.inventory, Driver: d.series.driver(), Registry: d.registry, Log: d.log})
	for _, pattern := range rest.Patterns() {
		deps.Endpoints = append(deps.Endpoints, api.Endpoint{Pattern: pattern, Handler: rest, Open: true})
	}
	if d.events != nil {
		answer(d.events.stream.Handler(), "GET /api/v1/queues", "GET /api/v1/queues/verify", "DELETE /api/v1/queues/{name}")
	}
	if d.intake != nil {
		deps.Endpoints = append(deps.Endpoints, d.intake.endpoints()...)
	}
	if d.counts != nil {
		deps.Groups = d.counts.engine
		answer(d.counts.monitors, "GET /api/v1/monitors")
	}
	if d.series != nil {
		deps.Driver, deps.Catalog, deps.Stats = d.series, d.series, d.series.stats
		deps.Endpoints = append(deps.Endpoints, writeEndpoints(d.series, d.options.Version, d.registry, d.log)...)
		answer(ntopng.New(d.series.front, d.ready, d.log), ntopng.Patterns()...)
		answer(prometheus.NewHandler(d.series, d.log), prometheus.Prefix+"/")
	}
	return deps
}

// parts are the components in the order they start: what others need first,
// sources last. They stop in the opposite order.
func (d *Daemon) parts() []part {
	var parts []part
	if d.series != nil {
		upkeep := newUpkeep(d.series, d.log)
		parts = append(append(parts, d.series.parts...), part{"upkeep", upkeep.start, upkeep.stop, webPatience})
	}
	parts = append(parts, part{"inventory", func(context.Context) error { return nil }, func(context.Context) error { return d.inventory.Close() }, storePatience})
	parts = append(parts, part{"http", d.web.start, d.web.stop, webPatience})
	if d.events != nil {
		parts = append(parts, d.events.parts()...)
	}
	if d.counts != nil {
		parts = append(parts, d.counts.parts()...)
	}
	if d.events != nil { // after the groups, which are fed from events
		parts = append(parts, d.events.pollerParts()...)
	}
	if d.collectors != nil {
		parts = append(parts, d.collectors.parts...)
		parts = append(parts, part{"collectors", d.collectors.start, d.collectors.end, collectorPatience})
	}
	if d.intake != nil {
		parts = append(parts, part{"statsd", d.intake.start, d.intake.stop, intakePatience})
	}
	if d.carbon != nil {
		parts = append(parts, part{"graphite", d.carbon.start, d.carbon.listener.Stop, carbonPatience})
	}
	if d.proxy != nil {
		parts = append(parts, part{"statsd_proxy", d.proxy.start, d.proxy.proxy.Stop, proxyPatience})
	}
	return parts
}

// Start starts everything. After an error everything is stopped again; an error
// that an option is to blame for is a *config.Error, which says where it is given.
func (d *Daemon) Start(ctx context.Context) error {
	for _, p := range d.parts() {
		begin := time.Now()
		if err := p.start(ctx); err != nil {
			return errors.Join(err, d.stopRunning(ctx))
		}
		d.running = append(d.running, p)
		d.log.Info("started", "part", p.name, "took", time.Since(begin).Round(time.Microsecond))
	}
	d.notReady.Store(nil)
	resident.Trim()
	collecting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.settled = cancel
	go resident.Collect(collecting)
	d.log.Info("ready", d.where()...)
	d.warnAboutAccess(d.started)
	return nil
}

// where is what the log says about where Weir can be reached.
func (d *Daemon) where() []any {
	args := []any{"version", d.options.Version, "took", time.Since(d.created).Round(time.Microsecond), "http", d.web.url()}
	if d.intake != nil {
		args = append(args, "statsd", strings.Join(d.intake.listening(), " "))
		if address := d.intake.management(); address != "" {
			args = append(args, "management", address)
		}
	}
	if d.events != nil {
		listening, connecting := d.events.where()
		if len(listening) > 0 {
			args = append(args, "bbdo", strings.Join(listening, " "))
		}
		if len(connecting) > 0 {
			args = append(args, "bbdo_connect", strings.Join(connecting, " "))
		}
	}
	if d.counts != nil && len(d.started.Flows.Listen) > 0 {
		args = append(args, "netflow", strings.Join(d.counts.where(), " "))
	}
	if d.carbon != nil {
		args = append(args, "graphite", strings.Join(d.carbon.where(), " "))
	}
	if d.proxy != nil {
		args = append(args, "statsd_proxy", strings.Join(d.proxy.where(), " "))
	}
	if d.series != nil && d.series.store != nil {
		args = append(args, "data", d.started.Data)
	}
	return args
}

// Stop stops everything: sources take in what they hold, backends get a last
// flush, then the API and the store close. ctx bounds the whole.
func (d *Daemon) Stop(ctx context.Context) error {
	begin := time.Now()
	d.setNotReady("stopping")
	if d.settled != nil {
		d.settled()
	}
	err := d.stopRunning(ctx)
	d.log.Info("stopped", "took", time.Since(begin).Round(time.Microsecond))
	return err
}

func (d *Daemon) stopRunning(ctx context.Context) error {
	var failed []error
	for _, p := range slices.Backward(d.running) {
		begin := time.Now()
		bounded, cancel := context.WithTimeout(ctx, p.patience)
		err := p.stop(bounded)
		cancel()
		if err != nil {
			failed = append(failed, fmt.Errorf("cannot stop %s in order: %w", p.name, err))
		}
		d.log.Info("stopped", "part", p.name, "took", time.Since(begin).Round(time.Microsecond))
	}
	d.running = nil
	return errors.Join(failed...)
}

// Failed receives the error of a component that ended by itself.
func (d *Daemon) Failed() <-chan error { return d.failed }

func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default: // one is enough to stop
	}
}

func (d *Daemon) setNotReady(why string) { d.notReady.Store(&why) }

func (d *Daemon) ready() error {
	if why := d.notReady.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

func (d *Daemon) sources() []api.Source {
	if d.ready() != nil {
		return nil
	}
	var sources []api.Source
	if d.intake != nil {
		sources = append(sources, d.intake.source())
	}
	if d.events != nil {
		sources = append(sources, d.events.sources()...)
	}
	if d.counts != nil && len(d.started.Flows.Listen) > 0 {
		sources = append(sources, d.counts.source())
	}
	if d.carbon != nil {
		sources = append(sources, d.carbon.source())
	}
	if d.proxy != nil {
		sources = append(sources, d.proxy.source())
	}
	return sources
}

// Reload applies the options of cfg that can change while Weir runs, and says
// in the log which ones it applied and which ones need a restart.
func (d *Daemon) Reload(cfg *config.Config) (applied, restart []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range config.Changes(d.current, cfg) {
		if c.Reload {
			applied = append(applied, c.Path)
		}
	}
	for _, c := range config.Changes(d.started, cfg) {
		if !c.Reload {
			restart = append(restart, c.Path)
		}
	}
	if !d.web.reload(cfg) {
		applied = slices.DeleteFunc(applied, func(path string) bool { return strings.HasPrefix(path, "http.tls.") })
		restart = append(restart, "http.tls")
	}
	if d.events != nil {
		d.events.connectors.reload(cfg)
	} else if len(cfg.Events.Connectors) > 0 { // nothing takes events in and keeps them
		applied = slices.DeleteFunc(applied, func(path string) bool { return path == "connectors" })
		restart = append(restart, "connectors")
	}
	if d.counts != nil {
		d.counts.reload(cfg)
	} else if len(cfg.Monitors) > 0 { // there are no groups
		applied = slices.DeleteFunc(applied, func(path string) bool { return strings.HasPrefix(path, "monitors") })
		restart = append(restart, "monitors")
	}
	if d.options.Level != nil {
		d.options.Level.Set(cfg.Log.Level)
	}
	if d.intake != nil {
		d.intake.reload(d.started, cfg)
	}
	d.current = cfg
	d.log.Info("configuration reloaded", "applied", strings.Join(applied, " "), "needs_restart", strings.Join(restart, " "))
	d.warnAboutAccess(cfg)
	return applied, restart
}
