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
	only        map[string]bool // cleaned names to keep; nil keeps all
}

type percentile struct {
	p                                      float64
	count, mean, boundary, sum, sumSquares string
}

// NewStatistics returns Statistics for flushes every interval seconds. A
// positive percentile p yields upper_p, any other one lower_p; only, when not
// empty, keeps the fields it names (calculatedTimerMetrics).
func NewStatistics(interval float64, percentiles []float64, histograms []Histogram, only []string) *Statistics {
	s := &Statistics{interval: interval, histograms: histograms}
	for _, p := range percentiles {
		name := strings.Replace(strings.Replace(FormatNumber(p), ".", "_", 1), "-", "top", 1)
		side := "lower_"
		if p > 0 {
			side = "upper_"
		}
		s.percentiles = append(s.percentiles,
			percentile{p, "count_" + name, "mean_" + name, side + name, "sum_" + name, "sum_squares_" + name})
	}
	if len(only) > 0 {
		s.only = make(map[string]bool)
		for _, name := range only {
			s.only[name] = true
		}
	}
	return s
}

var percentileSuffix = regexp.MustCompile(`_(top)?[0-9]+$`)

// Timer returns the statistics of one timer: values in any order, which it
// sorts in place, and count, the number received corrected for sample rates.
func (s *Statistics) Timer(name string, values []float64, count float64) backend.Timer {
	slices.Sort(values)
	t := backend.Timer{Name: name, Values: values, Count: count}
	add := func(field string, v float64) {
		if s.only == nil || s.only[percentileSuffix.ReplaceAllString(field, "_percent")] {
			t.Fields = append(t.Fields, backend.Field{Name: field, Value: v})
		}
	}
	n := len(values)
	if n == 0 {
		add("count_ps", 0)
		add("count", 0)
		return t
	}
	sums, squares := prefixSums(values)
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
			add(p.sumSquares, squares[0])
		case p.p > 0 && k > n: // beyond the last value only the count and a mean of nothing remain
			add(p.mean, math.NaN())
		case p.p > 0:
			add(p.mean, sums[k-1]/float64(k))
			add(p.boundary, values[k-1])
			add(p.sum, sums[k-1])
			add(p.sumSquares, squares[k-1])
		default:
			sum, square := math.NaN(), math.NaN() // all values and more: the reference subtracts what is not there
			if k < n {
				sum, square = sums[n-1]-sums[n-k-1], squares[n-1]-squares[n-k-1]
			}
			add(p.mean, sum/float64(k))
			if k <= n {
				add(p.boundary, values[n-k])
			}
			add(p.sum, sum)
			add(p.sumSquares, square)
		}
	}
	sum := sums[n-1]
	mean := sum / float64(n)
	deviation := 0.0
	for _, v := range values {
		deviation += float64((v - mean) * (v - mean))
	}
	median := values[n/2]
	if n%2 == 0 {
		median = (values[n/2-1] + values[n/2]) / 2
	}
	add("std", math.Sqrt(deviation/float64(n)))
	add("upper", values[n-1])
	add("lower", values[0])
	add("count", count)
	add("count_ps", count/s.interval)
	add("sum", sum)
	add("sum_squares", squares[n-1])
	add("mean", mean)
	add("median", median)
	if s.only == nil || s.only["histogram"] {
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

func prefixSums(values []float64) (sums, squares []float64) {
	both := make([]float64, 2*len(values))
	sums, squares = both[:len(values)], both[len(values):]
	var sum, square float64
	for i, v := range values {
		sum += v
		square += float64(v * v) // the conversion forbids a fused multiply-add, which JavaScript has not
		sums[i], squares[i] = sum, square
	}
	return sums, squares
}

// jsRound is JavaScript's Math.round: halves go up.
func jsRound(v float64) float64 { return math.Floor(v + 0.5) }
