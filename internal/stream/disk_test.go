package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// With only the reserve left on the disk Append fails and says why; positions are
// stored still, and it goes on when there is room.
func TestDiskReserve(t *testing.T) {
	f := start(t, Config{Path: t.TempDir()})
	var left atomic.Int64
	f.current().space = func(path string, want int64) error {
		if free := left.Load(); free < want {
			return fmt.Errorf("%w: %s has %d bytes free, %d are wanted", ErrDiskFull, path, free, want)
		}
		return nil
	}
	c := f.consumer("a")
	left.Store(diskReserve + 100<<10)
	f.append(1, 100)
	if err := f.Append(bg, big(1, 4<<20)); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("accepted on a full disk: %v", err)
	}
	want(t, c, 1, 100, 100)
	ack(t, c, 60)
	left.Store(1 << 30)
	f.append(101, 100)
	want(t, c, 101, 200, 100)
	f.balanced("stream")
	f.balanced("stream.a")
}

// Every write fails, as when other programs fill the disk between the look at it
// and the write: nothing is accepted that is not stored, and it goes on by itself
// once writes succeed.
func TestWritesFail(t *testing.T) {
	f := start(t, Config{Path: t.TempDir()})
	c := f.consumer("a")
	f.append(1, 200)
	want(t, c, 1, 100, 100)
	ack(t, c, 60)

	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}
	defer restore()
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	if err := f.Append(bg, big(1, 1<<20)); err == nil {
		t.Fatal("accepted, though no write succeeds")
	}
	restore()
	deadline, cancel := context.WithTimeout(bg, 30*time.Second)
	defer cancel()
	for f.Append(deadline, numbered(201, 1)) != nil {
		if deadline.Err() != nil {
			t.Fatal("does not go on after writes succeed again")
		}
		time.Sleep(50 * time.Millisecond) // a real disk, a real server
	}
	c.Rewind()
	want(t, c, 61, 201, 100)
	f.balanced("stream")
	f.balanced("stream.a")
}
