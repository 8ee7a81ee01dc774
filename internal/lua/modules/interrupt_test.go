package modules

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

// A loop over a function of a module that never ends is stopped, and the function works afterwards. When LuaJIT has
// compiled all of it, hooks do not see it: then it is stopped where it calls a function of Go. Interpreted it is
// stopped anywhere, also in the middle of the module.
func TestInterruptedLoops(t *testing.T) {
	vm, _ := open(t, Options{Call: time.Minute})
	url := server(t, echo)
	for name, row := range map[string]struct {
		setup, call string
		want        any
	}{
		"mime.b64":         {`mime = require "mime"`, `(mime.b64("abc"))`, "YWJj"},
		"LuaXML":           {`require "LuaXML"`, `tostring(xml.eval("<a k='v'><b>x</b></a>"))`, "<a k=\"v\">\n  <b>x</b>\n</a>\n"},
		"JSON":             {`JSON = require "JSON"`, `JSON:encode(JSON:decode('{"a":[1,2,{"b":null}]}'))`, `{"a":[1,2,[]]}`},
		"luatz":            {`timetable = require "luatz.timetable"`, `timetable.new_from_timestamp(1700000300):rfc_3339()`, "2023-11-14T22:18:20.000"},
		"socket.url":       {`url = require "socket.url"`, `url.build(url.parse("http://u:p@h:1/a?b#c"))`, "http://u:p@h:1/a?b#c"},
		"ltn12":            {`ltn12 = require "ltn12"`, `(function() local t = {} ltn12.pump.all(ltn12.source.string("abc"), (ltn12.sink.table(t))) return t[1] end)()`, "abc"},
		"cURL options":     {`curl = require "cURL"`, `curl.easy{ url = "x", httpheader = { "a: b" } }:setopt(curl.OPT_TIMEOUT, 5):escape("a b")`, "a%20b"},
		"cURL requests":    {`curl = require "cURL"`, `(function() local body curl.easy{ url = "` + url + `", postfields = "x", writefunction = function(s) body = s end }:perform() return body end)()`, "POST /|application/x-www-form-urlencoded||1 |:|x"},
		"socket.http":      {`http = require "socket.http"`, `(http.request("` + url + `"))`, "GET /|||0 |:|"},
		"rdkafka settings": {kafkaPrelude + "cfg = config", `(function() local c = cfg.new() c["client.id"] = "x" return c["client.id"] end)()`, "x"},
		"rawlen":           {`object = setmetatable({ 1, 2 }, { __len = function() return 9 end, __index = { there = true } })`, `rawlen(object) == 2 and object.there`, true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, vm, values{}, "gettime = require(\"socket\").gettime %s", row.setup)
			for _, loop := range []string{
				"jit.on() while true do local x, y = " + row.call + ", gettime() end",
				"jit.on() while true do pcall(function() gettime() return " + row.call + " end) end",
				"jit.off() while true do local x = " + row.call + " end",
				"jit.off() while true do pcall(function() return " + row.call + " end) end",
			} {
				for range 3 { // it stops at a different place each time
					vm.SetDeadline(30 * time.Millisecond)
					_, err := vm.DoString("=test", loop)
					vm.SetDeadline(0)
					if raised := new(lua.Error); !errors.As(err, &raised) || !raised.Deadline {
						t.Fatalf("%s: %v", loop, err)
					}
					if got, err := vm.DoString("=test", "return "+row.call); err != nil || len(got) == 0 || got[0] != row.want {
						t.Fatalf("after it %s gives %v and the error %v, want %v", row.call, got, err, row.want)
					}
				}
			}
		})
	}
}

// A function that begins to block after the interruption ends at once.
func TestInterruptBeforeBlock(t *testing.T) {
	vm, m := open(t, Options{})
	var cause error
	if err := vm.SetGlobal("late", lua.Function(func(*lua.Call) (int, error) {
		vm.Interrupt()
		m.Interrupt()
		ctx, done := m.Block(10 * time.Second)
		defer done()
		<-ctx.Done()
		cause = context.Cause(ctx)
		return 0, nil
	})); err != nil {
		t.Fatal(err)
	}
	_, err := vm.DoString("=test", "late()")
	if raised := new(lua.Error); !errors.As(err, &raised) || !raised.Deadline || cause != ErrInterrupted {
		t.Errorf("the call gave %v, the function ended by %v", err, cause)
	}
	run(t, vm, values{int64(1)}, "return 1")
}
