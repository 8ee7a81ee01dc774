package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/flow"
)

const flowScript = `TrisulPlugin = { id = { name = "flows" }, sg_monitor = {
  onnewflow = function(e, f) say("new", f:key(), f:az_bytes()) f:add_tag("seen") e:add_flow_attribute(f:key(), "os", "linux") end,
  onupdate = function(e, f) say("update", f:az_bytes(), f:za_bytes(), f:tags(), f:attributes().os) end,
  onterminate = function(e, f) say("terminate", f:flow():porta_readable(), f:state()) end,
  onbeginflush = function(e, ts) say("begin", ts) end,
  flushfilter = function(e, f) say("filter", f:az_bytes(), f:za_bytes(), f:tags()) return FILTER end,
  onflush = function(e, f) say("flush", f:key(), f:time_window()) end,
  onendflush = function(e) say("end") end,
} }`

// TestFlowMonitor: section 5.5, for a flow that ends and for one that goes on.
func TestFlowMonitor(t *testing.T) {
	r := newRig(t, nil, "flows.lua", "local FILTER = true\n"+flowScript)
	r.count(true, 100, 0x02)
	r.tick(1)
	r.want("a new flow within a second", "new "+flowKey+" 100")
	r.count(true, 10, 0x10)
	r.count(false, 7, 0x10)
	r.tick(1)
	r.want("one update per second, with the tag", "update 110 7 seen linux")
	r.count(true, 1, 0x11)
	r.tick(1)
	r.want("the end", "update 111 7 seen linux", fmt.Sprintf("terminate 50000 %d", flow.StateSYN|flow.StateFIN|flow.StateTerminated))
	r.count(false, 3, 0x11)
	r.tick(1)
	r.want("a record behind the end", "update 111 10 seen linux")
	r.tick(56)
	r.want("the next window", fmt.Sprint("begin ", begin+60), "filter 111 10 seen", fmt.Sprintf("flush %s %d %d", flowKey, begin, begin+3), "end")
	r.tick(60)
	r.want("a window without flows", fmt.Sprint("begin ", begin+120), "end")

	for range 7 { // a flow that goes on for six windows
		r.count(true, 1, 0x02)
		r.tick(60)
	}
	var filtered []string
	for _, line := range r.seen() {
		if len(line) > 6 && line[:6] == "filter" {
			filtered = append(filtered, line)
		}
	}
	if diff := cmp.Diff([]string{"filter 5 0 seen"}, filtered); diff != "" { // begun at 120, flushed at 420, before what came then
		t.Errorf("a long flow (-want +got)\n%s", diff)
	}
	if a := r.accounts("monitor.flows", 0); a.Received == 0 {
		t.Error("no flows are accounted for")
	}
}

// TestFlowVotes: a flow passes unless every monitor votes no, and nobody is shown what does not pass.
func TestFlowVotes(t *testing.T) {
	f := func(name string, a, b string, want ...string) {
		t.Helper()
		script := func(name, filter string) string {
			if filter != "" {
				filter = "flushfilter = function(e, f) say('" + name + " filter') return " + filter + " end,"
			}
			return "TrisulPlugin = { id = { name = 'x' }, sg_monitor = { " + filter + " onflush = function(e, f) say('" + name + " flush') end, onendflush = function() say('" + name + " end') end } }"
		}
		r := newRig(t, nil, "a.lua", script("a", a), "b.lua", script("b", b))
		r.count(true, 1, 0x01)
		r.tick(60)
		r.wantOf(name, []string{"a", "b"}, want...)
	}
	f("both no", "false", "false", "a filter", "a end", "b filter", "b end")
	f("one yes", "false", "true", "a filter", "a flush", "a end", "b filter", "b flush", "b end")
	f("one has none", "false", "", "a filter", "a flush", "a end", "b flush", "b end")
}

// TestMessageMonitor: each record of an exporter, and what it posts counts in the second of the record.
func TestMessageMonitor(t *testing.T) {
	r := newRig(t, nil, "records.lua", `TrisulPlugin = { id = { name = "records" }, messagemonitor = {
  onnewflowrecord = function(e, id, baz, bza, paz, pza)
    say(id:key(), id:netflow_router_readable(), id:netflow_ifindex_in_readable(), baz, bza, paz, pza)
    e:update_counter("`+ownGroup+`", id:ipa(), 0, baz + bza)
    if baz == 100 then
      e:new_flow_record(id:key(), 1, 2, 3, 4)
      e:add_flow_counter(id:key(), "`+ownGroup+`", "in", 0, 2)
      e:update_flow(id:key(), 0, 1000)
      e:update_flow(id:key(), 9, 1000)
      e:set_flow_duration(id:key(), 30)
      e:add_flow_counter("06A:0A.00.00.09:p-C350_08.08.08.08:p-01BB", "`+ownGroup+`", "in", 0, 2)
    elseif bza == 7 then e:reset_flow_counter(id:key(), "`+ownGroup+`") end
  end } }`, "show.lua", `TrisulPlugin = { id = { name = "show" }, sg_monitor = { onupdate = function(e, f) say("flow", f:az_bytes(), f:za_bytes()) end, onflush = function(e, f) say("window", f:time_window()) end } }`)
	r.count(true, 100, 0x02)
	r.tick(1)
	r.want("a record, and one of a script", flowKey+" 10.0.0.1 3 100 0 1 0", flowKey+" 10.0.0.1 3 1 2 3 4")
	r.count(false, 7, 0x10)
	r.tick(1)
	r.count(false, 5, 0x11)
	r.tick(58)
	r.want("the way back", flowKey+" 10.0.0.1 3 0 7 0 1", "flow 1100 7", flowKey+" 10.0.0.1 3 0 5 0 1", "flow 1100 12", fmt.Sprintf("window %d %d", begin-30, begin+2))
	if diff := cmp.Diff([]string{fmt.Sprintf("%d Own 0A.00.00.05 [115]", begin+60), fmt.Sprintf("%d Own in [7]", begin+60)}, ofGroupLines(r.out.lines, "Own")); diff != "" {
		t.Errorf("what it counted (-want +got)\n%s", diff)
	}
	r.says(1, "a script updates a meter that flows do not have")
	r.accounts("monitor.effects", 2)
}

func ofGroupLines(lines []string, title string) (some []string) {
	for _, line := range lines {
		var at int64
		var of string
		if _, err := fmt.Sscan(line, &at, &of); err == nil && of == title {
			some = append(some, line)
		}
	}
	return some
}

// TestTrackerBuckets: the highest ranks of a bucket, and those of the running one at the end.
func TestTrackerBuckets(t *testing.T) {
	r := newRig(t, nil, "tracker.lua", `TrisulPlugin = { id = { name = "tracker" }, flowtracker = {
  control = { name = "Big", description = "large flows", bucketsize = 90, count = 2 },
  getmetric = function(e, f) local b = f:az_bytes() if b < 10 then return nil end if b == 66 then return 0/0 end return b end } }`)
	send := func(port uint16, n uint64) {
		one := flow.Record{Time: r.now * 1e9, Source: address("10.0.0.5"), Destination: address("8.8.8.8"), SourcePort: port, DestinationPort: 443, Protocol: 6, Flags: 1, Bytes: n, Packets: 1}
		r.meter.Count([]flow.Record{one}, false)
	}
	send(0xC351, 50)
	send(0xC352, 9)
	send(0xC353, 66)
	send(0xC354, 70)
	r.tick(60)
	if len(r.toppers) > 0 {
		t.Errorf("before the bucket ends: %q", r.toppers)
	}
	send(0xC355, 60)
	r.tick(60)
	send(0xC356, 80)
	r.tick(60)
	if err := os.Remove(filepath.Join(r.dir, "tracker.lua")); err != nil {
		t.Fatal(err)
	}
	r.monitors.Reload(r.monitors.cfg.Entries)
	soon(t, "the script is gone", func() bool { return len(r.monitors.Status()) == 0 })
	r.tick(60)
	r.stop()
	want := func(bucket string, port string, rank string) string {
		return "flowtracker Big " + bucket + " 06A:0A.00.00.05:p-" + port + "_08.08.08.08:p-01BB " + rank
	}
	if diff := cmp.Diff([]string{want("0-120", "C354", "70"), want("0-120", "C355", "60"), want("120-240", "C356", "80")}, r.toppers); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestTooManyFlows: what is more than there may be in a second is counted; without monitors of flows nothing is gathered.
func TestTooManyFlows(t *testing.T) {
	r := newRig(t, nil, "flows.lua", `TrisulPlugin = { id = { name = "flows" }, sg_monitor = { onnewflow = function(e, f) say("new") end, onflush = function() say("flush") end } }`)
	r.monitors.flows.limits = [3]int{1, 2, 3}
	send := func(port uint16) {
		r.meter.Count([]flow.Record{{Time: r.now * 1e9, Source: address("10.0.0.5"), Destination: address("8.8.8.8"), SourcePort: port, DestinationPort: 443, Protocol: 6, Flags: 1, Bytes: 1}}, true)
	}
	for port := range uint16(5) {
		send(50000 + port)
	}
	r.tick(60)
	r.want("within the limits", "new", "new", "flush", "flush", "flush")
	// Three flows without room in their second, each begun and ended, and two in the window.
	if a := r.accounts("monitor.flows", 8); a.Received != 13 {
		t.Errorf("%+v", a)
	}
	none := newRig(t, nil, "plain.lua", `TrisulPlugin = { id = { name = "plain" } }`)
	none.count(true, 1, 0)
	none.tick(60)
	if a := none.accounts("monitor.flows", 0); a.Received != 0 {
		t.Errorf("flows are gathered for nobody: %+v", a)
	}
}
