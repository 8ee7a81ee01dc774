package script

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// sink is a Handler that drops what comes.
type sink struct{ ready chan *Process }

func (s sink) OnReady(p *Process)   { s.ready <- p }
func (s sink) OnExit(*Exit)         {}
func (s sink) OnFrame(byte, []byte) {}

func startForBenchmark(b *testing.B) *Process {
	h := sink{make(chan *Process, 1)}
	s := New(probeSpec("", DefaultBudget()), h, NewRegistry(telemetry.NewRegistry()), discard)
	if err := s.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Stop(context.Background()) })
	return <-h.ready
}

// To the script and back through the socket pair, as batches of events are: so
// many bytes there, the same back.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{16, 4 << 10, 64 << 10, 512 << 10} {
		b.Run(strconv.Itoa(size)+"B", func(b *testing.B) {
			p := startForBenchmark(b)
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.SendWait(context.Background(), echo, payload); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := p.Request(context.Background(), count, nil); err != nil { // everything is done
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// A question and its answer.
func BenchmarkRequest(b *testing.B) {
	p := startForBenchmark(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Request(context.Background(), count, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// From the start of a process to the script's first answer, and its end.
func BenchmarkStart(b *testing.B) {
	h := sink{make(chan *Process, 1)}
	var ready time.Duration
	for b.Loop() {
		begin := time.Now()
		s := New(probeSpec("", DefaultBudget()), h, NewRegistry(telemetry.NewRegistry()), discard)
		if err := s.Start(context.Background()); err != nil {
			b.Fatal(err)
		}
		if _, err := (<-h.ready).Request(context.Background(), count, nil); err != nil {
			b.Fatal(err)
		}
		ready += time.Since(begin)
		if err := s.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(ready.Microseconds())/float64(b.N)/1000, "ms/ready")
}
