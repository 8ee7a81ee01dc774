package flow

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

var (
	router = netip.MustParseAddr("192.0.2.1")
	noon   = time.Unix(1700000000, 0)
	quiet  = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// bytesOf concatenates numbers and bytes in network order.
func bytesOf(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case uint8:
			b = append(b, p)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		case []byte:
			b = append(b, p...)
		case netip.Addr:
			b = append(b, p.AsSlice()...)
		case string:
			b = append(b, netip.MustParseAddr(p).AsSlice()...)
		default:
			panic(p)
		}
	}
	return b
}

func v9(domain, sequence uint32, sets ...[]byte) []byte {
	return bytesOf(uint16(9), uint16(len(sets)), uint32(60000), uint32(noon.Unix()), sequence, domain, bytesOf(anys(sets)...))
}

func ipfix(domain, sequence uint32, sets ...[]byte) []byte {
	body := bytesOf(anys(sets)...)
	return bytesOf(uint16(10), uint16(16+len(body)), uint32(noon.Unix()), sequence, domain, body)
}

func anys(sets [][]byte) []any {
	var out []any
	for _, s := range sets {
		out = append(out, s)
	}
	return out
}

func set(id uint16, parts ...any) []byte {
	body := bytesOf(parts...)
	return bytesOf(id, uint16(4+len(body)), body)
}

// template is a template of (element, length) pairs.
func template(id uint16, pairs ...uint16) []byte {
	b := bytesOf(id, uint16(len(pairs)/2))
	for _, p := range pairs {
		b = binary.BigEndian.AppendUint16(b, p)
	}
	return b
}

// plain is the template of plainRecord.
func plain(id uint16) []byte {
	return template(id, fieldSource4, 4, fieldDestination4, 4, fieldBytes, 4, fieldPackets, 4, fieldSourcePort, 2, fieldDestinationPort, 2,
		fieldProtocol, 1, fieldFlags, 1, fieldIn, 2, fieldOut, 4, fieldFirstUptime, 4, fieldLastUptime, 4)
}

func plainRecord(source, destination string, bytes, packets uint32) []byte {
	return bytesOf(source, destination, bytes, packets, uint16(40000), uint16(443), uint8(6), uint8(0x1b), uint16(3), uint32(7), uint32(10000), uint32(20000))
}

func newTestDecoder() (*Decoder, *telemetry.Registry) {
	reg := telemetry.NewRegistry()
	return NewDecoder(Sampling{}, reg, quiet), reg
}

func balanced(t *testing.T, reg *telemetry.Registry, d *Decoder) {
	t.Helper()
	for _, a := range reg.Accounts() {
		if a.Component == "flow.held" {
			a.Buffered = d.Held()
		}
		if !a.Balanced() {
			t.Errorf("ledger %+v does not balance", a)
		}
	}
}
