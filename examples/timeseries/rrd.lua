-- A timeseries driver for round robin databases: a file for each series, written with rrdtool.
--
--   timeseries:
--     write:
--       - store
--       - lua: {script: examples/timeseries/rrd.lua, name: rrd, options: {retention_days: 90}}
local ts_common = require("ts_common")

local rrd = {}
rrd.__index = rrd

local functions = { mean = "AVERAGE", max = "MAX", min = "MIN", last = "LAST" }

function rrd:new(options)
  local base = options and options.base_path or ntop.getDirs().workingdir .. "/rrd"
  return setmetatable({ base = base, retention = options and options.retention_days or 30 }, rrd)
end

--- Files: <base>/<ifid>/<schema>/<tag>/.../<last tag>.rrd, where what is not a letter or a digit of a value is %XX.

local function escape(v)
  v = tostring(v)
  return v == "" and "%" or (v:gsub("[^%w%-_.]", function(c) return ("%%%02X"):format(c:byte()) end):gsub("^%.", "%%2E"))
end

local function unescape(v)
  if v == "%" then return "" end
  return (v:gsub("%%(%x%x)", function(x) return string.char(tonumber(x, 16)) end))
end

local function names(schema) -- of the tags behind ifid
  local list = {}
  for _, name in ipairs(schema._tags) do
    if name ~= "ifid" then list[#list + 1] = name end
  end
  return list
end

-- Series that belong to no interface are with those of the system.
function rrd:folder(schema_name, ifid) return self.base .. "/" .. (ifid or "-1") .. "/" .. escape(schema_name) end

function rrd:path(schema, tags)
  local list = names(schema)
  local path = self:folder(schema.name, tags.ifid)
  for i, name in ipairs(list) do path = path .. "/" .. escape(tags[name]) .. (i == #list and ".rrd" or "") end
  if #list == 0 then path = path .. "/series.rrd" end
  return path
end

--- Writing

local function number(v)
  if v == math.floor(v) then return ("%d"):format(v) end
  return ("%f"):format(v)
end

function rrd:write(schema, timestamp, tags, metrics)
  local path = self:path(schema, tags)
  local step = schema.options.insertion_step or schema.options.step
  if not ntop.notEmptyFile(path) then
    ntop.mkdir(path:match("^(.*)/"))
    local arguments = { path, step, timestamp - step }
    local heartbeat = schema.options.rrd_heartbeat or 2 * step
    local kind = schema.options.metrics_type == ts_common.metrics.counter and "DERIVE" or "GAUGE"
    for _, m in ipairs(schema._metrics) do arguments[#arguments + 1] = ("DS:%s:%s:%d:U:U"):format(m, kind, heartbeat) end
    for _, a in ipairs(schema.retention) do
      arguments[#arguments + 1] = ("RRA:%s:0.5:%d:%d"):format(functions[schema:getAggregationFunction()], a.aggregation_dp, a.retention_dp)
    end
    local err = ntop.rrd_create(unpack(arguments))
    if err then
      ntop.traceEvent(0, "rrd.lua", 75, "cannot make " .. path .. ": " .. err)
      return false
    end
  elseif timestamp <= (ntop.rrd_lastupdate(path) or 0) then
    return false
  end
  local values = {}
  for i, m in ipairs(schema._metrics) do values[i] = metrics[m] and number(metrics[m]) or "U" end
  local err = ntop.rrd_update(path, tostring(timestamp), unpack(values))
  if err then ntop.traceEvent(0, "rrd.lua", 84, "cannot write to " .. path .. ": " .. err) end
  return err == nil
end

function rrd:append(schema, timestamp, tags, metrics)
  if schema.options.is_critical_ts then return self:write(schema, timestamp, tags, metrics) end
  interface.select(tostring(tags.ifid or "-1"))
  return interface.rrd_enqueue(schema.name, timestamp, tags, metrics)
end

-- schema,tag=value,... metric=value,... timestamp
local function parse(line)
  local head, fields, timestamp = line:match("^(.+) ([^ ]+) (%d+)$")
  if not head then return nil end
  local function pairs_of(text)
    local t = {}
    for k, v in text:gmatch("([^,=]+)=([^,]*)") do t[k] = v end
    return t
  end
  local name, tags = head:match("^([^,]+),?(.*)$")
  local metrics = pairs_of(fields)
  for k, v in pairs(metrics) do metrics[k] = tonumber(v) end
  return name, tonumber(timestamp), pairs_of(tags), metrics
end

function rrd:export()
  local ts_utils = require("ts_utils")
  for ifid in pairs(interface.getIfNames()) do
    for _ = 1, math.min(interface.rrd_queue_length(ifid), 8192) do
      local line = interface.rrd_dequeue(ifid)
      if not line then break end
      local name, timestamp, tags, metrics = parse(line)
      local schema = name and ts_utils.getSchema(name)
      if not schema or not self:write(schema, timestamp, tags, metrics) then ntop.rrd_inc_num_drops(1) end
    end
  end
end

--- Questions

function rrd:query(schema, tstart, tend, tags, options)
  local path = self:path(schema, tags)
  local last = ntop.rrd_lastupdate(path)
  if not last then return nil end
  if tend - last <= 2 * schema.options.step then tend = math.min(tend, last) end
  local start, step, columns, _, count = ntop.rrd_fetch_columns(path, functions[schema:getAggregationFunction()], tstart, tend)
  if not start then return nil end
  count = math.max(count - 1, 0) -- the last row is not over
  local group = math.max(math.ceil(count / options.max_num_points), 1)
  local series = {}
  for i, m in ipairs(schema._metrics) do
    local data = {}
    for k = 1, count, group do
      local sum, known = 0, 0
      for j = k, math.min(k + group - 1, count) do
        local v = columns[m][j]
        if v == v then sum, known = sum + v, known + 1 end
      end
      local v = known > 0 and sum / known or options.fill_value
      data[#data + 1] = v == v and v < options.min_value and options.min_value or v
    end
    series[i] = { label = m, data = data }
  end
  return { start = start, step = step * group, raw_step = step, count = #series[1].data, series = series }
end

function rrd:listSeries(schema, filter, wildcards, tstart)
  local list, order = {}, names(schema)
  local function walk(folder, depth, tags)
    if depth > math.max(#order, 1) then return end
    for entry in pairs(ntop.readdir(folder)) do
      local found = {}
      for k, v in pairs(tags) do found[k] = v end
      local leaf = depth == math.max(#order, 1)
      local value = unescape(leaf and entry:gsub("%.rrd$", "") or entry)
      local name = order[depth]
      if not name or filter[name] == nil or tostring(filter[name]) == value then
        if name then found[name] = value end
        if not leaf then
          walk(folder .. "/" .. entry, depth + 1, found)
        elseif (ntop.rrd_lastupdate(folder .. "/" .. entry) or 0) >= tstart then
          list[#list + 1] = found
        end
      end
    end
  end
  for ifid in pairs(ntop.readdir(self.base)) do
    local folder = self:folder(schema.name, ifid)
    if (filter.ifid == nil or tostring(filter.ifid) == ifid) and ntop.isdir(folder) then walk(folder, 1, { ifid = ifid }) end
  end
  return #list > 0 and list or nil
end

function rrd:getLatestTimestamp() return os.time() end

--- Upkeep

-- Removes the series of the schemas with a prefix that have these tags.
function rrd:delete(schema_prefix, tags)
  local ts_utils, done = require("ts_utils"), true
  if tags.ifid and schema_prefix == "" then
    return not ntop.exists(self.base .. "/" .. tags.ifid) or ntop.rmdir(self.base .. "/" .. tags.ifid)
  end
  for name, schema in pairs(ts_utils.getLoadedSchemas()) do
    local matches = schema_prefix == "" or name:match("^([^:]*):") == schema_prefix
    for tag in pairs(tags) do matches = matches and schema.tags[tag] ~= nil end
    for _, series in ipairs(matches and self:listSeries(schema, tags, {}, 0) or {}) do
      done = os.remove(self:path(schema, series)) and done or false
    end
  end
  return done
end

function rrd:deleteOldData(ifid)
  ntop.deleteOldRRDs(self.base .. "/" .. ifid, self.retention * 86400)
  return true
end

function rrd:setup() return true end

return rrd
