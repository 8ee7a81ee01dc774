package ping

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// counted is a sink that counts devices and those that did not answer every packet.
type counted struct{ devices, values, lossy atomic.Int64 }

// SendResults implements collector.Sink.
func (c *counted) SendResults(_ context.Context, _ int64, values []collector.Value) error {
	c.devices.Add(1)
	c.values.Add(int64(len(values)))
	if values[len(values)-1].Value != 1 {
		c.lossy.Add(1)
	}
	return nil
}

// processor is the time that all threads have used.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTargets pings 10 000 addresses of the loopback network every 10 s, three packets each, as the
// daemon does, for 30 s. The kernel answers in the same processor time.
func BenchmarkTargets(b *testing.B) {
	const targets, interval, rounds = 10_000, 10 * time.Second, 3
	var devices bot.Fixed
	for i := range targets {
		devices = append(devices, &collector.JobConfig{
			Name: fmt.Sprint(i), Details: fmt.Appendf(nil, `{"ipv4":"127.%d.%d.%d"}`, 1+i>>16, i>>8&255, i&255),
			Sensors: []collector.SensorConfig{{Interval: interval}},
		})
	}
	for b.Loop() {
		of, to := New(), &counted{}
		c := collector.New(collector.Config{
			Jobs:   func(ctx context.Context) iter.Seq2[collector.Job, error] { return of.Jobs(ctx, devices, to) },
			Spread: true, Places: of.Places(),
		})
		ctx, cancel := context.WithCancel(b.Context())
		stop := time.AfterFunc(rounds*interval, cancel)
		before := processor()
		if err := c.Run(ctx); err != nil {
			b.Fatal(err)
		}
		used := processor() - before
		stop.Stop()
		cancel()
		stats := c.Stats()
		b.ReportMetric(used.Seconds()/(rounds*interval).Seconds(), "cores")
		b.ReportMetric(float64(stats.Missed+stats.Skipped), "missed")
		b.ReportMetric(float64(to.lossy.Load()), "lossy")
		b.ReportMetric(float64(stats.Due), "runs")
	}
}
