package countergroup

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// hostKeys returns n IPv4 keys in random order.
func hostKeys(n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "0A.%02X.%02X.%02X", i>>16&255, i>>8&255, i&255)
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

// counting counts rows, as the least a stage may do.
type counting struct{ rows int }

func (*counting) BeginSecond(int64)  {}
func (*counting) EndSecond(int64)    {}
func (c *counting) Second(s *Second) { c.rows += len(s.Rows) }
func (*counting) BeginFlush(int64)   {}
func (*counting) EndFlush(int64)     {}
func (c *counting) Window(w *Window) { c.rows += len(w.Rows) }
func (*counting) Toppers(*Toppers)   {}

func hostsEngine(b *testing.B, cfg Config) (*Engine, *Group, *counting) {
	registry := NewRegistry()
	for _, d := range Builtin() {
		if _, err := registry.Register(d); err != nil {
			b.Fatal(err)
		}
	}
	e := New(cfg, registry, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	stage := new(counting)
	e.SetStages(stage)
	return e, registry.ByTitle("Hosts"), stage
}

// cpuSeconds is the processor time the process has used.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// BenchmarkUpdates counts updates of 100 000 hosts from two producers, each update on its own and in rows of
// four meters, as flow records bring them; and with a watcher, who makes each second be kept as well.
func BenchmarkUpdates(b *testing.B) {
	keys := hostKeys(100_000)
	const producers, perSend = 2, 512
	run := func(name string, meters []int, watch bool) {
		b.Run(name, func(b *testing.B) {
			e, hosts, _ := hostsEngine(b, Config{})
			if watch {
				e.Watch(hosts, true, true)
			}
			e.Tick(60)
			warm := e.Batch()
			for _, key := range keys {
				warm.Add(hosts, key, 0, 1)
			}
			warm.Send()
			values := make([]float64, len(meters))
			for i := range values {
				values[i] = 1500
			}
			now := int64(60)
			updates := 0
			batches := [producers]*Batch{e.Batch(), e.Batch()}
			b.ReportAllocs()
			start, cpu := time.Now(), cpuSeconds()
			for b.Loop() {
				var working sync.WaitGroup
				for p := range producers {
					working.Go(func() {
						batch := batches[p]
						for i := range keys {
							key := keys[(i+p*len(keys)/2)%len(keys)]
							if len(meters) == 1 {
								batch.Add(hosts, key, 0, 1500)
							} else {
								batch.AddRow(hosts, key, meters, values)
							}
							if i%perSend == 0 {
								batch.Send()
							}
						}
						batch.Send()
					})
				}
				working.Wait()
				updates += producers * len(keys) * len(meters)
				if watch { // at every 200 000 keys or so
					now++
					e.Tick(now)
				}
			}
			b.ReportMetric(float64(updates)/(cpuSeconds()-cpu)/1e6, "Mupdates/cpu-s")
			b.ReportMetric(float64(updates)/time.Since(start).Seconds()/1e6, "Mupdates/s")
		})
	}
	run("single", []int{0}, false)
	run("rows", []int{0, 1, 3, 16}, false)
	run("watched", []int{0, 1, 3, 16}, true)
}

// BenchmarkFlush flushes 100 000 hosts of 17 meters through a stage that only counts them. Every fifth flush makes
// the topper lists too. Only the flush is measured.
func BenchmarkFlush(b *testing.B) {
	keys := hostKeys(100_000)
	e, hosts, stage := hostsEngine(b, Config{})
	now := int64(600)
	e.Tick(now)
	batch := e.Batch()
	var flushes, lists, cpu, cpuLists float64
	fill := func() {
		for _, key := range keys {
			batch.AddRow(hosts, key, []int{0, 1, 3, 16}, []float64{1500, 1500, 1, 1})
		}
		batch.Send()
		e.Tick(now + 59)
		stage.rows = 0
	}
	for range 5 { // until the rows of toppers are there
		fill()
		now += 60
		e.Tick(now)
	}
	for b.Loop() {
		b.StopTimer()
		fill()
		now += 60
		b.StartTimer()
		before := cpuSeconds()
		e.Tick(now)
		if took := cpuSeconds() - before; now%300 == 0 {
			cpuLists, lists = cpuLists+took, lists+1
		} else {
			cpu, flushes = cpu+took, flushes+1
		}
		if stage.rows != len(keys)+1 {
			b.Fatalf("%d rows", stage.rows)
		}
	}
	b.ReportMetric(1000*cpu/max(flushes, 1), "cpu-ms/flush")
	b.ReportMetric(1000*cpuLists/max(lists, 1), "cpu-ms/flush-with-toppers")
}

// BenchmarkFlushStall sends batches of 100 updates all the time while 100 000 hosts are flushed: how long the slowest of
// them took, which on a busy machine is the scheduler's doing, and how long the 999th of a thousand.
func BenchmarkFlushStall(b *testing.B) {
	keys := hostKeys(100_000)
	e, hosts, _ := hostsEngine(b, Config{})
	now := int64(600)
	e.Tick(now)
	batch, other := e.Batch(), e.Batch()
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		for _, key := range keys {
			batch.AddRow(hosts, key, []int{0, 1, 3, 16}, []float64{1500, 1500, 1, 1})
		}
		batch.Send()
		e.Tick(now + 59)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				for j := range 100 {
					other.Add(hosts, keys[(i*100+j)%len(keys)], 0, 1)
				}
				start := time.Now()
				other.Send()
				took = append(took, time.Since(start))
			}
		}()
		now += 60
		b.StartTimer()
		e.Tick(now)
		b.StopTimer()
		close(stop)
		<-stopped
		b.StartTimer()
	}
	slices.Sort(took)
	if len(took) > 0 {
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms/longest-send")
		b.ReportMetric(float64(took[len(took)*999/1000].Microseconds())/1000, "ms/p99.9-send")
	}
}

// heap is what the heap takes from the system and has not given back, in bytes, garbage included.
func heap() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapSys - m.HeapReleased)
}

// appendHost appends the key of the i-th host.
func appendHost(key []byte, i int) []byte {
	const digits = "0123456789ABCDEF"
	for shift := 24; shift >= 0; shift -= 8 {
		key = append(key, digits[i>>(shift+4)&15], digits[i>>shift&15], '.')
	}
	return key[:len(key)-1]
}

// BenchmarkMillionKeys puts a million keys into one group, twice, with a flush after each, so that the rows of two windows and of
// toppers are there: a group of 17 meters and one of 5. MB-live is what is in use afterwards, MB-peak what the heap took
// from the system at its largest, garbage included.
func BenchmarkMillionKeys(b *testing.B) {
	run := func(title string) {
		b.Run(title, func(b *testing.B) {
			for b.Loop() {
				debug.FreeOSMemory()
				before, peak := heap(), 0.0
				e, _, _ := hostsEngine(b, Config{HighWater: 1_000_000})
				group := e.registry.ByTitle(title)
				e.Tick(60)
				batch := e.Batch()
				meters, values := []int{0, 1, 3, 4}, []float64{1500, 1500, 1, 1}
				var key []byte
				for window := range 2 {
					for i := range 1_000_000 {
						key = appendHost(key[:0], i)
						batch.AddRow(group, key, meters, values)
						if i%1000 == 0 {
							batch.Send()
						}
					}
					batch.Send()
					peak = max(peak, heap())
					e.Tick(int64(120 + 60*window))
					peak = max(peak, heap())
				}
				if n := e.Stats()[group.index].Keys; n != 1_000_000 {
					b.Fatalf("%d keys", n)
				}
				b.ReportMetric((peak-before)/1e6, "MB-peak")
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-live")
				runtime.KeepAlive(e)
			}
		})
	}
	run("Hosts")
	run("FlowGens")
}

// BenchmarkFlood sends 10 million distinct keys at one group with the usual high-water mark: in windows of
// a million, and all in one window.
func BenchmarkFlood(b *testing.B) {
	run := func(name string, windows int) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				debug.FreeOSMemory()
				before, peak := heap(), 0.0
				e, hosts, _ := hostsEngine(b, Config{})
				e.Tick(60)
				batch := e.Batch()
				var key []byte
				cpu := cpuSeconds()
				const keys = 10_000_000
				for i := range keys {
					key = appendHost(key[:0], i)
					batch.Add(hosts, key, 0, 1500)
					if i%1000 == 0 {
						batch.Send()
					}
					if each := keys / windows; i%each == each-1 {
						batch.Send()
						peak = max(peak, heap())
						e.Tick(int64(60 + 60*(i/each+1)))
						peak = max(peak, heap())
					}
				}
				b.ReportMetric(keys/1e6/(cpuSeconds()-cpu), "Mupdates/cpu-s")
				b.ReportMetric((peak-before)/1e6, "MB-peak")
			}
		})
	}
	run("ten-windows", 10)
	run("one-window", 1)
}
