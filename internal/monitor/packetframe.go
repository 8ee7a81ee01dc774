package monitor

import (
	"fmt"
	"math"

	"github.com/weirhq/weir/internal/flow"
)

// packets are captured packets on their way to simplecounters. A KindPackets holds what all packets have of one kind one behind
// the other, as flows do; numbers of layers and ends in texts count over all packets:
//
//	u32 instance, u32 0, i64 time, u32 packets, u32 layers
//	(f64 seconds, u32 microseconds, wire, end of layers, end of key, end of data, 0) × packets
//	u32 × (protocol, start, header, end) × layers, bytes
type packets struct {
	n, layered int
	heads      []byte
	layers     []byte
	texts      []byte
	found      []flow.Layer // of the packet that is added
}

// Packets are shown when there are so many, or so many bytes, or their second ends.
const (
	maxPackets     = 512
	maxPacketBytes = 1 << 20
)

func (p *packets) full() bool { return p.n >= maxPackets || len(p.texts) >= maxPacketBytes }

func (p *packets) reset() {
	p.n, p.layered, p.heads, p.layers, p.texts = 0, 0, p.heads[:0], p.layers[:0], p.texts[:0]
}

func (p *packets) add(one *flow.Packet) {
	p.found = one.AppendLayers(p.found[:0])
	for _, l := range p.found {
		for _, n := range [...]int{int(l.Protocol), l.Start, l.Header, l.End} {
			p.layers = order.AppendUint32(p.layers, uint32(n))
		}
	}
	p.n++
	p.layered += len(p.found)
	p.texts = one.AppendKey(p.texts)
	key := len(p.texts)
	p.texts = append(p.texts, one.Data...)
	at := max(0, one.Time) // a file may hold any time
	p.heads = order.AppendUint64(p.heads, math.Float64bits(float64(at/1e9)))
	for _, n := range [...]int{int(at % 1e9 / 1e3), one.Wire, p.layered, key, len(p.texts), 0} {
		p.heads = order.AppendUint32(p.heads, uint32(n))
	}
}

// frame is the payload for an instance.
func (p *packets) frame(instance int, t int64) []byte {
	dst := make([]byte, 0, headSize+len(p.heads)+len(p.layers)+len(p.texts))
	dst = order.AppendUint32(order.AppendUint32(dst, uint32(instance)), 0)
	dst = order.AppendUint64(dst, uint64(t))
	dst = order.AppendUint32(order.AppendUint32(dst, uint32(p.n)), uint32(p.layered))
	return append(append(append(dst, p.heads...), p.layers...), p.texts...)
}

// packets works on a KindPackets.
func (h *host) packets(payload []byte) error {
	if len(payload) < headSize {
		return fmt.Errorf("BUG: packets in %d bytes", len(payload))
	}
	head := Items{Instance: int(order.Uint32(payload)), Event: EventNew, Time: int64(order.Uint64(payload[8:]))}
	i, err := h.instance(head.Instance)
	if err != nil {
		return err
	}
	i.items(&head, int(order.Uint32(payload[16:])), "packets", payload)
	return nil
}
