package store

import (
	"context"
	"fmt"

	"github.com/weirhq/weir/timeseries"
)

// DeleteOld implements timeseries.Driver: blocks that are older than the
// retention go, a range of keys per block start, and series without any block left
// go with them. Points stay until their whole block is too old and slots are made of
// them; slots stay until longer slots are.
func (s *Store) DeleteOld(ctx context.Context, now int64) error {
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	d.rolling.Lock()
	defer d.rolling.Unlock()
	d.mu.RLock()
	var schemas []*schema
	for _, sc := range d.schemas {
		if sc.old(&d.limits, now) {
			schemas = append(schemas, sc)
		}
	}
	d.mu.RUnlock()
	for _, sc := range schemas {
		if err := d.deleteOld(ctx, sc, now); err != nil {
			return fmt.Errorf("cannot delete old points of %q: %w", sc.Name, err)
		}
	}
	if len(schemas) == 0 {
		return nil
	}
	return d.makeRoom()
}

// old reports whether anything of sc is too old. The caller holds d.mu.
func (sc *schema) old(limits *limits, now int64) bool {
	if sc.Last >= sc.First && sc.First < sc.cut(tierRaw, limits.oldest(sc, now)) {
		return true
	}
	for i := range sc.Tiers {
		t := &sc.Tiers[i]
		if t.Rolled > 0 && t.Gone < min(sc.cut(t.ID, now-t.Keep), sc.cut(t.ID, t.Rolled)) {
			return true
		}
	}
	return false
}

// cut is the latest time that is not after at at which a tier can end: between
// two of its blocks, and between two slots of those that are made of it.
func (sc *schema) cut(id byte, at int64) int64 {
	unit := sc.Span
	if id != tierRaw {
		unit = sc.tier(id).Span
	}
	for i := range sc.Tiers {
		if t := &sc.Tiers[i]; t.Source == id {
			unit = max(unit, t.Step) // one divides the other
		}
	}
	at = max(at, 0)
	return at - at%unit
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
	oldest := sc.cut(tierRaw, d.limits.oldest(sc, now))
	tiers := len(sc.Tiers)
	d.mu.RUnlock()
	if err := d.deletePoints(ctx, sc, oldest); err != nil {
		return err
	}
	for i := range tiers {
		if err := d.deleteSlots(ctx, sc, i, now); err != nil {
			return err
		}
	}
	d.mu.RLock()
	for i := range sc.Tiers { // a series lives as long as anything tells of it
		if t := &sc.Tiers[i]; t.Rolled > 0 || t.From > 0 {
			oldest = min(oldest, t.From)
		}
	}
	d.mu.RUnlock()
	if oldest <= 0 {
		return nil
	}
	return d.sweep(ctx, sc, oldest)
}

// deletePoints deletes the points of sc up to oldest, after slots were made of them.
func (d *database) deletePoints(ctx context.Context, sc *schema, oldest int64) error {
	d.mu.Lock()
	first, last := sc.First, sc.Last
	if len(sc.Tiers) > 0 {
		sc.gate = max(sc.gate, oldest)
	}
	tiers := len(sc.Tiers)
	d.mu.Unlock()
	if last < first || first >= oldest {
		return nil
	}
	// Rows in memory become blocks, so that there is one kind of old points.
	if err := d.checkpoint(); err != nil {
		return err
	}
	for i := range tiers {
		if err := d.rollBefore(ctx, sc, i, tierRaw, oldest); err != nil {
			return err
		}
	}
	if tiers > 0 {
		d.mu.Lock()
		sc.cuts++
		sc.Floor = max(sc.Floor, oldest)
		d.mu.Unlock()
		if err := d.save(sc); err != nil {
			return err
		}
	}
	for start := first; start < oldest && start <= last; start += sc.Span {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.deleteBlockStart(sc, tierRaw, start); err != nil {
			return err
		}
	}
	// Only now, so that a deletion that was interrupted is done again.
	d.mu.Lock()
	if sc.First == first {
		sc.First = oldest
		if sc.Last < sc.First {
			sc.First, sc.Last = 0, -1
		}
	}
	d.mu.Unlock()
	return d.save(sc)
}

// rollBefore makes the slots of tier number i before at when their source is about to
// lose what they are made of.
func (d *database) rollBefore(ctx context.Context, sc *schema, i int, source byte, at int64) error {
	d.mu.RLock()
	concerned := sc.Tiers[i].Source == source
	d.mu.RUnlock()
	if !concerned {
		return nil
	}
	return d.rollTier(ctx, sc, i, at)
}

// deleteSlots deletes the slots of a tier that are too old.
func (d *database) deleteSlots(ctx context.Context, sc *schema, i int, now int64) error {
	d.mu.RLock()
	t := sc.Tiers[i]
	oldest := min(sc.cut(t.ID, now-t.Keep), sc.cut(t.ID, t.Rolled))
	tiers, begin := len(sc.Tiers), max(t.Gone, sc.Oldest-sc.margin()-1, 0)
	d.mu.RUnlock()
	if t.Gone >= oldest {
		return nil
	}
	for k := range tiers {
		if err := d.rollBefore(ctx, sc, k, t.ID, oldest); err != nil {
			return err
		}
	}
	d.mu.Lock()
	sc.cuts++
	sc.Tiers[i].From = oldest
	d.mu.Unlock()
	if err := d.save(sc); err != nil {
		return err
	}
	for start := begin - begin%t.Span; start < oldest; start += t.Span {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.deleteBlockStart(sc, t.ID, start); err != nil {
			return err
		}
	}
	d.mu.Lock()
	sc.Tiers[i].Gone = oldest
	d.mu.Unlock()
	return d.save(sc)
}

// save stores the record of sc.
func (d *database) save(sc *schema) error {
	d.mu.Lock()
	d.group().set(schemaKey(sc.ID), sc.encode())
	d.mu.Unlock()
	d.wakeCommitter()
	return d.barrier()
}

// deleteBlockStart deletes the blocks of a tier of sc that start at start.
func (d *database) deleteBlockStart(sc *schema, tier byte, start int64) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	low := appendTierKey(nil, tier, start, sc.ID, 0)
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
