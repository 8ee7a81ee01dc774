package modules

import "testing"

func FuzzDecodeJSON(f *testing.F) {
	f.Add(`{"a":[1,-2.5e3,"\u00e9\n",true,null]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if v, message := DecodeJSON(text); message != "" && v != nil {
			t.Errorf("%q: both %v and %q", text, v, message)
		}
	})
}

func TestJSON(t *testing.T) {
	vm, _ := open(t, Options{})
	f := func(want any, expression string) {
		t.Helper()
		run(t, vm, values{want}, `local JSON = require "JSON" return %s`, expression)
	}
	f(`{"a":[1,2.5,"x"],"b":{"k":1}}`, `JSON:encode({ a = { 1, 2.5, "x" }, b = { k = 1 } })`)
	f(`[1,true,"q\"\\\n\u0001é"]`, `JSON.encode({ 1, true, "q\"\\\n\1é" })`)
	f(`{"1":"a","3":"b","x":null}`, `JSON:encode({ "a", [3] = "b", x = 0/0 })`)
	f("[\n  1\n]", `JSON:encode_pretty({ 1 })`)
	f("two", `JSON:decode('{"a":["one","two"]}').a[2]`)
	f("one", `JSON.decode('["one"]')[1]`)
	raises(t, vm, "parse error at line 1, column 2", `require("JSON"):decode("{")`)
	raises(t, vm, "cannot encode a function as JSON", `require("JSON"):encode({ print })`)
	raises(t, vm, "contains itself", `local a = {} a.a = a require("JSON"):encode(a)`)
}
