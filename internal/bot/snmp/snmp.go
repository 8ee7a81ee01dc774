// Package snmp has the bot that asks devices over SNMP, in versions 1, 2c and 3: it fetches what the sensors
// of a device name in few requests, makes rates of counters, puts values together by
// expressions, and notes which interfaces devices have.
package snmp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/telemetry"
)

// Config is what a bot works with.
type Config struct {
	State    string            // file where counters are kept from one start to the next; "" for none
	Entities bot.Entities      // where interfaces are noted; nil for nowhere
	Ledger   *telemetry.Ledger // of rows; nil for one that nobody sees
	Log      *slog.Logger      // nil means the default logger
}

// SNMP is the bot. Details of a sensor: oids (each {"oid", "fetch_method": "get" or "walk"}), expression over
// their values $1 to $N, and output_path, where {$index} and {$1} stand for what a row has. Values
// are at PREFIX.snmp.OUTPUT_PATH (section 5.3).
type SNMP struct {
	config   Config
	counters *counters
	load     sync.Once
	warnings *telemetry.Limited

	first, reset, incomplete, expression, path, duplicate *telemetry.Discard
}

var _ bot.Bot = (*SNMP)(nil)

// warnings are written at most so often.
const (
	warningPeriod = time.Minute
	warningBurst  = 10
)

// New returns a bot. The file is read when jobs are asked for.
func New(config Config) *SNMP {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.Ledger == nil {
		config.Ledger = telemetry.NewLedger("snmp", "rows")
	}
	l := config.Ledger
	return &SNMP{
		config: config, counters: &counters{path: config.State, devices: make(map[string]*device)}, warnings: telemetry.NewLimited(config.Log, warningPeriod, warningBurst),
		first: l.Reason("first"), reset: l.Reason("reset"), incomplete: l.Reason("incomplete"), expression: l.Reason("expression"), path: l.Reason("path"), duplicate: l.Reason("duplicate"),
	}
}

// Protocol implements bot.Bot.
func (*SNMP) Protocol() string { return "snmp" }

// interfacesEvery is how often interfaces are looked at.
const interfacesEvery = 5 * time.Minute

// Jobs implements bot.Bot: one job that fetches, and for devices of the inventory one that looks at their
// interfaces. It keeps the counters too.
func (s *SNMP) Jobs(ctx context.Context, from collector.Source, to collector.Sink) iter.Seq2[collector.Job, error] {
	s.load.Do(func() {
		if err := s.counters.load(); err != nil {
			s.config.Log.Error("the counters of the last run are lost", "error", err)
		}
	})
	if err := s.Close(); err != nil {
		s.config.Log.Error("counters would not survive a restart", "error", err)
	}
	return func(yield func(collector.Job, error) bool) {
		for config, err := range from.FetchJobConfigs(ctx, s.Protocol()) {
			if err != nil {
				yield(collector.Job{}, err)
				return
			}
			intervals := config.Intervals()
			if len(intervals) == 0 {
				continue
			}
			p := sync.OnceValue(func() *poll { return newPoll(config) })
			fetch := func(ctx context.Context, run collector.Run) error { return s.fetch(ctx, p(), to, run) }
			if !yield(collector.Job{ID: bot.ID(config), Intervals: intervals, Data: config, Run: fetch}, nil) {
				return
			}
			if s.config.Entities == nil || config.EntityID == 0 {
				continue
			}
			look := func(ctx context.Context, _ collector.Run) error { return s.interfaces(ctx, config) }
			if !yield(collector.Job{ID: bot.ID(config) + "-interfaces", Intervals: []time.Duration{interfacesEvery}, Data: config, Run: look}, nil) {
				return
			}
		}
	}
}

// Close keeps the counters. The bot can still be used.
func (s *SNMP) Close() error { return s.counters.save() }

// poll is what is asked of one device.
type poll struct {
	config  *collector.JobConfig
	prefix  string // of paths
	sensors []polled
}

// polled is one sensor of a device.
type polled struct {
	*sensor
	interval time.Duration
	err      error // that makes it useless
}

func newPoll(config *collector.JobConfig) *poll {
	p := &poll{config: config, prefix: bot.Prefix(config) + ".snmp."}
	for i := range config.Sensors {
		made := polled{interval: config.Sensors[i].Interval}
		made.sensor, made.err = newSensor(&config.Sensors[i])
		p.sensors = append(p.sensors, made)
	}
	return p
}

// uptimeOID is how long a device is up.
const uptimeOID = "1.3.6.1.2.1.1.3.0"

// fetch does what is due for a device.
func (s *SNMP) fetch(ctx context.Context, p *poll, to collector.Sink, run collector.Run) error {
	var failed problems
	var due []int
	wanted := []request{{oid: uptimeOID}}
	for i := range p.sensors {
		sensor := &p.sensors[i]
		switch {
		case sensor.interval == 0 || !run.Affects(sensor.interval):
		case sensor.err != nil:
			failed.add(i, sensor.err)
		default:
			due = append(due, i)
			wanted = append(wanted, sensor.requests...)
		}
	}
	if len(due) == 0 {
		return failed.join(p.config.Name)
	}
	f, err := ask(ctx, p.config, wanted)
	if err != nil {
		failed.add(-1, err)
		return failed.join(p.config.Name)
	}
	uptime := f.found[request{oid: uptimeOID}].one
	kept := s.counters.device(bot.ID(p.config))
	batch := batch{at: time.Now(), places: make(map[string]int)}
	func() {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		for _, interval := range run.Affecting {
			kept.baselines(interval).begin(uptime)
		}
		for _, i := range due {
			sensor := &p.sensors[i]
			problem := sensor.rows(f.found, kept.baselines(sensor.interval.Truncate(time.Second)), p.prefix, func(path []byte, value float64, err error) {
				s.note(&batch, &failed, i, path, value, err)
			})
			if problem != nil {
				failed.add(i, problem)
			}
		}
	}()
	if len(batch.values) > 0 {
		s.config.Ledger.Passed(len(batch.values))
		if err := to.SendResults(context.WithoutCancel(ctx), p.config.AccountID, batch.values); err != nil {
			failed.add(-1, err)
		}
	}
	return failed.join(p.config.Name)
}

// ask fetches what is wanted of a device, unless it is silent.
func ask(ctx context.Context, config *collector.JobConfig, wanted []request) (*fetcher, error) {
	session, err := newSession(config)
	if err != nil {
		return nil, err
	}
	hangUp, err := dial(ctx, session)
	if err != nil {
		return nil, err
	}
	defer hangUp()
	f := &fetcher{session: session}
	f.all(ctx, wanted)
	return f, f.silent
}

// batch is what is sent of one run.
type batch struct {
	at     time.Time // all values of a run have one time
	values []collector.Value
	places map[string]int // of paths
}

// note takes one row over, or counts why not.
func (s *SNMP) note(to *batch, failed *problems, sensor int, path []byte, value float64, err error) {
	s.config.Ledger.Received(1)
	switch {
	case err == nil:
	case errors.Is(err, errFirst):
		s.first.Add(1)
		return
	case errors.Is(err, errReset):
		s.reset.Add(1)
		return
	case errors.Is(err, errIncomplete):
		s.incomplete.Add(1)
		return
	default:
		s.expression.Add(1)
		failed.add(sensor, err)
		return
	}
	if err := collector.CheckPath(string(path)); err != nil {
		s.path.Add(1)
		failed.add(sensor, err)
		return
	}
	if at, ok := to.places[string(path)]; ok { // the last one counts
		s.duplicate.Add(1)
		to.values[at].Value = value
		return
	}
	to.places[string(path)] = len(to.values)
	to.values = append(to.values, collector.Value{Path: string(path), Value: value, Time: to.at})
}

// problems are what went wrong in a run, a few of them in words.
type problems struct {
	all  []error
	more int
}

const maxProblems = 5

// add notes a problem of a sensor, counted from 0, or of the device for -1.
func (p *problems) add(sensor int, err error) {
	switch {
	case len(p.all) >= maxProblems:
		p.more++
	case sensor < 0:
		p.all = append(p.all, err)
	default:
		p.all = append(p.all, fmt.Errorf("sensor %d: %w", sensor+1, err))
	}
}

func (p *problems) join(device string) error {
	if len(p.all) == 0 {
		return nil
	}
	if p.more > 0 {
		p.all = append(p.all, fmt.Errorf("and %d more", p.more))
	}
	return fmt.Errorf("cannot poll all of %q: %w", device, errors.Join(p.all...))
}

// Check is what is wrong with how a device is to be polled.
func Check(config *collector.JobConfig) (wrong []error) {
	if _, err := newSession(config); err != nil {
		wrong = append(wrong, err)
	}
	for i, made := range newPoll(config).sensors {
		if made.err != nil {
			wrong = append(wrong, fmt.Errorf("sensor %d: %w", i+1, made.err))
		}
	}
	return wrong
}
