package store

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// diskStore is a store with the defaults in a directory on disk.
func diskStore(b testing.TB) *testStore {
	b.Helper()
	s := &testStore{t: b, clock: &clock{t: epoch + 20*day}}
	s.Store = New(Config{Path: b.TempDir()}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	s.now = s.clock.now
	if err := s.Start(bg); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.close() })
	return s
}

func benchSchema(metrics int) *timeseries.Schema {
	s := &timeseries.Schema{Name: fmt.Sprintf("bench:m%d", metrics), Step: 60, Tags: []string{"host"}, Type: timeseries.Counter}
	for m := range metrics {
		s.Metrics = append(s.Metrics, fmt.Sprintf("metric%d", m))
	}
	return s
}

// load is counters of many hosts that grow by 10000 +- 500 a minute.
type counterLoad struct {
	schema *timeseries.Schema
	points []timeseries.Point
	random *rand.Rand
	time   int64
	next   int
}

func newCounterLoad(metrics, hosts int) *counterLoad {
	l := &counterLoad{schema: benchSchema(metrics), random: rand.New(rand.NewPCG(1, 2)), time: epoch}
	for h := range hosts {
		p := timeseries.Point{Schema: l.schema, Tags: []string{fmt.Sprintf("host%06d.example.net", h)}, Values: make([]float64, metrics)}
		for m := range p.Values {
			p.Values[m] = float64(l.random.IntN(1 << 30))
		}
		l.points = append(l.points, p)
	}
	return l
}

// batch is the next points, up to n, in the order in which a poller has them.
func (l *counterLoad) batch(n int) []timeseries.Point {
	if l.next == 0 {
		l.time += l.schema.Step
	}
	points := l.points[l.next:min(l.next+n, len(l.points))]
	for i := range points {
		points[i].Time = l.time
		for m := range points[i].Values {
			points[i].Values[m] += float64(9500 + l.random.IntN(1001))
		}
	}
	l.next += len(points)
	if l.next == len(l.points) {
		l.next = 0
	}
	return points
}

// fill appends rounds minutes of the load.
func (l *counterLoad) fill(b testing.TB, s *testStore, rounds int) {
	for range rounds {
		for done := 0; done < len(l.points); {
			points := l.batch(5000)
			if err := s.Append(bg, points); err != nil {
				b.Fatal(err)
			}
			done += len(points)
		}
	}
}

// BenchmarkAppend measures appends of 10 000 hosts, checkpoints, flushes and
// compactions included.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ metrics, batch int }{{1, 1000}, {1, 10_000}, {3, 1000}, {10, 1000}, {10, 10_000}} {
		b.Run(fmt.Sprintf("metrics=%d/batch=%d", c.metrics, c.batch), func(b *testing.B) {
			s := diskStore(b)
			l := newCounterLoad(c.metrics, 10_000)
			l.fill(b, s, 1)
			values := 0
			b.ReportAllocs()
			before := processorTime(b)
			for b.Loop() {
				points := l.batch(c.batch)
				if err := s.Append(bg, points); err != nil {
					b.Fatal(err)
				}
				values += len(points) * c.metrics
			}
			b.ReportMetric(float64(values)/(processorTime(b)-before).Seconds()/1e6, "Mvalues/cpu-s")
			b.ReportMetric(float64(values)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
		})
	}
}

// BenchmarkAppendSchemas appends to 20 000 schemas of one series each, as a Prometheus
// with that many names of metrics does.
func BenchmarkAppendSchemas(b *testing.B) {
	s := diskStore(b)
	l := newSchemaLoad(20_000)
	l.fill(b, s, 1)
	values := 0
	b.ReportAllocs()
	for b.Loop() {
		points := l.batch(1000)
		if err := s.Append(bg, points); err != nil {
			b.Fatal(err)
		}
		values += len(points)
	}
	b.ReportMetric(float64(values)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
}

// newSchemaLoad is a load whose points have a schema each.
func newSchemaLoad(schemas int) *counterLoad {
	l := newCounterLoad(1, schemas)
	for i := range l.points {
		own := *l.schema
		own.Name = fmt.Sprintf("prometheus:metric%05d", i)
		l.points[i].Schema, l.points[i].Tags = &own, []string{"one"}
	}
	return l
}

// BenchmarkAppendOne measures how long one point takes to be durable.
func BenchmarkAppendOne(b *testing.B) {
	s := diskStore(b)
	l := newCounterLoad(1, 1000)
	for b.Loop() {
		if err := s.Append(bg, l.batch(1)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTopK is the largest 8 of 10 000 series with 120 points, with the
// points in blocks and in memory.
func BenchmarkTopK(b *testing.B) {
	for _, where := range []string{"blocks", "memory"} {
		b.Run(where, func(b *testing.B) {
			s := diskStore(b)
			l := newCounterLoad(1, 10_000)
			l.fill(b, s, 130)
			if where == "blocks" {
				s.checkpoint()
			}
			q := query(l.schema, nil, 10*60, 130*60)
			q.MaxPoints = 120
			for b.Loop() {
				r, err := s.TopK(bg, q)
				if err != nil || len(r.Items) != 8 || r.Count != 120 || math.IsNaN(r.Total[60]) {
					b.Fatal(err, r)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/topk")
		})
	}
}

// BenchmarkQuerySeries reads 1000 series of 120 points one by one.
func BenchmarkQuerySeries(b *testing.B) {
	for _, where := range []string{"blocks", "memory"} {
		b.Run(where, func(b *testing.B) {
			s := diskStore(b)
			l := newCounterLoad(1, 10_000)
			l.fill(b, s, 130)
			if where == "blocks" {
				s.checkpoint()
			}
			for b.Loop() {
				for i := range 1000 {
					q := query(l.schema, timeseries.Tags{"host": l.points[i*7].Tags[0]}, 10*60, 130*60)
					q.MaxPoints = 120
					r, err := s.Query(bg, q)
					if err != nil || r.Count != 120 || math.IsNaN(r.Total[60]) {
						b.Fatal(err, r)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/1000reads")
		})
	}
}

// BenchmarkTotal adds up a day of one series: mostly summaries.
func BenchmarkTotal(b *testing.B) {
	s := diskStore(b)
	l := newCounterLoad(1, 100)
	l.fill(b, s, 1440)
	s.checkpoint()
	for b.Loop() {
		if _, err := s.Total(bg, query(l.schema, timeseries.Tags{"host": l.points[0].Tags[0]}, 90, 1440*60)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBytesPerValue is what a value of a day of 1000 hosts takes on disk,
// dictionary, index and rollups included, when everything is in blocks.
func BenchmarkBytesPerValue(b *testing.B) {
	for _, metrics := range []int{1, 3} {
		b.Run(fmt.Sprintf("metrics=%d", metrics), func(b *testing.B) {
			for b.Loop() {
				s := diskStore(b)
				l := newCounterLoad(metrics, 1000)
				l.fill(b, s, 1440)
				b.ReportMetric(bytesPerValue(b, s, 1000*1440*metrics), "bytes/value")
			}
		})
	}
}

// bytesPerValue puts everything, and slots of it, into tables and divides their size.
func bytesPerValue(t testing.TB, s *testStore, values int) float64 {
	t.Helper()
	s.rollUp()
	d := s.current.Load()
	if err := d.pebble.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := d.pebble.Compact(bg, []byte{0}, []byte{0xff}, true); err != nil {
		t.Fatal(err)
	}
	m := d.pebble.Metrics()
	return float64(m.Total().TablesSize) / float64(values)
}

// BenchmarkList1M lists a million series, all of them and those with points lately.
func BenchmarkList1M(b *testing.B) {
	s := diskStore(b)
	const hosts = 1_000_000
	l := newCounterLoad(1, hosts)
	began := time.Now()
	l.fill(b, s, 1)
	b.Logf("%d series created in %v", hosts, time.Since(began))
	l.points = nil
	for name, q := range map[string]timeseries.ListQuery{
		"all": {Schema: l.schema}, "window": {Schema: l.schema, Start: epoch + 30, End: epoch + 90},
	} {
		b.Run(name, func(b *testing.B) {
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			peak := before.HeapAlloc
			listed := 0
			for b.Loop() {
				listed = 0
				for _, err := range s.List(bg, q) {
					if err != nil {
						b.Fatal(err)
					}
					if listed++; listed%250_000 == 0 {
						b.StopTimer()
						runtime.GC() // what is live, not what waits for the collector
						runtime.ReadMemStats(&now)
						peak = max(peak, now.HeapAlloc)
						b.StartTimer()
					}
				}
				if listed != hosts {
					b.Fatalf("%d series listed", listed)
				}
			}
			b.ReportMetric(float64(listed)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mseries/s")
			b.ReportMetric(float64(int64(peak)-int64(before.HeapAlloc))/(1<<20), "MiB-growth")
		})
	}
}
