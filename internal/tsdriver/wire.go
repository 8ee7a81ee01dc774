package tsdriver

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/timeseries"
)

// Frames between the halves. Numbers are big-endian.
const (
	kindAppend byte = script.FirstKind     // to the script: an appendHead and a record of points
	kindTaken  byte = script.FirstKind + 1 // from the script: what became of them, as JSON of taken
	kindAsk    byte = script.FirstKind + 2 // a request: JSON of question, answered with JSON of answer
)

// appendHead says which points of a record are to be appended.
type appendHead struct {
	number      uint64 // of the first one
	from, count uint32 // in the record
}

const headSize = 16

func (h appendHead) frame(record []byte) []byte {
	b := make([]byte, 0, headSize+len(record))
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = binary.BigEndian.AppendUint32(b, h.from)
	b = binary.BigEndian.AppendUint32(b, h.count)
	return append(b, record...)
}

func readHead(b []byte) (h appendHead, record []byte, ok bool) {
	if len(b) < headSize {
		return h, nil, false
	}
	return appendHead{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}, b[headSize:], true
}

// taken says what became of points. Those that are neither refused nor failed are with the driver.
type taken struct {
	Number  uint64 `json:"number"`
	Refused int    `json:"refused"` // the driver returned false
	Failed  int    `json:"failed"`  // it raised an error
	Error   string `json:"error,omitempty"`
}

// bits is a number with a form in JSON whatever it is.
type bits uint64

func toBits(f float64) bits   { return bits(math.Float64bits(f)) }
func (b bits) float() float64 { return math.Float64frombits(uint64(b)) }

// question is a call of a timeseries.Driver, as JSON.
type question struct {
	Function string             `json:"function"`
	Millis   int64              `json:"millis,omitempty"` // how long it may take, 0 for as long as any call
	Schema   *timeseries.Schema `json:"schema,omitempty"`
	Tags     timeseries.Tags    `json:"tags,omitempty"`
	GroupBy  []string           `json:"group_by,omitempty"`
	Start    int64              `json:"start,omitempty"`
	End      int64              `json:"end,omitempty"`
	Prefix   string             `json:"prefix,omitempty"`

	Options  timeseries.Options `json:"options"` // without what follows
	Fill     bits               `json:"fill"`
	MinValue bits               `json:"min_value"`
}

// ask is a Query as a question.
func ask(function string, q *timeseries.Query) *question {
	o := q.Options
	o.FillValue, o.MinValue = 0, 0
	return &question{
		Function: function, Schema: q.Schema, Tags: q.Tags, GroupBy: q.GroupBy, Start: q.Start, End: q.End,
		Options: o, Fill: toBits(q.FillValue), MinValue: toBits(q.MinValue),
	}
}

func (q *question) query() timeseries.Query {
	out := timeseries.Query{Schema: q.Schema, Tags: q.Tags, GroupBy: q.GroupBy, Start: q.Start, End: q.End, Options: q.Options}
	out.FillValue, out.MinValue = q.Fill.float(), q.MinValue.float()
	return out
}

// answer is what came of a question.
type answer struct {
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"` // with a Code

	Result *wireResult       `json:"result,omitempty"`
	Items  []wireItem        `json:"items,omitempty"`
	Totals map[string]bits   `json:"totals,omitempty"`
	Series []timeseries.Tags `json:"series,omitempty"`
	Time   int64             `json:"time,omitempty"`

	Functions []string `json:"functions,omitempty"`
}

type wireResult struct {
	Start   int64           `json:"start"`
	Step    int64           `json:"step"`
	RawStep int64           `json:"raw_step"`
	Count   int             `json:"count"`
	Source  string          `json:"source"`
	Total   floats          `json:"total"`
	Stats   *wireStatistics `json:"statistics,omitempty"`
	Series  []wireSeries    `json:"series"`
}

type wireSeries struct {
	Label string          `json:"label"`
	Tags  timeseries.Tags `json:"tags"`
	Data  floats          `json:"data"`
	Stats *wireStatistics `json:"statistics,omitempty"`
}

type wireItem struct {
	Tags     timeseries.Tags `json:"tags"`
	Value    bits            `json:"value"`
	Partials map[string]bits `json:"partials"`
}

// wireStatistics are total, average, min, max and percentile, and the two indices.
type wireStatistics struct {
	Values  floats `json:"values"`
	Indexes [2]int `json:"indexes"`
}

// floats are numbers as their bytes.
type floats []float64

// MarshalJSON implements json.Marshaler.
func (f floats) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 8*len(f))
	for _, v := range f {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return json.Marshal(b)
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *floats) UnmarshalJSON(text []byte) error {
	var b []byte
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	if len(b)%8 != 0 {
		return fmt.Errorf("%d bytes are no numbers", len(b))
	}
	*f = make(floats, len(b)/8)
	for i := range *f {
		(*f)[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return nil
}

func toStatistics(s *timeseries.Statistics) *wireStatistics {
	if s == nil {
		return nil
	}
	return &wireStatistics{floats{s.Total, s.Average, s.Min, s.Max, s.Percentile95}, [2]int{s.MinIndex, s.MaxIndex}}
}

func (w *wireStatistics) statistics() *timeseries.Statistics {
	if w == nil || len(w.Values) != 5 {
		return nil
	}
	v := w.Values
	return &timeseries.Statistics{Total: v[0], Average: v[1], Min: v[2], Max: v[3], Percentile95: v[4], MinIndex: w.Indexes[0], MaxIndex: w.Indexes[1]}
}

func toResult(r *timeseries.Result) *wireResult {
	w := &wireResult{Start: r.Start, Step: r.Step, RawStep: r.RawStep, Count: r.Count, Source: r.SourceAggregation, Total: r.Total, Stats: toStatistics(r.Statistics)}
	for _, s := range r.Series {
		w.Series = append(w.Series, wireSeries{s.Label, s.Tags, s.Data, toStatistics(s.Statistics)})
	}
	return w
}

// errAnswer is the error of answers that make no sense.
var errAnswer = errors.New("the script's process answered with something that makes no sense")

// result is the result of a query; all series have as many points as it says.
func (w *wireResult) result(q *timeseries.Query) (*timeseries.Result, error) {
	if w == nil || w.Step < 1 || w.Count < 0 || len(w.Total) != w.Count {
		return nil, errAnswer
	}
	r := &timeseries.Result{
		Schema: q.Schema, Tags: q.Tags, Start: w.Start, End: q.End, Step: w.Step, RawStep: w.RawStep, Count: w.Count,
		Total: w.Total, Statistics: w.Stats.statistics(), SourceAggregation: w.Source,
	}
	for _, s := range w.Series {
		if len(s.Data) != w.Count {
			return nil, errAnswer
		}
		r.Series = append(r.Series, timeseries.Series{Label: s.Label, Tags: s.Tags, Data: s.Data, Statistics: s.Stats.statistics()})
	}
	return r, nil
}

func toBitMap(of map[string]float64) map[string]bits {
	out := make(map[string]bits, len(of))
	for name, v := range of {
		out[name] = toBits(v)
	}
	return out
}

func fromBitMap(of map[string]bits) map[string]float64 {
	out := make(map[string]float64, len(of))
	for name, b := range of {
		out[name] = b.float()
	}
	return out
}

// sentinels are the errors of a driver that callers test for, by the codes of front.
var sentinels = map[string]error{
	front.CodeUnknownSchema: timeseries.ErrUnknownSchema,
	front.CodeNoSeries:      timeseries.ErrNoSeries,
	front.CodeBadRange:      timeseries.ErrBadRange,
	codeUnknownTag:          timeseries.ErrUnknownTag,
}

const codeUnknownTag = "unknown_tag"

// codeOf is the code of an error of a driver.
func codeOf(err error) string {
	if errors.Is(err, timeseries.ErrUnknownTag) {
		return codeUnknownTag
	}
	return front.CodeOf(err)
}

// remoteError is an error that came from the script's process.
type remoteError struct {
	text string
	of   error // nil for none that callers test for
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.of }
