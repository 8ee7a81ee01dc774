package countergroup

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Section 9: a group that is taken away has its running window flushed when that ends, and its keys forgotten; what comes later is dropped and
// counted, whether it was under way or comes from who still holds the group; other groups do not notice. The GUID may be registered again.
func TestRemove(t *testing.T) {
	b := newBench(t, Config{}, Definition{Title: "going", Meters: top(5, meters(Counter))}, Definition{Title: "staying", Meters: meters(Counter)})
	going, staying := b.group("going"), b.group("staying")
	release := b.Watch(going, true, true)
	defer release()
	b.Tick(60)
	add := func(g *Group, key string) { b.batch.Add(g, []byte(key), 0, 1) }
	add(going, "a")
	add(staying, "a")
	b.batch.Send()
	add(going, "b")
	b.batch.Post()    // enters with the next second
	add(going, "c")   // is under way
	add(staying, "c") // with it
	var told []*Group
	b.registry.OnRemove(func(g *Group) { told = append(told, g) })
	if !b.registry.Remove(strings.ToLower(going.GUID)) || b.registry.Remove(going.GUID) || b.registry.Remove("{00000000-0000-4000-8000-0000000000FF}") {
		t.Error("Remove does not say what was there")
	}
	if !going.Removed() || len(told) != 1 || told[0] != going || b.registry.Lookup(going.GUID) != nil || b.registry.ByTitle("going") != nil {
		t.Errorf("removed %v, told %v", going.Removed(), told)
	}
	add(going, "d") // too late
	b.Tick(90)
	again, err := b.registry.Register(Definition{Title: "going", GUID: going.GUID, Meters: meters(Counter, Counter)})
	if err != nil || again == going {
		t.Fatalf("the GUID cannot be used again: %v", err)
	}
	b.batch.Add(again, []byte("new"), 1, 7)
	b.batch.Send()
	b.Tick(120)
	b.only("window")
	b.calls = b.calls[2:] // of the first tick
	b.expect("window going 60-120 a=[1] b=[1] c=[1] SYS:GROUP_TOTALS=[3]", "window staying 60-120 a=[1] c=[1] SYS:GROUP_TOTALS=[2]", "window going 60-120 new=[0 7] SYS:GROUP_TOTALS=[0 7]")
	b.calls = nil
	add(staying, "e")
	add(going, "e")
	b.batch.Send()
	b.Tick(180)
	b.only("window")
	b.expect("window staying 120-180 e=[1] SYS:GROUP_TOTALS=[1]", "window going 120-180")
	if a := b.balanced(); a.Discarded["group_removed"] != 2 {
		t.Errorf("%+v", a)
	}
	for i := range b.shards {
		if tables := b.shards[i].tables; going.index < len(tables) && tables[going.index] != nil {
			t.Error("a shard still has a table of the group")
		}
	}
	if log := b.log.String(); !strings.Contains(log, "a counter group was taken away") || !strings.Contains(log, "group=going") || !strings.Contains(log, "keys=3") || b.forgotten.Load() != 3 {
		t.Errorf("%d keys forgotten, log: %s", b.forgotten.Load(), log)
	}
}

// A batch that was filled before the group's last flush and is sent after it makes nothing new of the group.
func TestRemoveUnderWay(t *testing.T) {
	b := newBench(t, Config{}, Definition{Title: "going", Meters: meters(Counter)}, Definition{Meters: meters(Counter)})
	g := b.group("going")
	b.Tick(60)
	b.batch.Add(g, []byte("late"), 0, 1)
	b.registry.Remove(g.GUID)
	b.Tick(120)
	b.batch.Send()
	b.Tick(180)
	if a := b.balanced(); a.Discarded["group_removed"] != 1 || a.Passed != 0 {
		t.Errorf("%+v", a)
	}
}

// Groups come and go while several producers count in them and seconds pass: everything is accounted for.
func TestRemoveConcurrently(t *testing.T) {
	b := newBench(t, Config{Window: 1}, Definition{Bucket: 1, Meters: meters(Counter)})
	var counted, dropped float64
	b.onWindow = func(w *Window) {
		for _, row := range w.Rows {
			if row.Key == TotalsKey {
				counted += row.Values[0]
			}
		}
	}
	const producers, each = 3, 20_000
	var sending sync.WaitGroup
	done := make(chan struct{})
	for n := range producers {
		sending.Go(func() {
			batch := b.Batch()
			for i := range each {
				if g := b.registry.ByTitle("coming"); g != nil {
					batch.Add(g, fmt.Append(nil, n, i%50), 0, 1)
				} else {
					batch.Add(b.registry.Groups()[0], []byte("none"), 0, 1)
				}
				if i%7 == 0 {
					batch.Send()
				} else if i%11 == 0 {
					batch.Post()
				}
			}
			batch.Send()
		})
	}
	go func() { sending.Wait(); close(done) }()
	b.Tick(1)
	for t, going := int64(2), false; ; t++ {
		if going = !going; going {
			_, _ = b.registry.Register(Definition{Title: "coming", Bucket: 1, GUID: "{00000000-0000-4000-8000-0000000000FE}", Meters: meters(Counter)})
		} else {
			b.registry.Remove("{00000000-0000-4000-8000-0000000000FE}")
		}
		b.Tick(t)
		select {
		case <-done:
			b.Tick(t + 1)
			b.Tick(t + 2)
		default:
			continue
		}
		break
	}
	a := b.balanced()
	dropped = float64(a.Discarded["group_removed"])
	if a.Received != producers*each || counted+dropped != producers*each {
		t.Errorf("%v counted, %v dropped of %d: %+v", counted, dropped, producers*each, a)
	}
}
