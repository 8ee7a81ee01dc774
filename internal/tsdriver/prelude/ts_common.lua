-- ts_common: what drivers share (1.7).
local floor, ceil, huge = math.floor, math.ceil, math.huge
local NaN = 0 / 0

local ts_common = {
  metrics = { counter = "counter", gauge = "gauge", derivative = "derivative" },
  aggregation = { mean = "mean", max = "max", min = "min", last = "last" },
}

function ts_common.calculateSampledTimeStep(raw_step, tstart, tend, options)
  local most = math.max(options.max_num_points or 80, 1)
  local points = ceil((tend - tstart) / raw_step)
  if points > most then return raw_step * ceil(points / most) end
  return raw_step
end

function ts_common.normalizeVal(v, max_val, options)
  if v ~= v then
    if options.keep_nan then return v end
    v = options.fill_value
  elseif v < options.min_value then
    v = options.min_value
  end
  if v == v and v < huge and v > -huge then return floor(v + 0.5) end
  return v
end

function ts_common.ninetififthPercentile(serie)
  local n = #serie
  if n <= 1 then return serie[1] end
  local sorted, known = {}, false
  for i = 1, n do
    local v = serie[i]
    if v ~= v then v = 0 else known = true end
    sorted[i] = v
  end
  if not known then return NaN end
  table.sort(sorted)
  return sorted[math.max(floor(floor(0.95 * n + 0.5)) - 1, 1)]
end

-- Indices count from 0; without a valid value both are 1.
function ts_common.calculateMinMax(serie)
  local min_val, min_idx, max_val, max_idx = NaN, 1, NaN, 1
  for i = 1, #serie do
    local v = serie[i]
    if v == v then
      if min_val ~= min_val or v < min_val then min_val, min_idx = v, i - 1 end
      if max_val ~= max_val or v > max_val then max_val, max_idx = v, i - 1 end
    end
  end
  return { min_val = min_val, min_val_idx = min_idx, max_val = max_val, max_val_idx = max_idx }
end

function ts_common.calculateStatistics(serie, step, keep_total, data_type)
  local sum, known = 0, 0
  for i = 1, #serie do
    local v = serie[i]
    if v == v then sum, known = sum + v, known + 1 end
  end
  local s = ts_common.calculateMinMax(serie)
  s.average = known > 0 and sum / known or NaN
  if data_type ~= ts_common.metrics.gauge then
    s.total = sum * step
  elseif keep_total then
    s.total = sum
  end
  s["95th_percentile"] = ts_common.ninetififthPercentile(serie) or 0
  return s
end

function ts_common.upsampleSerie(serie, num_points)
  local n = #serie
  if num_points <= n then return serie end
  local out = {}
  for i = 1, num_points do
    local at = (i - 1) * n / num_points
    local low = floor(at)
    local a, b = serie[low + 1], serie[math.min(low + 1, n - 1) + 1]
    out[i] = a + (b - a) * (at - low)
  end
  return out
end

function ts_common.fillSeries(schema, tstart, tend, step, fill_value)
  local count, series = math.max(ceil((tend - tstart) / step), 0), {}
  for i, metric in ipairs(schema._metrics) do
    local data = {}
    for k = 1, count do data[k] = fill_value end
    series[i] = { label = metric, data = data }
  end
  return series, count
end

function ts_common.serieWithTimestamp(serie, tstart, tstep)
  local out = {}
  for i = 1, #serie do out[tstart + (i - 1) * tstep] = serie[i] end
  return out
end

function ts_common.getMaxPointValue(schema, metric, tags)
  local name = metric or ""
  local bytes = name:find("bytes", 1, true) or schema.name:find("bytes", 1, true)
  local packets = name:find("packets", 1, true) or schema.name:find("packets", 1, true)
  local speed = (bytes or packets) and tags and tags.ifid and tonumber(interface.getMaxIfSpeed(tags.ifid))
  if speed and bytes then return speed * 1000000 end
  if speed and packets then return speed / 10 * 14881 end
  return huge
end

ts_common.errors = { OPERATION_TOO_SLOW = "OPERATION_TOO_SLOW" }

local last_error, last_message
function ts_common.setLastError(code, message) last_error, last_message = code, message end
function ts_common.getLastError() return last_error end
function ts_common.getLastErrorMessage() return last_message end
function ts_common.clearLastError() end -- scripts know that it does nothing

return ts_common
