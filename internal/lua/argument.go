package lua

import "unsafe"

// Kinds of arguments: Lua's numbers of types, and two of ours.
const (
	kindNone     = -1
	kindNil      = 0
	kindBool     = 1
	kindNumber   = 3
	kindString   = 4
	kindTable    = 5
	kindFunction = 6
	kindThread   = 8
	kindCdata    = 10
	kindObject   = 100
	kindRecord   = 101
)

// argument is weir_argument of vm.h.
type argument struct {
	kind   int64
	number float64
	text   unsafe.Pointer
	length uintptr
}

// bytes are Lua's own.
func (a *argument) bytes() []byte { return unsafe.Slice((*byte)(a.text), a.length) }
