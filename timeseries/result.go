package timeseries

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// Group is what a driver found for one combination of the tags that are grouped by.
type Group struct {
	Tags Tags        // of the group; the filter of the query is added to them
	Data [][]float64 // per metric of the schema, as Grid.Slots made them and AddPoints added them up
}

// Assemble makes the answer to q from the points on g (specification section
// 2.5, R12 to R14): normalised series, their point by point sum, and statistics.
// It takes the Data of the groups over and changes them.
func Assemble(q Query, g Grid, groups []Group) *Result {
	g = g.trim(groups)
	r := answer(q, g)
	r.Series = seriesOf(q, g, groups)
	for _, s := range r.Series {
		AddPoints(r.Total, s.Data)
	}
	r.Statistics = statisticsOf(q, g, r.Total)
	return r
}

// AssembleTop makes the answer to a top-k query. all holds the points of all
// matching series added up, groups those of the items in their order; without
// Options.WithSeries there are none. It takes the Data over and changes them.
func AssembleTop(q Query, g Grid, items []TopItem, all Group, groups []Group) *TopResult {
	g = g.trim([]Group{all})
	r := answer(q, g)
	for _, s := range seriesOf(q, g, []Group{all}) {
		AddPoints(r.Total, s.Data)
	}
	r.Series = seriesOf(q, g, groups)
	r.Statistics = statisticsOf(q, g, r.Total)
	return &TopResult{Items: items, Result: *r}
}

// answer is a result without series, every point of Total still unknown.
func answer(q Query, g Grid) *Result {
	r := &Result{
		Schema: q.Schema, Tags: q.Tags, Start: g.Start, End: q.End, Step: g.Step, RawStep: g.RawStep, Count: g.Count,
		Total: make([]float64, g.Count), SourceAggregation: "raw",
	}
	for i := range r.Total {
		r.Total[i] = math.NaN()
	}
	return r
}

func seriesOf(q Query, g Grid, groups []Group) []Series {
	list := make([]Series, 0, len(groups)*len(q.Schema.Metrics))
	for _, group := range groups {
		tags := merge(q.Tags, group.Tags)
		for m, label := range q.Schema.Metrics {
			data := group.Data[m][:g.Count]
			q.normalize(data)
			list = append(list, Series{Label: label, Tags: tags, Data: data, Statistics: statisticsOf(q, g, data)})
		}
	}
	return list
}

func statisticsOf(q Query, g Grid, data []float64) *Statistics {
	if q.NoStatistics {
		return nil
	}
	if g.Initial {
		data = data[1:]
	}
	s := NewStatistics(data, g.Step, q.KeepTotal, q.Schema.Type)
	return &s
}

// trim drops a trailing slot in which no series has a value.
func (g Grid) trim(groups []Group) Grid {
	if g.partial() && !reaches(groups, g.Count) {
		g.Count--
	}
	return g
}

// reaches reports whether any series has a value in the last of count slots.
func reaches(groups []Group, count int) bool {
	for _, group := range groups {
		for _, data := range group.Data {
			if !math.IsNaN(data[count-1]) {
				return true
			}
		}
	}
	return false
}

func merge(a, b Tags) Tags {
	tags := make(Tags, len(a)+len(b))
	maps.Copy(tags, a)
	maps.Copy(tags, b)
	return tags
}

// normalize applies MinPoints, FillValue, MinValue and Round to the points of
// one series (specification section 1.7, normalizeVal).
func (o *Options) normalize(data []float64) {
	known := 0
	for _, v := range data {
		if !math.IsNaN(v) {
			known++
		}
	}
	if known < o.MinPoints {
		for i := range data {
			data[i] = o.FillValue
		}
		return
	}
	for i, v := range data {
		switch {
		case math.IsNaN(v):
			if !o.KeepNaN {
				v = o.FillValue
			}
		case v < o.MinValue:
			v = o.MinValue
		}
		if o.Round {
			v = math.Floor(v + 0.5)
		}
		data[i] = v
	}
}

// Candidate is one combination of the tags that a top-k query groups by.
type Candidate struct {
	Tags     Tags      // of the combination; the filter of the query is added to them
	Partials []float64 // the Integral of each metric of the schema
}

// Rank picks the items of a top-k answer (specification section 2.5, R16): the
// Options.Top candidates with the largest sums, ties by the text of the tags,
// without those whose sum is not above 0.
func Rank(q Query, candidates []Candidate) []TopItem {
	type ranked struct {
		*Candidate
		value float64
	}
	names := slices.Concat(q.GroupBy, q.Schema.Tags) // the filter's are the same in all
	compare := func(a, b ranked) int {
		if a.value != b.value {
			return cmp.Compare(b.value, a.value)
		}
		for _, name := range names {
			if c := cmp.Compare(a.Tags[name], b.Tags[name]); c != 0 {
				return c
			}
		}
		return 0
	}
	limit := max(q.Top, 0)
	var best []ranked // sorted, at most limit: there may be a million candidates
	for i := range candidates {
		c := ranked{Candidate: &candidates[i]}
		for _, v := range c.Partials {
			c.value += v
		}
		if !(c.value > 0) || len(best) == limit && (limit == 0 || compare(c, best[limit-1]) >= 0) {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, c, compare)
		best = slices.Insert(best, at, c)
		best = best[:min(len(best), limit)]
	}
	items := make([]TopItem, len(best))
	for i, c := range best {
		items[i] = TopItem{Tags: merge(q.Tags, c.Tags), Value: c.value, Partials: make(map[string]float64, len(c.Partials))}
		for m, v := range c.Partials {
			items[i].Partials[q.Schema.Metrics[m]] = v
		}
	}
	return items
}
