package script

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// readArea is how a child sees what out.encode wrote.
func readArea(t *testing.T, a area, frame []byte) (inFrame, bool) {
	t.Helper()
	kind, payload, err := readFrame(bytes.NewReader(frame), nil)
	if err != nil || len(frame) != headerSize+len(payload) {
		t.Fatalf("kind %d, %d of %d bytes: %v", kind, len(payload), len(frame), err)
	}
	if kind != kindArea {
		return inFrame{kind: kind, payload: payload}, false
	}
	f, err := a.read(payload)
	if err != nil {
		t.Fatal(err)
	}
	return f, true
}

// TestArea writes frames of every size next to the bounds, each in a slot of its own.
func TestArea(t *testing.T) {
	ours, file, err := newArea()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := openArea(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.close()
	for _, c := range []struct {
		size   int
		inArea bool
	}{{0, false}, {areaFrame - 1, false}, {areaFrame, true}, {slotSize, true}, {slotSize + 1, false}} {
		out := outgoing{first: 6}
		for i := range window {
			part := bytes.Repeat([]byte{byte(i + 1)}, c.size)
			out.frames = append(out.frames, outFrame{kind: FirstKind, parts: [][]byte{part[:c.size/3], part[c.size/3:]}})
		}
		var encoded bytes.Buffer
		buffers := out.encode(ours)
		for _, b := range buffers {
			encoded.Write(b)
		}
		rest := encoded.Bytes()
		for i := range window {
			size := headerSize + int(binary.BigEndian.Uint32(rest))
			f, inArea := readArea(t, theirs, rest[:size])
			if rest = rest[size:]; inArea != c.inArea || f.inArea != c.inArea || f.kind != FirstKind || len(f.payload) != c.size {
				t.Fatalf("%d bytes: in the area %v, kind %d, %d bytes", c.size, inArea, f.kind, len(f.payload))
			}
			if n := bytes.Count(f.payload, []byte{byte(i + 1)}); n != c.size {
				t.Errorf("frame %d of %d bytes: %d are its own", i, c.size, n)
			}
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, 8), {0, 0x80, 0, 0, 0, 0, 0, 1, FirstKind}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, FirstKind}} {
		if f, err := theirs.read(bad); !errors.Is(err, errFrame) {
			t.Errorf("%x: %d bytes, %v", bad, len(f.payload), err)
		}
	}
}

// TestAreaIsTheDaemons: a script that has the file cannot end the daemon with it, nor write to it.
func TestAreaIsTheDaemons(t *testing.T) {
	a, file, err := newArea()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	defer file.Close()
	if err := file.Truncate(0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("truncate: %v", err)
	}
	if _, err := file.WriteAt([]byte("x"), 0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("write: %v", err)
	}
	if _, err := unix.Mmap(int(file.Fd()), 0, areaSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EPERM) {
		t.Errorf("mmap: %v", err)
	}
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, areaSize); !errors.Is(err, unix.EPERM) {
		t.Errorf("punch a hole: %v", err)
	}
}

// TestSizesOfFrames sends a process frames of every size, through the socket and through the area, mixed.
func TestSizesOfFrames(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{}), nil)
	p := next(t, s.ready)
	for i, size := range []int{10, areaFrame, 3, slotSize, slotSize + 1, 0, areaFrame - 1, slotSize / 2, slotSize, slotSize, areaFrame, slotSize} {
		payload := bytes.Repeat([]byte{byte('a' + i)}, size)
		if err := p.SendWait(t.Context(), echo, payload); err != nil {
			t.Fatal(err)
		}
		f := next(t, s.frames)
		if !bytes.Equal(f.Payload, payload) {
			t.Fatalf("of %d bytes %q came back %d: %.10q", size, payload[:min(3, size)], len(f.Payload), f.Payload)
		}
	}
	answer, err := p.Request(t.Context(), echo, bytes.Repeat([]byte("r"), areaFrame))
	if err != nil || len(answer) != areaFrame || answer[0] != 'R' || answer[areaFrame-1] != 'R' {
		t.Errorf("request: %d bytes, %v", len(answer), err)
	}
	s.stop()
}
