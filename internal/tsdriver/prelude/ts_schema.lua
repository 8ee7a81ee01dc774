-- ts_schema: a schema as scripts and drivers see it (1.1).
local native = ...
local ts_common = require("ts_common")
local ts_schema = {}
ts_schema.__index = ts_schema

local max_name = 19 -- a data source of a round robin database has no longer one

function ts_schema:new(name, options)
  if not options or not options.step then
    native.log("error", "cannot define the schema " .. tostring(name) .. ": the option step is missing")
    return nil
  end
  options.metrics_type = options.metrics_type or ts_common.metrics.counter
  return setmetatable({
    name = name, options = options, _tags = {}, _metrics = {}, tags = {}, metrics = {},
    retention = native.archives(options.step),
  }, ts_schema)
end

local function add(list, set, name)
  if set[name] then return end
  list[#list + 1], set[name] = name, 1
end

local function accept(schema, what, name)
  if name == "measurement" then return false end
  if type(name) == "string" and #name <= max_name then return true end
  native.log("error", "cannot add the " .. what .. " " .. tostring(name) .. " to the schema " .. schema.name .. ": it has more than " .. max_name .. " characters")
  return false
end

function ts_schema:addTag(name)
  if accept(self, "tag", name) then
    add(self._tags, self.tags, name)
    native.changed(self)
  end
end

function ts_schema:addMetric(name)
  if accept(self, "metric", name) then
    add(self._metrics, self.metrics, name)
    native.changed(self)
  end
end

-- A schema that is declared elsewhere; names are those of its definition, whatever their length.
function ts_schema.of(form)
  local s = ts_schema:new(form.name, form.options)
  for _, name in ipairs(form._tags) do add(s._tags, s.tags, name) end
  for _, name in ipairs(form._metrics) do add(s._metrics, s.metrics, name) end
  return s
end

function ts_schema:allTagsDefined(tags)
  for _, name in ipairs(self._tags) do
    if tags[name] == nil then return false, name end
  end
  return true
end

function ts_schema:verifyTags(tags)
  local complete, lacking = self:allTagsDefined(tags)
  if not complete then
    native.log("error", "missing tag '" .. lacking .. "' in schema " .. self.name)
    return nil
  end
  local own = {}
  for _, name in ipairs(self._tags) do own[name] = tags[name] end
  return own
end

function ts_schema:verifyTagsAndMetrics(values)
  local tags, metrics = {}, {}
  local function refuse(text)
    native.log("error", text)
    return nil
  end
  for _, name in ipairs(self._tags) do
    local v = values[name]
    if v == nil then return refuse("Missing mandatory tag '" .. name .. "' while using schema " .. self.name) end
    if self.name:match(":ndpi$") and tostring(v):find("[/\\]") then
      return refuse("Invalid tag '" .. name .. "' in schema " .. self.name .. ", it contains '\\' or '/' characters")
    end
    tags[name] = v
  end
  for _, name in ipairs(self._metrics) do
    if values[name] == nil then return refuse("Missing mandatory metric '" .. name .. "' while using schema " .. self.name) end
    metrics[name] = values[name]
  end
  for name in pairs(values) do
    if not self.tags[name] and not self.metrics[name] then
      return refuse("unknown tag/metric '" .. tostring(name) .. "' in schema " .. self.name)
    end
  end
  return tags, metrics
end

function ts_schema:getAggregationFunction()
  local name = self.options.aggregation_function
  return ts_common.aggregation[name or ""] or ts_common.aggregation.mean
end

return ts_schema
