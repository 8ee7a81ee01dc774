-- The engine object that callbacks get (specification 4).
local host = ...
local native, o, ffi = host.native, host.o, host.ffi
local rawequal, select, tonumber, tostring, type, floor = rawequal, select, tonumber, tostring, type, math.floor

local engine = {}
host.engine = engine
host.now = 0 -- what timestamp returns

local TOTALS = "SYS:GROUP_TOTALS"
local MAX_KEY = 512

local raise = host.raise_at_script

local function bad(method, argument, message)
  raise("bad argument #" .. argument .. " to '" .. method .. "' (" .. message .. ")")
end

local function check(self, method)
  if not rawequal(self, engine) then
    raise("bad argument #1 to '" .. method .. "' (call it with a colon, engine:" .. method .. "(...), not with a dot)")
  end
end

-- Strings and numbers are taken as text.
local function text(method, argument, v, optional)
  if type(v) == "string" then return v end
  if type(v) == "number" then return tostring(v) end
  if v == nil and optional then return nil end
  bad(method, argument, "string expected, got " .. (v == nil and "nil" or type(v)))
end

local function number(method, argument, v)
  local n = tonumber(v)
  if not n then bad(method, argument, "number expected, got " .. (v == nil and "nil" or type(v))) end
  return n
end

local function key_of(method, argument, key)
  key = text(method, argument, key)
  if #key == 0 or #key > MAX_KEY then bad(method, argument, "a key has 1 to " .. MAX_KEY .. " bytes, this one has " .. #key) end
  return key
end

-- Canonical GUIDs by what scripts wrote; false for what is none.
local guids = {}
local function guid_of(method, argument, guid)
  guid = text(method, argument, guid)
  local canonical = guids[guid]
  if canonical == nil then
    canonical = native.guid(guid) or false
    guids[guid] = canonical
    if not canonical then host.say_once("guid " .. guid, method .. ": malformed GUID '" .. guid .. "'; it is written {XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}") end
  end
  return canonical
end

-- Counter updates wait in this buffer, as updates.go describes them, until the host's call ends.
local SIZE, HEAD = 64 * 1024, 14
local buffer, used = ffi.new("uint8_t[?]", SIZE), 0
local double_at, short_at = ffi.typeof("double *"), ffi.typeof("uint16_t *")
local cast, copy = ffi.cast, ffi.copy
local slots = {} -- by what scripts wrote as a GUID: the number of the GUID, or -1
local not_finite = 0

local function send()
  if used > 0 then
    local n = used
    used = 0
    native.updates(ffi.string(buffer, n))
  end
  if not_finite > 0 then
    local n = not_finite
    not_finite = 0
    native.not_finite(n)
  end
end
host.send = send

local function slot_of(method, guid)
  local canonical = guid_of(method, 1, guid)
  local slot = canonical and native.slot(canonical) or -1
  slots[guid] = slot
  return slot
end

local totals_said = false

local function update(method, guid, key, meter, value)
  local slot = slots[guid]
  if slot == nil then slot = slot_of(method, guid) end
  if type(key) ~= "string" then key = text(method, 2, key) end
  local n = #key
  if n == 0 or n > MAX_KEY then bad(method, 2, "a key has 1 to " .. MAX_KEY .. " bytes, this one has " .. n) end
  if type(value) ~= "number" then value = number(method, 4, value) end
  if type(meter) ~= "number" then meter = number(method, 3, meter) end
  if value - value ~= 0 then -- NaN or infinite
    not_finite = not_finite + 1
    return
  end
  if slot < 0 then return end
  if meter < 0 or meter > 65535 or meter ~= floor(meter) then
    host.say_once("meter " .. guid .. meter, method .. ": group " .. guid .. " has no meter " .. meter)
    return
  end
  if key == TOTALS then
    if not totals_said then
      totals_said = true
      native.log(8, method .. ": updates of " .. TOTALS .. " are ignored, the totals of a group are computed")
    end
    return
  end
  if used + HEAD + n > SIZE then send() end
  local p = buffer + used
  cast(double_at, p)[0] = value
  local head = cast(short_at, p + 8)
  head[0], head[1], head[2] = slot, meter, n
  copy(p + HEAD, key, n)
  used = used + HEAD + n
end

function engine.update_counter(self, guid, key, meter, value)
  if self ~= engine then check(self, "update_counter") end
  update("update_counter", guid, key, meter, value)
end

function engine.update_counter_raw(self, guid, key, meter, value)
  if self ~= engine then check(self, "update_counter_raw") end
  update("update_counter_raw", guid, key, meter, value)
end

-- The others are handed over one by one.
local function method(name, half, f)
  engine[name] = function(self, ...)
    check(self, name)
    if half and half ~= o.half then raise("ERR_NOTAVAIL: " .. name .. "() is not available for " .. o.half .. " scripts") end
    return f(name, ...)
  end
end

local function effect(e) native.effect(e) end

method("update_counter_bytes", "frontend", function(name, guid, key, meter)
  if not host.wire then raise("update_counter_bytes counts the packet that onpacket is called for, and there is none now") end
  update(name, guid, key, meter, host.wire)
end)

method("update_key_info", nil, function(name, guid, key, label, description)
  guid, key = guid_of(name, 1, guid), key_of(name, 2, key)
  label, description = text(name, 3, label), text(name, 4, description, true)
  if guid then effect({ op = "label", guid = guid, key = key, label = label, description = description }) end
end)

method("set_key_attribute", nil, function(name, guid, key, attribute, value)
  guid, key = guid_of(name, 1, guid), key_of(name, 2, key)
  attribute, value = text(name, 3, attribute), text(name, 4, value)
  if guid then effect({ op = "attribute", guid = guid, key = key, name = attribute, value = value }) end
end)

local function add_alert(name, guid, flow, alertkey, classification, priority, message, status, at)
  guid = guid_of(name, 1, guid)
  if not guid then return end
  effect({
    op = "alert", guid = guid, flow = text(name, 2, flow, true), sigid = text(name, 3, alertkey), classification = text(name, 4, classification, true),
    priority = number(name, at, priority), message = text(name, at + 1, message), status = text(name, at + 2, status, true),
  })
end

method("add_alert", nil, function(name, guid, flow, alertkey, priority, message)
  add_alert(name, guid, flow, alertkey, nil, priority, message, nil, 4)
end)
method("add_alert_full", nil, function(name, guid, flow, alertkey, classification, priority, message, status)
  add_alert(name, guid, flow, alertkey, classification, priority, message, status, 5)
end)
method("add_alert_ids", nil, function(name, guid, flow, alertkey, classification, priority, message, status)
  add_alert(name, guid, flow, alertkey, classification, priority, message, status, 5)
end)
method("add_alert_tca", nil, function(name, guid, id, status, message)
  id = tostring(number(name, 2, id))
  guid = guid_of(name, 1, guid)
  if guid then effect({ op = "alert", guid = guid, sigid = id, priority = 1, status = text(name, 3, status), message = text(name, 4, message) }) end
end)

method("add_resource", nil, function(name, guid, flow, uri, contents)
  guid = guid_of(name, 1, guid)
  flow, uri, contents = text(name, 2, flow, true), text(name, 3, uri), text(name, 4, contents, true)
  if contents and #contents > 32767 then bad(name, 4, "contents have at most 32767 bytes, these have " .. #contents) end
  if guid then effect({ op = "resource", guid = guid, flow = flow, name = uri, text = contents }) end
end)

method("timestamp", nil, function() return host.now end)
method("instanceid", nil, function() return tostring(o.engine) end)
method("id", nil, function() return tostring(o.engine) end)
method("probeid", nil, function() return o.probe_id end)

method("tag_flow", nil, function(name, flow, tag)
  effect({ op = "tag", flow = text(name, 1, flow), text = text(name, 2, tag) })
end)

local function post(frontend)
  return function(name, ...)
    local id, message
    if select("#", ...) >= 2 then
      id, message = ...
      if id ~= nil then
        id = guid_of(name, 1, id)
        if not id then return end
      end
      message = text(name, 2, message)
    else
      message = text(name, 1, (...))
    end
    effect({ op = "message", guid = id, text = message, frontend = frontend })
  end
end
method("post_message_frontend", nil, post(true))
method("post_message_backend", nil, post(false))

method("add_edge", nil, function(name, guid, key, to_guid, to_key)
  guid, key, to_guid, to_key = guid_of(name, 1, guid), key_of(name, 2, key), guid_of(name, 3, to_guid), key_of(name, 4, to_key)
  if guid and to_guid then effect({ op = "edge", guid = guid, key = key, to_guid = to_guid, to_key = to_key }) end
end)
method("add_flow_edges", nil, function(name, flow, guid, key)
  flow, guid, key = text(name, 1, flow), guid_of(name, 2, guid), key_of(name, 3, key)
  if guid then effect({ op = "flow_edges", flow = flow, guid = guid, key = key }) end
end)
method("add_flow_attribute", nil, function(name, flow, attribute, value)
  effect({ op = "flow_attribute", flow = text(name, 1, flow), name = text(name, 2, attribute), value = text(name, 3, value) })
end)

method("add_flow_counter", "frontend", function(name, flow, guid, key, meter, direction)
  flow, guid, key = text(name, 1, flow), guid_of(name, 2, guid), key_of(name, 3, key)
  meter, direction = number(name, 4, meter), number(name, 5, direction)
  if guid then effect({ op = "flow_counter", flow = flow, guid = guid, key = key, meter = meter, direction = direction }) end
end)
method("reset_flow_counter", "frontend", function(name, flow, guid)
  flow, guid = text(name, 1, flow), guid_of(name, 2, guid)
  if guid then effect({ op = "reset_counter", flow = flow, guid = guid }) end
end)
local function update_flow(name, flow, meter, value)
  effect({ op = "flow_update", flow = text(name, 1, flow), meter = number(name, 2, meter), number = number(name, 3, value) })
end
method("update_flow", "frontend", update_flow)
method("update_flow_raw", "frontend", update_flow)
method("new_flow_record", "frontend", function(name, flow, bytes_az, bytes_za, packets_az, packets_za)
  effect({
    op = "flow_record", flow = text(name, 1, flow),
    numbers = { number(name, 2, bytes_az), number(name, 3, bytes_za), number(name, 4, packets_az), number(name, 5, packets_za) },
  })
end)
method("set_flow_duration", "frontend", function(name, flow, seconds)
  effect({ op = "flow_duration", flow = text(name, 1, flow), number = number(name, 2, seconds) })
end)
method("disable_reassembly", "frontend", function() end)
