---@meta
-- What timeseries drivers and scripts with ts_utils find in Weir, for the Lua language server of editors: add the
-- folder of this file to the setting Lua.workspace.library. Scripts do not load it.

---A schema, as drivers get it.
---@class Schema
---@field name string prefix:rest
---@field options SchemaOptions
---@field _tags string[] in the order of the declaration
---@field _metrics string[] in the order of the declaration
---@field tags table<string, integer> the names of the tags, as keys
---@field metrics table<string, integer> the names of the metrics, as keys
---@field retention { aggregation_dp: integer, retention_dp: integer }[] resolutions, by the step
local Schema = {}

---@class SchemaOptions
---@field step integer seconds between two points of an answer
---@field insertion_step? integer seconds between two points that are written
---@field metrics_type? "counter"|"gauge"|"derivative"
---@field aggregation_function? "mean"|"max"|"min"|"last"
---@field is_critical_ts? boolean written also when the deadline is near
---@field is_system_schema? boolean
---@field keep_total? boolean
---@field rrd_fname? string
---@field rrd_heartbeat? integer

---@param name string at most 19 characters
function Schema:addTag(name) end
---@param name string at most 19 characters
function Schema:addMetric(name) end
---@return boolean complete
---@return string? missing
function Schema:allTagsDefined(tags) end
---@return table<string, any>? own only the tags of the schema
function Schema:verifyTags(tags) end
---@return table<string, any>? tags
---@return table<string, number>? metrics
function Schema:verifyTagsAndMetrics(values) end
---@return "mean"|"max"|"min"|"last"
function Schema:getAggregationFunction() end

---What a file of a driver returns. All but new and append may be left out: what is asked for is then made of the rest.
---@class Driver
---@field new fun(self, options: table): Driver?
---@field append fun(self, schema: Schema, timestamp: integer, tags: table<string, string>, metrics: table<string, number>): boolean
---@field query? fun(self, schema: Schema, tstart: integer, tend: integer, tags: table, options: table): table?
---@field queryTotal? fun(self, schema: Schema, tstart: integer, tend: integer, tags: table, options: table): table<string, number>?
---@field topk? fun(self, schema: Schema, tags: table, tstart: integer, tend: integer, options: table, top_tags: string[]): table?
---@field listSeries? fun(self, schema: Schema, filter: table, wildcards: string[], tstart: integer, tend?: integer): table[]?
---@field timeseries_query? fun(self, options: table): table?
---@field timeseries_top? fun(self, options: table, top_tags: string[]): table?
---@field export? fun(self) every 5 seconds
---@field getLatestTimestamp? fun(self, ifid: integer): integer
---@field delete? fun(self, schema_prefix: string, tags: table): boolean
---@field deleteOldData? fun(self, ifid: integer): boolean
---@field setup? fun(self, ts_utils: table): boolean again and again until it returns true

ntop = {}
---@return table<string, string> dirs installdir, workingdir, bindir, scriptdir, httpdocsdir, callbacksdir, pcapdir, etcdir, sharedir
function ntop.getDirs() end
---@return string value "" when it is missing
function ntop.getPref(key) end
---@return string value "" when it is missing
function ntop.getCache(key) end
---@param value string|number|boolean
---@param ttl? integer seconds
---@return boolean
function ntop.setPref(key, value, ttl) end
---@param value string|number|boolean
---@param ttl? integer seconds
---@return boolean
function ntop.setCache(key, value, ttl) end
function ntop.delCache(key) end
---@return integer
function ntop.incrCache(key, by) end
---@param max? integer the newest that stay
function ntop.lpushCache(list, value, max) end
---@return integer
function ntop.llenCache(list) end
---@return boolean
function ntop.lremCache(list, value) end
---@return table answer RESPONSE_CODE, CONTENT, CONTENT_LEN, CONTENT_TYPE, HTTP_HEADER, HTTP_STATS, ...; ERROR and IS_PARTIAL after a failure
function ntop.httpGet(url, user, password, timeout, return_content, cookie_auth, follow, ip_version) end
---@return table answer as of httpGet
function ntop.httpPost(url, form, user, password, timeout, return_content, cookie_auth) end
---@return { RESPONSE_CODE: integer?, CONTENT: string?, CONTENT_LEN: integer?, error_msg: string? }? answer nil without the file
function ntop.postHTTPTextFile(user, password, url, path, delete_after, timeout) end
---@return boolean
function ntop.exists(path) end
---@return boolean
function ntop.isdir(path) end
---@return boolean
function ntop.notEmptyFile(path) end
---@return boolean
function ntop.mkdir(path) end
---@return boolean
function ntop.rmdir(path) end
---@return table<string, string>
function ntop.readdir(path) end
---@param ... string|integer the start, then DS:... and RRA:...
---@return string? error
function ntop.rrd_create(path, step, ...) end
---@param ... string values
---@return string? error
function ntop.rrd_update(path, when, ...) end
---@return integer? last
---@return integer? sources
function ntop.rrd_lastupdate(path) end
---@return integer? start
---@return integer? step
---@return table<string, number[]>? columns
---@return integer? last
---@return integer? points
---@return string[]? names
function ntop.rrd_fetch_columns(path, consolidation, tstart, tend) end
function ntop.rrd_inc_num_drops(n) end
function ntop.deleteOldRRDs(dir, seconds) end
---@return boolean near the last tenth of what a call may take
function ntop.isDeadlineApproaching() end
---@return integer Unix seconds, 0 for none
function ntop.getDeadline() end
---@return boolean
function ntop.isAdministrator() end
---@param level integer 0 error, 1 warning, 2 and 3 information, 4 debugging
function ntop.traceEvent(level, file, line, text) end

interface = {}
---@param id_or_name string|integer
function interface.select(id_or_name) end
---@return integer
function interface.getId() end
---@return table<string, string> names by id
function interface.getIfNames() end
---@return { id: integer, name: string }
function interface.getStats() end
---@return boolean spooled for export by the driver, in line protocol
function interface.appendInfluxDB(schema, timestamp, tags, metrics) end
---@return boolean
function interface.rrd_enqueue(schema, timestamp, tags, metrics) end
---@return string? line schema,tag=value metric=value timestamp
function interface.rrd_dequeue(ifid) end
---@return integer
function interface.rrd_queue_length(ifid) end
---@return integer? megabits a second
function interface.getMaxIfSpeed(id_or_name) end
