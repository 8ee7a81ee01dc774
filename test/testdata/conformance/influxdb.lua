-- Writes metrics to InfluxDB with a queue, socket.http and ltn12, legacy element numbers.

local http = require("socket.http")
local ltn12 = require("ltn12")

local queue = {}
queue.__index = queue

function queue:new(conf)
  local made = { lines = {}, size = 3, address = "127.0.0.1", port = 8086, database = "mydb", user = "", password = "" }
  for name, value in pairs(conf) do
    made[name] = value
  end
  return setmetatable(made, queue)
end

function queue:add(d)
  local host = broker_cache:get_hostname(d.host_id)
  local service = broker_cache:get_service_description(d.host_id, d.service_id)
  if not host or not service then
    broker_log:error(1, "unknown object " .. d.host_id .. ", " .. tostring(d.service_id))
    return true
  end
  self.lines[#self.lines + 1] = service:gsub(" ", "_") .. ",host=" .. host:gsub(" ", "_") .. " " .. d.name:gsub(" ", "_") .. "=" .. d.value .. " " .. d.ctime .. "000000000"
  if #self.lines < self.size then
    return false
  end
  return self:flush()
end

function queue:flush()
  if #self.lines == 0 then
    return true
  end
  local body = table.concat(self.lines, "\n") .. "\n"
  local answer = {}
  local result, code = http.request({
    url = "http://" .. self.address .. ":" .. self.port .. "/write?db=" .. self.database .. "&u=" .. self.user .. "&p=" .. self.password,
    method = "POST",
    headers = { ["content-length"] = #body },
    source = ltn12.source.string(body),
    sink = ltn12.sink.table(answer),
  })
  if result ~= 1 or code ~= 204 then
    broker_log:error(0, "cannot write " .. #self.lines .. " metrics: " .. tostring(code) .. " " .. table.concat(answer))
    return false
  end
  self.lines = {}
  return true
end

local metrics

function init(conf)
  broker_log:set_parameters(3, "influxdb.log")
  metrics = queue:new(conf)
end

function write(d)
  if d.category ~= 3 or d.element ~= 1 then
    return true
  end
  return metrics:add(d)
end
