package test

// hostile are scripts that do what no script should. Each is in the list of scripts, and in the log,
// with want and with a line of its own.
var hostile = []struct {
	name, text, want string
	acknowledges     bool // some of what it gets
}{
	// Loops.
	{"loop", "function init() end\nfunction write(d)\n  while true do end\nend", "loop.lua:3", false},
	{"compiled", "jit.opt.start('hotloop=1')\nfunction init() end\nfunction write(d)\n  local x = 0\n  while true do x = x + 1 end\nend", "compiled.lua:5", false},
	{"caught", "function init() end\nfunction write(d)\n  while true do pcall(function() while true do end end) end\nend", "caught.lua:3", false},
	{"coroutine", "function init() end\nfunction write(d)\n  coroutine.wrap(function()\n    while true do end\n  end)()\nend", "coroutine.lua:4", false},
	{"probe", "function init() end\nfunction filter()\n  while true do end\nend\nfunction write() return true end", "probe.lua:3", true},
	{"filter", "function init() end\nfunction filter(c, e)\n  while e == 29 do end\n  return true\nend\nfunction write() return false end", "filter.lua:3", false},
	{"init", "function init()\n  while true do end\nend\nfunction write() return true end", "init.lua:2", false},
	{"load", "local x = 1\nrepeat x = x + 1 until false\nfunction init() end\nfunction write() return true end", "load.lua:2", false},
	{"flush", "function init() end\nfunction write() return false end\nfunction flush()\n  while true do end\nend", "flush.lua:4", false},
	{"index", "local t = setmetatable({}, {__index = function()\n  while true do end\nend})\nfunction init() end\nfunction write() return t.x end", "index.lua:2", false},
	{"finalizer", "function init() end\nfunction write()\n  getmetatable(newproxy(true)).__gc = function() while true do end end\n  collectgarbage()\nend", "finalizer.lua", false},
	{"callback", "function init() end\nfunction write()\n  string.gsub('x', 'x', function()\n    while true do end\n  end)\nend", "callback.lua:4", false},
	{"hook", "function init() end\nfunction write()\n  while true do debug.sethook() end\nend", "hook.lua:3", false},
	{"deaf", "local ffi = require('ffi')\nffi.cdef('void (*signal(int, void (*)(int)))(int);')\nfunction init() end\nfunction write()\n  for i = 34, 64 do ffi.C.signal(i, ffi.cast('void (*)(int)', 1)) end\n  while true do end\nend", "deaf.lua", false},
	{"pattern", "function init() end\nfunction write()\n  return string.find(string.rep('a', 200), string.rep('a-', 100) .. 'b') == nil\nend", "pattern.lua", false},

	// Memory.
	{"huge", "function init() end\nfunction write(d)\n  x = string.rep('x', 2^30)\n  return true\nend", "not enough memory", false},
	{"concatenation", "function init() end\nfunction write(d)\n  local s = 'x'\n  while true do s = s .. s end\nend", "concatenation.lua", false},
	{"replacement", "function init() end\nfunction write(d)\n  return #string.gsub(string.rep('x', 2^20), 'x', string.rep('y', 2^12)) > 0\nend", "replacement.lua", false},
	{"tables", "function init() end\nfunction write(d)\n  local t = {}\n  while true do t[#t + 1] = {} end\nend", "tables.lua", false},
	{"leak", "local kept = {}\nfunction init() end\nfunction write(d)\n  kept[#kept + 1] = string.rep(tostring(#kept), 20 * 2^20)\n  return false\nend", "leak.lua", false},
	{"outside", "local ffi = require('ffi')\nffi.cdef('void *malloc(size_t);')\nlocal socket = require('socket')\nfunction init() end\nfunction write(d)\n  while true do\n    ffi.fill(ffi.C.malloc(4 * 2^20), 4 * 2^20, 1)\n    pcall(socket.sleep, 0.01)\n  end\nend", "outside.lua", false},

	// Recursion.
	{"deep", "function init() end\nfunction write(d)\n  local function f() return 1 + f() end\n  f()\nend", "deep.lua:3", false},
	{"tree", "local function f()\n  pcall(f) pcall(f)\nend\nfunction init() end\nfunction write(d) f() end", "tree.lua:", false},
	{"nested", "local function f()\n  return (string.gsub('x', 'x', f))\nend\nfunction init() end\nfunction write(d)\n  f()\nend", "nested.lua:", false},
	{"text", "local t = setmetatable({}, {__tostring = function(t)\n  return tostring(t)\nend})\nfunction init() end\nfunction write(d) return #tostring(t) > 0 end", "text.lua:", false},
	{"threads", "local function f()\n  return coroutine.wrap(f)()\nend\nfunction init() end\nfunction write(d) return f() end", "threads.lua:", false},
	{"chain", "local t = {} t.__index = t setmetatable(t, t)\nfunction init() end\nfunction write(d)\n  return t.x\nend", "chain.lua:4", false},
	{"circle", "local t = {} t.t = t\nfunction init() end\nfunction write(d)\n  return #broker.json_encode(t) > 0\nend", "circle.lua:4", false},

	// Crashes and ends.
	{"poke", "local ffi = require('ffi')\nfunction init() end\nfunction write(d)\n  ffi.cast('int *', 8)[0] = 1\nend", "poke.lua:4", false},
	{"jump", "local ffi = require('ffi')\nfunction init() end\nfunction write(d)\n  ffi.cast('void (*)(void)', 16)()\nend", "jump.lua", false},
	{"abort", "local ffi = require('ffi')\nffi.cdef('void abort(void);')\nfunction init() end\nfunction write(d)\n  ffi.C.abort()\nend", "abort.lua", false},
	{"suicide", "local ffi = require('ffi')\nffi.cdef('int getpid(void); int kill(int, int);')\nfunction init() end\nfunction write(d)\n  ffi.C.kill(ffi.C.getpid(), 9)\nend", "suicide.lua", false},
	{"registry", "function init() end\nfunction write(d)\n  local r = debug.getregistry()\n  for k in pairs(r) do r[k] = nil end\n  collectgarbage()\n  error('still here')\nend", "registry.lua", false},
	{"exit", "function init() end\nfunction write(d)\n  os.exit(0)\nend", "exit.lua:3", false},
	{"leave", "function init()\n  os.exit(0)\nend\nfunction write(d) return true end", "leave.lua:2", false},
	{"refused", "function init() end\nfunction write(d)\n  while true do pcall(os.exit, 1) end\nend", "refused.lua:3", false},

	// Errors.
	{"raise", "function init() end\nfunction write(d)\n  error('always')\nend", "raise.lua:3: always", false},
	{"table", "function init() end\nfunction write(d)\n  error({code = 1})\nend", "table.lua", false},
	{"blank", "function init() end\nfunction write(d)\n  error(nil)\nend", "blank.lua", false},
	{"long", "function init() end\nfunction write(d)\n  error(string.rep('long ', 2 * 10^6))\nend", "long.lua:3: long", false},
	{"answer", "function init() end\nfunction write(d) return 'true' end", "must return a boolean", false},
	{"globals", "pcall, error, string, tostring, debug, type = nil\nfunction init() end\nfunction write(d)\n  return string.len(d.output) > 0\nend", "globals.lua:4", false},
	{"nothing", "function init() end\nfunction write(d)\n  for k in pairs(_G) do if k ~= 'write' then _G[k] = nil end end\n  return next(d) ~= nil\nend", "nothing.lua:", false},
	{"strings", "getmetatable('').__index = function() error('no strings') end\nfunction init() end\nfunction write(d)\n  return d.output:len() > 0\nend", "strings.lua:1", false},

	// No connector at all.
	{"prose", "this is not Lua", "prose.lua:1", false},
	{"syntax", "function init() end\nfunction write(d)\n  return 7 // 2\nend", "syntax.lua:3", false},
	{"empty", "", "empty.lua", false},
	{"half", "function init() end", "half.lua", false},
	{"number", "function init() end\nwrite = 42", "number.lua", false},
	{"binary", "\x00\xff\xfe\x7fELF\x01\x02\x00\x80 \x1f\x8b", "binary.lua", false},
	{"bytecode", "\x1bLJ\x02\x0a\x99\x99\x99\x99\x99\x99garbage", "bytecode.lua", false},
	{"top", "\nerror('top')", "top.lua:2: top", false},
	{"missing", "", "missing.lua", false}, // no such file

	// The world outside.
	{"fifo", "function init() end\nfunction write(d)\n  return io.open('fifo'):read('*a') == ''\nend", "fifo.lua", false},
	{"child", "function init() end\nfunction write(d)\n  return io.popen('echo $$ >> pids; exec sleep 1000'):read('*a') == ''\nend", "child.lua", false},
	{"children", "function init() end\nfunction write(d)\n  for i = 1, 20 do io.popen('echo $$ >> pids; exec sleep 1000') end\n  os.exit(1)\nend", "children.lua:4", false},
	{"deafen", "local ffi = require('ffi')\nffi.cdef('int close(int);')\nfunction init() end\nfunction write(d)\n  for fd = 3, 40 do ffi.C.close(fd) end\n  return false\nend", "deafen.lua", false},
	{"garbage", "local ffi = require('ffi')\nffi.cdef('long write(int, const char *, size_t);')\nfunction init() end\nfunction write(d)\n  for fd = 3, 40 do ffi.C.write(fd, string.rep('garbage', 10), 70) end\n  error('written')\nend", "garbage.lua", false},
	{"mute", "local ffi = require('ffi')\nffi.cdef('int close(int);')\nfunction init() end\nfunction write(d)\n  ffi.C.close(1) ffi.C.close(2)\n  error('mute')\nend", "mute.lua:6", false},
	{"loud", "function init() end\nfunction write(d)\n  broker_log:error(0, string.rep('x', 20 * 2^20))\n  print(string.rep('y', 20 * 2^20))\n  error('loud')\nend", "loud.lua:", false},
	{"flood", "function init() end\nfunction write(d)\n  for i = 1, 10^9 do print('flood') end\n  return true\nend", "flood.lua:3", false},
}
