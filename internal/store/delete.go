package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirhq/weir/timeseries"
)

// Delete implements timeseries.Driver. The series disappear at once; what they take
// on disk is given back when the database is compacted. A key inside the packed
// tag counts as a tag that the series with it have.
func (s *Store) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	if prefix == "" && len(tags) == 0 {
		return errors.New("cannot delete everything: name a schema prefix or at least one tag")
	}
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	if err := d.barrier(); err != nil { // what is appended already can be found
		return fmt.Errorf("cannot delete %q: %w", prefix, err)
	}
	d.mu.RLock()
	var schemas []*schema
	for _, sc := range d.schemas {
		if prefix == "" || sc.definition().Prefix() == prefix {
			schemas = append(schemas, sc)
		}
	}
	d.mu.RUnlock()
	for _, sc := range schemas {
		conditions, unknown := sc.conditions(tags)
		if len(unknown) > 0 {
			continue
		}
		if err := d.deleteSeries(ctx, sc, conditions); err != nil {
			return fmt.Errorf("cannot delete %q: %w", prefix, err)
		}
	}
	return nil
}

// deleteSeries deletes the series of sc that meet the conditions.
func (d *database) deleteSeries(ctx context.Context, sc *schema, conditions []condition) error {
	for next := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if next, err = d.deletePart(sc, conditions, next); err != nil || next == 0 {
			return err
		}
	}
}

// deletePart is deleteSeries for the next series, no longer than appends can wait.
func (d *database) deletePart(sc *schema, conditions []condition, from uint64) (next uint64, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	_, sel, err := d.lookSchema(&timeseries.Schema{Name: sc.Name})
	if err != nil {
		return 0, err
	}
	m, err := d.match(sc, conditions, from)
	if err != nil {
		return 0, err
	}
	var encoded []string
	for len(sel.ids) < partSize && m.step() {
		sel.add(m.id, m.first, nil, nil)
		encoded = append(encoded, string(encodeTags(nil, m.tags)))
	}
	next, err = m.next, m.err
	m.close()
	if err != nil || len(sel.ids) == 0 {
		return 0, err
	}
	if len(sel.ids) < partSize {
		next = 0
	}
	if err := d.removeAll(sel, encoded, nil); err != nil {
		return 0, err
	}
	return next, d.deleteBlocks(sel)
}

// removeSeries is how many series are removed at a time: d.mu, and so appends, is not
// held longer than that takes.
const removeSeries = 32

// removeAll removes the series of sel that keep, asked under d.mu, does not want
// to stay, and waits until that is committed.
func (d *database) removeAll(sel *selection, encoded []string, keep func(i int) bool) error {
	var ids []uint64
	var groups []*group
	var err error
	for from := 0; from < len(sel.ids) && err == nil; from += removeSeries {
		d.mu.Lock()
		g := d.group()
		for i := from; i < min(from+removeSeries, len(sel.ids)); i++ {
			if keep != nil && keep(i) {
				continue
			}
			if err = d.remove(g, sel.schema, sel.ids[i], encoded[i]); err != nil {
				break
			}
			ids = append(ids, sel.ids[i])
		}
		d.mu.Unlock()
		d.wakeCommitter()
		groups = append(groups, g)
	}
	for _, g := range groups {
		if waiting := d.wait(context.Background(), g); err == nil {
			err = waiting
		}
	}
	d.mu.Lock()
	for _, id := range ids {
		delete(d.removed, id)
	}
	d.mu.Unlock()
	return err
}

// deleteBlocks deletes the blocks of series that were removed.
func (d *database) deleteBlocks(sel *selection) error {
	r := d.newReading(part{sel, 0, len(sel.ids)})
	defer r.close()
	remove := func(tier byte, from, to, span int64) error {
		for start := from; start <= to; start += span {
			batch := d.pebble.NewBatch()
			err := r.tierBlocks(tier, start, r.all, func(i int, _ []byte) error {
				return batch.Delete(appendTierKey(nil, tier, start, sel.schema.ID, r.ids[i]), nil)
			})
			if err != nil {
				return err
			}
			if !batch.Empty() {
				if err := d.apply(batch, false); err != nil {
					return err
				}
			}
			batch.Close()
		}
		return nil
	}
	if err := remove(tierRaw, max(sel.low, sel.oldest), sel.high, sel.span); err != nil {
		return err
	}
	for i := range r.tiers {
		t := &r.tiers[i]
		from := max(sel.oldest-r.margin-1, t.From, 0)
		if err := remove(t.ID, from-from%t.Span, max(t.limit(), t.From), t.Span); err != nil {
			return err
		}
	}
	return nil
}
