// Package console is StatsD's console backend: it prints every flush as the
// reference daemon does (StatsD specification section 6.3).
package console

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/inspect"
)

// Console writes flushes to a writer.
type Console struct {
	out         io.Writer
	percentiles inspect.Array
}

// New returns a Console that writes to out; percentiles is shown with every flush.
func New(out io.Writer, percentiles []float64) *Console {
	c := &Console{out: out}
	for _, p := range percentiles {
		c.percentiles = append(c.percentiles, p)
	}
	return c
}

// Name implements [backend.Backend].
func (c *Console) Name() string { return "console" }

// Init implements [backend.Backend]; there is nothing to prepare.
func (c *Console) Init(context.Context, backend.Environment) error { return nil }

// Flush implements [backend.Backend].
func (c *Console) Flush(_ context.Context, f *backend.Flush) error {
	var counters, rates, gauges, timers, data, sets inspect.Object
	for _, m := range f.Counters {
		counters = append(counters, inspect.Entry{Name: m.Name, Value: m.Value})
		rates = append(rates, inspect.Entry{Name: m.Name, Value: m.Rate})
	}
	for _, m := range f.Gauges {
		gauges = append(gauges, inspect.Entry{Name: m.Name, Value: m.Value})
	}
	for _, m := range f.Timers {
		values := make(inspect.Array, len(m.Values))
		for i, v := range m.Values {
			values[i] = v
		}
		timers = append(timers, inspect.Entry{Name: m.Name, Value: values})
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
	text := inspect.Printer{Depth: 2, Number: statsd.FormatNumber}.Sprint(inspect.Object{
		{Name: "counters", Value: counters}, {Name: "timers", Value: timers}, {Name: "gauges", Value: gauges},
		{Name: "timer_data", Value: data}, {Name: "counter_rates", Value: rates}, {Name: "sets", Value: sets},
		{Name: "pctThreshold", Value: c.percentiles},
	})
	when := time.Unix(f.Timestamp, 0)
	if _, err := fmt.Fprintf(c.out, "Flushing stats at  %s\n%s\n", when.Format("Mon Jan 02 2006 15:04:05 GMT-0700 (MST)"), text); err != nil {
		return fmt.Errorf("cannot print the flush: %w", err)
	}
	return nil
}

func object(fields []backend.Field) inspect.Object {
	var o inspect.Object
	for _, f := range fields {
		o = append(o, inspect.Entry{Name: f.Name, Value: f.Value})
	}
	return o
}
