package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// group is what is committed together: the journal records of one or more
// appends, and the records of series and schemas they created or that were deleted.
type group struct {
	batch   *pebble.Batch
	changed bool // the counters of the dictionary did
	done    chan struct{}
	err     error // valid when done is closed
}

func (g *group) set(key, value []byte) { _ = g.batch.Set(key, value, nil) } // a batch in memory has no errors
func (g *group) set1(key []byte)       { g.set(key, nil) }
func (g *group) delete(key []byte)     { _ = g.batch.Delete(key, nil) }

// maxGroup is the size in bytes from which an append waits for the next group.
const maxGroup = 4 << 20

// group returns the group that the committer takes next. The caller holds d.mu.
func (d *database) group() *group {
	if d.pending == nil {
		d.pending = &group{batch: d.pebble.NewBatch(), done: make(chan struct{})}
	}
	return d.pending
}

// commit is the committer: it applies one group after the other, so that what
// an append created is in the log before any append that uses it. A group that
// never returns (Pebble blocks when it cannot flush) ends with the database.
func (d *database) commit() {
	defer close(d.committed)
	for {
		select {
		case <-d.wake:
		case <-d.broken:
		case <-d.quit:
		}
		d.mu.Lock()
		g := d.pending
		d.pending = nil
		closed := d.closed
		if g != nil && g.changed {
			var meta [16]byte
			binary.BigEndian.PutUint64(meta[:], d.nextSeries)
			binary.BigEndian.PutUint64(meta[8:], uint64(d.seriesCount))
			g.set(metaSeries, meta[:])
		}
		d.mu.Unlock()
		if g == nil {
			if closed || d.err() != nil {
				return
			}
			continue
		}
		if !g.batch.Empty() {
			g.err = d.apply(g.batch, true)
		}
		if g.err == nil {
			g.batch.Close()
		}
		close(g.done)
		d.mu.Lock()
		d.space.Broadcast()
		d.mu.Unlock()
	}
}

// wakeCommitter is called after something was put into the pending group.
func (d *database) wakeCommitter() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// wait waits until g is committed.
func (d *database) wait(ctx context.Context, g *group) error {
	select {
	case <-g.done:
		return g.err
	case <-d.broken:
		return d.err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// barrier returns when all that was appended before is committed.
func (d *database) barrier() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return errClosed
	}
	g := d.group()
	d.mu.Unlock()
	d.wakeCommitter()
	return d.wait(context.Background(), g)
}

// day is how far ahead of the clock a point may be.
const day = 86_400

// append stores points; now is the clock in Unix seconds. It returns which points
// were refused, and an error when the others could not be stored.
func (d *database) append(ctx context.Context, points []timeseries.Point, now int64) (refused timeseries.AppendError, err error) {
	d.mu.Lock()
	for d.err() == nil && !d.closed && (d.memory+d.sealing > 2*d.limits.memory || d.pending != nil && d.pending.batch.Len() > maxGroup) {
		if d.memory > d.limits.memory {
			d.askCheckpoint()
		}
		d.space.Wait()
	}
	if err := d.err(); err != nil || d.closed {
		d.mu.Unlock()
		if err == nil {
			err = errClosed
		}
		return refused, err
	}
	g := d.group()
	d.clock = max(d.clock, now)
	d.writer.reset()
	values := 0
	for i := range points {
		reason, err := d.add(g, &points[i], now)
		if err != nil {
			if refused.Refused++; refused.Refused == 1 {
				refused.First = err
			}
			reason.Add(1)
			continue
		}
		values += len(points[i].Values)
	}
	if !d.writer.empty() {
		d.journal++
		d.journalBytes += len(d.writer.data)
		g.set(journalKey(d.journal), d.writer.data)
	}
	due := d.memory > d.limits.memory || d.journalBytes > d.limits.memory
	d.mu.Unlock()
	if due {
		d.askCheckpoint()
	}
	d.wakeCommitter()
	if err := d.wait(ctx, g); err != nil {
		return refused, err
	}
	d.count.values.Add(int64(values))
	return refused, nil
}

// add puts one point into memory and into the journal record at hand. The caller holds d.mu.
func (d *database) add(g *group, p *timeseries.Point, now int64) (*telemetry.Discard, error) {
	if p.Schema == nil {
		return d.count.invalid, errors.New("cannot append a point without a schema")
	}
	b, err := d.bind(g, p.Schema)
	if err != nil {
		return d.count.invalid, err
	}
	sc := b.schema
	known := false
	infinite := false
	for _, v := range p.Values {
		known = known || v == v
		infinite = infinite || math.IsInf(v, 0)
	}
	switch {
	case len(p.Tags) != len(sc.Tags) || len(p.Values) != len(p.Schema.Metrics) || p.Time < 0 || !known || infinite:
		return d.count.invalid, p.Validate()
	case p.Time > now+day:
		return d.count.future, fmt.Errorf("cannot append to %q: time %d is more than a day ahead of the clock (%d); times are seconds", sc.Name, p.Time, now)
	case sc.start(p.Time) < d.limits.oldest(sc, now) || sc.gate > 0 && p.Time <= sc.gate:
		return d.count.expired, fmt.Errorf("cannot append to %q: time %d is older than what is kept", sc.Name, p.Time)
	}
	s, err := d.resolve(g, sc, p)
	if err != nil {
		if errors.Is(err, timeseries.ErrFull) {
			return d.count.full, err
		}
		return d.count.invalid, err
	}
	start := sc.start(p.Time)
	if start < s.first {
		s.first = start
		g.set(seriesKey(sc.ID, s.id), encodeSeries(s))
	}
	if sc.Oldest == 0 || start < sc.Oldest {
		sc.Oldest = start // stored with First
	}
	if sc.Last < sc.First {
		sc.First, sc.Last = start, start
		g.set(schemaKey(sc.ID), sc.encode())
	} else if start < sc.First || start > sc.Last {
		sc.First, sc.Last = min(sc.First, start), max(sc.Last, start)
		g.set(schemaKey(sc.ID), sc.encode())
	}
	s.used = d.round
	row := p.Values
	if b.columns != nil {
		row = d.arrange(b, p.Values)
	}
	d.writer.add(sc.ID, s.id, p.Time, row)
	d.addRow(s, p.Time, row)
	return nil, nil
}

// arrange brings values into the order of the columns.
func (d *database) arrange(b *binding, values []float64) []float64 {
	d.row = d.row[:0]
	for range b.width {
		d.row = append(d.row, math.NaN())
	}
	for i, column := range b.columns {
		d.row[column] = values[i]
	}
	return d.row
}
