-- Writes metrics to InfluxDB in its line protocol, over plain HTTP.
--
-- Parameters:
--   host       of the server (127.0.0.1)
--   port       (8086)
--   database   (centreon)
--   batch      how many lines go in one request (1000)
--
-- Weir makes metrics of the performance data of services: the connector needs the
-- category storage. It works with both generations of events.

local settings = { host = "127.0.0.1", port = 8086, database = "centreon", batch = 1000 }
local lines = {}

function init(conf)
  for name, value in pairs(conf) do
    if settings[name] == nil then
      error("unknown parameter " .. name)
    end
    settings[name] = value
  end
  broker_log:set_parameters(2, "")
end

-- filter is asked before an event is built: only metrics of either generation.
function filter(category, element)
  return category == 3 and (element == 1 or element == 9)
end

local function escape(text)
  return (text:gsub("([ ,=])", "\\%1"))
end

-- request posts a body and returns the status, or nothing and why.
local function request(body)
  local socket = broker_tcp_socket.new()
  local ok, why = pcall(function()
    socket:connect(settings.host, settings.port)
    socket:write(table.concat({
      "POST /write?precision=s&db=" .. broker.url_encode(settings.database) .. " HTTP/1.1",
      "Host: " .. settings.host .. ":" .. settings.port,
      "Connection: close",
      "Content-Length: " .. #body,
      "", body }, "\r\n"))
    local answer = ""
    repeat
      local part = socket:read()
      answer = answer .. part
    until part == "" or answer:find("\r\n", 1, true)
    return answer
  end)
  socket:close()
  if not ok then
    return nil, why
  end
  local status = why:match("^HTTP/1%.[01] (%d+)")
  return tonumber(status), "no HTTP answer"
end

local function deliver()
  if #lines == 0 then
    return true
  end
  local status, why = request(table.concat(lines, "\n"))
  if not status then
    broker_log:error(1, "cannot send " .. #lines .. " lines: " .. why)
    return false
  end
  if status >= 500 then
    broker_log:error(1, "the server answered " .. status .. " to " .. #lines .. " lines; they are sent again")
    return false
  end
  if status >= 300 then -- sending them again would not help
    broker_log:error(1, "the server answered " .. status .. ": " .. #lines .. " lines are dropped")
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
      .. " value=" .. value .. " " .. (metric.ctime or metric.time)
  end
  if #lines < settings.batch then
    return #lines == 0
  end
  return deliver()
end

function flush()
  return deliver()
end
