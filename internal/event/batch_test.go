package event

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Event {
			return Event{
				Type: Type(rapid.Uint32().Draw(t, "type")), Source: rapid.Uint32().Draw(t, "source"),
				Destination: rapid.Uint32().Draw(t, "destination"), Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
			}
		}), 0, 10).Draw(t, "events")
		batch := AppendBatch([]byte("before"), events)[len("before"):]
		var got []Event
		it := NewIterator(batch)
		for it.Next() {
			got = append(got, it.Event)
			if rest := AppendBatch(nil, events[len(got):]); !bytes.Equal(batch[it.Offset():], rest) {
				t.Fatalf("after event %d the offset is %d", len(got), it.Offset())
			}
		}
		equalBytes := cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })
		if diff := cmp.Diff(events, got, equalBytes); it.Err() != nil || len(events) > 0 && diff != "" {
			t.Fatalf("%v %s", it.Err(), diff)
		}
	})
}

func TestBatchDamage(t *testing.T) {
	f := func(batch string, events int, want string) {
		t.Helper()
		it := NewIterator([]byte(batch))
		n := 0
		for it.Next() {
			n++
		}
		if it.Err() == nil || it.Err().Error() != want || n != events {
			t.Errorf("%q: %d events, %v, want %q", batch, n, it.Err(), want)
		}
		if it.Next() {
			t.Errorf("%q: Next goes on after damage", batch)
		}
	}
	big := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	f("\x01\x02\x03\x02ab\x01", 1, "cannot read batch at offset 7: the source is not a 32-bit varint")
	f("\x01\x02\x03\x03ab", 0, "cannot read batch at offset 4: the payload has 3 bytes, 2 are left")
	f("\x80", 0, "cannot read batch at offset 0: the type is not a 32-bit varint")
	f("\x01\x02"+big(math.MaxUint32+1)+"\x00", 0, "cannot read batch at offset 2: the destination is not a 32-bit varint")
	f("\x01\x02\x03"+big(MaxPayload+1), 0, "cannot read batch at offset 7: a payload of 67108865 bytes exceeds the limit of 67108864")
}

func FuzzBatch(f *testing.F) {
	f.Add(AppendBatch(nil, []Event{{Type: 65560, Source: 1, Payload: []byte("abc")}, {Type: 7, Destination: math.MaxUint32}}))
	f.Add([]byte{1, 2, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, batch []byte) {
		var events []Event
		it := NewIterator(batch)
		last := 0
		for it.Next() {
			if it.Offset() <= last || it.Offset() > len(batch) {
				t.Fatalf("the offset went from %d to %d", last, it.Offset())
			}
			last = it.Offset()
			events = append(events, it.Event)
		}
		if it.Err() == nil && last != len(batch) {
			t.Fatalf("stopped at %d of %d without an error", last, len(batch))
		}
		again := NewIterator(AppendBatch(nil, events))
		for i := range events {
			if !again.Next() || again.Event.Type != events[i].Type || !bytes.Equal(again.Event.Payload, events[i].Payload) {
				t.Fatalf("event %d does not read back", i)
			}
		}
	})
}
