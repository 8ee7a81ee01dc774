package front

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/weirhq/weir/timeseries"
)

// Some drivers have only a part of the contract, and say errors.ErrUnsupported to the
// rest. What can be computed from listing series and asking for their points is computed here (R3).

// maxAsked bounds how many series are asked one by one for one answer.
const maxAsked = 10_000

// totalOfPoints is Total of a driver that cannot do it, from the points of every series.
func (t *target) totalOfPoints(ctx context.Context, q timeseries.Query) (map[string]float64, error) {
	q.Tags = reduced(q.Schema, q.Tags)
	sums := make([]float64, len(q.Schema.Metrics))
	err := t.eachSeries(ctx, q, func(_ timeseries.Tags, data [][]float64, g timeseries.Grid) {
		for m, v := range volumes(q.Schema, data, g) {
			sums[m] += v
		}
	})
	total := make(map[string]float64, len(sums))
	for m, v := range sums {
		total[q.Schema.Metrics[m]] = v
	}
	return total, err
}

// topOfPoints is TopK of a driver that cannot do it, from the points of every series.
func (t *target) topOfPoints(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	names := q.GroupBy
	if len(names) == 0 {
		names = missing(q.Schema, q.Tags)
	}
	all := blank(q.Schema, timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options))
	groups := make(map[string]*timeseries.Group)
	var candidates []timeseries.Candidate
	places := make(map[string]int) // of groups in candidates
	err := t.eachSeries(ctx, q, func(tags timeseries.Tags, data [][]float64, g timeseries.Grid) {
		key, of := "", make(timeseries.Tags, len(names))
		for _, name := range names {
			of[name] = tags[name]
			key += tags[name] + "\x00" // not allowed in a value
		}
		group := groups[key]
		if group == nil {
			group = &timeseries.Group{Tags: of, Data: blank(q.Schema, g)}
			groups[key], places[key] = group, len(candidates)
			candidates = append(candidates, timeseries.Candidate{Tags: of, Partials: make([]float64, len(q.Schema.Metrics))})
		}
		for m, v := range volumes(q.Schema, data, g) {
			if q.Schema.Type == timeseries.Gauge {
				v *= float64(q.Schema.Step)
			}
			candidates[places[key]].Partials[m] += v
			timeseries.AddPoints(group.Data[m], data[m])
			timeseries.AddPoints(all[m], data[m])
		}
	})
	if err != nil {
		return nil, err
	}
	items := timeseries.Rank(q, candidates)
	var lines []timeseries.Group
	if q.WithSeries {
		for _, item := range items {
			key := ""
			for _, name := range names {
				key += item.Tags[name] + "\x00"
			}
			lines = append(lines, *groups[key])
		}
	}
	return timeseries.AssembleTop(q, timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options), items, timeseries.Group{Data: all}, lines), nil
}

// eachSeries asks for the points of every series that matches, on the grid of q.
func (t *target) eachSeries(ctx context.Context, q timeseries.Query, with func(timeseries.Tags, [][]float64, timeseries.Grid)) error {
	var list []timeseries.Tags
	var failed error
	err := t.list(ctx, timeseries.ListQuery{Schema: q.Schema, Tags: q.Tags, Start: q.Start, End: q.End}, func(tags timeseries.Tags, err error) bool {
		list, failed = append(list, tags), err
		return err == nil && len(list) <= maxAsked
	})
	switch {
	case err != nil || failed != nil:
		return errors.Join(err, failed)
	case len(list) > maxAsked:
		return fmt.Errorf("cannot query %q: %w: the driver %s can only be asked series by series, and there are more than %d", q.Schema.Name, ErrTooMuch, t.Name, maxAsked)
	}
	one := timeseries.Query{Schema: q.Schema, Start: q.Start, End: q.End, Options: timeseries.DefaultOptions()}
	one.MaxPoints, one.KeepNaN, one.MinValue, one.NoStatistics, one.InitialPoint = q.MaxPoints, true, math.Inf(-1), true, q.InitialPoint
	g := timeseries.NewGrid(one.Schema, one.Start, one.End, one.Options)
	for _, tags := range list {
		one.Tags = tags
		r, err := t.Driver.Query(ctx, one)
		if errors.Is(err, timeseries.ErrNoSeries) { // it was deleted in the meantime
			continue
		}
		if err != nil {
			return err
		}
		with(tags, onGrid(r, q.Schema, g), g)
	}
	return nil
}

// blank are the points of every metric, none known.
func blank(s *timeseries.Schema, g timeseries.Grid) [][]float64 {
	data := make([][]float64, len(s.Metrics))
	for m := range data {
		data[m] = make([]float64, g.Count)
		for i := range data[m] {
			data[m][i] = math.NaN()
		}
	}
	return data
}

// onGrid lays the points of a result, which may begin elsewhere, on g.
func onGrid(r *timeseries.Result, s *timeseries.Schema, g timeseries.Grid) [][]float64 {
	data := blank(s, g)
	for _, series := range r.Series {
		m := slices.Index(s.Metrics, series.Label)
		if m < 0 {
			continue
		}
		for i, v := range series.Data {
			if at := r.Start + int64(i)*r.Step - g.Start; at >= 0 && at%g.Step == 0 && at/g.Step < int64(g.Count) {
				data[m][at/g.Step] = v
			}
		}
	}
	return data
}

// volumes are what the points of each metric come to (R15): of a gauge the sum of as many
// samples as the slots have raw steps.
func volumes(s *timeseries.Schema, data [][]float64, g timeseries.Grid) []float64 {
	factor := float64(g.Step)
	if s.Type == timeseries.Gauge {
		factor /= float64(g.RawStep)
	}
	sums := make([]float64, len(data))
	for m := range data {
		for i, v := range data[m] {
			if !math.IsNaN(v) && (i > 0 || !g.Initial) {
				sums[m] += v * factor
			}
		}
	}
	return sums
}
