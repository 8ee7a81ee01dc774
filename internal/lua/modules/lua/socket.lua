-- socket, socket.url, socket.http and ssl.https.
local native = ...
local preload = package.preload
local concat, type, error, tostring = table.concat, type, error, tostring
local pairs, ipairs, tonumber = pairs, ipairs, tonumber

preload.socket = function()
  local M = { gettime = native.gettime, sleep = native.sleep, tcp = native.tcp }
  function M.connect(host, port)
    local s = native.tcp()
    local ok, err = s:connect(host, port)
    if not ok then return nil, err end
    return s
  end
  return M
end

preload["socket.url"] = function()
  local M = {}
  function M.escape(s)
    return (s:gsub("[^A-Za-z0-9_]", function(c) return ("%%%02x"):format(c:byte()) end))
  end
  function M.unescape(s)
    return (s:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
  end
  function M.parse(url, default)
    local parsed = {}
    for k, v in pairs(default or {}) do parsed[k] = v end
    if not url or url == "" then return nil, "invalid url" end
    url = url:gsub("#(.*)$", function(s) parsed.fragment = s return "" end)
    url = url:gsub("^([%w][%w%+%-%.]*):", function(s) parsed.scheme = s return "" end)
    url = url:gsub("^//([^/%?]*)", function(s) parsed.authority = s return "" end)
    url = url:gsub("%?(.*)", function(s) parsed.query = s return "" end)
    url = url:gsub("%;(.*)", function(s) parsed.params = s return "" end)
    if url ~= "" then parsed.path = url end
    local authority = parsed.authority
    if not authority then return parsed end
    authority = authority:gsub("^([^@]*)@", function(s) parsed.userinfo = s return "" end)
    authority = authority:gsub(":(%d*)$", function(s) parsed.port = s return "" end)
    if authority ~= "" then parsed.host = authority:match("^%[(.+)%]$") or authority end
    local userinfo = parsed.userinfo
    if userinfo then
      userinfo = userinfo:gsub(":([^:]*)$", function(s) parsed.password = s return "" end)
      parsed.user = userinfo
    end
    return parsed
  end
  function M.build(parsed)
    local url = parsed.path or ""
    if parsed.params then url = url .. ";" .. parsed.params end
    if parsed.query then url = url .. "?" .. parsed.query end
    local authority = parsed.authority
    if parsed.host then
      authority = parsed.host
      if authority:find(":", 1, true) then authority = "[" .. authority .. "]" end
      if parsed.port then authority = authority .. ":" .. tostring(parsed.port) end
      local userinfo = parsed.userinfo
      if parsed.user then userinfo = parsed.user .. (parsed.password and ":" .. parsed.password or "") end
      if userinfo then authority = userinfo .. "@" .. authority end
    end
    if authority then url = "//" .. authority .. url end
    if parsed.scheme then url = parsed.scheme .. ":" .. url end
    if parsed.fragment then url = url .. "#" .. parsed.fragment end
    return url
  end
  return M
end

-- What both modules do. The body is read whole before it is sent, and before the sink gets it.
local function perform(M, r, secure)
  local url = r.url
  if type(url) ~= "string" or url == "" then return nil, "invalid host '" .. tostring(url) .. "'" end
  local scheme = url:match("^(%a[%w+.-]*)://")
  if not scheme then
    url = (secure and "https" or "http") .. "://" .. url:gsub("^//", "")
  elseif scheme:lower() ~= "https" and (secure or scheme:lower() ~= "http") then
    return nil, "unsupported scheme '" .. scheme .. "'"
  end
  local body
  if r.source then
    local parts = {}
    while true do
      local chunk, err = r.source()
      if err then return nil, err end
      if not chunk then break end
      parts[#parts + 1] = chunk
    end
    body = concat(parts)
  end
  local headers, has_agent = {}, false
  for name, value in pairs(r.headers or {}) do
    name = tostring(name)
    if name:lower() == "user-agent" then has_agent = true end
    headers[#headers + 1] = name .. ": " .. tostring(value)
  end
  if not has_agent then headers[#headers + 1] = "User-Agent: " .. M.USERAGENT end
  local method = (r.method or "GET"):upper()
  local userpwd
  if r.user then userpwd = r.user .. ":" .. (r.password or "") end
  local result = native.http({
    url = url, method = method, headers = headers, body = body, userpwd = userpwd,
    follow = r.redirect ~= false and (method == "GET" or method == "HEAD"), secure = secure,
    proxy = r.proxy or M.PROXY or "", timeout = M.TIMEOUT or -1,
    verify_peer = r.verify ~= nil and r.verify ~= "none", verify_host = r.verify ~= nil and r.verify ~= "none",
    cainfo = r.cafile, sslcert = r.certificate, sslkey = r.key,
  })
  if result.error then return nil, result.socket_error end
  local received = {}
  for _, h in ipairs(result.headers) do
    local name = h[1]:lower()
    received[name] = received[name] and received[name] .. ", " .. h[2] or h[2]
  end
  if r.sink then
    local b = result.body
    for at = 1, #b, 8192 do
      local ok, err = r.sink(b:sub(at, at + 8191))
      if not ok then return nil, err or "sink failed" end
    end
    r.sink(nil)
  end
  return 1, result.status, received, result.line
end

local function module(secure)
  local M = { TIMEOUT = 60, USERAGENT = "LuaSocket 3.0" }
  function M.request(r, body)
    if type(r) == "string" then
      local parts = {}
      local simple = { url = r, sink = function(chunk) parts[#parts + 1] = chunk return 1 end }
      if body then
        simple.method = "POST"
        simple.headers = { ["content-type"] = "application/x-www-form-urlencoded" }
        simple.source = function()
          local chunk = body
          body = nil
          return chunk
        end
      end
      local ok, code, headers, line = perform(M, simple, secure)
      if not ok then return nil, code end
      return concat(parts), code, headers, line
    end
    if type(r) ~= "table" then
      error("bad argument #1 to 'request' (a URL or a table expected, got " .. type(r) .. ")", 2)
    end
    return perform(M, r, secure)
  end
  return M
end

preload["socket.http"] = function() return module(false) end
preload["ssl.https"] = function() return module(true) end
