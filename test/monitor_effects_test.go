package test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMonitorDerivedGroup: a script makes a group of its own out of another one, whose windows it feeds; a monitor of that group in a file
// that sorts earlier finds it.
func TestMonitorDerivedGroup(t *testing.T) {
	const derived = "{DE71BED0-0000-4000-8000-000000000001}"
	m := startMonitored(t, map[string]string{
		"a-watch.lua": `local say = require("record")("derived")
TrisulPlugin = { id = { name = "watch" }, cg_monitor = { counter_guid = "` + strings.ToLower(derived) + `",
  onflush = function(engine, ts, key, m) say("onflush", ts, key, m) end } }`,
		"z-derive.lua": `local say = require("record")("source")
TrisulPlugin = {
  id = { name = "derive" },
  countergroup = {
    control = { guid = "` + derived + `", name = "Derived", bucketsize = 1 },
    meters = { { 0, T.K.vartype.RATE_COUNTER, 10, "volume", "what came", "bytes" }, { 1, T.K.vartype.GAUGE, 0, "last", "", "" } },
    keyinfo = { { "C0.A8.03.64", "the printer" } },
  },
  cg_monitor = {
    counter_guid = "{889900CC-0063-11A5-8380-FEBDBABBDBEA}",
    onflush = function(engine, ts, key, m)
      say("onflush", ts, key, m[1])
      engine:update_counter("` + derived + `", key, 0, m[1])
      engine:update_counter("` + derived + `", key, 1, "7")
      engine:update_counter("` + derived + `", key, 0, 0/0)
      engine:update_counter("` + derived + `", key, 0, 1/0)
      engine:update_counter("` + derived + `", key, 2, 1)
      engine:update_counter("{00000000-0000-4000-8000-000000000000}", key, 0, 1)
    end,
  },
}`,
	}, "a-watch.lua Derived", "z-derive.lua Internal Hosts")
	together()
	m.export(exported{from: "192.168.3.100:40000", to: "192.0.2.9:443", protocol: 6, bytes: 745513, packets: 900})
	lines := m.sees("source", `^onflush \d+ SYS:GROUP_TOTALS`)
	from, _ := strconv.Atoi(strings.Fields(lines[0])[1])
	if diff := cmp.Diff([]string{fmt.Sprintf("onflush %d C0.A8.03.64 745513", from), fmt.Sprintf("onflush %d SYS:GROUP_TOTALS 745513", from)}, lines); diff != "" {
		t.Errorf("the source (-want +got)\n%s", diff)
	}
	lines = m.sees("derived", `^onflush \d+ SYS:GROUP_TOTALS`)
	want := []string{fmt.Sprintf("onflush %d C0.A8.03.64 {745513,7}", from+1), fmt.Sprintf("onflush %d SYS:GROUP_TOTALS {745513,7}", from+1)}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("the derived group, a window later, with totals of its own (-want +got)\n%s", diff)
	}
	soon(t, func() string {
		if got := grouped(t, m.process, "Derived"); got["C0.A8.03.64"]["volume"] != 745513 || len(got) != 2 {
			return fmt.Sprint(got)
		}
		return ""
	})
	for _, line := range []string{
		`a script updates a meter that its group does not have.*group=Derived meter=2 meters=2`,
		`a script updates a counter group that is not registered.*guid={00000000-0000-4000-8000-000000000000}`,
	} {
		if n := len(regexp.MustCompile(line).FindAllString(m.log(), -1)); n != 1 {
			t.Errorf("%d lines of %s", n, line)
		}
	}
	var answer struct {
		Monitors []struct {
			File      string
			Instances []struct {
				Figures struct {
					NotFinite int64 `json:"not_finite"`
				}
			}
		}
	}
	soon(t, func() string {
		if err := m.ask("/api/v1/monitors", &answer); err != nil {
			return err.Error()
		}
		for _, one := range answer.Monitors {
			if strings.HasSuffix(one.File, "z-derive.lua") && len(one.Instances) == 1 && one.Instances[0].Figures.NotFinite == 4 {
				return ""
			}
		}
		return fmt.Sprintf("%+v", answer)
	})
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
}

// TestMonitorSilentExporter: section 10.5, an exporter that does not come any more is told of, and windows go on when nothing comes.
func TestMonitorSilentExporter(t *testing.T) {
	m := startMonitored(t, map[string]string{"stable.lua": `
TrisulPlugin = {
  id = { name = "stable" },
  onload = function() T.seen = {} end,
  cg_monitor = {
    counter_guid = function() return T.countergroups["FlowGens"] end,
    onbeginflush = function() T.now = {} end,
    onflush = function(engine, ts, key) if key ~= "SYS:GROUP_TOTALS" then T.now[key], T.seen[key] = true, T.seen[key] or ts end end,
    onendflush = function(engine)
      for key in pairs(T.seen) do
        if not T.now[key] then
          T.seen[key] = nil
          local a, b, c, d = key:match("(%x%x)%.(%x%x)%.(%x%x)%.(%x%x)")
          engine:add_alert("{B5F1DECB-51D5-4395-B71B-6FA730B772D9}", nil, "STABLEKEYS", 1,
            string.format("silent: %d.%d.%d.%d", tonumber(a, 16), tonumber(b, 16), tonumber(c, 16), tonumber(d, 16)))
        end
      end
    end,
  },
}`, "alerts.lua": `
local say = require("record")("alerts")
TrisulPlugin = {
  id = { name = "alerts" },
  alert_monitor = {
    alert_name_match = "user alerts",
    onnewalert = function(engine, a) say("onnewalert", T.monitor_group_name, a:sigid(), a:priority(), a:message(), a:status(), tostring(a:flow())) end,
    onbeginflush = function(engine, ts) T.any = false end,
    flushfilter = function(engine, a)
      say("flushfilter", a:message())
      if a:message() == "silent: 127.0.0.3" then return false end
      a:set_priority(3)
      a:set_message(a:message() .. "!")
      return true
    end,
    onflush = function(engine, a) say("onflush", a:message()) end,
  },
}`}, "stable.lua FlowGens", "alerts.lua User Alerts")
	one := exported{from: "10.0.0.1:1000", to: "10.0.0.2:2000", protocol: 17, bytes: 100, packets: 1}
	together()
	m.exportFrom("127.0.0.2", one)
	m.exportFrom("127.0.0.3", one)
	time.Sleep(time.Second)
	m.exportFrom("127.0.0.2", one)
	lines := m.sees("alerts", `^onflush silent: 127.0.0.2!`)
	want := []string{
		"onnewalert User Alerts STABLEKEYS 1 silent: 127.0.0.3 ALARM nil", "flushfilter silent: 127.0.0.3",
		"onnewalert User Alerts STABLEKEYS 1 silent: 127.0.0.2 ALARM nil", "flushfilter silent: 127.0.0.2", "onflush silent: 127.0.0.2!",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := m.waitLog(`msg=alert message="silent: 127\.0\.0\.2!" sigid=STABLEKEYS priority=3 status=ALARM flow="" group={B5F1DECB-51D5-4395-B71B-6FA730B772D9}`); err != nil {
		t.Error(err)
	}
	if strings.Contains(m.log(), `message="silent: 127.0.0.3`) {
		t.Error("an alert that was voted down is stored")
	}
	soon(t, func() string {
		if got := grouped(t, m.process, "Alert_Signatures")["STABLEKEYS"]; math.Round(got["Total Alerts"]) != 2 {
			return fmt.Sprint(got)
		}
		return ""
	})
}

// TestMonitorAttachment: section 10.4.
func TestMonitorAttachment(t *testing.T) {
	script := func(spec string) string {
		return `TrisulPlugin = { id = { name = "x" }, cg_monitor = { ` + spec + `, onload = function() require("record")("attach")(T.K and debug.getinfo(1, "S").source:match("([^/]+)%.lua$"), T.monitor_group_name) end } }`
	}
	m := startMonitored(t, map[string]string{
		"a.lua": script(`counter_guid = "{4cd742b1-c1ca-4708-be78-0fca2eb01a86}"`),
		"b.lua": script(`counter_guid = { "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", "{4cd742b1-c1ca-4708-be78-0fca2eb01a86}", "{99999999-c1ca-4708-be78-0fca2eb01a86}" }`),
		"c.lua": script(`counter_guid = "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", counter_name_match = "INTERNAL h", counter_name_regex = "^Hosts$|^Apps$"`),
		"d.lua": script(`counter_guid = function() return T.countergroups["Internal Hosts"] end`),
		"e.lua": script(`counter_guid = function() return nil end`),
		"f.lua": script(`counter_guid = "{4CD742B1}"`),
		"g.lua": script(`counter_name_regex = "("`),
		"h.lua": `TrisulPlugin = { id = { name = "x" }, cg_monitor = { onflush = function() end } }`,
		"i.lua": `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_match = "no such group" } }`,
		"j.lua": `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_match = "Hosts", onflush = 1 } }`,
		"k.lua": `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = function() error("no answer") end } }`,
		"l.lua": `TrisulPlugin = { id = {} }`,
		"m.lua": `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_match = "Hosts" }`,
		"n.lua": `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_regex = "^Hosts$", onload = function() return false end } }`,
		"o.lua": `TrisulPlugin = { id = { name = "x" }, onload = function() require("ffi") end, cg_monitor = { counter_name_regex = "^Hosts$" } }`,
		"p.lua": `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_regex = "^Hosts$", onflushFilter = function() end } }`,
		"q.lua": `TrisulPlugin = { id = { name = "x" }, onload = function() require("record")("attach")("q", T.monitor_group_name) end }`,
		"r.lua": `return { data = true }`,
	})
	for _, line := range []string{
		`script: no group has the GUID {99999999-C1CA-4708-BE78-0FCA2EB01A86}.* file=\S*/b\.lua`,
		`script not loaded: no counter group matches .* file=\S*/e\.lua`,
		`level=ERROR.*file=\S*/f\.lua.*`,
		`level=ERROR.*missing closing.*file=\S*/g\.lua`,
		`level=ERROR.*file=\S*/h\.lua.*cg_monitor needs counter_guid, counter_name_match or counter_name_regex`,
		`script not loaded: no counter group matches the name \\"no such group\\"" file=\S*/i\.lua`,
		`level=ERROR.*file=\S*/j\.lua.*cg_monitor\.onflush is not a function`,
		`level=ERROR.*file=\S*/k\.lua.*no answer`,
		`level=ERROR.*file=\S*/l\.lua.*TrisulPlugin\.id\.name is not a string`,
		`level=ERROR.*m\.lua:1: .*'}' expected`,
		`level=INFO msg="script not attached" file=\S*/n\.lua .*onload returned false`,
		`level=ERROR msg="script not attached" file=\S*/o\.lua .*module 'ffi' not available in weir \(script needs LuaJIT FFI\)`,
		`level=WARN msg=.*cg_monitor\.onflushFilter is not a callback, is onflushfilter meant`,
	} {
		if err := m.waitLog(line); err != nil {
			t.Error(err)
			break
		}
	}
	want := []string{
		"a Hosts", "b Hosts", "c Hosts", "c Internal Hosts", "c Apps", "d Internal Hosts", "q nil",
	}
	if diff := cmp.Diff(want, m.sees("attach", "^q nil$")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if regexp.MustCompile(`level=(INFO|WARN|ERROR) .*/r\.lua`).MatchString(m.log()) {
		t.Error("a module is spoken of")
	}
}

// TestMonitorMessages: scripts talk to each other, a second later.
func TestMonitorMessages(t *testing.T) {
	m := startMonitored(t, map[string]string{"feeder.lua": feeder, "send.lua": onFed("send", `
  onflush = function(engine, ts, key) if key == "a" then
    say("sent", ts)
    engine:post_message_backend("{ABCDEF00-0000-4000-8000-000000000001}", "for those who ask")
    engine:post_message_backend("for all")
    engine:post_message_backend("{ABCDEF00-0000-4000-8000-000000000002}", "for nobody")
  end end,`) + `
TrisulPlugin.onmessage = function(id, text) require("record")("own")(id, text) end`,
		"asks.lua": `TrisulPlugin = { id = { name = "x" }, message_subscriptions = { "{abcdef00-0000-4000-8000-000000000001}" },
  onmessage = function(id, text) require("record")("asks")("onmessage", id, text) end,
  engine_monitor = {
    onmetronome = function(engine, ts) require("record")("asks")("onmetronome", ts) end,
    onbeginflush = function(engine, ts) require("record")("asks")("onbeginflush", ts) end,
    onendflush = function(engine, ts) require("record")("asks")("onendflush", ts, engine:timestamp()) end,
  } }`,
		"other.lua": `TrisulPlugin = { id = { name = "x" }, onmessage = function(id, text) require("record")("other")("onmessage", id, text) end }`,
	}, "send.lua Fed", "asks.lua ", "other.lua ")
	together()
	m.feed("a 0 1")
	m.sees("other", `^onmessage nil for all$`)
	m.sees("asks", `^onmessage nil for all(?s:.*)onendflush`)
	text := strings.Join(m.seen("asks"), "\n")
	sent, _ := strconv.Atoi(strings.Fields(m.seen("send")[0])[1])
	want := fmt.Sprintf("onbeginflush %[1]d\nonendflush %[1]d %[1]d\nonmessage {ABCDEF00-0000-4000-8000-000000000001} for those who ask\nonmessage nil for all\nonmetronome %[2]d\nonbeginflush %[2]d", sent, sent+1)
	if !strings.Contains(text, want) {
		t.Errorf("want\n%s\ngot\n%s", want, text)
	}
	if got := m.seen("other"); len(got) != 1 {
		t.Errorf("who asks for nothing got %q", got)
	}
	if got := m.seen("own"); got != nil {
		t.Errorf("the sender got %q", got)
	}
}

// TestMonitorReload: changed, broken, new and removed files, and one whose process is killed.
func TestMonitorReload(t *testing.T) {
	script := func(version string) string {
		return fmt.Sprintf(`TrisulPlugin = { id = { name = "x" }, onunload = function() require("record")("reload")("unload %[1]s", T.monitor_group_name) end,
  cg_monitor = { counter_name_regex = "^Fed$", onflush = function(engine, ts, key, m) if key ~= "SYS:GROUP_TOTALS" then require("record")("reload")("%[1]s", key) end end } }`, version)
	}
	m := startMonitored(t, map[string]string{"feeder.lua": feeder, "app/it.lua": script("v1")}, "feeder.lua ", "app/it.lua Fed")
	m.feed("k1 0 1")
	m.sees("reload", `^v1 k1$`)

	m.put("app/it.lua", script("v2")) // is found by itself
	m.sees("reload", `^unload v1 Fed$`)
	m.feed("k2 0 1")
	m.sees("reload", `^v2 k2$`)

	m.put("app/it.lua", "TrisulPlugin = {{")
	if err := m.waitLog(`the changed script cannot be loaded: the version before it goes on" file=\S*/app/it\.lua error=.*it\.lua:1: `); err != nil {
		t.Fatal(err)
	}
	m.feed("k3 0 1")
	m.sees("reload", `^v2 k3$`)

	m.put("app/it.lua", "TrisulPlugin = { id = {} }")
	if err := m.waitLog(`the changed script cannot be loaded: the version before it goes on" file=\S*/app/it\.lua error=.*id\.name is not a string`); err != nil {
		t.Fatal(err)
	}
	m.feed("k3b 0 1")
	m.sees("reload", `^v2 k3b$`)

	m.put("app/it.lua", script("v3"))
	m.sees("reload", `^unload v2 Fed$`)
	m.feed("k4 0 1")
	m.sees("reload", `^v3 k4$`)

	pid := m.scriptPID(t, "monitor:app/it.lua")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	soon(t, func() string {
		if n := len(regexp.MustCompile(`msg="script attached" file=\S*/app/it\.lua`).FindAllString(m.log(), -1)); n != 4 {
			return fmt.Sprintf("attached %d times", n)
		}
		return ""
	})
	m.feed("k5 0 1")
	m.sees("reload", `^v3 k5$`)

	if err := os.Remove(filepath.Join(m.dir, "app", "it.lua")); err != nil {
		t.Fatal(err)
	}
	m.sees("reload", `^unload v3 Fed$`)
	m.feed("k6 0 1")
	soon(t, func() string {
		if got := grouped(t, m.process, "Fed"); got["k6"]["volume"] != 1 || got["k1"]["volume"] != 1 {
			return fmt.Sprint(got)
		}
		return ""
	})
	want := []string{"v1 k1", "unload v1 Fed", "v2 k2", "v2 k3", "v2 k3b", "unload v2 Fed", "v3 k4", "v3 k5", "unload v3 Fed"}
	if diff := cmp.Diff(want, m.seen("reload")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
}

// TestMonitorGroupOff: a built-in group is switched off and on again while flows come: its monitor is unloaded and attached again, its last window is stored,
// and other groups do not notice.
func TestMonitorGroupOff(t *testing.T) {
	m := startMonitored(t, map[string]string{"off.lua": `local say = require("record")("off")
TrisulPlugin = { id = { name = "off" }, cg_monitor = { counter_guid = { "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", "{C51B48D4-7876-479E-B0D9-BD9EFF03CE2E}" },
  onload = function() say("onload", T.monitor_group_name, T.countergroups["Hosts"]) end,
  onunload = function() say("onunload", T.monitor_group_name) end,
  onflush = function(engine, ts, key, m) if key == "p-01BB" or key == "0A.00.00.01" then say(T.monitor_group_name, m[1]) end end } }`}, "off.lua Hosts", "off.lua Apps")
	configure := func(from, to string) {
		t.Helper()
		file := filepath.Join(filepath.Dir(m.dir), "weir.yaml")
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o600)
		}
		if err == nil {
			err = m.cmd.Process.Signal(syscall.SIGHUP)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	export := func(bytes uint32) {
		m.export(exported{from: "10.0.0.1:40000", to: "192.0.2.9:443", protocol: 6, bytes: bytes, packets: 10})
	}
	export(1000)
	m.sees("off", `^Apps 1000$`)
	m.sees("off", `^Hosts 1000$`)
	configure("window: 1s,", `off: ["Hosts"], window: 1s,`)
	if err := m.waitLog(`msg="configuration reloaded" applied=counter_groups.off needs_restart=""`); err != nil {
		t.Fatal(err)
	}
	m.sees("off", `^onunload Hosts$`)
	for _, line := range []string{`msg="script unloaded: its group was taken away" file=\S*/off\.lua type=cg_monitor group=Hosts`, `msg="a counter group was taken away: its last window was flushed, its keys are forgotten" group=Hosts guid=\S+ keys=2`} {
		if err := m.waitLog(line); err != nil {
			t.Fatal(err)
		}
	}
	export(200)
	m.sees("off", `^Apps 200$`)
	configure(`off: ["Hosts"], `, "")
	if err := m.waitLog(`(?s)group=Hosts.*script unloaded.*msg="script attached" file=\S*/off\.lua type=cg_monitor group=Hosts`); err != nil {
		t.Fatal(err)
	}
	export(30)
	m.sees("off", `^Apps 30$`)
	m.sees("off", `^Hosts 30$`)
	text := strings.Join(m.seen("off"), "\n")
	if strings.Contains(text, "Hosts 200") || strings.Contains(text, "onunload Apps") || strings.Count(text, "onload Hosts") != 2 {
		t.Errorf("got\n%s", text)
	}
	soon(t, func() string {
		if got := grouped(t, m.process, "Hosts")["0A.00.00.01"]["Total"]; got != 1030 {
			return fmt.Sprint("stored of the host: ", got)
		}
		return ""
	})
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
	m.endInOrder(t)
}

// TestMonitorMistakes: scripts that are wrong in one way each, beside one that is right and sees every window.
func TestMonitorMistakes(t *testing.T) {
	scripts := map[string]string{"feeder.lua": feeder, "right.lua": onFed("right", observed)}
	wrong := map[string]struct{ body, line string }{
		"raises":   {`onflush = function(engine, ts, key) error("no " .. key) end,`, `raises\.lua:3: \[raises\.lua\] Fed: onflush: no k0`},
		"loops":    {`onupdate = function(engine, ts, key) while true do local f = function() end end end,`, `loops\.lua.*callback onupdate exceeded 300ms`},
		"spins":    {`onupdate = function(engine, ts, key) while true do end end,`, `killed: a call computed for longer than 600ms in onupdate at \S*/spins\.lua:3`},
		"nonsense": {`onflushfilter = function(engine, ts, key) return "perhaps" end,`, `onflushfilter: it returned a string`},
		"old":      {`onupdate = function(engine, key, ts, m) say(string.format("%s %d", key, ts)) end,`, `bad argument #3 to 'format' \(number expected, got string\)`},
		"dot":      {`onflush = function(engine, ts, key) engine.update_counter("x", key, 0, 1) end,`, `engine:update_counter\(\.\.\.\), not with a dot`},
		"method":   {`onflush = function(engine, ts, key) engine:get_counter(key) end,`, `attempt to call method 'get_counter' \(a nil value\)`},
		"half":     {`onflush = function(engine, ts, key) engine:add_flow_counter("f", "g", "k", 0, 0) end,`, `ERR_NOTAVAIL: add_flow_counter\(\) is not available for backend scripts`},
		"exits":    {`onendflush = function() os.exit(1) end,`, `os\.exit is not available`},
	}
	watched := []string{"feeder.lua ", "right.lua Fed"}
	for name, w := range wrong {
		scripts[name+".lua"] = onFed(name, w.body)
		watched = append(watched, name+".lua Fed")
	}
	m := startMonitored(t, scripts, watched...)
	for i := range 4 {
		together()
		m.feed(fmt.Sprintf("k%d 0 %d", i, i+1))
		m.sees("right", fmt.Sprintf(`^onflush \d+ k%d \{%d,0\}$`, i, i+1))
	}
	for name, w := range wrong {
		if err := m.waitLog(w.line); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	last := 0
	for _, l := range m.seen("right") {
		if words := strings.Fields(l); words[0] == "onbeginflush" {
			now, _ := strconv.Atoi(words[1])
			if last > 0 && now != last+1 {
				t.Errorf("a window is missing: %d after %d", now, last)
			}
			last = now
		}
	}
	soon(t, func() string {
		got := grouped(t, m.process, "Fed")
		for i := range 4 {
			if got[fmt.Sprint("k", i)]["volume"] != float64(i+1) {
				return fmt.Sprint(got)
			}
		}
		return ""
	})
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
}
