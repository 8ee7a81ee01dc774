package statsd

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/weirhq/weir/backend"
)

type recorder chan *backend.Flush

func (recorder) Name() string { return "recorder" }

func (recorder) Init(context.Context, backend.Environment) error { return nil }

func (r recorder) Flush(_ context.Context, f *backend.Flush) error {
	r <- f
	return nil
}

func TestServerFlushesWhatUDPBrought(t *testing.T) {
	flushes := make(recorder, 100)
	a := NewAggregator(Options{Prefix: "statsd", Sanitize: true, Statistics: NewStatistics(0.1, nil, nil, nil)}, func(Bad) {})
	s := NewServer("127.0.0.1:0", 100*time.Millisecond, a, []backend.Backend{flushes}, slog.New(slog.DiscardHandler))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("udp", s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("a:1|c\nb:2|c")); err != nil {
		t.Fatal(err)
	}
	for total := 0.0; total < 3; {
		for _, c := range (<-flushes).Counters {
			if c.Name == "a" || c.Name == "b" {
				total += c.Value
			}
		}
	}
	s.Stop(t.Context())
	last := (*backend.Flush)(nil)
	for len(flushes) > 0 {
		last = <-flushes
	}
	if last == nil {
		t.Error("Stop sent no last flush")
	}
	if err := NewServer("127.0.0.1:99999", time.Second, a, nil, slog.New(slog.DiscardHandler)).Start(); err == nil {
		t.Error("a port that does not exist was accepted")
	}
}
