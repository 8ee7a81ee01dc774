package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/countergroup/storage"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
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
	engine   *countergroup.Engine
	meter    *flow.Meter
	listener *flow.Listener
	stages   []countergroup.Stage // of the engine
}

// newCounting makes the groups and what counts in them.
func newCounting(cfg *config.Config, s *store.Store, reg *telemetry.Registry, log *slog.Logger) *counting {
	c := &counting{config: cfg, groups: countergroup.NewRegistry()}
	for _, d := range countergroup.Builtin() {
		if slices.Contains(cfg.Groups.Off, d.Title) || slices.Contains(cfg.Groups.Off, d.GUID) {
			continue
		}
		d.Bucket = int(cfg.Groups.Window / time.Second)
		if _, err := c.groups.Register(d); err != nil {
			panic(err) // the built-in groups are right, under test
		}
	}
	c.engine = countergroup.New(countergroup.Config{
		Window: int(cfg.Groups.Window / time.Second), TopperBucket: int(cfg.Groups.TopperBucket / time.Second), HighWater: cfg.Groups.HighWater, NewKeyHorizon: cfg.Groups.NewKey,
	}, c.groups, reg, log)
	homes, err := flow.NewHomes(cfg.Flows.Homes)
	if err != nil {
		panic(err) // the configuration takes networks only
	}
	metering := cfg.Flows.MeterConfig
	metering.Homes = homes
	c.meter = flow.NewMeter(metering, c.groups, c.engine.Batch(), reg)
	c.stages = []countergroup.Stage{c.meter.Stage()}
	if s != nil {
		c.stages = append(c.stages, storage.New(s, reg, log))
	}
	c.engine.SetStages(c.stages...)
	listening := flow.ListenerConfig{Templates: filepath.Join(cfg.Data, "flow", "templates.json"), ReceiveBuffer: flowBuffer, Sampling: cfg.Flows.Rates()}
	for _, l := range cfg.Flows.Listen {
		listening.Listen = append(listening.Listen, flow.Listen{Network: l.Listen.Network, Address: l.Listen.Address})
	}
	c.listener = flow.NewListener(listening, func(records []flow.Record) { c.meter.Count(records, true) }, reg, log)
	reg.Register(c.listener)
	reg.Register(c.meter)
	return c
}

// parts are the components in the order they start.
func (c *counting) parts() []part {
	return []part{
		{"counter groups", func(ctx context.Context) error { return c.engine.Start(context.WithoutCancel(ctx)) }, c.engine.Stop, groupPatience},
		{"flows", c.listen, c.listener.Stop, flowPatience},
	}
}

func (c *counting) listen(ctx context.Context) error {
	err := c.listener.Start(ctx)
	var bound *flow.ListenError
	if errors.As(err, &bound) {
		return c.config.Fail(fmt.Sprintf("sources.netflow[%d].listen", bound.Index), err)
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
