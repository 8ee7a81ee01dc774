package countergroup

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// 1.5: the value of each type over the topper bucket, of five windows.
func TestTopperValues(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: top(5, meters(Counter, Rate, Gauge, Running, Average, DeltaRate, Maximum, Minimum))})
	b.Tick(300)
	b.calls = nil
	for i, window := range [][]float64{{3, 6}, {}, {9}, {5, 1}, {}} {
		for m := range 8 {
			if len(window) > 0 && m != 2 || i == 0 { // the gauge is written in the first window only
				b.add("a", m, window...)
			}
		}
		b.Tick(int64(360 + 60*i))
	}
	b.only("toppers")
	b.expect("toppers G 0 300-600 a=24 SYS:GROUP_TOTALS=24",
		"toppers G 1 300-600 a=0.08 SYS:GROUP_TOTALS=0.08",
		"toppers G 2 300-600 a=6 SYS:GROUP_TOTALS=6",
		"toppers G 3 300-600 a=24 SYS:GROUP_TOTALS=24",
		"toppers G 4 300-600 a=4.8 SYS:GROUP_TOTALS=4.8",
		"toppers G 5 300-600 a=0.02 SYS:GROUP_TOTALS=0.02", // 3 to 9, then a reset
		"toppers G 6 300-600 a=9 SYS:GROUP_TOTALS=9",
		"toppers G 7 300-600 a=1 SYS:GROUP_TOTALS=1")
	b.Tick(900) // the next topper bucket begins with nothing
	b.only("toppers")
	if len(b.calls) != 8 || strings.Contains(strings.Join(b.calls, ""), "=") {
		t.Errorf("%q", b.calls)
	}
}

// Largest first, ties by key, n of them, totals of all keys last; bottom counts make no list.
func TestTopperOrder(t *testing.T) {
	b := newBench(t, Config{TopperBucket: 60}, Definition{Meters: []Meter{{ID: 0, Type: Counter, Top: 4}, {ID: 1, Type: Counter, Bottom: 5}, {ID: 2, Type: Running, Top: 2}}})
	b.Tick(60)
	b.expect("flush 60", "window G 0-60", "toppers G 0 0-60", "toppers G 2 0-60", "end 60") // no active key: no items
	for i, key := range []string{"e", "d", "c", "b", "a", "f", "g"} {
		b.add(key, 0, []float64{5, 7, 7, 7, 1, 9, 0.5}[i])
	}
	b.add("a", 2, -5)
	b.Tick(120)
	b.only("toppers")
	b.expect("toppers G 0 60-120 f=9 b=7 c=7 d=7 SYS:GROUP_TOTALS=36.5", "toppers G 2 60-120 a=-5 SYS:GROUP_TOTALS=-5")
}

// 10.3 as far as the engine goes: the meters of Hosts with a top count, bytes of 300 seconds over 300.
func TestGoldenToppers(t *testing.T) {
	var hosts Definition
	for _, d := range Builtin() {
		if d.Title == "Hosts" {
			hosts = d
		}
	}
	b := newBench(t, Config{}, hosts)
	b.Tick(600)
	b.calls = nil
	for minute := range 5 {
		for i := range 60 { // more keys than the 50 of meter 0
			b.add(fmt.Sprintf("C0.A8.01.%02X", i), 0, float64(300*(i+1)))
		}
		b.Tick(int64(660 + 60*minute))
	}
	var got []int
	b.only("toppers Hosts")
	for _, c := range b.calls {
		var meter int
		if _, err := fmt.Sscanf(c, "toppers Hosts %d 600-900", &meter); err != nil {
			t.Fatal(c, err)
		}
		got = append(got, meter)
	}
	if want := []int{0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}; !slices.Equal(got, want) {
		t.Errorf("toppers of the meters %v, want %v", got, want)
	}
	fields := strings.Fields(b.calls[0])[4:]
	if len(fields) != 51 || fields[0] != "C0.A8.01.3B=300" || fields[1] != "C0.A8.01.3A=295" || fields[50] != "SYS:GROUP_TOTALS=9150" {
		t.Errorf("%d items: %v", len(fields), fields)
	}
}

// What one stage drops, the next does not see.
func TestTopperVotes(t *testing.T) {
	b := newBench(t, Config{TopperBucket: 60}, Definition{Meters: top(3, meters(Counter))})
	store := &recorder{}
	b.SetStages(&b.recorder, store)
	b.onToppers = func(l *Toppers) {
		for i := range l.Items {
			if l.Items[i].Key == "b" {
				l.Items[i].Drop()
			}
		}
	}
	b.onWindow = func(w *Window) { // overrides never change toppers
		for i := range w.Rows {
			w.Rows[i].Values[0] = 99
		}
	}
	b.Tick(60)
	for i, key := range []string{"a", "b", "c"} {
		b.add(key, 0, float64(i+1))
	}
	b.Tick(120)
	b.calls = store.calls
	b.only("toppers G 0 60")
	b.expect("toppers G 0 60-120 c=3 a=1 SYS:GROUP_TOTALS=6")
}
