package timeseries

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var traffic = &Schema{Name: "host:traffic", Step: 60, Type: Counter, Tags: []string{"ifid", "host"}, Metrics: []string{"sent", "rcvd"}}

// ask is a query of traffic from 600 seconds on, so long that data fits.
func ask(data []float64, change func(*Query)) (Query, Grid) {
	q := Query{Schema: traffic, Tags: Tags{"ifid": "1"}, Start: 600, End: 600 + 60*int64(len(data)), Options: DefaultOptions()}
	if change != nil {
		change(&q)
	}
	return q, NewGrid(q.Schema, q.Start, q.End, q.Options)
}

func TestAssemble(t *testing.T) {
	sent, rcvd := []float64{1, nan, 3, nan}, []float64{10, nan, nan, 40}
	q, g := ask(sent, nil)
	got := Assemble(q, g, []Group{{Tags: Tags{"host": "a"}, Data: [][]float64{slices.Clone(sent), slices.Clone(rcvd)}}})
	tags := Tags{"ifid": "1", "host": "a"}
	want := &Result{
		Schema: traffic, Tags: Tags{"ifid": "1"}, Start: 600, End: 840, Step: 60, RawStep: 60, Count: 4, SourceAggregation: "raw",
		Series: []Series{
			{Label: "sent", Tags: tags, Data: sent, Statistics: &Statistics{Total: 240, Average: 2, Min: 1, MinIndex: 0, Max: 3, MaxIndex: 2, Percentile95: 1}},
			{Label: "rcvd", Tags: tags, Data: rcvd, Statistics: &Statistics{Total: 3000, Average: 25, Min: 10, MinIndex: 0, Max: 40, MaxIndex: 3, Percentile95: 10}},
		},
		Total:      []float64{11, nan, 3, 40},
		Statistics: &Statistics{Total: 3240, Average: 18, Min: 3, MinIndex: 2, Max: 40, MaxIndex: 3, Percentile95: 11},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
	if !maps.Equal(q.Tags, Tags{"ifid": "1"}) {
		t.Errorf("the filter became %v", q.Tags)
	}
}

func TestAssembleNormalizes(t *testing.T) {
	f := func(data []float64, change func(*Query), series, total []float64) {
		t.Helper()
		q, g := ask(data, change)
		s := *traffic
		s.Type, s.Metrics = Gauge, []string{"value"}
		q.Schema = &s
		r := Assemble(q, g, []Group{{Data: [][]float64{slices.Clone(data)}}, {Data: [][]float64{slices.Clone(data)}}})
		if !slices.EqualFunc(r.Series[0].Data, series, equal) || !slices.EqualFunc(r.Total, total, equal) {
			t.Errorf("%v: got %v in total %v, want %v, %v", data, r.Series[0].Data, r.Total, series, total)
		}
	}
	data := []float64{-3, nan, 1.4, 2.5}
	f(data, nil, []float64{0, nan, 1.4, 2.5}, []float64{0, nan, 2.8, 5})
	f(data, func(q *Query) { q.MinValue = math.Inf(-1) }, []float64{-3, nan, 1.4, 2.5}, []float64{-6, nan, 2.8, 5})
	f(data, func(q *Query) { q.MinValue = 2 }, []float64{2, nan, 2, 2.5}, []float64{4, nan, 4, 5})
	f(data, func(q *Query) { q.FillValue = 0 }, []float64{0, 0, 1.4, 2.5}, []float64{0, 0, 2.8, 5})
	f(data, func(q *Query) { q.FillValue = -1 }, []float64{0, -1, 1.4, 2.5}, []float64{0, -2, 2.8, 5}) // fill values are not clamped
	f(data, func(q *Query) { q.FillValue, q.KeepNaN = 0, true }, []float64{0, nan, 1.4, 2.5}, []float64{0, nan, 2.8, 5})
	f(data, func(q *Query) { q.Round = true }, []float64{0, nan, 1, 3}, []float64{0, nan, 2, 6})
	f([]float64{-2.5, -2.6, 0.49}, func(q *Query) { q.Round, q.MinValue = true, -9 }, []float64{-2, -3, 0}, []float64{-4, -6, 0})
	f(data, func(q *Query) { q.MinPoints = 3 }, []float64{0, nan, 1.4, 2.5}, []float64{0, nan, 2.8, 5})
	f(data, func(q *Query) { q.MinPoints = 4 }, []float64{nan, nan, nan, nan}, []float64{nan, nan, nan, nan})
	f(data, func(q *Query) { q.MinPoints, q.FillValue = 4, 7 }, []float64{7, 7, 7, 7}, []float64{14, 14, 14, 14})
}

func TestAssembleStatistics(t *testing.T) {
	one := func(typ MetricsType, data []float64, change func(*Query)) *Result {
		q, g := ask(data, change)
		s := *traffic
		s.Type, s.Metrics = typ, []string{"value"}
		q.Schema = &s
		return Assemble(q, g, []Group{{Data: [][]float64{slices.Clone(data)}}})
	}
	data := []float64{10, nan, 20, nan, 30}
	if r := one(Gauge, data, nil); !math.IsNaN(r.Statistics.Total) || r.Statistics.Average != 20 {
		t.Errorf("gauge: got %+v", r.Statistics)
	}
	if r := one(Gauge, data, func(q *Query) { q.KeepTotal = true }); r.Statistics.Total != 60 || r.Series[0].Statistics.Total != 60 {
		t.Errorf("gauge that keeps its total: got %+v", r.Statistics)
	}
	if r := one(Derivative, data, nil); r.Statistics.Total != 3600 {
		t.Errorf("derivative: got %+v", r.Statistics)
	}
	if r := one(Counter, data, func(q *Query) { q.NoStatistics = true }); r.Statistics != nil || r.Series[0].Statistics != nil {
		t.Errorf("no statistics: got %+v", r.Statistics)
	}
}

// The initial point is data but not part of statistics (R14).
func TestAssembleInitialPoint(t *testing.T) {
	s := &Schema{Name: "a:b", Step: 60, Metrics: []string{"value"}}
	times, values := every(480, 60, 6), []float64{0, 9000, 18000, 18600, 19800, 21600}
	run := func(initial bool) *Result {
		q := Query{Schema: s, Start: 600, End: 780, Options: DefaultOptions()}
		q.InitialPoint = initial
		g := NewGrid(s, q.Start, q.End, q.Options)
		return Assemble(q, g, []Group{{Data: [][]float64{g.Slots(nil, s, times, values)}}})
	}
	without, with := run(false), run(true)
	if with.Start != 540 || with.Count != 4 || !slices.Equal(with.Series[0].Data, []float64{150, 10, 20, 30}) {
		t.Errorf("got start %d, count %d, %v", with.Start, with.Count, with.Series[0].Data)
	}
	if diff := cmp.Diff(without.Statistics, with.Statistics); diff != "" || without.Statistics.Total != 3600 {
		t.Errorf("statistics %+v: %s", without.Statistics, diff)
	}
}

// A trailing slot without any value is not part of the answer (R4).
func TestAssembleTrailingSlot(t *testing.T) {
	f := func(last [2]float64, fill float64, want []float64) {
		t.Helper()
		q := Query{Schema: traffic, Start: 60, End: 660, Options: options(5)}
		q.FillValue = fill
		g := NewGrid(q.Schema, q.Start, q.End, q.Options)
		if g.Count != 6 {
			t.Fatalf("got %+v", g)
		}
		r := Assemble(q, g, []Group{{Data: [][]float64{{1, 1, 1, 1, 1, last[0]}, {2, 2, 2, 2, nan, last[1]}}}})
		if r.Count != len(want) || len(r.Series[0].Data) != len(want) || len(r.Series[1].Data) != len(want) || !slices.EqualFunc(r.Total, want, equal) {
			t.Errorf("last %v: got count %d, %v, want %v", last, r.Count, r.Total, want)
		}
	}
	f([2]float64{nan, nan}, nan, []float64{3, 3, 3, 3, 1})
	f([2]float64{nan, nan}, 5, []float64{3, 3, 3, 3, 6})
	f([2]float64{4, nan}, nan, []float64{3, 3, 3, 3, 1, 4})
	f([2]float64{0, nan}, 5, []float64{3, 3, 3, 3, 6, 5})

	// A last slot that is whole stays.
	q := Query{Schema: traffic, Start: 0, End: 600, Options: options(5)}
	r := Assemble(q, NewGrid(traffic, 0, 600, q.Options), []Group{{Data: [][]float64{{1, 1, 1, 1, nan}, {1, 1, 1, 1, nan}}}})
	if r.Count != 5 {
		t.Errorf("got count %d", r.Count)
	}
}

func TestAssembleNothing(t *testing.T) {
	q := Query{Schema: traffic, Start: 660, End: 660, Options: DefaultOptions()}
	q.InitialPoint = true
	g := NewGrid(traffic, q.Start, q.End, q.Options)
	r := Assemble(q, g, []Group{{Data: [][]float64{g.Slots(nil, traffic, nil, nil), g.Slots(nil, traffic, nil, nil)}}})
	if r.Count != 0 || len(r.Series) != 2 || len(r.Series[0].Data) != 0 || !math.IsNaN(r.Statistics.Average) {
		t.Errorf("empty range: got %+v, %+v", r, r.Statistics)
	}
	q.End = 720
	if r := Assemble(q, NewGrid(traffic, q.Start, q.End, q.Options), nil); len(r.Series) != 0 || len(r.Total) != 2 || !math.IsNaN(r.Total[0]) {
		t.Errorf("no group: got %+v", r)
	}
}

func TestAssembleTop(t *testing.T) {
	q, g := ask([]float64{0, 0}, func(q *Query) { q.Top, q.GroupBy = 1, []string{"host"} })
	items := Rank(q, []Candidate{{Tags{"host": "a"}, []float64{60, 0}}, {Tags{"host": "b"}, []float64{600, 60}}})
	all := Group{Data: [][]float64{{11, nan}, {1, nan}}}
	r := AssembleTop(q, g, items, all, []Group{{Tags: items[0].Tags, Data: [][]float64{{10, nan}, {1, nan}}}})
	if !slices.EqualFunc(r.Total, []float64{12, nan}, equal) || r.Statistics.Total != 720 || len(r.Series) != 2 || r.Series[0].Tags["host"] != "b" || len(r.Items) != 1 {
		t.Errorf("got %+v", r)
	}

	// Whether there is a trailing slot depends on all series, not on those of the items.
	q.Options = options(5)
	q.Start, q.End = 60, 660
	g = NewGrid(traffic, q.Start, q.End, q.Options)
	short := func(last float64) [][]float64 { return [][]float64{{1, 1, 1, 1, 1, last}, {1, 1, 1, 1, 1, nan}} }
	if r := AssembleTop(q, g, items, Group{Data: short(1)}, []Group{{Data: short(nan)}}); r.Count != 6 || len(r.Series[0].Data) != 6 || len(r.Total) != 6 {
		t.Errorf("got count %d", r.Count)
	}
	if r := AssembleTop(q, g, items, Group{Data: short(nan)}, []Group{{Data: short(nan)}}); r.Count != 5 || len(r.Series[0].Data) != 5 || len(r.Total) != 5 {
		t.Errorf("got count %d", r.Count)
	}
}

func TestRank(t *testing.T) {
	f := func(top int, groupBy string, candidates []Candidate, want string) {
		t.Helper()
		q := Query{Schema: traffic, Tags: Tags{"ifid": "1"}, GroupBy: strings.Fields(groupBy), Options: DefaultOptions()}
		q.Top = top
		var got []string
		for _, item := range Rank(q, candidates) {
			if item.Tags["ifid"] != "1" || item.Value != item.Partials["sent"]+item.Partials["rcvd"] {
				t.Errorf("got %+v", item)
			}
			got = append(got, item.Tags["host"]+item.Tags["site"])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	of := func(host string, partials ...float64) Candidate { return Candidate{Tags{"host": host}, partials} }
	list := []Candidate{of("a", 1, 2), of("c", 5, 0), of("zero", 0, 0), of("b", 0, 5), of("minus", -5, 1), of("d", 4, 4), of("nan", nan, 1), of("B", 5, 0)}
	f(8, "host", list, "d B b c a")
	f(3, "host", list, "d B b")
	f(1, "", list, "d")
	f(0, "host", list, "")
	f(-1, "host", list, "")
	f(8, "host", nil, "")
	// Several tags, also keys inside a packed one.
	pair := func(host, site string) Candidate { return Candidate{Tags{"host": host, "site": site}, []float64{1, 1}} }
	f(8, "site host", []Candidate{pair("b", "1"), pair("a", "2"), pair("a", "1")}, "a1 b1 a2")

	if items := Rank(Query{Schema: traffic, Options: DefaultOptions()}, []Candidate{of("a", 3, 4)}); !maps.Equal(items[0].Partials, map[string]float64{"sent": 3, "rcvd": 4}) {
		t.Errorf("got %+v", items)
	}
}

// Any order of candidates gives the items that sorting all of them gives.
func TestRankOfMany(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	candidates := make([]Candidate, 2000)
	values := make([]float64, len(candidates))
	for i := range candidates {
		values[i] = float64(random.IntN(5000))
		candidates[i] = Candidate{Tags{"host": string(rune('a' + i%26))}, []float64{values[i], 0}}
	}
	slices.Sort(values)
	slices.Reverse(values)
	q := Query{Schema: traffic, Options: DefaultOptions()}
	q.Top = 100
	items := Rank(q, candidates)
	if len(items) != 100 {
		t.Fatalf("got %d items", len(items))
	}
	for i, item := range items {
		if item.Value != values[i] {
			t.Fatalf("item %d: got %v, want %v", i, item.Value, values[i])
		}
	}
}
