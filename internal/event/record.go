package event

import (
	"fmt"
	"slices"
)

// Record is a decoded event, or a message inside one. Values are in the order of
// Descriptor.Fields and hold what was on the wire: hidden fields and absent
// marks included. Text may alias the event's payload.
type Record struct {
	Descriptor  *Descriptor
	Source      uint32
	Destination uint32
	Values      []Value
}

// NewRecord returns a record with every field at its default ([Field.Default]).
func NewRecord(d *Descriptor) *Record {
	return &Record{Descriptor: d, Values: slices.Clone(d.defaults)}
}

// Decode reads an event's payload. The record's text aliases the payload.
// Errors name the event, and the field where the payload does not fit
// (specification 4.3, 4.5): the caller counts and skips the event.
func Decode(e Event) (*Record, error) {
	r := new(Record)
	if err := r.Read(e); err != nil {
		return nil, err
	}
	return r, nil
}

// Read is Decode into a record that is used again: nothing of what it held before
// may be in use. After an error its values are undefined.
func (r *Record) Read(e Event) error {
	d := Lookup(e.Type)
	if d == nil {
		return fmt.Errorf("cannot decode event %v: its payload is not known", e.Type)
	}
	r.Descriptor, r.Source, r.Destination = d, e.Source, e.Destination
	r.Values = append(r.Values[:0], d.defaults...)
	var err error
	if d.Family == Legacy {
		err = r.decodeLegacy(e.Payload)
	} else {
		elements := 0
		err = r.decodeProtobuf(e.Payload, 0, &elements)
	}
	if err != nil {
		return fmt.Errorf("cannot decode event %v of %d bytes from source %d: %w", e.Type, len(e.Payload), e.Source, err)
	}
	return nil
}

// Encode returns the record as an event with a payload of its own.
func (r *Record) Encode() Event {
	payload := r.AppendPayload(make([]byte, 0, 256))
	return Event{Type: r.Descriptor.Type, Source: r.Source, Destination: r.Destination, Payload: payload}
}

// AppendPayload appends the payload Encode makes.
func (r *Record) AppendPayload(dst []byte) []byte {
	if r.Descriptor.Family == Legacy {
		return r.appendLegacy(dst)
	}
	return r.appendProtobuf(dst)
}

// Get returns the value of the field with a name, and the absent value when the
// event has no such field.
func (r *Record) Get(name string) Value {
	f := r.Descriptor.byName[name]
	if f == nil {
		return Value{}
	}
	return r.Values[f.index]
}

// Set changes the value of the field with a name. It panics when the event has no
// such field, since names in code come from the catalogue. Integers are cut to
// the field's width when the record is encoded.
func (r *Record) Set(name string, v Value) {
	f := r.Descriptor.byName[name]
	if f == nil {
		panic(fmt.Sprintf("event %s has no field %q", r.Descriptor.Name, name))
	}
	r.Values[f.index] = v
}
