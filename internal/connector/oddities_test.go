package connector

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each row is one of specification 8.6: a script that does the odd thing, and what comes of it.
func TestOddityRows(t *testing.T) {
	var requests []string
	var code int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests = append(requests, strings.TrimSpace(fmt.Sprintf("%s %s %v %d %s", r.Method, r.RequestURI, r.TransferEncoding, r.ContentLength, body)))
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(code)
	}))
	defer server.Close()
	key := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(key, []byte(`{"client_email":"a@b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const post = `
local function post(path, data, headers, method)
  local curl = require "cURL"
  local request = curl.easy():setopt_url(url .. path):setopt_writefunction(function() end):setopt(curl.OPT_HTTPHEADER, headers or { "Content-Type: application/json" })
  if data then request:setopt_postfields(data) end
  if method then request:setopt(curl.OPT_CUSTOMREQUEST, method) end
  request:perform()
  return request:getinfo(curl.INFO_RESPONSE_CODE)
end
`
	status := `{"category":1,"element":24,"host_id":1,"service_id":2,"state":1,"output":"WARNING - load\n","last_check":1700000300}`
	for _, row := range []struct {
		name, bbdo, source, event string
		alias                     bool
		want                      any      // of the global "got"
		requests                  []string // that the endpoint saw
		fails                     string   // error of write
	}{
		{name: "ndo-output: d.type with legacy_type_alias", bbdo: "2.0.0", alias: true, event: status, want: int64(65560),
			source: `function init() end function write(d) got = d.type return true end`},
		{name: "ndo-output: d.type without", bbdo: "2.0.0", event: status, want: nil,
			source: `function init() end function write(d) got = d.type return true end`},
		{name: "ndo-output: an event with a member type keeps it", bbdo: "2.0.0", alias: true, want: int64(1),
			event:  `{"category":1,"element":1,"host_id":1,"service_id":2,"type":1,"entry_time":1}`,
			source: `function init() end function write(d) got = d.type return true end`},
		{name: "elastic-metrics: GET, then PUT in init", bbdo: "3.0.1", want: int64(200), source: post + `
function init() if post("/_index_template/c") == 404 then got = post("/_index_template/c", "{}", nil, "PUT") end end
function write() return true end`, requests: []string{"GET /_index_template/c [] 0", "PUT /_index_template/c [] 2 {}"}},
		{name: `elastic-neb: "max":nan`, bbdo: "3.0.1", want: int64(200), source: post + `
function init() got = post("/_bulk", broker.json_encode({ max = broker.parse_perfdata("a=1;2;3", true).a.max })) end
function write() return true end`, requests: []string{`POST /_bulk [] 11 {"max":nan}`}},
		{name: "bsm: output up to its newline", bbdo: "2.0.0", event: status, want: "WARNING - load",
			source: `function init() end function write(d) got = string.match(d.output, "^(.*)\n") return true end`},
		{name: "bsm: output without a newline", bbdo: "2.0.0", event: strings.Replace(status, `\n`, "", 1), fails: "attempt to concatenate a nil value",
			source: `function init() end function write(d) return string.match(d.output, "^(.*)\n") .. "" end`},
		{name: "bigquery: a key file in init", bbdo: "3.0.1", want: "a@b", source: `function init()
  local file = io.open("` + key + `", "r")
  got = broker.json_decode(file:read("*a")).client_email
  file:close()
end
function write() return true end`},
		{name: "omi_events: a URL that is nil", bbdo: "2.0.0", event: status, fails: "bad argument #1 to 'setopt_url' (string expected, got nil)",
			source: `function init() end function write(d) require("cURL").easy():setopt_url(nil) return true end`},
		{name: "omi, bsm: XML", bbdo: "3.0.1", want: int64(200), source: post + `require "LuaXML"
function init() got = post("/bsmc", tostring(xml.eval("<e><t>a &lt; b</t></e>")), { "Content-Type: text/xml" }) end
function write() return true end`, requests: []string{"POST /bsmc [] 27 <e>\n  <t>a &lt; b</t>\n</e>"}},
		{name: "prometheus-gateway: the path", bbdo: "3.0.1", want: int64(200), source: post + `
function init() got = post("/metrics/job/monitoring/instance/alpha/service@base64/" .. require("base64").encode("load?~\255") , "a 1\n") end
function write() return true end`, requests: []string{"POST /metrics/job/monitoring/instance/alpha/service@base64/bG9hZD9+/w== [] 4 a 1"}},
		{name: "warp10: Transfer-Encoding:chunked", bbdo: "3.0.1", want: int64(200), source: post + `
function init() got = post("/api/v0/update", "1// a{} 1", { "Transfer-Encoding:chunked", "X-Warp10-Token: t" }) end
function write() return true end`, requests: []string{"POST /api/v0/update [chunked] -1 1// a{} 1"}},
		{name: "numbers: integers of the cache and floats of performance data", bbdo: "3.0.1", want: int64(200), source: post + `
function init() end
function write(d)
  local m = broker.parse_perfdata(d.perfdata, true)
  got = post("/write", "m host_id=" .. broker_cache:get_host(1).host_id .. ",state=" .. d.state .. ",a=" .. m.a.value .. ",b=" .. m.b.value .. ",c=" .. m.c.value .. " " .. d.last_check)
  return true
end`, event: `{"category":1,"element":29,"host_id":1,"service_id":2,"state":1,"perfdata":"a=0.5 b=3 c=1e20","last_check":1700000300}`,
			requests: []string{"POST /write [] 48 m host_id=1,state=1,a=0.5,b=3,c=1e+20 1700000300"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			requests, code = nil, 200
			s, r := load(t, `url = "`+server.URL+`" `+row.source, func(setup *Setup) { setup.BBDO, setup.TypeAlias = row.bbdo, row.alias })
			var errs []string
			deliver(t, s, 1, events(t, configuration[1]))
			r.errors = nil
			if row.event != "" {
				deliver(t, s, 2, events(t, row.event))
			}
			if errs = r.errors; row.fails != "" {
				if len(errs) != 1 || !strings.Contains(errs[0], row.fails) {
					t.Errorf("errors %q, want %q", errs, row.fails)
				}
				return
			}
			if len(errs) > 0 {
				t.Errorf("errors %q", errs)
			}
			equal(t, s)("got", row.want)
			if got, want := strings.Join(requests, "|"), strings.Join(row.requests, "|"); row.requests != nil && got != want {
				t.Errorf("the endpoint got %q, want %q", got, want)
			}
		})
	}
	// The codes that scripts take for success arrive as they are.
	for script, codes := range map[string][]int{
		"Splunk": {200}, "InfluxDB": {204}, "Opsgenie": {202}, "PagerDuty": {202}, "ServiceNow": {200, 201}, "Datadog": {202},
		"SIGNL4": {200, 201}, "Elastic": {200}, "Logstash": {200}, "Canopsis": {200},
	} {
		for _, c := range codes {
			t.Run(fmt.Sprintf("success code %d of %s", c, script), func(t *testing.T) {
				code = c
				s, _ := load(t, `url = "`+server.URL+`" `+post+`function init() got = post("/", "{}") end function write() return true end`, nil)
				equal(t, s)("got", int64(c))
			})
		}
	}
}
