-- A collector in Lua: the load of this machine, and how much of its memory is available.
--
--   collectors:
--     - lua: {script: /etc/weir/collectors/load.lua, interval: 10s, options: {host: web1}}

local host = options.host or "localhost"

-- The first word of a file that is a number, after a pattern.
local function number_in(path, pattern)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return tonumber(text:match(pattern)) or error(path .. " does not have what was looked for")
end

local polls = {
  load = function(prefix)
    return {[prefix .. "1min"] = number_in("/proc/loadavg", "^(%S+)")}
  end,
  memory = function(prefix)
    return {[prefix .. "available"] = number_in("/proc/meminfo", "MemAvailable:%s+(%d+)") * 1024}
  end,
}

function jobs()
  local all = {}
  for name in pairs(polls) do
    all[#all + 1] = {id = name, params = {poll = name, prefix = "host." .. host .. "." .. name .. "."}}
  end
  return all
end

function perform_job(affecting_intervals, params)
  send_results(polls[params.poll](params.prefix))
end
