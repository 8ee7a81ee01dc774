-- Writes metrics to InfluxDB 1 in its line protocol, over plain HTTP.
--
-- Parameters:
--   host       of the server (127.0.0.1)
--   port       (8086)
--   database   (centreon)
--   user       who may write to it, when the server asks for one
--   password
--   batch      how many lines go in one request (1000)
--
-- Weir makes metrics of the performance data of services: the connector needs the
-- category storage. It works with both generations of events.

local settings = { host = "127.0.0.1", port = 8086, database = "centreon", user = "", password = "", batch = 1000 }
local lines = {}
local failed -- the second in which a request failed last

function init(conf)
  for name, value in pairs(conf) do
    if settings[name] == nil then
      error("unknown parameter " .. name .. ": want host, port, database, user, password or batch")
    end
    settings[name] = value
  end
  broker_log:set_parameters(2, "")
end

-- filter is asked before an event is built: only metrics of either generation.
function filter(category, element)
  return category == 3 and (element == 1 or element == 9)
end

-- escape writes a tag. A backslash at its end would escape what comes behind it,
-- and there is no way to write one: the names of disks in Windows have it.
local function escape(text)
  return (text:gsub("\\$", "/"):gsub("([ ,=])", "\\%1"))
end

-- number writes a value so that nothing of it is lost.
local function number(value)
  local short = string.format("%.15g", value)
  return tonumber(short) == value and short or string.format("%.17g", value)
end

-- request posts a body. It returns the status and why it is what it is, or nothing and why.
local function request(body)
  local head = {
    "POST /write?precision=s&db=" .. broker.url_encode(settings.database) .. " HTTP/1.1",
    "Host: " .. settings.host .. ":" .. settings.port,
    "Connection: close",
    "Content-Length: " .. #body,
  }
  if settings.user ~= "" then
    head[#head + 1] = "Authorization: Basic " .. broker.base64_encode(settings.user .. ":" .. settings.password)
  end
  local socket = broker_tcp_socket.new()
  local ok, answer = pcall(function()
    socket:connect(settings.host, settings.port)
    socket:write(table.concat(head, "\r\n") .. "\r\n\r\n" .. body)
    local all = ""
    repeat
      local part = socket:read()
      all = all .. part
    until part == "" -- the server has closed
    return all
  end)
  socket:close()
  if not ok then
    return nil, answer
  end
  local status, text = answer:match("^HTTP/1%.[01] (%d+) ?([^\r\n]*)")
  return tonumber(status), answer:match("\r\n[Xx]%-[Ii]nfluxdb%-[Ee]rror: *([^\r\n]*)") or text or "no HTTP answer"
end

-- True says that every event so far is safe.
local function deliver()
  if #lines == 0 then
    return true
  end
  local status, why = request(table.concat(lines, "\n"))
  if not status then
    broker_log:error(1, "cannot send " .. #lines .. " lines: " .. why)
  elseif status == 400 then -- the server has taken those it understands, and sending the others again would not help
    broker_log:error(1, "the server does not take some of " .. #lines .. " lines: " .. why)
  elseif status > 299 then
    broker_log:error(1, "the server answered " .. status .. " (" .. why .. ") to " .. #lines .. " lines; they are sent again")
  end
  if not status or status > 299 and status ~= 400 then
    failed = os.time()
    return false
  end
  lines = {}
  return true
end

function write(metric)
  local value = metric.value
  if value == value and value ~= 1 / 0 and value ~= -1 / 0 then
    local host = broker_cache:get_hostname(metric.host_id) or tostring(metric.host_id)
    local service = broker_cache:get_service_description(metric.host_id, metric.service_id) or tostring(metric.service_id)
    lines[#lines + 1] = "metric,host=" .. escape(host) .. ",service=" .. escape(service) .. ",name=" .. escape(metric.name)
      .. " value=" .. number(value) .. " " .. (metric.ctime or metric.time)
  end
  if #lines == 0 then
    return true
  end
  if #lines < settings.batch or failed == os.time() then -- not a request per event while the server is down
    return false
  end
  return deliver()
end

-- Called when nothing waits, and once a second while too much does.
function flush()
  return deliver()
end
