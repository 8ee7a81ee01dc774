package ping

import (
	"encoding/binary"
	"fmt"
)

// Types of messages of ICMP and ICMPv6 (RFC 792, RFC 4443).
const (
	request4, reply4 = 8, 0
	request6, reply6 = 128, 129
)

const (
	headerSize  = 8  // type, code, checksum, identifier, sequence
	payloadSize = 56 // what other pings send; some firewalls want nothing else
	messageSize = headerSize + payloadSize
)

// echo is what a request carries and its reply brings back.
type echo struct {
	number uint64 // of the request on its socket
	cookie uint64 // that nobody can guess who has not seen the request
}

// message is the request with e. The kernel fills in the checksum of ICMPv6, and
// what else a datagram socket demands.
func (e echo) message(kind byte, identifier uint16) (m [messageSize]byte) {
	m[0] = kind
	binary.BigEndian.PutUint16(m[4:], identifier)
	binary.BigEndian.PutUint16(m[6:], uint16(e.number))
	binary.BigEndian.PutUint64(m[8:], e.number)
	binary.BigEndian.PutUint64(m[16:], e.cookie)
	for i := 24; i < len(m); i++ {
		m[i] = byte(i)
	}
	if kind == request4 {
		binary.BigEndian.PutUint16(m[2:], checksum(m[:]))
	}
	return m
}

// parse reads a reply of some kind. What is no reply to a message of this package is an error, or
// an echo that nobody waits for.
func parse(kind byte, m []byte) (echo, error) {
	switch {
	case len(m) < messageSize:
		return echo{}, fmt.Errorf("cannot read an ICMP message of %d bytes: a reply has at least %d", len(m), messageSize)
	case m[0] != kind || m[1] != 0:
		return echo{}, fmt.Errorf("cannot use an ICMP message of type %d and code %d: a reply has %d and 0", m[0], m[1], kind)
	}
	e := echo{number: binary.BigEndian.Uint64(m[8:]), cookie: binary.BigEndian.Uint64(m[16:])}
	if got := binary.BigEndian.Uint16(m[6:]); got != uint16(e.number) {
		return echo{}, fmt.Errorf("cannot use an ICMP reply with the sequence %d: its payload says %d", got, uint16(e.number))
	}
	return e, nil
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
