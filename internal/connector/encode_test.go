package connector

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/event"
)

// Loops over a table visit all of it, also while LuaJIT compiles them: a loop over
// next itself can end at once then, in versions of 2022.
func TestLoopsAreWhole(t *testing.T) {
	mix := []string{
		`{"category":1,"element":29,"host_id":1,"service_id":2,"checked":true,"last_check":1700000000,"output":"number %d","perfdata":"load=1"}`,
		`{"category":3,"element":10,"index_id":%d,"time":1700000000,"host_id":1,"service_id":2}`,
		`{"category":3,"element":9,"metric_id":1,"value":%d.5,"name":"load","host_id":1,"service_id":2}`,
	}
	var batch []byte
	for i := range 1000 {
		for _, text := range mix {
			e, err := event.ParseJSON(fmt.Appendf(nil, text, i))
			if err != nil {
				t.Fatal(err)
			}
			batch = event.AppendBatch(batch, []event.Event{e})
		}
	}
	f := func(length string) {
		t.Helper()
		s, r := load(t, `
short, lines = 0, {}
function init() end
local function length(d) `+length+` end
function write(d)
  d.host_name = broker_cache:get_hostname(1) or "alpha"
  if d.service_id then d.service_description = "load" end
  if length(d) < 8 then short = short + 1 end
  lines[#lines + 1] = "x"
  if #lines < 50 then return false end
  lines = {}
  return true
end`, nil)
		deliver(t, s, 1, batch)
		if got := result(t, s, "short"); got != int64(0) || len(r.errors) > 0 {
			t.Errorf("%s: %v of 3000 events were not visited whole, errors %q", length, got, r.errors)
		}
	}
	encoder := strings.ReplaceAll(brokerPrelude, "in each, v do", "in pairs(v) do")
	for range 10 { // it depends on when something is compiled
		f(`return #broker.json_encode(d) / 10`)
		f(`local n = 0 for k, v in pairs(d) do n = n + #tostring(k) end return n`)
		f(`encoder = encoder or (function(...) ` + encoder + ` end)() return #encoder(d) / 10`)
		f(`if next(d) == nil then return 0 end
local function walk(v, out)
  if type(v) == "table" then
    local n = 0
    for k, x in pairs(v) do n = n + 1 + walk(x) end
    return n
  end
  return 0
end
return walk(d)`)
	}
}
