package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/countergroup/feed"
	"github.com/weirhq/weir/internal/countergroup/storage"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/monitor"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

const (
	flowPatience  = time.Second
	groupPatience = 5 * time.Second // the last flush included
	flowBuffer    = 16 << 20        // bytes to ask the kernel for, per socket
)

// counting is what is counted in counter groups: flow records through the groups to the store.
type counting struct {
	config   *config.Config
	groups   *countergroup.Registry
	builtin  map[string]*countergroup.Group // by GUID, those that are not off
	engine   *countergroup.Engine
	meter    *flow.Meter
	listener *flow.Listener
	monitors *monitor.Monitors
	alerts   func([]monitor.Alert)    // nil for nobody, as the next one
	entries  func([]monitor.Resource) // of resource groups
	records  func([]flow.Record)      // those that come from outside
	log      *slog.Logger
	version  string
	feeder   *feed.Feeder
	stages   []countergroup.Stage // of the engine
}

// newCounting makes the groups and what counts in them. dataTime is for seconds that end when their data does.
func newCounting(cfg *config.Config, driver timeseries.Driver, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger, version string, dataTime bool) *counting {
	c := &counting{config: cfg, groups: countergroup.NewRegistry(), builtin: make(map[string]*countergroup.Group), log: log, version: version}
	c.switchOff(cfg.Groups.Off)
	c.engine = countergroup.New(countergroup.Config{
		Window: int(cfg.Groups.Window / time.Second), TopperBucket: int(cfg.Groups.TopperBucket / time.Second), HighWater: cfg.Groups.HighWater, NewKeyHorizon: cfg.Groups.NewKey, Engines: cfg.Groups.Engines,
	}, c.groups, reg, log)
	var err error
	if c.feeder, err = feed.New(cfg.Groups.Declarations(), c.groups, c.engine, reg); err != nil {
		panic(err) // the configuration has checked them
	}
	homes, err := flow.NewHomes(cfg.Flows.Homes)
	if err != nil {
		panic(err) // the configuration takes networks only
	}
	metering := cfg.Flows.MeterConfig
	metering.Homes = homes
	c.meter = flow.NewMeter(metering, c.groups, c.engine.Batch(), reg)
	c.stages = []countergroup.Stage{c.meter.Stage()}
	if !dataTime { // a replay counts files, not itself
		c.stages = append(c.stages, newMeta(c))
	}
	watching := monitor.Config{Entries: entries(cfg, c.version), DataTime: dataTime, Resources: c.resources}
	var stored *storage.Stage
	if driver != nil {
		stored = storage.New(driver, reg, log)
		watching.Toppers = func(l *countergroup.Toppers) {
			stored.Toppers(l)
			stored.EndFlush(l.End) // at the end there is no flush any more
		}
	}
	c.monitors = monitor.New(watching, c.engine, c.groups, scripts, reg, log, c.alert)
	c.monitors.Follow(c.meter)
	c.stages = append(c.stages, c.monitors)
	if stored != nil {
		c.stages = append(c.stages, stored)
	}
	c.engine.SetStages(c.stages...)
	listening := flow.ListenerConfig{Templates: filepath.Join(cfg.Data, "flow", "templates.json"), ReceiveBuffer: flowBuffer, Sampling: cfg.Flows.Rates()}
	for _, l := range cfg.Flows.Listen {
		listening.Listen = append(listening.Listen, flow.Listen{Network: l.Listen.Network, Address: l.Listen.Address})
	}
	c.listener = flow.NewListener(listening, c.take, reg, log)
	reg.Register(c.listener)
	reg.Register(c.meter)
	return c
}

// take counts records of a datagram and hands them on.
func (c *counting) take(records []flow.Record) {
	c.meter.Count(records, true)
	if c.records != nil {
		c.records(records)
	}
}

// parts are the components in the order they start.
func (c *counting) parts() []part {
	return []part{
		{"monitors", c.monitors.Start, c.monitors.Stop, scriptPatience},
		{"counter groups", func(ctx context.Context) error { return c.engine.Start(context.WithoutCancel(ctx)) }, c.engine.Stop, groupPatience},
		{"flows", c.listen, c.listener.Stop, flowPatience},
	}
}

// entries are the scripts of a configuration.
func entries(cfg *config.Config, version string) []monitor.Entry {
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		data = cfg.Data
	}
	state := filepath.Join(data, "monitors")
	var entries []monitor.Entry
	for _, m := range cfg.Monitors {
		env := map[string]string{
			"App>DBRoot": filepath.Join(state, "db"), "App>DataDirectory": filepath.Join(state, "data"), "App>RunStateDirectory": filepath.Join(state, "run"),
			"App>User": "weir", "App>ProbeID": probeID, "Logging>Logdir": filepath.Join(state, "log"),
		}
		maps.Copy(env, m.Env)
		budget := callBudget(m.Call, int64(m.Memory))
		entries = append(entries, monitor.Entry{Path: m.Path, Budget: budget, Setup: monitor.Setup{
			Paths: m.Modules, Env: env, ConfigPath: filepath.Join(state, "config"), DataPath: filepath.Join(state, "data"), Homes: cfg.Flows.Homes,
			Context: "default", ProbeID: probeID, Version: version, Popen: m.Popen, FFI: m.FFI, Call: int(m.Call / time.Millisecond), Memory: int64(m.Memory) / 4 * 3,
		}})
	}
	return entries
}

// InspectMonitors loads the scripts of one entry of cfg.Monitors, with the groups that cfg has, and runs nothing. Each gets the time that tried says
// for a call, at most.
func InspectMonitors(ctx context.Context, cfg *config.Config, entry int, tried time.Duration) ([]monitor.Inspection, error) {
	c := newCounting(cfg, nil, nil, telemetry.NewRegistry(), slog.New(slog.DiscardHandler), "", true)
	e := entries(cfg, "")[entry]
	e.Setup.Call = min(e.Setup.Call, int(tried/time.Millisecond))
	e.Budget.Busy, e.Budget.Hard = 0, tried
	return monitor.Inspect(ctx, e, c.groups)
}

// probeID is what scripts are told where they run.
const probeID = "probe0"

// switchOff takes the built-in groups away that are off, and registers the others.
func (c *counting) switchOff(off []string) {
	for _, d := range countergroup.Builtin() {
		if slices.Contains(off, d.Title) || slices.Contains(off, d.GUID) {
			if c.builtin[d.GUID] != nil { // and not a group that a script defines in its place
				c.groups.Remove(d.GUID)
				delete(c.builtin, d.GUID)
			}
			continue
		}
		if c.builtin[d.GUID] != nil {
			continue
		}
		d.Bucket = int(c.config.Groups.Window / time.Second)
		d.ToppersOnly = slices.Contains(c.config.Groups.ToppersOnly, d.Title) || slices.Contains(c.config.Groups.ToppersOnly, d.GUID)
		switch g, err := c.groups.Register(d); {
		case err == nil:
			c.builtin[d.GUID] = g
		case !errors.Is(err, countergroup.ErrMeters):
			panic(err) // the built-in groups are right, under test
		default:
			c.log.Warn("a built-in group stays off: a script has defined another one in its place", "group", d.Title, "guid", d.GUID)
		}
	}
}

// reload takes the scripts of another configuration, and the groups that are off in it.
func (c *counting) reload(cfg *config.Config) {
	c.switchOff(cfg.Groups.Off)
	c.monitors.Reload(entries(cfg, c.version))
}

// alert logs alerts and hands them on.
func (c *counting) alert(alerts []monitor.Alert) {
	for _, a := range alerts {
		c.log.Info("alert", "message", a.Message, "sigid", a.SigID, "priority", a.Priority, "status", a.Status, "flow", a.Flow, "group", a.GUID)
	}
	if c.alerts != nil {
		c.alerts(alerts)
	}
}

// resources hands on what scripts added to resource groups.
func (c *counting) resources(all []monitor.Resource) {
	if c.entries != nil {
		c.entries(all)
	}
}

func (c *counting) listen(ctx context.Context) error {
	err := c.listener.Start(ctx)
	var bound *flow.ListenError
	if errors.As(err, &bound) {
		l := c.config.Flows.Listen[bound.Index].Listen
		return c.config.Fail(fmt.Sprintf("sources.netflow[%d].listen", bound.Index), listenError("flows over "+l.Network, l.Address, bound.Err))
	}
	return err
}

// where is what flows are listened for on.
func (c *counting) where() []string {
	var out []string
	for _, a := range c.listener.Addresses() {
		out = append(out, a.String())
	}
	return out
}

func (c *counting) source() api.Source {
	source := api.Source{Name: "netflow", Listen: c.where(), LastInput: c.listener.LastInput()}
	if last := c.engine.LastFlush(); last > 0 {
		source.LastFlush = time.Unix(last, 0)
	}
	window := int64(c.engine.Window())
	source.NextFlush = time.Unix((time.Now().Unix()/window+1)*window, 0)
	return source
}
