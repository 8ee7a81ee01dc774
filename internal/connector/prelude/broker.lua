-- broker.json_encode (5.3.1) in Lua, so that LuaJIT compiles it.
local event_json = ...
local type, tostring, next, error, select = type, tostring, next, error, select
-- Not next itself: the loop LuaJIT makes of that ends early now and then when it is compiled.
local function each(t, k) return next(t, k) end

local find, gsub, format, byte, concat = string.find, string.gsub, string.format, string.byte, table.concat

local short = { ['"'] = '\\"', ["\\"] = "\\\\", ["\t"] = "\\t", ["\r"] = "\\r", ["\n"] = "\\n" }
local function escape(c) return short[c] or format("\\u%04X", byte(c)) end

local function quote(s)
  if find(s, '[%z\1-\31"\\]') then s = gsub(s, '[%z\1-\31"\\]', escape) end
  return '"' .. s .. '"'
end

local function number(v)
  if v ~= v then return "nan" end
  return tostring(v)
end

local function encode(v, out, n, depth)
  local kind = type(v)
  if kind == "string" then
    out[n] = quote(v)
  elseif kind == "number" then
    out[n] = number(v)
  elseif kind == "boolean" then
    out[n] = v and "true" or "false"
  elseif kind == "table" then
    if depth > 200 then error("json_encode: the table is nested deeper than 200 levels, or contains itself", 0) end
    local first = next(v)
    if first == nil then
      out[n] = "[]"
    elseif first == 1 then
      out[n] = "["
      local separator = false
      for k, x in each, v do
        if type(k) == "number" then
          if separator then
            n = n + 1
            out[n] = ","
          end
          separator = true
          n = encode(x, out, n + 1, depth + 1)
        end
      end
      n = n + 1
      out[n] = "]"
    else
      local before = "{"
      for k, x in each, v do
        local key = type(k)
        if key ~= "string" then
          if key ~= "number" then error("json_encode: a key of a table is a " .. key .. ", it must be a string or a number", 0) end
          k = number(k)
        end
        out[n] = before
        out[n + 1] = quote(k)
        out[n + 2] = ":"
        n = encode(x, out, n + 3, depth + 1) + 1
        before = ","
      end
      out[n] = "}"
    end
  else
    local text = kind == "userdata" and event_json(v)
    if not text then error("json_encode: type not implemented", 0) end
    out[n] = text
  end
  return n
end

return function(...)
  if select("#", ...) == 0 then error("bad argument #1 to 'json_encode' (value expected)", 2) end
  local out = {}
  return concat(out, "", 1, encode((...), out, 1, 0))
end
