package countergroup

import (
	"fmt"
	"strings"
	"testing"
)

// The table of 1.3, meter by meter: the values of three buckets, and those of the running second at its end.
func TestMeterValues(t *testing.T) {
	f := func(kind MeterType, windows [][]float64, want string) {
		t.Helper()
		b := newBench(t, Config{Window: 10}, Definition{Bucket: 10, Meters: meters(kind)})
		now := int64(1000)
		b.Tick(now)
		for _, values := range windows {
			b.add("k", 0, values...)
			now += 10
			b.Tick(now)
		}
		var got []string
		for _, c := range b.calls {
			if strings.HasPrefix(c, "window ") {
				value := "-" // no row
				if _, after, ok := strings.Cut(c, "k=["); ok {
					value, _, _ = strings.Cut(after, "]")
				}
				got = append(got, value)
			}
		}
		if s := strings.Join(got[1:], " "); s != want {
			t.Errorf("%v: %v gives %s, want %s", kind, windows, s, want)
		}
	}
	f(Counter, [][]float64{{1, 2, 3.5}, {}, {4}, {-1}}, "6.5 - 4 -1")
	f(Rate, [][]float64{{100, 50}, {}, {5}}, "15 - 0.5")
	f(Gauge, [][]float64{{7, 3}, {}, {0}, {-2}}, "3 - 0 -2")
	f(Running, [][]float64{{5, -2}, {}, {4}, {-8}}, "3 - 7 -1")
	f(Average, [][]float64{{1, 2, 6}, {}, {4}}, "3 - 4")
	f(DeltaRate, [][]float64{{1000}, {1100}, {1100}, {1200, 1250}, {}, {1350}}, "0 10 0 15 - 10")
	f(DeltaRate, [][]float64{{1000}, {1000, 1010, 1010}, {1010, 1010}}, "0 1 0")
	f(DeltaRate, [][]float64{{1000}, {500}, {600}, {700, 650, 900}, {1000}}, "0 0 10 0 10") // resets
	f(Maximum, [][]float64{{3, 9, 4}, {}, {-5, -7}}, "9 - -5")
	f(Minimum, [][]float64{{3, 9, 4}, {}, {5, -7}}, "3 - -7")
	f(slidingRate, [][]float64{{100}}, "10")
	f(slidingCount, [][]float64{{100}}, "100")
	f(gaugeMinMax, [][]float64{{100, 1}}, "1")
	f(automatic, [][]float64{{100, 1}}, "1")
}

// "A meter not touched in a bucket reads 0 (RUNNING_COUNTER reads its running value)."
func TestUntouchedMeters(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter, Rate, Gauge, Running, Average, DeltaRate, Maximum, Minimum)})
	b.Tick(60)
	b.expect("flush 60", "window G 0-60", "end 60")
	for m := range 8 {
		b.add("k", m, 600)
	}
	b.Tick(120)
	b.add("k", 0, 1)
	b.Tick(180)
	b.only("window")
	b.expect("window G 60-120 k=[600 10 600 600 600 0 600 600] SYS:GROUP_TOTALS=[600 10 600 600 600 0 600 600]",
		"window G 120-180 k=[1 0 0 600 0 0 0 0] SYS:GROUP_TOTALS=[1 0 0 600 0 0 0 0]")
}

// The volume comes back when a script multiplies a rate by the seconds (1.4).
func TestRateKeepsTheVolume(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Rate)})
	b.Tick(60)
	for i, volume := range []float64{5000, 745513, 1, 123456789012345} {
		b.add(fmt.Sprint(i), 0, volume)
		b.onWindow = func(w *Window) {
			if got := fmt.Sprintf("%.14g", 60*w.Rows[0].Values[0]); got != fmt.Sprintf("%.14g", volume) {
				t.Errorf("60*rate = %s, want %v", got, volume)
			}
		}
		b.Tick(int64(120 + 60*i))
	}
}

// 1.6: aggregation per type; last; only when a key was active; before what stages do.
func TestTotals(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter, Rate, Gauge, Running, Average, DeltaRate, Maximum, Minimum)},
		Definition{Meters: meters(Counter)})
	b.Tick(60)
	b.add("b", 0, 5)
	b.add("a", 0, 1, 2)
	b.add("a", 1, 60)
	b.add("b", 1, 120)
	b.add("a", 2, 9, 4)
	b.add("b", 2, 6)
	b.add("a", 3, 3)
	b.add("b", 3, -1)
	b.add("a", 4, 1, 2, 3)
	b.add("b", 4, 10)
	b.add("a", 5, 100, 160)
	b.add("b", 5, 1000, 1060)
	b.add("a", 6, 5)
	b.add("b", 6, 8)
	b.add("a", 7, 5)
	b.add("b", 7, 8)
	b.onWindow = func(w *Window) {
		if len(w.Rows) > 0 {
			w.Rows[0].Drop()
			w.Rows[1].Values[0] = 1e9
		}
	}
	second := &recorder{}
	b.SetStages(&b.recorder, second)
	b.Tick(120)
	b.only("window G 60")
	b.expect("window G 60-120 a=[3 1 4 3 2 1 5 5] b=[5 2 6 -1 10 1 8 8] SYS:GROUP_TOTALS=[8 3 10 2 4 2 8 5]")
	b.calls = second.calls
	b.only("window")
	b.expect("window G 60-120 b=[1e+09 2 6 -1 10 1 8 8] SYS:GROUP_TOTALS=[8 3 10 2 4 2 8 5]", "window H 60-120")
}
