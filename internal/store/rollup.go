package store

import (
	"math"

	"github.com/weirhq/weir/timeseries"
)

// A block of a tier has a row for each slot in which anything is known; the time of
// a row is the number of its slot. Its columns are these two and then, metric by
// metric, those of cell.
const (
	columnAge  = iota // seconds from the last point in the slot to the end of the slot; NaN when there is none
	columnKind        // step and type of the schema when the row was made, see kindOf
	rowColumns
)

// Columns of one metric. What is the same in most rows is left out: a column without
// values takes a byte.
const (
	cellFirst = iota // counters: the first value; only in the first row of the block that has one
	cellLast         // the last value
	cellSum          // counters: increments, from the row before in the same block too; otherwise the values, of derivatives times the step
	cellCount        // points
	cellValue        // the raw slots put together, see below; NaN when it is as cellSum or cellLast says
	cellKnown        // raw slots that are known; NaN when they are cellCount
	cellMax          // largest raw slot
	cellMin          // smallest one
	cellColumns
)

// cellValue is the sum of the raw slots, for gauges that are read by their last
// value the last one. Raw slots of counters are written as rate times step, which
// for most counters is a whole number.

func cellColumn(metric, column int) int { return rowColumns + metric*cellColumns + column }

// kind is what the numbers of a row mean.
type kind struct {
	step float64 // of a raw slot in seconds
	typ  timeseries.MetricsType
	last bool // cellValue is the last raw slot
}

func (k kind) encode() float64 {
	code := k.step*8 + float64(k.typ)*2
	if k.last {
		code++
	}
	return code
}

func decodeKind(code float64) kind {
	n := int64(code)
	return kind{step: float64(n >> 3), typ: timeseries.MetricsType(n >> 1 & 3), last: n&1 == 1}
}

func kindOf(sc *schema) kind {
	return kind{float64(sc.Step), sc.Type, sc.Type == timeseries.Gauge && sc.Aggregation == timeseries.Last}
}

// cell is one metric in one slot.
type cell struct {
	first, last float64
	sum, count  float64
	value       float64 // seconds times the value of the raw slots; of kind.last the last value
	known       float64 // seconds that are known
	max, min    float64
}

var noCell = cell{first: math.NaN(), last: math.NaN(), max: math.NaN(), min: math.NaN()}

// add puts b, which is later, behind a. Leads from a to b are the caller's.
func (a *cell) add(k kind, b *cell) {
	if b.count > 0 {
		a.last = b.last
		a.sum += b.sum
		a.count += b.count
	}
	if b.known == 0 {
		return
	}
	if a.known == 0 {
		a.value, a.max, a.min = b.value, b.max, b.min
	} else {
		if k.last {
			a.value = b.value
		} else {
			a.value += b.value
		}
		a.max, a.min = max(a.max, b.max), min(a.min, b.min)
	}
	a.known += b.known
}

// encode writes c as the columns of a row.
func (c *cell) encode(k kind, row []float64) {
	row[cellFirst], row[cellLast], row[cellSum], row[cellCount] = c.first, c.last, c.sum, c.count
	if c.count == 0 {
		row[cellLast], row[cellSum] = math.NaN(), math.NaN()
	}
	if c.known == 0 && c.count == 0 {
		row[cellCount] = math.NaN() // the metric is not in this slot
		row[cellValue], row[cellKnown], row[cellMax], row[cellMin] = math.NaN(), math.NaN(), math.NaN(), math.NaN()
		return
	}
	value, largest, smallest := c.value, c.max, c.min
	switch {
	case k.last:
	case k.typ == timeseries.Counter:
		value, largest, smallest = tidy(value), tidy(largest*k.step), tidy(smallest*k.step)
	default:
		value = tidy(value / k.step)
	}
	if c.known == 0 || value == k.implied(row) {
		value = math.NaN()
	}
	known := tidy(c.known / k.step)
	if known == c.count {
		known = math.NaN()
	}
	if c.known == 0 {
		largest, smallest = math.NaN(), math.NaN()
	}
	row[cellValue], row[cellKnown], row[cellMax], row[cellMin] = value, known, largest, smallest
}

// implied is the cellValue that is not written.
func (k kind) implied(row []float64) float64 {
	switch {
	case k.last:
		return row[cellLast]
	case k.typ == timeseries.Derivative:
		return tidy(row[cellSum] / k.step)
	default:
		return row[cellSum]
	}
}

// decodeCell reads the columns of a row.
func decodeCell(k kind, row []float64) cell {
	c := cell{first: row[cellFirst], last: row[cellLast], sum: row[cellSum], count: row[cellCount]}
	if c.count != c.count {
		return noCell
	}
	if c.count == 0 {
		c.sum = 0
	}
	c.known = row[cellKnown]
	if c.known != c.known {
		c.known = c.count
	}
	c.known *= k.step
	c.value, c.max, c.min = row[cellValue], row[cellMax], row[cellMin]
	if c.value != c.value {
		c.value = k.implied(row)
	}
	switch {
	case k.last:
	case k.typ == timeseries.Counter:
		c.max, c.min = c.max/k.step, c.min/k.step
	default:
		c.value *= k.step
	}
	return c
}

// part is the share of c, of a whole slot, in a grid with raw slots of that many seconds.
func (c *cell) part(k kind, how timeseries.Aggregation, share, rawStep float64) timeseries.Part {
	p := timeseries.Part{Known: c.known * share / rawStep}
	switch how {
	case timeseries.Max:
		p.Value = c.max
	case timeseries.Min:
		p.Value = c.min
	case timeseries.Last:
		if p.Value = c.value; !k.last {
			p.Value = c.last
		}
	default:
		value := c.value
		if k.last && c.count > 0 {
			value = c.sum / c.count * c.known
		} else if k.last {
			value *= c.known
		}
		p.Value = value * share / rawStep
	}
	if p.Value != p.Value {
		p.Known = 0
	}
	return p
}

// tidy is x without the error that dividing and multiplying left: a whole number
// when x is next to one.
func tidy(x float64) float64 {
	if whole := math.Round(x); math.Abs(x-whole) <= 1e-11*max(math.Abs(x), 1) {
		return whole
	}
	return x
}
