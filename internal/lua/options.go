package lua

import "time"

// Options configure a VM.
type Options struct {
	// Path and CPath are templates ("/etc/weir/?.lua", "/etc/weir/lib/?.so") appended to
	// package.path and package.cpath, in this order.
	Path, CPath []string

	// Compatibility adds what scripts written for Lua 5.2 and 5.3 expect and LuaJIT lacks:
	// table.pack and unpack, math.type and tointeger, utf8, rawlen, bit32, and pairs and ipairs that
	// honour __pairs and __ipairs.
	Compatibility bool

	// Memory limits what the Lua state holds, garbage included, in bytes; 0 is no limit. Over it
	// allocations fail with "not enough memory".
	Memory int64

	// Output receives what scripts print or write to standard output, line by line without the
	// line end, on the goroutine that runs the VM. Without it the output is discarded.
	Output func(line string)
}

// Position is where a VM is.
type Position struct {
	File string // as the chunk was named, without "@"
	Line int    // 0 when only the file is known

	// Exact is false for a guess: code that hooks cannot see is running (compiled or in C), and
	// File and Line name the loop or function compiled last, or the function that was called.
	Exact bool
}

// Why Dispatch came back.
type Stop int

const (
	StopEnd      Stop = iota // the whole batch was used
	StopLimit                // DispatchOptions.Limit was reached
	StopDeadline             // the last record used was stopped by its deadline or by Interrupt
	StopExit                 // the script called os.exit
	StopBatch                // the bytes after Used are not a batch
)

// DispatchOptions say what Dispatch does with each record.
type DispatchOptions struct {
	// Filter and Handler are names of global functions, looked up for every record because a
	// script may replace them. Filter may be empty, and is passed over while the global is nil. It
	// is called with the upper and the lower 16 bits of the record's type and says by a boolean
	// whether Handler gets the record.
	Filter, Handler string

	// ReadOnly passes records as userdata that decode a member when it is read, instead of tables.
	ReadOnly bool

	// Limit stops the dispatch when this many records are pending (0: no limit). Records are pending
	// since the handler returned true last; Pending and Given say how many were so before.
	// Records to all of which the filter said false do not count.
	Limit, Pending, Given int

	// Messages caps how many errors are described in the result; all are counted.
	Messages int

	// Before, when set, is called for each record before the filter. The payload is valid
	// only during the call.
	Before func(index int, recordType, source, destination uint32, payload []byte)
}

// DispatchResult is what a dispatch did. Records = Undefined + Malformed + Filtered + True + False +
// NotBoolean + Failed.
type DispatchResult struct {
	Records int // used from the batch
	Used    int // bytes of the batch they took
	Stop    Stop
	Exit    *ExitError // with StopExit

	Undefined  int // no DefineRecord for their type, not shown to the script
	Malformed  int // payload does not fit the format, not shown to the script
	Filtered   int // the filter said false
	True       int // the handler returned true
	False      int // the handler returned false
	NotBoolean int // the filter or the handler returned something else
	Failed     int // the filter or the handler raised an error

	LastTrue int // index in the batch of the last record with true, -1 when none
	Pending  int // records since the last true, all kinds, continuing DispatchOptions.Pending
	Given    int // how many of the pending ones the filter did not say false to

	Errors []RecordError // the first ones, at most DispatchOptions.Messages
}

// RecordError says what went wrong with one record.
type RecordError struct {
	Index int    // in the batch
	Type  uint32 // of the record
	Cause Cause
	Err   *Error // of CauseError and CauseDeadline, otherwise only Message is set
}

// Cause of a RecordError.
type Cause int

const (
	CauseError      Cause = iota // raised
	CauseNotBoolean              // returned something else than true or false
	CauseMalformed               // the payload does not fit the record's format
	CauseDeadline                // stopped by SetDeadline or Interrupt
)

// Error is an error raised by Lua code.
type Error struct {
	Message   string // as Lua gives it, usually starting with "file:line: "
	File      string // of the code that raised it, empty when unknown
	Line      int    // in File, 0 when unknown
	Traceback string // "stack traceback:..." of the Lua stack, may be empty

	// Deadline is set when the call was stopped by SetDeadline or Interrupt.
	Deadline bool
}

func (e *Error) Error() string { return e.Message }

// ExitError says that the script called os.exit. The VM is finished: every later call returns it too.
type ExitError struct {
	Code int
	File string // where, "" when unknown
	Line int
}

func (e *ExitError) Error() string { return "the script called os.exit" }

// Throw is an error for Go functions to return: the Lua error is Value itself, of any type, instead
// of a message.
type Throw struct{ Value Value }

func (t *Throw) Error() string { return "error value raised for Lua" }

// ArgumentError is an error for Go functions to return: Lua shows "bad argument #N to 'name' (Message)".
type ArgumentError struct {
	Argument int // from 1
	Message  string
}

func (e *ArgumentError) Error() string { return e.Message }

// watchEvery is how often the deadline is looked at: a fraction of it, at least a millisecond.
func watchEvery(deadline time.Duration) time.Duration {
	return max(deadline/8, time.Millisecond)
}
