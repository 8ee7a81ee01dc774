package timeseries

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// sameData compares points within the rounding of a few additions.
func sameData(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool {
		return equal(x, y) || math.Abs(x-y) <= 1e-9*max(1, math.Abs(x), math.Abs(y))
	})
}

// every returns the times from, from+step, ... of n samples.
func every(from, step int64, n int) []int64 {
	times := make([]int64, n)
	for i := range times {
		times[i] = from + int64(i)*step
	}
	return times
}

func TestCounter(t *testing.T) {
	f := func(s Schema, maxPoints int, start, end int64, times []int64, values, want []float64) {
		t.Helper()
		g := NewGrid(&s, start, end, options(maxPoints))
		if got := g.Slots(nil, &s, times, values); !slices.EqualFunc(got, want, equal) {
			t.Errorf("%+v at %v, %v: got %v, want %v", g, times, values, got, want)
		}
	}
	minute := Schema{Type: Counter, Step: 60}

	// A reset counts zero and what follows counts normally (R7).
	f(minute, 80, 600, 1080, every(600, 60, 9), []float64{1000, 1600, 2200, 2800, 3400, 0, 600, 1200, 1800}, []float64{10, 10, 10, 10, 0, 10, 10, 10})
	// A reset to more than zero: nothing is known about the part above zero.
	f(minute, 80, 600, 720, every(600, 60, 3), []float64{1000, 500, 1100}, []float64{0, 10})

	// The first value is never traffic (R6).
	f(minute, 80, 540, 720, every(600, 60, 3), []float64{1e12, 1e12 + 600, 1e12 + 1200}, []float64{nan, 10, 10})
	f(minute, 80, 540, 720, []int64{660}, []float64{1e12}, []float64{nan, nan, nan})
	f(minute, 80, 540, 720, nil, nil, []float64{nan, nan, nan})

	// A steady 10/s stays 10/s when samples are 0 to 3 s late (R5).
	late := []int64{600, 661, 723, 780, 842, 903, 960}
	steady := make([]float64, len(late))
	for i, at := range late {
		steady[i] = float64(10 * at)
	}
	f(minute, 80, 600, 960, late, steady, []float64{10, 10, 10, 10, 10, 10})
	// Rates are weighted by the time they held.
	f(minute, 80, 600, 720, []int64{600, 630, 690, 720}, []float64{0, 300, 1500, 1500}, []float64{15, 10})

	// A missing sample is bridged within the heartbeat, two steps by default (R5).
	f(minute, 80, 600, 900, []int64{600, 660, 780, 840, 900}, []float64{0, 600, 1800, 2400, 3000}, []float64{10, 10, 10, 10, 10})
	f(minute, 80, 600, 900, []int64{600, 660, 840, 900}, []float64{0, 600, 2400, 3000}, []float64{10, nan, nan, nan, 10})
	f(minute, 80, 600, 900, []int64{600, 660, 781, 840, 900}, []float64{0, 600, 1810, 2400, 3000}, []float64{10, nan, nan, 10, 10})
	f(Schema{Type: Counter, Step: 60, Heartbeat: 180}, 80, 600, 900, []int64{600, 660, 840, 900}, []float64{0, 600, 2400, 3000}, []float64{10, 10, 10, 10, 10})
	f(Schema{Type: Counter, Step: 60, Heartbeat: 60}, 80, 600, 840, []int64{600, 660, 780, 840}, []float64{0, 600, 1800, 2400}, []float64{10, nan, nan, 10})
	// A metric without a value at one time is a missing sample of that metric.
	f(minute, 80, 600, 840, every(600, 60, 5), []float64{0, 600, nan, 1800, 2400}, []float64{10, 10, 10, 10})

	// Half a raw slot is enough, less is not (R5).
	f(minute, 80, 600, 720, []int64{570, 630, 900}, []float64{0, 600, 9e9}, []float64{10, nan})
	f(minute, 80, 600, 720, []int64{570, 629, 900}, []float64{0, 590, 9e9}, []float64{nan, nan})
	f(minute, 80, 600, 660, []int64{630, 700}, []float64{0, 700}, []float64{10})
	f(minute, 80, 600, 660, []int64{631, 700}, []float64{0, 690}, []float64{nan})

	// Samples outside the range count for the part of their interval inside it.
	f(minute, 80, 600, 660, []int64{0, 590, 690, 2000}, []float64{0, 1000, 2000, 9e9}, []float64{10})

	// The mean over the known raw slots, at least half of them (R10).
	f(minute, 5, 600, 1200, every(600, 60, 11), []float64{0, 600, 1800, 1800, 1800, 2400, 3000, 3600, 4200, 4800, 6000}, []float64{15, 0, 10, 10, 15})
	f(minute, 5, 600, 1200, []int64{600, 660, 1020, 1200 - 60, 1200}, []float64{0, 600, 700, 1900, 1960}, []float64{10, nan, nan, 10, 5.5})
	f(minute, 2, 720, 1080, []int64{720, 780, 1020, 1080}, []float64{0, 600, 900, 1500}, []float64{nan, nan})
	f(Schema{Type: Counter, Step: 60, Aggregation: Max}, 5, 600, 720, every(600, 60, 3), []float64{0, 600, 1800}, []float64{10, 20})
	f(Schema{Type: Counter, Step: 60, Aggregation: Max}, 1, 600, 720, every(600, 60, 3), []float64{0, 600, 1800}, []float64{15})

	// The trailing slot is computed over the part that has passed (R4).
	f(minute, 2, 0, 420, every(0, 60, 8), []float64{0, 600, 1200, 1800, 2400, 3000, 3900, 4800}, []float64{10, 40.0 / 3})
	f(minute, 1, 60, 240, every(0, 60, 5), []float64{0, 600, 1200, 1800, 3000}, []float64{10, 20})

	// The worked example of the specification (5.3).
	const from = 1795310100
	f(Schema{Type: Counter, Step: 300}, 10, from, from+1500, every(from, 300, 6), []float64{0, 3000, 6000, 9000, 12000, 15000}, []float64{10, 10, 10, 10, 10})
	f(Schema{Type: Counter, Step: 300}, 10, from-300, from+1500, every(from, 300, 6), []float64{0, 3000, 6000, 9000, 12000, 15000}, []float64{nan, 10, 10, 10, 10, 10})
}

func TestGauge(t *testing.T) {
	f := func(typ MetricsType, how Aggregation, maxPoints int, start, end int64, times []int64, values, want []float64) {
		t.Helper()
		s := Schema{Type: typ, Step: 60, Aggregation: how}
		g := NewGrid(&s, start, end, options(maxPoints))
		if got := g.Slots(nil, &s, times, values); !slices.EqualFunc(got, want, equal) {
			t.Errorf("%+v at %v, %v: got %v, want %v", g, times, values, got, want)
		}
	}
	// The nearest end of a raw slot, ties up (R8).
	f(Gauge, Mean, 80, 600, 780, []int64{660, 720, 780}, []float64{1, 2, 3}, []float64{1, 2, 3})
	f(Gauge, Mean, 80, 600, 780, []int64{663, 721, 783}, []float64{1, 2, 3}, []float64{1, 2, 3})
	f(Gauge, Mean, 80, 600, 780, []int64{629, 630, 690, 809, 810}, []float64{1, 2, 3, 4, 5}, []float64{2, 3, 4})
	// Not held over, negative as stored.
	f(Gauge, Mean, 80, 600, 780, []int64{660, 780}, []float64{-1, -3}, []float64{-1, nan, -3})
	f(Gauge, Mean, 80, 600, 780, []int64{660, 720, 780}, []float64{1, nan, 3}, []float64{1, nan, 3})
	// Several in one slot.
	at, v := []int64{640, 650, 660, 680, 780}, []float64{4, 9, 1, 2, 7}
	f(Gauge, Mean, 80, 600, 780, at, v, []float64{4, nan, 7})
	f(Gauge, Max, 80, 600, 780, at, v, []float64{9, nan, 7})
	f(Gauge, Min, 80, 600, 780, at, v, []float64{1, nan, 7})
	f(Gauge, Last, 80, 600, 780, at, v, []float64{2, nan, 7})
	// Derivatives are read by mean whatever the schema says (R9).
	f(Derivative, Max, 80, 600, 780, at, v, []float64{4, nan, 7})

	// Consolidated by the same function over the known raw slots, at least half of them (R10).
	at, v = []int64{650, 660, 720, 780, 900, 1140}, []float64{1, 3, 4, -6, 5, 8}
	f(Gauge, Mean, 5, 600, 1200, at, v, []float64{3, -6, 5, nan, 8})
	f(Gauge, Max, 5, 600, 1200, at, v, []float64{4, -6, 5, nan, 8})
	f(Gauge, Mean, 2, 540, 900, at, v, []float64{3, -0.5})
	f(Gauge, Max, 2, 540, 900, at, v, []float64{4, 5})
	f(Gauge, Min, 2, 540, 900, at, v, []float64{1, -6})
	f(Gauge, Last, 2, 540, 900, at, v, []float64{4, 5})
	f(Gauge, Mean, 1, 720, 1080, []int64{780, 840}, []float64{1, 2}, []float64{nan})
	f(Gauge, Mean, 1, 720, 1080, []int64{780, 840, 1080}, []float64{1, 2, 6}, []float64{3})
	f(Gauge, Last, 1, 600, 840, []int64{660, 720, 780, 840}, []float64{1, 2, 3, 4}, []float64{2, 4})
}

func TestSlotsAppends(t *testing.T) {
	s := Schema{Type: Counter, Step: 60}
	g := NewGrid(&s, 600, 720, options(80))
	got := g.Slots([]float64{7}, &s, every(600, 60, 3), []float64{0, 60, 180})
	if want := []float64{7, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := NewGrid(&s, 600, 600, options(80)).Slots(nil, &s, []int64{600}, []float64{1}); len(got) != 0 {
		t.Errorf("empty range: got %v", got)
	}
}

// reference is R5, R8 and R10 as they are written: every second has a rate, every raw
// slot is made from its seconds or samples, every slot from its raw slots.
func reference(g Grid, s *Schema, times []int64, values []float64) []float64 {
	seconds := map[int64]float64{} // rate in (second-1, second]
	samples := map[int64][]float64{}
	previous := -1
	for i, t := range times {
		if math.IsNaN(values[i]) {
			continue
		}
		if previous >= 0 && t-times[previous] <= s.Continuous() {
			for second := times[previous] + 1; second <= t; second++ {
				seconds[second] = max(0, values[i]-values[previous]) / float64(t-times[previous])
			}
		}
		previous = i
		before := floor(t, s.Step)
		end := before
		if t-before >= before+s.Step-t {
			end += s.Step
		}
		samples[end] = append(samples[end], values[i])
	}
	how := Mean
	if s.Type == Gauge {
		how = s.Aggregation
	}
	fold := func(list []float64) float64 {
		switch {
		case len(list) == 0:
			return nan
		case how == Max:
			return slices.Max(list)
		case how == Min:
			return slices.Min(list)
		case how == Last:
			return list[len(list)-1]
		}
		sum := 0.0
		for _, v := range list {
			sum += v
		}
		return sum / float64(len(list))
	}
	var data []float64
	for i := range g.Count {
		from := g.Start + int64(i)*g.Step
		to := min(from+g.Step, g.End)
		var raw []float64
		for end := from + s.Step; end <= to; end += s.Step {
			list := samples[end]
			if s.Type == Counter {
				list = nil
				for second := end - s.Step + 1; second <= end; second++ {
					if rate, ok := seconds[second]; ok {
						list = append(list, rate)
					}
				}
				if 2*int64(len(list)) < s.Step {
					list = nil
				}
			}
			if len(list) > 0 {
				raw = append(raw, fold(list))
			}
		}
		if 2*int64(len(raw)) < (to-from)/s.Step {
			raw = nil
		}
		data = append(data, fold(raw))
	}
	return data
}

// drawSeries draws a schema and samples of one metric, with gaps, resets and missing values.
func drawSeries(t *rapid.T) (s *Schema, times []int64, values []float64) {
	s = &Schema{
		Type:        rapid.SampledFrom([]MetricsType{Counter, Gauge, Derivative}).Draw(t, "type"),
		Aggregation: rapid.SampledFrom([]Aggregation{Mean, Max, Min, Last}).Draw(t, "aggregation"),
		Step:        rapid.SampledFrom([]int64{1, 2, 5, 7, 10}).Draw(t, "step"),
		Heartbeat:   rapid.SampledFrom([]int64{0, 0, 1, 5, 45, 300}).Draw(t, "heartbeat"),
	}
	at := rapid.Int64Range(0, 100).Draw(t, "first")
	gaps := rapid.OneOf(rapid.Just(s.Step), rapid.Int64Range(1, 2*s.Step), rapid.Int64Range(1, 100))
	for range rapid.IntRange(0, 60).Draw(t, "samples") {
		v := float64(rapid.IntRange(-1000, 1000).Draw(t, "value"))
		if rapid.IntRange(0, 9).Draw(t, "missing") == 0 {
			v = nan
		}
		times, values = append(times, at), append(values, v)
		at += gaps.Draw(t, "gap")
	}
	return s, times, values
}

func drawGrid(t *rapid.T, s *Schema) Grid {
	o := options(rapid.IntRange(-1, 60).Draw(t, "points"))
	o.InitialPoint = rapid.Bool().Draw(t, "initial")
	start := rapid.Int64Range(-20, 600).Draw(t, "start")
	return NewGrid(s, start, start+rapid.Int64Range(0, 600).Draw(t, "length"), o)
}

func TestSlotsMatchReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, times, values := drawSeries(t)
		g := drawGrid(t, s)
		want := reference(g, s, times, values)
		if got := g.Slots(nil, s, times, values); !sameData(got, want) {
			t.Fatalf("%+v\n got %v\nwant %v", g, got, want)
		}
	})
}

// The samples of the window are all that matter.
func TestWindowIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, times, values := drawSeries(t)
		for i := range values { // a missing value may hide a sample further away, which is why drivers see whole rows
			if math.IsNaN(values[i]) {
				values[i] = 0
			}
		}
		g := drawGrid(t, s)
		want := g.Slots(nil, s, times, values)
		after, through := g.Window(s)
		i, _ := slices.BinarySearch(times, after+1)
		j, _ := slices.BinarySearch(times, through+1)
		if got := g.Slots(nil, s, times[i:max(i, j)], values[i:max(i, j)]); !slices.EqualFunc(got, want, equal) {
			t.Fatalf("%+v, samples after %d through %d\n got %v\nwant %v", g, after, through, got, want)
		}
	})
}

// The points of a counter without gaps hold exactly its volume, at any step (R10).
func TestVolumeIsConserved(t *testing.T) {
	f := func(g Grid, s *Schema, times []int64, values []float64) string {
		sum := 0.0
		for _, v := range g.Slots(nil, s, times, values) {
			sum += v
		}
		got, want := sum*float64(g.Step), Volume(s, times, values, g.Start, g.End)
		if math.Abs(got-want) > 1e-9*max(1, want) {
			return fmt.Sprintf("%+v: points hold %v, the volume is %v", g, got, want)
		}
		return ""
	}
	s := &Schema{Type: Counter, Step: 60}
	ten := []float64{0, 600, 1200, 1800, 2400, 3000, 3600, 4200, 4800, 5400, 6000}
	if failure := f(NewGrid(s, 0, 600, options(5)), s, every(0, 60, 11), ten); failure != "" {
		t.Error(failure)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := &Schema{Type: Counter, Step: rapid.Int64Range(1, 60).Draw(t, "step")}
		length := s.Step * rapid.Int64Range(1, 40).Draw(t, "raw slots")
		sampled := SampledStep(s.Step, 0, length, rapid.Int64Range(1, 40).Draw(t, "points"))
		g := Grid{Start: 5 * sampled, Step: sampled, RawStep: s.Step, Count: int((length + sampled - 1) / sampled)}
		g.End = g.Start + int64(g.Count)*g.Step
		times, values := []int64{g.Start}, []float64{1e6}
		for last := 0; times[last] < g.End; last++ {
			gap := rapid.Int64Range(1, s.Continuous()).Draw(t, "gap")
			grown := float64(rapid.IntRange(-1000, 1_000_000).Draw(t, "increment"))
			times, values = append(times, min(times[last]+gap, g.End)), append(values, values[last]+grown)
		}
		if failure := f(g, s, times, values); failure != "" {
			t.Fatal(failure)
		}
	})
}
