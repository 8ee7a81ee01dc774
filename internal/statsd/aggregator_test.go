package statsd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirhq/weir/backend"
)

// render shows a flush as "c name=value/rate", "ms name=n*count", "g name=value", "s name=a,b",
// without the three internal counters unless they are not zero.
func render(f *backend.Flush) string {
	var out []string
	for _, c := range f.Counters {
		if strings.HasPrefix(c.Name, "statsd.") && c.Value == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("c %s=%s/%s", c.Name, FormatNumber(c.Value), FormatNumber(c.Rate)))
	}
	for _, t := range f.Timers {
		out = append(out, fmt.Sprintf("ms %s=%v*%s", t.Name, t.Values, FormatNumber(t.Count)))
	}
	for _, g := range f.Gauges {
		out = append(out, fmt.Sprintf("g %s=%s", g.Name, FormatNumber(g.Value)))
	}
	for _, s := range f.Sets {
		out = append(out, fmt.Sprintf("s %s=%s", s.Name, strings.Join(s.Members, ",")))
	}
	return strings.Join(out, "; ")
}

func TestAggregatorFlush(t *testing.T) {
	badLines := 0
	a := NewAggregator(Options{Prefix: "statsd", Sanitize: true, Statistics: NewStatistics(2, []float64{90}, nil, nil)}, func(Bad) { badLines++ })
	check := func(now int64, want string) {
		t.Helper()
		if got := render(a.Flush(now)); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	for _, packet := range []string{"c1:3|c|@0.1\nc1:2|c\n", "t1:10|ms:20|ms|@0.5:101|ms", "g1:5|g", "g1:-2|g", "u:u1|s:u2|s:u1|s", "bad|z", "n:-7|g"} {
		a.Packet([]byte(packet))
	}
	check(1000, "c statsd.bad_lines_seen=1/0.5; c statsd.packets_received=7/3.5; c statsd.metrics_received=8/4; c c1=32/16; "+
		"ms t1=[10 20 101]*4; g g1=3; g n=-7; s u=u1,u2")
	check(1003, "c c1=0/0; ms t1=[]*0; g g1=3; g n=-7; g statsd.timestamp_lag=1; s u=")
	if badLines != 1 {
		t.Errorf("%d bad lines reported, want 1", badLines)
	}
}

func TestAggregatorDeletesIdle(t *testing.T) {
	a := NewAggregator(Options{Prefix: "statsd", DeleteCounters: true, DeleteTimers: true, DeleteSets: true, DeleteGauges: true, GaugeTTL: 2,
		Statistics: NewStatistics(1, nil, nil, nil)}, func(Bad) {})
	a.Packet([]byte("c:1|c\nt:1|ms\ns:1|s\ng:+1|g\nmy.packets_received:1|c"))
	for i, want := range []string{
		"c statsd.packets_received=1/1; c statsd.metrics_received=5/5; c c=1/1; c my.packets_received=1/1; ms t=[1]*1; g g=1; s s=1",
		"c my.packets_received=0/0; g g=1; g statsd.timestamp_lag=0",
		"c my.packets_received=0/0; g statsd.timestamp_lag=0",
	} {
		if got := render(a.Flush(int64(1000 + i))); got != want {
			t.Errorf("flush %d\n got %s\nwant %s", i, got, want)
		}
	}
}

// BenchmarkAggregator parses and aggregates what BenchmarkParser parses.
func BenchmarkAggregator(b *testing.B) {
	a := NewAggregator(Options{Prefix: "statsd", Sanitize: true, Statistics: NewStatistics(10, nil, nil, nil)}, func(Bad) {})
	packets := benchmarkPackets()
	b.ReportAllocs()
	rounds := 0
	for b.Loop() {
		for _, packet := range packets {
			a.Packet(packet)
		}
		if rounds++; rounds%1000 == 0 { // as a flush would, so that timers do not grow without end
			b.StopTimer()
			a.Flush(int64(rounds))
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(rounds)*1000/b.Elapsed().Seconds()/1e6, "Mlines/s")
}
