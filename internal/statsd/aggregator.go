package statsd

import (
	"cmp"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// Aggregator sums up what arrives between two flushes (specification section
// 2). It has one shard per reader, each with tables and a lock of its own, so
// that readers do not wait for each other; a flush puts the shards together.
// Its methods are safe for concurrent use.
type Aggregator struct {
	seed   maphash.Seed
	shards []*shard
	names  names
	clock  atomic.Uint64 // ticks at the first arrival of a name in an interval

	log       *slog.Logger
	ledger    *telemetry.Ledger // "statsd.values"
	badLine   *telemetry.Discard
	nameLimit *telemetry.Discard
	timedFull *telemetry.Discard
	notices   *notices
	badLines  atomic.Int64 // since the start
	badLog    *telemetry.Limited
	limitLog  *telemetry.Limited
	spentLog  *telemetry.Limited
	sourceLog *telemetry.Limited
	logAllBad atomic.Bool

	flushing sync.Mutex // one flush, listing, deletion or change of options at a time; guards what follows
	options  options
	previous int64 // Unix seconds of the last flush, 0 before the first
	sums     prefixSums
}

// options are the parts of a Config that decide what a flush holds and leaves.
type options struct {
	seconds    float64 // of an interval
	prefix     string
	remove     [kinds]bool // delete what was not seen in the interval
	gaugeTTL   int
	ttl        [kinds]int64 // seconds a metric outlives its last value; 0 for ever
	statistics *Statistics
	percentile []float64
}

func optionsOf(cfg Config) options {
	seconds := cfg.FlushInterval.Seconds()
	lives := func(t time.Duration) int64 { return int64((t + time.Second - 1) / time.Second) }
	return options{
		seconds: seconds, prefix: cfg.Prefix, gaugeTTL: max(cfg.GaugeTTL, 1), percentile: cfg.Percentiles,
		remove:     [kinds]bool{Counter: cfg.DeleteCounters, Timer: cfg.DeleteTimers, Gauge: cfg.DeleteGauges, Set: cfg.DeleteSets},
		ttl:        [kinds]int64{Counter: lives(cfg.TTL.Counters), Timer: lives(cfg.TTL.Timers), Gauge: lives(cfg.TTL.Gauges), Set: lives(cfg.TTL.Sets)},
		statistics: NewStatistics(seconds, cfg.Percentiles, cfg.Histograms, cfg.TimerMetrics),
	}
}

// How often refused names and bad lines are logged.
const (
	logPeriod = 10 * time.Second
	logBurst  = 10
)

// newAggregator returns an empty Aggregator with so many shards.
func newAggregator(cfg Config, shards int, reg *telemetry.Registry, log *slog.Logger) *Aggregator {
	a := &Aggregator{
		seed: maphash.MakeSeed(), log: log, ledger: reg.Ledger("statsd.values", "values"),
		badLog: telemetry.NewLimited(log, logPeriod, logBurst), limitLog: telemetry.NewLimited(log, logPeriod, 1),
		spentLog: telemetry.NewLimited(log, logPeriod, 1), sourceLog: telemetry.NewLimited(log, logPeriod, 1),
		options: optionsOf(cfg),
	}
	a.badLine, a.nameLimit = a.ledger.Reason("bad_line"), a.ledger.Reason("name_limit")
	a.timedFull = a.ledger.Reason("timed_full")
	a.notices = newNotices(reg, log)
	a.logAllBad.Store(cfg.Debug || cfg.DumpMessages)
	a.names.spent = reg.Overflow("statsd.values", "tag_sets")
	a.names.spent.Name(a.names.offenders)
	a.names.sources.spent = reg.Overflow("statsd.values", "source_names")
	a.names.sources.spent.Name(a.names.overspent)
	a.names.setLimits(cfg.MaxNames, cfg.MaxTagSets)
	for i := range shards {
		s := &shard{aggregator: a, index: i, start: 1, prefix: cfg.Prefix}
		s.parser = Parser{
			Sanitize: cfg.Sanitize, OnValue: s.onValue, OnBad: s.onBad, Rules: NewTagRules(cfg.TagRules),
			Dialect: cfg.Dialect, ContainerTag: cfg.ContainerTag, OnNotice: a.notices.put,
		}
		if cfg.DumpMessages {
			s.parser.OnLine = func(line []byte) { log.Debug(string(line)) }
		}
		if cfg.KeyFlush.Interval > 0 {
			s.keys.limit = cfg.MaxNames
			s.parser.OnKey = s.keys.add
		}
		a.shards = append(a.shards, s)
	}
	a.shards[0].makeInternal() // they are there from the start, and first
	return a
}

// reload takes over the options that can change while running.
func (a *Aggregator) reload(cfg Config) {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	a.options = optionsOf(cfg)
	a.logAllBad.Store(cfg.Debug || cfg.DumpMessages)
	a.names.setLimits(cfg.MaxNames, cfg.MaxTagSets)
	for _, s := range a.shards {
		s.mu.Lock()
		s.parser.Sanitize, s.parser.Rules = cfg.Sanitize, NewTagRules(cfg.TagRules)
		if s.prefix != cfg.Prefix {
			s.prefix = cfg.Prefix
			s.makeInternal()
		}
		s.mu.Unlock()
	}
}

// metric returns the metric of a name, a new one when there is none; nil when
// the limit of names is reached and force does not override it, and the bucket
// for what overflows, which has another name, when the metric has too many sets of tags, or src made too many names.
func (a *Aggregator) metric(kind Kind, key []byte, src *source, force bool) *metric {
	return a.names.get(kind, key, src, force, func(name string) *metric {
		m := &metric{name: name, kind: kind, hash: maphash.String(a.seed, name), cells: make([]atomic.Pointer[cell], len(a.shards))}
		m.spare = kind == Counter && (strings.Contains(name, "packets_received") ||
			strings.Contains(name, "metrics_received") || strings.Contains(name, "bad_lines_seen"))
		m.arrive(a.clock.Add(1))
		return m
	})
}

// maxLogged bounds how much of a bad line or a name is logged, in bytes.
const maxLogged = 1024

func shorten(text []byte) string {
	if len(text) > maxLogged {
		return string(appendText(nil, text[:maxLogged])) + "..."
	}
	return string(appendText(nil, text))
}

// reportBad logs an invalid value as the reference daemon does (specification
// section 1.4), at a limited rate unless everything is to be logged.
func (a *Aggregator) reportBad(b Bad) {
	missed, ok := 0, a.logAllBad.Load()
	if !ok {
		missed, ok = a.badLog.Allow()
	}
	if !ok {
		return
	}
	message := "Bad line: " + shorten(b.Fields) + ` in msg "` + shorten(b.Line) + `"`
	if missed > 0 {
		a.log.Warn(message, "left_out", missed)
	} else {
		a.log.Warn(message)
	}
}

func (a *Aggregator) reportRefused(v *Value) {
	if missed, ok := a.limitLog.Allow(); ok {
		a.log.Warn("too many names: values of new ones are dropped; raise the limit or find who sends them",
			"kind", v.Kind, "name", shorten(v.Key), "names", a.names.size(), "left_out", missed)
	}
}

// reportOverflow says that a value of key, which came from src if that has a budget, went to the bucket m.
func (a *Aggregator) reportOverflow(m *metric, key []byte, src *source) {
	if src != nil && m.name == src.bucket {
		if missed, ok := a.sourceLog.Allow(); ok {
			a.log.Warn("a source has made too many names: values of new ones are added up in a bucket; raise its max_names or look for the sender whose names do not repeat",
				"source", src.name, "kind", m.kind, "name", shorten(key), "bucket", m.name, "left_out", missed)
		}
		return
	}
	if missed, ok := a.spentLog.Allow(); ok {
		a.log.Warn("a metric has too many sets of tags: values of new ones are added up in a bucket; raise statsd.max_tag_sets or leave out the tag whose values do not repeat",
			"kind", m.kind, "metric", shorten([]byte(strings.TrimSuffix(m.name, bucketTag))), "name", shorten(key), "bucket", shorten([]byte(m.name)), "left_out", missed)
	}
}

// Counters returns the counters of the running interval in the order of
// flushes, without rates.
func (a *Aggregator) Counters() []backend.Counter {
	return list(a, Counter, func(m *metric) backend.Counter { return backend.Counter{Name: m.name, Value: a.sum(m)} })
}

// Gauges returns the gauges as they are now.
func (a *Aggregator) Gauges() []backend.Gauge {
	return list(a, Gauge, func(m *metric) backend.Gauge { return backend.Gauge{Name: m.name, Value: m.value.get()} })
}

// Timers returns names and values of the timers of the running interval, the
// values in the order in which they arrived.
func (a *Aggregator) Timers() []backend.Timer {
	return list(a, Timer, func(m *metric) backend.Timer {
		t := backend.Timer{Name: m.name}
		for i, s := range a.shards {
			if c := m.cells[i].Load(); c != nil && c.first[s.half] >= s.start {
				t.Values = c.more.appendValues(t.Values, s.half)
			}
		}
		return t
	})
}

// sum is a counter's value in the running interval. Callers hold all shards.
func (a *Aggregator) sum(m *metric) float64 {
	total := 0.0
	for i, s := range a.shards {
		if c := m.cells[i].Load(); c != nil && c.first[s.half] >= s.start {
			total = plus(total, c.number[s.half])
		}
	}
	return total
}

// arrived returns the clock when the first value of the running interval came
// for m, 0 when none has. Callers hold all shards.
func (a *Aggregator) arrived(m *metric) uint64 {
	first := uint64(0)
	for i, s := range a.shards {
		if c := m.cells[i].Load(); c != nil && c.first[s.half] >= s.start && (first == 0 || c.first[s.half] < first) {
			first = c.first[s.half]
		}
	}
	return first
}

// list renders what exists now of one kind. Values are read some hundred names
// at a time, so that intake is never held up for long.
func list[T any](a *Aggregator, kind Kind, render func(*metric) T) []T {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	type ordered struct {
		order uint64
		T     T
	}
	var found []ordered
	a.chunks(a.names.all(kind), func(m *metric) {
		order := m.order
		if m.gone {
			first := a.arrived(m)
			if first == 0 {
				return
			}
			again := metric{name: m.name}
			again.arrive(first)
			order = again.order
		}
		found = append(found, ordered{order, render(m)})
	})
	slices.SortFunc(found, func(x, y ordered) int { return cmp.Compare(x.order, y.order) })
	out := make([]T, len(found))
	for i := range found {
		out[i] = found[i].T
	}
	return out
}

// chunks calls f for every metric with all shards locked, and lets intake go on
// after every few hundred.
func (a *Aggregator) chunks(metrics []*metric, f func(*metric)) {
	for chunk := range slices.Chunk(metrics, 256) {
		for _, s := range a.shards {
			s.mu.Lock()
		}
		for _, m := range chunk {
			f(m)
		}
		for _, s := range a.shards {
			s.mu.Unlock()
		}
	}
}

// Delete deletes the metric named pattern and, when pattern ends in ".*", every
// one that begins with the text before the "*" (specification section 5.2). It
// returns the names of those that were there.
func (a *Aggregator) Delete(kind Kind, pattern string) (deleted []string) {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	var matching []*metric
	if !strings.HasSuffix(pattern, ".*") {
		if m := a.names.find(kind, pattern); m != nil {
			matching = append(matching, m)
		}
	} else {
		prefix := strings.TrimSuffix(pattern, "*")
		for _, m := range a.names.all(kind) {
			if m.name == pattern || strings.HasPrefix(m.name, prefix) {
				matching = append(matching, m)
			}
		}
		slices.SortFunc(matching, byOrder)
	}
	a.remove(kind, matching, func(m *metric) bool {
		if !m.gone || a.arrived(m) != 0 {
			deleted = append(deleted, m.name)
		}
		return true
	})
	return deleted
}

func byOrder(x, y *metric) int { return cmp.Compare(x.order, y.order) }

// remove takes those metrics of one kind out of every table for which still
// says so when no value can arrive.
func (a *Aggregator) remove(kind Kind, metrics []*metric, still func(*metric) bool) {
	removed := make(map[*metric]bool)
	for chunk := range slices.Chunk(metrics, 256) {
		var dead []*metric
		for _, s := range a.shards {
			s.mu.Lock()
		}
		for _, m := range chunk {
			if !still(m) {
				continue
			}
			dead = append(dead, m)
			removed[m] = true
			for i, s := range a.shards {
				if c := m.cells[i].Load(); c != nil {
					s.tables[kind].remove(m.hash, c)
					s.forgetInternal(c)
				}
			}
		}
		a.names.forget(kind, dead)
		for _, s := range a.shards {
			s.mu.Unlock()
		}
	}
	a.names.unlist(kind, removed)
}

// forgetInternal makes the shard make c anew if it is an internal counter.
func (s *shard) forgetInternal(c *cell) {
	for _, internal := range []**cell{&s.badLines, &s.packets, &s.metrics} {
		if *internal == c {
			*internal = nil
		}
	}
}
