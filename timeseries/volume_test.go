package timeseries

import "testing"

func TestVolume(t *testing.T) {
	f := func(typ MetricsType, times []int64, values []float64, start, end int64, volume, integral float64) {
		t.Helper()
		s := &Schema{Type: typ, Step: 60}
		if got := Volume(s, times, values, start, end); got != volume {
			t.Errorf("%v, %v from %d to %d: volume %v, want %v", times, values, start, end, got, volume)
		}
		if got := Integral(s, times, values, start, end); got != integral {
			t.Errorf("%v, %v from %d to %d: integral %v, want %v", times, values, start, end, got, integral)
		}
	}
	// A reset counts zero.
	at, v := every(600, 60, 9), []float64{1000, 1600, 2200, 2800, 3400, 0, 600, 1200, 1800}
	f(Counter, at, v, 600, 1080, 4200, 4200)
	f(Counter, at, v, 0, 5000, 4200, 4200) // the first value is never traffic
	// Increments belong to the time of the later sample; the predecessor may lie before the range.
	f(Counter, at, v, 660, 780, 1200, 1200)
	f(Counter, at, v, 659, 779, 1200, 1200)
	f(Counter, at, v, 661, 719, 0, 0)
	f(Counter, []int64{0, 1_000_000, 1_000_060}, []float64{5, 105, 106}, 999_999, 1_000_060, 101, 101) // gaps do not matter
	f(Counter, []int64{0, 60, 120, 180}, []float64{5, nan, 7, nan}, 0, 180, 2, 2)
	f(Counter, []int64{100}, []float64{5}, 0, 180, 0, 0)
	f(Counter, nil, nil, 0, 180, 0, 0)
	f(Counter, []int64{0, 60}, []float64{9e15, 9e15 + 1}, 0, 60, 1, 1)

	at, v = []int64{0, 60, 120, 180}, []float64{5, 6, nan, -2}
	f(Gauge, at, v, 0, 180, 4, 240)
	f(Gauge, at, v, -1, 179, 11, 660)
	f(Derivative, at, v, 0, 180, 240, 240)
	f(Gauge, nil, nil, 0, 180, 0, 0)
	// Rates of whole numbers add up to whole numbers.
	at, v = nil, nil
	tens := &Schema{Name: "t:d", Step: 10, Metrics: []string{"rate"}, Type: Derivative}
	for i := range 700 {
		at, v = append(at, int64(i+1)*10), append(v, 3.0/10)
	}
	if got := Volume(tens, at, v, 0, 7000); got != 2100 {
		t.Errorf("3 in each of 700 slots are %v, want 2100", got)
	}
}
