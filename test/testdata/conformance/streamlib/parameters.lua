-- Parameters with their defaults. A parameter overrides a default of the same type only.

local parameters = {}

function parameters.new(conf, logger)
  local self = {
    accepted_categories = "neb,bam", accepted_elements = "host_status,service_status",
    hard_only = 1, acknowledged = 0, in_downtime = 0, enable_dedup = 1, skip_anon_events = 1,
    max_buffer_size = 1, max_all_queues_age = 5, connection_timeout = 60, logfile = "", log_level = 1,
    url = "",
  }
  for name, value in pairs(conf) do
    if self[name] == nil then
      logger:notice("parameter " .. name .. " is not handled")
    elseif type(self[name]) ~= type(value) then
      logger:error("parameter " .. name .. " must be a " .. type(self[name]) .. ", not " .. tostring(value))
    else
      self[name] = value
    end
  end
  return self
end

return parameters
