package opentsdb

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/statsd/outbox/outboxtest"
)

// point is a data point as OpenTSDB reads it.
type point struct {
	Metric    string
	Timestamp int64
	Value     float64
	Tags      map[string]string
}

// written is what a server gets of flushes, "METRIC{TAG=VALUE} VALUE TIMESTAMP" each.
func written(t *testing.T, cfg Config, flushes ...*backend.Flush) (lines []string, requests int) {
	t.Helper()
	s := outboxtest.Serve(t, nil)
	cfg.Access = delivery.Access{URL: s.URL + "/tsd", Token: delivery.Secret{Text: "t0ken"}}
	box := outboxtest.Config(t.TempDir(), "points")
	b := New(cfg, box)
	outboxtest.Start(t, b)
	outboxtest.Deliver(t, b, flushes...)
	outboxtest.Account(t, box)
	asked, headers, bodies := s.Asked()
	for i, body := range bodies {
		if asked[i] != "POST /tsd/api/put?details=" || headers[i].Get("Authorization") != "Bearer t0ken" {
			t.Errorf("%s %v", asked[i], headers[i])
		}
		var points []point
		if err := json.Unmarshal([]byte(body), &points); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		for _, p := range points {
			lines = append(lines, fmt.Sprintf("%s%v %v %d", p.Metric, p.Tags, p.Value, p.Timestamp))
		}
	}
	return lines, len(bodies)
}

func TestPoints(t *testing.T) {
	want := []string{
		"stats.hits.count[dc:lyon host:a] 3 1700000010", "stats.hits.rate[dc:lyon host:a] 0.3 1700000010", "stats.load[host:a] 0.5 1700000010",
		"stats.api.time.count[host:a] 2 1700000010", "stats.api.time.upper_90[host:a] 20 1700000010", "stats.api.time.bin_50[host:a] 2 1700000010",
		"stats.who.count[host:a] 2 1700000010",
	}
	got, requests := written(t, Config{Prefix: "stats.", Tags: map[string]string{"host": "a"}, Batch: 3}, outboxtest.Flush())
	for i := range got {
		got[i] = strings.Replace(got[i], "map[", "[", 1)
	}
	if diff := cmp.Diff(want, got); diff != "" || requests != 3 {
		t.Error(requests, diff)
	}
}

// Names that OpenTSDB does not take are changed, and what becomes the same series by it loses nothing.
func TestNames(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	f := &backend.Flush{Timestamp: 100}
	for i, name := range []string{"a:b", "a_b", "é/x", "a;x=1;y=2", "a;y=2;x=1", "", "c;k!=v w"} {
		f.Gauges = append(f.Gauges, backend.Gauge{Name: name, Value: float64(i)})
	}
	want := []string{
		"a_b[host:" + host + "] 0 100001", "a_b[host:" + host + "] 1 100", "é/x[host:" + host + "] 2 100", "a[x:1 y:2] 3 100", "a[x:1 y:2] 4 100001",
		"_[host:" + host + "] 5 100001", "c[k_:v_w] 6 100001",
	}
	got, _ := written(t, Config{}, f)
	for i := range got {
		got[i] = strings.Replace(got[i], "map[", "[", 1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Of a batch of which OpenTSDB stores some, the others are found by what it says.
func TestRejected(t *testing.T) {
	s := outboxtest.Serve(t, func(w http.ResponseWriter, n int, body string) {
		var points []point
		if err := json.Unmarshal([]byte(body), &points); err != nil {
			t.Error(err)
		}
		type problem struct {
			Error string `json:"error"`
		}
		var problems []problem
		for _, p := range points {
			if strings.HasPrefix(p.Metric, "bad") {
				problems = append(problems, problem{"Unknown metric: " + p.Metric})
			}
		}
		if len(problems) == 0 {
			w.WriteHeader(http.StatusOK)
		} else {
			w.WriteHeader(http.StatusBadRequest)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": problems, "failed": len(problems), "success": len(points) - len(problems)})
	})
	dir := t.TempDir()
	box := outboxtest.Config(dir, "points")
	b := New(Config{Access: delivery.Access{URL: s.URL}, Batch: 20}, box)
	outboxtest.Start(t, b)
	f := &backend.Flush{Timestamp: 100}
	for i := range 8 {
		f.Gauges = append(f.Gauges, backend.Gauge{Name: fmt.Sprintf("good%d", i)})
	}
	f.Gauges = append(f.Gauges, backend.Gauge{Name: "bad1"}, backend.Gauge{Name: "bad2"}, backend.Gauge{Name: "inf", Value: math.Inf(1)})
	outboxtest.Deliver(t, b, f)
	if got := outboxtest.Account(t, box); got != "received 11, passed 8, buffered 0, discarded map[not_finite:1 rejected:2]" {
		t.Error(got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "rejected.jsonl"))
	if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), `"reason":"Unknown metric: bad1"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// FuzzPoint checks that every name becomes a point that OpenTSDB can read.
func FuzzPoint(f *testing.F) {
	f.Add("a.b;c=d")
	f.Add("\"\n;\\=\xff;le=\x00")
	b := New(Config{}, outboxtest.Config(f.TempDir(), "points"))
	outboxtest.Start(f, b)
	f.Fuzz(func(t *testing.T, key string) {
		b.Begin(&backend.Flush{Timestamp: 100})
		b.metric(key)
		b.point("mean", 1.5)
		var p point
		if len(key) > 200_000 {
			return
		}
		if err := json.Unmarshal(b.Record, &p); err != nil || p.Value != 1.5 || len(p.Tags) == 0 || acceptable(p.Metric) != p.Metric || strings.Count(string(b.Record), "\n") != 1 {
			t.Fatalf("%q becomes %q: %v", key, b.Record, err)
		}
		for name, value := range p.Tags {
			if acceptable(name) != name || acceptable(value) != value {
				t.Fatalf("%q becomes %q", key, b.Record)
			}
		}
	})
}
