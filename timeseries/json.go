package timeseries

import (
	"encoding/json"
	"math"
	"strconv"
)

// The JSON of a result carries both shapes of the contract at once
// (specification section 1.6, R2 and R31): start, step, count, series[].label,
// statistics.by_serie and additional_series of the older one, metadata,
// series[].id and series[].statistics of the newer. NaN and infinities are null,
// whole numbers have no decimals.

// MarshalJSON renders the union of both result shapes.
func (r Result) MarshalJSON() ([]byte, error) { return json.Marshal(r.json()) }

// MarshalJSON renders the result with the items as topk.
func (r TopResult) MarshalJSON() ([]byte, error) {
	out := topResultJSON{Items: make([]topItemJSON, len(r.Items)), resultJSON: r.json()}
	for i, item := range r.Items {
		out.Items[i] = topItemJSON{Tags: notNil(item.Tags), Value: number(item.Value), Partials: make(map[string]number, len(item.Partials))}
		for metric, v := range item.Partials {
			out.Items[i].Partials[metric] = number(v)
		}
	}
	return json.Marshal(out)
}

// MarshalJSON renders statistics by the names of the contract; a total that is
// not defined is left out.
func (s Statistics) MarshalJSON() ([]byte, error) { return json.Marshal(s.json()) }

// UnmarshalJSON reads what MarshalJSON renders. Of the schema only the name is there.
func (r *Result) UnmarshalJSON(text []byte) error {
	var in resultJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*r = in.result()
	return nil
}

// UnmarshalJSON reads what MarshalJSON renders.
func (r *TopResult) UnmarshalJSON(text []byte) error {
	var in topResultJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*r = TopResult{Items: make([]TopItem, len(in.Items)), Result: in.result()}
	for i, item := range in.Items {
		r.Items[i] = TopItem{Tags: item.Tags, Value: float64(item.Value), Partials: make(map[string]float64, len(item.Partials))}
		for metric, v := range item.Partials {
			r.Items[i].Partials[metric] = float64(v)
		}
	}
	return nil
}

// UnmarshalJSON reads what MarshalJSON renders.
func (s *Statistics) UnmarshalJSON(text []byte) error {
	var in statisticsJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*s = *in.statistics()
	return nil
}

type resultJSON struct {
	Metadata struct {
		Schema     string `json:"schema"`
		Query      Tags   `json:"query"`
		EpochBegin int64  `json:"epoch_begin"`
		EpochEnd   int64  `json:"epoch_end"`
		EpochStep  int64  `json:"epoch_step"`
		Points     int    `json:"num_point"`
	} `json:"metadata"`
	Start             int64           `json:"start"`
	End               int64           `json:"end"`
	Step              int64           `json:"step"`
	RawStep           int64           `json:"raw_step"`
	Count             int             `json:"count"`
	Series            []seriesJSON    `json:"series"`
	Statistics        *statisticsJSON `json:"statistics,omitempty"`
	Additional        additionalJSON  `json:"additional_series"`
	SourceAggregation string          `json:"source_aggregation,omitempty"`
}

type additionalJSON struct {
	Total numbers `json:"total"`
}

type seriesJSON struct {
	ID         string          `json:"id"`
	Label      string          `json:"label"`
	Tags       Tags            `json:"tags"`
	Data       numbers         `json:"data"`
	Statistics *statisticsJSON `json:"statistics,omitempty"`
}

type statisticsJSON struct {
	Total        *number           `json:"total,omitempty"`
	Average      number            `json:"average"`
	Min          number            `json:"min_val"`
	MinIndex     int               `json:"min_val_idx"`
	Max          number            `json:"max_val"`
	MaxIndex     int               `json:"max_val_idx"`
	Percentile95 number            `json:"95th_percentile"`
	BySeries     []*statisticsJSON `json:"by_serie,omitempty"`
}

type topResultJSON struct {
	Items []topItemJSON `json:"topk"`
	resultJSON
}

type topItemJSON struct {
	Tags     Tags              `json:"tags"`
	Value    number            `json:"value"`
	Partials map[string]number `json:"partials"`
}

func (r *Result) json() resultJSON {
	out := resultJSON{
		Start: r.Start, End: r.End, Step: r.Step, RawStep: r.RawStep, Count: r.Count,
		Series: make([]seriesJSON, len(r.Series)), Statistics: r.Statistics.json(),
		Additional: additionalJSON{r.Total}, SourceAggregation: r.SourceAggregation,
	}
	m := &out.Metadata
	m.Query, m.EpochBegin, m.EpochEnd, m.EpochStep, m.Points = notNil(r.Tags), r.Start, r.End, r.Step, r.Count
	if r.Schema != nil {
		m.Schema = r.Schema.Name
	}
	for i, s := range r.Series {
		out.Series[i] = seriesJSON{ID: s.Label, Label: s.Label, Tags: notNil(s.Tags), Data: s.Data, Statistics: s.Statistics.json()}
		if out.Statistics != nil && s.Statistics != nil {
			out.Statistics.BySeries = append(out.Statistics.BySeries, out.Series[i].Statistics)
		}
	}
	return out
}

func (s *Statistics) json() *statisticsJSON {
	if s == nil {
		return nil
	}
	out := &statisticsJSON{
		Average: number(s.Average), Min: number(s.Min), MinIndex: s.MinIndex, Max: number(s.Max), MaxIndex: s.MaxIndex,
		Percentile95: number(s.Percentile95),
	}
	if !math.IsNaN(s.Total) {
		out.Total = (*number)(&s.Total)
	}
	return out
}

func (in *resultJSON) result() Result {
	r := Result{
		Schema: &Schema{Name: in.Metadata.Schema}, Tags: in.Metadata.Query, Start: in.Start, End: in.End, Step: in.Step,
		RawStep: in.RawStep, Count: in.Count, Series: make([]Series, len(in.Series)), Total: in.Additional.Total,
		Statistics: in.Statistics.statistics(), SourceAggregation: in.SourceAggregation,
	}
	for i, s := range in.Series {
		r.Series[i] = Series{Label: s.Label, Tags: s.Tags, Data: s.Data, Statistics: s.Statistics.statistics()}
	}
	return r
}

func (in *statisticsJSON) statistics() *Statistics {
	if in == nil {
		return nil
	}
	s := &Statistics{
		Total: math.NaN(), Average: float64(in.Average), Min: float64(in.Min), MinIndex: in.MinIndex,
		Max: float64(in.Max), MaxIndex: in.MaxIndex, Percentile95: float64(in.Percentile95),
	}
	if in.Total != nil {
		s.Total = float64(*in.Total)
	}
	return s
}

func notNil(t Tags) Tags {
	if t == nil {
		return Tags{}
	}
	return t
}

// number is a float64 that JSON can hold whatever its value is.
type number float64

func (n number) MarshalJSON() ([]byte, error) { return appendNumber(nil, float64(n)), nil }

func (n *number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = number(math.NaN())
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// numbers are the points of a series, rendered at once.
type numbers []float64

func (n numbers) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 8*len(n)+2), '[')
	for i, v := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, v)
	}
	return append(b, ']'), nil
}

func (n *numbers) UnmarshalJSON(text []byte) error {
	var list []number
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	*n = make(numbers, len(list))
	for i, v := range list {
		(*n)[i] = float64(v)
	}
	return nil
}

func appendNumber(b []byte, v float64) []byte {
	size := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return append(b, "null"...)
	case v == 0: // and no negative zero
		return append(b, '0')
	case size < 1e-6 || size >= 1e21:
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	default:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
}
