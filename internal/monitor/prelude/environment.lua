-- What scripts find besides the libraries of LuaJIT, and what they do not find (specification 8.1).
local host = ...
local o = host.o
local error, package, preload = error, package, package.preload

package.path = o.path .. ";" .. package.path

local function missing(name, why)
  package.loaded[name] = nil
  preload[name] = function() error("module '" .. name .. "' not available in weir (" .. why .. ")", 0) end
end

if not o.ffi then
  missing("ffi", "script needs LuaJIT FFI")
  for _, name in ipairs({ "jit", "jit.util", "jit.opt" }) do missing(name, "script needs LuaJIT FFI") end
  jit = nil
end

-- A library of this name that is installed wins.
table.insert(package.loaders, function(name)
  if name == "lsqlite3" then return "\n\tmodule 'lsqlite3' not available in weir (script needs SQLite)" end
  if name == "tris_leveldb" then return "\n\tmodule 'tris_leveldb' not available in weir (script needs LuaJIT FFI)" end
end)

local nothing = setmetatable({}, { __call = function() end, __index = function() return function() end end })
preload.debugger = function() return nothing end

function os.exit() error("os.exit is not available: a script cannot end the process", 2) end

if not o.popen then
  function io.popen() error("io.popen is disabled by configuration", 2) end
  function os.execute() error("os.execute is disabled by configuration", 2) end
end
