package modules

import (
	"strings"
	"testing"
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
