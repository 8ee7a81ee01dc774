package lua

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
)

// Call is one call of a Go function by Lua. It is valid until the function returns. Arguments are
// numbered from 1; methods that cannot convert one return an *ArgumentError for the function
// to return.
type Call struct {
	vm     *VM
	frame  frame
	out    []byte // encoded results
	pushed int
	failed error // of a Push
}

// VM returns the machine that calls, to call back into.
func (c *Call) VM() *VM { return c.vm }

// Len returns the number of arguments.
func (c *Call) Len() int { return c.frame.count() }

// Type returns Lua's name of an argument's type, "no value" for one that is missing.
func (c *Call) Type(i int) string {
	switch a := c.frame.argument(i); a.kind {
	case kindNone:
		return "no value"
	case kindNil:
		return "nil"
	case kindBool:
		return "boolean"
	case kindNumber:
		return "number"
	case kindString:
		return "string"
	case kindTable:
		return "table"
	case kindFunction:
		return "function"
	case kindThread:
		return "thread"
	case kindCdata:
		return "cdata"
	}
	return "userdata"
}

// IsNil reports whether an argument is nil or missing.
func (c *Call) IsNil(i int) bool { return c.frame.argument(i).kind <= kindNil }

// Bool reports whether an argument is neither nil nor false.
func (c *Call) Bool(i int) bool {
	a := c.frame.argument(i)
	return a.kind > kindNil && (a.kind != kindBool || a.number != 0)
}

func (c *Call) mismatch(i int, want string) error {
	return &ArgumentError{i, want + " expected, got " + c.Type(i)}
}

// Float returns a number, or a string that is one.
func (c *Call) Float(i int) (float64, error) {
	a := c.frame.argument(i)
	switch a.kind {
	case kindNumber:
		return a.number, nil
	case kindString:
		if f, ok := parseNumber(string(a.bytes())); ok {
			return f, nil
		}
	}
	return 0, c.mismatch(i, "number")
}

// parseNumber reads a number as Lua does: decimal or hexadecimal, blanks around it.
func parseNumber(s string) (float64, bool) {
	s = strings.Trim(s, " \t\n\v\f\r")
	if strings.ContainsAny(s, "_pP") {
		return 0, false
	}
	if h := strings.TrimPrefix(strings.ToLower(s), "0x"); len(h) < len(s) {
		u, err := strconv.ParseUint(h, 16, 64)
		return float64(u), err == nil
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// Int returns a number, or a string that is one, without a fraction.
func (c *Call) Int(i int) (int64, error) {
	f, err := c.Float(i)
	if err != nil {
		return 0, err
	}
	if f != math.Trunc(f) || f < -1<<63 || f >= 1<<63 {
		return 0, &ArgumentError{i, "number has no integer representation"}
	}
	return int64(f), nil
}

// Bytes returns a string, or a number as text. The bytes are Lua's own: they must not be changed or
// kept after the function returned.
func (c *Call) Bytes(i int) ([]byte, error) {
	a := c.frame.argument(i)
	switch a.kind {
	case kindString:
		return a.bytes(), nil
	case kindNumber:
		return []byte(FormatNumber(a.number)), nil
	}
	return nil, c.mismatch(i, "string")
}

// String returns a copy of a string, or a number as text.
func (c *Call) String(i int) (string, error) {
	b, err := c.Bytes(i)
	return string(b), err
}

// Value returns any argument, tables by value; nil when it is missing.
func (c *Call) Value(i int) (Value, error) {
	a := c.frame.argument(i)
	switch a.kind {
	case kindNone, kindNil:
		return nil, nil
	case kindBool:
		return a.number != 0, nil
	case kindNumber:
		return number(a.number), nil
	case kindString:
		return string(a.bytes()), nil
	case kindObject:
		return c.vm.object(uint32(a.number)), nil
	}
	b, err := c.frame.encode(i)
	if err != nil {
		return nil, &ArgumentError{i, err.Error()}
	}
	r := reader{b, c.vm}
	return r.value(), nil
}

// Table returns a table by value.
func (c *Call) Table(i int) (*Table, error) {
	if c.frame.argument(i).kind != kindTable {
		return nil, c.mismatch(i, "table")
	}
	v, err := c.Value(i)
	if err != nil {
		return nil, err
	}
	return v.(*Table), nil
}

// Function returns a Lua function, to call now or later.
func (c *Call) Function(i int) (*Ref, error) {
	if c.frame.argument(i).kind != kindFunction {
		return nil, c.mismatch(i, "function")
	}
	v, err := c.Value(i)
	if err != nil {
		return nil, err
	}
	return v.(*Ref), nil
}

// Object returns the Go value of a userdata of this type.
func (c *Call) Object(i int, typeName string) (any, error) {
	a := c.frame.argument(i)
	if a.kind != kindObject || c.vm.owners[uint32(a.number)] != typeName {
		return nil, c.mismatch(i, typeName)
	}
	return c.vm.object(uint32(a.number)), nil
}

// Record returns type and payload of a read-only record. The payload is valid until the function returns.
func (c *Call) Record(i int) (recordType uint32, payload []byte, ok bool) {
	a := c.frame.argument(i)
	if a.kind != kindRecord {
		return 0, nil, false
	}
	return uint32(a.number), a.bytes(), true
}

// PushNil adds a result, as all Push methods do.
func (c *Call) PushNil() { c.out = append(c.out, tagNil); c.pushed++ }

func (c *Call) PushBool(v bool) { c.out = appendBool(c.out, v); c.pushed++ }

// PushInt adds a number; beyond 2^53 it is rounded.
func (c *Call) PushInt(v int64) { c.out = appendInt(c.out, v); c.pushed++ }

func (c *Call) PushFloat(v float64) { c.out = appendFloat(c.out, v); c.pushed++ }

func (c *Call) PushString(s string) { c.out = appendString(c.out, s); c.pushed++ }

func (c *Call) PushBytes(b []byte) { c.out = appendBytes(c.out, b); c.pushed++ }

// PushRecord adds a record of a defined type, as a table or as read-only userdata.
func (c *Call) PushRecord(recordType uint32, payload []byte, readOnly bool) {
	tag := byte(tagRecord)
	if readOnly {
		tag = tagReadOnly
	}
	c.out = appendU32(append(c.out, tag), recordType)
	c.out = append(appendU32(c.out, uint32(len(payload))), payload...)
	c.pushed++
}

// PushArgument adds argument i itself, so that methods can return their object.
func (c *Call) PushArgument(i int) {
	c.out = appendU32(append(c.out, tagArgument), uint32(i))
	c.pushed++
}

// Push adds any value. A value that cannot be converted makes the call fail after the function returned.
func (c *Call) Push(v Value) {
	out, err := c.vm.appendValue(c.out, v, 0)
	if err != nil && c.failed == nil {
		c.failed = err
	}
	c.out = out
	c.pushed++
}

// How a call ended, as in value.c.
const (
	goResults = iota
	goError
	goThrow
	goArgument
)

// invoke runs a Go function and leaves its encoded outcome in c.out.
func (c *Call) invoke(f Function) (status int) {
	defer func() {
		if p := recover(); p != nil {
			c.out = append(c.out[:0], fmt.Sprintf("Go function panicked: %v\n%s", p, debug.Stack())...)
			status = goError
		}
	}()
	c.out, c.pushed, c.failed = appendU32(c.out[:0], 0), 0, nil
	n, err := f(c)
	if err == nil {
		err = c.failed
	}
	if err == nil && n != c.pushed {
		err = fmt.Errorf("BUG: Go function pushed %d results and returned %d", c.pushed, n)
	}
	if err == nil {
		putU32(c.out, uint32(n))
		return goResults
	}
	var argument *ArgumentError
	var throw *Throw
	switch {
	case errors.As(err, &argument):
		c.out = append(appendU32(c.out[:0], uint32(argument.Argument)), argument.Message...)
		return goArgument
	case errors.As(err, &throw):
		out, bad := c.vm.appendValue(c.out[:0], throw.Value, 0)
		if c.out = out; bad == nil {
			return goThrow
		}
		err = bad
	}
	c.out = append(c.out[:0], err.Error()...)
	return goError
}
