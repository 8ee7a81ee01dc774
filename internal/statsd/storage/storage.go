// Package storage is the StatsD backend that writes every flush to a timeseries
// driver.
//
// A metric becomes one point per flush, in the schema of its kind:
//
//	statsd:counter    derivative  name, tags       rate: the total over a range is the exact count
//	statsd:gauge      gauge       name, tags       value
//	statsd:timer      gauge       name, tags       the fields of the timer; an idle one has count and count_ps only
//	statsd:histogram  gauge       name, tags, bin  count
//	statsd:set        gauge       name, tags       count
//
// Values that came with a timestamp are points of the first two, at their own time; a later value for the
// same time replaces them.
//
// tags holds the metric's own tags, sorted ("env=prod;host=a"), and can be
// filtered and grouped on by key.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// What one Append carries at most: enough to make its cost per point small,
// few enough that a flush of a million metrics needs no more memory than a small one.
const (
	batchPoints = 4096
	batchValues = 16 * batchPoints
)

// Backend stores flushes. Except for Status its methods are called from one
// goroutine at a time.
type Backend struct {
	driver timeseries.Driver
	log    *slog.Logger
	warn   *telemetry.Limited

	ledger                                             *telemetry.Ledger // "statsd.storage", in points
	badName, notANumber, infinite, full, refused, lost *telemetry.Discard

	mu      sync.Mutex // Stop may come while an abandoned Flush still runs
	step    int64      // seconds between points
	whole   bool       // the flush interval is a number of whole seconds: every flush is stored as it is
	newest  int64      // time of the newest points
	waiting *merger    // of an interval that is not whole: flushes of the slot that ends at slot
	slot    int64      // 0 when none waits
	seen    map[string]struct{}
	unwell  bool // the last Append failed: Setup comes before the next one

	counter, gauge, timer, histogram, set *timeseries.Schema
	columns                               map[string]int // of timer.Metrics; -1 for a field there was no room for

	points []timeseries.Point // the batch; its points refer to tags and values
	tags   []string
	values []float64
	places []int // of the fields of one timer in its schema

	lastFlush, lastException atomic.Int64 // Unix seconds
}

// New returns a Backend that writes to driver and accounts for its points in
// the ledger "statsd.storage" of reg.
func New(driver timeseries.Driver, reg *telemetry.Registry) *Backend {
	ledger := reg.Ledger("statsd.storage", "points")
	return &Backend{
		driver: driver, log: slog.New(slog.DiscardHandler), ledger: ledger,
		badName: ledger.Reason("bad_name"), notANumber: ledger.Reason("not_a_number"), infinite: ledger.Reason("infinite"),
		full: ledger.Reason("full"), refused: ledger.Reason("refused"), lost: ledger.Reason("append"),
		seen: make(map[string]struct{}), columns: make(map[string]int),
	}
}

// Name implements [backend.Backend].
func (*Backend) Name() string { return "store" }

// TakesTimestamps implements [backend.TimestampTaker].
func (*Backend) TakesTimestamps() {}

// Init implements [backend.Backend]: it makes the schemas of the flush interval
// and sets the driver up. The columns a driver already has for timers stay.
func (b *Backend) Init(ctx context.Context, env backend.Environment) error {
	if env.Log != nil {
		b.log = env.Log
	}
	b.warn = telemetry.NewLimited(b.log, time.Minute, 5)
	b.lastFlush.Store(env.Startup)
	if err := b.driver.Setup(ctx); err != nil {
		return fmt.Errorf("cannot set up the timeseries driver: %w", err)
	}
	b.step = max(int64(math.Ceil(env.Interval)), 1)
	b.whole = float64(b.step) == env.Interval
	b.waiting = newMerger(b.step)
	schema := func(kind string, t timeseries.MetricsType, metric string, more ...string) *timeseries.Schema {
		return &timeseries.Schema{Name: "statsd:" + kind, Step: b.step, Tags: append([]string{"name", "tags"}, more...), Metrics: []string{metric}, Type: t, Packed: "tags"}
	}
	b.counter = schema("counter", timeseries.Derivative, "rate")
	b.gauge = schema("gauge", timeseries.Gauge, "value")
	b.timer = schema("timer", timeseries.Gauge, "count")
	b.histogram = schema("histogram", timeseries.Gauge, "count", "bin")
	b.set = schema("set", timeseries.Gauge, "count")
	if catalog, ok := b.driver.(timeseries.Catalog); ok {
		stored, err := catalog.Schemas(ctx)
		if err != nil {
			return fmt.Errorf("cannot read which schemas are stored: %w", err)
		}
		for _, s := range stored {
			if s.Name == b.timer.Name {
				b.timer.Metrics = slices.Clone(s.Metrics)
			}
		}
	}
	for i, metric := range b.timer.Metrics {
		b.columns[metric] = i
	}
	b.points = make([]timeseries.Point, 0, batchPoints)
	b.tags = make([]string, 0, 3*batchPoints)
	b.values = make([]float64, 0, batchValues)
	return nil
}

// Flush implements [backend.Backend]. Points that were refused one by one are
// counted and no error; an error means that the rest of the flush is not stored.
func (b *Backend) Flush(ctx context.Context, f *backend.Flush) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	timed := b.storeTimed(ctx, f.Timed)
	if !b.whole {
		return errors.Join(timed, b.gather(ctx, f))
	}
	if b.collides(f) {
		b.waiting.add(f)
		f = b.waiting.take(f.Timestamp)
	}
	at := f.Timestamp
	if at == b.newest {
		at++ // the last flush of a daemon, within a second of the one before it, which it must not replace
	}
	return errors.Join(timed, b.store(ctx, f, at))
}

// gather adds up the flushes of one slot of step seconds, and stores the slot
// once a later one begins. Points in the same second would replace each other,
// and points closer than the step would make totals too large.
func (b *Backend) gather(ctx context.Context, f *backend.Flush) error {
	end := (f.Timestamp + b.step - 1) / b.step * b.step
	var err error
	if b.slot != 0 && end != b.slot {
		err = b.store(ctx, b.waiting.take(b.slot), b.slot)
	}
	b.waiting.add(f)
	b.slot = end
	return err
}

// Stop implements [backend.Stopper]: what waits for its slot to end is stored.
func (b *Backend) Stop(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.slot == 0 {
		return nil
	}
	slot := b.slot
	b.slot = 0
	return b.store(ctx, b.waiting.take(slot), slot)
}

// Status implements [backend.StatusReporter].
func (b *Backend) Status(write func(stat string, value float64)) {
	write("last_flush", float64(b.lastFlush.Load()))
	write("last_exception", float64(b.lastException.Load()))
}

// collides reports whether two metrics of one kind are the same series.
func (b *Backend) collides(f *backend.Flush) bool {
	return b.twice(len(f.Counters), func(i int) string { return f.Counters[i].Name }) ||
		b.twice(len(f.Gauges), func(i int) string { return f.Gauges[i].Name }) ||
		b.twice(len(f.Timers), func(i int) string { return f.Timers[i].Name }) ||
		b.twice(len(f.Sets), func(i int) string { return f.Sets[i].Name })
}

// twice reports whether two of n keys have one canonical form; only a key that
// is not canonical can share it.
func (b *Backend) twice(n int, key func(int) string) bool {
	clear(b.seen)
	for i := range n {
		if k := key(i); !isCanonical(k) && acceptable(k) {
			c := canonical(k)
			if _, twice := b.seen[c]; twice {
				return true
			}
			b.seen[c] = struct{}{}
		}
	}
	if len(b.seen) == 0 {
		return false
	}
	for i := range n {
		if k := key(i); isCanonical(k) {
			if _, twice := b.seen[k]; twice {
				return true
			}
		}
	}
	return false
}
