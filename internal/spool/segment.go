package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"slices"
	"time"
)

// A segment is a file of frames:
//
//	magic      4 bytes, where reading goes on after damage
//	length     4 bytes, of the record
//	time       8 bytes, Unix milliseconds, when it was appended
//	checksum   4 bytes, CRC-32C of length, time and record
//	record
const (
	frameMagic  = "\xf5WQ\x1a"
	frameHeader = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type frame struct {
	record []byte
	time   int64 // Unix milliseconds
}

// size is how many bytes the frame takes in its segment.
func (f frame) size() int64 { return frameHeader + int64(len(f.record)) }

func appendFrame(dst, record []byte, at time.Time) []byte {
	start := len(dst)
	dst = append(dst, frameMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(record)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.UnixMilli()))
	sum := crc32.Update(crc32.Checksum(dst[start+4:], castagnoli), castagnoli, record)
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	return append(dst, record...)
}

// parseFrame reads the frame that data begins with.
func parseFrame(data []byte) (f frame, ok bool) {
	if len(data) < frameHeader || string(data[:4]) != frameMagic {
		return f, false
	}
	length := int64(binary.LittleEndian.Uint32(data[4:]))
	if length > int64(len(data)-frameHeader) {
		return f, false
	}
	f.record = data[frameHeader : frameHeader+length : frameHeader+length]
	f.time = int64(binary.LittleEndian.Uint64(data[8:]))
	sum := crc32.Update(crc32.Checksum(data[4:16], castagnoli), castagnoli, f.record)
	return f, sum == binary.LittleEndian.Uint32(data[16:])
}

// nextFrame finds the first frame in data, and how many bytes before it are none.
// Without any frame all of data is skipped.
func nextFrame(data []byte) (f frame, skipped int, ok bool) {
	for skipped < len(data) {
		if f, ok = parseFrame(data[skipped:]); ok {
			return f, skipped, true
		}
		next := bytes.Index(data[skipped+1:], []byte(frameMagic))
		if next < 0 {
			break
		}
		skipped += 1 + next
	}
	return frame{}, len(data), false
}

// torn reports whether data is the beginning of a frame.
func torn(data []byte) bool {
	if len(data) < frameHeader {
		return string(data[:min(len(data), 4)]) == frameMagic[:min(len(data), 4)]
	}
	return string(data[:4]) == frameMagic && int64(binary.LittleEndian.Uint32(data[4:])) > int64(len(data)-frameHeader)
}

// segment is one file.
type segment struct {
	number uint64
	path   string
	size   int64
	data   []byte   // as far as it was read; only of the first segment
	file   *os.File // open for writing; only of the active segment
}

// load reads what was appended since the last time.
func (g *segment) load() error {
	have := int64(len(g.data))
	if have == g.size {
		return nil
	}
	f, err := os.Open(g.path)
	if err != nil {
		return err
	}
	defer f.Close()
	data := slices.Grow(g.data, int(g.size-have))[:g.size] // what batches refer to stays as it is
	if _, err := f.ReadAt(data[have:], have); err != nil {
		return err
	}
	g.data = data
	return nil
}
