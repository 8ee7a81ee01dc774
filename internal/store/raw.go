package store

import (
	"context"
	"fmt"
	"iter"
	"sort"

	"github.com/weirhq/weir/timeseries"
)

// rawBudget is about how many times and values Samples holds in memory at once:
// as many series are read together as fit, and at least one.
const rawBudget = 1 << 22

// Samples implements timeseries.Reader. It reads a part of the series at a time,
// in the order in which they were first appended to, and holds nothing in the
// database while the caller looks at them.
func (s *Store) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		var raw rawPart
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			var err error
			if more, err = s.readRaw(&q, &raw); err != nil {
				yield(nil, err)
				return
			}
			for i := range raw.tags {
				if one := raw.cut(i, q.After, q.Through); one != nil && !yield(one, nil) {
					return
				}
			}
		}
	}
}

// rawPart is a part of the series of a SampleQuery, and memory for the next one.
type rawPart struct {
	next uint64 // id from which the next part begins
	tags [][]string
	out  []samples
	one  timeseries.Samples
}

// readRaw reads the samples of a part of the series; more says whether there is another part.
func (d *database) readRaw(q *timeseries.SampleQuery, raw *rawPart) (more bool, err error) {
	raw.tags = raw.tags[:0]
	sc, sel, err := d.lookSchema(q.Schema)
	if err != nil || sc == nil || q.After >= q.Through {
		return false, err
	}
	conditions, unknown := sc.conditions(q.Tags)
	if len(unknown) > 0 {
		return false, fmt.Errorf("%w: %q is not a tag of %q, it has %q", timeseries.ErrUnknownTag, unknown[0], sc.Name, sc.Tags)
	}
	names := q.Columns()
	d.mu.RLock()
	sel.columns = sc.columns(names)
	step := sc.Step
	d.mu.RUnlock()
	rows := max(min(q.Through, sel.high+sel.span)-max(q.After, sel.low), 0)/step + 1
	limit := int(min(max(rawBudget/(rows*int64(1+len(names))), 1), partSize))

	if tags, ok := sc.exact(conditions); ok {
		id, first, err := d.locate(sc, tags)
		if err != nil {
			return false, err
		}
		if id != 0 && (q.Match == nil || q.Match(tags)) {
			sel.add(id, first, nil, nil)
			raw.tags = append(raw.tags, tags)
		}
	} else if more, err = d.chooseRaw(q, raw, sel, conditions, limit); err != nil {
		return false, err
	}
	if len(sel.ids) == 0 {
		raw.tags = raw.tags[:0]
		return more, nil
	}
	for len(raw.out) < len(sel.ids) {
		raw.out = append(raw.out, samples{})
	}
	return more, d.read(part{sel, 0, len(sel.ids)}, func(r *reading) error {
		for i := range r.ids {
			raw.out[i].reset(len(r.columns))
		}
		for _, seg := range cover(nil, q.After, q.Through, r.forSamples(maxTime)) {
			if seg.tier != nil {
				if err := r.tierSamples([]segment{seg}, r.all, q.Schema.Type, raw.out); err != nil {
					return err
				}
				continue
			}
			from, to := r.window(seg.after, seg.through)
			if err := r.more(from, to, r.all, raw.out); err != nil {
				return err
			}
			if r.floor > 0 {
				for i := range r.ids {
					raw.out[i].distinct()
				}
			}
		}
		return nil
	})
}

// chooseRaw puts up to limit series that match into sel, from the last one on.
func (d *database) chooseRaw(q *timeseries.SampleQuery, raw *rawPart, sel *selection, conditions []condition, limit int) (more bool, err error) {
	m, err := d.match(sel.schema, conditions, raw.next)
	if err != nil {
		return false, err
	}
	defer m.close()
	for len(sel.ids) < limit {
		if !m.step() {
			return false, m.err
		}
		if q.Match != nil && !q.Match(m.tags) {
			continue
		}
		sel.add(m.id, m.first, nil, nil)
		raw.tags = append(raw.tags, append([]string(nil), m.tags...))
	}
	raw.next = m.next
	return true, nil
}

// cut returns the samples of series i within the range, nil when there are none.
func (raw *rawPart) cut(i int, after, through int64) *timeseries.Samples {
	out := &raw.out[i]
	from := sort.Search(len(out.times), func(k int) bool { return out.times[k] > after })
	to := sort.Search(len(out.times), func(k int) bool { return out.times[k] > through })
	if from >= to {
		return nil
	}
	raw.one.Tags, raw.one.Times = raw.tags[i], out.times[from:to]
	raw.one.Values = raw.one.Values[:0]
	for _, column := range out.values {
		raw.one.Values = append(raw.one.Values, column[from:to])
	}
	return &raw.one
}

// readRaw is that of the database, which is held meanwhile.
func (s *Store) readRaw(q *timeseries.SampleQuery, raw *rawPart) (more bool, err error) {
	d, err := s.acquire()
	if err != nil {
		return false, err
	}
	defer d.release()
	return d.readRaw(q, raw)
}
