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
  READFUNCTION = { 20012, "reader" }, UPLOAD = { 46, "flag" }, INFILESIZE = { 14, "number" }, HTTPPOST = { 10024, "form" },
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

-- Forms: parts of multipart/form-data (RFC 7578).
local Form = {}
Form.__index = Form

local function part(form, name, filename, content, kind, headers)
  if type(kind) == "table" and headers == nil then kind, headers = nil, kind end
  if type(name) ~= "string" then error("bad argument #1 to the form (name of a part expected, got " .. type(name) .. ")", 3) end
  if type(content) == "number" then content = tostring(content) end
  if type(content) ~= "string" then error("bad argument to the form (content of part '" .. name .. "' expected, got " .. type(content) .. ")", 3) end
  local function quoted(s) return '"' .. s:gsub('["\\]', "\\%0"):gsub("[\r\n]", " ") .. '"' end
  local lines = { "Content-Disposition: form-data; name=" .. quoted(name) }
  if filename then lines[1] = lines[1] .. "; filename=" .. quoted(filename) end
  if kind or filename then lines[2] = "Content-Type: " .. (kind or "application/octet-stream") end
  for _, line in ipairs(headers or {}) do lines[#lines + 1] = tostring(line) end
  for _, line in ipairs(lines) do
    if line:find("[\r\n]") then error("bad argument to the form (a header of part '" .. name .. "' has more than one line)", 3) end
  end
  form[#form + 1] = { head = table.concat(lines, "\r\n"), content = content }
  return form
end

local function file_part(form, name, path, kind, filename, headers)
  if type(path) ~= "string" then error("bad argument #2 to 'add_file' (path expected, got " .. type(path) .. ")", 3) end
  local file, err = io.open(path, "rb")
  if not file then error("cannot add a file to the form: " .. err, 3) end
  local content = file:read("*a")
  file:close()
  return part(form, name, filename or path:match("[^/]*$"), content, kind, headers)
end

function Form:add_content(name, content, kind, headers) return part(self, name, nil, content, kind, headers) end
function Form:add_buffer(name, filename, content, kind, headers) return part(self, name, filename, content, kind, headers) end
function Form:add_file(name, path, kind, filename, headers) return file_part(self, name, path, kind, filename, headers) end
function Form:free() for i = #self, 1, -1 do self[i] = nil end end

-- The body of a form, and the boundary of its parts, which no part contains.
local function form_body(form)
  local out, boundary = {}, nil
  repeat
    boundary = ("-"):rep(24) .. ("%08x%08x"):format(math.random(0, 0x7fffffff), math.random(0, 0x7fffffff))
    local free = true
    for _, p in ipairs(form) do free = free and not p.content:find(boundary, 1, true) end
  until free
  for _, p in ipairs(form) do
    out[#out + 1] = "--" .. boundary .. "\r\n" .. p.head .. "\r\n\r\n"
    out[#out + 1] = p.content
    out[#out + 1] = "\r\n"
  end
  out[#out + 1] = "--" .. boundary .. "--\r\n"
  return table.concat(out), boundary
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

-- What options do to the method.
local modes = { POSTFIELDS = "POST", POST = "POST", HTTPPOST = "FORM", HTTPGET = "GET", NOBODY = "HEAD", UPLOAD = "PUT" }

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
  elseif kind == "writer" or kind == "reader" then
    local f, method = value, kind == "writer" and "write" or "read"
    if type(f) == "function" then
      if context ~= nil then value = function(x) return f(context, x) end end
    elseif (type(f) == "table" or type(f) == "userdata") and f[method] then
      value = function(x) return f[method](f, x) end
    else
      wrong(name, "function", value, level + 1)
    end
  elseif kind == "form" then
    if getmetatable(value) ~= Form then wrong(name, "form", value, level + 1) end
  end
  local mode = modes[name]
  if name == "POSTFIELDS" or mode and value then
    o.mode = mode
  elseif mode and mode == o.mode then -- switched off
    o.mode = nil
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

-- maxBody bounds what a read callback gives, in bytes.
local max_body = 64 * 1024 * 1024

-- All that a read callback gives: at most size bytes when that is known.
local function read_all(callback, size)
  local parts, n = {}, 0
  while not (size and n >= size) do
    local chunk = callback(16384)
    if chunk == nil or chunk == "" then break end
    if type(chunk) ~= "string" then raise(42, "Operation was aborted by an application callback") end
    n = n + #chunk
    if n > max_body then raise(63, "Maximum file size exceeded: the request has more than 64 MiB") end
    parts[#parts + 1] = chunk
  end
  local body = table.concat(parts)
  return size and body:sub(1, size) or body
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
    local size = o.INFILESIZE and o.INFILESIZE >= 0 and o.INFILESIZE or nil
    body = o.POSTFIELDS or o.READFUNCTION and read_all(o.READFUNCTION, size) or ""
    headers[#headers + 1] = "Content-Type: application/x-www-form-urlencoded"
  elseif mode == "FORM" then
    local boundary
    body, boundary = form_body(o.HTTPPOST)
    headers[#headers + 1] = "Content-Type: multipart/form-data; boundary=" .. boundary
    mode = "POST"
  elseif mode == "PUT" then
    local size = o.INFILESIZE and o.INFILESIZE >= 0 and o.INFILESIZE or nil
    body = o.READFUNCTION and read_all(o.READFUNCTION, size) or ""
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
  if type(s) ~= "string" and type(s) ~= "number" then error("bad argument #1 to 'escape' (string expected, got " .. type(s) .. ")", 2) end
  return (tostring(s):gsub("[^A-Za-z0-9%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

function Easy:unescape(s)
  check(self)
  if type(s) ~= "string" and type(s) ~= "number" then error("bad argument #1 to 'unescape' (string expected, got " .. type(s) .. ")", 2) end
  return (tostring(s):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

function Easy:__tostring() return self.closed and "cURL easy handle (closed)" or "cURL easy handle" end

local module = {}
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

-- A part by name is its content, or a table with content, data (and name, of a file) or file (a path).
function module.form(given)
  local form = setmetatable({}, Form)
  if given ~= nil and type(given) ~= "table" then error("bad argument #1 to 'form' (table expected, got " .. type(given) .. ")", 2) end
  local names = {}
  for name in pairs(given or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local p = given[name]
    if type(p) ~= "table" then
      part(form, name, nil, p)
    elseif p.file then
      file_part(form, name, p.file, p.type, p.name, p.headers)
    else
      part(form, name, p.name, p.data or p.content, p.type, p.headers)
    end
  end
  return form
end

local function load() return module end

preload.cURL, preload.lcurl = load, load
