package front

import (
	"encoding/json"
	"math"

	"github.com/weirhq/weir/timeseries"
)

// Answer is the answer to a Question in both shapes of the contract at once
// (section 1.6, R2): what the older one calls start, count, series[].label and
// statistics, and what the newer one calls metadata, series[].id and
// series[].statistics. It is plain data, of the caller, and its JSON is what scripts
// and browsers get: NaN and infinities are null, whole numbers have no decimals.
type Answer struct {
	Metadata          Metadata       `json:"metadata"`
	Start             int64          `json:"start"` // point i of a line covers (Start+i*Step, Start+(i+1)*Step]
	End               int64          `json:"end"`   // as it was asked
	Step              int64          `json:"step"`
	RawStep           int64          `json:"raw_step"`
	Count             int            `json:"count"` // points of every line
	Series            []Line         `json:"series"`
	Statistics        *Statistics    `json:"statistics,omitempty"` // of the sum of all lines; of all that match in a top query
	Additional        map[string]any `json:"additional_series"`    // "total": Points; what is compared with
	SourceAggregation string         `json:"source_aggregation,omitempty"`
	TopK              []Item         `json:"topk,omitempty"` // of a top query, largest first
}

// Metadata says in the newer shape what was asked and where the points lie.
type Metadata struct {
	Schema    string          `json:"schema"`
	Query     timeseries.Tags `json:"query"`
	Begin     int64           `json:"epoch_begin"`
	End       int64           `json:"epoch_end"`
	Step      int64           `json:"epoch_step"`
	NumPoints int             `json:"num_point"`
}

// Line is the points of one metric or, in a top query, of one item.
type Line struct {
	ID         string                 `json:"id"`             // the metric; "bytes", "packets" or "hits" of an item
	Label      string                 `json:"label"`          // the metric; "bytes" of an item with several
	Name       string                 `json:"name,omitempty"` // of an item: the value of its tag
	Tags       timeseries.Tags        `json:"tags"`
	Data       Points                 `json:"data"`
	Statistics *timeseries.Statistics `json:"statistics,omitempty"`
}

// Item is one combination of tags in a top query.
type Item struct {
	Tags     timeseries.Tags   `json:"tags"`
	Value    Number            `json:"value"` // over all metrics
	Partials map[string]Number `json:"partials"`
}

// Number is a float64 whose JSON is null when it is not finite.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if v := float64(n); !math.IsNaN(v) && !math.IsInf(v, 0) {
		return json.Marshal(v)
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// Points are those of a line; NaN is a slot without a value.
type Points []float64

// MarshalJSON implements json.Marshaler.
func (p Points) MarshalJSON() ([]byte, error) {
	numbers := make([]*float64, len(p))
	for i, v := range p {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			p[i] += 0 // no negative zero
			numbers[i] = &p[i]
		}
	}
	return json.Marshal(numbers)
}

// Statistics are those of the sum of all lines, with those of each line.
type Statistics struct {
	timeseries.Statistics
	Lines []*timeseries.Statistics // by_serie
}

// MarshalJSON implements json.Marshaler.
func (s Statistics) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(s.Statistics)
	if err != nil || len(s.Lines) == 0 {
		return text, err
	}
	lines, err := json.Marshal(s.Lines)
	return append(append(append(text[:len(text)-1], `,"by_serie":`...), lines...), '}'), err
}

// answer gives a result both shapes.
func answer(r *timeseries.Result, name string) *Answer {
	a := &Answer{
		Metadata: Metadata{Schema: name, Query: r.Tags, Begin: r.Start, End: r.End, Step: r.Step, NumPoints: r.Count},
		Start:    r.Start, End: r.End, Step: r.Step, RawStep: r.RawStep, Count: r.Count, SourceAggregation: r.SourceAggregation,
		Series: make([]Line, 0, len(r.Series)), Additional: map[string]any{"total": Points(r.Total)},
	}
	if r.Statistics != nil {
		a.Statistics = &Statistics{Statistics: *r.Statistics}
	}
	for _, s := range r.Series { // those of a script may differ in length (section 9)
		a.Count = max(a.Count, len(s.Data))
	}
	a.Metadata.NumPoints = a.Count
	for _, s := range r.Series {
		for len(s.Data) < a.Count {
			s.Data = append(s.Data, math.NaN())
		}
		a.add(Line{ID: s.Label, Label: s.Label, Tags: s.Tags, Data: s.Data, Statistics: s.Statistics})
	}
	return a
}

// add appends a line.
func (a *Answer) add(line Line) {
	a.Series = append(a.Series, line)
	if a.Statistics != nil && line.Statistics != nil {
		a.Statistics.Lines = append(a.Statistics.Lines, line.Statistics)
	}
}
