// Package memory is the plainest timeseries driver there can be: every point in
// a map, every question answered by looking at all of them. It is what other
// drivers are compared with, and what stands in for them where nothing has to be kept.
package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/weirhq/weir/timeseries"
)

// Driver implements timeseries.Driver, timeseries.Catalog and timeseries.Reader. The
// zero value is ready to be used, by any number of goroutines.
type Driver struct {
	mu     sync.Mutex
	tables map[string]*table // by name of the schema
}

// table holds the series of one schema, as it was first appended to.
type table struct {
	schema *timeseries.Schema
	series map[string]*series // by tag values, joined by NUL
}

type series struct {
	tags []string            // in the order of the schema
	rows map[int64][]float64 // metrics by time
}

// Setup does nothing.
func (d *Driver) Setup(context.Context) error { return nil }

// Export does nothing: nothing is buffered.
func (d *Driver) Export(context.Context) error { return nil }

// DeleteOld does nothing: there is no retention.
func (d *Driver) DeleteOld(context.Context, int64) error { return nil }

// Append stores points; of a series and time the last one stays. Points
// that are not valid, or whose schema has other tags or metrics than the schema
// of that name that came first, are refused one by one.
func (d *Driver) Append(_ context.Context, points []timeseries.Point) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var refused timeseries.AppendError
	for i := range points {
		if err := d.append(&points[i]); err != nil {
			refused.Refused++
			refused.First = cmp.Or(refused.First, err)
		}
	}
	if refused.Refused > 0 {
		return &refused
	}
	return nil
}

func (d *Driver) append(p *timeseries.Point) error {
	if err := p.Validate(); err != nil {
		return err
	}
	t := d.tables[p.Schema.Name]
	if t == nil {
		if err := p.Schema.Validate(); err != nil {
			return err
		}
		if d.tables == nil {
			d.tables = make(map[string]*table)
		}
		t = &table{schema: p.Schema, series: make(map[string]*series)}
		d.tables[p.Schema.Name] = t
	}
	if !slices.Equal(t.schema.Tags, p.Schema.Tags) || !slices.Equal(t.schema.Metrics, p.Schema.Metrics) {
		return fmt.Errorf("cannot append to %q: tags %q and metrics %q differ from %q and %q, which came first",
			p.Schema.Name, p.Schema.Tags, p.Schema.Metrics, t.schema.Tags, t.schema.Metrics)
	}
	key := keyOf(p.Tags)
	s := t.series[key]
	if s == nil {
		s = &series{tags: slices.Clone(p.Tags), rows: make(map[int64][]float64)}
		t.series[key] = s
	}
	s.rows[p.Time] = slices.Clone(p.Values)
	return nil
}

// Query computes the points of every group.
func (d *Driver) Query(_ context.Context, q timeseries.Query) (*timeseries.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.find(&q)
	if err != nil {
		return nil, err
	}
	g := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	var groups []timeseries.Group
	for _, group := range groupBy(q.Schema, q.GroupBy, found) {
		groups = append(groups, timeseries.Group{Tags: group.tags, Data: points(g, q.Schema, group.series)})
	}
	return timeseries.Assemble(q, g, groups), nil
}

// Total adds up the volumes of all matching series.
func (d *Driver) Total(_ context.Context, q timeseries.Query) (map[string]float64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q.Tags = known(q.Schema, q.Tags)
	q.GroupBy = nil
	found, err := d.find(&q)
	if err != nil {
		return nil, err
	}
	total := make(map[string]float64)
	for m, v := range sums(timeseries.Volume, &q, found) {
		total[q.Schema.Metrics[m]] = v
	}
	return total, nil
}

// TopK ranks the groups by their integral.
func (d *Driver) TopK(_ context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.find(&q)
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
	var candidates []timeseries.Candidate
	members := make(map[string][]*series)
	for _, group := range groupBy(q.Schema, names, found) {
		candidates = append(candidates, timeseries.Candidate{Tags: group.tags, Partials: sums(timeseries.Integral, &q, group.series)})
		members[group.key(names)] = group.series
	}
	items := timeseries.Rank(q, candidates)
	g := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	var groups []timeseries.Group
	if q.WithSeries {
		for _, item := range items {
			of := group{tags: item.Tags}
			groups = append(groups, timeseries.Group{Tags: item.Tags, Data: points(g, q.Schema, members[of.key(names)])})
		}
	}
	return timeseries.AssembleTop(q, g, items, timeseries.Group{Data: points(g, q.Schema, found)}, groups), nil
}

// List yields series sorted by their tags.
func (d *Driver) List(_ context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		list, err := d.list(q)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, tags := range list {
			if !yield(tags, nil) {
				return
			}
		}
	}
}

func (d *Driver) list(q timeseries.ListQuery) (list []timeseries.Tags, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.find(&timeseries.Query{Schema: q.Schema, Tags: known(q.Schema, q.Tags)})
	if err != nil {
		return nil, err
	}
	for _, s := range found {
		for at := range s.rows {
			if at >= q.Start && (at <= q.End || q.End == 0) {
				tags := make(timeseries.Tags, len(s.tags))
				for i, name := range q.Schema.Tags {
					tags[name] = s.tags[i]
				}
				list = append(list, tags)
				break
			}
		}
	}
	return list, nil
}

// Samples yields series sorted by their tags.
func (d *Driver) Samples(_ context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		list, err := d.samples(&q)
		if err != nil {
			yield(nil, err)
			return
		}
		for i := range list {
			if !yield(&list[i], nil) {
				return
			}
		}
	}
}

func (d *Driver) samples(q *timeseries.SampleQuery) (list []timeseries.Samples, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.find(&timeseries.Query{Schema: q.Schema, Tags: q.Tags})
	switch {
	case errors.Is(err, timeseries.ErrNoSeries):
		return nil, nil
	case err != nil:
		return nil, err
	}
	names := q.Columns()
	for _, s := range found {
		if q.Match != nil && !q.Match(s.tags) {
			continue
		}
		one := timeseries.Samples{Tags: s.tags, Values: make([][]float64, len(names))}
		for _, at := range slices.Sorted(maps.Keys(s.rows)) {
			if at <= q.After || at > q.Through {
				continue
			}
			one.Times = append(one.Times, at)
			for i, name := range names {
				value := math.NaN()
				if m := slices.Index(d.tables[q.Schema.Name].schema.Metrics, name); m >= 0 {
					value = s.rows[at][m]
				}
				one.Values[i] = append(one.Values[i], value)
			}
		}
		if len(one.Times) > 0 {
			list = append(list, one)
		}
	}
	return list, nil
}

// LatestTimestamp is the time of the newest point, 0 when there is none.
func (d *Driver) LatestTimestamp(context.Context) (latest int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tables {
		for _, s := range t.series {
			for at := range s.rows {
				latest = max(latest, at)
			}
		}
	}
	return latest, nil
}

// Delete removes series.
func (d *Driver) Delete(_ context.Context, prefix string, tags timeseries.Tags) error {
	if prefix == "" && len(tags) == 0 {
		return fmt.Errorf("cannot delete every series: name a prefix or a tag")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tables {
		if prefix != "" && prefix != t.schema.Prefix() || len(known(t.schema, tags)) < len(tags) {
			continue
		}
		maps.DeleteFunc(t.series, func(_ string, s *series) bool { return s.matches(t.schema, tags) })
	}
	return nil
}

// Schemas returns the schemas that points came with, sorted by name.
func (d *Driver) Schemas(context.Context) ([]*timeseries.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*timeseries.Schema
	for _, name := range slices.Sorted(maps.Keys(d.tables)) {
		list = append(list, d.tables[name].schema)
	}
	return list, nil
}

// find returns the series that match a query, sorted by their tags, and gives
// the query the schema they were stored with.
func (d *Driver) find(q *timeseries.Query) (found []*series, err error) {
	if q.Start > q.End {
		return nil, fmt.Errorf("cannot query %q: %w: %d, %d", q.Schema.Name, timeseries.ErrBadRange, q.Start, q.End)
	}
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(q.Tags)), q.GroupBy) {
		if !knows(q.Schema, name) {
			return nil, fmt.Errorf("cannot query %q: %w %q, its tags are %q", q.Schema.Name, timeseries.ErrUnknownTag, name, q.Schema.Tags)
		}
	}
	if t := d.tables[q.Schema.Name]; t != nil {
		q.Schema = t.schema
		for _, key := range slices.Sorted(maps.Keys(t.series)) {
			if s := t.series[key]; s.matches(t.schema, q.Tags) {
				found = append(found, s)
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("cannot query %q with %v: %w", q.Schema.Name, q.Tags, timeseries.ErrNoSeries)
	}
	return found, nil
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

// value is that of a tag, or of a key inside the packed tag.
func (s *series) value(schema *timeseries.Schema, name string) (string, bool) {
	if i := slices.Index(schema.Tags, name); i >= 0 {
		return s.tags[i], true
	}
	if i := slices.Index(schema.Tags, schema.Packed); i >= 0 {
		return timeseries.PackedValue(s.tags[i], name)
	}
	return "", false
}

func (s *series) matches(schema *timeseries.Schema, tags timeseries.Tags) bool {
	for name, want := range tags {
		if v, ok := s.value(schema, name); !ok || v != want {
			return false
		}
	}
	return true
}

// samples are the sorted times and the values of one metric.
func (s *series) samples(metric int) (times []int64, values []float64) {
	times = slices.Sorted(maps.Keys(s.rows))
	for _, at := range times {
		values = append(values, s.rows[at][metric])
	}
	return times, values
}

type group struct {
	tags   timeseries.Tags
	series []*series
}

func (g *group) key(names []string) string {
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = g.tags[name]
	}
	return keyOf(values)
}

func keyOf(values []string) string { return strings.Join(values, "\x00") }

// groupBy puts series with the same values of names together; a key that is
// missing in the packed tag has the value "".
func groupBy(schema *timeseries.Schema, names []string, found []*series) []*group {
	byKey := make(map[string]*group)
	for _, s := range found {
		g := &group{tags: make(timeseries.Tags, len(names))}
		for _, name := range names {
			g.tags[name], _ = s.value(schema, name)
		}
		key := g.key(names)
		if byKey[key] == nil {
			byKey[key] = g
		}
		byKey[key].series = append(byKey[key].series, s)
	}
	groups := make([]*group, 0, len(byKey))
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		groups = append(groups, byKey[key])
	}
	return groups
}

// points are those of the series added up, per metric.
func points(g timeseries.Grid, schema *timeseries.Schema, list []*series) [][]float64 {
	data := make([][]float64, len(schema.Metrics))
	for m := range data {
		for i, s := range list {
			times, values := s.samples(m)
			one := g.Slots(nil, schema, times, values)
			if i == 0 {
				data[m] = one
			} else {
				timeseries.AddPoints(data[m], one)
			}
		}
	}
	return data
}

// sums adds the volume or integral of the series up, per metric.
func sums(of func(*timeseries.Schema, []int64, []float64, int64, int64) float64, q *timeseries.Query, list []*series) []float64 {
	sums := make([]float64, len(q.Schema.Metrics))
	for m := range sums {
		for _, s := range list {
			times, values := s.samples(m)
			sums[m] += of(q.Schema, times, values, q.Start, q.End)
		}
	}
	return sums
}
