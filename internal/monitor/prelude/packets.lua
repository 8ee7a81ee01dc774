-- Packets for a simplecounter (specification 5.8). Their bytes are strings, so that a script may keep them. Every offset is checked:
-- what packets hold is anybody's, and so are the offsets that scripts read in them.
local host = ...
local ffi, engine, raise = host.ffi, host.engine, host.raise_at_script
local call, callback = host.call, host.callback
local getmetatable, pairs, setmetatable, tonumber, type = getmetatable, pairs, setmetatable, tonumber, type
local byte, concat, floor, format, gsub, match, rep, sub, upper = string.byte, table.concat, math.floor, string.format, string.gsub, string.match, string.rep, string.sub, string.upper
local open = io.open

-- By the numbers that layers.go has for them.
local guids = {
  "{974FB098-DE46-45DB-94DA-8D64A3BBCDE5}", "{0A2C724B-5B9F-4BA6-9C97-B05080558574}", "{85C0CCED-DA8D-4029-924A-A6AB87F62EF8}",
  "{7DDD65F2-A316-43B5-A103-368E700E045E}", "{14D7AB53-CC51-47E9-8814-9C06AAE60189}", "{77E462AB-2E42-42EC-9A58-C1A6821D6B31}",
}
local IPV4, IPV6, ICMP, UDP, TCP = 2, 3, 4, 5, 6

local function bad(method, argument, message)
  raise("bad argument #" .. argument .. " to '" .. method .. "' (" .. message .. ")")
end

-- Adds a method that checks what it is called on.
local function define(class, method, f)
  class[method] = function(self, ...)
    if type(self) ~= "table" or getmetatable(self) ~= class then raise("'" .. method .. "' is to be called with a colon, object:" .. method .. "(...)") end
    return f(self, ...)
  end
end

local function whole(method, argument, v)
  local n = tonumber(v)
  if not n then bad(method, argument, "number expected, got " .. (v == nil and "nil" or type(v))) end
  if n ~= floor(n) then bad(method, argument, "a whole number expected") end
  return n
end

-- The offset of so many bytes within size.
local function offset(method, v, bytes, size)
  local n = whole(method, 1, v)
  if n < 0 or n + bytes > size then bad(method, 1, bytes .. " bytes at offset " .. format("%.0f", n) .. " are not within the " .. size .. " there are") end
  return n
end

local Buffer = {}
Buffer.__index = Buffer
local function buffer(data, from, to) return setmetatable({ data = data, from = from, to = to }, Buffer) end
local function size(self) return self.to - self.from end

-- The bytes that the optional offset and size at the end of the arguments name; without a size those up to the end.
local function part(self, method, off, bytes)
  if off == nil then off = 0 end
  off = offset(method, off, 0, size(self))
  if bytes == nil then
    bytes = size(self) - off
  else
    bytes = whole(method, 2, bytes)
    if bytes < 0 or off + bytes > size(self) then bad(method, 2, format("%.0f bytes at offset %.0f are not within the %d there are", bytes, off, size(self))) end
  end
  return sub(self.data, self.from + off + 1, self.from + off + bytes)
end

define(Buffer, "size", size)
define(Buffer, "length", size)
define(Buffer, "tostring", function(self, off, bytes) return part(self, "tostring", off, bytes) end)
for n = 1, 4 do
  local method = "hval_" .. 8 * n
  define(Buffer, method, function(self, off)
    local at, v = self.from + offset(method, off, n, size(self)), 0
    for i = at + 1, at + n do v = v * 256 + byte(self.data, i) end
    return v
  end)
end

-- Sixteen bytes a line: their offset, their digits, and those that can be printed.
define(Buffer, "hexdump", function(self, off, bytes)
  local text, lines = part(self, "hexdump", off, bytes), {}
  for at = 0, #text - 1, 16 do
    local some = sub(text, at + 1, at + 16)
    local digits = gsub(some, ".", function(c) return format("%02X ", byte(c)) end)
    lines[#lines + 1] = format("%08X  %s %s", (off and tonumber(off) or 0) + at, digits .. rep("   ", 16 - #some), gsub(some, "[^\32-\126]", "."))
  end
  return concat(lines, "\n")
end)

local function write(self, method, name, mode, at)
  if type(name) ~= "string" then bad(method, 1, "string expected, got " .. (name == nil and "nil" or type(name))) end
  local file, reason = open(name, mode)
  if not file and mode == "r+b" then file, reason = open(name, "w+b") end
  local ok = file
  if ok and at then ok, reason = file:seek("set", at) end
  if ok then ok, reason = file:write(part(self, method)) end
  if file then
    local closed, why = file:close()
    if ok and not closed then ok, reason = nil, why end
  end
  if not ok then raise(method .. ": cannot write " .. name .. ": " .. (reason or "unknown reason")) end
end
define(Buffer, "appendtofile", function(self, name) write(self, "appendtofile", name, "ab") end)
define(Buffer, "writetofile", function(self, name, at)
  at = at == nil and 0 or whole("writetofile", 2, at)
  if at < 0 or at > 2 ^ 53 then bad("writetofile", 2, "an offset in a file is not negative") end
  write(self, "writetofile", name, "r+b", at)
end)

-- A layer is number, start, header and stop in the data of its packet, and total, the bytes it counts for.
local Layer = {}
Layer.__index = Layer
define(Layer, "layer_bytes", function(self) return self.header end)
define(Layer, "total_bytes", function(self) return self.total end)
define(Layer, "protocol_id", function(self) return guids[self.number] end)
define(Layer, "packet", function(self) return self.of end)
define(Layer, "rawbytes", function(self) return buffer(self.of.data, self.start, self.stop) end)
define(Layer, "flowkey", function(self) return self.of.key end)
define(Layer, "getbyte", function(self, off)
  return byte(self.of.data, self.start + offset("getbyte", off, 1, self.stop - self.start) + 1)
end)
define(Layer, "testbit", function(self, n) -- in network order: bit 0 is the highest one of the first byte
  n = whole("testbit", 1, n)
  local bits = 8 * (self.stop - self.start)
  if n < 0 or n >= bits then bad("testbit", 1, "bit " .. format("%.0f", n) .. " is not one of the " .. bits .. " there are") end
  return floor(byte(self.of.data, self.start + floor(n / 8) + 1) / 2 ^ (7 - n % 8)) % 2 == 1
end)

local Packet = {}
Packet.__index = Packet
local function find(self, guid)
  for _, layer in pairs(self.layers) do
    if guids[layer.number] == guid then return layer end
  end
end
define(Packet, "timestamp", function(self) return self.seconds, self.micros end)
define(Packet, "rawbytes", function(self) return buffer(self.data, 0, #self.data) end)
define(Packet, "wire_length", function(self) return self.wire end)
define(Packet, "capture_length", function(self) return #self.data end)
define(Packet, "num_layers", function(self) return #self.layers end)
define(Packet, "get_layer", function(self, n)
  n = whole("get_layer", 1, n)
  return self.layers[n + 1] or bad("get_layer", 1, "layer " .. format("%.0f", n) .. " is not one of the " .. #self.layers .. " there are")
end)
define(Packet, "find_layer", function(self, guid)
  if type(guid) ~= "string" then bad("find_layer", 1, "string expected, got " .. (guid == nil and "nil" or type(guid))) end
  return find(self, upper(guid))
end)
define(Packet, "flowid", function(self) return self.key ~= "" and host.flow_id(self.key) or nil end)
define(Packet, "originid", function() return 0 end) -- files are read one after the other

local function add(packet, number, start, header, stop, total)
  local layers = packet.layers
  layers[#layers + 1] = setmetatable({ of = packet, number = number, start = start, header = header, stop = stop, total = total }, Layer)
end

-- The packets of a frame, whose form packetframe.go describes.
local bytes, doubles, ints = ffi.typeof("const char *"), ffi.typeof("const double *"), ffi.typeof("const uint32_t *")
function host.packets(what, t, text)
  local p = ffi.cast(bytes, text)
  local count, layered = ffi.cast(ints, p + 16)[0], ffi.cast(ints, p + 20)[0]
  local layers, texts = ffi.cast(ints, p + 24 + 32 * count), p + 24 + 32 * count + 16 * layered
  local items, from, first = {}, 0, 0
  for i = 0, count - 1 do
    local n = ffi.cast(ints, p + 24 + 32 * i)
    local last, key, stop = n[4], n[5], n[6]
    local packet = setmetatable({
      seconds = ffi.cast(doubles, n)[0], micros = n[2], wire = n[3], key = ffi.string(texts + from, key - from), data = ffi.string(texts + key, stop - key), layers = {},
    }, Packet)
    for k = first, last - 1 do
      local l = layers + 4 * k
      add(packet, l[0], l[1], l[2], l[3], l[3] - l[1])
    end
    items[i + 1] = packet
    from, first = stop, last
  end
  host.items(what, t, items)
end

-- A record of an exporter as a packet without bytes: a layer of IP, and one of what is in it.
local inside = { ["01"] = ICMP, ["06"] = TCP, ["11"] = UDP }
local function of_record(d, t)
  local volume = d.bytes_az + d.bytes_za
  local packet = setmetatable({ seconds = t, micros = 0, wire = volume, key = d.key, data = "", layers = {} }, Packet)
  local protocol, kind = match(d.key, "^(%x%x)(%a)")
  if protocol then
    add(packet, (kind == "A" or kind == "C") and IPV4 or IPV6, 0, 0, 0, volume)
    if inside[protocol] then add(packet, inside[protocol], 0, 0, 0, volume) end
  end
  return packet
end

function host.packet(d, t)
  local f = callback("onpacket")
  if not f then return end
  local packet = getmetatable(d) == Packet and d or of_record(d, t)
  local guid = host.block.protocol_guid
  local layer = type(guid) == "string" and find(packet, upper(guid))
  if not layer then return end
  host.now, host.wire = packet.seconds, packet.wire
  call("onpacket", f, engine, layer)
  host.wire = nil
end
