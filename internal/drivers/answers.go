package drivers

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// The answers to questions are computed from samples, as those of the embedded
// store are; nothing is left to the arithmetic of the remote store, which differs
// (specification section 2.6). A question with GroupBy has no group for series without samples in the range.

// Query implements timeseries.Driver.
func (d *Driver) Query(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	if err := check(&q); err != nil {
		return nil, err
	}
	g := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	after, through := g.Window(q.Schema)
	found := newGroups(q.Schema, q.GroupBy)
	var points []float64
	for s, err := range d.samples(ctx, timeseries.SampleQuery{Schema: q.Schema, Tags: q.Tags, After: after, Through: through}) {
		if err != nil {
			return nil, err
		}
		points = found.of(s.Tags).add(g, q.Schema, s, points)
	}
	if len(found.byKey) == 0 {
		if err := d.exists(ctx, q.Schema, q.Tags); err != nil {
			return nil, err
		}
		if len(q.GroupBy) == 0 {
			found.of(make([]string, len(q.Schema.Tags))).unknown(g, q.Schema)
		}
	}
	var groups []timeseries.Group
	for _, group := range found.sorted() {
		groups = append(groups, timeseries.Group{Tags: group.tags, Data: group.data})
	}
	return timeseries.Assemble(q, g, groups), nil
}

// Total implements timeseries.Driver.
func (d *Driver) Total(ctx context.Context, q timeseries.Query) (map[string]float64, error) {
	q.Tags, q.GroupBy = known(q.Schema, q.Tags), nil
	if err := check(&q); err != nil {
		return nil, err
	}
	before, err := d.before(ctx, &q)
	if err != nil {
		return nil, err
	}
	sums := make([]float64, len(q.Schema.Metrics))
	any := len(before) > 0
	for s, err := range d.samples(ctx, timeseries.SampleQuery{Schema: q.Schema, Tags: q.Tags, After: q.Start, Through: q.End}) {
		if err != nil {
			return nil, err
		}
		any = true
		addSums(sums, timeseries.Volume, &q, s, before)
	}
	if !any {
		if err := d.exists(ctx, q.Schema, q.Tags); err != nil {
			return nil, err
		}
	}
	total := make(map[string]float64, len(sums))
	for m, v := range sums {
		total[q.Schema.Metrics[m]] = v
	}
	return total, nil
}

// TopK implements timeseries.Driver.
func (d *Driver) TopK(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	if err := check(&q); err != nil {
		return nil, err
	}
	before, err := d.before(ctx, &q)
	if err != nil {
		return nil, err
	}
	names := q.GroupBy
	if len(names) == 0 {
		for _, name := range q.Schema.Tags {
			if _, ok := q.Tags[name]; !ok {
				names = append(names, name)
			}
		}
	}
	g := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	after, through := g.Window(q.Schema)
	if q.Start < q.End {
		after, through = min(after, q.Start), max(through, q.End)
	}
	found := newGroups(q.Schema, names)
	all := &group{}
	all.unknown(g, q.Schema)
	var points []float64
	for s, err := range d.samples(ctx, timeseries.SampleQuery{Schema: q.Schema, Tags: q.Tags, After: after, Through: through}) {
		if err != nil {
			return nil, err
		}
		of := found.of(s.Tags)
		if of.sums == nil {
			of.sums = make([]float64, len(q.Schema.Metrics))
		}
		addSums(of.sums, timeseries.Integral, &q, s, before)
		points = all.add(g, q.Schema, s, points)
		if q.WithSeries {
			points = of.add(g, q.Schema, s, points)
		}
	}
	if len(found.byKey) == 0 && len(before) == 0 {
		if err := d.exists(ctx, q.Schema, q.Tags); err != nil {
			return nil, err
		}
	}
	var candidates []timeseries.Candidate
	for _, group := range found.sorted() {
		candidates = append(candidates, timeseries.Candidate{Tags: group.tags, Partials: group.sums})
	}
	items := timeseries.Rank(q, candidates)
	var groups []timeseries.Group
	if q.WithSeries {
		for _, item := range items {
			groups = append(groups, timeseries.Group{Tags: item.Tags, Data: found.named(item.Tags).data})
		}
	}
	return timeseries.AssembleTop(q, g, items, timeseries.Group{Data: all.data}, groups), nil
}

// List implements timeseries.Driver.
func (d *Driver) List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		filter := known(q.Schema, q.Tags)
		end := q.End
		if end == 0 {
			end = math.MaxInt64
		}
		any := false
		for values, err := range d.remote.Series(ctx, q.Schema, escapeTags(filter), q.Start, end) {
			if err != nil {
				yield(nil, err)
				return
			}
			if values = convert(values, unescape); !matches(q.Schema, filter, values) {
				continue
			}
			any = true
			tags := make(timeseries.Tags, len(values))
			for i, name := range q.Schema.Tags {
				tags[name] = values[i]
			}
			if !yield(tags, nil) {
				return
			}
		}
		if any {
			return
		}
		if err := d.exists(ctx, q.Schema, filter); err != nil {
			yield(nil, err)
		}
	}
}

// Samples implements timeseries.Reader.
func (d *Driver) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		if err := check(&timeseries.Query{Schema: q.Schema, Tags: q.Tags}); err != nil {
			yield(nil, err)
			return
		}
		for s, err := range d.samples(ctx, q) {
			if !yield(s, err) {
				return
			}
		}
	}
}

// samples yields what matches, of a remote store that may yield more.
func (d *Driver) samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		if q.After >= q.Through {
			return
		}
		filter, match := q.Tags, q.Match
		q.Tags, q.Match = escapeTags(filter), nil
		for s, err := range d.remote.Samples(ctx, q) {
			if err != nil {
				yield(nil, err)
				return
			}
			s.Tags = convert(s.Tags, unescape)
			switch {
			case len(s.Times) == 0, !matches(q.Schema, filter, s.Tags), match != nil && !match(s.Tags):
			case !yield(s, nil):
				return
			}
		}
	}
}

// before returns the last values of counters at the start of q, by tags: what comes
// after is counted from there. Of other schemas it returns nothing.
func (d *Driver) before(ctx context.Context, q *timeseries.Query) (map[string][]float64, error) {
	if q.Schema.Type != timeseries.Counter {
		return nil, nil
	}
	values := make(map[string][]float64)
	for s, err := range d.remote.Before(ctx, timeseries.SampleQuery{Schema: q.Schema, Tags: escapeTags(q.Tags), Through: q.Start}) {
		if err != nil {
			return nil, err
		}
		s.Tags = convert(s.Tags, unescape)
		if len(s.Times) == 0 || !matches(q.Schema, q.Tags, s.Tags) {
			continue
		}
		last := make([]float64, len(s.Values))
		for m := range last {
			last[m] = s.Values[m][len(s.Times)-1]
		}
		values[keyOf(s.Tags)] = last
	}
	return values, nil
}

// addSums adds the volume or integral of a series, per metric.
func addSums(sums []float64, of func(*timeseries.Schema, []int64, []float64, int64, int64) float64, q *timeseries.Query, s *timeseries.Samples, before map[string][]float64) {
	last, counts := before[keyOf(s.Tags)]
	var times []int64
	var values []float64
	if counts { // what was before comes before everything: only its value counts
		times = append(append(times, math.MinInt64), s.Times...)
	}
	for m := range sums {
		if !counts {
			sums[m] += of(q.Schema, s.Times, s.Values[m], q.Start, q.End)
			continue
		}
		values = append(append(values[:0], last[m]), s.Values[m]...)
		sums[m] += of(q.Schema, times, values, q.Start, q.End)
	}
}

// exists returns ErrNoSeries when nothing was ever stored that matches.
func (d *Driver) exists(ctx context.Context, schema *timeseries.Schema, tags timeseries.Tags) error {
	for values, err := range d.remote.Series(ctx, schema, escapeTags(tags), math.MinInt64, math.MaxInt64) {
		if err != nil {
			return err
		}
		if matches(schema, tags, convert(values, unescape)) {
			return nil
		}
	}
	return fmt.Errorf("cannot query %q with %v: %w", schema.Name, tags, timeseries.ErrNoSeries)
}

// check says what is wrong with a question before the store is asked.
func check(q *timeseries.Query) error {
	if q.Start > q.End {
		return fmt.Errorf("cannot query %q: %w: %d, %d", q.Schema.Name, timeseries.ErrBadRange, q.Start, q.End)
	}
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(q.Tags)), q.GroupBy) {
		if !knows(q.Schema, name) {
			return fmt.Errorf("cannot query %q: %w %q, its tags are %q", q.Schema.Name, timeseries.ErrUnknownTag, name, q.Schema.Tags)
		}
	}
	return nil
}

// knows reports whether name may be filtered and grouped by: a tag, or any key
// when there is a packed tag.
func knows(s *timeseries.Schema, name string) bool {
	return s.Packed != "" || slices.Contains(s.Tags, name)
}

// known is the part of a filter that the schema knows.
func known(s *timeseries.Schema, tags timeseries.Tags) timeseries.Tags {
	tags = maps.Clone(tags)
	maps.DeleteFunc(tags, func(name, _ string) bool { return !knows(s, name) })
	return tags
}

// tagValue is that of a tag, or of a key inside the packed tag.
func tagValue(schema *timeseries.Schema, values []string, name string) (string, bool) {
	if i := slices.Index(schema.Tags, name); i >= 0 {
		return values[i], true
	}
	if i := slices.Index(schema.Tags, schema.Packed); i >= 0 {
		return timeseries.PackedValue(values[i], name)
	}
	return "", false
}

func matches(schema *timeseries.Schema, tags timeseries.Tags, values []string) bool {
	for name, want := range tags {
		if v, ok := tagValue(schema, values, name); !ok || v != want {
			return false
		}
	}
	return true
}

func keyOf(values []string) string { return strings.Join(values, "\x00") }

// groups are series put together by the values of names.
type groups struct {
	schema *timeseries.Schema
	names  []string
	byKey  map[string]*group
	values []string
}

type group struct {
	tags timeseries.Tags
	data [][]float64 // per metric, on the grid
	sums []float64   // per metric
}

func newGroups(schema *timeseries.Schema, names []string) *groups {
	return &groups{schema: schema, names: names, byKey: make(map[string]*group), values: make([]string, len(names))}
}

// of is the group of a series; a key that is missing in the packed tag has the value "".
func (g *groups) of(tags []string) *group {
	for i, name := range g.names {
		g.values[i], _ = tagValue(g.schema, tags, name)
	}
	key := keyOf(g.values)
	found := g.byKey[key]
	if found == nil {
		found = &group{tags: make(timeseries.Tags, len(g.names))}
		for i, name := range g.names {
			found.tags[name] = g.values[i]
		}
		g.byKey[key] = found
	}
	return found
}

// named is the group with these tags among others.
func (g *groups) named(tags timeseries.Tags) *group {
	for i, name := range g.names {
		g.values[i] = tags[name]
	}
	return g.byKey[keyOf(g.values)]
}

func (g *groups) sorted() []*group {
	list := make([]*group, 0, len(g.byKey))
	for _, key := range slices.Sorted(maps.Keys(g.byKey)) {
		list = append(list, g.byKey[key])
	}
	return list
}

// unknown makes every point of the group unknown.
func (g *group) unknown(grid timeseries.Grid, schema *timeseries.Schema) {
	g.data = make([][]float64, len(schema.Metrics))
	for m := range g.data {
		g.data[m] = slices.Repeat([]float64{math.NaN()}, grid.Count)
	}
}

// add adds the points of a series; points is memory for them, and is returned.
func (g *group) add(grid timeseries.Grid, schema *timeseries.Schema, s *timeseries.Samples, points []float64) []float64 {
	if g.data == nil {
		g.unknown(grid, schema)
	}
	for m := range g.data {
		points = grid.Slots(points[:0], schema, s.Times, s.Values[m])
		timeseries.AddPoints(g.data[m], points)
	}
	return points
}
