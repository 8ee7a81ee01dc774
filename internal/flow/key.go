package flow

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
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

// Readable says what a key of an address, a port or an interface means, as people write it: 192.168.1.2, 2001:db8::1, 443, 10.129.74.146_10. It
// returns "" for every other key.
func Readable(key string) string {
	if rest, ok := strings.CutPrefix(key, "p-"); ok && len(rest) == 4 {
		if n, err := strconv.ParseUint(rest, 16, 16); err == nil {
			return strconv.FormatUint(n, 10)
		}
		return ""
	}
	address, index, isInterface := strings.Cut(key, "_")
	digits := strings.ReplaceAll(address, ".", "")
	if len(digits) == 8 && (len(address) != 11 || address[2] != '.' || address[5] != '.' || address[8] != '.') || len(digits) == 32 && len(address) != 32 {
		return ""
	}
	b, err := hex.DecodeString(digits)
	a, ok := netip.AddrFromSlice(b)
	if err != nil || !ok || strings.ToUpper(digits) != digits {
		return ""
	}
	if !isInterface {
		return a.String()
	}
	n, err := strconv.ParseUint(index, 16, 32)
	if err != nil || len(index) != 8 {
		return ""
	}
	return a.String() + "_" + strconv.FormatUint(n, 10)
}
