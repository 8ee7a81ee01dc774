package connector

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each row is a part of specification 8.1: an expression that scripts rely on, and what it gives in a pipeline.
func TestLanguageRows(t *testing.T) {
	t.Setenv("TZ", "UTC")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("file.txt", "first\nsecond\n")
	custom := write("custom.lua", "local self = ... self.custom = true return self, true")
	at := time.Date(2023, 11, 14, 22, 18, 20, 0, time.UTC) // 1700000300
	for _, row := range []struct {
		area, source string
		want         any
	}{
		{"closures", `(function() local n = 0 local f = function() n = n + 1 return n end f() return f() end)()`, int64(2)},
		{"varargs in files of custom code", fmt.Sprintf(`(function() local o = {} local f = loadfile(%q) local same, ok = f(o) return ok and same == o and o.custom end)()`, custom), true},
		{"long strings", "[==[\na]]b]==]", "a]]b"},
		{"methods", `(function() local o = { n = 1 } function o:get() return self.n end return o:get() end)()`, int64(1)},
		{"tostring", `tostring(42) .. tostring(1.5) .. tostring(nil) .. tostring(true)`, "421.5niltrue"},
		{"number printing %.14g", `tostring(0.1) .. " " .. tostring(1/3) .. " " .. 2^53`, "0.1 0.33333333333333 9.007199254741e+15"},
		{"exact integers up to 2^53", `string.format("%d", 2^53) .. " " .. string.format("%d", 3.0)`, "9007199254740992 3"},
		{"pairs, next", `(function() local n = 0 for k, v in pairs({ 1, 2, x = 3 }) do n = n + v end return next({}) == nil and n end)()`, int64(6)},
		{"ipairs", `(function() local n = 0 for i, v in ipairs({ 1, 2, nil, 4 }) do n = n + v end return n end)()`, int64(3)},
		{"setmetatable with __index and __newindex, rawset", `(function() local o = setmetatable({}, { __index = function(_, k) return k .. "!" end, __newindex = function(t, k, v) rawset(t, k, v * 2) end }) o.x = 4 return o.x .. o.y end)()`, "8y!"},
		{"type, tonumber", `type(tonumber("0x10")) .. tonumber("12") .. tostring(tonumber("x"))`, "number12nil"},
		{"assert, error, pcall", `select(2, pcall(function() assert(false, "why") end)):match("why$") .. select(2, pcall(error, "e", 0))`, "whye"},
		{"loadfile of what is missing", `(loadfile("/no/such/file.lua"))`, nil},
		{"string.match, find, sub, len", `("host-1"):match("%d") .. string.find("a.b", ".", 1, true) .. ("abc"):sub(-2) .. string.len("äb")`, "12bc3"},
		{"string.gsub with string, table and function", `("a b"):gsub("%w", "%0%0") .. ("$x"):gsub("%$(%w)", { x = "1" }) .. ("ab"):gsub(".", function(c) return c:upper() end)`, "aa bb1AB"},
		{"string.gmatch", `(function() local s = "" for k, v in ("a=1,b=2"):gmatch("(%w)=(%w)") do s = s .. v .. k end return s end)()`, "1a2b"},
		{"table.insert, remove, concat, sort", `(function() local t = { 3, 1 } table.insert(t, 2) table.insert(t, 1, 9) table.remove(t, 1) table.sort(t, function(a, b) return a < b end) return table.concat(t, ",") end)()`, "1,2,3"},
		{"math.abs", `math.abs(-2)`, int64(2)},
		{"os.time", `os.time({ year = 2023, month = 11, day = 14, hour = 22, min = 18, sec = 20 })`, at.Unix()},
		{"os.time now", `os.time() >= 1700000300`, true},
		{"os.difftime", `os.difftime(10, 4)`, int64(6)},
		{"os.execute", `(function() local ok = os.execute("sleep 0") return ok == 0 or ok == true end)()`, true},
		{"os.date !*t", `(function() local d = os.date("!*t", 1700000300) return d.year .. d.month .. d.day .. d.hour .. d.min .. d.sec end)()`, "20231114221820"},
		{"os.date *t", `os.date("*t", 1700000300).hour`, int64(22)},
		{"os.date %Y-%m-%d %H:%M:%S", `os.date("%Y-%m-%d %H:%M:%S", 1700000300)`, "2023-11-14 22:18:20"},
		{"os.date !%Y", `os.date("!%Y-%m-%dT%H:%M:%SZ", 1700000300)`, "2023-11-14T22:18:20Z"},
		{"os.date %X", `os.date("%Y-%m-%d %X", 1700000300)`, "2023-11-14 22:18:20"},
		{"os.date in the C locale", `os.date("%a %b %d %H:%M:%S %Y", 1700000300)`, "Tue Nov 14 22:18:20 2023"},
		{"io.open, read *a, close", fmt.Sprintf(`(function() local f = io.open(%q, "r") local s = f:read("*a") f:close() return s end)()`, file), "first\nsecond\n"},
		{"io.open of what is missing", `select(2, io.open("/no/such/file", "r"))`, "/no/such/file: No such file or directory"},
		{"io.open a, write", fmt.Sprintf(`(function() local f = io.open(%q, "a") f:write("third", 3) f:close() return io.open(%[1]q):read("*a") end)()`, write("append.txt", "1")), "1third3"},
		{"io.output(file), io.write, io.close", fmt.Sprintf(`(function() local f = io.open(%q, "w") local before = io.output() io.output(f) io.write("x", 1) io.close(f) io.output(before) return io.open(%[1]q):read("*a") end)()`, filepath.Join(dir, "out.txt")), "x1"},
		{"require with an extended package.path", fmt.Sprintf(`(function() package.path = package.path .. ";%s/?.lua" package.loaded.own = nil return require("own.module").name end)()`, moduleFolder(t)), "own.module"},
		{"package.preload comes before files", `(function() package.preload["cjson.fake"] = function(n) return n end return require("cjson.fake") end)()`, "cjson.fake"},
		{"a native module comes before a file beside the script", `type(require("ltn12").sink.table)`, "function"},
		{"300 constants, 200 locals, 60 upvalues", manyNames(), int64(200)},
		{"strings of several MiB by concatenation", `(function() local s = "" local piece = ("x"):rep(65536) for i = 1, 64 do s = s .. piece end return #s end)()`, int64(4 << 20)},
		{"the rest of the library: select, unpack, xpcall, coroutines", `(function() local co = coroutine.wrap(function(a) local b = coroutine.yield(a) return a + b end) co(1) return select("#", unpack({ 1, 2 })) + co(3) + (select(2, xpcall(function() return 1 end, print))) end)()`, int64(7)},
		{"the rest of the library: string", `string.format("%5.2f|%-3s|%q|%x|%s", 1.005, "a", "b\n", 255, "z") .. ("x"):rep(3) .. ("a"):byte() .. string.char(98) .. ("f(a(b)c)d"):match("%b()")`, " 1.00|a  |\"b\\\n\"|ff|zxxx97b(a(b)c)"},
		{"the rest of the library: io, os", fmt.Sprintf(`(function() local n = 0 for line in io.lines(%q) do n = n + #line end return n .. type(os.getenv("TZ")) .. type(os.tmpname) .. type(os.rename) .. type(io.popen) end)()`, file), "11stringfunctionfunctionfunction"},
	} {
		t.Run(row.area, func(t *testing.T) {
			s, _ := load(t, nothing, func(setup *Setup) {
				if err := os.WriteFile(filepath.Join(filepath.Dir(setup.Script), "ltn12.lua"), []byte("return {}"), 0o644); err != nil {
					t.Fatal(err)
				}
			})
			equal(t, s)(row.source, row.want)
		})
	}
}

// Each construct of 8.1 that only newer languages have is a syntax error that names its line.
func TestLanguageNotThere(t *testing.T) {
	for _, source := range []string{"local x = 7 // 2", "local x = 1 & 2", "local x <const> = 1"} {
		r := new(recorder)
		s, err := Load(Setup{Script: write(t, "\n"+source+"\n"+nothing), BBDO: "3.0.1"}, r)
		if err == nil || !strings.Contains(err.Error(), ":2:") {
			t.Errorf("%s: %v", source, err)
		}
		s.Close()
	}
}

// print and io.write without a file go to the log of the pipeline.
func TestLanguageOutput(t *testing.T) {
	_, r := load(t, `print("a", 1, nil)
io.write("b", 2, "\n")
io.stdout:write("c\n")
`+nothing, nil)
	if got := strings.Join(r.lines, "|"); got != "INFO a\t1\tnil|INFO b2|INFO c" {
		t.Errorf("the log has %q", got)
	}
}

func moduleFolder(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "own"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "own", "module.lua"), []byte("return { name = ... }"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// manyNames is a function at the limits of reference Lua.
func manyNames() string {
	var b strings.Builder
	b.WriteString("(function() ")
	for i := range 199 {
		fmt.Fprintf(&b, "local l%d = \"c%d\" ", i, i)
	}
	b.WriteString("local t = {")
	for i := range 300 {
		fmt.Fprintf(&b, "\"k%d\",", i)
	}
	b.WriteString("} return (function() local n = 0 for _, v in ipairs({")
	for i := range 59 {
		fmt.Fprintf(&b, "l%d,", i)
	}
	b.WriteString("}) do n = n + 1 end return n + #t - 159 end)() end)()")
	return b.String()
}
