package script

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// feed plays a durable contract: items up to last, in batches of most, to a
// script that dies of the items in killers; what was not acknowledged comes again.
func feed(t *testing.T, deaths, most int, last uint64, killers ...uint64) (aside []uint64, died int) {
	t.Helper()
	isolation := Isolation{Deaths: deaths}
	acknowledged := uint64(0)
	for first := uint64(1); first <= last; {
		if died > 1000 {
			t.Fatalf("no end after %d deaths: %+v", died, isolation)
		}
		if slices.Contains(aside, first) {
			first++
			continue
		}
		count := isolation.Limit(first, int(min(uint64(most), last-first+1)))
		if count < 1 {
			t.Fatalf("%d items may be sent: %+v", count, isolation)
		}
		for i := range uint64(count) { // what is aside is not sent
			if slices.Contains(aside, first+i) {
				count = int(i)
				break
			}
		}
		if slices.ContainsFunc(killers, func(k uint64) bool { return k >= first && k < first+uint64(count) }) {
			died++
			if isolation.Died(first, count) {
				aside = append(aside, first)
			}
			first = acknowledged + 1
			continue
		}
		isolation.Survived(first, count)
		first += uint64(count)
		if first%1000 > 500 { // sometimes later
			acknowledged = first - 1
		}
	}
	return aside, died
}

func TestIsolation(t *testing.T) {
	f := func(deaths, most int, last uint64, atMost int, killers ...uint64) {
		t.Helper()
		aside, died := feed(t, deaths, most, last, killers...)
		slices.Sort(aside)
		if !slices.Equal(aside, killers) || died > atMost {
			t.Errorf("of %v set aside %v, with %d deaths, want at most %d", killers, aside, died, atMost)
		}
	}
	f(3, 512, 5000, 0)
	f(3, 512, 5000, 3+9, 2000)
	f(3, 512, 5000, 3+9, 1)
	f(3, 512, 5000, 3+9, 5000)
	f(1, 512, 5000, 1+9, 777)
	f(3, 1, 50, 3, 7)
	f(3, 512, 5000, 6*(3+9), 10, 11, 12, 400, 2000, 4999)

	var never Isolation
	for range 100 {
		if never.Died(1, 1) || never.Isolating() || never.Limit(1, 512) != 512 {
			t.Fatal("the zero value isolates")
		}
	}
	once := Isolation{Deaths: 2} // deaths that do not come again are forgotten
	once.Died(1, 100)
	once.Survived(1, 100)
	if once.Died(1, 100); once.Isolating() {
		t.Error("a survived batch is suspected")
	}
}

func TestQuarantine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "quarantine", "influx.jsonl")
	open := func(items, bad int) *Quarantine {
		t.Helper()
		q := NewQuarantine(path)
		if err := q.Open(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { q.Close() })
		if i, b := q.Count(); i != items || b != bad {
			t.Errorf("%d items, %d bad lines, want %d and %d", i, b, items, bad)
		}
		return q
	}
	add := func(q *Quarantine, number uint64) {
		t.Helper()
		item := Quarantined{Time: time.Unix(1, 0).UTC(), Script: "influx", Number: number, Reason: "was ended by SIGSEGV", Payload: fmt.Append(nil, "event ", number)}
		if err := q.Add(item); err != nil {
			t.Fatal(err)
		}
	}
	q := open(0, 0)
	add(q, 5)
	add(q, 9)
	if !q.Has(5, []byte("event 5")) || q.Has(6, []byte("event 6")) {
		t.Error("it does not know what it has")
	}
	if q.Has(5, []byte("another event")) {
		t.Error("another item of the same number counts as set aside")
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.WriteString(`{"number":1`) // torn
	file.Close()
	q = open(2, 1)
	add(q, 10)
	q = open(3, 1)
	if !q.Has(9, []byte("event 9")) || !q.Has(10, []byte("event 10")) {
		t.Error("something is missing")
	}
	q.Close()
	if err := q.Add(Quarantined{Number: 11}); err == nil || q.Has(11, nil) {
		t.Errorf("an item that could not be written is set aside: %v", err)
	}
}
