// Package console is StatsD's console backend: it prints every flush as the
// reference daemon does (StatsD specification section 6.3).
package console

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/inspect"
)

// Config is what can be chosen.
type Config struct {
	Pretty bool // console.prettyprint: deeper objects are shown, in colours
}

// Backend writes flushes to a writer.
type Backend struct {
	out     io.Writer
	printer inspect.Printer

	lastFlush, lastException atomic.Int64 // Unix seconds
}

// New returns a Backend that writes to out, one Write per flush.
func New(out io.Writer, config Config) *Backend {
	b := &Backend{out: out, printer: inspect.Printer{Depth: 2, Number: statsd.FormatNumber}}
	if config.Pretty {
		b.printer.Depth, b.printer.Colors = 5, true
	}
	return b
}

// Name implements [backend.Backend].
func (*Backend) Name() string { return "console" }

// Init implements [backend.Backend].
func (b *Backend) Init(_ context.Context, env backend.Environment) error {
	b.lastFlush.Store(env.Startup)
	b.lastException.Store(env.Startup)
	return nil
}

// Flush implements [backend.Backend].
func (b *Backend) Flush(_ context.Context, f *backend.Flush) error {
	when := statsd.FormatDate(time.Unix(f.Timestamp, 0))
	if _, err := fmt.Fprintf(b.out, "Flushing stats at  %s\n%s\n", when, b.printer.Sprint(hash(f))); err != nil {
		b.lastException.Store(time.Now().Unix())
		return fmt.Errorf("cannot print the flush: %w", err)
	}
	b.lastFlush.Store(f.Timestamp)
	return nil
}

// Status implements [backend.StatusReporter]. The names are not those that are
// shown as an age, so both times are printed as they are.
func (b *Backend) Status(write func(stat string, value float64)) {
	write("lastFlush", float64(b.lastFlush.Load()))
	write("lastException", float64(b.lastException.Load()))
}

// hash is the part of the metrics hash that is printed.
func hash(f *backend.Flush) inspect.Object {
	var counters, rates, gauges, timers, data, sets inspect.Object
	for _, m := range f.Counters {
		counters = append(counters, inspect.Entry{Name: m.Name, Value: m.Value})
		rates = append(rates, inspect.Entry{Name: m.Name, Value: m.Rate})
	}
	for _, m := range f.Gauges {
		gauges = append(gauges, inspect.Entry{Name: m.Name, Value: m.Value})
	}
	for _, m := range f.Timers {
		timers = append(timers, inspect.Entry{Name: m.Name, Value: numbers(m.Values)})
		fields := object(m.Fields)
		if m.Histogram != nil {
			fields = append(fields, inspect.Entry{Name: "histogram", Value: object(m.Histogram)})
		}
		data = append(data, inspect.Entry{Name: m.Name, Value: fields})
	}
	for _, m := range f.Sets {
		members := make(inspect.Array, len(m.Members))
		for i, member := range m.Members {
			members[i] = member
		}
		sets = append(sets, inspect.Entry{Name: m.Name, Value: members})
	}
	return inspect.Object{
		{Name: "counters", Value: counters}, {Name: "timers", Value: timers}, {Name: "gauges", Value: gauges},
		{Name: "timer_data", Value: data}, {Name: "counter_rates", Value: rates}, {Name: "sets", Value: sets},
		{Name: "pctThreshold", Value: numbers(f.Percentiles)},
	}
}

func numbers(values []float64) inspect.Array {
	a := make(inspect.Array, len(values))
	for i, v := range values {
		a[i] = v
	}
	return a
}

func object(fields []backend.Field) inspect.Object {
	var o inspect.Object
	for _, f := range fields {
		o = append(o, inspect.Entry{Name: f.Name, Value: f.Value})
	}
	return o
}
