//go:build cgo

package lua_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/script"
)

// A script that crashes its process says where, and the signal stays what it was.
func TestCrash(t *testing.T) {
	if source := os.Getenv("WEIR_LUA_TEST_CRASH"); source != "" {
		vm, err := lua.New(lua.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = vm.DoString("@crash.lua", source)
		t.Fatalf("the script did not crash: %v", err)
	}
	f := func(source, place string, signal syscall.Signal) {
		t.Helper()
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), "WEIR_LUA_TEST_CRASH="+source)
		out, err := cmd.CombinedOutput()
		state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if err == nil || !ok || !state.Signaled() || state.Signal() != signal {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
		if !strings.Contains(string(out), script.PositionMark+place+"\n") {
			t.Errorf("%s: want %s in\n%s", source, place, out)
		}
	}
	f("local ffi = require 'ffi'\nlocal p = ffi.cast('int *', 8)\nprint(p[0])", "crash.lua:3", syscall.SIGSEGV)
	f("local ffi = require 'ffi'\nffi.cdef 'size_t strlen(const char *);'\nlocal function g()\n  return 1 + tonumber(ffi.C.strlen(ffi.cast('char *', 8)))\nend\nprint(g())", "crash.lua:4", syscall.SIGSEGV)
	f("local ffi = require 'ffi'\nlocal p = ffi.cast('int *', 8)\nlocal q = ffi.new('int[1000]')\nlocal n = 0\nfor i = 1, 1000 do\n  local from = i < 900 and q or p\n  n = n + from[0]\nend", "crash.lua:7", syscall.SIGSEGV) // compiled
	f("local ffi = require 'ffi'\nffi.cdef 'void abort(void);'\nlocal function g()\n  ffi.C.abort()\nend\ng()", "crash.lua:4", syscall.SIGABRT)
}
