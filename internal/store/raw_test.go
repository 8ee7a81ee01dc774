package store

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// rawTexts are the samples that r gives, series by series, in order of their tags.
func rawTexts(t testing.TB, r timeseries.Reader, q timeseries.SampleQuery) map[string][][]float64 {
	t.Helper()
	all := make(map[string][][]float64)
	for s, err := range r.Samples(bg, q) {
		if err != nil {
			t.Fatal(err)
		}
		rows := make([][]float64, len(s.Times))
		for i, at := range s.Times {
			rows[i] = []float64{float64(at)}
			for _, column := range s.Values {
				rows[i] = append(rows[i], column[i])
			}
		}
		key := fmt.Sprint(s.Tags)
		if all[key] != nil {
			t.Fatalf("%s came twice", key)
		}
		all[key] = rows
	}
	return all
}

// TestSamples compares many series, in blocks and in memory, and rows that take
// the place of others, with the driver that keeps all in a map.
func TestSamples(t *testing.T) {
	s := newTestStore(t, nil)
	plain := new(memory.Driver)
	schema := &timeseries.Schema{Name: "host:load", Step: 60, Type: timeseries.Gauge, Tags: []string{"ifid", "host"}, Metrics: []string{"one", "five"}}
	append := func(at int64, every int, value float64) {
		t.Helper()
		var points []timeseries.Point
		for i := 0; i < 2*partSize+100; i += every {
			values := []float64{value + float64(i), nan}
			if i%3 == 0 {
				values[1] = -value
			}
			points = slices.Insert(points, len(points), timeseries.Point{Schema: schema, Time: epoch + at, Tags: []string{fmt.Sprint(i % 2), fmt.Sprint(i)}, Values: values})
		}
		for _, d := range []timeseries.Driver{s, plain} {
			if err := d.Append(bg, points); err != nil {
				t.Fatal(err)
			}
		}
	}
	append(0, 1, 1)
	append(60, 2, 2)
	append(8000, 1, 3)
	s.checkpoint()
	append(60, 4, 4)
	append(30, 1, 5)
	append(86400, 5, 6)
	for _, q := range []timeseries.SampleQuery{
		{After: 0, Through: math.MaxInt64},
		{After: epoch - 1, Through: epoch + 60},
		{After: epoch, Through: epoch + 8000, Metrics: []int{1}},
		{After: epoch + 8000, Through: epoch + 86400, Metrics: []int{1, 0}},
		{After: 0, Through: math.MaxInt64, Tags: timeseries.Tags{"ifid": "1"}, Match: func(tags []string) bool { return len(tags[1]) == 4 }},
		{After: 0, Through: math.MaxInt64, Tags: timeseries.Tags{"ifid": "1", "host": "7"}},
	} {
		q.Schema = schema
		got, want := rawTexts(t, s, q), rawTexts(t, plain, q)
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" || len(want) == 0 {
			t.Errorf("(%d, %d] of %v, %d series: %s", q.After, q.Through, q.Tags, len(want), diff)
		}
	}
}

// TestSamplesOfOtherMetrics: a definition may know fewer metrics, or more, than are stored.
func TestSamplesOfOtherMetrics(t *testing.T) {
	s := newTestStore(t, nil)
	stored := &timeseries.Schema{Name: "host:load", Step: 60, Type: timeseries.Gauge, Tags: []string{"host"}, Metrics: []string{"one", "five"}}
	asked := &timeseries.Schema{Name: "host:load", Step: 60, Type: timeseries.Gauge, Tags: []string{"host"}, Metrics: []string{"fifteen", "five"}}
	if err := s.Append(bg, []timeseries.Point{{Schema: stored, Time: epoch, Tags: []string{"a"}, Values: []float64{1, 5}}}); err != nil {
		t.Fatal(err)
	}
	got := rawTexts(t, s, timeseries.SampleQuery{Schema: asked, Through: epoch})
	if diff := cmp.Diff(map[string][][]float64{"[a]": {{epoch, nan, 5}}}, got, cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
}
