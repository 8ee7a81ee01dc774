package tsdriver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/timeseries"
)

// maxSynthesis is how many series are asked one by one for an answer that the script does not give itself.
const maxSynthesis = 1000

// Query implements timeseries.Driver. A script answers for one series; what is grouped or
// lacks tags is put together from the series that match.
func (d *luaDriver) Query(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	if q.Start > q.End {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrBadRange)
	}
	for name := range q.Tags {
		if !slices.Contains(q.Schema.Tags, name) {
			return nil, fmt.Errorf("cannot query %q: %w %q", q.Schema.Name, timeseries.ErrUnknownTag, cut(name))
		}
	}
	if complete(q.Schema, q.Tags) && len(q.GroupBy) == 0 {
		return d.one(ctx, q)
	}
	return d.grouped(ctx, q)
}

func complete(s *timeseries.Schema, tags timeseries.Tags) bool {
	return !slices.ContainsFunc(s.Tags, func(name string) bool { _, ok := tags[name]; return !ok })
}

// one asks the script for a series.
func (d *luaDriver) one(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	n, err := d.number(q.Schema)
	if err != nil {
		return nil, err
	}
	var v lua.Value
	switch {
	case d.has("query"):
		v, err = d.ask(ctx, "query", n, q.Start, q.End, tagTable(q.Tags), options(&q))
	case d.has("timeseries_query"):
		v, err = d.ask(ctx, "timeseries_query", n, tagTable(q.Tags), q.Start, q.End, options(&q))
	default:
		err = errors.New("the driver has neither query nor timeseries_query")
	}
	if err != nil {
		return nil, err
	}
	if !truth(v) {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrNoSeries)
	}
	return result(&q, v)
}

// options are those that differ from the defaults a script is given (1.5).
func options(q *timeseries.Query) *lua.Table {
	t := &lua.Table{}
	t.Set("min_num_points", q.MinPoints)
	t.Set("max_num_points", min(max(q.MaxPoints, 1), timeseries.MaxSlots))
	t.Set("fill_value", q.FillValue)
	t.Set("min_value", q.MinValue)
	t.Set("top", q.Top)
	t.Set("calculate_stats", !q.NoStatistics)
	t.Set("initial_point", q.InitialPoint)
	t.Set("with_series", q.WithSeries)
	t.Set("keep_nan", q.KeepNaN)
	t.Set("keep_total", q.KeepTotal)
	if q.Resolution != timeseries.AnyResolution {
		t.Set("target_aggregation", string(q.Resolution))
	}
	t.Set("no_timeout", false)
	return t
}

// result reads an answer in either shape (1.6).
func result(q *timeseries.Query, v lua.Value) (*timeseries.Result, error) {
	t, ok := v.(*lua.Table)
	if !ok {
		return nil, fmt.Errorf("the driver answered with a %T, want a table", v)
	}
	r := &timeseries.Result{Schema: q.Schema, Tags: q.Tags, Start: q.Start, End: q.End, Step: q.Schema.Step, RawStep: q.Schema.Step, SourceAggregation: "raw"}
	numbers := func(from *lua.Table, start, step string) {
		if n, ok := number(from.Get(start)); ok {
			r.Start = int64(n)
		}
		if n, ok := number(from.Get(step)); ok && n >= 1 {
			r.Step = int64(n)
		}
	}
	if metadata, ok := t.Get("metadata").(*lua.Table); ok {
		numbers(metadata, "epoch_begin", "epoch_step")
	}
	numbers(t, "start", "step")
	if n, ok := number(t.Get("raw_step")); ok && n >= 1 {
		r.RawStep = int64(n)
	}
	if text, ok := t.Get("source_aggregation").(string); ok {
		r.SourceAggregation = text
	}
	lines, _ := t.Get("series").(*lua.Table)
	if lines == nil {
		lines = &lua.Table{}
	}
	for i, entry := range lines.Array {
		line, ok := entry.(*lua.Table)
		if !ok {
			return nil, fmt.Errorf("series %d of the driver's answer is a %T, want a table", i+1, entry)
		}
		label, _ := line.Get("label").(string)
		if id, ok := line.Get("id").(string); ok && label == "" {
			label = id
		}
		data := points(line.Get("data"))
		s := timeseries.Series{Label: label, Tags: q.Tags, Data: data}
		if tags := tagsOf(line.Get("tags")); len(tags) > 0 {
			s.Tags = tags
		}
		if own, ok := line.Get("statistics").(*lua.Table); ok && !q.NoStatistics {
			s.Statistics = statistics(own)
		}
		r.Series = append(r.Series, s)
		r.Count = max(r.Count, len(data))
	}
	if r.Count > 4*timeseries.MaxSlots {
		return nil, fmt.Errorf("the driver answered with %d points for each series, at most %d are allowed", r.Count, 4*timeseries.MaxSlots)
	}
	if additional, ok := t.Get("additional_series").(*lua.Table); ok {
		if total := points(additional.Get("total")); len(total) == r.Count {
			r.Total = total
		}
	}
	if own, ok := t.Get("statistics").(*lua.Table); ok && !q.NoStatistics {
		r.Statistics = statistics(own)
		if by, ok := own.Get("by_serie").(*lua.Table); ok {
			for i, entry := range by.Array {
				if one, ok := entry.(*lua.Table); ok && i < len(r.Series) && len(one.Hash) > 0 {
					r.Series[i].Statistics = statistics(one)
				}
			}
		}
	}
	fill(q, r)
	return r, nil
}

// fill makes all series as long as the longest (section 9), and makes the sum and the statistics that the script left out.
func fill(q *timeseries.Query, r *timeseries.Result) {
	for i := range r.Series {
		for len(r.Series[i].Data) < r.Count {
			r.Series[i].Data = append(r.Series[i].Data, math.NaN())
		}
	}
	if r.Total == nil {
		r.Total = make([]float64, r.Count)
		for i := range r.Total {
			r.Total[i] = math.NaN()
		}
		for _, s := range r.Series {
			timeseries.AddPoints(r.Total, s.Data)
		}
	}
	if q.NoStatistics {
		return
	}
	compute := func(data []float64) *timeseries.Statistics {
		if q.InitialPoint && len(data) > 0 {
			data = data[1:]
		}
		s := timeseries.NewStatistics(data, r.Step, q.KeepTotal, q.Schema.Type)
		return &s
	}
	for i := range r.Series {
		if r.Series[i].Statistics == nil {
			r.Series[i].Statistics = compute(r.Series[i].Data)
		}
	}
	if r.Statistics == nil {
		r.Statistics = compute(r.Total)
	}
}

func number(v lua.Value) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && math.Abs(v) < 1<<53
	}
	return 0, false
}

// points are the numbers of a list; what is no number is NaN.
func points(v lua.Value) []float64 {
	t, ok := v.(*lua.Table)
	if !ok {
		return nil
	}
	data := make([]float64, len(t.Array))
	for i, entry := range t.Array {
		data[i] = float(entry)
	}
	return data
}

func float(v lua.Value) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}

// statistics reads those of a script; what it does not say is NaN.
func statistics(t *lua.Table) *timeseries.Statistics {
	return &timeseries.Statistics{
		Total: float(t.Get("total")), Average: float(t.Get("average")), Min: float(t.Get("min_val")), Max: float(t.Get("max_val")),
		MinIndex: whole(t.Get("min_val_idx")), MaxIndex: whole(t.Get("max_val_idx")), Percentile95: float(t.Get("95th_percentile")),
	}
}

// matching are the series that match a question, at most maxSynthesis.
func (d *luaDriver) matching(ctx context.Context, q *timeseries.Query) ([]timeseries.Tags, error) {
	all, err := d.list(ctx, timeseries.ListQuery{Schema: q.Schema, Tags: q.Tags, Start: q.Start, End: q.End})
	if err == nil && len(all) > maxSynthesis {
		err = fmt.Errorf("cannot ask for %d series of %q one by one, at most for %d: name more tags", len(all), q.Schema.Name, maxSynthesis)
	}
	return all, err
}

// grouped asks for the series that match one by one, and adds them up by what is grouped by.
func (d *luaDriver) grouped(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	for _, name := range q.GroupBy {
		if !slices.Contains(q.Schema.Tags, name) {
			return nil, fmt.Errorf("cannot group %q: %w %q", q.Schema.Name, timeseries.ErrUnknownTag, cut(name))
		}
	}
	all, err := d.matching(ctx, &q)
	if err != nil {
		return nil, err
	}
	var r *timeseries.Result
	at := make(map[string]int) // of the first series of a group
	for _, tags := range all {
		single := q
		single.Tags, single.GroupBy, single.NoStatistics = tags, nil, true
		one, err := d.one(ctx, single)
		if errors.Is(err, timeseries.ErrNoSeries) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r == nil {
			r = &timeseries.Result{Schema: q.Schema, Tags: q.Tags, Start: one.Start, End: q.End, Step: one.Step, RawStep: one.RawStep, Count: one.Count, SourceAggregation: one.SourceAggregation}
		}
		if one.Start != r.Start || one.Step != r.Step || one.Count != r.Count || len(one.Series) != len(q.Schema.Metrics) {
			return nil, fmt.Errorf("cannot add up series of %q: the driver gives them %d points from %d every %d s, and %d from %d every %d s", q.Schema.Name, r.Count, r.Start, r.Step, one.Count, one.Start, one.Step)
		}
		group := make(timeseries.Tags)
		key := ""
		for name, v := range q.Tags {
			group[name] = v
		}
		for _, name := range q.GroupBy {
			group[name] = tags[name]
			key += tags[name] + "\x00"
		}
		first, there := at[key]
		if !there {
			at[key] = len(r.Series)
			for _, s := range one.Series {
				s.Tags = group
				r.Series = append(r.Series, s)
			}
			continue
		}
		for i, s := range one.Series {
			timeseries.AddPoints(r.Series[first+i].Data, s.Data)
		}
	}
	if r == nil {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrNoSeries)
	}
	fill(&q, r)
	return r, nil
}

// Total implements timeseries.Driver.
func (d *luaDriver) Total(ctx context.Context, q timeseries.Query) (map[string]float64, error) {
	if q.Start > q.End {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrBadRange)
	}
	if !d.has("queryTotal") {
		return d.summed(ctx, q)
	}
	n, err := d.number(q.Schema)
	if err != nil {
		return nil, err
	}
	v, err := d.ask(ctx, "queryTotal", n, q.Start, q.End, tagTable(q.Tags), options(&q))
	if err != nil {
		return nil, err
	}
	t, ok := v.(*lua.Table)
	if !ok {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrNoSeries)
	}
	total := make(map[string]float64)
	for _, pair := range t.Hash {
		if name, ok := pair.Key.(string); ok {
			total[name] = float(pair.Value)
		}
	}
	return total, nil
}

// summed makes totals of points (R3): of a counter or a derivative they are rates.
func (d *luaDriver) summed(ctx context.Context, q timeseries.Query) (map[string]float64, error) {
	q.NoStatistics, q.GroupBy, q.InitialPoint = true, nil, false
	q.Tags = own(q.Schema, q.Tags)
	r, err := d.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	factor := 1.0
	if q.Schema.Type != timeseries.Gauge {
		factor = float64(r.Step)
	}
	total := make(map[string]float64)
	for _, s := range r.Series {
		sum := 0.0
		for _, v := range s.Data {
			if !math.IsNaN(v) {
				sum += v * factor
			}
		}
		total[s.Label] += sum
	}
	return total, nil
}

// own are the tags that the schema has.
func own(s *timeseries.Schema, tags timeseries.Tags) timeseries.Tags {
	kept := make(timeseries.Tags)
	for _, name := range s.Tags {
		if v, ok := tags[name]; ok {
			kept[name] = v
		}
	}
	return kept
}

// TopK implements timeseries.Driver: with topk of the script, with its timeseries_top, or with
// totals of every series that matches.
func (d *luaDriver) TopK(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	if q.Start > q.End {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrBadRange)
	}
	if len(q.GroupBy) == 0 {
		for _, name := range q.Schema.Tags {
			if _, ok := q.Tags[name]; !ok {
				q.GroupBy = append(q.GroupBy, name)
			}
		}
	}
	q.Tags = own(q.Schema, q.Tags)
	n, err := d.number(q.Schema)
	if err != nil {
		return nil, err
	}
	top := &lua.Table{}
	for _, name := range q.GroupBy {
		top.Array = append(top.Array, name)
	}
	if d.has("topk") {
		v, err := d.ask(ctx, "topk", n, tagTable(q.Tags), q.Start, q.End, options(&q), top)
		if err == nil {
			return d.topResult(ctx, &q, v)
		}
		if !d.has("timeseries_top") || ctx.Err() != nil { // that of some drivers fails (2.6)
			return nil, err
		}
	}
	if d.has("timeseries_top") {
		v, err := d.ask(ctx, "timeseries_top", n, tagTable(q.Tags), q.Start, q.End, options(&q), top)
		if err != nil {
			return nil, err
		}
		return d.topLines(&q, v)
	}
	return d.ranked(ctx, q)
}

// topResult reads the answer of topk (1.6).
func (d *luaDriver) topResult(ctx context.Context, q *timeseries.Query, v lua.Value) (*timeseries.TopResult, error) {
	t, ok := v.(*lua.Table)
	if !ok {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrNoSeries)
	}
	list, _ := t.Get("topk").(*lua.Table)
	if list == nil {
		list = &lua.Table{}
	}
	var items []timeseries.TopItem
	for _, entry := range list.Array {
		one, ok := entry.(*lua.Table)
		if !ok || len(items) >= q.Top {
			continue
		}
		item := timeseries.TopItem{Tags: make(timeseries.Tags), Value: float(one.Get("value")), Partials: make(map[string]float64)}
		for name, v := range q.Tags {
			item.Tags[name] = v
		}
		for name, v := range tagsOf(one.Get("tags")) {
			item.Tags[name] = v
		}
		if partials, ok := one.Get("partials").(*lua.Table); ok {
			for _, pair := range partials.Hash {
				if name, ok := pair.Key.(string); ok {
					item.Partials[name] = float(pair.Value)
				}
			}
		}
		items = append(items, item)
	}
	answer := *q
	answer.WithSeries = false
	r, err := result(&answer, v)
	if err != nil {
		return nil, err
	}
	r.Series = nil
	if q.WithSeries {
		if err := d.itemSeries(ctx, q, items, r); err != nil {
			return nil, err
		}
	}
	return &timeseries.TopResult{Items: items, Result: *r}, nil
}

// itemSeries asks for the series of items.
func (d *luaDriver) itemSeries(ctx context.Context, q *timeseries.Query, items []timeseries.TopItem, r *timeseries.Result) error {
	for _, item := range items {
		single := *q
		single.Tags, single.GroupBy = item.Tags, nil
		one, err := d.Query(ctx, single)
		if err != nil {
			return err
		}
		r.Series = append(r.Series, one.Series...)
		r.Start, r.Step, r.RawStep, r.Count = one.Start, one.Step, one.RawStep, max(r.Count, one.Count)
	}
	if len(r.Total) != r.Count {
		r.Total, r.Statistics = nil, nil
	}
	fill(q, r)
	return nil
}

// topLines reads the answer of timeseries_top: a line for each item.
func (d *luaDriver) topLines(q *timeseries.Query, v lua.Value) (*timeseries.TopResult, error) {
	if !truth(v) {
		return nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, timeseries.ErrNoSeries)
	}
	r, err := result(q, v)
	if err != nil {
		return nil, err
	}
	var items []timeseries.TopItem
	for _, s := range r.Series {
		total := timeseries.NewStatistics(s.Data, r.Step, true, timeseries.Counter).Total
		items = append(items, timeseries.TopItem{Tags: s.Tags, Value: total, Partials: map[string]float64{s.Label: total}})
	}
	if !q.WithSeries {
		r.Series = nil
	}
	return &timeseries.TopResult{Items: items, Result: *r}, nil
}

// ranked ranks every series that matches by its totals (R3).
func (d *luaDriver) ranked(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	all, err := d.matching(ctx, &q)
	if err != nil {
		return nil, err
	}
	byKey := make(map[string]*timeseries.Candidate)
	var order []string
	for _, tags := range all {
		single := q
		single.Tags, single.GroupBy = tags, nil
		totals, err := d.Total(ctx, single)
		if errors.Is(err, timeseries.ErrNoSeries) {
			continue
		}
		if err != nil {
			return nil, err
		}
		key, group := "", make(timeseries.Tags)
		for _, name := range q.GroupBy {
			group[name] = tags[name]
			key += tags[name] + "\x00"
		}
		c := byKey[key]
		if c == nil {
			c = &timeseries.Candidate{Tags: group, Partials: make([]float64, len(q.Schema.Metrics))}
			byKey[key] = c
			order = append(order, key)
		}
		for i, metric := range q.Schema.Metrics {
			v := totals[metric]
			if q.Schema.Type == timeseries.Gauge {
				v *= float64(q.Schema.Step)
			}
			c.Partials[i] += v
		}
	}
	candidates := make([]timeseries.Candidate, 0, len(order))
	for _, key := range order {
		candidates = append(candidates, *byKey[key])
	}
	items := timeseries.Rank(q, candidates)
	total := q
	total.GroupBy = nil
	r, err := d.grouped(ctx, total)
	if err != nil {
		return nil, err
	}
	r.Series = nil
	if q.WithSeries {
		if err := d.itemSeries(ctx, &q, items, r); err != nil {
			return nil, err
		}
	}
	return &timeseries.TopResult{Items: items, Result: *r}, nil
}
