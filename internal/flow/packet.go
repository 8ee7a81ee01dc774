package flow

import (
	"encoding/binary"
	"net/netip"
)

// Link layers of captured packets, as packet capture files number them.
const (
	linkEthernet = 1
	linkRaw      = 101
	linkLoopback = 0 // BSD: four bytes of address family
	linkSLL      = 113
	linkSLL2     = 276
)

// packet reads the headers of a captured packet into r and reports whether it is IP. Bytes becomes the length of the
// IP packet by its own header, Packets 1. What the capture has cut off is left at zero. transport begins with
// the header of TCP, UDP or whatever is inside; it is nil when that is not there.
func (r *Record) packet(link int, b []byte) (transport []byte, ok bool) {
	kind := uint16(0) // EtherType; 0: by the IP version
	switch link {
	case linkEthernet:
		if len(b) < 14 {
			return nil, false
		}
		copy(r.DestinationMAC[:], b)
		copy(r.SourceMAC[:], b[6:])
		r.HasMAC = true
		kind, b = binary.BigEndian.Uint16(b[12:]), b[14:]
	case linkSLL:
		if len(b) < 16 {
			return nil, false
		}
		kind, b = binary.BigEndian.Uint16(b[14:]), b[16:]
	case linkSLL2:
		if len(b) < 20 {
			return nil, false
		}
		kind, b = binary.BigEndian.Uint16(b), b[20:]
	case linkLoopback:
		if len(b) < 4 {
			return nil, false
		}
		b = b[4:]
	case linkRaw:
	default:
		return nil, false
	}
	for range 4 { // tags and labels
		switch kind {
		case 0x8100, 0x88a8, 0x9100:
			if len(b) < 4 {
				return nil, false
			}
			if r.VLAN == 0 {
				r.VLAN = binary.BigEndian.Uint16(b) & 0xfff
			}
			kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case 0x8847, 0x8848:
			for {
				if len(b) < 4 {
					return nil, false
				}
				last := b[2]&1 == 1
				if b = b[4:]; last {
					break
				}
			}
			kind = 0
		}
	}
	if kind != 0 && kind != 0x0800 && kind != 0x86dd || len(b) == 0 {
		return nil, false
	}
	switch b[0] >> 4 {
	case 4:
		return r.ipv4(b)
	case 6:
		return r.ipv6(b)
	}
	return nil, false
}

func (r *Record) ipv4(b []byte) (transport []byte, ok bool) {
	if len(b) < 20 {
		return nil, false
	}
	size := int(b[0]&15) * 4
	if size < 20 {
		return nil, false
	}
	r.TOS, r.Protocol = b[1], b[9]
	r.Source, r.Destination = address4(b[12:16]), address4(b[16:20])
	r.Bytes, r.Packets = uint64(binary.BigEndian.Uint16(b[2:])), 1
	if later := binary.BigEndian.Uint16(b[6:])&0x1fff != 0; later || len(b) < size {
		return nil, true // a fragment behind the first has no ports
	}
	r.transport(b[size:])
	return b[size:], true
}

func (r *Record) ipv6(b []byte) (transport []byte, ok bool) {
	if len(b) < 40 {
		return nil, false
	}
	r.TOS = b[0]<<4 | b[1]>>4
	r.Source, r.Destination = address6(b[8:24]), address6(b[24:40])
	r.Bytes, r.Packets = uint64(binary.BigEndian.Uint16(b[4:]))+40, 1
	next := b[6]
	b = b[40:]
	for range 16 { // extension headers
		switch next {
		case 0, 43, 60, 135: // hop by hop, routing, destination, mobility
			if len(b) < 8 || len(b) < int(b[1])*8+8 {
				r.Protocol = next
				return nil, true
			}
			next, b = b[0], b[int(b[1])*8+8:]
			continue
		case 44: // fragment
			if len(b) < 8 {
				r.Protocol = next
				return nil, true
			}
			later := binary.BigEndian.Uint16(b[2:])&0xfff8 != 0
			if next, b = b[0], b[8:]; later {
				r.Protocol = next
				return nil, true
			}
			continue
		}
		break
	}
	r.Protocol = next
	r.transport(b)
	return b, true
}

// transport reads ports, flags, and the type of ICMP.
func (r *Record) transport(b []byte) {
	switch r.Protocol {
	case protocolTCP, protocolUDP, 132: // SCTP
		if len(b) < 4 {
			return
		}
		r.SourcePort, r.DestinationPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if r.Protocol == protocolTCP && len(b) >= 14 {
			r.Flags = b[13]
		}
	case protocolICMP, protocolICMPv6:
		if len(b) >= 2 {
			r.ICMP = binary.BigEndian.Uint16(b)
			r.DestinationPort = r.ICMP // as exporters report it
		}
	}
}

// addressOf reads 4 or 16 bytes.
func addressOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}
