package bbdo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zlib"
)

const (
	// maxChunk is the largest chunk, compressed and uncompressed (specification 4.8).
	maxChunk = 100_000_000
	// chunkHeader is the length of the chunk and of its content uncompressed.
	chunkHeader = 8
	// keepChunk is how large a buffer may stay after its chunk was consumed.
	keepChunk = 1 << 20
	// maxFailures is how many chunks in a row may turn out invalid only when they
	// are uncompressed, which costs more than skipping a byte.
	maxFailures = 64
)

// chunkReader uncompresses a stream of chunks. An invalid chunk is skipped byte
// by byte, like the bytes between packets.
type chunkReader struct {
	src  io.Reader
	warn func(message string, args ...any)

	in       []byte // what was read
	start    int    // of what is not yet uncompressed in it
	out      []byte // uncompressed and not yet taken
	space    []byte // what out is a part of
	body     bytes.Reader
	inflater io.ReadCloser
	skipping int // bytes skipped since the last valid chunk
	failures int // chunks that looked valid and were not, since then
}

func newChunkReader(src io.Reader, warn func(message string, args ...any)) *chunkReader {
	return &chunkReader{src: src, warn: warn}
}

// Read implements io.Reader. Errors are those of the underlying reader, after
// which one can go on if they were timeouts, and too much damage.
func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		ok, err := c.next()
		if err != nil {
			return 0, err
		}
		if ok {
			continue
		}
		// What is announced is only believed as it comes: no more space than
		// twice what was received.
		if c.start > 0 {
			c.in = c.in[:copy(c.in, c.in[c.start:])]
			c.start = 0
		}
		if len(c.in) == 0 && cap(c.in) > keepChunk {
			c.in = nil
		}
		c.in = slices.Grow(c.in, max(16<<10, len(c.in)/2))
		n, err := c.src.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		if n == 0 && err != nil {
			return 0, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// next uncompresses the next chunk; ok is false when more has to be read first.
func (c *chunkReader) next() (ok bool, err error) {
	for len(c.in)-c.start >= chunkHeader+2 {
		b := c.in[c.start:]
		invalid := c.look(b)
		if invalid == nil {
			end := 4 + int(binary.BigEndian.Uint32(b))
			if len(b) < end {
				return false, nil
			}
			invalid = c.inflate(b[chunkHeader:end], int(binary.BigEndian.Uint32(b[4:])))
			if errors.Is(invalid, errBomb) {
				return false, invalid
			}
			if invalid == nil {
				if c.skipping > 0 {
					c.warn("found a valid compressed chunk again", "skipped_bytes", c.skipping)
				}
				c.start += end
				c.skipping, c.failures = 0, 0
				return true, nil
			}
			c.failures++
		}
		if c.skipping == 0 {
			c.warn("invalid compressed chunk, looking for the next one", "error", invalid.Error())
		}
		c.start++
		c.skipping++
		if c.skipping >= maxSkip || c.failures >= maxFailures {
			return false, fmt.Errorf("no valid compressed chunk in %d bytes", c.skipping)
		}
	}
	return false, nil
}

// look reports what is wrong with the start of a chunk, before all of it is there.
func (c *chunkReader) look(b []byte) error {
	size, content := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	switch {
	case size > maxChunk:
		return fmt.Errorf("%d bytes exceed the limit of %d", size, maxChunk)
	case content > maxChunk:
		return fmt.Errorf("%d bytes uncompressed exceed the limit of %d", content, maxChunk)
	case size < chunkHeader+4: // a zlib stream has at least 8 bytes
		return fmt.Errorf("%d bytes are too few", size)
	case content > 1032*size: // what the format can achieve
		return fmt.Errorf("%d bytes cannot be %d bytes uncompressed", size, content)
	case b[8]&0x0f != 8 || b[8]>>4 > 7 || binary.BigEndian.Uint16(b[8:])%31 != 0 || b[9]&0x20 != 0:
		return fmt.Errorf("no zlib header: %x", b[8:10])
	}
	return nil
}

var errBomb = errors.New("a compressed chunk has more content than it announced")

// inflate uncompresses body, which has size bytes then, to out.
func (c *chunkReader) inflate(body []byte, size int) (err error) {
	c.body.Reset(body)
	if c.inflater == nil {
		c.inflater, err = zlib.NewReader(&c.body)
	} else {
		err = c.inflater.(zlib.Resetter).Reset(&c.body, nil)
	}
	if err != nil {
		return err
	}
	if cap(c.space) < size || cap(c.space) > keepChunk && size <= keepChunk {
		c.space = make([]byte, size)
	}
	space := c.space[:size]
	if _, err := io.ReadFull(c.inflater, space); err != nil {
		return fmt.Errorf("cannot uncompress: %w", err)
	}
	var more [1]byte
	n, err := c.inflater.Read(more[:]) // reads the checksum, too
	if n > 0 {
		return errBomb
	}
	if err != io.EOF {
		return fmt.Errorf("cannot uncompress: %w", err)
	}
	c.out = space
	return nil
}

// chunkWriter writes each Write as one chunk.
type chunkWriter struct {
	dst      io.Writer
	buf      bytes.Buffer
	deflater *zlib.Writer
}

func newChunkWriter(dst io.Writer) *chunkWriter { return &chunkWriter{dst: dst} }

// Write implements io.Writer.
func (c *chunkWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		// Half the limit, because what cannot be compressed grows.
		part := rest[:min(len(rest), maxChunk/2)]
		rest = rest[len(part):]
		if err := c.chunk(part); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *chunkWriter) chunk(p []byte) error {
	c.buf.Reset()
	c.buf.Write(make([]byte, chunkHeader))
	if c.deflater == nil {
		c.deflater = zlib.NewWriter(&c.buf)
	} else {
		c.deflater.Reset(&c.buf)
	}
	c.deflater.Write(p) // to memory: no error
	c.deflater.Close()
	b := c.buf.Bytes()
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	binary.BigEndian.PutUint32(b[4:], uint32(len(p)))
	_, err := c.dst.Write(b)
	return err
}
