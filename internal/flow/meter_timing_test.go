package flow

import (
	"net/netip"
	"syscall"
	"testing"
)

// BenchmarkMeter: NetFlow v9 datagrams of 36 records, decoded and counted in the groups of traffic, hosts,
// applications, protocols and exporters (with interfaces), between 10 000 hosts that were seen before.
func BenchmarkMeter(b *testing.B) {
	m := newMetering(b, MeterConfig{})
	d, _ := newTestDecoder()
	d.Decode(v9(5, 1, set(0, plain(300))), router, noon)
	var packets [][]byte
	n := 0
	const records = 36
	for range 1000 {
		var body []byte
		for range records {
			n++
			client := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8 % 40), byte(n)})
			server := netip.AddrFrom4([4]byte{192, 0, 2, byte(n * 7)})
			body = append(body, bytesOf(client, server, uint32(5000), uint32(7), uint16(1024+n%30000), uint16(443), uint8(6), uint8(0x10), uint16(3), uint32(7), uint32(10000), uint32(20000))...)
		}
		packets = append(packets, v9(5, 2, set(300, body)))
	}
	for _, packet := range packets { // so that the tables have their size
		m.meter.Count(d.Decode(packet, router, noon), true)
	}
	b.ReportAllocs()
	counted, i, cpu := 0, 0, cpuSeconds()
	for b.Loop() {
		got := d.Decode(packets[i%len(packets)], router, noon)
		m.meter.Count(got, true)
		counted += len(got)
		i++
	}
	b.ReportMetric(float64(counted)/(cpuSeconds()-cpu)/1e6, "Mrecords/cpu-s")
}

// cpuSeconds is the processor time of this process.
func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
