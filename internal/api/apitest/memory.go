// Package apitest has what tests need to answer questions without a store.
package apitest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// Memory is a small driver that keeps points in memory. It is filled before it
// is asked and not changed afterwards.
type Memory struct {
	schemas []*timeseries.Schema
	series  map[*timeseries.Schema][]*series
}

type series struct {
	tags   []string
	times  []int64
	values [][]float64 // per metric
}

var (
	_ timeseries.Driver  = (*Memory)(nil)
	_ timeseries.Catalog = (*Memory)(nil)
)

// NewMemory returns a driver that knows the schemas, which are sorted by name.
func NewMemory(schemas ...*timeseries.Schema) *Memory {
	return &Memory{schemas: schemas, series: make(map[*timeseries.Schema][]*series)}
}

// Add stores a point; those of one series come in the order of time.
func (m *Memory) Add(s *timeseries.Schema, t int64, tags []string, values ...float64) {
	all := m.series[s]
	i := slices.IndexFunc(all, func(x *series) bool { return slices.Equal(x.tags, tags) })
	if i < 0 {
		all = append(all, &series{tags: slices.Clone(tags), values: make([][]float64, len(values))})
		m.series[s], i = all, len(all)-1
	}
	all[i].times = append(all[i].times, t)
	for n, v := range values {
		all[i].values[n] = append(all[i].values[n], v)
	}
}

// Schemas returns those the driver was made with.
func (m *Memory) Schemas(context.Context) ([]*timeseries.Schema, error) { return m.schemas, nil }

// Query answers as the contract says.
func (m *Memory) Query(_ context.Context, q timeseries.Query) (*timeseries.Result, error) {
	grid := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	groups, err := m.groups(q, q.GroupBy, grid)
	if err != nil {
		return nil, err
	}
	return timeseries.Assemble(q, grid, groups), nil
}

// groups adds up the points of the series that fall into one group.
func (m *Memory) groups(q timeseries.Query, by []string, grid timeseries.Grid) ([]timeseries.Group, error) {
	var groups []timeseries.Group
	place := make(map[string]int)
	for _, x := range m.matching(q.Schema, q.Tags) {
		tags := make(timeseries.Tags)
		var key strings.Builder
		for _, name := range by {
			tags[name] = value(q.Schema, x, name)
			key.WriteString(tags[name] + "\x00")
		}
		var data [][]float64
		for _, values := range x.values {
			data = append(data, grid.Slots(nil, q.Schema, x.times, values))
		}
		if i, ok := place[key.String()]; ok {
			for n := range data {
				timeseries.AddPoints(groups[i].Data[n], data[n])
			}
			continue
		}
		place[key.String()] = len(groups)
		groups = append(groups, timeseries.Group{Tags: tags, Data: data})
	}
	if groups == nil {
		return nil, timeseries.ErrNoSeries
	}
	return groups, nil
}

// Total answers as the contract says.
func (m *Memory) Total(_ context.Context, q timeseries.Query) (map[string]float64, error) {
	all := m.matching(q.Schema, q.Tags)
	if len(all) == 0 {
		return nil, timeseries.ErrNoSeries
	}
	total := make(map[string]float64)
	for _, x := range all {
		for n, metric := range q.Schema.Metrics {
			total[metric] += timeseries.Volume(q.Schema, x.times, x.values[n], q.Start, q.End)
		}
	}
	return total, nil
}

// TopK answers as the contract says.
func (m *Memory) TopK(_ context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	if len(q.GroupBy) == 0 {
		for _, name := range q.Schema.Tags {
			if _, given := q.Tags[name]; !given {
				q.GroupBy = append(q.GroupBy, name)
			}
		}
	}
	grid := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	groups, err := m.groups(q, q.GroupBy, grid)
	if err != nil {
		return nil, err
	}
	everything, err := m.groups(q, nil, grid)
	if err != nil {
		return nil, err
	}
	candidates := make([]timeseries.Candidate, len(groups))
	for i, g := range groups {
		candidates[i] = timeseries.Candidate{Tags: g.Tags, Partials: make([]float64, len(q.Schema.Metrics))}
		for _, x := range m.matching(q.Schema, q.Tags) {
			if !maps.Equal(g.Tags, groupTags(q, x)) {
				continue
			}
			for n := range q.Schema.Metrics {
				candidates[i].Partials[n] += timeseries.Integral(q.Schema, x.times, x.values[n], q.Start, q.End)
			}
		}
	}
	items := timeseries.Rank(q, candidates)
	var shown []timeseries.Group
	if q.WithSeries {
		for _, item := range items {
			i := slices.IndexFunc(groups, func(g timeseries.Group) bool {
				for name, v := range g.Tags {
					if item.Tags[name] != v {
						return false
					}
				}
				return true
			})
			shown = append(shown, groups[i])
		}
	}
	return timeseries.AssembleTop(q, grid, items, everything[0], shown), nil
}

func groupTags(q timeseries.Query, x *series) timeseries.Tags {
	tags := make(timeseries.Tags)
	for _, name := range q.GroupBy {
		tags[name] = value(q.Schema, x, name)
	}
	return tags
}

// List yields every series that matches.
func (m *Memory) List(_ context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		all := m.matching(q.Schema, q.Tags)
		if len(all) == 0 {
			yield(nil, timeseries.ErrNoSeries)
			return
		}
		for _, x := range all {
			if !slices.ContainsFunc(x.times, func(t int64) bool { return t >= q.Start && (q.End == 0 || t <= q.End) }) {
				continue
			}
			tags := make(timeseries.Tags)
			for i, name := range q.Schema.Tags {
				tags[name] = x.tags[i]
			}
			if !yield(tags, nil) {
				return
			}
		}
	}
}

func (m *Memory) matching(s *timeseries.Schema, filter timeseries.Tags) []*series {
	var list []*series
	for _, x := range m.series[s] {
		matches := true
		for name, want := range filter {
			matches = matches && value(s, x, name) == want
		}
		if matches {
			list = append(list, x)
		}
	}
	return list
}

// value of a tag, or of a key inside the packed tag.
func value(s *timeseries.Schema, x *series, name string) string {
	if i := slices.Index(s.Tags, name); i >= 0 {
		return x.tags[i]
	}
	v, _ := timeseries.PackedValue(x.tags[slices.Index(s.Tags, s.Packed)], name)
	return v
}

// Append adds the points.
func (m *Memory) Append(_ context.Context, points []timeseries.Point) error {
	for _, p := range points {
		m.Add(p.Schema, p.Time, p.Tags, p.Values...)
	}
	return nil
}

// Setup, Export, DeleteOld and LatestTimestamp have nothing to do; Delete is not there.
func (m *Memory) Setup(context.Context) error                    { return nil }
func (m *Memory) Export(context.Context) error                   { return nil }
func (m *Memory) DeleteOld(context.Context, int64) error         { return nil }
func (m *Memory) LatestTimestamp(context.Context) (int64, error) { return 0, nil }
func (m *Memory) Delete(context.Context, string, timeseries.Tags) error {
	return fmt.Errorf("cannot delete: the memory driver keeps what it has")
}
