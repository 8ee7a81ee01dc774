package proxy

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// BenchmarkTake sends lines of many names on to three nodes over real sockets.
func BenchmarkTake(b *testing.B) {
	cfg := Config{Lanes: 1, CheckInterval: time.Second, Component: "p"}
	for range 3 {
		sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer sink.Close()
		cfg.Nodes = append(cfg.Nodes, Node{"127.0.0.1", sink.LocalAddr().(*net.UDPAddr).Port, 1})
	}
	p := New(cfg, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	for _, n := range p.nodes {
		at := netip.AddrPortFrom(netip.MustParseAddr(n.Host), uint16(n.Port))
		n.address.Store(&at)
		n.active = true
	}
	p.rebuild()
	var packets [][]byte
	lines := 0
	for len(packets) < 64 {
		var packet []byte
		for len(packet) < 1380 {
			packet = fmt.Appendf(packet, "app.service%d.requests:%d|c\n", lines%10000, lines%100)
			lines++
		}
		packets = append(packets, packet[:len(packet)-1])
	}
	p.lanes[0].Take(packets)
	b.ReportAllocs()
	start, rounds := cpuSeconds(), 0
	for b.Loop() {
		p.lanes[0].Take(packets)
		rounds++
	}
	b.ReportMetric(float64(rounds*lines)/(cpuSeconds()-start)/1e6, "Mlines/cpu-s")
	p.lanes[0].close()
}

// cpuSeconds is the processor time of this process, of the kernel's work for it too.
func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
