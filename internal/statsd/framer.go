package statsd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
)

// Sizes of a stream client's buffer, in bytes.
const (
	firstBuffer = 4 << 10  // what a connection begins with
	fullBuffer  = 64 << 10 // what one read takes at most, unless a line is longer
	maxLine     = 1 << 20  // where a line without an end is given up
)

// framer cuts what a stream brings into packets: everything up to the last
// newline of a read is one, the rest waits (specification section 1.6).
type framer struct {
	packet func(lines []byte) // called per packet; lines is only valid during the call
	spare  *atomic.Int64      // bytes left for the buffers of all connections
	buffer []byte
	filled int
}

// lineError says that a line is longer than a client may send.
type lineError string

func (e lineError) Error() string { return string(e) }

// read reads r to its end, which is no error; a lineError is one.
func (f *framer) read(r io.Reader) error {
	f.buffer = make([]byte, firstBuffer)
	for {
		n, err := r.Read(f.buffer[f.filled:])
		if tooLong := f.add(n); tooLong != nil {
			return tooLong
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add takes in n bytes that were read to behind what the buffer holds.
func (f *framer) add(n int) error {
	wasFull := f.filled+n == len(f.buffer)
	fresh := f.buffer[f.filled : f.filled+n]
	clearHighBits(fresh) // before the search: a newline is what the reference takes for one
	end := bytes.LastIndexByte(fresh, '\n')
	if end < 0 {
		f.filled += n
		if f.filled < len(f.buffer) {
			return nil
		}
		if f.filled >= maxLine {
			return lineError(fmt.Sprintf("a line is longer than %d bytes", maxLine))
		}
		if !f.resize(2 * len(f.buffer)) {
			return lineError("the unfinished lines of all connections take too much memory")
		}
		return nil
	}
	end += f.filled + 1
	f.packet(f.buffer[:end])
	f.filled = copy(f.buffer, f.buffer[end:f.filled+n])
	switch {
	case len(f.buffer) > fullBuffer && f.filled < fullBuffer:
		f.resize(fullBuffer) // the long line is over
	case wasFull && len(f.buffer) < fullBuffer:
		f.resize(2 * len(f.buffer)) // a busy client: fewer and larger reads
	}
	return nil
}

// resize changes the buffer, unless there is no memory left for it.
func (f *framer) resize(size int) bool {
	more := int64(size - len(f.buffer))
	if f.spare.Add(-more) < 0 && more > 0 {
		f.spare.Add(more)
		return false
	}
	buffer := make([]byte, size)
	copy(buffer, f.buffer[:f.filled])
	f.buffer = buffer
	return true
}

// release gives the buffer's memory back.
func (f *framer) release() { f.spare.Add(int64(len(f.buffer) - firstBuffer)) }

// tail is the line that has not ended.
func (f *framer) tail() []byte { return f.buffer[:f.filled] }

// clearHighBits makes 7-bit ASCII of what came over a stream (specification section 1.1).
func clearHighBits(b []byte) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)&0x7f7f7f7f7f7f7f7f)
		b = b[8:]
	}
	for i := range b {
		b[i] &= 0x7f
	}
}

// readLengths reads packets that have their length before them, four bytes, little endian, to the end of r, as
// DogStatsD's clients send them.
func (f *framer) readLengths(r io.Reader) error {
	f.buffer = make([]byte, firstBuffer)
	for {
		n, err := r.Read(f.buffer[f.filled:])
		f.filled += n
		if tooLong := f.cut(); tooLong != nil {
			return tooLong
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// cut delivers the packets that are complete and makes room for the one that is not.
func (f *framer) cut() error {
	wasFull, start, need := f.filled == len(f.buffer), 0, 4
	for need = 4; f.filled-start >= 4; need = 4 {
		size := int(binary.LittleEndian.Uint32(f.buffer[start:]))
		if size > maxLine {
			return lineError(fmt.Sprintf("a packet is longer than %d bytes, or the client does not send lengths", maxLine))
		}
		if need = 4 + size; f.filled-start < need {
			break
		}
		if size > 0 {
			f.packet(f.buffer[start+4 : start+need])
		}
		start += need
	}
	f.filled = copy(f.buffer, f.buffer[start:f.filled])
	switch {
	case need > len(f.buffer):
		if !f.resize(need) {
			return lineError("the unfinished packets of all connections take too much memory")
		}
	case len(f.buffer) > fullBuffer && need <= fullBuffer && f.filled < fullBuffer:
		f.resize(fullBuffer)
	case wasFull && len(f.buffer) < fullBuffer:
		f.resize(2 * len(f.buffer))
	}
	return nil
}
