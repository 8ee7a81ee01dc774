-- An alert when an exporter of flows falls silent, and another one when it is back.
--
-- An exporter is a key of the group FlowGens. It is silent when none of its records came for QUIET seconds.

local QUIET = 180
local USER_ALERTS = "{B5F1DECB-51D5-4395-B71B-6FA730B772D9}"

-- "0A.81.4A.92" as people write it.
local function readable(key)
  local parts = {}
  for octet in key:gmatch("%x%x") do parts[#parts + 1] = tonumber(octet, 16) end
  return table.concat(parts, ".")
end

TrisulPlugin = {
  id = { name = "silent exporters", description = "alerts about exporters that stop sending flows" },

  cg_monitor = {
    counter_guid = "{2314BB8E-2BCC-4B86-8AA2-677E5554C0FE}", -- FlowGens

    onload = function()
      T.last = {}   -- by key: the end of the last window with records
      T.silent = {} -- by key: an alert was raised
      T.quiet = tonumber(T.env.get_config("SilentExporters>Seconds")) or QUIET
    end,

    onbeginflush = function(engine, ts) T.now = ts end,

    onflush = function(engine, ts, key, metrics)
      if key == "SYS:GROUP_TOTALS" then return end
      if T.silent[key] then
        T.silent[key] = nil
        engine:add_alert_full(USER_ALERTS, nil, "EXPORTER", "availability", 3, readable(key) .. " sends flows again", "CLEAR")
      end
      T.last[key] = ts
    end,

    -- It is called in every window, also in those without a key.
    onendflush = function(engine)
      for key, ts in pairs(T.last) do
        if not T.silent[key] and T.now - ts >= T.quiet then
          T.silent[key] = true
          engine:add_alert_full(USER_ALERTS, nil, "EXPORTER", "availability", 1,
            string.format("%s sent no flows for %d seconds", readable(key), T.now - ts), "FIRED")
        end
      end
    end,
  },
}
