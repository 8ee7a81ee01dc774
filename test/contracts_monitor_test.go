//go:build contracts

package test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// These tests run the scripts of the published page about counter group monitors, as they stand, in the binary, attached to groups
// that count flows. make contracts says in WEIR_CONTRACT_MONITORS where the page is. Its blocks are tables for TrisulPlugin
// and the end of a filter: what is around them is this file's.

// monitorBlock is the Lua of the page between two lines of it.
func monitorBlock(t *testing.T, before, after string) string {
	t.Helper()
	text, err := os.ReadFile(os.Getenv("WEIR_CONTRACT_MONITORS"))
	if err != nil {
		t.Fatalf("WEIR_CONTRACT_MONITORS must name the page: %v", err)
	}
	_, rest, found := strings.Cut(string(text), before+"\n")
	block, _, ended := strings.Cut(rest, "\n"+after)
	if !found || !ended {
		t.Fatalf("the page has no block between %q and %q", before, after)
	}
	return block + "\n"
}

const (
	exampleTwo    = "Example: attach to two explicit counter groups"
	exampleNamed  = `Example: all groups whose name contains "hosts"`
	exampleRegexp = "Example: RE2 match on group title"
)

// enveloped is a block in a plugin, with what the test adds behind it.
func enveloped(block, behind string) string {
	return "TrisulPlugin = { id = { name = \"page\" },\n" + block + "}\n" + behind
}

// groupsOf lists the groups that a script is attached to, in order.
func (m *monitored) groupsOf(file string) []string {
	var titles []string
	for _, found := range regexp.MustCompile(`msg="script attached" file=\S*/`+regexp.QuoteMeta(file)+` type=cg_monitor group=("[^"]*"|\S+)`).FindAllStringSubmatch(m.log(), -1) {
		titles = append(titles, strings.Trim(found[1], `"`))
	}
	return titles
}

// calls are how often callbacks of an instance were called.
func (m *monitored) calls(file, group string) int64 {
	var answer struct {
		Monitors []struct {
			File      string
			Instances []struct {
				Group, State string
				Figures      struct{ Calls, Errors int64 }
			}
		}
	}
	if err := m.ask("/api/v1/monitors", &answer); err != nil {
		m.t.Fatal(err)
	}
	for _, s := range answer.Monitors {
		for _, i := range s.Instances {
			if strings.HasSuffix(s.File, "/"+file) && i.Group == group && i.State == "running" && i.Figures.Errors == 0 {
				return i.Figures.Calls
			}
		}
	}
	return -1
}

// traffic is what the tests of the page let an exporter report.
var traffic = exported{from: "10.0.0.1:40000", to: "192.0.2.9:443", protocol: 6, bytes: 6000, packets: 10, in: 1, out: 2}

// There is no other: tables, a filter's end, and a drawing of the order.
func TestContractMonitorBlocks(t *testing.T) {
	text, err := os.ReadFile(os.Getenv("WEIR_CONTRACT_MONITORS"))
	if err != nil {
		t.Fatal(err)
	}
	if tables, returns, drawn := strings.Count(string(text), "\ncg_monitor = {"), strings.Count(string(text), "\nreturn true, {"), strings.Count(string(text), "\nonbeginflush(..)"); tables != 3 || returns != 1 || drawn != 1 {
		t.Errorf("the page has %d tables, %d ends of filters and %d drawings, the tests know 3, 1 and 1", tables, returns, drawn)
	}
}

// An array of GUIDs makes an instance for each, which knows its group.
func TestContractMonitorTwoGroups(t *testing.T) {
	block := monitorBlock(t, exampleTwo, exampleNamed)
	m := startMonitored(t, map[string]string{"page.lua": enveloped(block, "")}, "page.lua Flow-ASN", "page.lua FlowGens")
	for _, group := range []string{"Flow-ASN", "FlowGens"} {
		if err := m.waitLog(`level=DEBUG msg=.*\[page\.lua\] ` + group + `: cg_monitor bound to ` + group); err != nil {
			t.Error(err)
		}
	}
	together()
	m.export(traffic)
	// Of the group that has a key the instance is called for it and for the totals, in the other one for nothing but its windows.
	soon(t, func() string {
		if n := m.calls("page.lua", "FlowGens"); n != 2 {
			return fmt.Sprintf("%d calls for FlowGens", n)
		}
		return ""
	})
	if n := m.calls("page.lua", "Flow-ASN"); n != 0 {
		t.Errorf("%d calls for a group without keys", n)
	}
	stopped(t, m.process)
}

// A part of a title, in any case, attaches to every group that has it; T is the instance's own.
func TestContractMonitorNamed(t *testing.T) {
	block := monitorBlock(t, exampleNamed, exampleRegexp)
	m := startMonitored(t, map[string]string{"page.lua": enveloped(block, `
TrisulPlugin.cg_monitor.onendflush = function()
  local keys = {}
  for key in pairs(T.keys_this_interval) do keys[#keys + 1] = key end
  table.sort(keys)
  if #keys > 0 then require("record")("page")(T.monitor_group_name, keys) end
end
`)}, "page.lua Hosts", "page.lua HTTP Hosts")
	var want []string
	for _, g := range m.groupsOf("page.lua") {
		if !strings.Contains(strings.ToLower(g), "hosts") {
			t.Errorf("attached to %s", g)
		}
		want = append(want, g)
	}
	for _, g := range []string{"Hosts", "Internal Hosts", "External Hosts", "HostsIPv6", "Web Hosts", "Email Hosts", "SSH Hosts", "Unusual Traffic Hosts", "HTTP Hosts"} {
		if !slices.Contains(want, g) {
			t.Errorf("not attached to %s, but to %q", g, want)
		}
	}
	together()
	m.export(traffic)
	m.sees("page", `^External Hosts`)
	m.sees("page", `^Internal Hosts`)
	lines := m.sees("page", `^Hosts`)
	slices.Sort(lines)
	if diff := cmp.Diff([]string{"External Hosts {C0.00.02.09}", "Hosts {0A.00.00.01,C0.00.02.09}", "Internal Hosts {0A.00.00.01}"}, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	stopped(t, m.process)
}

// A pattern attaches to every title it is found in.
func TestContractMonitorPattern(t *testing.T) {
	block := monitorBlock(t, exampleRegexp, "Functions Reference")
	m := startMonitored(t, map[string]string{"page.lua": enveloped(block, "")}, "page.lua Subnets", "page.lua Hosts", "page.lua HTTP Hosts")
	for _, g := range m.groupsOf("page.lua") {
		if !regexp.MustCompile("(?i)host|subnet").MatchString(g) {
			t.Errorf("attached to %s", g)
		}
	}
	together()
	m.export(traffic)
	soon(t, func() string {
		if n := m.calls("page.lua", "Hosts"); n != 3 {
			return fmt.Sprintf("%d calls for two hosts and the totals", n)
		}
		return ""
	})
	stopped(t, m.process)
}

// The end of a filter overrides meters 4, 5 and 6 and leaves the others; the order is the one that is drawn.
func TestContractMonitorOverride(t *testing.T) {
	block := monitorBlock(t, "Example:", "If you do not define onflushfilter")
	m := startMonitored(t, map[string]string{"page.lua": `
local say = require("record")("page")
local recvutil, xmitutil, recv_xmit_ratio = 40, 60, 0.75
TrisulPlugin = { id = { name = "page" }, cg_monitor = {
  counter_guid = "{889900CC-0063-11A5-8380-FEBDBABBDBEA}",
  onbeginflush = function(engine, ts) say("onbeginflush") end,
  onflushfilter = function(engine, ts, key, arrayofmetrics)
` + block + `
  end,
  onflush = function(engine, ts, key, m) say("onflush", key, m) end,
  onendflush = function(engine) say("onendflush") end,
} }`}, "page.lua Internal Hosts")
	together()
	m.export(traffic)
	lines := strings.Join(m.sees("page", `^onflush SYS:GROUP_TOTALS.*\nonendflush`), "\n")
	values := "{6000,0,6000,10,40,60,0.75,6000,0,0,0,0,0,1,0,0,1}"
	if want := "onbeginflush\nonflush 0A.00.00.01 " + values + "\nonflush SYS:GROUP_TOTALS " + values + "\nonendflush"; !strings.Contains(lines, want) {
		t.Errorf("want\n%s\nin\n%s", want, lines)
	}
	soon(t, func() string {
		got := grouped(t, m.process, "Internal_Hosts")["0A.00.00.01"]
		if got["Total"] != 6000 || got["Total Packets"] != 10 || got["Active conns"] != 40 || got["Attacker alerts"] != 60 || got["Homenet"] != 0.75 {
			return fmt.Sprint(got)
		}
		return ""
	})
	stopped(t, m.process)
}
