package stream

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

const childEnv = "WEIR_STREAM_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := workForever(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// workForever is what the child process does: it appends events, takes and
// acknowledges them, and says what was confirmed, until it is killed.
func workForever(dir string) error {
	s := New(Config{Path: dir}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	if err := s.Start(bg); err != nil {
		return err
	}
	c, err := s.Consumer(bg, "a")
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() {
		next := int(s.last.event) + 1 // only this goroutine appends
		for {
			n := 1 + rand.IntN(700)
			if err := s.Append(bg, numbered(next, n)); err != nil {
				failed <- err
				return
			}
			next += n
			fmt.Println("stored", next-1)
		}
	}()
	go func() {
		fmt.Println("begin", c.Acked())
		for {
			b, err := c.Next(bg, 1+rand.IntN(100))
			if err == nil {
				err = c.Ack(b.First + uint64(b.Count) - 1)
			}
			if err != nil {
				failed <- err
				return
			}
			fmt.Println("acked", c.Acked())
		}
	}()
	return <-failed
}

// Kill -9 at random moments: every event whose Append returned is there, and
// nothing whose Ack returned comes again.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stored, acked := 0, 0
	for round := range 12 {
		child := exec.Command(exe)
		child.Env = append(os.Environ(), childEnv+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, most := bufio.NewScanner(out), 50+rand.IntN(400)
		for n := 0; lines.Scan(); n++ {
			var at int
			var word string
			fmt.Sscan(lines.Text(), &word, &at)
			switch word {
			case "stored":
				stored = at
			case "acked":
				acked = at
			case "begin":
				if at < acked {
					t.Errorf("round %d: begins after event %d, %d was acknowledged", round, at, acked)
				}
			default:
				t.Errorf("round %d: %s", round, lines.Text())
			}
			if n == most {
				child.Process.Kill() // and go on reading what it had confirmed
			}
		}
		child.Process.Kill()
		child.Wait()
		if r, err := VerifyFiles(dir, "weir"); err != nil || r.Damages != 0 {
			t.Fatalf("round %d: %+v, %v", round, r, err)
		}
	}
	f := start(t, Config{Path: dir})
	c := f.consumer("a")
	if int(c.Acked()) < acked {
		t.Errorf("begins after event %d, %d was acknowledged", c.Acked(), acked)
	}
	c.Limit(1 << 30)
	last := int(f.last.event)
	if last < stored {
		t.Fatalf("events up to %d were confirmed, %d are there", stored, last)
	}
	want(t, c, int(c.Acked())+1, last, 512)
	if a := f.balanced("stream.a"); a.Lost() != 0 {
		t.Errorf("got %+v", a)
	}
}

// A full disk: Append fails and says why, positions are stored still, and it goes on by itself.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, 48<<20)
	f := start(t, Config{Path: dir})
	c := f.consumer("a")
	fill := dir + "/../filler"
	write := func(size int) {
		if err := os.WriteFile(fill, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.append(1, 100)
	write(38 << 20)
	err := f.Append(bg, big(1, 4<<20))
	if err == nil {
		t.Fatal("accepted on a full disk")
	}
	t.Log(err)
	want(t, c, 1, 100, 100)
	ack(t, c, 60)
	write(0)
	f.append(101, 100)
	want(t, c, 101, 200, 100)

	// Other programs fill it to the last byte between the look at it and the write.
	file, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	file.Close()
	l := f.current()
	l.cfg.Path = "/" // which has room
	if err := f.Append(bg, big(1, 1<<20)); err == nil {
		t.Fatal("accepted on a full disk")
	}
	f.mu.Lock()
	l.cfg.Path = dir
	f.mu.Unlock()
	write(0)
	deadline, cancel := context.WithTimeout(bg, 30*time.Second)
	defer cancel()
	for f.Append(deadline, numbered(201, 1)) != nil {
		if deadline.Err() != nil {
			t.Fatal("does not go on after the disk has room again")
		}
		time.Sleep(50 * time.Millisecond) // a real disk, a real server
	}
	c.Rewind()
	want(t, c, 61, 200, 100)
	b, err := c.Next(deadline, 10)
	if err != nil {
		t.Fatal(err)
	}
	for it := event.NewIterator(b.Data); it.Next(); {
		if got := string(it.Event.Payload); got != "event 201" {
			t.Errorf("got %.20q", got)
		}
	}
	f.balanced("stream")
	f.balanced("stream.a")
}
