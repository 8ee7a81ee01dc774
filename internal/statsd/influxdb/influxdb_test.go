package influxdb

import (
	"context"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/statsd/outbox/outboxtest"
)

func second(url string) Config {
	c := Default()
	c.Server.Access = delivery.Access{URL: url, Token: delivery.Secret{Text: "t0ken"}}
	c.Server.Database, c.Server.Bucket, c.Server.Organization = "", "metrics", "example org"
	return c
}

// written is what a server gets of flushes.
func written(t *testing.T, change func(*Config), flushes ...*backend.Flush) string {
	t.Helper()
	s := outboxtest.Serve(t, func(w http.ResponseWriter, _ int, _ string) { w.WriteHeader(http.StatusNoContent) })
	cfg, box := second(s.URL), outboxtest.Config(t.TempDir(), "metrics")
	if change != nil {
		change(&cfg)
	}
	b := New(cfg, box)
	outboxtest.Start(t, b)
	outboxtest.Deliver(t, b, flushes...)
	outboxtest.Account(t, box)
	requests, headers, bodies := s.Asked()
	lines := ""
	for i, r := range requests {
		if !strings.HasPrefix(r, "POST ") {
			continue
		}
		if r != "POST /api/v2/write?bucket=metrics&org=example+org&precision=ms" || headers[i].Get("Authorization") != "Token t0ken" {
			t.Errorf("%s %v", r, headers[i])
		}
		lines += bodies[i]
	}
	return lines
}

func TestLines(t *testing.T) {
	want := `hits,dc=lyon,metric_type=counter value=3,rate=0.3 1700000010000
load,metric_type=gauge value=0.5 1700000010000
api.time,metric_type=timer count=2,upper_90=20,bin_50=2 1700000010000
who,metric_type=set value=2 1700000010000
`
	if diff := cmp.Diff(want, written(t, nil, outboxtest.Flush())); diff != "" {
		t.Error(diff)
	}
	want = `app.hits,dc=lyon,host=a\ b value=3,rate=0.3 1700000010000
`
	got := written(t, func(c *Config) { c.Prefix, c.TypeTag, c.Tags = "app.", "", map[string]string{"host": "a b"} }, &backend.Flush{Timestamp: 1700000010, Counters: outboxtest.Flush().Counters})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Values that came with a timestamp keep it.
func TestTimed(t *testing.T) {
	var _ backend.TimestampTaker = (*Backend)(nil)
	got := written(t, nil, &backend.Flush{Timestamp: 1700000010, Timed: []backend.Timed{{Name: "a;x=1", Counter: true, Timestamp: 1600000000, Value: 5}, {Name: "b", Timestamp: 1600000001, Value: 0.5}}})
	if diff := cmp.Diff("a,metric_type=counter,x=1 value=5 1600000000000\nb,metric_type=gauge value=0.5 1600000001000\n", got); diff != "" {
		t.Error(diff)
	}
}

// Names that line protocol cannot hold as they are, and names that become one series, lose nothing.
func TestNames(t *testing.T) {
	gauges := func(names ...string) *backend.Flush {
		f := &backend.Flush{Timestamp: 100}
		for i, name := range names {
			f.Gauges = append(f.Gauges, backend.Gauge{Name: name, Value: float64(i)})
		}
		return f
	}
	untyped := func(c *Config) { c.TypeTag, c.Tags = "", map[string]string{"env": "test"} }
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{`a b,c=d`}, `a\ b\,c=d,env=test value=0 100000`},
		{[]string{`a;x=1, 2;y==`}, `a,env=test,x=1\,\ 2,y=\= value=0 100000`},
		{[]string{`#a`, `\`, "", "a\tb\x00", "\xff"}, "_a,env=test value=0 100001\n_,env=test value=1 100001\n_,env=test value=2 100002\na_b_,env=test value=3 100001\n\uFFFD,env=test value=4 100001"},
		{[]string{`a;x=1;y=2`, `a;y=2;x=1`, `a;y=2;x=1;x=1`}, "a,env=test,x=1,y=2 value=0 100000\na,env=test,x=1,y=2 value=1 100001\na,env=test,x=1,y=2 value=2 100002"},
		{[]string{`a`, `a;env=test`, `a;env=prod`}, "a,env=test value=0 100000\na,env=test value=1 100001\na,env=prod value=2 100001"},
		{[]string{`a;solo;empty=`}, `a,empty=true,env=test,solo=true value=0 100001`},
	} {
		if diff := cmp.Diff(c.want+"\n", written(t, untyped, gauges(c.names...))); diff != "" {
			t.Errorf("%q: %s", c.names, diff)
		}
	}
	// Flushes within a second have times of their own.
	if diff := cmp.Diff("a,env=test value=0 100000\na,env=test value=0 100001\n", written(t, untyped, gauges("a"), gauges("a"))); diff != "" {
		t.Error(diff)
	}
}

func TestNotFinite(t *testing.T) {
	s := outboxtest.Serve(t, nil)
	box := outboxtest.Config(t.TempDir(), "metrics")
	b := New(second(s.URL), box)
	outboxtest.Start(t, b)
	outboxtest.Deliver(t, b, &backend.Flush{Timestamp: 100, Gauges: []backend.Gauge{{Name: "a", Value: math.NaN()}, {Name: "b", Value: 1}},
		Timers: []backend.Timer{{Name: "t", Fields: []backend.Field{{Name: "sum", Value: math.Inf(1)}, {Name: "count", Value: 2}}}}})
	if got := outboxtest.Account(t, box); got != "received 3, passed 2, buffered 0, discarded map[not_finite:1]" {
		t.Error(got)
	}
	_, _, bodies := s.Asked()
	if got := bodies[len(bodies)-1]; got != "b,metric_type=gauge value=1 100000\nt,metric_type=timer count=2 100000\n" {
		t.Errorf("%q", got)
	}
}

// The database is made before the first lines, and asked for again while that fails. What the
// server does not want is found and set aside.
func TestRejected(t *testing.T) {
	s := outboxtest.Serve(t, func(w http.ResponseWriter, n int, body string) {
		switch {
		case n == 0:
			http.Error(w, `{"error":"starting"}`, http.StatusServiceUnavailable)
		case strings.Contains(body, "bad"):
			http.Error(w, `{"error":"unable to parse: no bad things"}`, http.StatusBadRequest)
		case strings.Contains(body, "CREATE"):
			_, _ = w.Write([]byte(`{"results":[{"statement_id":0}]}`))
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	dir := t.TempDir()
	cfg, box := Default(), outboxtest.Config(dir, "metrics")
	cfg.Server.Access.URL = s.URL
	b := New(cfg, box)
	outboxtest.Start(t, b)
	f := &backend.Flush{Timestamp: 100}
	for _, name := range []string{"a", "b", "bad", "c", "d"} {
		f.Counters = append(f.Counters, backend.Counter{Name: name, Value: 1})
	}
	outboxtest.Deliver(t, b, f)
	if got := outboxtest.Account(t, box); got != "received 5, passed 4, buffered 0, discarded map[rejected:1]" {
		t.Error(got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "rejected.jsonl"))
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "no bad things") || !strings.Contains(string(text), "bad,metric_type=counter") {
		t.Errorf("%s, %v", text, err)
	}
}

// FuzzLine checks that no name breaks a line, or is taken for another one.
func FuzzLine(f *testing.F) {
	f.Add("a.b;c=d")
	f.Add("#\n;\\=\\;a\xff,=\" ")
	b := New(Default(), outboxtest.Config(f.TempDir(), "metrics"))
	f.Fuzz(func(t *testing.T, key string) {
		b.Begin(&backend.Flush{Timestamp: 100})
		at := b.begin(gauge, key)
		b.end(b.field(' ', "value", 1), key, at)
		line, ended := strings.CutSuffix(string(b.Record), "\n")
		if len(key) > 200_000 {
			return
		}
		rest, _, found := strings.Cut(line, " value=1 1")
		if !ended || !found || strings.ContainsAny(line, "\n\r\x00") || line[0] == '#' || line[0] == ',' || !utf8.ValidString(line) {
			t.Fatalf("%q becomes %q", key, line)
		}
		escaped := false
		for _, c := range rest { // no blank ends the tags before the fields
			if c == ' ' && !escaped {
				t.Fatalf("%q becomes %q", key, line)
			}
			escaped = c == '\\'
		}
	})
}

// BenchmarkFlush is a flush of 100 000 counters and 10 000 timers to the queue on disk, as long as the
// server takes everything at once.
func BenchmarkFlush(b *testing.B) {
	s := outboxtest.Serve(b, nil)
	backend := New(second(s.URL), outboxtest.Config(b.TempDir(), "metrics"))
	outboxtest.Start(b, backend)
	f := outboxtest.Large()
	b.ReportAllocs()
	var took time.Duration
	for b.Loop() {
		f.Timestamp += 10
		start := time.Now()
		if err := backend.Flush(context.Background(), f); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		b.StopTimer()
		outboxtest.Deliver(b, backend)
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), "ms/flush")
}
