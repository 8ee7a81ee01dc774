package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// everyUtil calls the functions of ts_utils as scripts do.
const everyUtil = `
local u = require "ts_utils"
local T = START
local s = u.newSchema("app:requests", { step = 60 })
s:addTag("ifid") s:addTag("path") s:addMetric("hits") s:addMetric("errors")
assert(u.newSchema("app:requests", { step = 5 }) == s)
for i = 0, 10 do
  assert(u.append("app:requests", { ifid = 1, path = "/a", hits = 60 * i, errors = 0 }, T + 60 * i))
  assert(u.append("app:requests", { ifid = 1, path = "/b", hits = 600 * i, errors = 60 * i }, T + 60 * i, false))
end
local tags = { ifid = 1, path = "/a" }
local r = u.query("app:requests", tags, T, T + 600)
print("query", r.start - T, r.step, r.count, r["end"] - T, r.series[1].label, table.concat(r.series[1].data, ","), r.series[1].tags.path, r.statistics.total)
local one = u.timeseries_query({ schema = "app:requests", tags = tags, epoch_begin = T, epoch_end = T + 600, max_num_points = 5 })
print("timeseries_query", one.metadata.epoch_begin - T, one.metadata.epoch_step, one.metadata.num_point, one.series[1].id, one.series[1].statistics.average)
local late = u.query("app:requests", tags, T, T + 1200, { fill_value = 0/0 })
print("unknown points", #late.series[1].data == late.count, late.series[1].data[15] ~= late.series[1].data[15])
local top = u.timeseries_query_top({ schema = "top:app:requests", tags = { ifid = 1 }, epoch_begin = T, epoch_end = T + 600 })
print("top", top.series[1].tags.path, top.series[2].tags.path, #top.series)
local k = u.queryTopk("app:requests", { ifid = 1 }, T, T + 600)
print("topk", k.topk[1].tags.path, k.topk[1].value, k.topk[1].partials.errors, #k.series)
local total = u.queryTotal("app:requests", T, T + 600, { ifid = 1, path = "/b", more = 1 })
print("total", total.hits, total.errors)
print("mean", u.queryMean("app:requests", T, T + 600, tags).hits)
print("last", table.concat(u.queryLastValues("app:requests", T, T + 600, tags, { num_points = 2 }).hits, ","))
local list = u.listSeries("app:requests", { ifid = 1, nothing = 2 }, T)
table.sort(list, function(a, b) return a.path < b.path end)
print("list", #list, list[1].path, list[2].path, u.listSeries("app:requests", { ifid = 7 }, T))
local i, j = u.batchListSeries("app:requests", { ifid = 1 }, T), u.batchListSeries("app:requests", { ifid = 9 }, T)
local batch = u.getBatchedListSeriesResult()
print("batch", i, #batch[i], j, batch[j], next(u.getBatchedListSeriesResult()))
print("exists", u.exists("app:requests", tags), u.exists("app:requests", { ifid = 5 }))
print("refused", u.append("app:nothing", {}), u.query("app:requests", { ifid = 1 }, T, T + 600), u.query("no:such", {}, T, T + 1))
print("reversed", u.query("app:requests", tags, T + 600, T))
print("setup", u.setup(), ntop.getCache("ntopng.cache.ts_setup_ok"), u.getDriverName())
local driver = u.getQueryDriver()
print("driver", driver == u.listActiveDrivers()[1], driver:append(s, T + 660, tags, { hits = 660, errors = 0 }), driver:getLatestTimestamp(1) > T)
print("schemas", u.getLoadedSchemas()["host:ndpi"].options.step, u.getSchema("host:ndpi").retention[2].aggregation_dp, #u.getPossiblyChangedSchemas())
print("delete", u.delete("app:requests", tags), u.delete("app", { path = "/a" }), u.exists("app:requests", tags), u.delete("", {}))
u.setupAgain() u.deleteOldData(1)
print("end", ntop.getCache("ntopng.cache.ts_setup_ok") == "", u.getQueryOptions({ top = 3 }).top, u.get_stats_options({ schema = "a:b" }).top)
`

// TestScriptRunNtopng: a script writes and asks with ts_utils, prints to standard output, and its errors have their place.
func TestScriptRunNtopng(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	begin := time.Now().Unix()/3600*3600 - 7200
	script := path("all.lua", strings.ReplaceAll(everyUtil, "START", fmt.Sprint(begin)))
	want := `query	0	60	10	600	hits	1,1,1,1,1,1,1,1,1,1	/a	600
timeseries_query	0	120	5	hits	1
unknown points	true	true
top	/b	/a	2
topk	/b	6600	600	0
total	6000	600
mean	60
last	1,1
list	2	/a	/b	nil
batch	1	2	2	nil	nil
exists	true	false
refused	false	nil	nil
reversed	nil
setup	true	1	rrd
driver	true	true	true
schemas	300	12	0
delete	false	true	false	false
end	true	3	30
`
	code, out, errs := run("script", "run", "--api", "ntopng", script)
	if diff := cmp.Diff(want, out); code != 0 || diff != "" {
		t.Errorf("code %d: %s\n%s", code, diff, errs)
	}
	for _, text := range []string{"Schema already defined: app:requests", "Schema not found: app:nothing", "missing tag 'path' in schema app:requests", "Full schema labels not supported"} {
		if !strings.Contains(errs, text) {
			t.Errorf("standard error lacks %q:\n%s", text, errs)
		}
	}
	f := func(wantCode int, text string, args ...string) {
		t.Helper()
		if code, out, errs := run(append([]string{"script", "run", "--api", "ntopng"}, args...)...); code != wantCode || !strings.Contains(errs, text) {
			t.Errorf("%v: code %d, %s\n%s", args, code, out, errs)
		}
	}
	f(exitFailure, "bad.lua:2: no", path("bad.lua", "print('so far')\nerror('no')"))
	f(exitFailure, "bad.lua:1", path("bad.lua", "x = = 1"))
	f(exitFailure, "cannot read the script", filepath.Join(dir, "none.lua"))
	f(0, "", path("exit.lua", "os.exit(0)"))
	f(exitUsage, "--input is not for --api ntopng", "--input", "x", script)
	config := path("weir.yaml", "data: "+filepath.Join(dir, "data")+"\n")
	f(0, "", "--config", config, path("write.lua", `assert(require("ts_utils").append("iface:traffic", { ifid = 1, bytes = 7 }))`))
	f(0, "", "--config", config, path("read.lua", `assert(require("ts_utils").exists("iface:traffic", { ifid = 1 }))`))
	f(exitFailure, "read.lua:1: assertion failed", path("read.lua", `assert(require("ts_utils").exists("iface:traffic", { ifid = 1 }))`))
	if code, _, errs := run("script", "run", "--api", "trisul", "--config", config, script); code != exitUsage || !strings.Contains(errs, "--config is for --api ntopng") {
		t.Error(code, errs)
	}
}
