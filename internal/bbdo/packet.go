package bbdo

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/weirhq/weir/internal/event"
)

const (
	headerSize = 16
	// fullPart is the payload size of a packet that is continued by another one
	// (specification 4.2).
	fullPart = 65535
)

// checksums[i][v] is what byte i of the 14 header bytes after the checksum
// contributes to it when it is v. The checksum is linear, so the 14 look-ups are
// independent of each other and done at once.
var checksums = func() (tables [headerSize - 2][256]uint16) {
	for v := range 256 {
		crc := uint16(v)
		for i := len(tables) - 1; i >= 0; i-- {
			for range 8 {
				if crc&1 != 0 {
					crc = crc>>1 ^ 0x8408
				} else {
					crc >>= 1
				}
			}
			tables[i][v] = crc
		}
	}
	return tables
}()

// checksum returns the CRC-16/X-25 of bytes 2 to 15 of a header. The payload has
// none.
func checksum(h []byte) uint16 {
	_ = h[15]
	t := &checksums
	// The initial value 0xffff is added to the first two bytes.
	return ^(t[0][h[2]^0xff] ^ t[1][h[3]^0xff] ^ t[2][h[4]] ^ t[3][h[5]] ^ t[4][h[6]] ^ t[5][h[7]] ^ t[6][h[8]] ^
		t[7][h[9]] ^ t[8][h[10]] ^ t[9][h[11]] ^ t[10][h[12]] ^ t[11][h[13]] ^ t[12][h[14]] ^ t[13][h[15]])
}

// AppendPackets appends an event as one packet, or as several when its payload has
// 65535 bytes or more. There is always a last packet of less, even an empty one,
// so that the receiver knows the end.
func AppendPackets(dst []byte, e event.Event) []byte {
	for payload := e.Payload; ; {
		part := payload[:min(len(payload), fullPart)]
		payload = payload[len(part):]
		start := len(dst)
		dst = append(dst, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(part)))
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.Type))
		dst = binary.BigEndian.AppendUint32(dst, e.Source)
		dst = binary.BigEndian.AppendUint32(dst, e.Destination)
		binary.BigEndian.PutUint16(dst[start:], checksum(dst[start:]))
		dst = append(dst, part...)
		if len(part) < fullPart {
			return dst
		}
	}
}

// Writer writes events as packets. It gathers them until Flush, or until it has
// flushSize bytes. It is used by one goroutine.
type Writer struct {
	w   io.Writer
	buf []byte
}

const flushSize = 64 << 10

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write appends an event. An error is the one of the underlying writer; after
// one the connection is of no more use.
func (w *Writer) Write(e event.Event) error {
	if len(e.Payload) > event.MaxPayload {
		return fmt.Errorf("cannot send event %v: its payload of %d bytes exceeds the limit of %d", e.Type, len(e.Payload), event.MaxPayload)
	}
	w.buf = AppendPackets(w.buf, e)
	if len(w.buf) < flushSize {
		return nil
	}
	return w.Flush()
}

// Flush writes what was gathered.
func (w *Writer) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	if cap(w.buf) > 16*flushSize { // after an unusually large event
		w.buf = nil
	}
	return err
}
