package prometheus

import (
	"bufio"
	"maps"
	"runtime"
	"slices"
)

// engineVersion is that of Prometheus whose engine answers. Clients ask for it to know
// what they may ask: it is 3.15.1 of the module v0.315.1.
const engineVersion = "3.15.1"

func (h *Handler) buildInfo(*request) (*result, error) {
	return &result{write: writeJSON(map[string]string{
		"version": engineVersion, "revision": "", "branch": "", "buildUser": "weir", "buildDate": "", "goVersion": runtime.Version(),
	})}, nil
}

// rules answers that there are none: Weir has no recording and no alerting rules.
func (h *Handler) rules(*request) (*result, error) {
	return &result{write: func(w *bufio.Writer) { _, _ = w.WriteString(`{"groups":[]}`) }}, nil
}

// alerts answers that there are none, for the same reason as rules.
func (h *Handler) alerts(*request) (*result, error) {
	return &result{write: func(w *bufio.Writer) { _, _ = w.WriteString(`{"alerts":[]}`) }}, nil
}

// exemplars answers that there are none: nothing that Weir stores has any.
func (h *Handler) exemplars(r *request) (*result, error) {
	if _, err := h.parse(r.get("query"), 0); err != nil {
		return nil, err
	}
	return &result{write: func(w *bufio.Writer) { _, _ = w.WriteString("[]") }}, nil
}

// format answers with the expression as it is written nicely.
func (h *Handler) format(r *request) (*result, error) {
	expression, err := h.parse(r.get("query"), 0)
	if err != nil {
		return nil, err
	}
	return &result{write: func(w *bufio.Writer) { writeString(w, expression.Pretty(0)) }}, nil
}

// description is one of the answer to metadata.
type description struct {
	Type string `json:"type"`
	Help string `json:"help"`
	Unit string `json:"unit"`
}

// metadata says of every metric what it is.
func (h *Handler) metadata(r *request) (*result, error) {
	limit, each, wanted := r.limit(), r.number("limit_per_metric"), r.get("metric")
	if r.err != nil {
		return nil, r.err
	}
	schemas, err := r.read.source.Schemas(r.ctx)
	if err != nil {
		return nil, stored{err}
	}
	all := make(map[string][]description)
	for _, schema := range schemas {
		for _, metric := range schema.Metrics {
			name := MetricName(schema, metric)
			if wanted != "" && name != wanted || each > 0 && len(all[name]) == each {
				continue
			}
			kind, help := describe(schema, metric)
			all[name] = append(all[name], description{Type: kind, Help: help})
		}
	}
	if limit > 0 && len(all) > limit {
		for _, name := range slices.Sorted(maps.Keys(all))[limit:] {
			delete(all, name)
		}
	}
	return &result{write: writeJSON(all)}, nil
}
