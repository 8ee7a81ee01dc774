package statsd

import (
	"slices"
	"time"

	"github.com/weirhq/weir/backend"
)

// ended is the half of a shard that a flush reads.
type ended struct {
	half  int
	start uint64
}

// flush returns everything since the last flush and begins the next interval;
// now is in Unix seconds. The server calls it, in the order of work of
// specification section 2.2. Everything in the result belongs to the caller.
func (a *Aggregator) flush(now int64) *backend.Flush {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	began := time.Now()
	if a.previous != 0 {
		name := []byte(a.options.prefix + ".timestamp_lag")
		lag := a.metric(Gauge, name, nil, true)
		lag.gone = false
		lag.seen = now
		lag.value.set(float64(now-a.previous) - a.options.seconds)
	}
	a.previous = now
	halves := make([]ended, len(a.shards))
	late := make([][]backend.Timed, len(a.shards))
	for i, s := range a.shards {
		s.mu.Lock()
		halves[i] = ended{s.half, s.start}
		s.half ^= 1
		late[i] = s.timed.take()
		s.start = a.clock.Add(1) + 1
		s.mu.Unlock()
	}
	f := &backend.Flush{Timestamp: now, Percentiles: a.options.percentile, Timed: joinTimed(late)}
	a.flushCounters(f, halves)
	a.flushTimers(f, halves)
	a.flushGauges(f, halves)
	a.flushSets(f, halves)
	f.Processing = float64(time.Since(began).Milliseconds())
	return f
}

// present returns the metrics of one kind that are in the flush, in order, and
// settles which of them the options delete now. Those that have not been seen
// since they were deleted leave the tables.
func (a *Aggregator) present(kind Kind, halves []ended) []*metric {
	all := a.names.all(kind)
	present := make([]*metric, 0, len(all))
	var idle []*metric
	for _, m := range all {
		first := a.firstIn(m, halves)
		if first != 0 && m.gone {
			m.gone = false
			m.arrive(first)
		}
		if m.gone {
			idle = append(idle, m)
			continue
		}
		if first != 0 || m.seen == 0 {
			m.seen = a.previous
		}
		if kind == Gauge && first != 0 && a.options.remove[Gauge] {
			m.ttl = a.options.gaugeTTL
		}
		present = append(present, m)
	}
	if !slices.IsSortedFunc(present, byOrder) {
		slices.SortFunc(present, byOrder)
	}
	a.remove(kind, idle, func(m *metric) bool { return a.arrived(m) == 0 })
	return present
}

// expired reports whether m has not been seen for the time it may be kept without.
func (a *Aggregator) expired(m *metric) bool {
	ttl := a.options.ttl[m.kind]
	return ttl > 0 && a.previous-m.seen >= ttl
}

// firstIn returns the clock when the first value of the interval that ended
// came for m, 0 when none did.
func (a *Aggregator) firstIn(m *metric, halves []ended) uint64 {
	first := uint64(0)
	for i, h := range halves {
		if c := m.cells[i].Load(); c != nil && c.first[h.half] >= h.start && (first == 0 || c.first[h.half] < first) {
			first = c.first[h.half]
		}
	}
	return first
}

// each calls f for what the shards hold of m in the interval that ended.
func (m *metric) each(halves []ended, f func(c *cell, half int)) {
	for i, h := range halves {
		if c := m.cells[i].Load(); c != nil && c.first[h.half] >= h.start {
			f(c, h.half)
		}
	}
}

func (a *Aggregator) flushCounters(f *backend.Flush, halves []ended) {
	present := a.present(Counter, halves)
	f.Counters = make([]backend.Counter, len(present))
	for i, m := range present {
		total := 0.0
		m.each(halves, func(c *cell, half int) { total = plus(total, c.number[half]) })
		f.Counters[i] = backend.Counter{Name: m.name, Value: total, Rate: total / a.options.seconds}
		m.gone = (a.options.remove[Counter] || a.expired(m)) && !m.spare
	}
}

func (a *Aggregator) flushTimers(f *backend.Flush, halves []ended) {
	present := a.present(Timer, halves)
	n := 0
	for _, m := range present {
		m.each(halves, func(c *cell, half int) { n += c.more.len(half) })
	}
	// One allocation for all; the cells keep theirs for the interval after next.
	values := make([]float64, 0, n)
	f.Timers = make([]backend.Timer, len(present))
	for i, m := range present {
		from, count := len(values), 0.0
		m.each(halves, func(c *cell, half int) {
			values = c.more.appendValues(values, half)
			count += c.number[half]
			c.more.values[half] = trim(c.more.values[half])
			c.more.sketches[half] = nil // 16 KiB and more, which few names need in every interval
		})
		f.Timers[i] = a.options.statistics.timer(m.name, values[from:len(values):len(values)], count, &a.sums)
		m.gone = a.options.remove[Timer] || a.expired(m)
	}
}

// trim empties values and lets go of memory that was far too much this time.
func trim(values []float64) []float64 {
	if cap(values) > 1024 && len(values) < cap(values)/4 {
		return make([]float64, 0, cap(values)/2)
	}
	return values[:0]
}

func (a *Aggregator) flushGauges(f *backend.Flush, halves []ended) {
	present := a.present(Gauge, halves)
	f.Gauges = make([]backend.Gauge, len(present))
	var expired []*metric
	for i, m := range present {
		f.Gauges[i] = backend.Gauge{Name: m.name, Value: m.value.get()}
		if a.options.remove[Gauge] && m.ttl > 0 {
			if m.ttl--; m.ttl == 0 {
				expired = append(expired, m)
				continue
			}
		}
		if a.expired(m) {
			expired = append(expired, m)
		}
	}
	// A value that has just arrived keeps its gauge, as if it had come before this flush.
	a.chunks(expired, func(m *metric) {
		if a.arrived(m) == 0 {
			m.gone = true
			m.value.set(0)
		}
	})
}

func (a *Aggregator) flushSets(f *backend.Flush, halves []ended) {
	present := a.present(Set, halves)
	f.Sets = make([]backend.Set, len(present))
	for i, m := range present {
		var members []string
		shards := 0
		m.each(halves, func(c *cell, half int) {
			if shards++; shards == 1 {
				members = c.more.members[half]
			} else {
				members = union(members, c.more.members[half])
			}
			c.more.members[half] = nil
			if len(c.more.seen[half]) > 1024 {
				c.more.seen[half] = nil // clearing a map costs as much as it ever held
			} else {
				clear(c.more.seen[half])
			}
		})
		indicesFirst(members)
		f.Sets[i] = backend.Set{Name: m.name, Members: members}
		m.gone = a.options.remove[Set] || a.expired(m)
	}
}

// union appends to members those of more that it does not hold.
func union(members, more []string) []string {
	seen := make(map[string]bool, len(members))
	for _, member := range members {
		seen[member] = true
	}
	for _, member := range more {
		if !seen[member] {
			members = append(members, member)
		}
	}
	return members
}

// indicesFirst moves index-like members to the front, ascending, as
// JavaScript's objects keep them (specification section 2.10).
func indicesFirst(members []string) {
	if !slices.ContainsFunc(members, func(m string) bool { _, ok := indexOf(m); return ok }) {
		return
	}
	slices.SortStableFunc(members, func(x, y string) int {
		i, xOK := indexOf(x)
		j, yOK := indexOf(y)
		switch {
		case xOK && yOK:
			return int(min(max(int64(i)-int64(j), -1), 1))
		case xOK:
			return -1
		case yOK:
			return 1
		}
		return 0
	})
}
