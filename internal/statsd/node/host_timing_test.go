package node

import (
	"fmt"
	"testing"

	"github.com/weirhq/weir/backend"
)

// BenchmarkFlush hands a flush of 100 000 counters and 10 000 timers to a module that walks over it.
func BenchmarkFlush(b *testing.B) {
	f := new(backend.Flush)
	for i := range 100_000 {
		f.Counters = append(f.Counters, backend.Counter{Name: fmt.Sprintf("service.host%d.requests.%d", i%100, i), Value: float64(i), Rate: float64(i) / 10})
	}
	for i := range 10_000 {
		t := backend.Timer{Name: fmt.Sprintf("service.timer.%d", i), Values: []float64{1.5, 2, 3.25, 4, 5, 6, 7, 8, 9, 10}, Count: 10}
		for j := range 14 {
			t.Fields = append(t.Fields, backend.Field{Name: fmt.Sprintf("field_%d", j), Value: float64(i) / 3})
		}
		f.Timers = append(f.Timers, t)
	}
	h := start(b, nil, "x.js", module(`events.on('flush', function (ts, m) { var n = 0; for (var k in m.counters) n += m.counters[k]; for (var t in m.timer_data) n += m.timer_data[t].field_1; });`))
	b.ResetTimer()
	for range b.N {
		if err := h.flush(f); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/flush")
}
