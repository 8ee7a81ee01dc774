package graphite

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
)

func TestMetrics(t *testing.T) {
	flush := &backend.Flush{
		Timestamp: 1700000000,
		Counters:  []backend.Counter{{Name: "c;a=b", Value: 5, Rate: 0.5}},
		Timers: []backend.Timer{{Name: "t", Fields: []backend.Field{{Name: "mean_90", Value: 100}},
			Histogram: []backend.Field{{Name: "bin_inf", Value: 1}}}},
		Gauges: []backend.Gauge{{Name: "g", Value: -1e-7}},
		Sets:   []backend.Set{{Name: "u;x=y", Members: []string{"a", "b"}}},
	}
	f := func(n Namespace, want string) {
		t.Helper()
		m := message{Namespace: n}
		m.begin()
		m.metrics(flush)
		m.end()
		if diff := cmp.Diff(want, string(m.text)); diff != "" {
			t.Error(diff)
		}
	}
	legacy := DefaultNamespace()
	legacy.GlobalSuffix = "host1"
	legacy.GlobalPrefix, legacy.PrefixCounter = "ignored", "ignored"
	f(legacy, "stats.c.host1;a=b 0.5 1700000000\nstats_counts.c.host1;a=b 5 1700000000\n"+
		"stats.timers.t.mean_90.host1 100 1700000000\nstats.timers.t.histogram.bin_inf.host1 1 1700000000\n"+
		"stats.gauges.g.host1 -1e-7 1700000000\nstats.sets.u.count.host1;x=y 2 1700000000\n")
	own := DefaultNamespace()
	own.Legacy, own.PrefixGauge = false, ""
	f(own, "stats.counters.c.rate;a=b 0.5 1700000000\nstats.counters.c.count;a=b 5 1700000000\n"+
		"stats.timers.t.mean_90 100 1700000000\nstats.timers.t.histogram.bin_inf 1 1700000000\n"+
		"stats.g -1e-7 1700000000\nstats.sets.u.count;x=y 2 1700000000\n")
	own.GlobalPrefix, own.FlushCounts = "", false
	flush.Timers, flush.Gauges, flush.Sets = nil, nil, nil
	f(own, "counters.c.rate;a=b 0.5 1700000000\n")
}

func TestNamesAreSanitisedUpToTheirTags(t *testing.T) {
	f := func(sanitize bool, key, want string) {
		t.Helper()
		m := message{Namespace: DefaultNamespace(), sanitize: sanitize}
		m.add("", "stats", key, "", "", 1, 2)
		if got := string(m.text); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
	f(true, "a b/c+d;k=v w/x", "stats.a_b-cd;k=v w/x 1 2\n")
	f(true, "café", "stats.caf 1 2\n")
	f(true, "", "stats. 1 2\n")
	f(false, "a b", "stats.a b 1 2\n")
}

func TestPickle(t *testing.T) {
	f := func(flush *backend.Flush, want []metric) {
		t.Helper()
		n := DefaultNamespace()
		m := message{Namespace: n, pickled: true}
		for range 2 { // a buffer that was used before must not show
			m.begin()
			m.metrics(flush)
			m.end()
		}
		got, err := unpickle(m.text)
		if err != nil {
			t.Fatalf("%v in %q", err, m.text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	f(&backend.Flush{}, nil)
	f(&backend.Flush{Timestamp: 1700000000, Counters: []backend.Counter{{Name: "c;a=b", Value: 5, Rate: 0.5}}, Gauges: []backend.Gauge{{Name: "g", Value: 1e21}}},
		[]metric{{"stats.c;a=b", 1700000000, "0.5"}, {"stats_counts.c;a=b", 1700000000, "5"}, {"stats.gauges.g", 1700000000, "1e+21"}})
	// Tags that are not sanitised must not break the message for everybody else.
	f(&backend.Flush{Gauges: []backend.Gauge{{Name: `g;path=C:\`, Value: 1}, {Name: `h;x=\\'y'`, Value: 2}, {Name: "i", Value: 3}}},
		[]metric{{`stats.gauges.g;path=C:\`, 0, "1"}, {`stats.gauges.h;x=\\'y'`, 0, "2"}, {"stats.gauges.i", 0, "3"}})
}

func BenchmarkGraphiteLines(b *testing.B) {
	flush := &backend.Flush{Timestamp: 1700000000}
	for i := range 500 {
		flush.Counters = append(flush.Counters, backend.Counter{Name: fmt.Sprintf("servers.web%d.requests;env=prod", i), Value: float64(i * 37), Rate: float64(i) * 3.7})
	}
	fields := []backend.Field{{Name: "count_90", Value: 9}, {Name: "mean_90", Value: 43.666666666666664}, {Name: "upper_90", Value: 101}, {Name: "sum_90", Value: 131},
		{Name: "sum_squares_90", Value: 10701}, {Name: "std", Value: 40.74582459862878}, {Name: "upper", Value: 101}, {Name: "lower", Value: 10}, {Name: "count", Value: 10},
		{Name: "count_ps", Value: 1}, {Name: "sum", Value: 131}, {Name: "sum_squares", Value: 10701}, {Name: "mean", Value: 43.6}, {Name: "median", Value: 20}}
	for i := range 400 {
		flush.Timers = append(flush.Timers, backend.Timer{Name: fmt.Sprintf("servers.web%d.latency", i), Fields: fields})
	}
	for i := range 100 {
		flush.Gauges = append(flush.Gauges, backend.Gauge{Name: fmt.Sprintf("servers.web%d.load", i), Value: float64(i) / 7})
	}
	for _, pickled := range []bool{false, true} {
		name := "text"
		if pickled {
			name = "pickle"
		}
		b.Run(name, func(b *testing.B) {
			m := message{Namespace: DefaultNamespace(), pickled: pickled}
			b.ReportAllocs()
			for b.Loop() {
				m.begin()
				m.metrics(flush)
				m.end()
			}
			lines := 2*len(flush.Counters) + len(fields)*len(flush.Timers) + len(flush.Gauges)
			b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
