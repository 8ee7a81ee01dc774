package event

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth bounds messages inside messages. The catalogue needs four levels.
const maxDepth = 16

// maxElements bounds the list elements and messages of one event, because a few
// bytes on the wire become a hundred in memory.
const maxElements = 1 << 20

var errTooMany = fmt.Errorf("the event has more than %d list elements and messages", maxElements)

// wireType returns the encoding of a single value of a kind.
func (k Kind) wireType() protowire.Type {
	switch k {
	case Double:
		return protowire.Fixed64Type
	case String, Message:
		return protowire.BytesType
	}
	return protowire.VarintType
}

// decodeProtobuf reads a serialized message. Unknown field numbers are skipped.
func (r *Record) decodeProtobuf(payload []byte, depth int, elements *int) error {
	if depth > maxDepth {
		return fmt.Errorf("messages nested deeper than %d", maxDepth)
	}
	rest := payload
	for len(rest) > 0 {
		number, wire, n := consumeTag(rest)
		if n < 0 {
			return fmt.Errorf("field number at offset %d: %w", len(payload)-len(rest), wireError(n))
		}
		f := r.Descriptor.numbered(int(number))
		if f == nil {
			m := skipValue(number, wire, rest[n:])
			if m < 0 {
				return fmt.Errorf("unknown field %d at offset %d: %w", number, len(payload)-len(rest), wireError(m))
			}
			rest = rest[n+m:]
			continue
		}
		m, err := r.field(f, wire, rest[n:], depth, elements)
		if err != nil {
			return fmt.Errorf("field %s at offset %d: %w", f.Name, len(payload)-len(rest), err)
		}
		rest = rest[n+m:]
	}
	return nil
}

// field reads one occurrence of a field: a value, an element of a repeated field,
// or several packed ones. It returns the bytes taken.
func (r *Record) field(f *Field, wire protowire.Type, b []byte, depth int, elements *int) (int, error) {
	slot := &r.Values[f.index]
	if f.Repeated && wire == protowire.BytesType && f.Kind.wireType() != protowire.BytesType {
		packed, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return 0, wireError(n)
		}
		list := slot.List()
		for len(packed) > 0 {
			if *elements++; *elements > maxElements {
				return 0, errTooMany
			}
			v, m, err := f.protobufValue(packed)
			if err != nil {
				return 0, err
			}
			list = append(list, v)
			packed = packed[m:]
		}
		*slot = ListValue(list)
		return n, nil
	}
	if want := f.Kind.wireType(); wire != want {
		return 0, fmt.Errorf("wire type %d where %d is expected", wire, want)
	}
	if f.Repeated || f.Kind == Message {
		if *elements++; *elements > maxElements {
			return 0, errTooMany
		}
	}
	if f.Kind != Message {
		v, n, err := f.protobufValue(b)
		if err == nil && f.Repeated {
			v = ListValue(append(slot.List(), v))
		}
		if err == nil {
			*slot = v
		}
		return n, err
	}
	body, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return 0, wireError(n)
	}
	message := slot.Message() // a message that comes twice is merged
	if message == nil {
		message = NewRecord(f.Message)
	}
	if err := message.decodeProtobuf(body, depth+1, elements); err != nil {
		return 0, err
	}
	if f.Repeated {
		*slot = ListValue(append(slot.List(), MessageValue(message)))
	} else {
		*slot = MessageValue(message)
	}
	return n, nil
}

// protobufValue reads a scalar or a string at the start of b.
func (f *Field) protobufValue(b []byte) (Value, int, error) {
	switch f.Kind.wireType() {
	case protowire.Fixed64Type:
		bits, n := protowire.ConsumeFixed64(b)
		if n < 0 {
			return Value{}, 0, wireError(n)
		}
		return FloatValue(math.Float64frombits(bits)), n, nil
	case protowire.BytesType:
		text, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return Value{}, 0, wireError(n)
		}
		return TextValue(text[:len(text):len(text)]), n, nil
	}
	x, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return Value{}, 0, wireError(n)
	}
	if f.Kind == Bool {
		return BoolValue(x != 0), n, nil
	}
	return IntValue(f.Kind.integer(x)), n, nil
}

// integer cuts a varint to the width of an integer kind.
func (k Kind) integer(x uint64) int64 {
	switch k {
	case Int32, Enum:
		return int64(int32(x))
	case Uint32:
		return int64(uint32(x))
	}
	return int64(x)
}

func (r *Record) appendProtobuf(dst []byte) []byte {
	for i := range r.Descriptor.Fields {
		dst = r.Descriptor.Fields[i].appendProtobuf(dst, r.Values[i], false)
	}
	return dst
}

// appendProtobuf writes a field with its number. Values equal to the default are
// left out, except optional ones that are set, and always ones (the key and value
// of map entries).
func (f *Field) appendProtobuf(dst []byte, v Value, always bool) []byte {
	number := protowire.Number(f.Number)
	switch {
	case f.Map:
		for _, entry := range v.List() {
			var body []byte
			if m := entry.Message(); m != nil {
				for i := range m.Descriptor.Fields {
					f := &m.Descriptor.Fields[i]
					body = f.appendProtobuf(body, m.Values[i], f.Kind != Message)
				}
			}
			dst = protowire.AppendTag(dst, number, protowire.BytesType)
			dst = protowire.AppendBytes(dst, body)
		}
		return dst
	case f.Repeated && f.Kind.wireType() == protowire.BytesType:
		element := *f
		element.Repeated = false
		for _, v := range v.List() {
			dst = element.appendProtobuf(dst, v, true)
		}
		return dst
	case f.Repeated:
		if len(v.List()) == 0 {
			return dst
		}
		var body []byte
		for _, v := range v.List() {
			body = f.appendScalar(body, v)
		}
		dst = protowire.AppendTag(dst, number, protowire.BytesType)
		return protowire.AppendBytes(dst, body)
	case f.Kind == Message:
		if v.Message() == nil && !always {
			return dst
		}
		var body []byte
		if m := v.Message(); m != nil {
			body = m.appendProtobuf(nil)
		}
		dst = protowire.AppendTag(dst, number, protowire.BytesType)
		return protowire.AppendBytes(dst, body)
	case !v.Present(), v.bits == 0 && len(v.text) == 0 && !f.Optional && !always:
		return dst
	}
	return f.appendScalar(protowire.AppendTag(dst, number, f.Kind.wireType()), v)
}

func (f *Field) appendScalar(dst []byte, v Value) []byte {
	switch f.Kind {
	case Double:
		return protowire.AppendFixed64(dst, math.Float64bits(v.Float()))
	case String:
		return protowire.AppendBytes(dst, v.Text())
	case Bool:
		return protowire.AppendVarint(dst, protowire.EncodeBool(v.Bool()))
	}
	return protowire.AppendVarint(dst, uint64(f.Kind.integer(uint64(v.Int()))))
}

// consumeTag is protowire.ConsumeTag with a short way for numbers below 2048. b is
// not empty.
func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	switch {
	case b[0] >= 1<<3 && b[0] < 0x80:
		return protowire.Number(b[0] >> 3), protowire.Type(b[0] & 7), 1
	case b[0] >= 0x80 && len(b) > 1 && b[1] > 0 && b[1] < 0x80:
		return protowire.Number(b[0]&0x7f>>3) | protowire.Number(b[1])<<4, protowire.Type(b[0] & 7), 2
	}
	return protowire.ConsumeTag(b)
}

// skipValue is protowire.ConsumeFieldValue with a short way for small values.
func skipValue(number protowire.Number, wire protowire.Type, b []byte) int {
	switch wire {
	case protowire.VarintType:
		for i := 0; i < len(b) && i < 9; i++ {
			if b[i] < 0x80 {
				return i + 1
			}
		}
	case protowire.Fixed64Type:
		if len(b) >= 8 {
			return 8
		}
	case protowire.BytesType:
		if len(b) > 0 && b[0] < 0x80 && int(b[0]) < len(b) {
			return 1 + int(b[0])
		}
	}
	return protowire.ConsumeFieldValue(number, wire, b)
}

// wireError explains a negative length from protowire. The library varies the
// spaces in its texts on purpose; logs and tests need them as they are.
func wireError(n int) error {
	err := protowire.ParseError(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the payload ends inside it")
	}
	return errors.New(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
}
