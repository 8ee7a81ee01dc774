package prometheus

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// shows returns the page after the flushes, and the account.
func shows(t *testing.T, cfg Config, flushes ...*backend.Flush) (string, telemetry.Account) {
	t.Helper()
	cfg.Ledger = telemetry.NewLedger("statsd.prometheus", "metrics")
	if cfg.Timers == "" {
		cfg.Timers = "summary"
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Init(context.Background(), backend.Environment{}); err != nil {
		t.Fatal(err)
	}
	for i, f := range flushes {
		if f.Timestamp == 0 {
			f.Timestamp = int64(1000 + 10*i)
		}
		if err := b.Flush(context.Background(), f); err != nil {
			t.Fatal(err)
		}
	}
	account := cfg.Ledger.Snapshot()
	if !account.Balanced() {
		t.Errorf("the ledger does not balance: %+v", account)
	}
	return string(b.page()), account
}

func counters(name string, values ...float64) (all []*backend.Flush) {
	for _, v := range values {
		all = append(all, &backend.Flush{Counters: []backend.Counter{{Name: name, Value: v}}})
	}
	return all
}

func TestPage(t *testing.T) {
	first := &backend.Flush{
		Percentiles: []float64{50, 90, -10},
		Counters:    []backend.Counter{{Name: "a.b-c", Value: 2}, {Name: "hits;dc=x;le=1;1=2", Value: 1.5}, {Name: `hits;q=a"\`, Value: 1}, {Name: "a_b_c", Value: 3}},
		Gauges:      []backend.Gauge{{Name: "temp", Value: -1.5}, {Name: "9lives", Value: math.Inf(1)}},
		Timers:      []backend.Timer{{Name: "t", Values: []float64{1, 2, 4, 5}, Count: 8}},
		Sets:        []backend.Set{{Name: "users", Members: []string{"a", "b"}}},
	}
	second := &backend.Flush{
		Percentiles: first.Percentiles,
		Counters:    []backend.Counter{{Name: "a.b-c", Value: 2}, {Name: "hits;dc=x;le=1;1=2", Value: 0}},
		Timers:      []backend.Timer{{Name: "t"}},
		Sets:        []backend.Set{{Name: "users"}},
	}
	got, account := shows(t, Config{}, first, second)
	want := `# TYPE a_b_c counter
a_b_c 7
# TYPE hits counter
hits{_1="2",dc="x",exported_le="1"} 1.5
hits{q="a\"\\"} 1
# TYPE t summary
t{quantile="0.5"} NaN
t{quantile="0.9"} NaN
t_sum 24
t_count 8
# TYPE users gauge
users 0
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if account.Passed != 12 {
		t.Errorf("%+v", account)
	}
}

func TestTimers(t *testing.T) {
	f := &backend.Flush{Percentiles: []float64{50, 99.9}, Timers: []backend.Timer{{Name: "t;k=v", Values: []float64{1, 5, 7, 3000}, Count: 4}}}
	got, _ := shows(t, Config{}, f)
	want := `# TYPE t summary
t{k="v",quantile="0.5"} 5
t{k="v",quantile="0.999"} 3000
t_sum{k="v"} 3013
t_count{k="v"} 4
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, _ = shows(t, Config{Timers: "histogram", Buckets: []float64{5, 10}}, f, f)
	want = `# TYPE t histogram
t_bucket{k="v",le="5"} 4
t_bucket{k="v",le="10"} 6
t_bucket{k="v",le="+Inf"} 8
t_sum{k="v"} 6026
t_count{k="v"} 8
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRules(t *testing.T) {
	cfg := Config{Buckets: []float64{1}, Rules: []Rule{
		{Match: "debug.*", Drop: true},
		{Match: "api.*.*.time", Type: "timer", Name: "api_seconds", Labels: map[string]string{"route": "$1", "code": "c${2}"}, Timers: "histogram", Scale: 0.001},
		{Match: "disk.*", Name: "disk_${1}_bytes"},
	}}
	got, account := shows(t, cfg, &backend.Flush{
		Counters: []backend.Counter{{Name: "debug.x", Value: 1}, {Name: "debug.x.y", Value: 1}, {Name: "api.a.b.time", Value: 1}},
		Gauges:   []backend.Gauge{{Name: "disk.sda/1;host=h", Value: 4}},
		Timers:   []backend.Timer{{Name: "api.users.200.time;route=old", Values: []float64{500, 1500}, Count: 2}},
	})
	want := `# TYPE api_a_b_time counter
api_a_b_time 1
# TYPE api_seconds histogram
api_seconds_bucket{code="c200",route="users",le="1"} 1
api_seconds_bucket{code="c200",route="users",le="+Inf"} 2
api_seconds_sum{code="c200",route="users"} 2
api_seconds_count{code="c200",route="users"} 2
# TYPE debug_x_y counter
debug_x_y 1
# TYPE disk_sda_1_bytes gauge
disk_sda_1_bytes{host="h"} 4
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if account.Discarded["rule"] != 1 {
		t.Errorf("%+v", account)
	}
	for _, r := range []Rule{{}, {Match: "a.*", Name: "x_$2"}, {Match: "a", Labels: map[string]string{"k": "$1"}}, {Match: "a", Labels: map[string]string{"a-b": "1"}}} {
		if r.Check() == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

func TestTypes(t *testing.T) {
	got, account := shows(t, Config{}, &backend.Flush{
		Counters: []backend.Counter{{Name: "x", Value: 1}, {Name: "t_sum", Value: 1}, {Name: "down", Value: -1}, {Name: "nan", Value: math.NaN()}},
		Gauges:   []backend.Gauge{{Name: "x", Value: 1}},
		Timers:   []backend.Timer{{Name: "t", Values: []float64{1}, Count: 1}, {Name: "inf", Values: []float64{1}, Count: math.Inf(1)}},
	})
	if diff := cmp.Diff("# TYPE t_sum counter\nt_sum 1\n# TYPE x counter\nx 1\n", got); diff != "" {
		t.Error(diff)
	}
	if d := account.Discarded; d["type_conflict"] != 2 || d["negative"] != 1 || d["not_finite"] != 2 {
		t.Errorf("%+v", account)
	}
}

// A series goes when nothing came for so long, and begins again at what comes then.
func TestTTL(t *testing.T) {
	cfg := Config{TTL: 20 * time.Second, Rules: []Rule{{Match: "slow.*", TTL: time.Hour}}}
	for _, c := range []struct {
		name   string
		values []float64
		want   string
	}{
		{"a", []float64{1, 0}, "# TYPE a counter\na 1\n"},
		{"a", []float64{1, 0, 0}, ""},
		{"a", []float64{1, 0, 0, 0, 0, 0}, ""},
		{"a", []float64{1, 0, 0, 5}, "# TYPE a counter\na 5\n"},
		{"slow.a", []float64{1, 0, 0, 0}, "# TYPE slow_a counter\nslow_a 1\n"},
	} {
		if got, _ := shows(t, cfg, counters(c.name, c.values...)...); got != c.want {
			t.Errorf("%s %v: got %q, want %q", c.name, c.values, got, c.want)
		}
	}
	// A name that is free again can be that of another type.
	flushes := append(counters("a", 1, 0, 0), &backend.Flush{Gauges: []backend.Gauge{{Name: "a", Value: 3}}})
	if got, _ := shows(t, cfg, flushes...); got != "# TYPE a gauge\na 3\n" {
		t.Errorf("got %q", got)
	}
}

func TestServe(t *testing.T) {
	b, err := New(Config{Timers: "summary"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(context.Background(), counters("a", 1)[0]); err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []string{"", "gzip"} {
		request, answer := httptest.NewRequest("GET", "/statsd/metrics", nil), httptest.NewRecorder()
		request.Header.Set("Accept-Encoding", encoding)
		b.ServeHTTP(answer, request)
		var body io.Reader = answer.Body
		if encoding != "" {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		if err != nil || string(text) != "# TYPE a counter\na 1\n" || answer.Header().Get("Content-Type") != contentType || answer.Header().Get("Content-Encoding") != encoding {
			t.Errorf("%q: %q, %v, %v", encoding, text, err, answer.Header())
		}
	}
}

// FuzzPage checks that no name and no tag breaks the page.
func FuzzPage(f *testing.F) {
	f.Add("a.b;c=d")
	f.Add("\n;\"=\\\n;le=\xff")
	f.Fuzz(func(t *testing.T, name string) {
		got, _ := shows(t, Config{}, counters(name, 1)...)
		kind, sample, ok := strings.Cut(got, "\n")
		family, isCounter := strings.CutSuffix(strings.TrimPrefix(kind, "# TYPE "), " counter")
		if !ok || !isCounter || metricName(family) != family || !strings.HasPrefix(sample, family) || !strings.HasSuffix(sample, " 1\n") || strings.Count(sample, "\n") != 1 {
			t.Errorf("%q becomes %q", name, got)
		}
	})
}

// BenchmarkScrape is a page of 100 000 series, packed as Prometheus asks for it.
func BenchmarkScrape(b *testing.B) {
	flush := &backend.Flush{Timestamp: 1000}
	for i := range 100_000 {
		flush.Counters = append(flush.Counters, backend.Counter{Name: fmt.Sprintf("service.%d.requests;host=web-%d;dc=lyon", i%500, i/500), Value: float64(i)})
	}
	page, err := New(Config{Timers: "summary"})
	if err != nil {
		b.Fatal(err)
	}
	if err := page.Flush(context.Background(), flush); err != nil {
		b.Fatal(err)
	}
	request := httptest.NewRequest("GET", "/statsd/metrics", nil)
	request.Header.Set("Accept-Encoding", "gzip")
	start := time.Now()
	for b.Loop() {
		page.ServeHTTP(httptest.NewRecorder(), request)
	}
	b.ReportMetric(float64(time.Since(start).Milliseconds())/float64(b.N), "ms/scrape")
}
