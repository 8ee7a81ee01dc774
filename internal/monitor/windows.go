package monitor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/weirhq/weir/internal/countergroup"
)

// Numbers in binary frames are in the byte order of the machine, on which both halves run.
var order = binary.NativeEndian

// Mode says what is called for a window or a topper list.
type Mode byte

const (
	// ModeDecide is for an instance whose vote alone counts: begin; for each row the filter and, when it says yes,
	// the flush callback with the filter's overrides applied; end. A request.
	ModeDecide Mode = iota
	// ModeVote calls begin, and the filter for each row. A request, which a ModeFlush follows.
	ModeVote
	// ModeFlush calls the flush callback for each row, and end. The rows are those that passed, with all overrides.
	ModeFlush
	// ModeObserve calls begin, the flush callback for each row, and end.
	ModeObserve
)

// MaxRows is how many rows one frame has at most. A window with more is sent in parts, of which the first one is
// marked First and the last one Last: begin is called in the first, end in the last.
const MaxRows = countergroup.PartRows

// Part says which part of a window a frame is.
type Part byte

const (
	First Part = 1 << iota
	Last
	hasValues // each row has values
	hasNew    // each row says whether its key is new
)

const headSize = 24

// A Window, Second or Toppers has a head, the values of all rows, the offsets at which keys end, marks of new keys, and the keys:
//
//	u32 instance, u8 mode, u8 part, u16 meters, i64 time, u32 rows, u32 meter (of toppers)
//	f64 × meters × rows, u32 × rows, u8 × rows, bytes
func appendHead(dst []byte, instance int, mode Mode, part Part, meters, rows, meter int, t int64) []byte {
	dst = order.AppendUint32(dst, uint32(instance))
	dst = order.AppendUint16(append(dst, byte(mode), byte(part)), uint16(meters))
	dst = order.AppendUint64(dst, uint64(t))
	return order.AppendUint32(order.AppendUint32(dst, uint32(rows)), uint32(meter))
}

func appendRows(dst []byte, rows []countergroup.Row, meters int, news bool) []byte {
	if meters > 0 {
		for i := range rows {
			for _, v := range rows[i].Values[:meters] {
				dst = order.AppendUint64(dst, math.Float64bits(v))
			}
		}
	}
	end := 0
	for i := range rows {
		end += len(rows[i].Key)
		dst = order.AppendUint32(dst, uint32(end))
	}
	for i := range rows {
		if !news {
			break
		}
		if rows[i].New {
			dst = append(dst, 1)
		} else {
			dst = append(dst, 0)
		}
	}
	for i := range rows {
		dst = append(dst, rows[i].Key...)
	}
	return dst
}

// AppendWindow appends the payload of a KindWindow: a part of a window that ended at t, for an instance. Every
// row has meters values.
func AppendWindow(dst []byte, instance int, mode Mode, part Part, t int64, meters int, rows []countergroup.Row) []byte {
	dst = appendHead(dst, instance, mode, part|hasValues, meters, len(rows), 0, t)
	return appendRows(dst, rows, meters, false)
}

// AppendSecond appends the payload of a KindSecond: rows of the second before t. Rows without values
// are for instances that define no onupdate: meters is 0 then.
func AppendSecond(dst []byte, instance int, t int64, meters int, rows []countergroup.Row) []byte {
	part := hasNew
	if meters > 0 {
		part |= hasValues
	}
	dst = appendHead(dst, instance, ModeObserve, part, meters, len(rows), 0, t)
	return appendRows(dst, rows, meters, true)
}

// AppendToppers appends the payload of a KindToppers: the list of a meter at t. In ModeFlush the items are those that
// passed when any instance enabled the callbacks, and none when no one did; the end is called in any case.
func AppendToppers(dst []byte, instance int, mode Mode, part Part, t int64, meter int, items []countergroup.Item) []byte {
	dst = appendHead(dst, instance, mode, part|hasValues, 1, len(items), meter, t)
	for i := range items {
		dst = order.AppendUint64(dst, math.Float64bits(items[i].Value))
	}
	end := 0
	for i := range items {
		end += len(items[i].Key)
		dst = order.AppendUint32(dst, uint32(end))
	}
	for i := range items {
		dst = append(dst, items[i].Key...)
	}
	return dst
}

// Votes answer a KindWindow or KindToppers.
type Votes struct {
	Enabled   bool       // toppers: onbegintopperflush asks for the callbacks
	Overrides []Override // of rows that pass, ordered by row
	bits      []byte
}

// Override replaces one value of one row.
type Override struct {
	Row, Meter int
	Value      float64
}

// Pass reports the vote for a row.
func (v *Votes) Pass(row int) bool { return v.bits[row/8]&(1<<(row%8)) != 0 }

// DecodeVotes reads the answer for a frame that had so many rows and meters. The script's process made it:
// nothing in it is taken for granted. Votes keeps using payload.
func DecodeVotes(payload []byte, rows, meters int) (Votes, error) {
	bad := func(format string, args ...any) (Votes, error) {
		return Votes{}, fmt.Errorf("cannot read votes of a script: "+format, args...)
	}
	size := (rows + 7) / 8
	if len(payload) < 5+size {
		return bad("%d bytes are too few for %d rows", len(payload), rows)
	}
	v := Votes{Enabled: payload[0] != 0, bits: payload[1 : 1+size]}
	count, rest := int(order.Uint32(payload[1+size:])), payload[5+size:]
	if len(rest) != 16*count {
		return bad("%d bytes for %d overrides", len(rest), count)
	}
	if count == 0 {
		return v, nil
	}
	v.Overrides = make([]Override, count)
	for i := range v.Overrides {
		o := Override{int(order.Uint32(rest)), int(order.Uint32(rest[4:])), math.Float64frombits(order.Uint64(rest[8:]))}
		switch {
		case o.Row >= rows || o.Meter >= meters:
			return bad("an override of meter %d in row %d, of %d meters in %d rows", o.Meter, o.Row, meters, rows)
		case i > 0 && o.Row < v.Overrides[i-1].Row:
			return bad("an override of row %d after one of row %d", o.Row, v.Overrides[i-1].Row)
		case !(o.Value >= 0) || math.IsInf(o.Value, 1):
			return bad("an override with %g", o.Value)
		}
		v.Overrides[i], rest = o, rest[16:]
	}
	return v, nil
}
