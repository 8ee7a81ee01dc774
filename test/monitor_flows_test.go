package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMonitorFlows: the script types that see flows, records and resources.
func TestMonitorFlows(t *testing.T) {
	m := startMonitored(t, map[string]string{
		"sg.lua": `local say = require("record")("sg")
local function one(name, vote)
  return function(engine, f)
    say(name, f:key(), f:az_bytes(), f:za_bytes(), f:az_packets(), f:tags(), f:flow():ipa_readable(), f:flow():portz_readable())
    if name == "onnewflow" then f:add_tag("[seen]") end
    return vote
  end
end
TrisulPlugin = { id = { name = "sg" }, sg_monitor = {
  onnewflow = one("onnewflow"), onupdate = one("onupdate"), onterminate = one("onterminate"),
  onbeginflush = function() T.flushed = false end,
  flushfilter = one("flushfilter", true), onflush = one("onflush"),
} }`,
		"records.lua": `local say = require("record")("records")
TrisulPlugin = { id = { name = "records" }, messagemonitor = { onnewflowrecord = function(engine, f, ...) say(f:id(), f:netflow_router_readable(), f:netflow_ifindex_out_readable(), ...) end } }`,
		"tracker.lua": `TrisulPlugin = { id = { name = "tracker" }, flowtracker = { control = { name = "Big", description = "", bucketsize = 1, count = 1 },
  getmetric = function(engine, f) return f:az_bytes() + f:za_bytes() end } }`,
		"resources.lua": `TrisulPlugin = { id = { name = "resources" }, cg_monitor = { counter_name_regex = "^Apps$",
  onnewkey = function(engine, ts, key) engine:add_resource("{4EF9DEB9-4332-4867-A667-6A30C5900E9E}", nil, "app " .. key, "contents") end },
  resource_monitor = { resource_guid = "{4ef9deb9-4332-4867-a667-6a30c5900e9e}",
    onnewresource = function(engine, r) require("record")("resources")("onnewresource", r:uri(), r:label(), r:flow()) end,
    flushfilter = function(engine, r) require("record")("resources")("flushfilter", r:uri()) return true end,
    onflush = function(engine, r) require("record")("resources")("onflush", r:uri()) end } }`,
	}, "sg.lua IP flows", "records.lua ", "tracker.lua ", "resources.lua Apps", "resources.lua HTTP URLs")
	together()
	m.export(exported{from: "10.0.0.1:40000", to: "192.0.2.9:443", protocol: 6, bytes: 6000, packets: 10, in: 1, out: 2})
	key := "06C:0A.00.00.01:p-9C40_C0.00.02.09:p-01BB_7F.00.00.01_00000001_00000002"
	m.sees("sg", "^onnewflow ")
	together()
	m.export(
		exported{from: "192.0.2.9:443", to: "10.0.0.1:40000", protocol: 6, bytes: 100, packets: 1, in: 2, out: 1, flags: 0x11},
		exported{from: "10.0.0.7:40000", to: "192.0.2.9:443", protocol: 17, bytes: 5, packets: 1, in: 1, out: 2},
	)
	var got []string
	for _, l := range m.sees("sg", "^onflush "+key) {
		if strings.Contains(l, key) {
			got = append(got, strings.Replace(l, " "+key, "", 1))
		}
	}
	want := []string{
		"onnewflow 6000 0 10  10.0.0.1 443",
		"onupdate 6000 100 10 [seen] 10.0.0.1 443", "onterminate 6000 100 10 [seen] 10.0.0.1 443",
		"flushfilter 6000 100 10 [seen] 10.0.0.1 443", "onflush 6000 100 10 [seen] 10.0.0.1 443",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the flow (-want +got)\n%s", diff)
	}
	records := m.sees("records", "^11C")
	if diff := cmp.Diff([]string{key + " 127.0.0.1 2 6000 0 10 0", key + " 127.0.0.1 2 0 100 0 1"}, records[:2]); diff != "" {
		t.Errorf("the records (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"onnewresource app p-01BB contents nil", "flushfilter app p-01BB", "onflush app p-01BB"}, m.sees("resources", "^onflush")[:3]); diff != "" {
		t.Errorf("the resource (-want +got)\n%s", diff)
	}
	soon(t, func() string {
		code, body, err := m.get("/api/v1/series?schema=topper:flowtracker_Big")
		if err != nil || code != 200 || !strings.Contains(body, key) {
			return fmt.Sprintf("%d %v %s", code, err, body)
		}
		return ""
	})
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
}
