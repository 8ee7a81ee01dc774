-- Posts statuses of hosts and services as JSON to a URL: each request has an array of events.
--
-- Parameters:
--   url      where events go, required
--   batch    how many events one request has at most (100)
--   timeout  of a request, in seconds (5)
--   token    sent as a bearer token when it is given

local curl = require "cURL"

local parameters = { url = true, batch = true, timeout = true, token = true }

local url, token
local batch, timeout = 100, 5
local events = {} -- as JSON
local failed      -- the second in which a request failed last

function init(conf)
  for name in pairs(conf) do
    if not parameters[name] then
      error("unknown parameter " .. name .. ": want url, batch, timeout or token")
    end
  end
  url, token = conf.url, conf.token
  if not url then
    error("the parameter url is missing")
  end
  batch, timeout = conf.batch or batch, conf.timeout or timeout
  if type(batch) ~= "number" or batch < 1 then
    error("the parameter batch must be a number from 1 on")
  end
  broker_log:set_parameters(1, "")
end

-- filter is asked before an event is built: only statuses of either generation.
function filter(category, element)
  return category == 1 and (element == 14 or element == 24 or element == 29 or element == 32)
end

-- post returns true when the server has taken the body.
local function post(body)
  local headers = { "Content-Type: application/json" }
  if token then
    headers[2] = "Authorization: Bearer " .. token
  end
  local request = curl.easy()
  local ok, why = pcall(function()
    request:setopt_url(url)
    request:setopt(curl.OPT_TIMEOUT, timeout)
    request:setopt(curl.OPT_HTTPHEADER, headers)
    request:setopt_writefunction(function() return true end) -- the answer does not matter
    request:setopt_postfields(body)
    request:perform()
    return request:getinfo(curl.INFO_RESPONSE_CODE)
  end)
  request:close()
  if not ok then
    broker_log:error(1, "cannot post events: " .. tostring(why))
    return false
  end
  if why < 200 or why > 299 then
    broker_log:error(1, "the server answered " .. why .. "; the events are sent again")
    return false
  end
  return true
end

-- True says that every event so far is safe: nothing may be left.
local function deliver()
  while #events > 0 do
    local n = math.min(#events, batch)
    if not post("[" .. table.concat(events, ",", 1, n) .. "]") then
      failed = os.time()
      return false
    end
    local rest = {}
    for i = n + 1, #events do
      rest[#rest + 1] = events[i]
    end
    events = rest
  end
  return true
end

function write(event)
  event.host_name = broker_cache:get_hostname(event.host_id)
  if event.service_id then
    event.service_description = broker_cache:get_service_description(event.host_id, event.service_id)
  end
  events[#events + 1] = broker.json_encode(event)
  if #events < batch or failed == os.time() then -- not a request per event while the server is down
    return false
  end
  return deliver()
end

-- Called when nothing waits, and once a second while too much does.
function flush()
  return deliver()
end
