package connector

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
)

// endpoint is what scripts send to: HTTP, and TCP for those that write to a socket.
type endpoint struct {
	mu       sync.Mutex
	requests []string
	code     int
	reply    string
	tcp      net.Listener
	received chan struct{} // a connection of TCP has ended
}

func (e *endpoint) add(head, body string) {
	lines := strings.Split(body, "\n")
	for i, line := range lines {
		lines[i] = sorted(line)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, strings.TrimSpace(head+" "+strings.Join(lines, "\n")))
}

// sorted gives a line of JSON with its members in order, which Lua does not promise; another line as it is.
func sorted(line string) string {
	var v any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return line
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return line
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	text := r.Method + " " + r.RequestURI
	for _, name := range []string{"Content-Type", "Authorization", "X-Api-Key"} {
		if v := r.Header.Get(name); v != "" && v != "application/json" {
			text += " [" + v + "]"
		}
	}
	e.add(text, string(body))
	code, reply := e.code, e.reply
	if r.Method == http.MethodGet || r.URL.Path == "/token" { // what is asked before the data is sent
		code = http.StatusOK
	}
	if r.URL.Path == "/token" {
		reply = `{"access_token":"T"}`
	}
	w.WriteHeader(code)
	if code != http.StatusNoContent {
		_, _ = io.WriteString(w, reply)
	}
}

// serve takes connections: what came until the peer stopped, or one request of HTTP.
func (e *endpoint) serve() {
	for {
		c, err := e.tcp.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var got strings.Builder
			r := bufio.NewReader(c)
			for {
				line, err := r.ReadString('\n')
				got.WriteString(line)
				if err != nil || line == "}\n" {
					break
				}
			}
			if strings.HasPrefix(got.String(), "POST ") {
				_, _ = io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
			}
			e.add("", strings.ReplaceAll(got.String(), "\r\n", "\n"))
			e.received <- struct{}{}
		}()
	}
}

// watched is put around a script: it notes which modules and functions of the host are used.
const watched = `local require_ = require
used = {}
function require(name)
  if name ~= "sc" then used[#used + 1] = name end
  return require_(name)
end
%s
local init_ = init
function init(conf)
  for _, global in ipairs{ "broker", "broker_cache" } do
    local functions = _G[global]
    _G[global] = setmetatable({}, { __index = function(_, name)
      used[#used + 1] = global .. "." .. name
      return functions[name]
    end })
  end
  init_(conf)
end`

// library does for scripts of version 2 what their library does: names, a queue, flush.
const library = `local M = {}
function M.new(conf, format, send, max)
  local self = { queue = {}, max = max or 1 }
  local elements = broker.bbdo_version():match("(%d+).%d+.%d+") == "3" and { [29] = true, [32] = true, [9] = true, [19] = true } or { [24] = true, [14] = true }
  local flush
  local function write(event)
    if not elements[event.element] or event.category ~= 1 then return true end
    event.cache = { host = broker_cache:get_host(event.host_id), service = event.service_id and broker_cache:get_service(event.host_id, event.service_id) or {} }
    event.cache.poller = broker_cache:get_instance_name(event.cache.host.instance_id)
    event.cache.severity = broker_cache:get_severity(event.host_id)
    event.cache.groups = broker_cache:get_hostgroups(event.host_id)
    event.cache.metrics = event.perfdata and broker.parse_perfdata(event.perfdata, true) or {}
    if broker_cache:get_servicegroups(event.host_id, event.service_id or 0)[1] then event.cache.grouped = true end
    self.queue[#self.queue + 1] = format(event)
    return flush()
  end
  function flush()
    if #self.queue == 0 then return true end
    if not send(self.queue) then return false end
    self.queue = {}
    return true
  end
  M.write, M.flush = write, flush
end
function M.quote(text) return broker.url_encode(text) end
-- Requests as the scripts of version 2 make them.
function M.post(conf, path, data, headers, accept, method)
  local curl = require "cURL"
  local body = ""
  local request = curl.easy():setopt_url(conf.url .. path)
    :setopt_writefunction(function(chunk) body = body .. tostring(chunk) end)
    :setopt(curl.OPT_TIMEOUT, conf.connection_timeout)
    :setopt(curl.OPT_SSL_VERIFYPEER, conf.verify_certificate)
    :setopt(curl.OPT_SSL_VERIFYHOST, conf.verify_certificate)
    :setopt(curl.OPT_HTTPHEADER, headers)
  if method then request:setopt(curl.OPT_CUSTOMREQUEST, method) end
  if data then request:setopt_postfields(data) end
  request:perform()
  local code = request:getinfo(curl.INFO_RESPONSE_CODE)
  request:close()
  broker_log:info(1, "code " .. code)
  return accept(code, body), body
end
return M`

// scriptRow is a row of specification 8.2: how the script of that name uses the host, in our own words.
type scriptRow struct {
	name    string
	hooks   string // of i w f F
	uses    string // modules, and functions as broker.name and broker_cache.name; those of the library apart
	source  string
	code    int    // the endpoint answers with
	reply   string // and this
	request string // that arrives at the end; more lines are more requests
}

const curlModule = `local curl = require "cURL"
`

var scriptRows = []scriptRow{
	{"bsm/bsm_connector-apiv1", "i w", "cURL LuaXML broker.json_encode broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_severity broker_cache.get_notes broker_cache.get_notes_url broker_cache.get_action_url", curlModule + `
require "LuaXML"
local c
function init(conf) c = conf broker_log:set_parameters(1, "") end
function write(d)
  if d.category ~= 1 or d.element ~= 24 then return false end
  local text = "<event_data><hostname>" .. broker_cache:get_hostname(d.host_id) .. "</hostname><svc_desc>" .. broker_cache:get_service_description(d.host_id, d.service_id) ..
    "</svc_desc><output>" .. string.match(d.output, "^(.*)\n") .. "</output><sev>" .. tostring(broker_cache:get_severity(d.host_id)) .. "</sev><n>" ..
    broker_cache:get_notes(d.host_id) .. "</n><u>" .. broker_cache:get_notes_url(d.host_id, d.service_id) .. "</u><a>" .. broker_cache:get_action_url(d.host_id) .. "</a></event_data>"
  broker_log:info(3, broker.json_encode(d))
  local xmldata = tostring(xml.eval(text))
  local request = curl.easy():setopt_url(c.url .. "/bsmc"):setopt_writefunction(function() end):setopt(curl.OPT_TIMEOUT, 60):setopt(curl.OPT_HTTPHEADER, { "Content-Type: text/xml", "content-length: " .. #xmldata }):setopt(curl.OPT_SSL_VERIFYPEER, 0)
  request:setopt_postfields(xmldata)
  request:perform()
  return request:getinfo(curl.INFO_RESPONSE_CODE) == 200
end`, 200, "", "POST /bsmc [text/xml] <event_data>\n  <hostname>alpha</hostname>\n  <svc_desc>load</svc_desc>\n  <output>WARNING - load</output>\n  <sev>3</sev>\n  <n>note</n>\n  <u />\n  <a>act</a>\n</event_data>"},
	{"canopsis/canopsis2x-events-apiv2", "i w f", "cURL broker.json_encode broker.json_decode", `local sc = require "sc"
function init(conf)
  local known = {}
  sc.new(conf, function(e) return { component = e.cache.host.name, resource = e.cache.service.description } end, function(queue)
    local ok, body = sc.post(conf, "/api/v4/event", broker.json_encode(queue), { "content-type: application/json", "x-canopsis-authkey: k" }, function(code) return code == 200 end)
    known = broker.json_decode(body)
    return ok and known.ok
  end)
end`, 200, `{"ok":true}`, `POST /api/v4/event [{"component":"alpha","resource":"load"}]`},
	{"clickhouse/clickhouse-metrics-apiv2", "i w f", "cURL", `local sc = require "sc"
function init(conf)
  sc.new(conf, function(e) return "('" .. e.cache.host.name .. "','load1'," .. e.cache.metrics.load1.value .. "," .. e.host_id .. ")" end, function(queue)
    return (sc.post(conf, "/?query=" .. require("sc").quote("INSERT INTO metrics VALUES"), table.concat(queue, ","), { "X-ClickHouse-User: u" }, function(code) return code == 200 end))
  end)
end`, 200, "", `POST /?query=INSERT%20INTO%20metrics%20VALUES [application/x-www-form-urlencoded] ('alpha','load1',0.5,1)`},
	{"datadog/datadog-events-apiv2", "i w f", "cURL broker.json_encode", `local sc = require "sc"
function init(conf)
  sc.new(conf, function(e) return { title = "CRITICAL " .. e.cache.host.name, host = e.cache.host.name } end, function(queue)
    return (sc.post(conf, "/api/v1/events", broker.json_encode(queue[1]), { "content-type: application/json", "DD-API-KEY: k", "x-api-key: k" }, function(code) return code == 202 end))
  end)
end`, 202, `{}`, `POST /api/v1/events [k] {"host":"alpha","title":"CRITICAL alpha"}`},
	{"datadog/datadog-metrics-apiv2", "i w f", "cURL broker.json_encode", `local sc = require "sc"
function init(conf)
  sc.new(conf, function(e) return { metric = "load1", points = { { e.last_check, e.cache.metrics.load1.value } } } end, function(queue)
    return (sc.post(conf, "/api/v1/series", broker.json_encode({ series = queue }), { "content-type: application/json" }, function(code) return code == 202 end))
  end)
end`, 202, `{}`, `POST /api/v1/series {"series":[{"metric":"load1","points":[[1700000300,0.5]]}]}`},
	{"elasticsearch/elastic-events-apiv2", "i w f", "cURL ltn12 mime broker.json_encode", `local sc = require "sc"
local ltn12, mime = require "ltn12", require "mime"
function init(conf)
  sc.new(conf, function(e) return broker.json_encode({ index = { _index = "c" } }) .. "\n" .. broker.json_encode({ host = e.cache.host.name }) .. "\n" end, function(queue)
    return (sc.post(conf, "/_bulk", table.concat(queue), { "Content-Type: application/json", "Authorization: Basic " .. (mime.b64("u:p")) }, function(code, body) return code == 200 and body:find('"errors":false', 1, true) ~= nil end))
  end)
end`, 200, `{"errors":false}`, "POST /_bulk [Basic dTpw] {\"index\":{\"_index\":\"c\"}}\n{\"host\":\"alpha\"}"},
	{"elasticsearch/elastic-metrics-apiv1", "i w F", "broker.json_encode broker_cache.get_hostname", `local c
function init(conf) c = conf end
function filter(category, element) return category == 3 and element == 1 end
function write(d)
  local body = broker.json_encode({ host = broker_cache:get_hostname(d.host_id), name = d.name, value = d.value }) .. "\n}\n"
  local s = broker_tcp_socket.new()
  s:connect(c.host, tonumber(c.port))
  s:write("POST /_bulk HTTP/1.1\r\nHost: " .. c.host .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
  local answer = s:read()
  s:close()
  return answer:match("201 Created") ~= nil
end`, 201, "", "POST /_bulk HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 46\n\n{\"host\":\"alpha\",\"name\":\"load1\",\"value\":0.5}\n}"},
	{"elasticsearch/elastic-metrics-apiv2", "i w f", "cURL mime broker.json_encode broker.json_decode", `local sc = require "sc"
local mime = require "mime"
function init(conf)
  local headers = { "Content-Type: application/json", "Authorization: Basic " .. (mime.b64("u:p")) }
  local _, body = sc.post(conf, "/_index_template/c", nil, headers, function(code) return code == 200 end)
  if not broker.json_decode(body).found then sc.post(conf, "/_index_template/c", broker.json_encode({ priority = 200 }), headers, function(code) return code == 200 end, "PUT") end
  sc.new(conf, function(e) return broker.json_encode({ e.cache.metrics.load1.value, e.cache.metrics.load1.max }) .. "\n" end, function(queue)
    return (sc.post(conf, "/_bulk", table.concat(queue), headers, function(code) return code == 200 end))
  end)
end`, 200, `{"found":false}`, "GET /_index_template/c [Basic dTpw]\nPUT /_index_template/c [Basic dTpw] {\"priority\":200}\nPOST /_bulk [Basic dTpw] [0.5,nan]"},
	{"elasticsearch/elastic-neb-apiv1", "i w F", "socket.http ssl.https ltn12 mime broker.json_encode broker.parse_perfdata broker_cache.get_hostname broker_cache.get_service_description", `local http, https, ltn12, mime = require "socket.http", require "ssl.https", require "ltn12", require "mime"
local c
function init(conf) c = conf end
function filter(category, element) return category == 1 and (element == 14 or element == 24) end
function write(d)
  if not d.service_id then return true end
  local m = broker.parse_perfdata(d.perfdata, true)
  local data = broker.json_encode({ host = broker_cache:get_hostname(d.host_id), service = broker_cache:get_service_description(d.host_id, d.service_id) }) .. "\n" .. broker.json_encode({ max = m.load1.max }) .. "\n"
  http.TIMEOUT = 5 https.TIMEOUT = 5
  local hdrs = { ["content-type"] = "application/json", ["content-length"] = string.len(data), ["Authorization"] = "Basic " .. (mime.b64("u:p")) }
  local respbody = {}
  local body, code = https.request{ method = "POST", url = c.https .. "/_bulk", headers = hdrs, source = ltn12.source.string(data), sink = ltn12.sink.table(respbody) }
  return code == 200 and table.concat(respbody) == "done"
end`, 200, "done", "POST /_bulk [Basic dTpw] {\"host\":\"alpha\",\"service\":\"load\"}\n{\"max\":nan}"},
	{"google/bigquery-events-apiv2", "i w", "cURL mime crypto broker.json_encode broker.json_decode", `local sc = require "sc"
local curl, mime, crypto = require "cURL", require "mime", require "crypto"
local function url_safe(text) return (mime.b64(text):gsub("+", "-"):gsub("/", "_"):gsub("=", "")) end
function init(conf)
  local file = assert(io.open(conf.key_file, "r"))
  local key = broker.json_decode(file:read("*a"))
  file:close()
  local text = url_safe(broker.json_encode({ alg = "RS256" })) .. "." .. url_safe(broker.json_encode({ iss = key.client_email }))
  local signature = crypto.sign("sha256WithRSAEncryption", text, crypto.pkey.from_pem(key.private_key, true))
  local token
  sc.post(conf, "/token", "assertion=" .. text .. "." .. url_safe(signature), { "Content-Type: application/x-www-form-urlencoded" }, function(_, body) token = broker.json_decode(body).access_token end)
  sc.new(conf, function(e) return { json = { host = e.cache.host.name } } end, function(queue)
    return (sc.post(conf, "/insertAll", broker.json_encode({ rows = queue }), { "Content-Type: application/json", "Authorization: Bearer " .. token }, function(code) return code == 200 end))
  end)
end`, 200, "", `POST /token [application/x-www-form-urlencoded] assertion=JWT
POST /insertAll [Bearer T] {"rows":[{"json":{"host":"alpha"}}]}`},
	{"influxdb/influxdb-metrics-apiv1", "i w F", "socket.http ltn12 broker_cache.get_hostname broker_cache.get_service_description", `local http, ltn12 = require "socket.http", require "ltn12"
local c
function init(conf) c = conf end
function filter(category, element) return category == 3 and element == 1 end
function write(d)
  local data = "load," .. "host=" .. broker_cache:get_hostname(d.host_id) .. ",service=" .. broker_cache:get_service_description(d.host_id, d.service_id) .. " value=" .. d.value .. " " .. d.ctime .. "\n"
  local respbody = {}
  local body, code, hdrs, stts = http.request{ method = "POST", url = c.url .. "/write?db=mydb&precision=s", source = ltn12.source.string(data), headers = { ["content-type"] = "text/plain", ["content-length"] = string.len(data) }, sink = ltn12.sink.table(respbody) }
  return code == 204
end`, 204, "", "POST /write?db=mydb&precision=s [text/plain] load,host=alpha,service=load value=0.5 1700000300"},
	{"influxdb/influxdb-neb-apiv1", "i w F", "socket.http ssl.https ltn12 mime broker.json_encode broker.parse_perfdata broker_cache.get_hostname broker_cache.get_service_description", `local http, https, ltn12, mime = require "socket.http", require "ssl.https", require "ltn12", require "mime"
local c
function init(conf) c = conf end
function filter(category, element) return category == 1 and element == 24 end
function write(d)
  local values = broker.parse_perfdata(d.perfdata)
  broker_log:info(3, broker.json_encode(values))
  local data = broker_cache:get_service_description(d.host_id, d.service_id) .. ",host=" .. broker_cache:get_hostname(d.host_id) .. " load1=" .. values.load1 .. " " .. d.last_check .. "\n"
  local out = {}
  local _, code = http.request{ method = "POST", url = c.url .. "/write?db=x", source = ltn12.source.string(data), headers = { ["content-length"] = #data, ["authorization"] = "Basic " .. (mime.b64("u:p")) }, sink = ltn12.sink.table(out) }
  return code == 204
end`, 204, "", "POST /write?db=x [Basic dTpw] load,host=alpha load1=0.5 1700000300"},
	{"influxdb/influxdb2-metrics-apiv2", "i w f", "cURL", `local sc = require "sc"
function init(conf)
  sc.new(conf, function(e) return "load1,host=" .. e.cache.host.name .. ",host_id=" .. e.host_id .. " value=" .. e.cache.metrics.load1.value .. " " .. e.last_check .. "\n" end, function(queue)
    return (sc.post(conf, "/api/v2/write?bucket=b&org=o&precision=s", table.concat(queue), { "content-type: text/plain; charset=utf-8", "Authorization: Token t" }, function(code) return code == 204 end))
  end)
end`, 204, "", "POST /api/v2/write?bucket=b&org=o&precision=s [text/plain; charset=utf-8] [Token t] load1,host=alpha,host_id=1 value=0.5 1700000300"},
	{"kafka/kafka-events-apiv2", "i w f", "centreon-stream-connectors-lib.rdkafka.config centreon-stream-connectors-lib.rdkafka.producer centreon-stream-connectors-lib.rdkafka.topic centreon-stream-connectors-lib.rdkafka.topic_config broker.json_encode", `local sc = require "sc"
local base = "centreon-stream-connectors-lib.rdkafka."
local kafka_config, kafka_producer = require(base .. "config").new(), require(base .. "producer")
local kafka_topic, kafka_topic_config = require(base .. "topic"), require(base .. "topic_config")
function init(conf)
  for name, value in pairs(conf) do
    if name:find("^_sc_kafka_") then kafka_config[name:gsub("^_sc_kafka_", "")] = value end
  end
  kafka_config["statistics.interval.ms"] = nil or "0"
  local topic_config = kafka_topic_config.new()
  topic_config["auto.commit.enable"] = "true"
  local producer = kafka_producer.new(kafka_config)
  producer:brokers_add(conf.brokers)
  local topic = kafka_topic.new(producer, "events", topic_config)
  sc.new(conf, function(e) return { host = e.cache.host.name } end, function(queue)
    for _, e in ipairs(queue) do producer:produce(topic, -1, broker.json_encode(e)) end
    while producer:outq_len() > 0 do producer:poll(100) end
    return true
  end)
end`, 0, "", ""},
	{"logstash/logstash-events-apiv2", "i w f", "cURL broker.json_encode", `local sc = require "sc"
function init(conf)
  sc.new(conf, function(e) return { title = e.cache.host.name } end, function(queue)
    return (sc.post(conf, "/", broker.json_encode(queue[1]), { "accept: application/json" , "content-type: application/json" }, function(code) return code == 200 end, "PUT"))
  end)
end`, 200, "", `PUT / {"title":"alpha"}`},
	{"ndo/ndo-output-apiv1 + ndo-module-apiv1", "i w", "socket ndo broker_cache.get_hostname broker_cache.get_service_description", `local socket, ndo = require "socket", require "ndo"
local s
function init(conf)
  s = assert(socket.connect(conf.host, conf.port))
  s:settimeout(5)
  assert(s:send("\n\nHELLO\nPROTOCOL: 2\n"))
end
function write(d)
  if d.type ~= 65560 then return true end
  local sent, err = s:send(ndo.event(broker_cache:get_hostname(d.host_id), broker_cache:get_service_description(d.host_id, d.service_id), d))
  s:send("}\n")
  return sent ~= nil
end`, 0, "", "HELLO\nPROTOCOL: 2\n212:alpha/load=1\n}"},
	{"omi/omi_connector-apiv1", "i w", "socket.http ltn12 broker.json_encode broker_cache.get_hostname broker_cache.get_service_description", `local http, ltn12 = require "socket.http", require "ltn12"
local c
function init(conf) c = conf end
function write(d)
  if d.element ~= 24 or d.category ~= 1 then return false end
  broker_log:info(3, broker.json_encode(d))
  local data = "<event_data>\t<title>" .. broker_cache:get_service_description(d.host_id, d.service_id) .. "</title><host>" .. broker_cache:get_hostname(d.host_id) .. "</host></event_data>"
  local respbody = {}
  local _, code = http.request{ method = "POST", url = c.url .. "/bsmc/rest/events", source = ltn12.source.string(data), headers = { ["Content-Type"] = "text/xml", ["content-length"] = string.len(data) }, sink = ltn12.sink.table(respbody) }
  return code == 200
end`, 200, "", "POST /bsmc/rest/events [text/xml] <event_data>\t<title>load</title><host>alpha</host></event_data>"},
	{"omi/omi_events-apiv2", "i w f", "cURL socket.http ltn12", `local sc = require "sc"
local http, ltn12 = require "socket.http", require "ltn12"
function init(conf)
  sc.new(conf, function(e) return "<event_data><title>" .. e.cache.service.description .. "</title></event_data>" end, function(queue)
    return (sc.post(conf, "/event", table.concat(queue), { "Content-Type: text/xml" }, function(code) return code == 200 end))
  end)
end`, 200, "", "POST /event [text/xml] <event_data><title>load</title></event_data>"},
	{"opsgenie/opsgenie-apiv1", "i w", "cURL broker.json_encode broker.json_decode broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_hostgroups broker_cache.get_severity broker_cache.get_ba broker_cache.get_bv broker_cache.get_bvs", curlModule + `
local c
function init(conf) c = conf end
function write(d)
  if d.category ~= 6 or d.element ~= 1 then
    if d.category == 1 and d.element == 24 then
      broker_log:info(3, broker_cache:get_hostname(d.host_id) .. broker_cache:get_service_description(d.host_id, d.service_id) .. broker_cache:get_hostgroups(d.host_id)[1].group_name .. tostring(broker_cache:get_severity(d.host_id, d.service_id)))
    end
    return true
  end
  local ba = broker_cache:get_ba(d.ba_id)
  local bv = broker_cache:get_bv(broker_cache:get_bvs(d.ba_id)[1])
  local body = ""
  local request = curl.easy{ url = c.url .. "/v2/alerts", post = true, httpheader = { "Content-Type: application/json", "Authorization: GenieKey k" }, postfields = broker.json_encode({ message = ba.ba_name .. " of " .. bv.bv_name }), writefunction = function(s) body = body .. s end, ssl_verifypeer = true, timeout = c.connection_timeout }
  request:perform()
  return request:getinfo(curl.INFO_RESPONSE_CODE) == 202 and broker.json_decode(body).requestId == 7
end`, 202, `{"requestId":7}`, `POST /v2/alerts [GenieKey k] {"message":"shop of sales"}`},
	{"opsgenie/opsgenie-events-apiv2", "i w f", "cURL broker.json_encode", `local sc = require "sc"
function init(conf)
  sc.new(conf, function(e) return { message = e.cache.host.name, tags = { e.cache.groups[1].group_name } } end, function(queue)
    return (sc.post(conf, "/v2/alerts", broker.json_encode(queue[1]), { "Content-Type: application/json", "Authorization: GenieKey k" }, function(code) return code == 202 end))
  end)
end`, 202, "", `POST /v2/alerts [GenieKey k] {"message":"alpha","tags":["g"]}`},
	{"pagerduty/pagerduty-apiv1", "i w", "cURL luatz.timetable broker.json_encode broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_hostgroups broker_cache.get_servicegroups broker_cache.get_severity", curlModule + `
local new_from_timestamp = require "luatz.timetable".new_from_timestamp
local c
function init(conf) c = conf end
function write(d)
  if d.category ~= 1 or d.element ~= 24 then return true end
  local text = broker.json_encode({ payload = { { new_from_timestamp(d.last_update):rfc_3339(), broker_cache:get_hostname(d.host_id), broker_cache:get_service_description(d.host_id, d.service_id),
    broker_cache:get_hostgroups(d.host_id)[1].group_id, #broker_cache:get_servicegroups(d.host_id, d.service_id), broker_cache:get_severity(d.host_id) } } })
  local request = curl.easy():setopt_url(c.url .. "/v2/enqueue"):setopt_writefunction(function() end):setopt(curl.OPT_HTTPHEADER, { "content-type: application/json", "content-length: " .. string.len(text) })
  request:setopt_postfields(text):perform()
  return request:getinfo(curl.INFO_RESPONSE_CODE) == 202
end`, 202, "", `POST /v2/enqueue {"payload":[["2023-11-14T22:18:20.000","alpha","load",9,1,3]]}`},
	{"pagerduty/pagerduty-events-apiv2", "i w f", "cURL luatz.timetable broker.json_encode", `local sc = require "sc"
local new_from_timestamp = require "luatz.timetable".new_from_timestamp
function init(conf)
  sc.new(conf, function(e) return { timestamp = new_from_timestamp(e.last_check):rfc_3339() } end, function(queue)
    return (sc.post(conf, "/v2/enqueue", broker.json_encode(queue[1]), { "content-type: application/json" }, function(code) return code == 202 end))
  end)
end`, 202, "", `POST /v2/enqueue {"timestamp":"2023-11-14T22:18:20.000"}`},
	{"prometheus/prometheus-gateway-apiv1", "i w", "cURL base64 broker.parse_perfdata broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_hostgroups", curlModule + `
local base64 = require "base64"
local c
function init(conf) c = conf end
function write(d)
  if d.category ~= 1 or d.element ~= 24 then return true end
  local data = ""
  for label, m in pairs(broker.parse_perfdata(d.perfdata, true)) do
    data = data .. "# TYPE " .. label .. " gauge\n" .. label .. "{group=\"" .. broker_cache:get_hostgroups(d.host_id)[1].group_name .. "\"} " .. m.value .. "\n"
  end
  local request = curl.easy():setopt_url(c.url .. "/metrics/job/monitoring/instance/" .. broker_cache:get_hostname(d.host_id) .. "/service@base64/" .. base64.encode(broker_cache:get_service_description(d.host_id, d.service_id)))
  request:setopt(curl.OPT_HTTPHEADER, { "Content-Type: text/plain" }):setopt_postfields(data):setopt_writefunction(function() end):perform()
  return request:getinfo(curl.INFO_RESPONSE_CODE) == 200
end`, 200, "", "POST /metrics/job/monitoring/instance/alpha/service@base64/bG9hZA== [text/plain] # TYPE load1 gauge\nload1{group=\"g\"} 0.5"},
	{"servicenow/servicenow-apiv1", "i w", "cURL broker.json_encode broker.json_decode broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_hostgroups broker_cache.get_severity", curlModule + `
local c
function init(conf) c = conf end
local function call(path, data, headers)
  local body = ""
  local request = curl.easy():setopt_url(c.url .. path):setopt_writefunction(function(s) body = body .. tostring(s) end):setopt(curl.OPT_HTTPHEADER, headers):setopt(curl.OPT_TIMEOUT, 60):setopt_postfields(data)
  request:perform()
  local code = request:getinfo(curl.INFO_RESPONSE_CODE)
  request:close()
  return code, broker.json_decode(body)
end
function write(d)
  if d.category ~= 1 or d.element ~= 24 then return true end
  local code, token = call("/token", "grant_type=password", { "Content-Type: application/x-www-form-urlencoded" })
  if code ~= 200 then return false end
  code = call("/api/now/table/em_event", broker.json_encode({ node = broker_cache:get_hostname(d.host_id) .. "/" .. broker_cache:get_service_description(d.host_id, d.service_id) .. "/" .. broker_cache:get_hostgroups(d.host_id)[1].group_name .. "/" .. broker_cache:get_severity(d.host_id) }),
    { "Content-Type: application/json", "Authorization: Bearer " .. token.access_token })
  return code == 201
end`, 201, `{}`, `POST /token [application/x-www-form-urlencoded] grant_type=password
POST /api/now/table/em_event [Bearer T] {"node":"alpha/load/g/3"}`},
	{"servicenow/servicenow-em-events-apiv2", "i w f", "cURL broker.json_encode broker.json_decode broker.url_encode", serviceNow("em_event"), 201, `{}`, `POST /token [application/x-www-form-urlencoded] grant_type=password&password=a%26b
POST /api/now/table/em_event [Bearer T] {"node":"alpha"}`},
	{"servicenow/servicenow-incident-events-apiv2", "i w f", "cURL broker.json_encode broker.json_decode broker.url_encode", serviceNow("incident"), 201, `{}`, `POST /token [application/x-www-form-urlencoded] grant_type=password&password=a%26b
POST /api/now/table/incident [Bearer T] {"node":"alpha"}`},
	{"signl4/signl4-events-apiv2", "i w f", "cURL mime broker.json_encode", `local sc = require "sc"
local mime = require "mime"
function init(conf)
  sc.new(conf, function(e) return { Title = e.cache.host.name, id = (mime.b64(e.host_id .. "_" .. e.service_id)) } end, function(queue)
    return (sc.post(conf, "/webhook/t", broker.json_encode(queue[1]), { "content-type: application/json" }, function(code) return code == 200 or code == 201 end))
  end)
end`, 201, "", `POST /webhook/t {"Title":"alpha","id":"MV8y"}`},
	{"splunk/splunk-events-apiv2", "i w f", "cURL broker.json_encode", splunk(`{ host = e.cache.host.name, event_type = "service" }`), 200, "", `POST /services/collector [Splunk t] {"event":{"event_type":"service","host":"alpha"}}`},
	{"splunk/splunk-metrics-apiv2", "i w f", "cURL broker.json_encode", splunk(`{ ["metric_name:load1"] = e.cache.metrics.load1.value }`), 200, "", `POST /services/collector [Splunk t] {"event":{"metric_name:load1":0.5}}`},
	{"splunk/splunk-events-http-apiv1", "i w", "cURL luatz.timetable broker.json_encode broker_cache.get_hostname broker_cache.get_service_description", splunk1("luatz.timetable", `{ broker_cache:get_hostname(d.host_id), broker_cache:get_service_description(d.host_id, d.service_id) }`), 200, "", `POST /services/collector [Splunk t] {"event":["alpha","load"]}`},
	{"splunk/splunk-metrics-http-apiv1", "i w", "cURL luatz.timetable broker.json_encode broker_cache.get_hostname broker_cache.get_service_description", splunk1("luatz.timetable", `{ broker_cache:get_hostname(d.host_id) .. broker_cache:get_service_description(d.host_id, d.service_id), d.state }`), 200, "", `POST /services/collector [Splunk t] {"event":["alphaload",1]}`},
	{"splunk/splunk-events-luacurl-apiv1", "i w", "cURL broker.json_encode broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_hostgroups", splunk1("", `{ broker_cache:get_hostname(d.host_id), broker_cache:get_service_description(d.host_id, d.service_id), broker_cache:get_hostgroups(d.host_id) }`), 200, "", `POST /services/collector [Splunk t] {"event":["alpha","load",[{"group_id":9,"group_name":"g"}]]}`},
	{"splunk/splunk-metrics-luacurl-apiv1", "i w", "cURL broker.json_encode broker.parse_perfdata broker_cache.get_hostname broker_cache.get_service_description", splunk1("", `{ broker_cache:get_hostname(d.host_id), broker_cache:get_service_description(d.host_id, d.service_id), broker.parse_perfdata(d.perfdata) }`), 200, "", `POST /services/collector [Splunk t] {"event":["alpha","load",{"load1":0.5}]}`},
	{"splunk/splunk-states-http-apiv1", "i w F", "socket.http ltn12 broker.json_encode broker_cache.get_hostname broker_cache.get_service_description", `local http, ltn12 = require "socket.http", require "ltn12"
local c
function init(conf) c = conf end
function filter(category, element) return category == 1 and (element == 24 or element == 14) end
function write(d)
  if not d.service_id then return true end
  local data = broker.json_encode({ event = { broker_cache:get_hostname(d.host_id), broker_cache:get_service_description(d.host_id, d.service_id), d.state } })
  local result = {}
  local _, code = http.request{ url = c.url .. "/services/collector", method = "POST", headers = { ["Authorization"] = "Splunk t", ["content-type"] = "application/json", ["content-length"] = tostring(#data) }, source = ltn12.source.string(data), sink = ltn12.sink.table(result) }
  return code == 200
end`, 200, "", `POST /services/collector [Splunk t] {"event":["alpha","load",1]}`},
	{"warp10/export-warp10-apiv1", "i w", "cURL broker.parse_perfdata broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_hostgroups broker_cache.get_servicegroups", curlModule + `
local c
function init(conf) c = conf end
function write(d)
  if d.category ~= 1 or d.element ~= 24 then return true end
  local data = ""
  for label, value in pairs(broker.parse_perfdata(d.perfdata)) do
    data = data .. d.last_check .. "000000// " .. label .. "{host=" .. broker_cache:get_hostname(d.host_id) .. ",service=" .. broker_cache:get_service_description(d.host_id, d.service_id) ..
      ",hg=" .. broker_cache:get_hostgroups(d.host_id)[1].group_name .. ",sg=" .. broker_cache:get_servicegroups(d.host_id, d.service_id)[1].group_name .. "} " .. value .. "\n"
  end
  local request = curl.easy():setopt_url(c.url .. "/api/v0/update"):setopt(curl.OPT_HTTPHEADER, { "Transfer-Encoding:chunked", "X-Warp10-Token: t" }):setopt_writefunction(function() end)
  request:setopt_postfields(data):perform()
  return request:getinfo(curl.INFO_RESPONSE_CODE) == 200
end`, 200, "", "POST /api/v0/update [application/x-www-form-urlencoded] 1700000300000000// load1{host=alpha,service=load,hg=g,sg=s} 0.5"},
	{"community canopsis/bbdo2canopsis", "i w F", "socket.http ltn12 broker.json_encode broker_cache.get_hostname broker_cache.get_service_description broker_cache.get_hostgroups broker_cache.get_servicegroups broker_cache.get_notes_url broker_cache.get_action_url", `local http, ltn12 = require "socket.http", require "ltn12"
local c
function init(conf) c = conf end
function filter(category, element) return category == 1 and (element == 14 or element == 24) end
function write(d)
  if not d.service_id then return true end
  local data = broker.json_encode({ broker_cache:get_hostname(d.host_id), broker_cache:get_service_description(d.host_id, d.service_id), broker_cache:get_hostgroups(d.host_id)[1].group_name,
    broker_cache:get_servicegroups(d.host_id, d.service_id)[1].group_name, broker_cache:get_notes_url(d.host_id), broker_cache:get_action_url(d.host_id, 0) })
  local out = {}
  local _, code = http.request{ url = c.url:gsub("//", "//root:root@", 1) .. "/api/v2/event", method = "POST", headers = { ["content-type"] = "application/json", ["content-length"] = #data }, source = ltn12.source.string(data), sink = ltn12.sink.table(out) }
  return code == 200
end`, 200, "", `POST /api/v2/event [Basic cm9vdDpyb290] ["alpha","load","g","s","url","act"]`},
}

func serviceNow(table string) string {
	return `local sc = require "sc"
function init(conf)
  local function ok(code) return code == 200 or code == 201 end
  sc.new(conf, function(e) return { node = e.cache.host.name } end, function(queue)
    local got, body = sc.post(conf, "/token", "grant_type=password&password=" .. broker.url_encode("a&b"), { "Content-Type: application/x-www-form-urlencoded" }, ok)
    local token = broker.json_decode(body).access_token
    return (sc.post(conf, "/api/now/table/` + table + `", broker.json_encode(queue[1]), { "Accept: application/json", "Content-Type: application/json", "Authorization: Bearer " .. token }, ok))
  end)
end`
}

func splunk(event string) string {
	return `local sc = require "sc"
function init(conf)
  sc.new(conf, function(e) return ` + event + ` end, function(queue)
    return (sc.post(conf, "/services/collector", broker.json_encode({ event = queue[1] }), { "content-type: application/json", "authorization: Splunk t" }, function(code) return code == 200 end))
  end)
end`
}

func splunk1(module, event string) string {
	text := curlModule
	if module != "" {
		text += "local timetable = require \"" + module + "\"\n"
	}
	return text + `local c
function init(conf) c = conf end
function write(d)
  if d.category ~= 1 or d.element ~= 24 then return false end
  local data = broker.json_encode({ event = ` + event + ` })
  local request = curl.easy():setopt_url(c.url .. "/services/collector"):setopt_writefunction(function() end):setopt(curl.OPT_TIMEOUT, 60):setopt(curl.OPT_HTTPHEADER, { "content-type: application/json", "content-length: " .. #data, "authorization: Splunk t" })
  request:setopt_postfields(data)
  request:perform()
  return request:getinfo(curl.INFO_RESPONSE_CODE) == 200
end`
}

// configuration is what the cache learns first, happening what scripts get then.
var configuration = []string{
	`{"category":1,"element":44,"instance_id":3,"name":"Lyon","running":true}`,
	`{"category":1,"element":30,"host_id":1,"name":"alpha","alias":"first","enabled":true,"notes":"note","notes_url":"url","action_url":"act","instance_id":3}`,
	`{"category":1,"element":27,"host_id":1,"service_id":2,"description":"load","enabled":true}`,
	`{"category":1,"element":37,"host_id":1,"service_id":0,"name":"CRITICALITY_LEVEL","value":"3","enabled":true}`,
	`{"category":1,"element":49,"hostgroup_id":9,"name":"g","alias":"ga","enabled":true,"poller_id":3}`,
	`{"category":1,"element":50,"hostgroup_id":9,"host_id":1,"name":"g","enabled":true,"poller_id":3}`,
	`{"category":1,"element":51,"servicegroup_id":4,"name":"s","enabled":true,"poller_id":3}`,
	`{"category":1,"element":52,"servicegroup_id":4,"host_id":1,"service_id":2,"name":"s","enabled":true,"poller_id":3}`,
	`{"category":6,"element":25,"ba_id":5,"ba_name":"shop"}`,
	`{"category":6,"element":22,"bv_id":6,"bv_name":"sales"}`,
	`{"category":6,"element":23,"ba_id":5,"bv_id":6}`,
}

var happening = []string{
	`{"category":1,"element":29,"host_id":1,"service_id":2,"state":1,"output":"WARNING - load\n","perfdata":"load1=0.5;1;2","last_check":1700000300,"last_hard_state_change":1700000300}`,
	`{"category":3,"element":9,"host_id":1,"service_id":2,"metric_id":7,"name":"load1","value":0.5,"time":1700000300,"interval":60}`,
	`{"category":6,"element":19,"ba_id":5,"state":2}`,
}

// TestScriptRows runs a script for each row of specification 8.2 in a pipeline, against an endpoint, and
// checks that it needs and calls what the row says and that the endpoint gets what the script means.
func TestScriptRows(t *testing.T) {
	key, keyFile := googleKey(t)
	for _, row := range scriptRows {
		t.Run(row.name, func(t *testing.T) {
			e := &endpoint{code: row.code, reply: row.reply, received: make(chan struct{}, 10)}
			plain, secure := httptest.NewServer(e), httptest.NewTLSServer(e)
			defer plain.Close()
			defer secure.Close()
			var err error
			if e.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			defer e.tcp.Close()
			go e.serve()
			host, port, _ := net.SplitHostPort(e.tcp.Addr().String())
			parameters := []Parameter{
				{Name: "url", Text: plain.URL}, {Name: "https", Text: secure.URL}, {Name: "host", Text: host}, {Name: "port", Text: port},
				{Name: "key_file", Text: keyFile}, {Name: "connection_timeout", Number: 60, Numeric: true}, {Name: "verify_certificate", Number: 1, Numeric: true},
			}
			var cluster *kfake.Cluster
			if strings.HasPrefix(row.name, "kafka/") {
				if cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events")); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(cluster.Close)
				parameters = append(parameters, Parameter{Name: "brokers", Text: cluster.ListenAddrs()[0]}, Parameter{Name: "_sc_kafka_client.id", Text: "weir"})
			}
			bbdo := "3.0.1"
			if strings.Contains(row.name, "apiv1") || strings.HasPrefix(row.name, "community") {
				bbdo = "2.0.0"
			}
			source := row.source
			byLibrary := strings.Contains(source, `require "sc"`)
			if byLibrary {
				source += "\nfunction write(event) return sc.write(event) end\n"
				if strings.Contains(row.hooks, "f") {
					source += "function flush() return sc.flush() end\n"
				}
			}
			s, r := load(t, fmt.Sprintf(watched, source), func(setup *Setup) {
				setup.BBDO, setup.Parameters = bbdo, parameters
				beside := filepath.Dir(setup.Script)
				for name, text := range map[string]string{
					"sc.lua":  library,
					"ndo.lua": `return { event = function(host, service, d) return "212:" .. host .. "/" .. service .. "=" .. d.state .. "\n" end }`,
				} {
					if err := os.WriteFile(filepath.Join(beside, name), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				setup.TypeAlias = strings.HasPrefix(row.name, "ndo/")
			})
			deliver(t, s, 1, events(t, append(configuration, happening...)...))
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			hooks := "i w"
			if s.flushes {
				hooks += " f"
			}
			if s.filter != "" {
				hooks += " F"
			}
			if hooks != row.hooks {
				t.Errorf("the script has the hooks %q, the row says %q", hooks, row.hooks)
			}
			if len(r.errors) > 0 {
				t.Errorf("errors: %q", r.errors)
			}
			used := strings.Fields(result(t, s, `table.concat(used, " ")`).(string))
			slices.Sort(used)
			for _, name := range strings.Fields(row.uses) {
				if !slices.Contains(used, name) {
					t.Errorf("the script does not use %s, which the row lists; it uses %q", name, used)
				}
			}
			for _, name := range slices.Compact(used) {
				module := !strings.HasPrefix(name, "broker.") && !strings.HasPrefix(name, "broker_cache.")
				if listed := slices.Contains(strings.Fields(row.uses), name); !listed && (module || !byLibrary) {
					t.Errorf("the script uses %s, which the row does not list", name)
				}
			}
			if cluster != nil {
				if n := cluster.PartitionInfo("events", 0).HighWatermark; n != 1 {
					t.Errorf("the topic has %d messages, want 1", n)
				}
				return
			}
			if row.name == "elasticsearch/elastic-metrics-apiv1" || strings.HasPrefix(row.name, "ndo/") {
				<-e.received
			}
			got := strings.Join(e.requests, "\n")
			if strings.Contains(row.name, "bigquery") {
				got = checkAssertion(t, got, key)
			}
			if d := cmp.Diff(row.request, got); d != "" {
				t.Errorf("requests (-want +got):\n%s", d)
			}
		})
	}
}

// googleKey is a key file as Google gives it.
func googleKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	path := filepath.Join(t.TempDir(), "key.json")
	text = fmt.Sprintf(`{"client_email":"a@b","private_key":"%s"}`, strings.ReplaceAll(text, "\n", `\n`))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return key, path
}

// checkAssertion verifies the signature of the token in a request, and replaces it.
func checkAssertion(t *testing.T, requests string, key *rsa.PrivateKey) string {
	t.Helper()
	before, rest, _ := strings.Cut(requests, "assertion=")
	token, after, _ := strings.Cut(rest, "\n")
	at := strings.LastIndex(token, ".")
	if at < 0 {
		t.Fatalf("no assertion in %q", requests)
	}
	sum := sha256.Sum256([]byte(token[:at]))
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		t.Error(err)
	}
	return before + "assertion=JWT\n" + after
}
