package lua

import (
	"errors"
	"fmt"
)

// RecordFormat describes one kind of record so that C can build its Lua value. As a table it has
// the constants and every member that is not absent.
type RecordFormat struct {
	Name      string     // shown by tostring of read-only records
	Protobuf  bool       // fields by number in any order, instead of positional
	Constants []Constant // members with the same value in every record, first in pairs
	Fields    []Field    // in wire order when positional; pairs visits them in this order
}

// Constant is a member that every record of a format has.
type Constant struct {
	Name  string
	Value int64
}

// Field of a RecordFormat.
type Field struct {
	Name     string // empty: on the wire but not shown
	Number   int    // protobuf field number
	Kind     Kind
	Optional bool          // protobuf: absent unless it is on the wire
	Repeated bool          // protobuf: a 1-based array, empty when there are none; accepts packed and unpacked scalars
	Absent   Absent        // which value makes the member disappear
	Message  *RecordFormat // of KindMessage. A map is a repeated message with the fields key (1) and value (2).
}

// Kind of a field. Sizes are those of positional records, big-endian; in protobuf all integers are
// varints, KindDouble is a fixed64, and strings have a length.
type Kind uint8

const (
	KindBool    Kind = iota // 1 byte
	KindInt16               // 2 bytes
	KindInt32               // 4 bytes; also protobuf enumerations
	KindUint32              // 4 bytes
	KindInt64               // 8 bytes; also times
	KindUint64              // 8 bytes, shown as signed: 2^64-1 reads -1
	KindDouble              // decimal text and a NUL
	KindString              // bytes and a NUL
	KindMessage             // protobuf only: a nested table
	KindOpaque              // protobuf only: shown as the string "not_implemented"
)

// Absent says when a positional member is left out.
type Absent uint8

const (
	AbsentNever Absent = iota
	AbsentZero
	AbsentMinusOne
	AbsentEmpty // a string without bytes
)

// maxFields bounds constants and fields of a format; C keeps the slots of a record on its stack.
const maxFields = 250

const (
	flagOptional = 1 << iota
	flagRepeated
)

// appendFormats encodes a format and all its messages as record.c reads them, each once.
func appendFormats(b []byte, root *RecordFormat) ([]byte, error) {
	order := []*RecordFormat{root}
	number := map[*RecordFormat]int{root: 0}
	for i := 0; i < len(order); i++ {
		f := order[i]
		if len(f.Constants)+len(f.Fields) > maxFields {
			return b, fmt.Errorf("%d members in %q, at most %d are possible", len(f.Constants)+len(f.Fields), f.Name, maxFields)
		}
		for _, field := range f.Fields {
			if err := field.check(f.Protobuf); err != nil {
				return b, fmt.Errorf("field %q: %w", field.Name, err)
			}
			if field.Kind != KindMessage {
				continue
			}
			if _, found := number[field.Message]; !found {
				number[field.Message] = len(order)
				order = append(order, field.Message)
			}
		}
	}
	b = appendU32(b, uint32(len(order)))
	for _, f := range order {
		b = appendText(b, f.Name)
		protobuf, numbers := uint32(0), 0
		if f.Protobuf {
			protobuf = 1
			for _, field := range f.Fields {
				numbers = max(numbers, field.Number+1)
			}
		}
		for _, v := range []int{int(protobuf), len(f.Constants), len(f.Fields), numbers} {
			b = appendU32(b, uint32(v))
		}
		for _, c := range f.Constants {
			b = appendText(b, c.Name)
			b = appendU32(appendU32(b, uint32(c.Value)), uint32(uint64(c.Value)>>32))
		}
		for _, field := range f.Fields {
			flags := 0
			if field.Optional {
				flags |= flagOptional
			}
			if field.Repeated {
				flags |= flagRepeated
			}
			b = appendText(b, field.Name)
			for _, v := range []int{field.Number, int(field.Kind), flags, int(field.Absent), number[field.Message]} {
				b = appendU32(b, uint32(v))
			}
		}
	}
	return b, nil
}

func (f *Field) check(protobuf bool) error {
	switch {
	case f.Kind > KindOpaque:
		return fmt.Errorf("unknown kind %d", f.Kind)
	case f.Kind == KindMessage && (f.Message == nil || !f.Message.Protobuf):
		return errors.New("a message needs a protobuf format")
	case !protobuf && (f.Kind == KindMessage || f.Kind == KindOpaque || f.Repeated || f.Optional):
		return errors.New("only protobuf fields can be messages, opaque, repeated or optional")
	case protobuf && f.Absent != AbsentNever:
		return errors.New("only positional fields have absent values")
	case protobuf && (f.Number < 1 || f.Number > 4095):
		return fmt.Errorf("number %d, from 1 to 4095 is possible", f.Number)
	}
	return nil
}
