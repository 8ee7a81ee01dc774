package feed

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/timeseries"
)

// kind tells the sources apart that are read in different ways.
type kind int

const (
	fromCounters kind = iota
	fromGauges
	fromTimers
	fromSets
	fromPoints
	fromEvents
	kinds
)

// source is what a name after "from" stands for.
type source struct {
	kind   kind
	fields []string // that keys and matches may use; nil: any name is a tag
	values []string // the first is the one used when none is named; nil of timers: any field of the flush
	event  *event.Descriptor
}

var status = source{kind: fromPoints, fields: []string{"host", "service"}, values: []string{"state"}}

// fixed are the sources besides events. Points of a schema can be counted when a row here has its tags and metrics.
var fixed = map[string]source{
	"statsd:counter":  {kind: fromCounters, values: []string{"count"}},
	"statsd:gauge":    {kind: fromGauges, values: []string{"value"}},
	"statsd:timer":    {kind: fromTimers},
	"statsd:set":      {kind: fromSets, values: []string{"count"}},
	"centreon:status": status,
	"centreon:metric": {kind: fromPoints, fields: []string{"host", "service", "metric"},
		values: []string{"value", "warning_low", "warning_high", "critical_low", "critical_high", "min", "max"}},
}

// Sources are all names that can stand after "from": schemas first, then events.
func Sources() []string {
	return append(slices.Sorted(maps.Keys(fixed)), slices.Sorted(maps.Keys(eventsByName()))...)
}

// eventsByName are the events that can be counted, by the names that categories of connectors use.
func eventsByName() map[string]*event.Descriptor {
	all := make(map[string]*event.Descriptor)
	for _, d := range event.Descriptors() {
		if category, _, ok := strings.Cut(d.Type.String(), ":"); ok && d.Filter != "" && new(event.Filter).Match(d.Type) {
			all[category+":"+d.Filter] = d
		}
	}
	return all
}

func lookup(name string) (source, bool) {
	if s, ok := fixed[name]; ok {
		return s, true
	}
	d := eventsByName()[name]
	if d == nil {
		return source{}, false
	}
	s := source{kind: fromEvents, event: d}
	for i := range d.Fields {
		if f := &d.Fields[i]; readable(f) {
			s.fields = append(s.fields, f.Name)
			if f.Kind != event.String {
				s.values = append(s.values, f.Name)
			}
		}
	}
	return s, true
}

// readable reports whether a field can be read in place.
func readable(f *event.Field) bool {
	return !f.Hidden && !f.OffWire && !f.Repeated && f.Kind != event.Message
}

// field is a field of a source that a key, a match or a value uses.
type field struct {
	name  string
	event *event.Field // of events
	index int          // of points: the tag or the metric
}

// item is what is counted: one metric, event or point.
type item interface {
	// append appends the text of a field, and reports false when it has none.
	append(dst []byte, f *field) ([]byte, bool)
}

// metric is a StatsD metric: NAME;tag=value;...
type metric struct{ key string }

func (m *metric) append(dst []byte, f *field) ([]byte, bool) {
	name, tags, _ := strings.Cut(m.key, ";")
	if f.name == "name" {
		return append(dst, name...), true
	}
	for len(tags) > 0 {
		var tag string
		tag, tags, _ = strings.Cut(tags, ";")
		if n, value, ok := strings.Cut(tag, "="); ok && n == f.name {
			return append(dst, value...), true
		}
	}
	return dst, false
}

// happened is an event.
type happened struct{ event *event.Event }

func (h *happened) append(dst []byte, f *field) ([]byte, bool) {
	switch f.event.Kind {
	case event.String:
		text, ok := h.event.Text(f.event)
		return append(dst, text...), ok
	case event.Double:
		v, ok := h.event.Float(f.event)
		return strconv.AppendFloat(dst, v, 'g', -1, 64), ok
	}
	n, ok := h.event.Int(f.event)
	return strconv.AppendInt(dst, n, 10), ok
}

// value reads a number.
func (h *happened) value(f *field) (float64, bool) {
	if f.event.Kind == event.Double {
		return h.event.Float(f.event)
	}
	n, ok := h.event.Int(f.event)
	return float64(n), ok
}

// point is a point of a series.
type point struct{ point *timeseries.Point }

func (p *point) append(dst []byte, f *field) ([]byte, bool) {
	if f.index >= len(p.point.Tags) {
		return dst, false
	}
	return append(dst, p.point.Tags[f.index]...), true
}
