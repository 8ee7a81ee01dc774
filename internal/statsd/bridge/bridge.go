// Package bridge is the StatsD backend that puts flushes on the stream of events, where stream
// connectors get them (specification section 10). Every number is an event of its own,
// storage:pb_metric, as a broker makes them of performance data:
//
//	name        NAME;TAGS, of timers NAME.FIELD;TAGS; the tags as they came
//	value       the count of a counter in the interval, the members of a set
//	value_type  ABSOLUTE of counters, else GAUGE
//	time        Unix seconds
//	interval    seconds, at least 1
//
// The numbers of metric, host and service are 0: there are none.
package bridge

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/statsd/outbox"
)

// Config bounds what waits for the stream.
type Config struct {
	MaxQueue int64 // bytes on disk
}

// Stream stores events; it returns nil when all of them are durable.
type Stream interface {
	Append(ctx context.Context, events []event.Event) error
}

// metricEvent is category storage, element 9.
const metricEvent event.Type = 3<<16 | 9

// The types of a value (Metric.ValueType).
const (
	gaugeValue    = 0
	absoluteValue = 3
)

// Backend puts flushes on a stream.
type Backend struct {
	*outbox.Outbox[event.Event]

	record  *event.Record
	name    []byte
	payload []byte
}

var _ backend.Stopper = (*Backend)(nil)

// New returns a Backend that does nothing before Init.
func New(stream Stream, box outbox.Config) *Backend {
	return &Backend{Outbox: outbox.New("events", "events", 0, box, content{stream}), record: event.NewRecord(event.Lookup(metricEvent))}
}

// Init implements [backend.Backend].
func (b *Backend) Init(ctx context.Context, env backend.Environment) error {
	b.record.Set("interval", event.IntValue(max(int64(math.Round(env.Interval)), 1)))
	return b.Outbox.Init(ctx, env)
}

// Flush implements [backend.Backend]. An error means that some of it is not in the queue.
func (b *Backend) Flush(_ context.Context, f *backend.Flush) error {
	b.Begin(f)
	b.record.Set("time", event.IntValue(f.Timestamp))
	b.record.Set("value_type", event.IntValue(absoluteValue))
	for i := range f.Counters {
		b.event(f.Counters[i].Name, "", f.Counters[i].Value)
	}
	b.record.Set("value_type", event.IntValue(gaugeValue))
	for i := range f.Gauges {
		b.event(f.Gauges[i].Name, "", f.Gauges[i].Value)
	}
	for i := range f.Timers {
		t := &f.Timers[i]
		for _, field := range t.Fields {
			b.event(t.Name, field.Name, field.Value)
		}
		for _, bin := range t.Histogram {
			b.event(t.Name, bin.Name, bin.Value)
		}
	}
	for i := range f.Sets {
		b.event(f.Sets[i].Name, "", float64(len(f.Sets[i].Members)))
	}
	return b.End()
}

func (b *Backend) event(key, field string, v float64) {
	if !outbox.Finite(v) {
		b.Infinite(key)
		return
	}
	b.name = append(b.name[:0], key...)
	if field != "" {
		name, tags, tagged := strings.Cut(key, ";")
		b.name = append(append(append(b.name[:0], name...), '.'), field...)
		if tagged {
			b.name = append(append(b.name, ';'), tags...)
		}
	}
	b.record.Set("name", event.TextValue(b.name))
	b.record.Set("value", event.FloatValue(v))
	b.payload = b.record.AppendPayload(b.payload[:0])
	one := [1]event.Event{{Type: metricEvent, Payload: b.payload}}
	b.Record = event.AppendBatch(b.Record, one[:])
	b.Item(key)
}

// content is batches of events.
type content struct{ stream Stream }

// Decode implements [delivery.Content].
func (content) Decode(dst []event.Event, record []byte) ([]event.Event, error) {
	before := len(dst)
	it := event.NewIterator(record)
	for it.Next() {
		dst = append(dst, it.Event)
	}
	if err := it.Err(); err != nil {
		return dst[:before], err
	}
	return dst, nil
}

// Send implements [delivery.Content].
func (c content) Send(ctx context.Context, events []event.Event) error {
	return c.stream.Append(ctx, events)
}

// Refused implements [delivery.Content]. The stream refuses nothing for good; what it
// cannot hold it counts itself.
func (content) Refused(events []event.Event, reason string) (lines []byte, about []any, err error) {
	return fmt.Appendf(nil, "{\"reason\":%q,\"at\":%q,\"events\":%d}\n", reason, time.Now().UTC().Format(time.RFC3339), len(events)), nil, nil
}
