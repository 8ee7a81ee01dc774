package timeseries

import (
	"math"
	"testing"
)

var nan = math.NaN()

func equal(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func TestNewStatistics(t *testing.T) {
	f := func(data []float64, keepTotal bool, typ MetricsType, want Statistics) {
		t.Helper()
		got := NewStatistics(data, 60, keepTotal, typ)
		if !equal(got.Total, want.Total) || !equal(got.Average, want.Average) || !equal(got.Min, want.Min) || !equal(got.Max, want.Max) ||
			got.MinIndex != want.MinIndex || got.MaxIndex != want.MaxIndex || !equal(got.Percentile95, want.Percentile95) {
			t.Errorf("%v: got %+v, want %+v", data, got, want)
		}
	}
	f([]float64{3, 1, 4, 1, 5, 9, 2, 6, 9}, true, Gauge, Statistics{Total: 40, Average: 40.0 / 9, Min: 1, MinIndex: 1, Max: 9, MaxIndex: 5, Percentile95: 9})
	f([]float64{10, nan, 20, nan, 30}, true, Gauge, Statistics{Total: 60, Average: 20, Min: 10, MinIndex: 0, Max: 30, MaxIndex: 4, Percentile95: 20})
	f([]float64{10, nan, 30}, false, Derivative, Statistics{Total: 2400, Average: 20, Min: 10, MinIndex: 0, Max: 30, MaxIndex: 2, Percentile95: 10})
	f([]float64{10, nan, 30}, false, Gauge, Statistics{Total: nan, Average: 20, Min: 10, MinIndex: 0, Max: 30, MaxIndex: 2, Percentile95: 10})
	f([]float64{nan, nan}, false, Counter, Statistics{Total: 0, Average: nan, Min: nan, MinIndex: 1, Max: nan, MaxIndex: 1, Percentile95: nan})
	f(nil, false, Counter, Statistics{Total: 0, Average: nan, Min: nan, MinIndex: 1, Max: nan, MaxIndex: 1})
}

func TestPercentile95(t *testing.T) {
	for n, want := range map[int]float64{1: 1, 2: 1, 3: 2, 5: 4, 10: 9, 11: 9, 20: 18, 21: 19, 60: 56, 80: 75, 100: 94, 101: 95} {
		data := make([]float64, n)
		for i := range data {
			data[i] = float64(n - i)
		}
		if got := percentile95(data); got != want {
			t.Errorf("1..%d: got %v, want %v", n, got, want)
		}
	}
	if got := percentile95([]float64{3, nan, 1}); got != 1 {
		t.Errorf("got %v, want 1", got)
	}
}

func TestSampledStep(t *testing.T) {
	const day = 86400
	for _, c := range []struct{ raw, length, points, want int64 }{
		{60, 600, 80, 60}, {60, 600, 5, 120}, {60, 601, 5, 180}, {1, 3600, 60, 60}, {1, 3600, 180, 20}, {300, day, 60, 1500},
		{300, 30 * day, 80, 32400}, {60, 600, 0, 600},
	} {
		if got := SampledStep(c.raw, 0, c.length, c.points); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}
