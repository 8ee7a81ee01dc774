package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// Question is what scripts and the HTTP endpoints ask for: the one table of section 2.3,
// into which the arguments of the older call style go too. Its JSON form has
// the names of section 1.5 (schema, tags, epoch_begin, epoch_end, max_num_points, ...);
// reading it fills in the defaults, ignores other names, and takes numbers that
// come as text or with a fraction, as scripts send them.
type Question struct {
	// Schema is a name. "top:" in front of it asks for the largest values of the
	// tags that Tags lacks.
	Schema     string
	Tags       timeseries.Tags // those that the schema does not have are left out
	Start, End int64           // Unix seconds
	Options    timeseries.Options

	WithMax   bool // with_max: also the sum of the largest raw points in each step, as "max" of additional_series (R34)
	NumPoints int  // of LastValues: how many of each metric at most; 0 for all of the range
	Unlimited bool // unlimited_top: as many items as there may be, whatever Options.Top says
}

// NewQuestion is a Question with the defaults of the contract.
func NewQuestion(schema string, tags timeseries.Tags, start, end int64) Question {
	return Question{Schema: schema, Tags: tags, Start: start, End: end, Options: timeseries.DefaultOptions()}
}

// Limits of one answer.
const (
	MaxTop    = 1000    // items of a top query (R32)
	maxPoints = 1 << 20 // points of all series together
)

// topPrefix stands before the name of a schema that is asked for its largest items.
const topPrefix = "top:"

// questionJSON is the JSON form of a Question.
type questionJSON struct {
	Schema string    `json:"schema"`
	Tags   looseTags `json:"tags"`
	Begin  loose     `json:"epoch_begin"`
	End    loose     `json:"epoch_end"`
	Min    loose     `json:"min_num_points"`
	Max    *loose    `json:"max_num_points"`
	Fill   *loose    `json:"fill_value"`
	Least  loose     `json:"min_value"`
	Top    *loose    `json:"top"`
	Stats  *bool     `json:"calculate_stats"`
	First  bool      `json:"initial_point"`
	Series bool      `json:"with_series"`
	NaN    bool      `json:"keep_nan"`
	Total  bool      `json:"keep_total"`
	Points loose     `json:"num_points"`
	All    bool      `json:"unlimited_top"`
	Peaks  bool      `json:"with_max"`
	Target string    `json:"target_aggregation"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (q *Question) UnmarshalJSON(text []byte) error {
	var in questionJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("cannot read a question: %w", err)
	}
	*q = NewQuestion(in.Schema, timeseries.Tags(in.Tags), in.Begin.whole(), in.End.whole())
	o := &q.Options
	o.MinPoints, o.MinValue, o.InitialPoint, o.WithSeries = int(in.Min.whole()), float64(in.Least), in.First, in.Series
	o.KeepNaN, o.KeepTotal, o.NoStatistics = in.NaN, in.Total, in.Stats != nil && !*in.Stats
	if in.Max != nil {
		o.MaxPoints = int(in.Max.whole())
	}
	if in.Fill != nil {
		o.FillValue = float64(*in.Fill)
	}
	if in.Top != nil {
		o.Top = int(in.Top.whole())
	}
	o.Resolution, _ = timeseries.ParseResolution(in.Target) // of another name there are no data: the driver's choice
	q.NumPoints, q.Unlimited, q.WithMax = int(in.Points.whole()), in.All, in.Peaks
	return nil
}

// loose is a number as scripts write it: also as text.
type loose float64

// UnmarshalJSON implements json.Unmarshaler.
func (n *loose) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	var number json.Number // takes text that holds a number, too
	if err := json.Unmarshal(text, &number); err != nil {
		return fmt.Errorf("%.100s is not a number", text)
	}
	v, err := number.Float64()
	*n = loose(v)
	return err
}

// whole cuts the fraction off and keeps what follows far from the ends of an int64.
func (n loose) whole() int64 {
	const far = 1 << 53
	return int64(min(max(float64(n), -far), far))
}

// looseTags are tag values as scripts write them: also as numbers.
type looseTags timeseries.Tags

// UnmarshalJSON implements json.Unmarshaler.
func (t *looseTags) UnmarshalJSON(text []byte) error {
	var in map[string]any
	if string(text) != "[]" { // an empty table of Lua
		if err := json.Unmarshal(text, &in); err != nil {
			return err
		}
	}
	*t = make(looseTags, len(in))
	for name, v := range in {
		value, ok := tagText(v)
		if !ok {
			return fmt.Errorf("tag %.100q is neither text nor a number", name)
		}
		(*t)[name] = value
	}
	return nil
}

// tagText is a tag value as text: a whole number has no decimals, so that 1, 1.0 and
// "1" are one series (section 9).
func tagText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return strconv.FormatInt(int64(v), 10), true
		}
		return fmt.Sprintf("%.14g", v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// find looks up the schema of a question: declared, or known to the driver that answers.
func (f *Front) find(name string, known func() ([]*timeseries.Schema, error)) (*Definition, error) {
	if d := f.definitions.Lookup(name); d != nil {
		return d, nil
	}
	all, err := known()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(s *timeseries.Schema) bool { return s.Name == name }); i >= 0 {
		return &Definition{Schema: all[i]}, nil
	}
	return nil, fmt.Errorf("%w %.300q", timeseries.ErrUnknownSchema, name)
}

// MissingTagError says which tag a query lacks; its text is the recorded one (section 3.3).
type MissingTagError struct{ Tag, Schema string }

func (e *MissingTagError) Error() string {
	return "missing tag '" + e.Tag + "' in schema " + e.Schema
}

// reduced are the tags that the schema has.
func reduced(s *timeseries.Schema, tags timeseries.Tags) timeseries.Tags {
	kept := make(timeseries.Tags, len(tags))
	for _, name := range s.Tags {
		if v, ok := tags[name]; ok {
			kept[name] = v
		}
	}
	return kept
}

// missing are the tags of the schema that tags lacks, in the order of the schema.
func missing(s *timeseries.Schema, tags timeseries.Tags) []string {
	return slices.DeleteFunc(slices.Clone(s.Tags), func(name string) bool { _, ok := tags[name]; return ok })
}

// query is the question to a driver.
func (q *Question) query(d *Definition) timeseries.Query {
	out := timeseries.Query{Schema: d.Schema, Tags: reduced(d.Schema, q.Tags), Start: q.Start, End: q.End, Options: q.Options}
	if out.Top > MaxTop || q.Unlimited {
		out.Top = MaxTop
	}
	return out
}

// top cuts the prefix off that asks for the largest.
func (q *Question) top() (name string, top bool) { return strings.CutPrefix(q.Schema, topPrefix) }

// forTop is the question for the largest items, whether its schema says so or not.
func (q Question) forTop() Question {
	if _, top := q.top(); !top {
		q.Schema = topPrefix + q.Schema
	}
	return q
}
