-- Which events are wanted, and what they are completed with. Events are tables that
-- the library writes to.

local common = require("streamlib.common")

local events = {}
events.__index = events

function events.new(parameters, logger)
  local self = setmetatable({ parameters = parameters, logger = logger, wanted = {} }, events)
  local numbers = common.elements()
  for _, name in ipairs(common.split(parameters.accepted_elements, ",")) do
    if numbers[name] then
      self.wanted[numbers[name]] = name
    end
  end
  return self
end

-- accept returns the kind of an event that is wanted, with event.cache filled.
function events:accept(event)
  local kind = self.wanted[event.category .. ":" .. event.element]
  if not kind then
    return nil
  end
  event.cache = { host = broker_cache:get_host(event.host_id) }
  if not event.cache.host then
    if self.parameters.skip_anon_events == 1 then
      self.logger:debug("host " .. tostring(event.host_id) .. " is unknown")
      return nil
    end
    event.cache.host = { name = tostring(event.host_id) }
  end
  if kind == "service_status" then
    event.cache.service = broker_cache:get_service(event.host_id, event.service_id)
    if not event.cache.service then
      return nil
    end
  end
  event.cache.instance = broker_cache:get_instance_name(event.cache.host.instance_id)
  event.cache.severity = broker_cache:get_severity(event.host_id)
  local groups = broker_cache:get_hostgroups(event.host_id)
  event.cache.hostgroups = groups[1] and groups or nil
  if not self:status(event, kind) then
    return nil
  end
  event.output = event.output:gsub("\n.*", "")
  return kind
end

-- status reports whether a status is new, hard, and nobody takes care of it yet.
function events:status(event, kind)
  if event.acknowledged == nil then
    event.acknowledged = event.acknowledgement_type and event.acknowledgement_type > 0
  end
  if event.last_update == nil then
    event.last_update = event.last_check
  end
  if self.parameters.hard_only == 1 and event.state_type ~= 1 then
    return false
  end
  if self.parameters.acknowledged == 0 and event.acknowledged then
    return false
  end
  if self.parameters.in_downtime == 0 and event.scheduled_downtime_depth > 0 then
    return false
  end
  if self.parameters.enable_dedup ~= 1 then
    return true
  end
  if kind == "host_status" then
    return math.abs(event.last_hard_state_change - event.last_check) <= 20
  end
  return event.last_hard_state_change == event.last_check or event.last_hard_state_change == event.last_update
end

return events
