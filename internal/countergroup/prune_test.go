package countergroup

import (
	"fmt"
	"strings"
	"testing"
)

// Section 9: more keys than the high-water mark are pruned to the low one at the flush, the longest unused first; until
// then new keys are taken in.
func TestPrune(t *testing.T) {
	b := newBench(t, Config{TopperBucket: 300}, Definition{Meters: top(10, meters(Counter, Running)), HighWater: 5, LowWater: 3})
	g := b.group("G")
	b.Tick(300)
	for i, key := range []string{"a", "b", "c", "d", "e"} {
		b.add(key, 0, 1)
		b.add(key, 1, 10)
		g.SetLabel(key, "label of "+key, "")
		b.Tick(int64(301 + i))
	}
	b.Tick(360)
	b.add("a", 0, 1) // used again
	b.Tick(361)
	b.add("f", 0, 1)
	b.Tick(420)
	if s := b.Stats()[0]; s.Keys != 3 || s.Created != 6 || s.Pruned != 3 {
		t.Fatalf("%+v", s)
	}
	for _, key := range []string{"b", "c", "d"} {
		if _, ok := g.Info(key); ok {
			t.Errorf("the label of %s is left", key)
		}
	}
	if g.Label("e") != "label of e" {
		t.Error("the label of a key that stays is gone")
	}
	for _, key := range []string{"a", "b", "e", "f"} {
		b.add(key, 1, 1) // of b, what it had is gone
	}
	b.Tick(480)
	b.only("window G 420")
	b.expect("window G 420-480 a=[0 11] b=[0 1] e=[0 11] f=[0 1] SYS:GROUP_TOTALS=[0 24]")
	if log := b.log.String(); !strings.Contains(log, "group=G") || !strings.Contains(log, "forgotten=3") {
		t.Errorf("log: %s", log)
	}
	b.Tick(600) // b of this window only, but the totals are of all
	b.only("toppers")
	b.expect("toppers G 0 300-600 a=2 e=1 f=1 SYS:GROUP_TOTALS=7", "toppers G 1 300-600 a=11 e=11 b=1 f=1 SYS:GROUP_TOTALS=54")
	b.balanced()
}

// Keys updated while the flush goes on are in the running bucket and stay, however many there are.
func TestPruneKeepsTheRunningBucket(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter), HighWater: 5, LowWater: 1})
	keys := strings.Split("a b c d e f", " ")
	b.Tick(60)
	for _, key := range keys {
		b.add(key, 0, 1)
	}
	b.onWindow = func(*Window) {
		for _, key := range keys[1:] {
			b.add(key, 0, 2)
		}
	}
	b.Tick(120)
	b.onWindow = nil
	if n := b.Stats()[0].Keys; n != 5 { // a went
		t.Errorf("%d keys", n)
	}
	b.add("a", 0, 3)
	b.add("b", 0, 3)
	b.Tick(180)
	b.only("window G 120")
	b.expect("window G 120-180 a=[3] b=[5] c=[2] d=[2] e=[2] f=[2] SYS:GROUP_TOTALS=[16]")
}

// A flood of keys: memory stays bounded, the totals are exact, every window, and the group is named.
func TestFlood(t *testing.T) {
	const high, flood = 1000, 20_000
	b := newBench(t, Config{}, Definition{Title: "victim", Meters: top(5, meters(Counter, Average, Maximum, Minimum, Running)), HighWater: high}, Definition{Meters: meters(Counter)})
	g := b.group("victim")
	var windows, rows int
	b.onWindow = func(w *Window) {
		if w.Group != g || len(w.Rows) == 0 {
			return
		}
		windows++
		rows = max(rows, len(w.Rows))
		last := w.Rows[len(w.Rows)-1]
		if got := fmt.Sprint(last.Values); last.Key != TotalsKey || got != fmt.Sprint([]float64{flood, (flood - 1) / 2.0, flood - 1, 0, flood}) {
			t.Errorf("window %d: %s=%s", windows, last.Key, got)
		}
	}
	b.Tick(60)
	for window := range 4 {
		for i := range flood {
			key := fmt.Appendf(nil, "%d-%d", window, i)
			b.batch.AddRow(g, key, []int{0, 1, 2, 3, 4}, []float64{1, float64(i), float64(i), float64(i), 1})
			if i%1000 == 0 {
				b.batch.Send()
			}
		}
		b.batch.Send()
		if s := b.Stats()[0]; s.Keys != 2*high {
			t.Errorf("%d keys are held", s.Keys)
		}
		b.Tick(int64(120 + 60*window))
		if s := b.Stats()[0]; s.Keys != high*4/5 {
			t.Errorf("%d keys are held after the flush", s.Keys)
		}
		entries, rows := 0, 0 // nothing grows beyond the keys that may be held, but for what is uneven among shards
		for i := range b.shards {
			for _, table := range b.shards[i].tables {
				if table != nil {
					entries, rows = entries+int(table.used), rows+len(table.toppers.owners)
				}
			}
		}
		if entries > 3*high || rows > 3*high {
			t.Errorf("there are %d entries and %d rows of toppers", entries, rows)
		}
	}
	if windows != 4 || rows != 2*high+1 {
		t.Errorf("%d windows of at most %d rows", windows, rows)
	}
	a := b.balanced()
	if lost := a.Discarded["key_limit"]; lost != 5*int64(4*flood-2*high-3*(2*high-high*4/5)) || a.Received != 5*4*flood {
		t.Errorf("%+v", a)
	}
	if !strings.Contains(b.log.String(), "group=victim") {
		t.Errorf("log: %s", b.log.String())
	}
	b.only("toppers victim 0 0-300") // of all four windows
	if len(b.calls) != 1 || !strings.HasSuffix(b.calls[0], fmt.Sprintf("SYS:GROUP_TOTALS=%d", 4*flood)) {
		t.Errorf("%q", b.calls)
	}
}

// Ten million distinct keys at a group of the usual size, in windows of a million, without a pause. The totals are exact, what has no key is accounted for,
// and what is held is bounded by the high-water mark.
func TestFloodOfTenMillionKeys(t *testing.T) {
	const windows, each = 10, floodKeys
	b := newBench(t, Config{}, Definition{Title: "victim", Meters: top(5, meters(Counter, Rate))})
	totals := &totalsStage{}
	b.SetStages(totals) // and no record of all the calls
	g := b.group("victim")
	b.Tick(60)
	var key []byte
	for window := range windows {
		for i := range each {
			key = appendHost(key[:0], window*each+i)
			b.batch.AddRow(g, key, []int{0, 1}, []float64{1, 60})
			if i%1000 == 999 {
				b.batch.Send()
			}
		}
		if held := b.Stats()[0].Keys; held > 2*DefaultHighWater {
			t.Errorf("%d keys are held", held)
		}
		b.Tick(int64(120 + 60*window))
		if held := b.Stats()[0].Keys; held > DefaultHighWater {
			t.Errorf("%d keys are held after a flush", held)
		}
	}
	for n, got := range totals.seen {
		if got != [2]float64{each, each} {
			t.Errorf("window %d: totals %v", n, got)
		}
	}
	if len(totals.seen) != windows {
		t.Errorf("%d windows", len(totals.seen))
	}
	a := b.balanced()
	if a.Received != 2*windows*each || a.Passed+a.Discarded["key_limit"] != a.Received {
		t.Errorf("%+v", a)
	}
	if log := b.log.String(); !strings.Contains(log, "group=victim") {
		t.Errorf("log: %s", log)
	}
}

// totalsStage keeps the totals of windows of two meters.
type totalsStage struct {
	Nothing
	seen [][2]float64
}

func (s *totalsStage) Window(w *Window) {
	for _, row := range w.Rows {
		if row.Key == TotalsKey {
			s.seen = append(s.seen, [2]float64(row.Values))
		}
	}
}

// Figures of the groups and of the ledger at /metrics, and the live table.
func TestTop(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter, Rate)}, Definition{Meters: meters(Counter)})
	g := b.group("G")
	b.Tick(60)
	for i, key := range []string{"a", "b", "c", "d", "e"} {
		b.add(key, 0, []float64{5, 7, 7, 9, 1}[i])
		b.add(key, 1, 100)
	}
	b.Tick(70)
	f := func(meter, n int, want string) {
		t.Helper()
		table := b.Top(g, meter, n)
		var s strings.Builder
		fmt.Fprintf(&s, "%d+%d %d keys", table.Start, table.Seconds, table.Keys)
		for _, row := range table.Rows {
			fmt.Fprintf(&s, " %s=%v", row.Key, row.Values)
		}
		fmt.Fprintf(&s, " %v", table.Totals)
		if s.String() != want {
			t.Errorf("Top(%d, %d) = %s, want %s", meter, n, s.String(), want)
		}
	}
	f(0, 3, "60+10 5 keys d=[9 10] b=[7 10] c=[7 10] [29 50]")
	f(1, 2, "60+10 5 keys a=[5 10] b=[7 10] [29 50]")
	f(2, 2, "0+0 0 keys []")
	f(0, 0, "0+0 0 keys []")
	b.Tick(120)
	f(0, 3, "120+1 0 keys [0 0]")
	b.add("a", 0, 1)
	f(0, 3, "120+1 1 keys a=[1 0] [1 0]")
}
