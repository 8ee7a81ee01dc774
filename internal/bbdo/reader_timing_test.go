package bbdo

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
)

// status returns a service status as pollers send it, with about 200 bytes.
func status(family event.Family) event.Event {
	typ := event.MakeType(1, 24)
	if family == event.Protobuf {
		typ = event.MakeType(1, 29)
	}
	r := event.NewRecord(event.Lookup(typ))
	r.Source = 3
	for _, name := range []string{"host_id", "service_id", "last_check", "next_check", "last_update", "last_state_change", "last_hard_state_change", "last_time_ok"} {
		if r.Descriptor.Field(name) != nil {
			r.Set(name, event.IntValue(1700000300))
		}
	}
	for name, text := range map[string]string{"output": "OK - load average: 0.42, 0.37, 0.31", "perfdata": "load1=0.42;4;8;0; load5=0.37;3;6;0; load15=0.31;2;4;0;", "check_command": "check_nrpe!check_load"} {
		if r.Descriptor.Field(name) != nil {
			r.Set(name, event.TextValue([]byte(text)))
		}
	}
	for name, x := range map[string]float64{"latency": 0.25, "execution_time": 0.125, "percent_state_change": 6.25} {
		r.Set(name, event.FloatValue(x))
	}
	return r.Encode()
}

// endless is a peer that sends n copies of what it has.
type endless struct {
	script
	data []byte
	n    int
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	total := 0
	for total < len(p) && e.n > 0 {
		c := copy(p[total:], e.data[e.at:])
		total += c
		if e.at += c; e.at == len(e.data) {
			e.at = 0
			e.n--
		}
	}
	if total == 0 {
		return e.script.Read(p)
	}
	return total, nil
}

// BenchmarkDecode measures a session: bytes to sink, every event checked, and
// acknowledged.
func BenchmarkDecode(b *testing.B) {
	nothing := func(context.Context, Info, []event.Event) error { return nil }
	b.Run("legacy", func(b *testing.B) { benchmarkSession(b, status(event.Legacy), nothing) })
	b.Run("protobuf", func(b *testing.B) { benchmarkSession(b, status(event.Protobuf), nothing) })
}

// BenchmarkDurable measures the same into the durable stream.
func BenchmarkDurable(b *testing.B) {
	for _, family := range []event.Family{event.Legacy, event.Protobuf} {
		b.Run(family.String(), func(b *testing.B) {
			s := stream.New(stream.Config{Path: b.TempDir()}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
			if err := s.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer s.Stop(context.Background())
			if _, err := s.Consumer(b.Context(), "connector"); err != nil { // so that events are kept
				b.Fatal(err)
			}
			benchmarkSession(b, status(family), func(ctx context.Context, _ Info, events []event.Event) error { return s.Append(ctx, events) })
		})
	}
}

func benchmarkSession(b *testing.B, e event.Event, sink Sink) {
	const perCopy = 1000
	one := AppendPackets(nil, e)
	r := newReceiver(Config{Name: "benchmark"}, sink, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	conn := &endless{data: bytes.Repeat(one, perCopy), n: (b.N + perCopy - 1) / perCopy}
	conn.in = bytes.NewReader(stop3)
	s := newSession(r, &link{conn: conn, reader: NewReader(conn, 0, nil), top: conn, version: V301})
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	b.ResetTimer()
	start := time.Now()
	if err := s.run(context.Background()); err != nil {
		b.Fatal(err)
	}
	elapsed := time.Since(start)
	events := r.ledger.Snapshot().Passed
	if events < int64(b.N) {
		b.Fatalf("%d events of %d", events, b.N)
	}
	b.ReportMetric(float64(events)/elapsed.Seconds()/1e6, "Mevents/s")
}
