package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers/influxdb"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/graphite"
	statsdinflux "github.com/weirhq/weir/internal/statsd/influxdb"
	"github.com/weirhq/weir/internal/statsd/outbox"
	"github.com/weirhq/weir/internal/statsd/storage"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
)

// spans measures flushes: from the moment at which the first backend gets one until the last one has taken it.
type spans struct {
	backends int
	took     chan time.Duration

	mu    sync.Mutex
	begin map[*backend.Flush]time.Time
	done  map[*backend.Flush]int
}

// watched is a backend whose flushes are measured.
type watched struct {
	backend.Backend
	spans *spans
}

func (w *watched) Flush(ctx context.Context, f *backend.Flush) error {
	s := w.spans
	s.mu.Lock()
	if s.begin[f].IsZero() {
		s.begin[f] = time.Now()
	}
	s.mu.Unlock()
	err := w.Backend.Flush(ctx, f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done[f]++; s.done[f] < s.backends {
		return err
	}
	if n := len(f.Timers); n > 0 && len(f.Timers[n-1].Values) > 0 { // one with input
		s.took <- time.Since(s.begin[f]) + time.Duration(f.Processing)*time.Millisecond
	}
	delete(s.begin, f)
	delete(s.done, f)
	return err
}

// BenchmarkFlush is a flush of 100 000 counters and 10 000 timers of ten values to Graphite, InfluxDB and the
// store: from its begin until all three have it, Graphite over its connection, InfluxDB in the queue on
// disk, the store in its log.
func BenchmarkFlush(b *testing.B) {
	carbon, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer carbon.Close()
	go func() {
		for {
			conn, err := carbon.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	influx := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer influx.Close()
	log := slog.New(slog.DiscardHandler)
	var packets [][]byte
	from := make([]backend.Remote, 0)
	packet := func(line string) {
		packets, from = append(packets, []byte(line)), append(from, backend.Remote{})
	}
	for i := range 100_000 {
		packet(fmt.Sprintf("service.%d.requests:%d|c|#host:web-%d", i%500, i%100, i/500))
	}
	for i := range 10_000 {
		line := fmt.Sprintf("service.%d.time", i)
		for k := range 10 {
			line += fmt.Sprintf(":%d|ms", i%1000+k)
		}
		packet(line)
	}
	series := store.New(store.Config{Path: b.TempDir()}, telemetry.NewRegistry(), log)
	if err := series.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	server := influxdb.Config{Access: delivery.Access{URL: influx.URL, Token: delivery.Secret{Text: "t"}}, Bucket: "b", Organization: "o"}
	registry := telemetry.NewRegistry()
	measured := &spans{backends: 3, took: make(chan time.Duration, 10), begin: make(map[*backend.Flush]time.Time), done: make(map[*backend.Flush]int)}
	cfg := statsd.DefaultConfig()
	cfg.Listen, cfg.FlushInterval = nil, 3*time.Second
	s := statsd.New(cfg, []backend.Backend{
		&watched{storage.New(series, registry), measured},
		&watched{graphite.New(graphite.Config{Host: "127.0.0.1", Port: carbon.Addr().(*net.TCPAddr).Port, Namespace: graphite.DefaultNamespace()}), measured},
		&watched{statsdinflux.New(statsdinflux.Config{Server: server, TypeTag: "metric_type"}, outbox.Config{
			Name: "influxdb", Dir: b.TempDir(), Ledger: registry.Ledger("statsd.influxdb", "metrics"), Registry: registry, Log: log,
		}), measured},
	}, registry, log)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	flush := func() time.Duration {
		s.Take(packets, from)
		return <-measured.took
	}
	flush() // in which the store gets to know its series
	took, worst := time.Duration(0), time.Duration(0)
	for b.Loop() {
		d := flush()
		took, worst = took+d, max(worst, d)
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/flush")
	b.ReportMetric(float64(worst.Milliseconds()), "ms/worst-flush")
	if err := errors.Join(s.Stop(context.Background()), series.Stop(context.Background())); err != nil {
		b.Fatal(err)
	}
}
