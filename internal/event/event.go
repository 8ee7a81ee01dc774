// Package event holds the records that travel from pollers to scripts: what the
// BBDO protocol calls events. It knows every event of both generations (the
// catalogue), their payloads, how one generation becomes the other, and how a
// batch of events is laid out in stream messages and script frames.
//
// An [Event] keeps its payload exactly as it was on the wire. From the socket to
// the stream to a script nothing is transcoded: single fields are read in place
// ([Event.Int], [Event.Text], [Event.Float]), and only where an event is changed
// or a pipeline asks for the other generation is it decoded into a [Record].
//
// Everything here is safe for concurrent use, except that a Record, a Value and
// an Iterator belong to one goroutine at a time.
package event

import "fmt"

// Type identifies a kind of event: category times 65536 plus element.
type Type uint32

// MakeType returns the type of an element of a category.
func MakeType(category, element int) Type {
	return Type(uint32(category)<<16 | uint32(element)&0xffff)
}

// Category returns the upper half of the type: 1 is neb, 3 storage, 6 bam.
func (t Type) Category() int { return int(t >> 16) }

// Element returns the lower half of the type.
func (t Type) Element() int { return int(t & 0xffff) }

// Family returns the generation the type belongs to: None when its payload is
// not known.
func (t Type) Family() Family {
	if d := Lookup(t); d != nil {
		return d.Family
	}
	return None
}

// Name returns the name filters and logs use for the type, such as
// "ServiceStatus" or "service_status". Types whose number is known but whose
// payload is not have a name too; for others it is empty.
func (t Type) Name() string {
	if d := Lookup(t); d != nil {
		return d.Filter
	}
	return catalogue.undecodable[t]
}

// String returns the type as "neb:ServiceStatus (1:29)", or as "1:99" when it
// has no name.
func (t Type) String() string {
	name := t.Name()
	if name == "" {
		return fmt.Sprintf("%d:%d", t.Category(), t.Element())
	}
	return fmt.Sprintf("%s:%s (%d:%d)", catalogue.categories[t.Category()], name, t.Category(), t.Element())
}

// Family is the generation of an event's payload.
type Family uint8

const (
	None     Family = iota // not decodable
	Legacy                 // BBDO 2: fields by position (specification 4.5)
	Protobuf               // BBDO 3: a serialized message (specification 3.3)
)

func (f Family) String() string {
	switch f {
	case Legacy:
		return "legacy"
	case Protobuf:
		return "protobuf"
	}
	return "none"
}

// Event is one event as it is on the wire. Source and Destination are poller
// numbers from the packet header (0 when unknown). Payload is never changed by
// this package; it may alias a larger buffer.
type Event struct {
	Type        Type
	Source      uint32
	Destination uint32
	Payload     []byte
}
