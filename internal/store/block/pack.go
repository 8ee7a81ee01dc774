package block

import (
	"encoding/binary"
	"math/bits"
)

// packing is how a run of integers is written: each as the difference to base
// in width bits, and as exceptions those that do not fit.
type packing struct {
	base  int64
	width int
	cost  int // bits, near enough
}

// planPacking finds a short packing. A few values far from the others, such as
// the reset of a counter, become exceptions instead of making all of them wide.
func planPacking(values []int64) packing {
	n := len(values)
	if n == 0 {
		return packing{}
	}
	lowest, highest := values[0], values[0]
	for _, v := range values {
		lowest, highest = min(lowest, v), max(highest, v)
	}
	p := packing{base: lowest, width: bits.Len64(uint64(highest) - uint64(lowest))}
	p.cost = n * p.width
	if p.width <= 2 || n < 8 {
		return p
	}
	// How wide would values be around one in the middle of them?
	pivot := median(values[n/4], values[n/2], values[3*n/4])
	var lengths [65]int
	for _, v := range values {
		lengths[bitLength(v-pivot)]++
	}
	outside := 0
	for width := 64; width > 0; width-- {
		// A value whose zigzag length is at most width lies in [pivot-2^(width-1), pivot+2^(width-1)).
		if cost := n*width + outside; cost < p.cost && width < 57 {
			p = packing{base: pivot - 1<<(width-1), width: width, cost: cost}
		}
		outside += lengths[width] * (8 + (width+8)/7*8)
		if outside > p.cost {
			break
		}
	}
	return p
}

func median(a, b, c int64) int64 {
	return max(min(a, b), min(max(a, b), c))
}

// pack plans and writes; nothing at all for no values.
func pack(dst []byte, values []int64) []byte {
	return appendPacked(dst, values, planPacking(values))
}

func appendPacked(dst []byte, values []int64, p packing) []byte {
	if len(values) == 0 {
		return dst
	}
	dst = binary.AppendVarint(dst, p.base)
	dst = append(dst, byte(p.width))
	exceptions := 0
	if p.width == 64 {
		for _, v := range values {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v-p.base))
		}
	} else {
		limit := uint64(1) << p.width
		var acc uint64
		have := 0
		for _, v := range values {
			x := uint64(v - p.base)
			if x >= limit {
				x = 0
				exceptions++
			}
			acc |= x << have
			have += p.width
			if have >= 64 {
				dst = binary.LittleEndian.AppendUint64(dst, acc)
				have -= 64
				acc = x >> (p.width - have)
			}
		}
		for ; have > 0; have -= 8 {
			dst = append(dst, byte(acc))
			acc >>= 8
		}
	}
	dst = binary.AppendUvarint(dst, uint64(exceptions))
	if exceptions == 0 {
		return dst
	}
	limit := uint64(1) << p.width
	gap := 0
	for _, v := range values {
		if uint64(v-p.base) < limit {
			gap++
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(gap))
		dst = binary.AppendVarint(dst, v-p.base)
		gap = 0
	}
	return dst
}

func leadingZeros(x uint64) int  { return bits.LeadingZeros64(x) }
func trailingZeros(x uint64) int { return bits.TrailingZeros64(x) }

// bitWriter writes bits, the most significant of each value first.
type bitWriter struct {
	out  []byte
	acc  uint64
	have int // bits in acc that were not written
}

func (w *bitWriter) write(x uint64, n int) {
	if n > 32 {
		w.write(x>>32, n-32)
		x, n = x&(1<<32-1), 32
	}
	w.acc = w.acc<<n | x
	w.have += n
	for w.have >= 8 {
		w.have -= 8
		w.out = append(w.out, byte(w.acc>>w.have))
	}
}

func (w *bitWriter) finish() []byte {
	if w.have > 0 {
		w.out = append(w.out, byte(w.acc<<(8-w.have)))
	}
	return w.out
}
