-- ts_utils: the front that scripts use (section 3). What it answers comes from native.front, the same
-- functions that the HTTP endpoints use; drivers are objects as section 2 describes them.
local native, hooks = ...
local ts_common, ts_schema = require("ts_common"), require("ts_schema")
local front = native.front

local ts_utils = {
  metrics = ts_common.metrics, aggregation = ts_common.aggregation, schema = ts_schema,
  getLastError = ts_common.getLastError, getLastErrorMessage = ts_common.getLastErrorMessage,
  custom_schemas = {}, MAX_EXPORT_TIME = 60,
}

-- What scripts hear nothing of, and what the front says itself.
local silent = { unknown_schema = true, no_series = true, bad_range = true, missing_tag = true }

-- Calls a function of the front. An error is nil or false to scripts, and a line in the log.
local function ask(name, arguments, failed)
  local value, code, message = front(name, arguments)
  if not code then return value end
  if not silent[code] then native.log("error", message) end
  if code == "OPERATION_TOO_SLOW" then ts_common.setLastError(code, message) end
  return failed
end

--- Schemas (3.1, 3.4)

local schemas = {} -- objects that scripts have, by name; they may change them

local function adjustments()
  local step = ntop.getPref("ntopng.prefs.ts_resolution")
  return {
    HighResolution = ntop.getPref("ntopng.prefs.timeseries_driver") == "influxdb" and step ~= "300",
    StatsPeriod = not interface.isPacketInterface() and interface.getStatsUpdateFreq() or 0,
  }
end

function ts_utils.getSchema(name)
  local schema = schemas[name]
  if not schema then
    local form = front("getSchema", { name = name })
    if not form then return nil end
    schema = ts_schema.of(form)
    schema.declared_step = schema.options.insertion_step or schema.options.step
    schemas[name] = schema
  end
  local options, adjust = schema.options, adjustments()
  local step = schema.declared_step or options.step
  schema.declared_step = step
  if adjust.HighResolution and step == 300 and not options.is_system_schema then step = 60 end
  options.insertion_step, options.step = step, math.max(step, adjust.StatsPeriod)
  return schema
end

function ts_utils.newSchema(name, options)
  local existing = ts_utils.getSchema(name)
  if existing then
    native.log("warning", "Schema already defined: " .. tostring(name))
    return existing
  end
  local schema = ts_schema:new(name, options)
  if schema then
    schema.declared_step = options.insertion_step or options.step
    schemas[name] = schema
  end
  return schema
end

-- A schema of a script is declared when its first metric is there, and again as more come.
function hooks.changed(schema)
  if schemas[schema.name] ~= schema then return end
  schema.declare = #schema._metrics > 0
end

local function declare(name)
  local schema = schemas[name]
  if schema and schema.declare then
    schema.declare = nil
    ask("newSchema", { name = name, options = schema.options, _tags = schema._tags, _metrics = schema._metrics })
  end
end

local granularities = { "min", "5mins", "hour", "day" }

-- Loads the schema files of an installation, as far as they are there.
function ts_utils.loadSchemas()
  local root = ntop.getDirs().scriptdir
  if root == "" then return end
  for _, name in ipairs({ "ts_second", "ts_minute", "ts_5min", "ts_5sec", "ts_hour" }) do
    if ntop.exists(root .. "/lua/modules/timeseries/schemas/" .. name .. ".lua") then require(name) end
  end
  local below = root .. "/lua/modules/timeseries/ts_schemas"
  if not ntop.isdir(below) then below = ntop.getCurrentScriptsDir() .. "/ts_schemas" end
  for group in pairs(ntop.readdir(below)) do
    for _, granularity in ipairs(granularities) do
      local file = below .. "/" .. group .. "/" .. granularity .. ".lua"
      if ntop.exists(file) then dofile(file) end
    end
  end
  for _, name in ipairs({ "ts_minute_custom", "ts_5min_custom" }) do
    if ntop.exists(root .. "/lua/modules/timeseries/custom/" .. name .. ".lua") then
      ts_utils.custom_schemas[name] = require(name)
    end
  end
end

function ts_utils.getLoadedSchemas()
  local loaded = {}
  for _, form in ipairs(front("getLoadedSchemas") or {}) do loaded[form.name] = ts_utils.getSchema(form.name) end
  for name, schema in pairs(schemas) do loaded[name] = schema end
  return loaded
end

function ts_utils.getPossiblyChangedSchemas() return ask("getPossiblyChangedSchemas", {}, {}) end

--- Drivers

function ts_utils.listActiveDrivers() return hooks.drivers() end

function ts_utils.getQueryDriver()
  local drivers = hooks.drivers()
  return drivers[2] or drivers[1]
end

function ts_utils.getDriverName()
  local name = ntop.getPref("ntopng.prefs.timeseries_driver")
  return name ~= "" and name or "rrd"
end

--- Writing (3.3)

function ts_utils.append(schema_name, values, timestamp)
  if values == nil then error("append needs a table of tags and metrics", 2) end
  declare(schema_name)
  local sample = { schema = schema_name, values = values, time = timestamp, late = ntop.isDeadlineApproaching() or nil }
  local refused = ask("append", { sample })
  if not refused then return false end
  return refused[1] == nil -- why, the front has said
end

--- Questions

local defaults = {
  min_num_points = 0, max_num_points = 80, fill_value = 0 / 0, min_value = 0, max_value = math.huge,
  top = 8, calculate_stats = true, initial_point = false, with_series = false, no_timeout = true,
  fill_series = false, keep_nan = false,
}

function ts_utils.getQueryOptions(overrides)
  local options = {}
  for k, v in pairs(defaults) do options[k] = v end
  for k, v in pairs(overrides or {}) do options[k] = v end
  return options
end

local function question(schema_name, tags, tstart, tend, options)
  local q = ts_utils.getQueryOptions(options)
  q.schema, q.tags, q.epoch_begin, q.epoch_end, q.schema_info = schema_name, tags, tstart, tend, nil
  return q
end

function ts_utils.query(schema_name, tags, tstart, tend, options)
  declare(schema_name)
  return ask("query", question(schema_name, tags, tstart, tend, options))
end

function ts_utils.timeseries_query(options)
  declare(options.schema)
  return ask("timeseries_query", question(options.schema, options.tags, options.epoch_begin, options.epoch_end, options))
end

function ts_utils.timeseries_query_top(options)
  if ntop.getPref("ntopng.prefs.topk_heuristic_precision") == "disabled" then return nil end
  return ask("timeseries_query_top", question(options.schema, options.tags, options.epoch_begin, options.epoch_end, options))
end

function ts_utils.queryTopk(schema_name, tags, tstart, tend, options)
  return ask("queryTopk", question(schema_name, tags, tstart, tend, options))
end

function ts_utils.queryTotal(schema_name, tstart, tend, tags, options)
  return ask("queryTotal", question(schema_name, tags, tstart, tend, options))
end

function ts_utils.queryMean(schema_name, tstart, tend, tags, options)
  return ask("queryMean", question(schema_name, tags, tstart, tend, options))
end

function ts_utils.queryLastValues(schema_name, tstart, tend, tags, options)
  return ask("queryLastValues", question(schema_name, tags, tstart, tend, options))
end

local function listing(schema_name, filter, start_time, end_time)
  return { schema = schema_name, tags = filter or {}, start_time = start_time or 0, end_time = end_time }
end

function ts_utils.listSeries(schema_name, filter, start_time, end_time)
  return ask("listSeries", listing(schema_name, filter, start_time, end_time))
end

local batch = {}

function ts_utils.batchListSeries(schema_name, filter, start_time)
  batch[#batch + 1] = listing(schema_name, filter, start_time)
  return #batch
end

function ts_utils.getBatchedListSeriesResult()
  local asked = batch
  batch = {}
  if #asked == 0 then return {} end
  local lists = ask("batchListSeries", asked)
  local results = {}
  for i = 1, #asked do
    local list = lists and lists[i]
    if type(list) == "table" then results[i] = list end
  end
  return results
end

function ts_utils.exists(schema_name, filter)
  if not hooks.drivers()[1] then return nil end
  return ask("exists", listing(schema_name, filter, 0), false)
end

function ts_utils.get_stats_options(basic)
  local options = ts_utils.getQueryOptions({ top = 30, calculate_stats = true, with_series = true, keep_nan = false })
  for _, name in ipairs({ "tags", "schema", "epoch_begin", "epoch_end" }) do options[name] = basic[name] end
  return options
end

--- Upkeep

function ts_utils.delete(schema_prefix, tags)
  if not ntop.isAdministrator() then
    native.log("error", "Not Admin")
    return false
  end
  return front("delete", { prefix = schema_prefix, tags = tags or {} }) == true -- the front says why not
end

function ts_utils.deleteOldData(ifid)
  if not ntop.isAdministrator() then
    native.log("error", "Not Admin")
    return false
  end
  ask("deleteOldData", {}) -- the value is nil, as scripts know it
end

local setup_done = "ntopng.cache.ts_setup_ok"

function ts_utils.setup()
  if ntop.getCache(setup_done) == "1" then return true end
  local driver = ts_utils.getQueryDriver()
  if not driver or not driver.setup or not driver:setup(ts_utils) then return false end
  ntop.setCache(setup_done, "1")
  return true
end

function ts_utils.setupAgain() ntop.delCache(setup_done) end

--- InfluxQL for the schemas about the server itself

local function of_internal(measurement, expression)
  return function(driver, schema, tstart, tend, step)
    return "SELECT " .. expression .. ' FROM "_internal".."' .. measurement .. '" WHERE time >= ' .. tstart ..
      "000000000 AND time <= " .. tend .. "000000000 GROUP BY TIME(" .. step .. "s)"
  end
end

ts_utils.get_memory_size_query = of_internal("runtime", "MEAN(Sys) - MEAN(HeapReleased) AS mem_bytes")
ts_utils.get_write_success_query = of_internal("write", "NON_NEGATIVE_DERIVATIVE(MAX(pointReq), 1s) AS points")

return ts_utils
