-- Counts the TCP resets that each IPv4 host sends, of the packets of a capture: weir flow replay -c weir.yaml FILE. Who sends many
-- refuses or breaks connections.
TrisulPlugin = {
  id = { name = "TCP resets", description = "hosts that refuse or break connections" },
  countergroup = {
    control = { guid = "{6F1C9B52-6B0D-4E7E-9C0E-3B9B8C1E7A10}", name = "TCP Resets" },
    meters = { { 0, T.K.vartype.COUNTER, 10, 0, "resets", "TCP segments with RST", "segments" } },
  },
  simplecounter = {
    protocol_guid = "{77E462AB-2E42-42EC-9A58-C1A6821D6B31}", -- TCP
    onpacket = function(engine, layer)
      if layer:total_bytes() < 14 or not layer:testbit(109) then return end -- what a capture has cut off is not there
      local source = layer:packet():find_layer("{0A2C724B-5B9F-4BA6-9C97-B05080558574}") -- IPv4
      if source then
        engine:update_counter("{6F1C9B52-6B0D-4E7E-9C0E-3B9B8C1E7A10}", string.format("%08X", source:rawbytes():hval_32(12)), 0, 1)
      end
    end,
  },
}
