package statsd

import (
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/weirhq/weir/backend"
)

// Options are the aggregation options of a StatsD configuration
// (specification sections 2 and 4.1).
type Options struct {
	Prefix         string // of the internal metrics, "statsd" by default
	Sanitize       bool   // keyNameSanitize
	DeleteCounters bool   // delete what was not seen in the interval, and so for the next three
	DeleteTimers   bool
	DeleteSets     bool
	DeleteGauges   bool
	GaugeTTL       int // flushes a gauge outlives its last value under DeleteGauges, at least 1
	Statistics     *Statistics
}

// Aggregator sums up what arrives between two flushes. Its methods are safe
// for concurrent use; a packet is taken in as a whole.
type Aggregator struct {
	options Options
	onBad   func(Bad)

	mu       sync.Mutex
	parser   Parser
	counters table[float64]
	timers   table[timer]
	gauges   table[gauge]
	sets     table[set]
	previous int64 // Unix seconds of the last flush, 0 before the first

	badLines, packets, metrics string // names of the internal counters
}

type timer struct {
	values []float64
	count  float64
}

type gauge struct {
	value float64
	ttl   int // flushes left; 0 means for ever
}

type set struct {
	seen    map[string]bool
	members []string
}

// NewAggregator returns an empty Aggregator. onBad is called for every invalid
// value, with the aggregator locked; its argument must not be kept.
func NewAggregator(options Options, onBad func(Bad)) *Aggregator {
	options.GaugeTTL = max(options.GaugeTTL, 1)
	a := &Aggregator{
		options: options, onBad: onBad,
		badLines: options.Prefix + ".bad_lines_seen",
		packets:  options.Prefix + ".packets_received",
		metrics:  options.Prefix + ".metrics_received",
	}
	a.parser = Parser{Sanitize: options.Sanitize, OnValue: a.add, OnBad: a.bad}
	for _, name := range []string{a.badLines, a.packets, a.metrics} {
		a.counters.get([]byte(name))
	}
	return a
}

// Packet takes in one datagram, or the complete lines of one read of a stream.
func (a *Aggregator) Packet(packet []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*a.counters.named(a.packets)++
	*a.counters.named(a.metrics) += float64(a.parser.Packet(packet))
}

func (a *Aggregator) bad(b Bad) {
	*a.counters.named(a.badLines)++
	a.onBad(b)
}

func (a *Aggregator) add(v Value) {
	switch v.Kind {
	case Counter:
		c := a.counters.get(v.Key)
		if math.IsNaN(*c) { // "missing" to JavaScript, which starts again from 0
			*c = 0
		}
		*c += v.Number
	case Timer:
		t := a.timers.get(v.Key)
		t.values = append(t.values, v.Number)
		t.count += v.Weight
	case Gauge:
		g := a.gauges.get(v.Key)
		if a.options.DeleteGauges {
			g.ttl = a.options.GaugeTTL
		}
		if v.Signed && !math.IsNaN(g.value) {
			g.value += v.Number
		} else {
			g.value = v.Number
		}
	case Set:
		s := a.sets.get(v.Key)
		if !s.seen[string(v.Member)] {
			if s.seen == nil {
				s.seen = make(map[string]bool)
			}
			member := string(v.Member)
			s.seen[member] = true
			s.members = append(s.members, member)
		}
	}
}

// Flush returns everything since the last flush and begins the next interval.
// now is in Unix seconds.
func (a *Aggregator) Flush(now int64) *backend.Flush {
	a.mu.Lock()
	defer a.mu.Unlock()
	seconds := a.options.Statistics.interval
	if a.previous != 0 {
		a.gauges.named(a.options.Prefix + ".timestamp_lag").value = float64(now-a.previous) - seconds
	}
	a.previous = now
	f := &backend.Flush{Timestamp: now}
	a.counters.each(func(name string, c *float64) (keep bool) {
		f.Counters = append(f.Counters, backend.Counter{Name: name, Value: *c, Rate: *c / seconds})
		*c = 0
		return !a.options.DeleteCounters || isInternal(name)
	})
	a.timers.each(func(name string, t *timer) bool {
		f.Timers = append(f.Timers, a.options.Statistics.Timer(name, t.values, t.count))
		*t = timer{} // the values belong to the flush now
		return !a.options.DeleteTimers
	})
	a.gauges.each(func(name string, g *gauge) bool {
		f.Gauges = append(f.Gauges, backend.Gauge{Name: name, Value: g.value})
		if !a.options.DeleteGauges || g.ttl == 0 {
			return true
		}
		g.ttl--
		return g.ttl > 0
	})
	a.sets.each(func(name string, s *set) bool {
		f.Sets = append(f.Sets, backend.Set{Name: name, Members: s.members})
		*s = set{}
		return !a.options.DeleteSets
	})
	return f
}

// isInternal reports whether deleteCounters spares a counter. The reference
// looks for the words anywhere in the name.
func isInternal(name string) bool {
	return strings.Contains(name, "packets_received") || strings.Contains(name, "metrics_received") || strings.Contains(name, "bad_lines_seen")
}

// table maps names to values and remembers the order of arrival.
type table[V any] struct {
	byName map[string]*V
	names  []string
}

// get returns the value of name, a new zero value when it is not there; name is not kept.
func (t *table[V]) get(name []byte) *V {
	if v := t.byName[string(name)]; v != nil {
		return v
	}
	return t.named(string(name))
}

func (t *table[V]) named(name string) *V {
	v := t.byName[name]
	if v == nil {
		if t.byName == nil {
			t.byName = make(map[string]*V)
		}
		v = new(V)
		t.byName[name] = v
		t.names = append(t.names, name)
	}
	return v
}

// each calls f for every value in order and deletes those for which it returns false.
func (t *table[V]) each(f func(name string, v *V) (keep bool)) {
	t.names = slices.DeleteFunc(t.names, func(name string) bool {
		if f(name, t.byName[name]) {
			return false
		}
		delete(t.byName, name)
		return true
	})
}
