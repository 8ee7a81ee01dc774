package store

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/weirhq/weir/internal/store/block"
	"github.com/weirhq/weir/timeseries"
)

// A query answers for at most maxGroups combinations of tags and maxPoints points.
const (
	maxGroups = 10_000
	maxPoints = 20_000_000
)

// Query implements timeseries.Driver.
func (s *Store) Query(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	d, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer d.release()
	sel, err := d.choose(ctx, &q, false, q.GroupBy, maxGroups)
	if err != nil {
		return nil, err
	}
	grid := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	if n := len(sel.tags) * len(q.Schema.Metrics) * grid.Count; n > maxPoints {
		return nil, fmt.Errorf("cannot answer with %d points, at most %d are allowed: ask for fewer points or group by fewer tags: %w", n, maxPoints, timeseries.ErrFull)
	}
	groups, err := d.points(ctx, sel, q.Schema, grid)
	if err != nil {
		return nil, err
	}
	for key, group := range sel.byKey {
		groups[group].Tags = sel.groupTags(key)
	}
	result := timeseries.Assemble(q, grid, groups)
	result.SourceAggregation = d.coarsest(sel, grid)
	return result, nil
}

// points computes the points of every group of sel on grid.
func (d *database) points(ctx context.Context, sel *selection, schema *timeseries.Schema, grid timeseries.Grid) ([]timeseries.Group, error) {
	groups := make([]timeseries.Group, len(sel.tags))
	for i := range groups {
		groups[i] = timeseries.Group{Tags: timeseries.Tags{}, Data: newPoints(len(schema.Metrics), grid.Count)}
	}
	sel.fit(grid, len(schema.Metrics))
	err := d.eachPart(ctx, sel, func(p part, w *partScratch) error {
		err := d.read(p, func(r *reading) error { return r.grid(w, schema, grid) })
		if err != nil {
			return err
		}
		w.mu.Lock() // of all workers: the groups are theirs together
		defer w.mu.Unlock()
		w.eachPoints(len(schema.Metrics), p.to-p.from, grid, func(i, m int, points []float64) {
			timeseries.AddPoints(groups[p.groups[p.from+i]].Data[m], points)
		})
		return nil
	})
	return groups, err
}

// newPoints are unknown points, a row per metric.
func newPoints(metrics, count int) [][]float64 {
	all := make([]float64, metrics*count)
	for i := range all {
		all[i] = math.NaN()
	}
	rows := make([][]float64, metrics)
	for m := range rows {
		rows[m] = all[m*count : (m+1)*count : (m+1)*count]
	}
	return rows
}

// grid computes the points of each metric of each series of the part on g, into w.
func (r *reading) grid(w *partScratch, schema *timeseries.Schema, g timeseries.Grid) error {
	metrics := len(r.columns)
	w.points = w.points[:0]
	if g.Count == 0 {
		return nil
	}
	if !r.coarse(g) { // nothing but points: no parts to put together
		out := w.samples(len(r.ids))
		after, through := g.Window(schema)
		from, to := r.window(after, through)
		if err := r.samples(from, to, r.all, out); err != nil {
			return err
		}
		for i := range r.ids {
			for m := range metrics {
				w.points = g.Slots(w.points, schema, out[i].times, out[i].values[m])
			}
		}
		return nil
	}
	return r.gridOfParts(w, g, func(want []int, limit int64) error {
		for _, seg := range cover(nil, g.Start, g.End, r.forPoints(g, limit)) {
			if err := r.segmentPoints(seg, w, want, schema, g, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// gridOfParts makes points of the parts that read adds to w.parts, which are empty.
func (r *reading) gridOfParts(w *partScratch, g timeseries.Grid, read func(want []int, limit int64) error) error {
	n := len(r.ids) * len(r.columns) * g.Count
	w.parts = slices.Grow(w.parts[:0], n)[:n]
	clear(w.parts)
	if err := r.groups(r.all, read); err != nil {
		return err
	}
	for at := 0; at < n; at += g.Count {
		w.points = g.Points(w.points, w.parts[at:at+g.Count])
	}
	return nil
}

// segmentPoints adds what a segment says about slots of g to w.parts. also is called
// for each block of a tier.
func (r *reading) segmentPoints(seg segment, w *partScratch, want []int, schema *timeseries.Schema, g timeseries.Grid, also func(i int, b *block.Block) error) error {
	if seg.tier != nil {
		return r.tierPoints(seg, want, schema, g, w.parts, also)
	}
	return r.rawPoints(seg, want, schema, g, w.parts, w.samples(len(r.ids)))
}

// coarse reports whether any slots of tiers are used for g.
func (r *reading) coarse(g timeseries.Grid) bool {
	for _, seg := range cover(nil, g.Start, g.End, r.forPoints(g, maxTime)) {
		if seg.tier != nil {
			return true
		}
	}
	return false
}

// coarsest is the name of the longest slots that points on g are made of.
func (d *database) coarsest(sel *selection, g timeseries.Grid) string {
	r := d.newReading(part{sel, 0, 0})
	defer r.close()
	step := int64(0)
	for _, seg := range cover(nil, max(g.Start, min(sel.oldest-1, g.End)), g.End, r.forPoints(g, maxTime)) {
		if seg.tier != nil {
			step = max(step, seg.tier.Step)
		}
	}
	if step == 0 {
		return string(timeseries.Raw)
	}
	return string(tierName(step))
}

// fit makes the parts of the selection as small as it takes for the points of one to
// be held in memory.
func (sel *selection) fit(g timeseries.Grid, metrics int) {
	rows := max(min(g.End, sel.high+sel.span)-max(g.Start, sel.low), 0)/g.RawStep + 1
	each := int(min(max(rows, int64(g.Count)), rawBudget)) * (1 + metrics)
	sel.size = min(max(rawBudget/each, fewSeries), partSize)
}
