package stream

import (
	"fmt"
	"testing"

	"github.com/weirhq/weir/internal/event"
)

// status is an event of the size of a service status.
func status(n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{Type: event.MakeType(1, 29), Source: 1, Payload: make([]byte, 200)}
	}
	return events
}

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppend measures events from their payloads to durable: of one caller
// with batches, and of many callers with one event each.
func BenchmarkAppend(b *testing.B) {
	b.Run("batch=512", func(b *testing.B) {
		f := start(b, Config{Path: b.TempDir()})
		f.consumer("a")
		events := status(512)
		b.ReportAllocs()
		for b.Loop() {
			if err := f.Append(bg, events); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, 512*b.N)
	})
	for _, callers := range []int{1, 256} {
		b.Run(fmt.Sprintf("single/callers=%d", callers), func(b *testing.B) {
			f := start(b, Config{Path: b.TempDir()})
			f.consumer("a")
			b.SetParallelism(max(1, callers/2))
			b.ReportAllocs()
			if callers == 1 {
				one := status(1)
				for b.Loop() {
					if err := f.Append(bg, one); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					one := status(1)
					for pb.Next() {
						if err := f.Append(bg, one); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			perSecond(b, b.N)
		})
	}
}

// BenchmarkConsume measures events from the stream to acknowledged, a message at a time.
func BenchmarkConsume(b *testing.B) {
	const stored = 400 * 512
	f := start(b, Config{Path: b.TempDir()})
	c := f.consumer("a")
	f.consumer("b") // acknowledges nothing, so that everything is kept
	f.append(1, 1)
	events := status(512)
	for range stored / 512 {
		if err := f.Append(bg, events); err != nil {
			b.Fatal(err)
		}
	}
	c.Limit(stored + 1)
	position := c.saved
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n%(stored+1) >= stored-512 { // from the beginning again
			c.mu.Lock()
			c.acked, c.saved, c.next, c.open = position.Event, position, position.Message, nil
			c.mu.Unlock()
			c.Rewind()
			n = 0
		}
		batch, err := c.Next(bg, 512)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Ack(batch.First + uint64(batch.Count) - 1); err != nil {
			b.Fatal(err)
		}
		n += batch.Count
	}
	perSecond(b, 512*b.N)
}
