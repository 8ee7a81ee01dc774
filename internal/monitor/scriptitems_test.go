package monitor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someFlow = "06A:C0.A8.01.02:p-0B94_D1.D8.F9.3A:p-0016"

// Section 5.4.
func TestAlertMonitor(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, alert_monitor = { alert_guid = "`+alertGUID+`",
		onnewalert = function(engine, a)
			print(a:timestamp())
			print(a:source_ip(), a:source_port(), a:destination_ip(), a:destination_port(), a:flow():id())
			print(a:sigid(), a:classification(), a:message(), a:extra_message(), a:status(), a:priority(), a:ack_flag())
			a:set_priority(3) a:set_message("new " .. a:message()) print(a:message(), a:priority())
		end,
		onbeginflush = function(engine, ts) print("begin", ts) end,
		flushfilter = function(engine, a) a:set_extra_message("seen") if a:sigid() == "odd" then return end return a:sigid() ~= "no" end,
		onflush = function(engine, a) print("flush", a:sigid(), a:flow(), a:source_ip()) end,
		onendflush = function(engine, ts) print("end", ts) end, onmetronome = function(e, ts, n, i) print(ts, n, i) end } }`)
	b.bindOne(Instance{Index: 1, Type: TypeAlertMonitor, GUID: alertGUID, Title: "User Alerts"})
	var v ItemVotes
	b.ask(KindItems, Items{Instance: 1, Event: EventNew, Time: 5, Alerts: []Alert{{Time: 5.25, Flow: someFlow, SigID: "s", Priority: 1, Message: "m", Status: "ALARM"}}}, &v)
	lines := b.logs
	b.logs = nil
	for i, line := range lines {
		lines[i] = line[len("info [test.lua] User Alerts: "):]
	}
	want := []string{"5\t250000", "192.168.1.2\t2964\t209.216.249.58\t22\t" + someFlow, "s\t\tm\t\tALARM\t1\t0", "new m\t3"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	priority, message := 3, "new m"
	if diff := cmp.Diff(ItemVotes{Changed: []Change{{Priority: &priority, Message: &message}}}, v); diff != "" {
		t.Error(diff)
	}
	v = ItemVotes{}
	b.ask(KindItems, Items{Instance: 1, Event: EventDecide, Time: 60, Begin: true, End: true, Alerts: []Alert{{SigID: "yes"}, {SigID: "no"}, {SigID: "odd", Flow: "06A:junk_p-0000:x"}}}, &v)
	if diff := cmp.Diff([]bool{true, false, true}, v.Pass); diff != "" || len(v.Changed) != 3 || *v.Changed[1].ExtraMessage != "seen" {
		t.Errorf("%+v %s", v, diff)
	}
	b.wantErrors("flushfilter: it returned nothing, not true or false")
	lines = b.logs
	b.logs = nil
	for i, line := range lines {
		lines[i] = line[len("info [test.lua] User Alerts: "):]
	}
	if diff := cmp.Diff([]string{"begin\t60", "flush\tyes\tnil\t", "flush\todd\t06A:junk_p-0000:x\t", "end\t60"}, lines); diff != "" {
		t.Error(diff)
	}
	b.frame(KindTick, Tick{Time: 61})
	if len(b.logs) != 1 || b.logs[0] != "info [test.lua] User Alerts: 61\t1\t1" {
		t.Errorf("%q", b.logs)
	}
}

// Section 5.5.
func TestSGMonitor(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, sg_monitor = {
		onnewflow = function(engine, f) print("new", f:key(), f:flow():id(), f:time_window()) end,
		onupdate = function(engine, f) print("update", f:az_bytes(), f:za_bytes(), f:az_packets(), f:za_packets(), f:az_payload_bytes(), f:za_payload_bytes()) end,
		onterminate = function(engine, f) print("terminate", f:state(), f:setup_rtt(), f:retransmissions()) end,
		onbeginflush = function(engine, ts) print("begin", ts) end, onendflush = function() print("end") end,
		flushfilter = function(engine, f) return f:az_bytes() > 5 end,
		onflush = function(engine, f) f:add_tag("red") print("flush", f:az_bytes(), f:tags()) end } }`)
	b.bindOne(Instance{Index: 1, Type: TypeSGMonitor})
	flow := Flow{Key: someFlow, Start: 10, Last: 20, State: 0x7, BytesAZ: 1e10, BytesZA: 2, PacketsAZ: 3, PacketsZA: 4, PayloadAZ: 5, PayloadZA: 6, SetupRTT: 1500, Retransmissions: 2, Tags: "blue"}
	for _, event := range []string{EventNew, EventUpdate, EventTerminate} {
		b.frame(KindItems, Items{Instance: 1, Event: event, Flows: []Flow{flow}})
	}
	b.wantSaid("new\t"+someFlow+"\t"+someFlow+"\t10\t20", "update\t10000000000\t2\t3\t4\t5\t6", "terminate\t7\t1500\t2")
	var v ItemVotes
	b.ask(KindItems, Items{Instance: 1, Event: EventFilter, Time: 60, Begin: true, Flows: []Flow{flow, {Key: "x", BytesAZ: 1}}}, &v)
	if diff := cmp.Diff([]bool{true, false}, v.Pass); diff != "" {
		t.Error(diff)
	}
	b.frame(KindItems, Items{Instance: 1, Event: EventFlush, Time: 60, End: true, Flows: []Flow{flow}})
	b.wantSaid("begin\t60", "flush\t10000000000\tblue|red", "end")
	if len(b.effects) != 1 || b.effects[0].Op != OpTag || b.effects[0].Flow != someFlow || b.effects[0].Text != "red" {
		t.Errorf("%+v", b.effects)
	}
	b.wantErrors()
}

func TestFlowID(t *testing.T) {
	f := func(key, expressions, want string) {
		t.Helper()
		b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, sg_monitor = { onnewflow = function(engine, flow) local f = flow:flow() print(`+expressions+`) end } }`)
		b.bindOne(Instance{Index: 1, Type: TypeSGMonitor})
		b.frame(KindItems, Items{Instance: 1, Event: EventNew, Flows: []Flow{{Key: key}}})
		b.wantErrors()
		b.wantSaid(want)
	}
	f(someFlow, `f:protocol(), f:flow_type(), f:ipa(), f:porta(), f:ipz(), f:portz()`, "06\tA\tC0.A8.01.02\tp-0B94\tD1.D8.F9.3A\tp-0016")
	f(someFlow, `f:ipa_readable(), f:porta_readable(), f:ipz_readable(), f:portz_readable()`, "192.168.1.2\t2964\t209.216.249.58\t22")
	f(someFlow, `f:netflow_router() .. f:netflow_ifindex_in() .. f:netflow_ifindex_out_readable()`, "")
	f(someFlow, `f:to_s()`, "TCP    192.168.1.2      2964   209.216.249.58   22    ")
	const c = "11C:0A.00.00.05:p-C350_08.08.08.08:p-01BB_0A.00.00.01_00000003_0000000A"
	f(c, `f:protocol(), f:flow_type(), f:portz(), f:netflow_router(), f:netflow_ifindex_in(), f:netflow_ifindex_out()`, "11\tC\tp-01BB\t0A.00.00.01\t00000003\t0000000A")
	f(c, `f:netflow_router_readable(), f:netflow_ifindex_in_readable(), f:netflow_ifindex_out_readable()`, "10.0.0.1\t3\t10")
	const six = "06B:FD000000000000000000000000000001:p-1000_20010DB8000000000000000000000002:p-0050"
	f(six, `f:ipa_readable(), f:ipz_readable(), f:portz_readable()`, "fd00::1\t2001:db8::2\t80")
	f("01A:0A.00.00.01:icmp08_0A.00.00.02:icmp08", `f:porta(), f:porta_readable()`, "icmp08\ticmp08")
	f("nonsense", `f:id(), f:key(), f:ipa(), f:to_s()`, "nonsense\tnonsense\t\tnonsense")
}

// Section 5.5, flowtracker.
func TestFlowTracker(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, flowtracker = { control = { name = "big" },
		getmetric = function(engine, f) local n = f:az_bytes() if n == 1 then return nil elseif n == 2 then return 0/0 elseif n == 3 then error("x") elseif n == 4 then return "4" end return n * 2 end } }`)
	b.bindOne(Instance{Index: 1, Type: TypeFlowTracker})
	var v ItemVotes
	b.ask(KindItems, Items{Instance: 1, Event: EventFilter, Flows: []Flow{{BytesAZ: 10}, {BytesAZ: 1}, {BytesAZ: 2}, {BytesAZ: 3}, {BytesAZ: 4}}}, &v)
	if diff := cmp.Diff(ItemVotes{Ranks: []float64{20, 0, 0, 0, 4}}, v); diff != "" {
		t.Error(diff)
	}
	b.wantErrors("getmetric: x")
}

// Section 5.7.
func TestResourceMonitor(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, resource_monitor = { resource_guid = "`+ownGUID+`",
		onnewresource = function(engine, r) print(r:uri(), r:label(), r:source_ip(), r:destination_port(), r:timestamp()) r:set_uri("new") r:set_label(5) end,
		flushfilter = function(engine, r) return r:uri() == "yes" end, onflush = function(engine, r) print("flush", r:uri()) end } }`)
	b.bindOne(Instance{Index: 1, Type: TypeResourceMonitor, GUID: ownGUID})
	var v ItemVotes
	b.ask(KindItems, Items{Instance: 1, Event: EventNew, Resources: []Resource{{Time: 7, Flow: someFlow, URI: "u", Label: "l"}}}, &v)
	b.wantSaid("u\tl\t192.168.1.2\t22\t7\t0")
	if len(v.Changed) != 1 || *v.Changed[0].URI != "new" || *v.Changed[0].Label != "5" || v.Changed[0].Message != nil {
		t.Errorf("%+v", v)
	}
	v = ItemVotes{}
	b.ask(KindItems, Items{Instance: 1, Event: EventDecide, Resources: []Resource{{URI: "yes"}, {URI: "no"}}}, &v)
	if diff := cmp.Diff([]bool{true, false}, v.Pass); diff != "" {
		t.Error(diff)
	}
	b.wantSaid("flush\tyes")
}

// An instance that does not run says yes to everything.
func TestItemsOfAnInstanceThatDoesNotRun(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, onload = function() return false end, sg_monitor = { flushfilter = function() return false end } }`)
	b.bindOne(Instance{Index: 1, Type: TypeSGMonitor})
	var v ItemVotes
	b.ask(KindItems, Items{Instance: 1, Event: EventFilter, Begin: true, End: true, Flows: []Flow{{}, {}}}, &v)
	if diff := cmp.Diff([]bool{true, true}, v.Pass); diff != "" {
		t.Error(diff)
	}
}
