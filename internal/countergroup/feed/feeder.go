package feed

import (
	"context"
	"fmt"
	"sync"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// sendAfter is how many updates are gathered before they are sent.
const sendAfter = 1000

// Feeder counts in groups what it is given. Its methods may be called from any goroutine.
type Feeder struct {
	metrics, points, events producer

	ledger           *telemetry.Ledger // "countergroup.feeds", in items that matched
	noField, noValue *telemetry.Discard
}

// producer is what reads one kind of source. Updates count in the second in which they come.
type producer struct {
	mu      sync.Mutex
	batch   *countergroup.Batch
	feeds   [kinds][]*feed
	schemas map[string][]*feed     // of points
	types   map[event.Type][]*feed // of events
	key     []byte
	text    []byte
	grabbed []grab
	metric  metric
	event   happened
	point   point
	single  [1]float64

	received, passed, fieldless, valueless int
}

// grab is where a capture is in text.
type grab struct{ from, to int }

// New registers the groups and returns what feeds them. Specs must have been checked.
func New(groups []Group, registry *countergroup.Registry, engine *countergroup.Engine, reg *telemetry.Registry) (*Feeder, error) {
	f := &Feeder{ledger: reg.Ledger("countergroup.feeds", "matches")}
	f.noField, f.noValue = f.ledger.Reason("no_field"), f.ledger.Reason("no_value")
	for _, p := range []*producer{&f.metrics, &f.points, &f.events} {
		p.batch, p.schemas, p.types = engine.Batch(), make(map[string][]*feed), make(map[event.Type][]*feed)
	}
	for _, g := range groups {
		group, err := registry.Register(g.Definition)
		if err != nil {
			return nil, err
		}
		for _, s := range g.Feeds {
			compiled, mistake := compile(s, group.Meters)
			if mistake != nil {
				return nil, fmt.Errorf("counter group %q: %w", g.Title, mistake)
			}
			compiled.group = group
			switch k := compiled.source.kind; k {
			case fromEvents:
				t := compiled.source.event.Type
				f.events.types[t] = append(f.events.types[t], compiled)
			case fromPoints:
				f.points.schemas[s.From] = append(f.points.schemas[s.From], compiled)
			default:
				f.metrics.feeds[k] = append(f.metrics.feeds[k], compiled)
			}
		}
	}
	return f, nil
}

// FeedsPoints reports whether any points are counted.
func (f *Feeder) FeedsPoints() bool { return len(f.points.schemas) > 0 }

// Backend returns what counts the flushes of a StatsD server; nil when none of them is counted.
func (f *Feeder) Backend() backend.Backend {
	for _, feeds := range f.metrics.feeds {
		if len(feeds) > 0 {
			return flushes{f}
		}
	}
	return nil
}

// flushes is a backend.Backend.
type flushes struct{ feeder *Feeder }

// Name implements backend.Backend.
func (flushes) Name() string { return "counter_groups" }

// Init implements backend.Backend.
func (flushes) Init(context.Context, backend.Environment) error { return nil }

// Flush implements backend.Backend. Counters and timers that saw nothing since the last flush, which StatsD goes on sending, are no updates.
func (b flushes) Flush(_ context.Context, flush *backend.Flush) error {
	p := &b.feeder.metrics
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range flush.Counters {
		if c := &flush.Counters[i]; c.Value != 0 {
			p.metric.key = c.Name
			p.each(fromCounters, c.Value)
		}
	}
	for i := range flush.Gauges {
		p.metric.key = flush.Gauges[i].Name
		p.each(fromGauges, flush.Gauges[i].Value)
	}
	for i := range flush.Sets {
		if s := &flush.Sets[i]; len(s.Members) > 0 {
			p.metric.key = s.Name
			p.each(fromSets, float64(len(s.Members)))
		}
	}
	for i := range flush.Timers {
		t := &flush.Timers[i]
		if len(t.Values) == 0 {
			continue
		}
		p.metric.key = t.Name
		for _, feed := range p.feeds[fromTimers] {
			if !p.fits(feed, &p.metric) {
				continue
			}
			values := t.Values
			if !feed.every {
				values = p.one()
				for k := range t.Fields {
					if t.Fields[k].Name == feed.value.name {
						values = append(values, t.Fields[k].Value)
						break
					}
				}
			}
			p.add(feed, &p.metric, values)
		}
	}
	b.feeder.send(p)
	return nil
}

// Points counts points of series.
func (f *Feeder) Points(points []timeseries.Point) {
	p := &f.points
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range points {
		p.point.point = &points[i]
		for _, feed := range p.schemas[points[i].Schema.Name] {
			if !p.fits(feed, &p.point) {
				continue
			}
			values := p.one()
			if n := feed.value.index; n < len(points[i].Values) && points[i].Values[n] == points[i].Values[n] {
				values = append(values, points[i].Values[n])
			}
			p.add(feed, &p.point, values)
		}
	}
	f.send(p)
}

// Events counts events.
func (f *Feeder) Events(events []event.Event) {
	p := &f.events
	if len(p.types) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		feeds := p.types[events[i].Type]
		if len(feeds) == 0 {
			continue
		}
		p.event.event = &events[i]
		for _, feed := range feeds {
			if !p.fits(feed, &p.event) {
				continue
			}
			values := p.one()
			if feed.counts {
				values = append(values, 1)
			} else if v, ok := p.event.value(&feed.value); ok {
				values = append(values, v)
			}
			p.add(feed, &p.event, values)
		}
	}
	f.send(p)
}

// one is room for one value.
func (p *producer) one() []float64 { return p.single[:0] }

// each counts a metric of one value.
func (p *producer) each(k kind, value float64) {
	for _, feed := range p.feeds[k] {
		if p.fits(feed, &p.metric) {
			p.add(feed, &p.metric, append(p.one(), value))
		}
	}
}

// fits reports whether an item fits what the feed takes, and keeps what its patterns stand for.
func (p *producer) fits(f *feed, i item) bool {
	p.text, p.grabbed = p.text[:0], p.grabbed[:0]
	for k := range f.matches {
		m := &f.matches[k]
		from := len(p.text)
		var ok bool
		if p.text, ok = i.append(p.text, &m.field); !ok {
			return false
		}
		text := p.text[from:]
		switch {
		case m.pattern == nil:
			if string(text) != m.text {
				return false
			}
		case !f.grabs:
			if !m.pattern.Match(text) {
				return false
			}
		default:
			found := m.pattern.FindSubmatchIndex(text)
			if found == nil {
				return false
			}
			for g := 2; g < len(found); g += 2 {
				p.grabbed = append(p.grabbed, grab{from + max(found[g], 0), from + max(found[g+1], 0)}) // of a group that stands for nothing: ""
			}
		}
	}
	return true
}

// add counts values of an item that fits.
func (p *producer) add(f *feed, i item, values []float64) {
	p.received++
	p.key = p.key[:0]
	for _, part := range f.key {
		switch ok := true; {
		case part.field != nil:
			if p.key, ok = i.append(p.key, part.field); !ok {
				p.fieldless++
				return
			}
		case part.capture > 0:
			g := p.grabbed[part.capture-1]
			p.key = append(p.key, p.text[g.from:g.to]...)
		default:
			p.key = append(p.key, part.text...)
		}
	}
	if len(values) == 0 {
		p.valueless++
		return
	}
	p.passed++
	for _, v := range values {
		p.batch.Add(f.group, p.key, f.meter, v)
	}
	if p.batch.Len() >= sendAfter {
		p.batch.Send()
	}
}

// send counts what was gathered and accounts for it.
func (f *Feeder) send(p *producer) {
	p.batch.Send()
	if p.received == 0 {
		return
	}
	f.ledger.Received(p.received)
	f.ledger.Passed(p.passed)
	f.noField.Add(p.fieldless)
	f.noValue.Add(p.valueless)
	p.received, p.passed, p.fieldless, p.valueless = 0, 0, 0, 0
}
