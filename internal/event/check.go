package event

import "google.golang.org/protobuf/encoding/protowire"

// Check reports whether Decode can read an event, without keeping anything: nil,
// or the error Decode would return. Receivers call it for every event.
func Check(e Event) error {
	if d := Lookup(e.Type); d != nil {
		elements := 0
		if d.Family == Legacy && d.fitsLegacy(e.Payload) || d.Family == Protobuf && d.fitsProtobuf(e.Payload, 0, &elements) {
			return nil
		}
	}
	_, err := Decode(e) // for its explanation
	return err
}

func (d *Descriptor) fitsLegacy(b []byte) bool {
	for i := range d.Fields {
		f := &d.Fields[i]
		if f.OffWire {
			continue
		}
		_, n, err := f.legacyValue(b)
		if err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

func (d *Descriptor) fitsProtobuf(b []byte, depth int, elements *int) bool {
	if depth > maxDepth {
		return false
	}
	for len(b) > 0 {
		number, wire, n := consumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if n = skipValue(number, wire, b); n < 0 {
			return false
		}
		if f := d.numbered(int(number)); f != nil && !f.fits(wire, b, depth, elements) {
			return false
		}
		b = b[n:]
	}
	return true
}

// fits reports whether the complete value at the start of b is one of the field's.
func (f *Field) fits(wire protowire.Type, b []byte, depth int, elements *int) bool {
	want := f.Kind.wireType()
	if wire == want && f.Kind != Message && !f.Repeated {
		return true
	}
	if wire == want {
		if *elements++; *elements > maxElements {
			return false
		}
		if f.Kind != Message {
			return true
		}
	}
	if wire != protowire.BytesType || want != wire && !f.Repeated {
		return false
	}
	body, _ := protowire.ConsumeBytes(b)
	if f.Kind == Message {
		return f.Message.fitsProtobuf(body, depth+1, elements)
	}
	for len(body) > 0 { // packed
		n := skipValue(1, want, body)
		if *elements++; n < 0 || *elements > maxElements {
			return false
		}
		body = body[n:]
	}
	return true
}
