-- cURL and lcurl: easy handles of Lua-cURL 3.
local native = ...
local preload = package.preload
local type, error, tostring, tonumber = type, error, tostring, tonumber
local pairs, ipairs, setmetatable, getmetatable = pairs, ipairs, setmetatable, getmetatable

-- name = { number of libcurl, kind of value }
local options = {
  URL = { 10002, "string" }, TIMEOUT = { 13, "number" }, TIMEOUT_MS = { 155, "number" },
  CONNECTTIMEOUT = { 78, "number" }, CONNECTTIMEOUT_MS = { 156, "number" }, HTTPHEADER = { 10023, "list" },
  POSTFIELDS = { 10015, "bytes" }, POST = { 47, "flag" }, CUSTOMREQUEST = { 10036, "string" },
  SSL_VERIFYPEER = { 64, "flag" }, SSL_VERIFYHOST = { 81, "flag" }, PROXY = { 10004, "string" },
  PROXYUSERPWD = { 10006, "string" }, USERPWD = { 10005, "string" }, WRITEFUNCTION = { 20011, "writer" },
  HEADERFUNCTION = { 20079, "writer" }, USERAGENT = { 10018, "string" }, FOLLOWLOCATION = { 52, "flag" },
  CAINFO = { 10065, "string" }, SSLCERT = { 10025, "string" }, SSLKEY = { 10087, "string" },
  HTTPGET = { 80, "flag" }, NOBODY = { 44, "flag" }, VERBOSE = { 41, "flag" },
}
local infos = { RESPONSE_CODE = 2097154, EFFECTIVE_URL = 1048577, TOTAL_TIME = 3145731, CONTENT_TYPE = 1048594 }
local errors = {
  [1] = "UNSUPPORTED_PROTOCOL", [3] = "URL_MALFORMAT", [5] = "COULDNT_RESOLVE_PROXY", [6] = "COULDNT_RESOLVE_HOST",
  [7] = "COULDNT_CONNECT", [23] = "WRITE_ERROR", [28] = "OPERATION_TIMEDOUT", [35] = "SSL_CONNECT_ERROR",
  [42] = "ABORTED_BY_CALLBACK", [43] = "BAD_FUNCTION_ARGUMENT", [47] = "TOO_MANY_REDIRECTS", [48] = "UNKNOWN_OPTION",
  [52] = "GOT_NOTHING", [56] = "RECV_ERROR", [58] = "SSL_CERTPROBLEM", [60] = "PEER_FAILED_VERIFICATION",
  [63] = "FILESIZE_EXCEEDED", [77] = "SSL_CACERT_BADFILE",
}

local Error = {}
Error.__index = Error
function Error:no() return self.number end
function Error:msg() return self.message end
function Error:name() return errors[self.number] or "UNKNOWN" end
function Error:category() return "CURL-EASY" end
function Error:__tostring()
  return "[CURL-EASY][" .. self:name() .. "] " .. self.message .. " (" .. self.number .. ")"
end
function Error.__eq(a, b) return a.number == b.number end

local function raise(number, message) error(setmetatable({ number = number, message = message }, Error), 0) end

local by_number, by_name = {}, {}
for name, o in pairs(options) do
  by_number[o[1]], by_name[name:lower()] = name, name
end

local Easy = {}
Easy.__index = Easy

local function check(self)
  if getmetatable(self) ~= Easy then error("bad argument #1 (cURL easy handle expected, got " .. type(self) .. ")", 3) end
  if self.closed then error("cURL easy handle has been closed", 3) end
end

local function wrong(name, want, value, level)
  error("bad argument #1 to 'setopt_" .. name:lower() .. "' (" .. want .. " expected, got " .. type(value) .. ")", level + 1)
end

local function set(self, name, value, context, level)
  local kind = options[name][2]
  local o = self.options
  if kind == "string" then
    if type(value) == "number" then value = tostring(value) end
    if type(value) ~= "string" then wrong(name, "string", value, level + 1) end
  elseif kind == "bytes" then
    if type(value) ~= "string" then wrong(name, "string", value, level + 1) end
  elseif kind == "number" then
    local n = tonumber(value)
    if not n then wrong(name, "number", value, level + 1) end
    value = n
  elseif kind == "flag" then
    if type(value) == "string" then value = tonumber(value) end
    if type(value) == "number" then value = value ~= 0 end
    if type(value) ~= "boolean" then wrong(name, "boolean", value, level + 1) end
  elseif kind == "list" then
    if type(value) ~= "table" then wrong(name, "table", value, level + 1) end
    local copy = {}
    for i, line in ipairs(value) do copy[i] = tostring(line) end
    value = copy
  elseif kind == "writer" then
    local f = value
    if type(f) == "function" then
      if context ~= nil then value = function(chunk) return f(context, chunk) end end
    elseif (type(f) == "table" or type(f) == "userdata") and f.write then
      value = function(chunk) return f:write(chunk) end
    else
      wrong(name, "function", value, level + 1)
    end
  end
  if name == "POSTFIELDS" or name == "POST" and value then
    o.mode = "POST"
  elseif name == "HTTPGET" and value then
    o.mode = "GET"
  elseif name == "NOBODY" then
    o.mode = value and "HEAD" or "GET"
  end
  o[name] = value
end

local function setopt(self, key, value, context, level)
  if type(key) == "table" then
    for k, v in pairs(key) do setopt(self, k, v, nil, level + 1) end
    return self
  end
  local name = by_number[key] or type(key) == "string" and by_name[key:lower()]
  if not name then
    error("bad argument #1 to 'setopt' (unknown option: " .. tostring(key) .. ")", level + 1)
  end
  set(self, name, value, context, level + 1)
  return self
end

function Easy:setopt(key, value, context)
  check(self)
  setopt(self, key, value, context, 2)
  return self
end

function Easy:unsetopt(key)
  check(self)
  local name = by_number[key]
  if not name then error("bad argument #1 to 'unsetopt' (unknown option: " .. tostring(key) .. ")", 2) end
  self.options[name] = nil
  return self
end

for name in pairs(options) do
  Easy["setopt_" .. name:lower()] = function(self, value, context)
    check(self)
    set(self, name, value, context, 2)
    return self
  end
  Easy["unsetopt_" .. name:lower()] = function(self)
    check(self)
    self.options[name] = nil
    return self
  end
end

-- Calls a callback with a chunk; whether the transfer goes on.
local function accepted(callback, chunk)
  local ok = callback(chunk)
  if type(ok) == "number" then return ok == #chunk end
  return ok ~= false
end

local function flag(value, default)
  if value == nil then return default end
  return value
end

function Easy:perform()
  check(self)
  local o = self.options
  local url = o.URL
  if not url or url == "" then raise(3, "URL using bad/illegal format or missing URL") end
  if not url:find("^%a[%w+.-]*://") then url = "http://" .. url end
  local headers = {}
  if o.USERAGENT then headers[1] = "User-Agent: " .. o.USERAGENT end
  local body
  local mode = o.mode or "GET"
  if mode == "POST" then
    body = o.POSTFIELDS or ""
    headers[#headers + 1] = "Content-Type: application/x-www-form-urlencoded"
  end
  local own = {}
  for _, line in ipairs(o.HTTPHEADER or {}) do own[(line:match("^[^:;]*"):lower():gsub("%s", ""))] = true end
  local sent = {}
  for _, line in ipairs(headers) do
    if not own[line:match("^[^:]*"):lower()] then sent[#sent + 1] = line end
  end
  for _, line in ipairs(o.HTTPHEADER or {}) do sent[#sent + 1] = line end
  local timeout = o.TIMEOUT_MS and o.TIMEOUT_MS / 1000 or o.TIMEOUT
  local connect = o.CONNECTTIMEOUT_MS and o.CONNECTTIMEOUT_MS / 1000 or o.CONNECTTIMEOUT
  self.info = nil
  local result = native.http({
    url = url, method = o.CUSTOMREQUEST or mode, headers = sent, body = body, userpwd = o.USERPWD,
    proxy = o.PROXY, proxyuserpwd = o.PROXYUSERPWD,
    timeout = timeout and timeout > 0 and timeout or -1, connecttimeout = connect and connect > 0 and connect or -1,
    follow = flag(o.FOLLOWLOCATION, false), verify_peer = flag(o.SSL_VERIFYPEER, true),
    verify_host = flag(o.SSL_VERIFYHOST, true), cainfo = o.CAINFO, sslcert = o.SSLCERT, sslkey = o.SSLKEY,
  })
  self.info = result
  if result.error then raise(result.error, result.message) end
  local on_header = o.HEADERFUNCTION
  if on_header then
    local lines = { result.line }
    for _, h in ipairs(result.headers) do lines[#lines + 1] = h[1] .. ": " .. h[2] end
    lines[#lines + 1] = ""
    for _, line in ipairs(lines) do
      if not accepted(on_header, line .. "\r\n") then raise(23, "Failed writing header") end
    end
  end
  local text, on_body = result.body, o.WRITEFUNCTION or io.write
  result.body = nil
  for at = 1, #text, 16384 do
    if not accepted(on_body, text:sub(at, at + 16383)) then
      raise(23, "Failed writing received data to disk/application")
    end
  end
  return self
end

local function content_type(info)
  for _, h in ipairs(info.headers or {}) do
    if h[1] == "Content-Type" then return h[2] end
  end
  return nil
end

function Easy:getinfo(which)
  check(self)
  local info = self.info or {}
  if which == infos.RESPONSE_CODE then return info.status or 0 end
  if which == infos.EFFECTIVE_URL then return info.url or self.options.URL or "" end
  if which == infos.TOTAL_TIME then return info.time or 0 end
  if which == infos.CONTENT_TYPE then return content_type(info) end
  error("bad argument #1 to 'getinfo' (unknown info: " .. tostring(which) .. ")", 2)
end

for name, number in pairs(infos) do
  Easy["getinfo_" .. name:lower()] = function(self)
    check(self)
    return self:getinfo(number)
  end
end

function Easy:reset()
  check(self)
  self.options, self.info = {}, nil
  return self
end

function Easy:close()
  self.options, self.info, self.closed = {}, nil, true
end

function Easy:escape(s)
  check(self)
  return (s:gsub("[^A-Za-z0-9%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

function Easy:unescape(s)
  check(self)
  return (s:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

function Easy:__tostring() return self.closed and "cURL easy handle (closed)" or "cURL easy handle" end

local module
local function load()
  if module then return module end
  module = {}
  for name, o in pairs(options) do module["OPT_" .. name] = o[1] end
  for name, number in pairs(infos) do module["INFO_" .. name] = number end
  function module.easy(given)
    local self = setmetatable({ options = {} }, Easy)
    if given ~= nil then
      if type(given) ~= "table" then error("bad argument #1 to 'easy' (table expected, got " .. type(given) .. ")", 2) end
      setopt(self, given, nil, nil, 2)
    end
    return self
  end
  return module
end

preload.cURL, preload.lcurl = load, load
