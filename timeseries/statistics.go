// Package timeseries is the public contract of the place where series live.
//
// Times are Unix seconds. NaN marks a slot without a value.
package timeseries

import (
	"math"
	"slices"
)

// MetricsType says what the metrics of a schema are.
type MetricsType uint8

// The three types of the ntopng timeseries contract.
const (
	Counter    MetricsType = iota // a total that only grows, read as a rate
	Gauge                         // a sampled value
	Derivative                    // already a rate per second
)

// Statistics describes the points of one series. Undefined values are NaN.
type Statistics struct {
	Total        float64 // volume over the range; NaN where a gauge has none
	Average      float64
	Min, Max     float64
	MinIndex     int // zero-based index of the first smallest point, 1 when there is none
	MaxIndex     int
	Percentile95 float64
}

// NewStatistics computes the statistics of data, points step seconds apart.
// The total of a gauge is the sum of its points when keepTotal is set, and
// absent otherwise.
func NewStatistics(data []float64, step int64, keepTotal bool, typ MetricsType) Statistics {
	s := Statistics{Min: math.NaN(), Max: math.NaN(), MinIndex: 1, MaxIndex: 1, Average: math.NaN()}
	sum, known := 0.0, 0
	for i, v := range data {
		if math.IsNaN(v) {
			continue
		}
		sum += v
		known++
		if known == 1 || v < s.Min {
			s.Min, s.MinIndex = v, i
		}
		if known == 1 || v > s.Max {
			s.Max, s.MaxIndex = v, i
		}
	}
	if known > 0 {
		s.Average = sum / float64(known)
	}
	switch {
	case typ != Gauge:
		s.Total = sum * float64(step)
	case keepTotal:
		s.Total = sum
	default:
		s.Total = math.NaN()
	}
	s.Percentile95 = percentile95(data)
	return s
}

// percentile95 is the contract's own definition: one below the nearest rank,
// with NaN counted as 0 unless all points are NaN.
func percentile95(data []float64) float64 {
	switch len(data) {
	case 0:
		return 0
	case 1:
		return data[0]
	}
	sorted, known := slices.Clone(data), false
	for i, v := range sorted {
		if math.IsNaN(v) {
			sorted[i] = 0
		} else {
			known = true
		}
	}
	if !known {
		return math.NaN()
	}
	slices.Sort(sorted)
	rank := int(math.Floor(0.95*float64(len(sorted))+0.5)) - 1
	return sorted[max(rank, 1)-1]
}

// SampledStep returns the step in seconds at which the range start to end
// yields at most maxPoints points: a multiple of the raw step.
func SampledStep(raw, start, end, maxPoints int64) int64 {
	maxPoints = max(maxPoints, 1)
	points := (end - start + raw - 1) / raw
	if points <= maxPoints {
		return raw
	}
	return raw * ((points + maxPoints - 1) / maxPoints)
}
