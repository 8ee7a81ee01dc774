package tsdriver

import (
	"fmt"
	"testing"

	"github.com/weirhq/weir/timeseries"
)

// BenchmarkAppend is points through a driver that does nothing with them: what the host costs.
func BenchmarkAppend(b *testing.B) {
	d, _ := load(b, "local d = {} function d:new() return self end function d:append() return true end return d", nil)
	points := make([]timeseries.Point, recordPoints)
	for i := range points {
		points[i] = point2(fmt.Sprint("10.0.0.", i%200), int64(300*i), float64(i), float64(2*i))
	}
	b.ResetTimer()
	for range b.N {
		if err := d.Append(b.Context(), points); err != nil {
			b.Fatal(err)
		}
		if err := d.settle(false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(points))/b.Elapsed().Seconds(), "points/s")
}

// BenchmarkSpool is points through interface.appendInfluxDB, in their file at the end of each batch.
func BenchmarkSpool(b *testing.B) {
	d, _ := load(b, "local d = {} function d:new() return self end function d:append(s, t, tags, m) return interface.appendInfluxDB(s.name, t, tags, m) end return d",
		func(s *Setup) { s.SpoolBytes = 1 << 40 })
	points := make([]timeseries.Point, recordPoints)
	for i := range points {
		points[i] = point2(fmt.Sprint("10.0.0.", i%200), int64(300*i), float64(i), float64(2*i))
	}
	b.ResetTimer()
	for range b.N {
		if err := d.Append(b.Context(), points); err != nil {
			b.Fatal(err)
		}
		if err := d.settle(false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(points))/b.Elapsed().Seconds(), "points/s")
}
