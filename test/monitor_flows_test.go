package test

import (
	network "encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReplayDerivedGroup: in a replay, what a script posts in the flush of a window counts in the next one, and the last windows are followed by one more,
// each time the same.
func TestReplayDerivedGroup(t *testing.T) {
	const derived, at = "{DE71BED0-0000-4000-8000-000000000002}", 1_700_000_040 // the beginning of a window
	dir := t.TempDir()
	scripts := filepath.Join(dir, "scripts")
	if err := os.Mkdir(scripts, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"record.lua": recorder,
		"derive.lua": `local say = require("record")("replay")
TrisulPlugin = { id = { name = "derive" },
  countergroup = { control = { guid = "` + derived + `", name = "Derived", bucketsize = 60 }, meters = { { 0, T.K.vartype.RATE_COUNTER, 10, "volume", "what came", "bytes" } } },
  cg_monitor = { counter_guid = "{889900CC-0063-11A5-8380-FEBDBABBDBEA}", onflush = function(engine, ts, key, m)
    say("source", ts, key, string.format("%.4f", m[1]))
    engine:update_counter("` + derived + `", key, 0, 60 * m[1])
  end } }`,
		"watch.lua": `local say = require("record")("replay")
TrisulPlugin = { id = { name = "watch" }, cg_monitor = { counter_guid = "` + derived + `", onflush = function(engine, ts, key, m) say("derived", ts, key, string.format("%.4f", m[1])) end } }`,
	} {
		writeFile(t, scripts, name, text)
	}
	writeFile(t, dir, "weir.yaml", fmt.Sprintf("monitors: [{path: scripts, env: {\"Test>Dir\": %q}}]\n", scripts))

	// Two packets of a host, in two windows, whose lengths on the wire are given.
	le := network.LittleEndian
	pcap := append(le.AppendUint32(nil, 0xa1b2c3d4), 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i, length := range []uint32{745513, 6000} {
		b := append(make([]byte, 12), 8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 168, 3, 100, 192, 0, 2, 9, 0x9c, 0x40, 0x30, 0x39, 0, 8, 0, 0)
		pcap = le.AppendUint32(le.AppendUint32(pcap, uint32(at+5+60*i)), 0)
		pcap = append(le.AppendUint32(le.AppendUint32(pcap, uint32(len(b))), length), b...)
	}
	if err := os.WriteFile(filepath.Join(dir, "packets.pcap"), pcap, 0o600); err != nil {
		t.Fatal(err)
	}
	line := func(group string, window int, key string, bytes float64) string {
		return fmt.Sprintf("%s %d %s %.4f", group, at+60*window, key, bytes/60)
	}
	const host, totals = "C0.A8.03.64", "SYS:GROUP_TOTALS"
	want := []string{
		line("source", 1, host, 745513), line("source", 1, totals, 745513), line("source", 2, host, 6000), line("source", 2, totals, 6000),
		line("derived", 2, host, 745513), line("derived", 2, totals, 745513), line("derived", 3, host, 6000), line("derived", 3, totals, 6000),
	}
	for range 3 {
		_ = os.Remove(filepath.Join(scripts, "replay.seen"))
		code, out := replayed(t, dir, "-c", "weir.yaml", "--packets", "packets.pcap")
		if code != 0 || groupRow(out, "Derived") != "1 keys, 751513" {
			t.Fatalf("exit %d\n%s", code, out)
		}
		text, err := os.ReadFile(filepath.Join(scripts, "replay.seen"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, group := range []string{"source", "derived"} { // two scripts write in no order
			for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				if strings.HasPrefix(l, group+" ") {
					got = append(got, l)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	}
}

// TestMonitorFlows: flows of an export stream reach monitors of flows and records; a tracker's list is stored; the groups that describe groups are fed.
func TestMonitorFlows(t *testing.T) {
	const own = "{DE71BED0-0000-4000-8000-000000000003}"
	m := startMonitored(t, map[string]string{
		"flows.lua": `local say = require("record")("flows")
TrisulPlugin = { id = { name = "flows" }, sg_monitor = {
  onnewflow = function(e, f) say("new", f:key()) f:add_tag("mine") end,
  onterminate = function(e, f) say("terminate", f:key()) end,
  onflush = function(e, f) say("flush", f:key(), f:az_bytes(), f:za_bytes(), f:tags()) end } }`,
		"records.lua": `local say = require("record")("records")
TrisulPlugin = { id = { name = "records" },
  countergroup = { control = { guid = "` + own + `", name = "Ways", bucketsize = 1 }, meters = { { 0, T.K.vartype.COUNTER, 10, "bytes", "", "" } } },
  messagemonitor = { onnewflowrecord = function(e, id, baz, bza) say(id:key(), baz, bza) e:update_counter("` + own + `", id:netflow_router_readable(), 0, baz + bza) end } }`,
		"tracker.lua": `TrisulPlugin = { id = { name = "tracker" }, flowtracker = { control = { name = "Big", description = "", bucketsize = 1, count = 1 },
  getmetric = function(e, f) return f:az_bytes() end } }`,
	})
	for _, kind := range []string{"sg_monitor", "messagemonitor", "flowtracker"} {
		if err := m.waitLog(`msg="script attached" \S+ type=` + kind); err != nil {
			t.Fatal(err)
		}
	}
	key := func(port string) string {
		return "06C:0A.00.00.05:p-" + port + "_08.08.08.08:p-01BB_7F.00.00.01_00000003_00000007"
	}
	m.export(exported{from: "10.0.0.5:50000", to: "8.8.8.8:443", protocol: 6, bytes: 1000, packets: 3, in: 3, out: 7, flags: 0x02},
		exported{from: "10.0.0.5:50001", to: "8.8.8.8:443", protocol: 6, bytes: 5000, packets: 3, in: 3, out: 7, flags: 0x02})
	m.sees("flows", "^new "+key("C350"))
	m.sees("records", "^"+key("C350")+" 1000 0$")
	soon(t, func() string { // the tags are there before the flows end
		var now status
		if err := m.ask("/api/v1/status", &now); err != nil {
			return err.Error()
		}
		if n := now.passed("monitor.effects"); n != 4 {
			return fmt.Sprintf("%d effects of two tags and two updates", n)
		}
		return ""
	})
	together() // both end in one second: the tracker has a list for each
	m.export(exported{from: "8.8.8.8:443", to: "10.0.0.5:50000", protocol: 6, bytes: 70, packets: 1, in: 7, out: 3, flags: 0x11},
		exported{from: "10.0.0.5:50001", to: "8.8.8.8:443", protocol: 6, bytes: 1, packets: 1, in: 3, out: 7, flags: 0x11})
	m.sees("records", "^"+key("C350")+" 0 70$")
	m.sees("flows", "^terminate "+key("C350"))
	m.sees("flows", "^flush "+key("C350")+" 1000 70 mine$")
	m.sees("flows", "^flush "+key("C351")+" 5001 0 mine$")
	soon(t, func() string {
		if got := grouped(t, m.process, "Ways")["127.0.0.1"]["bytes"]; got != 6071 {
			return fmt.Sprint("records counted by a script: ", got)
		}
		return ""
	})
	soon(t, func() string {
		code, body, err := m.get("/api/v1/topk?top=10&start=-10m&schema=topper:flowtracker_Big")
		if err != nil || code != 200 || !strings.Contains(body, `"key":"`+key("C351")+`"`) || strings.Contains(body, key("C350")) {
			return fmt.Sprintf("the tracker's list: %v %d %s", err, code, body)
		}
		return ""
	})
	soon(t, func() string {
		if got := grouped(t, m.process, "Meta_Counter_Group")["{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"]["New Keys"]; got != 2 { // hosts
			return fmt.Sprint("new hosts, as the group of groups has it: ", got)
		}
		if got := grouped(t, m.process, "Meta_Session_Group")["{99A78737-4B41-4387-8F31-8077DB917336}"]; got["New"] != 2 || got["Terminated"] != 2 || got["Key Hits"] != 2 {
			return fmt.Sprint("flows, as the group of sessions has it: ", got)
		}
		return ""
	})
}
