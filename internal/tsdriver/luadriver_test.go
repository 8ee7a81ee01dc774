package tsdriver

import (
	"errors"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/timeseries"
)

// words are what a script said.
type words struct {
	lines   []string
	errors  []string
	printed []string
}

func (w *words) Log(level slog.Level, text string) {
	w.lines = append(w.lines, level.String()+" "+text)
}
func (w *words) Print(line string) { w.printed = append(w.printed, line) }
func (w *words) Error(err error)   { w.errors = append(w.errors, err.Error()) }

// said counts the lines that hold a text.
func (w *words) said(text string) (n int) {
	for _, line := range w.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// load loads a driver; edit changes its setup, nil for none.
func load(t testing.TB, source string, edit func(*Setup)) (*luaDriver, *words) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "driver.lua")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	setup := Setup{Name: "test", Script: path, Directory: filepath.Join(dir, "data")}
	if edit != nil {
		edit(&setup)
	}
	w := new(words)
	d, err := loadDriver(setup, w, func(*state) {})
	if err != nil {
		d.close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return d, w
}

// lua runs a chunk in the state of a driver and returns its first result.
func (s *state) lua(t testing.TB, chunk string) any {
	t.Helper()
	values, err := s.vm.DoString("=test", chunk)
	if err != nil {
		t.Fatal(err)
	}
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

var traffic = &timeseries.Schema{Name: "host:traffic", Step: 300, Tags: []string{"ifid", "host"}, Metrics: []string{"bytes_sent", "bytes_rcvd"}}

// minimal is a driver that implements the documented contract and nothing else (4.9).
const minimal = `
local d = {}
function d:new(o) return setmetatable({ rows = {}, options = o }, { __index = self }) end
function d:append(schema, ts, tags, metrics)
  self.rows[#self.rows + 1] = { schema.name, ts, tags, metrics }
  return true
end
function d:query(schema, a, b, tags, o)
  local data = {}
  for _, row in ipairs(self.rows) do
    if row[1] == schema.name and row[3].host == tags.host then data[#data + 1] = row[4][schema._metrics[1]] end
  end
  if #data == 0 then return nil end
  local series = {}
  for i, name in ipairs(schema._metrics) do series[i] = { label = name, data = data } end
  return { start = a, step = schema.options.step, count = #data, series = series, additional_series = {} }
end
function d:listSeries(schema, filter, wildcards)
  local list, seen = {}, {}
  for _, row in ipairs(self.rows) do
    local host = row[3].host or ""
    if row[1] == schema.name and not seen[host] and (not filter.host or filter.host == host) then
      seen[host] = true
      list[#list + 1] = row[3]
    end
  end
  return #list > 0 and list or nil
end
function d:export() end                       function d:getLatestTimestamp() return 1234 end
function d:delete() return true end           function d:deleteOldData() return true end
function d:setup(ts_utils) return ts_utils ~= nil end
return d`

func point2(host string, at int64, sent, received float64) timeseries.Point {
	return timeseries.Point{Schema: traffic, Time: at, Tags: []string{"1", host}, Values: []float64{sent, received}}
}

// A driver that implements only the documented contract answers everything (R3).
func TestR03_ContractOnly(t *testing.T) {
	d, w := load(t, minimal, nil)
	ctx := t.Context()
	if err := d.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Append(ctx, []timeseries.Point{point2("a", 300, 1, 2), point2("b", 300, 10, 20), point2("a", 600, 3, 4)}); err != nil {
		t.Fatal(err)
	}
	q := timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "a"}, Start: 0, End: 900, Options: timeseries.DefaultOptions()}
	r, err := d.Query(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if r.Count != 2 || r.Step != 300 || len(r.Series) != 2 || r.Series[0].Data[1] != 3 || r.Total[1] != 6 || r.Statistics.Average != 4 {
		t.Errorf("%+v", r)
	}
	total, err := d.Total(ctx, q)
	if err != nil || total["bytes_sent"] != 4*300 {
		t.Errorf("%v %v", total, err)
	}
	q.Tags = timeseries.Tags{"ifid": "1"}
	top, err := d.TopK(ctx, q)
	if err == nil || top != nil { // series of different lengths cannot be added up
		t.Errorf("%+v", top)
	}
	if err := d.Append(ctx, []timeseries.Point{point2("b", 600, 10, 20)}); err != nil {
		t.Fatal(err)
	}
	if top, err = d.TopK(ctx, q); err != nil || len(top.Items) != 2 || top.Items[0].Tags["host"] != "b" || top.Items[0].Value != 2*2*10*300 {
		t.Errorf("%+v %v", top, err)
	}
	q.Tags = timeseries.Tags{"ifid": "1", "host": "c"}
	if _, err := d.Query(ctx, q); !errors.Is(err, timeseries.ErrNoSeries) {
		t.Error(err)
	}
	if at, err := d.LatestTimestamp(ctx); err != nil || at != 1234 {
		t.Error(at, err)
	}
	if len(w.errors)+len(w.lines) > 0 {
		t.Error(w)
	}
}

// Steps without a table of archives are accepted, with those of the nearest smaller one (R1).
func TestR01_AnyStep(t *testing.T) {
	d, w := load(t, minimal, nil)
	got := d.lua(t, `
		local ts_utils = require "ts_utils"
		local texts = {}
		for _, step in ipairs({ 1, 5, 10, 30, 60, 90, 300, 3600, 86400 }) do
			local s = ts_utils.newSchema("test:step" .. step, { step = step })
			s:addTag("ifid") s:addMetric("v")
			local a = s.retention[1]
			texts[#texts + 1] = step .. ":" .. #s.retention .. ":" .. a.aggregation_dp .. "x" .. a.retention_dp
			assert(ts_utils.append(s.name, { ifid = 1, v = step }, 86400))
		end
		return table.concat(texts, " ")`)
	want := "1:3:1x86400 5:3:1x86400 10:3:1x86400 30:3:1x86400 60:3:1x1440 90:3:1x1440 300:3:1x288 3600:2:1x720 86400:2:1x720"
	if got != want {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if len(w.errors)+len(w.lines) > 0 {
		t.Error(w)
	}
}

// An unknown function gives nil, and its name once in the log; scripts may put their own there (R27).
func TestR27_UnknownFunctions(t *testing.T) {
	d, w := load(t, minimal, nil)
	got := d.lua(t, `
		assert(ntop.notThere(1, 2) == nil and interface.neitherThis() == nil)
		ntop.notThere() ntop.notThere()
		ntop.mine = function() return 7 end
		ntop.getCache = function() return "own" end
		return ntop.mine() .. ntop.getCache("x")`)
	if got != "7own" {
		t.Error(got)
	}
	if w.said("ntop.notThere") != 1 || w.said("interface.neitherThis") != 1 || len(w.lines) != 2 {
		t.Error(w.lines)
	}
}

// Modules of other editions have fallbacks, and those that are there win (R28).
func TestR28_Fallbacks(t *testing.T) {
	d, _ := load(t, minimal, nil)
	const ask = `
		local label = require("snmp_utils").get_snmp_interface_label(3)
		return tostring(label) .. " " .. tostring(require("snmp_cached_dev"):create("192.0.2.1"))`
	if got := d.lua(t, ask); got != "nil nil" {
		t.Error(got)
	}
	d, _ = load(t, minimal, func(s *Setup) {
		write(t, filepath.Join(filepath.Dir(s.Script), "snmp_utils.lua"), `return { get_snmp_interface_label = function(x) return "port " .. x end }`)
	})
	if got := d.lua(t, ask); got != "port 3 nil" {
		t.Error(got)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The front is built in and wins over files, unless those of the installation are asked for (R36).
func TestR36_BuiltInFront(t *testing.T) {
	for _, parity := range []bool{false, true} {
		d, _ := load(t, minimal, func(s *Setup) {
			s.Installation, s.Parity = filepath.Join(filepath.Dir(s.Script), "ntopng"), parity
			for _, name := range []string{"ts_utils", "ts_utils_core", "ts_schema", "ts_common"} {
				write(t, filepath.Join(s.Installation, "scripts/lua/modules/timeseries", name+".lua"), `return { theirs = true }`)
			}
		})
		for _, name := range []string{"ts_utils", "ts_utils_core", "ts_schema", "ts_common"} {
			if got := d.lua(t, `return require("`+name+`").theirs == true`); got != parity {
				t.Errorf("parity %v: the file %s is used: %v", parity, name, got)
			}
		}
	}
	d, _ := load(t, minimal, nil)
	if got := d.lua(t, `return require("ts_utils") == require("ts_utils_core")`); got != true {
		t.Error("ts_utils and ts_utils_core differ")
	}
}

// A file is a driver whose constructor gets its options as they are in the configuration (R29).
func TestR29_Options(t *testing.T) {
	d, _ := load(t, minimal, func(s *Setup) {
		s.Options = map[string]any{"url": "http://192.0.2.1:8086", "retries": float64(3), "secure": true, "list": []any{"a", "b"}}
	})
	got := d.lua(t, `
		local o = require("ts_utils").getQueryDriver().options
		return o.url .. " " .. o.retries .. " " .. tostring(o.secure) .. " " .. o.list[2]`)
	if got != "http://192.0.2.1:8086 3 true b" {
		t.Error(got)
	}
}

// The functions of ts_common are those that were recorded (1.7).
func TestCommon(t *testing.T) {
	d, _ := load(t, minimal, nil)
	got := d.lua(t, `
		local c = require "ts_common"
		local out = {}
		local function say(...) for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end end
		for _, n in ipairs({ 2, 3, 5, 10, 11, 20, 21, 60, 80, 100, 101 }) do
			local s = {}
			for i = 1, n do s[i] = i end
			say(c.ninetififthPercentile(s))
		end
		say("|", c.ninetififthPercentile({ 3, 0/0, 1 }), c.ninetififthPercentile({}))
		local m = c.calculateMinMax({ 3, 1, 4, 1, 5, 9, 2, 6, 9 })
		say("|", m.min_val, m.min_val_idx, m.max_val, m.max_val_idx)
		local s = c.calculateStatistics({ 10, 0/0, 20, 0/0, 30 }, 60, true, "gauge")
		say("|", s.total, s.average, s["95th_percentile"], c.calculateStatistics({ 1 }, 60, nil, "gauge").total)
		s = c.calculateStatistics({ 10, 0/0, 30 }, 60, nil, "derivative")
		say("|", s.total, s.average, s["95th_percentile"], "|")
		for _, a in ipairs({ { 60, 600, 80 }, { 60, 600, 5 }, { 60, 601, 5 }, { 1, 3600, 60 }, { 1, 3600, 180 }, { 300, 86400, 60 }, { 300, 30 * 86400, 80 } }) do
			say(c.calculateSampledTimeStep(a[1], 0, a[2], { max_num_points = a[3] }))
		end
		say("|", unpack(c.upsampleSerie({ 10, 20, 30 }, 6)))
		return table.concat(out, " ")`)
	want := "1 2 4 9 9 18 19 56 75 94 95 | 1 nil | 1 1 9 5 | 60 20 20 nil | 2400 20 10 | 60 120 180 60 20 1500 32400 | 10 15 20 25 30 30"
	if got != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// What ts_utils refuses it refuses with the recorded texts, and a driver that raises is no reason to end (R22, section 9).
func TestUtils(t *testing.T) {
	d, w := load(t, minimal, func(s *Setup) {
		s.Definitions = []*front.Definition{{Schema: &timeseries.Schema{Name: "app:latency", Step: 60, Type: timeseries.Gauge, Tags: []string{"ifid"}, Metrics: []string{"p99"}}}}
	})
	got := d.lua(t, `
		local u = require "ts_utils"
		assert(u.append("app:latency", { ifid = 1, p99 = 12.5 }, 600))
		assert(not u.append("app:nothing", { ifid = 1 }, 600))
		assert(not u.append("app:latency", { p99 = 1 }, 600))
		assert(not u.append("app:latency", { ifid = 1, p99 = 0/0 }, 600))
		assert(not pcall(u.append, "app:latency", nil))
		local schema = u.getSchema("app:latency")
		local total = u.queryTotal("app:latency", 0, 900, { ifid = "1" })
		return schema._metrics[1] .. " " .. schema.options.metrics_type .. " " .. schema:getAggregationFunction() .. " " .. tostring(schema:allTagsDefined({})) ..
			" " .. tostring(u.getSchema("no:such")) .. " " .. tostring(u.exists("app:latency", { ifid = 1 }))`)
	if want := "p99 gauge mean false nil true"; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, text := range []string{"Schema not found: app:nothing", "Missing mandatory tag 'ifid' while using schema app:latency", "a finite number is needed"} {
		if w.said(text) != 1 {
			t.Errorf("no line %q in %q", text, w.lines)
		}
	}
}

// Points that raise, that are refused and that hang are counted, and the others are taken.
func TestAppendFailures(t *testing.T) {
	d, _ := load(t, `
		local d = { taken = {} }
		function d:new() return self end
		function d:append(schema, ts, tags, metrics)
			if tags.host == "raise" then error("no such host") end
			if tags.host == "false" then return false end
			while tags.host == "hang" do end
			self.taken[#self.taken + 1] = tags.host
			return true
		end
		return d`, func(s *Setup) { s.Call = 200e6 })
	d.vm.DoString("=test", "jit.off()")
	var points []timeseries.Point
	for i, host := range []string{"a", "raise", "b", "false", "hang", "c"} {
		points = append(points, point2(host, int64(i), 1, 2))
	}
	err := d.Append(t.Context(), points)
	var some *timeseries.AppendError
	if !errors.As(err, &some) || some.Refused != 3 || d.refused != 1 || d.failed != 2 || !strings.Contains(some.First.Error(), "no such host") {
		t.Errorf("%v, %d refused, %d failed", err, d.refused, d.failed)
	}
	if got := d.lua(t, `return table.concat(require("ts_utils").getQueryDriver().taken, " ")`); got != "a b c" {
		t.Error(got)
	}
}

// A driver that cannot be one says why.
func TestLoadErrors(t *testing.T) {
	for source, want := range map[string]string{
		"return 1":                        "is not a timeseries driver",
		"return { new = function() end }": "did not return a driver",
		"local x = = 1":                   "driver.lua:1",
		"error('broken')":                 "driver.lua:1: broken",
		"return { new = function() return nil+1 end}": "driver.lua:1",
	} {
		path := filepath.Join(t.TempDir(), "driver.lua")
		write(t, path, source)
		d, err := loadDriver(Setup{Name: "x", Script: path, Directory: t.TempDir()}, new(words), func(*state) {})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", source, err)
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
}

// Answers of scripts that make no sense are errors or NaN, never a panic.
func TestOddAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"1":                  "answered with a",
		"{}":                 "",
		"{ series = { 1 } }": "series 1 of the driver's answer",
		"{ series = 7 }":     "",
		"{ start = 0/0, step = -1, series = { { data = { 'x', {}, 1 } } } }": "",
		"false":                                  "no such series",
		"error({})":                              "query:",
		"(function() return nil + 1 end)()":      "driver.lua",
		"{ statistics = { by_serie = { {} } } }": "",
	} {
		d, _ := load(t, "local d = {} function d:new() return d end function d:query() local v = "+answer+" return v end return d", nil)
		r, err := d.Query(t.Context(), timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "a"}, End: 600, Options: timeseries.DefaultOptions()})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", answer, err)
		}
		if err == nil {
			for _, s := range r.Series {
				if len(s.Data) != r.Count || !math.IsNaN(s.Data[0]) {
					t.Errorf("%s: %+v", answer, r)
				}
			}
		}
	}
}

// What editors are told of is there, and all that is there.
func TestFunctionsAreThere(t *testing.T) {
	d, w := load(t, minimal, nil)
	for _, name := range slices.Sorted(maps.Keys(d.ntopFunctions())) {
		d.lua(t, "assert(type(ntop."+name+") == 'function')")
	}
	d.lua(t, "ntop.getPref({})")
	if w.said("ntop.getPref: bad argument #1") != 1 {
		t.Error(w.lines)
	}
}
