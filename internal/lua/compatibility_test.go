package lua

import "testing"

// Each line is true with the prelude.
func TestCompatibility(t *testing.T) {
	vm, _ := open(t, Options{Compatibility: true})
	for _, source := range []string{
		"select('#', table.unpack({1, nil, 3}, 1, 3)) == 3",
		"table.pack(1, nil, nil).n == 3",
		"table.move({1, 2}, 1, 2, 2)[3] == 2",
		"load('return x', 'chunk', 't', {x = 5})() == 5",
		"select(2, load('x =', '=name')):find('name:1:') == 1",
		"math.type(1) == 'integer' and math.type(1.5) == 'float' and math.type('1') == nil and math.type(1/0) == 'float'",
		"math.tointeger(3.0) == 3 and math.tointeger(3.5) == nil and math.tointeger('8') == 8 and math.tointeger({}) == nil",
		"math.maxinteger == 2^53 - 1 and math.mininteger == -math.maxinteger",
		"math.ult(1, 2) and math.ult(1, -1) and not math.ult(-1, 1)",
		"rawlen({1, 2}) == 2 and rawlen('abc') == 3 and rawlen(setmetatable({1}, {__len = function() return 9 end})) == 1",
		"string.format('%d', 3.0) == '3' and string.format('%d', 2^53) == '9007199254740992'",
		"bit32.band(0xffffffff, 0xf0000000) == 0xf0000000 and bit32.bnot(0) == 0xffffffff and bit32.lshift(1, 31) == 0x80000000 and bit32.rshift(1, 32) == 0",
		"package.searchers == package.loaders",
		"utf8.char(65, 0xe9, 0x20ac, 0x1f600) == 'A\\195\\169\\226\\130\\172\\240\\159\\152\\128'",
		"utf8.len('\\195\\169\\226\\130\\172x') == 3 and select(2, utf8.len('a\\255')) == 2",
		"utf8.codepoint('\\226\\130\\172') == 0x20ac",
		"utf8.offset('\\195\\169x', 2) == 3 and utf8.offset('\\195\\169x', -1) == 3 and utf8.offset('a', 5) == nil",
		"(function() local s = '' for i, c in utf8.codes('a\\195\\169') do s = s .. i .. '=' .. c .. ' ' end return s end)() == '1=97 2=233 '",
		"(function() local n = 0 for c in ('a\\195\\169b'):gmatch(utf8.charpattern) do n = n + 1 end return n end)() == 3",
		"utf8.len('\\237\\160\\128') == nil", // a surrogate
		"(function() for k, v in pairs(setmetatable({}, {__pairs = function(t) return function(_, k) if not k then return 1, 2 end end, t end})) do return k + v end end)() == 3",
		"(function() for i, v in ipairs(setmetatable({}, {__ipairs = function(t) return function(_, k) if k == 0 then return 7, 8 end end, t, 0 end})) do return i + v end end)() == 15",
		"(function() local n = 0 for i, v in ipairs(setmetatable({}, {__index = function(t, i) if i < 4 then return i end end})) do n = n + v end return n end)() == 6",
		"(function() local n = 0 for k in pairs(setmetatable({a = 1}, {__metatable = 'locked'})) do n = n + 1 end return n end)() == 1",
		"(function() local n = 0 for i, v in ipairs({1, 2, nil, 4}) do n = n + v end return n end)() == 3",
		"(pairs({}))({ a = 1 }) == 'a'",
		"select(2, pcall(pairs)):find('table expected, got nil')",
		"select(2, pcall(ipairs)):find('table expected')",
		"select(2, pcall(pairs, 'x')):find('table expected, got string')",
		"select(2, coroutine.resume(coroutine.create(function(a) return a + 1 end), 1)) == 2",
		"select(2, pcall(coroutine.wrap(function() error('in', 0) end))) == 'in'",
	} {
		got, err := vm.DoString("=test", "return "+source)
		if err != nil || got[0] == nil || got[0] == false {
			t.Errorf("%s: %v, %v", source, got, err)
		}
	}
	plain, _ := open(t, Options{})
	if got := eval(t, plain, "return utf8, math.type, rawget(table, 'pack')"); got[0] != nil || got[1] != nil || got[2] != nil {
		t.Errorf("without the prelude: %v", got)
	}
}
