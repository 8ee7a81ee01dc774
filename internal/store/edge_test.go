package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirhq/weir/timeseries"
)

// Edge cases of the contract (specification section 9) that no rule has a test for.

// A clock that jumps backwards stops nothing: points are taken as their times say.
func TestClockJumpsBackwards(t *testing.T) {
	s := newTestStore(t, nil)
	s.clock.set(epoch + 10*day)
	s.feed(load, a, 10*day, 10)
	s.clock.set(epoch + 2*day)
	s.feed(load, a, 2*day, 2)
	s.checkpoint()
	s.feed(load, a, 2*day+60, 3)
	if err := s.DeleteOld(bg, s.clock.t); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		wantData(t, when+": before", s.data(query(load, tagA, 2*day-60, 2*day+60)), 2, 3)
		wantData(t, when+": what is now ahead", s.data(query(load, tagA, 10*day-60, 10*day)), 10)
	}
	check("in memory")
	s.rollUp()
	s.restart()
	check("after a restart")
	s.clock.set(epoch + 10*day)
	s.feed(load, a, 10*day+60, 11)
	wantData(t, "the clock is right again", s.data(query(load, tagA, 10*day-60, 10*day+60)), 10, 11)
}

// Time 0 is a time like any other where nothing is too old.
func TestTimeZero(t *testing.T) {
	s := newTestStore(t, nil)
	points := []timeseries.Point{{Schema: load, Tags: a, Values: []float64{7}}}
	if err := s.Append(bg, points); err == nil || !strings.Contains(err.Error(), "older than what is kept") {
		t.Errorf("with a retention: %v", err)
	}
	s = newTestStore(t, func(s *Store) { s.limits.retention = -1 })
	s.append(points...)
	s.restart()
	wantData(t, "time 0", s.data(query(load, tagA, -epoch-60, -epoch)), 7)
	for _, far := range []int64{1 << 40, 1_728_000_000_000, 1_728_000_000_000_000_000, 1<<63 - 1} { // milliseconds, nanoseconds
		err := s.Append(bg, []timeseries.Point{{Schema: load, Time: far, Tags: a, Values: []float64{7}}})
		if err == nil || !strings.Contains(err.Error(), "more than a day ahead of the clock") {
			t.Errorf("time %d: %v", far, err)
		}
	}
}

// However much is asked, what is answered is bounded, and questions about no time or
// the wrong way round are errors or empty; so is every kind of question.
func TestHugeAndReversedRanges(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.retention = -1 })
	second := &timeseries.Schema{Name: "fast:load", Step: 1, Tags: []string{"host"}, Metrics: []string{"load"}, Type: timeseries.Gauge}
	var points []timeseries.Point
	for host := range 2100 {
		points = append(points, timeseries.Point{Schema: second, Time: epoch + 1, Tags: []string{strings.Repeat("x", host%100) + string(rune('a'+host/100))}, Values: []float64{1}})
	}
	s.append(points...)
	const least, most = -1 << 63, 1<<63 - 1
	for _, span := range [][2]int64{{epoch - 10*366*day, epoch}, {least, most}, {0, most}, {least, epoch}} {
		q := query(second, timeseries.Tags{"host": "a"}, 0, 0)
		q.Start, q.End = span[0], span[1]
		for _, n := range []int{least, 0, 80, 1_000_000_000, most} {
			q.MaxPoints = n
			r, err := s.Query(bg, q)
			if err != nil || r.Count > timeseries.MaxSlots+1 || len(r.Series[0].Data) != r.Count {
				t.Errorf("%v, %d points: %v", span, n, err)
			}
			top, err := s.TopK(bg, q)
			if err != nil || top.Count > timeseries.MaxSlots+1 {
				t.Errorf("topk of %v, %d points: %v", span, n, err)
			}
		}
		if _, err := s.Total(bg, q); err != nil {
			t.Errorf("total of %v: %v", span, err)
		}
	}

	q := query(second, nil, -366*day, 0)
	q.MaxPoints, q.GroupBy = 1_000_000_000, []string{"host"}
	if _, err := s.Query(bg, q); !errors.Is(err, timeseries.ErrFull) || !strings.Contains(err.Error(), "ask for fewer points or group by fewer tags") {
		t.Errorf("2100 series of 10 000 points: %v", err)
	}
	q = query(second, nil, 61, 60)
	if _, err := s.Query(bg, q); !errors.Is(err, timeseries.ErrBadRange) {
		t.Errorf("query: %v", err)
	}
	if _, err := s.Total(bg, q); !errors.Is(err, timeseries.ErrBadRange) {
		t.Errorf("total: %v", err)
	}
	if _, err := s.TopK(bg, q); !errors.Is(err, timeseries.ErrBadRange) {
		t.Errorf("topk: %v", err)
	}
	for one, err := range s.Samples(bg, timeseries.SampleQuery{Schema: second, After: epoch + 61, Through: epoch}) {
		t.Errorf("samples: %v, %v", one, err)
	}
	if list, err := s.list(timeseries.ListQuery{Schema: second, Start: epoch + 61, End: epoch}); err != nil || len(list) != 0 {
		t.Errorf("list: %d series, %v", len(list), err)
	}
}

// Schemas that other stores keep in one file are apart here.
func TestSchemasAreApart(t *testing.T) {
	s := newTestStore(t, nil)
	fine := &timeseries.Schema{Name: "flowdev_port:ndpi_min", Step: 60, Tags: []string{"ifid", "protocol"}, Metrics: []string{"bytes_sent", "bytes_rcvd"}}
	coarse := *fine
	coarse.Name, coarse.Step = "flowdev_port:ndpi", 300
	tags := []string{"1", "DNS"}
	s.append(
		timeseries.Point{Schema: fine, Time: epoch, Tags: tags, Values: []float64{0, 0}},
		timeseries.Point{Schema: fine, Time: epoch + 60, Tags: tags, Values: []float64{60, 120}},
		timeseries.Point{Schema: &coarse, Time: epoch, Tags: tags, Values: []float64{5000, 5000}},
		timeseries.Point{Schema: &coarse, Time: epoch + 300, Tags: tags, Values: []float64{8000, 5300}},
	)
	for schema, want := range map[*timeseries.Schema]map[string]float64{
		fine: {"bytes_sent": 60, "bytes_rcvd": 120}, &coarse: {"bytes_sent": 3000, "bytes_rcvd": 300},
	} {
		total, err := s.Total(bg, query(schema, nil, 0, 300))
		if err != nil {
			t.Fatal(err)
		}
		wantDiff(t, schema.Name, total, want)
	}
}
