package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// selection are the series a query is about, in ascending order of ids, and the
// groups they fall into.
type selection struct {
	schema  *schema
	columns []int // of the metrics of the query
	span    int64
	low     int64 // blocks of the schema start from here
	high    int64 // up to here

	ids    []uint64
	firsts []int64 // start of the first block of each
	groups []int32 // number of the group of each
	tags   []timeseries.Tags

	names  []string // grouped by
	byKey  map[string]int32
	oldest int64 // smallest of firsts
	size   int   // series that are read at a time
}

var errNoSchema = errors.New("a query needs a schema")

// lookSchema returns the stored schema that s names, nil when nothing was ever
// appended to it, and a selection without series.
func (d *database) lookSchema(s *timeseries.Schema) (*schema, *selection, error) {
	if s == nil {
		return nil, nil, errNoSchema
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	sc := d.schemas[s.Name]
	if sc == nil {
		return nil, nil, nil
	}
	return sc, &selection{schema: sc, columns: sc.columns(s.Metrics), span: sc.Span, low: sc.First, high: sc.Last, size: partSize}, nil
}

func noSeries(q *timeseries.Query) error {
	return fmt.Errorf("%w: nothing was appended to %q with tags %v", timeseries.ErrNoSeries, q.Schema.Name, q.Tags)
}

// choose finds the series that match the filter of q. lenient ignores names that
// the schema does not have, instead of failing. More than limit groups are an error.
func (d *database) choose(ctx context.Context, q *timeseries.Query, lenient bool, groupBy []string, limit int) (*selection, error) {
	if q.Schema != nil && q.Start > q.End {
		return nil, fmt.Errorf("%w: %d is after %d", timeseries.ErrBadRange, q.Start, q.End)
	}
	sc, sel, err := d.lookSchema(q.Schema)
	if err != nil {
		return nil, err
	}
	if sc == nil {
		return nil, noSeries(q)
	}
	conditions, unknown := sc.conditions(q.Tags)
	if len(unknown) > 0 && !lenient {
		return nil, fmt.Errorf("%w: %q is not a tag of %q, it has %q", timeseries.ErrUnknownTag, unknown[0], sc.Name, sc.Tags)
	}
	fields := make([]condition, len(groupBy))
	for i, name := range groupBy {
		field, ok := sc.field(name)
		if !ok {
			return nil, fmt.Errorf("%w: cannot group by %q, which is not a tag of %q, it has %q", timeseries.ErrUnknownTag, name, sc.Name, sc.Tags)
		}
		fields[i] = field
	}
	sel.names, sel.byKey = groupBy, make(map[string]int32)
	if tags, ok := sc.exact(conditions); ok {
		id, first, err := d.locate(sc, tags)
		if err != nil {
			return nil, err
		}
		if id == 0 {
			return nil, noSeries(q)
		}
		sel.add(id, first, tags, fields)
		return sel, nil
	}
	m, err := d.match(sc, conditions, 0)
	if err != nil {
		return nil, err
	}
	defer m.close()
	for m.step() {
		sel.add(m.id, m.first, m.tags, fields)
		if len(sel.tags) > limit {
			return nil, fmt.Errorf("cannot answer for more than %d combinations of %q: filter by a tag or group by fewer: %w", limit, groupBy, timeseries.ErrFull)
		}
		if len(sel.ids)&0xfff == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
	if m.err != nil {
		return nil, m.err
	}
	if len(sel.ids) == 0 {
		return nil, noSeries(q)
	}
	return sel, nil
}

// add puts a series into the selection, and into its group.
func (sel *selection) add(id uint64, first int64, tags []string, fields []condition) {
	if len(sel.ids) == 0 || first < sel.oldest {
		sel.oldest = first
	}
	group := int32(0)
	if len(fields) == 0 {
		if len(sel.tags) == 0 {
			sel.tags = append(sel.tags, timeseries.Tags{})
		}
	} else {
		var key string
		if len(fields) == 1 {
			key = sel.schema.valueOf(fields[0], tags)
		} else {
			var b strings.Builder
			for _, field := range fields {
				b.WriteString(sel.schema.valueOf(field, tags))
				b.WriteByte(0) // no value holds one
			}
			key = b.String()
		}
		known, ok := sel.byKey[key]
		if !ok {
			known = int32(len(sel.tags))
			sel.byKey[key] = known
			sel.tags = append(sel.tags, nil) // made by groupTags for those that are in the answer
		}
		group = known
	}
	sel.ids = append(sel.ids, id)
	sel.firsts = append(sel.firsts, first)
	sel.groups = append(sel.groups, group)
}

// groupTags are the tags of the group with that key.
func (sel *selection) groupTags(key string) timeseries.Tags {
	tags := make(timeseries.Tags, len(sel.names))
	if len(sel.names) == 1 {
		tags[sel.names[0]] = key
		return tags
	}
	for _, name := range sel.names {
		tags[name], key, _ = strings.Cut(key, "\x00")
	}
	return tags
}

// groupKey is the key of the group with those tags.
func (sel *selection) groupKey(tags timeseries.Tags) string {
	if len(sel.names) == 1 {
		return tags[sel.names[0]]
	}
	var b strings.Builder
	for _, name := range sel.names {
		b.WriteString(tags[name])
		b.WriteByte(0)
	}
	return b.String()
}

// part is a run of series of a selection.
type part struct {
	*selection
	from, to int
}

func (p part) ids() []uint64 { return p.selection.ids[p.from:p.to] }
