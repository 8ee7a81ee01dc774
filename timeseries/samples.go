package timeseries

import (
	"context"
	"iter"
)

// Reader is implemented by drivers that can give samples as they were appended,
// which is what languages with an arithmetic of their own, such as PromQL, need.
type Reader interface {
	// Samples yields the series that match and have samples in the range, one at a
	// time and in no particular order. It yields nothing when nothing matches. An
	// error ends the sequence: ErrUnknownTag for a name in Tags that the schema does
	// not know. Where samples have been removed because they were old, and a rollup
	// tells of them, the last sample of each of its slots stands for all of them.
	Samples(ctx context.Context, q SampleQuery) iter.Seq2[*Samples, error]
}

// SampleQuery asks a Reader for samples of one schema.
type SampleQuery struct {
	Schema *Schema
	Tags   Tags // filter: tags of the schema, or keys inside its packed tag; may be nil
	// Match takes a series by its tag values, in the order of the schema; it is asked
	// only about those that meet Tags. nil takes all. It must not keep the slice.
	Match   func(tags []string) bool
	Metrics []int // indexes of the metrics wanted; nil for all
	// Samples with After < time <= Through, in Unix seconds, are wanted.
	After, Through int64
}

// Columns are the names of the metrics wanted, in the order in which Samples
// hold their values.
func (q *SampleQuery) Columns() []string {
	if q.Metrics == nil {
		return q.Schema.Metrics
	}
	names := make([]string, len(q.Metrics))
	for i, m := range q.Metrics {
		names[i] = q.Schema.Metrics[m]
	}
	return names
}

// Samples are those of one series, in ascending order of time, none twice. They
// are valid until the next ones are yielded.
type Samples struct {
	Tags   []string    // in the order of the schema
	Times  []int64     // Unix seconds
	Values [][]float64 // per metric wanted a value per time, NaN for none
}
