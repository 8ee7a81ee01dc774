package post

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/statsd/outbox/outboxtest"
)

func TestDocument(t *testing.T) {
	s := outboxtest.Serve(t, nil)
	box := outboxtest.Config(t.TempDir(), "documents")
	b := New(Config{Access: delivery.Access{URL: s.URL + "/in/", Token: delivery.Secret{Text: "t0ken"}}, Headers: map[string]string{"x-source": "web-1"}}, box)
	outboxtest.Start(t, b)
	nothing := &backend.Flush{Timestamp: 1700000020, Gauges: []backend.Gauge{{Name: "a\"\n\xff", Value: math.NaN()}}}
	outboxtest.Deliver(t, b, outboxtest.Flush(), nothing, &backend.Flush{Timestamp: 1700000030})
	requests, headers, bodies := s.Asked()
	want := []string{
		`{"timestamp":1700000010,"interval":10,"part":1,"counters":[{"name":"hits","tags":{"dc":"lyon"},"value":3,"rate":0.3}],"gauges":[{"name":"load","value":0.5}],` +
			`"timers":[{"name":"api.time","fields":{"count":2,"upper_90":20},"histogram":{"bin_50":2}}],"sets":[{"name":"who","count":2}],"last":true}`,
		`{"timestamp":1700000020,"interval":10,"part":1,"gauges":[{"name":"a\"\n\ufffd","value":null}],"last":true}`,
		`{"timestamp":1700000030,"interval":10,"part":1,"last":true}`,
	}
	if diff := cmp.Diff(want, bodies); diff != "" {
		t.Error(diff)
	}
	if requests[0] != "POST /in/" || headers[0].Get("Authorization") != "Bearer t0ken" || headers[0].Get("X-Source") != "web-1" || headers[0].Get("Content-Type") != "application/json" {
		t.Error(requests[0], headers[0])
	}
	if got := outboxtest.Account(t, box); got != "received 3, passed 3, buffered 0, discarded map[]" {
		t.Error(got)
	}
}

// A large flush comes in parts, of which none is lost and the last says so.
func TestParts(t *testing.T) {
	s := outboxtest.Serve(t, nil)
	box := outboxtest.Config(t.TempDir(), "documents")
	b := New(Config{Access: delivery.Access{URL: s.URL}}, box)
	outboxtest.Start(t, b)
	outboxtest.Deliver(t, b, outboxtest.Large())
	counters, timers := 0, 0
	_, _, bodies := s.Asked()
	for i, body := range bodies {
		var d struct {
			Part             int
			Last             bool
			Counters, Timers []struct{ Name string }
		}
		if err := json.Unmarshal([]byte(body), &d); err != nil || d.Part != i+1 || d.Last != (i == len(bodies)-1) || len(body) > partBytes+1000 {
			t.Fatalf("part %d of %d: %v, %d bytes", i, len(bodies), err, len(body))
		}
		counters, timers = counters+len(d.Counters), timers+len(d.Timers)
	}
	if counters != 100_000 || timers != 10_000 || len(bodies) < 10 {
		t.Errorf("%d counters, %d timers in %d documents", counters, timers, len(bodies))
	}
	outboxtest.Account(t, box)
}

// A server that hangs delays no flush, and what waits is there after a restart.
func TestRestart(t *testing.T) {
	works, release := make(chan struct{}), make(chan struct{})
	s := outboxtest.Serve(t, func(w http.ResponseWriter, _ int, _ string) {
		select {
		case <-works:
		case <-release:
		}
	})
	dir := t.TempDir()
	cfg := Config{Access: delivery.Access{URL: s.URL}}
	box := outboxtest.Config(dir, "documents")
	b := New(cfg, box)
	outboxtest.Start(t, b)
	for i := range 10 {
		f := outboxtest.Flush()
		f.Timestamp += int64(10 * i)
		if err := b.Flush(context.Background(), f); err != nil {
			t.Fatal(err)
		}
	}
	if got := outboxtest.Account(t, box); got != "received 10, passed 0, buffered 10, discarded map[]" {
		t.Error(got)
	}
	stop, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Stop(stop); err != nil {
		t.Fatal(err)
	}
	close(works)
	close(release)
	box = outboxtest.Config(dir, "documents")
	b = New(cfg, box)
	outboxtest.Start(t, b)
	outboxtest.Deliver(t, b)
	_, _, bodies := s.Asked()
	if last := bodies[len(bodies)-1]; !strings.HasPrefix(last, `{"timestamp":1700000100,`) {
		t.Error(last)
	}
	if got := outboxtest.Account(t, box); got != "received 10, passed 10, buffered 0, discarded map[]" {
		t.Error(got)
	}
}

// What a full queue refuses is counted, and said.
func TestFull(t *testing.T) {
	s := outboxtest.Serve(t, func(w http.ResponseWriter, _ int, _ string) { w.WriteHeader(http.StatusInternalServerError) })
	box := outboxtest.Config(t.TempDir(), "documents")
	box.MaxBytes = 1 << 20
	b := New(Config{Access: delivery.Access{URL: s.URL}}, box)
	outboxtest.Start(t, b)
	if err := b.Flush(context.Background(), outboxtest.Large()); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v", err)
	}
	a := box.Ledger.Snapshot()
	if a.Buffered == 0 || a.Discarded["queue_full"] == 0 || a.Received != a.Buffered+a.Discarded["queue_full"] {
		t.Errorf("%+v", a)
	}
}

// FuzzDocument checks that every name comes through.
func FuzzDocument(f *testing.F) {
	f.Add("a.b;c=d")
	f.Add("\"\n;\\=\xff;le=\x00")
	b := New(Config{}, outboxtest.Config(f.TempDir(), "documents"))
	f.Fuzz(func(t *testing.T, key string) {
		b.Begin(&backend.Flush{})
		b.header = append(b.header[:0], `{"timestamp":1`...)
		b.document()
		b.metric("gauges", key)
		b.number("value", 1)
		b.Record = append(b.Record, "}]}"...)
		var d struct{ Gauges []struct{ Name string } }
		if err := json.Unmarshal(b.Record, &d); err != nil || strings.ContainsRune(string(b.Record), '\n') {
			t.Fatalf("%q becomes %q: %v", key, b.Record, err)
		}
		name, _, _ := strings.Cut(key, ";")
		if utf8.ValidString(name) && d.Gauges[0].Name != name {
			t.Errorf("%q becomes %q", key, d.Gauges[0].Name)
		}
	})
}
