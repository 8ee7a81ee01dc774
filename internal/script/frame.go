package script

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kind says what a frame carries. Kinds below FirstKind belong to this package,
// the others to the contract: what they mean its two halves agree on.
const FirstKind byte = 32

// MaxPayload is the size of the largest payload of a frame, in bytes.
const MaxPayload = 64 << 20

const headerSize = 5 // u32 size of the payload, big-endian; u8 kind

// Frames of this package. Their payload is JSON unless the line says otherwise.
const (
	// Daemon to child.
	kindSetup     byte = 1 // as the contract made it; the answer to hello
	kindStart     byte = 2 // empty: the script takes over, idle calls may begin
	kindRequest   byte = 3 // u32 id, u8 kind of the contract, payload
	kindPing      byte = 4 // ping
	kindInterrupt byte = 5 // empty: raise an error in the call that runs, where that is possible
	kindStop      byte = 6 // empty: end what came before this frame, then exit
	kindArea      byte = 7 // u32 offset in the area, u32 size, u8 kind: a frame whose payload is there; for a child whose hello says so

	// Child to daemon.
	kindHello    byte = 15 // hello; the first frame
	kindReady    byte = 16 // ready, or empty: the script has loaded
	kindFailed   byte = 17 // Error: it cannot load or go on; the child exits
	kindProgress byte = 18 // u64 frames done, u64 the frame in work or 0; frames are counted from 1, requests and contract's frames alike
	kindReply    byte = 19 // u32 id, u8 1 for an answer or 0 for an error's text, payload
	kindPong     byte = 20 // pong
	kindError    byte = 21 // Error: the script raised it and goes on
	kindLog      byte = 22 // logLine
	kindStopped  byte = 23 // empty: the script ended in order
)

// errFrame is why the peer cannot be understood.
var errFrame = errors.New("bad frame")

// protocol is the version of what this file describes.
const protocol = 1

// hello says that the process is there, and runs nothing of the user's yet.
type hello struct {
	Protocol int  `json:"protocol"`
	Area     bool `json:"area,omitempty"` // it has opened the area of file descriptor 4 and reads frames from it
}

// ping asks how the child is.
type ping struct {
	Sequence uint64 `json:"sequence"`
}

// pong is how the child is. Durations are nanoseconds.
type pong struct {
	Sequence uint64 `json:"sequence"`
	Calls    uint64 `json:"calls"`              // begun so far; the number of the last one
	Errors   uint64 `json:"errors"`             // raised so far
	Overtime uint64 `json:"overtime,omitempty"` // of them those of calls that took too long
	Unsaid   uint64 `json:"unsaid,omitempty"`   // lines for the log so far that were not sent
	Busy     int64  `json:"busy"`               // time in calls so far
	Running  int64  `json:"running"`
	Name     string `json:"name"`     // of the call that runs, "" for none
	Position string `json:"position"` // file:line in it where known
}

// ready is what the child says when it has loaded.
type ready struct {
	Place string `json:"place,omitempty"` // what Placer says
}

type logLine struct {
	Level int    `json:"level"`          // slog.Level
	Kind  string `json:"kind,omitempty"` // what the script calls it, for Spec.Output
	Text  string `json:"text"`
}

// appendHeader appends the header of a frame with a payload of size bytes.
func appendHeader(dst []byte, kind byte, size int) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(size)), kind)
}

func appendFrame(dst []byte, kind byte, payload []byte) []byte {
	return append(appendHeader(dst, kind, len(payload)), payload...)
}

// readFrame reads one frame. The payload is in buf when that is large enough.
// A size that is only claimed allocates nothing: the buffer grows with what arrives.
func readFrame(r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	if cap(buf) < headerSize {
		buf = make([]byte, 0, 512)
	}
	header := buf[:headerSize]
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, buf[:0], err // io.EOF between frames
	}
	size, kind := int(binary.BigEndian.Uint32(header)), header[4]
	if size > MaxPayload {
		return 0, buf[:0], fmt.Errorf("%w: kind %d with %d bytes, at most %d are allowed", errFrame, kind, size, MaxPayload)
	}
	const step = 256 << 10
	payload = buf[:0]
	for len(payload) < size {
		have := len(payload)
		want := min(size, max(cap(payload), have+step))
		if want > cap(payload) {
			grown := make([]byte, have, want)
			copy(grown, payload)
			payload = grown
		}
		payload = payload[:want]
		if _, err := io.ReadFull(r, payload[have:]); err != nil {
			return 0, payload[:0], fmt.Errorf("a frame of kind %d with %d bytes is torn: %w", kind, size, err)
		}
	}
	return kind, payload, nil
}
