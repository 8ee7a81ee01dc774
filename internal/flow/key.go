package flow

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Keys of counter groups and flows, section 6.1 of the specification. The functions append, so that
// nothing is allocated for a record.

const upper = "0123456789ABCDEF"

func appendHex(dst []byte, b byte) []byte { return append(dst, upper[b>>4], upper[b&15]) }

// AppendAddress appends an address: C0.A8.01.02, or 32 digits for IPv6.
func AppendAddress(dst []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		for i, b := range v {
			if i > 0 {
				dst = append(dst, '.')
			}
			dst = appendHex(dst, b)
		}
		return dst
	}
	v := a.As16()
	for _, b := range v {
		dst = appendHex(dst, b)
	}
	return dst
}

// appendPort appends the port of an application, p-0050, or what stands for it where the protocol has none.
func appendPort(dst []byte, protocol uint8, port, icmp uint16) []byte {
	switch protocol {
	case protocolTCP, protocolUDP:
		dst = append(dst, 'p', '-')
		return appendHex(appendHex(dst, byte(port>>8)), byte(port))
	case protocolICMP, protocolICMPv6:
		return appendHex(append(dst, "icmp"...), byte(icmp>>8))
	case protocolIGMP:
		return append(dst, "igmp"...)
	case protocolGRE:
		return append(dst, "gre000"...)
	case protocolESP, protocolAH:
		return append(dst, "ipsec0"...)
	}
	return appendHex(append(dst, "ip"...), protocol)
}

// appendInterface appends an interface of a router: 0A.81.4A.92_0000000A.
func appendInterface(dst []byte, router netip.Addr, index uint32) []byte {
	return appendIndex(append(AppendAddress(dst, router), '_'), index)
}

func appendIndex(dst []byte, index uint32) []byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], index)
	for _, c := range b {
		dst = appendHex(dst, c)
	}
	return dst
}

// appendMAC appends 00:1C:C0:B9:B9:10.
func appendMAC(dst []byte, mac [6]byte) []byte {
	for i, b := range mac {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = appendHex(dst, b)
	}
	return dst
}

func appendNumber(dst []byte, n uint32) []byte { return strconv.AppendUint(dst, uint64(n), 10) }
