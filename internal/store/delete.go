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
	d.writing.Lock()
	defer d.writing.Unlock()
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

// deleteSeries deletes the series of sc that meet the conditions. The caller holds d.writing.
func (d *database) deleteSeries(ctx context.Context, sc *schema, conditions []condition) error {
	for next := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, sel, err := d.lookSchema(&timeseries.Schema{Name: sc.Name})
		if err != nil {
			return err
		}
		m, err := d.match(sc, conditions, next)
		if err != nil {
			return err
		}
		var encoded []string
		for len(sel.ids) < partSize && m.step() {
			sel.add(m.id, m.first, nil, nil)
			encoded = append(encoded, string(encodeTags(nil, m.tags)))
		}
		next = m.next
		err = m.err
		m.close()
		if err != nil {
			return err
		}
		if len(sel.ids) == 0 {
			return nil
		}
		if err := d.removeAll(sel, encoded, nil); err != nil {
			return err
		}
		if err := d.deleteBlocks(sel); err != nil {
			return err
		}
		if len(sel.ids) < partSize {
			return nil
		}
	}
}

// removeAll removes the series of sel that keep, asked under d.mu, does not want
// to stay, and waits until that is committed.
func (d *database) removeAll(sel *selection, encoded []string, keep func(i int) bool) error {
	d.mu.Lock()
	g := d.group()
	var err error
	var ids []uint64
	for i, id := range sel.ids {
		if keep != nil && keep(i) {
			continue
		}
		if err = d.remove(g, sel.schema, id, encoded[i]); err != nil {
			break
		}
		ids = append(ids, id)
	}
	d.mu.Unlock()
	d.wakeCommitter()
	if waiting := d.wait(context.Background(), g); err == nil {
		err = waiting
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
