-- Appends every event as a line of JSON to a file.
--
-- Parameters:
--   data_file  where events go, required
--   log_file   where messages of this script go; without it they are in Weir's log
--   log_level  0 to 3, the most detailed messages that are written (1)
--   batch      how many lines are written at once (100)

local parameters = { data_file = true, log_file = true, log_level = true, batch = true }

local data_file
local batch = 100
local lines = {}

function init(conf)
  for name in pairs(conf) do
    if not parameters[name] then
      error("unknown parameter " .. name .. ": want data_file, log_file, log_level or batch")
    end
  end
  broker_log:set_parameters(conf.log_level or 1, conf.log_file or "")
  data_file = conf.data_file
  if not data_file then
    error("the parameter data_file is missing")
  end
  batch = conf.batch or batch
  broker_log:info(1, "events go to " .. data_file)
end

-- True says that every event so far is safe: Weir then forgets them. While the
-- file cannot be written the answer is false, and nothing is lost.
local function deliver()
  if #lines == 0 then
    return true
  end
  local file, why = io.open(data_file, "a")
  if not file then
    broker_log:error(1, "cannot write events: " .. why)
    return false
  end
  file:setvbuf("no") -- all lines in one write of the system
  local ok = file:write(table.concat(lines, "\n") .. "\n") and file:close()
  if not ok then
    broker_log:error(1, "cannot write events to " .. data_file)
    return false
  end
  lines = {}
  return true
end

function write(event)
  if event.host_id then
    event.host_name = broker_cache:get_hostname(event.host_id)
    if event.service_id then
      event.service_description = broker_cache:get_service_description(event.host_id, event.service_id)
    end
  end
  lines[#lines + 1] = broker.json_encode(event)
  if #lines < batch then
    return false
  end
  return deliver()
end

-- Called when nothing waits.
function flush()
  return deliver()
end
