// Package lua runs Lua scripts on LuaJIT 2.1. It knows nothing of what scripts are for: hosts
// build their contracts on it with Go functions, embedded Lua sources and record formats.
//
// # Model
//
// A VM is one Lua state. It is used by one goroutine at a time: New, Close and every method that
// runs Lua (Call, DoFile, Dispatch, ...) must not overlap, except that a Go function called by Lua
// may call back into its own VM, on its own goroutine. What other goroutines may call at any time:
// Interrupt, Position and Memory.
//
// Values cross by copy. A request from Go is one cgo call that carries its arguments and results
// encoded; a Go function called by Lua finds its first arguments ready to read in C memory. No Lua
// error crosses a Go frame: Go functions return an error, and C raises it after they returned. A
// panic in a Go function becomes a Lua error with the Go stack in its traceback.
//
// # Records
//
// DefineRecord describes a kind of record on the wire, positional or protobuf. Dispatch takes a
// batch of such records and, in one cgo call, builds the Lua table of each and calls the script's
// functions with it, collecting what they returned.
//
// # Limits
//
// SetDeadline bounds the time of one call into Lua, and Options.Memory what the Lua state holds.
// Both are soft. The deadline is a hook that LuaJIT runs between instructions of interpreted code:
// a compiled loop without an exit, a pattern that backtracks, a huge string.rep, or an xpcall handler
// that loops on the very error of the deadline does not see it,
// and memory taken through ffi.C.malloc is not counted. The hard limit is to kill the process,
// which is why scripts run in a process of their own.
//
// Without cgo the package builds and New returns an error.
package lua
