---@meta
-- What stream connectors find in Weir, for the Lua language server of editors: add the folder of
-- this file to the setting Lua.workspace.library. Scripts do not load it.

---The version of the interface a script is written for, set at the top of its file: with 1 events are
---tables of the script's own, with 2 they are read-only. 1 when it is not set.
---@type 1|2
broker_api_version = 1

---Nothing is in it; old scripts look for it.
---@class broker_event
broker_event = {}

---Called once before the first event; an error ends the start of the script.
---@param conf table<string, string|number> the parameters of the configuration
function init(conf) end

---Optional: says which events the script wants. It is asked before an event is built.
---@param category integer such as 1 for events of the engine, 3 for storage
---@param element integer of the category, such as 29 for the status of a service
---@return boolean wanted
function filter(category, element) end

---Called for each event.
---@param event table fields by name, with _type, category and element
---@return boolean safe true when every event so far may be forgotten
function write(event) end

---Optional: called when no event waits, and once a second while too many are not safe.
---@return boolean safe true when every event so far may be forgotten
function flush() end

---@class broker_log
broker_log = {}

---Sets which messages are written, and where.
---@param level 0|1|2|3 the most detailed messages that are written
---@param file? string path of a log file; without it, or with "", messages go to the log of Weir
function broker_log:set_parameters(level, file) end

---Writes a message.
---@param level 0|1|2|3 it is left out when set_parameters gave a lower one
---@param text string
function broker_log:info(level, text) end

---Writes a warning.
---@param level 0|1|2|3 it is left out when set_parameters gave a lower one
---@param text string
function broker_log:warning(level, text) end

---Writes an error.
---@param level 0|1|2|3 it is left out when set_parameters gave a lower one
---@param text string
function broker_log:error(level, text) end

---What pollers told about their objects. nil stands for what is not known.
---@class broker_cache
broker_cache = {}

---@class broker_group
---@field group_id integer
---@field group_name string

---Name of a host.
---@param host_id integer
---@return string?
function broker_cache:get_hostname(host_id) end

---All that is known of a host.
---@param host_id integer
---@return table?
function broker_cache:get_host(host_id) end

---Name of a service.
---@param host_id integer
---@param service_id integer
---@return string?
function broker_cache:get_service_description(host_id, service_id) end

---All that is known of a service.
---@param host_id integer
---@param service_id integer
---@return table?
function broker_cache:get_service(host_id, service_id) end

---Notes of a host or a service.
---@param host_id integer
---@param service_id? integer without it the host is meant
---@return string?
function broker_cache:get_notes(host_id, service_id) end

---URL of the notes of a host or a service.
---@param host_id integer
---@param service_id? integer without it the host is meant
---@return string?
function broker_cache:get_notes_url(host_id, service_id) end

---URL of the actions of a host or a service.
---@param host_id integer
---@param service_id? integer without it the host is meant
---@return string?
function broker_cache:get_action_url(host_id, service_id) end

---Command that checks a host or a service.
---@param host_id integer
---@param service_id? integer without it the host is meant
---@return string?
function broker_cache:get_check_command(host_id, service_id) end

---Level of the severity of a host or a service.
---@param host_id integer
---@param service_id? integer without it the host is meant
---@return integer?
function broker_cache:get_severity(host_id, service_id) end

---Groups a host is in.
---@param host_id integer
---@return broker_group[]
function broker_cache:get_hostgroups(host_id) end

---Groups a service is in.
---@param host_id integer
---@param service_id integer
---@return broker_group[]
function broker_cache:get_servicegroups(host_id, service_id) end

---Name of a group of hosts.
---@param group_id integer
---@return string?
function broker_cache:get_hostgroup_name(group_id) end

---Alias of a group of hosts.
---@param group_id integer
---@return string?
function broker_cache:get_hostgroup_alias(group_id) end

---Name of a group of services.
---@param group_id integer
---@return string?
function broker_cache:get_servicegroup_name(group_id) end

---Name of a poller.
---@param instance_id integer
---@return string?
function broker_cache:get_instance_name(instance_id) end

---Service an index belongs to: index_id, host_id and service_id.
---@param index_id integer
---@return table?
function broker_cache:get_index_mapping(index_id) end

---Index a metric belongs to: metric_id and index_id.
---@param metric_id integer
---@return table?
function broker_cache:get_metric_mapping(metric_id) end

---A business activity: ba_id, ba_name and ba_description.
---@param ba_id integer
---@return table?
function broker_cache:get_ba(ba_id) end

---A business view: bv_id, bv_name and bv_description.
---@param bv_id integer
---@return table?
function broker_cache:get_bv(bv_id) end

---Ids of the business views a business activity is in.
---@param ba_id integer
---@return integer[]
function broker_cache:get_bvs(ba_id) end

---@class broker
broker = {}

---Value as JSON. Tables whose first key is 1 are arrays, empty tables too.
---@param value any a string, number, boolean, table, or event
---@return string
function broker.json_encode(value) end

---Value of a JSON text, or nil and why there is none.
---@param text string
---@return any value
---@return string? message
function broker.json_decode(text) end

---A metric as parse_perfdata gives it when everything is asked for.
---@class broker_metric
---@field value number
---@field uom string
---@field min number
---@field max number
---@field warning_low number
---@field warning_high number
---@field warning_mode boolean true when values inside the range are bad
---@field critical_low number
---@field critical_high number
---@field critical_mode boolean true when values inside the range are bad
---@field metric_name string
---@field instance string
---@field subinstance string[]
---@field metric_fields string[]
---@field metric_unit string

---Metrics of performance data, by label.
---@param text string
---@param full? boolean everything about a metric rather than its value
---@return table<string, number|broker_metric>
function broker.parse_perfdata(text, full) end

---Text as a part of a URL.
---@param text string
---@return string
function broker.url_encode(text) end

---Bytes as base64.
---@param bytes string
---@return string
function broker.base64_encode(bytes) end

---Bytes of a base64 text; white space in it does not matter. Anything else that is not base64 is an error.
---@param text string
---@return string
function broker.base64_decode(text) end

---MD5 sum in hexadecimal digits.
---@param bytes string
---@return string
function broker.md5(bytes) end

---What the system knows of a file: uid, gid, size, and atime, mtime and ctime in seconds; or nil and why not.
---@param path string
---@return table<string, integer>? status
---@return string? message
function broker.stat(path) end

---Version of BBDO that events have, such as "3.0.1".
---@return string
function broker.bbdo_version() end

---@class broker_tcp_socket
broker_tcp_socket = {}

---A new socket, not connected.
---@return broker_tcp_connection
function broker_tcp_socket.new() end

---A TCP connection. What fails raises an error.
---@class broker_tcp_connection
local connection = {}

---Connects to a server.
---@param address string a name or an address
---@param port integer
function connection:connect(address, port) end

---State of the socket.
---@return "unconnected"|"connected"
function connection:get_state() end

---Sends all bytes.
---@param bytes string
function connection:write(bytes) end

---Receives what is there, 1024 bytes at most; waits when there is nothing, "" at the end.
---@return string
function connection:read() end

---Closes the connection.
function connection:close() end
