package flow

import "testing"

// BenchmarkDecode: NetFlow v9 records in datagrams of 36 records, about 1400 bytes.
func BenchmarkDecode(b *testing.B) {
	d, _ := newTestDecoder()
	d.Decode(v9(5, 1, set(0, plain(300))), router, noon)
	var body []byte
	const records = 36
	for range records {
		body = append(body, plainRecord("10.0.0.1", "192.0.2.9", 5000, 7)...)
	}
	packet := v9(5, 2, set(300, body))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n += len(d.Decode(packet, router, noon))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}
