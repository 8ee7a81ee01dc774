-- The operators of Lua 5.3 that LuaJIT has no syntax for, and loaders that read sources which use them. Integers
-- are exact up to 2^53; what is longer keeps its upper bits as far as a float has room.
local native = ...
local floor, bit, error, type, tonumber = math.floor, bit, error, type, tonumber
local high = 4294967296 -- 2^32

local function integer(v)
  local n = tonumber(v)
  if not n then error("attempt to perform bitwise operation on a " .. type(v) .. " value", 3) end
  if n ~= floor(n) then error("number has no integer representation", 3) end
  return n
end

local function low_word(w) return w % high end -- results of bit are signed

-- Both halves of 64 bits, the upper one with the sign.
local function binary(f)
  return function(a, b)
    a, b = integer(a), integer(b)
    local upper = f(bit.tobit(floor(a / high)), bit.tobit(floor(b / high)))
    return upper * high + low_word(f(bit.tobit(a % high), bit.tobit(b % high)))
  end
end

local op = { band = binary(bit.band), bor = binary(bit.bor), bxor = binary(bit.bxor) }

function op.bnot(a) return -1 - integer(a) end

local function wrapped(n) -- to 64 bits with a sign
  n = n % (high * high)
  if n >= high * high / 2 then n = n - high * high end
  return n
end

function op.shl(a, n)
  a, n = integer(a), integer(n)
  if n < 0 then return op.shr(a, -n) end
  if n >= 64 then return 0 end
  return wrapped(a * 2 ^ n)
end

function op.shr(a, n)
  a, n = integer(a), integer(n)
  if n < 0 then return op.shl(a, -n) end
  if n >= 64 then return 0 end
  if n == 0 then return a end
  local upper, lower = floor(a / high) % high, a % high
  if n >= 32 then return floor(upper / 2 ^ (n - 32)) end
  return floor(upper / 2 ^ n) * high + (upper % 2 ^ n) * 2 ^ (32 - n) + floor(lower / 2 ^ n)
end

function op.idiv(a, b) return floor(a / b) end

__weir = op

--- Loaders

local raw_load, raw_loadstring, open = load, loadstring, io.open
local searchpath, loaders = package.searchpath, package.loaders

function loadstring(source, ...) return raw_loadstring(native.operators(source), ...) end

function load(source, ...)
  if type(source) == "string" then source = native.operators(source) end
  return raw_load(source, ...)
end

function loadfile(path, mode, env)
  if not path then return nil, "cannot read standard input" end
  local file, err = open(path, "rb")
  if not file then return nil, "cannot open " .. err end
  local source = file:read("*a")
  file:close()
  if not source then return nil, "cannot read " .. path end
  source = native.operators((source:gsub("^#[^\n]*", "")))
  if env ~= nil then return raw_load(source, "@" .. path, mode, env) end
  return raw_load(source, "@" .. path, mode)
end

function dofile(path)
  local chunk, err = loadfile(path)
  if not chunk then error(err, 2) end
  return chunk()
end

loaders[2] = function(name)
  local path, err = searchpath(name, package.path)
  if not path then return err end
  local chunk
  chunk, err = loadfile(path)
  if not chunk then error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. err, 0) end
  return function() return chunk(name, path) end
end
