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
	err := t.eachSeries(ctx, q, func(tags timeseries.Tags) error {
		volumes, err := t.volumes(ctx, q, tags)
		for m, v := range volumes {
			sums[m] += v
		}
		return err
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
	g := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	all := blank(q.Schema, g)
	groups := make(map[string]*timeseries.Group)
	var candidates []timeseries.Candidate
	places := make(map[string]int) // of groups in candidates
	err := t.eachSeries(ctx, q, func(tags timeseries.Tags) error {
		key, of := keyOf(tags, names), make(timeseries.Tags, len(names))
		for _, name := range names {
			of[name] = tags[name]
		}
		group := groups[key]
		if group == nil {
			group = &timeseries.Group{Tags: of, Data: blank(q.Schema, g)}
			groups[key], places[key] = group, len(candidates)
			candidates = append(candidates, timeseries.Candidate{Tags: of, Partials: make([]float64, len(q.Schema.Metrics))})
		}
		volumes, err := t.volumes(ctx, q, tags)
		if err != nil {
			return err
		}
		data, err := t.points(ctx, q, tags, g)
		if err != nil {
			return err
		}
		for m, v := range volumes {
			if q.Schema.Type == timeseries.Gauge {
				v *= float64(q.Schema.Step)
			}
			candidates[places[key]].Partials[m] += v
			timeseries.AddPoints(group.Data[m], data[m])
			timeseries.AddPoints(all[m], data[m])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	items := timeseries.Rank(q, candidates)
	var lines []timeseries.Group
	if q.WithSeries {
		for _, item := range items {
			lines = append(lines, *groups[keyOf(item.Tags, names)])
		}
	}
	return timeseries.AssembleTop(q, g, items, timeseries.Group{Data: all}, lines), nil
}

// keyOf is the combination of the tags named.
func keyOf(tags timeseries.Tags, names []string) string {
	key := ""
	for _, name := range names {
		key += tags[name] + "\x00" // not allowed in a value
	}
	return key
}

// eachSeries calls with for every series that matches. One that was deleted in the meantime is left out.
func (t *target) eachSeries(ctx context.Context, q timeseries.Query, with func(timeseries.Tags) error) error {
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
	for _, tags := range list {
		if err := with(tags); err != nil && !errors.Is(err, timeseries.ErrNoSeries) {
			return err
		}
	}
	return nil
}

// points are those of one series on g, the grid of q, per metric and as they are stored.
func (t *target) points(ctx context.Context, q timeseries.Query, tags timeseries.Tags, g timeseries.Grid) ([][]float64, error) {
	q.Tags, q.GroupBy = tags, nil
	q.MinPoints, q.KeepNaN, q.MinValue, q.NoStatistics, q.Round = 0, true, math.Inf(-1), true, false
	r, err := t.Driver.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	data := blank(q.Schema, g)
	for _, series := range r.Series {
		m := slices.Index(q.Schema.Metrics, series.Label)
		if m < 0 {
			continue
		}
		for i, v := range series.Data { // the answer of a script may begin elsewhere
			if at := r.Start + int64(i)*r.Step - g.Start; at >= 0 && at%g.Step == 0 && at/g.Step < int64(g.Count) {
				data[m][at/g.Step] = v
			}
		}
	}
	return data, nil
}

// volumes are what the points of each metric of one series come to (R15), as near as can be:
// with one point for every step of the schema when the range is not too long for that. Of a gauge it is the
// sum of as many samples as a point has steps.
func (t *target) volumes(ctx context.Context, q timeseries.Query, tags timeseries.Tags) ([]float64, error) {
	q.MaxPoints, q.InitialPoint = timeseries.MaxSlots, false
	g := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	data, err := t.points(ctx, q, tags, g)
	factor := float64(g.Step)
	if q.Schema.Type == timeseries.Gauge {
		factor /= float64(g.RawStep)
	}
	sums := make([]float64, len(data))
	for m := range data {
		for _, v := range data[m] {
			if !math.IsNaN(v) {
				sums[m] += v * factor
			}
		}
	}
	return sums, err
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
