package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

const t0 = 1_700_000_000 / 60 * 60 // a full minute

var (
	rates  = &timeseries.Schema{Name: "statsd:counter", Step: 10, Type: timeseries.Derivative, Tags: []string{"name", "tags"}, Packed: "tags", Metrics: []string{"rate"}}
	levels = &timeseries.Schema{Name: "statsd:gauge", Step: 10, Type: timeseries.Gauge, Tags: []string{"name", "tags"}, Packed: "tags", Metrics: []string{"value"}}
	octets = &timeseries.Schema{Name: "if:octets", Step: 60, Type: timeseries.Counter, Tags: []string{"device", "port"}, Metrics: []string{"in", "out"}}
)

func filled() *memory.Driver {
	d := new(memory.Driver)
	fill(d)
	return d
}

func fill(d timeseries.Driver) {
	add := func(s *timeseries.Schema, t int64, tags []string, values ...float64) {
		if err := d.Append(context.Background(), []timeseries.Point{{Schema: s, Time: t, Tags: tags, Values: values}}); err != nil {
			panic(err)
		}
	}
	for i := range int64(6) {
		add(rates, t0+10*(i+1), []string{"a", "region=eu"}, 2)
		add(rates, t0+10*(i+1), []string{"a", "region=us"}, 3)
		add(rates, t0+10*(i+1), []string{"b", ""}, 1)
		add(levels, t0+10*(i+1), []string{"cold", ""}, -float64(i))
		add(octets, t0+60*i, []string{"r1", "1"}, 600*float64(i), 6000*float64(i))
	}
}

type double struct { // dependencies, changed by a test before it asks
	Dependencies
	handler http.Handler
}

func newDouble(change func(*Dependencies)) *double {
	m := filled()
	d := &double{Dependencies: Dependencies{
		Driver: m, Catalog: m, Registry: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler), Version: "v1",
	}}
	if change != nil {
		change(&d.Dependencies)
	}
	d.handler = New(d.Dependencies)
	return d
}

func (d *double) get(target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	return w
}

func (d *double) post(kind, target, body string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest("POST", target, strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	d.handler.ServeHTTP(w, r)
	return w
}

// minute is the range of everything in memory but the counter.
var minute = fmt.Sprintf("&start=%d&end=%d", t0, t0+60)

func TestAnswers(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testAnswers(t, newDouble(nil)) })
	t.Run("store", func(t *testing.T) {
		d := newDouble(func(d *Dependencies) {
			s := store.New(store.Config{Path: t.TempDir(), Retention: 100 * 365 * 24 * time.Hour}, d.Registry, d.Log)
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Stop(context.Background()) })
			fill(s)
			d.Driver, d.Catalog = s, s
		})
		testAnswers(t, d)
	})
}

func testAnswers(t *testing.T, d *double) {
	f := func(target, path string, want any) {
		t.Helper()
		w := d.get(target)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: status %d, %s", target, w.Code, w.Body)
			return
		}
		var answer any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Errorf("%s: %v in %s", target, err, w.Body)
			return
		}
		for step := range strings.SplitSeq(path, ".") {
			switch v := answer.(type) {
			case map[string]any:
				answer = v[step]
			case []any:
				var i int
				_, _ = fmt.Sscan(step, &i)
				answer = v[i]
			}
		}
		if diff := cmp.Diff(want, answer); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", target, path, diff)
		}
	}
	list := func(v ...any) []any { return v }

	// schemas
	f("/api/v1/schemas", "schemas.1", map[string]any{"name": "statsd:counter", "step": 10., "type": "derivative", "tags": list("name", "tags"), "packed": "tags", "metrics": list("rate")})
	f("/api/v1/schemas", "schemas.2.aggregation", "mean")
	// points: everything, a name, a key inside the packed tag, groups
	f("/api/v1/query?schema=statsd:counter"+minute, "series.0.data", list(6., 6., 6., 6., 6., 6.))
	f("/api/v1/query?schema=statsd:counter&tag=name=a"+minute, "series.0.data", list(5., 5., 5., 5., 5., 5.))
	f("/api/v1/query?schema=statsd:counter&tag=name=a&tag=region=us"+minute, "series.0.data", list(3., 3., 3., 3., 3., 3.))
	f("/api/v1/query?schema=statsd:counter&group_by=name&group_by=region"+minute, "series.1.tags", map[string]any{"name": "a", "region": "us"})
	f("/api/v1/query?schema=statsd:counter&group_by=name,region"+minute, "series.2.tags", map[string]any{"name": "b", "region": ""})
	// both shapes
	f("/api/v1/query?schema=statsd:counter"+minute, "start", float64(t0))
	f("/api/v1/query?schema=statsd:counter"+minute, "metadata.num_point", 6.)
	f("/api/v1/query?schema=statsd:counter"+minute, "statistics.total", 360.)
	f("/api/v1/query?schema=statsd:counter&stats=false"+minute, "statistics", nil)
	// options
	f("/api/v1/query?schema=statsd:counter&points=2"+minute, "step", 30.)
	f("/api/v1/query?schema=statsd:counter&points=2"+minute, "series.0.data", list(6., 6.))
	f("/api/v1/query?schema=statsd:counter&initial_point=true"+minute, "series.0.data", list(nil, 6., 6., 6., 6., 6., 6.))
	f("/api/v1/query?schema=statsd:counter&initial_point=true&fill=-1"+minute, "series.0.data", list(-1., 6., 6., 6., 6., 6., 6.))
	// negative gauges are as they were sent unless asked otherwise
	f("/api/v1/query?schema=statsd:gauge"+minute, "series.0.data", list(0., -1., -2., -3., -4., -5.))
	f("/api/v1/query?schema=statsd:gauge&min_value=-2"+minute, "series.0.data", list(0., -1., -2., -2., -2., -2.))
	// total
	f("/api/v1/total?schema=statsd:counter&tag=name=a"+minute, "total", map[string]any{"rate": 300.})
	f(fmt.Sprintf("/api/v1/total?schema=if:octets&start=%d&end=%d", t0, t0+300), "total", map[string]any{"in": 3000., "out": 30000.})
	// topk
	f("/api/v1/topk?schema=statsd:counter&top=2"+minute, "topk", list(
		map[string]any{"tags": map[string]any{"name": "a", "tags": "region=us"}, "value": 180., "partials": map[string]any{"rate": 180.}},
		map[string]any{"tags": map[string]any{"name": "a", "tags": "region=eu"}, "value": 120., "partials": map[string]any{"rate": 120.}}))
	f("/api/v1/topk?schema=statsd:counter&top=1&group_by=name&series=true"+minute, "series.0.data", list(5., 5., 5., 5., 5., 5.))
	f("/api/v1/topk?schema=statsd:counter&group_by=name"+minute, "additional_series.total", list(6., 6., 6., 6., 6., 6.))
	// series
	f("/api/v1/series?schema=statsd:counter&tag=region=us", "series", list(map[string]any{"schema": "statsd:counter", "tags": map[string]any{"name": "a", "tags": "region=us"}}))
	f("/api/v1/series", "count", 5.)
	f("/api/v1/series?limit=2", "more", true)
	f("/api/v1/series?limit=5", "more", false)
	f("/api/v1/series?schema=statsd:counter&start=now", "series", []any{})
	// a value may hold what separates names and values
	f("/api/v1/series?schema=statsd:counter&tag=tags=region=us", "count", 1.)
}

func TestPost(t *testing.T) {
	d := newDouble(nil)
	want := d.get("/api/v1/query?schema=statsd:counter&tag=name=a&tag=region=us&points=6" + minute).Body.String()
	if !strings.Contains(want, "[3,3,3,3,3,3]") {
		t.Fatal(want)
	}
	f := func(kind, target, body string) {
		t.Helper()
		if w := d.post(kind, target, body); w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("status %d, %s", w.Code, w.Body)
		}
	}
	f("application/x-www-form-urlencoded", "/api/v1/query", "schema=statsd:counter&tag=name=a&tag=region%3Dus&points=6"+minute)
	f("application/x-www-form-urlencoded; charset=utf-8", "/api/v1/query?schema=statsd:counter&points=6"+minute, "tag=name=a&tag=region=us")
	f("application/json", "/api/v1/query", fmt.Sprintf(`{"schema":"statsd:counter","tag":["name=a","region=us"],"points":6,"start":%d,"end":"%d","fill":null}`, t0, t0+60))
}

func TestRefusals(t *testing.T) {
	d := newDouble(nil)
	check := func(what string, w *httptest.ResponseRecorder, status int, kind string, texts ...string) {
		t.Helper()
		var e Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != status || e.Kind != kind || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%.200s: status %d, want %d %s: %.500s", what, w.Code, status, kind, w.Body)
		}
		for _, text := range texts {
			if !strings.Contains(e.Message, text) {
				t.Errorf("%.200s: %q is not in %q", what, text, e.Message)
			}
		}
		if len(w.Body.String()) > 4096 {
			t.Errorf("%.200s: an error of %d bytes", what, w.Body.Len())
		}
	}
	f := func(target string, status int, kind string, texts ...string) {
		t.Helper()
		check(target, d.get(target), status, kind, texts...)
	}
	const q = "/api/v1/query?schema=statsd:counter"
	many := strings.Repeat("&tag=x=1", 100)

	f("/api/v1/query", 400, "bad_parameter", "schema is missing", "statsd:counter")
	f("/api/v1/query?schema=statsd:countr", 404, "unknown_schema", `"statsd:countr"`, `did you mean "statsd:counter"?`)
	f("/api/v1/query?schema="+strings.Repeat("x", 50_000), 404, "unknown_schema", "if:octets")
	f(q+"&strat=-1h", 400, "bad_parameter", `"strat"`, `did you mean "start"?`)
	f(q+"&start=yesterday", 400, "bad_parameter", `start="yesterday"`, "-1h")
	f(q+"&start=-1", 400, "bad_parameter", "needs a unit", "-60s")
	f(q+"&start=1700000000000", 400, "bad_parameter", "milliseconds")
	f(q+"&start=1e400", 400, "bad_parameter")
	f(q+"&start=NaN", 400, "bad_parameter")
	f(q+"&start=2025-01-31T12:00:00+02:00", 400, "bad_parameter", "%2B")
	f(q+"&start=now&end=-1h", 400, "bad_parameter", "ends before")
	f(q+"&start=-1h&start=-2h", 400, "bad_parameter", "more than once")
	f(q+"&points=0", 400, "bad_parameter", `points="0"`, "1 to 10000")
	f(q+"&points=10001", 400, "bad_parameter", "10000")
	f(q+"&points=99999999999999999999", 400, "bad_parameter")
	f(q+"&points=x", 400, "bad_parameter")
	f(q+"&fill=many", 400, "bad_parameter", "number")
	f(q+"&min_value=Inf", 400, "bad_parameter")
	f(q+"&stats=maybe", 400, "bad_parameter", "true or false")
	f(q+"&tag=name", 400, "bad_parameter", "NAME=VALUE")
	f(q+"&tag==x", 400, "bad_parameter", "NAME=VALUE")
	f(q+"&tag=name=a&tag=name=b", 400, "bad_parameter", "twice")
	f(q+many, 400, "bad_parameter", "100 times")
	f(q+"&tag=name="+strings.Repeat("x", 1025), 400, "bad_parameter", "1024")
	f(q+"&group_by=,", 400, "bad_parameter", "NAME,NAME")
	f(q+"&group_by="+strings.Repeat("a,", 1000), 400, "bad_parameter")
	f(q+"&tag=%zz", 400, "bad_parameter", "URL")
	f(q+"&a;b", 400, "bad_parameter")
	f(q+"&tag=name=nobody", 404, "no_series", "name=nobody", "weir series")
	f(q+"&tag=nmae=a", 404, "no_series", `is "nmae" meant to be the tag "name"?`)
	f("/api/v1/total?schema=statsd:counter&tag=name=nobody", 404, "no_series")
	f("/api/v1/topk?schema=statsd:counter&tag=name=nobody", 404, "no_series")
	f("/api/v1/series?schema=statsd:counter&tag=name=nobody", 404, "no_series")
	f("/api/v1/series?tag=name=a", 400, "bad_parameter", "schema is missing")
	f("/api/v1/query?schema=if:octets&tag=devise=r1", 400, "unknown_tag", `did you mean "device"?`)
	f("/api/v1/query?schema=if:octets&group_by=interface_name", 400, "unknown_tag", "device, port")
	f("/api/v1/topk?schema=statsd:counter&top=1001", 400, "bad_parameter", "1000")
	f("/api/v1/total?schema=statsd:counter&points=5", 400, "bad_parameter", "unknown parameter")
	f("/api/v1/schemas?x=1", 400, "bad_parameter", "none here")
	f("/api/v1/nothing", 404, "unknown_path", "topk")
	f("/%00%ff", 404, "unknown_path")
	// invalid UTF-8 is a value like any other, and JSON stays valid
	f(q+"&tag=name=%ff%fe", 404, "no_series")

	check("text body", d.post("text/plain", "/api/v1/query", "x"), 415, "bad_body", "text/plain", "application/json")
	check("large body", d.post("application/json", "/api/v1/query", `{"schema":"`+strings.Repeat("x", maxBody)+`"}`), 413, "bad_body", "1048576")
	check("large form", d.post("application/x-www-form-urlencoded", "/api/v1/query", "schema="+strings.Repeat("x", maxBody)), 413, "bad_body")
	check("bad JSON", d.post("application/json", "/api/v1/query", `{"schema":`), 400, "bad_body")
	check("deep JSON", d.post("application/json", "/api/v1/query", strings.Repeat(`[`, 100_000)), 400, "bad_body")
	check("nested JSON", d.post("application/json", "/api/v1/query", `{"schema":{"a":1}}`), 400, "bad_body", "schema")
	check("two JSON values", d.post("application/json", "/api/v1/query", `{} {}`), 400, "bad_body", "more than one")
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, httptest.NewRequest("DELETE", "/api/v1/query", nil))
	check("DELETE", w, 405, "bad_method")
}

// A range of any size is answered on a bounded number of points.
func TestHugeRange(t *testing.T) {
	d := newDouble(nil)
	for _, target := range []string{
		"/api/v1/query?schema=statsd:counter&start=0&end=99999999999&points=10000",
		"/api/v1/query?schema=statsd:counter&start=-99999999999999999w&end=99999999999&points=10000",
	} {
		w := d.get(target)
		var r timeseries.Result
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || r.Count > 10_001 || r.Count < 5000 {
			t.Errorf("%s: %d points, status %d, %v", target, r.Count, w.Code, err)
		}
	}
}

func TestTooManyGroups(t *testing.T) {
	m := &fabricated{schema: rates, n: 100_000}
	d := newDouble(func(d *Dependencies) { d.Driver, d.Catalog = m, m })
	w := d.get("/api/v1/query?schema=statsd:counter&group_by=name&points=1000&start=-1d")
	if w.Code != 400 || !strings.Contains(w.Body.String(), "topk") {
		t.Errorf("status %d, %.300s", w.Code, w.Body)
	}
	if m.yielded > 3000 {
		t.Errorf("%d series were read to see that there are too many", m.yielded)
	}
	w = d.get("/api/v1/topk?schema=statsd:counter&series=true&top=1000&points=10000&start=-7d")
	if w.Code != 400 || !strings.Contains(w.Body.String(), "without series") {
		t.Errorf("status %d, %.300s", w.Code, w.Body)
	}
}

// fabricated is a driver that makes up n series while they are listed.
type fabricated struct {
	*memory.Driver
	schema  *timeseries.Schema
	n       int
	fail    error // after the n series
	query   error
	yielded int
}

func (m *fabricated) Schemas(context.Context) ([]*timeseries.Schema, error) {
	if m.schema == nil {
		return nil, m.fail
	}
	return []*timeseries.Schema{m.schema}, nil
}

func (m *fabricated) Query(ctx context.Context, _ timeseries.Query) (*timeseries.Result, error) {
	if m.query == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, m.query
}

func (m *fabricated) List(context.Context, timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		for i := range m.n {
			m.yielded++
			if !yield(timeseries.Tags{"name": fmt.Sprintf("host%d.cpu.load", i), "tags": ""}, nil) {
				return
			}
		}
		if m.fail != nil {
			yield(nil, m.fail)
		}
	}
}

// sink is a ResponseWriter that keeps nothing and measures the heap.
type sink struct {
	header http.Header
	bytes  int
	writes int
	most   uint64
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}
func (s *sink) Write(b []byte) (int, error) {
	s.bytes += len(b)
	if s.writes++; s.writes%20 == 0 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.most = max(s.most, m.HeapAlloc)
	}
	return len(b), nil
}

func TestSeriesStream(t *testing.T) {
	m := &fabricated{schema: rates, n: 100_000}
	d := newDouble(func(d *Dependencies) { d.Driver, d.Catalog = m, m })
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	w := &sink{header: make(http.Header)}
	d.handler.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/series?schema=statsd:counter&limit=0", nil))
	if m.yielded != m.n || w.bytes < 7_000_000 || w.writes < 100 {
		t.Fatalf("%d series read, %d bytes in %d writes", m.yielded, w.bytes, w.writes)
	}
	if grown := int64(w.most) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("%d bytes of heap while %d bytes were written", grown, w.bytes)
	}

	m.n = 3
	m.fail = errors.New("block 7 cannot be read")
	text := d.get("/api/v1/series?schema=statsd:counter").Body.String()
	if !json.Valid([]byte(text)) || !strings.Contains(text, `"error":"cannot list the rest: block 7 cannot be read"`) || !strings.Contains(text, `"count":3`) {
		t.Errorf("%s", text)
	}
}

func TestFailures(t *testing.T) {
	m := &fabricated{schema: rates, query: fmt.Errorf("reading: %w", errors.New("disk gone"))}
	var log bytes.Buffer
	d := newDouble(func(d *Dependencies) {
		d.Driver, d.Catalog, d.Log = m, m, slog.New(slog.NewTextHandler(&log, nil))
	})
	f := func(err error, status int, kind string) {
		t.Helper()
		m.query = err
		if w := d.get("/api/v1/query?schema=statsd:counter"); w.Code != status || !strings.Contains(w.Body.String(), `"kind":"`+kind+`"`) {
			t.Errorf("%v: status %d, %s", err, w.Code, w.Body)
		}
	}
	f(errors.New("disk gone"), 500, "internal")
	f(fmt.Errorf("%w %q", timeseries.ErrUnknownTag, "x"), 400, "unknown_tag")
	f(context.DeadlineExceeded, 503, "timeout")
	if !strings.Contains(log.String(), "disk gone") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

func TestTimeout(t *testing.T) {
	s := &server{Dependencies: newDouble(nil).Dependencies}
	m := &fabricated{schema: rates}
	s.Driver, s.Catalog = m, m
	places := make(chan struct{}, 1)
	ask := s.question(queryParameters, places, 5*time.Millisecond, s.query)
	w := httptest.NewRecorder()
	ask(w, httptest.NewRequest("GET", "/api/v1/query?schema=statsd:counter", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "no answer within 5ms") {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{Dependencies: newDouble(nil).Dependencies}
		places := make(chan struct{}, 1)
		places <- struct{}{} // somebody else asks
		ask := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			s.question(queryParameters, places, queryTimeout, s.query)(w, httptest.NewRequest("GET", "/api/v1/query?schema=statsd:counter"+minute, nil))
			return w
		}
		if w := ask(); w.Code != 503 || !strings.Contains(w.Body.String(), `"kind":"busy"`) {
			t.Errorf("status %d, %s", w.Code, w.Body)
		}
		<-places
		if w := ask(); w.Code != 200 || len(places) != 0 {
			t.Errorf("status %d, %s, %d places taken", w.Code, w.Body, len(places))
		}
	})
}

func TestReady(t *testing.T) {
	reason := errors.New("the store is replaying its log")
	d := newDouble(func(d *Dependencies) { d.Ready = func() error { return reason } })
	if w := d.get("/-/healthy"); w.Code != 200 {
		t.Errorf("healthy: %d", w.Code)
	}
	if w := d.get("/-/ready"); w.Code != 503 || !strings.Contains(w.Body.String(), "replaying its log") {
		t.Errorf("ready: %d %s", w.Code, w.Body)
	}
	if w := d.get("/api/v1/query?schema=statsd:counter"); w.Code != 503 || !strings.Contains(w.Body.String(), "not_ready") {
		t.Errorf("query: %d %s", w.Code, w.Body)
	}
	if w := d.get("/"); w.Code != 200 || !strings.Contains(w.Body.String(), "replaying its log") {
		t.Errorf("page: %d %s", w.Code, w.Body)
	}
	reason = nil
	if w := d.get("/-/ready"); w.Code != 200 || w.Body.String() != "ready\n" {
		t.Errorf("ready: %d %s", w.Code, w.Body)
	}
	none := newDouble(func(d *Dependencies) { d.Driver, d.Catalog = nil, nil })
	if w := none.get("/api/v1/query?schema=statsd:counter"); w.Code != 503 || !strings.Contains(w.Body.String(), "no_store") {
		t.Errorf("without a store: %d %s", w.Code, w.Body)
	}
}

func TestToken(t *testing.T) {
	d := newDouble(func(d *Dependencies) { d.Token = "s3cret" })
	f := func(path string, want int, set func(*http.Request)) {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
		if set != nil {
			set(r)
		}
		d.handler.ServeHTTP(w, r)
		if w.Code != want || strings.Contains(w.Body.String(), "s3cret") {
			t.Errorf("%s: status %d, want %d: %s", path, w.Code, want, w.Body)
		}
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for _, path := range []string{"/", "/metrics", "/api/v1/schemas", "/api/v1/status", "/api/v1/query?schema=statsd:counter", "/nothing"} {
		f(path, 401, nil)
		f(path, 401, bearer("s3cre"))
		f(path, 401, bearer(""))
	}
	f("/", 200, bearer("s3cret"))
	f("/metrics", 200, bearer("s3cret"))
	f("/", 200, func(r *http.Request) { r.SetBasicAuth("anyone", "s3cret") })
	f("/", 401, func(r *http.Request) { r.SetBasicAuth("s3cret", "") })
	f("/-/healthy", 200, nil)
	f("/-/ready", 200, nil)
}

// TestEndpoints: what other packages answer is behind the token in every form its clients know.
func TestEndpoints(t *testing.T) {
	here := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeText(w, http.StatusOK, "here") })
	d := newDouble(func(d *Dependencies) {
		d.Token = "s3cret"
		d.Endpoints = []Endpoint{{Pattern: "GET /open", Handler: here, Open: true}, {Pattern: "POST /write", Handler: here, Password: "p"}, {Pattern: "GET /plain", Handler: here}}
	})
	f := func(method, path, authorization string, want int) {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		d.handler.ServeHTTP(w, r)
		if w.Code == http.StatusUnauthorized {
			const text = `"a token is needed: send the header Authorization: Bearer TOKEN"`
			if got := strings.TrimSpace(w.Body.String()); got != `{"kind":"unauthorized","error":`+text+`,"code":"unauthorized","message":`+text+`}` {
				t.Errorf("%s %s %q: %s", method, path, authorization, got)
			}
		}
		if w.Code != want {
			t.Errorf("%s %s %q: status %d, want %d: %s", method, path, authorization, w.Code, want, w.Body)
		}
	}
	f("GET", "/open", "", 200)
	f("POST", "/write", "", 401)
	f("POST", "/write?u=x&p=s3cret", "", 200)
	f("POST", "/write?u=s3cret&p=x", "", 401)
	f("POST", "/write?p=s3cret", "Bearer x", 401)
	f("POST", "/write", "Token s3cret", 200)
	f("POST", "/write", "Token anyone:s3cret", 200) // version 2 of InfluxDB's clients, writing to version 1
	f("POST", "/write", "Token s3cret:x", 401)
	f("POST", "/write", "Token :s3cret", 401)
	f("POST", "/write", "Bearer s3cret", 200)
	f("POST", "/write", "Basic dTpzM2NyZXQ=", 200) // u:s3cret
	f("GET", "/plain?p=s3cret", "", 401)
	f("GET", "/plain", "Token s3cret", 200)
	f("GET", "/write?p=s3cret", "", 401) // another method is no endpoint
}

func TestStatus(t *testing.T) {
	const hostile = `<script>alert("x")</script>`
	at := time.Unix(t0, 0)
	d := newDouble(func(d *Dependencies) {
		d.Version, d.Started = hostile, time.Now().Add(-90*time.Minute)
		d.Sources = func() []Source {
			return []Source{{Name: "statsd" + hostile, Listen: []string{"udp://[::]:8125", hostile}, LastInput: at, LastFlush: at, NextFlush: time.Now().Add(9 * time.Second)}, {
				Name: "bbdo.2", Connect: "tcp://lyon:5669" + hostile, Waiting: "refused" + hostile, LastInput: at,
				Connections: []bbdo.ConnectionStatus{{Source: "bbdo.2", Peer: "192.0.2.7:4711", PollerID: 3, PollerName: "Lyon" + hostile, BrokerName: hostile, Version: "3.0.1",
					Extensions: []string{"TLS", "COMPRESSION"}, LastEvent: at, Events: 54_321, Unacknowledged: 17, Stalled: "no space left" + hostile}, {Version: "2.0.0"}},
			}}
		}
		d.Stats = func() Stats {
			return Stats{Series: 1_234_567, DiskBytes: 3_210_000_000, Failure: errors.New("disk full " + hostile)}
		}
		l := d.Registry.Ledger("statsd.intake"+hostile, "values")
		l.Received(1000)
		l.Passed(990)
		l.Reason("bad_line" + hostile).Add(7)
	})
	page := d.get("/")
	text := page.Body.String()
	if page.Code != 200 || strings.Contains(text, "<script") || page.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("status %d, %s", page.Code, text)
	}
	if n := strings.Count(text, "&lt;script&gt;"); n < 10 {
		t.Errorf("%d escaped scripts:\n%s", n, text)
	}
	if policy := page.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("policy %q", policy)
	}
	for _, want := range []string{"1\u202f234\u202f567", "3.2 GB", "up 1 h 30 min", "2023-11-14 22:13:00", "in 9 s", "udp://[::]:8125", "disk full", "1\u202f000", "bad_line",
		"connects to <code>tcp://lyon:5669", "refused", "192.0.2.7:4711", "number 3, ", "BBDO 3.0.1 TLS COMPRESSION", "54\u202f321", "no space left", "without a name"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}

	var status statusJSON
	if err := json.Unmarshal(d.get("/api/v1/status").Body.Bytes(), &status); err != nil {
		t.Fatal(err)
	}
	if status.Uptime < 5400 || status.Balanced || !status.Ready || len(status.Sources) != 2 || status.Sources[0].LastFlush != t0 {
		t.Errorf("%+v", status)
	}
	if s := status.Sources[1]; s.Connect != "tcp://lyon:5669"+hostile || s.Connections[0].Events != 54_321 || s.Connections[0].PollerName != "Lyon"+hostile {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(&storeJSON{Schemas: 3, Series: 1_234_567, DiskBytes: 3_210_000_000, Failure: "disk full " + hostile}, status.Store); diff != "" {
		t.Error(diff)
	}
	broken := newDouble(func(d *Dependencies) {
		m := &fabricated{fail: errors.New("database is closed")}
		d.Driver, d.Catalog, d.Stats = m, m, func() Stats { return Stats{} }
	})
	if w := broken.get("/"); w.Code != 200 || !strings.Contains(w.Body.String(), "database is closed") {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
	if l := status.Ledger[0]; l.Balanced || l.Difference != 3 || l.Received != 1000 || l.Discarded["bad_line"+hostile] != 7 {
		t.Errorf("%+v", l)
	}
}

func TestMetrics(t *testing.T) {
	d := newDouble(func(d *Dependencies) { d.Registry.Ledger("statsd.intake", "values").Received(7) })
	if w := d.get("/metrics"); w.Code != 200 || !strings.Contains(w.Body.String(), `weir_received_total{component="statsd.intake",unit="values"} 7`) {
		t.Errorf("status %d, %.300s", w.Code, w.Body)
	}
}

func TestFormats(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(count(0), "0")
	f(count(-123), "-123")
	f(count(-1234), "-1\u202f234")
	f(count(999_999), "999\u202f999")
	f(bytesText(999), "999 B")
	f(bytesText(1500), "1.5 kB")
	f(bytesText(999_999), "1.0 MB")
	f(bytesText(math.MaxInt64), "9223.4 PB")
	f(span(59*time.Second), "59 s")
	f(span(61*time.Second), "1 min 1 s")
	f(span(25*time.Hour), "1 d 1 h")
	f(age(10, 10), "now")
	f(clock(t0, t0+10), "22:13:00")
}

// FuzzQuery sends any query: an answer or an error as JSON, never a panic, and
// never more points than allowed.
func FuzzQuery(f *testing.F) {
	d := newDouble(nil)
	for _, seed := range []string{
		"schema=statsd:counter&tag=name=a&group_by=region,name", "schema=if:octets&start=-1h&end=now&points=10000&fill=0",
		"schema=statsd:gauge&start=0&end=99999999999&initial_point=1&min_value=-1e300", "schema=%ff&tag=%00=%00", "a=b;c", "%zz",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/api/v1/query", "/api/v1/topk", "/api/v1/total", "/api/v1/series"} {
			r := httptest.NewRequest("GET", path, nil)
			r.URL = &url.URL{Path: path, RawQuery: query}
			w := httptest.NewRecorder()
			d.handler.ServeHTTP(w, r)
			if !json.Valid(w.Body.Bytes()) || w.Code >= 500 {
				t.Fatalf("%s?%s: status %d, %q", path, query, w.Code, w.Body)
			}
			if w.Code == 200 && path == "/api/v1/query" {
				var result timeseries.Result
				if err := json.Unmarshal(w.Body.Bytes(), &result); err != nil || result.Count > maxPoints+2 {
					t.Fatalf("%s?%s: %d points, %v", path, query, result.Count, err)
				}
			}
		}
	})
}
