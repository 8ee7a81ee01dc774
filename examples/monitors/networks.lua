-- A counter group of its own: the traffic of each /24 network, made of the group Hosts. Its windows come one window after those of Hosts.

local NETWORKS = "{7B0E6A1C-52D4-4C1B-9A57-2F6D9C3E8A10}"
local WINDOW = tonumber(T.env.get_config("Networks>Window")) or 60 -- seconds: that of counter_groups.window

TrisulPlugin = {
  id = { name = "networks", description = "traffic by /24 network" },

  countergroup = {
    control = {
      guid = NETWORKS,
      name = "Networks",
      description = "traffic by /24 network",
      bucketsize = WINDOW,
    },
    meters = {
      { 0, T.K.vartype.RATE_COUNTER, 20, 0, "total", "traffic of all hosts", "Bps" },
      { 1, T.K.vartype.RATE_COUNTER, 20, 0, "received", "what they received", "Bps" },
      { 2, T.K.vartype.RATE_COUNTER, 20, 0, "transmitted", "what they sent", "Bps" },
      { 3, T.K.vartype.COUNTER, 20, 0, "hosts", "how many hosts were active", "hosts" },
    },
  },

  cg_monitor = {
    counter_guid = "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", -- Hosts

    onload = function() T.labelled = {} end,

    onflush = function(engine, ts, key, metrics)
      local network = key:match("^(%x%x%.%x%x%.%x%x)%.%x%x$")
      if not network then return end -- the totals of the group: those of Networks are computed
      network = network .. ".00"
      for meter = 0, 2 do
        engine:update_counter(NETWORKS, network, meter, WINDOW * metrics[meter + 1]) -- bytes: a rate times its seconds
      end
      engine:update_counter(NETWORKS, network, 3, 1)
      if not T.labelled[network] then
        T.labelled[network] = true
        local a, b, c = network:match("(%x%x)%.(%x%x)%.(%x%x)")
        engine:update_key_info(NETWORKS, network, string.format("%d.%d.%d.0/24", tonumber(a, 16), tonumber(b, 16), tonumber(c, 16)))
      end
    end,
  },
}
