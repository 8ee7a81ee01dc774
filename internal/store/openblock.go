package store

import (
	"math"
	"slices"
)

// openBlock holds the rows of one series and one block start that are in no
// block yet, in the order in which they were appended. Rows are only ever added
// behind those that are there, so a copy of an openBlock made under database.mu
// can be read after it is released.
type openBlock struct {
	start   int64
	width   int       // values per row
	ordered bool      // times ascend, none is there twice
	times   []uint32  // seconds after start
	values  []float64 // row after row
}

// rowSize is the memory of a row in bytes.
func rowSize(width int) int { return 4 + 8*width }

func sizeOf(blocks []openBlock) int {
	size := 0
	for i := range blocks {
		size += len(blocks[i].times) * rowSize(blocks[i].width)
	}
	return size
}

// add appends a row and returns the bytes it takes.
func (b *openBlock) add(offset uint32, row []float64) int {
	grown := rowSize(b.width)
	if len(row) > b.width {
		grown += len(b.times) * 8 * (len(row) - b.width)
		grown += 8 * (len(row) - b.width)
		b.widen(len(row))
	}
	b.ordered = b.ordered && (len(b.times) == 0 || offset > b.times[len(b.times)-1])
	b.times = append(b.times, offset)
	b.values = append(b.values, row...)
	for range b.width - len(row) {
		b.values = append(b.values, math.NaN())
	}
	return grown
}

// widen makes room for metrics that were not there before.
func (b *openBlock) widen(width int) {
	values := make([]float64, 0, (len(b.times)+8)*width)
	for i := range b.times {
		values = append(values, b.values[i*b.width:(i+1)*b.width]...)
		for range width - b.width {
			values = append(values, math.NaN())
		}
	}
	b.values, b.width = values, width
}

// addRow puts a row into the open block of s that its time belongs to. The caller
// holds d.mu.
func (d *database) addRow(s *series, t int64, row []float64) {
	start := s.schema.start(t)
	var at *openBlock
	for i := len(s.open) - 1; i >= 0; i-- {
		if s.open[i].start == start {
			at = &s.open[i]
			break
		}
	}
	if at == nil {
		if len(s.open) == 0 {
			d.dictionary.unsaved[s.id] = s
		}
		s.open = append(s.open, openBlock{start: start, width: len(row), ordered: true})
		at = &s.open[len(s.open)-1]
	}
	d.memory += at.add(uint32(t-start), row)
}

// samples are the rows of one series in ascending order of time, a column per
// metric that is read.
type samples struct {
	times  []int64
	values [][]float64

	from    int  // rows from here on belong to the block that is being read
	settled bool // these are in order

	order []int32 // for settling
	spare []int64
	hold  []float64
}

// reset empties s for n columns.
func (s *samples) reset(n int) {
	s.times, s.from, s.settled = s.times[:0], 0, true
	for len(s.values) < n {
		s.values = append(s.values, nil)
	}
	s.values = s.values[:n]
	for i := range s.values {
		s.values[i] = s.values[i][:0]
	}
}

// begin says that what is added from now on belongs to a later block.
func (s *samples) begin() { s.from, s.settled = len(s.times), true }

// addOpen adds the rows of b, which replace rows of the same times.
func (s *samples) addOpen(b *openBlock, columns []int) {
	n := len(b.times)
	if n == 0 {
		return
	}
	last := len(s.times)
	if s.settled && (!b.ordered || last > s.from && s.times[last-1] >= b.start+int64(b.times[0])) {
		s.settled = false
	}
	s.times = slices.Grow(s.times, n)
	for _, offset := range b.times {
		s.times = append(s.times, b.start+int64(offset))
	}
	for i, column := range columns {
		values := slices.Grow(s.values[i], n)
		if column < 0 || column >= b.width {
			for range n {
				values = append(values, math.NaN())
			}
		} else {
			for at := column; at < len(b.values); at += b.width {
				values = append(values, b.values[at])
			}
		}
		s.values[i] = values
	}
}

// settle brings the rows of the block that is being read into order; of rows with
// the same time the one added last stays.
func (s *samples) settle() {
	if s.settled {
		return
	}
	s.settled = true
	times := s.times[s.from:]
	s.order = s.order[:0]
	for i := range times {
		s.order = append(s.order, int32(i))
	}
	slices.SortFunc(s.order, func(a, b int32) int {
		switch {
		case times[a] != times[b]:
			if times[a] < times[b] {
				return -1
			}
			return 1
		default:
			return int(a - b)
		}
	})
	kept := s.order[:0]
	for i, at := range s.order {
		if i+1 < len(s.order) && times[s.order[i+1]] == times[at] {
			continue
		}
		kept = append(kept, at)
	}
	s.spare = append(s.spare[:0], times...)
	for i, at := range kept {
		times[i] = s.spare[at]
	}
	s.times = s.times[:s.from+len(kept)]
	for m, column := range s.values {
		values := column[s.from:]
		s.hold = append(s.hold[:0], values...)
		for i, at := range kept {
			values[i] = s.hold[at]
		}
		s.values[m] = column[:s.from+len(kept)]
	}
}
