package block

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// reader takes a column apart. What does not fit sets bad; callers look at it
// once at the end.
type reader struct {
	data []byte
	bad  bool
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.bad = true
		return 0
	}
	c := r.data[0]
	r.data = r.data[1:]
	return c
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.data) {
		r.bad = true
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return x
}

// number reads what appendNumber wrote; raw says that it stood there as its bits.
func (r *reader) number() (v float64, raw bool) {
	x := r.uvarint()
	if x&1 == 0 {
		x >>= 1
		return float64(int64(x>>1) ^ -int64(x&1)), false
	}
	if b := r.bytes(8); b != nil {
		v = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return v, true
}

// skipPacked moves behind n packed integers.
func (r *reader) skipPacked(n int) bool {
	if n <= 0 {
		return !r.bad
	}
	r.varint()
	width := int(r.byte())
	if width > 64 {
		return false
	}
	r.bytes((n*width + 7) / 8)
	for left := r.uvarint(); left > 0 && !r.bad; left-- {
		r.uvarint()
		r.varint()
	}
	return !r.bad
}

// unpack appends n packed integers to dst.
func (r *reader) unpack(dst []int64, n int) []int64 {
	if n <= 0 {
		return dst
	}
	at := len(dst)
	base := r.varint()
	width := int(r.byte())
	if width > 64 || r.bad {
		r.bad = true
		return dst
	}
	packed := r.bytes((n*width + 7) / 8)
	if r.bad {
		return dst
	}
	if cap(dst)-at < n {
		dst = append(make([]int64, 0, at+max(n, at)), dst...)
	}
	dst = dst[:at+n]
	out := dst[at:]
	switch {
	case width == 0:
		for i := range out {
			out[i] = base
		}
	case width <= 56:
		mask := uint64(1)<<width - 1
		whole := min(n, max(0, (len(packed)-8)*8/width)) // values that lie in 8 bytes which are there
		bit := 0
		for i := range out[:whole] {
			x := binary.LittleEndian.Uint64(packed[bit>>3:]) >> (bit & 7)
			out[i] = base + int64(x&mask)
			bit += width
		}
		var tail [16]byte
		from := min(bit>>3, len(packed))
		rest := packed[from:]
		for i := whole; i < n; i++ {
			tail = [16]byte{}
			copy(tail[:], rest[min(bit>>3-from, len(rest)):])
			x := binary.LittleEndian.Uint64(tail[:]) >> (bit & 7)
			out[i] = base + int64(x&mask)
			bit += width
		}
	default:
		for i := range out {
			out[i] = base + int64(wide(packed, i*width, width))
		}
	}
	i := -1
	for left := r.uvarint(); left > 0 && !r.bad; left-- {
		gap := r.uvarint()
		if gap >= uint64(n) || i+1+int(gap) >= n {
			r.bad = true
			break
		}
		i += 1 + int(gap)
		out[i] = base + r.varint()
	}
	return dst
}

// wide reads a value of more than 56 bits.
func wide(packed []byte, bit, width int) uint64 {
	var x uint64
	for got := 0; got < width; {
		shift := bit & 7
		take := min(8-shift, width-got)
		x |= uint64(packed[bit>>3]>>shift&(1<<take-1)) << got
		got += take
		bit += take
	}
	return x
}

// powers of ten by which decimals are divided.
var powers = [...]float64{1, 10, 100, 1000, 1e4, 1e5, 1e6}

// integers appends the values of an integer or decimal column to dst.
func (r *reader) integers(dst []float64, scratch []int64, h head) ([]float64, []int64) {
	scale := byte(0)
	first := h.summary.First
	if h.kind == kindDecimal {
		scale = r.byte()
		if int(scale) >= len(powers) {
			r.bad = true
			return dst, scratch
		}
		first = float64(r.varint())
	}
	order := r.byte()
	if order > 2 || r.bad || !(math.Abs(first) <= maxInteger) {
		r.bad = true
		return dst, scratch
	}
	n := h.summary.Count - 1
	v := int64(first)
	scratch = append(scratch[:0], v)
	var step int64
	if order == 2 && n > 0 {
		step = r.varint()
		v += step
		scratch = append(scratch, v)
		n--
	}
	at := len(scratch)
	scratch = r.unpack(scratch, n)
	if r.bad {
		return dst, scratch
	}
	switch d := scratch[at:]; order {
	case 1:
		for i, x := range d {
			v += x
			d[i] = v
		}
	case 2:
		for i, x := range d {
			step += x
			v += step
			d[i] = v
		}
	}
	from := len(dst)
	if cap(dst)-from < len(scratch) {
		dst = append(make([]float64, 0, from+max(len(scratch), from)), dst...)
	}
	dst = dst[:from+len(scratch)]
	out := dst[from:]
	if scale == 0 {
		for i, x := range scratch {
			out[i] = float64(x)
		}
	} else {
		power := powers[scale]
		for i, x := range scratch {
			out[i] = float64(x) / power
		}
	}
	return dst, scratch
}

// floats appends n numbers to dst, each written as the bits that differ from
// the one before.
func (r *reader) floats(dst []float64, first float64, n int) []float64 {
	x := math.Float64bits(first)
	dst = append(dst, first)
	in := bitReader{data: r.data}
	leading, length := 0, 0
	for i := 1; i < n; i++ {
		if in.read(1) == 1 {
			if in.read(1) == 1 {
				leading = int(in.read(6))
				length = int(in.read(6)) + 1
				if leading+length > 64 {
					in.bad = true
				}
			}
			if length == 0 || in.bad {
				r.bad = true
				return dst
			}
			x ^= in.read(length) << (64 - leading - length)
		}
		dst = append(dst, math.Float64frombits(x))
	}
	r.bad = r.bad || in.bad
	return dst
}

// bitReader reads bits, the most significant of each value first.
type bitReader struct {
	data []byte
	have int // bits in acc that were not read
	acc  uint64
	bad  bool
}

func (b *bitReader) read(n int) uint64 {
	if n > 32 {
		high := b.read(n - 32)
		return high<<32 | b.read(32)
	}
	for b.have < n {
		c := byte(0)
		if len(b.data) > 0 {
			c, b.data = b.data[0], b.data[1:]
		} else {
			b.bad = true
		}
		b.acc = b.acc<<8 | uint64(c)
		b.have += 8
	}
	b.have -= n
	return b.acc >> b.have & (1<<n - 1)
}

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

func bitLength(v int64) int { return bits.Len64(zigzag(v)) }
