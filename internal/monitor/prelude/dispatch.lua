-- Windows, seconds and topper lists: a callback for each row of a frame (windows.go says how one looks).
local host = ...
local ffi, native, engine = host.ffi, host.native, host.engine
local type, tonumber, xpcall, loadstring, concat, assert = type, tonumber, xpcall, loadstring, table.concat, assert
local min, gsub = math.min, string.gsub
local band, lshift, rshift = bit.band, bit.lshift, bit.rshift
local callback, call, failed, complain = host.callback, host.call, host.failed, host.complain

local HEAD = 24
local DECIDE, VOTE, FLUSH, OBSERVE = 0, 1, 2, 3
local FIRST, LAST, VALUES, NEW = 1, 2, 4, 8

-- What a step that was stopped goes on from: the row after the one whose callback runs, and 1 while the first of two callbacks does.
local at = ffi.new("int32_t[2]")

-- The frame.
local payload -- keeps its bytes
local instance_time, mode, part, meters, rows, meter
local values, ends, news, keys
local votes -- the answer
local bytes = ffi.typeof("const uint8_t *")
local doubles, ints = ffi.typeof("const double *"), ffi.typeof("const uint32_t *")

local function read(text)
  payload = text
  local p = ffi.cast(bytes, text)
  mode, part = p[4], p[5]
  meters = ffi.cast("const uint16_t *", p + 6)[0]
  instance_time = tonumber(ffi.cast("const int64_t *", p + 8)[0])
  rows, meter = ffi.cast(ints, p + 16)[0], ffi.cast(ints, p + 20)[0]
  p = p + HEAD
  values, ends, news = nil, nil, nil
  if band(part, VALUES) ~= 0 then
    values = ffi.cast(doubles, p)
    p = p + 8 * meters * rows
  end
  ends = ffi.cast(ints, p)
  p = p + 4 * rows
  if band(part, NEW) ~= 0 then
    news = p
    p = p + rows
  end
  keys = ffi.cast("const char *", p)
  at[0], at[1] = 0, 0
end

-- The loops are made for the number of meters: then the table of a row is one allocation.
local function metrics(n)
  local t = {}
  for i = 0, n - 1 do t[i + 1] = "v[o+" .. i .. "]" end
  return "{" .. concat(t, ",") .. "}"
end

-- Each loop begins like this, and returns the row to go on with: at the end, or when a callback is not to be called any more.
local BEGIN = [[
local xpcall, text, handler, failed, counter, at, engine, override, refuse, nonsense, enter = ...
return function(first, first_state, second, second_state, t, v, ends, news, keys, row, last)
  local from = 0
  if row > 0 then from = ends[row-1] end
  while row < last do
    local to = ends[row]
    local key = text(keys + from, to - from)
    from = to
    local o = row * METERS
    row = row + 1
    at[0] = row
]]
local END = [[
  end
  return row
end
]]
local ONE = [[
    counter[0] = counter[0] + 1
    local ok, e = xpcall(first, handler, ARGUMENTS)
    if ok then
      if first_state.failing > 0 then first_state.failing = 0 end
    elseif failed(first_state, e) then
      return row
    end
]]
local FILTER = [[
    counter[0] = counter[0] + 1
    local ok, pass, over = xpcall(first, handler, ARGUMENTS)
    if ok then
      if first_state.failing > 0 then first_state.failing = 0 end
      if pass == true then
        if over ~= nil then override(row - 1, over, nil) end
      elseif pass == false then
        refuse(row - 1)
      else
        nonsense(pass)
      end
    elseif failed(first_state, pass) then
      return row
    end
]]
local BOTH = [[
    counter[0] = counter[0] + 1
    at[1] = 1
    enter(first_state)
    local stop = false
    local ok, pass, over = xpcall(first, handler, ARGUMENTS)
    at[1] = 0
    if not ok then
      stop = failed(first_state, pass)
    elseif first_state.failing > 0 then
      first_state.failing = 0
    end
    if ok and pass == false then
      refuse(row - 1)
    else
      VALUE
      if ok then
        if pass ~= true then
          nonsense(pass)
        elseif over ~= nil then
          override(row - 1, over, m)
        end
      end
      counter[0] = counter[0] + 1
      enter(second_state)
      local ok, e = xpcall(second, handler, FLUSH)
      if ok then
        if second_state.failing > 0 then second_state.failing = 0 end
      elseif failed(second_state, e) then
        stop = true
      end
    end
    if stop then return row end
]]
local NEWS = [[
    if news[row-1] ~= 0 then
      counter[0] = counter[0] + 1
      local ok, e = xpcall(first, handler, engine, t, key)
      if ok then
        if first_state.failing > 0 then first_state.failing = 0 end
      elseif failed(first_state, e) then
        return row
      end
    end
]]
local NEWS_AND_UPDATES = [[
    local stop = false
    if news[row-1] ~= 0 then
      counter[0] = counter[0] + 1
      at[1] = 1
      enter(first_state)
      local ok, e = xpcall(first, handler, engine, t, key)
      if ok then
        if first_state.failing > 0 then first_state.failing = 0 end
      else
        stop = failed(first_state, e)
      end
      at[1] = 0
      enter(second_state)
    end
    counter[0] = counter[0] + 1
    local ok, e = xpcall(second, handler, engine, t, key, METRICS)
    if ok then
      if second_state.failing > 0 then second_state.failing = 0 end
    elseif failed(second_state, e) then
      stop = true
    end
    if stop then return row end
]]

local toppers = false -- the frame is a list
local filter_name, filter -- that votes

-- Answers: a bit per row, and what filters put in place of values.
local enabled = true
local entry = ffi.typeof("struct { uint32_t row, meter; double value; }[?]")
local replaced, replaced_size, replaced_count = ffi.new(entry, 64), 64, 0

local function answer_begin()
  local size = rshift(rows + 7, 3)
  votes = ffi.new("uint8_t[?]", size + 1)
  ffi.fill(votes, size + 1, 0xff)
  replaced_count = 0
end

function host.votes()
  votes[0] = enabled and 1 or 0
  local count = ffi.new("uint32_t[1]", replaced_count)
  return ffi.string(votes, rshift(rows + 7, 3) + 1) .. ffi.string(count, 4) .. ffi.string(replaced, 16 * replaced_count)
end

local function refuse(row)
  local i = rshift(row, 3) + 1
  votes[i] = band(votes[i], 255 - lshift(1, band(row, 7)))
end

local function replace(row, i, v)
  if replaced_count == replaced_size then
    local grown = ffi.new(entry, 2 * replaced_size)
    ffi.copy(grown, replaced, 16 * replaced_size)
    replaced, replaced_size = grown, 2 * replaced_size
  end
  local e = replaced[replaced_count]
  e.row, e.meter, e.value = row, i, v
  replaced_count = replaced_count + 1
end

local function ignored(what)
  if host.first_time(filter_name .. what) then complain(filter_name, filter, what .. "; it is ignored") end
end

-- The second result of a filter (2.4). m is the table that the flush callback will get, if there is one.
local function override(row, over, m)
  if toppers then return end
  if type(over) ~= "table" then return ignored("the second result is a " .. type(over) .. ", not an array of values") end
  for i = 1, meters do
    local v = over[i]
    if type(v) == "number" and v >= 0 and v - v == 0 then
      replace(row, i - 1, v)
      if m then m[i] = v end
    elseif v ~= nil and v ~= -1 then
      ignored("a value for meter " .. i - 1 .. " is neither a number from 0 on nor -1")
    end
  end
  if #over > meters then ignored("there is a value for meter " .. #over - 1 .. ", and the group has " .. meters .. " meters") end
end

local function nonsense(v)
  complain(filter_name, filter, "it returned " .. (v == nil and "nothing" or "a " .. type(v)) .. ", not true or false: this counts as true")
end

local made = {}
local function loop(kind, body)
  local n = values and meters or 0
  local name = kind .. n .. (toppers and "t" or "")
  local f = made[name]
  if f then return f end
  local words = { METERS = n, METRICS = metrics(n) }
  if toppers then
    words.ARGUMENTS, words.FLUSH, words.VALUE = "engine, key, v[o]", "engine, key, m", "local m = v[o]"
  else
    words.ARGUMENTS, words.FLUSH, words.VALUE = "engine, t, key, " .. words.METRICS, "engine, t, key, m", "local m = " .. words.METRICS
  end
  f = assert(loadstring((gsub(BEGIN .. body .. END, "%u%u%u%u+", words)), "=weir/" .. kind))
  f = f(xpcall, ffi.string, host.handler, failed, host.counter, at, engine, override, refuse, nonsense, host.enter)
  made[name] = f
  return f
end

local TO_BEGIN, TO_ROWS, TO_END, DONE = 1, 2, 3, 4
local phase = DONE
local first_name, second_name, begin_name, end_name

function host.window(text)
  read(text)
  toppers, phase = false, TO_BEGIN
  host.now = instance_time
  first_name, second_name, begin_name, end_name = "onflushfilter", "onflush", "onbeginflush", "onendflush"
  answer_begin()
end

function host.toppers(text)
  read(text)
  toppers, phase = true, TO_BEGIN
  host.now = instance_time
  first_name, second_name, begin_name, end_name = "ontopperflushfilter", "ontopperflush", "onbegintopperflush", "onendtopperflush"
  answer_begin()
end

function host.second(text)
  read(text)
  toppers, phase = false, TO_ROWS
  part = part - band(part, FIRST + LAST)
  first_name, second_name = "onnewkey", "onupdate"
end

-- The callbacks that a row is for now: they end when they have failed too often.
local function both()
  local a, as, b, bs
  if news or mode == DECIDE or mode == VOTE then a, as = callback(first_name) end
  if news and values or not news and mode ~= VOTE and (enabled or not toppers or mode == FLUSH) then b, bs = callback(second_name) end
  return a, as, b, bs
end

local function run(kind, body, a, as, b, bs, row, last)
  return loop(kind, body)(a, as, b, bs, instance_time, values, ends, news, keys, row, last)
end

local function steps(row, last)
  while row < last do
    local a, as, b, bs = both()
    filter, filter_name = a, first_name
    local before = row
    host.enter(as or bs)
    if a and b then
      if news then
        row = run("newkeys and updates", NEWS_AND_UPDATES, a, as, b, bs, row, last)
      else
        row = run("filter and flush", BOTH, a, as, b, bs, row, last)
      end
      as.calls, bs.calls = as.calls + row - before, bs.calls + row - before
    elseif a then
      if news then
        row = run("newkeys", NEWS, a, as, nil, nil, row, last)
      else
        row = run("filter", FILTER, a, as, nil, nil, row, last)
      end
      as.calls = as.calls + row - before
    elseif b then
      row = run("flush", ONE, b, bs, nil, nil, row, last)
      bs.calls = bs.calls + row - before
    else
      return rows
    end
  end
  return row
end

local function begin()
  if band(part, FIRST) == 0 or mode == FLUSH then return end
  enabled = true
  local f = callback(begin_name)
  if not f then return end
  if not toppers then return call(begin_name, f, engine, instance_time) end
  local ok, v = call(begin_name, f, engine, instance_time, meter)
  if not ok then return end
  enabled = v ~= false
  if type(v) ~= "boolean" then
    complain(begin_name, f, "it returned " .. (v == nil and "nothing" or "a " .. type(v)) .. ", not true or false: this counts as true")
  end
end

-- Goes on with the frame, for so many rows. True at its end. A step that is stopped because a callback takes too
-- long is followed by another one, which goes on behind that callback.
function host.step(limit)
  if phase == TO_BEGIN then
    phase = TO_ROWS
    begin()
  end
  if phase == TO_ROWS then
    local row = at[0]
    if at[1] == 1 then -- the first of two callbacks was stopped: a vote is a yes
      at[1] = 0
      local _, _, f, s = both()
      if f then
        host.enter(s)
        run("flush", ONE, f, s, nil, nil, row - 1, row)
      end
    end
    row = steps(row, min(row + limit, rows))
    at[0] = row
    if row < rows then
      host.finish()
      return false
    end
    phase = TO_END
  end
  if phase == TO_END then
    phase = DONE
    if band(part, LAST) ~= 0 and mode ~= VOTE then
      local f = callback(end_name)
      if f and toppers then
        call(end_name, f, engine, meter)
      elseif f then
        call(end_name, f, engine, instance_time)
      end
    end
  end
  payload, values, ends, news, keys = nil, nil, nil, nil, nil
  host.finish()
  return true
end

-- Hands over what was collected.
function host.finish()
  host.send()
  host.report()
end
