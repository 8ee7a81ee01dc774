package stream

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

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
