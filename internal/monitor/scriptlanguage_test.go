package monitor

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"path/filepath"
	"strings"
	"testing"
)

// evaluate runs statements in the onload of an instance that is bound to Hosts, and returns what they printed
// and why the instance does not run.
func evaluate(t *testing.T, source string, change ...func(*Setup)) (said []string, reason string) {
	t.Helper()
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, onload = function() `+source+` end, cg_monitor = { counter_guid = "`+hostsGUID+`" } }`, change...)
	s := b.start(17)
	return b.said(), s.Reason
}

// Section 8.2, every row.
func TestConformance(t *testing.T) {
	f := func(expression, want string) {
		t.Helper()
		said, reason := evaluate(t, `print(`+expression+`)`)
		if got := strings.Join(said, "\n"); got != want || reason != "" {
			t.Errorf("%s: %q %s, want %q", expression, got, reason, want)
		}
	}
	raises := func(expression string) {
		t.Helper()
		if said, _ := evaluate(t, `print((pcall(function() return `+expression+` end)))`); len(said) != 1 || said[0] != "false" {
			t.Errorf("%s: %q, want an error", expression, said)
		}
	}
	f(`string.format("%02X.%02X", "192", "168")`, "C0.A8")
	f(`string.format("%s_%08X", "C0.A8.01.01", "3")`, "C0.A8.01.01_00000003")
	raises(`string.format("%d", "p-0050")`)
	f(`string.format("%d", "12"), string.format("%d", 83.7), string.format("%d", -83.7)`, "12\t83\t-83")
	f(`string.format("%5.1f", "3.14")`, "  3.1")
	raises(`string.format("%d %s", 1)`)
	f(`string.format("%s", nil), string.format("%s", true)`, "nil\ttrue")
	f(`"x" .. 5000/60, "x" .. 60 * (5000/60)`, "x83.333333333333\tx5000")
	f(`"x" .. 1e15, "x" .. 1e16, "x" .. 1234567890123`, "x1e+15\tx1e+16\tx1234567890123")
	f(`(tostring(0/0):gsub("-", "")), tostring(1/0)`, "nan\tinf")
	f(`bit.band(0xff, 0x1f0)`, "240")
	f(`"\x41"`, "A")
	f(`xpcall(function(x) return x end, print, 7)`, "true\t7")
	raises(`tonumber(nil, 16)`)
	f(`os.date("!%c", 0)`, "Thu Jan  1 00:00:00 1970")
	f(`("THE (quick) fox"):find("%f[%a]%a+")`, "1\t3")
	f(`"10" * 2, "3" + 4`, "20\t7")
	f(`(select(2, pcall(function() return "firehol" + 1 end)):gsub("^.*: ", ""))`, "attempt to perform arithmetic on a string value")
	f(`("FE80"):gsub("(%x%x)", function(x) return x .. ":" end)`, "FE:80:\t2")
	f(`(function() local t = { a = 1, b = 2, c = 3 } for k in pairs(t) do t[k] = nil end return next(t) end)()`, "nil")
	f(`(function() local M = { __lt = function(a, b) return a.n < b.n end }
		local t = { setmetatable({ n = 2 }, M), setmetatable({ n = 1 }, M) } table.sort(t) return t[1].n end)()`, "1")
	f(`("x(a(b)c)y"):match("%b()")`, "(a(b)c)")
	f(`(function() local n = 0 ::again:: n = n + 1 if n < 3 then goto again end return n end)()`, "3")
	f(`io.popen("echo md5"):read("*l")`, "md5")
}

// Section 8.1.
func TestEnvironment(t *testing.T) {
	f := func(statements, want string) {
		t.Helper()
		said, reason := evaluate(t, statements)
		if got := strings.Join(said, "\n"); got != want || reason != "" {
			t.Errorf("%s: %q %s, want %q", statements, got, reason, want)
		}
	}
	f(`print(math.pow(2, 3), math.log10(1000), unpack({ 1, 2 }))`, "8\t3\t1\t2")
	f(`print(type(loadstring), type(setfenv), type(getfenv), type(debug.traceback), type(coroutine.wrap), table.getn({ 1, 2 }))`, "function\tfunction\tfunction\tfunction\tfunction\t2")
	f(`print(bit.bnot(0), bit.lshift(1, 31), require("bit") == bit, bit.tohex(255, 4))`, "-1\t-2147483648\ttrue\t00ff")
	f(`local J = require "JSON" print(J:encode({ 1, 2 }), J:decode('{"a":[5]}').a[1], #J:encode_pretty({ a = 1 }) > 7)`, "[1,2]\t5\ttrue")
	f(`local d = require "debugger" d() print(d.anything())`, "")
	f(`print(pcall(require, "ffi"))`, "false\tmodule 'ffi' not available in weir (script needs LuaJIT FFI)")
	f(`print(pcall(require, "jit"))`, "false\tmodule 'jit' not available in weir (script needs LuaJIT FFI)")
	f(`print(jit, ffi, package.loaded.ffi, package.loaded["jit.util"])`, "nil\tnil\tnil\tnil")
	f(`print((select(2, pcall(os.exit))))`, "os.exit is not available: a script cannot end the process")
	f(`print(1, nil, "x") io.write("a", "b\n")`, "1\tnil\tx\nab")

	said, _ := evaluate(t, `print(type(require("ffi").new), type(jit))`, func(s *Setup) { s.FFI = true })
	if len(said) != 1 || said[0] != "function\ttable" {
		t.Errorf("ffi where it is allowed: %q", said)
	}
	said, _ = evaluate(t, `print(pcall(io.popen, "ls")) print(pcall(os.execute, "ls"))`, func(s *Setup) { s.Popen = false })
	if len(said) != 2 || !strings.Contains(said[0], "io.popen is disabled by configuration") || !strings.Contains(said[1], "os.execute is disabled by configuration") {
		t.Errorf("without popen: %q", said)
	}
}

// Section 3.2: where modules are.
func TestModulePath(t *testing.T) {
	dir := write(t,
		"app/deep/test.lua", `TrisulPlugin = { id = { name = "x" }, onload = function()
			print(require("beside"), require("with-dash"), require("above"), require("helpers/tool"), require("common"), require("sub.dotted"), require("extra"))
			print(require("once").n, require("once").n)
		end }`,
		"app/deep/beside.lua", `return "beside"`, "app/beside.lua", `return "wrong"`, "app/deep/with-dash.lua", `return "dash"`, "app/above.lua", `return "above"`,
		"helpers/tool.lua", `return "tool"`, "helpers/common.lua", `return "common"`, "app/sub/dotted.lua", `return "dotted"`, "elsewhere/extra.lua", `return "extra"`,
		"app/once.lua", `loads = (loads or 0) + 1 return { n = loads }`)
	b := mustLoad(t, "", func(s *Setup) {
		s.Path, s.Root, s.Paths = filepath.Join(dir, "app/deep/test.lua"), dir, []string{filepath.Join(dir, "elsewhere")}
	})
	if s := b.bindOne(Instance{Index: 1, Type: TypePlain}); !s.Running {
		t.Fatalf("%+v", s)
	}
	b.wantSaid("beside\tdash\tabove\ttool\tcommon\tdotted\textra", "1\t1")
}

// Sections 3.3, 3.4 and 3.6.
func TestT(t *testing.T) {
	f := func(statements, want string) {
		t.Helper()
		said, reason := evaluate(t, statements, func(s *Setup) {
			s.Env["Logging>Logdir"], s.ConfigPath, s.DataPath, s.ConfigFile = "/log", "/etc/x", "/var/x", "/etc/x/x.xml"
			s.Homes = []string{"10.0.0.0/8", "192.168.0.0/16", "fd00::/8"}
		})
		if got := strings.Join(said, "\n"); got != want || reason != "" {
			t.Errorf("%s: %q %s, want %q", statements, got, reason, want)
		}
	}
	f(`print(T.contextid, T.execution_contextid, T.backend_engineid, T.enginetype)`, "7\t7\t0\tbackend")
	f(`print(T.probeid, T.probeversion, T.context_name, T.contextname, T.args)`, "probe0\t1.2.3\tdefault\tdefault\t")
	f(`print(T.monitor_group_name, T.monitor_group_guid)`, "Hosts\t"+hostsGUID)
	f(`print(T.countergroups.Apps, T.countergroups.None, T.alertgroups["User Alerts"], type(T.resourcegroups), type(T.ftsgroups), type(T.sessiongroups))`,
		appsGUID+"\tnil\t"+alertGUID+"\ttable\ttable\ttable")
	f(`local l = T.K.loglevel print(l.EMERG, l.FATAL, l.ALERT, l.CRIT, l.ERROR, l.WARN, l.NOTICE, l.INFO, l.DEBUG)`, "0\t1\t2\t3\t4\t5\t6\t7\t8")
	f(`local v = T.K.vartype print(v.COUNTER, v.RATE_COUNTER, v.GAUGE, v.RUNNING_COUNTER, v.AVERAGE, v.DELTA_RATE_COUNTER, v.MAXIMUM, v.MINIMUM, T.K.vartypes == v)`,
		"2\t4\t5\t8\t9\t10\t11\t12\ttrue")
	f(`T.count = 1 print(T.count, T.nothing) T = {} T.seen = 1 print(T.seen)`, "1\tnil\n1")
	f(`print(T.env.get_config("App>DBRoot"), T.env.get_config("//App/DBRoot"), T.env.get_config(" App > DBRoot "), T.env.get_config("App>Nothing"), T.env.get_domain_config("App>DBRoot"))`,
		"/db\t/db\t/db\tnil\tnil")
	f(`print(T.env.get_config("App>DBRoot") .. "/config/x.lua", T.env.get_config("//Logging/Logdir"), T.env.configfile)`, "/db/config/x.lua\t/log\t/etc/x/x.xml")
	f(`print(T.host:get_configpath(), T.host:get_datapath(), T.host:prepare_config("x"))`, "/etc/x\t/var/x")
	f(`local n = T.host:get_homenets() print(#n, n[1][1], n[1][2], n[2].ip, n[2].netmask)`, "2\t10.0.0.0\t255.0.0.0\t192.168.0.0\t255.255.0.0")
	f(`print(T.host:is_homenet("10.1.2.3"), T.host:is_homenet(0xC0A80102), T.host:is_homenet("8.8.8.8"), T.host:is_homenet("x"))`, "true\ttrue\tfalse\tfalse")
	f(`print(T.host:is_homenet_key("C0.A8.01.02"), T.host:is_homenet_key("08.08.08.08"), T.host:is_homenet_key("FD000000000000000000000000000001"), T.host:is_homenet_key("SYS:GROUP_TOTALS"))`,
		"true\tfalse\ttrue\tfalse")
}

func TestLog(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, onload = function()
		T.log("plain") T.log(5) T.log(T.K.loglevel.INFO, "info") T.log(T.K.loglevel.WARN, 7) T.log(T.K.loglevel.CRIT, "crit") T.log(T.K.loglevel.INFO, nil)
		T.logerror("e") T.logwarning("w") T.loginfo("i") T.logdebug("d") T.host:log(T.K.loglevel.NOTICE, "n")
	end, cg_monitor = { counter_guid = "`+hostsGUID+`" } }`)
	b.start(1)
	want := "debug plain|debug 5|info info|warn 7|error crit|info nil|error e|warn w|info i|debug d|info n"
	if got := strings.ReplaceAll(strings.Join(b.logs, "|"), "[test.lua] Hosts: ", ""); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Section 3.7.
func TestUtil(t *testing.T) {
	f := func(expression, want string) {
		t.Helper()
		said, reason := evaluate(t, `local u = T.util print(`+expression+`)`)
		if got := strings.Join(said, "\n"); got != want || reason != "" {
			t.Errorf("%s: %q %s, want %q", expression, got, reason, want)
		}
	}
	f(`u.ntop(0xC0A80102), u.ntop(0), u.ntop("4294967295")`, "192.168.1.2\t0.0.0.0\t255.255.255.255")
	f(`u.pton("192.168.1.2"), u.pton("255.255.255.255"), u.pton("1.2.3"), u.pton("1.2.3.256"), u.pton("x")`, "3232235778\t4294967295\tnil\tnil\tnil")
	f(`u.bor(0x80000000, 1), u.band(0xFFFFFFFF, 0xF0000000)`, "2147483649\t4026531840")
	f(`u.testbit32(5, 0), u.testbit32(5, 1), u.testbit32(0x80000000, 31), u.testbit32(1, 32)`, "true\tfalse\ttrue\tfalse")
	f(`u.bitval32(0x1E0000, 20, 4), u.bitval32(0xFFFFFFFF, 31, 32), u.bitval32(6, 2, 2), u.bitval32(6, 0, 1)`, "15\t4294967295\t3\t0")
	f(`table.concat(u.split("a,,b,", ","), "|"), #u.split("", ","), u.splitm("x.y", ".")`, "a||b|\t1\tx\ty")
	f(`u.bin2hex("\0\255aZ\n"), u.hex2bin("4142"), u.hex2bin("4"), u.hex2bin("xx")`, "00ff615a0a\tAB\tnil\tnil")
	for _, text := range []string{"", "a", "ab", "abc", "abcd", "10.1.2.3", "C0.A8.01.02", strings.Repeat("\xff", 33)} {
		h := murmur2([]byte(text))
		f(fmt.Sprintf("u.hash(%s), u.hash(%s, 1), u.hash(%s, 16)", luaText(text), luaText(text), luaText(text)), fmt.Sprintf("%d\t%d\t%d", h, h&1, h&0xffff))
	}
	f(`u.hash("")`, "0")
}

func luaText(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "\\%03d", c)
	}
	return `"` + b.String() + `"`
}

// murmur2 is MurmurHash2 with 32 bits and seed 0, as its author describes it.
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	if len(b) > 0 {
		var tail [4]byte
		copy(tail[:], b)
		h = (h ^ bits.ReverseBytes32(binary.BigEndian.Uint32(tail[:]))) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// Section 3.8.
func TestPatterns(t *testing.T) {
	f := func(expression, want string) {
		t.Helper()
		said, reason := evaluate(t, `print(`+expression+`)`)
		if got := strings.Join(said, "\n"); got != want || reason != "" {
			t.Errorf("%s: %q %s, want %q", expression, got, reason, want)
		}
	}
	f(`T.re2("b+"):partial_match("abbc"), T.re2("b+"):full_match("abbc"), T.re2("a|ab"):full_match("ab")`, "true\tfalse\ttrue")
	f(`T.re2("(\\w+)@(\\w+)"):partial_match_c1("x me@home")`, "true\tme")
	f(`T.re2("(\\w+)@(\\w+)"):partial_match_c2("x me@home")`, "true\tme\thome")
	f(`T.re2("(\\w+)@(\\w+)"):partial_match_c1("nothing")`, "false\tnil")
	f(`T.re2("(a)(b)?(c)"):partial_match_n("ac")`, "true\ta\tnil\tc")
	f(`T.re2("(a)(b)"):full_match_n("ab")`, "true\ta\tb")
	f(`T.re2("(a)(b)"):full_match_n("xab")`, "false\tnil\tnil")
	f(`T.re2("HOST", { case_sensitive = false }):partial_match("a host"), T.re2("HOST"):partial_match("a host")`, "true\tfalse")
	f(`T.re2("a.b", { literal = true }):full_match("a.b"), T.re2("a.b", { literal = true }):full_match("axb")`, "true\tfalse")
	f(`T.re2("(a|ab)(c|bcd)", { posix_syntax = true }):full_match_n("abcd")`, "true\ta\tbcd")
	f(`T.re2("a+|a+b", { longest_match = true }):partial_match_n("aab")`, "true")
	f(`pcall(T.re2, "(")`, "false\tbad pattern \"(\": error parsing regexp: missing closing ): `(`")
	f(`(function() local m = T.ac({ "he", "she", "hers", "his" }):match_all("ushers") return m.she, m.he, m.hers, m.his end)()`, "4\t4\t6\tnil")
	f(`next(T.ac({ "x", "y" }):match_all("abc"))`, "nil")
	f(`next(T.ac({ "bc", "abc" }):match_one("zabcbc"))`, "abc\t4")
	f(`T.ac({ "\0\255", "a" }):match_all("a\0\255")["\0\255"]`, "3")
}
