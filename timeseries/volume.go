package timeseries

import "math"

// Volume is the total of one metric over its samples with start < t <= end
// (specification section 2.5, R15): of a counter the sum of its increments, a drop
// counting zero and gaps not mattering; of a gauge the sum of the samples; of a
// derivative that sum times the step. times are ascending and unique and may go
// beyond the range; for a counter they begin with the last sample before it,
// however long ago (the last one that is not NaN).
func Volume(s *Schema, times []int64, values []float64, start, end int64) float64 {
	if s.Type == Counter {
		return increments(times, values, start, end)
	}
	// Multiplied one by one: a rate that was a whole number over the step is that
	// number again, and the sum of whole numbers is exact.
	factor := 1.0
	if s.Type == Derivative {
		factor = float64(s.Step)
	}
	sum := 0.0
	for i, t := range times {
		if v := values[i]; t > start && t <= end && !math.IsNaN(v) {
			sum += v * factor
		}
	}
	return sum
}

// Integral is what a top-k query ranks by (specification section 2.5, R16): the
// volume of a counter, the sum of the samples times the step otherwise. The
// samples are those of Volume.
func Integral(s *Schema, times []int64, values []float64, start, end int64) float64 {
	v := Volume(s, times, values, start, end)
	if s.Type == Gauge {
		v *= float64(s.Step)
	}
	return v
}

func increments(times []int64, values []float64, start, end int64) float64 {
	sum, last := 0.0, math.NaN()
	for i, t := range times {
		v := values[i]
		if t > end {
			break
		}
		if t > start && v > last { // false while there is no last
			sum += v - last
		}
		if !math.IsNaN(v) {
			last = v
		}
	}
	return sum
}
