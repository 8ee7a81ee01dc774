package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/timeseries"
)

// store writes f as points of time at.
func (b *Backend) store(ctx context.Context, f *backend.Flush, at int64) error {
	b.newest = at
	w := &writer{Backend: b, ctx: ctx, at: at}
	step := float64(b.step)
	for i := range f.Counters {
		w.single(b.counter, f.Counters[i].Name, f.Counters[i].Value/step)
	}
	for i := range f.Gauges {
		w.single(b.gauge, f.Gauges[i].Name, f.Gauges[i].Value)
	}
	for i := range f.Timers {
		w.timerPoints(&f.Timers[i])
	}
	for i := range f.Sets {
		w.single(b.set, f.Sets[i].Name, float64(len(f.Sets[i].Members)))
	}
	w.send()
	if w.err != nil {
		b.lastException.Store(time.Now().Unix())
		return w.err
	}
	b.lastFlush.Store(f.Timestamp)
	b.log.Debug("flush stored", "timestamp", at, "points", w.stored)
	return nil
}

// storeTimed writes values with timestamps of their own.
func (b *Backend) storeTimed(ctx context.Context, values []backend.Timed) error {
	w := &writer{Backend: b, ctx: ctx}
	step := float64(b.step)
	for i := range values {
		v := &values[i]
		w.at = v.Timestamp
		if v.Counter {
			w.single(b.counter, v.Name, v.Value/step)
		} else {
			w.single(b.gauge, v.Name, v.Value)
		}
	}
	w.send()
	if w.err != nil {
		b.lastException.Store(time.Now().Unix())
	}
	return w.err
}

// writer makes the points of one flush and sends them in batches. After an error
// of the driver the rest is counted and not sent.
type writer struct {
	*Backend
	ctx    context.Context
	at     int64
	err    error
	stored int
}

// single adds a point of a schema with one metric and no tags but the two.
func (w *writer) single(s *timeseries.Schema, key string, v float64) {
	name, tags, ok := w.identity(key)
	if ok {
		w.add(s, name, tags, "")[0] = v
		w.check()
	}
}

// timerPoints adds the points of a timer: its fields, and one per histogram bin.
func (w *writer) timerPoints(t *backend.Timer) {
	if len(t.Fields) == 0 && len(t.Histogram) == 0 {
		return // calculatedTimerMetrics left nothing
	}
	name, tags, ok := w.identity(t.Name)
	if !ok {
		return
	}
	if len(t.Fields) > 0 {
		w.places = w.places[:0]
		next := 0 // fields mostly come in the order of the columns
		for _, field := range t.Fields {
			if next >= len(w.timer.Metrics) || w.timer.Metrics[next] != field.Name {
				next = w.column(field.Name)
			}
			w.places = append(w.places, next)
			next++
		}
		values := w.add(w.timer, name, tags, "")
		for i := range values {
			values[i] = math.NaN()
		}
		for i, place := range w.places {
			if place >= 0 {
				values[place] = t.Fields[i].Value
			}
		}
		w.check()
	}
	for _, bin := range t.Histogram {
		w.add(w.histogram, name, tags, bin.Name)[0] = bin.Value
		w.check()
	}
}

// column returns the place of a field among the metrics of the timer schema,
// which grows when the field was never seen; -1 when there is no room for it.
// Points already in the batch keep the schema they were made for.
func (b *Backend) column(field string) int {
	if place, ok := b.columns[field]; ok {
		return place
	}
	place := len(b.timer.Metrics)
	grown := *b.timer
	grown.Metrics = append(b.timer.Metrics[:place:place], field)
	if err := grown.Validate(); err != nil {
		b.log.Warn("timer field not stored", "field", field, "error", err)
		place = -1
	} else {
		b.timer = &grown
	}
	b.columns[field] = place
	return place
}

// identity returns the two parts of the canonical key, or counts the point as refused.
func (w *writer) identity(key string) (name, tags string, ok bool) {
	if acceptable(key) {
		name, tags = split(canonical(key))
		return name, packed(tags), true
	}
	w.ledger.Received(1)
	w.badName.Add(1)
	if missed, ok := w.warn.Allow(); ok {
		w.log.Warn("metric not stored: its name or tags are too long, or hold a newline or NUL", "key", fmt.Sprintf("%.60q", key), "bytes", len(key),
			"most", timeseries.MaxTagValue, "left_out", missed)
	}
	return "", "", false
}

// add appends a point to the batch and returns its values, to be filled in and checked.
func (w *writer) add(s *timeseries.Schema, name, tags, bin string) []float64 {
	n := len(s.Metrics)
	if len(w.points) == batchPoints || len(w.values)+n > batchValues {
		w.send()
	}
	w.ledger.Received(1)
	first, start := len(w.tags), len(w.values)
	w.tags = append(w.tags, name, tags)
	if len(s.Tags) == 3 {
		w.tags = append(w.tags, bin)
	}
	w.values = w.values[:start+n]
	w.points = append(w.points, timeseries.Point{Schema: s, Time: w.at, Tags: w.tags[first:len(w.tags):len(w.tags)], Values: w.values[start : start+n : start+n]})
	return w.values[start:]
}

// check takes back the point that was added last when it cannot be stored.
func (w *writer) check() {
	p := &w.points[len(w.points)-1]
	known, finite := false, true
	for _, v := range p.Values {
		known = known || !math.IsNaN(v)
		finite = finite && !math.IsInf(v, 0)
	}
	reason, what := w.infinite, "infinite"
	switch {
	case finite && known:
		return
	case finite:
		reason, what = w.notANumber, "not a number"
	}
	reason.Add(1)
	if missed, ok := w.warn.Allow(); ok {
		w.log.Warn("metric not stored: a value is "+what, "schema", p.Schema.Name, "name", p.Tags[0], "tags", p.Tags[1], "left_out", missed)
	}
	w.tags, w.values = w.tags[:len(w.tags)-len(p.Tags)], w.values[:len(w.values)-len(p.Values)]
	w.points = w.points[:len(w.points)-1]
}

// send appends the batch to the store and empties it.
func (w *writer) send() {
	n := len(w.points)
	defer func() {
		w.points, w.tags, w.values = w.points[:0], w.tags[:0], w.values[:0]
	}()
	if n == 0 {
		return
	}
	if w.err == nil && w.unwell {
		if err := w.driver.Setup(w.ctx); err != nil {
			w.err = fmt.Errorf("cannot set up the timeseries driver again: %w", err)
		}
	}
	if w.err != nil {
		w.lost.Add(n)
		return
	}
	err := w.driver.Append(w.ctx, w.points)
	var partly *timeseries.AppendError
	switch {
	case err == nil:
	case errors.As(err, &partly):
		n -= partly.Refused
		reason := w.refused
		if errors.Is(err, timeseries.ErrFull) {
			reason = w.full
		}
		reason.Add(partly.Refused)
		w.warn.Warn("some metrics not stored", "refused", partly.Refused, "first", partly.First)
	default:
		w.lost.Add(n)
		w.unwell = true
		w.err = fmt.Errorf("cannot store %d points of the flush: %w", n, err)
		return
	}
	w.unwell = false
	w.ledger.Passed(n)
	w.stored += n
}
