package countergroup

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// Producers, ticks, watchers, tables and scripts at the same time: every update is in exactly one window and one second, what was
// sent together is in the same ones, and totals are the sums of the rows.
func TestConcurrency(t *testing.T) {
	const producers, rounds, perBatch, keys = 4, 300, 50, 200
	b := newBench(t, Config{}, Definition{Meters: top(5, meters(Counter, Counter)), HighWater: 120, LowWater: 50}, Definition{Meters: meters(Counter)})
	g, h := b.group("G"), b.group("H")
	var windows, seconds [2]float64 // of both groups, by window and by second
	posted := 0
	script := b.Batch()
	sum := func(group *Group, rows []Row, into *[2]float64) float64 {
		total := 0.0
		for _, r := range rows {
			if r.Key != TotalsKey {
				total += r.Values[0]
			}
		}
		into[group.index] += total
		return total
	}
	stage := &recorder{
		onSecond: func(s *Second) { sum(s.Group, s.Rows, &seconds) },
		onWindow: func(w *Window) {
			if len(w.Rows) == 0 {
				return
			}
			last := w.Rows[len(w.Rows)-1]
			if total := sum(w.Group, w.Rows, &windows); total != last.Values[0] {
				t.Errorf("the rows of %s come to %v, the totals are %v", w.Group.Title, total, last.Values[0])
			}
			for i, r := range w.Rows {
				if i > 0 && i < len(w.Rows)-1 && r.Key <= w.Rows[i-1].Key {
					t.Errorf("%q comes after %q", r.Key, w.Rows[i-1].Key)
				}
				if w.Group == g && r.Values[0] != r.Values[1] {
					t.Errorf("a row was split: %v", r)
				}
			}
			script.Add(h, []byte("script"), 0, 1)
			script.Post()
			posted++
		},
	}
	b.SetStages(stage)
	b.Watch(g, true, true)
	b.Watch(h, true, true)
	b.Tick(59)
	var working sync.WaitGroup
	for p := range producers {
		working.Go(func() {
			random := rand.New(rand.NewPCG(uint64(p), 1))
			batch := b.Batch()
			for range rounds {
				for range perBatch {
					key := fmt.Appendf(nil, "key%d", random.IntN(keys))
					batch.AddRow(g, key, []int{0, 1}, []float64{1, 1})
					batch.Add(h, key, 0, 1)
				}
				batch.Send()
				if p == 0 {
					b.Top(g, 0, 3)
					b.Stats()
					release := b.Watch(g, true, true)
					defer release()
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { working.Wait(); close(done) }()
	now := int64(60)
	for running := true; running; now++ {
		b.Tick(now)
		select {
		case <-done:
			running = false
		default:
		}
	}
	b.Tick(now + 60)
	b.Tick(now + 121)
	const sent = producers * rounds * perBatch
	if windows[g.index] != sent || seconds[g.index] != sent {
		t.Errorf("windows hold %v, seconds %v, %d were sent", windows, seconds, sent)
	}
	if windows[h.index] < sent || windows[h.index] > sent+float64(posted) {
		t.Errorf("%v of %d and %d posted", windows[h.index], sent, posted)
	}
	b.balanced()
}

// jumpingClock is the wall clock of a test, with an offset.
type jumpingClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *jumpingClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *jumpingClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// The wall clock ticks once a second, on the second; windows do not go back when it is set back, catch up with it slowly, and
// follow when it is set forward.
func TestWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := new(jumpingClock)
		registry := NewRegistry()
		if _, err := registry.Register(Definition{GUID: "{00000000-0000-0000-0000-000000000001}", Title: "G", Meters: meters(Counter)}); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		e := New(Config{Now: clock.now}, registry, telemetry.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
		r := &secondsOnly{start: time.Now().Unix()}
		e.SetStages(r)
		time.Sleep(300 * time.Millisecond)
		if err := e.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		after := func(d time.Duration, first, last int64, n int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			ticks := r.take()
			for i := 1; i < len(ticks); i++ {
				if ticks[i] <= ticks[i-1] {
					t.Errorf("the tick %d comes after %d", ticks[i], ticks[i-1])
				}
			}
			if len(ticks) != n || n > 0 && (ticks[0] != first || ticks[n-1] != last) {
				t.Errorf("%d ticks: %v, want %d from %d to %d", len(ticks), ticks, n, first, last)
			}
		}
		after(699*time.Millisecond, 0, 0, 0)
		after(time.Millisecond, 1, 1, 1)
		after(9*time.Second, 2, 10, 9)
		batch := e.Batch()
		batch.Add(registry.ByTitle("G"), []byte("k"), 0, 1)
		batch.Send()
		clock.jump(-5 * time.Second)
		// The next reading says 6 and the windows are at 10: one tick in ten is left out until they meet, after 50 seconds.
		after(10*time.Second, 11, 19, 9)
		after(40*time.Second, 20, 55, 36)
		if !strings.Contains(log.String(), "set back") {
			t.Errorf("log: %s", log.String())
		}
		after(10*time.Second, 56, 65, 10) // the wall clock says 65 again
		clock.jump(10 * time.Second)
		after(time.Second, 66, 76, 11)
		clock.jump(24 * time.Hour)
		after(time.Second, 120, 120, 1) // the running window, and the gap is skipped
		after(time.Second, 76+24*3600+2, 76+24*3600+2, 1)
		r.take()
		batch.Add(registry.ByTitle("G"), []byte("k"), 0, 1)
		batch.Send()
		if err := e.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(r.windows) != 1 || r.windows[0] != 2 { // the key and the totals
			t.Errorf("the last flush: %v", r.windows)
		}
		if batch.Add(registry.ByTitle("G"), []byte("k"), 0, 1); batch.Post() {
			t.Error("an update was posted after the end")
		}
	})
}

// secondsOnly notes the ticks and the number of rows of windows.
type secondsOnly struct {
	recorder
	start int64

	mu      sync.Mutex
	ticks   []int64 // seconds after start
	windows []int
}

// take returns the ticks so far and forgets everything.
func (s *secondsOnly) take() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ticks := s.ticks
	s.ticks, s.windows = nil, nil
	return ticks
}

func (s *secondsOnly) BeginSecond(t int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticks = append(s.ticks, t-s.start)
}

func (s *secondsOnly) Window(w *Window) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windows = append(s.windows, len(w.Rows))
}

// Updates of keys that are known allocate nothing, whoever watches.
func TestUpdatesDoNotAllocate(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: top(3, meters(MeterTypes()...))})
	g := b.group("G")
	b.Watch(g, true, true)
	keys := make([][]byte, 200)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key%d", i)
	}
	meters, values := []int{0, 1, 2, 3, 4, 5, 6, 7}, make([]float64, 8)
	count := func() {
		for _, key := range keys {
			b.batch.AddRow(g, key, meters, values)
			b.batch.Add(g, key, 1, 5)
		}
		b.batch.Send()
	}
	b.Tick(60)
	b.Tick(61)
	count()
	if n := testing.AllocsPerRun(20, count); n != 0 {
		t.Errorf("%v allocations for %d updates", n, 9*len(keys))
	}
}
