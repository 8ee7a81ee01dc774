package timeseries

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Parts of short slots, put together, make the points of long ones, whatever the consolidation.
func TestPartsMakePoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, times, values := drawSeries(t)
		short := s.Step * rapid.Int64Range(1, 5).Draw(t, "raw slots in a short one")
		n := rapid.Int64Range(1, 5).Draw(t, "short slots in a long one")
		g := Grid{Start: 0, Step: short * n, RawStep: s.Step, Count: rapid.IntRange(1, 10).Draw(t, "count"), How: Aggregation(rapid.IntRange(0, 3).Draw(t, "how"))}
		g.End = g.Step * int64(g.Count)
		fine := g
		fine.Step, fine.Count = short, g.Count*int(n)
		parts := make([]Part, g.Count)
		for i, p := range fine.Parts(nil, s, times, values) {
			parts[i/int(n)].Add(g.How, p)
		}
		got, want := g.Points(nil, parts), g.Slots(nil, s, times, values)
		if !slices.EqualFunc(got, want, func(a, b float64) bool {
			return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) || a != a && b != b
		}) {
			t.Fatalf("%+v from slots of %d:\n got %v\nwant %v", g, short, got, want)
		}
	})
}

// A peak of one raw step stays visible in a step of any length (R34).
func TestR34Consolidation(t *testing.T) {
	counter := &Schema{Type: Counter, Step: 60}
	gauge := &Schema{Type: Gauge, Step: 60, Aggregation: Last}
	times := every(0, 60, 11)
	total := []float64{0, 60, 120, 6120, 6180, 6180, 6180, 6180, 6180, 6180, 6180} // one minute of 100 a second
	sampled := []float64{0, 5, 3, 9, 4, 1, 2, 8, 6, 7, 5}
	for _, c := range []struct {
		s             *Schema
		values        []float64
		consolidation Consolidation
		want          []float64
	}{
		{counter, total, BySchema, []float64{(3 + 100) / 5., 0}},
		{counter, total, ByMax, []float64{100, 0}},
		{counter, total, ByMin, []float64{0, 0}},
		{gauge, sampled, BySchema, []float64{1, 5}},
		{gauge, sampled, ByMean, []float64{4.4, 5.6}},
		{gauge, sampled, ByMax, []float64{9, 8}},
		{gauge, sampled, ByMin, []float64{1, 2}},
	} {
		o := options(2)
		o.Consolidation = c.consolidation
		if got := NewGrid(c.s, 0, 600, o).Slots(nil, c.s, times, c.values); !slices.EqualFunc(got, c.want, equal) {
			t.Errorf("%v by %d: got %v, want %v", c.values, c.consolidation, got, c.want)
		}
	}
}
