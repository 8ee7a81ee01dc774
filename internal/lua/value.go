package lua

import (
	"math"
	"strconv"
)

// Value is a Lua value in Go.
//
// From Lua: nil, bool, int64 (numbers without a fraction up to 2^53), float64, string, *Table,
// *Ref for functions, Record for read-only records, what NewObject was given for
// userdata of Go, and Opaque for the rest.
//
// To Lua the same, and every other integer and float type, []byte (as string), []string, []any,
// map[string]any, Function and *Object. Integers pass through int64, so the uint64 2^64-1 becomes -1,
// and beyond 2^53 they are rounded as Lua's numbers are floats.
type Value = any

// Table is a Lua table by value.
type Table struct {
	Array []Value // keys 1 to len
	Hash  []Pair  // all others, in no particular order
}

// Pair is a key with its value.
type Pair struct{ Key, Value Value }

// Get returns the value of a string key, nil when there is none.
func (t *Table) Get(name string) Value {
	for i := range t.Hash {
		if key, ok := t.Hash[i].Key.(string); ok && key == name {
			return t.Hash[i].Value
		}
	}
	return nil
}

// Set adds a pair; it does not look for an earlier one of the same key.
func (t *Table) Set(name string, v Value) { t.Hash = append(t.Hash, Pair{name, v}) }

// Record is a record of a defined type.
type Record struct {
	Type     uint32
	Payload  []byte
	ReadOnly bool // to Lua: as a decoding userdata instead of a table
}

// Opaque stands for a Lua value that has no form in Go: a thread, cdata or foreign userdata. It is its type name.
type Opaque string

// Object is a Go value to hand to Lua as userdata of a type given to DefineType.
type Object struct {
	Type  string
	Value any
}

// FormatNumber gives a number the text Lua gives it: at most 14 significant digits.
func FormatNumber(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case f != f:
		return "nan"
	}
	return strconv.FormatFloat(f, 'g', 14, 64)
}

// number turns a Lua number into int64 when it is whole and exact.
func number(f float64) Value {
	if f >= -1<<53 && f <= 1<<53 && f == math.Trunc(f) && (f != 0 || !math.Signbit(f)) {
		return int64(f)
	}
	return f
}

// A Function is called by Lua. Arguments are read from the Call, results pushed to it; it
// returns how many of the last pushed ones are its results. An error is raised in Lua after the
// function returned, with the position of the caller in front: see Throw and ArgumentError for others.
type Function func(*Call) (int, error)

// ObjectType is a type of userdata backed by Go values.
type ObjectType struct {
	Name    string
	Methods map[string]Function // names starting with "__" are metamethods
	// Close is called once, when Lua has collected the userdata or the VM is closed. It must not use the VM.
	Close func(value any)
}
