package countergroup

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// 2.3: the order of calls at a second that ends a window, two groups, two stages.
func TestOrder(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: top(2, meters(Rate, Counter)), TopperBucket: 60}, Definition{Meters: meters(Counter)},
		Definition{Bucket: 120, Meters: meters(Counter)})
	b.recorder.seconds = true
	b.Watch(b.group("H"), true, true)
	b.Tick(59)
	b.expect("begin second 59", "end second 59")
	b.batch.Add(b.group("H"), []byte("z"), 0, 1)
	b.batch.Add(b.group("H"), []byte("a"), 0, 2)
	b.batch.Add(b.group("G"), []byte("x"), 0, 60)
	b.batch.Add(b.group("I"), []byte("y"), 0, 3)
	b.batch.Send()
	b.Tick(60)
	b.expect("begin second 60", "second H 60 !a=[2] !z=[1]", "end second 60",
		"flush 60",
		"window G 0-60 x=[1 0] SYS:GROUP_TOTALS=[1 0]",
		"toppers G 0 0-60 x=1 SYS:GROUP_TOTALS=1", "toppers G 1 0-60", // of meters with a value only
		"window H 0-60 a=[2] z=[1] SYS:GROUP_TOTALS=[3]",
		"end 60")
	for now := int64(61); now <= 120; now++ {
		b.Tick(now)
	}
	b.only("window")
	b.expect("window G 60-120", "window H 60-120", "window I 0-120 y=[3] SYS:GROUP_TOTALS=[3]") // silence is seen too
	b.balanced()
}

// 1.2: a bucket shorter than the window is the window; a longer one is rounded up to windows.
func TestBuckets(t *testing.T) {
	f := func(bucket, topper, override, wantBucket, wantTopper int) {
		t.Helper()
		b := newBench(t, Config{TopperBucket: override}, Definition{Bucket: bucket, TopperBucket: topper, Meters: meters(Rate)})
		if s := b.Stats()[0]; s.Bucket != wantBucket || s.TopperBucket != wantTopper {
			t.Errorf("bucket %d, topper bucket %d, override %d: got %d and %d", bucket, topper, override, s.Bucket, s.TopperBucket)
		}
	}
	f(0, 0, 0, 60, 300)
	f(30, 30, 0, 60, 60)
	f(60, 300, 60, 60, 60)
	f(61, 301, 0, 120, 360)
	f(120, 300, 0, 120, 360)
	f(300, 60, 0, 300, 300)

	b := newBench(t, Config{}, Definition{Bucket: 30, Meters: meters(Rate)}, Definition{Bucket: 100, Meters: meters(Rate)})
	b.Tick(60)
	for _, g := range b.groups.Groups() {
		b.batch.Add(g, []byte("k"), 0, 1200)
	}
	b.batch.Send()
	b.Tick(120)
	b.Tick(240)
	b.only("window")
	b.expect("window G 0-60", "window G 60-120 k=[20] SYS:GROUP_TOTALS=[20]", "window H 0-120 k=[10] SYS:GROUP_TOTALS=[10]",
		"window G 120-180", "window G 180-240", "window H 120-240")
}

// 2.6: the values of a second.
func TestSecondValues(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter, Rate, Gauge, Running, Average, DeltaRate, Maximum, Minimum)})
	b.Watch(b.group("G"), true, false)
	b.Tick(60)
	for m := range 8 {
		b.add("k", m, 600, 700)
	}
	b.Tick(61)
	b.add("k", 0, 5)
	b.Tick(62)
	b.Tick(63)
	b.add("k", 5, 750)
	b.Tick(64)
	b.only("second")
	b.expect("second G 61 k=[1300 1300 700 1300 650 100 700 600]", // a gauge is its current value, a running counter its running one
		"second G 62 k=[5 0 700 1300 0 0 0 0]",
		"second G 64 k=[0 0 700 1300 0 50 0 0]")
	b.Tick(120)
	b.only("window G 60")
	b.expect("window G 60-120 k=[1305 21.666666666666668 700 1300 650 2.5 700 600] SYS:GROUP_TOTALS=[1305 21.666666666666668 700 1300 650 2.5 700 600]")
}

// A second nobody watches is not made; watching begins with the next second and ends with the release.
func TestWatch(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter)})
	g := b.group("G")
	b.Tick(1)
	b.add("a", 0, 1)
	b.Tick(2)
	b.expect()
	release := b.Watch(g, true, false)
	also := b.Watch(g, true, true)
	b.Tick(3)
	b.add("a", 0, 2)
	b.add("c", 0, 4)
	b.add("b", 0, 3)
	b.Tick(4)
	b.expect("second G 4 a=[2] !b=[3] !c=[4]")
	release()
	release() // counts once
	b.add("a", 0, 5)
	b.Tick(5)
	b.expect("second G 5 a=[5]")
	also()
	b.Tick(6)
	b.add("a", 0, 1)
	b.Tick(7)
	b.expect()
	keysOnly := b.Watch(g, false, true)
	b.Tick(8)
	b.add("a", 0, 1)
	b.Tick(9)
	b.expect()
	b.add("a", 0, 1)
	b.add("e", 0, 1)
	b.add("d", 0, 1)
	b.Tick(10)
	b.expect("second G 10 !d !e")
	keysOnly()
}

// 2.8, sentence by sentence.
func TestNewKeys(t *testing.T) {
	b := newBench(t, Config{NewKeyHorizon: 100e9}, Definition{Meters: meters(Counter), HighWater: 3, LowWater: 2})
	g := b.group("G")
	b.Watch(g, false, true)
	b.Tick(1000)
	b.calls = nil
	seconds := func(want ...string) {
		t.Helper()
		b.only("second")
		b.expect(want...)
	}
	b.add("a", 0, 1, 1)
	b.add("a", 0, 1)
	b.Tick(1001) // at the tick of the first update, once
	seconds("second G 1001 !a")
	b.add("a", 0, 1)
	b.Tick(1002)
	b.Tick(1080) // a flush does not make it new
	b.add("a", 0, 1)
	b.Tick(1081)
	seconds()
	b.Tick(1180) // 100 seconds after the last update: not yet
	b.add("a", 0, 1)
	b.Tick(1181)
	seconds()
	b.Tick(1281) // 101 seconds: expired
	b.add("a", 0, 1)
	b.Tick(1282)
	seconds("second G 1282 !a")
	p := b.Batch() // what scripts make counts as well
	p.Add(g, []byte("s"), 0, 1)
	p.Post()
	b.Tick(1283)
	seconds("second G 1283 !s")
	b.batch.Add(g, []byte(TotalsKey), 0, 1) // never
	b.batch.Send()
	b.Tick(1284)
	seconds()
	b.add("b", 0, 1)
	b.add("c", 0, 1)
	b.Tick(1285)
	seconds("second G 1285 !b !c")
	b.Tick(1320) // four keys are more than the high-water mark: the flush clears what was seen
	b.add("c", 0, 1)
	b.Tick(1321)
	seconds("second G 1321 !c")

	// Known keys are not told again to somebody who begins to watch.
	b = newBench(t, Config{}, Definition{Meters: meters(Counter)})
	b.Tick(60)
	b.add("a", 0, 1)
	b.Tick(61)
	b.Watch(b.group("G"), true, true)
	b.Tick(62)
	b.add("a", 0, 1)
	b.Tick(63)
	b.only("second")
	b.expect("second G 63 a=[1]")
}

// 4.2: updates posted during the flush of a window count in the next one, also for the group that is flushed; and section 2.3: they
// enter at the next tick.
func TestFeedback(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Rate)}, Definition{Meters: meters(Rate)})
	g, h := b.group("G"), b.group("H")
	b.Watch(h, true, false)
	b.Tick(60)
	b.add("C0.A8.03.64", 0, 745513)
	script := b.Batch()
	b.onWindow = func(w *Window) {
		for _, r := range w.Rows {
			if w.Group == g && r.Key != "own" {
				script.Add(h, []byte(r.Key), 0, 60*r.Values[0]) // the totals too, as scripts do
				script.Add(g, []byte("own"), 0, 60)
				script.Post()
			}
		}
	}
	b.Tick(120)
	b.onWindow = nil
	b.Tick(121)
	b.Tick(180)
	b.Tick(240)
	b.only("window")
	rate := 745513.0 / 60
	b.expect("window G 0-60", "window H 0-60",
		fmt.Sprintf("window G 60-120 C0.A8.03.64=[%v] SYS:GROUP_TOTALS=[%v]", rate, rate), "window H 60-120",
		"window G 120-180 own=[2] SYS:GROUP_TOTALS=[2]",
		fmt.Sprintf("window H 120-180 C0.A8.03.64=[%v] SYS:GROUP_TOTALS=[%v]", rate, rate),
		"window G 180-240", "window H 180-240")
	if a := b.balanced(); a.Discarded["reserved_key"] != 1 {
		t.Errorf("%+v", a)
	}
}

// 4.2: the end of the input.
func TestFinish(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: top(1, meters(Counter))}, Definition{Meters: meters(Counter)}, Definition{Bucket: 3600, Meters: meters(Counter)})
	script := b.Batch()
	b.onWindow = func(w *Window) {
		for _, r := range w.Rows {
			if w.Group.Title != "I" && r.Key != TotalsKey {
				script.Add(b.group("H"), []byte(r.Key), 0, r.Values[0]) // and H feeds itself, without end
				script.Post()
			}
		}
	}
	b.Tick(1000)
	b.add("a", 0, 1)
	b.batch.Add(b.group("I"), []byte("i"), 0, 7)
	b.batch.Send()
	b.Tick(1010)
	b.Finish()
	b.Finish() // nothing more
	b.only("window")
	b.expect("window G 960-1020 a=[1] SYS:GROUP_TOTALS=[1]", "window H 960-1020", "window I 0-1020 i=[7] SYS:GROUP_TOTALS=[7]",
		"window G 1020-1080", "window H 1020-1080 a=[1] SYS:GROUP_TOTALS=[1]", "window I 0-1080")
	if a := b.balanced(); a.Discarded["shutdown"] != 1 {
		t.Errorf("%+v", a)
	}

	// The last record is the last of its window: its flush was the final one.
	b = newBench(t, Config{}, Definition{Meters: top(1, meters(Rate))})
	b.Tick(1000)
	b.add("a", 0, 600)
	b.Tick(1020)
	b.Finish()
	b.expect("flush 1020", "window G 960-1020 a=[10] SYS:GROUP_TOTALS=[10]", "end 1020",
		"flush 1080", "window G 1020-1080", "toppers G 0 900-1080 a=2 SYS:GROUP_TOTALS=2", "end 1080")

	newBench(t, Config{}, Definition{Meters: meters(Rate)}).Finish() // no input at all
}

// What cannot be counted is dropped with a reason (4.2 and section 9).
func TestDropped(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Rate, Counter)})
	g := b.group("G")
	b.Tick(60)
	f := func(reason, key string, meter int, value float64) {
		t.Helper()
		before := b.balanced().Discarded[reason]
		b.batch.Add(g, []byte(key), meter, value)
		b.batch.Send()
		if after := b.balanced().Discarded[reason]; after != before+1 {
			t.Errorf("%.20q meter %d value %v: the reason %q was not counted", key, meter, value, reason)
		}
	}
	f("bad_key", "", 0, 1)
	f("bad_key", strings.Repeat("k", 513), 0, 1)
	f("reserved_key", TotalsKey, 0, 1)
	f("bad_meter", "k", 2, 1)
	f("bad_meter", "k", -1, 1)
	f("not_finite", "k", 0, math.NaN())
	f("not_finite", "k", 0, math.Inf(1))
	f("not_finite", "k", 1, math.Inf(-1))
	b.add(strings.Repeat("k", 512), 0, 60)
	b.add("nul\x00key", 1, -3)
	b.batch.AddRow(g, []byte("r"), []int{0, 7, 1, 0}, []float64{60, 1, 3, math.NaN()}) // the rest of a row counts
	b.batch.AddRow(g, []byte("none"), []int{7}, []float64{1})
	b.batch.AddRow(g, nil, []int{0, 1}, []float64{1, 1})
	if b.batch.Len() != 2 {
		t.Errorf("the batch holds %d values", b.batch.Len())
	}
	b.batch.Send()
	b.Tick(120)
	b.only("window G 60")
	b.expect("window G 60-120 " + strings.Repeat("k", 512) + "=[1 0] nul\x00key=[0 -3] r=[1 3] SYS:GROUP_TOTALS=[2 0]")
	a := b.balanced()
	if a.Received != 17 || a.Passed != 4 || a.Discarded["bad_meter"] != 4 || a.Discarded["bad_key"] != 4 {
		t.Errorf("%+v", a)
	}
}

func TestQueueLimit(t *testing.T) {
	b := newBench(t, Config{Queue: 3}, Definition{Meters: meters(Counter)})
	p := b.Batch()
	post := func(n int) bool {
		for range n {
			p.Add(b.group("G"), []byte("k"), 0, 1)
		}
		return p.Post()
	}
	if !post(2) || post(2) || !post(1) {
		t.Error("the limit of the queue")
	}
	if a := b.balanced(); a.Buffered != 3 || a.Discarded["queue_full"] != 2 || a.Passed != 0 {
		t.Errorf("%+v", a)
	}
	b.Tick(60)
	b.only("window")
	b.expect("window G 0-60 k=[3] SYS:GROUP_TOTALS=[3]")
	if a := b.balanced(); a.Buffered != 0 || a.Passed != 3 {
		t.Errorf("%+v", a)
	}
	if !post(3) {
		t.Error("the tick did not empty the queue")
	}
}

// Section 9: clock jumps.
func TestClockJumps(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter)}, Definition{Bucket: 300, Meters: meters(Counter)})
	b.Tick(1000)
	b.add("a", 0, 1)
	b.Tick(990) // back: nothing happens
	b.expect()
	b.add("a", 0, 1)
	b.Tick(1001)
	b.Tick(1200) // forward within ten windows: every window is there
	b.only("window G")
	b.expect("window G 960-1020 a=[2] SYS:GROUP_TOTALS=[2]", "window G 1020-1080", "window G 1080-1140", "window G 1140-1200")
	b.add("a", 0, 3)
	b.batch.Add(b.group("H"), []byte("b"), 0, 4)
	b.batch.Send()
	b.Tick(1_000_000) // further: one flush of everything, and no windows in the gap
	b.add("a", 0, 5)
	b.Tick(1_000_020)
	b.expect("flush 1260", "window G 1200-1260 a=[3] SYS:GROUP_TOTALS=[3]", "window H 1200-1260 b=[4] SYS:GROUP_TOTALS=[4]", "end 1260",
		"flush 1000020", "window G 999960-1000020 a=[5] SYS:GROUP_TOTALS=[5]", "end 1000020")
	b.Tick(1_000_020 + 600) // ten windows are not skipped
	if len(b.calls) != 10*3+2 {
		t.Errorf("%q", b.calls)
	}
	b.calls = nil
	b.Tick(1_000_620 + 601)
	b.expect("flush 1000680", "window G 1000620-1000680", "window H 1000500-1000680", "end 1000680")
	if !strings.Contains(b.log.String(), "jumped forward") {
		t.Errorf("log: %s", b.log.String())
	}
	b.balanced()
}

// A group registered while the engine runs is there from then on.
func TestRegisterLater(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Counter)})
	b.Tick(60)
	g, err := b.groups.Register(Definition{GUID: "{00000000-0000-0000-0000-0000000000FF}", Title: "late", Meters: meters(Counter)})
	if err != nil {
		t.Fatal(err)
	}
	b.batch.Add(g, []byte("k"), 0, 1)
	b.batch.Send()
	b.Tick(120)
	b.only("window late")
	b.expect("window late 60-120 k=[1] SYS:GROUP_TOTALS=[1]")
}

// 10.1 as far as the engine goes: what the stage of a voting script gets, and what the stage behind it is given.
func TestGoldenMinute(t *testing.T) {
	const noon = 1_700_006_400 // a whole minute
	b := newBench(t, Config{}, Definition{Meters: meters(Rate, Counter)})
	store := &recorder{}
	b.SetStages(&b.recorder, store)
	b.onWindow = func(w *Window) {
		for i := range w.Rows {
			switch w.Rows[i].Key {
			case "a":
				w.Rows[i].Values[1] = 7 // true, {-1, 7}
			case "b":
				w.Rows[i].Drop() // false, and nobody else votes
			}
		}
	}
	b.Watch(b.group("G"), true, true)
	b.Tick(noon)
	b.calls, store.calls = nil, nil
	b.Tick(noon + 5)
	b.add("a", 0, 6000)
	b.add("a", 1, 3)
	b.Tick(noon + 6)
	b.expect(fmt.Sprintf("second G %d !a=[6000 3]", noon+6))
	b.Tick(noon + 40)
	b.add("a", 0, 6000)
	b.add("b", 0, 600)
	b.Tick(noon + 60)
	b.only("window")
	b.expect(fmt.Sprintf("window G %d-%d a=[200 3] b=[10 0] SYS:GROUP_TOTALS=[210 3]", noon, noon+60))
	b.calls = store.calls
	b.only("window")
	b.expect(fmt.Sprintf("window G %d-%d a=[200 7] SYS:GROUP_TOTALS=[210 3]", noon, noon+60))

	// The next window knows nothing of the override.
	b.onWindow = nil
	b.add("a", 1, 1)
	b.Tick(noon + 120)
	b.only("window")
	b.expect(fmt.Sprintf("window G %d-%d a=[0 1] SYS:GROUP_TOTALS=[0 1]", noon+60, noon+120))
}
