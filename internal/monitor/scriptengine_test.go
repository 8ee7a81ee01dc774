package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// inFlush runs statements in onflush of one instance.
func inFlush(t *testing.T, statements string, change ...func(*Setup)) *bench {
	t.Helper()
	b := mustLoad(t, `local D, U = "`+strings.ToLower(ownGUID)+`", "`+alertGUID+`"
TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`", onflush = function(engine, ts, key, m) `+statements+` end } }`, change...)
	b.start(2)
	b.window(ModeDecide, rows("C0.A8.03.64", 745513.0/60, 3))
	return b
}

// Sections 4.2 and 10.2.
func TestUpdateCounter(t *testing.T) {
	f := func(statements string, want []string, errors ...string) {
		t.Helper()
		b := inFlush(t, statements)
		if diff := cmp.Diff(want, b.updates); diff != "" {
			t.Errorf("%s: %s", statements, diff)
		}
		b.wantErrors(errors...)
	}
	u := func(text string) []string { return []string{ownGUID + " " + text} }
	f(`engine:update_counter(D, key, 0, 60 * m[1])`, u("C0.A8.03.64 0 745513"))
	f(`engine:update_counter_raw(D, "a\\b", "1", "2.5")`, u(`a\b 1 2.5`))
	f(`engine:update_counter(D, 443, 0, -1)`, u("443 0 -1"))
	f(`engine:update_counter(D, "a\0b", 0, 1)`, u("a\x00b 0 1"))
	f(`engine:update_counter(D, ("k"):rep(512), 0, 1)`, u(strings.Repeat("k", 512)+" 0 1"))
	f(`engine:update_counter(D, key, 0, 0/0) engine:update_counter(D, key, 0, 1/0) engine:update_counter(D, key, 0, -1/0)`, nil)
	f(`engine:update_counter(D, "SYS:GROUP_TOTALS", 0, 1)`, nil)
	f(`for i = 1, 3 do engine:update_counter("{x}", key, 0, 1) end engine:update_counter(D, "k", 0, 1)`, u("k 0 1"), "update_counter: malformed GUID '{x}'")
	f(`engine:update_counter(D, key, 1.5, 1) engine:update_counter(D, key, -1, 1)`, nil, "has no meter 1.5", "has no meter -1")
	f(`engine:update_counter(D, "", 0, 1)`, nil, "test.lua:2: [test.lua] Hosts: onflush: bad argument #2 to 'update_counter' (a key has 1 to 512 bytes, this one has 0)")
	f(`engine:update_counter(D, ("k"):rep(513), 0, 1)`, nil, "this one has 513")
	f(`engine:update_counter(D, nil, 0, 1)`, nil, "bad argument #2 to 'update_counter' (string expected, got nil)")
	f(`engine:update_counter(D, key, 0)`, nil, "bad argument #4 to 'update_counter' (number expected, got nil)")
	f(`engine:update_counter(D, key, 0, "x")`, nil, "number expected, got string")
	f(`engine:update_counter(D, key, {}, 1)`, nil, "bad argument #3 to 'update_counter' (number expected, got table)")
	f(`engine:update_counter(nil, key, 0, 1)`, nil, "bad argument #1 to 'update_counter' (string expected, got nil)")
	f(`engine.update_counter(D, key, 0, 1)`, nil, "call it with a colon, engine:update_counter(...)")
	f(`engine.id()`, nil, "call it with a colon, engine:id(...)")
	f(`engine:no_such()`, nil, "attempt to call method 'no_such' (a nil value)")
	f(`engine:get_counter(D)`, nil, "attempt to call method 'get_counter' (a nil value)")
}

func TestManyUpdatesAreInOrder(t *testing.T) {
	b := inFlush(t, `for i = 1, 60000 do engine:update_counter(i % 2 == 0 and D or "`+appsGUID+`", "key" .. i, 1, i) end`)
	if len(b.updates) != 60000 {
		t.Fatalf("%d updates", len(b.updates))
	}
	for i, got := range b.updates {
		guid := appsGUID
		if (i+1)%2 == 0 {
			guid = ownGUID
		}
		if want := fmt.Sprintf("%s key%d 1 %d", guid, i+1, i+1); got != want {
			t.Fatalf("update %d is %q, want %q", i, got, want)
		}
	}
}

// What a callback posts in other types of callbacks, and before it fails, counts.
func TestUpdatesFromEveryCallback(t *testing.T) {
	b := mustLoad(t, `local function post(engine, key) engine:update_counter("`+ownGUID+`", key, 0, 1) end
TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`",
	onload = function() print(T.monitor_group_name) end,
	onbeginflush = function(e) post(e, "begin") end, onflushfilter = function(e) post(e, "filter") return false end, onendflush = function(e) post(e, "end") error("x") end,
	onnewkey = function(e) post(e, "new") end, onmetronome = function(e) post(e, "tick") end, onunload = function() end } }`)
	b.start(1)
	b.frame(KindSecond, AppendSecond(nil, 1, 1, 0, rows("k", true)))
	b.frame(KindTick, Tick{Time: 1})
	b.window(ModeDecide, rows("k", 1))
	var keys []string
	for _, u := range b.updates {
		keys = append(keys, strings.Fields(u)[1])
	}
	if got := strings.Join(keys, " "); got != "new tick begin filter end" {
		t.Error(got)
	}
}

func TestEffects(t *testing.T) {
	f := func(statement string, want Effect) {
		t.Helper()
		b := inFlush(t, statement)
		b.wantErrors()
		want.Instance = 1
		if diff := cmp.Diff([]Effect{want}, b.effects, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", statement, diff)
		}
	}
	alert := func(a Alert) Effect { a.GUID = alertGUID; return Effect{Op: OpAlert, Alert: &a} }
	const flow = "06A:C0.A8.01.02:p-0B94_D1.D8.F9.3A:p-0016"
	f(`engine:update_key_info(D, key, "label")`, Effect{Op: OpLabel, GUID: ownGUID, Key: []byte("C0.A8.03.64"), Label: "label"})
	f(`engine:update_key_info(D, 7, 8, "desc")`, Effect{Op: OpLabel, GUID: ownGUID, Key: []byte("7"), Label: "8", Description: "desc"})
	f(`T.host:createkey(D, "k", "l")`, Effect{Op: OpLabel, GUID: ownGUID, Key: []byte("k"), Label: "l"})
	f(`engine:set_key_attribute(D, "k", "os", "linux")`, Effect{Op: OpAttribute, GUID: ownGUID, Key: []byte("k"), Name: "os", Value: "linux"})
	f(`engine:add_alert(U, nil, "STABLEKEYS", 1, "gone")`, alert(Alert{SigID: "STABLEKEYS", Priority: 1, Message: "gone", Status: "ALARM"}))
	f(`engine:add_alert(U, "`+flow+`", 4711, "2", "m")`, alert(Alert{Flow: flow, SigID: "4711", Priority: 2, Message: "m", Status: "ALARM"}))
	f(`engine:add_alert_full(U, nil, "k", "class", 3, "m")`, alert(Alert{SigID: "k", Classification: "class", Priority: 3, Message: "m", Status: "ALARM"}))
	f(`engine:add_alert_ids(U, nil, "k", "class", 3, "m", "CLEAR")`, alert(Alert{SigID: "k", Classification: "class", Priority: 3, Message: "m", Status: "CLEAR"}))
	f(`engine:add_alert_tca(U, 9, "FIRED", "too much")`, alert(Alert{SigID: "9", Priority: 1, Message: "too much", Status: "FIRED"}))
	f(`engine:add_resource(D, "`+flow+`", "uri", "contents")`, Effect{Op: OpResource, GUID: ownGUID, Flow: flow, Name: "uri", Text: "contents"})
	f(`engine:add_resource(D, nil, "uri")`, Effect{Op: OpResource, GUID: ownGUID, Name: "uri"})
	f(`engine:tag_flow("`+flow+`", "red")`, Effect{Op: OpTag, Flow: flow, Text: "red"})
	f(`engine:add_edge(D, "a", U, "b")`, Effect{Op: OpEdge, GUID: ownGUID, Key: []byte("a"), ToGUID: alertGUID, ToKey: []byte("b")})
	f(`engine:add_flow_edges("f", D, "k")`, Effect{Op: OpFlowEdges, Flow: "f", GUID: ownGUID, Key: []byte("k")})
	f(`engine:add_flow_attribute("f", "n", "v")`, Effect{Op: OpFlowAttribute, Flow: "f", Name: "n", Value: "v"})
	f(`engine:post_message_backend("hello")`, Effect{Op: OpMessage, Message: &Message{Text: []byte("hello"), From: 1}})
	f(`engine:post_message_frontend(D, "a\255")`, Effect{Op: OpMessage, Message: &Message{ID: ownGUID, Text: []byte("a\xff"), Frontend: true, From: 1}})
	f(`engine:set_key_attribute(D, "\255", "n", "v")`, Effect{Op: OpAttribute, GUID: ownGUID, Key: []byte("\xff"), Name: "n", Value: "v"})

	b := inFlush(t, `T.host:broadcast(D, "class", "m")`)
	if len(b.effects) != 2 || b.effects[0].Message.Frontend || !b.effects[1].Message.Frontend || b.effects[1].Message.ID != ownGUID {
		t.Errorf("%+v", b.effects)
	}
	b = inFlush(t, `engine:add_resource(D, nil, "u", ("x"):rep(32768))`)
	b.wantErrors("contents have at most 32767 bytes")
	inFlush(t, `print(engine:timestamp(), engine:instanceid(), type(engine:id()), engine:probeid())`).wantSaid("60\t0\tstring\tprobe0")
}

// Section 4.1: the other half's methods.
func TestAvailability(t *testing.T) {
	for _, method := range []string{"update_counter_bytes", "add_flow_counter", "reset_flow_counter", "update_flow", "update_flow_raw", "new_flow_record", "set_flow_duration", "disable_reassembly"} {
		inFlush(t, `engine:`+method+`()`).wantErrors("ERR_NOTAVAIL: " + method + "() is not available for backend scripts")
	}
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, messagemonitor = { onnewflowrecord = function(engine, flow, b1, b2, p1, p2)
		engine:new_flow_record(flow:id(), b1, b2, p1, p2) engine:update_flow("f", 2, 5) engine:set_flow_duration("f", 9) engine:add_flow_counter("f", "`+ownGUID+`", "k", 1, 2)
		engine:reset_flow_counter("f", "`+ownGUID+`") engine:disable_reassembly("f") print(T.enginetype, T.countergroups, flow:ipz_readable(), flow:netflow_router_readable())
	end } }`)
	b.bindOne(Instance{Index: 1, Type: TypeMessageMonitor})
	b.frame(KindItems, Items{Instance: 1, Event: EventNew, Flows: []Flow{{Key: "06C:0A.00.00.05:p-C350_08.08.08.08:p-01BB_0A.00.00.01_00000003_00000007", BytesAZ: 10, PacketsAZ: 1}}})
	b.wantErrors()
	b.wantSaid("frontend\tnil\t8.8.8.8\t10.0.0.1")
	var ops []string
	for _, e := range b.effects {
		ops = append(ops, e.Op)
	}
	if got := strings.Join(ops, " "); got != "flow_record flow_update flow_duration flow_counter reset_counter" || !cmp.Equal(b.effects[0].Numbers, []float64{10, 0, 1, 0}) {
		t.Errorf("%s %+v", got, b.effects)
	}
}

// Section 3.5.
func TestMessages(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, message_subscriptions = { "`+strings.ToLower(ownGUID)+`" },
		onmessage = function(id, text) print(T.contextid, id, text) end, engine_monitor = { onmetronome = function(e, ts, n) print(T.contextid, "tick", n) end } }`)
	var bound Bound
	b.ask(KindBind, Bind{Instances: []Instance{{Index: 1, Type: TypeEngineMonitor, Context: 11}, {Index: 2, Type: TypePlain, Context: 12}, {Index: 3, Type: TypeMessageMonitor, Context: 13}}}, &bound)
	b.frame(KindTick, Tick{Time: 5, Messages: []Message{
		{ID: ownGUID, Text: []byte("one"), From: -1}, {ID: alertGUID, Text: []byte("two"), From: -1}, {Text: []byte("three"), From: 2}, {Text: []byte("four"), From: -1, Frontend: true},
	}})
	b.wantSaid("11\t"+ownGUID+"\tone", "12\t"+ownGUID+"\tone", "11\tnil\tthree", "13\tnil\tfour", "11\ttick\t1")
	b.frame(KindTick, Tick{Time: 6, MessagesOnly: true})
	b.wantSaid()
}

// Section 5.3, and a file without a type.
func TestEngineMonitorAndPlain(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, onload = function() print("load", T.monitor_group_name, T.contextid) end, onunload = function() print("unload") end,
		engine_monitor = { onbeginflush = function(e, ts) print("begin", ts, e:timestamp()) end, onendflush = function(e, ts) print("end", ts) end } }`)
	var bound Bound
	b.ask(KindBind, Bind{Instances: []Instance{{Index: 4, Type: TypeEngineMonitor, Context: 1}, {Index: 9, Type: TypePlain, Context: 2}}}, &bound)
	b.wantSaid("load\tnil\t1", "load\tnil\t2")
	b.frame(KindFlush, Flush{Time: 60})
	b.frame(KindFlush, Flush{Time: 60, End: true})
	b.wantSaid("begin\t60\t60", "end\t60")
	b.ask(KindBind, Bind{Instances: []Instance{{Index: 9, Type: TypePlain, Context: 2}}}, &bound)
	b.wantSaid("unload")
	if len(bound.Instances) != 1 || bound.Instances[0].Index != 9 {
		t.Errorf("%+v", bound)
	}
}

// Two instances of one file share nothing (2.2, 9).
func TestInstancesAreIsolated(t *testing.T) {
	b := mustLoad(t, `count = 0 TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_match = "s",
		onflush = function() count = count + 1 T.n = (T.n or 0) + 1 string.n = (string.n or 0) + 1 print(T.monitor_group_name, count, T.n, string.n) end } }`)
	var bound Bound
	b.ask(KindBind, Bind{Instances: []Instance{
		{Index: 1, Type: TypeCGMonitor, GUID: hostsGUID, Title: "Hosts", Meters: 1}, {Index: 2, Type: TypeCGMonitor, GUID: appsGUID, Title: "Apps", Meters: 1}}}, &bound)
	b.frame(KindWindow, AppendWindow(nil, 1, ModeObserve, First|Last, 60, 1, rows("a", 1, "b", 1)))
	b.frame(KindWindow, AppendWindow(nil, 2, ModeObserve, First|Last, 60, 1, rows("a", 1)))
	got := strings.Join(b.logs, "\n")
	want := "info [test.lua] Hosts: Hosts\t1\t1\t1\ninfo [test.lua] Hosts: Hosts\t2\t2\t2\ninfo [test.lua] Apps: Apps\t1\t1\t1"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Section 3.9.
func TestAsync(t *testing.T) {
	dir := write(t, "a", "one\n", "b", "two\n")
	b := mustLoad(t, `local outer = "seen"
TrisulPlugin = { id = { name = "x" }, request_async_workers = 2, onload = function()
	local task = { onexecute = function(data) return data .. "!" .. tostring(outer) .. tostring(global) .. tostring(T.contextid) end,
		onresult = function(engine, data, result) print(data, result, engine:id()) end }
	global = "here"
	for i = 1, 3 do task.data = "d" .. i T.async:schedule(task) end
	T.async:schedule({ data = "x", onexecute = function(data) return nil end, onresult = function() print("never") end })
	T.async:schedule({ data = "x", onexecute = function(data) return nothing.at_all end })
	local dir = "`+dir+`/"
	T.async.cat(dir .. "a", dir .. "b") T.async:copy(dir .. "b", dir .. "c") T.async.rm(dir .. "a") T.async.copybuffer("TWO", dir .. "c", 0) T.async.rm(dir .. "none")
	print("pending", T.async:pending_items())
end }`)
	if s := b.bindOne(Instance{Index: 1, Type: TypePlain, Context: 5}); !s.Running {
		t.Fatalf("%+v", s)
	}
	b.wantSaid("pending\t10")
	i := b.instances[1]
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		i.async.mu.Lock()
		n := len(i.async.ended)
		i.async.mu.Unlock()
		if n == 10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 10 tasks have ended", n)
		}
	}
	b.frame(KindTick, Tick{Time: 1})
	got := map[string]bool{}
	for _, line := range b.said() {
		got[line] = true
	}
	want := map[string]bool{}
	for n := 1; n <= 3; n++ {
		want[fmt.Sprintf("d%d\td%d!nilnil5\t0", n, n)] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	all := strings.Join(b.errors, "\n")
	if len(b.errors) != 2 || !strings.Contains(all, "attempt to index global 'nothing'") || !strings.Contains(all, "T.async: rm: remove "+dir+"/none") {
		t.Errorf("errors %q", b.errors)
	}
	text, err := os.ReadFile(filepath.Join(dir, "c"))
	if err != nil || string(text) != "TWO\none\n" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("the file is not removed")
	}
}
