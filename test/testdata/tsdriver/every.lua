-- A driver that calls every host function as the drivers of ntopng do, and writes what it found to a file.
local ts_common = require("ts_common")
local every = {}
every.__index = every

local report = {}
local function check(name, ok, got)
  if not ok then report[#report + 1] = name .. " " .. tostring(got) end
end

function every:new(options)
  return setmetatable({ url = options.url, db = options.db, username = options.username, password = options.password, taken = 0 }, every)
end

local function preferences()
  check("getPref", ntop.getPref("ntopng.prefs.given") == "yes", ntop.getPref("ntopng.prefs.given"))
  check("getPref missing", ntop.getPref("ntopng.prefs.none") == "")
  check("setPref", ntop.setPref("ntopng.prefs.mine", 7.9) == true and ntop.getPref("ntopng.prefs.mine") == "7", ntop.getPref("ntopng.prefs.mine"))
  ntop.setCache("c", true)
  check("setCache boolean", ntop.getCache("c") == "true")
  ntop.setCache("soon", "gone", 1000)
  check("setCache ttl", ntop.getCache("soon") == "gone")
  check("delCache", ntop.delCache("c") == nil and ntop.getCache("c") == "")
  check("incrCache", ntop.incrCache("n") == 1 and ntop.incrCache("n", nil) == 2 and ntop.incrCache("n", 40) == 42)
  for i = 1, 5 do ntop.lpushCache("list", "v" .. i, 3) end
  check("llenCache", ntop.llenCache("list") == 3, ntop.llenCache("list"))
  check("lremCache", ntop.lremCache("list", "v5") == true and ntop.lremCache("list", "v1") == false and ntop.llenCache("list") == 2)
end

local function files(dir)
  check("mkdir", ntop.mkdir(dir .. "/a/b") == true)
  check("exists", ntop.exists(dir .. "/a") and not ntop.exists(dir .. "/x"))
  check("isdir", ntop.isdir(dir .. "/a/b") and not ntop.isdir(dir .. "/x"))
  local f = io.open(dir .. "/a/empty", "w")
  f:close()
  check("notEmptyFile", not ntop.notEmptyFile(dir .. "/a/empty"))
  local names = ntop.readdir(dir .. "/a")
  check("readdir", names.b == "b" and names.empty == "empty" and next(ntop.readdir(dir .. "/x")) == nil)
  check("rmdir", ntop.rmdir(dir .. "/a") == true and not ntop.exists(dir .. "/a"))
  check("rmdir above", ntop.rmdir(dir .. "/..") == nil and ntop.isdir(dir))
end

function every:http(dir)
  local ping = ntop.httpGet(self.url .. "/ping", self.username, self.password, 0, true)
  check("httpGet", ping.RESPONSE_CODE == 204, ping.ERROR or ping.RESPONSE_CODE)
  check("httpGet headers of an answer without a body", (ping.CONTENT or ""):lower():match("\nx%-influxdb%-version: v?([%d%.]+)") ~= nil, ping.CONTENT)
  local made = ntop.httpPost(self.url .. "/query", "q=CREATE+DATABASE+hostfunctions", self.username, self.password, 30, true)
  check("httpPost", made.RESPONSE_CODE == 200 and made.CONTENT_TYPE == "application/json", made.ERROR or made.CONTENT)
  local path = dir .. "/lines"
  local f = io.open(path, "w")
  f:write("every:thing,ifid=1 v=42 1700000000\n")
  f:close()
  local posted = ntop.postHTTPTextFile(self.username, self.password, self.url .. "/write?precision=s&db=hostfunctions", path, true, 30)
  check("postHTTPTextFile", posted.RESPONSE_CODE == 204 and not ntop.exists(path), posted.error_msg or posted.CONTENT)
  check("postHTTPTextFile without a file", ntop.postHTTPTextFile("", "", self.url, path, true, 1) == nil)
  local q = ntop.httpGet(self.url .. "/query?db=hostfunctions&epoch=s&q=SELECT+v+FROM+%22every%3Athing%22", self.username, self.password, 99999999999, true)
  check("httpGet query", q.CONTENT:find("[1700000000,42]", 1, true) and q.CONTENT_LEN == #q.CONTENT and q.BYTES_DOWNLOAD == #q.CONTENT, q.CONTENT)
  check("httpGet times", q.HTTP_STATS.TOTAL_TIME > 0 and q.EFFECTIVE_URL:find(self.url, 1, true) and q.RESOLVED_IP == "127.0.0.1")
  check("httpGet header", q.HTTP_HEADER["content-type"] == " application/json", q.HTTP_HEADER["content-type"])
  local refused = ntop.httpGet(self.url .. "/query?q=SHOW+DATABASES", "nobody", "wrong", 5, true)
  check("httpGet refused", refused.RESPONSE_CODE == 401, refused.RESPONSE_CODE)
  local dead = ntop.httpGet("http://127.0.0.1:1/", nil, nil, 1, true)
  check("httpGet dead", dead.RESPONSE_CODE == 0 and dead.IS_PARTIAL == true and #dead.ERROR > 0)
  local failed = ntop.postHTTPTextFile("", "", "http://127.0.0.1:1/write", dir .. "/kept", true, 1)
  check("postHTTPTextFile without the file", failed == nil)
end

local function databases(dir)
  local path = dir .. "/it's a file.rrd"
  local T = 1700000100
  check("rrd_create", ntop.rrd_create(path, 60, T, "DS:a:DERIVE:120:U:U", "DS:b:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:100") == nil)
  check("rrd_create wrong", type(ntop.rrd_create(path, 60, "nonsense")) == "string")
  for i = 1, 5 do
    local err = ntop.rrd_update(path, tostring(T + 60 * i), tostring(600 * i), tostring(i))
    check("rrd_update", err == nil, err)
  end
  check("rrd_update late", type(ntop.rrd_update(path, tostring(T), "1", "1")) == "string")
  local last, sources = ntop.rrd_lastupdate(path)
  check("rrd_lastupdate", last == T + 300 and sources == 2, last)
  check("rrd_lastupdate missing", select("#", ntop.rrd_lastupdate(path .. "x")) == 0)
  local start, step, columns, finish, points, names = ntop.rrd_fetch_columns(path, "AVERAGE", T, T + 300)
  check("rrd_fetch_columns", step == 60 and points == (finish - start) / 60 and names[1] == "a" and names[2] == "b", step)
  check("rrd_fetch_columns values", columns.a[3] == 10 and #columns.a == points, columns.a and columns.a[3])
  check("rrd_fetch_columns missing", select("#", ntop.rrd_fetch_columns(path .. "x", "AVERAGE", T, T + 300)) == 0)
  check("rrd_inc_num_drops", ntop.rrd_inc_num_drops() == nil and ntop.rrd_inc_num_drops(3) == nil)
  check("deleteOldRRDs", ntop.deleteOldRRDs(dir, 86400) == nil and ntop.exists(path))
end

local function installation()
  local dirs = ntop.getDirs()
  for _, name in ipairs({ "installdir", "workingdir", "bindir", "scriptdir", "httpdocsdir", "callbacksdir", "pcapdir", "etcdir", "sharedir" }) do
    check("getDirs " .. name, type(dirs[name]) == "string")
  end
  for _, name in ipairs({ "isnEdge", "isPro", "isEnterpriseM", "isWindows", "isFreeBSD", "isClickHouseEnabled", "isShuttingDown", "verboseTrace" }) do
    check(name, ntop[name]() == false)
  end
  check("isDeadlineApproaching", ntop.isDeadlineApproaching() == false)
  check("getDeadline", ntop.getDeadline() >= os.time(), ntop.getDeadline())
  check("isAllowed", ntop.isAllowedInterface(1) and ntop.isAllowedNetwork("10.0.0.0/8") and ntop.isAdministrator())
  check("texts", ntop.getHttpPrefix() == "" and type(ntop.getCurrentScriptsDir()) == "string")
  check("isIPv6", ntop.isIPv6("2001:db8::1") and not ntop.isIPv6("10.0.0.1"))
  check("tables", type(ntop.getInfo()) == "table" and type(ntop.getPrefs()) == "table")
  check("traceEvent", ntop.traceEvent(2, "every.lua", 1, "every function was called") == nil)
  check("globals", _SESSION.user == "admin" and type(_GET) == "table" and type(_POST) == "table" and type(_SERVER) == "table")
  check("globals dirs", dirs.workingdir == _G.dirs.workingdir)
end

local function interfaces()
  interface.select("5")
  check("select", interface.getId() == 5 and interface.getStats().id == 5 and interface.getStats(true).name == "if5")
  interface.select("eth0")
  check("select by name", interface.getId() == 1, interface.getId())
  check("getIfNames", interface.getIfNames()["1"] == "eth0" and interface.getIfNames(true)["5"] == "if5")
  check("kind", interface.isPacketInterface() == true and interface.getStatsUpdateFreq(1) == nil)
  check("getMaxIfSpeed", interface.getMaxIfSpeed("eth0") == 1000 and interface.getMaxIfSpeed(5) == nil)
  check("nDPI", interface.getnDPIProtoId("DNS") == 0 and interface.getnDPICategoryId("Web") == -1)
  check("getHostMinInfo", interface.getHostMinInfo("10.0.0.1", 0) == nil)
  check("rrd queue", interface.rrd_enqueue("a:b", 60, { ifid = 1, t = "x y" }, { m = 1, n = 2.5 }) == true and interface.rrd_queue_length(1) == 1)
  local line = interface.rrd_dequeue(1)
  check("rrd_dequeue", line == "a:b,ifid=1,t=x y m=1,n=2.5 60" and interface.rrd_dequeue(1) == nil and interface.rrd_queue_length(1) == 0, line)
  check("rrd_enqueue wrong", interface.rrd_enqueue("a:b", 60, { ifid = 1 }, { m = 0/0 }) == false)
  check("appendInfluxDB", interface.appendInfluxDB("a:b", 1700000000.7, { ifid = 1, t = "x, y=z" }, { m = 1, n = 2.5 }) == true)
  check("appendInfluxDB wrong", interface.appendInfluxDB("a:b", 60, { ifid = 1 }, { m = "text" }) == false)
  check("max value", ts_common.getMaxPointValue({ name = "iface:traffic" }, "bytes", { ifid = 1 }) == 1000 * 1000000)
end

function every:setup(ts_utils)
  report = {}
  local dir = ntop.getDirs().workingdir
  preferences()
  files(dir)
  self:http(dir)
  databases(dir)
  installation()
  interfaces()
  check("unknown functions", ntop.newerThanThis(1) == nil and interface.chTsQueueLen() == nil)
  check("ts_utils", ts_utils.getSchema("host:ndpi")._tags[3] == "protocol" and ts_utils.getQueryDriver() == self)
  local f = io.open(dir .. "/report", "w")
  f:write(#report == 0 and "all is well" or table.concat(report, "\n"), "\n")
  f:close()
  return true
end

function every:append() self.taken = self.taken + 1 return true end
function every:query() return nil end
function every:listSeries() return nil end
function every:export() end
function every:delete() return true end
function every:deleteOldData() return true end

return every
