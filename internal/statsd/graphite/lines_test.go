package graphite

import (
	"testing"

	"github.com/weirhq/weir/backend"
)

func TestAppendLines(t *testing.T) {
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
		if got := string(n.AppendLines(nil, flush)); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	legacy := DefaultNamespace()
	legacy.GlobalSuffix = "host1"
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
