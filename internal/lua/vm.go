package lua

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

//go:embed prelude/*.lua
var preludes embed.FS

// VM is one Lua state; see the package comment for who may use it when.
type VM struct {
	engine    engine
	output    func(string)
	partial   []byte // of a line of output
	functions []Function
	calls     []*Call // one per nesting of Go functions, reused
	types     map[string]ObjectType
	objects   []any // by id; freeObjects lists the unused ids
	owners    []string
	free      []uint32
	before    func(index int, recordType, source, destination uint32, payload []byte)
	request   []byte // reused while no request runs
	preload   *Ref

	mu       sync.Mutex // protects what other goroutines and finalizers touch
	released []uint32
	closed   bool
	asked    sync.Mutex // one Position at a time
	deadline atomic.Int64
	stop     chan struct{} // of the watch, nil before SetDeadline
	watched  sync.WaitGroup
}

// New opens a Lua state with all standard libraries. os.exit does not end the process: see ExitError.
func New(o Options) (*VM, error) {
	vm := &VM{types: map[string]ObjectType{}, output: o.Output}
	if err := vm.engine.open(vm, o.Memory); err != nil {
		return nil, err
	}
	if err := vm.prepare(o); err != nil {
		vm.Close()
		return nil, fmt.Errorf("cannot prepare the Lua state: %w", err)
	}
	return vm, nil
}

func (vm *VM) prepare(o Options) error {
	run := func(name string, args ...Value) ([]Value, error) {
		source, err := preludes.ReadFile("prelude/" + name + ".lua")
		if err != nil {
			return nil, err
		}
		chunk, err := vm.Load("=weir/"+name+".lua", source) // WEIR_PRELUDE
		if err != nil {
			return nil, err
		}
		return chunk.Call(args...)
	}
	paths := func(templates []string) string { return strings.Join(templates, ";") }
	results, err := run("host", Function(vm.write), paths(o.Path), paths(o.CPath))
	if err != nil {
		return err
	}
	vm.preload = results[0].(*Ref)
	if o.Compatibility {
		_, err = run("compatibility")
	}
	return err
}

// write takes the script's standard output and cuts it into lines.
func (vm *VM) write(c *Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	if vm.output == nil {
		return 0, nil
	}
	vm.partial = append(vm.partial, text...)
	for {
		line, rest, found := strings.Cut(string(vm.partial), "\n")
		if !found && len(vm.partial) < 1<<16 { // without an end a line must not grow for ever
			return 0, nil
		}
		vm.partial = append(vm.partial[:0], rest...)
		vm.output(line)
	}
}

// Close ends the state: finalizers run, objects are closed, and a last line of output without an
// end is handed out. It must not be called by a Go function of the VM.
func (vm *VM) Close() {
	vm.mu.Lock()
	if vm.closed {
		vm.mu.Unlock()
		return
	}
	vm.closed = true
	vm.mu.Unlock()
	if vm.stop != nil {
		close(vm.stop)
		vm.watched.Wait()
	}
	vm.asked.Lock()
	defer vm.asked.Unlock()
	vm.engine.close()
	if len(vm.partial) > 0 {
		vm.output(string(vm.partial))
		vm.partial = nil
	}
}

// Operations of a request, as in vm.c.
const (
	opCall = iota + 1
	opCallRef
	opLoad
	opSet
	opGet
	opCollect
	opType
	opRecord
	opRelease
	opDefined
)

// begin starts a request for an operation.
func (vm *VM) begin(op uint32) []byte {
	b := vm.request[:0]
	vm.request = nil // in use; a request from within this one gets its own
	return appendU32(b, op)
}

// release drops the references that Go has given up.
func (vm *VM) release() {
	vm.mu.Lock()
	released := vm.released
	vm.released = nil
	vm.mu.Unlock()
	if len(released) == 0 {
		return
	}
	b := appendU32(appendU32(nil, opRelease), uint32(len(released)))
	for _, id := range released {
		b = appendU32(b, id)
	}
	vm.engine.request(b) // cannot fail: it only frees
}

var errClosed = errors.New("cannot use a closed Lua state")

// run sends a request. The reply is valid until the next one.
func (vm *VM) run(b []byte) (reader, error) {
	if vm.closed {
		return reader{}, errClosed
	}
	vm.release()
	status, reply := vm.engine.request(b)
	vm.request = b
	r := reader{reply, vm}
	switch status {
	case 1:
		return reader{}, r.err()
	case 2:
		return reader{}, vm.engine.exitError()
	}
	return r, nil
}

func (vm *VM) call(b []byte, args []Value) ([]Value, error) {
	var err error
	b = appendU32(b, uint32(len(args)))
	for _, v := range args {
		if b, err = vm.appendValue(b, v, 0); err != nil {
			return nil, err
		}
	}
	r, err := vm.run(b)
	if err != nil {
		return nil, err
	}
	n := r.u32()
	results := make([]Value, n)
	for i := range results {
		results[i] = r.value()
	}
	return results, nil
}

func appendPath(b []byte, path string) []byte {
	steps := strings.Split(path, ".")
	b = appendU32(b, uint32(len(steps)))
	for _, step := range steps {
		b = appendText(b, step)
	}
	return b
}

// Call calls a global function ("write", "string.rep") and returns all its results. An error of
// the script is an *Error or *ExitError.
func (vm *VM) Call(name string, args ...Value) ([]Value, error) {
	return vm.call(appendPath(vm.begin(opCall), name), args)
}

// Load compiles a chunk. The name is "@" and a file name, or "=" and anything else.
func (vm *VM) Load(name string, source []byte) (*Ref, error) {
	b := appendText(vm.begin(opLoad), name)
	b = append(appendU32(b, uint32(len(source))), source...)
	r, err := vm.run(b)
	if err != nil {
		return nil, err
	}
	return r.value().(*Ref), nil
}

// DoString compiles and runs a chunk and returns its results.
func (vm *VM) DoString(name, source string) ([]Value, error) {
	chunk, err := vm.Load(name, []byte(source))
	if err != nil {
		return nil, err
	}
	return chunk.Call()
}

// DoFile compiles and runs a file and returns its results. A first line that starts with # is skipped.
func (vm *VM) DoFile(path string) ([]Value, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the script: %w", err)
	}
	if len(source) > 0 && source[0] == '#' {
		source = append([]byte("--"), source...)
	}
	chunk, err := vm.Load("@"+path, source)
	if err != nil {
		return nil, err
	}
	return chunk.Call()
}

// SetGlobal assigns a global variable or, with dots in the name, a member of a global table.
func (vm *VM) SetGlobal(name string, v Value) error {
	steps := strings.Split(name, ".")
	b := appendU32(vm.begin(opSet), uint32(len(steps)))
	for _, step := range steps[:len(steps)-1] {
		b = appendText(b, step)
	}
	b = appendString(b, steps[len(steps)-1])
	b, err := vm.appendValue(b, v, 0)
	if err != nil {
		return fmt.Errorf("cannot set global %q: %w", name, err)
	}
	_, err = vm.run(b)
	return err
}

// Global returns a global variable or, with dots in the name, a member of a global table.
func (vm *VM) Global(name string) (Value, error) {
	r, err := vm.run(appendPath(vm.begin(opGet), name))
	if err != nil {
		return nil, err
	}
	return r.value(), nil
}

// Defined returns where the function that a global variable holds begins, nil when it holds none that is written in Lua.
func (vm *VM) Defined(name string) *Position {
	r, err := vm.run(appendPath(vm.begin(opDefined), name))
	if err != nil {
		return nil
	}
	if file := string(r.bytes()); file != "" {
		return &Position{File: file, Line: int(r.u32()), Exact: true}
	}
	return nil
}

// Register makes a module of Go functions that scripts get by require. It comes before files on package.path.
func (vm *VM) Register(module string, functions map[string]Function) error {
	t := &Table{}
	for name, f := range functions {
		t.Set(name, f)
	}
	_, err := vm.preload.Call(module, t)
	return err
}

// Preload makes a module of Lua source that scripts get by require. It is compiled now, run
// at the first require, with its name as argument. It comes before files on package.path.
func (vm *VM) Preload(module, source string) error {
	chunk, err := vm.Load("="+module, []byte(source))
	if err != nil {
		return err
	}
	_, err = vm.preload.Call(module, chunk)
	return err
}

// DefineType makes a type of userdata backed by Go values; see Object.
func (vm *VM) DefineType(t ObjectType) error {
	if _, found := vm.types[t.Name]; found {
		return fmt.Errorf("cannot define type %q: it exists", t.Name)
	}
	b := appendText(vm.begin(opType), t.Name)
	b = appendU32(b, uint32(len(t.Methods)))
	for name, f := range t.Methods {
		b = appendU32(appendText(b, name), vm.addFunction(f))
	}
	vm.types[t.Name] = t
	_, err := vm.run(b)
	return err
}

// Collect runs a full garbage collection.
func (vm *VM) Collect() error {
	_, err := vm.run(vm.begin(opCollect))
	return err
}

// Memory returns how many bytes the Lua state holds, garbage included. Any goroutine may call it until Close.
func (vm *VM) Memory() int64 { return vm.engine.memory() }

func (vm *VM) addFunction(f Function) uint32 {
	vm.functions = append(vm.functions, f)
	return uint32(len(vm.functions) - 1)
}

func (vm *VM) addObject(o *Object) (uint32, error) {
	if _, found := vm.types[o.Type]; !found {
		return 0, fmt.Errorf("cannot make userdata: type %q is not defined", o.Type)
	}
	if n := len(vm.free); n > 0 {
		id := vm.free[n-1]
		vm.free = vm.free[:n-1]
		vm.objects[id], vm.owners[id] = o.Value, o.Type
		return id, nil
	}
	vm.objects = append(vm.objects, o.Value)
	vm.owners = append(vm.owners, o.Type)
	return uint32(len(vm.objects) - 1), nil
}

func (vm *VM) object(id uint32) any { return vm.objects[id] }

// collect is called when Lua has collected an object.
func (vm *VM) collect(id uint32) {
	defer func() { _ = recover() }() // a Close that panics must not unwind Lua
	value, closing := vm.objects[id], vm.types[vm.owners[id]].Close
	vm.objects[id], vm.owners[id] = nil, ""
	vm.free = append(vm.free, id)
	if closing != nil {
		closing(value)
	}
}

// Ref is a Lua function held by Go. It is released when Go no longer uses it.
type Ref struct {
	vm *VM
	id uint32
}

func (vm *VM) newRef(id uint32) *Ref {
	r := &Ref{vm, id}
	runtime.AddCleanup(r, func(id uint32) {
		vm.mu.Lock()
		defer vm.mu.Unlock()
		if !vm.closed {
			vm.released = append(vm.released, id)
		}
	}, id)
	return r
}

// Call calls the function and returns all its results.
func (r *Ref) Call(args ...Value) ([]Value, error) {
	results, err := r.vm.call(appendU32(r.vm.begin(opCallRef), r.id), args)
	runtime.KeepAlive(r)
	return results, err
}

// SetDeadline bounds the time of every following call into Lua, in a dispatch of every record: after
// d the call ends with an Error whose Deadline is set, within an eighth of d. 0 removes the bound.
func (vm *VM) SetDeadline(d time.Duration) {
	vm.deadline.Store(int64(d))
	vm.engine.setBudget(d)
	if vm.stop == nil {
		if d <= 0 {
			return
		}
		vm.stop = make(chan struct{})
		vm.watched.Go(vm.watch)
	}
}

// Counter is the address, in C memory, of the uint64 that numbers calls into Lua. Code of a host that makes many calls of a
// script within one, and has ffi, adds 1 before each: then the deadline begins anew.
func (vm *VM) Counter() uintptr { return vm.engine.counter() }

// watch interrupts calls that last longer than the deadline.
func (vm *VM) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var call uint64
	var since time.Time
	for {
		select {
		case <-vm.stop:
			return
		case now := <-timer.C:
			deadline := time.Duration(vm.deadline.Load())
			if deadline <= 0 {
				timer.Reset(100 * time.Millisecond)
				continue
			}
			running, current := vm.engine.running()
			if !running || current != call {
				call, since = current, now
			} else if now.Sub(since) >= deadline {
				vm.engine.interrupt(call)
			}
			timer.Reset(watchEvery(deadline))
		}
	}
}

// Interrupt ends the running call, if any, like an exceeded deadline. Any goroutine may call it.
func (vm *VM) Interrupt() {
	vm.asked.Lock()
	defer vm.asked.Unlock()
	vm.mu.Lock()
	closed := vm.closed
	vm.mu.Unlock()
	if closed {
		return
	}
	if running, call := vm.engine.running(); running {
		vm.engine.interrupt(call)
	}
}

// Interrupted reports whether the running call is to end, by its deadline or by Interrupt. It is for Go
// functions that are about to block.
func (vm *VM) Interrupted() bool { return vm.engine.interrupted() }

// Position says where the running call is, nil when nothing runs. It takes up to 10 ms, when
// hooks cannot see the running code. Any goroutine may call it.
func (vm *VM) Position() *Position {
	vm.asked.Lock()
	defer vm.asked.Unlock()
	vm.mu.Lock()
	closed := vm.closed
	vm.mu.Unlock()
	if closed {
		return nil
	}
	return vm.engine.position()
}

// DefineRecord tells how records of a type look. Dispatch and Record values need it.
func (vm *VM) DefineRecord(recordType uint32, f RecordFormat) error {
	b, err := appendFormats(appendU32(vm.begin(opRecord), recordType), &f)
	if err != nil {
		return fmt.Errorf("cannot define record %d %q: %w", recordType, f.Name, err)
	}
	_, err = vm.run(b)
	return err
}

// Dispatch hands a batch of records to the script's functions. A batch is a sequence of uvarint
// type, uvarint source, uvarint destination, uvarint length and payload. Errors of the script are in
// the result; the error returned is of the VM: out of memory, exited before, closed.
func (vm *VM) Dispatch(batch []byte, o DispatchOptions) (DispatchResult, error) {
	if vm.closed {
		return DispatchResult{}, errClosed
	}
	vm.before = o.Before
	result, status, reply := vm.engine.dispatch(batch, &o)
	switch status {
	case 1:
		return result, errors.New("cannot dispatch: not enough memory")
	case 2:
		return result, vm.engine.exitError()
	}
	if result.Stop == StopExit {
		result.Exit = vm.engine.exitError()
	}
	r := reader{reply, vm}
	for len(r.b) > 0 {
		e := RecordError{Index: int(r.u32()), Type: r.u32(), Cause: Cause(r.u32())}
		e.Err = r.err()
		result.Errors = append(result.Errors, e)
	}
	return result, nil
}
