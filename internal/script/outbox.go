package script

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
)

// Why a frame is not taken.
var (
	ErrFull   = errors.New("the script has enough waiting: try later")
	ErrEnded  = errors.New("the script's process has ended or is ending")
	ErrAbsent = errors.New("the script does not run now")
)

const maxWaiting = 16 // frames that wait for a script, besides those it has

// Frame is a frame of a contract.
type Frame struct {
	Kind    byte
	Payload []byte
}

// outbox holds what is on its way to one child, in order: frames that wait,
// frames that were written and are not done, and control frames, which overtake.
type outbox struct {
	wake chan struct{} // something may be written now

	mu      sync.Mutex
	control []byte // frames, encoded
	waiting []outFrame
	sent    []outFrame // oldest first
	done    uint64     // how many of the sent ones ended so far
	inWork  uint64     // the number of the one in work, 0 for none
	stop    bool       // after the waiting ones comes the stop frame
	closed  bool       // nothing more is taken
	room    chan struct{}
}

type outFrame struct {
	kind    byte
	parts   [][]byte // the payload
	request uint32   // id, 0 when it is none
}

func (f *outFrame) size() (n int) {
	for _, part := range f.parts {
		n += len(part)
	}
	return n
}

// whole is the frame with its payload in one piece.
func (f *outFrame) whole() Frame {
	if len(f.parts) == 1 {
		return Frame{f.kind, f.parts[0]}
	}
	return Frame{f.kind, slices.Concat(f.parts...)}
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), room: make(chan struct{})}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// put takes f or says why not. For ErrFull, room is closed when it is worth another try.
func (o *outbox) put(f outFrame) (room <-chan struct{}, err error) {
	if f.kind < FirstKind {
		panic(fmt.Sprintf("BUG: the frame kind %d is not a contract's", f.kind))
	}
	if size := f.size(); size > MaxPayload-5 {
		return nil, fmt.Errorf("cannot send a frame with %d bytes to a script: at most %d are allowed", size, MaxPayload-5)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return nil, ErrEnded
	case len(o.waiting) >= maxWaiting:
		return o.room, ErrFull
	}
	o.waiting = append(o.waiting, f)
	o.signal()
	return nil, nil
}

// putWait is put that waits for room.
func (o *outbox) putWait(ctx context.Context, f outFrame) error {
	for {
		room, err := o.put(f)
		if !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", ErrFull, ctx.Err())
		}
	}
}

func (o *outbox) putControl(kind byte, payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.control = appendFrame(o.control, kind, payload)
	o.signal()
}

// finish takes nothing more and ends the stream with the stop frame.
func (o *outbox) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.stop = true, true
	o.freeRoom()
	o.signal()
}

// close takes nothing more, and returns what the child did not end: the frame
// it was in, if any, and the others.
func (o *outbox) close() (working *Frame, waiting []Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.freeRoom()
	for i, f := range append(o.sent, o.waiting...) {
		switch {
		case f.request != 0:
		case i == 0 && o.inWork == o.done+1:
			frame := f.whole()
			working = &frame
		default:
			waiting = append(waiting, f.whole())
		}
	}
	o.sent, o.waiting = nil, nil
	o.signal()
	return working, waiting
}

// freeRoom wakes everybody who waits for room. The lock is held.
func (o *outbox) freeRoom() {
	close(o.room)
	o.room = make(chan struct{})
}

// progress notes what the child says it has done. It reports whether that can be.
func (o *outbox) progress(done, inWork uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done < o.done || done-o.done > uint64(len(o.sent)) || inWork != 0 && (inWork != done+1 || inWork-o.done > uint64(len(o.sent))) {
		return false
	}
	n := int(done - o.done)
	clear(o.sent[:n])
	o.sent = o.sent[n:]
	o.done, o.inWork = done, inWork
	if n > 0 && len(o.waiting) > 0 {
		o.signal()
	}
	return true
}

// held is how many frames wait or are not done.
func (o *outbox) held() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) + len(o.sent)
}

// outgoing is what may be written now.
type outgoing struct {
	control []byte     // frames, encoded
	frames  []outFrame // the first has the number first, counted from 0
	first   uint64
	stop    bool // the stop frame comes after them
}

// take returns what may be written now, and whether that is anything.
func (o *outbox) take() (out outgoing, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out = outgoing{control: o.control, first: o.done + uint64(len(o.sent))}
	o.control = nil
	for len(o.waiting) > 0 && len(o.sent) < window {
		f := o.waiting[0]
		o.waiting[0] = outFrame{}
		o.waiting = o.waiting[1:]
		o.sent = append(o.sent, f)
		out.frames = append(out.frames, f)
	}
	if len(out.frames) > 0 {
		o.freeRoom()
	}
	if o.stop && len(o.waiting) == 0 {
		o.stop, out.stop = false, true
	}
	return out, len(out.control) > 0 || len(out.frames) > 0 || out.stop
}

// encode returns the bytes to write, after it wrote to a what belongs there.
func (out *outgoing) encode(a area) net.Buffers {
	buffers := make(net.Buffers, 0, 2+2*len(out.frames))
	if len(out.control) > 0 {
		buffers = append(buffers, out.control)
	}
	for i, f := range out.frames {
		kind, parts := f.kind, f.parts
		if f.request != 0 {
			kind = kindRequest
			parts = append([][]byte{append(binary.BigEndian.AppendUint32(nil, f.request), f.kind)}, parts...)
		}
		if frame, ok := a.write(out.first+uint64(i), kind, parts...); ok {
			buffers = append(buffers, frame)
			continue
		}
		size := 0
		for _, part := range parts {
			size += len(part)
		}
		buffers = append(append(buffers, appendHeader(nil, kind, size)), parts...)
	}
	if out.stop {
		buffers = append(buffers, appendFrame(nil, kindStop, nil))
	}
	return buffers
}
