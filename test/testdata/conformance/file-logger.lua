-- Appends host and service statuses to a file, one line of JSON each, as a first
-- connector does: no batch, no flush, legacy element numbers.

local parameters = { log_level = 2, log_file = "logger.log", data_file = "logged.json" }

function init(conf)
  for name, value in pairs(conf) do
    parameters[name] = value
  end
  broker_log:set_parameters(parameters.log_level, parameters.log_file)
  for name, value in pairs(parameters) do
    broker_log:info(2, "init: " .. name .. " is " .. value)
  end
end

local function append(text)
  local file = io.open(parameters.data_file, "a")
  io.output(file)
  io.write(text, "\n")
  io.close(file)
end

function write(d)
  if not (d.category == 1 and (d.element == 14 or d.element == 24)) then
    return true
  end
  append(broker.json_encode(d))
  return true
end
