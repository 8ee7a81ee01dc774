package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// flushed are the calls of the flush in which a line matches, without their time, which all of them have in common.
func flushed(t *testing.T, lines []string, pattern string) []string {
	t.Helper()
	one := regexp.MustCompile(pattern)
	for i, l := range lines {
		if !one.MatchString(l) {
			continue
		}
		first, last := i, i
		for first > 0 && !strings.HasPrefix(lines[first], "onbeginflush") {
			first--
		}
		for last < len(lines)-1 && !strings.HasPrefix(lines[last], "onendflush") {
			last++
		}
		words := strings.Fields(lines[first])
		return strings.Split(strings.ReplaceAll(strings.Join(lines[first:last+1], "\n"), " "+words[1], ""), "\n")
	}
	t.Fatalf("no line matches %s", pattern)
	return nil
}

// onFed is a script on the group of the feeder: its callbacks, which call say, are in body.
func onFed(name, body string) string {
	return fmt.Sprintf("local say = require('record')('%s')\nTrisulPlugin = { id = { name = '%[1]s' }, cg_monitor = { counter_guid = '%s',\n%s\n} }\n", name, fed, body)
}

const observed = `
  onbeginflush = function(engine, ts) say("onbeginflush", ts) end,
  onflush = function(engine, ts, key, m) say("onflush", ts, key, m) end,
  onendflush = function(engine) say("onendflush") end,
`

// TestMonitorVotes: who is kept when several scripts vote, and whose values.
func TestMonitorVotes(t *testing.T) {
	voter := func(name, cases string) string {
		return onFed(name, observed+`
  onflushfilter = function(engine, ts, key, m)
    say("onflushfilter", ts, key, m)
    m[1] = 12345 -- a copy: nobody sees this
    `+cases+`
    return true
  end,`)
	}
	q := voter("q", `if key == "b" then return false end
    if key == "a" then return true, { -1, 7 } end`)
	m := startMonitored(t, map[string]string{"feeder.lua": feeder, "p.lua": onFed("p", observed), "q.lua": q}, "feeder.lua ", "p.lua Fed", "q.lua Fed")

	// One that observes is a yes to everything.
	together()
	m.feed("a 0 6000", "a 0 6000", "a 1 3", "b 0 600")
	want := []string{"onbeginflush", "onflush a {12000,7}", "onflush b {600,0}", "onflush SYS:GROUP_TOTALS {12600,3}", "onendflush"}
	if diff := cmp.Diff(want, flushed(t, m.sees("p", `^onflush \d+ b \{600,0\}\n.*\nonendflush`), `^onflush \d+ a`)); diff != "" {
		t.Errorf("the observer (-want +got)\n%s", diff)
	}
	want = []string{
		"onbeginflush", "onflushfilter a {12000,3}", "onflushfilter b {600,0}", "onflushfilter SYS:GROUP_TOTALS {12600,3}",
		"onflush a {12000,7}", "onflush b {600,0}", "onflush SYS:GROUP_TOTALS {12600,3}", "onendflush",
	}
	if diff := cmp.Diff(want, flushed(t, m.sees("q", `^onflush \d+ b \{600,0\}\n.*\nonendflush`), `^onflush \d+ a`)); diff != "" {
		t.Errorf("the one that votes (-want +got)\n%s", diff)
	}
	stored := func(want map[string][2]float64) {
		t.Helper()
		soon(t, func() string {
			got := make(map[string][2]float64)
			for key, v := range grouped(t, m.process, "Fed") {
				got[key] = [2]float64{v["volume"], v["count"]}
			}
			return cmp.Diff(want, got)
		})
	}
	stored(map[string][2]float64{"a": {12000, 7}, "b": {600, 0}, "SYS:GROUP_TOTALS": {12600, 3}})

	// Alone, its no counts.
	if err := os.Remove(filepath.Join(m.dir, "p.lua")); err != nil {
		t.Fatal(err)
	}
	if err := m.waitLog(`msg="script unloaded.*p\.lua`); err != nil {
		t.Fatal(err)
	}
	together()
	m.feed("a 0 100", "b 0 50")
	want = []string{
		"onbeginflush", "onflushfilter a {100,0}", "onflush a {100,7}", "onflushfilter b {50,0}",
		"onflushfilter SYS:GROUP_TOTALS {150,0}", "onflush SYS:GROUP_TOTALS {150,0}", "onendflush",
	}
	if diff := cmp.Diff(want, flushed(t, m.sees("q", `^onflush \d+ a \{100,7\}(?s:.*?)\nonendflush`), `^onflush \d+ a \{100,`)); diff != "" {
		t.Errorf("alone (-want +got)\n%s", diff)
	}
	stored(map[string][2]float64{"a": {12100, 14}, "b": {600, 0}, "SYS:GROUP_TOTALS": {12750, 3}})

	// Two that vote on everything: no is the outcome when both say so; of two overrides the later one's counts.
	m.put("r.lua", voter("r", `if key == "k1-no" or key == "k4-nonsense" or key == "k5-raise" or key == "k8-text" then return false end
    if key == "k3-over" then return true, { -1, 9 } end`))
	m.put("q.lua", voter("q2", `if key == "k1-no" or key == "k2-one" then return false end
    if key == "k3-over" then return true, { 55, 8 } end
    if key == "k4-nonsense" then return nil, { 5, 5 } end
    if key == "k5-raise" then error("no vote") end
    if key == "k6-false" then return false, { 3, 3 } end
    if key == "k7-values" then return true, { -2, 0/0, 17 } end
    if key == "k8-text" then return "false" end`))
	if err := m.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.attached("r.lua Fed")
	soon(t, func() string {
		if n := len(regexp.MustCompile(`(?m)msg="script attached" file=\S*/q\.lua`).FindAllString(m.log(), -1)); n != 2 {
			return fmt.Sprintf("q.lua was attached %d times", n)
		}
		return ""
	})
	together()
	var updates []string
	keys := []string{"k1-no", "k2-one", "k3-over", "k4-nonsense", "k5-raise", "k6-false", "k7-values", "k8-text"}
	for _, key := range keys {
		updates = append(updates, key+" 0 100", key+" 1 1")
	}
	m.feed(updates...)
	want = []string{"onbeginflush"}
	for _, key := range append(keys, "SYS:GROUP_TOTALS") {
		values := "{100,1}"
		if key == "SYS:GROUP_TOTALS" {
			values = "{800,8}"
		}
		want = append(want, "onflushfilter "+key+" "+values)
	}
	for _, key := range append(keys[1:], "SYS:GROUP_TOTALS") {
		values := map[string]string{"k3-over": "{55,9}", "SYS:GROUP_TOTALS": "{800,8}"}[key]
		if values == "" {
			values = "{100,1}"
		}
		want = append(want, "onflush "+key+" "+values)
	}
	want = append(want, "onendflush")
	for _, name := range []string{"q2", "r"} {
		if diff := cmp.Diff(want, flushed(t, m.sees(name, `^onflush \d+ k8(?s:.*?)\nonendflush`), `^onflush \d+ k8`)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, line := range []string{
		`onflushfilter: it returned nothing, not true or false: this counts as true`,
		`onflushfilter: it returned a string, not true or false: this counts as true`,
		`onflushfilter: no vote`,
		`onflushfilter: a value for meter 0 is neither a number from 0 on nor -1; it is ignored`,
		`onflushfilter: a value for meter 1 is neither a number from 0 on nor -1; it is ignored`,
		`there is a value for meter 2, and the group has 2 meters`,
	} {
		if err := m.waitLog(`q\.lua.* ` + regexp.QuoteMeta(line)); err != nil {
			t.Error(err)
		}
	}
	soon(t, func() string {
		got := grouped(t, m.process, "Fed")
		if got["k1-no"] != nil || got["k2-one"]["volume"] != 100 || got["k3-over"]["volume"] != 55 || got["k3-over"]["count"] != 9 || got["k6-false"]["volume"] != 100 {
			return fmt.Sprint(got)
		}
		return ""
	})
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
}

// TestMonitorToppers: lists are cut down by votes, and shown to all when one asks for it.
func TestMonitorToppers(t *testing.T) {
	toppers := `
  onbegintopperflush = function(engine, ts, meter) say("onbegintopperflush", meter) BEGIN end,
  ontopperflushfilter = function(engine, key, metric) say("ontopperflushfilter", key, metric) FILTER end,
  ontopperflush = function(engine, key, metric) say("ontopperflush", key, metric) end,
  onendtopperflush = function(engine, meter) say("onendtopperflush", meter) end,
`
	script := func(name, begin, filter string) string {
		return onFed(name, strings.NewReplacer("BEGIN", begin, "FILTER", filter).Replace(toppers))
	}
	m := startMonitored(t, map[string]string{"feeder.lua": feeder, "one.lua": script("one", "return meter == 0", `return key ~= "b"`)}, "feeder.lua ", "one.lua Fed")
	updates := []string{"a 0 10", "b 0 20", "c 0 30", "a 1 3", "b 1 2", "c 1 1"}
	// list returns the calls around those of meter 0 with items.
	list := func(name, last string) []string {
		t.Helper()
		lines := m.sees(name, last)
		text := strings.Join(lines, "\n")
		at := regexp.MustCompile(`(?m)` + last).FindStringIndex(text)
		from := strings.LastIndex(text[:at[1]], "onbegintopperflush 0")
		return strings.Split(text[from:at[1]], "\n")
	}
	together()
	m.feed(updates...)
	want := []string{
		"onbegintopperflush 0", "ontopperflushfilter c 30", "ontopperflush c 30", "ontopperflushfilter b 20", "ontopperflushfilter a 10", "ontopperflush a 10",
		"ontopperflushfilter SYS:GROUP_TOTALS 60", "ontopperflush SYS:GROUP_TOTALS 60", "onendtopperflush 0",
		"onbegintopperflush 1", "ontopperflushfilter a 3", "ontopperflushfilter b 2", "ontopperflushfilter c 1", "ontopperflushfilter SYS:GROUP_TOTALS 6", "onendtopperflush 1",
	}
	if diff := cmp.Diff(want, list("one", `ontopperflush SYS:GROUP_TOTALS 60\n(?s:.*?)onendtopperflush 1`)); diff != "" {
		t.Errorf("alone (-want +got)\n%s", diff)
	}
	stored := func() map[string][]string {
		got := make(map[string][]string)
		for _, meter := range []string{"0", "1"} {
			code, body, err := m.get("/api/v1/series?schema=topper:Fed")
			if err != nil || code != 200 {
				return nil
			}
			for _, key := range []string{"a", "b", "c"} {
				if strings.Contains(body, fmt.Sprintf("%q", key)) && meter == "0" {
					got["keys"] = append(got["keys"], key)
				}
			}
		}
		return got
	}
	soon(t, func() string { return cmp.Diff([]string{"a", "c"}, stored()["keys"]) })

	// Beside one that says neither: it is enabled, and everything passes.
	m.put("two.lua", onFed("two", `
  ontopperflush = function(engine, key, metric) say("ontopperflush", key, metric) end,
  onendtopperflush = function(engine, meter) say("onendtopperflush", meter) end,`))
	if err := m.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.attached("two.lua Fed")
	together()
	m.feed("a 0 1", "b 0 2", "a 1 1", "b 1 5")
	want = []string{
		"onbegintopperflush 0", "ontopperflushfilter b 2", "ontopperflushfilter a 1", "ontopperflushfilter SYS:GROUP_TOTALS 3",
		"ontopperflush b 2", "ontopperflush a 1", "ontopperflush SYS:GROUP_TOTALS 3", "onendtopperflush 0",
		"onbegintopperflush 1", "ontopperflushfilter b 5", "ontopperflushfilter a 1", "ontopperflushfilter SYS:GROUP_TOTALS 6",
		"ontopperflush b 5", "ontopperflush a 1", "ontopperflush SYS:GROUP_TOTALS 6", "onendtopperflush 1",
	}
	if diff := cmp.Diff(want, list("one", `ontopperflush SYS:GROUP_TOTALS 3\n(?s:.*?)onendtopperflush 1`)); diff != "" {
		t.Errorf("of two (-want +got)\n%s", diff)
	}
	text := strings.Join(m.sees("two", `ontopperflush SYS:GROUP_TOTALS 3\n(?s:.*?)onendtopperflush 1`), "\n")
	if two := "ontopperflush b 2\nontopperflush a 1\nontopperflush SYS:GROUP_TOTALS 3\nonendtopperflush 0\nontopperflush b 5\n"; !strings.Contains(text, two) {
		t.Errorf("the other one saw\n%s", text)
	}
	soon(t, func() string { return cmp.Diff([]string{"a", "b", "c"}, stored()["keys"]) })

	// What is not a boolean is a yes, and logged.
	m.put("two.lua", script("three", "", `return 0`))
	if err := os.Remove(filepath.Join(m.dir, "one.lua")); err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.sees("three", `^onbegintopperflush 0`)
	if err := m.waitLog(`msg="script unloaded.*one\.lua`); err != nil {
		t.Fatal(err)
	}
	together()
	m.feed("d 0 4")
	m.sees("three", `^onbegintopperflush 0\nontopperflushfilter d 4\nontopperflush d 4\nontopperflushfilter SYS:GROUP_TOTALS 4\nontopperflush SYS:GROUP_TOTALS 4\nonendtopperflush 0`)
	for _, line := range []string{"onbegintopperflush: it returned nothing, not true or false: this counts as true", "ontopperflushfilter: it returned a number, not true or false: this counts as true"} {
		if err := m.waitLog(regexp.QuoteMeta(line)); err != nil {
			t.Error(err)
		}
	}
}
