package flow

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Files of nfdump 1.7: a header, blocks that may be compressed, and records of extensions, in the byte
// order of the machine that wrote them.

const (
	nfcapdMagic   = 0xa50c
	maxBlock      = 64 << 20 // bytes of a block, decompressed
	nfcapdRecord  = 11
	nfcapdPlain   = 1 // flag of a block that is not compressed in a compressed file
	nfcapdHeader  = 40
	nfcapdBlock   = 12
	nfcapdEntry   = 12
	nfcapdElement = 4
)

// Extensions of a record.
const (
	extensionGeneric     = 1
	extensionIPv4        = 2
	extensionIPv6        = 3
	extensionMisc        = 4
	extensionVLAN        = 6
	extensionAS          = 7
	extensionNextHopBGP4 = 8
	extensionNextHopBGP6 = 9
	extensionNextHop4    = 10
	extensionNextHop6    = 11
	extensionExporter4   = 12
	extensionExporter6   = 13
	extensionMAC         = 15
)

var errNfcapd = errors.New("a record or block is cut off")

// isNfcapd reports whether a file begins like one of nfdump.
func isNfcapd(b []byte) bool {
	return len(b) >= 2 && (binary.LittleEndian.Uint16(b) == nfcapdMagic || binary.BigEndian.Uint16(b) == nfcapdMagic)
}

// readNfcapd gives the records of each block to sink.
func readNfcapd(in io.Reader, sink func([]Record) error) error {
	head := make([]byte, nfcapdHeader)
	if _, err := io.ReadFull(in, head); err != nil {
		return errNfcapd
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint16(head) != nfcapdMagic {
		order = binary.BigEndian
	}
	if version := order.Uint16(head[2:]); version != 2 {
		return fmt.Errorf("it has format %d of nfdump, only 2 (nfdump 1.7) can be read; convert it with \"nfdump -r OLD -w NEW\"", version)
	}
	if head[17] != 0 {
		return errors.New("it is encrypted")
	}
	open, err := decompressor(head[16])
	if err != nil {
		return err
	}
	var records []Record
	for range order.Uint32(head[36:]) {
		block := make([]byte, nfcapdBlock)
		if _, err := io.ReadFull(in, block); err != nil {
			return errNfcapd
		}
		size := order.Uint32(block[4:])
		if size > maxBlock {
			return fmt.Errorf("a block has %d bytes, more than any nfdump writes", size)
		}
		var body bytes.Buffer // grows with what is there, whatever the header says
		if n, err := io.CopyN(&body, in, int64(size)); err != nil || n != int64(size) {
			return errNfcapd
		}
		data := body.Bytes()
		if order.Uint16(block[8:]) != 3 { // another kind of block
			continue
		}
		if order.Uint16(block[10:])&nfcapdPlain == 0 {
			if data, err = open(data); err != nil {
				return fmt.Errorf("a block cannot be decompressed: %w", err)
			}
		}
		if records, err = nfcapdRecords(records[:0], data, order); err != nil {
			return err
		}
		if err := sink(records); err != nil {
			return err
		}
	}
	return nil
}

// decompressor returns what opens the blocks of a file.
func decompressor(kind byte) (func([]byte) ([]byte, error), error) {
	switch kind {
	case 0:
		return func(b []byte) ([]byte, error) { return b, nil }, nil
	case 2:
		return func(b []byte) ([]byte, error) { return bounded(bzip2.NewReader(bytes.NewReader(b))) }, nil
	case 3:
		return func(b []byte) ([]byte, error) {
			for size := 1 << 20; size <= maxBlock; size *= 4 {
				out := make([]byte, size)
				n, err := lz4.UncompressBlock(b, out)
				if err == nil {
					return out[:n], nil
				}
				if !errors.Is(err, lz4.ErrInvalidSourceShortBuffer) {
					return nil, err
				}
			}
			return nil, lz4.ErrInvalidSourceShortBuffer
		}, nil
	case 4:
		return func(b []byte) ([]byte, error) {
			r, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock))
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return bounded(r)
		}, nil
	case 1:
		return nil, errors.New("it is compressed with LZO, which cannot be read; change that with \"nfdump -J 3 -r FILE\"")
	}
	return nil, fmt.Errorf("it is compressed in the unknown way %d", kind)
}

func bounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBlock+1))
	if err == nil && len(b) > maxBlock {
		err = fmt.Errorf("it has more than %d bytes", maxBlock)
	}
	return b, err
}

func nfcapdRecords(records []Record, b []byte, order binary.ByteOrder) ([]Record, error) {
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, errNfcapd
		}
		kind, size := order.Uint16(b), int(order.Uint16(b[2:]))
		if size < 4 || size > len(b) {
			return nil, errNfcapd
		}
		if kind == nfcapdRecord {
			if size < nfcapdEntry {
				return nil, errNfcapd
			}
			r := Record{Rate: 1}
			elements := b[nfcapdEntry:size]
			for len(elements) >= nfcapdElement {
				kind, length := order.Uint16(elements), int(order.Uint16(elements[2:]))
				if length < nfcapdElement || length > len(elements) {
					return nil, errNfcapd
				}
				if err := r.extension(kind, elements[nfcapdElement:length], order); err != nil {
					return nil, err
				}
				elements = elements[length:]
			}
			if r.Time == 0 {
				r.Time = r.Last * 1e6
			}
			if r.Protocol == protocolICMP || r.Protocol == protocolICMPv6 {
				r.ICMP = r.DestinationPort
			}
			records = append(records, r)
		}
		b = b[size:]
	}
	return records, nil
}

// sizes are how long extensions are at least.
var sizes = map[uint16]int{extensionGeneric: 48, extensionIPv4: 8, extensionIPv6: 32, extensionMisc: 12, extensionVLAN: 8, extensionAS: 8,
	extensionNextHop4: 4, extensionNextHop6: 16, extensionNextHopBGP4: 4, extensionNextHopBGP6: 16, extensionExporter4: 4, extensionExporter6: 16, extensionMAC: 32}

// extension reads one part of a record.
func (r *Record) extension(kind uint16, b []byte, order binary.ByteOrder) error {
	if len(b) < sizes[kind] {
		return errNfcapd
	}
	four := func(b []byte) netip.Addr {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], order.Uint32(b))
		return netip.AddrFrom4(a)
	}
	six := func(b []byte) netip.Addr {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:], order.Uint64(b))
		binary.BigEndian.PutUint64(a[8:], order.Uint64(b[8:]))
		return netip.AddrFrom16(a)
	}
	switch kind {
	case extensionGeneric:
		r.First, r.Last = int64(order.Uint64(b)), int64(order.Uint64(b[8:]))
		r.Time = int64(order.Uint64(b[16:])) * 1e6
		r.Packets, r.Bytes = order.Uint64(b[24:]), order.Uint64(b[32:])
		r.SourcePort, r.DestinationPort = order.Uint16(b[40:]), order.Uint16(b[42:])
		r.Protocol, r.Flags, r.TOS = b[44], b[45], b[47]
	case extensionIPv4:
		r.Source, r.Destination = four(b), four(b[4:])
	case extensionIPv6:
		r.Source, r.Destination = six(b), six(b[16:])
	case extensionMisc:
		r.In, r.Out, r.HasIn, r.HasOut, r.Egress = order.Uint32(b), order.Uint32(b[4:]), true, true, b[10] == 1
	case extensionVLAN:
		if r.VLAN = uint16(order.Uint32(b)); r.VLAN == 0 {
			r.VLAN = uint16(order.Uint32(b[4:]))
		}
	case extensionAS:
		r.SourceAS, r.DestinationAS = order.Uint32(b), order.Uint32(b[4:])
	case extensionNextHop4:
		r.NextHop = four(b)
	case extensionNextHop6:
		r.NextHop = six(b)
	case extensionNextHopBGP4:
		r.BGPNextHop = four(b)
	case extensionNextHopBGP6:
		r.BGPNextHop = six(b)
	case extensionExporter4:
		r.Exporter = four(b)
	case extensionExporter6:
		r.Exporter = six(b)
	case extensionMAC:
		r.HasMAC = true
		source, destination := order.Uint64(b), order.Uint64(b[16:])
		for i := range 6 {
			r.SourceMAC[i], r.DestinationMAC[i] = byte(source>>(40-8*i)), byte(destination>>(40-8*i))
		}
	}
	return nil
}
