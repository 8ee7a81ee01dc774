package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

func start(t testing.TB, d *memory, interval float64) (*Backend, *telemetry.Registry) {
	t.Helper()
	reg := telemetry.NewRegistry()
	b := New(d, reg)
	if err := b.Init(t.Context(), backend.Environment{Startup: 1, Interval: interval, Prefix: "statsd"}); err != nil {
		t.Fatal(err)
	}
	return b, reg
}

func flush(t *testing.T, b *Backend, f *backend.Flush) {
	t.Helper()
	if err := b.Flush(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, d *memory, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, d.take()); diff != "" {
		t.Error(diff)
	}
}

// account checks that the ledger balances and that nothing was discarded but what is named.
func account(t *testing.T, reg *telemetry.Registry, received, passed int64, discarded map[string]int64) {
	t.Helper()
	a := reg.Ledger("statsd.storage", "points").Snapshot()
	if a.Received != received || a.Passed != passed || !a.Balanced() {
		t.Errorf("ledger %+v, want received %d, passed %d", a, received, passed)
	}
	for reason, n := range a.Discarded {
		if n != discarded[reason] {
			t.Errorf("discarded %s: %d, want %d", reason, n, discarded[reason])
		}
	}
}

func TestFlushBecomesPoints(t *testing.T) {
	d := &memory{}
	b, reg := start(t, d, 10)
	flush(t, b, &backend.Flush{
		Timestamp: 1700000003,
		Counters:  []backend.Counter{{Name: "statsd.packets_received", Value: 0}, {Name: "c;env=prod;host=a", Value: 5, Rate: 0.5}},
		Gauges:    []backend.Gauge{{Name: "g;solo", Value: -2}},
		Timers: []backend.Timer{
			{Name: "t", Fields: []backend.Field{{Name: "mean_90", Value: 3}, {Name: "sum_90", Value: math.NaN()}, {Name: "count_ps", Value: 0.2}, {Name: "count", Value: 2}},
				Histogram: []backend.Field{{Name: "bin_10", Value: 2}, {Name: "bin_inf", Value: 0}}},
			{Name: "idle", Fields: []backend.Field{{Name: "count_ps"}, {Name: "count"}}},
			{Name: "filtered"},
		},
		Sets: []backend.Set{{Name: "", Members: []string{"x", "y"}}},
	})
	expect(t, d,
		"counter{name:c,tags:env=prod;host=a} 1700000003 rate=0.5",
		"counter{name:statsd.packets_received,tags:} 1700000003 rate=0",
		"gauge{name:g,tags:solo} 1700000003 value=-2",
		"histogram{name:t,tags:,bin:bin_10} 1700000003 count=2",
		"histogram{name:t,tags:,bin:bin_inf} 1700000003 count=0",
		"set{name:,tags:} 1700000003 count=2",
		"timer{name:idle,tags:} 1700000003 count=0 count_ps=0",
		"timer{name:t,tags:} 1700000003 count=2 mean_90=3 count_ps=0.2",
	)
	account(t, reg, 8, 8, nil)
	if b.counter.Step != 10 || b.counter.Type != timeseries.Derivative || b.timer.Type != timeseries.Gauge || b.set.Packed != "tags" {
		t.Errorf("schemas %+v %+v %+v", b.counter, b.timer, b.set)
	}
	b.Status(func(stat string, v float64) {
		if want := map[string]float64{"last_flush": 1700000003, "last_exception": 0}[stat]; v != want {
			t.Errorf("%s %v, want %v", stat, v, want)
		}
	})
}

func TestPacked(t *testing.T) {
	f := func(tags, want string, unpacked ...string) {
		t.Helper()
		if got := packed(tags); got != want {
			t.Errorf("%q: got %q, want %q", tags, got, want)
		}
		var got []string
		for key, value := range timeseries.UnpackTags(want) {
			got = append(got, key, value)
		}
		if !slices.Equal(got, unpacked) {
			t.Errorf("%q: read back as %q, want %q", want, got, unpacked)
		}
	}
	f("", "")
	f("a=1;b", "a=1;b", "a", "1", "b", "")
	f(`a=C:\x;b=\`, `a=C:\x;b=\`, "a", `C:\x`, "b", `\`)
	f(`a=\;b=2`, `a=\\;b=2`, "a", `\`, "b", "2")
	f(`a\=1`, `a\\=1`, `a\`, "1")
	f(`a=\x\\`, `a=\\x\\\\`, "a", `\x\\`)
}

func TestCanonical(t *testing.T) {
	f := func(key, want string) {
		t.Helper()
		if got := canonical(key); got != want || isCanonical(key) != (key == want) || !isCanonical(want) {
			t.Errorf("%q: got %q (canonical as it stands: %v), want %q", key, got, isCanonical(key), want)
		}
	}
	f("a", "a")
	f("", "")
	f("a;", "a")
	f("a;;;", "a")
	f(";k=v", ";k=v")
	f("a;k=v", "a;k=v")
	f("a;b=2;a=1", "a;a=1;b=2")
	f("a;a=1;b=2", "a;a=1;b=2")
	f("a;a=1;a=2", "a;a=2")
	f("a;z;a=1;m=3;a=;z=9", "a;a=;m=3;z=9")
	f("a;k=v;", "a;k=v")
	f("a;solo", "a;solo")
	f("a;solo;k=x=y", "a;k=x=y;solo")
	f("a;=v", "a;=v")
	f("a;b=1;=v", "a;=v;b=1")
	f("a;a-b=1;a=2", "a;a=2;a-b=1") // the order is that of names: "a" before "a-b", though "a-" is before "a="
	f("a"+strings.Repeat(";k=1", 200), "a;k=1")
	f("a;t3;t1;t2;t9;t8;t7;t6;t5;t4;u3;u1;u2;u9;u8;u7;u6;u5;u4", "a;t1;t2;t3;t4;t5;t6;t7;t8;t9;u1;u2;u3;u4;u5;u6;u7;u8;u9")
}

func TestKeysOfOneSeriesAreMerged(t *testing.T) {
	d := &memory{}
	b, reg := start(t, d, 10)
	statistics := statsd.NewStatistics(10, []float64{90}, nil, []string{"count", "upper_percent"})
	flush(t, b, &backend.Flush{
		Timestamp: 20, Percentiles: []float64{90},
		Counters: []backend.Counter{{Name: "c;a=1;b=2", Value: 10}, {Name: "c;b=2;a=1", Value: 30}, {Name: "c", Value: 1}, {Name: "c;", Value: 2}},
		Gauges:   []backend.Gauge{{Name: "g;b;a", Value: 1}, {Name: "g;a;b", Value: 2}},
		Timers: []backend.Timer{statistics.Timer("t;b;a", []float64{5, 1}, 2), statistics.Timer("t;a;b", []float64{9}, 10),
			{Name: "h", Histogram: []backend.Field{{Name: "bin_1", Value: 1}}}, {Name: "h;", Histogram: []backend.Field{{Name: "bin_1", Value: 2}, {Name: "bin_2", Value: 3}}}},
		Sets: []backend.Set{{Name: "s;b;a", Members: []string{"x", "y"}}, {Name: "s;a;b", Members: []string{"y", "z"}}},
	})
	expect(t, d,
		"counter{name:c,tags:a=1;b=2} 20 rate=4",
		"counter{name:c,tags:} 20 rate=0.3",
		"gauge{name:g,tags:a;b} 20 value=2",
		"histogram{name:h,tags:,bin:bin_1} 20 count=3",
		"histogram{name:h,tags:,bin:bin_2} 20 count=3",
		"set{name:s,tags:a;b} 20 count=3",
		"timer{name:t,tags:a;b} 20 count=12 upper_90=9",
	)
	account(t, reg, 7, 7, nil)
	// Tags out of order alone are no reason to merge.
	flush(t, b, &backend.Flush{Timestamp: 30, Counters: []backend.Counter{{Name: "c;b=2;a=1", Value: 30}, {Name: "c;b=2;a=2", Value: 10}, {Name: "c", Value: 0}}})
	expect(t, d, "counter{name:c,tags:a=1;b=2} 30 rate=3", "counter{name:c,tags:a=2;b=2} 30 rate=1", "counter{name:c,tags:} 30 rate=0")
}

func TestFlushesWithinASecond(t *testing.T) {
	d := &memory{}
	b, _ := start(t, d, 0.2)
	statistics := statsd.NewStatistics(0.2, []float64{50}, nil, nil)
	for i := range 13 { // timestamps 1 to 3, five flushes in each second that is complete
		flush(t, b, &backend.Flush{
			Timestamp: 1 + int64(i)/5, Percentiles: []float64{50},
			Counters: []backend.Counter{{Name: "c", Value: 2, Rate: 10}},
			Gauges:   []backend.Gauge{{Name: "g", Value: float64(i)}},
			Timers:   []backend.Timer{statistics.Timer("t", []float64{float64(i)}, 2)},
			Sets:     []backend.Set{{Name: "s", Members: []string{fmt.Sprint(i % 2)}}},
		})
	}
	timer := func(at int, values ...float64) string {
		want := statsd.NewStatistics(1, []float64{50}, nil, nil).Timer("t", values, 2*float64(len(values)))
		p := timeseries.Point{Schema: b.timer, Time: int64(at), Tags: []string{"t", ""}, Values: make([]float64, len(b.timer.Metrics))}
		for _, field := range want.Fields {
			p.Values[b.columns[field.Name]] = field.Value
		}
		return text(p)
	}
	expect(t, d,
		"counter{name:c,tags:} 1 rate=10", "counter{name:c,tags:} 2 rate=10",
		"gauge{name:g,tags:} 1 value=4", "gauge{name:g,tags:} 2 value=9",
		"set{name:s,tags:} 1 count=2", "set{name:s,tags:} 2 count=2",
		timer(1, 0, 1, 2, 3, 4), timer(2, 5, 6, 7, 8, 9))
	for range 2 {
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, d, "counter{name:c,tags:} 3 rate=6", "gauge{name:g,tags:} 3 value=12", "set{name:s,tags:} 3 count=2", timer(3, 10, 11, 12))
	if b.counter.Step != 1 {
		t.Errorf("step %d, want 1", b.counter.Step)
	}
}

func TestIntervalOfSecondsAndAHalf(t *testing.T) {
	d := &memory{}
	b, _ := start(t, d, 1.5)
	for _, at := range []int64{2, 3, 5, 6, 8} { // 1.5, 3, 4.5, 6, 7.5 as whole seconds
		flush(t, b, &backend.Flush{Timestamp: at, Counters: []backend.Counter{{Name: "c", Value: 3}}})
	}
	b.Stop(t.Context())
	expect(t, d, "counter{name:c,tags:} 2 rate=1.5", "counter{name:c,tags:} 4 rate=1.5", "counter{name:c,tags:} 6 rate=3", "counter{name:c,tags:} 8 rate=1.5")
}

func TestLastFlushDoesNotReplaceTheOneBefore(t *testing.T) {
	d := &memory{}
	b, _ := start(t, d, 10)
	for _, v := range []float64{100, 20} {
		flush(t, b, &backend.Flush{Timestamp: 50, Counters: []backend.Counter{{Name: "c", Value: v}}})
	}
	flush(t, b, &backend.Flush{Timestamp: 60, Counters: []backend.Counter{{Name: "c", Value: 10}}})
	expect(t, d, "counter{name:c,tags:} 50 rate=10", "counter{name:c,tags:} 51 rate=2", "counter{name:c,tags:} 60 rate=1")
}

func TestRefusedPoints(t *testing.T) {
	d := &memory{}
	b, reg := start(t, d, 10)
	long := strings.Repeat("x", timeseries.MaxTagValue)
	flush(t, b, &backend.Flush{
		Timestamp: 10,
		Counters: []backend.Counter{{Name: long, Value: 1}, {Name: long + "x", Value: 1}, {Name: "a;" + long + "y", Value: 1},
			{Name: "inf", Value: math.Inf(-1)}, {Name: "nan", Value: math.NaN()}, {Name: "zero\x00", Value: 1}, {Name: "fine", Value: 1}},
		Timers: []backend.Timer{{Name: "big", Fields: []backend.Field{{Name: "sum", Value: 1}, {Name: "sum_squares", Value: math.Inf(1)}}},
			{Name: "hollow", Fields: []backend.Field{{Name: "sum", Value: math.NaN()}}},
			{Name: "fine", Fields: []backend.Field{{Name: "sum", Value: 1}}}},
	})
	expect(t, d, "counter{name:fine,tags:} 10 rate=0.1", "counter{name:"+long+",tags:} 10 rate=0.1", "timer{name:fine,tags:} 10 sum=1")
	account(t, reg, 10, 3, map[string]int64{"bad_name": 3, "infinite": 2, "not_a_number": 2})
}

func TestDriverThatFails(t *testing.T) {
	d := &memory{}
	b, reg := start(t, d, 10)
	f := &backend.Flush{Timestamp: 10}
	for i := range 2*batchPoints + 100 {
		f.Gauges = append(f.Gauges, backend.Gauge{Name: fmt.Sprint("g", i)})
	}
	full := errors.New("no space left on device")
	d.answer = func([]timeseries.Point) error {
		if len(d.batches) == 1 {
			return full
		}
		return nil
	}
	if err := b.Flush(t.Context(), f); !errors.Is(err, full) || !strings.Contains(err.Error(), "4096 points") {
		t.Errorf("got %v, want the driver's error", err)
	}
	account(t, reg, 2*batchPoints+100, batchPoints, map[string]int64{"append": batchPoints + 100})
	d.answer = nil
	b.Status(func(stat string, v float64) {
		if stat == "last_flush" && v != 1 || stat == "last_exception" && v < 1700000000 {
			t.Errorf("%s %v", stat, v)
		}
	})
	f.Timestamp = 20
	flush(t, b, f)
	if d.setups != 2 {
		t.Errorf("the driver was set up %d times, want again after its error", d.setups)
	}
	if diff := cmp.Diff([]int{batchPoints, batchPoints, batchPoints, 100}, d.batches); diff != "" {
		t.Errorf("batches: %s", diff)
	}
	account(t, reg, 2*(2*batchPoints+100), 3*batchPoints+100, map[string]int64{"append": batchPoints + 100})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Flush(ctx, f); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestDriverThatRefusesPoints(t *testing.T) {
	d := &memory{}
	b, reg := start(t, d, 10)
	var first error
	d.answer = func([]timeseries.Point) error { return &timeseries.AppendError{Refused: 2, First: first} }
	f := &backend.Flush{Timestamp: 10, Gauges: []backend.Gauge{{Name: "a"}, {Name: "b"}, {Name: "c"}}}
	first = fmt.Errorf("cannot add a series: %w", timeseries.ErrFull)
	flush(t, b, f)
	first = errors.New("too old")
	f.Timestamp = 20
	flush(t, b, f)
	account(t, reg, 6, 2, map[string]int64{"full": 2, "refused": 2})
	if d.setups != 1 {
		t.Errorf("the driver was set up %d times", d.setups)
	}
}

func TestTimerColumns(t *testing.T) {
	d := &memory{schemas: []*timeseries.Schema{{Name: "statsd:gauge", Metrics: []string{"value"}}, {Name: "statsd:timer", Step: 60, Metrics: []string{"mean", "count"}}}}
	b, reg := start(t, d, 10)
	fields := func(n int) (all []backend.Field) {
		for i := range n {
			all = append(all, backend.Field{Name: fmt.Sprint("f", i), Value: 1})
		}
		return all
	}
	flush(t, b, &backend.Flush{Timestamp: 10, Timers: []backend.Timer{
		{Name: "a", Fields: []backend.Field{{Name: "count", Value: 1}}},
		{Name: "b", Fields: []backend.Field{{Name: "upper_90", Value: 2}, {Name: "mean", Value: 3}}},
		{Name: "c", Fields: []backend.Field{{Name: "count", Value: 4}, {Name: "upper_90", Value: 5}}}}})
	expect(t, d, "timer{name:a,tags:} 10 count=1", "timer{name:b,tags:} 10 mean=3 upper_90=2", "timer{name:c,tags:} 10 count=4 upper_90=5")
	if diff := cmp.Diff([]string{"mean", "count", "upper_90"}, b.timer.Metrics); diff != "" || b.timer.Step != 10 {
		t.Errorf("step %d, columns %s", b.timer.Step, diff)
	}
	var out strings.Builder
	b.log = slog.New(slog.NewTextHandler(&out, nil))
	flush(t, b, &backend.Flush{Timestamp: 20, Timers: []backend.Timer{{Name: "many", Fields: fields(300)}, {Name: "again", Fields: fields(300)}}})
	if lines := d.take(); len(lines) != 2 || strings.Count(lines[0], "=1") != timeseries.MaxMetrics-3 {
		t.Errorf("%q", lines)
	}
	if n := strings.Count(out.String(), "timer field not stored"); n != 300-(timeseries.MaxMetrics-3) {
		t.Errorf("%d fields were reported as not stored", n)
	}
	account(t, reg, 5, 5, nil)
}

// discard is a driver that takes everything.
type discard struct{ memory }

func (*discard) Append(context.Context, []timeseries.Point) error { return nil }

func BenchmarkStorageFlush(b *testing.B) {
	f := func(name, tags string) {
		b.Run(name, func(b *testing.B) {
			statistics := statsd.NewStatistics(10, []float64{90}, nil, nil)
			flush := &backend.Flush{Percentiles: []float64{90}}
			for i := range 6000 {
				flush.Counters = append(flush.Counters, backend.Counter{Name: fmt.Sprintf("servers.web%d.requests%s", i, tags), Value: float64(i)})
			}
			for i := range 4000 {
				flush.Timers = append(flush.Timers, statistics.Timer(fmt.Sprintf("servers.web%d.latency%s", i, tags), []float64{1, 2, 3, float64(i)}, 4))
			}
			s := New(&discard{}, telemetry.NewRegistry())
			if err := s.Init(b.Context(), backend.Environment{Interval: 10}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				flush.Timestamp += 10
				if err := s.Flush(b.Context(), flush); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(flush.Counters)+len(flush.Timers))*float64(b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
	f("plain", "")
	f("tags in order", ";env=prod;host=a1")
	f("tags out of order", ";host=a1;env=prod")
}
