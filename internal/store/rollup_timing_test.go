package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

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
	l.fill(b, s, 1)
	l.points = l.points[:distinct]
	l.fill(b, s, 30*288-1)
	s.rollUp()
	s.multiply(10_000)
	q := query(l.schema, nil, 0, 30*day)
	before := processorTime(b)
	for b.Loop() {
		r, err := s.TopK(bg, q)
		if err != nil || len(r.Items) != 8 || math.IsNaN(r.Total[30]) || r.SourceAggregation != "1h" {
			b.Fatal(err, r.SourceAggregation, r.Count)
		}
	}
	b.ReportMetric((processorTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/topk")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/topk")
}

// processorTime is what the process has used: what a busy machine does not distort.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// distinct is of how many series the blocks are made point by point. Copies of a block
// lie further apart than what the database compresses together.
const distinct = 500

// multiply gives each series up to number n copies of the blocks of one of the first
// ones: what is read then is as much, and as large, as if all had been appended.
func (s *testStore) multiply(n uint64) {
	s.t.Helper()
	d := s.current.Load()
	it, err := d.pebble.NewIter(within([]byte{keyData}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer it.Close()
	batch := d.pebble.NewBatch()
	for it.First(); it.Valid(); it.Next() {
		first := dataKeySeries(it.Key())
		if first > distinct {
			continue
		}
		for id := first + distinct; id <= n; id += distinct {
			key := binary.BigEndian.AppendUint64(bytes.Clone(it.Key()[:dataKeySize-8]), id)
			if err := batch.Set(key, it.Value(), pebble.NoSync); err != nil {
				s.t.Fatal(err)
			}
		}
		if batch.Len() > 8<<20 {
			if err := d.apply(batch, false); err != nil {
				s.t.Fatal(err)
			}
			batch = d.pebble.NewBatch()
		}
	}
	if err := errors.Join(it.Error(), d.apply(batch, false)); err != nil {
		s.t.Fatal(err)
	}
	if err := d.pebble.Flush(); err != nil {
		s.t.Fatal(err)
	}
	if err := d.pebble.Compact(bg, []byte{0}, []byte{0xff}, true); err != nil { // rather than while it is measured
		s.t.Fatal(err)
	}
}

// BenchmarkAppendWhileDeleting is how long an append of 100 points waits at most while
// something of 10 000 series with 10 days of points is deleted (specification section
// 8.3: at most 50 ms): points that are too old, after slots were made of them;
// points, slots and series that are; or series by name.
func BenchmarkAppendWhileDeleting(b *testing.B) {
	for _, c := range []struct {
		name   string
		age    int64 // days since the first points
		delete func(s *testStore) error
	}{
		{"none", 10, func(*testStore) error { time.Sleep(time.Second); return nil }},
		{"points", 10, func(s *testStore) error { return s.DeleteOld(bg, s.clock.now().Unix()) }},
		{"all", 60, func(s *testStore) error { return s.DeleteOld(bg, s.clock.now().Unix()) }},
		{"series", 10, func(s *testStore) error { return s.Delete(bg, "bench", nil) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var longest, took time.Duration
			appends := 0
			for range b.N {
				s := diskStore(b)
				s.clock.set(epoch + 10*day)
				l := newCounterLoad(1, 10_000)
				l.schema.Step = 300
				s.current.Load().limits.rollups = []Rollup{{time.Hour, 30 * 24 * time.Hour}}
				l.fill(b, s, 1)
				l.points = l.points[:distinct]
				l.fill(b, s, 10*288-1)
				s.rollUp()
				s.multiply(10_000)
				s.current.Load().limits.retention = 2 * 24 * time.Hour
				s.clock.set(epoch + c.age*day)

				done := make(chan error)
				began := time.Now()
				go func() { done <- c.delete(s) }()
				other := newCounterLoad(1, 10_000)
				own := *other.schema
				own.Name = "other:m1"
				for i := range other.points {
					other.points[i].Schema = &own
				}
				other.time = s.clock.now().Unix() - day
				for running := true; running; {
					points := other.batch(100)
					at := time.Now()
					if err := s.Append(bg, points); err != nil {
						b.Fatal(err)
					}
					longest = max(longest, time.Since(at))
					appends++
					select {
					case err := <-done:
						if err != nil {
							b.Fatal(err)
						}
						took += time.Since(began)
						running = false
					case <-time.After(time.Millisecond):
					}
				}
				if n := s.Stats().Series; (c.name == "all" || c.name == "series") != (n <= 10_000) {
					b.Fatal(n, "series are left")
				}
				s.close()
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest-append")
			b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/delete")
			b.ReportMetric(float64(appends)/float64(b.N), "appends")
		})
	}
}
