package monitor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// BenchmarkFlush: the flush of 100 000 keys of the group Hosts with its 17 meters and one monitor in a process of its own, from the end of
// the window until every stage is through: one that watches only is sent what there is, one that votes is waited for.
// While it goes on another goroutine sends updates; the longest of these sends is reported too.
func BenchmarkFlush(b *testing.B) {
	const keys = 100_000
	run := func(name, callbacks string) {
		b.Run(name, func(b *testing.B) {
			groups, reg := countergroup.NewRegistry(), telemetry.NewRegistry()
			for _, d := range countergroup.Builtin() {
				if _, err := groups.Register(d); err != nil {
					b.Fatal(err)
				}
			}
			log := slog.New(slog.NewTextHandler(io.Discard, nil))
			engine := countergroup.New(countergroup.Config{TopperBucket: 1 << 20}, groups, reg, log)
			hosts := groups.ByTitle("Hosts")
			dir := write(b, "watch.lua", fmt.Sprintf(`TrisulPlugin = {id = {name = "watch"}, cg_monitor = {counter_guid = %q, %s}}`, hosts.GUID, callbacks))
			m := New(Config{Entries: []Entry{{Path: dir, Setup: Setup{Context: "default", ProbeID: "probe0"}, Budget: script.DefaultBudget()}}}, engine, groups, script.NewRegistry(reg), reg, log, nil)
			engine.SetStages(m)
			if err := m.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer m.Stop(context.Background())
			<-m.Ready()
			if len(m.attached.Load().groups[hosts]) != 1 {
				b.Fatal("the script is not attached")
			}
			batch, other := engine.Batch(), engine.Batch()
			names := make([][]byte, keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "0A.%02X.%02X.%02X", i>>16, i>>8&255, i&255)
			}
			fill := func() {
				for i, key := range names {
					batch.AddRow(hosts, key, []int{0, 2, 3, 16, 7}, []float64{1000, 1000, 1, 1, 1000})
					if i%500 == 499 {
						batch.Send()
					}
				}
				batch.Send()
			}
			now := int64(6_000_000)
			engine.Tick(now)
			var took, longest time.Duration
			rounds := 0
			for b.Loop() {
				fill()
				engine.Tick(now + 59)
				ended, stop := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(ended)
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						begin := time.Now()
						other.Add(hosts, names[i%keys], 0, 1)
						other.Send()
						longest = max(longest, time.Since(begin))
						time.Sleep(100 * time.Microsecond)
					}
				}()
				begin := time.Now()
				now += 60
				engine.Tick(now)
				took += time.Since(begin)
				close(stop)
				<-ended
				rounds++
			}
			if a := reg.Ledger("monitor.frames", "frames").Snapshot(); a.Lost() > 0 {
				b.Errorf("the script missed something: %+v", a)
			}
			b.ReportMetric(took.Seconds()*1000/float64(rounds), "ms/flush")
			b.ReportMetric(longest.Seconds()*1000, "ms-longest-send")
		})
	}
	run("watches", "onflush = function(engine, ts, key, m) TrisulPlugin.last = m[1] end")
	run("votes", "onflushfilter = function(engine, ts, key, m) return m[1] > 0 end, onflush = function(engine, ts, key, m) TrisulPlugin.last = m[1] end")
}
