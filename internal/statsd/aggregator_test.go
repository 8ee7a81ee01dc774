package statsd

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

var quiet = slog.New(slog.DiscardHandler)

// aggregate returns an Aggregator and a function that feeds it packets through the given shard.
func aggregate(cfg Config, shards int) (*Aggregator, func(shard int, packets ...string)) {
	a := newAggregator(cfg, shards, telemetry.NewRegistry(), quiet)
	return a, func(shard int, packets ...string) {
		for _, p := range packets {
			a.shards[shard].Take([][]byte{[]byte(p)})
		}
	}
}

// render shows a flush as "c name=value/rate", "ms name=n*count", "g name=value", "s name=a,b",
// without the three internal counters unless they are not zero.
func render(f *backend.Flush) string {
	var out []string
	for _, c := range f.Counters {
		if strings.HasPrefix(c.Name, "statsd.") && c.Value == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("c %s=%s/%s", c.Name, FormatNumber(c.Value), FormatNumber(c.Rate)))
	}
	for _, t := range f.Timers {
		out = append(out, fmt.Sprintf("ms %s=%v*%s", t.Name, t.Values, FormatNumber(t.Count)))
	}
	for _, g := range f.Gauges {
		out = append(out, fmt.Sprintf("g %s=%s", g.Name, FormatNumber(g.Value)))
	}
	for _, s := range f.Sets {
		out = append(out, fmt.Sprintf("s %s=%s", s.Name, strings.Join(s.Members, ",")))
	}
	return strings.Join(out, "; ")
}

// checker compares flushes with what they should be, one second apart from 1000 on.
func checker(t *testing.T, a *Aggregator) func(want string) {
	now := int64(999)
	return func(want string) {
		t.Helper()
		now++
		if got := render(a.flush(now)); got != want {
			t.Errorf("flush at %d\n got %s\nwant %s", now, got, want)
		}
	}
}

func config() Config {
	cfg := DefaultConfig()
	cfg.Listen, cfg.FlushInterval, cfg.Percentiles = nil, time.Second, nil
	return cfg
}

func TestAggregatorFlush(t *testing.T) {
	cfg := config()
	cfg.FlushInterval = 2 * time.Second
	a, feed := aggregate(cfg, 1)
	feed(0, "c1:3|c|@0.1\nc1:2|c\n", "t1:10|ms:20|ms|@0.5:101|ms", "g1:5|g", "g1:-2|g", "u:u1|s:u2|s:u1|s", "bad|z", "n:-7|g")
	check := checker(t, a)
	check("c statsd.bad_lines_seen=1/0.5; c statsd.packets_received=7/3.5; c statsd.metrics_received=8/4; c c1=32/16; " +
		"ms t1=[10 20 101]*4; g g1=3; g n=-7; s u=u1,u2")
	check("c c1=0/0; ms t1=[]*0; g g1=3; g n=-7; g statsd.timestamp_lag=-1; s u=")
	feed(0, "t1:3|ms\nu:u2|s\ng1:+1|g")
	check("c statsd.packets_received=1/0.5; c statsd.metrics_received=3/1.5; c c1=0/0; ms t1=[3]*1; g g1=4; g n=-7; g statsd.timestamp_lag=-1; s u=u2")
	if n := a.badLines.Load(); n != 1 {
		t.Errorf("%d bad lines since the start, want 1", n)
	}
	if account := a.ledger.Snapshot(); account.Received != 15 || account.Discarded["bad_line"] != 1 || !account.Balanced() {
		t.Errorf("ledger %+v", account)
	}
}

func TestAggregatorOddNumbers(t *testing.T) {
	a, feed := aggregate(config(), 1)
	check := checker(t, a)
	// a counter that became NaN starts again, Infinity stays
	feed(0, "c:0|c|@0:3|c\ni:1e400|c:-5|c\nz:-0|c")
	// a gauge that became NaN is set by its next delta
	feed(0, "g:Infinity|g:-Infinity|g:+4|g\nh:1|g:NaN|g")
	check("c statsd.bad_lines_seen=1/1; c statsd.packets_received=2/2; c statsd.metrics_received=5/5; c c=3/3; c i=Infinity/Infinity; c z=0/0; g g=4; g h=1")
	// a first value of -0 stays -0, which only the management console shows
	feed(0, "minus:-0|g")
	if gauges := a.Gauges(); !math.Signbit(gauges[len(gauges)-1].Value) {
		t.Errorf("%+v", gauges)
	}
}

func TestAggregatorOrder(t *testing.T) {
	a, feed := aggregate(config(), 1)
	check := checker(t, a)
	// index-like names first, ascending; 4294967295, 01 and -1 are none
	feed(0, "b:1|c\n10:1|c\n9:1|c\na:1|c\n4294967295:1|c\n4294967294:1|c\n01:1|c\n0:1|c\n-1:1|c\ns:x|s:7|s:07|s:5|s")
	check("c 0=1/1; c 9=1/1; c 10=1/1; c 4294967294=1/1; c statsd.packets_received=1/1; c statsd.metrics_received=10/10; " +
		"c b=1/1; c a=1/1; c 4294967295=1/1; c 01=1/1; c -1=1/1; s s=5,7,x,07")
}

func TestAggregatorDeletesIdle(t *testing.T) {
	cfg := config()
	cfg.DeleteCounters, cfg.DeleteTimers, cfg.DeleteSets, cfg.DeleteGauges, cfg.GaugeTTL = true, true, true, true, 2
	a, feed := aggregate(cfg, 1)
	check := checker(t, a)
	feed(0, "c:1|c\nt:1|ms\ns:1|s\ng:+1|g\nmy.packets_received:1|c")
	check("c statsd.packets_received=1/1; c statsd.metrics_received=5/5; c c=1/1; c my.packets_received=1/1; ms t=[1]*1; g g=1; s s=1")
	check("c my.packets_received=0/0; g g=1; g statsd.timestamp_lag=0")
	check("c my.packets_received=0/0; g statsd.timestamp_lag=0")
	if n := a.names.size(); n != 5 {
		t.Errorf("%d names are held, want 5: deleted ones must leave", n)
	}
	// a deleted name is a new one: last in order, and a delta finds nothing to add to
	feed(0, "d:1|c\nc:2|c\ng:+5|g")
	check("c statsd.packets_received=1/1; c statsd.metrics_received=3/3; c my.packets_received=0/0; c d=1/1; c c=2/2; g statsd.timestamp_lag=0; g g=5")
	feed(0, "c:3|c\nd:4|c\n5:1|c")
	check("c 5=1/1; c statsd.packets_received=1/1; c statsd.metrics_received=3/3; c my.packets_received=0/0; c c=3/3; c d=4/4; g statsd.timestamp_lag=0; g g=5")
}

func TestAggregatorShardsAddUp(t *testing.T) {
	a, feed := aggregate(config(), 3)
	check := checker(t, a)
	feed(0, "c:1|c\nt:3|ms\ns:a|s:b|s\ng:5|g")
	feed(1, "c:2|c\nt:1|ms|@0.5\ns:b|s:c|s\ng:+2|g")
	feed(2, "c:4|c\nd:1|c")
	check("c statsd.packets_received=3/3; c statsd.metrics_received=10/10; c c=7/7; c d=1/1; ms t=[1 3]*3; g g=7; s s=a,b,c")
	feed(2, "c:1|c\ns:z|s")
	check("c statsd.packets_received=1/1; c statsd.metrics_received=2/2; c c=1/1; c d=0/0; ms t=[]*0; g g=7; g statsd.timestamp_lag=0; s s=z")
}

// TestAggregatorIsTheOracle feeds the same random packets to the Aggregator and
// to the obvious implementation, and compares all flushes and listings.
func TestAggregatorIsTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := config()
		cfg.FlushInterval = 2 * time.Second
		cfg.Percentiles = []float64{90, -10}
		cfg.Sanitize = rapid.Bool().Draw(t, "sanitize")
		cfg.DeleteCounters, cfg.DeleteTimers = rapid.Bool().Draw(t, "deleteCounters"), rapid.Bool().Draw(t, "deleteTimers")
		cfg.DeleteSets, cfg.DeleteGauges = rapid.Bool().Draw(t, "deleteSets"), rapid.Bool().Draw(t, "deleteGauges")
		cfg.GaugeTTL = rapid.IntRange(1, 3).Draw(t, "ttl")
		// Names go to shards by packet; with several the order is only close to that of arrival.
		shards := rapid.IntRange(1, 3).Draw(t, "shards")
		a, feed := aggregate(cfg, shards)
		o := newOracle(cfg)
		name := rapid.SampledFrom([]string{"a", "b", "c", "d e", "10", "9", "x;tag=1", "é", "my.bad_lines_seen", "statsd.packets_received", "", "__proto__"})
		values := []string{"1", "2.5", "-3", "+4", "0", "1e3", "x", "", ".5", "7.", "00012", "123456789012345678", "\xe2\x82"}
		types := []string{"|c", "|ms", "|g", "|s", "|c|@0.1", "|ms|@.5", "|g|@2", "|c|@x", "| ms", "|zz", "", "|c|#t:1,u", "|c\r"}
		if shards == 1 { // a sum with NaN in it depends on the order, and only one shard keeps that
			values, types = append(values, "Infinity", "-Infinity"), append(types, "|c|@0")
		}
		value, typ := rapid.SampledFrom(values), rapid.SampledFrom(types)
		line := rapid.Custom(func(t *rapid.T) string {
			s := name.Draw(t, "name")
			for range rapid.IntRange(1, 2).Draw(t, "values") {
				s += ":" + value.Draw(t, "value") + typ.Draw(t, "type")
			}
			return s
		})
		now := int64(1000)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "flush?") == 0 {
				compare(t, "listing", listing(a), o.listing(), shards)
				now += rapid.Int64Range(0, 4).Draw(t, "seconds")
				compare(t, "flush", a.flush(now), o.flush(now), shards)
				continue
			}
			packet := strings.Join(rapid.SliceOfN(line, 1, 5).Draw(t, "lines"), "\n")
			feed(rapid.IntRange(0, shards-1).Draw(t, "shard"), packet)
			o.packet(packet)
		}
		compare(t, "flush", a.flush(now+1), o.flush(now+1), shards)
		if account := a.ledger.Snapshot(); !account.Balanced() {
			t.Errorf("ledger %+v", account)
		}
	})
}

// listing is what the management console is told, as a flush.
func listing(a *Aggregator) *backend.Flush {
	return &backend.Flush{Counters: a.Counters(), Timers: a.Timers(), Gauges: a.Gauges()}
}

func (o *oracle) listing() *backend.Flush {
	f := &backend.Flush{}
	o.counters.each(func(name string, c *float64) bool {
		f.Counters = append(f.Counters, backend.Counter{Name: name, Value: *c})
		return true
	})
	o.timers.each(func(name string, t *simpleTimer) bool {
		f.Timers = append(f.Timers, backend.Timer{Name: name, Values: t.values})
		return true
	})
	o.gauges.each(func(name string, g *simpleGauge) bool {
		f.Gauges = append(f.Gauges, backend.Gauge{Name: name, Value: g.value})
		return true
	})
	return f
}

func compare(t *rapid.T, what string, got, want *backend.Flush, shards int) {
	t.Helper()
	options := cmp.Options{
		cmpopts.EquateEmpty(), cmpopts.IgnoreFields(backend.Flush{}, "Processing"),
		// Shards add in another order, so the last digits of sums may differ.
		cmp.Comparer(func(x, y float64) bool {
			return x == y || math.IsNaN(x) && math.IsNaN(y) || math.Abs(x-y) <= 1e-9*math.Max(math.Abs(x), math.Abs(y))
		}),
	}
	if shards > 1 { // members, and values of a running interval, come shard by shard
		for _, f := range []*backend.Flush{got, want} {
			for i := range f.Timers {
				slices.Sort(f.Timers[i].Values)
			}
			for i := range f.Sets {
				slices.Sort(f.Sets[i].Members)
			}
		}
	}
	if difference := cmp.Diff(want, got, options); difference != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, difference)
	}
}

func TestAggregatorDelete(t *testing.T) {
	a, feed := aggregate(config(), 2)
	feed(0, "a.b:1|c\na.c:1|c\na:1|c\nab.c:1|c\ntoString:1|c\na.b:1|ms\na.b:1|g")
	feed(1, "a.b:1|c\na.d:1|c")
	f := func(kind Kind, pattern string, want ...string) {
		t.Helper()
		if got := a.Delete(kind, pattern); !slices.Equal(got, want) {
			t.Errorf("Delete(%v, %q) = %q, want %q", kind, pattern, got, want)
		}
	}
	f(Counter, "*")
	f(Counter, "nothing")
	f(Counter, "hasOwnProperty")
	f(Counter, "toString", "toString")
	f(Counter, "a.*", "a.b", "a.c", "a.d")
	f(Counter, "a.*")
	f(Timer, "a.b", "a.b")
	feed(1, "a.b:7|c\na.b:+3|g")
	check := checker(t, a)
	check("c statsd.packets_received=3/3; c statsd.metrics_received=11/11; c a=1/1; c ab.c=1/1; c a.b=7/7; g a.b=4")
	f(Gauge, "a.*", "a.b")
	// the internal counters come back with the next packet
	f(Counter, "statsd.packets_received", "statsd.packets_received")
	check("c a=0/0; c ab.c=0/0; c a.b=0/0; g statsd.timestamp_lag=0")
	feed(0, "a:1|c")
	check("c statsd.metrics_received=1/1; c a=1/1; c ab.c=0/0; c a.b=0/0; c statsd.packets_received=1/1; g statsd.timestamp_lag=0")
}

func TestAggregatorNameLimit(t *testing.T) {
	cfg := config()
	cfg.MaxNames = 6 // with the three internal ones
	var out bytes.Buffer
	a := newAggregator(cfg, 1, telemetry.NewRegistry(), slog.New(slog.NewTextHandler(&out, nil)))
	a.shards[0].Take([][]byte{[]byte("a:1|c\nb:1|ms\nc:1|g\nculprit:1|c:2|s\na:1|c\nworse:1|g")})
	if got, want := render(a.flush(1000)), "c statsd.packets_received=1/1; c statsd.metrics_received=6/6; c a=2/2; ms b=[1]*1; g c=1"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if account := a.ledger.Snapshot(); account.Discarded["name_limit"] != 3 || account.Received != 7 || !account.Balanced() {
		t.Errorf("ledger %+v", account)
	}
	if log := out.String(); strings.Count(log, "too many names") != 1 || !strings.Contains(log, "name=culprit") || !strings.Contains(log, "names=6") {
		t.Errorf("log: %s", log)
	}
	if lag := render(a.flush(1001)); !strings.Contains(lag, "statsd.timestamp_lag") {
		t.Errorf("the limit keeps out an internal name: %s", lag)
	}
}

func TestAggregatorLogsBadLines(t *testing.T) {
	f := func(debug bool, packet string, want ...string) {
		t.Helper()
		cfg := config()
		cfg.Debug = debug
		var got []string
		a := newAggregator(cfg, 1, telemetry.NewRegistry(), slog.New(&messages{&got}))
		a.shards[0].Take([][]byte{[]byte(packet)})
		if difference := cmp.Diff(want, got); difference != "" {
			t.Errorf("%q (-want +got):\n%s", packet, difference)
		}
	}
	f(false, "ok:1|c:x|c|@1:2|c", `Bad line: x,c,@1 in msg "ok:1|c:x|c|@1:2|c"`)
	f(false, "a\xff", "Bad line: 1 in msg \"a\ufffd\"")
	long := strings.Repeat("x", 64<<10)
	f(false, long, `Bad line: 1 in msg "`+long[:1024]+`..."`)
	var ten, twelve []string
	for i := range 12 {
		twelve = append(twelve, `Bad line: 1 in msg "a"`)
		if i < 10 {
			ten = append(ten, `Bad line: 1 in msg "a"`)
		}
	}
	f(false, strings.Repeat("a\n", 12), ten...)
	f(true, strings.Repeat("a\n", 12), twelve...)
}
