package tsdriver

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestOperators(t *testing.T) {
	d, w := load(t, minimal, func(s *Setup) {
		write(t, filepath.Join(filepath.Dir(s.Script), "bits.lua"), "local a <const> = 0xff\nlocal m = { mask = a & 0x0f, [1 << 2] = 'four' }\nfunction m.half(x) return x // 2 end\nfunction m.fails()\n  return nil & 1\nend\nreturn m")
	})
	for source, want := range map[string]any{
		"6 & 3":                                int64(2),
		"6 | 3":                                int64(7),
		"6 ~ 3":                                int64(5),
		"~0":                                   int64(-1),
		"~5 & 0xff":                            int64(250),
		"1 << 4 | 1":                           int64(17),
		"1 << 40":                              int64(1 << 40),
		"(1 << 40) >> 38":                      int64(4),
		"0xff00ff00ff & 0xf0f0f0f0f0":          int64(0xf000f000f0),
		"-1 >> 60":                             int64(15),
		"-1 & 0xffffffff":                      int64(0xffffffff),
		"7 // 2":                               int64(3),
		"-7 // 2":                              int64(-4),
		"2 + 3 & 4 + 1":                        int64(5),
		"1 | 2 == 3":                           true,
		"'a' .. 1 + 2 .. 'b'":                  "a3b",
		"2 ^ 3 // 3":                           int64(2),
		"-2 ^ 2":                               int64(-4),
		"#{ 1 & 1, 2 } + 1":                    int64(3),
		"({ 5 & 4 })[1] // 2":                  int64(2),
		"('x'):rep(7 // 2)":                    "xxx",
		"(function() return 3 & 1 end)() << 3": int64(8),
		"not (1 & 0 == 0)":                     false,
		"[[a & b]] .. '// ~' --[[ 1 << 2 ]]":   "a & b// ~",
		"tostring(1 ~= 2)":                     "true",
		"require('bits').mask + require('bits').half(9)": int64(19),
		"require('bits')[4]":                             "four",
	} {
		values, err := d.vm.DoString("=test", operators53("return "+source))
		switch {
		case err != nil:
			t.Errorf("%s: %v", source, err)
		case len(values) != 1 || values[0] != want:
			t.Errorf("%s: %v, want %v", source, values, want)
		}
	}
	if _, err := d.vm.DoString("=test", "require('bits').fails()"); err == nil || !strings.Contains(err.Error(), "bits.lua:5: attempt to perform bitwise operation on a nil value") {
		t.Error(err)
	}
	if len(w.lines) > 0 {
		t.Error(w.lines)
	}
}

// What needs no change has none, and what is no Lua is left to who reports it.
func TestOperatorsLeaveOthers(t *testing.T) {
	for _, source := range []string{
		"", "x = 1 ~= 2 -- & |", "s = [==[ a & b ]==] .. \"<<\" .. 'a//b'", "x = 1 &", "x = (1 | 2", "goto a ::a:: x = y", "'open & ", "[[ open & ",
		"x = " + strings.Repeat("(", 500) + "1 & 2" + strings.Repeat(")", 500), "function f( & )",
	} {
		if got := operators53(source); got != source {
			t.Errorf("%q became %q", source, got)
		}
	}
	for source, want := range map[string]string{
		"if a & b == 0 then\n  x = y\nend":                "if (__weir.band( a , b)) == 0 then\n  x = y\nend",
		"local x <const> = 1 | 2 f(x)":                    "local x = (__weir.bor( 1 , 2)) f(x)",
		"for i = 1, n // 2 do goto done ::done:: end":     "for i = 1, (__weir.idiv( n , 2)) do goto done ::done:: end",
		"f = function(a) return a >> 1 end\ng { b & 1 }":  "f = function(a) return (__weir.shr( a , 1)) end\ng { (__weir.band( b , 1)) }",
		"repeat local a = ~b until a << 1 > 4 -- the end": "repeat local a = (__weir.bnot( b)) until (__weir.shl( a , 1)) > 4 -- the end",
	} {
		if got := operators53(source); got != want {
			t.Errorf("%q became\n%q, want\n%q", source, got, want)
		}
	}
}

func FuzzOperators(f *testing.F) {
	for _, source := range []string{"x = a & b", "local function f(...) return ~1 // 2 end", "x = [[", "t = { [1 << 2] = 'a', b; c = d.e:f'g' }", "--[==[ & ]=]", "x = 0x1p-4 | 1e+5"} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		got := operators53(source)
		if strings.Count(got, "\n") != strings.Count(source, "\n") {
			t.Errorf("lines of %q are elsewhere: %q", source, got)
		}
	})
}
