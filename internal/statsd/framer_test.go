package statsd

import (
	"bytes"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// frame feeds the pieces to a framer and returns its packets, its tail and the
// error; whatever happens, the buffer's memory must come back.
func frame(t testing.TB, r io.Reader) (packets []string, tail string, err error) {
	t.Helper()
	var spare atomic.Int64
	spare.Store(maxUnfinished)
	f := framer{spare: &spare, packet: func(lines []byte) { packets = append(packets, string(lines)) }}
	err = f.read(r)
	tail = string(f.tail())
	f.release()
	if spare.Load() != maxUnfinished {
		t.Errorf("%d bytes of memory were not given back", maxUnfinished-spare.Load())
	}
	return packets, tail, err
}

func TestFramer(t *testing.T) {
	f := func(pieces []string, tail string, want ...string) {
		t.Helper()
		var readers []io.Reader
		for _, piece := range pieces {
			readers = append(readers, strings.NewReader(piece)) // MultiReader never reads over the end of one
		}
		packets, rest, err := frame(t, io.MultiReader(readers...))
		if err != nil || rest != tail || strings.Join(packets, "|") != strings.Join(want, "|") {
			t.Errorf("%q: packets %q, tail %q, error %v", pieces, packets, rest, err)
		}
	}
	f([]string{"a:1|c\n"}, "", "a:1|c\n")
	f([]string{"a:1|c\nb:2|c\nc"}, "c", "a:1|c\nb:2|c\n")
	f([]string{"a:1", "|c\nb", ":2|c\n"}, "", "a:1|c\n", "b:2|c\n")
	f([]string{"a", "b"}, "ab")
	f([]string{"\n", "\n\n"}, "", "\n", "\n\n")
	f(nil, "")
	// the high bit goes, and then 0x8a is a newline
	f([]string{"caf\xc3\xa9:1|c\x8ab"}, "b", "cafC):1|c\n")
	long := strings.Repeat("x", 100_000) + "\n"
	f([]string{"a\n", long, "b\n"}, "", "a\n", long, "b\n")
}

func TestFramerGivesUpEndlessLines(t *testing.T) {
	packets, _, err := frame(t, io.MultiReader(strings.NewReader("a:1|c\n"), strings.NewReader(strings.Repeat("x", 2*maxLine))))
	if err == nil || err.Error() != "a line is longer than 1048576 bytes" || len(packets) != 1 {
		t.Errorf("%d packets, error %v", len(packets), err)
	}
	line := strings.Repeat("x", maxLine-1) + "\n"
	if packets, _, err := frame(t, strings.NewReader(line)); err != nil || strings.Join(packets, "") != line {
		t.Errorf("a line of the largest size: %d packets, error %v", len(packets), err)
	}
	// no memory left for all connections together
	var spare atomic.Int64
	spare.Store(firstBuffer)
	f := framer{spare: &spare, packet: func([]byte) {}}
	if err := f.read(strings.NewReader(line)); err == nil || !strings.Contains(err.Error(), "too much memory") {
		t.Errorf("error %v", err)
	}
	f.release()
	if spare.Load() != firstBuffer {
		t.Errorf("%d bytes left", spare.Load())
	}
}

// FuzzFramer checks that packets and tail are what was sent, in 7-bit ASCII,
// cut only behind newlines, however it is cut on the way.
func FuzzFramer(f *testing.F) {
	f.Add([]byte("a:1|c\nb\x8a\xffc"), uint8(1))
	f.Fuzz(func(t *testing.T, sent []byte, way uint8) {
		want := bytes.Clone(sent)
		for i := range want {
			want[i] &= 0x7f
		}
		r := io.Reader(bytes.NewReader(sent))
		switch way % 3 {
		case 1:
			r = iotest.OneByteReader(r)
		case 2:
			r = iotest.HalfReader(r)
		}
		packets, tail, err := frame(t, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packets {
			if !strings.HasSuffix(p, "\n") {
				t.Errorf("packet %q does not end in a newline", p)
			}
		}
		if strings.Contains(tail, "\n") {
			t.Errorf("tail %q holds a newline", tail)
		}
		if got := strings.Join(packets, "") + tail; got != string(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
