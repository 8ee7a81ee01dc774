-- What every part of the library needs.

local common = {}

-- generation is the major version of the events: the numbers of elements depend on it.
function common.generation()
  local major = broker.bbdo_version():match("(%d+).%d+.%d+")
  return tonumber(major)
end

function common.elements()
  local numbers = {
    [2] = { host_status = "1:14", service_status = "1:24", acknowledgement = "1:1", downtime = "1:5", metric = "3:1" },
    [3] = { host_status = "1:32", service_status = "1:29", acknowledgement = "1:45", downtime = "1:36", metric = "3:9" },
  }
  return numbers[common.generation()]
end

function common.split(text, separator)
  local all = {}
  for part in text:gmatch("[^" .. separator .. "]+") do
    all[#all + 1] = part
  end
  return all
end

return common
