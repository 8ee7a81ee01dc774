package connector

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
)

// unstarted is a connector on a stream with n events that nothing feeds: the test plays the process.
func unstarted(t *testing.T, n, aside int) *Connector {
	t.Helper()
	reg, log := telemetry.NewRegistry(), slog.New(slog.DiscardHandler)
	s := stream.New(stream.Config{Path: t.TempDir()}, reg, log)
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	setup := Setup{Name: "test", BBDO: "3.0.1", Queue: 1000, Aside: aside, Quarantine: filepath.Join(t.TempDir(), "quarantine")}
	c := New(setup, script.DefaultBudget(), s, script.NewRegistry(reg), reg, log)
	if err := c.quarantine.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.quarantine.Close() })
	var err error
	if c.consumer, err = s.Consumer(context.Background(), "connector.test"); err != nil {
		t.Fatal(err)
	}
	c.consumer.Limit(1000)
	list := make([]event.Event, n)
	for i := range list {
		e, err := event.ParseJSON([]byte(`{"category":1,"element":29,"host_id":1,"service_id":2,"output":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		list[i] = e
	}
	if err := s.Append(context.Background(), list); err != nil {
		t.Fatal(err)
	}
	return c
}

// play feeds processes that die of the events that kill until everything is
// acknowledged, or limit processes have ended. The script acknowledges all it gets
// unless the process dies in the same frame. late is a script that dies in flush.
func play(t *testing.T, c *Connector, n uint64, limit int, late bool, kill func(uint64) bool) (deaths int) {
	t.Helper()
	for deaths < limit {
		c.settle()
		if c.consumer.Acked() == n {
			return deaths
		}
		c.consumer.Rewind()
		died := false
		for !died && c.consumer.Read() < n {
			most, _ := c.atOnce(c.consumer.Read() + 1)
			batch, err := c.next(t.Context(), most)
			if err != nil {
				t.Fatal(err)
			}
			c.taken.Store(max(c.taken.Load(), batch.last()))
			c.ledger.Received(batch.count) // again after each death; the test looks at what came of the events
			for _, s := range c.without(batch) {
				c.sends(s)
				for i := range uint64(s.count) {
					died = died || kill(s.first+i)
				}
				if died {
					e := &script.Exit{Name: "test", Reason: "was ended by SIGSEGV"}
					if !late {
						e.Working = &script.Frame{Kind: kindBatch, Payload: slices.Concat(s.frame()...)}
					}
					c.OnExit(e)
					deaths++
					break
				}
				c.OnFrame(kindAck, binary.BigEndian.AppendUint64(nil, s.last()))
			}
		}
	}
	return deaths
}

func TestQuarantine(t *testing.T) {
	f := func(late bool, aside int, want []uint64, kill ...uint64) {
		t.Helper()
		const n = 600
		c := unstarted(t, n, aside)
		deaths := play(t, c, n, 300, late, func(number uint64) bool {
			for _, k := range kill {
				if k == number {
					return true
				}
			}
			return false
		})
		if c.consumer.Acked() != n {
			t.Fatalf("late %v: stands at %d after %d deaths: %+v", late, c.consumer.Acked(), deaths, c.isolation)
		}
		if deaths > 20*len(kill)+1 {
			t.Errorf("late %v: %d deaths for %v", late, deaths, kill)
		}
		account := c.ledger.Snapshot()
		if account.Discarded["quarantined"] != int64(len(want)) || account.Passed != n-int64(len(want)) {
			t.Errorf("late %v: ledger %+v", late, account)
		}
		if len(c.left) != 0 {
			t.Errorf("left out and not forgotten: %v", c.left)
		}
		file, err := os.Open(c.setup.Quarantine)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var got []uint64
		for lines := bufio.NewScanner(file); lines.Scan(); {
			var item script.Quarantined
			if err := json.Unmarshal(lines.Bytes(), &item); err != nil {
				t.Fatal(err)
			}
			it := event.NewIterator(item.Payload)
			if !it.Next() || it.Event.Type.String() == "" || item.Reason == "" || item.Script != "test" {
				t.Errorf("item %+v", item)
			}
			if e, err := event.ParseJSON([]byte(item.Text)); err != nil || e.Type != it.Event.Type {
				t.Errorf("text %s: %v", item.Text, err)
			}
			got = append(got, item.Number)
		}
		if len(got) != len(want) {
			t.Fatalf("set aside %v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("set aside %v, want %v", got, want)
			}
		}
	}
	for _, late := range []bool{false, true} {
		f(late, 10, nil)
		f(late, 10, []uint64{300}, 300)
		f(late, 10, []uint64{1}, 1)
		f(late, 10, []uint64{600}, 600)
		f(late, 10, []uint64{17, 18, 513}, 17, 18, 513)
	}
}

// A script that dies of everything loses nothing more than it may set aside.
func TestQuarantineEnds(t *testing.T) {
	for _, aside := range []int{0, 2} {
		c := unstarted(t, 50, aside)
		play(t, c, 50, 100, false, func(uint64) bool { return true })
		if n, _ := c.quarantine.Count(); n != aside || c.consumer.Acked() != uint64(aside) {
			t.Errorf("%d set aside, want %d; the position is %d", n, aside, c.consumer.Acked())
		}
	}
}

// Ends that no event is to blame for.
func TestInnocent(t *testing.T) {
	for _, e := range []*script.Exit{{Asked: true}, {Errors: true}, {Failure: &script.Error{}}} {
		c := unstarted(t, 1, 10)
		batch, err := c.next(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			c.sends(c.without(batch)[0])
			e.Working = &script.Frame{Kind: kindBatch, Payload: slices.Concat(batch.frame()...)}
			c.OnExit(e)
		}
		if n, _ := c.quarantine.Count(); n != 0 {
			t.Errorf("%+v: %d set aside", e, n)
		}
	}
}
