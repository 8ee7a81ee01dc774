package timeseries

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// worked is the example of the specification's section 5.3.
func worked() (Query, Grid, []Group) {
	const from = 1795310100
	s := &Schema{Name: "host:ndpi", Step: 300, Tags: []string{"ifid", "host", "protocol"}, Metrics: []string{"bytes_sent", "bytes_rcvd"}}
	q := Query{Schema: s, Tags: Tags{"ifid": "1", "host": "10.0.0.9", "protocol": "DNS"}, Start: from, End: from + 1500, Options: options(10)}
	g := NewGrid(s, q.Start, q.End, q.Options)
	times := every(from, 300, 6)
	sent := g.Slots(nil, s, times, []float64{0, 3000, 6000, 9000, 12000, 15000})
	rcvd := g.Slots(nil, s, times, []float64{0, 6000, 12000, 18000, 24000, 30000})
	return q, g, []Group{{Data: [][]float64{sent, rcvd}}}
}

const workedJSON = `{
 "metadata": {"schema": "host:ndpi", "query": {"host": "10.0.0.9", "ifid": "1", "protocol": "DNS"},
  "epoch_begin": 1795310100, "epoch_end": 1795311600, "epoch_step": 300, "num_point": 5},
 "start": 1795310100, "end": 1795311600, "step": 300, "raw_step": 300, "count": 5,
 "series": [
  {"id": "bytes_sent", "label": "bytes_sent", "tags": {"host": "10.0.0.9", "ifid": "1", "protocol": "DNS"}, "data": [10, 10, 10, 10, 10],
   "statistics": {"total": 15000, "average": 10, "min_val": 10, "min_val_idx": 0, "max_val": 10, "max_val_idx": 0, "95th_percentile": 10}},
  {"id": "bytes_rcvd", "label": "bytes_rcvd", "tags": {"host": "10.0.0.9", "ifid": "1", "protocol": "DNS"}, "data": [20, 20, 20, 20, 20],
   "statistics": {"total": 30000, "average": 20, "min_val": 20, "min_val_idx": 0, "max_val": 20, "max_val_idx": 0, "95th_percentile": 20}}
 ],
 "statistics": {"total": 45000, "average": 30, "min_val": 30, "min_val_idx": 0, "max_val": 30, "max_val_idx": 0, "95th_percentile": 30, "by_serie": [
  {"total": 15000, "average": 10, "min_val": 10, "min_val_idx": 0, "max_val": 10, "max_val_idx": 0, "95th_percentile": 10},
  {"total": 30000, "average": 20, "min_val": 20, "min_val_idx": 0, "max_val": 20, "max_val_idx": 0, "95th_percentile": 20}]},
 "additional_series": {"total": [30, 30, 30, 30, 30]},
 "source_aggregation": "raw"
}`

// sameJSON reports how two texts differ as values.
func sameJSON(t *testing.T, want string, got []byte) string {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(want), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &b); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	return cmp.Diff(a, b)
}

func TestResultJSON(t *testing.T) {
	r := Assemble(worked())
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := sameJSON(t, workedJSON, text); diff != "" {
		t.Error(diff)
	}
	byValue, err := json.Marshal(*r)
	if err != nil || string(byValue) != string(text) {
		t.Errorf("by value: %v, %s", err, byValue)
	}
}

func TestTopResultJSON(t *testing.T) {
	q, g, groups := worked()
	delete(q.Tags, "protocol")
	items := Rank(q, []Candidate{{Tags{"protocol": "DNS"}, []float64{15000, 30000}}, {Tags{"protocol": "TLS"}, []float64{150000, 300000.5}}})
	q.NoStatistics = true
	text, err := json.Marshal(AssembleTop(q, g, items, groups[0], nil))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"topk": [
	 {"tags": {"ifid": "1", "host": "10.0.0.9", "protocol": "TLS"}, "value": 450000.5, "partials": {"bytes_sent": 150000, "bytes_rcvd": 300000.5}},
	 {"tags": {"ifid": "1", "host": "10.0.0.9", "protocol": "DNS"}, "value": 45000, "partials": {"bytes_sent": 15000, "bytes_rcvd": 30000}}],
	"metadata": {"schema": "host:ndpi", "query": {"host": "10.0.0.9", "ifid": "1"},
	  "epoch_begin": 1795310100, "epoch_end": 1795311600, "epoch_step": 300, "num_point": 5},
	"start": 1795310100, "end": 1795311600, "step": 300, "raw_step": 300, "count": 5, "series": [],
	"additional_series": {"total": [30, 30, 30, 30, 30]}, "source_aggregation": "raw"}`
	if diff := sameJSON(t, want, text); diff != "" {
		t.Error(diff)
	}
	empty, err := json.Marshal(TopResult{})
	if diff := sameJSON(t, `{"topk": [], "metadata": {"schema": "", "query": {}, "epoch_begin": 0, "epoch_end": 0, "epoch_step": 0, "num_point": 0},
	"start": 0, "end": 0, "step": 0, "raw_step": 0, "count": 0, "series": [], "additional_series": {"total": []}}`, empty); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestNumbersJSON(t *testing.T) {
	f := func(v float64, want string) {
		t.Helper()
		if got, err := json.Marshal(numbers{v}); err != nil || string(got) != "["+want+"]" {
			t.Errorf("%v: got %s, %v, want %s", v, got, err, want)
		}
	}
	f(0, "0")
	f(math.Copysign(0, -1), "0")
	f(10, "10")
	f(-450000, "-450000")
	f(1795311600, "1795311600")
	f(1<<53, "9007199254740992")
	f(0.1, "0.1")
	f(40.0/3, "13.333333333333334")
	f(1e20, "100000000000000000000")
	f(1e21, "1e+21")
	f(1e-7, "1e-07")
	f(math.MaxFloat64, "1.7976931348623157e+308")
	f(math.NaN(), "null")
	f(math.Inf(1), "null")
	f(math.Inf(-1), "null")
}

func TestStatisticsJSON(t *testing.T) {
	f := func(s Statistics, want string) {
		t.Helper()
		got, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameJSON(t, want, got); diff != "" {
			t.Error(diff)
		}
		var back Statistics
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back, cmpopts.EquateNaNs()); diff != "" {
			t.Error(diff)
		}
	}
	f(NewStatistics([]float64{10, nan, 30}, 60, false, Gauge), // a gauge has no total
		`{"average": 20, "min_val": 10, "min_val_idx": 0, "max_val": 30, "max_val_idx": 2, "95th_percentile": 10}`)
	f(NewStatistics(nil, 60, false, Counter),
		`{"total": 0, "average": null, "min_val": null, "min_val_idx": 1, "max_val": null, "max_val_idx": 1, "95th_percentile": 0}`)
}

// What was rendered reads back the same.
func TestJSONRoundTrip(t *testing.T) {
	q, g, groups := worked()
	groups[0].Data[0][2], groups[0].Data[0][3], groups[0].Data[1][3] = nan, nan, nan
	name := cmp.Comparer(func(a, b *Schema) bool { return a.Name == b.Name })
	items := []TopItem{{Tags: Tags{"host": "a"}, Value: 1.5, Partials: map[string]float64{"bytes_sent": 1.5}}}
	for _, typ := range []MetricsType{Counter, Gauge} {
		s := *q.Schema
		s.Type, q.Schema = typ, &s
		want := AssembleTop(q, g, items, groups[0], groups)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var top TopResult
		if err := json.Unmarshal(text, &top); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*want, top, cmpopts.EquateNaNs(), name); diff != "" {
			t.Error(diff)
		}
		text, err = json.Marshal(want.Result)
		if err != nil {
			t.Fatal(err)
		}
		var r Result
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Result, r, cmpopts.EquateNaNs(), name); diff != "" {
			t.Error(diff)
		}
	}
	for _, bad := range []string{`{"series": [{"data": ["x"]}]}`, `{"statistics": {"average": "x"}}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), new(Result)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
