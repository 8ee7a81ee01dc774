-- broker_cache (5.2): what was asked before is answered here, where LuaJIT compiles it, until
-- something was configured. What is not known is asked again, and so is everything that is not a
-- plain id: the errors are those of the function behind.
local methods = ...
local type = type
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
local function by_host_and_service(name, optional)
  local ask, known = methods[name], {}
  forget[#forget + 1] = function() known = {} end
  methods[name] = function(self, host, service)
    if service == nil and optional then service = 0 end
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

by_id("get_hostname")
by_id("get_instance_name")
by_id("get_hostgroup_name")
by_id("get_hostgroup_alias")
by_id("get_servicegroup_name")
by_host_and_service("get_service_description", false)
by_host_and_service("get_notes", true)
by_host_and_service("get_notes_url", true)
by_host_and_service("get_action_url", true)
by_host_and_service("get_check_command", true)
by_host_and_service("get_severity", true)

return methods, function()
  for i = 1, #forget do forget[i]() end
end
