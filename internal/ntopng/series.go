package ntopng

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/timeseries"
)

// question reads what all endpoints of series share.
func (h *Handler) question(p *parameters) (front.Question, error) {
	schema, err := p.schema()
	if err != nil {
		return front.Question{}, err
	}
	tags, err := p.tags()
	if err != nil {
		return front.Question{}, err
	}
	q := front.NewQuestion(schema, tags, 0, 0)
	if q.Start, err = p.int("epoch_begin", p.now-3600); err != nil {
		return q, err
	}
	if q.End, err = p.int("epoch_end", p.now); err != nil {
		return q, err
	}
	limit, err := p.int("limit", 60)
	q.Options.MaxPoints = int(min(max(limit, 1), maxLimit))
	q.Options.InitialPoint = p.flag("initial_point")
	q.Options.WithSeries = true
	if err != nil {
		return q, err
	}
	if q.Options.Resolution, err = timeseries.ParseResolution(p.values["ts_aggregation"]); err != nil {
		return q, &problem{fmt.Sprintf("cannot use ts_aggregation=%.100q: raw, 1m, 1h or 1d is needed", p.values["ts_aggregation"])}
	}
	return q, nil
}

// whole refuses a question that does not say of which interface (R30), unless its schema
// knows none.
func (h *Handler) whole(q front.Question) error {
	name, _ := strings.CutPrefix(q.Schema, "top:")
	d := h.front.Definitions().Lookup(name)
	if _, given := q.Tags[front.IfID]; !given && d != nil && (d.HasTag(front.IfID) || d.Virtual()) {
		return &problem{fmt.Sprintf("cannot query %q: ts_query lacks the tag ifid", name)}
	}
	return nil
}

// ask answers a question; nil without an error when there are no data.
func (h *Handler) ask(ctx context.Context, q front.Question) (*front.Answer, error) {
	a, err := known(h.front.Query(ctx, q))
	if a != nil {
		a.Metadata.Query = q.Tags
	}
	return a, err
}

// modern is an answer in the second version: what is compared with is an answer, too.
type modern struct {
	*front.Answer
	Compared map[string]*front.Answer `json:"additional_series,omitempty"`
}

// nothing is the second version's answer when there are no data.
var nothing = map[string]any{"metadata": []string{}}

// modern answers ts.lua of the second version.
func (h *Handler) modern(ctx context.Context, p *parameters) (any, error) {
	q, err := h.question(p)
	if err != nil {
		return nil, err
	}
	q.Options.MinPoints, q.Options.KeepNaN = 2, true
	special(&q)
	if err := h.whole(q); err != nil {
		return nil, err
	}
	a, err := h.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nothing, nil
	}
	out := &modern{Answer: a}
	if name, back := p.shift(); back > 0 {
		q.Start, q.End = q.Start-back, q.End-back
		before, err := h.ask(ctx, q)
		if err != nil {
			return nil, err
		}
		if before != nil {
			before.Additional = map[string]any{}
			out.Compared = map[string]*front.Answer{name + "_ago": before}
		}
	}
	return out, nil
}

// special changes questions as the second version does (section 5.2).
func special(q *front.Question) {
	switch q.Schema {
	case "snmp_if:traffic_min":
		if port, ok := q.Tags["port"]; ok {
			delete(q.Tags, "port")
			q.Tags["if_index"], q.Tags[front.IfID] = port, "-1"
		}
	case "top:flow_check:duration":
		delete(q.Tags, "check")
	}
}

// multi answers ts_multi.lua: the questions of ts_requests, in their order.
func (h *Handler) multi(ctx context.Context, p *parameters) (any, error) {
	if p.requests == nil {
		return nil, &problem{"the parameter ts_requests is missing: POST an object with it, a list of objects with ts_schema and ts_query"}
	}
	answers, points := make([]any, len(p.requests)), 0
	for i, request := range p.requests {
		request.share(p)
		one, err := h.modern(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("ts_requests[%d]: %w", i, err)
		}
		if one, ok := one.(*modern); ok {
			points += one.Count * len(one.Series)
		}
		if points > maxPoints {
			return nil, &problem{fmt.Sprintf("the answers have more than %d points together: ask for fewer at once, or with a smaller limit", maxPoints)}
		}
		answers[i] = one
	}
	return answers, nil
}

// legacy is an answer in the first version.
type legacy struct {
	*front.Answer
	Schema     string          `json:"schema"`
	MaxPoints  int             `json:"max_points"`
	Query      timeseries.Tags `json:"query"`
	Series     any             `json:"series"`
	Additional any             `json:"additional_series"`
}

// extended is a line whose points are by their time.
type extended struct {
	front.Line
	Data map[string]front.Number `json:"data"`
}

// legacy answers ts.lua of the first version and of the oldest path.
func (h *Handler) legacy(ctx context.Context, p *parameters) (any, error) {
	q, err := h.question(p)
	if err != nil {
		return nil, err
	}
	if key := p.values["tskey"]; key != "" {
		q.Tags["host"] = key
	}
	q.Options.KeepTotal = true
	if err := h.whole(q); err != nil {
		return nil, err
	}
	a, err := h.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return []string{}, nil
	}
	out := &legacy{Answer: a, Schema: q.Schema, MaxPoints: q.Options.MaxPoints, Query: q.Tags, Series: a.Series, Additional: []string{}}
	if name, back := p.shift(); back > 0 && name != "1Y" {
		q.Start, q.End = q.Start-back, q.End-back
		before, err := h.ask(ctx, q)
		if err != nil {
			return nil, err
		}
		if before != nil {
			a.Additional[name+" ago"] = before.Additional["total"]
		}
		out.Additional = a.Additional
	}
	if p.values["extended"] != "" && p.values["extended"] != "false" {
		lines := make([]extended, len(a.Series))
		for i, line := range a.Series {
			lines[i] = extended{line, timed(line.Data, q.Start, a.Step)}
		}
		out.Series = lines
	}
	return out, nil
}

// timed are points by their time, counted from start.
func timed(data front.Points, start, step int64) map[string]front.Number {
	out := make(map[string]front.Number, len(data))
	for i, v := range data {
		out[strconv.FormatInt(start+int64(i)*step, 10)] = front.Number(v)
	}
	return out
}
