-- Calls of the script's functions: what fails is noted with its place and the script goes on.
local host = ...
local native = host.native
local debug, error, pairs, tonumber, tostring, type, xpcall = debug, error, pairs, tonumber, tostring, type, xpcall
local getinfo, traceback, getmetatable = debug.getinfo, debug.traceback, debug.getmetatable
local find, match, sub = string.find, string.match, string.sub

local MOST = 1000 -- failing calls in a row, after which a callback is not called any more
local PLACES = 50 -- that are told apart between two reports

host.block = nil -- the table with the callbacks
local states = {} -- of callbacks, by name
local running -- state of the callback that was called last
local errors, places, count = {}, {}, 0 -- since the last report

local function state(name)
  local s = states[name]
  if not s then
    s = { name = name, calls = 0, failing = 0, errors = 0, disabled = false }
    states[name] = s
  end
  return s
end
host.state = state

-- The file and line of the innermost code of the script from a level of the stack on.
local function place(level)
  while true do
    local at = getinfo(level, "Sl")
    if not at then return nil end
    if at.currentline > 0 and sub(at.source, 1, 6) ~= "=weir/" then
      return sub(at.source, 2), at.currentline
    end
    level = level + 1
  end
end
host.place = place

local function message_of(e)
  if type(e) == "string" then return e end
  local meta = getmetatable(e)
  if type(e) == "number" or type(meta) == "table" and meta.__tostring then return tostring(e) end
  if type(e) == "table" and type(e.message) == "string" then return e.message end
  return "(error object is a " .. (e == nil and "nil" or type(e)) .. " value)"
end

local function note(name, message, file, line, trace)
  local key = name .. "\0" .. (file or "") .. "\0" .. (trace and line or message)
  local known = places[key]
  if known then
    errors[known].count = errors[known].count + 1
    return
  end
  if count >= PLACES then return end
  count = count + 1
  places[key] = count
  errors[count] = { callback = name, message = message, file = file, line = line, count = 1, trace = trace and traceback("", 3) }
end

local NOTED = {} -- what the message handler returns

-- The message handler of every call. That a call takes too long the host finds out.
local function handler(e)
  local message = message_of(e)
  if find(message, "time budget of ", 1, true) then return NOTED end
  local file, line = place(3)
  local of, at, text = match(message, "^([^\n:]*):(%d+): (.*)$")
  if at and file then
    message = text
    if sub(of, 1, 5) ~= "weir/" then line = tonumber(at) end
  end
  note(running.name, message, file, line, true)
  return NOTED
end
host.handler = handler

-- Counts a failed call, of which xpcall returned e. True when the callback is not to be called any more.
local function failed(s, e)
  if e ~= NOTED then note(s.name, message_of(e)) end -- the handler failed: memory is used up
  s.errors = s.errors + 1
  s.failing = s.failing + 1
  if s.failing < MOST then return false end
  s.disabled = true
  native.disabled(s.name, MOST)
  return true
end
host.failed = failed

-- Says what is wrong with what a callback did, without an error in it.
function host.complain(name, f, message)
  local at = getinfo(f, "S")
  note(name, message, at.what ~= "C" and sub(at.source, 2) or nil, at.what ~= "C" and at.linedefined or nil)
end

-- What is worth saying once. It returns false when key came before.
local said, said_count = {}, 0
local function first_time(key)
  if said[key] or said_count >= 1000 then return false end
  said[key], said_count = true, said_count + 1
  return true
end
host.first_time = first_time

-- Says something about what the running callback did, once.
function host.say_once(key, message)
  if not first_time(key) then return end
  local file, line = place(3)
  note(running and running.name or "onload", message, file, line)
end

-- Raises an error at the place in the script that called the host.
function host.raise_at_script(message)
  local level = 3
  while true do
    local at = getinfo(level, "Sl")
    if not at then error(message, 0) end
    if at.currentline > 0 and sub(at.source, 1, 6) ~= "=weir/" then error(at.short_src .. ":" .. at.currentline .. ": " .. message, 0) end
    level = level + 1
  end
end

-- The function of a callback and its state, nil when it is not to be called.
function host.callback(name)
  local block = host.block
  local f = block and block[name]
  if type(f) ~= "function" then return nil end
  local s = state(name)
  if s.disabled then return nil end
  return f, s
end

function host.enter(s) running = s end

local counter = host.counter

local function done(s, ok, ...)
  if ok then
    s.failing = 0
    return true, ...
  end
  failed(s, (...))
  return false
end

-- Calls f and returns whether it went well, and its results.
function host.call(name, f, ...)
  local s = state(name)
  running = s
  s.calls = s.calls + 1
  counter[0] = counter[0] + 1
  return done(s, xpcall(f, handler, ...))
end

-- After a call of the host was ended because a callback took too long: counts it as failed and returns its name.
function host.timed_out()
  if not running then return nil end
  failed(running, NOTED)
  return running.name
end

-- Hands over what was noted.
function host.report()
  if count == 0 then return end
  local list = errors
  errors, places, count = {}, {}, 0
  native.errors(list)
end

-- Calls and errors so far.
function host.figures()
  local calls, errors = 0, 0
  for _, s in pairs(states) do
    calls, errors = calls + s.calls, errors + s.errors
  end
  return calls, errors
end
