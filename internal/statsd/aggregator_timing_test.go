package statsd

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/telemetry"
)

// benchmarkLines is how many lines benchmarkPackets hold.
const benchmarkLines = 16_000

// benchmarkPackets are lines of 1000 names with changing values in 1400-byte
// packets: half counters, 40 % timers, 10 % gauges.
func benchmarkPackets() (packets [][]byte) {
	random := rand.New(rand.NewPCG(1, 2))
	var packet []byte
	for i := range benchmarkLines {
		typ := [...]string{"c", "ms", "c", "ms", "c", "ms", "c", "ms", "c", "g"}[i%10]
		line := fmt.Sprintf("app.requests.name%d:%d|%s\n", i%1000, random.IntN(1000), typ)
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
	const untilFlush = 4_000_000 / benchmarkLines
	for now := range 2 { // the buffers of the timers get the size they keep, in both halves
		for range untilFlush {
			a.shards[0].Take(packets)
		}
		a.flush(int64(1 + now))
	}
	var before, after runtime.MemStats
	allocations := uint64(0)
	rounds, flushing, start := 0, 0.0, cpuSeconds()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		a.shards[0].Take(packets)
		if rounds++; rounds%untilFlush == 0 {
			b.StopTimer()
			began := cpuSeconds()
			runtime.ReadMemStats(&after)
			allocations += after.Mallocs - before.Mallocs
			a.flush(int64(rounds))
			runtime.ReadMemStats(&before)
			flushing += cpuSeconds() - began
			b.StartTimer()
		}
	}
	all, lines := cpuSeconds()-start, float64(rounds)*benchmarkLines
	runtime.ReadMemStats(&after)
	allocations += after.Mallocs - before.Mallocs
	b.ReportMetric(float64(allocations)/lines, "allocs/line")
	b.ReportMetric(lines/(all-flushing)/1e6, "Mlines/cpu-s")
	b.ReportMetric(lines/all/1e6, "Mlines/cpu-s-with-flush")
}

// BenchmarkAggregatorShards has one goroutine per shard take in the same names
// at the same time: with shards that stay out of each other's way it takes no
// more processor time per line than one alone.
func BenchmarkAggregatorShards(b *testing.B) {
	const shards = 2
	a := newAggregator(DefaultConfig(), shards, telemetry.NewRegistry(), quiet)
	packets := benchmarkPackets()
	cpu, flushing := cpuSeconds(), 0.0
	for i := range b.N {
		var taking sync.WaitGroup
		for _, s := range a.shards {
			taking.Go(func() { s.Take(packets) })
		}
		taking.Wait()
		if i%100 == 99 {
			began := cpuSeconds()
			a.flush(int64(i))
			flushing += cpuSeconds() - began
		}
	}
	b.ReportMetric(float64(b.N)*shards*benchmarkLines/(cpuSeconds()-cpu-flushing)/1e6, "Mlines/cpu-s")
	b.ReportMetric(float64(b.N)*shards*benchmarkLines/b.Elapsed().Seconds()/1e6, "Mlines/s")
}
