package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// series is where series live: the drivers that are configured, and the schemas.
type series struct {
	*front.Drivers
	definitions *front.Definitions
	front       *front.Front // what scripts and the ntopng endpoints ask
	parts       []part       // what runs, in the order it starts
	store       *store.Store // nil when it is not one of the drivers
}

// surroundings are what drivers are made in.
type surroundings struct {
	config      *config.Config
	definitions *front.Definitions
	front       func() *front.Front // for when the driver runs: it is made after the drivers
	scripts     *script.Registry
	registry    *telemetry.Registry
	log         *slog.Logger
}

// driverMakers make the driver of an entry of timeseries.write, with the parts of it that
// start before anything is appended and stop after everything; one line for each kind.
var driverMakers = map[string]func(config.Driver, surroundings) (timeseries.Driver, []part){
	"store": makeStore,
	"lua":   makeLuaDriver,

	config.InfluxDBDriver:   makeRemote(makeInfluxDB),
	config.PrometheusDriver: makeRemote(makePrometheus),
	config.ClickHouseDriver: makeRemote(makeClickHouse),
}

// newSeries makes the drivers of cfg; nil when it has none. Nothing is opened before its parts start.
func newSeries(cfg *config.Config, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger) *series {
	if !cfg.Keeps() {
		return nil
	}
	in := surroundings{config: cfg, definitions: front.NewDefinitions(cfg.Timeseries.Definitions(), log), scripts: scripts, registry: reg, log: log}
	s := &series{definitions: in.definitions}
	in.front = func() *front.Front { return s.front }
	var targets []front.Target
	for _, entry := range cfg.Timeseries.Write {
		maker := driverMakers[entry.Kind]
		if maker == nil {
			panic("BUG: the configuration lets the driver " + entry.Kind + " through")
		}
		driver, parts := maker(entry, in)
		embedded, local := driver.(*store.Store)
		if local {
			s.store = embedded
		}
		targets = append(targets, front.Target{Name: entry.Name, Driver: driver, Local: local})
		s.parts = append(s.parts, parts...)
	}
	s.Drivers = front.NewDrivers(targets, cfg.Timeseries.Read, reg, log)
	s.front = front.New(s.definitions, s.Drivers, reg, log)
	return s
}

func makeStore(_ config.Driver, in surroundings) (timeseries.Driver, []part) {
	cfg := in.config
	settings := store.Config{
		Path: cfg.Data, Retention: cfg.Timeseries.Retention, Schemas: cfg.Timeseries.Retentions(), MaxSeries: cfg.Timeseries.MaxSeries,
	}
	for _, r := range cfg.Timeseries.Rollups {
		settings.Rollups = append(settings.Rollups, store.Rollup(r))
	}
	s := store.New(settings, in.registry, in.log)
	return s, []part{{"store", func(ctx context.Context) error {
		if err := s.Start(ctx); err != nil {
			return cfg.Fail("data", err)
		}
		return nil
	}, s.Stop, storePatience}}
}

// driver is s as what sources write to: nil, and not an interface that holds nil, when nothing is kept.
func (s *series) driver() timeseries.Driver {
	if s == nil {
		return nil
	}
	return s.Drivers
}

// stats are figures of the embedded store, for the API.
func (s *series) stats() api.Stats {
	if s.store == nil {
		return api.Stats{}
	}
	of := s.store.Stats()
	return api.Stats{Series: of.Series, DiskBytes: of.DiskBytes, MemoryBytes: of.MemoryBytes, Failure: of.Failure}
}

// start starts the parts of s, for a command that writes series without a Daemon;
// stop is called when everything is written.
func (s *series) start(ctx context.Context) (stop func(context.Context) error, err error) {
	var running []part
	stop = func(ctx context.Context) error {
		var errs []error
		for _, p := range slices.Backward(running) {
			errs = append(errs, p.stop(ctx))
		}
		return errors.Join(errs...)
	}
	if s == nil {
		return stop, nil
	}
	for _, p := range s.parts {
		if err := p.start(ctx); err != nil {
			return nil, errors.Join(err, stop(context.WithoutCancel(ctx)))
		}
		running = append(running, p)
	}
	return stop, nil
}
