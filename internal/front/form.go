package front

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/weirhq/weir/timeseries"
)

// Form is a schema as scripts see it (section 1.1), which is how it crosses to
// their processes.
type Form struct {
	Name      string         `json:"name"`
	Options   map[string]any `json:"options"` // of newSchema: step, insertion_step, metrics_type, ...
	Tags      []string       `json:"_tags"`
	Metrics   []string       `json:"_metrics"`
	Retention []Archive      `json:"retention,omitempty"` // by the step; not read
}

// Archive is one resolution in which points are kept (section 1.2).
type Archive struct {
	Points int `json:"aggregation_dp"` // raw points in one row
	Rows   int `json:"retention_dp"`
}

// archives are those of a step or of longer ones, up to the next entry (R1).
var archives = []struct {
	step int64
	kept []Archive
}{
	{1, []Archive{{1, 86400}, {60, 43200}, {3600, 2400}}},
	{5, []Archive{{1, 86400}, {12, 43200}, {720, 2400}}},
	{60, []Archive{{1, 1440}, {60, 2400}, {1440, 365}}},
	{300, []Archive{{1, 288}, {12, 2400}, {288, 365}}},
	{3600, []Archive{{1, 720}, {24, 365}}},
}

// Archives are the resolutions for a step in seconds; of a step that has none those of
// the nearest smaller one (R1).
func Archives(step int64) []Archive {
	var kept []Archive
	for _, entry := range archives {
		if entry.step <= step {
			kept = entry.kept
		}
	}
	return slices.Clone(kept)
}

// The names of types and aggregations, in the order of timeseries.MetricsType and timeseries.Aggregation.
var (
	typeNames        = []string{"counter", "gauge", "derivative"}
	aggregationNames = []string{"mean", "max", "min", "last"}
)

// Form is the definition as scripts see it.
func (d *Definition) Form() Form {
	s := d.Schema
	options := maps.Clone(d.Options)
	if options == nil {
		options = make(map[string]any)
	}
	options["step"], options["insertion_step"] = s.Step, d.insertionStep()
	options["metrics_type"], options["aggregation_function"] = typeNames[s.Type], aggregationNames[s.Aggregation]
	for name, set := range map[string]bool{"is_critical_ts": d.Critical, "is_system_schema": d.System, "keep_total": d.KeepTotal} {
		if set {
			options[name] = true
		}
	}
	if d.RRDName != "" {
		options["rrd_fname"] = d.RRDName
	}
	if s.Heartbeat > 0 {
		options["rrd_heartbeat"] = s.Heartbeat
	}
	return Form{Name: s.Name, Options: options, Tags: notNil(s.Tags), Metrics: notNil(s.Metrics), Retention: Archives(s.Step)}
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Definition is what a schema file declares. Options that nothing here knows are kept.
func (f Form) Definition() (*Definition, error) {
	s := &timeseries.Schema{Name: f.Name, Tags: f.Tags, Metrics: f.Metrics}
	d := &Definition{Schema: s}
	for name, v := range f.Options {
		var err error
		switch name {
		case "step":
			s.Step, err = wholeOption(v)
		case "insertion_step":
			d.InsertionStep, err = wholeOption(v)
		case "rrd_heartbeat":
			s.Heartbeat, err = wholeOption(v)
		case "metrics_type":
			at := slices.Index(typeNames, fmt.Sprint(v))
			if at < 0 {
				err = fmt.Errorf("it is %.100q, want counter, gauge or derivative", v)
			}
			s.Type = timeseries.MetricsType(max(0, at))
		case "aggregation_function": // an unknown one is mean
			s.Aggregation = timeseries.Aggregation(max(0, slices.Index(aggregationNames, fmt.Sprint(v))))
		case "is_critical_ts":
			d.Critical = truthy(v)
		case "is_system_schema":
			d.System = truthy(v)
		case "keep_total":
			d.KeepTotal = truthy(v)
		case "rrd_fname":
			d.RRDName = fmt.Sprint(v)
		default:
			if d.Options == nil {
				d.Options = make(map[string]any)
			}
			d.Options[name] = v
		}
		if err != nil {
			return nil, fmt.Errorf("cannot use the option %s of schema %.300q: %w", name, f.Name, err)
		}
	}
	if len(s.Metrics) == 0 { // virtual, and everything else about it must be right nevertheless
		with := *s
		with.Metrics = []string{"none"}
		if virtual[s.Name] != "" {
			with.Name = "virtual:" + s.Name
		}
		return d, with.Validate()
	}
	return d, s.Validate()
}

// truthy is what Lua takes for true.
func truthy(v any) bool { return v != nil && v != false }

// wholeOption is a number of seconds, which may come as text.
func wholeOption(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case float64:
		return loose(v).whole(), nil
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("it is %s, want a whole number of seconds", quoted(v))
}

// UnmarshalJSON implements json.Unmarshaler: empty tables of Lua come as lists.
func (f *Form) UnmarshalJSON(text []byte) error {
	var in struct {
		Name    string          `json:"name"`
		Options json.RawMessage `json:"options"`
		Tags    json.RawMessage `json:"_tags"`
		Metrics json.RawMessage `json:"_metrics"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("cannot read a schema: %w", err)
	}
	*f = Form{Name: in.Name}
	for _, part := range []struct {
		text  json.RawMessage
		to    any
		empty string
	}{{in.Options, &f.Options, "[]"}, {in.Tags, &f.Tags, "{}"}, {in.Metrics, &f.Metrics, "{}"}} {
		if len(part.text) == 0 || string(part.text) == part.empty {
			continue
		}
		if err := json.Unmarshal(part.text, part.to); err != nil {
			return fmt.Errorf("cannot read schema %.300q: %w", in.Name, err)
		}
	}
	return nil
}
