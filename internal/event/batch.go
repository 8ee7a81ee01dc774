package event

import (
	"encoding/binary"
	"fmt"
	"math"
)

// MaxPayload is the largest payload of an event in bytes. Receivers refuse larger
// ones; in a batch they are a sign of damage.
const MaxPayload = 64 << 20

// AppendBatch appends events in the layout of stream messages and script frames:
// for each the type, source, destination and length of the payload as unsigned
// varints (base 128, low bits first), then the payload.
func AppendBatch(dst []byte, events []Event) []byte {
	for i := range events {
		e := &events[i]
		dst = binary.AppendUvarint(dst, uint64(e.Type))
		dst = binary.AppendUvarint(dst, uint64(e.Source))
		dst = binary.AppendUvarint(dst, uint64(e.Destination))
		dst = binary.AppendUvarint(dst, uint64(len(e.Payload)))
		dst = append(dst, e.Payload...)
	}
	return dst
}

// Iterator reads a batch:
//
//	it := event.NewIterator(batch)
//	for it.Next() {
//		use(it.Event)
//	}
//	if err := it.Err(); err != nil { ... }
type Iterator struct {
	Event Event // the current event; its payload aliases the batch

	batch  []byte
	offset int // of the next event
	err    error
}

// NewIterator returns an iterator that stands before the first event of batch.
func NewIterator(batch []byte) Iterator { return Iterator{batch: batch} }

// Next moves to the next event. It returns false at the end and at damage.
func (it *Iterator) Next() bool {
	if it.offset >= len(it.batch) || it.err != nil {
		return false
	}
	offset := it.offset
	var header [4]uint32
	for i := range header {
		if b := it.batch[offset:]; len(b) > 0 && b[0] < 0x80 { // as most are
			header[i] = uint32(b[0])
			offset++
			continue
		}
		x, n := binary.Uvarint(it.batch[offset:])
		if n <= 0 || x > math.MaxUint32 {
			return it.fail(offset, "the %s is not a 32-bit varint", [...]string{"type", "source", "destination", "length"}[i])
		}
		header[i] = uint32(x)
		offset += n
	}
	size := int(header[3])
	if size > MaxPayload {
		return it.fail(offset, "a payload of %d bytes exceeds the limit of %d", size, MaxPayload)
	}
	if size > len(it.batch)-offset {
		return it.fail(offset, "the payload has %d bytes, %d are left", size, len(it.batch)-offset)
	}
	e := &it.Event
	e.Type, e.Source, e.Destination = Type(header[0]), header[1], header[2]
	e.Payload = it.batch[offset : offset+size : offset+size]
	it.offset = offset + size
	return true
}

func (it *Iterator) fail(offset int, format string, args ...any) bool {
	it.err = fmt.Errorf("cannot read batch at offset %d: %s", offset, fmt.Sprintf(format, args...))
	return false
}

// Err returns why Next stopped before the end, or nil.
func (it *Iterator) Err() error { return it.err }

// Offset returns the offset of the byte after the current event: where another
// iterator or a suffix of the batch goes on.
func (it *Iterator) Offset() int { return it.offset }
