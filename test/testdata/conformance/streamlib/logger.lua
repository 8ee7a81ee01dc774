-- Levels of messages: errors are 1, warnings 2, notices 1 of information, details 3.

local logger = {}
logger.__index = logger

function logger.new(file, level)
  if type(level) ~= "number" then
    level = 1
  end
  broker_log:set_parameters(level, file)
  return setmetatable({}, logger)
end

function logger:error(text) broker_log:error(1, text) end
function logger:warning(text) broker_log:warning(2, text) end
function logger:notice(text) broker_log:info(1, text) end
function logger:debug(text) broker_log:info(3, text) end

return logger
