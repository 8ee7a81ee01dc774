package lua

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The form of values between Go and C: a tag byte and what follows it, integers little-endian.
// A table from Lua has the length of its array, the array, and pairs up to tagEnd; to Lua it has
// the lengths of both.
const (
	tagNil      = iota
	tagFalse    //
	tagTrue     //
	tagNumber   // float64
	tagInteger  // int64, to Lua only
	tagString   // u32 length, bytes
	tagTable    //
	tagEnd      //
	tagRef      // u32 registry reference
	tagObject   // u32 id; to Lua followed by the type's name
	tagRecord   // u32 type, payload
	tagOpaque   // type name, from Lua only
	tagFunction // u32 number, to Lua only
	tagArgument // u32 stack index, to Lua only
	tagReadOnly // like tagRecord, to Lua only
)

// maxDepth is how deep tables may be nested, in both directions; a table that contains itself exceeds it.
const maxDepth = 100

func appendU32(b []byte, v uint32) []byte { return binary.NativeEndian.AppendUint32(b, v) }

func putU32(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }

func appendText(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }

func appendString(b []byte, s string) []byte { return appendText(append(b, tagString), s) }

func appendBytes(b []byte, s []byte) []byte {
	b = appendU32(append(b, tagString), uint32(len(s)))
	return append(b, s...)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.NativeEndian.AppendUint64(append(b, tagNumber), math.Float64bits(f))
}

func appendInt(b []byte, i int64) []byte {
	return binary.NativeEndian.AppendUint64(append(b, tagInteger), uint64(i))
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, tagTrue)
	}
	return append(b, tagFalse)
}

// appendValue encodes a value for Lua. Functions and objects get a number in vm.
func (vm *VM) appendValue(b []byte, v Value, depth int) ([]byte, error) {
	if depth > maxDepth {
		return b, fmt.Errorf("cannot convert table: nested deeper than %d levels, or contains itself", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(b, tagNil), nil
	case bool:
		return appendBool(b, v), nil
	case string:
		return appendString(b, v), nil
	case []byte:
		return appendBytes(b, v), nil
	case int:
		return appendInt(b, int64(v)), nil
	case int8:
		return appendInt(b, int64(v)), nil
	case int16:
		return appendInt(b, int64(v)), nil
	case int32:
		return appendInt(b, int64(v)), nil
	case int64:
		return appendInt(b, v), nil
	case uint:
		return appendInt(b, int64(v)), nil
	case uint8:
		return appendInt(b, int64(v)), nil
	case uint16:
		return appendInt(b, int64(v)), nil
	case uint32:
		return appendInt(b, int64(v)), nil
	case uint64:
		return appendInt(b, int64(v)), nil
	case float32:
		return appendFloat(b, float64(v)), nil
	case float64:
		return appendFloat(b, v), nil
	case Opaque:
		return b, fmt.Errorf("cannot convert a %s to Lua", string(v))
	case *Table:
		b = appendU32(append(b, tagTable), uint32(len(v.Array)))
		b = appendU32(b, uint32(len(v.Hash)))
		return vm.appendTable(b, v.Array, v.Hash, depth)
	case []string:
		b = appendU32(appendU32(append(b, tagTable), uint32(len(v))), 0)
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	case []any:
		b = appendU32(appendU32(append(b, tagTable), uint32(len(v))), 0)
		return vm.appendTable(b, v, nil, depth)
	case map[string]any:
		b = appendU32(appendU32(append(b, tagTable), 0), uint32(len(v)))
		var err error
		for key, value := range v {
			if b, err = vm.appendValue(appendString(b, key), value, depth+1); err != nil {
				return b, err
			}
		}
		return b, nil
	case *Ref:
		if v.vm != vm {
			return b, fmt.Errorf("cannot convert a Lua function of another VM")
		}
		return appendU32(append(b, tagRef), v.id), nil
	case Function:
		return appendU32(append(b, tagFunction), vm.addFunction(v)), nil
	case func(*Call) (int, error):
		return appendU32(append(b, tagFunction), vm.addFunction(v)), nil
	case *Object:
		id, err := vm.addObject(v)
		if err != nil {
			return b, err
		}
		return appendText(appendU32(append(b, tagObject), id), v.Type), nil
	case Record:
		tag := byte(tagRecord)
		if v.ReadOnly {
			tag = tagReadOnly
		}
		b = appendU32(append(b, tag), v.Type)
		return append(appendU32(b, uint32(len(v.Payload))), v.Payload...), nil
	}
	return b, fmt.Errorf("cannot convert a Go %T to Lua", v)
}

func (vm *VM) appendTable(b []byte, array []Value, hash []Pair, depth int) ([]byte, error) {
	var err error
	for _, v := range array {
		if b, err = vm.appendValue(b, v, depth+1); err != nil {
			return b, err
		}
	}
	for i := range hash {
		if b, err = vm.appendValue(b, hash[i].Key, depth+1); err != nil {
			return b, err
		}
		if b, err = vm.appendValue(b, hash[i].Value, depth+1); err != nil {
			return b, err
		}
	}
	return b, nil
}

// A reader decodes what C wrote.
type reader struct {
	b  []byte
	vm *VM
}

func (r *reader) u32() uint32 {
	v := binary.NativeEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.u32()
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) value() Value {
	tag := r.b[0]
	r.b = r.b[1:]
	switch tag {
	case tagFalse, tagTrue:
		return tag == tagTrue
	case tagNumber:
		f := math.Float64frombits(binary.NativeEndian.Uint64(r.b))
		r.b = r.b[8:]
		return number(f)
	case tagString:
		return string(r.bytes())
	case tagOpaque:
		return Opaque(r.bytes())
	case tagRef:
		return r.vm.newRef(r.u32())
	case tagObject:
		return r.vm.object(r.u32())
	case tagRecord:
		recordType := r.u32()
		return Record{Type: recordType, Payload: append([]byte(nil), r.bytes()...), ReadOnly: true}
	case tagTable:
		t := &Table{}
		if n := r.u32(); n > 0 {
			t.Array = make([]Value, n)
			for i := range t.Array {
				t.Array[i] = r.value()
			}
		}
		for r.b[0] != tagEnd {
			key := r.value()
			t.Hash = append(t.Hash, Pair{key, r.value()})
		}
		r.b = r.b[1:]
		return t
	}
	return nil
}

func (r *reader) err() *Error {
	e := &Error{Message: string(r.bytes()), File: string(r.bytes())}
	e.Line = int(r.u32())
	e.Deadline = r.u32() != 0
	e.Traceback = string(r.bytes())
	if e.File == "" {
		e.File, e.Line = place(e.Message)
	}
	return e
}

// place reads file and line from a message that starts with "file:line: ", as those of the compiler do.
func place(message string) (file string, line int) {
	for i := 0; i < len(message); i++ {
		if message[i] == '\n' {
			break
		}
		if message[i] != ':' {
			continue
		}
		n, k := 0, i+1
		for ; k < len(message) && message[k] >= '0' && message[k] <= '9' && n < 1<<30; k++ {
			n = n*10 + int(message[k]-'0')
		}
		if k > i+1 && k < len(message) && message[k] == ':' {
			return message[:i], n
		}
	}
	return "", 0
}
