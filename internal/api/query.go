package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// query answers with points (specification section 2.5, R4 to R14).
func (s *server) query(w http.ResponseWriter, r *http.Request, p *parameters) error {
	q, err := s.asked(r.Context(), p)
	if err != nil {
		return err
	}
	if err := s.bound(r.Context(), q); err != nil {
		return err
	}
	result, err := s.Driver.Query(r.Context(), q)
	if err != nil {
		return s.explain(q.Schema, q.Tags, err)
	}
	writeJSON(w, http.StatusOK, result)
	return nil
}

// topk answers with the largest combinations of tags (R16).
func (s *server) topk(w http.ResponseWriter, r *http.Request, p *parameters) error {
	q, err := s.asked(r.Context(), p)
	if err != nil {
		return err
	}
	if per := valuesPerGroup(q); q.WithSeries && q.Top*per > maxValues {
		return badParameter("top", fmt.Sprint(q.Top), fmt.Sprintf("the series of that many items are up to %d points, at most %d are allowed: ask for fewer items or points, or without series", q.Top*per, maxValues))
	}
	result, err := s.Driver.TopK(r.Context(), q)
	if err != nil {
		return s.explain(q.Schema, q.Tags, err)
	}
	writeJSON(w, http.StatusOK, result)
	return nil
}

// total answers with the volume per metric (R15).
func (s *server) total(w http.ResponseWriter, r *http.Request, p *parameters) error {
	q, err := s.asked(r.Context(), p)
	if err != nil {
		return err
	}
	total, err := s.Driver.Total(r.Context(), q)
	if err != nil {
		return s.explain(q.Schema, q.Tags, err)
	}
	answer := totalJSON{Schema: q.Schema.Name, Tags: q.Tags, Start: q.Start, End: q.End, Total: make(map[string]*float64, len(total))}
	for metric, v := range total {
		answer.Total[metric] = nil
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			answer.Total[metric] = &v
		}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

type totalJSON struct {
	Schema string              `json:"schema"`
	Tags   timeseries.Tags     `json:"tags"`
	Start  int64               `json:"start"`
	End    int64               `json:"end"`
	Total  map[string]*float64 `json:"total"` // null where no value is known
}

// asked is the question in the parameters, about the schema they name.
func (s *server) asked(ctx context.Context, p *parameters) (timeseries.Query, error) {
	schema, err := s.schema(ctx, p)
	if err != nil {
		return timeseries.Query{}, err
	}
	return p.question(schema)
}

// schema finds the one that was asked for.
func (s *server) schema(ctx context.Context, p *parameters) (*timeseries.Schema, error) {
	all, err := s.Catalog.Schemas(ctx)
	if err != nil {
		return nil, err
	}
	name := p.get("schema")
	names := make([]string, len(all))
	for i, schema := range all {
		if schema.Name == name {
			return schema, nil
		}
		names[i] = schema.Name
	}
	if name == "" {
		return nil, &Error{http.StatusBadRequest, "bad_parameter", "the parameter schema is missing" + suggest("", names, "nothing is stored yet")}
	}
	return nil, &Error{http.StatusNotFound, "unknown_schema", fmt.Sprintf("there is no schema %.300q%s", name, suggest(name, names, "nothing is stored yet"))}
}

// explain names what was asked in an error that says there is no series.
func (s *server) explain(schema *timeseries.Schema, tags timeseries.Tags, err error) error {
	if !errors.Is(err, timeseries.ErrNoSeries) {
		return err
	}
	text := fmt.Sprintf("no series of %q matches %s", schema.Name, filterText(tags))
	for name := range tags { // a schema with a packed tag takes any name, so this is where a typing error shows
		if near := nearest(name, schema.Tags); near != "" && near != name {
			text += fmt.Sprintf("; is %.100q meant to be the tag %q?", name, near)
		}
	}
	return &Error{http.StatusNotFound, "no_series", text + fmt.Sprintf(" (`weir series %s` lists what there is)", schema.Name)}
}

// filterText is a filter for people: name=value, sorted.
func filterText(tags timeseries.Tags) string {
	if len(tags) == 0 {
		return "(no filter)"
	}
	var list []string
	for name, value := range tags {
		list = append(list, fmt.Sprintf("%.100q", name+"="+value))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// valuesPerGroup is how many points one group of the answer has over all metrics.
func valuesPerGroup(q timeseries.Query) int {
	return max(1, timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options).Count) * len(q.Schema.Metrics)
}

// bound refuses a query whose answer would be too large, before it is computed:
// it counts the groups until there are too many.
func (s *server) bound(ctx context.Context, q timeseries.Query) error {
	per := valuesPerGroup(q)
	most := max(1, maxValues/per)
	if len(q.GroupBy) == 0 {
		return nil
	}
	groups := make(map[string]struct{})
	for tags, err := range s.Driver.List(ctx, timeseries.ListQuery{Schema: q.Schema, Tags: q.Tags}) {
		if err != nil {
			return s.explain(q.Schema, q.Tags, err)
		}
		groups[groupKey(q.Schema, q.GroupBy, tags)] = struct{}{}
		if len(groups) > most {
			return badParameter("group_by", strings.Join(q.GroupBy, ","), fmt.Sprintf(
				"the answer would have more than %d groups of %d points: ask for fewer points, a narrower filter, or /api/v1/topk", most, per))
		}
	}
	return nil
}

// groupKey is the combination of the tags to group by that a series belongs to.
func groupKey(s *timeseries.Schema, groupBy []string, tags timeseries.Tags) string {
	var b strings.Builder
	for _, name := range groupBy {
		value, ok := tags[name]
		if !ok && s.Packed != "" {
			value, _ = timeseries.PackedValue(tags[s.Packed], name)
		}
		b.WriteString(value)
		b.WriteByte(0) // not allowed in a value
	}
	return b.String()
}
