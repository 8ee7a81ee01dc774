-- A timeseries driver for InfluxDB 1.x: points are spooled to files and sent in batches.
--
--   timeseries:
--     write:
--       - store
--       - lua:
--           script: examples/timeseries/influxdb.lua
--           name: influx
--           options: {url: "http://127.0.0.1:8086", db: weir, username: weir, password: "${INFLUX_PASSWORD}"}
local ts_common = require("ts_common")
local json = require("JSON")

local influxdb = {}
influxdb.__index = influxdb

function influxdb:new(options)
  if not options or not options.url or not options.db then return nil end
  return setmetatable({
    url = options.url:gsub("/+$", ""), db = options.db,
    username = options.username or "", password = options.password or "", retention = options.retention_days or 30,
  }, influxdb)
end

--- Writing

function influxdb:append(schema, timestamp, tags, metrics)
  return interface.appendInfluxDB(schema.name, timestamp, tags, metrics)
end

-- Sends the files that are complete. One that could not be sent stays for the next time.
function influxdb:export()
  local dir = ntop.getDirs().workingdir .. "/tmp/influxdb"
  for name in pairs(ntop.readdir(dir)) do
    if not name:find("%.tmp$") then
      local answer = ntop.postHTTPTextFile(self.username, self.password, self.url .. "/write?precision=s&db=" .. self.db, dir .. "/" .. name, true, 30)
      if answer and (answer.RESPONSE_CODE == 204 or answer.RESPONSE_CODE == 200) then
        ntop.delCache("ntopng.cache.influxdb.last_error")
        ntop.incrCache("ntopng.cache.influxdb.num_exports")
      else
        local why = answer and (answer.error_msg or answer.CONTENT) or "the file is gone"
        ntop.setCache("ntopng.cache.influxdb.last_error", why)
        ntop.incrCache("ntopng.cache.influxdb.num_failed_exports")
        ntop.traceEvent(1, "influxdb.lua", 41, "cannot export " .. name .. ": " .. why)
        if answer and answer.error_msg then return end -- the server does not answer: the others can wait, too
      end
    end
    if ntop.isDeadlineApproaching() then return end
  end
end

--- InfluxQL

local function text(v) return "'" .. tostring(v):gsub("[\\']", "\\%0") .. "'" end
local function name(v) return '"' .. tostring(v):gsub('[\\"]', "\\%0") .. '"' end

local function where(tags, conditions)
  local parts = {}
  for k, v in pairs(tags) do parts[#parts + 1] = name(k) .. "=" .. text(v) end
  table.sort(parts)
  for _, condition in ipairs(conditions or {}) do parts[#parts + 1] = condition end
  return #parts > 0 and " WHERE " .. table.concat(parts, " AND ") or ""
end

local function encode(s)
  return (s:gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- Asks a question; series of the answer, or nil after an error.
function influxdb:ask(query)
  ntop.lpushCache("ntopng.trace.influxdb_queries", query, 100)
  local timeout = tonumber(ntop.getPref("ntopng.prefs.influx_query_timeout")) or 10
  local answer = ntop.httpGet(self.url .. "/query?db=" .. encode(self.db) .. "&epoch=s&q=" .. encode(query), self.username, self.password, timeout, true)
  if not answer or answer.RESPONSE_CODE ~= 200 then
    local why = answer and (answer.ERROR or answer.CONTENT) or "no answer"
    if answer and answer.IS_PARTIAL then ts_common.setLastError(ts_common.errors.OPERATION_TOO_SLOW, why) end
    ntop.traceEvent(0, "influxdb.lua", 77, "cannot query: " .. tostring(why))
    return nil
  end
  local ok, decoded = pcall(json.decode, answer.CONTENT)
  local result = ok and decoded.results and decoded.results[1]
  if not result or result.error then
    ntop.traceEvent(0, "influxdb.lua", 83, "cannot query: " .. tostring(result and result.error or "the answer is not JSON"))
    return nil
  end
  return result.series or {}
end

function influxdb:command(query)
  local answer = ntop.httpPost(self.url .. "/query", "q=" .. encode(query), self.username, self.password, 30, true)
  return answer ~= nil and answer.RESPONSE_CODE == 200 and not answer.CONTENT:find('"error"', 1, true)
end

--- Questions

-- The sum of what metrics grew by, or of their values, for each combination of some tags.
function influxdb:totals(schema, tstart, tend, tags, group)
  local by = {}
  for i, tag in ipairs(group) do by[i] = name(tag) end
  by = #by > 0 and " GROUP BY " .. table.concat(by, ",") or ""
  local counter = schema.options.metrics_type == ts_common.metrics.counter
  local inner, outer = {}, {}
  for i, m in ipairs(schema._metrics) do
    inner[i] = (counter and "NON_NEGATIVE_DIFFERENCE(" .. name(m) .. ")" or name(m)) .. " AS " .. name(m)
    outer[i] = "SUM(" .. name(m) .. ") AS " .. name(m)
  end
  local from = counter and "time >= " or "time > "
  local series = {}
  for i, tag in ipairs(schema._tags) do series[i] = name(tag) end
  return self:ask("SELECT " .. table.concat(outer, ",") .. " FROM (SELECT " .. table.concat(inner, ",") .. " FROM " .. name(schema.name) ..
    where(tags, { from .. tstart .. "000000000", "time <= " .. tend .. "000000000" }) .. " GROUP BY " .. table.concat(series, ",") .. ")" .. by)
end

local function factor(schema) return schema.options.metrics_type == ts_common.metrics.derivative and schema.options.step or 1 end

function influxdb:queryTotal(schema, tstart, tend, tags)
  local own = schema:verifyTags(tags)
  local series = own and self:totals(schema, tstart, tend, own, {})
  if not series or not series[1] then return nil end
  local total = {}
  for i, m in ipairs(schema._metrics) do total[m] = (tonumber(series[1].values[1][i + 1]) or 0) * factor(schema) end
  return total
end

function influxdb:query(schema, tstart, tend, tags, options)
  local step = ts_common.calculateSampledTimeStep(schema.options.step, tstart, tend, options)
  local first, last = math.floor(tstart / step) * step, math.floor(tend / step) * step
  if options.initial_point then first = first - step end
  local gauge = schema.options.metrics_type ~= ts_common.metrics.counter
  local fields = {}
  for i, m in ipairs(schema._metrics) do
    fields[i] = gauge and schema:getAggregationFunction() .. "(" .. name(m) .. ") AS " .. name(m)
      or "DERIVATIVE(LAST(" .. name(m) .. "), 1s) AS " .. name(m)
  end
  -- Slots are closed on the right, InfluxDB's on the left: with an offset of a second they are the same.
  local series = self:ask("SELECT " .. table.concat(fields, ",") .. " FROM " .. name(schema.name) ..
    where(tags, { "time > " .. (gauge and first or first - step) .. "000000000", "time <= " .. last .. "000000000" }) ..
    " GROUP BY TIME(" .. step .. "s, 1s) FILL(none)")
  if not series then return nil end
  local result, count = ts_common.fillSeries(schema, first, last, step, options.fill_value)
  for _, row in ipairs(series[1] and series[1].values or {}) do
    local slot = (row[1] - 1 - first) / step + 1
    for i = 1, #schema._metrics do
      local v = tonumber(row[i + 1])
      if v and slot >= 1 and slot <= count then result[i].data[slot] = math.max(v, options.min_value) end
    end
  end
  local total = {}
  for k = 1, count do
    total[k] = 0
    for i = 1, #result do total[k] = total[k] + result[i].data[k] end
  end
  local statistics
  if options.calculate_stats then
    statistics = ts_common.calculateStatistics(total, step, tend - tstart, schema.options.metrics_type)
  end
  return { start = first, step = step, raw_step = schema.options.step, count = count, series = result, statistics = statistics, additional_series = { total = total } }
end

function influxdb:topk(schema, tags, tstart, tend, options, top_tags)
  local series = self:totals(schema, tstart, tend, tags, top_tags)
  if not series then return nil end
  local items = {}
  for _, one in ipairs(series) do
    local item = { tags = {}, value = 0, partials = {} }
    for k, v in pairs(tags) do item.tags[k] = v end
    for k, v in pairs(one.tags) do item.tags[k] = v end
    for i, m in ipairs(schema._metrics) do
      item.partials[m] = (tonumber(one.values[1][i + 1]) or 0) * factor(schema)
      item.value = item.value + item.partials[m]
    end
    if item.value > 0 then items[#items + 1] = item end
  end
  table.sort(items, function(a, b) return a.value > b.value end)
  for i = #items, options.top + 1, -1 do items[i] = nil end
  return { topk = items, additional_series = {} }
end

function influxdb:listSeries(schema, filter, wildcards, tstart, tend)
  local by, conditions = {}, { "time >= " .. tstart .. "000000000" }
  for i, tag in ipairs(wildcards) do by[i] = name(tag) end
  if tend then conditions[2] = "time <= " .. tend .. "000000000" end
  local series = self:ask("SELECT LAST(" .. name(schema._metrics[1]) .. ") FROM " .. name(schema.name) .. where(filter, conditions) ..
    (#by > 0 and " GROUP BY " .. table.concat(by, ",") or ""))
  if not series or #series == 0 then return nil end
  local list = {}
  for i, one in ipairs(series) do
    list[i] = {}
    for k, v in pairs(filter) do list[i][k] = v end
    for k, v in pairs(one.tags or {}) do list[i][k] = v end
  end
  return list
end

function influxdb:getLatestTimestamp() return os.time() end

--- Upkeep

function influxdb:delete(schema_prefix, tags)
  return self:command("DELETE FROM /^" .. (schema_prefix ~= "" and schema_prefix .. ":" or "") .. "/" .. where(tags):gsub(";", "")) and true or false
end

function influxdb:deleteOldData() return true end -- the retention policy of the database does it

function influxdb:setup()
  local answer = ntop.httpGet(self.url .. "/ping", self.username, self.password, 5, true)
  if not answer or (answer.RESPONSE_CODE ~= 204 and answer.RESPONSE_CODE ~= 200) then return false end
  local version = ("\n" .. answer.CONTENT:lower()):match("\nx%-influxdb%-version: v?([%d%.]+)")
  if not version or not version:match("^1%.") then
    ntop.traceEvent(0, "influxdb.lua", 204, "this driver is for InfluxDB 1.x, and the server is " .. tostring(version))
    return false
  end
  return self:command("CREATE DATABASE " .. name(self.db) .. " WITH DURATION " .. self.retention .. "d")
end

return influxdb
