package flow

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Information elements; NetFlow v9 has the same numbers as IPFIX.
const (
	fieldBytes              = 1
	fieldPackets            = 2
	fieldProtocol           = 4
	fieldTOS                = 5
	fieldFlags              = 6
	fieldSourcePort         = 7
	fieldSource4            = 8
	fieldIn                 = 10
	fieldDestinationPort    = 11
	fieldDestination4       = 12
	fieldOut                = 14
	fieldNextHop4           = 15
	fieldSourceAS           = 16
	fieldDestinationAS      = 17
	fieldBGPNextHop4        = 18
	fieldLastUptime         = 21
	fieldFirstUptime        = 22
	fieldOutBytes           = 23
	fieldOutPackets         = 24
	fieldSource6            = 27
	fieldDestination6       = 28
	fieldICMP4              = 32
	fieldSamplingInterval   = 34
	fieldSamplerID          = 48
	fieldSamplerInterval    = 50
	fieldSourceMAC          = 56
	fieldOutDestinationMAC  = 57
	fieldSourceVLAN         = 58
	fieldDestinationVLAN    = 59
	fieldDirection          = 61
	fieldNextHop6           = 62
	fieldBGPNextHop6        = 63
	fieldDestinationMAC     = 80
	fieldOutSourceMAC       = 81
	fieldTotalBytes         = 85
	fieldTotalPackets       = 86
	fieldICMP6              = 139
	fieldFirstSeconds       = 150
	fieldLastSeconds        = 151
	fieldFirstMillis        = 152
	fieldLastMillis         = 153
	fieldFirstMicros        = 154
	fieldLastMicros         = 155
	fieldFirstNanos         = 156
	fieldLastNanos          = 157
	fieldBootMillis         = 160
	fieldICMPType4          = 176
	fieldICMPCode4          = 177
	fieldICMPType6          = 178
	fieldICMPCode6          = 179
	fieldInitiatorBytes     = 231
	fieldResponderBytes     = 232
	fieldInitiatorPackets   = 298
	fieldResponderPackets   = 299
	fieldSelectorID         = 302
	fieldPacketInterval     = 305
	fieldPacketSpace        = 306
	fieldSamplingSize       = 309
	fieldSamplingPopulation = 310
)

// reverseEnterprise is the number under which IPFIX repeats the elements for the other direction (RFC 5103).
const reverseEnterprise = 29305

// variable is the length of a field whose length comes with the data.
const variable = 0xffff

// Bounds of templates: what exporters need is far below.
const (
	maxFields     = 512   // of one template
	maxRecordSize = 65535 // bytes
)

// Field is one field of a template.
type Field struct {
	Element    uint16 `json:"element"`
	Length     uint16 `json:"length"`
	Enterprise uint32 `json:"enterprise,omitempty"`
}

// Template says how the records of a set are laid out.
type Template struct {
	ID     uint16  `json:"id"`
	Scopes int     `json:"scopes,omitempty"` // how many fields say what the others are about; 0 for flow records
	Fields []Field `json:"fields"`

	options bool
	size    int // of a record in bytes; of the fixed fields where there are others
	varying bool
	ops     []op // what is read of a record, in the order of its fields; every field when they vary
}

// op reads one field.
type op struct {
	offset, length uint16
	element        uint16 // 0: skipped
	reverse        bool
}

var (
	errShort    = errors.New("it ends within a template")
	errFields   = errors.New("a template has no field, or more than 512")
	errSize     = errors.New("the records of a template are empty or larger than a datagram")
	errReserved = errors.New("a template has a number below 256, which belong to sets")
)

// parseTemplates calls add for every template in the body of a set and returns
// the first error; what came before it is whole. ipfix has enterprise numbers; options are the sets of
// options templates, whose two counts differ between the versions.
func parseTemplates(body []byte, ipfix, options bool, add func(*Template) error) error {
	for len(body) >= 4 {
		id, count := binary.BigEndian.Uint16(body), int(binary.BigEndian.Uint16(body[2:]))
		if id == 0 && count == 0 {
			return nil // padding
		}
		t := &Template{ID: id, options: options}
		body = body[4:]
		switch {
		case options && len(body) < 2 && !(ipfix && count == 0):
			return errShort
		case options && ipfix && count > 0:
			t.Scopes = int(binary.BigEndian.Uint16(body))
			body = body[2:]
		case options && !ipfix: // lengths in bytes
			t.Scopes, count = count/4, count/4+int(binary.BigEndian.Uint16(body))/4
			body = body[2:]
		}
		if id < 256 {
			return errReserved
		}
		if ipfix && count == 0 { // a withdrawal; the next template of that number replaces it anyway
			continue
		}
		if count == 0 || count > maxFields || t.Scopes > count {
			return errFields
		}
		t.Fields = make([]Field, 0, count)
		for range count {
			if len(body) < 4 {
				return errShort
			}
			f := Field{Element: binary.BigEndian.Uint16(body), Length: binary.BigEndian.Uint16(body[2:])}
			body = body[4:]
			if ipfix && f.Element&0x8000 != 0 {
				if len(body) < 4 {
					return errShort
				}
				f.Element &= 0x7fff
				f.Enterprise = binary.BigEndian.Uint32(body)
				body = body[4:]
			}
			t.Fields = append(t.Fields, f)
		}
		if err := t.layout(ipfix); err != nil {
			return err
		}
		if err := add(t); err != nil {
			return err
		}
	}
	return nil
}

// layout works out how records are read.
func (t *Template) layout(ipfix bool) error {
	t.size, t.varying, t.ops = 0, false, nil
	for _, f := range t.Fields {
		if f.Length == variable && ipfix {
			t.varying = true
		}
	}
	for _, f := range t.Fields {
		o := op{offset: uint16(t.size), length: f.Length}
		if wanted(f, t.options) {
			o.element, o.reverse = f.Element, f.Enterprise == reverseEnterprise
		}
		if t.varying || o.element != 0 {
			t.ops = append(t.ops, o)
		}
		if f.Length != variable || !ipfix {
			t.size += int(f.Length)
		} else {
			t.size++ // the length itself
		}
		if t.size > maxRecordSize {
			return errSize
		}
	}
	if t.size == 0 {
		return errSize
	}
	return nil
}

// wanted reports whether a field is read.
func wanted(f Field, options bool) bool {
	if f.Enterprise != 0 && f.Enterprise != reverseEnterprise {
		return false
	}
	if options {
		switch f.Element {
		case fieldSamplingInterval, fieldSamplerID, fieldSamplerInterval, fieldSelectorID, fieldPacketInterval,
			fieldPacketSpace, fieldSamplingSize, fieldSamplingPopulation, fieldBootMillis:
			return f.Enterprise == 0 && f.Length <= 8
		}
		return false
	}
	switch f.Element {
	case fieldBytes, fieldPackets, fieldOutBytes, fieldOutPackets, fieldTotalBytes, fieldTotalPackets:
		return f.Length <= 8
	case fieldSource4, fieldDestination4, fieldNextHop4, fieldBGPNextHop4:
		return f.Length == 4 && f.Enterprise == 0
	case fieldSource6, fieldDestination6, fieldNextHop6, fieldBGPNextHop6:
		return f.Length == 16 && f.Enterprise == 0
	case fieldSourceMAC, fieldOutDestinationMAC, fieldDestinationMAC, fieldOutSourceMAC:
		return f.Length == 6 && f.Enterprise == 0
	case fieldProtocol, fieldTOS, fieldFlags, fieldSourcePort, fieldIn, fieldDestinationPort, fieldOut, fieldSourceAS,
		fieldDestinationAS, fieldLastUptime, fieldFirstUptime, fieldICMP4, fieldSamplingInterval, fieldSamplerID, fieldSamplerInterval,
		fieldSourceVLAN, fieldDestinationVLAN, fieldDirection, fieldICMP6, fieldFirstSeconds, fieldLastSeconds,
		fieldFirstMillis, fieldLastMillis, fieldFirstMicros, fieldLastMicros, fieldFirstNanos, fieldLastNanos,
		fieldICMPType4, fieldICMPCode4, fieldICMPType6, fieldICMPCode6, fieldInitiatorBytes, fieldResponderBytes,
		fieldInitiatorPackets, fieldResponderPackets, fieldSelectorID:
		return f.Length <= 8 && f.Enterprise == 0
	}
	return false
}

// next finds the first record of body: where its fields are, and how long it is. ok is false when
// body holds no further record, only padding or a piece of one. lengths is used when they vary.
func (t *Template) next(body []byte, varied *[]op) (ops []op, size int, ok bool) {
	if len(body) < t.size {
		return nil, 0, false
	}
	if !t.varying {
		return t.ops, t.size, true
	}
	*varied = (*varied)[:0]
	at := 0
	for _, o := range t.ops {
		length := int(o.length)
		if o.length == variable {
			if at >= len(body) {
				return nil, 0, false
			}
			length = int(body[at])
			at++
			if length == 0xff {
				if at+2 > len(body) {
					return nil, 0, false
				}
				length = int(binary.BigEndian.Uint16(body[at:]))
				at += 2
			}
			o.element = 0 // nothing that is read has a varying length
		}
		if at+length > len(body) {
			return nil, 0, false
		}
		if o.element != 0 {
			*varied = append(*varied, op{offset: uint16(at), length: uint16(length), element: o.element, reverse: o.reverse})
		}
		at += length
	}
	return *varied, at, true
}

// number reads a big-endian number of at most eight bytes.
func number(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	n := uint64(0)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

func address4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

func address6(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }
