package event

import "math"

// Value is the value of one field. The zero Value is absent: an optional
// protobuf member that is not set. The marks of legacy fields are not applied
// here; see [Field.Visible].
type Value struct {
	kind   valueKind
	bits   uint64 // booleans, integers (sign extended), floats
	text   []byte
	nested *nested
}

type valueKind uint8

const (
	absentValue valueKind = iota
	boolValue
	intValue
	floatValue
	textValue
	messageValue
	listValue
)

// nested keeps the rare kinds out of every Value.
type nested struct {
	record *Record
	list   []Value
}

// BoolValue returns the value of a boolean.
func BoolValue(b bool) Value {
	v := Value{kind: boolValue}
	if b {
		v.bits = 1
	}
	return v
}

// IntValue returns the value of an integer, time or enumeration of any width;
// unsigned 64-bit numbers are reinterpreted as signed.
func IntValue(n int64) Value { return Value{kind: intValue, bits: uint64(n)} }

// FloatValue returns the value of a double.
func FloatValue(f float64) Value { return Value{kind: floatValue, bits: math.Float64bits(f)} }

// TextValue returns the value of a string; it keeps text.
func TextValue(text []byte) Value { return Value{kind: textValue, text: text} }

// MessageValue returns the value of a message inside an event; nil is a message
// that is not set.
func MessageValue(r *Record) Value {
	v := Value{kind: messageValue}
	if r != nil {
		v.nested = &nested{record: r}
	}
	return v
}

// ListValue returns the value of a repeated field or a map; it keeps list.
func ListValue(list []Value) Value {
	v := Value{kind: listValue}
	if len(list) > 0 {
		v.nested = &nested{list: list}
	}
	return v
}

// Present is false for optional members that are not set.
func (v Value) Present() bool { return v.kind != absentValue }

// Bool returns a boolean, or whether a number is not 0.
func (v Value) Bool() bool {
	if v.kind == floatValue {
		return v.Float() != 0
	}
	return v.bits != 0
}

// Int returns an integer; 1 or 0 for a boolean; a double without its fraction.
func (v Value) Int() int64 {
	if v.kind == floatValue {
		return truncate(v.Float())
	}
	return int64(v.bits)
}

// Float returns a number as a double.
func (v Value) Float() float64 {
	if v.kind == floatValue {
		return math.Float64frombits(v.bits)
	}
	return float64(int64(v.bits))
}

// Text returns a string's bytes. They may alias the payload the value came from.
func (v Value) Text() []byte { return v.text }

// Message returns a message, or nil when it is not set or v is something else.
func (v Value) Message() *Record {
	if v.kind != messageValue || v.nested == nil {
		return nil
	}
	return v.nested.record
}

// List returns the elements of a repeated field or a map. A map's elements are
// messages with the fields key and value.
func (v Value) List() []Value {
	if v.kind != listValue || v.nested == nil {
		return nil
	}
	return v.nested.list
}

// truncate is a conversion that has a defined result for every input: NaN is 0,
// and numbers beyond the range are its ends.
func truncate(f float64) int64 {
	switch {
	case math.IsNaN(f):
		return 0
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}

// Default returns the value a field has when nothing was sent: absent for
// optional members, the mark for legacy fields that have one, else 0, false,
// the empty string, an empty list or a message that is not set.
func (f *Field) Default() Value {
	switch {
	case f.Optional:
		return Value{}
	case f.Repeated:
		return Value{kind: listValue}
	case f.Absent == AbsentMinusOne:
		return IntValue(-1)
	}
	switch f.Kind {
	case Bool:
		return Value{kind: boolValue}
	case Double:
		return Value{kind: floatValue}
	case String:
		return Value{kind: textValue}
	case Message:
		return Value{kind: messageValue}
	}
	return Value{kind: intValue}
}

// Visible reports whether a script sees a member with this value: false for
// hidden fields, for values equal to the field's mark, and for optional members
// that are not set (specification 2.2).
func (f *Field) Visible(v Value) bool { return !f.Hidden && v.Present() && !f.marked(v) }

// marked reports whether v is the value with which the field counts as absent.
func (f *Field) marked(v Value) bool {
	switch f.Absent {
	case AbsentZero:
		return v.bits == 0
	case AbsentMinusOne:
		return int64(v.bits) == -1
	case AbsentEmpty:
		return len(v.text) == 0
	}
	return false
}
