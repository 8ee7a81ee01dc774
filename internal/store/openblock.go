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

// bounds are the first and the last time of b, which is not empty.
func (b *openBlock) bounds() (first, last int64) {
	low, high := b.times[0], b.times[len(b.times)-1]
	if !b.ordered {
		low, high = slices.Min(b.times), slices.Max(b.times)
	}
	return b.start + int64(low), b.start + int64(high)
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
