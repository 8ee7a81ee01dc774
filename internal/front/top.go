package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// top answers with the largest combinations of the tags that are lacking, and always with
// their points: a line for each, its metrics added up (timeseries_top, queryTopk).
func (f *Front) top(ctx context.Context, d *Definition, ask timeseries.Query, lacking []string) (*Answer, error) {
	ask.WithSeries = true
	if err := bounded(ask, ask.Top); err != nil {
		return nil, err
	}
	ask.KeepTotal = ask.KeepTotal || d.KeepTotal
	result, err := f.drivers.TopK(ctx, ask)
	if err != nil {
		return nil, err
	}
	lines := result.Series
	result.Series = nil
	a := answer(&result.Result, d.Schema.Name)
	if len(lines) == 0 { // of a driver that ranks only
		if lines, err = f.lines(ctx, ask, result.Items); err != nil {
			return nil, err
		}
	}
	metrics := len(lines) / max(1, len(result.Items))
	for i, item := range result.Items {
		partials := make(map[string]Number, len(item.Partials))
		for metric, v := range item.Partials {
			partials[metric] = Number(v)
		}
		a.TopK = append(a.TopK, Item{item.Tags, Number(item.Value), partials})
		if metrics > 0 {
			a.add(itemLine(ask, item.Tags, lines[i*metrics:(i+1)*metrics], a.Step, lacking[0]))
		}
	}
	return a, nil
}

// lines asks for the points of items one by one.
func (f *Front) lines(ctx context.Context, ask timeseries.Query, items []timeseries.TopItem) ([]timeseries.Series, error) {
	var all []timeseries.Series
	for _, item := range items {
		ask.Tags = item.Tags
		r, err := f.drivers.Query(ctx, ask)
		if err != nil {
			return nil, err
		}
		all = append(all, r.Series...)
	}
	return all, nil
}

// bounded refuses a question whose answer would be too large: lines of all items.
func bounded(q timeseries.Query, items int) error {
	per := max(1, timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options).Count) * len(q.Schema.Metrics)
	if n := items * per; n > maxPoints {
		return fmt.Errorf("cannot query %q: %w: %d items of %d points are %d, at most %d are allowed; ask for fewer items or points", q.Schema.Name, ErrTooMuch, items, per, n, maxPoints)
	}
	return nil
}

// ErrTooMuch is the error of questions whose answers would be too large.
var ErrTooMuch = errors.New("too many points")

// itemLine adds the metrics of one item up.
func itemLine(q timeseries.Query, tags timeseries.Tags, metrics []timeseries.Series, step int64, by string) Line {
	sum := slices.Clone(metrics[0].Data)
	for _, more := range metrics[1:] {
		timeseries.AddPoints(sum, more.Data)
	}
	line := Line{ID: unit(q.Schema.Name), Label: metrics[0].Label, Name: tags[by], Tags: tags, Data: sum}
	if len(metrics) > 1 {
		line.Label = "bytes"
	}
	if !q.NoStatistics {
		known := sum
		if q.InitialPoint && len(known) > 0 {
			known = known[1:]
		}
		s := timeseries.NewStatistics(known, step, q.KeepTotal, q.Schema.Type)
		line.Statistics = &s
	}
	return line
}

// unit is what the points of an item are called, by the name of its schema (section 1.6).
func unit(schema string) string {
	for _, ending := range []string{"packets", "hits"} {
		if strings.HasSuffix(schema, ending) {
			return ending
		}
	}
	return "bytes"
}

// The virtual schemas, and the metric of host:traffic by which each ranks hosts.
var virtual = map[string]string{"local_senders": "bytes_sent", "local_receivers": "bytes_rcvd"}

// precomputed answers for a virtual schema: the hosts that sent or received most, out
// of the MaxTop hosts with the most traffic, each with a line of that metric.
func (f *Front) precomputed(ctx context.Context, d *Definition, q Question) (*Answer, error) {
	metric := virtual[d.Schema.Name]
	traffic := f.definitions.Lookup("host:traffic")
	if metric == "" || traffic == nil {
		return nil, fmt.Errorf("%w %q: it has no metrics", timeseries.ErrUnknownSchema, d.Schema.Name)
	}
	if _, ok := q.Tags[IfID]; !ok {
		return nil, &MissingTagError{IfID, d.Schema.Name}
	}
	all := q.query(traffic)
	wanted := max(0, all.Top)
	all.Tags = timeseries.Tags{IfID: q.Tags[IfID]}
	if err := bounded(all, wanted); err != nil {
		return nil, err
	}
	all.Top, all.WithSeries = MaxTop, false
	result, err := f.drivers.TopK(ctx, all)
	if err != nil {
		return nil, err
	}
	items := slices.DeleteFunc(result.Items, func(i timeseries.TopItem) bool { return !(i.Partials[metric] > 0) })
	slices.SortStableFunc(items, func(a, b timeseries.TopItem) int { return cmp.Compare(b.Partials[metric], a.Partials[metric]) })
	items = items[:min(len(items), wanted)]
	result.Series = nil
	a := answer(&result.Result, d.Schema.Name)
	for _, item := range items {
		one := q.query(traffic)
		one.Tags = item.Tags
		points, err := f.drivers.Query(ctx, one)
		if err != nil {
			return nil, err
		}
		v := Number(item.Partials[metric])
		a.TopK = append(a.TopK, Item{item.Tags, v, map[string]Number{metric: v}})
		if i := slices.IndexFunc(points.Series, func(s timeseries.Series) bool { return s.Label == metric }); i >= 0 {
			a.add(itemLine(one, item.Tags, points.Series[i:i+1], points.Step, "host"))
		}
	}
	return a, nil
}
