package store

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/weirhq/weir/timeseries"
)

// The tests of this file are named after the rules of the timeseries
// specification, section 2.5. They see the store as a driver only, and see the
// same answers while points are in memory, half of them in blocks, all in blocks,
// and after a restart.

// places runs check with what fill appended in all places it can be; fill calls
// half where part of it becomes blocks.
func places(t *testing.T, fill func(s *testStore, half func()), check func(t *testing.T, s *testStore)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		s := newTestStore(t, nil)
		fill(s, func() {})
		check(t, s)
	})
	t.Run("mixed", func(t *testing.T) {
		s := newTestStore(t, nil)
		fill(s, s.checkpoint)
		check(t, s)
	})
	t.Run("blocks", func(t *testing.T) {
		s := newTestStore(t, nil)
		fill(s, s.checkpoint)
		s.checkpoint()
		check(t, s)
	})
	t.Run("restarted", func(t *testing.T) {
		s := newTestStore(t, nil)
		fill(s, func() {})
		s.restart()
		check(t, s)
	})
}

// steady appends a counter that grows by perMinute each minute from minute from to to.
func (s *testStore) steady(host string, from, to int, perMinute float64) {
	s.t.Helper()
	for i := from; i <= to; i++ {
		s.feed(traffic, []string{host}, float64(60*i), 1000+perMinute*float64(i))
	}
}

func TestR04Grid(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.steady("a", 0, 5, 600)
		half()
		s.steady("a", 6, 12, 600)
	}, func(t *testing.T, s *testStore) {
		r, err := s.Query(bg, query(traffic, tagA, 70, 290))
		if err != nil {
			t.Fatal(err)
		}
		if r.Start != epoch+60 || r.Step != 60 || r.RawStep != 60 || r.Count != 3 {
			t.Errorf("start %d, step %d, raw step %d, count %d", r.Start-epoch, r.Step, r.RawStep, r.Count)
		}
		wantData(t, "points", r.Series[0].Data, 10, 10, 10)

		// A sample on the end of a slot belongs to it.
		wantData(t, "right-closed", s.data(query(traffic, tagA, 660, 720)), 10)

		// A longer step has a trailing slot for what lies behind the last whole one.
		q := query(traffic, tagA, 0, 720)
		q.MaxPoints = 5 // 12 raw points: a step of 180, boundaries on multiples of it
		r, err = s.Query(bg, q)
		if err != nil {
			t.Fatal(err)
		}
		if r.Step != 180 || r.Start != epoch || r.Count != 4 {
			t.Errorf("start %d, step %d, count %d", r.Start-epoch, r.Step, r.Count)
		}
		q.End = epoch + 600
		if r, err = s.Query(bg, q); err != nil {
			t.Fatal(err)
		}
		if r.Step != 120 || r.Count != 5 || r.Count > q.MaxPoints+1 {
			t.Errorf("step %d, count %d", r.Step, r.Count)
		}
		q.MaxPoints = 3
		if r, err = s.Query(bg, q); err != nil {
			t.Fatal(err)
		}
		if r.Step != 240 || r.Count != 3 {
			t.Errorf("with a trailing slot: step %d, count %d", r.Step, r.Count)
		}
		wantData(t, "trailing", r.Series[0].Data, 10, 10, 10)

		r, err = s.Query(bg, query(traffic, tagA, 120, 120))
		if err != nil || r.Count != 0 || len(r.Series) != 1 || len(r.Series[0].Data) != 0 || r.Statistics.Average == r.Statistics.Average {
			t.Errorf("empty range: %+v %v", r, err)
		}
		if _, err := s.Query(bg, query(traffic, tagA, 121, 120)); !errors.Is(err, timeseries.ErrBadRange) {
			t.Errorf("start after end: %v", err)
		}
	})
}

func TestR05CounterRate(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		// 10 a second, samples up to 3 s late.
		for i, late := range []float64{0, 1, 3, 2, 0, 3, 1, 0, 2, 0} {
			at := float64(60*i) + late
			s.feed(traffic, a, at, 10*at)
			if i == 5 {
				half()
			}
		}
		// One sample is missing (bridged), then more than the heartbeat is.
		s.feed(traffic, []string{"gap"}, 60, 0, 180, 1200, 360, 3000, 420, 3600)
	}, func(t *testing.T, s *testStore) {
		wantData(t, "steady", s.data(query(traffic, tagA, 0, 540)), 10, 10, 10, 10, 10, 10, 10, 10, 10)
		wantData(t, "gap", s.data(query(traffic, timeseries.Tags{"host": "gap"}, 60, 420)), 10, 10, nan, nan, nan, 10)
	})
}

func TestR06FirstPoint(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.feed(traffic, a, 60, 5e9)
		half()
		s.feed(traffic, a, 120, 5e9+600)
	}, func(t *testing.T, s *testStore) {
		wantData(t, "points", s.data(query(traffic, tagA, 0, 120)), nan, 10)
		total, err := s.Total(bg, query(traffic, tagA, 0, 120))
		if err != nil || total["bytes"] != 600 {
			t.Errorf("total %v %v", total, err)
		}
	})
}

func TestR07Reset(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.feed(traffic, a, 0, 1000, 60, 1600, 120, 2200, 180, 2800, 240, 3400)
		half()
		s.feed(traffic, a, 300, 0, 360, 600, 420, 1200, 480, 1800)
	}, func(t *testing.T, s *testStore) {
		r, err := s.Query(bg, query(traffic, tagA, 0, 480))
		if err != nil {
			t.Fatal(err)
		}
		wantData(t, "points", r.Series[0].Data, 10, 10, 10, 10, 0, 10, 10, 10)
		if !near(r.Statistics.Total, 4200) {
			t.Errorf("statistics total %v", r.Statistics.Total)
		}
		total, err := s.Total(bg, query(traffic, tagA, 0, 480))
		if err != nil || total["bytes"] != 4200 {
			t.Errorf("total %v %v", total, err)
		}
	})
}

func TestR08Gauge(t *testing.T) {
	peak := &timeseries.Schema{Name: "host:peak", Step: 60, Tags: []string{"host"}, Metrics: []string{"v"}, Type: timeseries.Gauge, Aggregation: timeseries.Max}
	places(t, func(s *testStore, half func()) {
		// Nearest slot end: 58 and 62 to 60, 90 (a tie) to 120; 240 has none.
		s.feed(load, a, 58, 1, 62, 3, 150, 9)
		half()
		s.feed(load, a, 90, 5, 300, 7)
		s.feed(peak, a, 58, 1, 62, 3)
	}, func(t *testing.T, s *testStore) {
		wantData(t, "mean", s.data(query(load, tagA, 0, 300)), 2, 5, 9, nan, 7)
		wantData(t, "max", s.data(query(peak, tagA, 0, 60)), 3)
	})
}

func TestR09Derivative(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.feed(rate, a, 60, 2, 120, 4)
		half()
		s.feed(rate, a, 180, 6)
	}, func(t *testing.T, s *testStore) {
		r, err := s.Query(bg, query(rate, tagA, 0, 180))
		if err != nil {
			t.Fatal(err)
		}
		wantData(t, "points", r.Series[0].Data, 2, 4, 6)
		if r.Statistics.Total != 720 {
			t.Errorf("statistics total %v", r.Statistics.Total)
		}
		total, err := s.Total(bg, query(rate, tagA, 0, 180))
		if err != nil || total["rate"] != 720 {
			t.Errorf("total %v %v", total, err)
		}
	})
}

func TestR10Downsampling(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		for i := range 601 { // five blocks
			s.feed(traffic, a, float64(60*i), float64(i*i))
			if i == 300 {
				half()
			}
		}
		s.feed(load, a, 60, 1, 120, 3, 180, nan1, 300, 8)
	}, func(t *testing.T, s *testStore) {
		q := query(traffic, tagA, 0, 36000)
		for _, points := range []int{6, 50, 80, 600} {
			q.MaxPoints = points
			r, err := s.Query(bg, q)
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for i, v := range r.Series[0].Data {
				seconds := min(r.Step, q.End-r.Start-int64(i)*r.Step) // a trailing slot is shorter
				sum += v * float64(seconds)
			}
			if !near(sum, 360_000) {
				t.Errorf("%d points: volume %v, want 360000", points, sum)
			}
		}
		// Fewer than half of the raw slots known: not known.
		q = query(load, tagA, 0, 480)
		q.MaxPoints = 2
		wantData(t, "gauge", s.data(q), 2, nan)
	})
}

const nan1 = 2 // a value that makes the mean of three samples 2

func TestR11Order(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.feed(load, a, 600, 10, 300, 5, 480, 8)
		half()
		s.feed(load, a, 60, 1, 540, 9, 240, 4, 120, 2) // late, before everything
		s.feed(load, a, 300, 50, 180, 3, 300, 55)      // again: the last one counts
		half()
		s.feed(load, a, 420, 7, 360, 6, 600, 100)
		s.feed(load, a, -20*3600, 77) // much later than its block
	}, func(t *testing.T, s *testStore) {
		wantData(t, "points", s.data(query(load, tagA, 0, 600)), 1, 2, 3, 4, 55, 6, 7, 8, 9, 100)
		wantData(t, "long ago", s.data(query(load, tagA, -20*3600-60, -20*3600)), 77)
		total, err := s.Total(bg, query(load, tagA, 0, 600))
		if err != nil || total["load"] != 1+2+3+4+55+6+7+8+9+100 {
			t.Errorf("total %v %v", total, err)
		}
	})
}

func TestR12Normalisation(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.feed(load, a, 60, -3, 180, 2.5)
	}, func(t *testing.T, s *testStore) {
		q := query(load, tagA, 0, 240)
		wantData(t, "as it is", s.data(q), -3, nan, 2.5, nan)
		q.MinValue, q.FillValue = 0, -1
		wantData(t, "least and fill value", s.data(q), 0, -1, 2.5, -1)
		q.KeepNaN, q.Round = true, true
		wantData(t, "rounded, NaN kept", s.data(q), 0, nan, 3, nan)
		q = query(load, tagA, 0, 240)
		q.MinPoints, q.FillValue = 3, 7
		wantData(t, "too few points", s.data(q), 7, 7, 7, 7)
	})
}

func TestR13TotalSeries(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		for i := range 5 {
			s.append(timeseries.Point{Schema: both, Time: epoch + int64(60*i), Tags: []string{"1", "x"}, Values: []float64{float64(600 * i), float64(1200 * i)}})
			if i == 2 {
				half()
			}
		}
		s.append(timeseries.Point{Schema: both, Time: epoch + 300, Tags: []string{"1", "x"}, Values: []float64{3000, nan}})
	}, func(t *testing.T, s *testStore) {
		r, err := s.Query(bg, query(both, timeseries.Tags{"ifid": "1", "port": "x"}, 0, 360))
		if err != nil {
			t.Fatal(err)
		}
		wantData(t, "sent", r.Series[0].Data, 10, 10, 10, 10, 10, nan)
		wantData(t, "rcvd", r.Series[1].Data, 20, 20, 20, 20, nan, nan)
		wantData(t, "total", r.Total, 30, 30, 30, 30, 10, nan)
		if r.Statistics.Average != 26 || r.Series[0].Statistics.Average != 10 || r.Series[1].Statistics.Average != 20 {
			t.Errorf("averages %v %v %v", r.Statistics.Average, r.Series[0].Statistics.Average, r.Series[1].Statistics.Average)
		}
	})
}

func TestR14InitialPoint(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.feed(load, a, 60, 100, 120, 1)
		half()
		s.feed(load, a, 180, 2, 240, 3)
	}, func(t *testing.T, s *testStore) {
		q := query(load, tagA, 60, 240)
		plain, err := s.Query(bg, q)
		if err != nil {
			t.Fatal(err)
		}
		q.InitialPoint = true
		r, err := s.Query(bg, q)
		if err != nil {
			t.Fatal(err)
		}
		if r.Start != plain.Start-60 || r.Count != plain.Count+1 {
			t.Errorf("start %d, count %d", r.Start-epoch, r.Count)
		}
		wantData(t, "points", r.Series[0].Data, 100, 1, 2, 3)
		wantDiff(t, "statistics", fmt.Sprintf("%+v", *r.Statistics), fmt.Sprintf("%+v", *plain.Statistics))
	})
}

// Counters of octets beyond 2^53 are float64 values, 2048 apart below 2^64 (section 9): a
// rate is wrong by no more than one such distance over its time, and the errors of
// a range do not add up. What is below 2^53 is exact. Past 2^64 a counter begins anew (R7).
func TestR15LargeCounters(t *testing.T) {
	for _, first := range []uint64{1<<53 - 500_000, 1 << 62, 1<<64 - 700_000_000} {
		var counts []uint64
		var fed []float64
		for i := range uint64(240) {
			v := first + i*i*12_345 + i*67
			counts, fed = append(counts, v), append(fed, float64(60*i), float64(v))
		}
		s := newTestStore(t, nil)
		s.feed(traffic, a, fed...)
		check := func(when string) {
			t.Helper()
			q := query(traffic, tagA, 0, 239*60)
			q.MaxPoints = 1000
			data := s.data(q)
			exact, distance := 0.0, 0.0
			for i := 1; i < len(counts); i++ {
				apart := math.Nextafter(float64(counts[i]), math.Inf(1)) - float64(counts[i])
				grown := counts[i] - counts[i-1]
				if counts[i] < counts[i-1] {
					grown = 0
				}
				exact += float64(grown)
				distance = max(distance, apart)
				if slack := apart; math.Abs(data[i-1]*60-float64(grown)) > slack {
					t.Errorf("%s, from %d: rate %d is %v, want %v", when, first, i, data[i-1], float64(grown)/60)
				}
			}
			total, err := s.Total(bg, q)
			if err != nil || math.Abs(total["bytes"]-exact) > 2*distance {
				t.Errorf("%s, from %d: total %v %v, want %.0f within %v", when, first, total, err, exact, 2*distance)
			}
			if first < 1<<53 && counts[120] > 1<<53 {
				if total, err := s.Total(bg, query(traffic, tagA, 0, 6*60)); err != nil || total["bytes"] != float64(counts[6]-counts[0]) {
					t.Errorf("%s: total below 2^53: %v %v, want %d", when, total, err, counts[6]-counts[0])
				}
			}
		}
		check("in memory")
		s.restart()
		check("from the journal")
		s.rollUp()
		check("in blocks and slots")
	}
}

func TestR15QueryTotal(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		s.feed(traffic, a, -100_000, 500) // the predecessor, many blocks before
		half()
		s.feed(traffic, a, 60, 1000, 120, 1600)
		half()
		s.feed(traffic, a, 30_000, 4000, 30_060, 100, 30_120, 700, 80_000, 1000)
		s.feed(load, a, 0, 5, 60, 1, 120, 2)
		half()
		s.feed(load, a, 30_000, 4)
		s.feed(rate, a, 60, 1, 120, 2)
		s.feed(traffic, []string{"b"}, 60, 10, 120, 30)
	}, func(t *testing.T, s *testStore) {
		f := func(schema *timeseries.Schema, tags timeseries.Tags, start, end int64, want float64) {
			t.Helper()
			total, err := s.Total(bg, query(schema, tags, start, end))
			if err != nil || !near(total[schema.Metrics[0]], want) {
				t.Errorf("%s %v (%d, %d]: %v %v, want %v", schema.Name, tags, start, end, total, err, want)
			}
		}
		f(traffic, tagA, 0, 80_000, 500+600+2400+600+300)
		f(traffic, tagA, -100_000, 60, 500)
		f(traffic, tagA, -100_001, 60, 500) // the first sample has no predecessor
		f(traffic, tagA, 60, 120, 600)
		f(traffic, tagA, 59, 120, 1100)
		f(traffic, tagA, 120, 30_060, 2400)
		f(traffic, tagA, 30_000, 80_000, 900)
		f(traffic, tagA, 31_000, 70_000, 0)
		f(traffic, timeseries.Tags{"host": "a", "unknown": "x"}, 60, 120, 600) // extra tags are ignored
		f(traffic, nil, 60, 120, 620)
		f(load, tagA, 0, 120, 3)
		f(load, tagA, -1, 30_000, 12)
		f(rate, tagA, 0, 120, 180)
		if _, err := s.Total(bg, query(traffic, timeseries.Tags{"host": "nobody"}, 0, 60)); !errors.Is(err, timeseries.ErrNoSeries) {
			t.Errorf("unknown series: %v", err)
		}
	})
}

func TestR16TopK(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		point := func(at int64, ifid, port string, sent, rcvd float64) {
			s.append(timeseries.Point{Schema: both, Time: epoch + at, Tags: []string{ifid, port}, Values: []float64{sent, rcvd}})
		}
		for i := range int64(5) {
			n := float64(i)
			point(60*i, "1", "x", 600*n, 60*n)
			point(60*i, "1", "y", 1200*n, 0)
			point(60*i, "2", "x", 60*n, 0)
			point(60*i, "1", "idle", 7, 7)
			point(60*i, "1", "tie-b", 120*n, 0)
			point(60*i, "1", "tie-a", 0, 120*n)
			if i == 2 {
				half()
			}
		}
		s.feed(load, a, 60, 2, 120, 3)
		s.feed(load, []string{"b"}, 60, -2)
	}, func(t *testing.T, s *testStore) {
		type item struct {
			Tags  timeseries.Tags
			Value float64
			Sent  float64
		}
		f := func(q timeseries.Query, want ...item) *timeseries.TopResult {
			t.Helper()
			r, err := s.TopK(bg, q)
			if err != nil {
				t.Fatal(err)
			}
			var got []item
			for _, i := range r.Items {
				got = append(got, item{i.Tags, math.Round(i.Value), math.Round(i.Partials["sent"])})
			}
			wantDiff(t, "items", got, want)
			return r
		}
		tags := func(ifid, port string) timeseries.Tags { return timeseries.Tags{"ifid": ifid, "port": port} }
		q := query(both, timeseries.Tags{"ifid": "1"}, 0, 240)
		q.Top = 4
		r := f(q, item{tags("1", "y"), 4800, 4800}, item{tags("1", "x"), 2640, 2400}, item{tags("1", "tie-a"), 480, 0}, item{tags("1", "tie-b"), 480, 480})
		total := (600 + 60 + 1200 + 120 + 120) / 60.0 // the idle one adds nothing, the other interface does not match
		wantData(t, "total of all matching series", r.Total, total, total, total, total)
		if r.Statistics == nil || !near(r.Statistics.Total, 240*total) || len(r.Series) != 0 {
			t.Errorf("statistics %+v, %d series", r.Statistics, len(r.Series))
		}
		q.WithSeries = true
		q.Top = 1
		r = f(q, item{tags("1", "y"), 4800, 4800})
		if len(r.Series) != 2 {
			t.Fatalf("%d series", len(r.Series))
		}
		wantDiff(t, "tags of the series", r.Series[0].Tags, tags("1", "y"))
		wantData(t, "its points", r.Series[0].Data, 20, 20, 20, 20)
		wantData(t, "the total stays", r.Total, total, total, total, total)
		// Several top tags at once, and one of them alone.
		q = query(both, nil, 0, 240)
		q.Top = 2
		f(q, item{tags("1", "y"), 4800, 4800}, item{tags("1", "x"), 2640, 2400})
		q.GroupBy = []string{"ifid"}
		f(q, item{timeseries.Tags{"ifid": "1"}, 4800 + 2640 + 480 + 480, 4800 + 2400 + 480}, item{timeseries.Tags{"ifid": "2"}, 240, 240})
		// Items of nothing or less are left out; a gauge is integrated over time.
		gauges, err := s.TopK(bg, query(load, nil, 0, 120))
		if err != nil || len(gauges.Items) != 1 || gauges.Items[0].Value != 300 || gauges.Items[0].Tags["host"] != "a" {
			t.Errorf("gauges: %+v %v", gauges, err)
		}
		if _, err := s.TopK(bg, query(both, timeseries.Tags{"port": "nope"}, 0, 60)); !errors.Is(err, timeseries.ErrNoSeries) {
			t.Errorf("nothing matches: %v", err)
		}
	})
}

// The increment into the range counts even when its first sample lies far back.
func TestR16TopKPredecessor(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		for h := range 20 {
			host := []string{fmt.Sprintf("h%02d", h)}
			s.feed(traffic, host, float64(-7200*(h+1))+3, 100)
			half()
			s.feed(traffic, host, 30, 100+float64(h))
		}
	}, func(t *testing.T, s *testStore) {
		q := query(traffic, nil, 0, 60)
		q.Top = 100
		r, err := s.TopK(bg, q)
		if err != nil || len(r.Items) != 19 {
			t.Fatalf("%d items %v", len(r.Items), err)
		}
		for i, item := range r.Items {
			if item.Value != float64(19-i) {
				t.Errorf("item %d: %+v", i, item)
			}
		}
	})
}

func TestR17ListSeries(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		add := func(at int64, ifid, port string) {
			s.append(timeseries.Point{Schema: both, Time: epoch + at, Tags: []string{ifid, port}, Values: []float64{1, 1}})
		}
		add(60, "1", "x")
		add(30_000, "1", "x")
		half()
		add(60, "1", "y")
		add(70_000, "2", "x")
		add(10_000, "2", "z")
	}, func(t *testing.T, s *testStore) {
		f := func(tags timeseries.Tags, start, end int64, want ...string) {
			t.Helper()
			if start != 0 {
				start += epoch
			}
			if end != 0 {
				end += epoch
			}
			got, err := s.list(timeseries.ListQuery{Schema: both, Tags: tags, Start: start, End: end})
			if err != nil {
				t.Fatal(err)
			}
			wantDiff(t, fmt.Sprint(tags, start, end), got, want)
		}
		f(nil, 0, 0, "ifid=1,port=x", "ifid=1,port=y", "ifid=2,port=x", "ifid=2,port=z")
		f(timeseries.Tags{"ifid": "1"}, 0, 0, "ifid=1,port=x", "ifid=1,port=y")
		f(timeseries.Tags{"port": "x"}, 0, 0, "ifid=1,port=x", "ifid=2,port=x")
		f(timeseries.Tags{"port": "x", "ifid": "2"}, 0, 0, "ifid=2,port=x")
		f(timeseries.Tags{"port": "x", "unknown": "?"}, 0, 0, "ifid=1,port=x", "ifid=2,port=x")
		f(nil, 60, 0, "ifid=1,port=x", "ifid=1,port=y", "ifid=2,port=x", "ifid=2,port=z")
		f(nil, 61, 0, "ifid=1,port=x", "ifid=2,port=x", "ifid=2,port=z")
		f(nil, 61, 20_000, "ifid=2,port=z")
		f(nil, 30_000, 30_000, "ifid=1,port=x")
		f(nil, 61, 9_999)
		f(nil, 70_001, 0)
		f(nil, 0, 60, "ifid=1,port=x", "ifid=1,port=y")
		if _, err := s.list(timeseries.ListQuery{Schema: both, Tags: timeseries.Tags{"port": "nope"}}); !errors.Is(err, timeseries.ErrNoSeries) {
			t.Errorf("no series at all: %v", err)
		}
		if _, err := s.list(timeseries.ListQuery{Schema: load}); !errors.Is(err, timeseries.ErrNoSeries) {
			t.Errorf("unknown schema: %v", err)
		}
	})
}

func TestR18Delete(t *testing.T) {
	other := &timeseries.Schema{Name: "host2:load", Step: 60, Tags: []string{"host"}, Metrics: []string{"load"}, Type: timeseries.Gauge}
	places(t, func(s *testStore, half func()) {
		s.feed(load, a, 60, 1)
		half()
		s.feed(load, []string{"b"}, 60, 2)
		s.feed(traffic, a, 60, 3)
		s.feed(other, a, 60, 4)
		s.append(timeseries.Point{Schema: both, Time: epoch + 60, Tags: []string{"1", "x"}, Values: []float64{1, 1}})
		s.append(timeseries.Point{Schema: both, Time: epoch + 60, Tags: []string{"2", "x"}, Values: []float64{1, 1}})
	}, func(t *testing.T, s *testStore) {
		gone := func(schema *timeseries.Schema, tags timeseries.Tags) {
			t.Helper()
			if _, err := s.Query(bg, query(schema, tags, 0, 60)); !errors.Is(err, timeseries.ErrNoSeries) {
				t.Errorf("%s %v is still there: %v", schema.Name, tags, err)
			}
			if list, err := s.list(timeseries.ListQuery{Schema: schema, Tags: tags}); !errors.Is(err, timeseries.ErrNoSeries) {
				t.Errorf("%s %v is still listed: %v %v", schema.Name, tags, list, err)
			}
		}
		if err := s.Delete(bg, "", nil); err == nil {
			t.Error("everything could be deleted")
		}
		if err := s.Delete(bg, "host", timeseries.Tags{"host": "a", "port": "x"}); err != nil {
			t.Error(err)
		}
		wantData(t, "schemas without one of the tags are untouched", s.data(query(load, tagA, 0, 60)), 1)
		if err := s.Delete(bg, "host", tagA); err != nil {
			t.Fatal(err)
		}
		gone(load, tagA)
		gone(traffic, tagA)
		wantData(t, "other tags", s.data(query(load, timeseries.Tags{"host": "b"}, 0, 60)), 2)
		wantData(t, "the prefix is compared whole", s.data(query(other, tagA, 0, 60)), 4)
		if err := s.Delete(bg, "", timeseries.Tags{"ifid": "1"}); err != nil { // an interface, whatever the prefix
			t.Fatal(err)
		}
		gone(both, timeseries.Tags{"ifid": "1"})
		if list, err := s.list(timeseries.ListQuery{Schema: both}); err != nil || len(list) != 1 {
			t.Errorf("interface 2: %v %v", list, err)
		}
		// What comes back starts afresh, and stays so.
		s.feed(traffic, a, 120, 500)
		s.feed(load, a, 120, 10)
		check := func(when string) {
			t.Helper()
			wantData(t, when, s.data(query(load, tagA, 0, 120)), nan, 10)
			if total, err := s.Total(bg, query(traffic, tagA, 0, 120)); err != nil || total["bytes"] != 0 {
				t.Errorf("%s: total %v %v", when, total, err)
			}
			if got := s.Stats().Series; got != 5 {
				t.Errorf("%s: %d series, want 5", when, got)
			}
		}
		check("again")
		s.restart()
		check("again, after a restart")
		if err := s.Delete(bg, "host", nil); err != nil {
			t.Fatal(err)
		}
		s.restart()
		gone(load, nil)
		gone(traffic, nil)
		if got := s.Stats().Series; got != 2 {
			t.Errorf("%d series, want 2", got)
		}
	})
}

func TestR19UnknownSeries(t *testing.T) {
	s := newTestStore(t, nil)
	if _, err := s.Query(bg, query(load, tagA, 0, 60)); !errors.Is(err, timeseries.ErrNoSeries) {
		t.Errorf("unknown schema: %v", err)
	}
	s.feed(load, a, 60, 1)
	if _, err := s.Query(bg, query(load, timeseries.Tags{"host": "b"}, 0, 60)); !errors.Is(err, timeseries.ErrNoSeries) {
		t.Errorf("unknown series: %v", err)
	}
	if _, err := s.Query(bg, query(load, timeseries.Tags{"hots": "a"}, 0, 60)); !errors.Is(err, timeseries.ErrUnknownTag) {
		t.Errorf("unknown tag: %v", err)
	}
	q := query(load, nil, 0, 60)
	q.GroupBy = []string{"hots"}
	if _, err := s.Query(bg, q); !errors.Is(err, timeseries.ErrUnknownTag) {
		t.Errorf("group by an unknown tag: %v", err)
	}
	if _, err := s.TopK(bg, q); !errors.Is(err, timeseries.ErrUnknownTag) {
		t.Errorf("top by an unknown tag: %v", err)
	}
	wantData(t, "a known series without points in the range", s.data(query(load, tagA, 600, 660)), nan)
}

// What Append returned nil for is in the log: a copy of the files as they are at
// that moment has it. See also TestKill.
func TestR20Durability(t *testing.T) {
	s := newTestStore(t, nil)
	for i := range 50 {
		s.feed(load, a, float64(60*(i+1)), float64(i))
		if i%10 == 7 {
			s.checkpoint()
		}
		copied := s.crashed(100)
		want := make([]float64, i+1)
		for k := range want {
			want[k] = float64(k)
		}
		wantData(t, "copy", copied.data(query(load, tagA, 0, int64(60*(i+1)))), want...)
		copied.close()
	}
}

// A group is the sum of its series; keys inside the packed tag filter and group like tags.
func TestGroupsAndPackedTags(t *testing.T) {
	places(t, func(s *testStore, half func()) {
		add := func(name, tags string, v float64) {
			s.append(timeseries.Point{Schema: statsd, Time: epoch + 10, Tags: []string{name, tags}, Values: []float64{v}})
		}
		add("cpu", "dc=eu;host=a", 1)
		add("cpu", "dc=eu;host=b", 2)
		half()
		add("cpu", "dc=us;host=a", 4)
		add("cpu", "", 8)
		add("mem", "dc=eu;host=a;flag", 16)
	}, func(t *testing.T, s *testStore) {
		f := func(filter timeseries.Tags, groupBy []string, want map[string]float64) {
			t.Helper()
			q := query(statsd, filter, 0, 10)
			q.GroupBy = groupBy
			r, err := s.Query(bg, q)
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]float64)
			for _, series := range r.Series {
				got[text(series.Tags)] = series.Data[0]
			}
			wantDiff(t, fmt.Sprint(filter, groupBy), got, want)
		}
		f(nil, nil, map[string]float64{"": 31})
		f(timeseries.Tags{"name": "cpu"}, nil, map[string]float64{"name=cpu": 15})
		f(timeseries.Tags{"name": "cpu", "dc": "eu"}, nil, map[string]float64{"dc=eu,name=cpu": 3})
		f(timeseries.Tags{"host": "a"}, []string{"name"}, map[string]float64{"host=a,name=cpu": 5, "host=a,name=mem": 16})
		f(timeseries.Tags{"name": "cpu"}, []string{"dc"}, map[string]float64{"dc=eu,name=cpu": 3, "dc=us,name=cpu": 4, "dc=,name=cpu": 8})
		f(nil, []string{"name", "host"}, map[string]float64{"host=a,name=cpu": 5, "host=b,name=cpu": 2, "host=,name=cpu": 8, "host=a,name=mem": 16})
		f(timeseries.Tags{"flag": ""}, nil, map[string]float64{"flag=": 16})
		f(timeseries.Tags{"name": "cpu", "tags": "dc=eu;host=b"}, nil, map[string]float64{"name=cpu,tags=dc=eu;host=b": 2})
		q := query(statsd, timeseries.Tags{"name": "cpu"}, 0, 10)
		q.GroupBy = []string{"host"}
		top, err := s.TopK(bg, q)
		if err != nil || len(top.Items) != 3 || top.Items[0].Tags["host"] != "" || top.Items[0].Value != 80 || top.Items[1].Value != 50 {
			t.Errorf("top: %+v %v", top, err)
		}
		if err := s.Delete(bg, "statsd", timeseries.Tags{"host": "a"}); err != nil {
			t.Fatal(err)
		}
		f(nil, nil, map[string]float64{"": 10})
	})
}
