-- Alerts, flows and resources (specification 5.4 to 5.7).
local host = ...
local ffi, native, engine = host.ffi, host.native, host.engine
local call, callback, complain = host.call, host.callback, host.complain
local error, ipairs, setmetatable, tonumber, tostring, type = error, ipairs, setmetatable, tonumber, tostring, type
local find, floor, format, match, min, sub, upper = string.find, math.floor, string.format, string.match, math.min, string.sub, string.upper

-- The methods of FlowID. A flow key that cannot be taken apart has empty parts.
local FlowID = {}
FlowID.__index = FlowID

local function parse(flow)
  if flow.parsed then return flow end
  flow.parsed = true
  flow.p, flow.t, flow.ia, flow.pa, flow.iz, flow.pz, flow.rest = match(flow.text, "^(%x%x)(%a):([%x.]+):([^_:]+)_([%x.]+):([^_:]+)(.*)$")
  if flow.rest then flow.r, flow.i, flow.o = match(flow.rest, "^_([%x.]+)_(%x+)_(%x+)$") end
  return flow
end

local function address(key)
  if not key then return "" end
  local a, b, c, d = match(key, "^(%x%x)%.(%x%x)%.(%x%x)%.(%x%x)$")
  if a then return format("%d.%d.%d.%d", tonumber(a, 16), tonumber(b, 16), tonumber(c, 16), tonumber(d, 16)) end
  return native.ipv6(key) or key
end

local function port(key)
  if not key then return "" end
  local digits = match(key, "^p%-(%x%x%x%x)$")
  if digits then return tostring(tonumber(digits, 16)) end
  return key
end

function FlowID:id() return self.text end
FlowID.key = FlowID.id
FlowID.__tostring = FlowID.id
function FlowID:protocol() return parse(self).p or "" end
function FlowID:flow_type() return parse(self).t or "" end
function FlowID:ipa() return parse(self).ia or "" end
function FlowID:ipz() return parse(self).iz or "" end
function FlowID:porta() return parse(self).pa or "" end
function FlowID:portz() return parse(self).pz or "" end
function FlowID:ipa_readable() return address(parse(self).ia) end
function FlowID:ipz_readable() return address(parse(self).iz) end
function FlowID:porta_readable() return port(parse(self).pa) end
function FlowID:portz_readable() return port(parse(self).pz) end
function FlowID:netflow_router() return parse(self).r or "" end
function FlowID:netflow_ifindex_in() return parse(self).i or "" end
function FlowID:netflow_ifindex_out() return parse(self).o or "" end
function FlowID:netflow_router_readable() return address(parse(self).r) end
local function index(digits) return digits and format("%d", tonumber(digits, 16)) or "" end
function FlowID:netflow_ifindex_in_readable() return index(parse(self).i) end
function FlowID:netflow_ifindex_out_readable() return index(parse(self).o) end

local protocols = { ["01"] = "ICMP", ["02"] = "IGMP", ["06"] = "TCP", ["11"] = "UDP", ["2F"] = "GRE", ["32"] = "ESP", ["33"] = "AH", ["3A"] = "ICMP6", ["84"] = "SCTP" }
function FlowID:to_s()
  local f = parse(self)
  if not f.p then return self.text end
  local text = format("%-6s %-16s %-6s %-16s %-6s", protocols[upper(f.p)] or f.p, address(f.ia), port(f.pa), address(f.iz), port(f.pz))
  if f.r then text = text .. format(" %-16s %-6s %-6s", address(f.r), index(f.i), index(f.o)) end
  return text
end

local function flow_id(text) return setmetatable({ text = text }, FlowID) end
host.flow_id = flow_id

-- What alerts and resources have in common. d is the record as frames.go names its members.
local function timestamp(self)
  local t = self.d.time or 0
  local seconds = floor(t)
  return seconds, floor((t - seconds) * 1e6 + 0.5)
end

local function common(Item)
  Item.__index = Item
  Item.timestamp = timestamp
  function Item:flow()
    if not self.d.flow or self.d.flow == "" then return nil end
    self.id = self.id or flow_id(self.d.flow)
    return self.id
  end
  local function of(method)
    return function(self)
      local flow = self:flow()
      return flow and flow[method](flow) or ""
    end
  end
  Item.source_ip, Item.source_port = of("ipa_readable"), of("porta_readable")
  Item.destination_ip, Item.destination_port = of("ipz_readable"), of("portz_readable")
end

-- Getters, and setters that note what was changed.
local function getters(Item, names)
  for _, name in ipairs(names) do Item[name] = function(self) return self.d[name] or "" end end
end
local function setters(Item, names)
  for _, name in ipairs(names) do
    Item["set_" .. name] = function(self, v)
      if name == "priority" then v = tonumber(v) or error("bad argument #1 to 'set_priority' (number expected)", 2) else v = tostring(v) end
      self.d[name] = v
      self.changed = self.changed or {}
      self.changed[name] = v
    end
  end
end

local Alert = {}
common(Alert)
getters(Alert, { "sigid", "classification", "message", "extra_message", "status" })
setters(Alert, { "priority", "message", "extra_message" })
function Alert:priority() return self.d.priority or 0 end
function Alert:ack_flag() return self.d.ack or 0 end

local Resource = {}
common(Resource)
getters(Resource, { "uri", "label", "key" })
setters(Resource, { "uri", "label" })
function Resource:text() return self.d.label or "" end

local Flow = {}
Flow.__index = Flow
function Flow:flow()
  self.id = self.id or flow_id(self.d.key)
  return self.id
end
function Flow:key() return self.d.key end
function Flow:time_window() return self.d.start, self.d.last end
function Flow:state() return self.d.state or 0 end
function Flow:az_bytes() return self.d.bytes_az or 0 end
function Flow:za_bytes() return self.d.bytes_za or 0 end
function Flow:az_packets() return self.d.packets_az or 0 end
function Flow:za_packets() return self.d.packets_za or 0 end
function Flow:az_payload_bytes() return self.d.payload_az or 0 end
function Flow:za_payload_bytes() return self.d.payload_za or 0 end
function Flow:tags() return self.d.tags or "" end
-- Takes words apart, each its length, a colon and itself: names and values in turn.
local function named(words)
  local t, at = {}, 1
  local function word()
    local colon = find(words, ":", at, true)
    local from = colon + 1
    at = from + tonumber(sub(words, at, colon - 1))
    return sub(words, from, at - 1)
  end
  while at <= #words do
    local name = word()
    t[name] = word()
  end
  return t
end
function Flow:attributes()
  self.d.attributes = self.d.attributes or named(self.d.words)
  return self.d.attributes
end
function Flow:setup_rtt() return self.d.setup_rtt or 0 end
function Flow:retransmissions() return self.d.retransmissions or 0 end
function Flow:add_tag(tag)
  tag = tostring(tag)
  self.d.tags = (self.d.tags or "") == "" and tag or self.d.tags .. "|" .. tag
  engine:tag_flow(self.d.key, tag)
end

local classes = { alert_monitor = Alert, resource_monitor = Resource, fts_monitor = Resource, sg_monitor = Flow, flowtracker = Flow }
local new = { alert_monitor = "onnewalert", resource_monitor = "onnewresource", fts_monitor = "onnewfts", sg_monitor = "onnewflow", messagemonitor = "onnewflowrecord" }
local names = { update = "onupdate", terminate = "onterminate", flush = "onflush", filter = "flushfilter" }

-- The items of a frame; what a callback that takes too long leaves behind is gone on with after it.
local class, event, list, objects, at, pass, ranks, time

function host.items(what, t, items)
  class, event, list, time = classes[host.o.type], what, items, t
  objects, at, pass, ranks = {}, 0, {}, {}
end

-- The same of flows, whose form flowframe.go describes.
local bytes, doubles, ints = ffi.typeof("const char *"), ffi.typeof("const double *"), ffi.typeof("const uint32_t *")
function host.flows(what, t, text)
  local p = ffi.cast(bytes, text)
  local count = tonumber(ffi.cast(ints, p + 16)[0])
  local numbers, ends, texts = ffi.cast(doubles, p + 24), ffi.cast(ints, p + 24 + 88 * count), p + 24 + 100 * count
  local items, from = {}, 0
  for i = 0, count - 1 do
    local n, key, tags, words = numbers + 11 * i, ends[3 * i], ends[3 * i + 1], ends[3 * i + 2]
    items[i + 1] = {
      key = ffi.string(texts + from, key - from), tags = ffi.string(texts + key, tags - key), words = ffi.string(texts + tags, words - tags),
      start = n[0], last = n[1], state = n[2], bytes_az = n[3], bytes_za = n[4], packets_az = n[5], packets_za = n[6],
      payload_az = n[7], payload_za = n[8], setup_rtt = n[9], retransmissions = n[10],
    }
    from = words
  end
  host.items(what, t, items)
end

local function vote(name, object)
  local f = callback(name)
  if not f then return true end
  local ok, v = call(name, f, engine, object)
  if not ok or type(v) == "boolean" then return not ok or v end
  complain(name, f, "it returned " .. (v == nil and "nothing" or "a " .. type(v)) .. ", not true or false: this counts as true")
  return true
end

local function rank(object)
  local f = callback("getmetric")
  if not f then return 0 end
  local ok, v = call("getmetric", f, engine, object)
  v = ok and tonumber(v) or 0
  if v - v ~= 0 then return 0 end -- NaN
  return v
end

local function one(d)
  if host.o.type == "simplecounter" then return host.packet(d, time) end
  if host.o.type == "messagemonitor" then
    local f = callback("onnewflowrecord")
    if f then call("onnewflowrecord", f, engine, flow_id(d.key), d.bytes_az or 0, d.bytes_za or 0, d.packets_az or 0, d.packets_za or 0) end
    return
  end
  local object = setmetatable({ d = d }, class)
  objects[at] = object
  if event == "filter" or event == "decide" then
    if host.o.type == "flowtracker" then
      ranks[at] = 0
      ranks[at] = rank(object)
      return
    end
    pass[at] = true
    pass[at] = vote("flushfilter", object)
    if event == "filter" or not pass[at] then return end
  end
  local name = event == "decide" and "onflush" or event == "new" and new[host.o.type] or names[event]
  local f = callback(name)
  if f then call(name, f, engine, object) end
end

function host.item_step(limit)
  local last = min(at + limit, #list)
  while at < last do
    at = at + 1
    one(list[at])
  end
  host.finish()
  return at == #list
end

-- What the callbacks said, and what they changed.
function host.item_votes()
  local changed = {}
  for i = 1, #list do
    local object = objects[i]
    if object and object.changed then
      object.changed.item = i - 1
      changed[#changed + 1] = object.changed
    end
  end
  return pass, ranks, changed
end

function host.item_begin(t)
  host.now = t
  host.simple("onbeginflush", t)
end
function host.item_end(t) host.simple("onendflush", t) end
