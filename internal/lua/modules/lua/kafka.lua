-- The rdkafka modules of centreon-stream-connectors-lib, without librdkafka.
local native = ...
local preload = package.preload
local type, error, tostring, pairs, pcall, next = type, error, tostring, pairs, pcall, next
local setmetatable, getmetatable = setmetatable, getmetatable
local prefix = "centreon-stream-connectors-lib.rdkafka."

-- A module of objects whose assignments are properties.
local function properties()
  local function new(original)
    local values = {}
    if original ~= nil then
      for name, value in pairs(getmetatable(original).values) do values[name] = value end
    end
    local methods = {}
    function methods.set_delivery_cb() end
    function methods.set_stat_cb() end
    return setmetatable({}, {
      values = values,
      __index = function(_, name) return methods[name] or values[name] end,
      __newindex = function(_, name, value)
        if type(value) == "boolean" or type(value) == "number" then value = tostring(value) end
        if type(value) ~= "string" then
          error("invalid value for the Kafka property \"" .. tostring(name) .. "\": string expected, got " .. type(value), 2)
        end
        local ok, err = pcall(native.kafka_check, name, value)
        if not ok then error(err, 2) end
        values[name] = value
      end,
    })
  end
  return { new = new }
end

preload[prefix .. "librdkafka"] = function() return {} end
preload[prefix .. "config"] = function() return properties() end
preload[prefix .. "topic_config"] = function() return properties() end

local function values_of(config)
  local meta = type(config) == "table" and getmetatable(config)
  return type(meta) == "table" and meta.values
end

preload[prefix .. "producer"] = function()
  local Producer = {}
  Producer.__index = Producer
  function Producer:brokers_add(list) return self.native:brokers_add(list) end
  function Producer:poll(ms) return self.native:poll(ms) end
  function Producer:outq_len() return self.native:outq_len() end
  function Producer:produce(topic, partition, payload, key)
    local name = type(topic) == "table" and topic.topic_name_ or topic
    return self.native:produce(name, partition, payload, key)
  end
  local M = {}
  function M.new(config, timeout)
    local values = values_of(config)
    if not values then error("bad argument #1 to 'new' (configuration expected, got " .. type(config) .. ")", 2) end
    return setmetatable({ native = native.kafka_producer(values, timeout) }, Producer)
  end
  return M
end

preload[prefix .. "topic"] = function()
  local Topic = {}
  Topic.__index = Topic
  function Topic:name() return self.topic_name_ end
  local M = {}
  function M.new(producer, name, config)
    if type(producer) ~= "table" or not producer.native then
      error("bad argument #1 to 'new' (producer expected, got " .. type(producer) .. ")", 2)
    end
    if type(name) ~= "string" or name == "" then error("bad argument #2 to 'new' (topic name expected, got " .. type(name) .. ")", 2) end
    if config ~= nil and not values_of(config) then
      error("bad argument #3 to 'new' (topic configuration expected, got " .. type(config) .. ")", 2)
    end
    local values = config and values_of(config)
    if values and next(values) ~= nil then producer.native:topic(values) end
    return setmetatable({ topic_name_ = name, producer = producer }, Topic)
  end
  return M
end
