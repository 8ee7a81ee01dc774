// Package outboxtest is what tests of backends with an outbox share.
package outboxtest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd/outbox"
	"github.com/weirhq/weir/internal/telemetry"
)

// Config is that of an outbox in a folder, with a ledger of its own.
func Config(dir, unit string) outbox.Config {
	registry := telemetry.NewRegistry()
	return outbox.Config{Name: "test", Dir: dir, Ledger: registry.Ledger("statsd.test", unit), Registry: registry, Log: slog.New(slog.DiscardHandler)}
}

// Backend is a backend with an outbox.
type Backend interface {
	backend.Backend
	backend.Stopper
	Wait(ctx context.Context) error
}

// Start starts b, which ends with the test.
func Start(t testing.TB, b Backend) {
	t.Helper()
	if err := b.Init(context.Background(), backend.Environment{Startup: 1, Interval: 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) }) // twice when the test did it
}

// Deliver flushes and waits until everything has arrived, or is set aside.
func Deliver(t testing.TB, b Backend, flushes ...*backend.Flush) {
	t.Helper()
	for _, f := range flushes {
		if err := b.Flush(context.Background(), f); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// Account returns what a ledger says as text, and fails when it does not balance.
func Account(t testing.TB, cfg outbox.Config) string {
	t.Helper()
	a := cfg.Ledger.Snapshot()
	lost := int64(0)
	for reason, n := range a.Discarded {
		if lost += n; n == 0 {
			delete(a.Discarded, reason)
		}
	}
	if a.Received != a.Passed+a.Buffered+lost {
		t.Errorf("the ledger does not balance: %+v", a)
	}
	return fmt.Sprintf("received %d, passed %d, buffered %d, discarded %v", a.Received, a.Passed, a.Buffered, a.Discarded)
}

// Server is an HTTP server that remembers what it was asked.
type Server struct {
	URL string

	mu       sync.Mutex
	requests []string // "METHOD PATH?QUERY"
	headers  []http.Header
	bodies   []string
}

// Serve starts a server that ends with the test. answer gets the number of the request, from 0,
// and its body; nil answers 204.
func Serve(t testing.TB, answer func(w http.ResponseWriter, n int, body string)) *Server {
	s := &Server{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		n := len(s.requests)
		s.requests, s.headers, s.bodies = append(s.requests, r.Method+" "+r.URL.RequestURI()), append(s.headers, r.Header), append(s.bodies, string(body))
		s.mu.Unlock()
		if answer != nil {
			answer(w, n, string(body))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Asked returns what the server was asked.
func (s *Server) Asked() (requests []string, headers []http.Header, bodies []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(requests, s.requests...), append(headers, s.headers...), append(bodies, s.bodies...)
}

// Flush holds metrics of every type.
func Flush() *backend.Flush {
	return &backend.Flush{
		Timestamp:   1700000010,
		Counters:    []backend.Counter{{Name: "hits;dc=lyon", Value: 3, Rate: 0.3}},
		Gauges:      []backend.Gauge{{Name: "load", Value: 0.5}},
		Timers:      []backend.Timer{{Name: "api.time", Values: []float64{10, 20}, Count: 2, Fields: []backend.Field{{Name: "count", Value: 2}, {Name: "upper_90", Value: 20}}, Histogram: []backend.Field{{Name: "bin_50", Value: 2}}}},
		Sets:        []backend.Set{{Name: "who", Members: []string{"a", "b"}}},
		Percentiles: []float64{90},
	}
}

// Large is a flush of 100 000 counters and 10 000 timers.
func Large() *backend.Flush {
	f := &backend.Flush{Timestamp: 1700000010}
	for i := range 100_000 {
		f.Counters = append(f.Counters, backend.Counter{Name: fmt.Sprintf("service.%d.requests;dc=lyon;host=web-%d", i%500, i/500), Value: float64(i), Rate: float64(i) / 10})
	}
	for i := range 10_000 {
		t := backend.Timer{Name: fmt.Sprintf("service.%d.time;dc=lyon;host=web-%d", i%500, i/500), Count: 10}
		for k, name := range []string{"count_90", "mean_90", "upper_90", "sum_90", "sum_squares_90", "std", "upper", "lower", "count", "count_ps", "sum", "sum_squares", "mean", "median"} {
			t.Fields = append(t.Fields, backend.Field{Name: name, Value: float64(i*k) + 0.25})
		}
		f.Timers = append(f.Timers, t)
	}
	return f
}
