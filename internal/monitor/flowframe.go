package monitor

import (
	"fmt"
	"math"
	"slices"
)

// The events of a KindFlows by their numbers.
var flowEvents = []string{EventNew, EventUpdate, EventTerminate, EventFilter, EventFlush, EventDecide}

const flowNumbers = 11 // of a flow

// frame is the kind and the payload of items. Flows, of which there may be many, have a form of their own: numbers of all flows, then
// where their texts end, and the texts, of which attributes are a word for each name and value, as its length, a colon and itself:
//
//	u32 instance, u8 event, u8 part, u16 0, i64 time, u32 flows, u32 0
//	f64 × 11 × flows, u32 × (key, tags, attributes) × flows, bytes
func (i *Items) frame() (kind byte, payload []byte) {
	if len(i.Flows) == 0 {
		return KindItems, encode(i)
	}
	part := Part(0)
	if i.Begin {
		part |= First
	}
	if i.End {
		part |= Last
	}
	dst := make([]byte, 0, headSize+len(i.Flows)*(8*flowNumbers+12+96))
	dst = order.AppendUint32(dst, uint32(i.Instance))
	dst = append(dst, byte(slices.Index(flowEvents, i.Event)), byte(part), 0, 0)
	dst = order.AppendUint64(dst, uint64(i.Time))
	dst = order.AppendUint32(order.AppendUint32(dst, uint32(len(i.Flows))), 0)
	for n := range i.Flows {
		f := &i.Flows[n]
		for _, v := range [flowNumbers]float64{float64(f.Start), float64(f.Last), float64(f.State), f.BytesAZ, f.BytesZA, f.PacketsAZ, f.PacketsZA, f.PayloadAZ, f.PayloadZA, f.SetupRTT, f.Retransmissions} {
			dst = order.AppendUint64(dst, math.Float64bits(v))
		}
	}
	var texts []byte
	for n := range i.Flows {
		f := &i.Flows[n]
		texts = append(texts, f.Key...)
		dst = order.AppendUint32(dst, uint32(len(texts)))
		texts = append(texts, f.Tags...)
		dst = order.AppendUint32(dst, uint32(len(texts)))
		for name, value := range f.Attributes {
			texts = fmt.Appendf(texts, "%d:%s%d:%s", len(name), name, len(value), value)
		}
		dst = order.AppendUint32(dst, uint32(len(texts)))
	}
	return KindFlows, append(dst, texts...)
}

// flows works on a KindFlows.
func (h *host) flows(payload []byte) (*ItemVotes, error) {
	if len(payload) < headSize || int(payload[4]) >= len(flowEvents) {
		return nil, fmt.Errorf("BUG: flows in %d bytes", len(payload))
	}
	head := Items{Instance: int(order.Uint32(payload)), Event: flowEvents[payload[4]], Time: int64(order.Uint64(payload[8:])),
		Begin: Part(payload[5])&First != 0, End: Part(payload[5])&Last != 0}
	i, err := h.instance(head.Instance)
	if err != nil {
		return nil, err
	}
	return i.items(&head, int(order.Uint32(payload[16:])), "flows", payload), nil
}
