package prometheus

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/weirhq/weir/timeseries"
)

// Source is where the series are. Its methods may be called from any goroutine.
type Source interface {
	timeseries.Reader
	timeseries.Catalog
	List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error]
}

// maxBytes is about what one question may hold in memory of the series it asks
// about: eight million samples. What the engine makes of them has a bound of its own.
const maxBytes = 128 << 20

// Memory of what a question holds, in bytes.
const (
	sampleBytes = 16
	seriesBytes = 160 // beside its labels
)

// LimitError says that a question is about more than can be held in memory.
type LimitError struct{ limit int64 } // bytes

func (e *LimitError) Error() string {
	return fmt.Sprintf("it is about more than %d million samples, or as many series as take the same memory: ask for a shorter range, or name a metric and more labels", e.limit/sampleBytes/1_000_000)
}

// stored is a failure of the source, which the question is not to blame for.
type stored struct{ error }

func (e stored) Unwrap() error { return e.error }

// reading is a Source as the engine sees it, for one question; all of it is used
// by one goroutine at a time.
type reading struct {
	source Source
	limit  int64 // bytes
	held   int64 // bytes so far
}

// Querier implements storage.Queryable.
func (r *reading) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{r, interval(mint, maxt)}, nil
}

// hold counts bytes that stay in memory until the question is answered.
func (r *reading) hold(bytes int64) error {
	if r.held += bytes; r.held > r.limit {
		return &LimitError{r.limit}
	}
	return nil
}

// seconds is a range of time with both ends.
type seconds struct{ first, last int64 }

// latest is the last second that is asked for; no point is later, and every
// number of milliseconds stays far from overflow.
const latest = 1 << 50

// interval is the seconds within a range of milliseconds.
func interval(mint, maxt int64) seconds {
	first := mint / 1000
	if first*1000 < mint {
		first++
	}
	last := maxt / 1000
	if last*1000 > maxt {
		last--
	}
	return seconds{max(first, 0), min(last, latest)}
}

// targets are the metrics that matchers allow, by schema.
func (r *reading) targets(ctx context.Context, matchers []*labels.Matcher) ([]*target, error) {
	schemas, err := r.source.Schemas(ctx)
	if err != nil {
		return nil, stored{err}
	}
	var list []*target
	for _, schema := range schemas {
		if t := newTarget(schema, matchers); t != nil {
			list = append(list, t)
		}
	}
	return list, nil
}

// read returns the series that match, sorted by their labels, none twice.
func (r *reading) read(ctx context.Context, in seconds, matchers []*labels.Matcher) ([]*series, error) {
	targets, err := r.targets(ctx, matchers)
	if err != nil {
		return nil, err
	}
	var list []*series
	for _, t := range targets {
		query := timeseries.SampleQuery{
			Schema: t.schema, Tags: t.tags, Match: t.match(), Metrics: t.metrics, After: in.first - 1, Through: in.last,
		}
		for samples, err := range r.source.Samples(ctx, query) {
			if err != nil {
				return nil, stored{err}
			}
			for i, name := range t.names {
				s, err := r.keep(samples.Times, samples.Values[i], func() labels.Labels { return t.naming.labels(samples.Tags, name) })
				if err != nil {
					return nil, err
				}
				if s != nil {
					list = append(list, s)
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b *series) int { return labels.Compare(a.labels, b.labels) })
	return merge(list), nil
}

// keep copies the samples that have a value; nil when there are none.
func (r *reading) keep(times []int64, values []float64, of func() labels.Labels) (*series, error) {
	known := 0
	for _, v := range values {
		if !math.IsNaN(v) {
			known++
		}
	}
	if known == 0 {
		return nil, nil
	}
	if err := r.hold(int64(known) * sampleBytes); err != nil {
		return nil, err
	}
	s := &series{of(), make([]int64, 0, known), make([]float64, 0, known)}
	for i, v := range values {
		if !math.IsNaN(v) {
			s.times, s.values = append(s.times, times[i]), append(s.values, v)
		}
	}
	return s, r.hold(seriesBytes + int64(s.labels.ByteSize()))
}

// merge makes one series of those that are beside each other and have the same
// labels: different tags of Weir may look the same to Prometheus. Of two samples
// of one time the first series has the one that counts.
func merge(list []*series) []*series {
	merged := list[:0]
	for _, s := range list {
		if n := len(merged); n > 0 && labels.Equal(merged[n-1].labels, s.labels) {
			merged[n-1] = merged[n-1].with(s)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}
