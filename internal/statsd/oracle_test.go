package statsd

import (
	"math"
	"slices"
	"strings"

	"github.com/weirhq/weir/backend"
)

// oracle aggregates by the rules of specification section 2 in the most
// obvious way: one table, everything at once. Tests compare the Aggregator with it.
type oracle struct {
	cfg        Config
	parser     Parser
	statistics *Statistics
	counters   simpleTable[float64]
	timers     simpleTable[simpleTimer]
	gauges     simpleTable[simpleGauge]
	sets       simpleTable[[]string]
	previous   int64
}

type simpleTimer struct {
	values []float64
	count  float64
}

type simpleGauge struct {
	value float64
	ttl   int
}

func newOracle(cfg Config) *oracle {
	o := &oracle{cfg: cfg, statistics: NewStatistics(cfg.FlushInterval.Seconds(), cfg.Percentiles, cfg.Histograms, cfg.TimerMetrics)}
	o.parser = Parser{Sanitize: cfg.Sanitize, OnValue: o.add, OnBad: func(Bad) { *o.counters.get(cfg.Prefix + ".bad_lines_seen")++ }}
	o.parser.OnLine = func([]byte) {} // keeps the parser from its fast path
	for _, name := range []string{".bad_lines_seen", ".packets_received", ".metrics_received"} {
		o.counters.get(cfg.Prefix + name)
	}
	return o
}

func (o *oracle) packet(packet string) {
	*o.counters.get(o.cfg.Prefix + ".packets_received")++
	*o.counters.get(o.cfg.Prefix + ".metrics_received") += float64(o.parser.Packet([]byte(packet)))
}

func (o *oracle) add(v *Value) {
	name := string(v.Key)
	switch v.Kind {
	case Counter:
		c := o.counters.get(name)
		if math.IsNaN(*c) {
			*c = 0
		}
		*c += v.Number
	case Timer:
		t := o.timers.get(name)
		t.values = append(t.values, v.Number)
		t.count += v.Weight
	case Gauge:
		g := o.gauges.get(name)
		if o.cfg.DeleteGauges {
			g.ttl = max(o.cfg.GaugeTTL, 1)
		}
		if v.Signed && !math.IsNaN(g.value) {
			g.value += v.Number
		} else {
			g.value = v.Number
		}
	case Set:
		s := o.sets.get(name)
		if !slices.Contains(*s, string(v.Member)) {
			*s = append(*s, string(v.Member))
		}
	}
}

func (o *oracle) flush(now int64) *backend.Flush {
	seconds := o.cfg.FlushInterval.Seconds()
	if o.previous != 0 {
		o.gauges.get(o.cfg.Prefix + ".timestamp_lag").value = float64(now-o.previous) - seconds
	}
	o.previous = now
	f := &backend.Flush{Timestamp: now, Percentiles: o.cfg.Percentiles}
	o.counters.each(func(name string, c *float64) (keep bool) {
		f.Counters = append(f.Counters, backend.Counter{Name: name, Value: *c, Rate: *c / seconds})
		*c = 0
		internal := strings.Contains(name, "packets_received") || strings.Contains(name, "metrics_received") || strings.Contains(name, "bad_lines_seen")
		return !o.cfg.DeleteCounters || internal
	})
	o.timers.each(func(name string, t *simpleTimer) bool {
		f.Timers = append(f.Timers, o.statistics.Timer(name, t.values, t.count))
		*t = simpleTimer{}
		return !o.cfg.DeleteTimers
	})
	o.gauges.each(func(name string, g *simpleGauge) bool {
		f.Gauges = append(f.Gauges, backend.Gauge{Name: name, Value: g.value})
		if !o.cfg.DeleteGauges || g.ttl == 0 {
			return true
		}
		g.ttl--
		return g.ttl > 0
	})
	o.sets.each(func(name string, members *[]string) bool {
		indicesFirst(*members)
		f.Sets = append(f.Sets, backend.Set{Name: name, Members: *members})
		*members = nil
		return !o.cfg.DeleteSets
	})
	return f
}

// simpleTable maps names to values and lists index-like names first, then the
// others in the order of their arrival.
type simpleTable[V any] struct {
	byName map[string]*V
	names  []string
}

func (t *simpleTable[V]) get(name string) *V {
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

func (t *simpleTable[V]) each(f func(name string, v *V) (keep bool)) {
	ordered := slices.Clone(t.names)
	indicesFirst(ordered)
	for _, name := range ordered {
		if !f(name, t.byName[name]) {
			delete(t.byName, name)
			t.names = slices.DeleteFunc(t.names, func(n string) bool { return n == name })
		}
	}
}
