package daemon

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/bot/exec"
	"github.com/weirhq/weir/internal/bot/netflow"
	"github.com/weirhq/weir/internal/bot/ping"
	"github.com/weirhq/weir/internal/bot/probe"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/grafolean"
	"github.com/weirhq/weir/internal/inventory"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// collectors are the bots that run in the daemon.
type collectors struct {
	all   []*runningBot
	parts []part // that bots need
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// runningBot is an entry of the configuration.
type runningBot struct {
	name string
	*collector.Collector
	err error // of its end
}

// botMakers make the bot of an entry of collectors; one line for each kind.
var botMakers = map[string]func(config.Collector) bot.Bot{
	"http": func(config.Collector) bot.Bot { return probe.HTTP },
	"tcp":  func(config.Collector) bot.Bot { return probe.TCP },
	"ping": func(config.Collector) bot.Bot { return ping.New() },
	"exec": func(c config.Collector) bot.Bot { return exec.New(commandsOf(c)) },
}

// house is what there is in the daemon for bots.
type house struct {
	config    *config.Config
	inventory *inventory.Inventory
	counts    *counting // nil when nothing feeds counter groups
	scripts   *script.Registry
	registry  *telemetry.Registry
	log       *slog.Logger
}

// houseBots make bots that live on what else is in the daemon, with the parts they need; one line for each kind.
var houseBots = map[string]func(house, config.Collector) (bot.Bot, []part){
	"netflow": makeNetflowBot,
	"lua":     makeLuaBot,
	"snmp":    makeSNMPBot,
}

// collectorPatience is how long runs that go on may take to end.
const collectorPatience = 3 * time.Second

// botRefresh is how often bots look what there is to poll.
const botRefresh = time.Minute

// newCollectors makes the bots of cfg; nil when it has none.
func newCollectors(in house, driver timeseries.Driver) *collectors {
	if len(in.config.Collectors) == 0 {
		return nil
	}
	c := &collectors{}
	to := newValueSink(driver, in.registry)
	for _, entry := range in.config.Collectors {
		made, parts := in.bot(entry)
		c.parts = append(c.parts, parts...)
		from := sources{bot.Fixed(entry.Devices())}
		if entry.Inventory {
			from = append(from, in.inventory.Source(0))
		}
		own := in.log.With("collector", entry.Name)
		running := &runningBot{name: entry.Name}
		running.Collector = collector.New(collector.Config{
			Jobs: func(ctx context.Context) iter.Seq2[collector.Job, error] {
				return aligned(entry, made.Jobs(ctx, from, to))
			},
			Refresh: botRefresh, Places: bot.Places(made), Grace: collectorPatience, Spread: !entry.Aligned, Log: own,
		})
		c.all = append(c.all, running)
	}
	in.registry.Register(c)
	return c
}

// bot makes that of an entry.
func (h house) bot(entry config.Collector) (bot.Bot, []part) {
	if maker := houseBots[entry.Kind]; maker != nil {
		return maker(h, entry)
	}
	maker := botMakers[entry.Kind]
	if maker == nil {
		panic("BUG: the configuration lets the bot " + entry.Kind + " through")
	}
	return maker(entry), nil
}

// makeNetflowBot makes the bot that summarises the flow records that come in.
func makeNetflowBot(in house, entry config.Collector) (bot.Bot, []part) {
	flows := netflow.NewFlows(in.registry)
	in.counts.records = flows.Take
	var known netflow.Inventory
	if entry.Suggest {
		known = in.inventory
	}
	made := netflow.New(flows, known, int64(entry.Account), botState(in.config.Data, entry.Name), in.log.With("collector", entry.Name))
	return made, []part{{entry.Name + " windows", made.Start, made.Stop, collectorPatience}}
}

// commandsOf are those that the bot exec may run.
func commandsOf(c config.Collector) (all []exec.Command) {
	for _, command := range slices.Concat(c.Exec.Targets, c.Exec.Commands) {
		all = append(all, exec.Command(command))
	}
	return all
}

// aligned lets jobs begin at multiples of the interval when that is wanted.
func aligned(entry config.Collector, jobs iter.Seq2[collector.Job, error]) iter.Seq2[collector.Job, error] {
	if !entry.Aligned {
		return jobs
	}
	return func(yield func(collector.Job, error) bool) {
		for job, err := range jobs {
			if job.Start.IsZero() {
				job.Start = time.Unix(0, 0)
			}
			if !yield(job, err) {
				return
			}
		}
	}
}

// sources are several sources as one.
type sources []collector.Source

// FetchJobConfigs implements collector.Source.
func (s sources) FetchJobConfigs(ctx context.Context, protocol string) iter.Seq2[*collector.JobConfig, error] {
	return func(yield func(*collector.JobConfig, error) bool) {
		for _, one := range s {
			for device, err := range one.FetchJobConfigs(ctx, protocol) {
				if !yield(device, err) {
					return
				}
			}
		}
	}
}

// botFigures are what /metrics shows of every bot.
var botFigures = []struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	of          func(collector.Stats) float64
}{
	{botFigure("jobs", "Jobs of a bot."), prometheus.GaugeValue, func(s collector.Stats) float64 { return float64(s.Jobs) }},
	{botFigure("running", "Runs of a bot in progress."), prometheus.GaugeValue, func(s collector.Stats) float64 { return float64(s.Running) }},
	{botFigure("runs_due_total", "Runs of a bot that were due."), prometheus.CounterValue, func(s collector.Stats) float64 { return float64(s.Due) }},
	{botFigure("runs_skipped_total", "Runs that were skipped because the last one of the job went on."), prometheus.CounterValue, func(s collector.Stats) float64 { return float64(s.Skipped) }},
	{botFigure("runs_missed_total", "Runs that were missed because too many went on."), prometheus.CounterValue, func(s collector.Stats) float64 { return float64(s.Missed) }},
	{botFigure("runs_succeeded_total", "Runs that ended well."), prometheus.CounterValue, func(s collector.Stats) float64 { return float64(s.Succeeded) }},
	{botFigure("runs_failed_total", "Runs that ended with an error."), prometheus.CounterValue, func(s collector.Stats) float64 { return float64(s.Failed) }},
	{botFigure("run_seconds_total", "How long runs took, all together."), prometheus.CounterValue, func(s collector.Stats) float64 { return s.Busy.Seconds() }},
	{botFigure("refresh_errors_total", "Refreshes of the jobs that failed."), prometheus.CounterValue, func(s collector.Stats) float64 { return float64(s.RefreshErrors) }},
}

func botFigure(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("weir_collector_"+name, help, []string{"collector"}, nil)
}

// Describe implements prometheus.Collector.
func (c *collectors) Describe(to chan<- *prometheus.Desc) {
	for _, figure := range botFigures {
		to <- figure.description
	}
}

// Collect implements prometheus.Collector.
func (c *collectors) Collect(to chan<- prometheus.Metric) {
	for _, b := range c.all {
		stats := b.Stats()
		for _, figure := range botFigures {
			to <- prometheus.MustNewConstMetric(figure.description, figure.kind, figure.of(stats), b.name)
		}
	}
}

func (c *collectors) start(context.Context) error {
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	for _, b := range c.all {
		c.done.Go(func() { b.err = b.Run(ctx) })
	}
	return nil
}

func (c *collectors) end(context.Context) error {
	c.stop()
	c.done.Wait()
	var failed []error
	for _, b := range c.all {
		failed = append(failed, b.err)
	}
	return errors.Join(failed...)
}

// valueSink stores what bots measure.
type valueSink struct {
	driver  timeseries.Driver
	ledger  *telemetry.Ledger
	refused *telemetry.Discard
	failed  *telemetry.Discard
}

func newValueSink(driver timeseries.Driver, reg *telemetry.Registry) *valueSink {
	ledger := reg.Ledger("bots", "values")
	return &valueSink{driver: driver, ledger: ledger, refused: ledger.Reason("refused"), failed: ledger.Reason("failed")}
}

// errNothingKept is when there is nowhere to put values.
var errNothingKept = errors.New("cannot store values: timeseries.write names no driver")

// SendResults implements collector.Sink.
func (s *valueSink) SendResults(ctx context.Context, account int64, values []collector.Value) error {
	s.ledger.Received(len(values))
	now := time.Now()
	tag := strconv.FormatInt(account, 10)
	points := make([]timeseries.Point, 0, len(values))
	var bad error
	for _, v := range values {
		if err := collector.CheckPath(v.Path); err != nil {
			s.refused.Add(1)
			bad = err
			continue
		}
		at := v.Time
		if at.IsZero() {
			at = now
		}
		points = append(points, timeseries.Point{Schema: grafolean.Schema, Time: at.Unix(), Tags: []string{tag, v.Path}, Values: []float64{v.Value}})
	}
	err := errNothingKept
	if s.driver != nil {
		err = s.driver.Append(ctx, points)
	}
	refused := 0
	var some *timeseries.AppendError
	switch {
	case errors.As(err, &some):
		refused = min(some.Refused, len(points))
		s.refused.Add(refused)
	case err != nil:
		refused = len(points)
		s.failed.Add(refused)
	}
	s.ledger.Passed(len(points) - refused)
	return errors.Join(bad, err)
}
