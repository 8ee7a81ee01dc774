// Package block is how the store keeps the rows of one series over one span of
// time: compressed, with a summary per metric, checked by a checksum.
//
// A block holds rows in ascending order of time. Its parts follow each other:
//
//	version      1 byte
//	checksum     4 bytes, CRC-32C of all that follows
//	rows         uvarint, at least 1
//	metrics      uvarint, at least 1
//	first, last  uvarint: first time - start of the block, last time - first time
//	times        packed integers: the differences of the times
//	per metric   uvarint length of its column, column
//
// A column is a kind byte, a bitmap of the rows that have a value when some lack
// one, the summary, and the values: whole numbers and decimal fractions as packed
// integers of the order of difference that is shortest, other numbers as the
// bits that change from one to the next. Columns stand on their own, so a reader
// pays for those it wants. Packed integers are frame of reference: the smallest,
// the width in bits, all others that wide, and exceptions that do not fit.
//
// NaN means that a row has no value for a metric. Every other number comes back
// with the same bits it had.
package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
)

// Limits of a block. A decoder allocates at most what they say, whatever the
// bytes claim.
const (
	MaxRows    = 86_400 // one for each second of the longest span
	MaxMetrics = 2100   // of the points at most 256; a rollup has several columns for each
)

const (
	version    = 1
	headerSize = 5
)

// ErrCorrupt is wrapped by every error of this package.
var ErrCorrupt = errors.New("corrupt block")

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Summary describes the values of one metric in a block; rows without a value
// do not take part. Of a Count of 0 nothing else is set.
type Summary struct {
	Count               int
	First, Last         float64
	FirstTime, LastTime int64 // Unix seconds
	Sum, Min, Max       float64
	Increment           float64 // sum of what each value is above the one before; a drop counts zero
}

// Block is an encoded block that passed Parse. It refers to the bytes it was
// parsed from.
type Block struct {
	Rows, Metrics int
	First, Last   int64 // times of the first and the last row, Unix seconds

	start   int64
	times   []byte
	columns []byte

	// Where a column was last looked up, so that reading them in order does not
	// walk from the front each time.
	index int
	rest  []byte
}

// Parse checks data, the block that begins at start (Unix seconds), and reads its header.
func Parse(data []byte, start int64) (Block, error) {
	var b Block
	if len(data) < headerSize {
		return b, corrupt("too short")
	}
	if data[0] != version {
		return b, corrupt(fmt.Sprintf("version %d", data[0]))
	}
	if binary.LittleEndian.Uint32(data[1:]) != crc32.Checksum(data[headerSize:], castagnoli) {
		return b, corrupt("checksum does not match")
	}
	r := reader{data: data[headerSize:]}
	rows, metrics, first, length := r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	if r.bad || rows < 1 || rows > MaxRows || metrics < 1 || metrics > MaxMetrics || first >= MaxRows || length >= MaxRows {
		return b, corrupt("header")
	}
	b = Block{Rows: int(rows), Metrics: int(metrics), First: start + int64(first), start: start}
	b.Last = b.First + int64(length)
	b.times = r.data
	if !r.skipPacked(b.Rows - 1) {
		return b, corrupt("times")
	}
	b.columns, b.rest = r.data, r.data
	return b, nil
}

// Times appends the times of all rows to dst, ascending, in Unix seconds.
func (b *Block) Times(dst []int64) ([]int64, error) {
	at := len(dst)
	dst = append(dst, b.First)
	r := reader{data: b.times}
	dst = r.unpack(dst, b.Rows-1)
	if r.bad {
		return dst[:at], corrupt("times")
	}
	t := b.First
	for i := at + 1; i < len(dst); i++ {
		d := dst[i]
		if d <= 0 || d > MaxRows {
			return dst[:at], corrupt("times do not ascend")
		}
		t += d
		dst[i] = t
	}
	if t != b.Last {
		return dst[:at], corrupt("last time")
	}
	return dst, nil
}

// column returns the bytes of column m, nil when the block has none.
func (b *Block) column(m int) ([]byte, error) {
	if m < 0 || m >= b.Metrics {
		return nil, nil
	}
	if m < b.index {
		b.index, b.rest = 0, b.columns
	}
	for {
		r := reader{data: b.rest}
		length := r.uvarint()
		if r.bad || length < 1 || length > uint64(len(r.data)) {
			return nil, corrupt("column")
		}
		if b.index == m {
			return r.data[:length], nil
		}
		b.index++
		b.rest = r.data[length:]
	}
}

// Kinds of columns: how the values are written.
const (
	kindEmpty   = iota // no row has a value
	kindInteger        // whole numbers
	kindDecimal        // whole numbers divided by a power of ten
	kindFloat          // anything
	kindMask    = 0x0f
	withNulls   = 0x10 // a bitmap of the rows that have a value follows
)

// Flags of a summary: what is not written because it is as said.
const (
	increasing  = 1 << iota // Increment is Last - First
	minIsFirst              //
	minIsLast               //
	maxIsFirst              //
	maxIsLast               //
	summaryMask = 1<<iota - 1
)

// head is what stands before the values of a column.
type head struct {
	kind    byte
	present []byte // bitmap, nil when all rows have a value
	summary Summary
}

// readHead reads the start of a column up to its values.
func (b *Block) readHead(column []byte) (head, reader, error) {
	r := reader{data: column}
	h := head{kind: r.byte()}
	s := &h.summary
	if h.kind == kindEmpty {
		return h, r, nil
	}
	s.Count, s.FirstTime, s.LastTime = b.Rows, b.First, b.Last
	if h.kind&withNulls != 0 {
		h.present = r.bytes((b.Rows + 7) / 8)
		s.Count = 0
		for _, x := range h.present {
			s.Count += bits.OnesCount8(x)
		}
		s.FirstTime += int64(r.uvarint())
		s.LastTime -= int64(r.uvarint())
		h.kind &^= withNulls
	}
	flags := r.byte()
	if r.bad || s.Count < 1 || s.Count > b.Rows || h.kind == kindEmpty || h.kind > kindFloat || flags&^summaryMask != 0 || s.FirstTime > s.LastTime || s.FirstTime < b.First || s.LastTime > b.Last {
		return h, r, corrupt("column")
	}
	s.First, _ = r.number()
	last, raw := r.number()
	if s.Last = last; !raw {
		s.Last += s.First
	}
	s.Sum, _ = r.number()
	s.Increment, s.Min, s.Max = s.Last-s.First, s.First, s.First
	if flags&increasing == 0 {
		s.Increment, _ = r.number()
	}
	switch {
	case flags&minIsFirst != 0:
	case flags&minIsLast != 0:
		s.Min = s.Last
	default:
		s.Min, _ = r.number()
	}
	switch {
	case flags&maxIsFirst != 0:
	case flags&maxIsLast != 0:
		s.Max = s.Last
	default:
		s.Max, _ = r.number()
	}
	if r.bad {
		return h, r, corrupt("summary")
	}
	return h, r, nil
}

// Summary returns the summary of metric m; one that the block does not have has a Count of 0.
func (b *Block) Summary(m int) (Summary, error) {
	column, err := b.column(m)
	if err != nil || column == nil {
		return Summary{}, err
	}
	h, _, err := b.readHead(column)
	return h.summary, err
}

// Column appends the values of metric m of all rows to dst, NaN where there is
// none. scratch is used for decoding and returned for the next call.
func (b *Block) Column(m int, dst []float64, scratch []int64) ([]float64, []int64, error) {
	_, dst, scratch, err := b.ColumnUnless(m, nil, dst, scratch)
	return dst, scratch, err
}

// ColumnUnless is Column for those whose summary may say enough: when enough, asked
// with it, says so, nothing is decoded and dst stays as it is.
func (b *Block) ColumnUnless(m int, enough func(Summary) bool, dst []float64, scratch []int64) (Summary, []float64, []int64, error) {
	column, err := b.column(m)
	if err != nil {
		return Summary{}, dst, scratch, err
	}
	at := len(dst)
	if column == nil || column[0] == kindEmpty {
		if enough != nil && enough(Summary{}) {
			return Summary{}, dst, scratch, nil
		}
		for range b.Rows {
			dst = append(dst, math.NaN())
		}
		return Summary{}, dst, scratch, nil
	}
	h, r, err := b.readHead(column)
	if err != nil || enough != nil && enough(h.summary) {
		return h.summary, dst, scratch, err
	}
	switch h.kind {
	case kindFloat:
		dst = r.floats(dst, h.summary.First, h.summary.Count)
	default:
		dst, scratch = r.integers(dst, scratch, h)
	}
	if r.bad {
		return h.summary, dst[:at], scratch, corrupt("values")
	}
	if h.present != nil {
		dst = spread(dst, at, b.Rows, h.present)
	}
	return h.summary, dst, scratch, nil
}

// spread moves the values dst[at:] to the rows of the bitmap present.
func spread(dst []float64, at, rows int, present []byte) []float64 {
	n := len(dst)
	for len(dst) < at+rows {
		dst = append(dst, 0)
	}
	for i := rows - 1; i >= 0; i-- {
		if present[i>>3]&(1<<(i&7)) != 0 && n > at {
			n--
			dst[at+i] = dst[n]
		} else {
			dst[at+i] = math.NaN()
		}
	}
	return dst
}
