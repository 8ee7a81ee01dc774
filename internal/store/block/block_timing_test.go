package block

import "testing"

func BenchmarkEncode(b *testing.B) {
	times, columns := every(60, 120), [][]float64{noisyCounter(1, 120, 10_000, 500)}
	var e Encoder
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = e.Append(dst[:0], start, times, columns)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/120, "ns/value")
	b.ReportMetric(float64(len(dst))/120, "bytes/value")
}

func BenchmarkDecode(b *testing.B) {
	var e Encoder
	data := e.Append(nil, start, every(60, 120), [][]float64{noisyCounter(1, 120, 10_000, 500)})
	var times, scratch []int64
	var column []float64
	b.ReportAllocs()
	for b.Loop() {
		block, err := Parse(data, start)
		if err != nil {
			b.Fatal(err)
		}
		if times, err = block.Times(times[:0]); err != nil {
			b.Fatal(err)
		}
		if column, scratch, err = block.Column(0, column[:0], scratch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/120, "ns/value")
}
