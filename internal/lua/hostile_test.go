package lua

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Scripts that a deadline ends wherever they are, though they try not to let it.
func TestDeadline(t *testing.T) {
	f := func(source string) {
		t.Helper()
		vm, _ := open(t, Options{})
		vm.SetGlobal("pause", Function(func(*Call) (int, error) { time.Sleep(time.Millisecond); return 0, nil }))
		vm.SetDeadline(20 * time.Millisecond)
		_, err := vm.DoString("@slow.lua", source)
		var e *Error
		if !errors.As(err, &e) || !e.Deadline || !strings.Contains(e.Message, "time budget of 0.02 s exceeded") || e.File != "slow.lua" || e.Line == 0 || !strings.Contains(e.Traceback, "slow.lua:") {
			t.Errorf("%s: %#v", source, err)
		}
		if got := eval(t, vm, "return 1")[0]; got != int64(1) {
			t.Errorf("%s: the state is not usable", source)
		}
	}
	// With the JIT on, a loop is only certain to be interpreted around calls that are not compiled.
	f("while true do pause() end")
	f("while true do pcall(pause) end")
	f("jit.off() while true do end")
	f("jit.off() while true do pcall(function() while true do end end) end")
	f("jit.off() coroutine.wrap(function() while true do end end)() while true do end")
	f("jit.off() while true do pcall(error, setmetatable({}, {__tostring = function() while true do end end})) end")
	f("jit.off() local function r() return r() end r()")
	f("local t = setmetatable({}, {__index = function(t, k) pause() return t[k + 1] end}) while true do pcall(function() return t[1] end) end")
	f("local s = '' while true do s = ('x'):rep(10000) .. tostring(load('return 1')) end")
}

func TestDeadlineOfDispatch(t *testing.T) {
	vm := records(t, Options{})
	eval(t, vm, "jit.off() function write(d) while d.host == 2 do end return true end")
	var batch []byte
	for i := range 3 {
		batch = appendRecord(batch, plain, plainPayload(0, uint32(i+1), 0, "0", "", ""))
	}
	vm.SetDeadline(20 * time.Millisecond)
	r, err := vm.Dispatch(batch, DispatchOptions{Handler: "write", Messages: 3})
	if err != nil || r.Stop != StopDeadline || r.Records != 2 || r.Failed != 1 || r.Used != len(batch)/3*2 {
		t.Fatalf("%+v, %v", r, err)
	}
	if e := r.Errors[0]; e.Cause != CauseDeadline || e.Index != 1 || e.Err.Line != 1 {
		t.Errorf("%+v", e)
	}
	if r, err = vm.Dispatch(batch[r.Used:], DispatchOptions{Handler: "write"}); err != nil || r.True != 1 {
		t.Errorf("the rest: %+v, %v", r, err)
	}
}

// A budget is for one record, not for the batch.
func TestDeadlineStartsAnewForEachRecord(t *testing.T) {
	vm := records(t, Options{})
	vm.SetGlobal("pause", Function(func(*Call) (int, error) { time.Sleep(2 * time.Millisecond); return 0, nil }))
	eval(t, vm, "function write(d) pause() return true end")
	var batch []byte
	for range 100 {
		batch = appendRecord(batch, plain, plainPayload(0, 1, 0, "0", "", ""))
	}
	vm.SetDeadline(100 * time.Millisecond)
	if r, err := vm.Dispatch(batch, DispatchOptions{Handler: "write"}); err != nil || r.True != 100 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestInterrupt(t *testing.T) {
	vm, _ := open(t, Options{})
	vm.Interrupt() // nothing runs
	started := make(chan struct{})
	vm.SetGlobal("started", Function(func(*Call) (int, error) { close(started); return 0, nil }))
	go func() {
		<-started
		vm.Interrupt()
	}()
	_, err := vm.DoString("=test", "jit.off() started() while true do end")
	var e *Error
	if !errors.As(err, &e) || !e.Deadline || !strings.Contains(e.Message, "interrupted") {
		t.Errorf("%v", err)
	}
}

func TestPosition(t *testing.T) {
	vm, _ := open(t, Options{})
	if p := vm.Position(); p != nil {
		t.Errorf("idle: %+v", p)
	}
	f := func(source string, want Position) {
		t.Helper()
		inside, leave := make(chan struct{}, 1), make(chan struct{})
		vm.SetGlobal("inside", Function(func(*Call) (int, error) { inside <- struct{}{}; <-leave; return 0, nil }))
		running := make(chan struct{}, 1)
		vm.SetGlobal("running", Function(func(*Call) (int, error) { running <- struct{}{}; return 0, nil }))
		done := make(chan error)
		go func() { _, err := vm.DoString("@where.lua", source); done <- err }()
		select {
		case <-inside:
			defer func() { <-done }()
			defer close(leave)
		case <-running:
			defer func() { vm.Interrupt(); <-done }()
		}
		var p *Position
		for p = vm.Position(); p != nil && *p != want; p = vm.Position() {
			runtime.Gosched() // the function has told us, but may not have returned
			if p.Line != want.Line && p.Line != 1 && p.Line != 2 {
				break
			}
		}
		if p == nil || *p != want {
			t.Errorf("%s: %+v, want %+v", source, p, want)
		}
	}
	f("\nlocal x\n inside()", Position{"where.lua", 3, true})
	f("\ncoroutine.wrap(function()\n inside()\n end)()", Position{"where.lua", 3, true})
	f("jit.off()\nrunning()\nwhile true do end", Position{"where.lua", 3, true})
}

// Compiled code does not see hooks: the position is where compilation began.
func TestPositionGuess(t *testing.T) {
	vm, _ := open(t, Options{})
	stop := make(chan struct{})
	vm.SetGlobal("running", Function(func(*Call) (int, error) { close(stop); return 0, nil }))
	done := make(chan struct{})
	go func() {
		defer close(done)
		vm.DoString("@hot.lua", "local x = 0\nrunning()\nfor i = 1, 3e8 do\n x = x + i % 3\nend")
	}()
	<-stop
	time.Sleep(50 * time.Millisecond)
	p := vm.Position()
	<-done
	if p == nil || p.Exact || p.File != "hot.lua" || p.Line < 3 || p.Line > 4 {
		t.Errorf("%+v", p)
	}
}

func TestMemoryLimit(t *testing.T) {
	f := func(source string) {
		t.Helper()
		vm, _ := open(t, Options{Memory: 32 << 20})
		_, err := vm.DoString("@big.lua", source)
		if err == nil || !strings.Contains(err.Error(), "not enough memory") {
			t.Errorf("%s: %v", source, err)
		}
		if err := vm.Collect(); err != nil {
			t.Error(err)
		}
		if vm.Memory() > 8<<20 {
			t.Errorf("%s: %d bytes after a collection", source, vm.Memory())
		}
		if got := eval(t, vm, "return #('x'):rep(1e6)")[0]; got != int64(1e6) {
			t.Errorf("%s: the state is not usable: %v", source, got)
		}
	}
	f("return ('x'):rep(1e9)")
	f("local t = {} while true do t[#t + 1] = {} end")
	f("local s = 'x' while true do s = s .. s end")
	f("local t = {} while true do pcall(function() while true do t[#t + 1] = ('y'):rep(#t) end end) local a = {} for i = 1, 1e6 do a[i] = {} end end")

	vm, _ := open(t, Options{Memory: 32 << 20})
	big := strings.Repeat("x", 20<<20)
	for range 10 { // garbage of 20 MiB each makes room for the next
		if err := vm.SetGlobal("s", big); err != nil {
			t.Fatal(err)
		}
		vm.SetGlobal("s", nil)
	}
	vm.SetGlobal("s", big)
	if err := vm.SetGlobal("r", big+"y"); err == nil {
		t.Error("40 MiB within 32")
	}
	vm.SetGlobal("give", Function(func(c *Call) (int, error) { c.PushString(big + c.Type(1)); return 1, nil }))
	if _, err := vm.DoString("=test", "for i = 1, 100 do assert(not pcall(give, i)) end give(1)"); err == nil || !strings.Contains(err.Error(), "not enough memory") {
		t.Errorf("results over the limit: %v", err)
	}
}

// TestLongError: an error of any size is cut where it is made.
func TestLongError(t *testing.T) {
	vm, _ := open(t, Options{})
	_, err := vm.DoString("@long.lua", "error(('long '):rep(2e6))")
	raised := new(Error)
	if !errors.As(err, &raised) || len(raised.Message) != 64<<10 || !strings.HasPrefix(raised.Message, "long.lua:1: long long") {
		t.Errorf("%.100v", err)
	}
}

func TestMemoryLimitOfDispatch(t *testing.T) {
	vm := records(t, Options{Memory: 16 << 20})
	eval(t, vm, "kept = {} function write(d) kept[#kept + 1] = d return true end")
	var batch []byte
	for range 500 {
		batch = appendRecord(batch, plain, plainPayload(0, 1, 0, "0", "", ""))
	}
	for range 200 {
		r, err := vm.Dispatch(batch, DispatchOptions{Handler: "write", Messages: 1})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed == 0 {
			continue
		}
		if e := r.Errors[0].Err; !strings.Contains(e.Message, "not enough memory") {
			t.Errorf("%+v", e)
		}
		return
	}
	t.Error("100000 kept records within 16 MiB")
}

// Errors where Lua has nobody to tell them to.
func TestErrorsInFinalizers(t *testing.T) {
	vm, _ := open(t, Options{})
	for _, source := range []string{
		"local p = newproxy(true) getmetatable(p).__gc = function() error('in finalizer') end p = nil collectgarbage() collectgarbage()",
		"for i = 1, 1e5 do local p = newproxy(true) getmetatable(p).__gc = function() error({}) end end",
		"local p = newproxy(true) getmetatable(p).__gc = function() os.exit(1) end",
	} {
		vm.DoString("=test", source) // an error or not: LuaJIT may raise it anywhere
	}
	vm.Close() // runs the last one
}

func TestDeepRecursion(t *testing.T) {
	vm, _ := open(t, Options{})
	for _, source := range []string{
		"local function f() return 1 + f() end f()",
		"local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] .. 'x' end local v = t.x",
		"local function f() local ok, e = pcall(f) error(e) end f()",
		"local s = ('('):rep(1e5) assert(load('return ' .. s))",
		"local function f() return coroutine.wrap(f)() end f()",
		"string.gsub('x', '.', function() return string.gsub(('('):rep(200) .. 'x', ('('):rep(200), '') end)",
		"setmetatable(_G, {__index = function(t, k) return _G[k] end}) return undefined",
	} {
		if _, err := vm.DoString("=test", source); err == nil {
			t.Errorf("%s: no error", source)
		}
	}
	vm.DoString("=test", "setmetatable(_G, nil)")
	if got := eval(t, vm, "return 1")[0]; got != int64(1) {
		t.Error("the state is not usable")
	}
}

// A host's prelude that makes many calls of a script within one call into Lua numbers them itself.
func TestDeadlineStartsAnewForEachStepOfAPrelude(t *testing.T) {
	vm, _ := open(t, Options{})
	loop := func(source string) error {
		t.Helper()
		if _, err := vm.DoString("@slow.lua", source); err != nil {
			t.Fatal(err)
		}
		chunk, err := vm.Load("=weir/loop.lua", []byte(`
			local counter = require("ffi").cast("uint64_t *", (...))
			for i = 1, 10 do
				counter[0] = counter[0] + 1
				if not xpcall(step, function(e) return e end, i) then return i end
			end`))
		if err != nil {
			t.Fatal(err)
		}
		vm.SetDeadline(100 * time.Millisecond)
		defer vm.SetDeadline(0)
		_, err = chunk.Call(int64(vm.Counter()))
		return err
	}
	const wait = "function step(i) local t = os.clock() repeat local f = function() end until os.clock() - t > " // interpreted
	if err := loop(wait + "0.03 end"); err != nil {
		t.Errorf("ten steps of 30 ms: %v", err)
	}
	began := time.Now()
	err := loop(wait + "\n(i == 2 and 100 or 0) end")
	if took := time.Since(began); took > 50*time.Second {
		t.Errorf("it was stopped after %v", took)
	}
	var e *Error
	if !errors.As(err, &e) || !e.Deadline || e.File != "slow.lua" || e.Line == 0 {
		t.Errorf("a step of 10 s: %#v", err)
	}
	if err := loop("function step() end"); err != nil { // the next call is not stopped
		t.Error(err)
	}
}
