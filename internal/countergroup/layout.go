package countergroup

import "math"

// layout says what the columns of a group's rows are. A row holds what the updates of a bucket came to, before it is made into
// values: per meter one number, and behind those the number of samples of each Average. NaN is "no update" for
// Gauge, Maximum and Minimum, and "the counter was reset" for DeltaRate.
type layout struct {
	types  []MeterType
	width  int
	counts []int // by meter: the column of the number of samples
	keeps  []int // by meter: the column of what a key keeps from bucket to bucket, -1 for none
	kept   int   // such columns
	empty  []float64
	fresh  []float64 // what a new key keeps
}

func newLayout(types []MeterType) layout {
	l := layout{types: types, width: len(types), counts: make([]int, len(types)), keeps: make([]int, len(types))}
	for m, t := range types {
		l.keeps[m] = -1
		first := 0.0
		switch t {
		case Gauge, Maximum, Minimum:
			first = math.NaN()
		case Average:
			l.counts[m] = l.width
			l.width++
		}
		l.empty = append(l.empty, first)
		if t == Running || t == Gauge || t == DeltaRate {
			l.keeps[m] = l.kept
			l.kept++
			kept := math.NaN() // no sample yet
			if t == Running {
				kept = 0
			}
			l.fresh = append(l.fresh, kept)
		}
	}
	l.empty = append(l.empty, make([]float64, l.width-len(types))...)
	return l
}

// begin makes row one without updates of a key that keeps this. A Gauge begins with
// its current value in the row of a second, and without one in that of a bucket (specification 2.6).
func (l *layout) begin(row, keep []float64, second bool) {
	copy(row, l.empty)
	for m, k := range l.keeps {
		if k >= 0 && (l.types[m] == Running || second && l.types[m] == Gauge) {
			row[m] = keep[k]
		}
	}
}

// keep notes an update of a key and returns what its rows are to be updated with.
func (l *layout) keep(keep []float64, m int, v float64) float64 {
	k := l.keeps[m]
	if k < 0 {
		return v
	}
	before := keep[k]
	switch l.types[m] {
	case Running:
		v += before
		keep[k] = v
	case Gauge:
		keep[k] = v
	case DeltaRate:
		keep[k] = v
		switch {
		case math.IsNaN(before): // the first sample ever
			return 0
		case v < before:
			return math.NaN()
		}
		return v - before
	}
	return v
}

// update puts into row what keep returned.
func (l *layout) update(row []float64, m int, v float64) {
	switch l.types[m] {
	case Counter, Rate, DeltaRate:
		row[m] += v
	case Gauge, Running:
		row[m] = v
	case Average:
		row[m] += v
		row[l.counts[m]]++
	case Maximum:
		if !(row[m] >= v) {
			row[m] = v
		}
	case Minimum:
		if !(row[m] <= v) {
			row[m] = v
		}
	}
}

// listed are the columns that the lists of meters need.
func (l *layout) listed(meters []Meter) (columns []int) {
	for m, meter := range meters {
		if meter.Top > 0 {
			columns = append(columns, m)
			if l.types[m] == Average {
				columns = append(columns, l.counts[m])
			}
		}
	}
	return columns
}

// followColumn puts one column of a later bucket of the same key into cell. What is NaN, or 0 in
// a column of sums, changes nothing.
func (l *layout) followColumn(cell *float64, v float64, c int) {
	if math.IsNaN(v) { // not updated; or a bucket with a reset, which counts nothing
		return
	}
	if c >= len(l.types) { // samples of an Average
		*cell += v
		return
	}
	switch l.types[c] {
	case Counter, Rate, DeltaRate, Average:
		*cell += v
	case Gauge, Running:
		*cell = v
	case Maximum:
		if !(*cell >= v) {
			*cell = v
		}
	case Minimum:
		if !(*cell <= v) {
			*cell = v
		}
	}
}

// join puts the row of another key of the same bucket into a row of totals (specification 1.6).
func (l *layout) join(totals, row []float64) {
	for m, t := range l.types {
		switch v := row[m]; t {
		case Average:
			totals[m] += v
			totals[l.counts[m]] += row[l.counts[m]]
		case Maximum, Minimum:
			if !math.IsNaN(v) {
				l.update(totals, m, v)
			}
		case Gauge:
			if !math.IsNaN(v) {
				if math.IsNaN(totals[m]) {
					totals[m] = 0
				}
				totals[m] += v
			}
		default:
			if !math.IsNaN(v) {
				totals[m] += v
			}
		}
	}
}

// value is what meter m of row comes to over so many seconds (specification 1.3).
func (l *layout) value(row []float64, m int, seconds float64) float64 {
	v := row[m]
	switch l.types[m] {
	case Rate, DeltaRate:
		v /= seconds
	case Average:
		if n := row[l.counts[m]]; n > 0 {
			v /= n
		}
	}
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// touched reports whether a topper list may hold the value of meter m: whether it was updated, as far as the
// row tells, for a sum of 0 is like none.
func (l *layout) touched(row []float64, m int) bool {
	switch l.types[m] {
	case Average:
		return row[l.counts[m]] > 0
	case Gauge, Maximum, Minimum:
		return !math.IsNaN(row[m])
	}
	return row[m] != 0 && !math.IsNaN(row[m])
}

// values makes the first columns of row its values.
func (l *layout) values(row []float64, seconds float64) []float64 {
	for m := range l.types {
		row[m] = l.value(row, m, seconds)
	}
	return row[:len(l.types):len(l.types)]
}
