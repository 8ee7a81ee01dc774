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
	err = d.eachPart(ctx, sel, func(p part, w *partScratch) error {
		points := newPoints(metrics, grid.Count)
		if err := d.integrate(p, w, &q, grid, points, integrals[p.from*metrics:p.to*metrics]); err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for m := range all {
			timeseries.AddPoints(all[m], points[m])
		}
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
	return timeseries.AssembleTop(q, grid, items, timeseries.Group{Data: all}, groups), nil
}

// integrate computes the integral of each metric of each series of p, and adds
// their points up.
func (d *database) integrate(p part, w *partScratch, q *timeseries.Query, grid timeseries.Grid, points [][]float64, integrals []float64) error {
	r := d.newReading(p)
	defer r.close()
	after, through := grid.Window(q.Schema)
	from, to := p.window(min(after, q.Start-1), max(through, q.End))
	out := w.samples(len(r.ids))
	if err := r.samples(from, to, r.all, out); err != nil {
		return err
	}
	metrics := len(r.columns)
	volumes := make([]volume, len(integrals))
	for i := range r.ids {
		w.addPoints(points, q.Schema, grid, &out[i])
		for m := range metrics {
			v := newVolume()
			v.samples(q.Schema, out[i].times, out[i].values[m], q.Start, q.End)
			volumes[i*metrics+m] = v
		}
	}
	if q.Schema.Type == timeseries.Counter {
		if err := r.lead(from, volumes); err != nil {
			return err
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
