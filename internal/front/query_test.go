package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// load appends a gauge of score_as_cli that is 1, 2, 3, ..., and -1 of score_as_srv.
func load(t *testing.T, f *Front, n int) {
	t.Helper()
	for i := range n {
		if refused := f.Append(t.Context(), []Sample{{Schema: "host:score", Time: float64(start + 300*i), Values: map[string]any{
			"ifid": "1", "host": "a", "score_as_cli": float64(i), "score_as_srv": -1.0}}}); refused != nil {
			t.Fatal(refused)
		}
	}
}

// ask queries host:score of a with changed options and returns the points of each metric.
func ask(t *testing.T, f *Front, end int64, change func(*Question)) *Answer {
	t.Helper()
	q := NewQuestion("host:score", timeseries.Tags{"ifid": "1", "host": "a"}, start, end)
	change(&q)
	a, err := f.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOptions(t *testing.T) {
	f, _ := open(t)
	load(t, f, 6)
	nan := math.NaN()
	points := func(change func(*Question), cli, srv Points) {
		t.Helper()
		a := ask(t, f, start+1800, change)
		if diff := cmp.Diff([]Points{cli, srv}, []Points{a.Series[0].Data, a.Series[1].Data}, cmpopts.EquateNaNs()); diff != "" {
			t.Error(diff)
		}
	}
	points(func(q *Question) {}, Points{1, 2, 3, 4, 5, nan}, Points{0, 0, 0, 0, 0, nan}) // negative gauges are raised to min_value
	points(func(q *Question) { q.Options.MinValue = math.Inf(-1) }, Points{1, 2, 3, 4, 5, nan}, Points{-1, -1, -1, -1, -1, nan})
	points(func(q *Question) { q.Options.FillValue = 7 }, Points{1, 2, 3, 4, 5, 7}, Points{0, 0, 0, 0, 0, 7})
	points(func(q *Question) { q.Options.FillValue, q.Options.KeepNaN = 7, true }, Points{1, 2, 3, 4, 5, nan}, Points{0, 0, 0, 0, 0, nan})
	points(func(q *Question) { q.Options.MinPoints = 6 }, Points{nan, nan, nan, nan, nan, nan}, Points{nan, nan, nan, nan, nan, nan})
	points(func(q *Question) { q.Options.MaxPoints = 3 }, Points{0.5, 2.5, 4.5}, Points{0, 0, 0}) // the grid begins 300 s earlier
	points(func(q *Question) { q.Options.InitialPoint = true }, Points{0, 1, 2, 3, 4, 5, nan}, Points{0, 0, 0, 0, 0, 0, nan})

	total := func(change func(*Question), want bool) {
		t.Helper()
		a := ask(t, f, start+1500, change)
		if s := a.Series[0].Statistics; math.IsNaN(s.Total) == want || s.Average != 3 {
			t.Errorf("%+v", s)
		}
	}
	total(func(*Question) {}, false)
	total(func(q *Question) { q.Options.KeepTotal = true }, true)

	// Points as long as the slots of the resolution that is asked for (target_aggregation).
	var q Question
	for target, step := range map[string]int64{`"1h"`: 3600, `"raw"`: 300, `"2h"`: 300, "null": 300} {
		text := fmt.Sprintf(`{"schema": "host:score", "tags": {"ifid": 1, "host": "a"}, "epoch_begin": %d, "epoch_end": %d, "target_aggregation": %s}`, start, start+7200, target)
		if err := json.Unmarshal([]byte(text), &q); err != nil {
			t.Fatal(err)
		}
		if a, err := f.Query(t.Context(), q); err != nil || a.Step != step || a.SourceAggregation != "raw" {
			t.Errorf("target_aggregation %s: %+v, %v", target, a, err)
		}
	}

	// The largest raw point of every step (R34), beside the mean.
	a := ask(t, f, start+1500, func(q *Question) { q.WithMax, q.Options.MaxPoints = true, 2 })
	if diff := cmp.Diff(map[string]any{"total": Points{2, 4.5}, "max": Points{3, 5}}, a.Additional); diff != "" {
		t.Error(diff)
	}
	a = ask(t, f, start+1500, func(q *Question) { q.Options.NoStatistics = true })
	if a.Statistics != nil || a.Series[0].Statistics != nil {
		t.Error("there are statistics")
	}
	if a = ask(t, f, start, func(*Question) {}); a.Count != 0 || len(a.Series) != 2 || len(a.Series[0].Data) != 0 || !math.IsNaN(a.Statistics.Average) {
		t.Errorf("of no time at all: %+v", a) // section 9
	}
}

func TestLastValues(t *testing.T) {
	f, _ := open(t)
	load(t, f, 6)
	q := NewQuestion("top:host:score", timeseries.Tags{"ifid": "1", "host": "a"}, start, start+3000)
	check := func(n int, cli ...float64) {
		t.Helper()
		q.NumPoints = n
		got, err := f.LastValues(t.Context(), q)
		if diff := cmp.Diff(Points(cli), got["score_as_cli"], cmpopts.EquateEmpty()); err != nil || diff != "" || len(got) != 2 {
			t.Error(err, diff)
		}
	}
	check(3, 5, 4, 3)
	check(0, 5, 4, 3, 2, 1)
	check(100, 5, 4, 3, 2, 1)
	q.Start = start + 2400
	check(3)
}

// A schema that nothing declares and the driver holds can be asked.
func TestUndeclared(t *testing.T) {
	f, driver := open(t)
	schema := &timeseries.Schema{Name: "statsd:counter", Step: 10, Type: timeseries.Derivative, Tags: []string{"name", "tags"}, Metrics: []string{"rate"}, Packed: "tags"}
	if err := driver.Append(t.Context(), []timeseries.Point{{Schema: schema, Time: start, Tags: []string{"a", "k=v"}, Values: []float64{3}}}); err != nil {
		t.Fatal(err)
	}
	total, err := f.Total(t.Context(), NewQuestion("statsd:counter", timeseries.Tags{"name": "a", "ifid": "1"}, start-10, start))
	if err != nil || total["rate"] != 30 {
		t.Error(total, err)
	}
	if refused := f.Append(t.Context(), []Sample{{Schema: "statsd:counter", Values: map[string]any{"name": "a", "tags": "", "rate": 1.0}}}); len(refused) != 1 {
		t.Error("a script has written to it")
	}
	if changed, err := f.Changed(t.Context()); err != nil || len(changed) != 0 {
		t.Error(changed, err)
	}
	other := *f.definitions.Lookup("host:traffic").Schema
	other.Metrics = []string{"bytes"}
	if err := driver.Append(t.Context(), []timeseries.Point{{Schema: &other, Time: start, Tags: []string{"1", "a"}, Values: []float64{3}}}); err != nil {
		t.Fatal(err)
	}
	if changed, err := f.Changed(t.Context()); err != nil || !slices.Equal(changed, []string{"host:traffic"}) {
		t.Error(changed, err)
	}
}

func TestTop(t *testing.T) {
	f, _ := open(t)
	for i, schema := range []string{"mac:ndpi_categories", "iface:packets", "host:echo_packets"} {
		for at := range 2 {
			s := Sample{Schema: schema, Time: float64(start + 300*at), Values: map[string]any{"ifid": 1.0}}
			for _, name := range f.definitions.Lookup(schema).Schema.Tags[1:] {
				s.Values[name] = "x"
			}
			for _, name := range f.definitions.Lookup(schema).Schema.Metrics {
				s.Values[name] = float64(300 * at * (i + 1))
			}
			if refused := f.Append(t.Context(), []Sample{s}); refused != nil {
				t.Fatal(refused)
			}
		}
	}
	check := func(schema, id, label, name string) {
		t.Helper()
		a, err := f.Query(t.Context(), NewQuestion("top:"+schema, timeseries.Tags{"mac": "x"}, start, start+300))
		if err != nil || len(a.Series) != 1 {
			t.Errorf("%s: %v %+v", schema, err, a)
			return
		}
		if l := a.Series[0]; l.ID != id || l.Label != label || l.Name != name || l.Statistics == nil || len(a.Statistics.Lines) != 1 {
			t.Errorf("%s: %+v", schema, l)
		}
	}
	check("mac:ndpi_categories", "bytes", "bytes", "1")
	check("host:echo_packets", "packets", "bytes", "1")
	check("iface:packets", "packets", "packets", "1")
	_, err := f.Query(t.Context(), NewQuestion("top:no:such", nil, start, start+300))
	if !errors.Is(err, timeseries.ErrUnknownSchema) {
		t.Error(err)
	}
}

// local_senders and local_receivers are the hosts of host:traffic by one of its metrics.
func TestVirtual(t *testing.T) {
	f, _ := open(t)
	for host, volumes := range map[string][2]float64{"a": {100, 900}, "b": {300, 300}, "c": {200, 0}, "d": {0, 50}} {
		for at := range 2 {
			if refused := f.Append(t.Context(), []Sample{{Schema: "host:traffic", Time: float64(start + 300*at), Values: map[string]any{
				"ifid": 1.0, "host": host, "bytes_sent": volumes[0] * 300 * float64(at), "bytes_rcvd": volumes[1] * 300 * float64(at)}}}); refused != nil {
				t.Fatal(refused)
			}
		}
	}
	check := func(schema string, top int, want string) {
		t.Helper()
		q := NewQuestion(schema, timeseries.Tags{"ifid": "1"}, start, start+300)
		q.Options.Top = top
		a, err := f.Query(t.Context(), q)
		if err != nil {
			t.Error(err)
			return
		}
		got := ""
		for i, line := range a.Series {
			got += fmt.Sprint(line.Name, line.Data, line.Statistics.Total, a.TopK[i].Value, " ")
		}
		if got = strings.TrimSpace(got); got != want || a.Metadata.Schema != strings.TrimPrefix(schema, "top:") {
			t.Errorf("%s: got %s, want %s", schema, got, want)
		}
	}
	check("top:local_senders", 8, "b[300] 90000 90000 c[200] 60000 60000 a[100] 30000 30000")
	check("local_receivers", 2, "a[900] 270000 270000 b[300] 90000 90000")
	_, err := f.Query(t.Context(), NewQuestion("local_senders", nil, start, start+300))
	if err == nil || err.Error() != "missing tag 'ifid' in schema local_senders" {
		t.Error(err)
	}
	if _, err := f.Query(t.Context(), NewQuestion("local_senders", timeseries.Tags{"ifid": "2"}, start, start+300)); CodeOf(err) != CodeNoSeries {
		t.Error(err)
	}
	f.definitions.Define(&Definition{Schema: &timeseries.Schema{Name: "my:virtual", Step: 60, Tags: []string{"ifid"}}})
	if _, err := f.Query(t.Context(), NewQuestion("my:virtual", timeseries.Tags{"ifid": "1"}, start, start+300)); CodeOf(err) != CodeUnknownSchema {
		t.Error(err)
	}
}

// However much is asked, the answer is bounded: a line by a longer step, a top query by an error (section 9).
func TestHugeQuestions(t *testing.T) {
	f, _ := open(t)
	worked(t, f)
	load(t, f, 6)
	for _, limit := range []int{math.MinInt, 0, 1, 1_000_000_000, math.MaxInt} {
		a := ask(t, f, 1<<53, func(q *Question) { q.Start, q.Options.MaxPoints = -1<<53, limit })
		if a.Count > timeseries.MaxSlots+1 || a.Count != len(a.Series[0].Data) {
			t.Errorf("a limit of %d gives %d points", limit, a.Count)
		}
	}
	q := NewQuestion("top:host:ndpi", timeseries.Tags{"ifid": "1"}, 0, 10*366*86400)
	q.Options.MaxPoints, q.Unlimited = 1_000_000_000, true
	_, err := f.Query(t.Context(), q)
	const want = `cannot query "host:ndpi": too many points: 1000 items of 19890 points are 19890000, at most 1048576 are allowed; ask for fewer items or points`
	if !errors.Is(err, ErrTooMuch) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	q.Unlimited, q.Options.Top, q.Options.MaxPoints = false, 2_000_000_000, 80
	if a, err := f.Query(t.Context(), q); err != nil || len(a.TopK) > MaxTop {
		t.Error(err)
	}
	q.Options.Top = -5
	if a, err := f.Query(t.Context(), q); err != nil || len(a.TopK) != 0 || len(a.Series) != 0 {
		t.Error(err)
	}
}

// A driver that is too slow is an error scripts know, and one whose lines differ in
// length is filled up (section 9).
func TestOddDrivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := new(broken)
		registry := telemetry.NewRegistry()
		f := New(NewDefinitions(nil, quiet), NewDrivers([]Target{{Name: "x", Driver: driver}}, "x", registry, quiet), registry, quiet)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		driver.query = func() (*timeseries.Result, error) { <-ctx.Done(); return nil, ctx.Err() }
		text := f.Call(ctx, "query", []byte("{"+dns+"}"))
		if want := `{"code":"OPERATION_TOO_SLOW","error":"context deadline exceeded"}`; string(text) != want {
			t.Errorf("got %s, want %s", text, want)
		}
		driver.query = func() (*timeseries.Result, error) {
			return &timeseries.Result{Schema: traffic, Step: 60, Count: 1, Series: []timeseries.Series{{Label: "a", Data: []float64{1}}, {Label: "b", Data: []float64{1, 2, 3}}}}, nil
		}
		a, err := f.Query(t.Context(), NewQuestion("host:ndpi", timeseries.Tags{"ifid": "1", "host": "a", "protocol": "x"}, 0, 180))
		if err != nil || a.Count != 3 || a.Metadata.NumPoints != 3 {
			t.Fatal(err, a)
		}
		if diff := cmp.Diff(Points{1, math.NaN(), math.NaN()}, a.Series[0].Data, cmpopts.EquateNaNs()); diff != "" {
			t.Error(diff)
		}
		driver.query = func() (*timeseries.Result, error) { panic("lua") }
		text = f.Call(t.Context(), "query", []byte("{"+dns+"}"))
		if want := `{"code":"failed","error":"the timeseries driver x panicked in query: lua"}`; string(text) != want {
			t.Errorf("got %s, want %s", text, want)
		}
	})
}

func TestTooManySchemas(t *testing.T) {
	f, _ := open(t)
	declare := func(name string) string {
		return string(f.Call(t.Context(), "newSchema", []byte(`{"name":"`+name+`","options":{"step":1},"_metrics":["v"]}`)))
	}
	for i := range maxDefinitions - len(Builtin()) {
		if got := declare(fmt.Sprint("a:", i)); !strings.HasPrefix(got, `{"value":`) {
			t.Fatal(i, got)
		}
	}
	if got, want := declare("b:b"), `{"code":"failed","error":"cannot declare schema \"b:b\": there are 10000 already"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := declare("a:1"); !strings.HasPrefix(got, `{"value":`) {
		t.Error(got)
	}
}

func TestQuestionJSON(t *testing.T) {
	f := func(text string, change func(*Question)) {
		t.Helper()
		want := NewQuestion("a:b", timeseries.Tags{}, 0, 0)
		change(&want)
		got := Question{}
		if err := json.Unmarshal([]byte(`{"schema":"a:b","schema_info":{},"tags":[]`+text+`}`), &got); err != nil {
			t.Error(text, err)
			return
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	f(``, func(*Question) {})
	f(`,"epoch_begin":1.9,"epoch_end":"1795310100"`, func(q *Question) { q.Start, q.End = 1, 1795310100 })
	f(`,"epoch_begin":-1e300,"epoch_end":1e300`, func(q *Question) { q.Start, q.End = -1<<53, 1<<53 })
	f(`,"tags":{"ifid":1,"host":"a","ok":true}`, func(q *Question) { q.Tags = timeseries.Tags{"ifid": "1", "host": "a", "ok": "true"} })
	f(`,"min_num_points":2,"max_num_points":10,"fill_value":0,"min_value":-5,"top":3,"calculate_stats":false,"initial_point":true`, func(q *Question) {
		o := &q.Options
		o.MinPoints, o.MaxPoints, o.FillValue, o.MinValue, o.Top, o.NoStatistics, o.InitialPoint = 2, 10, 0, -5, 3, true, true
	})
	f(`,"with_series":true,"keep_nan":true,"keep_total":true,"num_points":4,"unlimited_top":true,"with_max":true`, func(q *Question) {
		o := &q.Options
		o.WithSeries, o.KeepNaN, o.KeepTotal, q.NumPoints, q.Unlimited, q.WithMax = true, true, true, 4, true, true
	})
	f(`,"fill_value":null,"max_num_points":null,"top":null,"calculate_stats":null,"min_value":null`, func(*Question) {})
	for _, text := range []string{`{"epoch_begin":"soon"}`, `{"epoch_begin":{}}`, `{"tags":{"a":{}}}`, `{"tags":3}`, `{"top":[]}`, `"x"`} {
		if err := json.Unmarshal([]byte(text), new(Question)); err == nil || !strings.HasPrefix(err.Error(), "cannot read a question: ") {
			t.Errorf("%s: %v", text, err)
		}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "epoch_begin", "start_time")), new(ListQuestion)); (err == nil) != (text == `{"top":[]}`) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Whatever a script sends, the reply is JSON that says what it is, and nothing panics.
func FuzzCall(f *testing.F) {
	for _, name := range Functions() {
		f.Add(name, "{"+dns+`,"max_num_points":3,"top":2}`)
		f.Add(name, `[{"schema":"host:ndpi","values":{"ifid":1,"host":"a","protocol":"b","bytes_sent":"1","bytes_rcvd":2},"time":"1795310100","tags":{"a":1}}]`)
		f.Add(name, `{"name":"a:b","options":{"step":1e300,"rrd_heartbeat":"x"},"_tags":{},"_metrics":["a"],"prefix":"host"}`)
	}
	registry := telemetry.NewRegistry()
	front := New(NewDefinitions(nil, quiet), NewDrivers([]Target{{Name: "memory", Driver: new(memory.Driver)}}, "memory", registry, quiet), registry, quiet)
	f.Fuzz(func(t *testing.T, function, arguments string) {
		text := front.Call(t.Context(), function, []byte(arguments))
		var reply map[string]any
		if err := json.Unmarshal(text, &reply); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if _, ok := reply["value"]; ok == (reply["error"] != nil) {
			t.Fatalf("a value and an error, or neither: %s", text)
		}
	})
}
