package ntopng

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// kinds are the kinds of elements whose names differ from the prefix of their schemas.
var kinds = map[string]string{"am": "am_host", "snmp_interface": "snmp_if", "snmp_device": "snmp_dev"}

// entry describes a schema to a chart.
type entry struct {
	Schema   string           `json:"schema"`
	ID       string           `json:"id"`
	Label    string           `json:"label"`
	Priority int              `json:"priority"`
	Unit     string           `json:"measure_unit"`
	Scale    string           `json:"scale"`
	Metrics  map[string]style `json:"timeseries"`
}

// style says how a chart draws a metric.
type style struct {
	Label  string `json:"label"`
	Color  string `json:"color"`
	Invert bool   `json:"invert_direction,omitempty"` // drawn below the axis, opposite to what is sent
}

// colors are those of metrics in the order of the schema, again from the start when there are more.
var colors = []string{"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f"}

// consts answers consts.lua: the schemas there are for a kind of element.
func (h *Handler) consts(p *parameters) (any, error) {
	kind := p.values["query"]
	prefix := kind
	if other := kinds[kind]; other != "" {
		prefix = other
	}
	all := h.front.Definitions().ByPrefix(prefix)
	if len(all) == 0 {
		return nil, &problem{fmt.Sprintf("cannot use query=%.100q: there are no schemas for it, but for %s", kind, strings.Join(h.kinds(), ", "))}
	}
	entries := make([]entry, 0, len(all))
	for i, d := range all {
		s := d.Schema
		_, rest, _ := strings.Cut(s.Name, ":")
		e := entry{Schema: s.Name, ID: s.Name, Label: label(rest), Priority: i, Unit: measure(s), Scale: scale(s), Metrics: make(map[string]style)}
		for m, metric := range s.Metrics {
			e.Metrics[metric] = style{label(metric), colors[m%len(colors)], strings.HasSuffix(metric, "_rcvd")}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// kinds are all kinds of elements, sorted.
func (h *Handler) kinds() []string {
	names := make(map[string]bool)
	for _, d := range h.front.Definitions().All() {
		names[d.Schema.Prefix()] = true
	}
	for kind, prefix := range kinds {
		delete(names, prefix)
		names[kind] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// label is a name for people: "bytes_sent" is "Bytes sent".
func label(name string) string {
	words := strings.ReplaceAll(name, "_", " ")
	if words == "" {
		return words
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// measure is the unit of the points.
func measure(s *timeseries.Schema) string {
	what := strings.Join(s.Metrics, " ")
	switch {
	case s.Type == timeseries.Gauge && strings.Contains(what, "bytes"):
		return "bytes"
	case strings.Contains(what, "bytes"):
		return "bps"
	case s.Type != timeseries.Gauge && (strings.Contains(what, "packets") || strings.Contains(what, "pkts")):
		return "pps"
	case s.Type != timeseries.Gauge && strings.Contains(what, "flows"):
		return "fps"
	case strings.Contains(what, "pct"):
		return "percentage"
	case strings.Contains(what, "_ms") || strings.Contains(what, "millis"):
		return "ms"
	}
	return "number"
}

// scale is what the axis says.
func scale(s *timeseries.Schema) string {
	if s.Type == timeseries.Gauge {
		return "Value"
	}
	return "Rate per second"
}
