-- A threshold crossing alert when a host takes more than HIGH bits per second in a window, cleared when it is below LOW again:
-- a host that stays between the two neither fires again nor clears.

local HIGH, LOW = 100e6, 80e6
local THRESHOLD_CROSSING = "{03AC6B72-FDB7-44C0-9B8C-7A1975C1C5BA}"
local RECEIVED = 2 -- the place of meter 1 in the array of metrics

TrisulPlugin = {
  id = { name = "traffic threshold", description = "alerts about hosts that receive much" },

  cg_monitor = {
    counter_guid = "{889900CC-0063-11A5-8380-FEBDBABBDBEA}", -- Internal Hosts

    onload = function()
      T.high = tonumber(T.env.get_config("TrafficThreshold>High")) or HIGH
      T.low = tonumber(T.env.get_config("TrafficThreshold>Low")) or LOW
      if T.low > T.high then
        T.logerror("TrafficThreshold>Low is above TrafficThreshold>High")
        return false
      end
      T.fired = {} -- by key
      T.seen = {}  -- in the running window
    end,

    onbeginflush = function() T.seen = {} end,

    onflush = function(engine, ts, key, metrics)
      if key == "SYS:GROUP_TOTALS" then return end
      T.seen[key] = true
      local bits = 8 * metrics[RECEIVED] -- a rate: bytes per second
      if bits > T.high and not T.fired[key] then
        T.fired[key] = true
        engine:add_alert_tca(THRESHOLD_CROSSING, 1, "FIRED", string.format("%s receives %.0f bit/s", key, bits))
      elseif bits < T.low and T.fired[key] then
        T.fired[key] = nil
        engine:add_alert_tca(THRESHOLD_CROSSING, 1, "CLEAR", string.format("%s receives %.0f bit/s", key, bits))
      end
    end,

    -- A host without traffic is not flushed: it is below every threshold.
    onendflush = function(engine)
      for key in pairs(T.fired) do
        if not T.seen[key] then
          T.fired[key] = nil
          engine:add_alert_tca(THRESHOLD_CROSSING, 1, "CLEAR", key .. " receives nothing")
        end
      end
    end,
  },
}
