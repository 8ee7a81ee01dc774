package flow

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
)

// Contents says what the packets of a capture are.
type Contents int

// What packets of a capture can be.
const (
	ContentsAuto    Contents = iota // exports when the first UDP datagrams look like it, else packets
	ContentsPackets                 // traffic to be counted itself
	ContentsExports                 // datagrams of NetFlow, IPFIX or sFlow
)

// File reads records from a file of nfdump (nfcapd) or of captured packets (pcap, pcapng).
type File struct {
	Contents Contents
	Decoder  *Decoder      // for captured exports; its templates go on from file to file
	Packet   func(*Packet) // shown every packet of a capture of traffic before its record is, nil for nobody
	Packets  int64         // packets read from captures
	Strange  int64         // packets that were neither IP nor, in a capture of exports, an export
}

// Read gives the records of a file to sink, a block or a packet at a time, with times of the data. exported reports
// whether they are records of an exporter; else they are single packets, whose Bytes are those on the wire. The records
// are valid until sink returns; an error it returns ends the reading.
func (f *File) Read(path string, sink func(records []Record, exported bool) error) error {
	fail := func(err error) error { return fmt.Errorf("cannot read flows from %q: %w", path, err) }
	file, err := os.Open(path)
	if err != nil {
		if reason := errors.Unwrap(err); reason != nil {
			err = reason // without the path again
		}
		return fail(err)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<20)
	head, _ := in.Peek(4)
	switch {
	case isNfcapd(head):
		err = readNfcapd(in, func(records []Record) error { return sink(records, true) })
	case isCapture(head):
		contents := f.Contents
		if contents == ContentsAuto {
			if contents, err = guess(path); err != nil {
				return fail(err)
			}
		}
		err = readCapture(in, func(p captured) error { return f.packet(p, contents, sink) })
	default:
		err = fmt.Errorf("it is neither a file of nfdump (nfcapd) nor of captured packets (pcap, pcapng); it begins with %q", head)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// packet makes records of one captured packet.
func (f *File) packet(p captured, contents Contents, sink func([]Record, bool) error) error {
	f.Packets++
	if contents == ContentsExports {
		payload, from, _, ok := datagramIn(p)
		if !ok {
			f.Strange++
			return nil
		}
		if records := f.Decoder.Decode(payload, from, time.Unix(0, p.at)); len(records) > 0 {
			return sink(records, true)
		}
		return nil
	}
	r := Record{Time: p.at, First: p.at / 1e6, Last: p.at / 1e6, Rate: 1}
	_, ok := r.packet(p.link, p.data)
	if f.Packet != nil {
		shown := Packet{Time: p.at, Wire: p.length, Data: p.data, link: p.link}
		if ok {
			shown.record = &r
		}
		f.Packet(&shown)
	}
	if !ok {
		f.Strange++
		return nil
	}
	r.Bytes = uint64(p.length)
	return sink([]Record{r}, false)
}

// datagramIn finds the payload of a packet that is a whole UDP datagram.
func datagramIn(p captured) (payload []byte, from netip.Addr, port uint16, ok bool) {
	var r Record
	udp, _ := r.packet(p.link, p.data)
	if r.Protocol != protocolUDP || len(udp) < 8 {
		return nil, netip.Addr{}, 0, false
	}
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < 8 || length > len(udp) {
		return nil, netip.Addr{}, 0, false
	}
	return udp[8:length], r.Source, r.DestinationPort, true
}

var errEnough = errors.New("enough was read")

// guess looks at the first packets.
func guess(path string) (Contents, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	exports, others := 0, 0
	err = readCapture(bufio.NewReader(file), func(p captured) error {
		payload, _, port, ok := datagramIn(p)
		if ok && exportPort(port) && versionKnown(payload) {
			exports++
		} else {
			others++
		}
		if exports+others >= 200 {
			return errEnough
		}
		return nil
	})
	if err != nil && err != errEnough {
		return 0, err
	}
	if exports > others {
		return ContentsExports, nil
	}
	return ContentsPackets, nil
}

// exportPort reports whether collectors commonly listen there.
func exportPort(port uint16) bool {
	switch port {
	case 2055, 2056, 4432, 4739, 6343, 9025, 9555, 9985, 9995, 9996:
		return true
	}
	return false
}

func versionKnown(b []byte) bool {
	switch versionOf(b) {
	case 5, 9, 10, versionSFlow:
		return true
	}
	return false
}
