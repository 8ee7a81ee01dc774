package bridge

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/statsd/outbox/outboxtest"
)

// fake is a stream that remembers events, and refuses the first appends.
type fake struct {
	mu     sync.Mutex
	refuse int
	events []string
}

func (f *fake) Append(_ context.Context, events []event.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse--; f.refuse >= 0 {
		return errors.New("the stream is full")
	}
	for _, e := range events {
		f.events = append(f.events, text(e))
	}
	return nil
}

// text renders an event.
func text(e event.Event) string {
	r, err := event.Decode(e)
	if err != nil {
		return err.Error()
	}
	return string(event.RenderV2(r))
}

func TestEvents(t *testing.T) {
	stream := &fake{refuse: 1}
	box := outboxtest.Config(t.TempDir(), "events")
	b := New(stream, box)
	outboxtest.Start(t, b)
	f := outboxtest.Flush()
	f.Timers[0].Name = "api;dc=lyon"
	f.Gauges = append(f.Gauges, backend.Gauge{Name: "infinite", Value: math.Inf(1)})
	outboxtest.Deliver(t, b, f)
	render := func(name string, value float64, kind int64) string {
		r := event.NewRecord(event.Lookup(metricEvent))
		r.Set("name", event.TextValue([]byte(name)))
		r.Set("value", event.FloatValue(value))
		r.Set("value_type", event.IntValue(kind))
		r.Set("time", event.IntValue(1700000010))
		r.Set("interval", event.IntValue(10))
		return text(r.Encode())
	}
	want := []string{
		render("hits;dc=lyon", 3, 3), render("load", 0.5, 0), render("api.count;dc=lyon", 2, 0), render("api.upper_90;dc=lyon", 20, 0),
		render("api.bin_50;dc=lyon", 2, 0), render("who", 2, 0),
	}
	if diff := cmp.Diff(want, stream.events); diff != "" {
		t.Error(diff)
	}
	if got := outboxtest.Account(t, box); got != "received 7, passed 6, buffered 0, discarded map[not_finite:1]" {
		t.Error(got)
	}
}

// A record that is not a batch is set aside, and what comes after it is delivered.
func TestDecode(t *testing.T) {
	batch := event.AppendBatch(nil, []event.Event{{Type: metricEvent, Payload: []byte{1, 2}}, {Type: metricEvent}})
	if events, err := (content{}).Decode(nil, batch); err != nil || len(events) != 2 {
		t.Errorf("%v, %v", events, err)
	}
	if events, err := (content{}).Decode(nil, batch[:len(batch)-1]); err == nil || len(events) != 0 {
		t.Errorf("%v, %v", events, err)
	}
	if lines, _, err := (content{}).Refused(make([]event.Event, 3), `a "reason"`); err != nil || len(lines) == 0 {
		t.Errorf("%s, %v", lines, err)
	}
}

// BenchmarkFlush is a flush of 100 000 counters and 10 000 timers to the queue on disk and to a stream that takes everything.
func BenchmarkFlush(b *testing.B) {
	bridge := New(nothing{}, outboxtest.Config(b.TempDir(), "events"))
	outboxtest.Start(b, bridge)
	f := outboxtest.Large()
	b.ReportAllocs()
	for b.Loop() {
		f.Timestamp += 10
		if err := bridge.Flush(context.Background(), f); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		outboxtest.Deliver(b, bridge)
		b.StartTimer()
	}
}

type nothing struct{}

func (nothing) Append(context.Context, []event.Event) error { return nil }
