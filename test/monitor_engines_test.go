package test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMonitorEngines: with four engines a script has a state for each, every key meets the same one in every window, the votes of one are about its keys
// only, each engine has totals of its own, and the store has those of the whole group.
func TestMonitorEngines(t *testing.T) {
	m := startMonitoredAs(t, ", engines: 4", "", map[string]string{"feeder.lua": feeder, "engines.lua": onFed("engines", `
  onload = function() say("onload", T.backend_engineid, T.monitor_group_name) seen = 0 end,
  onnewkey = function(engine, ts, key) say("onnewkey", engine:instanceid(), key) end,
  onflushfilter = function(engine, ts, key, m)
    seen = seen + 1
    return key:sub(1, 1) ~= "x"
  end,
  onflush = function(engine, ts, key, m) say("onflush", engine:instanceid(), T.backend_engineid, key, m[1], seen > 0) end,
  ontopperflush = function(engine, key, metric) say("ontopperflush", engine:instanceid(), key, metric) end,`)}, "engines.lua Fed")
	m.sees("engines", `^onload 3 Fed$`)
	const keys, windows = 64, 3
	engineOf := make(map[string]string)
	for window := range windows {
		together()
		var updates []string
		for i := range keys {
			updates = append(updates, fmt.Sprintf("k%d 0 %d", i, i+1), fmt.Sprintf("x%d 0 1", i))
		}
		m.feed(updates...)
		var lines []string
		soon(t, func() string {
			lines = m.seen("engines")
			flushed, listed := countLines(lines, "onflush", "SYS:GROUP_TOTALS"), countLines(lines, "ontopperflush", "k")
			if flushed < 4*(window+1) || listed < 10*(window+1) {
				return fmt.Sprintf("%d totals of engines and %d entries of lists after %d windows", flushed, listed, window+1)
			}
			return ""
		})
	}
	lines := m.seen("engines")
	totals, news, tops := 0.0, 0, 0
	sums, flushed := make(map[string]float64), make(map[string]int)
	for _, line := range lines {
		words := strings.Fields(line)
		switch words[0] {
		case "onnewkey":
			news++
		case "ontopperflush":
			if words[2] != "SYS:GROUP_TOTALS" {
				tops++
				if engineOf[words[2]] != words[1] {
					t.Errorf("the list of engine %s has a key of engine %s: %s", words[1], engineOf[words[2]], line)
				}
			}
		case "onflush":
			engine, key := words[1], words[3]
			value, _ := strconv.ParseFloat(words[4], 64)
			if engine != words[2] || words[5] != "true" {
				t.Errorf("an instance of engine %s: %s", words[2], line)
			}
			if key == "SYS:GROUP_TOTALS" {
				totals += value
				continue
			}
			if before := engineOf[key]; before != "" && before != engine {
				t.Errorf("%s met engine %s and then %s", key, before, engine)
			}
			engineOf[key] = engine
			flushed[key]++
			sums[engine] += value
		}
	}
	if len(engineOf) != keys || len(sums) != 4 {
		t.Errorf("%d keys at the engines %v", len(engineOf), sums)
	}
	for key, n := range flushed {
		if n != windows || key[0] == 'x' {
			t.Errorf("%s was flushed %d times", key, n)
		}
	}
	if want := float64(windows * (keys*(keys+1)/2 + keys)); totals != want { // what filters keep away counts in totals
		t.Errorf("the totals of all engines come to %v, want %v", totals, want)
	}
	if news != 2*keys {
		t.Errorf("%d new keys", news)
	}
	if tops != windows*10 { // of the ten largest of the whole group, each at its engine
		t.Errorf("%d entries of lists", tops)
	}
	soon(t, func() string {
		got := grouped(t, m.process, "Fed")
		if len(got) != keys+1 || got["SYS:GROUP_TOTALS"]["volume"] != totals || got["k63"]["volume"] != windows*64 {
			return fmt.Sprint(got)
		}
		return ""
	})
	var answer struct {
		Monitors []struct {
			File      string
			Instances []struct {
				Engine int
				State  string
			}
		}
	}
	if err := m.ask("/api/v1/monitors", &answer); err != nil {
		t.Fatal(err)
	}
	var engines []string
	for _, one := range answer.Monitors {
		if strings.HasSuffix(one.File, "engines.lua") {
			for _, i := range one.Instances {
				engines = append(engines, fmt.Sprint(i.Engine, " ", i.State))
			}
		}
	}
	if want := []string{"0 running", "1 running", "2 running", "3 running"}; !slices.Equal(engines, want) {
		t.Errorf("instances %q, want %q", engines, want)
	}
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
}

// countLines is how many lines begin with a word and have another one that begins so.
func countLines(lines []string, first, other string) (n int) {
	for _, line := range lines {
		if strings.HasPrefix(line, first+" ") && strings.Contains(line, " "+other) {
			n++
		}
	}
	return n
}
