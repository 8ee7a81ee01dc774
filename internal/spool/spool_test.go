package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/timeseries"
)

const childEnv = "WEIR_SPOOL_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := work(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string, max int64) *Spool {
	t.Helper()
	s, err := Open(dir, Config{MaxBytes: max})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *Spool, records ...string) {
	t.Helper()
	for _, r := range records {
		if err := s.Append([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

// next returns the records of the next batch.
func next(t *testing.T, s *Spool, maxBytes int) ([]string, *Batch) {
	t.Helper()
	b, err := s.Next(t.Context(), maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	var records []string
	for _, r := range b.Records {
		records = append(records, string(r))
	}
	return records, b
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// drain takes everything.
func drain(t *testing.T, s *Spool) (all []string) {
	t.Helper()
	for s.Len() > 0 {
		records, b := next(t, s, 1<<20)
		all = append(all, records...)
		if err := b.Done(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestOrderAndRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	before := time.Now().Truncate(time.Millisecond)
	put(t, s, "a", "", "ccc", "dddd")
	if s.Len() != 4 || s.Bytes() != 8+4*frameHeader || s.Oldest().Before(before) {
		t.Errorf("%+v", s.Stats())
	}
	records, _ := next(t, s, 2)
	want(t, records, "a", "")
	records, _ = next(t, s, 0)
	want(t, records, "a") // one at least
	records, b := next(t, s, 2)
	want(t, records, "a", "") // not done: the same again
	if err := b.Done(); err != nil {
		t.Fatal(err)
	}
	if err := b.Done(); err != nil || s.Len() != 2 { // a second time changes nothing
		t.Error(err, s.Len())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	s = open(t, dir, 0)
	put(t, s, "e")
	if s.Len() != 3 || s.Oldest().Before(before) {
		t.Errorf("%+v", s.Stats())
	}
	want(t, drain(t, s), "ccc", "dddd", "e")
	if s.Len() != 0 || s.Bytes() != 0 || !s.Oldest().IsZero() {
		t.Errorf("%+v", s.Stats())
	}
	s.Close()
	s = open(t, dir, 0)
	put(t, s, "f")
	s.Close()
	s = open(t, dir, 0)
	want(t, drain(t, s), "f")
}

func TestNextWaits(t *testing.T) {
	s := open(t, t.TempDir(), 0)
	got := make(chan error)
	go func() {
		b, err := s.Next(context.Background(), 100)
		if err == nil && string(b.Records[0]) != "x" {
			err = fmt.Errorf("got %q", b.Records)
		}
		got <- err
	}()
	put(t, s, "x")
	if err := <-got; err != nil {
		t.Error(err)
	}
	_, b := next(t, s, 1)
	b.Done()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := s.Next(ctx, 100)
		got <- err
		_, err = s.Next(context.Background(), 100)
		got <- err
	}()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestBound(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 3<<20)
	record := make([]byte, 1<<20-frameHeader)
	for i := range 3 {
		record[0] = byte(i)
		if err := s.Append(record); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Append(nil); !errors.Is(err, ErrFull) || !errors.Is(err, timeseries.ErrFull) {
		t.Errorf("a full queue: %v", err)
	}
	if err := s.Append(make([]byte, MaxRecord+1)); err == nil || errors.Is(err, ErrFull) {
		t.Errorf("a long record: %v", err)
	}
	if s.Stats().Refused != 1 || s.Len() != 3 {
		t.Errorf("%+v", s.Stats())
	}
	_, b := next(t, s, 1)
	b.Done()
	put(t, s, "there is room again")
	for i := 1; i < 3; i++ {
		b, err := s.Next(t.Context(), 1)
		if err != nil || b.Records[0][0] != byte(i) {
			t.Fatal(err)
		}
		b.Done()
	}
	want(t, drain(t, s), "there is room again")
	if files := segments(t, dir); len(files) != 1 {
		t.Errorf("files of records that are done: %q", files)
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// change overwrites a part of the only segment.
func change(t *testing.T, dir string, edit func(data []byte) []byte) {
	t.Helper()
	path := segments(t, dir)[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, edit(data), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestTornTail(t *testing.T) {
	for cut := 1; cut < frameHeader+5; cut++ {
		dir := t.TempDir()
		s := open(t, dir, 0)
		put(t, s, "first", "other")
		s.Close()
		change(t, dir, func(data []byte) []byte { return data[:len(data)-cut] })
		s = open(t, dir, 0)
		if s.Len() != 1 || s.Stats().Damages != 0 {
			t.Fatalf("%d bytes missing: %+v", cut, s.Stats())
		}
		put(t, s, "third")
		s.Close()
		want(t, drain(t, open(t, dir, 0)), "first", "third")
	}
}

// Damage costs the records it hits; the bytes are kept.
func TestDamage(t *testing.T) {
	f := func(at int, records ...string) {
		t.Helper()
		dir := t.TempDir()
		s := open(t, dir, 0)
		put(t, s, "first", "other", "third")
		s.Close()
		change(t, dir, func(data []byte) []byte { data[at] ^= 0x40; return data })
		for range 2 { // opening twice counts it twice and keeps it once
			s = open(t, dir, 0)
			if got := s.Stats(); got.Records != 2 {
				t.Fatalf("byte %d: %+v", at, got)
			}
			s.Close()
		}
		want(t, drain(t, open(t, dir, 0)), records...)
		kept, _ := filepath.Glob(filepath.Join(dir, "quarantine", "*"))
		if len(kept) != 1 {
			t.Fatalf("byte %d: %q in quarantine", at, kept)
		}
		if data, err := os.ReadFile(kept[0]); err != nil || len(data) != frameHeader+5 {
			t.Errorf("byte %d: %d bytes in quarantine, %v", at, len(data), err)
		}
	}
	const size = frameHeader + 5
	for at := range size {
		f(at, "other", "third")
		f(size+at, "first", "third")
	}
	f(3*size-1, "first", "other")

	// Damage that comes while the queue is open.
	dir := t.TempDir()
	s := open(t, dir, 0)
	put(t, s, "first", "other", "third")
	change(t, dir, func(data []byte) []byte { data[size+7] ^= 1; data[2*size+7] ^= 1; return data })
	want(t, drain(t, s), "first")
	put(t, s, "fourth")
	if got := s.Stats(); got.Records != 1 || got.Damages != 1 || got.DamagedBytes != 2*size {
		t.Errorf("%+v", got)
	}
	want(t, drain(t, s), "fourth")

	// A file that is gone.
	dir = t.TempDir()
	s = open(t, dir, 0)
	put(t, s, "first")
	if err := os.Remove(segments(t, dir)[0]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx, 1); !errors.Is(err, context.Canceled) || s.Stats().Damages != 1 {
		t.Errorf("%v, %+v", err, s.Stats())
	}
	put(t, s, "other")
	want(t, drain(t, s), "other")

	// The note of what is done.
	dir = t.TempDir()
	s = open(t, dir, 0)
	put(t, s, "first", "other")
	_, b := next(t, s, 1)
	b.Done()
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, "position"), []byte("damaged"), 0o640); err != nil {
		t.Fatal(err)
	}
	want(t, drain(t, open(t, dir, 0)), "first", "other")
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, 0)
	if _, err := Open(dir, Config{}); err == nil || !strings.Contains(err.Error(), "another process has it") {
		t.Errorf("got %v", err)
	}
}

// work is what the child process does: it appends and takes records, and says
// so after each step, until it is killed.
func work(dir string) error {
	s, err := Open(dir, Config{MaxBytes: 8 << 20})
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	for ; ; n++ {
		if err := s.Append(killRecord(n)); err != nil {
			return err
		}
		fmt.Println("stored", n)
		if n%3 == 0 {
			continue
		}
		b, err := s.Next(context.Background(), 1)
		if err != nil {
			return err
		}
		if err := b.Done(); err != nil {
			return err
		}
		first, _, _ := strings.Cut(string(b.Records[0]), " ")
		fmt.Println("done", first)
	}
}

// killRecord is record number n, up to 20 kB so that segments end.
func killRecord(n int) []byte {
	return fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", n*7919%20_000))
}

// Kill -9 at random moments: what was appended is there, in order, until it is done.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stored, done := 0, 0 // the next of each
	for round := range 10 {
		child := exec.Command(exe)
		child.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s_FROM=%d", childEnv, stored))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		left := 1 + rand.IntN(500)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			word, number, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.Atoi(number)
			switch {
			case err == nil && word == "stored" && n == stored:
				stored++
			case err == nil && word == "done" && n == done:
				done++
			default:
				t.Fatalf("round %d: %q after %d stored, %d done", round, lines.Text(), stored, done)
			}
			if left--; left == 0 {
				child.Process.Kill() // lines it has written by then are read on
			}
		}
		child.Wait()
		stored, done = verifyKilled(t, dir, stored, done, round)
	}
	t.Logf("%d records stored, %d done", stored, done)
}

// verifyKilled opens what a killed process left: its records begin with the first that is not done and
// go to the last that was stored, or one further in both, when the process died before it said so.
func verifyKilled(t *testing.T, dir string, stored, done, round int) (newStored, newDone int) {
	t.Helper()
	s, err := Open(dir, Config{MaxBytes: 8 << 20})
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	defer s.Close()
	if s.Stats().Damages != 0 {
		t.Fatalf("round %d: %+v", round, s.Stats())
	}
	n := int(s.Len())
	b, err := s.Next(t.Context(), 1)
	if n == 0 || err != nil {
		t.Fatalf("round %d: nothing there, %v", round, err)
	}
	number, _, _ := strings.Cut(string(b.Records[0]), " ")
	newDone, err = strconv.Atoi(number)
	newStored = newDone + n
	if err != nil || newDone < done || newDone > done+1 || newStored < stored || newStored > stored+1 {
		t.Fatalf("round %d: records %d to %d, want %d to %d", round, newDone, newStored, done, stored)
	}
	for i, g := range s.segments { // all of them as they were, without taking them
		if err := g.load(); err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		if i == 0 {
			at = s.offset
		}
		for at < g.size {
			f, ok := parseFrame(g.data[at:])
			if !ok || string(f.record) != string(killRecord(newDone+int(newStored-newDone-n))) {
				t.Fatalf("round %d: record %d is damaged or out of order", round, newStored-n)
			}
			n--
			at += f.size()
		}
	}
	if n != 0 {
		t.Fatalf("round %d: %d records more than were read", round, n)
	}
	return newStored, newDone
}

// FuzzSegment reads hostile files: every record that comes out has its checksum,
// and what was appended after them comes out.
func FuzzSegment(f *testing.F) {
	good := appendFrame(appendFrame(nil, []byte("first"), time.UnixMilli(1)), nil, time.UnixMilli(2))
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append([]byte("\xf5WQ\x1a junk"), good...))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "0000000000000001.segment"), data, 0o640); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, 0)
		n := int(s.Len())
		put(t, s, "last")
		all := drain(t, s)
		if len(all) != n+1 || all[n] != "last" {
			t.Fatalf("%d records were counted, %d came: %q", n, len(all), all)
		}
	})
}
