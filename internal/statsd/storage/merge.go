package storage

import (
	"slices"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
)

// merger makes one flush of several, and one metric of several that are the
// same series: counters and histograms add up, sets unite, the last gauge
// counts, and timers are computed again from all their values.
//
// It is needed where the time of a point, in whole seconds, does not keep apart
// what StatsD keeps apart: flushes within a second, and keys that differ only in
// the order of their tags.
type merger struct {
	step                           float64 // seconds of the merged flush
	percentiles                    []float64
	processing                     float64
	counters, gauges, timers, sets index
	flush                          backend.Flush // Timers without their fields
	only                           []map[string]bool
	members                        []map[string]bool
}

// index is where the metrics of one kind are, by canonical key.
type index map[string]int

// at returns the place of key among n metrics, and whether it is new there.
func (x index) at(key string, n int) (place int, isNew bool) {
	if place, ok := x[key]; ok {
		return place, false
	}
	x[key] = n
	return n, true
}

func newMerger(step int64) *merger {
	return &merger{step: float64(step), counters: index{}, gauges: index{}, timers: index{}, sets: index{}}
}

// add takes in f; the merger keeps nothing of it but strings. Keys that cannot
// be stored stay as they are, to be refused one by one later.
func (m *merger) add(f *backend.Flush) {
	key := func(name string) string {
		if acceptable(name) {
			return canonical(name)
		}
		return name
	}
	m.percentiles, m.processing = f.Percentiles, m.processing+f.Processing
	for _, c := range f.Counters {
		name := key(c.Name)
		i, isNew := m.counters.at(name, len(m.flush.Counters))
		if isNew {
			m.flush.Counters = append(m.flush.Counters, backend.Counter{Name: name})
		}
		m.flush.Counters[i].Value += c.Value
	}
	for _, g := range f.Gauges {
		name := key(g.Name)
		i, isNew := m.gauges.at(name, len(m.flush.Gauges))
		if isNew {
			m.flush.Gauges = append(m.flush.Gauges, backend.Gauge{Name: name})
		}
		m.flush.Gauges[i].Value = g.Value
	}
	for _, t := range f.Timers {
		name := key(t.Name)
		i, isNew := m.timers.at(name, len(m.flush.Timers))
		if isNew {
			m.flush.Timers = append(m.flush.Timers, backend.Timer{Name: name})
			m.only = append(m.only, make(map[string]bool))
		}
		merged := &m.flush.Timers[i]
		merged.Values = append(merged.Values, t.Values...)
		merged.Count += t.Count
		for _, field := range t.Fields {
			m.only[i][field.Name] = true
		}
		for _, bin := range t.Histogram {
			j := slices.IndexFunc(merged.Histogram, func(b backend.Field) bool { return b.Name == bin.Name })
			if j < 0 {
				j = len(merged.Histogram)
				merged.Histogram = append(merged.Histogram, backend.Field{Name: bin.Name})
			}
			merged.Histogram[j].Value += bin.Value
		}
	}
	for _, s := range f.Sets {
		name := key(s.Name)
		i, isNew := m.sets.at(name, len(m.flush.Sets))
		if isNew {
			m.flush.Sets = append(m.flush.Sets, backend.Set{Name: name})
			m.members = append(m.members, make(map[string]bool))
		}
		for _, member := range s.Members {
			if !m.members[i][member] {
				m.members[i][member] = true
				m.flush.Sets[i].Members = append(m.flush.Sets[i].Members, member)
			}
		}
	}
}

// take returns everything added as one flush at time, and empties the merger.
func (m *merger) take(time int64) *backend.Flush {
	f := m.flush
	f.Timestamp, f.Percentiles, f.Processing = time, m.percentiles, m.processing
	for i := range f.Counters {
		f.Counters[i].Rate = f.Counters[i].Value / m.step
	}
	statistics := statsd.NewStatistics(m.step, m.percentiles, nil, nil)
	for i := range f.Timers {
		t := &f.Timers[i]
		fields := statistics.Timer(t.Name, t.Values, t.Count).Fields
		t.Fields = slices.DeleteFunc(fields, func(field backend.Field) bool { return !m.only[i][field.Name] })
	}
	*m = *newMerger(int64(m.step))
	return &f
}
