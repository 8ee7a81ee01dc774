package store

import (
	"math"
	"testing"

	"github.com/weirhq/weir/timeseries"
)

// BenchmarkSeries30Days reads a month of one series with a point every 5 minutes: all
// of the points, and 80 points of slots.
func BenchmarkSeries30Days(b *testing.B) {
	s := diskStore(b)
	s.clock.set(epoch + 30*day)
	l := newCounterLoad(1, 50)
	l.schema.Step = 300
	l.fill(b, s, 30*288)
	s.rollUp()
	for _, c := range []struct {
		name   string
		points int
	}{{"all", 30 * 288}, {"80", 80}} {
		b.Run(c.name, func(b *testing.B) {
			q := query(l.schema, timeseries.Tags{"host": l.points[7].Tags[0]}, 0, 30*day)
			q.MaxPoints = c.points
			for b.Loop() {
				r, err := s.Query(bg, q)
				if err != nil || math.IsNaN(r.Total[60]) {
					b.Fatal(err, r)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/read")
		})
	}
}

// BenchmarkTopK30Days is the largest 8 of 10 000 series over 30 days of a point
// every 5 minutes.
func BenchmarkTopK30Days(b *testing.B) {
	s := diskStore(b)
	s.clock.set(epoch + 30*day)
	l := newCounterLoad(1, 10_000)
	l.schema.Step = 300
	l.fill(b, s, 30*288)
	s.rollUp()
	q := query(l.schema, nil, 0, 30*day)
	for b.Loop() {
		r, err := s.TopK(bg, q)
		if err != nil || len(r.Items) != 8 || math.IsNaN(r.Total[30]) || r.SourceAggregation != "1h" {
			b.Fatal(err, r.SourceAggregation, r.Count)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/topk")
}
