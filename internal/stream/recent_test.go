package stream

import (
	"slices"
	"testing"
)

func TestRecent(t *testing.T) {
	var r recent
	sequences := func(from uint64) (all []uint64) {
		for _, m := range r.from(from) {
			all = append(all, m.sequence)
		}
		return all
	}
	f := func(from uint64, want ...uint64) {
		t.Helper()
		if got := sequences(from); !slices.Equal(got, want) {
			t.Errorf("from %d: %d, want %d", from, got, want)
		}
	}
	f(1)
	add := func(sequence uint64, size int) { r.add(message{sequence: sequence, data: make([]byte, size)}) }
	add(5, 10)
	add(6, 10)
	add(7, 10)
	f(4)
	f(5, 5, 6, 7)
	f(7, 7)
	f(8)
	f(100)
	add(9, 10) // one is missing: what is before it is of no use
	f(7)
	f(9, 9)
	add(10, recentBytes-5)
	f(9)
	f(10, 10)
	add(11, recentBytes+1) // too large to be kept
	f(10)
	f(11)
	add(12, 10)
	f(12, 12)
	if r.bytes != 10 {
		t.Errorf("%d bytes are counted", r.bytes)
	}
}

// Events that are in memory come without a question to the server, in any portions, and
// only those that follow what came before.
func TestReady(t *testing.T) {
	f := start(t, Config{Path: t.TempDir()})
	c := f.consumer("a")
	f.append(1, 3)
	f.append(4, 3)
	f.append(7, 3)
	if b := c.Ready(0, 10); b.Count != 0 {
		t.Fatalf("%d events before Next", b.Count)
	}
	b, err := c.Next(bg, 2)
	if err != nil || b.First != 1 || b.Count != 2 {
		t.Fatal(b, err)
	}
	ready := func(after uint64, most int, first uint64, count int) {
		t.Helper()
		if b := c.Ready(after, most); b.First != first || b.Count != count {
			t.Errorf("%d events from %d, want %d from %d", b.Count, b.First, count, first)
		}
	}
	ready(1, 10, 0, 0)
	ready(2, 10, 3, 1) // the rest of the message
	ready(3, 2, 4, 2)
	ready(5, 10, 6, 1)
	ready(6, 10, 7, 3)
	ready(9, 10, 0, 0)
	c.Rewind()
	want(t, c, 1, 9, 10)
	f.append(10, 1)
	want(t, c, 10, 10, 10)
}
