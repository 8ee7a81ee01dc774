package store

import (
	"math"
	"slices"

	"github.com/weirhq/weir/internal/store/block"
)

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

// addBlock adds the rows of a stored block.
func (s *samples) addBlock(b *block.Block, columns []int, scratch []int64) ([]int64, error) {
	before := len(s.times)
	var err error
	if s.times, err = b.Times(s.times); err != nil {
		return scratch, err
	}
	for i, column := range columns {
		if s.values[i], scratch, err = b.Column(column, s.values[i], scratch); err != nil {
			s.times = s.times[:before]
			for j := range columns {
				s.values[j] = s.values[j][:before]
			}
			return scratch, err
		}
	}
	return scratch, nil
}

// addLast adds the last row of a stored block; false, and nothing is added, when some
// metric has no value in it.
func (s *samples) addLast(b *block.Block, columns []int) (bool, error) {
	s.hold = s.hold[:0]
	for _, column := range columns {
		last := math.NaN()
		if column >= 0 && column < b.Metrics {
			summary, err := b.Summary(column)
			if err != nil || summary.Count == 0 || summary.LastTime != b.Last {
				return false, err
			}
			last = summary.Last
		}
		s.hold = append(s.hold, last)
	}
	s.times = append(s.times, b.Last)
	for i, v := range s.hold {
		s.values[i] = append(s.values[i], v)
	}
	return true, nil
}

// distinct drops a row that has the same time as the one behind it: the last point that
// slots tell of may be there itself.
func (s *samples) distinct() {
	for i := 1; i < len(s.times); i++ {
		if s.times[i] == s.times[i-1] {
			s.times = slices.Delete(s.times, i-1, i)
			for m := range s.values {
				s.values[m] = slices.Delete(s.values[m], i-1, i)
			}
			return
		}
	}
}
