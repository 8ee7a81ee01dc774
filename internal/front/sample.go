package front

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// Sample is one call of append: a schema by its name, and its tags and metrics in one
// table. A value is text, a number (float64 or int64) or a boolean.
type Sample struct {
	Schema string         `json:"schema"`
	Values map[string]any `json:"values"`
	Time   any            `json:"time,omitempty"` // Unix seconds, a fraction is cut off; nil is now

	// Late says that the script is close to its deadline, so that only critical schemas are written.
	Late bool `json:"late,omitempty"`
}

// Refusal says why one of several samples was not taken.
type Refusal struct {
	Index  int    `json:"index"`  // counted from 0
	Reason string `json:"reason"` // for the log: the recorded texts of section 3.3
}

// refusal is a reason of the ledger.
type refusal string

const (
	unknownSchema refusal = "unknown_schema"
	missingTag    refusal = "missing_tag"
	invalidTag    refusal = "invalid_tag"
	missingMetric refusal = "missing_metric"
	unknownName   refusal = "unknown_name"
	noInterface   refusal = "no_ifid"
	late          refusal = "late"
	badValue      refusal = "bad_value"
	badTime       refusal = "bad_time"
	notStored     refusal = "not_stored" // a driver did not take it
)

var refusals = []refusal{unknownSchema, missingTag, invalidTag, missingMetric, unknownName, noInterface, late, badValue, badTime, notStored}

// maxAhead is how many seconds after now a point may be: what is later was not meant in seconds.
const maxAhead = 86400

// Append checks samples (section 3.3, R22) and writes them to every driver. It returns
// those that were refused, which scripts see as false, in their order; all others are in the log of every driver.
func (f *Front) Append(ctx context.Context, samples []Sample) []Refusal {
	f.ledger.Received(len(samples))
	var refused []Refusal
	refuse := func(index int, why refusal, reason string) {
		f.reasons[why].Add(1)
		if why != late { // nothing is wrong then
			f.warn.Warn(reason)
		}
		refused = append(refused, Refusal{index, reason})
	}
	points, indexes := make([]timeseries.Point, 0, len(samples)), make([]int, 0, len(samples))
	now := f.now().Unix()
	for i := range samples {
		p, why, reason := f.point(&samples[i], now)
		if why != "" {
			refuse(i, why, reason)
			continue
		}
		points, indexes = append(points, p), append(indexes, i)
	}
	for n, err := range f.write(ctx, points) {
		if err != nil {
			refuse(indexes[n], notStored, err.Error())
		}
	}
	f.ledger.Passed(len(samples) - len(refused))
	slices.SortFunc(refused, func(a, b Refusal) int { return a.Index - b.Index })
	return refused
}

// write appends points and says of each why it was not taken; nil when all were.
func (f *Front) write(ctx context.Context, points []timeseries.Point) []error {
	if len(points) == 0 {
		return nil
	}
	err := f.drivers.Append(ctx, points)
	if err == nil {
		return nil
	}
	errs := make([]error, len(points))
	var some *timeseries.AppendError
	alone := errors.As(err, &some) && some.Refused < len(points)
	for i := range points {
		if alone { // which ones is not said; writing a point again changes nothing
			err = f.drivers.Append(ctx, points[i:i+1])
		}
		errs[i] = err
	}
	return errs
}

// point makes a point of a sample, or says why it cannot be one.
func (f *Front) point(s *Sample, now int64) (p timeseries.Point, why refusal, reason string) {
	d := f.definitions.Lookup(s.Schema)
	if d == nil || d.Virtual() {
		return p, unknownSchema, fmt.Sprintf("Schema not found: %.300s", s.Schema)
	}
	schema := d.Schema
	p = timeseries.Point{Schema: schema, Tags: make([]string, len(schema.Tags)), Values: make([]float64, len(schema.Metrics))}
	for _, name := range schema.Tags {
		if s.Values[name] == nil {
			return p, missingTag, fmt.Sprintf("Missing mandatory tag '%s' while using schema %s", name, schema.Name)
		}
	}
	for i, name := range schema.Tags {
		var ok bool
		if p.Tags[i], ok = tagText(s.Values[name]); !ok {
			return p, invalidTag, fmt.Sprintf("Invalid tag '%s' in schema %s, it is neither text nor a number", name, schema.Name)
		}
		if strings.HasSuffix(schema.Name, ":ndpi") && strings.ContainsAny(p.Tags[i], `/\`) {
			return p, invalidTag, fmt.Sprintf(`Invalid tag '%s' in schema %s, it contains '\' or '/' characters`, name, schema.Name)
		}
	}
	for _, name := range schema.Metrics {
		if s.Values[name] == nil {
			return p, missingMetric, fmt.Sprintf("Missing mandatory metric '%s' while using schema %s", name, schema.Name)
		}
	}
	if len(s.Values) > len(schema.Tags)+len(schema.Metrics) {
		for _, name := range slices.Sorted(maps.Keys(s.Values)) {
			if !slices.Contains(schema.Tags, name) && !slices.Contains(schema.Metrics, name) {
				return p, unknownName, fmt.Sprintf("unknown tag/metric '%.300s' in schema %s", name, schema.Name)
			}
		}
	}
	if !d.HasTag(IfID) {
		return p, noInterface, "An 'ifid' tag is required in schema " + schema.Name
	}
	if s.Late && !d.Critical {
		return p, late, "The deadline of the script is near, and schema " + schema.Name + " is not critical"
	}
	for i, name := range schema.Metrics {
		v, ok := finite(s.Values[name])
		if !ok {
			return p, badValue, fmt.Sprintf("Metric '%s' in schema %s is %s, a finite number is needed", name, schema.Name, quoted(s.Values[name]))
		}
		p.Values[i] = v
	}
	p.Time = now
	if s.Time != nil {
		t, ok := finite(s.Time)
		switch {
		case !ok:
			return p, badTime, fmt.Sprintf("The timestamp in schema %s is %s, a finite number is needed", schema.Name, quoted(s.Time))
		case t < 0:
			return p, badTime, fmt.Sprintf("The timestamp %.0f in schema %s is before 1970", t, schema.Name)
		case t > float64(now+maxAhead):
			return p, badTime, fmt.Sprintf("The timestamp %.0f in schema %s is more than a day ahead of now, %d; seconds are needed", t, schema.Name, now)
		}
		p.Time = int64(t)
	}
	if err := p.Validate(); err != nil {
		return p, invalidTag, err.Error()
	}
	return p, "", ""
}

// finite is a number, also one that comes as text.
func finite(v any) (float64, bool) {
	n := math.NaN()
	switch v := v.(type) {
	case float64:
		n = v
	case int64:
		n = float64(v)
	case string:
		if parsed, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			n = parsed
		}
	}
	return n, !math.IsNaN(n) && !math.IsInf(n, 0)
}

// quoted is a value that is not a number, for an error.
func quoted(v any) string {
	if text, ok := v.(string); ok {
		return fmt.Sprintf("%.100q", text)
	}
	return fmt.Sprintf("%.100v", v)
}
