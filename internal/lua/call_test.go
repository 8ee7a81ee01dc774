package lua

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func double(c *Call) (int, error) {
	f, err := c.Float(1)
	if err != nil {
		return 0, err
	}
	c.PushFloat(f * 2)
	return 1, nil
}

func TestFunctionArguments(t *testing.T) {
	vm, _ := open(t, Options{})
	vm.SetGlobal("double", Function(double))
	vm.SetGlobal("show", Function(func(c *Call) (int, error) {
		var b strings.Builder
		for i := 1; i <= c.Len(); i++ {
			v, err := c.Value(i)
			if err != nil {
				return 0, err
			}
			if table, ok := v.(*Table); ok {
				v = fmt.Sprint(len(table.Array), len(table.Hash))
			}
			fmt.Fprintf(&b, "%s=%v;", c.Type(i), v)
		}
		fmt.Fprintf(&b, "%s", c.Type(c.Len()+1))
		c.PushString(b.String())
		return 1, nil
	}))
	f := func(source, want string) {
		t.Helper()
		if got := eval(t, vm, "return tostring("+source+")")[0]; got != want {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
	f("double(2)", "4")
	f("double(' 0x10 ')", "32")
	f("double('1e2')", "200")
	f("show()", "no value")
	f("show(1, 'a', nil, true, {1, 2, x = 3})", "number=1;string=a;nil=<nil>;boolean=true;table=2 1;no value")
	f("show(1, 2, 3, 4, 5, 6, 7, 8, 9, 'ten', {1})", "number=1;number=2;number=3;number=4;number=5;number=6;number=7;number=8;number=9;string=ten;table=1 0;no value")
	f("pcall(double, 'x')", "false")
	f("select(2, pcall(double, 'x'))", "bad argument #1 to '?' (number expected, got string)")
	f("select(2, pcall(function() local x = double({}) return x end))", "test:1: bad argument #1 to 'double' (number expected, got table)")
	f("select(2, pcall(show, setmetatable({}, {}) ))", "table=0 0;no value")
	f("select(2, pcall(function() local t = {} t.t = t local x = show(t) return x end))", "test:1: bad argument #1 to 'show' (cannot convert table: nested deeper than 100 levels, or contains itself)")
}

func TestIntegers(t *testing.T) {
	vm, _ := open(t, Options{})
	vm.SetGlobal("int", Function(func(c *Call) (int, error) {
		i, err := c.Int(1)
		if err != nil {
			return 0, err
		}
		c.PushString(fmt.Sprint(i))
		return 1, nil
	}))
	f := func(source, want string) {
		t.Helper()
		got, err := vm.DoString("=test", "return int("+source+")")
		if err != nil {
			got = []Value{err.Error()}
		}
		if !strings.HasSuffix(got[0].(string), want) {
			t.Errorf("%s: got %q, want %q", source, got[0], want)
		}
	}
	f("12", "12")
	f("'12'", "12")
	f("-2^63", "-9223372036854775808")
	f("1.5", "number has no integer representation)")
	f("2^63", "number has no integer representation)")
	f("0/0", "number has no integer representation)")
	f("nil", "number expected, got nil)")
	f("", "number expected, got no value)")
}

func TestFunctionErrors(t *testing.T) {
	vm, _ := open(t, Options{})
	functions := map[string]Function{
		"fail":  func(*Call) (int, error) { return 0, errors.New("cannot open thing") },
		"panic": func(*Call) (int, error) { panic("oh") },
		"throw": func(*Call) (int, error) { return 0, &Throw{map[string]any{"code": 7}} },
		"count": func(c *Call) (int, error) { c.PushNil(); return 2, nil },
		"bad":   func(c *Call) (int, error) { c.Push(make(chan int)); return 1, nil },
	}
	if err := vm.Register("f", functions); err != nil {
		t.Fatal(err)
	}
	f := func(source, want string) {
		t.Helper()
		if got := eval(t, vm, "local f = require 'f' "+source)[0]; !strings.Contains(fmt.Sprint(got), want) {
			t.Errorf("%s: got %v, want %q", source, got, want)
		}
	}
	f("return select(2, pcall(function() f.fail() end))", "test:1: cannot open thing")
	f("return select(2, pcall(f.panic))", "Go function panicked: oh")
	f("return select(2, pcall(f.throw)).code", "7")
	f("return select(2, pcall(f.count))", "BUG: Go function pushed 1 results and returned 2")
	f("return select(2, pcall(f.bad))", "cannot convert a Go chan int to Lua")
	f("return coroutine.wrap(function() return (select(2, pcall(f.fail))) end)()", "cannot open thing")
	f("for i = 1, 1000 do pcall(f.fail) end return 'fine'", "fine")
	if _, err := vm.DoString("=test", "require('f').fail()"); err == nil || err.Error() != "test:1: cannot open thing" {
		t.Errorf("uncaught: %v", err)
	}
}

func TestCallbacks(t *testing.T) {
	vm, _ := open(t, Options{})
	var kept *Ref
	vm.SetGlobal("keep", Function(func(c *Call) (int, error) {
		var err error
		kept, err = c.Function(1)
		return 0, err
	}))
	vm.SetGlobal("apply", Function(func(c *Call) (int, error) {
		c.PushString("before")
		f, err := c.Function(1)
		if err != nil {
			return 0, err
		}
		v, err := c.Value(2)
		if err != nil {
			return 0, err
		}
		results, err := f.Call(v)
		if err != nil {
			return 0, err
		}
		for _, r := range results {
			c.Push(r)
		}
		return 1 + len(results), nil
	}))
	got := eval(t, vm, `
		keep(function(a, b) return b, a end)
		local function down(n) if n == 0 then return "ground" end return select(2, apply(down, n - 1)) end
		local a, b, c = apply(function(x) return x, x .. "!" end, "v")
		local d = coroutine.wrap(function() return select(2, apply(function(x) return x * 2 end, 21)) end)()
		local ok, e = pcall(apply, function() error("inner") end)
		local ok2, e2 = pcall(apply, function() coroutine.yield() end)
		return a, b, c, down(50), d, ok, e, ok2`)
	want := []Value{"before", "v", "v!", "ground", int64(42), false, "test:6: inner", false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := kept.Call(1, 2); err != nil || !cmp.Equal(got, []Value{int64(2), int64(1)}) {
		t.Errorf("kept: %v, %v", got, err)
	}
	if _, err := vm.DoString("=test", "local function f(n) return (apply(f, n)) end f(1)"); err == nil || !strings.Contains(err.Error(), "too many Go functions") {
		t.Errorf("endless recursion through Go: %v", err)
	}
	eval(t, vm, "assert(apply(function() end) == 'before')")
}

func TestFunctionsInsideFinalizers(t *testing.T) {
	vm, _ := open(t, Options{})
	vm.SetGlobal("big", Function(func(c *Call) (int, error) {
		for range 200 {
			c.PushString(strings.Repeat("x", 1000))
		}
		return 200, nil
	}))
	eval(t, vm, `
		for i = 1, 3000 do
			local p = newproxy(true)
			getmetatable(p).__gc = function() local a = big() assert(a == ("x"):rep(1000)) end
			local t = {big()}
			for k = 1, 200 do assert(#t[k] == 1000) end
		end`)
}

type thing struct{ n int64 }

func TestObjects(t *testing.T) {
	var closed []int64
	vm, _ := open(t, Options{})
	err := vm.DefineType(ObjectType{
		Name: "thing",
		Methods: map[string]Function{
			"add": func(c *Call) (int, error) {
				v, err := c.Object(1, "thing")
				if err != nil {
					return 0, err
				}
				n, err := c.Int(2)
				if err != nil {
					return 0, err
				}
				v.(*thing).n += n
				c.PushArgument(1)
				return 1, nil
			},
			"__tostring": func(c *Call) (int, error) {
				v, err := c.Object(1, "thing")
				if err != nil {
					return 0, err
				}
				c.PushString(fmt.Sprint("thing ", v.(*thing).n))
				return 1, nil
			},
		},
		Close: func(v any) { closed = append(closed, v.(*thing).n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	vm.SetGlobal("new", Function(func(c *Call) (int, error) {
		n, err := c.Int(1)
		c.Push(&Object{"thing", &thing{n}})
		return 1, err
	}))
	f := func(source, want string) {
		t.Helper()
		got, err := vm.DoString("=test", source)
		if err != nil {
			got = []Value{err.Error()}
		}
		if got[0] != want {
			t.Errorf("%s: got %q, want %q", source, got[0], want)
		}
	}
	f("t = new(1) return tostring(t:add(2):add(3))", "thing 6")
	f("t = nil collectgarbage() return type(new(7))", "userdata")
	f("local x = new(1).add({}) return x", "test:1: bad argument #1 to 'add' (thing expected, got table)")
	f("local x = new(1):add('x') return x", "test:1: bad argument #1 to 'add' (number expected, got string)")
	f("getmetatable(new(3)).__gc(io.stdout) return 'fine'", "fine")
	f("local o = new(4) local gc = getmetatable(o).__gc gc(o) gc(o) local x = o:add(1) return x", "test:1: calling 'add' on bad self (thing expected, got userdata)")
	if v := eval(t, vm, "return new(5)")[0]; v.(*thing).n != 5 {
		t.Errorf("got %v", v)
	}
	if err := vm.SetGlobal("x", &Object{"nothing", 1}); err == nil {
		t.Error("an object of no type")
	}
	if err := vm.DefineType(ObjectType{Name: "thing"}); err == nil {
		t.Error("a type was defined twice")
	}
	vm.Close()
	sum := int64(0)
	for _, n := range closed {
		sum += n
	}
	if len(closed) != 7 || sum != 6+7+1+1+3+4+5 {
		t.Errorf("closed %v", closed)
	}
}
