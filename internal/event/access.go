package event

import (
	"bytes"
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Int reads one integer, boolean, time or enumeration without decoding the rest
// and without allocating. f must come from the descriptor of e.Type. ok is false
// when the value is absent (the field's mark, or an optional member that is not
// set), of another kind, or cannot be read.
func (e *Event) Int(f *Field) (n int64, ok bool) {
	switch f.Kind {
	case Double, String, Message:
		return 0, false
	}
	if f.Number != 0 {
		x, _, found := e.protobufField(f)
		if !found {
			return 0, false
		}
		if f.Kind == Bool {
			return int64(protowire.EncodeBool(x != 0)), true
		}
		return f.Kind.integer(x), true
	}
	b := e.legacyField(f)
	if size := legacySize(f.Kind); size == 0 || len(b) < size {
		return 0, false
	}
	switch f.Kind {
	case Bool:
		return int64(protowire.EncodeBool(b[0] != 0)), true
	case Int16:
		n = int64(int16(binary.BigEndian.Uint16(b)))
	case Int32:
		n = int64(int32(binary.BigEndian.Uint32(b)))
	case Uint32:
		n = int64(binary.BigEndian.Uint32(b))
	default:
		n = int64(binary.BigEndian.Uint64(b))
	}
	return n, !f.marked(IntValue(n))
}

// Text reads one string; see Int. The bytes alias the payload.
func (e *Event) Text(f *Field) (text []byte, ok bool) {
	if f.Kind != String {
		return nil, false
	}
	if f.Number != 0 {
		_, text, ok := e.protobufField(f)
		return text, ok
	}
	b := e.legacyField(f)
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return nil, false
	}
	return b[:end:end], end > 0 || f.Absent != AbsentEmpty
}

// Float reads one double; see Int.
func (e *Event) Float(f *Field) (x float64, ok bool) {
	if f.Kind != Double {
		return 0, false
	}
	if f.Number != 0 {
		bits, _, ok := e.protobufField(f)
		return math.Float64frombits(bits), ok
	}
	b := e.legacyField(f)
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return 0, false
	}
	x, err := parseDouble(b[:end])
	return x, err == nil
}

// legacyField returns the payload from a field on, nil when it is not there.
func (e *Event) legacyField(f *Field) []byte {
	b := e.Payload
	if f.OffWire {
		return nil
	}
	for _, skip := range f.strings {
		if len(b) < skip {
			return nil
		}
		b = b[skip:]
		end := bytes.IndexByte(b, 0)
		if end < 0 {
			return nil
		}
		b = b[end+1:]
	}
	if len(b) < f.skip {
		return nil
	}
	return b[f.skip:]
}

// protobufField finds a field that is neither repeated nor a message: the number
// or the text, zero when it was not sent. The last occurrence counts, so the whole
// payload is scanned.
func (e *Event) protobufField(f *Field) (x uint64, text []byte, ok bool) {
	if f.Repeated {
		return 0, nil, false
	}
	number, wire := protowire.Number(f.Number), f.Kind.wireType()
	found := !f.Optional
	for b := e.Payload; len(b) > 0; {
		got, typ, n := consumeTag(b)
		if n < 0 {
			return 0, nil, false
		}
		b = b[n:]
		if got == number {
			if typ != wire {
				return 0, nil, false
			}
			found = true
			switch typ {
			case protowire.VarintType:
				x, n = protowire.ConsumeVarint(b)
			case protowire.Fixed64Type:
				x, n = protowire.ConsumeFixed64(b)
			default:
				text, n = protowire.ConsumeBytes(b)
			}
		} else {
			n = skipValue(got, typ, b)
		}
		if n < 0 {
			return 0, nil, false
		}
		b = b[n:]
	}
	return x, text, found
}
