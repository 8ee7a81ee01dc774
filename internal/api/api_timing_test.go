package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// nowhere is a ResponseWriter that counts bytes.
type nowhere struct {
	header http.Header
	bytes  int
}

func (n *nowhere) Header() http.Header { return n.header }
func (n *nowhere) WriteHeader(int)     {}
func (n *nowhere) Write(b []byte) (int, error) {
	n.bytes += len(b)
	return len(b), nil
}

// BenchmarkSeries streams a listing; most of it is JSON.
func BenchmarkSeries(b *testing.B) {
	const n = 10_000
	m := &fabricated{schema: rates, n: n}
	d := newDouble(func(d *Dependencies) { d.Driver, d.Catalog = m, m })
	r := httptest.NewRequest("GET", "/api/v1/series?schema=statsd:counter&limit=0", nil)
	b.ReportAllocs()
	for b.Loop() {
		d.handler.ServeHTTP(&nowhere{header: make(http.Header)}, r)
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "series/s")
}

// BenchmarkQuery answers a question about one series of 60 points from memory.
func BenchmarkQuery(b *testing.B) {
	d := newDouble(nil)
	r := httptest.NewRequest("GET", "/api/v1/query?schema=statsd:counter&tag=name=a&points=60&start=1699996000&end=1700000100", nil)
	b.ReportAllocs()
	for b.Loop() {
		d.handler.ServeHTTP(&nowhere{header: make(http.Header)}, r)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
