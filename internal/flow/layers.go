package flow

import "encoding/binary"

// Protocol is one that a layer of a packet can be of.
type Protocol uint32

// Protocols of layers. Others are not taken apart, and are part of the layer around them.
const (
	LayerEthernet Protocol = iota + 1
	LayerIPv4
	LayerIPv6
	LayerICMP
	LayerUDP
	LayerTCP
)

// Layer is a part of a captured packet: its header is Data[Start:Start+Header], and with what it carries it is Data[Start:End]. All
// of it was captured; what the capture has cut off is in no layer.
type Layer struct {
	Protocol           Protocol
	Start, Header, End int
}

// Packet is a captured packet as File shows it. It is valid until the function it is shown to returns.
type Packet struct {
	Time   int64 // Unix nanoseconds; 0 is unknown
	Wire   int   // bytes on the wire
	Data   []byte
	link   int
	record *Record // nil when it is not IP
}

// AppendKey appends the key of the flow that the packet is of; nothing when it is not IP.
func (p *Packet) AppendKey(dst []byte) []byte {
	if p.record == nil {
		return dst
	}
	id, _ := identify(p.record, false)
	return id.AppendKey(dst)
}

// AppendLayers appends the layers from the outermost to the innermost one. VLAN tags belong to the Ethernet layer, extension headers
// to that of IPv6. A tunnel is not looked into, and a fragment behind the first has no layer above IP.
func (p *Packet) AppendLayers(dst []Layer) []Layer {
	b, at, end := p.Data, 0, len(p.Data)
	kind := uint16(0) // EtherType; 0: by the IP version
	switch p.link {
	case linkEthernet:
		if end < 14 {
			return dst
		}
		kind, at = binary.BigEndian.Uint16(b[12:]), 14
	case linkSLL:
		if end < 16 {
			return dst
		}
		kind, at = binary.BigEndian.Uint16(b[14:]), 16
	case linkSLL2:
		if end < 20 {
			return dst
		}
		kind, at = binary.BigEndian.Uint16(b), 20
	case linkLoopback:
		at = 4
	case linkRaw:
	default:
		return dst
	}
	for range 4 { // tags
		if kind != 0x8100 && kind != 0x88a8 && kind != 0x9100 || end-at < 4 {
			break
		}
		kind, at = binary.BigEndian.Uint16(b[at+2:]), at+4
	}
	if p.link == linkEthernet {
		dst = append(dst, Layer{LayerEthernet, 0, at, end})
	}
	for kind == 0x8847 || kind == 0x8848 { // labels
		if end-at < 4 {
			return dst
		}
		if b[at+2]&1 == 1 {
			kind = 0
		}
		at += 4
	}
	if kind != 0 && kind != 0x0800 && kind != 0x86dd || at >= end {
		return dst
	}
	switch b[at] >> 4 {
	case 4:
		return ipv4Layers(dst, b, at)
	case 6:
		return ipv6Layers(dst, b, at)
	}
	return dst
}

func ipv4Layers(dst []Layer, b []byte, at int) []Layer {
	if len(b)-at < 20 {
		return dst
	}
	size, end := int(b[at]&15)*4, len(b)
	if size < 20 {
		return dst
	}
	if total := int(binary.BigEndian.Uint16(b[at+2:])); total >= size && at+total < end { // what is behind is padding; 0 is a packet the network card cuts up
		end = at + total
	}
	dst = append(dst, Layer{LayerIPv4, at, min(size, end-at), end})
	if later := binary.BigEndian.Uint16(b[at+6:])&0x1fff != 0; later || end-at < size {
		return dst
	}
	return transportLayer(dst, b, b[at+9], at+size, end)
}

func ipv6Layers(dst []Layer, b []byte, start int) []Layer {
	if len(b)-start < 40 {
		return dst
	}
	at, end := start+40, len(b)
	if n := int(binary.BigEndian.Uint16(b[start+4:])); n > 0 && at+n < end {
		end = at + n
	}
	next, whole := b[start+6], true
extensions:
	for range 16 {
		size := 8
		switch next {
		case 0, 43, 60, 135: // hop by hop, routing, destination, mobility
			if end-at >= 2 {
				size += int(b[at+1]) * 8
			}
		case 44: // fragment
		default:
			break extensions
		}
		if end-at < size {
			whole = false
			break
		}
		if next == 44 && binary.BigEndian.Uint16(b[at+2:])&0xfff8 != 0 {
			whole = false
		}
		next, at = b[at], at+size
		if !whole {
			break
		}
	}
	dst = append(dst, Layer{LayerIPv6, start, at - start, end})
	if !whole {
		return dst
	}
	return transportLayer(dst, b, next, at, end)
}

func transportLayer(dst []Layer, b []byte, protocol uint8, at, end int) []Layer {
	l := Layer{Start: at, Header: 8, End: end}
	switch {
	case at >= end:
		return dst
	case protocol == protocolICMP:
		l.Protocol = LayerICMP
	case protocol == protocolUDP:
		l.Protocol = LayerUDP
	case protocol == protocolTCP:
		l.Protocol, l.Header = LayerTCP, 20
		if end-at > 12 {
			l.Header = max(20, int(b[at+12]>>4)*4)
		}
	default:
		return dst
	}
	l.Header = min(l.Header, end-at)
	return append(dst, l)
}
