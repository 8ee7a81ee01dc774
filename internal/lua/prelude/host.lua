-- What every state has: standard output goes to the host, and the host's paths and modules.
local emit, path, cpath = ...
local concat, select, tostring, type = table.concat, select, tostring, type

if path ~= "" then package.path = package.path .. ";" .. path end
if cpath ~= "" then package.cpath = package.cpath .. ";" .. cpath end

function print(...)
  local parts = {}
  for i = 1, select("#", ...) do
    local s = tostring((select(i, ...)))
    if type(s) ~= "string" then error("'tostring' must return a string to 'print'", 2) end
    parts[i] = s
  end
  emit(concat(parts, "\t") .. "\n")
end

-- A coroutine resumed inside another takes C stack, which LuaJIT does not check.
local running, resume, create, error = coroutine.running, coroutine.resume, coroutine.create, error
local depth, max_depth = 0, 200

local function leave(...)
  depth = depth - 1
  return ...
end

function coroutine.resume(co, ...)
  if running() == nil then depth = 0 end -- an error may have passed by leave
  if depth >= max_depth then return false, "C stack overflow" end
  depth = depth + 1
  return leave(resume(co, ...))
end

local safe_resume = coroutine.resume

local function unwrap(ok, ...)
  if ok then return ... end
  error((...), 0)
end

function coroutine.wrap(f)
  local co = create(f)
  return function(...) return unwrap(safe_resume(co, ...)) end
end

-- Hooks do not see compiled code: the loop compiled last is where a state that does not answer may be.
local guess, funcinfo = jit.guess, require("jit.util").funcinfo
jit.guess = nil
jit.attach(function(what, _, func, pc)
  if what ~= "start" then return end
  local info = funcinfo(func, pc)
  if info.source and info.currentline and info.source:sub(1, 6) ~= "=weir/" then guess((info.source:gsub("^[@=]", "")), info.currentline) end
end, "trace")

-- io.write and the methods of files are left as they are unless the file is standard output.
local stdout, output = io.stdout, io.output
local methods = getmetatable(stdout).__index
local write_file = methods.write

local function write_stdout(...)
  local parts = {}
  for i = 1, select("#", ...) do
    local v = select(i, ...)
    if type(v) ~= "string" and type(v) ~= "number" then
      error("bad argument #" .. i .. " to 'write' (string expected, got " .. type(v) .. ")", 3)
    end
    parts[i] = v
  end
  emit(concat(parts))
  return stdout
end

function methods.write(file, ...)
  if file == stdout then return write_stdout(...) end
  return write_file(file, ...)
end

function io.write(...)
  local file = output()
  if file == stdout then return write_stdout(...) end
  return write_file(file, ...)
end

local preload = package.preload
return function(name, module)
  package.loaded[name] = nil
  if type(module) == "function" then
    preload[name] = module
  else
    preload[name] = function() return module end
  end
end
