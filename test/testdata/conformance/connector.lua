-- Posts statuses as JSON by the library.

local curl = require("cURL")
local logger = require("streamlib.logger")
local parameters = require("streamlib.parameters")
local events = require("streamlib.events")
local flushing = require("streamlib.flush")

local self = {}

local function send(list)
  local answer = ""
  local request = curl.easy()
    :setopt_url(self.parameters.url)
    :setopt_writefunction(function(part) answer = answer .. tostring(part) end)
    :setopt(curl.OPT_TIMEOUT, self.parameters.connection_timeout)
    :setopt(curl.OPT_HTTPHEADER, { "content-type: application/json" })
  request:setopt_postfields(broker.json_encode(list))
  request:perform()
  local code = request:getinfo(curl.INFO_RESPONSE_CODE)
  request:close()
  if code < 200 or code >= 300 then
    error("the server answered " .. code .. ": " .. answer)
  end
end

function init(conf)
  broker_api_version = 2 -- too late, so events stay tables: the library writes to them
  self.logger = logger.new(conf.logfile or "library.log", conf.log_level)
  self.parameters = parameters.new(conf, self.logger)
  self.events = events.new(self.parameters, self.logger)
  self.flush = flushing.new(self.parameters, self.logger, send)
end

local count = 0

function write(event)
  local kind = self.events:accept(event)
  if kind then
    count = count + 1
    self.flush:add(kind, {
      host = event.cache.host.name, service = event.cache.service and event.cache.service.description,
      poller = event.cache.instance, state = event.state, output = event.output,
    })
  end
  local done = flush()
  if kind then
    note(count, tostring(done))
  end
  return done
end

function flush()
  return self.flush:run()
end
