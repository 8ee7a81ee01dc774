package flow

import (
	"fmt"
	"strings"
	"testing"
)

func TestLayers(t *testing.T) {
	names := []string{"", "ethernet", "ipv4", "ipv6", "icmp", "udp", "tcp"}
	f := func(name string, link int, b []byte, want string) {
		t.Helper()
		var got []string
		for _, l := range (&Packet{Data: b, link: link}).AppendLayers(nil) {
			got = append(got, fmt.Sprint(names[l.Protocol], " ", l.Start, "+", l.Header, ":", l.End))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", name, strings.Join(got, ", "), want)
		}
	}
	tcp := ipv4Header("10.0.0.1", "10.0.0.2", 6, 40)
	ports := bytesOf(uint16(1234), uint16(80), make([]byte, 16))
	f("Ethernet with padding", linkEthernet, append(ethernetHeader(0x0800, tcp), 0, 0, 0), "ethernet 0+14:57, ipv4 14+20:54, tcp 34+20:54")
	f("VLAN", linkEthernet, ethernetHeader(0x8100, bytesOf(uint16(7), uint16(0x0800), tcp)), "ethernet 0+18:58, ipv4 18+20:58, tcp 38+20:58")
	f("MPLS", linkEthernet, ethernetHeader(0x8847, bytesOf(uint32(0x10000), uint32(0x20100), tcp)), "ethernet 0+14:62, ipv4 22+20:62, tcp 42+20:62")
	f("labels without an end", linkEthernet, ethernetHeader(0x8847, make([]byte, 11)), "ethernet 0+14:25")
	f("ARP", linkEthernet, ethernetHeader(0x0806, make([]byte, 28)), "ethernet 0+14:42")
	f("Ethernet, cut", linkEthernet, make([]byte, 13), "")
	f("raw", linkRaw, tcp, "ipv4 0+20:40, tcp 20+20:40")
	f("SLL", linkSLL, bytesOf(make([]byte, 14), uint16(0x0800), tcp), "ipv4 16+20:56, tcp 36+20:56")
	f("SLL2", linkSLL2, bytesOf(uint16(0x0800), make([]byte, 18), tcp), "ipv4 20+20:60, tcp 40+20:60")
	f("loopback", linkLoopback, bytesOf(uint32(2), tcp), "ipv4 4+20:44, tcp 24+20:44")
	f("loopback, cut", linkLoopback, []byte{2}, "")
	f("UDP", linkRaw, ipv4Header("10.0.0.1", "10.0.0.2", 17, 40), "ipv4 0+20:40, udp 20+8:40")
	f("ICMP", linkRaw, ipv4Header("10.0.0.1", "10.0.0.2", 1, 40), "ipv4 0+20:40, icmp 20+8:40")
	f("another protocol", linkRaw, ipv4Header("10.0.0.1", "10.0.0.2", 47, 40), "ipv4 0+20:40")
	f("a length of 0", linkRaw, ipv4Header("10.0.0.1", "10.0.0.2", 6, 0), "ipv4 0+20:40, tcp 20+20:40")
	f("TCP, cut", linkRaw, tcp[:25], "ipv4 0+20:25, tcp 20+5:25")
	f("TCP, cut off", linkRaw, tcp[:20], "ipv4 0+20:20")
	f("IPv4, cut", linkRaw, tcp[:19], "")
	options := append([]byte(nil), tcp...)
	options[0] = 0x4f
	f("options that are cut", linkRaw, options, "ipv4 0+40:40")
	options[0] = 0x41
	f("a header that is too short", linkRaw, options, "")
	fragment := append([]byte(nil), tcp...)
	fragment[7] = 100
	f("a later fragment", linkRaw, fragment, "ipv4 0+20:40")
	f("IPv6", linkRaw, ipv6Header(17, 20, ports), "ipv6 0+40:60, udp 40+8:60")
	f("IPv6 with options", linkRaw, ipv6Header(0, 28, bytesOf(uint8(6), uint8(0), make([]byte, 6), ports)), "ipv6 0+48:68, tcp 48+20:68")
	f("IPv6 fragment", linkRaw, ipv6Header(44, 28, bytesOf(uint8(17), uint8(0), uint16(0x10), uint32(1), ports)), "ipv6 0+48:68")
	f("IPv6 whose options are cut", linkRaw, ipv6Header(0, 28, bytesOf(uint8(60), uint8(9))), "ipv6 0+40:42")
	f("an unknown link", 42, tcp, "")
	f("nothing", linkRaw, nil, "")
}

// FuzzLayers: layers of any bytes lie within them, each within the one around it.
func FuzzLayers(f *testing.F) {
	f.Add(linkEthernet, ethernetHeader(0x8100, bytesOf(uint16(7), uint16(0x0800), ipv4Header("10.0.0.1", "10.0.0.2", 6, 40))))
	f.Add(linkRaw, ipv6Header(0, 28, bytesOf(uint8(44), uint8(0), make([]byte, 6), uint8(17), make([]byte, 20))))
	f.Fuzz(func(t *testing.T, link int, b []byte) {
		start, end := 0, len(b)
		for _, l := range (&Packet{Data: b, link: link}).AppendLayers(nil) {
			if l.Start < start || l.Header <= 0 || l.Start+l.Header > l.End || l.End > end {
				t.Fatalf("%+v behind %d in %d of %d bytes", l, start, end, len(b))
			}
			start, end = l.Start+l.Header, l.End
		}
	})
}
