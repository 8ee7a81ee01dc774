-- What scripts for Lua 5.2 and 5.3 expect and LuaJIT lacks. Syntax cannot be added.
local select, type, floor, getmetatable = select, type, math.floor, getmetatable
local raw_metatable, next, raw_ipairs = debug.getmetatable, next, ipairs
local char, byte, concat = string.char, string.byte, table.concat

-- LuaJIT makes a special loop of for ... in pairs(t). When it compiles one that is in a function which
-- calls itself, the loop can end at once (versions of 2022). With a function that is not next it does not.
local function each(t, k) return next(t, k) end

function pairs(t)
  if getmetatable(t) ~= nil then
    local meta = raw_metatable(t)
    local method = meta.__pairs
    if method then
      local f, s, k = method(t)
      return f, s, k
    end
  end
  if type(t) ~= "table" then
    error("bad argument #1 to 'pairs' (table expected, got " .. (t == nil and "nil" or type(t)) .. ")", 2)
  end
  return each, t, nil
end

function ipairs(t)
  if getmetatable(t) ~= nil then
    local method = raw_metatable(t).__ipairs
    if method then
      local f, s, k = method(t)
      return f, s, k
    end
    if type(t) ~= "table" or raw_metatable(t).__index then -- 5.3 reads through __index
      return function(s, i)
        local v = s[i + 1]
        if v ~= nil then return i + 1, v end
      end, t, 0
    end
  end
  return raw_ipairs(t)
end

table.unpack = table.unpack or unpack
table.pack = table.pack or function(...) return { n = select("#", ...), ... } end

-- Integers are floats without a fraction; beyond 2^53 they are not exact.
math.maxinteger, math.mininteger = 9007199254740991, -9007199254740991

function math.type(x)
  if type(x) ~= "number" then return nil end
  if x == floor(x) and x - x == 0 then return "integer" end
  return "float"
end

function math.tointeger(x)
  if type(x) == "string" then x = tonumber(x) end
  if type(x) == "number" and x == floor(x) and x - x == 0 then return x end
  return nil
end

function math.ult(a, b)
  if a < 0 then return b < 0 and a < b end
  return b < 0 or a < b
end

function rawlen(v)
  local kind = type(v)
  if kind ~= "string" and kind ~= "table" then error("table or string expected", 2) end
  return #v -- LuaJIT asks __len of userdata only
end

package.searchers = package.searchers or package.loaders

bit32 = bit32 or {
  band = function(...) return bit.band(-1, ...) % 0x100000000 end,
  bor = function(...) return bit.bor(0, ...) % 0x100000000 end,
  bxor = function(...) return bit.bxor(0, ...) % 0x100000000 end,
  bnot = function(x) return bit.bnot(x) % 0x100000000 end,
  lshift = function(x, n) return n > 31 and 0 or bit.lshift(x, n) % 0x100000000 end,
  rshift = function(x, n) return n > 31 and 0 or bit.rshift(x, n) % 0x100000000 end,
}

utf8 = { charpattern = "[%z\1-\127\194-\244][\128-\191]*" }

local function encode(c)
  if c < 0x80 then return char(c) end
  if c < 0x800 then return char(0xc0 + floor(c / 0x40), 0x80 + c % 0x40) end
  if c < 0x10000 then
    return char(0xe0 + floor(c / 0x1000), 0x80 + floor(c / 0x40) % 0x40, 0x80 + c % 0x40)
  end
  if c > 0x10ffff then error("value out of range", 3) end
  return char(0xf0 + floor(c / 0x40000), 0x80 + floor(c / 0x1000) % 0x40, 0x80 + floor(c / 0x40) % 0x40, 0x80 + c % 0x40)
end

function utf8.char(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = encode((select(i, ...))) end
  return concat(parts)
end

-- Returns code point and length at i, or nil when the bytes are not UTF-8.
local function decode(s, i)
  local c = byte(s, i)
  if not c then return nil end
  if c < 0x80 then return c, 1 end
  local n, low
  if c >= 0xc2 and c < 0xe0 then n, low, c = 2, 0x80, c - 0xc0
  elseif c >= 0xe0 and c < 0xf0 then n, low, c = 3, 0x800, c - 0xe0
  elseif c >= 0xf0 and c < 0xf5 then n, low, c = 4, 0x10000, c - 0xf0
  else return nil end
  for k = 1, n - 1 do
    local b = byte(s, i + k)
    if not b or b < 0x80 or b > 0xbf then return nil end
    c = c * 0x40 + b - 0x80
  end
  if c < low or c > 0x10ffff or (c >= 0xd800 and c <= 0xdfff) then return nil end
  return c, n
end

local function absolute(s, i, default)
  i = i or default
  if i < 0 then i = #s + i + 1 end
  return i
end

function utf8.len(s, i, j)
  i, j = absolute(s, i, 1), absolute(s, j, -1)
  local count = 0
  while i <= j do
    local c, n = decode(s, i)
    if not c then return nil, i end
    count, i = count + 1, i + n
  end
  return count
end

function utf8.codepoint(s, i, j)
  i = absolute(s, i, 1)
  j = absolute(s, j, i)
  local points = {}
  while i <= j do
    local c, n = decode(s, i)
    if not c then error("invalid UTF-8 code", 2) end
    points[#points + 1], i = c, i + n
  end
  return unpack(points)
end

function utf8.codes(s)
  local at = 1
  return function()
    if at > #s then return nil end
    local c, n = decode(s, at)
    if not c then error("invalid UTF-8 code", 2) end
    local i = at
    at = at + n
    return i, c
  end
end

local function continuation(s, i)
  local b = byte(s, i)
  return b and b >= 0x80 and b < 0xc0
end

function utf8.offset(s, n, i)
  i = absolute(s, i, n > 0 and 1 or #s + 1)
  if n == 0 then
    while i > 1 and continuation(s, i) do i = i - 1 end
    return i
  end
  if continuation(s, i) then error("initial position is a continuation byte", 2) end
  while n < 0 and i > 1 do
    repeat i = i - 1 until i <= 1 or not continuation(s, i)
    n = n + 1
  end
  if n < 0 then return nil end
  while n > 1 and i <= #s do
    repeat i = i + 1 until not continuation(s, i)
    n = n - 1
  end
  if n > 1 then return nil end
  return i
end
