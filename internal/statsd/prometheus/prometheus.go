// Package prometheus is the StatsD backend that Prometheus scrapes (specification section
// 10): it adds up what flushes hold and shows it as text.
//
//	counter   counter                the sum of all flushes
//	gauge     gauge                  while StatsD holds it
//	set       gauge                  distinct members of the last flush
//	timer     summary or histogram   quantiles of the last flush; count, sum and buckets of all
//
// Values that were sampled count as often as the sample rate says. Metrics that become the same
// series are added up; of gauges and quantiles the last one counts.
package prometheus

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd/tags"
	"github.com/weirhq/weir/internal/telemetry"
)

// Config says how flushes are shown.
type Config struct {
	Timers  string    // "summary" or "histogram"
	Buckets []float64 // upper bounds of histograms, ascending and finite
	Rules   []Rule

	// TTL is how long a series is shown after the last value came; 0 is for ever. Gauges
	// are shown as long as StatsD holds them.
	TTL time.Duration

	Ledger *telemetry.Ledger // in metrics of flushes; nil makes one nobody sees
}

// DefaultBuckets suit milliseconds.
func DefaultBuckets() []float64 {
	return []float64{5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}
}

// maxSeries is how many series are shown; metrics that would make further ones are counted as lost.
const maxSeries = 1_000_000

// Backend shows flushes. Its methods may be called from any goroutine.
type Backend struct {
	config Config
	rules  []*rule
	warn   *telemetry.Limited

	ledger                                     *telemetry.Ledger
	ruled, conflict, negative, infinite, limit *telemetry.Discard
	lastFlush                                  atomic.Int64 // Unix seconds

	mu          sync.Mutex
	percentiles []float64
	turn        uint64             // number of the flush
	now         int64              // its time
	count       int                // series
	families    []*family          // by name
	byName      map[string]*family // every name that the lines of a family have
	entries     [kinds]map[string]*entry
	labels      []tags.Tag
}

// kind is a kind of StatsD metric.
type kind int

const (
	counter kind = iota
	gauge
	timer
	set
	kinds
)

func (k kind) String() string { return [...]string{"counter", "gauge", "timer", "set"}[k] }

// family is all series with one name.
type family struct {
	name      string
	shown     string // its type: "counter", "gauge", "summary", "histogram"
	quantiles []float64
	series    map[string]*series // by labels
	sorted    []*series          // by labels; nil when it is out of date
}

// series is one line of the page, or several that belong together.
type series struct {
	labels string // `a="b",c="d"`
	ttl    int64  // seconds, 0 for ever
	fresh  int64  // when a value came last
	turn   uint64 // flush that held it last
	gone   bool   // it is not shown any more

	value      float64 // of counters, gauges and sets
	count, sum float64
	parts      []float64 // the values of quantiles, or what is in each bucket alone; NaN and 0 for none
}

// entry is what becomes of one metric of StatsD, found once.
type entry struct {
	turn   uint64
	series *series            // nil when there is none
	family *family            // of series
	lost   *telemetry.Discard // why there is none
	scale  float64
}

// New returns a Backend that shows nothing yet.
func New(config Config) (*Backend, error) {
	ledger := config.Ledger
	if ledger == nil {
		ledger = telemetry.NewLedger("statsd.prometheus", "metrics")
	}
	b := &Backend{
		config: config, byName: make(map[string]*family), warn: telemetry.NewLimited(slog.New(slog.DiscardHandler), time.Minute, 5),
		ledger: ledger, ruled: ledger.Reason("rule"), conflict: ledger.Reason("type_conflict"), negative: ledger.Reason("negative"),
		infinite: ledger.Reason("not_finite"), limit: ledger.Reason("series_limit"),
	}
	for i := range b.entries {
		b.entries[i] = make(map[string]*entry)
	}
	for _, r := range config.Rules {
		ready, err := r.compile()
		if err != nil {
			return nil, err
		}
		b.rules = append(b.rules, ready)
	}
	return b, nil
}

// Name implements [backend.Backend].
func (*Backend) Name() string { return "prometheus" }

// Init implements [backend.Backend].
func (b *Backend) Init(_ context.Context, env backend.Environment) error {
	if env.Log != nil {
		b.warn = telemetry.NewLimited(env.Log, time.Minute, 5)
	}
	b.lastFlush.Store(env.Startup)
	return nil
}

// Status implements [backend.StatusReporter].
func (b *Backend) Status(write func(stat string, value float64)) {
	b.mu.Lock()
	count := b.count
	b.mu.Unlock()
	write("last_flush", float64(b.lastFlush.Load()))
	write("series", float64(count))
}

// Flush implements [backend.Backend]. It never fails: what cannot be shown is counted.
func (b *Backend) Flush(_ context.Context, f *backend.Flush) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	b.now = f.Timestamp
	b.percentiles = f.Percentiles
	b.ledger.Received(f.Count())
	for i := range f.Counters {
		c := &f.Counters[i]
		b.counter(c.Name, c.Value)
	}
	for i := range f.Gauges {
		if s, e := b.find(gauge, f.Gauges[i].Name, true); s != nil {
			s.value = f.Gauges[i].Value * e.scale
		}
	}
	for i := range f.Timers {
		b.timer(&f.Timers[i])
	}
	for i := range f.Sets {
		if s, _ := b.find(set, f.Sets[i].Name, true); s != nil {
			s.value += float64(len(f.Sets[i].Members))
		}
	}
	b.tidy()
	b.lastFlush.Store(time.Now().Unix())
	return nil
}

func (b *Backend) counter(name string, value float64) {
	switch {
	case value < 0: // Prometheus would take it for a restart
		b.negative.Add(1)
		b.warn.Warn("a counter is counted down, which Prometheus does not know: the interval is left out", "name", name, "value", value)
	case math.IsNaN(value) || math.IsInf(value, 0):
		b.infinite.Add(1)
		b.warn.Warn("a counter is not a number or not finite: the interval is left out", "name", name, "value", value)
	default:
		if s, e := b.find(counter, name, value > 0); s != nil {
			s.value += value * e.scale
		}
	}
}

func (b *Backend) timer(t *backend.Timer) {
	sum := 0.0
	for _, v := range t.Values {
		sum += v
	}
	if infinite := sum + t.Count; math.IsNaN(infinite) || math.IsInf(infinite, 0) {
		b.infinite.Add(1)
		b.warn.Warn("a timer has values or a count that are not finite: the interval is left out", "name", t.Name)
		return
	}
	s, e := b.find(timer, t.Name, len(t.Values) > 0)
	if s == nil {
		return
	}
	weight := 0.0 // of a value
	if len(t.Values) > 0 {
		weight = t.Count / float64(len(t.Values))
	}
	s.count += t.Count
	s.sum += sum * weight * e.scale
	if e.family.shown == "histogram" {
		bucket := 0
		for _, v := range t.Values {
			for bucket < len(b.config.Buckets) && v*e.scale > b.config.Buckets[bucket] {
				bucket++
			}
			s.parts[bucket] += weight
		}
		return
	}
	for i, q := range e.family.quantiles {
		s.parts[i] = math.NaN()
		if n := len(t.Values); n > 0 {
			s.parts[i] = t.Values[max(int(math.Floor(q*float64(n)+0.5)), 1)-1] * e.scale
		}
	}
}

// find returns the series of a metric, for which a value came if fresh. It accounts for the
// metric. Without a series it returns nil: there is to be none, or it expired and nothing came.
func (b *Backend) find(k kind, name string, fresh bool) (*series, *entry) {
	e := b.entries[k][name]
	if e != nil && e.series != nil && e.series.gone {
		if !fresh {
			e.turn = b.turn
			b.ledger.Passed(1)
			return nil, nil
		}
		e = nil
	}
	if e == nil {
		e = b.resolve(k, name)
		b.entries[k][name] = e
	}
	e.turn = b.turn
	if e.series == nil {
		e.lost.Add(1)
		return nil, nil
	}
	b.ledger.Passed(1)
	s := e.series
	if fresh {
		s.fresh = b.now
	}
	if s.turn != b.turn {
		s.turn = b.turn
		if k == set {
			s.value = 0
		}
	}
	return s, e
}

// resolve finds out what becomes of a metric, and makes its series.
func (b *Backend) resolve(k kind, key string) *entry {
	name, labels := tags.Split(b.labels[:0], key)
	clean := labels[:0:0]
	for _, l := range labels {
		clean = tags.Set(clean, 0, tags.Tag{Name: labelName(l.Name), Value: l.Value})
	}
	b.labels = labels
	shown, scale, ttl := [...]string{"counter", "gauge", b.config.Timers, "gauge"}[k], 1.0, b.config.TTL
	for _, r := range b.rules {
		if r.Type != "" && r.Type != k.String() {
			continue
		}
		stars := r.pattern.FindStringSubmatch(name)
		if stars == nil {
			continue
		}
		if r.Drop {
			return &entry{lost: b.ruled}
		}
		name, clean = r.apply(name, stars, clean)
		scale = r.Scale
		if k == timer && r.Timers != "" {
			shown = r.Timers
		}
		if r.TTL != 0 {
			ttl = r.TTL
		}
		break
	}
	f := b.family(metricName(name), shown)
	if f == nil {
		b.warn.Warn("a metric is not shown to Prometheus: its name belongs to metrics of another type", "name", key, "type", k)
		return &entry{lost: b.conflict}
	}
	text := string(appendLabels(nil, clean))
	s := f.series[text]
	if s == nil {
		if b.count >= maxSeries {
			b.warn.Warn("a metric is not shown to Prometheus: there are too many; set a ttl, or find who sends them", "name", key, "series", b.count)
			return &entry{lost: b.limit}
		}
		s = &series{labels: text, ttl: int64(ttl / time.Second), fresh: b.now}
		if shown == "histogram" {
			s.parts = make([]float64, len(b.config.Buckets)+1)
		} else if k == timer {
			s.parts = make([]float64, len(f.quantiles))
		}
		f.series[text] = s
		f.sorted = nil
		b.count++
	}
	return &entry{series: s, family: f, scale: scale}
}

// family returns the family of a name, nil when the name belongs to one of another type.
func (b *Backend) family(name, shown string) *family {
	if f := b.byName[name]; f != nil && f.name == name {
		if f.shown != shown {
			return nil
		}
		return f
	}
	names := lineNames(name, shown)
	for _, n := range names {
		if b.byName[n] != nil {
			return nil
		}
	}
	f := &family{name: name, shown: shown, series: make(map[string]*series)}
	if shown == "summary" {
		for _, p := range b.percentiles {
			if p > 0 {
				f.quantiles = append(f.quantiles, min(math.Round(p*1e7)/1e9, 1)) // 0.999, and not 0.9990000000000001
			}
		}
		slices.Sort(f.quantiles)
		f.quantiles = slices.Compact(f.quantiles)
	}
	for _, n := range names {
		b.byName[n] = f
	}
	at, _ := slices.BinarySearchFunc(b.families, name, func(f *family, name string) int { return strings.Compare(f.name, name) })
	b.families = slices.Insert(b.families, at, f)
	return f
}

// lineNames are the names that lines of a family begin with.
func lineNames(name, shown string) []string {
	switch shown {
	case "summary":
		return []string{name, name + "_sum", name + "_count"}
	case "histogram":
		return []string{name, name + "_sum", name + "_count", name + "_bucket"}
	}
	return []string{name}
}

// tidy forgets metrics that StatsD does not hold any more, and series that are over.
func (b *Backend) tidy() {
	for k := range b.entries {
		for name, e := range b.entries[k] {
			if e.turn != b.turn {
				delete(b.entries[k], name)
			}
		}
	}
	empty := false
	for _, f := range b.families {
		for labels, s := range f.series {
			over := s.ttl > 0 && b.now-s.fresh >= s.ttl
			if f.shown == "gauge" {
				over = s.turn != b.turn
			}
			if over {
				s.gone = true
				delete(f.series, labels)
				f.sorted = nil
				b.count--
			}
		}
		empty = empty || len(f.series) == 0
	}
	if !empty {
		return
	}
	b.families = slices.DeleteFunc(b.families, func(f *family) bool {
		if len(f.series) > 0 {
			return false
		}
		for _, n := range lineNames(f.name, f.shown) {
			delete(b.byName, n)
		}
		return true
	})
}
