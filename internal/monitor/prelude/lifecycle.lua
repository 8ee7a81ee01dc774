-- The life of an instance (specification 2.2), and callbacks that get no rows.
local host = ...
local o, engine = host.o, host.engine
local call, callback = host.call, host.callback
local ipairs, pairs, rawget, type, sort, upper = ipairs, pairs, rawget, type, table.sort, string.upper

local plugin, ticks = nil, 0

-- Runs the file and returns whether it is a plugin. It raises what the file raises.
function host.run(chunk)
  chunk()
  plugin = rawget(_G, "TrisulPlugin")
  if type(plugin) == "table" and type(plugin[o.type]) == "table" then host.block = plugin[o.type] end
  return plugin ~= nil
end

-- Calls both onloads. False when one of them said so; it raises what they raise.
function host.onload()
  for _, t in ipairs({ plugin, host.block or false }) do
    if type(t) == "table" and type(t.onload) == "function" and t.onload() == false then
      host.finish()
      return false
    end
  end
  host.finish()
  return true
end

function host.onunload()
  for _, t in ipairs({ host.block or false, plugin }) do
    if type(t) == "table" and type(t.onunload) == "function" then call("onunload", t.onunload) end
  end
  host.finish()
end

-- The names of the callbacks that there are.
function host.callbacks()
  local names = {}
  for _, t in ipairs({ plugin, host.block or false }) do
    for name, f in pairs(t or {}) do
      if type(name) == "string" and type(f) == "function" then names[#names + 1] = name end
    end
  end
  sort(names)
  return names
end

local subscriptions
local function subscribed(id)
  if not subscriptions then
    subscriptions = {}
    for _, guid in ipairs(type(plugin.message_subscriptions) == "table" and plugin.message_subscriptions or {}) do
      if type(guid) == "string" then subscriptions[upper(guid)] = true end
    end
  end
  return subscriptions[id]
end

function host.message(id, text)
  local f = plugin.onmessage
  if type(f) == "function" and not host.state("onmessage").disabled and (id == nil or subscribed(id)) then call("onmessage", f, id, text) end
  host.finish()
end

function host.metronome(t)
  ticks = ticks + 1
  local f = callback("onmetronome")
  if f then call("onmetronome", f, engine, t, ticks, 1) end
  host.finish()
end

-- Calls one callback of the block with the engine and what else there is.
function host.simple(name, ...)
  local f = callback(name)
  if f then call(name, f, engine, ...) end
  host.finish()
end

function host.set_now(t) host.now = t end
