-- What a file is: the host reads from TrisulPlugin what it needs, and checks it (scriptprobe.go).
local host = ...
local ipairs, pairs, rawget, tostring, type, xpcall = ipairs, pairs, rawget, tostring, type, xpcall

-- Tables that refer to themselves and values of C stay out of what the host gets.
local function copy(v, depth)
  local kind = type(v)
  if kind == "userdata" or kind == "thread" or kind == "cdata" then return { kind = kind } end
  if kind ~= "table" or depth == 0 then return kind == "table" and {} or v end
  local t = {}
  for k, x in pairs(v) do
    if type(k) == "string" or type(k) == "number" then t[k] = copy(x, depth - 1) end
  end
  return t
end

-- Values of an attach field, each { value, index }; a function is called, and what it raises is in error.
local function resolve(field)
  local list = {}
  local function add(v, index)
    local entry = { index = index, type = type(v) }
    if type(v) == "function" then
      local ok, result = xpcall(v, host.raise)
      entry.called = true
      if ok then
        entry.type, v = type(result), result
      else
        entry.error, v = result, nil
      end
    end
    if type(v) == "string" or type(v) == "number" then entry.value = v end
    list[#list + 1] = entry
  end
  if type(field) == "table" then
    local n = #field
    for i = 1, n do add(field[i], i) end
    for k in pairs(field) do
      if type(k) ~= "number" or k < 1 or k > n then list[#list + 1] = { index = tostring(k), type = "field" } end
    end
  else
    add(field)
  end
  return list
end

function host.raise(e)
  local file, line = host.place(3)
  return { message = tostring(type(e) == "table" and e.message or e), file = file, line = line }
end

-- The fields that say what a block is attached to.
local attached = {
  cg_monitor = "counter", alert_monitor = "alert", resource_monitor = "resource", fts_monitor = "fts", sg_monitor = "session",
}

local kinds = { "countergroups", "alertgroups", "resourcegroups", "ftsgroups", "sessiongroups" }

function host.describe(groups)
  local T = host.T
  for _, kind in ipairs(kinds) do T[kind] = groups[kind] end
  local plugin = rawget(_G, "TrisulPlugin")
  if type(plugin) ~= "table" then return { kind = type(plugin) } end
  local d = { kind = "table", fields = {}, blocks = {}, attach = {} }
  for name, v in pairs(plugin) do
    if type(name) == "string" then
      d.fields[name] = type(v)
      if name == "id" then d.id = copy(v, 1) end
      if name == "message_subscriptions" then d.subscriptions = copy(v, 1) end
      if host.known_blocks[name] and type(v) == "table" then
        d.blocks[name] = copy(v, 3)
        local kind = attached[name]
        if kind then
          local a = {}
          for _, field in ipairs({ "guid", "name_match", "name_regex" }) do
            local value = v[kind .. "_" .. field]
            if value ~= nil then a[field] = resolve(value) end
          end
          d.attach[name] = a
        end
      end
    end
  end
  return d
end

host.known_blocks = {}
for _, name in ipairs(host.o.blocks or {}) do host.known_blocks[name] = true end
