package storage_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/storage"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// TestFlushesInTheStore writes to the embedded driver, over a restart at which
// the percentiles change, and reads back.
func TestFlushesInTheStore(t *testing.T) {
	path := t.TempDir()
	now := time.Now().Unix() / 60 * 60
	begin := now - 600
	session := func(first, flushes int, percentile float64, ask func(*store.Store)) {
		t.Helper()
		reg := telemetry.NewRegistry()
		s := store.New(store.Config{Path: path}, reg, slog.New(slog.DiscardHandler))
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer s.Stop(context.Background())
		b := storage.New(s, reg)
		if err := b.Init(t.Context(), backend.Environment{Startup: begin, Interval: 10}); err != nil {
			t.Fatal(err)
		}
		statistics := statsd.NewStatistics(10, []float64{percentile}, nil, nil)
		for i := first; i < first+flushes; i++ {
			f := &backend.Flush{Timestamp: begin + int64(i+1)*10, Percentiles: []float64{percentile}}
			f.Counters = []backend.Counter{{Name: "plain", Value: 7}, {Name: "hits;env=prod;host=a", Value: 1}, {Name: "hits;host=b;env=prod", Value: 2}, {Name: "hits;host=a;env=test", Value: 4}}
			f.Gauges = []backend.Gauge{{Name: "load", Value: float64(i)}}
			f.Timers = []backend.Timer{statistics.Timer("latency", []float64{1, 2, float64(i)}, 3)}
			if err := b.Flush(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a := reg.Ledger("statsd.storage", "points").Snapshot(); !a.Balanced() || a.Passed != int64(6*flushes) {
			t.Errorf("ledger %+v", a)
		}
		if ask != nil {
			ask(s)
		}
	}
	session(0, 20, 90, nil)
	session(20, 10, 99.9, func(s *store.Store) {
		schemas := make(map[string]*timeseries.Schema)
		all, err := s.Schemas(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, schema := range all {
			schemas[schema.Name] = schema
		}
		if diff := cmp.Diff([]string{"statsd:counter", "statsd:gauge", "statsd:timer"}, slices.Sorted(maps.Keys(schemas))); diff != "" {
			t.Fatal(diff)
		}
		total := func(schema string, tags timeseries.Tags, metric string, want float64) {
			t.Helper()
			totals, err := s.Total(t.Context(), timeseries.Query{Schema: schemas[schema], Tags: tags, Start: begin, End: now})
			if err != nil || math.Abs(totals[metric]-want) > want*1e-12 { // rates add up but for rounding
				t.Errorf("total of %v: got %v (%v), want %s %v", tags, totals, err, metric, want)
			}
		}
		total("statsd:counter", timeseries.Tags{"name": "plain"}, "rate", 30*7)
		total("statsd:counter", timeseries.Tags{"name": "hits"}, "rate", 30*7)
		total("statsd:counter", timeseries.Tags{"name": "hits", "env": "prod"}, "rate", 30*3)
		total("statsd:counter", timeseries.Tags{"name": "hits", "tags": "env=prod;host=b"}, "rate", 30*2) // they came in another order

		options := timeseries.DefaultOptions()
		top, err := s.TopK(t.Context(), timeseries.Query{Schema: schemas["statsd:counter"], Tags: timeseries.Tags{"name": "hits"}, GroupBy: []string{"host"}, Start: begin, End: now, Options: options})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, item := range top.Items {
			got = append(got, fmt.Sprintf("%s %.6g", item.Tags["host"], item.Value))
		}
		if diff := cmp.Diff([]string{"a 150", "b 60"}, got); diff != "" {
			t.Error(diff)
		}

		// The columns of both percentiles exist; each has values for its own time.
		result, err := s.Query(t.Context(), timeseries.Query{Schema: schemas["statsd:timer"], Tags: timeseries.Tags{"name": "latency"}, Start: begin, End: begin + 300, Options: options})
		if err != nil {
			t.Fatal(err)
		}
		known := make(map[string]int)
		for _, series := range result.Series {
			for _, v := range series.Data {
				if v == v {
					known[series.Label]++
				}
			}
		}
		if known["upper_90"] != 20 || known["upper_99_9"] != 10 || known["count"] != 30 {
			t.Errorf("points with a value: %v", known)
		}
	})
}
