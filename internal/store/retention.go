package store

import (
	"context"
	"fmt"

	"github.com/weirhq/weir/timeseries"
)

// DeleteOld implements timeseries.Driver: blocks that are older than the
// retention go, a range of keys per block start, and series without any block left
// go with them. Points stay until their whole block is too old.
func (s *Store) DeleteOld(ctx context.Context, now int64) error {
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	d.mu.RLock()
	var schemas []*schema
	for _, sc := range d.schemas {
		if sc.Last >= sc.First && sc.First < d.limits.oldest(sc, now) {
			schemas = append(schemas, sc)
		}
	}
	d.mu.RUnlock()
	if len(schemas) == 0 {
		return nil
	}
	// Rows in memory become blocks, so that there is one kind of old points.
	if err := d.checkpoint(); err != nil {
		return fmt.Errorf("cannot delete old points: %w", err)
	}
	for _, sc := range schemas {
		if err := d.deleteOld(ctx, sc, now); err != nil {
			return fmt.Errorf("cannot delete old points of %q: %w", sc.Name, err)
		}
	}
	return d.makeRoom()
}

// makeRoom has the deletions in memory written out, so that the tables they
// cover can go.
func (d *database) makeRoom() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot write tables: %v", r)
		}
	}()
	_, err = d.pebble.AsyncFlush()
	return err
}

// deleteOld applies retention to one schema.
func (d *database) deleteOld(ctx context.Context, sc *schema, now int64) error {
	d.mu.RLock()
	oldest := d.limits.oldest(sc, now)
	first, last := sc.First, sc.Last
	d.mu.RUnlock()
	for start := first; start < oldest && start <= last; start += sc.Span {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.deleteBlockStart(sc, start); err != nil {
			return err
		}
	}
	if err := d.sweep(ctx, sc, oldest); err != nil {
		return err
	}
	// Only now, so that a sweep that was interrupted is done again.
	d.mu.Lock()
	if sc.First == first && sc.First < oldest {
		sc.First = oldest
		if sc.Last < sc.First {
			sc.First, sc.Last = 0, -1
		}
		g := d.group()
		g.set(schemaKey(sc.ID), sc.encode())
	}
	d.mu.Unlock()
	d.wakeCommitter()
	return d.barrier()
}

// deleteBlockStart deletes the blocks of sc that start at start.
func (d *database) deleteBlockStart(sc *schema, start int64) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	low := appendDataKey(nil, start, sc.ID, 0)
	high := after(low[:dataKeySize-8])
	batch := d.pebble.NewBatch()
	if err := batch.DeleteRange(low, high, nil); err != nil {
		return err
	}
	if err := d.apply(batch, false); err != nil {
		return err
	}
	return batch.Close()
}

// sweep removes series of sc that have no sample from oldest on.
func (d *database) sweep(ctx context.Context, sc *schema, oldest int64) error {
	for next := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if next, err = d.sweepPart(sc, oldest, next); err != nil || next == 0 {
			return err
		}
	}
}

// sweepPart looks at the next series, no longer than appends can wait.
func (d *database) sweepPart(sc *schema, oldest int64, from uint64) (next uint64, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	_, sel, err := d.lookSchema(&timeseries.Schema{Name: sc.Name})
	if err != nil {
		return 0, err
	}
	m, err := d.match(sc, nil, from)
	if err != nil {
		return 0, err
	}
	var encoded []string
	looked := 0
	for looked < partSize && m.step() {
		looked++
		if m.first < oldest {
			sel.add(m.id, m.first, nil, nil)
			encoded = append(encoded, string(encodeTags(nil, m.tags)))
		}
	}
	next, err = m.next, m.err
	m.close()
	if err != nil {
		return 0, err
	}
	if looked < partSize {
		next = 0
	}
	if len(sel.ids) == 0 {
		return next, nil
	}
	alive, err := d.anyWithin(sel, oldest, maxTime-2)
	if err != nil {
		return 0, err
	}
	// Nothing moves from memory into blocks while d.writing is held: a series
	// without a block and without rows in memory has nothing.
	return next, d.removeAll(sel, encoded, func(i int) bool {
		s := d.dictionary.unsaved[sel.ids[i]]
		return alive[i] || s != nil
	})
}
