package statsd

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/telemetry"
)

// benchmarkPackets are 1000 lines of 1000 names in 1400-byte packets: half
// counters, 40 % timers, 10 % gauges.
func benchmarkPackets() (packets [][]byte) {
	var packet []byte
	for i := range 1000 {
		typ := [...]string{"c", "ms", "c", "ms", "c", "ms", "c", "ms", "c", "g"}[i%10]
		line := fmt.Sprintf("app.requests.name%d:%d|%s\n", i, i*7%1000, typ)
		if len(packet)+len(line) > 1400 {
			packets, packet = append(packets, packet), nil
		}
		packet = append(packet, line...)
	}
	return append(packets, packet)
}

// cpuSeconds is the processor time the process has used.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// BenchmarkParser parses without aggregating.
func BenchmarkParser(b *testing.B) {
	packets := benchmarkPackets()
	p := Parser{Sanitize: true, OnBad: func(bad Bad) { b.Fatalf("bad line %q", bad.Line) }, OnValue: func(*Value) {}}
	b.ReportAllocs()
	lines, cpu := 0, cpuSeconds()
	for b.Loop() {
		for _, packet := range packets {
			lines += p.Packet(packet)
		}
	}
	b.ReportMetric(float64(lines)/(cpuSeconds()-cpu)/1e6, "Mlines/cpu-s")
}

// BenchmarkAggregator parses and aggregates, with a flush after every
// 4 million lines. Only taking in is timed; the second figure of processor
// time is with the flushes, which sort the timers.
func BenchmarkAggregator(b *testing.B) {
	a := newAggregator(DefaultConfig(), 1, telemetry.NewRegistry(), quiet)
	packets := benchmarkPackets()
	for range 4000 { // the buffers of the timers get the size they keep, in both halves
		a.shards[0].take(packets)
	}
	a.Flush(1)
	for range 4000 {
		a.shards[0].take(packets)
	}
	a.Flush(2)
	var before, after runtime.MemStats
	allocations := uint64(0)
	rounds, flushing, start := 0, 0.0, cpuSeconds()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		a.shards[0].take(packets)
		if rounds++; rounds%4000 == 0 {
			b.StopTimer()
			began := cpuSeconds()
			runtime.ReadMemStats(&after)
			allocations += after.Mallocs - before.Mallocs
			a.Flush(int64(rounds))
			runtime.ReadMemStats(&before)
			flushing += cpuSeconds() - began
			b.StartTimer()
		}
	}
	all, lines := cpuSeconds()-start, float64(rounds)*1000
	runtime.ReadMemStats(&after)
	allocations += after.Mallocs - before.Mallocs
	b.ReportMetric(float64(allocations)/lines, "allocs/line")
	b.ReportMetric(lines/(all-flushing)/1e6, "Mlines/cpu-s")
	b.ReportMetric(lines/all/1e6, "Mlines/cpu-s-with-flush")
}
