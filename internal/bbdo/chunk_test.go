package bbdo

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
)

func chunk(payload []byte) []byte {
	var b bytes.Buffer
	newChunkWriter(&b).Write(payload)
	return b.Bytes()
}

// readChunks uncompresses a stream that comes in pieces.
func readChunks(stream []byte, piece int) (content []byte, warnings []string, err error) {
	r := newChunkReader(&pieces{stream, piece}, func(message string, args ...any) { warnings = append(warnings, message) })
	content, err = io.ReadAll(r)
	return content, warnings, err
}

func TestChunks(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	random := make([]byte, 300_000)
	for i, x := 0, uint64(1); i < len(random); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		random[i] = byte(x >> 56)
	}
	f := func(name string, stream, want []byte, wantWarnings int) {
		t.Helper()
		for _, piece := range []int{1, 1000, 1 << 30} {
			if piece == 1 && len(stream) > 10_000 {
				continue
			}
			got, warnings, err := readChunks(stream, piece)
			if err != nil || !bytes.Equal(got, want) || len(warnings) != wantWarnings {
				t.Errorf("%s, in pieces of %d: %d bytes, want %d; %v; %v", name, piece, len(got), len(want), warnings, err)
			}
		}
	}
	// The example of specification 4.8.
	f("example", unhex("00000019 00000013 789c2b2e6560666062e06080028e17ec00137101ed"), ack1000, 0)
	f("several", slices.Concat(chunk([]byte("one")), chunk([]byte("two")), chunk(ack1000)), append([]byte("onetwo"), ack1000...), 0)
	f("large", slices.Concat(chunk(large), chunk(random), chunk([]byte("end"))), slices.Concat(large, random, []byte("end")), 0)
	f("noise between", slices.Concat(chunk([]byte("one")), []byte("noise!"), chunk([]byte("two"))), []byte("onetwo"), 2)
	damaged := chunk([]byte("damaged"))
	damaged[len(damaged)-1] ^= 1
	f("wrong checksum", slices.Concat(chunk([]byte("one")), damaged, chunk([]byte("two"))), []byte("onetwo"), 2)
	short := chunk([]byte("short"))
	binary.BigEndian.PutUint32(short[4:], 6)
	f("less than announced", append(short, chunk([]byte("two"))...), []byte("two"), 2)
	tooLarge := chunk([]byte("x"))
	binary.BigEndian.PutUint32(tooLarge, maxChunk+1)
	f("too large", append(tooLarge, chunk([]byte("two"))...), []byte("two"), 2)
	f("cut", chunk([]byte("one"))[:12], []byte{}, 0)
}

func TestBadChunks(t *testing.T) {
	f := func(stream []byte, want string) {
		t.Helper()
		if _, _, err := readChunks(stream, 1<<30); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	bomb := chunk(make([]byte, 10_000_000))
	binary.BigEndian.PutUint32(bomb[4:], 1000)
	f(bomb, "more content than it announced")
	f(make([]byte, 2<<20), "no valid compressed chunk in 1048576 bytes")
	damaged := chunk([]byte("damaged"))
	damaged[len(damaged)-1] ^= 1
	f(bytes.Repeat(damaged, maxFailures), "no valid compressed chunk in")
}

// A chunk that announces much and sends little takes little memory.
func TestAnnouncementTakesNoMemory(t *testing.T) {
	b := chunk([]byte("x"))
	binary.BigEndian.PutUint32(b, maxChunk)
	binary.BigEndian.PutUint32(b[4:], maxChunk)
	r := newChunkReader(bytes.NewReader(b), func(string, ...any) {})
	if _, err := r.Read(make([]byte, 10)); err != io.EOF || cap(r.in) > 1<<20 || cap(r.space) > 1<<20 {
		t.Errorf("%v, buffers of %d and %d bytes", err, cap(r.in), cap(r.space))
	}
}
