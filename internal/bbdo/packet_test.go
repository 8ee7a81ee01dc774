package bbdo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
)

// unhex reads hexadecimal digits; everything else in text is for reading only.
func unhex(text string) []byte {
	text = strings.Map(func(c rune) rune {
		if strings.ContainsRune(" |\n\t", c) {
			return -1
		}
		return c
	}, text)
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

// The examples of specification 4.10.
var (
	welcomeLyon      = unhex("04da 0030 00020007 00000000 00000000 | 0a06080310001801120f544c5320434f4d5052455353494f4e 180322044c796f6e2a0b6c796f6e2d6d6f64756c653002")
	version200       = unhex("57f6 0007 00020001 00000000 00000000 | 0002 0000 0000 00")
	version200Both   = unhex("088b 0016 00020001 00000000 00000000 | 0002 0000 0000 544c5320434f4d5052455353494f4e00")
	ack1000          = unhex("7375 0003 00020008 00000000 00000000 | 08e807")
	legacyAck1000    = unhex("8f06 0004 00020002 00000000 00000000 | 000003e8")
	stop3            = unhex("3b25 0002 00020009 00000000 00000000 | 0803")
	legacyStopPacket = unhex("d44f 0000 00020003 00000000 00000000")
	instanceLyon     = unhex("8581 0036 0001000f 00000003 00000000 | 43656e7472656f6e20456e67696e6500 00000003 4c796f6e00 01 00001092 ffffffffffffffff 000000006553f100 32342e31302e3000")
	hostStatus       = unhex("d1bb 0039 00010020 00000003 00000000 | 0801 1001 2001 2801 30ace4cfaa06 3801 40ace4cfaa06 6204444f574e 720a7274613d31322e356d73 810100000000000019 40 9801ace4cfaa06")
	metricLoad       = unhex("82ce 002e 00030001 00000003 00000000 | 000000006553f22c 0000012c 0000004d 6c6f61643100 00ed4e00 392e35303030303000 0000 00 00000001 0000000a")
	downtime         = unhex("8f52 0025 00010024 00000003 00000000 | 0807 1003 1801 2a0561646d696e 3802 60ffffffffffffffffff01 70ffffffffffffffffff01")
	// Captured from other implementations.
	version200Spare = unhex("65fe 000e 00020001 00000001 00000001 | 0002 0000 0000 544c5300 00000000")
	welcomeJavaMap  = unhex("bf93 0011 00020007 00000001 00000000 | 0a0408031801 1801 22074a6176614d6170")
)

func examples() [][]byte {
	return [][]byte{welcomeLyon, version200, version200Both, ack1000, legacyAck1000, stop3, legacyStopPacket, instanceLyon, hostStatus, metricLoad, downtime, version200Spare, welcomeJavaMap}
}

// readAll takes the events out of a stream that comes in pieces of the given size.
func readAll(stream []byte, piece, limit int) (events []event.Event, r *Reader, err error) {
	r = NewReader(&pieces{stream, piece}, limit, nil)
	for {
		var e event.Event
		ok, err := r.Next(&e)
		if err != nil {
			return events, r, err
		}
		if ok {
			e.Payload = bytes.Clone(e.Payload)
			events = append(events, e)
			continue
		}
		if err := r.Fill(); err == io.EOF {
			r.End()
			return events, r, nil
		} else if err != nil {
			return events, r, err
		}
	}
}

// difference describes the first difference between two lists of events. (cmp
// compares payloads byte by byte, which takes seconds for large ones.)
func difference(want, got []event.Event) string {
	for i := range min(len(want), len(got)) {
		w, g := want[i], got[i]
		if w.Type != g.Type || w.Source != g.Source || w.Destination != g.Destination || !bytes.Equal(w.Payload, g.Payload) {
			return fmt.Sprintf("event %d: want %.200v, got %.200v", i, w, g)
		}
	}
	if len(want) != len(got) {
		return fmt.Sprintf("want %d events, got %d", len(want), len(got))
	}
	return ""
}

// pieces reads at most size bytes at a time.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func TestExamples(t *testing.T) {
	var stream []byte
	for _, packet := range examples() {
		stream = append(stream, packet...)
	}
	for _, piece := range []int{1, 7, 1 << 20} {
		events, r, err := readAll(stream, piece, 0)
		if err != nil || len(events) != len(examples()) || r.Skipped() != 0 {
			t.Fatalf("%d events, %d bytes skipped, %v", len(events), r.Skipped(), err)
		}
		var again bytes.Buffer
		w := NewWriter(&again)
		for i, e := range events {
			if got := AppendPackets(nil, e); !bytes.Equal(got, examples()[i]) {
				t.Errorf("example %d comes back as\n%x, want\n%x", i, got, examples()[i])
			}
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil || !bytes.Equal(again.Bytes(), stream) {
			t.Errorf("the stream comes back different, %v", err)
		}
	}
}

func TestChecksum(t *testing.T) {
	f := func(size uint16, want uint16) {
		t.Helper()
		h := make([]byte, headerSize)
		binary.BigEndian.PutUint16(h[2:], size)
		binary.BigEndian.PutUint32(h[4:], 65559)
		if got := checksum(h); got != want {
			t.Errorf("size %d: %d, want %d", size, got, want)
		}
	}
	f(260, 33491)
	f(65535, 48152)
	f(4718, 10233)
	// The tables against the definition, for which the check value is known.
	slow := func(b []byte) uint16 {
		crc := uint16(0xffff)
		for _, x := range b {
			crc ^= uint16(x)
			for range 8 {
				if crc&1 != 0 {
					crc = crc>>1 ^ 0x8408
				} else {
					crc >>= 1
				}
			}
		}
		return ^crc
	}
	if got := slow([]byte("123456789")); got != 0x906e {
		t.Fatalf("the definition gives %#x", got)
	}
	h := make([]byte, headerSize)
	for i := range 100_000 {
		binary.LittleEndian.PutUint64(h[2:], uint64(i)*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(h[8:], uint64(i)*0xbf58476d1ce4e5b9)
		if got, want := checksum(h), slow(h[2:]); got != want {
			t.Fatalf("%x: %#x, want %#x", h, got, want)
		}
	}
}

func TestControlMessages(t *testing.T) {
	f := func(e event.Event, want []byte) {
		t.Helper()
		if got := AppendPackets(nil, e); !bytes.Equal(got, want) {
			t.Errorf("%v is\n%x, want\n%x", e.Type, got, want)
		}
	}
	both := []string{"TLS", "COMPRESSION"}
	f(greeting{kind: versionResponse, version: V200}.event(), version200)
	f(greeting{kind: versionResponse, version: V200, extensions: both}.event(), version200Both)
	f(ackEvent(V301, 1000), ack1000)
	f(ackEvent(V300, 1000), legacyAck1000)
	f(ackEvent(V200, 1000), legacyAck1000)
	f(stopEvent(3), stop3)

	parse := func(packet []byte, want greeting) {
		t.Helper()
		events, _, err := readAll(packet, 1<<20, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseGreeting(events[0])
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(greeting{})); d != "" {
			t.Error(d)
		}
	}
	none := []string{}
	lyon := greeting{welcome, V301, both, Identity{3, "Lyon", "lyon-module", Engine}}
	parse(welcomeLyon, lyon)
	parse(version200, greeting{versionResponse, V200, none, Identity{}})
	parse(version200Both, greeting{versionResponse, V200, both, Identity{}})
	parse(version200Spare, greeting{versionResponse, V200, []string{"TLS"}, Identity{}})
	parse(welcomeJavaMap, greeting{welcome, V301, none, Identity{1, "JavaMap", "", UnknownPeer}})
	parse(AppendPackets(nil, lyon.event()), lyon)

	for _, packet := range [][]byte{ack1000, legacyAck1000} {
		events, _, _ := readAll(packet, 1<<20, 0)
		if n, ok := parseAck(events[0]); n != 1000 || !ok {
			t.Errorf("%x acknowledges %d, %v", packet, n, ok)
		}
	}
}

// output returns a service event of either generation whose output has n bytes.
func output(t testing.TB, family event.Family, n int) event.Event {
	typ := event.MakeType(1, 23)
	if family == event.Protobuf {
		typ = event.MakeType(1, 27)
	}
	r := event.NewRecord(event.Lookup(typ))
	r.Set("output", event.TextValue(bytes.Repeat([]byte("x"), n)))
	r.Set("host_id", event.IntValue(1))
	r.Source = 3
	e := r.Encode()
	if err := event.Check(e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLargeOutput(t *testing.T) {
	for _, family := range []event.Family{event.Legacy, event.Protobuf} {
		e := output(t, family, 70000)
		packets := AppendPackets(nil, e)
		if family == event.Legacy && len(packets) != 70285 {
			t.Errorf("%d bytes on the wire, want 70285", len(packets))
		}
		if size := binary.BigEndian.Uint16(packets[2:]); size != fullPart {
			t.Errorf("the first packet has %d bytes", size)
		}
		for _, piece := range []int{1000, 1 << 20} {
			events, _, err := readAll(append(packets, hostStatus...), piece, 0)
			if err != nil || len(events) != 2 {
				t.Fatalf("%d events, %v", len(events), err)
			}
			if d := difference([]event.Event{e}, events[:1]); d != "" {
				t.Error(d)
			}
			if r, err := event.Decode(events[0]); err != nil || len(r.Get("output").Text()) != 70000 {
				t.Errorf("cannot decode what arrived: %v", err)
			}
		}
	}
}

func TestSplitSizes(t *testing.T) {
	for _, size := range []int{0, 1, 65534, 65535, 65536, 2 * 65535, 2*65535 + 1, 1 << 20} {
		e := event.Event{Type: event.MakeType(1, 29), Source: 1, Destination: 2, Payload: bytes.Repeat([]byte{7}, size)}
		packets := AppendPackets(nil, e)
		if want := size + headerSize*(size/fullPart+1); len(packets) != want {
			t.Errorf("%d bytes give %d on the wire, want %d", size, len(packets), want)
		}
		events, r, err := readAll(packets, 30000, 0)
		if err != nil || len(events) != 1 || r.Dropped() != 0 {
			t.Fatalf("%d bytes: %d events, %v", size, len(events), err)
		}
		if d := difference([]event.Event{e}, events[:1]); d != "" {
			t.Errorf("%d bytes: %s", size, d)
		}
	}
}

// part returns one packet.
func part(source uint32, payload []byte) []byte {
	b := AppendPackets(nil, event.Event{Type: event.MakeType(1, 27), Source: source, Payload: payload})
	return b[:headerSize+min(len(payload), fullPart)]
}

func TestInterleaved(t *testing.T) {
	full := bytes.Repeat([]byte{1}, fullPart)
	stream := slices.Concat(part(1, full), part(2, full), hostStatus, part(1, full), part(2, []byte("b")), part(1, []byte("a")))
	events, _, err := readAll(stream, 50000, 0)
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	f := func(i int, source uint32, size int) {
		t.Helper()
		if events[i].Source != source || len(events[i].Payload) != size {
			t.Errorf("event %d has source %d and %d bytes", i, events[i].Source, len(events[i].Payload))
		}
	}
	f(0, 3, 57)
	f(1, 2, fullPart+1)
	f(2, 1, 2*fullPart+1)
}

func TestIncomplete(t *testing.T) {
	full := bytes.Repeat([]byte{1}, fullPart)
	var stream []byte
	for source := range uint32(5) {
		stream = append(stream, part(source, full)...)
	}
	stream = append(stream, part(0, []byte("x"))...) // its first part is the one that was dropped
	stream = append(stream, part(4, []byte("x"))...)
	events, r, err := readAll(stream, 50000, 0)
	if err != nil || len(events) != 2 || len(events[0].Payload) != 1 || len(events[1].Payload) != fullPart+1 {
		t.Errorf("%d events, %v", len(events), err)
	}
	if r.Dropped() != 4 { // one beyond the limit, three at the end
		t.Errorf("%d events dropped", r.Dropped())
	}
}

func TestLimit(t *testing.T) {
	f := func(stream []byte, want string) {
		t.Helper()
		_, _, err := readAll(stream, 50000, 200_000)
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	e := event.Event{Type: event.MakeType(1, 27), Payload: make([]byte, 200_000)}
	f(AppendPackets(nil, e), "<nil>")
	e.Payload = make([]byte, 200_001)
	f(AppendPackets(nil, e), "event neb:Service (1:27) is too large: 200001 bytes so far, the limit is 200000")
	full := make([]byte, fullPart)
	f(slices.Concat(part(1, full), part(2, full), part(3, full), part(4, full)), "event neb:Service (1:27) is too large: 262140 bytes so far, the limit is 200000")
}

func TestResynchronisation(t *testing.T) {
	f := func(stream []byte, wantEvents int, wantSkipped int64) {
		t.Helper()
		for _, piece := range []int{1, 100, 1 << 20} {
			events, r, err := readAll(stream, piece, 0)
			if err != nil || len(events) != wantEvents || r.Skipped() != wantSkipped {
				t.Errorf("%d events, %d bytes skipped, %v; want %d and %d", len(events), r.Skipped(), err, wantEvents, wantSkipped)
			}
		}
	}
	damaged := bytes.Clone(hostStatus)
	damaged[1] ^= 1
	f(slices.Concat(hostStatus, hostStatus, damaged, hostStatus, hostStatus), 4, int64(len(damaged)))
	f(slices.Concat(hostStatus, []byte("garbage"), metricLoad), 2, 7)
	f(slices.Concat([]byte("garbage"), metricLoad), 1, 7)
	f(slices.Concat(hostStatus, metricLoad[:20]), 1, 0)
	f(slices.Concat(hostStatus, metricLoad[:10]), 1, 0)
	if _, r, err := readAll(bytes.Repeat([]byte{0xaa}, 2<<20), 1<<20, 0); err == nil || r.Skipped() != maxSkip {
		t.Errorf("%d bytes skipped, %v", r.Skipped(), err)
	}
}

// Among random bytes there are many right checksums by chance; they must not keep
// the reader from giving up.
func TestNoise(t *testing.T) {
	noise := make([]byte, 8<<20)
	x := uint64(1)
	for i := range noise {
		x = x*6364136223846793005 + 1442695040888963407
		noise[i] = byte(x >> 56)
	}
	events, r, err := readAll(append(bytes.Clone(hostStatus), noise...), 1<<20, 0)
	if err == nil {
		t.Errorf("%d events, %d bytes skipped, no error", len(events), r.Skipped())
	}
}

func TestWarnings(t *testing.T) {
	var got []string
	r := NewReader(bytes.NewReader(slices.Concat(hostStatus, []byte("garbage"), metricLoad, hostStatus[:30])), 0, func(message string, args ...any) {
		got = append(got, message+": "+strings.TrimSpace(fmt.Sprintln(args...)))
	})
	for {
		var e event.Event
		if ok, err := r.Next(&e); err != nil {
			t.Fatal(err)
		} else if !ok && r.Fill() == io.EOF {
			break
		}
	}
	r.End()
	want := []string{
		"not a BBDO header: wrong checksum, looking for the next one: computed 61295 received 26465",
		"found a BBDO header again: skipped_bytes 7",
		"the stream ended inside a packet: bytes 30",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
