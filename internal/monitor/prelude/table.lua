-- The global table T (specification 3.3 to 3.8). The host uses none of it: a script may put another table in its place.
local host = ...
local native, o = host.native, host.o
local bit, error, ipairs, select, tonumber, tostring, type, unpack, setmetatable = bit, error, ipairs, select, tonumber, tostring, type, unpack, setmetatable
local byte, char, find, format, gsub, match, sub = string.byte, string.char, string.find, string.format, string.gsub, string.match, string.sub
local floor = math.floor

local T = {
  contextid = o.context, execution_contextid = o.context, backend_engineid = o.engine, enginetype = o.half,
  probeid = o.probe_id, probeversion = o.version, context_name = o.context_name, contextname = o.context_name, args = o.args,
  monitor_group_name = o.title, monitor_group_guid = o.guid,
}
if o.half == "backend" then
  for _, kind in ipairs({ "countergroups", "alertgroups", "resourcegroups", "ftsgroups", "sessiongroups" }) do T[kind] = o[kind] end
end

local levels = { EMERG = 0, FATAL = 1, ALERT = 2, CRIT = 3, ERROR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8 }
local types = {
  COUNTER = 2, RATE_COUNTER = 4, GAUGE = 5, RUNNING_COUNTER = 8, AVERAGE = 9, DELTA_RATE_COUNTER = 10, MAXIMUM = 11, MINIMUM = 12,
}
T.K = { loglevel = levels, vartype = types, vartypes = types }

function T.log(level, ...)
  if select("#", ...) == 0 then return native.log(8, tostring(level)) end
  native.log(tonumber(level) or 8, tostring((...)))
end
function T.logerror(message) native.log(4, tostring(message)) end
function T.logwarning(message) native.log(5, tostring(message)) end
function T.loginfo(message) native.log(7, tostring(message)) end
function T.logdebug(message) native.log(8, tostring(message)) end

-- A path is "Node>Node" or "//Node/Node".
local function lookup(values)
  return function(path)
    path = tostring(path)
    if sub(path, 1, 2) == "//" then path = gsub(sub(path, 3), "/", ">") end
    path = gsub(path, "%s*>%s*", ">")
    return values[match(path, "^%s*(.-)%s*$")]
  end
end
T.env = {
  configfile = o.config_file, domain_configfile = o.domain_config_file,
  get_config = lookup(o.env), get_domain_config = lookup(o.domain_env),
}

local util = {}
T.util = util

local function u32(n) return n % 0x100000000 end

function util.ntop(n)
  n = u32(tonumber(n) or error("bad argument #1 to 'ntop' (number expected, got " .. type(n) .. ")", 2))
  return format("%d.%d.%d.%d", floor(n / 0x1000000), floor(n / 0x10000) % 0x100, floor(n / 0x100) % 0x100, n % 0x100)
end

function util.pton(s)
  local a, b, c, d = match(tostring(s), "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if not a or a > 255 or b > 255 or c > 255 or d > 255 then return nil end
  return ((a * 256 + b) * 256 + c) * 256 + d
end

function util.bor(p, q) return u32(bit.bor(p, q)) end
function util.band(p, q) return u32(bit.band(p, q)) end
function util.testbit32(n, b) return b >= 0 and b < 32 and bit.band(bit.rshift(n, b), 1) == 1 end

function util.bitval32(n, start, width)
  return floor(u32(n) / 2 ^ (start - width + 1)) % 2 ^ width
end

function util.split(s, delimiter)
  local parts, from = {}, 1
  if delimiter == "" then error("bad argument #2 to 'split' (a delimiter is empty)", 2) end
  while true do
    local first, last = find(s, delimiter, from, true)
    if not first then
      parts[#parts + 1] = sub(s, from)
      return parts
    end
    parts[#parts + 1] = sub(s, from, first - 1)
    from = last + 1
  end
end

function util.splitm(s, delimiter) return unpack(util.split(s, delimiter)) end

-- MurmurHash2 with seed 0.
local M = 0x5bd1e995
local tobit, lshift, rshift, bxor, band, bor = bit.tobit, bit.lshift, bit.rshift, bit.bxor, bit.band, bit.bor

local function multiply(a) return tobit(band(a, 0xffff) * M + lshift(tobit(rshift(a, 16) * M), 16)) end

function util.hash(s, bits)
  s = tostring(s)
  local n, i = #s, 1
  local h = tobit(n)
  while n - i >= 3 do
    local a, b, c, d = byte(s, i, i + 3)
    local k = multiply(bor(a, lshift(b, 8), lshift(c, 16), lshift(d, 24)))
    k = multiply(bxor(k, rshift(k, 24)))
    h = bxor(multiply(h), k)
    i = i + 4
  end
  local left = n - i + 1
  if left > 0 then
    local a, b, c = byte(s, i, n)
    h = multiply(bxor(h, bor(a, lshift(b or 0, 8), lshift(c or 0, 16))))
  end
  h = multiply(bxor(h, rshift(h, 13)))
  h = u32(bxor(h, rshift(h, 15)))
  bits = bits or 32
  if bits >= 32 then return h end
  return h % 2 ^ bits
end

function util.bin2hex(s)
  return (gsub(s, ".", function(c) return format("%02x", byte(c)) end))
end

function util.hex2bin(s)
  if #s % 2 == 1 or find(s, "%X") then return nil end
  return (gsub(s, "%x%x", function(digits) return char(tonumber(digits, 16)) end))
end

-- Colon calls: each has the object before its arguments.
local T_host = {}
T.host = T_host

function T_host:log(level, ...) T.log(level, ...) end
function T_host:get_homenets()
  local nets = {}
  for i, net in ipairs(o.homes) do nets[i] = { net[1], net[2], ip = net[1], netmask = net[2] } end
  return nets
end
function T_host:is_homenet(x)
  if type(x) == "number" then x = util.ntop(x) end
  return native.is_home(tostring(x))
end
function T_host:is_homenet_key(key) return native.is_home_key(tostring(key)) end
function T_host:get_configpath() return o.config_path end
function T_host:get_datapath() return o.data_path end
function T_host:prepare_config() native.log(5, "T.host:prepare_config is not supported: it returns nil") end
function T_host:createkey(guid, key, label) host.engine:update_key_info(guid, key, label) end
function T_host:broadcast(msgid, _, message)
  host.engine:post_message_backend(msgid, message)
  host.engine:post_message_frontend(msgid, message)
end

T.re2, T.ac = native.re2, native.ac
host.T = T
_G.T = T
