---@meta
-- What monitor scripts find in Weir, for the Lua language server of editors: add the folder of this file to the
-- setting Lua.workspace.library. Scripts do not load it.

---@class TrisulPluginId
---@field name string
---@field description? string
---@field author? string
---@field version_major? integer
---@field version_minor? integer

---A script assigns this table. Members of other names are the script's own.
---@class TrisulPlugin
---@field id TrisulPluginId
---@field onload? fun(): boolean? called once for each instance, before that of the block; false disables the instance
---@field onunload? fun() called at the end, after that of the block
---@field message_subscriptions? string[] GUIDs of messages that onmessage gets, besides those without one
---@field onmessage? fun(msgid: string?, message: string)
---@field request_async_workers? integer threads of T.async, 1 without it
---@field cg_monitor? cg_monitor
---@field engine_monitor? engine_monitor
---@field alert_monitor? alert_monitor
---@field sg_monitor? sg_monitor
---@field flowtracker? flowtracker
---@field messagemonitor? messagemonitor
---@field simplecounter? simplecounter
---@field resource_monitor? resource_monitor
---@field countergroup? countergroup
---@field alertgroup? group_definition
---@field resourcegroup? group_definition
TrisulPlugin = {}

---Watches counter groups: one isolated instance for each group. At least one of the three counter_ fields is there; they add up.
---@class cg_monitor
---@field counter_guid? string|(fun(): string?)|(string|fun(): string?)[] GUIDs of groups
---@field counter_name_match? string|string[] parts of titles, in any case
---@field counter_name_regex? string RE2 pattern that is searched in titles
---@field onload? fun(): boolean?
---@field onunload? fun()
---@field onbeginflush? fun(engine: Engine, ts: integer) a window ends; ts is its end
---@field onflushfilter? fun(engine: Engine, ts: integer, key: string, metrics: number[]): boolean, number[]? false keeps a key from being stored when all scripts say so; the array has values from 0 on, and -1 for meters that stay
---@field onflush? fun(engine: Engine, ts: integer, key: string, metrics: number[]) metrics[1] is meter 0; a rate is per second
---@field onendflush? fun(engine: Engine, ts: integer)
---@field onbegintopperflush? fun(engine: Engine, ts: integer, meter: integer): boolean whether ontopperflush is called for this meter
---@field ontopperflushfilter? fun(engine: Engine, key: string, metric: number): boolean
---@field ontopperflush? fun(engine: Engine, key: string, metric: number) largest first, totals last
---@field onendtopperflush? fun(engine: Engine, meter: integer)
---@field onupdate? fun(engine: Engine, ts: integer, key: string, metrics: number[]) the values of the last second
---@field onnewkey? fun(engine: Engine, ts: integer, key: string) before its first onupdate
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer) once a second

---@class engine_monitor
---@field onbeginflush? fun(engine: Engine, ts: integer) before the windows of all groups
---@field onendflush? fun(engine: Engine, ts: integer) after them
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer)

---@class alert_monitor
---@field alert_guid? string|(fun(): string?)|(string|fun(): string?)[]
---@field alert_name_match? string|string[]
---@field alert_name_regex? string
---@field onnewalert? fun(engine: Engine, alert: Alert) within a second
---@field onbeginflush? fun(engine: Engine, ts: integer)
---@field flushfilter? fun(engine: Engine, alert: Alert): boolean false keeps it from being stored when all scripts say so
---@field onflush? fun(engine: Engine, alert: Alert)
---@field onendflush? fun(engine: Engine, ts: integer)
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer)

---@class sg_monitor
---@field session_guid? string
---@field onnewflow? fun(engine: Engine, flow: Flow)
---@field onupdate? fun(engine: Engine, flow: Flow)
---@field onterminate? fun(engine: Engine, flow: Flow)
---@field onbeginflush? fun(engine: Engine, ts: integer)
---@field flushfilter? fun(engine: Engine, flow: Flow): boolean
---@field onflush? fun(engine: Engine, flow: Flow)
---@field onendflush? fun(engine: Engine, ts: integer)
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer)

---@class flowtracker
---@field control { name: string, description?: string, bucketsize?: integer, count?: integer }
---@field getmetric fun(engine: Engine, flow: Flow): number? what the flow is ranked by; nil or 0 is of no interest
---@field onbeginflush? fun(engine: Engine, ts: integer)
---@field onendflush? fun(engine: Engine, ts: integer)
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer)

---@class messagemonitor
---@field onnewflowrecord? fun(engine: Engine, flow: FlowID, bytes_az: number, bytes_za: number, packets_az: number, packets_za: number)
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer)

--Is called for packets with a layer of a protocol, in weir flow replay; with flow_counter for records of exporters.
---@class simplecounter
---@field protocol_guid string
---@field flow_counter? boolean
---@field onpacket? fun(engine: Engine, layer: Layer)
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer)

---@class resource_monitor
---@field resource_guid? string|(fun(): string?)|(string|fun(): string?)[]
---@field resource_name_match? string|string[]
---@field resource_name_regex? string
---@field onnewresource? fun(engine: Engine, resource: Resource)
---@field onbeginflush? fun(engine: Engine, ts: integer)
---@field flushfilter? fun(engine: Engine, resource: Resource): boolean
---@field onflush? fun(engine: Engine, resource: Resource)
---@field onendflush? fun(engine: Engine, ts: integer)
---@field onmetronome? fun(engine: Engine, ts: integer, tick_count: integer, tick_interval: integer)

---Defines a counter group.
---@class countergroup
---@field control { guid: string, name: string, description?: string, bucketsize?: integer, resolver_guid?: string }
---@field meters any[][] rows { id, type, top, bottom, name, description, units }, or without bottom
---@field keyinfo? string[][] rows { key, label }

---@class group_definition
---@field control { guid: string, name: string, description?: string }

---What callbacks get first. Methods are called with a colon. Updates count from the next second on.
---@class Engine
local Engine = {}

---Adds to a meter of a key; what adding means depends on the type of the meter.
---@param guid string of the counter group, which must be there
---@param key string 1 to 512 bytes
---@param meter integer from 0 on
---@param value number|string
function Engine:update_counter(guid, key, meter, value) end

---The same.
---@param guid string
---@param key string
---@param meter integer
---@param value number|string
function Engine:update_counter_raw(guid, key, meter, value) end

---Sets the label of a key.
---@param guid string
---@param key string
---@param label string
---@param description? string
function Engine:update_key_info(guid, key, label, description) end

---@param guid string
---@param key string
---@param name string
---@param value string
function Engine:set_key_attribute(guid, key, name, value) end

---@param guid string of the alert group, such as {B5F1DECB-51D5-4395-B71B-6FA730B772D9}
---@param flowkey string? key of a flow
---@param alertkey string what kind of alert it is
---@param priority integer 1 is high, 3 low
---@param message string
function Engine:add_alert(guid, flowkey, alertkey, priority, message) end

---@param guid string
---@param flowkey string?
---@param alertkey string
---@param classification string?
---@param priority integer
---@param message string
---@param status? string ALARM without it
function Engine:add_alert_full(guid, flowkey, alertkey, classification, priority, message, status) end

---A threshold crossing alert.
---@param guid string
---@param tca_id integer
---@param status string FIRED or CLEAR
---@param message string
function Engine:add_alert_tca(guid, tca_id, status, message) end

---@param guid string
---@param flowkey string?
---@param alertkey string
---@param classification string?
---@param priority integer
---@param message string
---@param status? string
function Engine:add_alert_ids(guid, flowkey, alertkey, classification, priority, message, status) end

---@param guid string of the resource group
---@param flowkey string?
---@param uri string
---@param contents? string less than 32 KiB
function Engine:add_resource(guid, flowkey, uri, contents) end

---@return integer ts the end of the last window
function Engine:timestamp() end

---@return string id of the engine, "0"
function Engine:instanceid() end

---@return string
function Engine:id() end

---@return string
function Engine:probeid() end

---@param flowkey string
---@param tag string
function Engine:tag_flow(flowkey, tag) end

---Sends a message to the other instances, which get it in the next second. With two arguments the first one is a GUID.
---@param msgid string|nil
---@param message string
---@overload fun(self: Engine, message: string)
function Engine:post_message_backend(msgid, message) end

---@param msgid string|nil
---@param message string
---@overload fun(self: Engine, message: string)
function Engine:post_message_frontend(msgid, message) end

---@param guid string
---@param key string
---@param to_guid string
---@param to_key string
function Engine:add_edge(guid, key, to_guid, to_key) end

---@param flowkey string
---@param guid string
---@param key string
function Engine:add_flow_edges(flowkey, guid, key) end

---@param flowkey string
---@param name string
---@param value string
function Engine:add_flow_attribute(flowkey, name, value) end

---@class Layer
local Layer = {}
---@return integer bytes of its header
function Layer:layer_bytes() end
---@return integer bytes with what it carries
function Layer:total_bytes() end
---@return string guid
function Layer:protocol_id() end
---@return Buffer
function Layer:rawbytes() end
---@return Packet
function Layer:packet() end
---@param n integer in network order
---@return boolean
function Layer:testbit(n) end
---@param offset integer
---@return integer
function Layer:getbyte(offset) end
---@return string
function Layer:flowkey() end

---@class Packet
local Packet = {}
---@return integer seconds
---@return integer microseconds
function Packet:timestamp() end
---@return Buffer
function Packet:rawbytes() end
---@return integer
function Packet:wire_length() end
---@return integer
function Packet:capture_length() end
---@return integer
function Packet:num_layers() end
---@param n integer from 0
---@return Layer
function Packet:get_layer(n) end
---@param guid string
---@return Layer?
function Packet:find_layer(guid) end
---@return FlowID?
function Packet:flowid() end
---@return integer
function Packet:originid() end

--Offsets count from 0; one that is not within the buffer raises an error.
---@class Buffer
local Buffer = {}
---@return integer
function Buffer:size() end
---@return integer
function Buffer:length() end
---@param offset? integer
---@param size? integer
---@return string
function Buffer:hexdump(offset, size) end
---@param offset? integer
---@param size? integer
---@return string
function Buffer:tostring(offset, size) end
---@param offset integer
---@return integer
function Buffer:hval_8(offset) end
---@param offset integer
---@return integer
function Buffer:hval_16(offset) end
---@param offset integer
---@return integer
function Buffer:hval_24(offset) end
---@param offset integer
---@return integer
function Buffer:hval_32(offset) end
---@param file string
function Buffer:appendtofile(file) end
---@param file string
---@param offset? integer
function Buffer:writetofile(file, offset) end

---@class FlowID
local FlowID = {}
---@return string
function FlowID:id() end
---@return string
function FlowID:key() end
---@return string digits two, such as 06
function FlowID:protocol() end
---@return string
function FlowID:ipa() end
---@return string
function FlowID:ipz() end
---@return string
function FlowID:porta() end
---@return string
function FlowID:portz() end
---@return string
function FlowID:ipa_readable() end
---@return string
function FlowID:ipz_readable() end
---@return string
function FlowID:porta_readable() end
---@return string
function FlowID:portz_readable() end
---@return string
function FlowID:netflow_router() end
---@return string
function FlowID:netflow_ifindex_in() end
---@return string
function FlowID:netflow_ifindex_out() end
---@return "A"|"B"|"C"|"D"
function FlowID:flow_type() end
---@return string
function FlowID:to_s() end

---@class Alert
local Alert = {}
---@return integer seconds
---@return integer microseconds
function Alert:timestamp() end
---@return FlowID?
function Alert:flow() end
---@return string
function Alert:source_ip() end
---@return string
function Alert:source_port() end
---@return string
function Alert:destination_ip() end
---@return string
function Alert:destination_port() end
---@return string
function Alert:sigid() end
---@return string
function Alert:classification() end
---@return string
function Alert:message() end
---@return string
function Alert:extra_message() end
---@return string
function Alert:status() end
---@return integer
function Alert:priority() end
---@return integer
function Alert:ack_flag() end
---@param n integer
function Alert:set_priority(n) end
---@param text string
function Alert:set_message(text) end
---@param text string
function Alert:set_extra_message(text) end

---@class Resource
local Resource = {}
---@return integer seconds
---@return integer microseconds
function Resource:timestamp() end
---@return FlowID?
function Resource:flow() end
---@return string
function Resource:uri() end
---@return string
function Resource:label() end
---@param text string
function Resource:set_uri(text) end
---@param text string
function Resource:set_label(text) end

---@class Flow
local Flow = {}
---@return string
function Flow:key() end
---@return FlowID
function Flow:flow() end
---@return integer start
---@return integer last
function Flow:time_window() end
---@return integer
function Flow:state() end
---@return number
function Flow:az_bytes() end
---@return number
function Flow:za_bytes() end
---@return number
function Flow:az_packets() end
---@return number
function Flow:za_packets() end
---@return string
function Flow:tags() end
---@param tag string
function Flow:add_tag(tag) end

---What the host offers besides the engine. Scripts may keep values of their own in it.
---@class T
---@field contextid integer a number of the instance's own
---@field execution_contextid integer
---@field backend_engineid integer
---@field enginetype "backend"|"frontend"
---@field probeid string
---@field probeversion string
---@field context_name string
---@field contextname string
---@field args string
---@field monitor_group_name string? title of the group the instance is attached to
---@field monitor_group_guid string?
---@field countergroups table<string, string> GUIDs by title
---@field alertgroups table<string, string>
---@field resourcegroups table<string, string>
---@field ftsgroups table<string, string>
---@field sessiongroups table<string, string>
---@field [string] any
T = {}

T.K = {
  loglevel = { EMERG = 0, FATAL = 1, ALERT = 2, CRIT = 3, ERROR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8 },
  vartype = { COUNTER = 2, RATE_COUNTER = 4, GAUGE = 5, RUNNING_COUNTER = 8, AVERAGE = 9, DELTA_RATE_COUNTER = 10, MAXIMUM = 11, MINIMUM = 12 },
}
T.K.vartypes = T.K.vartype

---@param level integer|string a value of T.K.loglevel, or the message, which is DEBUG then
---@param message? any
function T.log(level, message) end
---@param message any
function T.logerror(message) end
---@param message any
function T.logwarning(message) end
---@param message any
function T.loginfo(message) end
---@param message any
function T.logdebug(message) end

T.env = { configfile = "", domain_configfile = "" }
---@param path string such as App>DBRoot or //App/DBRoot
---@return string? value nil when there is none
function T.env.get_config(path) end
---@param path string
---@return string?
function T.env.get_domain_config(path) end

---@class THost
T.host = {}
---@param level integer
---@param message any
function T.host:log(level, message) end
---@return string[][] nets rows { address, netmask }
function T.host:get_homenets() end
---@param address number|string
---@return boolean
function T.host:is_homenet(address) end
---@param key string
---@return boolean
function T.host:is_homenet_key(key) end
---@return string
function T.host:get_configpath() end
---@return string
function T.host:get_datapath() end
---@param guid string
---@param key string
---@param label string
function T.host:createkey(guid, key, label) end

T.util = {}
---@param n number
---@return string
function T.util.ntop(n) end
---@param address string
---@return number?
function T.util.pton(address) end
---@param p number
---@param q number
---@return number
function T.util.bor(p, q) end
---@param p number
---@param q number
---@return number
function T.util.band(p, q) end
---@param n number
---@param bit integer 0 is the lowest
---@return boolean
function T.util.testbit32(n, bit) end
---@param n number
---@param start integer the highest bit
---@param width integer
---@return number
function T.util.bitval32(n, start, width) end
---@param s string
---@param delimiter string
---@return string[]
function T.util.split(s, delimiter) end
---@param s string
---@param delimiter string
---@return string ...
function T.util.splitm(s, delimiter) end
---@param s string
---@param bits? integer 32 without it
---@return number
function T.util.hash(s, bits) end
---@param s string
---@return string
function T.util.bin2hex(s) end
---@param s string
---@return string?
function T.util.hex2bin(s) end

---@class RE2
local RE2 = {}
---@param s string
---@return boolean
function RE2:partial_match(s) end
---@param s string
---@return boolean
function RE2:full_match(s) end
---@param s string
---@return boolean
---@return string?
function RE2:partial_match_c1(s) end
---@param s string
---@return boolean
---@return string?
---@return string?
function RE2:partial_match_c2(s) end
---@param s string
---@return boolean
---@return string ...
function RE2:partial_match_n(s) end
---@param s string
---@return boolean
---@return string ...
function RE2:full_match_n(s) end

---@param pattern string
---@param options? table<string, boolean>
---@return RE2
function T.re2(pattern, options) end

---@class AhoCorasick
local AhoCorasick = {}
---@param text string
---@return table<string, integer> found by pattern: the place of the last character of its first match
function AhoCorasick:match_all(text) end
---@param text string
---@return table<string, integer>
function AhoCorasick:match_one(text) end

---@param patterns string[]
---@return AhoCorasick
function T.ac(patterns) end

T.async = {}
---@param from string
---@param to string
function T.async.cat(from, to) end
---@param from string
---@param to string
function T.async.copy(from, to) end
---@param file string
function T.async.rm(file) end
---@param task { data: string, onexecute: fun(data: string): string?, onresult?: fun(engine: Engine, data: string, result: string) }
function T.async:schedule(task) end
---@return integer
function T.async:pending_items() end
