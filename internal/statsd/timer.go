package statsd

import (
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/weirhq/weir/backend"
)

// Histogram asks for frequencies of the timers whose name contains Metric.
type Histogram struct {
	Metric string
	Bins   []float64 // ascending exclusive upper bounds; +Inf takes the rest
}

// Statistics computes the fields of timers (specification sections 2.4 and
// 2.5). It is read-only after NewStatistics and safe for concurrent use.
type Statistics struct {
	interval    float64 // seconds
	percentiles []percentile
	histograms  []Histogram

	std, upper, lower, count, countPS, sum, sumSquares, mean, median field

	keepHistogram bool
	fields        int // how many a timer has at most
}

// field is the name of a field, empty when calculatedTimerMetrics leaves it out.
type field string

type percentile struct {
	p                                      float64
	count, mean, boundary, sum, sumSquares field
}

// NewStatistics returns Statistics for flushes every interval seconds. A
// positive percentile p yields upper_p, any other one lower_p; only, when not
// empty, keeps the fields it names (calculatedTimerMetrics).
func NewStatistics(interval float64, percentiles []float64, histograms []Histogram, only []string) *Statistics {
	s := &Statistics{interval: interval, histograms: histograms}
	keep := func(name string) field {
		if len(only) > 0 && !slices.Contains(only, percentileSuffix.ReplaceAllString(name, "_percent")) {
			return ""
		}
		s.fields++
		return field(name)
	}
	for _, p := range percentiles {
		name := strings.Replace(strings.Replace(FormatNumber(p), ".", "_", 1), "-", "top", 1)
		side := "lower_"
		if p > 0 {
			side = "upper_"
		}
		s.percentiles = append(s.percentiles,
			percentile{p, keep("count_" + name), keep("mean_" + name), keep(side + name), keep("sum_" + name), keep("sum_squares_" + name)})
	}
	s.std, s.upper, s.lower, s.count, s.countPS = keep("std"), keep("upper"), keep("lower"), keep("count"), keep("count_ps")
	s.sum, s.sumSquares, s.mean, s.median = keep("sum"), keep("sum_squares"), keep("mean"), keep("median")
	s.keepHistogram = keep("histogram") != ""
	return s
}

var percentileSuffix = regexp.MustCompile(`_(top)?[0-9]+$`)

// Timer returns the statistics of one timer: values in any order, which it
// sorts in place, and count, the number received corrected for sample rates.
func (s *Statistics) Timer(name string, values []float64, count float64) backend.Timer {
	return s.timer(name, values, count, new(prefixSums))
}

func (s *Statistics) timer(name string, values []float64, count float64, sums *prefixSums) backend.Timer {
	t := backend.Timer{Name: name, Values: values, Count: count}
	n := len(values)
	if n == 0 {
		t.Fields = make([]backend.Field, 0, 2)
	} else {
		t.Fields = make([]backend.Field, 0, s.fields)
	}
	add := func(name field, v float64) {
		if name != "" {
			t.Fields = append(t.Fields, backend.Field{Name: string(name), Value: v})
		}
	}
	if n == 0 {
		add(s.countPS, 0)
		add(s.count, 0)
		return t
	}
	slices.Sort(values)
	sums.compute(values)
	for _, p := range s.percentiles {
		k := n
		if n > 1 {
			k = int(jsRound(math.Abs(p.p) / 100 * float64(n)))
		}
		if k == 0 {
			continue
		}
		add(p.count, float64(k))
		switch {
		case n == 1:
			add(p.mean, values[0])
			add(p.boundary, values[0])
			add(p.sum, values[0])
			add(p.sumSquares, sums.squares[0])
		case p.p > 0 && k > n: // beyond the last value only the count and a mean of nothing remain
			add(p.mean, math.NaN())
		case p.p > 0:
			add(p.mean, sums.values[k-1]/float64(k))
			add(p.boundary, values[k-1])
			add(p.sum, sums.values[k-1])
			add(p.sumSquares, sums.squares[k-1])
		default:
			sum, square := math.NaN(), math.NaN() // all values and more: the reference subtracts what is not there
			if k < n {
				sum, square = sums.values[n-1]-sums.values[n-k-1], sums.squares[n-1]-sums.squares[n-k-1]
			}
			add(p.mean, sum/float64(k))
			if k <= n {
				add(p.boundary, values[n-k])
			}
			add(p.sum, sum)
			add(p.sumSquares, square)
		}
	}
	sum := sums.values[n-1]
	mean := sum / float64(n)
	deviation := 0.0
	for _, v := range values {
		deviation += float64((v - mean) * (v - mean))
	}
	median := values[n/2]
	if n%2 == 0 {
		median = (values[n/2-1] + values[n/2]) / 2
	}
	add(s.std, math.Sqrt(deviation/float64(n)))
	add(s.upper, values[n-1])
	add(s.lower, values[0])
	add(s.count, count)
	add(s.countPS, count/s.interval)
	add(s.sum, sum)
	add(s.sumSquares, sums.squares[n-1])
	add(s.mean, mean)
	add(s.median, median)
	if s.keepHistogram {
		t.Histogram = s.histogram(name, values)
	}
	return t
}

// histogram counts values, which are ascending, into the bins of the first
// histogram whose Metric occurs in name.
func (s *Statistics) histogram(name string, values []float64) []backend.Field {
	for _, h := range s.histograms {
		if !strings.Contains(name, h.Metric) {
			continue
		}
		var fields []backend.Field
		i := 0
		for _, bound := range h.Bins {
			start := i
			for i < len(values) && (values[i] < bound || math.IsInf(bound, 1)) {
				i++
			}
			text := "inf"
			if !math.IsInf(bound, 1) {
				text = strings.Replace(FormatNumber(bound), ".", "_", 1)
			}
			fields = append(fields, backend.Field{Name: "bin_" + text, Value: float64(i - start)})
		}
		return fields
	}
	return nil
}

// prefixSums are the sums of the first 1, 2, ... values and of their squares.
type prefixSums struct{ values, squares []float64 }

func (s *prefixSums) compute(values []float64) {
	s.values, s.squares = s.values[:0], s.squares[:0]
	sum, square := math.Copysign(0, -1), 0.0 // -0 is where adding changes nothing: the sum of one -0 is -0
	for _, v := range values {
		sum += v
		square += float64(v * v) // the conversion forbids a fused multiply-add, which JavaScript has not
		s.values, s.squares = append(s.values, sum), append(s.squares, square)
	}
}

// jsRound is JavaScript's Math.round: halves go up.
func jsRound(v float64) float64 { return math.Floor(v + 0.5) }
