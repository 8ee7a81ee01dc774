package statsd

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/weirhq/weir/backend"
)

// TestAggregatorLosesNothingAtFlushes takes in from three shards while flushes
// that delete idle names, listings and changes of options go on: names come
// and go all the time, and still every value must be in exactly one flush.
func TestAggregatorLosesNothingAtFlushes(t *testing.T) {
	const shards, packets = 3, 2000
	cfg := config()
	cfg.DeleteCounters, cfg.DeleteTimers, cfg.DeleteSets, cfg.DeleteGauges, cfg.GaugeTTL = true, true, true, true, 2
	a, feed := aggregate(cfg, shards)
	var counted, timed, members, weights float64
	count := func(f *backend.Flush) {
		for i, c := range f.Counters {
			if c.Name[0] == 'n' {
				counted += c.Value
			}
			if i > 0 && f.Counters[i-1].Name == c.Name {
				t.Errorf("%s is in a flush twice", c.Name)
			}
		}
		for _, timer := range f.Timers {
			timed += float64(len(timer.Values))
			weights += timer.Count
		}
		for _, s := range f.Sets {
			members += float64(len(s.Members))
		}
	}
	var feeding sync.WaitGroup
	for shard := range shards {
		feeding.Go(func() {
			random := rand.New(rand.NewPCG(uint64(shard), 1))
			for i := range packets {
				n := i/50 + random.IntN(20) // a window of names that moves on
				feed(shard, fmt.Sprintf("n%d:2|c\nn%d:1|ms|@0.5\nn%d:%d.%d|s\ng%d:+1|g", n, n, n, shard, i, n))
			}
		})
	}
	fed, done := make(chan struct{}), make(chan struct{})
	go func() {
		feeding.Wait()
		close(fed)
	}()
	go func() {
		defer close(done)
		for {
			select {
			case <-fed:
				return
			default:
				a.Counters()
				a.Gauges()
				a.Timers()
				a.Delete(Gauge, "g1.*")
				a.reload(cfg)
			}
		}
	}()
	now := int64(1000)
	for flushing := true; flushing; now++ {
		select {
		case <-done:
			flushing = false
		default:
		}
		count(a.flush(now))
	}
	const all = shards * packets
	if counted != 2*all || timed != all || weights != 2*all || members != all {
		t.Errorf("counters %v, timer values %v, counts %v, members %v; want %v, %v, %v, %v", counted, timed, weights, members, 2*all, all, 2*all, all)
	}
	for range 4 { // everything is idle and leaves
		a.flush(now)
		now++
	}
	if got := a.names.size(); got != 4 {
		t.Errorf("%d names are left, want the 4 internal ones", got)
	}
	for _, s := range a.shards {
		for kind, table := range s.tables {
			if table.used > 3 {
				t.Errorf("shard %d still holds %d names of kind %v", s.index, table.used, Kind(kind))
			}
		}
	}
}

func TestTrimKeepsWhatIsNeeded(t *testing.T) {
	f := func(length, capacity, want int) {
		t.Helper()
		got := trim(make([]float64, length, capacity))
		if len(got) != 0 || cap(got) != want {
			t.Errorf("%d of %d values: length %d, capacity %d, want %d", length, capacity, len(got), cap(got), want)
		}
	}
	f(10, 1000, 1000)
	f(1000, 4000, 4000)
	f(999, 4000, 2000)
}

func TestTableRemove(t *testing.T) {
	// few hashes, so that probe sequences run into each other
	var all table
	cells := make(map[string]*cell)
	random := rand.New(rand.NewPCG(1, 1))
	hash := func(name string) uint64 { return uint64(len(name)*7+int(name[0])) % 13 << 60 >> 56 }
	for step := range 20_000 {
		name := fmt.Sprint(random.IntN(300))
		if c := cells[name]; c != nil {
			all.remove(hash(name), c)
			delete(cells, name)
		} else if step%3 != 0 || len(cells) < 20 {
			cells[name] = &cell{name: name}
			all.insert(hash(name), cells[name])
		}
		if step%97 != 0 {
			continue
		}
		for i := range 300 {
			name := fmt.Sprint(i)
			if got := all.find(hash(name), []byte(name)); got != cells[name] {
				t.Fatalf("step %d: %s: found %v, want %v", step, name, got, cells[name])
			}
		}
		if all.used != len(cells) {
			t.Fatalf("%d used, want %d", all.used, len(cells))
		}
	}
	all.remove(hash("0"), &cell{name: "0"}) // not there
}
