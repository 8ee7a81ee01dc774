package timeseries

import (
	"fmt"
	"testing"
)

// BenchmarkSlots computes 80 points of one series, at 60 seconds between samples
// that are up to 3 seconds late.
func BenchmarkSlots(b *testing.B) {
	for _, typ := range []struct {
		name string
		MetricsType
	}{{"counter", Counter}, {"gauge", Gauge}} {
		for _, n := range []int{120, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", typ.name, n), func(b *testing.B) {
				s := &Schema{Type: typ.MetricsType, Step: 60}
				times, values := make([]int64, n), make([]float64, n)
				for i := range times {
					times[i], values[i] = 6000+60*int64(i)+int64(i*7%4), float64(i*1000+i%13)
				}
				g := NewGrid(s, times[0], times[n-1], DefaultOptions())
				dst := make([]float64, 0, g.Count)
				b.ReportAllocs()
				for b.Loop() {
					g.Slots(dst, s, times, values)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/sample")
			})
		}
	}
}

// BenchmarkVolume sums the increments of 120 samples.
func BenchmarkVolume(b *testing.B) {
	s := &Schema{Step: 60}
	times, values := make([]int64, 120), make([]float64, 120)
	for i := range times {
		times[i], values[i] = 60*int64(i), float64(i*1000)
	}
	b.ReportAllocs()
	for b.Loop() {
		Volume(s, times, values, 60, 7200)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/120, "ns/sample")
}

// BenchmarkRank picks 8 of 10,000 candidates.
func BenchmarkRank(b *testing.B) {
	q := Query{Schema: &Schema{Tags: []string{"host"}, Metrics: []string{"value"}}, Options: DefaultOptions()}
	candidates := make([]Candidate, 10_000)
	for i := range candidates {
		candidates[i] = Candidate{Tags{"host": fmt.Sprint(i)}, []float64{float64(i * 7919 % 10_007)}}
	}
	b.ReportAllocs()
	for b.Loop() {
		Rank(q, candidates)
	}
}
