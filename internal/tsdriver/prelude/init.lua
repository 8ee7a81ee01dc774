-- Puts a state together: the globals ntop and interface, the built-in modules, and the calls of a driver.
local native, o, sources = ...
local type, pcall, tostring, setmetatable, error = type, pcall, tostring, setmetatable, error

--- Globals (4.6). Functions resolve through a metatable, and scripts may put their own in their place.

local function finish(name, ok, ...)
  if ok then return ... end
  native.log("error", name .. ": " .. tostring((...)))
end

-- A wrong argument is a line in the log and no result.
local function guarded(name, f)
  return function(...) return finish(name, pcall(f, ...)) end
end

local function object(name, functions)
  local known = {}
  for k, f in pairs(functions) do known[k] = guarded(name .. "." .. k, f) end
  return setmetatable({}, {
    __index = function(_, k)
      local f = known[k]
      if f or type(k) ~= "string" then return f end
      f = function() native.unknown(name .. "." .. k) end -- R27: nil, and its name once in the log
      known[k] = f
      return f
    end,
  })
end

ntop, interface = object("ntop", native.ntop), object("interface", native.interface)
_SESSION, _GET, _POST, _SERVER = { user = "admin" }, {}, {}, {}
dirs = ntop.getDirs()

--- Modules

local function module(name, ...)
  local chunk, err = loadstring(sources[name], "=weir/" .. name .. ".lua")
  if not chunk then error(err, 0) end
  local arguments = { ... }
  return function() return chunk(unpack(arguments)) end
end

module("operators", native)()

local hooks = {
  drivers = function() return {} end,
  changed = function() end,
}
native.changed = function(schema) hooks.changed(schema) end

local built_in = {
  ts_common = module("ts_common"), ts_schema = module("ts_schema", native), ts_utils = module("ts_utils", native, hooks),
}
built_in.ts_utils_core = function() return require("ts_utils") end

-- What installations have in other editions only (R28).
local fallback = {
  snmp_utils = function() return { get_snmp_interface_label = function() return nil end } end,
  snmp_cached_dev = function() return { create = function() return nil end } end,
}

if o.parity then -- R36: the files of the installation come first
  for name, load in pairs(built_in) do fallback[name] = load end
else
  for name, load in pairs(built_in) do package.preload[name] = load end
end

local searchers = package.loaders
searchers[#searchers + 1] = function(name) return fallback[name] or "\n\tno built-in module '" .. name .. "'" end

--- Calls

local host, driver, objects = {}, nil, {}

local function table_of(v) return type(v) == "table" and v or nil end

-- Runs the file of a driver.
local function class_of(chunk)
  local class = chunk()
  if type(class) ~= "table" or type(class.new) ~= "function" then
    error("the file does not return a table with a function new: it is not a timeseries driver", 0)
  end
  return class
end

-- The names of the functions that the file of a driver returns, sorted.
function host.inspect(chunk)
  local names = {}
  for name, f in pairs(class_of(chunk)) do
    if type(name) == "string" and type(f) == "function" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- Runs the file of a driver and makes the driver (2.1).
function host.load(chunk, options)
  local class = class_of(chunk)
  driver = table_of(class:new(options))
  if not driver then error("new did not return a driver", 0) end
  hooks.drivers = function() return { driver } end
  return true
end

-- Uses the drivers of the configuration, for scripts that are no drivers themselves.
function host.native_driver()
  local ts_utils = require("ts_utils")
  local d = { append = function(_, schema, timestamp, tags, metrics)
    local values = {}
    for k, v in pairs(tags) do values[k] = v end
    for k, v in pairs(metrics) do values[k] = v end
    return ts_utils.append(schema.name, values, timestamp)
  end }
  function d:query(schema, tstart, tend, tags, options) return ts_utils.query(schema.name, tags, tstart, tend, options) end
  function d:queryTotal(schema, tstart, tend, tags, options) return ts_utils.queryTotal(schema.name, tstart, tend, tags, options) end
  function d:topk(schema, tags, tstart, tend, options) return ts_utils.queryTopk(schema.name, tags, tstart, tend, options) end
  function d:listSeries(schema, filter, _, tstart, tend) return ts_utils.listSeries(schema.name, filter, tstart, tend) end
  function d:delete(prefix, tags) return ts_utils.delete(prefix, tags) end
  function d:deleteOldData() return native.front("deleteOldData", {}) == true end
  function d:export() native.front("export", {}) end
  function d:getLatestTimestamp() return (native.front("getLatestTimestamp", {})) end
  function d:setup() return native.front("setup", {}) == true end
  hooks.drivers = function() return { d } end
end

-- Makes schema number id of a definition.
function host.schema(id, form) objects[id] = require("ts_schema").of(form) end

function host.has(name) return type(driver[name]) == "function" end

-- How the running append does: points that are done, of those how many were refused and how many raised
-- an error, and the first texts of those.
local done, refused, failed, texts = 0, 0, 0, {}

function host.progress() return done, refused, failed, texts end

-- Appends points: for each the number of its schema, its time, its tags and its metrics, one after another.
function host.append(flat, messages)
  local append, i, n, selected = driver.append, 1, #flat, nil
  done, refused, failed, texts = 0, 0, 0, {}
  while i <= n do
    local schema, timestamp = objects[flat[i]], flat[i + 1]
    i = i + 2
    local tags, metrics = {}, {}
    local names = schema._tags
    for k = 1, #names do
      tags[names[k]] = flat[i]
      i = i + 1
    end
    names = schema._metrics
    for k = 1, #names do
      local v = flat[i]
      if v == v then metrics[names[k]] = v end
      i = i + 1
    end
    if tags.ifid ~= selected then
      selected = tags.ifid
      native.select(selected)
    end
    local ok, taken = pcall(append, driver, schema, timestamp, tags, metrics)
    if not ok then
      failed = failed + 1
      if #texts < messages then texts[#texts + 1] = tostring(taken) end
    elseif not taken then
      refused = refused + 1
    end
    done = done + 1
  end
end

local function options_of(given) return require("ts_utils").getQueryOptions(given) end

-- The calls of the documented contract (2.1), with the number of the schema in its place.
function host.query(id, tstart, tend, tags, given)
  native.select(tags.ifid)
  return driver:query(objects[id], tstart, tend, tags, options_of(given))
end

function host.queryTotal(id, tstart, tend, tags, given)
  native.select(tags.ifid)
  return driver:queryTotal(objects[id], tstart, tend, tags, options_of(given))
end

function host.topk(id, tags, tstart, tend, given, top_tags)
  native.select(tags.ifid)
  return driver:topk(objects[id], tags, tstart, tend, options_of(given), top_tags)
end

function host.listSeries(id, filter, wildcards, tstart, tend)
  native.select(filter.ifid)
  return driver:listSeries(objects[id], filter, wildcards, tstart, tend)
end

-- Those of the style with one table (2.3).
local function one_table(id, tags, tstart, tend, given)
  native.select(tags.ifid)
  local options = options_of(given)
  options.schema, options.schema_info, options.tags, options.epoch_begin, options.epoch_end = objects[id].name, objects[id], tags, tstart, tend
  return options
end

function host.timeseries_query(id, tags, tstart, tend, given)
  return driver:timeseries_query(one_table(id, tags, tstart, tend, given))
end

function host.timeseries_top(id, tags, tstart, tend, given, top_tags)
  return driver:timeseries_top(one_table(id, tags, tstart, tend, given), top_tags)
end

function host.delete(prefix, tags) return driver:delete(prefix, tags) end
function host.deleteOldData(ifid) return driver:deleteOldData(ifid) end
function host.getLatestTimestamp(ifid) return driver:getLatestTimestamp(ifid) end
function host.export() driver:export() end
function host.setup() return driver:setup(require("ts_utils")) end
function host.get_health() return driver:get_health() end

return function(name, ...) return host[name](...) end
