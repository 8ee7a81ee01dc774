package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"

	"github.com/weirhq/weir/internal/store/block"
	"github.com/weirhq/weir/timeseries"
)

// List implements timeseries.Driver. It reads a part of the series at a time, and
// holds nothing in the database while the caller looks at them.
func (s *Store) List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		matched := false
		for next := uint64(0); ; {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			found, err := s.listPart(&q, next)
			if err != nil {
				yield(nil, err)
				return
			}
			matched = matched || found.matched > 0
			for i, tags := range found.tags {
				if !found.within[i] {
					continue
				}
				full := make(timeseries.Tags, len(found.names))
				for k, name := range found.names {
					full[name] = tags[k]
				}
				if !yield(full, nil) {
					return
				}
			}
			if found.next == 0 {
				break
			}
			next = found.next
		}
		if !matched {
			yield(nil, fmt.Errorf("%w: nothing was appended to %q with tags %v", timeseries.ErrNoSeries, nameOf(q.Schema), q.Tags))
		}
	}
}

func nameOf(s *timeseries.Schema) string {
	if s == nil {
		return ""
	}
	return s.Name
}

// listed is a part of a list.
type listed struct {
	names   []string
	tags    [][]string
	within  []bool // has a sample in the range
	matched int
	next    uint64 // id at which the next part begins, 0 when there is none
}

// listPart lists up to partSize series from id next on.
func (d *database) listPart(q *timeseries.ListQuery, next uint64) (listed, error) {
	sc, sel, err := d.lookSchema(q.Schema)
	if err != nil || sc == nil {
		if errors.Is(err, errNoSchema) {
			return listed{}, err
		}
		return listed{}, nil
	}
	conditions, _ := sc.conditions(q.Tags)
	m, err := d.match(sc, conditions, next)
	if err != nil {
		return listed{}, err
	}
	defer m.close()
	l := listed{names: sc.Tags}
	for len(sel.ids) < partSize && m.step() {
		sel.add(m.id, m.first, nil, nil)
		l.tags = append(l.tags, append([]string(nil), m.tags...))
	}
	if m.err != nil {
		return listed{}, m.err
	}
	l.matched = len(sel.ids)
	if len(sel.ids) == partSize {
		l.next = m.next
	}
	end := q.End
	if end == 0 {
		end = maxTime - 1
	}
	l.within, err = d.anyWithin(sel, q.Start, end)
	return l, err
}

// anyWithin says which series have a sample with start <= time <= end.
func (d *database) anyWithin(sel *selection, start, end int64) ([]bool, error) {
	within := make([]bool, len(sel.ids))
	if start <= 0 && end >= maxTime-1 { // a series without any sample does not stay
		for i := range within {
			within[i] = true
		}
		return within, nil
	}
	return within, d.read(part{sel, 0, len(sel.ids)}, func(r *reading) error {
		clear(within)
		return r.within(within, start, end)
	})
}

// within is anyWithin. Of points that are gone, the last of each slot counts.
func (r *reading) within(within []bool, start, end int64) error {
	for k := range r.open {
		rows := &r.open[k]
		for _, offset := range rows.block.times {
			if t := rows.block.start + int64(offset); t >= start && t <= end {
				within[rows.index] = true
				break
			}
		}
	}
	var times []int64
	from, to := r.window(start-1, end)
	want := make([]int, 0, len(r.ids))
	for at := to; at >= from; at -= r.span {
		want = want[:0]
		for i := range r.ids {
			if !within[i] && r.firsts[r.from+i] <= at {
				want = append(want, i)
			}
		}
		err := r.blocks(at, want, func(i int, data []byte) error {
			b, err := block.Parse(data, at)
			switch {
			case err != nil:
			case b.First >= start && b.First <= end || b.Last >= start && b.Last <= end:
				within[i] = true
				return nil
			case b.Last < start || b.First > end:
				return nil
			default:
				if times, err = b.Times(times[:0]); err == nil {
					k := sort.Search(len(times), func(k int) bool { return times[k] >= start })
					within[i] = k < len(times) && times[k] <= end
					return nil
				}
			}
			r.damaged(appendDataKey(nil, at, r.schema.ID, r.ids[i]), append([]byte(nil), data...), err)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if start > r.floor || r.floor == 0 {
		return nil
	}
	want = want[:0]
	for i := range r.ids {
		if !within[i] {
			want = append(want, i)
		}
	}
	if len(want) == 0 {
		return nil
	}
	out := make([]samples, len(r.ids))
	for _, i := range want {
		out[i].reset(len(r.columns))
	}
	segments := cover(nil, start-1, min(end, r.floor), r.forSamples(maxTime)[1:])
	for k := range segments { // backwards: the newest are the likeliest
		if err := r.tierSamples(segments[len(segments)-1-k:len(segments)-k], want, r.typ, out); err != nil {
			return err
		}
	}
	for _, i := range want {
		within[i] = len(out[i].times) > 0
	}
	return nil
}

// listPart is that of the database, which is held meanwhile.
func (s *Store) listPart(q *timeseries.ListQuery, next uint64) (listed, error) {
	d, err := s.acquire()
	if err != nil {
		return listed{}, err
	}
	defer d.release()
	return d.listPart(q, next)
}
