package statsd

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weirhq/weir/internal/telemetry"
)

// dogPackets are lines as clients of DogStatsD send them, of 1000 names with tags: counters, gauges, packed histograms and
// distributions, with rates and containers.
func dogPackets() (packets [][]byte) {
	random := rand.New(rand.NewPCG(1, 2))
	var packet []byte
	for i := range benchmarkLines {
		form := [...]string{
			"app.requests.name%d:%d|c|#env:prod,service:web", "app.latency.name%d:%d|d|@0.5|#env:prod,service:web|c:in-4026531835",
			"app.time.name%d:%d:12:17|h|#env:prod", "app.load.name%d:%d|g",
		}[i%4]
		line := fmt.Sprintf(form+"\n", i%1000, random.IntN(1000))
		if len(packet)+len(line) > 1400 {
			packets, packet = append(packets, packet), nil
		}
		packet = append(packet, line...)
	}
	return append(packets, packet)
}

// BenchmarkDogStatsD parses and aggregates; only taking in is timed.
func BenchmarkDogStatsD(b *testing.B) {
	packets := dogPackets()
	cfg := DefaultConfig()
	cfg.Dialect = DogStatsD
	a := newAggregator(cfg, 1, telemetry.NewRegistry(), quiet)
	a.shards[0].Take(packets)
	a.flush(0)
	a.shards[0].Take(packets)
	b.ReportAllocs()
	lines, intervals, cpu := 0, 0, cpuSeconds()
	for b.Loop() {
		a.shards[0].Take(packets)
		if lines += benchmarkLines; lines/(1<<21) > intervals {
			b.StopTimer()
			intervals++
			a.flush(int64(intervals))
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(lines)/(cpuSeconds()-cpu)/1e6, "Mlines/cpu-s")
}

// TestDogStatsDAllocations: no line of the dialect allocates once its name is known and its interval has begun.
func TestDogStatsDAllocations(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Dialect, cfg.ContainerTag, cfg.TagRules = DogStatsD, true, []TagRule{{Names: []string{"app.*"}, Drop: []string{"pod"}}}
	for _, line := range []string{
		"app.c:1|c|#env:prod,pod:1|@0.5|c:in-5", "app.h:1:2:3|c|#env:prod", "app.g:-1.5|g|T5|#a:b|#c:d", "app.s:x|s|#a:b", "app#a=b:1|c", "app[a=b]x:1|c", "app.m:1|c:2|c|@0.1",
	} {
		a := newAggregator(cfg, 1, telemetry.NewRegistry(), quiet)
		s := a.shards[0]
		s.parser.OnTimed = s.onTimed
		packets := [][]byte{[]byte(line)}
		s.Take(packets)
		if n := testing.AllocsPerRun(100, func() { s.Take(packets) }); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}
