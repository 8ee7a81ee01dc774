package monitor

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Faults of section 9 that the daemon half has to bear.

// soon waits until a condition that other goroutines bring about holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func wallClock(c *Config) {
	c.DataTime = false
	c.Votes = 300 * time.Millisecond
}

// cgMonitor is a script on the group of the tests.
func cgMonitor(callbacks string) string {
	return `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "` + ownGroup + `", ` + callbacks + ` } }`
}

// TestFilterThatLoops: its votes time out and everything passes, what others change included.
func TestFilterThatLoops(t *testing.T) {
	r := newRig(t, func(c *Config) { wallClock(c); c.Entries[0].Setup.Call = 1000 },
		"loop.lua", strings.ReplaceAll(cgMonitor(`onflushfilter = function() while true do local f = function() end end end`), `counter_guid =`, `counter_name_match = {"Host", "Apps"}, counter_guid =`),
		"other.lua", cgMonitor(`onflushfilter = function(e, ts, key, m) return key ~= "b", { 7 } end, onflush = function(e, ts, key, m) say(key, m[1]) end`))
	r.add("a", 1)
	r.add("b", 2)
	r.count(true, 1, 0) // in Hosts and Apps, which the script votes on too
	began := time.Now()
	r.tick(60)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the flush took %v", took)
	}
	want := []string{fmt.Sprintf("%d Own a [7]", begin+60), fmt.Sprintf("%d Own b [2]", begin+60)}
	if diff := cmp.Diff(want, ofGroupLines(r.out.lines, "Own")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	r.says(1, "a script did not vote: everything passes.*loop.lua")
	var lines []string
	soon(t, "the other script is shown everything", func() bool { lines = append(lines, r.seen()...); return len(lines) >= 3 })
	if diff := cmp.Diff([]string{"a 7", "b 2", "SYS:GROUP_TOTALS 7"}, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	soon(t, "the callback that takes too long is an error", func() bool { return strings.Contains(r.logged(), "callback onflushfilter exceeded 1s") })
}

// TestKillDuringVote: kill -9 while a script votes: everything passes, and the script is there again later.
func TestKillDuringVote(t *testing.T) {
	r := newRig(t, wallClock, "dies.lua", cgMonitor(`onflushfilter = function(e, ts, key) if key == "die" then os.execute("kill -9 $PPID") while true do end end return key ~= "b" end`))
	attached := func() int { return strings.Count(r.logged(), `msg="script attached"`) }
	r.add("b", 1)
	r.tick(60)
	r.add("b", 1)
	r.add("die", 1)
	r.tick(60)
	want := []string{fmt.Sprintf("%d Own b [1]", begin+120), fmt.Sprintf("%d Own die [1]", begin+120)}
	if diff := cmp.Diff(want, r.out.lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	soon(t, "the script is attached again", func() bool { return attached() == 2 })
	soon(t, "the script votes again", func() bool {
		before := len(r.out.lines)
		r.add("b", 1)
		r.add("c", 1)
		r.tick(60)
		return slices.Equal(r.out.lines[before:], []string{fmt.Sprintf("%d Own c [1]", r.now)})
	})
	if a := r.accounts("monitor.frames", 1); a.Discarded["script_ended"] != 1 {
		t.Errorf("frames %+v", a)
	}
}

// TestLateScript: a script that is in a callback for longer than windows last misses windows, which are counted and said; others see all.
func TestLateScript(t *testing.T) {
	r := newRig(t, func(c *Config) { wallClock(c); c.Entries[0].Setup.Call = 2000 },
		"late.lua", cgMonitor(`onbeginflush = function() while true do local f = function() end end end`),
		"other.lua", cgMonitor(`onbeginflush = function(e, ts) say(ts) end`))
	r.monitors.patience = time.Millisecond // the seconds of this test are short
	other := r.monitors.attached.Load().processes[1].process
	for range 20 * 60 {
		r.tick(1)
		for other.Held() > 0 {
			runtime.Gosched()
		}
	}
	if seen := r.seen(); len(seen) != 20 {
		t.Errorf("the other script sees %d windows of 20", len(seen))
	}
	if !strings.Contains(r.logged(), `msg="a script is late: what it was to be shown is left out" file=`+r.dir+"/late.lua frames=1") {
		t.Error("nothing is said about the windows that are left out")
	}
	a := r.reg.Ledger("monitor.frames", "").Snapshot()
	if late := a.Discarded["script_is_late"]; late < 500 || a.Received != a.Passed+late {
		t.Errorf("frames %+v", a)
	}
}

// TestClockJumps: forward, the running window is flushed once and the gap is skipped; back, nothing happens.
func TestClockJumps(t *testing.T) {
	r := newRig(t, nil, "x.lua", cgMonitor(`onendflush = function(e, ts) say("end", ts) end, onflush = function(e, ts, key) say(ts, key) end, onmetronome = function(e, ts, n) if n > 1 then say("tick", ts, n) end end`))
	r.add("a", 1)
	r.now += 1_000_000
	r.tick(1)
	r.now -= 500
	r.tick(1)
	r.want("one flush", fmt.Sprintf("tick %d 2", begin+60), fmt.Sprint(begin+60, " a"), fmt.Sprint(begin+60, " SYS:GROUP_TOTALS"), fmt.Sprint("end ", begin+60))
	r.says(1, "the clock jumped forward")
}

// TestUnknownTargets: updates of groups and meters that are not there are dropped, and said once for a script.
func TestUnknownTargets(t *testing.T) {
	update := `onflush = function(e, ts, key, m)
  for i = 1, 10 do e:update_counter("{00000000-0000-4000-8000-00000000000F}", key, 0, 1) e:update_counter("` + ownGroup + `", key, 5, 1) end
  e:update_key_info("{00000000-0000-4000-8000-00000000000F}", key, "label") end`
	r := newRig(t, nil, "a.lua", cgMonitor(update), "b.lua", cgMonitor(update))
	for range 2 {
		r.add("k", 1)
		r.tick(60)
	}
	for _, file := range []string{"a.lua", "b.lua"} {
		r.says(1, "a script updates a counter group that is not registered.*"+file)
		r.says(1, "a script updates a meter that its group does not have.*"+file)
	}
	// Two scripts, two windows: ten updates, and a label that the totals have too.
	if a := r.accounts("monitor.effects", 48); a.Discarded["unknown_group"] != 48 {
		t.Errorf("effects %+v", a)
	}
}

// TestStatus: every file and instance with its state and the reason.
func TestStatus(t *testing.T) {
	r := newRig(t, nil,
		"broken.lua", "TrisulPlugin = {",
		"defines.lua", `TrisulPlugin = { id = { name = "defines" }, alertgroup = { control = { guid = "{C0FFEE00-0000-4000-8000-0000000000AA}", name = "Mine" } } }`,
		"module.lua", "return {}",
		"none.lua", `TrisulPlugin = { id = { name = "none" }, cg_monitor = { counter_name_match = "no such thing" } }`,
		"refuses.lua", cgMonitor(`onload = function() return false end`),
		"works.lua", cgMonitor(`onflush = function(e, ts, key) error("oh no") end`))
	r.add("k", 1)
	r.tick(60)
	var lines []string
	soon(t, "the errors are heard of", func() bool {
		lines = nil
		for _, s := range r.monitors.Status() {
			lines = append(lines, fmt.Sprint(s.File[len(r.dir)+1:], ": ", s.State, ": ", strings.ReplaceAll(s.Reason, r.dir, "")))
			for _, i := range s.Instances {
				lines = append(lines, fmt.Sprintf("  %s %q: %s: %s; %d errors %s", i.Type, i.Group, i.State, i.Reason, i.Figures.Errors, strings.ReplaceAll(i.Figures.LastError, r.dir, "")))
			}
		}
		return strings.Contains(lines[len(lines)-1], "2 errors")
	})
	want := []string{
		"broken.lua: failed: /broken.lua:4: cannot load the script: unexpected symbol near '<eof>'", "defines.lua: running: ", `  plain "": running: ; 0 errors `, "module.lua: module: it does not set TrisulPlugin",
		`none.lua: unmatched: no counter group matches the name "no such thing"`,
		"refuses.lua: running: ", `  cg_monitor "Own": disabled: onload returned false; 0 errors `,
		"works.lua: running: ", `  cg_monitor "Own": running: ; 2 errors /works.lua:4: [works.lua] Own: onflush: oh no`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	r.says(1, `level=ERROR msg="script not loaded" file=\S*/broken.lua`)
	r.says(0, "restart_in=") // it is not tried again
	r.says(1, `level=ERROR msg="an error in the script" script=monitor:works.lua`)
}

// TestGroupIsTakenAway: the instance of a group that is taken away is unloaded, that of another group goes on; what is counted in the group is dropped and
// counted; when a group with its GUID is registered again, the script is attached to it.
func TestGroupIsTakenAway(t *testing.T) {
	r := newRig(t, nil, "x.lua", `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = { "`+ownGroup+`", "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}" },
  onload = function() say("load", T.monitor_group_name) end,
  onunload = function() say("unload", T.monitor_group_name) end,
  onflushfilter = function(e, ts, key) return key ~= "no" end,
  onflush = function(e, ts, key, m) say(T.monitor_group_name, key) if key == "0A.00.00.05" then e:update_counter("`+ownGroup+`", "from x", 0, 1) end end,
  onupdate = function(e, ts, key) end } }`)
	attached := func(n int) func() bool {
		return func() bool { return strings.Count(r.logged(), `msg="script attached"`) == n }
	}
	soon(t, "the script is attached", attached(2))
	r.add("a", 1)
	r.tick(60)
	r.wantOf("before", []string{"Own", "Hosts"}, "Own a", "Own SYS:GROUP_TOTALS")
	own := r.groups.Lookup(ownGroup)
	r.add("a", 1)
	r.groups.Remove(ownGroup)
	soon(t, "the script is unloaded", func() bool {
		return strings.Contains(r.logged(), `msg="script unloaded: its group was taken away"`) && slices.Contains(r.seen(), "unload Own")
	})
	b := r.engine.Batch()
	b.Add(own, []byte("late"), 0, 1)
	b.Send()
	r.count(true, 1, 0)
	r.tick(60)
	r.tick(60)
	r.wantOf("while it is gone", []string{"Own", "Hosts"}, "Hosts 08.08.08.08", "Hosts 0A.00.00.05", "Hosts SYS:GROUP_TOTALS")
	if got := ofGroupLines(r.out.lines, "Own"); len(got) != 2 {
		t.Errorf("windows of the group: %q", got)
	}
	if a := r.accounts("countergroup.updates", 1); a.Discarded["group_removed"] != 1 {
		t.Errorf("updates %+v", a)
	}
	if a := r.accounts("monitor.effects", 1); a.Discarded["unknown_group"] != 1 {
		t.Errorf("effects %+v", a)
	}
	if _, err := r.groups.Register(own.Definition); err != nil {
		t.Fatal(err)
	}
	soon(t, "the script is attached again", attached(3))
	r.add("no", 1)
	r.count(true, 1, 0)
	r.tick(120)
	r.wantOf("when it is back", []string{"load", "unload", "Own"}, "load Own", "Own SYS:GROUP_TOTALS", "Own from x", "Own SYS:GROUP_TOTALS")
	r.says(0, "BUG")
}
