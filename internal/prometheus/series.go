package prometheus

import (
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// series is one of Prometheus: a storage.Series.
type series struct {
	labels labels.Labels
	times  []int64 // Unix seconds, ascending
	values []float64
}

// Labels implements storage.Labels.
func (s *series) Labels() labels.Labels { return s.labels }

// Iterator implements storage.SampleIterable.
func (s *series) Iterator(used chunkenc.Iterator) chunkenc.Iterator {
	it, ok := used.(*iterator)
	if !ok {
		it = new(iterator)
	}
	it.series, it.at = s, -1
	return it
}

// with is s and the samples of other for which s has none of the same time.
func (s *series) with(other *series) *series {
	both := &series{labels: s.labels}
	for i, j := 0, 0; i < len(s.times) || j < len(other.times); {
		if j == len(other.times) || i < len(s.times) && s.times[i] <= other.times[j] {
			if j < len(other.times) && s.times[i] == other.times[j] {
				j++
			}
			both.times, both.values = append(both.times, s.times[i]), append(both.values, s.values[i])
			i++
		} else {
			both.times, both.values = append(both.times, other.times[j]), append(both.values, other.values[j])
			j++
		}
	}
	return both
}

// milliseconds since 1970, as the engine counts.
type milliseconds = int64

// iterator is a chunkenc.Iterator over a series.
type iterator struct {
	*series
	at int
}

func (it *iterator) here() chunkenc.ValueType {
	if it.at < len(it.times) {
		return chunkenc.ValFloat
	}
	return chunkenc.ValNone
}

// Next implements chunkenc.Iterator.
func (it *iterator) Next() chunkenc.ValueType {
	if it.at < len(it.times) {
		it.at++
	}
	return it.here()
}

// Seek implements chunkenc.Iterator.
func (it *iterator) Seek(t milliseconds) chunkenc.ValueType {
	it.at = max(it.at, 0)
	rest := it.times[it.at:]
	it.at += sort.Search(len(rest), func(i int) bool { return rest[i]*1000 >= t })
	return it.here()
}

// At implements chunkenc.Iterator.
func (it *iterator) At() (int64, float64) { return it.times[it.at] * 1000, it.values[it.at] }

// AtT implements chunkenc.Iterator.
func (it *iterator) AtT() int64 { return it.times[it.at] * 1000 }

// AtST implements chunkenc.Iterator: when a counter began is not known.
func (*iterator) AtST() int64 { return 0 }

// Err implements chunkenc.Iterator.
func (*iterator) Err() error { return nil }

// AtHistogram implements chunkenc.Iterator. There is none: Next never says so.
func (*iterator) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) { return 0, nil }

// AtFloatHistogram implements chunkenc.Iterator like AtHistogram.
func (*iterator) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	return 0, nil
}

// seriesSet is a storage.SeriesSet of what has been read.
type seriesSet struct {
	list []*series
	at   int
}

// Next implements storage.SeriesSet.
func (s *seriesSet) Next() bool {
	s.at++
	return s.at < len(s.list)
}

// At implements storage.SeriesSet.
func (s *seriesSet) At() storage.Series { return s.list[s.at] }

// Err implements storage.SeriesSet.
func (*seriesSet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*seriesSet) Warnings() annotations.Annotations { return nil }
