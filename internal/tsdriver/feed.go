package tsdriver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/spool"
	"github.com/weirhq/weir/timeseries"
)

// How many points are handed to the script in one go: as many as take about between these
// times, so that a slow script answers questions in between and a fast one is not slowed down.
const (
	firstChunk = 16
	quickChunk = 50 * time.Millisecond
	slowChunk  = 300 * time.Millisecond
)

// deaths over the same points, after which they are sent in smaller parts.
const deaths = 2

// feeder hands points of the queue to the script, in order, each until the script has had it.
// It belongs to one goroutine.
type feeder struct {
	*Driver
	run       *run   // nil for none
	number    uint64 // of the next point since the start
	chunk     int
	isolation script.Isolation
	suspect   *script.Exit      // of the process that had the points that were sent last, nil for none
	reader    spool.PointReader // of points that are set aside
}

func (d *Driver) feed(ctx context.Context) {
	f := &feeder{Driver: d, chunk: firstChunk, isolation: script.Isolation{Deaths: deaths}}
	for {
		batch, err := d.queue.Next(ctx, recordBytes)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, spool.ErrClosed) {
				d.log.Error("cannot read the queue", "error", err)
			}
			return
		}
		for _, record := range batch.Records {
			if !f.record(ctx, record) {
				return
			}
		}
		if err := batch.Done(); err != nil {
			d.limited.Warn("cannot take points off the queue: they may be written again", "error", err)
		}
	}
}

// record hands over the points of a record; false when the driver stops.
func (f *feeder) record(ctx context.Context, record []byte) bool {
	count, _, err := cutCount(record)
	if f.left > 0 { // from before the start
		f.left--
		f.ledger.Received(int(count))
		f.held.Add(int64(count))
	}
	if err != nil {
		f.limited.Warn("a record of the queue is passed over", "error", err)
		return true
	}
	for from := 0; from < int(count); {
		n := f.isolation.Limit(f.number, min(f.chunk, int(count)-from))
		head := appendHead{f.number, uint32(from), uint32(n)}
		told, ok := f.send(ctx, head, record)
		if ctx.Err() != nil {
			return false
		}
		switch {
		case ok:
			f.isolation.Survived(f.number, n)
			f.count(n, told)
		case f.aside(head, record):
			n = 1
		default:
			continue
		}
		from += n
		f.number += uint64(n)
		f.held.Add(-int64(n))
	}
	return true
}

// count keeps the books about points that the script had.
func (f *feeder) count(n int, told taken) {
	refused := min(max(told.Refused, 0), n)
	failed := min(max(told.Failed, 0), n-refused)
	f.refused.Add(refused)
	f.failed.Add(failed)
	f.ledger.Passed(n - refused - failed)
	if refused+failed > 0 {
		f.limited.Warn("the driver did not take points", "points", refused+failed, "error", told.Error)
	}
}

// send hands points to a process, and waits until the script has had them; false when its process ended
// or could not be reached.
func (f *feeder) send(ctx context.Context, head appendHead, record []byte) (told taken, ok bool) {
	if f.run == nil {
		select {
		case <-ctx.Done():
			return told, false
		case f.run = <-f.ready:
		}
	}
	began := time.Now()
	if err := f.run.process.SendWait(ctx, kindAppend, head.frame(record)); err != nil {
		if errors.Is(err, script.ErrEnded) {
			f.run = nil
		}
		return told, false
	}
	for {
		select {
		case told = <-f.run.taken:
		case e := <-f.run.exit:
			select {
			case told = <-f.run.taken: // it said so before it ended
			default:
				f.run, f.suspect = nil, e
				return told, false
			}
			f.run = nil
			return told, told.Number == head.number
		case <-ctx.Done():
			return told, false
		}
		if told.Number == head.number {
			f.pace(int(head.count), time.Since(began))
			return told, true
		}
	}
}

// pace looks for a number of points that takes a short time.
func (f *feeder) pace(n int, took time.Duration) {
	switch {
	case took > slowChunk:
		f.chunk = max(f.chunk/4, 1)
	case took < quickChunk && n == f.chunk:
		f.chunk = min(2*f.chunk, recordPoints)
	}
}

// aside finds out whether the process ended because of one of these points, and sets it aside when it
// is the only one that was sent.
func (f *feeder) aside(head appendHead, record []byte) bool {
	e := f.suspect
	f.suspect = nil
	if e == nil || e.Asked || e.Errors || e.Failure != nil || e.Working == nil || e.Working.Kind != kindAppend {
		return false
	}
	found := f.isolation.Died(head.number, int(head.count))
	if f.isolation.Isolating() {
		f.supervisor.RestartSoon()
	}
	if !found {
		return false
	}
	item := script.Quarantined{Time: time.Now(), Script: f.cfg.Setup.Name, Number: head.number, Reason: e.Error()}
	if p, err := f.point(record, int(head.from)); err == nil {
		var one spool.PointWriter
		one.Add(p)
		item.Payload = append([]byte{1}, one.Record()...)
		item.Text = describe(p)
	}
	if err := f.quarantine.Add(item); err != nil {
		f.limited.Warn("a point that ends the script stays in the queue", "error", err)
		return false
	}
	f.setAside.Add(1)
	f.log.Error("a point was set aside: the script ended whenever it got it alone", "point", item.Text, "reason", item.Reason)
	return true
}

func (f *feeder) point(record []byte, at int) (*timeseries.Point, error) {
	_, record, err := cutCount(record)
	if err != nil {
		return nil, err
	}
	points, err := f.reader.Append(nil, record)
	if err != nil || at >= len(points) {
		return nil, errors.Join(errAnswer, err)
	}
	return &points[at], nil
}

// describe is a point for people.
func describe(p *timeseries.Point) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s at %d", p.Schema.Name, p.Time)
	for i, tag := range p.Tags {
		fmt.Fprintf(&text, " %s=%q", p.Schema.Tags[i], cut(tag))
	}
	for i, v := range p.Values {
		fmt.Fprintf(&text, " %s=%g", p.Schema.Metrics[i], v)
	}
	return text.String()
}
