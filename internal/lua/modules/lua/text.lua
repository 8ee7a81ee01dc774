-- luatz.timetable and LuaXML.
local preload = package.preload
local concat, floor, type, error, tostring = table.concat, math.floor, type, error, tostring
local ipairs, tonumber, setmetatable, sort = ipairs, tonumber, setmetatable, table.sort
local date, select, next = os.date, select, next

-- Not pairs: the loop that LuaJIT makes of that can end early in a function that calls itself.
local function each(t, k) return next(t, k) end

preload["luatz.timetable"] = function()
  local Timetable = {}
  Timetable.__index = Timetable

  -- The seconds keep their fraction.
  function Timetable:rfc_3339()
    local whole = floor(self.sec)
    return ("%04d-%02d-%02dT%02d:%02d:%02d.%03d"):format(self.year, self.month, self.day, self.hour, self.min, whole,
      floor((self.sec - whole) * 1000 + 1e-6))
  end
  Timetable.__tostring = Timetable.rfc_3339

  function Timetable:timestamp()
    local y, m = self.year, self.month
    if m <= 2 then y, m = y - 1, m + 12 end -- days since 1970-01-01
    local days = 365 * y + floor(y / 4) - floor(y / 100) + floor(y / 400) + floor((153 * (m - 3) + 2) / 5) + self.day - 719469
    return days * 86400 + self.hour * 3600 + self.min * 60 + self.sec
  end

  function Timetable:strftime(format) return date("!" .. format, floor(self:timestamp())) end

  local M = {}
  function M.new_from_timestamp(timestamp)
    local n = tonumber(timestamp)
    if not n then error("bad argument #1 to 'new_from_timestamp' (number expected, got " .. type(timestamp) .. ")", 2) end
    local t = date("!*t", floor(n))
    if not t then error("bad argument #1 to 'new_from_timestamp' (time out of range)", 2) end
    t.isdst = nil
    t.sec = t.sec + (n - floor(n))
    return setmetatable(t, Timetable)
  end
  return M
end

preload.LuaXML = function()
  local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
  local entities = { amp = "&", lt = "<", gt = ">", quot = '"', apos = "'" }
  local max_depth = 200

  local function escape(s) return (tostring(s):gsub('[&<>"]', escapes)) end

  local function utf8_char(n)
    local char = string.char
    if n < 0x80 then return char(n) end
    if n < 0x800 then return char(0xc0 + floor(n / 0x40), 0x80 + n % 0x40) end
    if n < 0x10000 then return char(0xe0 + floor(n / 0x1000), 0x80 + floor(n / 0x40) % 0x40, 0x80 + n % 0x40) end
    return char(0xf0 + floor(n / 0x40000), 0x80 + floor(n / 0x1000) % 0x40, 0x80 + floor(n / 0x40) % 0x40, 0x80 + n % 0x40)
  end

  local function unescape(s)
    return (s:gsub("&(#?)(x?)(%w+);", function(number, hex, name)
      if number == "" then return entities[hex .. name] end
      local n = tonumber(name, hex == "x" and 16 or 10)
      if n and n >= 0 and n <= 0x10ffff then return utf8_char(n) end
      return nil
    end))
  end

  local Element = {}
  Element.__index = Element

  local function write(out, element, indent)
    if type(element) ~= "table" then
      out[#out + 1] = indent .. escape(element) .. "\n"
      return
    end
    local names = {}
    for name in each, element do
      if type(name) == "string" then names[#names + 1] = name end
    end
    sort(names)
    local tag = tostring(element[0])
    local open = indent .. "<" .. tag
    for _, name in ipairs(names) do open = open .. " " .. name .. '="' .. escape(element[name]) .. '"' end
    if #element == 0 then
      out[#out + 1] = open .. " />\n"
    elseif #element == 1 and type(element[1]) ~= "table" then
      out[#out + 1] = open .. ">" .. escape(element[1]) .. "</" .. tag .. ">\n"
    else
      out[#out + 1] = open .. ">\n"
      for _, child in ipairs(element) do write(out, child, indent .. "  ") end
      out[#out + 1] = indent .. "</" .. tag .. ">\n"
    end
  end

  function Element.__tostring(element)
    local out = {}
    write(out, element, "")
    return concat(out)
  end

  -- Returns nil when the text is malformed.
  local function eval(text)
    if type(text) ~= "string" then error("bad argument #1 to 'eval' (string expected, got " .. type(text) .. ")", 3) end
    local root
    local open, at = {}, 1
    local function add_text(s)
      if #open > 0 then
        if s:find("%S") then open[#open][#open[#open] + 1] = s:match("^%s*(.-)%s*$") end
        return true
      end
      return not s:find("%S")
    end
    while at <= #text do
      local from = text:find("<", at, true)
      if not from then
        if not add_text(text:sub(at)) then return nil end
        break
      end
      if from > at and not add_text(unescape(text:sub(at, from - 1))) then return nil end
      local to
      if text:sub(from, from + 3) == "<!--" then
        to = select(2, text:find("-->", from + 4, true))
      elseif text:sub(from, from + 8) == "<![CDATA[" then
        local first, last = text:find("]]>", from + 9, true)
        if not first or #open == 0 then return nil end
        local top = open[#open]
        top[#top + 1], to = text:sub(from + 9, first - 1), last
      elseif text:sub(from + 1, from + 1):find("[?!]") then
        to = text:find(">", from, true)
      elseif text:sub(from + 1, from + 1) == "/" then
        local name, last = text:match("^([^%s<>/]+)%s*>()", from + 2)
        if not name or #open == 0 or open[#open][0] ~= name then return nil end
        open[#open], to = nil, last - 1
      else
        local name, next_at = text:match("^([%a_:\128-\255][^%s<>/=\"']*)()", from + 1)
        if not name or root and #open == 0 or #open >= max_depth then return nil end
        local element = setmetatable({ [0] = name }, Element)
        while true do
          local key, quote, value_at = text:match("^%s+([^%s<>/=\"']+)%s*=%s*([\"'])()", next_at)
          if not key then break end
          local stop = text:find(quote, value_at, true)
          if not stop or text:sub(value_at, stop - 1):find("<", 1, true) then return nil end
          element[key], next_at = unescape(text:sub(value_at, stop - 1)), stop + 1
        end
        local slash, last = text:match("^%s*(/?)>()", next_at)
        if not slash then return nil end
        if #open > 0 then open[#open][#open[#open] + 1] = element else root = element end
        if slash == "" then open[#open + 1] = element end
        to = last - 1
      end
      if not to then return nil end
      at = to + 1
    end
    if #open > 0 then return nil end
    return root
  end

  xml = {
    eval = function(text) return eval(text) end,
    str = function(element) return tostring(element) end,
  }
  return xml
end
