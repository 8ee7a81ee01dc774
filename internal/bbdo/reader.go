package bbdo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/weirhq/weir/internal/event"
)

const (
	// readBuffer holds at least one whole packet.
	readBuffer = 128 << 10
	// maxIncomplete is how many events whose last packet is missing are kept at once.
	maxIncomplete = 4
	// maxSkip is how many bytes in a row may be skipped in search of a header.
	maxSkip = 1 << 20
)

// Reader takes events out of a stream of packets (specification 4.1 to 4.3). It
// is used by one goroutine:
//
//	for {
//		for {
//			ok, err := r.Next(&e)
//			...
//		}
//		err := r.Fill()
//		...
//	}
type Reader struct {
	src   io.Reader
	limit int
	warn  func(message string, args ...any)

	buf        []byte
	start, end int // of what was read and not yet taken
	begun      bool
	skipping   int   // bytes skipped since the last valid header
	skipped    int64 // bytes skipped altogether

	incomplete []incompleteEvent // oldest first
	dropped    int64             // incomplete events given up
}

// incompleteEvent is an event whose last packet has not come yet. Type, source
// and destination tell which packets belong to it.
type incompleteEvent struct {
	key  [headerSize - 4]byte
	data []byte
}

// NewReader returns a Reader of src. limit is the largest event in bytes, and of
// all incomplete ones together; 0 means event.MaxPayload. warn, which may be nil,
// is told about damage; its arguments are those of slog.
func NewReader(src io.Reader, limit int, warn func(message string, args ...any)) *Reader {
	if limit <= 0 {
		limit = event.MaxPayload
	}
	if warn == nil {
		warn = func(string, ...any) {}
	}
	return &Reader{src: src, limit: limit, warn: warn, buf: make([]byte, readBuffer)}
}

// Skipped returns how many bytes were no part of a packet.
func (r *Reader) Skipped() int64 { return r.skipped }

// Dropped returns how many events were given up because their last packet did not come.
func (r *Reader) Dropped() int64 { return r.dropped }

// Fill reads once. Payloads of events taken before are invalid from here on. The
// error is that of the underlying reader; after a timeout one can go on.
func (r *Reader) Fill() error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	} else if len(r.buf)-r.start < headerSize+fullPart || r.end == len(r.buf) {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil // the error, if any, comes again
	}
	return err
}

// Next takes one event from what was read, without reading; ok is false when
// there is none that is complete. The payload stays valid until Fill. An error
// means that the stream is of no more use.
func (r *Reader) Next(e *event.Event) (ok bool, err error) {
	for r.end-r.start >= headerSize {
		h := r.buf[r.start : r.start+headerSize]
		received, computed := binary.BigEndian.Uint16(h), checksum(h)
		typ := event.Type(binary.BigEndian.Uint32(h[4:]))
		// Among random bytes one place in 65536 has a right checksum, and its size
		// would swallow good packets: in a search the category must be right, too.
		if received != computed || r.skipping > 0 && !plausible(typ) {
			if err := r.skip(received, computed); err != nil {
				return false, err
			}
			continue
		}
		r.begun = true
		if r.skipping > 0 {
			r.warn("found a BBDO header again", "skipped_bytes", r.skipping)
			r.skipping = 0
		}
		size := int(binary.BigEndian.Uint16(h[2:]))
		if r.end-r.start < headerSize+size {
			return false, nil
		}
		payload := r.buf[r.start+headerSize : r.start+headerSize+size : r.start+headerSize+size]
		r.start += headerSize + size
		if size == fullPart || len(r.incomplete) > 0 {
			if payload, ok, err = r.join(h, payload); err != nil {
				return false, err
			} else if !ok {
				continue
			}
		}
		if len(payload) > r.limit {
			return false, r.tooLarge(typ, len(payload))
		}
		*e = event.Event{Type: typ, Source: binary.BigEndian.Uint32(h[8:]), Destination: binary.BigEndian.Uint32(h[12:]), Payload: payload}
		return true, nil
	}
	return false, nil
}

// plausible reports whether a type has a category of the protocol.
func plausible(t event.Type) bool { return t.Category() >= 1 && t.Category() <= 9 }

// skip drops the first byte of what looked like a header.
func (r *Reader) skip(received, computed uint16) error {
	if !r.begun && r.skipping == 0 {
		if what := foreign(r.buf[r.start:r.end]); what != "" {
			return fmt.Errorf("not a BBDO header: the peer sends %s", what)
		}
	}
	if r.skipping == 0 {
		r.warn("not a BBDO header: wrong checksum, looking for the next one", "computed", computed, "received", received)
	}
	r.start++
	r.skipping++
	r.skipped++
	if r.skipping >= maxSkip {
		return fmt.Errorf("not a BBDO header: none in %d bytes", r.skipping)
	}
	return nil
}

// foreign names another protocol by the first bytes of a connection.
func foreign(b []byte) string {
	if b[0] == 0x16 && b[1] == 3 {
		return "a TLS ClientHello; this side expects TLS only after the negotiation: set tls mode layer here, or encryption off at the peer"
	}
	for _, method := range []string{"GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "CONNECT ", "PRI * HTTP/2", "HTTP/1"} {
		if bytes.HasPrefix(b, []byte(method)) {
			return "HTTP"
		}
	}
	return ""
}

// join adds a packet to the incomplete event it belongs to, or starts one. ok
// means that payload is now a whole event.
func (r *Reader) join(h, part []byte) (payload []byte, ok bool, err error) {
	key, i := [headerSize - 4]byte(h[4:]), 0
	for i < len(r.incomplete) && r.incomplete[i].key != key {
		i++
	}
	if i == len(r.incomplete) {
		if len(part) < fullPart {
			return part, true, nil
		}
		if i == maxIncomplete {
			r.drop(&r.incomplete[0])
			i--
			r.incomplete = append(r.incomplete[:0], r.incomplete[1:]...)
		}
		r.incomplete = append(r.incomplete, incompleteEvent{key: key})
	}
	total := len(part)
	for j := range r.incomplete {
		total += len(r.incomplete[j].data)
	}
	if total > r.limit {
		return nil, false, r.tooLarge(event.Type(binary.BigEndian.Uint32(h[4:])), total)
	}
	in := &r.incomplete[i]
	in.data = append(in.data, part...)
	if len(part) == fullPart {
		return nil, false, nil
	}
	payload = in.data
	r.incomplete = append(r.incomplete[:i], r.incomplete[i+1:]...)
	return payload, true, nil
}

func (r *Reader) tooLarge(typ event.Type, size int) error {
	return fmt.Errorf("event %v is too large: %d bytes so far, the limit is %d", typ, size, r.limit)
}

func (r *Reader) drop(in *incompleteEvent) {
	r.dropped++
	r.warn("dropped an event whose last packet did not come", "type", event.Type(binary.BigEndian.Uint32(in.key[:])).String(),
		"source", binary.BigEndian.Uint32(in.key[4:]), "bytes", len(in.data))
}

// End is called when the stream has ended: it tells about a packet that was cut
// and gives up what is incomplete.
func (r *Reader) End() {
	if n := r.end - r.start; n > 0 && r.skipping == 0 {
		r.warn("the stream ended inside a packet", "bytes", n)
	}
	for i := range r.incomplete {
		r.drop(&r.incomplete[i])
	}
	r.start, r.end, r.incomplete = 0, 0, nil
}

// takeBuffered returns what was read and not taken, for the layer that begins there.
func (r *Reader) takeBuffered() []byte {
	rest := bytes.Clone(r.buf[r.start:r.end])
	r.start, r.end = 0, 0
	return rest
}
