package script

import (
	"encoding/binary"
	"fmt"
)

// An area is memory that the daemon and one child share: the payloads of large frames are written
// there instead of through the socket, which copies them twice and wakes the child for every
// piece. A kindArea frame takes such a frame's place on the socket. Only the daemon can write to it.
//
// There is a slot for each frame that a child may have, so a frame's slot is free when
// it is sent: the frame that had it before is done.
type area []byte

const (
	slotSize  = 2 << 20 // bytes; what is larger goes through the socket
	areaSize  = window * slotSize
	areaFrame = 4 << 10 // bytes of the smallest payload that is worth it
)

// write puts the payload of frame number n, counted from 0, into its slot and returns the frame that says so,
// or false when it does not belong there.
func (a area) write(n uint64, kind byte, parts ...[]byte) (frame []byte, ok bool) {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	if a == nil || size < areaFrame || size > slotSize {
		return nil, false
	}
	at := int(n%window) * slotSize
	slot := a[at:at]
	for _, part := range parts {
		slot = append(slot, part...)
	}
	frame = appendHeader(make([]byte, 0, headerSize+9), kindArea, 9)
	frame = binary.BigEndian.AppendUint32(frame, uint32(at))
	frame = binary.BigEndian.AppendUint32(frame, uint32(size))
	return append(frame, kind), true
}

// read returns the frame that the payload of a kindArea frame stands for.
func (a area) read(payload []byte) (inFrame, error) {
	if len(payload) != 9 {
		return inFrame{}, fmt.Errorf("%w: kind %d with %d bytes", errFrame, kindArea, len(payload))
	}
	at, size := uint64(binary.BigEndian.Uint32(payload)), uint64(binary.BigEndian.Uint32(payload[4:]))
	if at+size > uint64(len(a)) {
		return inFrame{}, fmt.Errorf("%w: %d bytes at %d of an area of %d", errFrame, size, at, len(a))
	}
	return inFrame{kind: payload[8], payload: a[at : at+size : at+size], inArea: true}, nil
}
