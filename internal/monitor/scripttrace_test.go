package monitor

import (
	"strings"
	"testing"
)

// Golden trace 10.1 as far as one process sees it: P observes, Q votes and overrides.
func TestTraceOfOneMinute(t *testing.T) {
	const common = `local function show(m) return "{" .. m[1] .. "," .. m[2] .. "}" end
		local block = { counter_guid = "` + hostsGUID + `",
			onnewkey = function(e, ts, key) print("new", ts, key) end, onupdate = function(e, ts, key, m) print("update", ts, key, show(m)) end,
			onbeginflush = function(e, ts) print("begin", ts) end, onflush = function(e, ts, key, m) print("flush", key, show(m)) end, onendflush = function() print("end") end }
		TrisulPlugin = { id = { name = "x" }, cg_monitor = block } `
	p := mustLoad(t, common)
	q := mustLoad(t, common+`block.onflushfilter = function(e, ts, key, m) print("filter", key, show(m)) if key == "b" then return false end
		if key == "a" then return true, { -1, 7 } end return true end`)
	p.start(2)
	q.start(2)
	second := AppendSecond(nil, 1, 6, 2, rows("a", 6000, 0, true))
	for _, b := range []*bench{p, q} {
		b.frame(KindSecond, second)
		b.wantSaid("new\t6\ta", "update\t6\ta\t{6000,0}")
	}
	window := rows("a", 200, 3, "b", 10, 0, "SYS:GROUP_TOTALS", 210, 3)
	if got := q.window(ModeVote, window); got != "a -b SYS:GROUP_TOTALS 0.1=7" {
		t.Errorf("votes %s", got)
	}
	q.wantSaid("begin\t60", "filter\ta\t{200,3}", "filter\tb\t{10,0}", "filter\tSYS:GROUP_TOTALS\t{210,3}")
	flushed := rows("a", 200, 7, "b", 10, 0, "SYS:GROUP_TOTALS", 210, 3) // P lacks the filter: all pass, Q's override counts
	q.frame(KindWindow, AppendWindow(nil, 1, ModeFlush, First|Last, 60, 2, flushed))
	p.frame(KindWindow, AppendWindow(nil, 1, ModeObserve, First|Last, 60, 2, flushed))
	flushes := []string{"flush\ta\t{200,7}", "flush\tb\t{10,0}", "flush\tSYS:GROUP_TOTALS\t{210,3}", "end"}
	q.wantSaid(flushes...)
	p.wantSaid(append([]string{"begin\t60"}, flushes...)...)

	if got := q.window(ModeDecide, window); got != "a -b SYS:GROUP_TOTALS 0.1=7" { // Q alone
		t.Errorf("votes %s", got)
	}
	q.wantSaid("begin\t60", "filter\ta\t{200,3}", "flush\ta\t{200,7}", "filter\tb\t{10,0}", "filter\tSYS:GROUP_TOTALS\t{210,3}", "flush\tSYS:GROUP_TOTALS\t{210,3}", "end")
}

// Golden trace 10.5: a script that watches for keys that are silent, configured by a function that calls onload.
func TestTraceOfStableKeys(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "stable" },
		onload = function() T.config = { group = "`+hostsGUID+`" } T.last, T.seen = {}, {} end,
		cg_monitor = {
			counter_guid = function() TrisulPlugin.onload() return T.config.group end,
			onbeginflush = function() T.seen = {} end,
			onflush = function(engine, ts, key) T.seen[key] = true end,
			onendflush = function(engine)
				for key in pairs(T.last) do
					if not T.seen[key] then
						local a, b, c, d = key:match("(%x%x)%.(%x%x)%.(%x%x)%.(%x%x)")
						engine:add_alert("`+alertGUID+`", nil, "STABLEKEYS", 1,
							T.util.ntop(tonumber(a .. b .. c .. d, 16)) .. " is silent")
					end
				end
				T.last = T.seen
			end } }`)
	var p Probe
	b.ask(KindProbe, someGroups, &p)
	if got := p.Blocks[0].Attach.GUIDs; len(got) != 1 || got[0] != hostsGUID {
		t.Fatalf("%+v", p)
	}
	b.start(1)
	window := func(keys ...any) string {
		t.Helper()
		b.effects = nil
		b.frame(KindWindow, AppendWindow(nil, 1, ModeObserve, First|Last, 60, 1, rows(keys...)))
		var messages []string
		for _, e := range b.effects {
			if e.Op != OpAlert || e.Alert.Flow != "" || e.Alert.SigID != "STABLEKEYS" || e.Alert.Priority != 1 || e.Alert.GUID != alertGUID {
				t.Errorf("%+v", e)
			}
			messages = append(messages, e.Alert.Message)
		}
		return strings.Join(messages, ", ")
	}
	const x, y = "0A.00.00.01", "0A.00.00.02"
	for i, want := range []string{"", "10.0.0.2 is silent", "10.0.0.1 is silent", ""} {
		keys := [][]any{{x, 1, y, 1}, {x, 1}, {}, {}}[i]
		if got := window(keys...); got != want {
			t.Errorf("window %d: %q, want %q", i+1, got, want)
		}
	}
	b.wantErrors()
}
