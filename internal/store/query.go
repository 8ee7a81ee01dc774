package store

import (
	"context"
	"fmt"
	"math"

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
	return timeseries.Assemble(q, grid, groups), nil
}

// points computes the points of every group of sel on grid.
func (d *database) points(ctx context.Context, sel *selection, schema *timeseries.Schema, grid timeseries.Grid) ([]timeseries.Group, error) {
	groups := make([]timeseries.Group, len(sel.tags))
	for i := range groups {
		groups[i] = timeseries.Group{Tags: timeseries.Tags{}, Data: newPoints(len(schema.Metrics), grid.Count)}
	}
	after, through := grid.Window(schema)
	from, to := sel.window(after, through)
	err := d.eachPart(ctx, sel, func(p part, scratch *partScratch) error {
		r := d.newReading(p)
		defer r.close()
		out := scratch.samples(len(r.ids))
		if err := r.samples(from, to, r.all, out); err != nil {
			return err
		}
		scratch.mu.Lock() // of all workers: the groups are theirs together
		defer scratch.mu.Unlock()
		for i := range r.ids {
			scratch.addPoints(groups[p.groups[p.from+i]].Data, schema, grid, &out[i])
		}
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
