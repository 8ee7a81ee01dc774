package modules

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/lua"
)

func TestTimetable(t *testing.T) {
	vm, _ := open(t, Options{})
	run(t, vm, values{"2023-11-14T22:18:20.000", int64(2023), int64(11), int64(14), int64(22), int64(18), int64(20)}, `
		local t = require("luatz.timetable").new_from_timestamp(1700000300)
		return t:rfc_3339(), t.year, t.month, t.day, t.hour, t.min, t.sec`)
	run(t, vm, values{"2023-11-14T22:18:20.250"}, `return tostring(require("luatz.timetable").new_from_timestamp("1700000300.25"))`)
	for _, second := range []string{"0", "951782400", "1709164799", "1709251200", "4102444800"} {
		run(t, vm, values{true}, `local t = require("luatz.timetable").new_from_timestamp(%s)
			return t:timestamp() == %s and t:strftime("%%d/%%m/%%Y %%X") == os.date("!%%d/%%m/%%Y %%X", %s)`, second, second, second)
	}
	raises(t, vm, "number expected, got nil", `require("luatz.timetable").new_from_timestamp(nil)`)
}

func TestXML(t *testing.T) {
	vm, _ := open(t, Options{})
	run(t, vm, values{"event_data", "a", "x & \"y\" é", "1<2", int64(2)}, `require "LuaXML"
		local e = xml.eval([[<?xml version="1.0"?><!-- c --><event_data id='1&lt;2'><a>x &amp; &quot;y&quot; &#xe9;</a> <b/></event_data>]])
		return e[0], e[1][0], e[1][1], e.id, #e`)
	run(t, vm, values{"<r k=\"&lt;v&gt;\">\n  <a>x &amp; y</a>\n  <b />\n  <c>\n    text\n    <d>&lt;raw&gt;</d>\n  </c>\n</r>\n"}, `require "LuaXML"
		return tostring(xml.eval("<r k='&lt;v&gt;'><a>x &amp; y</a><b></b><c>text<d><![CDATA[<raw>]]></d></c></r>"))`)
	for _, bad := range []string{"", "text", "<a>", "</a>", "<a></b>", "<a b></a>", "<a b='></a>", "<a/><b/>", "<a/>text", "<a", "<", "<a><![CDATA[x</a>",
		"<!-- ", "<1/>", strings.Repeat("<a>", 100000) + strings.Repeat("</a>", 100000)} {
		run(t, vm, values{nil}, `require "LuaXML" return xml.eval(%q)`, bad)
	}
	raises(t, vm, "string expected, got nil", `require "LuaXML" xml.eval(nil)`)
}

// What can be read can be written and read again, and then it does not change any more.
func FuzzXML(f *testing.F) {
	for _, text := range []string{
		"<a k='v'>text<b/> more &amp; &#65;<![CDATA[<raw>]]></a>", "<?xml version='1.0'?><!-- c --><é x=\"&lt;\"></é>", "<a><b></a>", "<a>\x00</a>",
	} {
		f.Add(text)
	}
	vm, err := lua.New(lua.Options{Compatibility: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(vm.Close)
	if _, err := Register(vm, Options{}); err != nil {
		f.Fatal(err)
	}
	if _, err := vm.DoString("=test", `require "LuaXML"
		function check(text)
			local e = xml.eval(text)
			if not e then return "malformed" end
			local once = tostring(e)
			local again = xml.eval(once)
			if not again then return "cannot be read again: " .. once end
			local twice = tostring(again)
			if tostring(xml.eval(twice)) ~= twice then return "changes: " .. once .. " then " .. twice end
			return "same"
		end`); err != nil {
		f.Fatal(err)
	}
	// The fuzzer does not see what Lua does, so its bytes are also taken for pieces of a document.
	pieces := []string{"<a>", "</a>", "<a>", "</a>", "<b/>", "<b k='v' l=\"w\">", "</b>", "text", " ", "\n", "&amp;", "&#38;", "&", ";", "#", "<![CDATA[", "]]>",
		"<!--", "-->", "<?", "?>", "<", ">", "/", "=", "'", "\"", "\x00", "é"}
	f.Fuzz(func(t *testing.T, text string) {
		var document strings.Builder
		for _, b := range []byte(text) {
			document.WriteString(pieces[int(b)%len(pieces)])
		}
		for _, text := range []string{text, document.String()} {
			got, err := vm.Call("check", text)
			if err != nil || got[0] != "malformed" && got[0] != "same" {
				t.Errorf("%q: %v %v", text, got, err)
			}
		}
	})
}

// Parts of a URL are always found without an error, and give a URL again.
func FuzzURL(f *testing.F) {
	for _, text := range []string{"https://u:p@[::1]:8080/a;b?x=1#f", "//host", "a:b", "?", "http://a@b@c:d:5/%zz"} {
		f.Add(text)
	}
	vm, err := lua.New(lua.Options{Compatibility: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(vm.Close)
	if _, err := Register(vm, Options{}); err != nil {
		f.Fatal(err)
	}
	if _, err := vm.DoString("=test", `local url = require "socket.url"
		function check(text)
			local parts = url.parse(text)
			if not parts then return text == "" end
			return type(url.build(parts)) == "string" and url.unescape(url.escape(text)) == text
		end`); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := vm.Call("check", text); err != nil || got[0] != true {
			t.Errorf("%q: %v %v", text, got, err)
		}
	})
}
