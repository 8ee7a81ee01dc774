package block

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// maxInteger bounds whole numbers that are packed as integers: all of them are
// exact in a float64, and second differences do not overflow.
const maxInteger = 1 << 53

// Encoder writes blocks. It keeps scratch memory from one block to the next and
// serves one goroutine.
type Encoder struct {
	values  []float64 // of the column at hand, those that are there
	ints    []int64
	orders  [3][]int64
	column  []byte
	present []byte
}

// Append appends to dst the block that begins at start (Unix seconds). times are
// ascending, unique, and less than MaxRows seconds after start; columns holds per
// metric a value for each of them, NaN where there is none.
func (e *Encoder) Append(dst []byte, start int64, times []int64, columns [][]float64) []byte {
	at := len(dst)
	dst = append(dst, version, 0, 0, 0, 0)
	rows := len(times)
	first, last := times[0], times[rows-1]
	dst = binary.AppendUvarint(dst, uint64(rows))
	dst = binary.AppendUvarint(dst, uint64(len(columns)))
	dst = binary.AppendUvarint(dst, uint64(first-start))
	dst = binary.AppendUvarint(dst, uint64(last-first))
	e.ints = e.ints[:0]
	for i := 1; i < rows; i++ {
		e.ints = append(e.ints, times[i]-times[i-1])
	}
	dst = pack(dst, e.ints)
	for _, values := range columns {
		e.column = e.appendColumn(e.column[:0], times, values)
		dst = binary.AppendUvarint(dst, uint64(len(e.column)))
		dst = append(dst, e.column...)
	}
	binary.LittleEndian.PutUint32(dst[at+1:], crc32.Checksum(dst[at+headerSize:], castagnoli))
	return dst
}

// appendColumn writes the column of one metric.
func (e *Encoder) appendColumn(dst []byte, times []int64, values []float64) []byte {
	rows := len(times)
	e.values = e.values[:0]
	s := Summary{}
	lost := 0.0 // what the sum could not hold, added at the end, so that 0.1 ten times is 1
	for i, v := range values {
		if v != v {
			continue
		}
		if len(e.values) == 0 {
			s.First, s.FirstTime, s.Min, s.Max = v, times[i], v, v
		} else if d := v - s.Last; d > 0 {
			s.Increment += d
		}
		s.Last, s.LastTime = v, times[i]
		sum := s.Sum + v
		if math.Abs(s.Sum) >= math.Abs(v) {
			lost += s.Sum - sum + v
		} else {
			lost += v - sum + s.Sum
		}
		s.Sum = sum
		s.Min, s.Max = min(s.Min, v), max(s.Max, v)
		e.values = append(e.values, v)
	}
	if whole := s.Sum + lost; !math.IsNaN(whole) { // NaN where the sum is infinite
		s.Sum = whole
	}
	s.Count = len(e.values)
	if s.Count == 0 {
		return append(dst, kindEmpty)
	}
	kind, scale := e.classify()
	nulls := byte(0)
	if s.Count < rows {
		nulls = withNulls
	}
	dst = append(dst, kind|nulls)
	if nulls != 0 {
		e.present = append(e.present[:0], make([]byte, (rows+7)/8)...)
		for i, v := range values {
			if v == v {
				e.present[i>>3] |= 1 << (i & 7)
			}
		}
		dst = append(dst, e.present...)
		dst = binary.AppendUvarint(dst, uint64(s.FirstTime-times[0]))
		dst = binary.AppendUvarint(dst, uint64(times[rows-1]-s.LastTime))
	}
	dst = appendSummary(dst, &s)
	switch kind {
	case kindFloat:
		return appendFloats(dst, e.values)
	case kindDecimal:
		dst = append(dst, scale)
		dst = binary.AppendVarint(dst, e.ints[0])
	}
	return e.appendIntegers(dst)
}

func appendSummary(dst []byte, s *Summary) []byte {
	flags := byte(0)
	if same(s.Increment, s.Last-s.First) {
		flags |= increasing
	}
	if same(s.Min, s.First) {
		flags |= minIsFirst
	} else if same(s.Min, s.Last) {
		flags |= minIsLast
	}
	if same(s.Max, s.First) {
		flags |= maxIsFirst
	} else if same(s.Max, s.Last) {
		flags |= maxIsLast
	}
	dst = append(dst, flags)
	dst = appendNumber(dst, s.First)
	if _, ok := whole(s.Last - s.First); ok && same(s.First+(s.Last-s.First), s.Last) {
		dst = appendNumber(dst, s.Last-s.First)
	} else {
		dst = appendRaw(dst, s.Last)
	}
	dst = appendNumber(dst, s.Sum)
	if flags&increasing == 0 {
		dst = appendNumber(dst, s.Increment)
	}
	if flags&(minIsFirst|minIsLast) == 0 {
		dst = appendNumber(dst, s.Min)
	}
	if flags&(maxIsFirst|maxIsLast) == 0 {
		dst = appendNumber(dst, s.Max)
	}
	return dst
}

func same(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

// appendNumber writes a whole number as a varint, any other as 8 bytes behind a marker.
func appendNumber(dst []byte, v float64) []byte {
	if n, ok := whole(v); ok {
		return binary.AppendUvarint(dst, zigzag(n)<<1)
	}
	return appendRaw(dst, v)
}

func appendRaw(dst []byte, v float64) []byte {
	dst = append(dst, 1)
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// whole returns v as an integer when it is one that is packed so; -0 is not.
func whole(v float64) (int64, bool) {
	if !(math.Abs(v) < maxInteger) {
		return 0, false
	}
	n := int64(v)
	return n, same(float64(n), v)
}

// classify looks for the kind of the values at hand, and fills e.ints for kinds
// that are packed.
func (e *Encoder) classify() (kind, scale byte) {
	e.ints = e.ints[:0]
	for _, v := range e.values {
		n, ok := whole(v)
		if !ok {
			return e.decimals()
		}
		e.ints = append(e.ints, n)
	}
	return kindInteger, 0
}

// decimals tries ever more digits behind the point.
func (e *Encoder) decimals() (kind, scale byte) {
	scale = 1
scales:
	for ; int(scale) < len(powers); scale++ {
		power := powers[scale]
		e.ints = e.ints[:0]
		for _, v := range e.values {
			scaled := math.Round(v * power)
			if !(math.Abs(scaled) < maxInteger) {
				break scales
			}
			n := int64(scaled)
			if !same(float64(n)/power, v) {
				continue scales
			}
			e.ints = append(e.ints, n)
		}
		return kindDecimal, scale
	}
	return kindFloat, 0
}

// appendIntegers packs e.ints but the first, in the order of difference that
// takes the fewest bits.
func (e *Encoder) appendIntegers(dst []byte) []byte {
	n := len(e.ints)
	if n == 1 {
		return append(dst, 0)
	}
	for i := range e.orders {
		e.orders[i] = e.orders[i][:0]
	}
	e.orders[0] = append(e.orders[0], e.ints[1:]...)
	for i := 1; i < n; i++ {
		e.orders[1] = append(e.orders[1], e.ints[i]-e.ints[i-1])
	}
	for i := 1; i < n-1; i++ {
		e.orders[2] = append(e.orders[2], e.orders[1][i]-e.orders[1][i-1])
	}
	best := 0
	var plan packing
	for order := range e.orders {
		p := planPacking(e.orders[order])
		if order == 2 {
			p.cost += bitLength(e.orders[1][0]) + 1
		}
		if order == 0 || p.cost < plan.cost {
			best, plan = order, p
		}
	}
	dst = append(dst, byte(best))
	if best == 2 {
		dst = binary.AppendVarint(dst, e.orders[1][0])
	}
	return appendPacked(dst, e.orders[best], plan)
}

// appendFloats writes values but the first as the bits that differ from the one before.
func appendFloats(dst []byte, values []float64) []byte {
	w := bitWriter{out: dst}
	prev := math.Float64bits(values[0])
	leading, length := 0, 0
	for _, v := range values[1:] {
		x := math.Float64bits(v)
		diff := x ^ prev
		prev = x
		if diff == 0 {
			w.write(0, 1)
			continue
		}
		lead, trail := leadingZeros(diff), trailingZeros(diff)
		if length > 0 && lead >= leading && trail >= 64-leading-length && 64-lead-trail+12 >= length {
			w.write(0b10, 2)
		} else {
			leading, length = lead, 64-lead-trail
			w.write(0b11, 2)
			w.write(uint64(leading), 6)
			w.write(uint64(length-1), 6)
		}
		w.write(diff>>(64-leading-length), length)
	}
	return w.finish()
}
