package prometheus

import (
	"context"
	"errors"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/weirhq/weir/timeseries"
)

// querier is a storage.Querier over a range of time.
type querier struct {
	*reading
	in seconds
}

// Close implements storage.Querier.
func (*querier) Close() error { return nil }

// Select implements storage.Querier. The series are always sorted.
func (q *querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	in := q.in
	if hints != nil {
		in = interval(hints.Start, hints.End)
	}
	list, err := q.read(ctx, in, matchers)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return &seriesSet{list, -1}
}

// each yields the labels of every series that matches and has samples in the range:
// the order is that of the source, and labels that look the same may come again.
// Which metrics of a schema have values is not looked at.
func (q *querier) each(ctx context.Context, matchers []*labels.Matcher, yield func(labels.Labels) error) error {
	targets, err := q.targets(ctx, matchers)
	if err != nil {
		return err
	}
	for _, t := range targets {
		err := q.tags(ctx, t, func(tags []string) error {
			for _, name := range t.names {
				if err := yield(t.naming.labels(tags, name)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tags yields the tag values, in the order of the schema, of every series of a target.
func (q *querier) tags(ctx context.Context, t *target, yield func([]string) error) error {
	end := q.in.last
	switch {
	case end < 1: // 0 would mean no end
		return nil
	case end == latest:
		end = 0
	}
	values := make([]string, len(t.schema.Tags))
	for tags, err := range q.source.List(ctx, timeseries.ListQuery{Schema: t.schema, Tags: t.tags, Start: q.in.first, End: end}) {
		if errors.Is(err, timeseries.ErrNoSeries) {
			return nil
		}
		if err != nil {
			return stored{err}
		}
		for i, name := range t.schema.Tags {
			values[i] = tags[name]
		}
		if !t.passes(values) {
			continue
		}
		if err := yield(values); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// LabelNames implements storage.LabelQuerier.
func (q *querier) LabelNames(ctx context.Context, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	names := make(set)
	targets, err := q.targets(ctx, matchers)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range targets {
		err := q.tags(ctx, t, func(tags []string) error {
			if err := names.add(q.reading, nameLabel); err != nil {
				return err
			}
			for name := range t.naming.pairs(tags) {
				if err := names.add(q.reading, name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return names.sorted(), nil, nil
}

// LabelValues implements storage.LabelQuerier. Names of metrics and schemas are
// taken from the catalogue when no other label is matched: that there are still series
// of them in the range is then not looked at.
func (q *querier) LabelValues(ctx context.Context, label string, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	values := make(set)
	targets, err := q.targets(ctx, matchers)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range targets {
		add := func(tags []string) error {
			switch {
			case label == nameLabel:
				for _, name := range t.names {
					if err := values.add(q.reading, name); err != nil {
						return err
					}
				}
			case label == schemaLabel && !t.naming.foreign:
				return values.add(q.reading, t.schema.Name)
			default:
				if value := t.naming.value(tags, label); value != "" {
					return values.add(q.reading, value)
				}
			}
			return nil
		}
		switch {
		case (label == nameLabel || label == schemaLabel && !t.naming.foreign) && len(t.tags) == 0 && len(t.checks) == 0:
			err = add(nil)
		case t.may(label):
			err = q.tags(ctx, t, add)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return values.sorted(), nil, nil
}

// may reports whether series of t can have a label.
func (t *target) may(label string) bool {
	return label == nameLabel || label == schemaLabel || t.naming.packed >= 0 || slices.Contains(t.naming.names, label)
}

// set is a set of names or values.
type set map[string]struct{}

// add counts what is new in the memory of r.
func (s set) add(r *reading, text string) error {
	if _, ok := s[text]; ok {
		return nil
	}
	s[text] = struct{}{}
	return r.hold(seriesBytes + int64(len(text)))
}

func (s set) sorted() []string {
	list := make([]string, 0, len(s))
	for text := range s {
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}
