package lua

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// open returns a VM whose output lines are collected.
func open(t testing.TB, o Options) (*VM, *[]string) {
	t.Helper()
	lines := &[]string{}
	o.Output = func(line string) { *lines = append(*lines, line) }
	vm, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Close)
	return vm, lines
}

// eval runs source and returns its results.
func eval(t testing.TB, vm *VM, source string) []Value {
	t.Helper()
	results, err := vm.DoString("=test", source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return results
}

func TestValuesFromLua(t *testing.T) {
	vm, _ := open(t, Options{})
	f := func(source string, want ...Value) {
		t.Helper()
		if diff := cmp.Diff(want, eval(t, vm, "return "+source)); diff != "" {
			t.Errorf("%s: %s", source, diff)
		}
	}
	f("nil", nil)
	f("true, false", true, false)
	f("1, -1, 2^53, 1e15", int64(1), int64(-1), int64(1<<53), int64(1e15))
	f("0.5, 2^60, 1/0", 0.5, math.Pow(2, 60), math.Inf(1))
	f(`"a\0b", "\255"`, "a\x00b", "\xff")
	f("{}", &Table{})
	f("{1, 'x', {true}}", &Table{Array: []Value{int64(1), "x", &Table{Array: []Value{true}}}})
	f("{a = 1}", &Table{Hash: []Pair{{"a", int64(1)}}})
	f("{[0] = 1, 2}", &Table{Array: []Value{int64(2)}, Hash: []Pair{{int64(0), int64(1)}}})
	f("coroutine.create(print)", Opaque("thread"))
	f("'12' + 0, tostring(12), 1 .. ''", int64(12), "12", "1")
}

func TestValuesToLua(t *testing.T) {
	vm, _ := open(t, Options{})
	f := func(v Value, want string) {
		t.Helper()
		if err := vm.SetGlobal("v", v); err != nil {
			t.Fatal(err)
		}
		if got := eval(t, vm, "return type(v) .. ' ' .. tostring(type(v) == 'table' and table.concat(v, ',') .. (v.k or '') or v)")[0]; got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
	f(nil, "nil nil")
	f(true, "boolean true")
	f(12, "number 12")
	f(int64(-1), "number -1")
	f(uint64(math.MaxUint64), "number -1")
	f(uint64(1<<63), "number -9.2233720368548e+18")
	f(0.1+0.2, "number 0.3")
	f(3.1415926535897931, "number 3.1415926535898")
	f(1e15, "number 1e+15")
	f("a\x00b", "string a\x00b")
	f([]byte("x"), "string x")
	f([]string{"a", "b"}, "table a,b")
	f([]any{1, "b"}, "table 1,b")
	f(map[string]any{"k": "v"}, "table v")
	f(&Table{Array: []Value{1, 2}, Hash: []Pair{{"k", 3}}}, "table 1,23")

	cyclic := &Table{}
	cyclic.Set("self", cyclic)
	if err := vm.SetGlobal("v", cyclic); err == nil || !strings.Contains(err.Error(), "contains itself") {
		t.Errorf("cyclic table: %v", err)
	}
	if err := vm.SetGlobal("v", make(chan int)); err == nil || !strings.Contains(err.Error(), "chan int") {
		t.Errorf("channel: %v", err)
	}
}

func TestTableLimits(t *testing.T) {
	vm, _ := open(t, Options{})
	for _, source := range []string{
		"local t = {} t.t = t return t",
		"local t = {} for i = 1, 200 do t = {t} end return t",
	} {
		if _, err := vm.DoString("=test", source); err == nil || !strings.Contains(err.Error(), "cannot convert table") {
			t.Errorf("%s: %v", source, err)
		}
	}
	// 2^40 leaves: bounded by size, not by time.
	if testing.Short() {
		return
	}
	if _, err := vm.DoString("=test", "local t = {} for i = 1, 40 do t = {t, t} end return t"); err == nil || !strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("wide table: %v", err)
	}
}

func TestFormatNumber(t *testing.T) {
	vm, _ := open(t, Options{})
	for _, v := range []float64{0, 1, -1, 0.1 + 0.2, 1e14, 1e15, 123456789012345678, 1e-5, 0.0001, 1e100, 100000, math.Inf(1), math.Inf(-1), math.NaN(), math.Copysign(0, -1)} {
		vm.SetGlobal("v", v)
		if want := eval(t, vm, "return tostring(v)")[0]; FormatNumber(v) != want {
			t.Errorf("FormatNumber(%g) = %q, Lua says %q", v, FormatNumber(v), want)
		}
	}
}

func TestErrors(t *testing.T) {
	vm, _ := open(t, Options{})
	dir := t.TempDir()
	f := func(source, message string, line int, traceback string) {
		t.Helper()
		path := filepath.Join(dir, "script.lua")
		if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := vm.DoFile(path)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", source, err)
		}
		if !strings.Contains(e.Message, message) || (line >= 0 && e.Line != line) || (line > 0 && e.File != path) || !strings.Contains(e.Traceback, traceback) {
			t.Errorf("%s: %+v", source, e)
		}
	}
	f("\nlocal x = nil + 1", "script.lua:2: attempt to perform arithmetic on a nil value", 2, "in main chunk")
	f("local function f()\n error('no') end\nf()", "script.lua:2: no", 2, "in function 'f'")
	f("x = = 1", "unexpected symbol near '='", 1, "")
	f("error({message = 'from a table'})", "from a table", 1, "")
	f("error({})", "(error object is a table value)", 1, "")
	f("error()", "(error object is a nil value)", 1, "")
	f("error(setmetatable({}, {__tostring = function() return 'told' end}))", "told", 1, "")
	f("error(setmetatable({}, {__tostring = function() error('worse') end}))", "worse", 1, "")
	f("local function r() return 1 + r() end r()", "stack overflow", -1, "") // the handler may find no room to look
	f("#! /bin/lua\nerror('hash')", "hash", 2, "")

	if _, err := vm.DoFile(filepath.Join(dir, "none.lua")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := vm.Call("nothing"); err == nil || !strings.Contains(err.Error(), "attempt to call a nil value") {
		t.Errorf("missing function: %v", err)
	}
	if got := eval(t, vm, "return 1"); got[0] != int64(1) {
		t.Error("the state is not usable after errors")
	}
}

func TestGlobals(t *testing.T) {
	vm, _ := open(t, Options{})
	if err := vm.SetGlobal("package.loaded.x", 5); err != nil {
		t.Fatal(err)
	}
	if v, err := vm.Global("package.loaded.x"); err != nil || v != int64(5) {
		t.Errorf("got %v, %v", v, err)
	}
	if _, err := vm.Global("a.b"); err == nil {
		t.Error("no error for a member of nil")
	}
	eval(t, vm, "\nfunction f()\nend\nx = 1")
	if p := vm.Defined("f"); p == nil || *p != (Position{File: "test", Line: 2, Exact: true}) {
		t.Errorf("f is defined at %v", p)
	}
	for _, name := range []string{"x", "y", "y.z", "string.rep"} {
		if p := vm.Defined(name); p != nil {
			t.Errorf("%s is defined at %v", name, *p)
		}
	}
	got, err := vm.Call("string.rep", "ab", 3)
	if diff := cmp.Diff([]Value{"ababab"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestOutput(t *testing.T) {
	vm, lines := open(t, Options{})
	name := filepath.Join(t.TempDir(), "f")
	vm.SetGlobal("name", name)
	eval(t, vm, `
		print("a", 1, nil, true)
		print(setmetatable({}, {__tostring = function() return "obj" end}))
		io.write("x", 2); io.write("\ny\n")
		io.stdout:write("z"):write("\n")
		local f = io.open(name, "w"); f:write("in ", "file"); f:close()
		io.output(name); io.write("default"); io.close()
		io.output(io.stdout)
		io.write("tail")`)
	vm.Close()
	want := []string{"a\t1\tnil\ttrue", "obj", "x2", "y", "z", "tail"}
	if diff := cmp.Diff(want, *lines); diff != "" {
		t.Error(diff)
	}
	if b, _ := os.ReadFile(name); string(b) != "default" {
		t.Errorf("file has %q", b)
	}
}

func TestExit(t *testing.T) {
	for source, code := range map[string]int{
		"os.exit(3)":                                        3,
		"os.exit(true)":                                     0,
		"os.exit(false)":                                    1,
		"pcall(os.exit, 4) while true do end":               4,
		"while true do pcall(os.exit, 5) end":               5,
		"coroutine.wrap(function() os.exit() end)()":        0,
		"xpcall(os.exit, function() while true do end end)": 0,
	} {
		vm, _ := open(t, Options{})
		_, err := vm.DoString("=test", "\n"+source)
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != code || exit.File != "test" || exit.Line != 2 {
			t.Errorf("%s: %v", source, err)
		}
		if _, err := vm.Call("print"); !errors.As(err, &exit) {
			t.Errorf("%s: the state runs on: %v", source, err)
		}
		if _, err := vm.Dispatch(nil, DispatchOptions{}); !errors.As(err, &exit) {
			t.Errorf("%s: the state dispatches: %v", source, err)
		}
	}
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "beside.lua"), []byte("return {name = ...}"), 0o600); err != nil {
		t.Fatal(err)
	}
	vm, _ := open(t, Options{Path: []string{dir + "/?.lua"}})
	if err := vm.Preload("weir.text", "local name = ... return {shout = function(s) return s:upper() .. name end}"); err != nil {
		t.Fatal(err)
	}
	if err := vm.Register("weir.go", map[string]Function{"double": double}); err != nil {
		t.Fatal(err)
	}
	f := func(source string, want Value) {
		t.Helper()
		if got := eval(t, vm, "return "+source)[0]; got != want {
			t.Errorf("%s: got %v, want %v", source, got, want)
		}
	}
	f("require('weir.text').shout('a')", "Aweir.text")
	f("require('weir.go').double(4)", int64(8))
	f("require('beside').name", "beside")
	f("require('weir.go') == require('weir.go')", true)
	if _, err := vm.DoString("=test", "require 'no.such'"); err == nil || !strings.Contains(err.Error(), "module 'no.such' not found") {
		t.Errorf("missing module: %v", err)
	}
	if err := vm.Preload("bad", "x ="); err == nil || !strings.Contains(err.Error(), "bad:1:") {
		t.Errorf("bad module: %v", err)
	}
}

// A module in C finds the Lua API in the program.
func TestCModule(t *testing.T) {
	dir := t.TempDir()
	source := `#include <luajit-2.1/lua.h>
#include <luajit-2.1/lauxlib.h>
static int add(lua_State *L) { lua_pushnumber(L, luaL_checknumber(L, 1) + luaL_checknumber(L, 2)); return 1; }
int luaopen_adder(lua_State *L) { lua_newtable(L); lua_pushcfunction(L, add); lua_setfield(L, -2, "add"); return 1; }`
	if err := os.WriteFile(filepath.Join(dir, "adder.c"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", filepath.Join(dir, "adder.so"), filepath.Join(dir, "adder.c")).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	vm, _ := open(t, Options{CPath: []string{dir + "/?.so"}})
	if got := eval(t, vm, "return require('adder').add(2, 3)")[0]; got != int64(5) {
		t.Errorf("got %v", got)
	}
}

func TestClosed(t *testing.T) {
	vm, _ := open(t, Options{})
	vm.Close()
	vm.Close()
	if _, err := vm.Call("print"); err == nil {
		t.Error("a closed state answers")
	}
	if vm.Position() != nil {
		t.Error("a closed state has a position")
	}
	vm.Interrupt()
}

func TestReferencesAreReleased(t *testing.T) {
	vm, _ := open(t, Options{})
	f, err := vm.Load("=f", []byte("return ..."))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Call(1, nil, "x"); err != nil || !cmp.Equal(got, []Value{int64(1), nil, "x"}) {
		t.Errorf("got %v, %v", got, err)
	}
	vm.mu.Lock()
	vm.released = append(vm.released, f.id)
	vm.mu.Unlock()
	if _, err := vm.Call("print"); err != nil {
		t.Fatal(err)
	}
	again, err := vm.Load("=g", []byte("return 1"))
	if err != nil || again.id != f.id {
		t.Errorf("reference %d was not reused: %d, %v", f.id, again.id, err)
	}
	f.id = again.id
}
