package broker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/weirhq/weir/internal/event"
)

// Files of this package are streams of frames. A frame is a header of 16 bytes
// (magic, length of the batch, its CRC-32C, CRC-32C of the header so far; numbers
// big-endian) and a batch of events in the layout of event.AppendBatch. A damaged
// frame is passed over: the next one begins with the magic.
const (
	frameMagic  = "WBc1"
	frameHeader = 16
	frameSize   = 256 << 10               // a batch is closed when it has grown beyond this
	maxFrame    = frameSize + MaxObject*2 // what a reader accepts
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameWriter writes events as frames. The first error of w is kept.
type frameWriter struct {
	w     io.Writer
	batch []byte
	err   error
}

func (f *frameWriter) add(e event.Event) {
	f.batch = event.AppendBatch(f.batch, []event.Event{e})
	if len(f.batch) >= frameSize {
		f.flush()
	}
}

// flush writes what was added since the last frame.
func (f *frameWriter) flush() error {
	if len(f.batch) == 0 || f.err != nil {
		return f.err
	}
	var header [frameHeader]byte
	copy(header[:], frameMagic)
	binary.BigEndian.PutUint32(header[4:], uint32(len(f.batch)))
	binary.BigEndian.PutUint32(header[8:], crc32.Checksum(f.batch, castagnoli))
	binary.BigEndian.PutUint32(header[12:], crc32.Checksum(header[:12], castagnoli))
	if _, f.err = f.w.Write(header[:]); f.err == nil {
		_, f.err = f.w.Write(f.batch)
	}
	f.batch = f.batch[:0]
	return f.err
}

// Loaded says what was found in a file.
type Loaded struct {
	Events int   // read
	Bytes  int64 // of the whole file
	Lost   int64 // bytes passed over because they are damaged or incomplete
	Offset int64 // of the first of them
}

// readFrames calls use for each event of a stream. Damage is passed over and
// reported; the error is one of r. Payloads are valid only during the call.
func readFrames(r io.Reader, use func(event.Event)) (Loaded, error) {
	var l Loaded
	b := bufio.NewReaderSize(r, 64<<10)
	lose := func(n int64) {
		if l.Lost == 0 {
			l.Offset = l.Bytes
		}
		l.Lost += n
		l.Bytes += n
	}
	var batch []byte
	for {
		header, err := b.Peek(frameHeader)
		if len(header) < frameHeader {
			if err != io.EOF {
				return l, err
			}
			if len(header) > 0 {
				lose(int64(len(header)))
			}
			return l, nil
		}
		size := int(binary.BigEndian.Uint32(header[4:]))
		if string(header[:4]) != frameMagic || size > maxFrame ||
			crc32.Checksum(header[:12], castagnoli) != binary.BigEndian.Uint32(header[12:]) {
			window, _ := b.Peek(min(b.Buffered(), 64<<10))
			n := bytes.Index(window[1:], []byte(frameMagic)) + 1
			if n == 0 { // a magic may begin in the last three bytes
				n = max(len(window)-3, 1)
			}
			b.Discard(n)
			lose(int64(n))
			continue
		}
		sum := binary.BigEndian.Uint32(header[8:])
		b.Discard(frameHeader)
		if cap(batch) < size {
			batch = make([]byte, size)
		}
		n, err := io.ReadFull(b, batch[:size])
		if err != nil {
			lose(int64(frameHeader + n))
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return l, nil
			}
			return l, err
		}
		if crc32.Checksum(batch[:size], castagnoli) != sum {
			lose(int64(frameHeader + size))
			continue
		}
		it := event.NewIterator(batch[:size])
		for it.Next() {
			use(it.Event)
			l.Events++
		}
		l.Bytes += int64(frameHeader)
		if it.Err() != nil { // it was written so: the checksum is right
			lose(int64(size - it.Offset()))
			size = it.Offset()
		}
		l.Bytes += int64(size)
	}
}
