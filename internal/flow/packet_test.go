package flow

import (
	"strings"
	"testing"
)

func ethernetHeader(kind uint16, payload []byte) []byte {
	return bytesOf([]byte{2, 0, 0, 0, 0, 2}, []byte{2, 0, 0, 0, 0, 1}, kind, payload)
}

// ipv4Header is a packet of a total length with the first bytes of TCP or UDP from port 1234 to 80.
func ipv4Header(source, destination string, protocol uint8, length uint16) []byte {
	return bytesOf(uint8(0x45), uint8(0), length, uint32(0), uint8(64), protocol, uint16(0), source, destination, uint16(1234), uint16(80), uint32(0), uint32(0), uint8(0x50), uint8(2), make([]byte, 6))
}

func ipv6Header(next uint8, length uint16, payload []byte) []byte {
	return bytesOf(uint32(6<<28), length, next, uint8(64), "2001:db8::1", "2001:db8::2", payload)
}

func TestPacket(t *testing.T) {
	ports := bytesOf(uint16(1234), uint16(80), make([]byte, 16))
	f := func(name string, link int, b []byte, want string) {
		t.Helper()
		var r Record
		got := "no"
		if _, ok := r.packet(link, b); ok {
			got = line(&r)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	four := ipv4Header("10.0.0.1", "10.0.0.2", 6, 1000)
	const tcp4 = "10.0.0.1:1234 > 10.0.0.2:80 proto 6, 1000 bytes, 1 packets"
	f("Ethernet", linkEthernet, ethernetHeader(0x0800, four), tcp4)
	f("VLAN", linkEthernet, ethernetHeader(0x8100, bytesOf(uint16(7), uint16(0x0800), four)), tcp4)
	f("two VLANs", linkEthernet, ethernetHeader(0x88a8, bytesOf(uint16(7), uint16(0x8100), uint16(8), uint16(0x0800), four)), tcp4)
	f("MPLS", linkEthernet, ethernetHeader(0x8847, bytesOf(uint32(0x10000), uint32(0x20100), four)), tcp4)
	f("raw", linkRaw, four, tcp4)
	f("SLL", linkSLL, bytesOf(make([]byte, 14), uint16(0x0800), four), tcp4)
	f("SLL2", linkSLL2, bytesOf(uint16(0x0800), make([]byte, 18), four), tcp4)
	f("loopback", linkLoopback, bytesOf(uint32(2), four), tcp4)
	f("ARP", linkEthernet, ethernetHeader(0x0806, make([]byte, 28)), "no")
	f("an unknown link", 42, four, "no")
	f("cut in the ports", linkRaw, four[:22], "10.0.0.1:0 > 10.0.0.2:0 proto 6, 1000 bytes, 1 packets")
	f("cut in the header", linkRaw, four[:19], "no")
	fragment := append([]byte(nil), four...)
	fragment[7] = 100
	f("a later fragment", linkRaw, fragment, "10.0.0.1:0 > 10.0.0.2:0 proto 6, 1000 bytes, 1 packets")
	f("ICMP", linkRaw, bytesOf(ipv4Header("10.0.0.1", "10.0.0.2", 1, 84)[:20], uint8(8), uint8(0)), "10.0.0.1:0 > 10.0.0.2:2048 proto 1, 84 bytes, 1 packets")
	f("IPv6", linkRaw, ipv6Header(17, 500, ports), "2001:db8::1:1234 > 2001:db8::2:80 proto 17, 540 bytes, 1 packets")
	f("IPv6 with options", linkRaw, ipv6Header(0, 500, bytesOf(uint8(60), uint8(0), make([]byte, 6), uint8(6), uint8(1), make([]byte, 14), ports)), "2001:db8::1:1234 > 2001:db8::2:80 proto 6, 540 bytes, 1 packets")
	f("IPv6 fragment", linkRaw, ipv6Header(44, 500, bytesOf(uint8(17), uint8(0), uint16(0x10), uint32(1), ports)), "2001:db8::1:0 > 2001:db8::2:0 proto 17, 540 bytes, 1 packets")
	f("IPv6 whose options are cut", linkRaw, ipv6Header(0, 500, bytesOf(uint8(60), uint8(9))), "2001:db8::1:0 > 2001:db8::2:0 proto 0, 540 bytes, 1 packets")
}

func sflowDatagram(samples ...[]byte) []byte {
	return bytesOf(uint32(5), uint32(1), "192.0.2.7", uint32(0), uint32(1), uint32(1000), uint32(len(samples)), bytesOf(anys(samples)...))
}

// sflowSample is a flow sample of one packet at a rate, from interface 3 to 0x40000004, which is no index.
func sflowSample(rate uint32, header []byte) []byte {
	record := bytesOf(uint32(1), uint32(1000), uint32(4), uint32(len(header)), header)
	body := bytesOf(uint32(1), uint32(3), rate, uint32(rate), uint32(0), uint32(3), uint32(0x40000004), uint32(1), uint32(1), uint32(len(record)), record)
	return bytesOf(uint32(1), uint32(len(body)), body)
}

func TestSFlow(t *testing.T) {
	d, reg := newTestDecoder()
	packet := ethernetHeader(0x0800, ipv4Header("10.0.0.1", "10.0.0.2", 6, 1000))
	counters := bytesOf(uint32(2), uint32(4), uint32(0))
	expanded := bytesOf(uint32(3), uint32(44+8+32), uint32(1), uint32(0), uint32(3), uint32(20), uint32(0), uint32(0), uint32(0), uint32(5), uint32(0), uint32(6),
		uint32(1), uint32(3), uint32(32), uint32(300), uint32(17), "10.0.0.3", "10.0.0.4", uint32(5), uint32(53), uint32(0), uint32(0))
	got := d.Decode(sflowDatagram(sflowSample(10, packet), counters, expanded, sflowSample(10, ethernetHeader(0x0806, make([]byte, 28)))), router, noon)
	want := "10.0.0.1:1234 > 10.0.0.2:80 proto 6, 10000 bytes, 10 packets\n10.0.0.3:5 > 10.0.0.4:53 proto 17, 6000 bytes, 20 packets\ninvalid IP:0 > invalid IP:0 proto 0, 0 bytes, 0 packets"
	if lines(got) != want {
		t.Errorf("decoded\n%s\nwant\n%s", lines(got), want)
	}
	if r := got[0]; r.Exporter.String() != "192.0.2.7" || !r.HasIn || r.In != 3 || r.HasOut || !r.HasMAC {
		t.Errorf("decoded %+v", r)
	}
	if r := got[1]; r.In != 5 || r.Out != 6 || !r.HasOut {
		t.Errorf("decoded %+v", r)
	}
	hostile := expanded
	hostile = append([]byte(nil), hostile...)
	copy(hostile[8+40:], []byte{0xff, 0xff, 0xff, 0xff}) // four thousand million records
	got = d.Decode(sflowDatagram(hostile, sflowSample(10, packet)), router, noon)
	if len(got) != 1 || !strings.HasPrefix(line(&got[0]), "10.0.0.1") {
		t.Errorf("behind a hostile sample: %s", lines(got))
	}
	if a := reg.Ledger("flow.datagrams", "datagrams").Snapshot(); a.Discarded["malformed"] != 1 {
		t.Errorf("ledger %+v", a)
	}
	balanced(t, reg, d)
}
