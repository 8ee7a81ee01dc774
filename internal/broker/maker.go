package broker

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirhq/weir/internal/event"
)

// maker encodes the storage events of one status in its generation, straight into
// payloads: there are several of them for every check.
type maker struct {
	legacy              bool
	source, destination uint32
	of                  pair
	time, interval      int64 // seconds

	room []byte // where payloads are put
}

// begin returns an empty payload with room for any storage event.
func (m *maker) begin() []byte {
	const largest = 1024 // a label of 255 bytes and a value of some 330
	if cap(m.room)-len(m.room) < largest {
		m.room = make([]byte, 0, 16<<10)
	}
	return m.room[len(m.room):len(m.room):cap(m.room)]
}

// end makes an event of a payload that began with begin.
func (m *maker) end(legacy, protobuf event.Type, payload []byte) event.Event {
	m.room = m.room[:len(m.room)+len(payload)]
	t := protobuf
	if m.legacy {
		t = legacy
	}
	return event.Event{Type: t, Source: m.source, Destination: m.destination, Payload: payload[:len(payload):len(payload)]}
}

func (m *maker) indexMapping(index uint64) event.Event {
	b := m.begin()
	if m.legacy {
		b = binary.BigEndian.AppendUint64(b, index)
		b = binary.BigEndian.AppendUint32(b, uint32(m.of.host))
		b = binary.BigEndian.AppendUint32(b, uint32(m.of.service))
	} else {
		b = appendNumber(b, 1, index)
		b = appendNumber(b, 2, m.of.host)
		b = appendNumber(b, 3, m.of.service)
	}
	return m.end(legacyIndexMapping, pbIndexMapping, b)
}

func (m *maker) metricMapping(index, metric uint64) event.Event {
	b := m.begin()
	if m.legacy {
		b = binary.BigEndian.AppendUint64(b, index)
		b = binary.BigEndian.AppendUint32(b, uint32(metric))
	} else {
		b = appendNumber(b, 1, index)
		b = appendNumber(b, 2, metric)
	}
	return m.end(legacyMetricMapping, pbMetricMapping, b)
}

func (m *maker) status(index uint64, state int64) event.Event {
	b := m.begin()
	if m.legacy {
		b = binary.BigEndian.AppendUint64(b, uint64(m.time))
		b = binary.BigEndian.AppendUint64(b, index)
		b = binary.BigEndian.AppendUint32(b, uint32(m.interval))
		b = binary.BigEndian.AppendUint64(b, retention)
		b = binary.BigEndian.AppendUint16(b, uint16(state))
		b = append(b, 0) // not for a rebuild
	} else {
		b = appendNumber(b, 1, index)
		b = appendNumber(b, 2, uint64(m.interval))
		b = appendNumber(b, 3, retention)
		b = appendNumber(b, 4, uint64(m.time))
		b = appendNumber(b, 5, uint64(state))
		b = appendNumber(b, 6, m.of.host)
		b = appendNumber(b, 7, m.of.service)
	}
	return m.end(legacyStatus, pbStatus, b)
}

func (m *maker) metric(id uint64, x *Metric) event.Event {
	b := m.begin()
	if m.legacy {
		b = binary.BigEndian.AppendUint64(b, uint64(m.time))
		b = binary.BigEndian.AppendUint32(b, uint32(m.interval))
		b = binary.BigEndian.AppendUint32(b, uint32(id))
		b = append(append(b, x.Label...), 0)
		b = binary.BigEndian.AppendUint32(b, retention)
		b = append(appendDouble(b, x.Value), 0)
		b = binary.BigEndian.AppendUint16(b, uint16(x.Type))
		b = append(b, 0) // not for a rebuild
		b = binary.BigEndian.AppendUint32(b, uint32(m.of.host))
		b = binary.BigEndian.AppendUint32(b, uint32(m.of.service))
	} else {
		b = appendNumber(b, 4, id)
		b = appendNumber(b, 5, retention)
		b = appendNumber(b, 6, uint64(m.interval))
		b = appendNumber(b, 7, uint64(x.Type))
		b = appendNumber(b, 8, uint64(m.time))
		if x.Value != 0 {
			b = protowire.AppendTag(b, 9, protowire.Fixed64Type)
			b = protowire.AppendFixed64(b, math.Float64bits(x.Value))
		}
		b = protowire.AppendTag(b, 10, protowire.BytesType)
		b = protowire.AppendBytes(b, x.Label)
		b = appendNumber(b, 11, m.of.host)
		b = appendNumber(b, 12, m.of.service)
	}
	return m.end(legacyMetric, pbMetric, b)
}

// appendNumber writes an integer field unless it is 0, the default.
func appendNumber(b []byte, number protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), n)
}

// appendDouble writes a legacy double with all its digits.
func appendDouble(b []byte, x float64) []byte {
	switch {
	case math.IsNaN(x):
		return append(b, "nan"...)
	case math.IsInf(x, 1):
		return append(b, "inf"...)
	case math.IsInf(x, -1):
		return append(b, "-inf"...)
	}
	return strconv.AppendFloat(b, x, 'f', -1, 64)
}
