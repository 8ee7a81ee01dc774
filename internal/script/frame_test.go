package script

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"
)

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendFrame(appendFrame(nil, kindReady, nil), FirstKind, []byte("payload")))
	f.Add([]byte{0, 0, 0, 9, 40, 1})
	f.Add([]byte{255, 255, 255, 255, 40})
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		var buf, again []byte
		for {
			kind, payload, err := readFrame(r, buf)
			if err != nil {
				if err == io.EOF && !bytes.Equal(again, stream) {
					t.Errorf("%x was read as %x", stream, again)
				}
				return
			}
			again = appendFrame(again, kind, payload)
			if !bytes.HasPrefix(stream, again) {
				t.Fatalf("%x was read as %x", stream, again)
			}
			buf = payload
		}
	})
}

// Whatever a child says, its daemon goes on.
func FuzzTake(f *testing.F) {
	f.Add(kindPong, []byte(`{"sequence":0,"running":99999999999}`))
	f.Add(kindProgress, make([]byte, 16))
	f.Add(kindReply, []byte{0, 0, 0, 1, 1, 'x'})
	f.Add(kindError, []byte(`{"message":"m","file":"f","line":1}`))
	f.Add(kindLog, []byte(`{"level":4,"text":"t"}`))
	f.Add(kindFailed, []byte(`{}`))
	f.Add(kindHello, []byte(`{"protocol":1}`))
	f.Add(FirstKind, []byte("frame"))
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		p := newProcess(probeSpec("", DefaultBudget()), newRecorder(), new(Registry), new(counters), discard, newLimits(discard))
		p.child = &child{kill: func() {}, limit: func() {}, schedule: func() (time.Duration, time.Duration) { return 0, 0 }, nice: func(int) {}}
		for range 2 {
			if err := p.take(kind, payload); err != nil && !errors.Is(err, errFrame) {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestReadFrame(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 1<<20+3)
	r := iotest.OneByteReader(bytes.NewReader(appendFrame(nil, 200, large)))
	if kind, payload, err := readFrame(r, nil); kind != 200 || !bytes.Equal(payload, large) || err != nil {
		t.Errorf("kind %d, %d bytes, %v", kind, len(payload), err)
	}
	claim := append(binary.BigEndian.AppendUint32(nil, MaxPayload), 200)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, _, err := readFrame(bytes.NewReader(claim), nil); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 1<<20 {
		t.Errorf("a claim of %d bytes allocates %d", MaxPayload, allocated)
	}
}
