package store

import (
	"context"
	"slices"

	"github.com/weirhq/weir/timeseries"
)

// TopK implements timeseries.Driver. The series of all matching series together
// is part of the answer, so the samples of all of them are decoded; what they are
// ranked by is computed on the way.
func (s *Store) TopK(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	d, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer d.release()
	if len(q.GroupBy) == 0 && q.Schema != nil {
		for _, tag := range q.Schema.Tags {
			if _, ok := q.Tags[tag]; !ok {
				q.GroupBy = append(q.GroupBy, tag)
			}
		}
	}
	sel, err := d.choose(ctx, &q, false, q.GroupBy, maxTime)
	if err != nil {
		return nil, err
	}
	grid := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	metrics := len(q.Schema.Metrics)
	all := newPoints(metrics, grid.Count)
	integrals := make([]float64, len(sel.ids)*metrics)
	sel.fit(grid, metrics)
	err = d.eachPart(ctx, sel, func(p part, w *partScratch) error {
		err := d.read(p, func(r *reading) error {
			return r.integrate(w, &q, grid, integrals[p.from*metrics:p.to*metrics])
		})
		if err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.eachPoints(metrics, p.to-p.from, grid, func(_, m int, points []float64) {
			timeseries.AddPoints(all[m], points)
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	items := timeseries.Rank(q, sel.candidates(integrals, metrics, q.Top))
	var groups []timeseries.Group
	if q.WithSeries {
		if groups, err = d.points(ctx, sel.only(items), q.Schema, grid); err != nil {
			return nil, err
		}
		for i := range groups {
			groups[i].Tags = items[i].Tags
		}
	}
	result := timeseries.AssembleTop(q, grid, items, timeseries.Group{Data: all}, groups)
	result.SourceAggregation = d.coarsest(sel, grid)
	return result, nil
}

// integrate computes the integral of each metric of each series of the part, and
// their points into w.
func (r *reading) integrate(w *partScratch, q *timeseries.Query, grid timeseries.Grid, integrals []float64) error {
	var volumes []volume
	if r.coarse(grid) {
		var err error
		if volumes, err = r.both(w, q, grid); err != nil {
			return err
		}
	} else {
		after, through := grid.Window(q.Schema)
		from, to := r.window(min(after, q.Start-1), max(through, q.End))
		out := w.samples(len(r.ids))
		if err := r.samples(from, to, r.all, out); err != nil {
			return err
		}
		w.points, volumes = w.points[:0], make([]volume, len(integrals))
		for i := range r.ids {
			for m := range r.columns {
				w.points = grid.Slots(w.points, q.Schema, out[i].times, out[i].values[m])
				v := newVolume()
				v.samples(q.Schema, out[i].times, out[i].values[m], q.Start, q.End)
				volumes[i*len(r.columns)+m] = v
			}
		}
		if q.Schema.Type == timeseries.Counter {
			if err := r.lead(r.all, from-1, q.Schema, volumes); err != nil {
				return err
			}
		}
	}
	for i := range integrals {
		integrals[i] = volumes[i].sum
		if q.Schema.Type == timeseries.Gauge {
			integrals[i] *= float64(q.Schema.Step)
		}
	}
	return nil
}

// candidates adds the integrals up by group, and returns the groups that can be
// among the top ones: tags are not made for a million that cannot.
func (sel *selection) candidates(integrals []float64, metrics, top int) []timeseries.Candidate {
	partials := make([]float64, len(sel.tags)*metrics)
	for i, group := range sel.groups {
		for m := range metrics {
			partials[int(group)*metrics+m] += integrals[i*metrics+m]
		}
	}
	values := make([]float64, len(sel.tags))
	for group := range values {
		for _, v := range partials[group*metrics : (group+1)*metrics] {
			values[group] += v
		}
	}
	least := 0.0
	if top = max(top, 0); top > 0 && top < len(values) {
		sorted := slices.Clone(values)
		slices.Sort(sorted)
		least = sorted[len(sorted)-top]
	}
	var candidates []timeseries.Candidate
	if len(sel.names) == 0 {
		return []timeseries.Candidate{{Partials: partials}}
	}
	for key, group := range sel.byKey {
		if values[group] < least {
			continue
		}
		at := int(group) * metrics
		candidates = append(candidates, timeseries.Candidate{Tags: sel.groupTags(key), Partials: partials[at : at+metrics]})
	}
	return candidates
}

// only is the selection of the series of items, whose groups are numbered as the items are.
func (sel *selection) only(items []timeseries.TopItem) *selection {
	few := *sel
	few.ids, few.firsts, few.groups, few.tags = nil, nil, nil, make([]timeseries.Tags, len(items))
	number := make(map[int32]int32, len(items))
	for i, item := range items {
		number[sel.byKey[sel.groupKey(item.Tags)]] = int32(i)
	}
	for i, group := range sel.groups {
		if to, ok := number[group]; ok {
			few.ids = append(few.ids, sel.ids[i])
			few.firsts = append(few.firsts, sel.firsts[i])
			few.groups = append(few.groups, to)
		}
	}
	return &few
}
