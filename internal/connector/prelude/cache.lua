-- broker_cache (5.2): the names of hosts and services are kept here, where LuaJIT compiles what asks
-- for them. Other answers are remembered until something was configured. What is not known is asked,
-- and so is everything that is not a plain id: the errors are those of the function behind.
local methods = ...
local type, next = type, next
local hosts, services = {}, {}

-- Lists of an id, two for a service, and its name, false when it is gone.
local function learn(of_hosts, of_services)
  for i = 1, #of_hosts, 2 do hosts[of_hosts[i]] = of_hosts[i + 1] or nil end
  for i = 1, #of_services, 3 do
    local host, service, name = of_services[i], of_services[i + 1], of_services[i + 2]
    local of = services[host]
    if name then
      if not of then
        of = {}
        services[host] = of
      end
      of[service] = name
    elseif of then
      of[service] = nil
      if next(of) == nil then services[host] = nil end
    end
  end
end

local get_hostname, get_service_description = methods.get_hostname, methods.get_service_description

function methods.get_hostname(self, host)
  local name = hosts[host]
  if name and type(self) == "table" then return name end
  return get_hostname(self, host)
end

function methods.get_service_description(self, host, service)
  local of = services[host]
  local name = of and of[service]
  if name and type(self) == "table" then return name end
  return get_service_description(self, host, service)
end

local forget = {}

local function plain(id) return type(id) == "number" and id >= 0 and id <= 9007199254740991 and id % 1 == 0 end

local function by_id(name)
  local ask, known = methods[name], {}
  forget[#forget + 1] = function() known = {} end
  methods[name] = function(self, id)
    local v = known[id]
    if v ~= nil and type(self) == "table" then return v end
    if type(self) ~= "table" or not plain(id) then return ask(self, id) end
    v = ask(self, id)
    if v ~= nil then known[id] = v end
    return v
  end
end

-- Without a second id it is the host's, which has the number 0.
local function by_host_and_service(name)
  local ask, known = methods[name], {}
  forget[#forget + 1] = function() known = {} end
  methods[name] = function(self, host, service)
    if service == nil then service = 0 end
    local of = known[host]
    if of and type(self) == "table" then
      local v = of[service]
      if v ~= nil then return v end
    end
    if type(self) ~= "table" or not plain(host) or not plain(service) then return ask(self, host, service) end
    local v = ask(self, host, service)
    if v ~= nil then
      if not of then
        of = {}
        known[host] = of
      end
      of[service] = v
    end
    return v
  end
end

by_id("get_instance_name")
by_id("get_hostgroup_name")
by_id("get_hostgroup_alias")
by_id("get_servicegroup_name")
by_host_and_service("get_notes")
by_host_and_service("get_notes_url")
by_host_and_service("get_action_url")
by_host_and_service("get_check_command")
by_host_and_service("get_severity")

return methods, learn, function()
  for i = 1, #forget do forget[i]() end
end
