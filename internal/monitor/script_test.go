package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/script"
)

// bench is a host without a process around it.
type bench struct {
	t testing.TB
	*host
	clock   time.Time
	logs    []string
	errors  []string
	updates []string // "guid key meter value"
	effects []Effect
	states  map[int]State
	deaf    bool // updates are not looked at
}

func (b *bench) Log(level slog.Level, text string) {
	b.logs = append(b.logs, strings.ToLower(level.String())+" "+text)
}

func (b *bench) Error(err error) { b.errors = append(b.errors, err.Error()) }
func (b *bench) Begin(string)    {}

func (b *bench) Send(kind byte, payload []byte) error {
	switch {
	case kind == KindUpdates && b.deaf:
	case kind == KindUpdates:
		u, err := DecodeUpdates(payload)
		if err != nil {
			b.t.Error(err)
			return nil
		}
		for u.Next() {
			b.updates = append(b.updates, fmt.Sprintf("%s %s %d %v", u.GUIDs[u.GUID], u.Key, u.Meter, u.Value))
		}
		if u.Err() != nil {
			b.t.Error(u.Err())
		}
	case kind == KindEffects:
		b.decode(payload, &b.effects)
	case kind == KindState:
		var states []State
		b.decode(payload, &states)
		for _, s := range states {
			b.states[s.Index] = s
		}
	default:
		b.t.Errorf("a frame of kind %d", kind)
	}
	return nil
}

func (b *bench) decode(payload []byte, v any) {
	b.t.Helper()
	var err error
	switch v := v.(type) {
	case *[]Effect:
		var more []Effect
		err = json.Unmarshal(payload, &more)
		*v = append(*v, more...)
	default:
		err = json.Unmarshal(payload, v)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// write puts files into a new directory: name, text, ... and returns it.
func write(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// newBench loads a source as the file test.lua.
func newBench(t testing.TB, source string, change ...func(*Setup)) (*bench, error) {
	t.Helper()
	b := &bench{t: t, clock: time.Unix(1_700_000_000, 0), states: make(map[int]State)}
	b.host = newHost(func() time.Time { return b.clock })
	b.host.out = b
	b.setup = Setup{
		Path: filepath.Join(write(t, "test.lua", source), "test.lua"), Context: "default", ProbeID: "probe0", Version: "1.2.3", Popen: true, Call: 10000,
		Env: map[string]string{"App>DBRoot": "/db"},
	}
	for _, f := range change {
		f(&b.setup)
	}
	t.Cleanup(func() { b.Stop(nil) })
	return b, b.load()
}

func mustLoad(t testing.TB, source string, change ...func(*Setup)) *bench {
	t.Helper()
	b, err := newBench(t, source, change...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) ask(kind byte, question, answer any) {
	b.t.Helper()
	if items, ok := question.(Items); ok {
		kind, payload := items.frame()
		b.answered(kind, payload, answer)
		return
	}
	payload, err := json.Marshal(question)
	if err != nil {
		b.t.Fatal(err)
	}
	b.answered(kind, payload, answer)
}

func (b *bench) answered(kind byte, payload []byte, answer any) {
	b.t.Helper()
	text, err := b.Answer(kind, payload, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) frame(kind byte, v any) {
	b.t.Helper()
	payload, ok := v.([]byte)
	if items, is := v.(Items); is {
		kind, payload = items.frame()
	} else if !ok {
		var err error
		if payload, err = json.Marshal(v); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := b.Frame(kind, payload, nil); err != nil {
		b.t.Fatal(err)
	}
}

const (
	hostsGUID = "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"
	appsGUID  = "{C51B48D4-7876-479E-B0D9-BD9EFF03CE2E}"
	ownGUID   = "{11111111-AAAA-4708-BE78-0FCA2EB01A86}"
	alertGUID = "{B5F1DECB-51D5-4395-B71B-6FA730B772D9}"
)

var someGroups = Groups{
	Counter: []Group{{Title: "Hosts", GUID: hostsGUID}, {Title: "Apps", GUID: appsGUID}},
	Alert:   []Group{{Title: "User Alerts", GUID: alertGUID}},
}

// start binds one cg_monitor to Hosts, with so many meters.
func (b *bench) start(meters int) Started {
	b.t.Helper()
	return b.bindOne(Instance{Index: 1, Type: TypeCGMonitor, Context: 7, GUID: hostsGUID, Title: "Hosts", Meters: meters})
}

func (b *bench) bindOne(i Instance) Started {
	b.t.Helper()
	var bound Bound
	b.ask(KindBind, Bind{Groups: someGroups, Instances: []Instance{i}}, &bound)
	if len(bound.Instances) != 1 {
		b.t.Fatalf("%d instances", len(bound.Instances))
	}
	return bound.Instances[0]
}

func rows(values ...any) []countergroup.Row {
	var rows []countergroup.Row
	for _, v := range values {
		switch v := v.(type) {
		case string:
			rows = append(rows, countergroup.Row{Key: v})
		case int:
			r := &rows[len(rows)-1]
			r.Values = append(r.Values, float64(v))
		case float64:
			r := &rows[len(rows)-1]
			r.Values = append(r.Values, v)
		case bool:
			rows[len(rows)-1].New = v
		}
	}
	return rows
}

// window asks for votes on a window at 60, as "key" or "-key", and overrides "row.meter=value".
func (b *bench) window(mode Mode, rows []countergroup.Row) string {
	b.t.Helper()
	meters := 0
	if len(rows) > 0 {
		meters = len(rows[0].Values)
	}
	payload := AppendWindow(nil, 1, mode, First|Last, 60, meters, rows)
	answer, err := b.Answer(KindWindow, payload, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	v, err := DecodeVotes(answer, len(rows), meters)
	if err != nil {
		b.t.Fatal(err)
	}
	var words []string
	for i, r := range rows {
		if v.Pass(i) {
			words = append(words, r.Key)
		} else {
			words = append(words, "-"+r.Key)
		}
	}
	for _, o := range v.Overrides {
		words = append(words, fmt.Sprintf("%d.%d=%v", o.Row, o.Meter, o.Value))
	}
	return strings.Join(words, " ")
}

// said are the lines that the script printed.
func (b *bench) said() []string {
	var lines []string
	for _, line := range b.logs {
		if text, ok := strings.CutPrefix(line, "info [test.lua] Hosts: "); ok {
			lines = append(lines, text)
		} else if text, ok := strings.CutPrefix(line, "info [test.lua] "); ok {
			lines = append(lines, text)
		}
	}
	b.logs = nil
	return lines
}

func (b *bench) wantSaid(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.said()); diff != "" {
		b.t.Errorf("the script said (-want +got):\n%s", diff)
	}
}

// wantErrors compares the errors that were shown with parts of them.
func (b *bench) wantErrors(parts ...string) {
	b.t.Helper()
	got := b.errors
	b.errors = nil
	bad := len(got) != len(parts)
	for i := range min(len(got), len(parts)) {
		bad = bad || !strings.Contains(got[i], parts[i])
	}
	if bad {
		b.t.Errorf("errors %q, want %q", got, parts)
	}
}

const everyCallback = `
local function join(m) local t = {} for i = 1, #m do t[i] = tostring(m[i]) end return "{" .. table.concat(t, ",") .. "}" end
TrisulPlugin = {
  id = { name = "all" },
  onload = function() print("plugin onload", T.monitor_group_name, T.monitor_group_guid) end,
  onunload = function() print("plugin onunload", T.monitor_group_name) end,
  cg_monitor = {
    counter_guid = "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}",
    onload = function() print("onload") end,
    onunload = function() print("onunload") end,
    onbeginflush = function(engine, ts) print("onbeginflush", engine:id(), ts) end,
    onflushfilter = function(engine, ts, key, m) print("onflushfilter", ts, key, join(m)) return key ~= "b" end,
    onflush = function(engine, ts, key, m) print("onflush", ts, key, join(m), m[0]) end,
    onendflush = function(engine, ts) print("onendflush", engine:timestamp(), ts) end,
    onbegintopperflush = function(engine, ts, meter) print("onbegintopperflush", ts, meter) return true end,
    ontopperflushfilter = function(engine, key, metric) print("ontopperflushfilter", key, metric) return key ~= "b" end,
    ontopperflush = function(engine, key, metric) print("ontopperflush", key, metric) end,
    onendtopperflush = function(engine, meter) print("onendtopperflush", meter) end,
    onupdate = function(engine, ts, key, m) print("onupdate", ts, key, join(m)) end,
    onnewkey = function(engine, ts, key, x) print("onnewkey", ts, key, x) end,
    onmetronome = function(engine, ts, count, interval) print("onmetronome", ts, count, interval) end,
  },
}`

// Every row of the table in section 2.1: arguments and order.
func TestEveryCallback(t *testing.T) {
	b := mustLoad(t, everyCallback)
	started := b.start(2)
	if !started.Running || !slices.Contains(started.Callbacks, "onflushfilter") || len(started.Callbacks) != 15 {
		t.Errorf("%+v", started)
	}
	b.wantSaid("plugin onload\tHosts\t"+hostsGUID, "onload")
	b.frame(KindSecond, AppendSecond(nil, 1, 6, 2, rows("a", 6000, 3, true, "b", 0.5, 0)))
	b.wantSaid("onnewkey\t6\ta\tnil", "onupdate\t6\ta\t{6000,3}", "onupdate\t6\tb\t{0.5,0}")
	b.frame(KindSecond, AppendSecond(nil, 1, 7, 0, rows("c", true)))
	b.wantSaid("onnewkey\t7\tc\tnil")
	b.frame(KindTick, Tick{Time: 7})
	b.frame(KindTick, Tick{Time: 8})
	b.wantSaid("onmetronome\t7\t1\t1", "onmetronome\t8\t2\t1")

	ab := rows("a", 200, 3, "b", 10, 0)
	if got := b.window(ModeDecide, ab); got != "a -b" {
		t.Errorf("votes %s", got)
	}
	b.wantSaid("onbeginflush\t0\t60", "onflushfilter\t60\ta\t{200,3}", "onflush\t60\ta\t{200,3}\tnil", "onflushfilter\t60\tb\t{10,0}", "onendflush\t60\t60")
	if got := b.window(ModeVote, ab); got != "a -b" {
		t.Errorf("votes %s", got)
	}
	b.wantSaid("onbeginflush\t0\t60", "onflushfilter\t60\ta\t{200,3}", "onflushfilter\t60\tb\t{10,0}")
	b.frame(KindWindow, AppendWindow(nil, 1, ModeFlush, First|Last, 60, 2, ab[:1]))
	b.wantSaid("onflush\t60\ta\t{200,3}\tnil", "onendflush\t60\t60")
	b.frame(KindWindow, AppendWindow(nil, 1, ModeObserve, First, 60, 2, ab[:1]))
	b.frame(KindWindow, AppendWindow(nil, 1, ModeObserve, Last, 60, 2, ab[1:]))
	b.wantSaid("onbeginflush\t0\t60", "onflush\t60\ta\t{200,3}\tnil", "onflush\t60\tb\t{10,0}\tnil", "onendflush\t60\t60")
	b.frame(KindWindow, AppendWindow(nil, 1, ModeObserve, First|Last, 120, 2, nil)) // without a key
	b.wantSaid("onbeginflush\t0\t120", "onendflush\t120\t120")

	items := []countergroup.Item{{Key: "a", Value: 12.5}, {Key: "b", Value: 3}}
	toppers := func(mode Mode, items []countergroup.Item) Votes {
		t.Helper()
		answer, err := b.Answer(KindToppers, AppendToppers(nil, 1, mode, First|Last, 300, 4, items), nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := DecodeVotes(answer, len(items), 1)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := toppers(ModeDecide, items); !v.Enabled || !v.Pass(0) || v.Pass(1) {
		t.Errorf("%+v", v)
	}
	b.wantSaid("onbegintopperflush\t300\t4", "ontopperflushfilter\ta\t12.5", "ontopperflush\ta\t12.5", "ontopperflushfilter\tb\t3", "onendtopperflush\t4")
	toppers(ModeVote, items)
	b.wantSaid("onbegintopperflush\t300\t4", "ontopperflushfilter\ta\t12.5", "ontopperflushfilter\tb\t3")
	toppers(ModeFlush, items[:1])
	b.wantSaid("ontopperflush\ta\t12.5", "onendtopperflush\t4")
	toppers(ModeFlush, nil)
	b.wantSaid("onendtopperflush\t4")

	var bound Bound
	b.ask(KindBind, Bind{}, &bound)
	b.wantSaid("onunload", "plugin onunload\tHosts")
	b.wantErrors()
	if len(bound.Instances) != 0 {
		t.Errorf("%+v", bound)
	}
}

// The table of section 2.4 for one script: several are the daemon's to count.
func TestVotesAndOverrides(t *testing.T) {
	f := func(filter, want string, errors ...string) {
		t.Helper()
		b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
			onflushfilter = function(engine, ts, key, m) `+filter+` end,
			onflush = function(engine, ts, key, m) print(key, unpack(m)) end } }`)
		b.start(3)
		got := b.window(ModeDecide, rows("a", 1, 2, 3, "b", 4, 5, 6))
		if got = got + " | " + strings.Join(b.said(), ", "); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", filter, got, want)
		}
		b.wantErrors(errors...)
	}
	f("return true", "a b | a\t1\t2\t3, b\t4\t5\t6")
	f("return false", "-a -b | ")
	f("return key == 'a'", "a -b | a\t1\t2\t3")
	f("return", "a b | a\t1\t2\t3, b\t4\t5\t6", "onflushfilter: it returned nothing, not true or false")
	f("return 1", "a b | a\t1\t2\t3, b\t4\t5\t6", "onflushfilter: it returned a number")
	f("error('boom')", "a b | a\t1\t2\t3, b\t4\t5\t6", "test.lua:2: [test.lua] Hosts: onflushfilter: boom (2 times)")
	f("return true, {-1, 7, 0.25}", "a b 0.1=7 0.2=0.25 1.1=7 1.2=0.25 | a\t1\t7\t0.25, b\t4\t7\t0.25")
	f("return true, {[2] = 7}", "a b 0.1=7 1.1=7 | a\t1\t7\t3, b\t4\t7\t6")
	f("return true, {0}", "a b 0.0=0 1.0=0 | a\t0\t2\t3, b\t0\t5\t6")
	f("return false, {9}", "-a -b | ")
	f("return nil, {9}", "a b | a\t1\t2\t3, b\t4\t5\t6", "returned nothing")
	f("return true, {-2, 0/0, 1/0}", "a b | a\t1\t2\t3, b\t4\t5\t6", "onflushfilter: a value for meter 0 is neither a number from 0 on nor -1; it is ignored", "meter 1", "meter 2")
	f("return true, {'x', '5'}", "a b | a\t1\t2\t3, b\t4\t5\t6", "meter 0", "meter 1")
	f("return true, {-1, -1, -1, 5}", "a b | a\t1\t2\t3, b\t4\t5\t6", "a value for meter 3, and the group has 3 meters")
	f("return true, 5", "a b | a\t1\t2\t3, b\t4\t5\t6", "a number, not an array")
	f("m[1] = 99 return true", "a b | a\t1\t2\t3, b\t4\t5\t6") // it gets a copy
}

func TestTopperVotes(t *testing.T) {
	f := func(callbacks, want string, errors ...string) {
		t.Helper()
		b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
			ontopperflush = function(engine, key, m) print(key) end,
			onendtopperflush = function(engine, meter) print("end", meter) end, `+callbacks+` } }`)
		b.start(3)
		items := []countergroup.Item{{Key: "a", Value: 2}, {Key: "b", Value: 1}}
		answer, err := b.Answer(KindToppers, AppendToppers(nil, 1, ModeDecide, First|Last, 300, 2, items), nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := DecodeVotes(answer, 2, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%v %v %v | %s", v.Enabled, v.Pass(0), v.Pass(1), strings.Join(b.said(), ", "))
		if got != want {
			t.Errorf("%s\ngot  %q\nwant %q", callbacks, got, want)
		}
		b.wantErrors(errors...)
	}
	f("", "true true true | a, b, end\t2")
	f("onbegintopperflush = function(e, ts, meter) return meter == 2 end", "true true true | a, b, end\t2")
	f("onbegintopperflush = function(e, ts, meter) return meter == 0 end", "false true true | end\t2")
	f("onbegintopperflush = function() end", "true true true | a, b, end\t2", "onbegintopperflush: it returned nothing")
	f("onbegintopperflush = function() error('x') end", "true true true | a, b, end\t2", "onbegintopperflush: x")
	f("ontopperflushfilter = function(e, key) return key == 'a' end", "true true false | a, end\t2")
	f("ontopperflushfilter = function() return true, {7} end", "true true true | a, b, end\t2")
	f("ontopperflushfilter = function() end", "true true true | a, b, end\t2", "ontopperflushfilter: it returned nothing")
	f("onbegintopperflush = function() return false end, ontopperflushfilter = function(e, key) print('f', key) return false end",
		"false false false | f\ta, f\tb, end\t2")
}

// Onload (2.2, 6).
func TestOnload(t *testing.T) {
	f := func(plugin, block string, running bool, reason string) {
		t.Helper()
		b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, onload = function() `+plugin+` end,
			cg_monitor = { counter_guid = "`+hostsGUID+`", onload = function() `+block+` end, onflush = function(e, ts, key) print(key) end } }`)
		s := b.start(1)
		if s.Running != running || !strings.Contains(s.Reason, reason) || (reason == "") != (s.Reason == "") {
			t.Errorf("onload %q, %q: %+v", plugin, block, s)
		}
		if got := b.window(ModeDecide, rows("a", 1)); got != "a" {
			t.Errorf("votes %s", got)
		}
		if said := b.said(); running != slices.Contains(said, "a") {
			t.Errorf("onload %q, %q: onflush said %q", plugin, block, said)
		}
	}
	f("", "", true, "")
	f("return nil", "return 0", true, "")
	f("return true", "return 'false'", true, "")
	f("return false", "", false, "onload returned false")
	f("", "return false", false, "onload returned false")
	f("error('no feed')", "", false, "test.lua:1: onload: no feed")
	f("", "local x = nil + 1", false, "test.lua:2: onload: attempt to perform arithmetic")
	f("print(T.monitor_group_name .. T.monitor_group_guid .. T.contextid)", "", true, "")
}

func TestErrorsOfCallbacks(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
		onupdate = function(engine, key, ts) string.format("%d %d %d", 1, 2, ts) end,
		onflush = function(engine, ts, key) if key == "bad" then error({ message = "a table" }) end print(key) end } }`)
	b.start(1)
	b.frame(KindSecond, AppendSecond(nil, 1, 6, 1, rows("p-0050", 1, "x", 2)))
	b.wantErrors("test.lua:2: [test.lua] Hosts: onupdate: bad argument #4 to 'format' (number expected, got string) (2 times)")
	b.frame(KindSecond, AppendSecond(nil, 1, 7, 1, rows("p-0050", 1)))
	b.wantErrors() // not again in a minute
	b.window(ModeDecide, rows("a", 1, "bad", 1, "c", 1))
	b.wantSaid("a", "c")
	b.wantErrors("onflush: a table")
	b.clock = b.clock.Add(61 * time.Second)
	if err := b.Idle(nil); err != nil {
		t.Fatal(err)
	}
	b.wantErrors("onupdate: bad argument #4 to 'format' (number expected, got string)")
	if s := b.states[1]; s.Errors != 4 || s.Calls != 6 || !strings.Contains(s.LastError, "onflush: a table") {
		t.Errorf("%+v", s)
	}
}

func TestCallbackThatAlwaysFailsIsDisabled(t *testing.T) {
	b := mustLoad(t, `n = 0 TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
		onflushfilter = function() n = n + 1 error("no") end,
		onendflush = function() print(n) end } }`)
	b.start(1)
	var many []countergroup.Row
	for i := range 1200 {
		many = append(many, countergroup.Row{Key: fmt.Sprint(i), Values: []float64{1}})
	}
	b.window(ModeDecide, many)
	if !slices.Contains(b.logs, "error [test.lua] Hosts: callback onflushfilter has failed 1000 times in a row and is not called any more") {
		t.Errorf("log %q", b.logs)
	}
	b.wantSaid("1000")
	b.window(ModeDecide, many)
	b.wantSaid("1000")
	b.clock = b.clock.Add(time.Minute)
	_ = b.Idle(nil)
	if s := b.states[1]; !slices.Equal(s.Disabled, []string{"onflushfilter"}) {
		t.Errorf("%+v", s)
	}
}

func TestCallbackThatTakesTooLong(t *testing.T) {
	b := mustLoad(t, `
		function wait() while true do local f = function() end end end -- interpreted: compiled loops the supervisor ends
		TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
		onbeginflush = function(e, ts) if ts == 120 then wait() end end,
		onflushfilter = function(e, ts, key) if key == "f" then wait() end return key ~= "no" end,
		onflush = function(e, ts, key) if key == "b" then wait() end print(key) end } }`, func(s *Setup) { s.Call = 500 })
	b.start(1)
	if got := b.window(ModeDecide, rows("a", 1, "b", 1, "c", 1, "f", 1, "no", 1, "z", 1)); got != "a b c f -no z" {
		t.Errorf("votes %s", got)
	}
	b.wantSaid("a", "c", "f", "z")
	b.wantErrors("test.lua:2: [test.lua] Hosts: callback onflush exceeded 500ms", "test.lua:2: [test.lua] Hosts: callback onflushfilter exceeded 500ms")
	b.frame(KindWindow, AppendWindow(nil, 1, ModeObserve, First|Last, 120, 1, rows("a", 1)))
	b.wantSaid("a")
	b.wantErrors("callback onbeginflush exceeded 500ms")
}

// Lua's source is bytes (9): a file that is not UTF-8 runs as it is, and its texts are what keys are compared with.
func TestSourceIsBytes(t *testing.T) {
	b := mustLoad(t, "-- caf\xe9\nlocal mine = 'k\xff' TrisulPlugin = { id = { name = 'caf\xe9' }, cg_monitor = { counter_guid = '"+hostsGUID+"', onflushfilter = function(e, ts, key) return key == mine end } }")
	b.start(1)
	if got := b.window(ModeDecide, rows("k", 1, "k\xff", 1)); got != "-k k\xff" {
		t.Errorf("votes %q", got)
	}
	b.wantErrors()
}

// A window that takes many steps, in several parts, with more overrides than there is room for at first.
func TestLargeWindow(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
		onbeginflush = function() T.bad, T.flushed = 0, 0 end,
		onflushfilter = function(e, ts, key, m)
			if key ~= ("k"):rep(m[1] % 7 + 1) .. m[1] or m[2] ~= -m[1] then T.bad = T.bad + 1 end
			return m[1] % 3 ~= 0, { [2] = m[1] }
		end,
		onflush = function(e, ts, key, m) T.flushed = T.flushed + 1 if m[2] ~= m[1] then T.bad = T.bad + 1 end end,
		onendflush = function() print(T.bad, T.flushed) end } }`)
	b.start(2)
	const count = 3 * MaxRows / 2
	var all []countergroup.Row
	for i := range count {
		all = append(all, countergroup.Row{Key: strings.Repeat("k", i%7+1) + fmt.Sprint(i), Values: []float64{float64(i), float64(-i)}})
	}
	at := 0
	for _, part := range []Part{First, Last} {
		some := all[at:min(at+MaxRows, count)]
		answer, err := b.Answer(KindWindow, AppendWindow(nil, 1, ModeDecide, part, 60, 2, some), nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := DecodeVotes(answer, len(some), 2)
		if err != nil {
			t.Fatal(err)
		}
		next := 0
		for i := range some {
			pass := (at+i)%3 != 0
			if v.Pass(i) != pass {
				t.Fatalf("row %d: %v", at+i, v.Pass(i))
			}
			if !pass {
				continue
			}
			if o := v.Overrides[next]; o.Row != i || o.Meter != 1 || o.Value != float64(at+i) {
				t.Fatalf("row %d: %+v", at+i, o)
			}
			next++
		}
		at += len(some)
	}
	b.wantErrors()
	b.wantSaid(fmt.Sprintf("0\t%d", count-(count+2)/3))
}

func TestMemoryLimit(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
		onflush = function(e, ts, key) T.all = {} for i = 1, 1e9 do T.all[i] = ("x"):rep(1000) .. i end end } }`, func(s *Setup) { s.Memory = 16 << 20 })
	b.start(1)
	if got := b.window(ModeDecide, rows("a", 1, "b", 1)); got != "a b" {
		t.Errorf("votes %s", got)
	}
	b.clock = b.clock.Add(time.Minute)
	_ = b.Idle(nil)
	if s := b.states[1]; !strings.Contains(s.Reason, "memory") {
		t.Errorf("%+v", s)
	}
	b.wantErrors("onflush: not enough memory")
}

// Section 9: what makes a file unusable before it is a plugin.
func TestFilesThatDoNotLoad(t *testing.T) {
	f := func(source, want string) {
		t.Helper()
		_, err := newBench(t, source)
		var e *script.Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), want) || e.File == "" {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
	f("TrisulPlugin = {\n id = = 1 }", "test.lua:2: cannot load the script: unexpected symbol near '='")
	f("TrisulPlugin = { x = T.K.nothing.at }", "test.lua:1: cannot load the script: attempt to index field 'nothing'")
	f("\nlocal x = require 'nowhere'\nTrisulPlugin = {}", "test.lua:2: cannot load the script: module 'nowhere' not found:")
	f("local ffi = require 'ffi' TrisulPlugin = {}", "module 'ffi' not available in weir (script needs LuaJIT FFI)")
	f("require 'lsqlite3' TrisulPlugin = {}", "module 'lsqlite3' not available in weir")
	f("require 'tris_leveldb' TrisulPlugin = {}", "module 'tris_leveldb' not available in weir (script needs LuaJIT FFI)")
	f("os.exit(3) TrisulPlugin = {}", "os.exit is not available")
	if _, err := newBench(t, "x = 1", func(s *Setup) { s.Path += ".none" }); err == nil || !strings.Contains(err.Error(), ".none") {
		t.Errorf("a file that is not there: %v", err)
	}

	module := func(source string) {
		t.Helper()
		b := mustLoad(t, source)
		var p Probe
		b.ask(KindProbe, Groups{}, &p)
		if p.Plugin || len(p.Blocks) > 0 {
			t.Errorf("%s: %+v", source, p)
		}
	}
	module("return { helper = function() end }")
	module("print(arg[0])") // a tool: it raises
	module("this is not lua")
}
