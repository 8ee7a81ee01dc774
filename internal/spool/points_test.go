package spool

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/timeseries"
)

var (
	traffic = &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"sent", "rcvd"}, Heartbeat: 300}
	load    = &timeseries.Schema{Name: "statsd:gauge", Step: 10, Type: timeseries.Gauge, Aggregation: timeseries.Max, Tags: []string{"name", "tags"}, Metrics: []string{"value"}, Packed: "tags"}
	single  = &timeseries.Schema{Name: "system:load", Step: 1, Type: timeseries.Derivative, Metrics: []string{"value"}}
)

func samplePoints() []timeseries.Point {
	return []timeseries.Point{
		{Schema: traffic, Time: 1795305600, Tags: []string{"1", "a"}, Values: []float64{1, math.NaN()}},
		{Schema: traffic, Time: 1795305660, Tags: []string{"1", "a"}, Values: []float64{-2.5, 1 << 60}},
		{Schema: load, Time: 0, Tags: []string{"x=\"1, ", "a=b;c=\\;"}, Values: []float64{math.Copysign(0, -1)}},
		{Schema: traffic, Time: 1795305660, Tags: []string{"1", ""}, Values: []float64{math.NaN(), 9007199254740991}},
		{Schema: single, Time: 5, Values: []float64{math.MaxFloat64}},
		{Schema: single, Time: 6, Values: []float64{-1}},
	}
}

func record(points []timeseries.Point) []byte {
	var w PointWriter
	for i := range points {
		w.Add(&points[i])
	}
	return w.Record()
}

func TestPoints(t *testing.T) {
	points := samplePoints()
	var w PointWriter
	var r PointReader
	for range 2 { // a writer and a reader are used again
		w.Reset()
		for i := range points {
			w.Add(&points[i])
		}
		if w.Points() != len(points) {
			t.Errorf("%d points", w.Points())
		}
		got, err := r.Append(nil, w.Record())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(points, got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
		if math.Float64bits(got[2].Values[0]) != 1<<63 {
			t.Error("-0 became 0")
		}
		if got[0].Schema != got[3].Schema {
			t.Error("one definition, two schemas")
		}
	}
	whole := record(points)
	for n := range whole {
		got, err := r.Append(points[:1], whole[:n])
		if n > 0 && err == nil {
			continue // a record may end after any point
		}
		if !errors.Is(err, errPoints) || len(got) != 1 {
			t.Errorf("%d bytes of %d: %d points, %v", n, len(whole), len(got), err)
		}
	}
}

func FuzzPoints(f *testing.F) {
	f.Add(record(samplePoints()))
	f.Add(record(samplePoints()[:1]))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r PointReader
		points, err := r.Append(nil, data)
		if err != nil || len(points) == 0 {
			return
		}
		for i := range points {
			if err := points[i].Validate(); err != nil {
				t.Fatal(err)
			}
		}
		again, err := r.Append(nil, record(points))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(points, again, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// benchmarkPoints are 1000 points of 3 metrics, one of each series.
func benchmarkPoints() []timeseries.Point {
	s := &timeseries.Schema{Name: "host:x", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"a", "b", "c"}}
	points := make([]timeseries.Point, 1000)
	for i := range points {
		points[i] = timeseries.Point{Schema: s, Time: 1795305600, Tags: []string{"1", fmt.Sprintf("10.0.%d.%d", i/256, i%256)}, Values: []float64{float64(i * 1000), float64(i) / 3, 5}}
	}
	return points
}

func BenchmarkQueue(b *testing.B) {
	points := benchmarkPoints()
	b.Run("in", func(b *testing.B) {
		s, err := Open(b.TempDir(), Config{MaxBytes: 1 << 40})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		var w PointWriter
		b.ReportAllocs()
		values := 0
		for b.Loop() {
			w.Reset()
			for i := range points {
				w.Add(&points[i])
			}
			if err := s.Append(w.Record()); err != nil {
				b.Fatal(err)
			}
			values += 3 * len(points)
		}
		b.ReportMetric(float64(values)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
		b.ReportMetric(float64(s.Bytes())/float64(values), "B/value")
	})
	b.Run("in and out", func(b *testing.B) {
		s, err := Open(b.TempDir(), Config{})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		var w PointWriter
		var r PointReader
		var back []timeseries.Point
		b.ReportAllocs()
		values := 0
		for b.Loop() {
			w.Reset()
			for i := range points {
				w.Add(&points[i])
			}
			if err := s.Append(w.Record()); err != nil {
				b.Fatal(err)
			}
			batch, err := s.Next(b.Context(), 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			if back, err = r.Append(back[:0], batch.Records[0]); err != nil || len(back) != len(points) {
				b.Fatal(err)
			}
			if err := batch.Done(); err != nil {
				b.Fatal(err)
			}
			values += 3 * len(points)
		}
		b.ReportMetric(float64(values)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
	})
}
