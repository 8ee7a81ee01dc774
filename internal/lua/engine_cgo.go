//go:build cgo

package lua

// The Lua API is exported, so that C modules on package.cpath find it; exports.c links all of it.

/*
#cgo CFLAGS: -O2 -Wall
#cgo LDFLAGS: -l:libluajit-5.1.a -Wl,--export-dynamic -lm -ldl
#include <stdlib.h>
#include "vm.h"
*/
import "C"

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// engine is the C half of a VM.
type engine struct {
	c     *C.weir_vm
	index int
}

// machines lists the VMs by index, for calls from C; it is copied when one is added or removed.
var (
	machines   atomic.Pointer[[]*VM]
	machinesMu sync.Mutex
)

func setMachine(index int, vm *VM) int {
	machinesMu.Lock()
	defer machinesMu.Unlock()
	var list []*VM
	if old := machines.Load(); old != nil {
		list = append(list, *old...)
	}
	for i := 0; index < 0 && i < len(list); i++ {
		if list[i] == nil {
			index = i
		}
	}
	if index < 0 {
		index = len(list)
		list = append(list, nil)
	}
	list[index] = vm
	machines.Store(&list)
	return index
}

var setupOnce = sync.OnceValue(func() bool { return C.weir_setup() == 0 })

func (e *engine) open(vm *VM, limit int64) error {
	if !setupOnce() {
		return errors.New("cannot run Lua scripts: no signal handler for interruption")
	}
	e.index = setMachine(-1, vm)
	e.c = C.weir_open(C.int(e.index), C.size_t(max(limit, 0)))
	if e.c == nil {
		setMachine(e.index, nil)
		return errors.New("cannot run Lua scripts: not enough memory for a Lua state")
	}
	return nil
}

func (e *engine) close() {
	C.weir_close(e.c)
	e.c = nil
	setMachine(e.index, nil)
}

func (e *engine) reply() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(e.c.reply.p)), int(e.c.reply.len))
}

func (e *engine) request(b []byte) (int, []byte) {
	status := C.weir_request(e.c, unsafe.Pointer(unsafe.SliceData(b)), C.size_t(len(b)))
	return int(status), e.reply()
}

func (e *engine) exitError() *ExitError {
	return &ExitError{int(e.c.exit_code), C.GoString(&e.c.exit_file[0]), int(e.c.exit_line)}
}

func (e *engine) memory() int64 {
	return int64(atomic.LoadUint64((*uint64)(unsafe.Pointer(&e.c.used))))
}

func (e *engine) counter() uintptr { return uintptr(unsafe.Pointer(&e.c.call)) }

func (e *engine) setBudget(d time.Duration) { e.c.budget = C.double(d.Seconds()) }

// running returns whether a call runs, and its number. The order matters: the number changes before and after a call.
func (e *engine) running() (bool, uint64) {
	call := atomic.LoadUint64((*uint64)(unsafe.Pointer(&e.c.call)))
	return atomic.LoadInt32((*int32)(unsafe.Pointer(&e.c.running))) > 0, call
}

// interrupted returns whether a call runs that is to end.
func (e *engine) interrupted() bool {
	running, call := e.running()
	return running && atomic.LoadUint64((*uint64)(unsafe.Pointer(&e.c.interrupt))) == call
}

func (e *engine) interrupt(call uint64) { C.weir_interrupt(e.c, C.uint64_t(call)) }

func (e *engine) position() *Position {
	if C.weir_position(e.c) == 0 {
		return nil
	}
	for range 20 {
		if C.weir_position_result(e.c, 0) != 0 {
			break
		}
		if running, _ := e.running(); !running {
			break
		}
		time.Sleep(500 * time.Microsecond)
	}
	if C.weir_position_result(e.c, 1) != 0 {
		return &Position{C.GoString(&e.c.position_file[0]), int(e.c.position_line), true}
	}
	for range 10 {
		version := atomic.LoadUint32((*uint32)(unsafe.Pointer(&e.c.guess_version)))
		p := &Position{C.GoString(&e.c.guess_file[0]), int(e.c.guess_line), false}
		if version%2 == 0 && version == atomic.LoadUint32((*uint32)(unsafe.Pointer(&e.c.guess_version))) {
			if running, _ := e.running(); !running {
				return nil
			}
			return p
		}
	}
	return nil
}

func (e *engine) dispatch(batch []byte, o *DispatchOptions) (DispatchResult, int, []byte) {
	filter, handler := C.CString(o.Filter), C.CString(o.Handler)
	defer C.free(unsafe.Pointer(filter))
	defer C.free(unsafe.Pointer(handler))
	s := C.weir_dispatch_state{
		limit: C.int64_t(o.Limit), messages: C.int64_t(o.Messages),
		pending: C.int64_t(o.Pending), given: C.int64_t(o.Given),
	}
	if o.ReadOnly {
		s.read_only = 1
	}
	if o.Before != nil {
		s.before = 1
	}
	status := C.weir_dispatch(e.c, unsafe.Pointer(unsafe.SliceData(batch)), C.size_t(len(batch)), &s, filter, handler)
	runtime.KeepAlive(batch)
	return DispatchResult{
		Records: int(s.records), Used: int(s.used), Stop: Stop(s.stop),
		Undefined: int(s.undefined), Malformed: int(s.malformed), Filtered: int(s.filtered),
		True: int(s.yes), False: int(s.no), NotBoolean: int(s.not_boolean), Failed: int(s.failed),
		LastTrue: int(s.last_true), Pending: int(s.pending), Given: int(s.given),
	}, int(status), e.reply()
}

// frame is one running Go function in C.
type frame struct{ c *C.weir_frame }

func (f frame) count() int { return int(f.c.count) }

var noArgument = argument{kind: kindNone}

func (f frame) argument(i int) *argument {
	switch {
	case i < 1 || i > int(f.c.count):
		return &noArgument
	case i > C.WEIR_ARGUMENTS:
		return f.extra(i)
	}
	return (*argument)(unsafe.Pointer(&f.c.arguments[i-1]))
}

func (f frame) extra(i int) *argument {
	a := &argument{}
	C.weir_read_extra(f.c, C.int(i), (*C.weir_argument)(unsafe.Pointer(a)))
	return a
}

// encode returns any argument in the form of wire.go, or why it cannot be converted.
func (f frame) encode(i int) ([]byte, error) {
	failed := C.weir_encode_argument(f.c, C.int(i)) != 0
	b := unsafe.Slice((*byte)(unsafe.Pointer(f.c.out.p)), int(f.c.out.len))
	if failed {
		return nil, errors.New(string(b))
	}
	return b, nil
}

// weirCall runs a Go function for Lua. depth is the number of Go functions around it.
//
//export weirCall
func weirCall(index, function, depth C.int, f *C.weir_frame) C.int {
	vm := (*machines.Load())[index]
	for int(depth) >= len(vm.calls) {
		vm.calls = append(vm.calls, &Call{vm: vm})
	}
	c := vm.calls[depth]
	c.frame = frame{f}
	status := c.invoke(vm.functions[function])
	if len(c.out) > int(f.out.cap) && C.weir_grow(f, C.size_t(2*len(c.out)+64)) == 0 {
		c.out = append(c.out[:0], "not enough memory"...)
		status = goError
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(f.out.p)), int(f.out.cap)), c.out)
	f.out.len = C.size_t(min(len(c.out), int(f.out.cap)))
	if cap(c.out) > 1<<20 {
		c.out = nil
	}
	return C.int(status)
}

// weirCollect tells that Lua has collected an object.
//
//export weirCollect
func weirCollect(index C.int, id C.uint32_t) { (*machines.Load())[index].collect(uint32(id)) }

// weirBefore is called for each record of a dispatch that asked for it.
//
//export weirBefore
func weirBefore(index, record C.int, recordType, source, destination C.uint32_t, payload unsafe.Pointer, n C.size_t) {
	vm := (*machines.Load())[index]
	vm.before(int(record), uint32(recordType), uint32(source), uint32(destination), unsafe.Slice((*byte)(payload), int(n)))
}
