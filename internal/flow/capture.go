package flow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Files of captured packets: pcap and pcapng.

// captured is one packet of a file.
type captured struct {
	at     int64 // Unix nanoseconds
	link   int
	data   []byte // what was captured of it, valid until the next packet
	length int    // what it was on the wire
}

const maxCaptured = 1 << 20 // bytes of one packet or block

var (
	errCapture = errors.New("it ends within a packet")
	errTooLong = fmt.Errorf("a packet or block has more than %d bytes", maxCaptured)
)

// isCapture reports whether a file begins like one of packets.
func isCapture(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	_, _, ok := pcapMagic(b)
	return ok || binary.LittleEndian.Uint32(b) == ngSection
}

// pcapMagic tells the byte order and the unit of fractions of a second, in nanoseconds.
func pcapMagic(b []byte) (order binary.ByteOrder, unit int64, ok bool) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(b) {
		case 0xa1b2c3d4:
			return order, 1000, true
		case 0xa1b23c4d:
			return order, 1, true
		}
	}
	return nil, 0, false
}

// readCapture gives every packet to sink.
func readCapture(in io.Reader, sink func(captured) error) error {
	head := make([]byte, 24)
	if _, err := io.ReadFull(in, head[:4]); err != nil {
		return errCapture
	}
	if binary.LittleEndian.Uint32(head) == ngSection {
		return readNG(in, sink)
	}
	order, unit, ok := pcapMagic(head)
	if _, err := io.ReadFull(in, head[4:]); err != nil || !ok {
		return errCapture
	}
	link := int(order.Uint32(head[20:]) & 0xffff)
	var data []byte
	for {
		if _, err := io.ReadFull(in, head[:16]); err == io.EOF {
			return nil
		} else if err != nil {
			return errCapture
		}
		size := order.Uint32(head[8:])
		if size > maxCaptured {
			return errTooLong
		}
		if cap(data) < int(size) {
			data = make([]byte, size)
		}
		data = data[:size]
		if _, err := io.ReadFull(in, data); err != nil {
			return errCapture
		}
		at := int64(order.Uint32(head))*1e9 + int64(order.Uint32(head[4:]))*unit
		if err := sink(captured{at, link, data, int(order.Uint32(head[12:]))}); err != nil {
			return err
		}
	}
}

// Blocks of pcapng.
const (
	ngSection   = 0x0a0d0d0a // the same in both orders
	ngInterface = 1
	ngSimple    = 3
	ngEnhanced  = 6
)

type ngLink struct {
	link   int
	second uint64 // ticks
	shift  int64  // seconds
}

// readNG reads pcapng behind the first four bytes.
func readNG(in io.Reader, sink func(captured) error) error {
	var order binary.ByteOrder = binary.LittleEndian
	var links []ngLink
	head := make([]byte, 8)
	kind := uint32(ngSection)
	var body []byte
	for first := true; ; first = false {
		if first {
			if _, err := io.ReadFull(in, head[4:]); err != nil {
				return errCapture
			}
		} else {
			if _, err := io.ReadFull(in, head); err == io.EOF {
				return nil
			} else if err != nil {
				return errCapture
			}
			kind = order.Uint32(head)
		}
		skip := 0
		if kind == ngSection {
			magic := make([]byte, 4)
			if _, err := io.ReadFull(in, magic); err != nil {
				return errCapture
			}
			if order, links, skip = binary.ByteOrder(binary.LittleEndian), nil, 4; order.Uint32(magic) != 0x1a2b3c4d {
				order = binary.BigEndian
			}
		}
		size := order.Uint32(head[4:])
		if size > maxCaptured {
			return errTooLong
		}
		if size < uint32(12+skip) || size%4 != 0 {
			return errCapture
		}
		length := int(size) - 8 - skip
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(in, body); err != nil {
			return errCapture
		}
		b := body[:length-4] // the length again ends a block
		switch kind {
		case ngInterface:
			if len(b) < 8 {
				return errCapture
			}
			links = append(links, ngOptions(ngLink{link: int(order.Uint16(b)), second: 1e6}, b[8:], order))
		case ngEnhanced:
			if len(b) < 20 || order.Uint32(b) >= uint32(len(links)) || uint64(order.Uint32(b[12:])) > uint64(len(b)-20) {
				return errCapture
			}
			l := links[order.Uint32(b)]
			ticks := uint64(order.Uint32(b[4:]))<<32 | uint64(order.Uint32(b[8:]))
			at := (int64(ticks/l.second)+l.shift)*1e9 + int64(float64(ticks%l.second)/float64(l.second)*1e9+0.5)
			if err := sink(captured{at, l.link, b[20 : 20+order.Uint32(b[12:])], int(order.Uint32(b[16:]))}); err != nil {
				return err
			}
		case ngSimple:
			if len(b) < 4 || len(links) == 0 {
				return errCapture
			}
			length := int(order.Uint32(b))
			if err := sink(captured{0, links[0].link, b[4:min(len(b), 4+max(0, length))], length}); err != nil {
				return err
			}
		}
	}
}

// ngOptions reads the unit and the shift of an interface's times.
func ngOptions(l ngLink, b []byte, order binary.ByteOrder) ngLink {
	for len(b) >= 4 {
		code, length := order.Uint16(b), int(order.Uint16(b[2:]))
		if code == 0 || 4+length > len(b) {
			return l
		}
		value := b[4 : 4+length]
		switch {
		case code == 9 && length == 1 && value[0]&0x80 != 0 && value[0]&0x7f < 63:
			l.second = 1 << (value[0] & 0x7f)
		case code == 9 && length == 1 && value[0] < 19:
			l.second = 1
			for range value[0] {
				l.second *= 10
			}
		case code == 14 && length == 8:
			l.shift = int64(order.Uint64(value))
		}
		b = b[min(len(b), 4+(length+3)&^3):]
	}
	return l
}
