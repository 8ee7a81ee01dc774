package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/stream"
)

// blockFiles are the files of the stream's events, or positions, in order.
func (b *backlog) blockFiles(name string) []string {
	b.t.Helper()
	pattern := filepath.Join(b.dir, "data", "stream", "jetstream", "$G", "streams", "weir-"+name, "msgs", "%d.blk")
	var files []string
	for i := range 1000 {
		if file := fmt.Sprintf(pattern, i); exists(file) {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		b.t.Fatalf("no files like %s", pattern)
	}
	return files
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// change rewrites a file.
func (b *backlog) change(path string, f func(content []byte) []byte) {
	b.t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(content), 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// verified runs weir queue verify on the files and returns its report.
func (b *backlog) verified(code int) string {
	b.t.Helper()
	out, got := b.weir("queue", "verify", "--path", "data/stream")
	if got != code {
		b.t.Fatalf("weir queue verify: exit code %d, want %d\n%s", got, code, out)
	}
	return out
}

// Damaged files of the stream: weir queue verify tells, the daemon keeps a copy of
// what is damaged, delivers in order what is intact, and counts what is not.
func TestDamagedStream(t *testing.T) {
	flip := func(content []byte) []byte { content[len(content)/2] ^= 0x10; return content }
	cut := func(content []byte) []byte { return content[:len(content)*2/3+7] }
	zero := func(content []byte) []byte { clear(content[len(content)/3 : len(content)/3+4096]); return content }
	f := func(name string, damage func(b *backlog, files []string) (kept int)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBacklog(t, t.TempDir(), backlogConfig("max_size: 16MiB"))
			b.load.record.Set("long_output", event.TextValue(bytes.Repeat([]byte("x"), 2000)))
			b.send(7000)
			b.stop()
			if out := b.verified(0); !strings.Contains(out, " 7002 events (1 to 7002), ") || !strings.Contains(out, " 0 damages") {
				t.Errorf("before: %s", out)
			}
			files := b.blockFiles("events")
			if len(files) < 4 {
				t.Fatalf("%d files, want some more", len(files))
			}
			wantKept := damage(b, files)
			out := b.verified(1)
			if !strings.Contains(out, "damaged: ") || strings.Contains(out, " 0 damages") {
				t.Errorf("damaged: %s", out)
			}
			intact := int64(0)
			if _, err := fmt.Sscanf(out[strings.LastIndex(out, " messages, ")+1:], "messages, %d events", &intact); err != nil {
				t.Fatal(err, out)
			}

			b.start()
			q, _ := b.queue("far")
			acked := int64(q.Acknowledged) // the names, when the daemon was stopped
			kept, err := filepath.Glob(filepath.Join(b.dir, "data", "stream", "quarantine", "*.blk"))
			if err != nil || len(kept) != wantKept {
				t.Errorf("%d files were kept, %d were damaged: %v\n%s", len(kept), wantKept, err, b.log())
			}
			b.up("far")
			b.send(1000)
			numbers := b.arrived("far")
			if int64(len(numbers)) != intact-2+1000 {
				t.Errorf("%d events arrived, %d were intact", len(numbers), intact+998)
			}
			lost := 7002 - intact
			received, passed, buffered, discarded := b.account("stream.connector.far")
			if received != 8002-acked || buffered != 0 || discarded["damaged"] != lost || passed != received-lost {
				t.Errorf("%d received, %d passed, %d buffered, discarded %v; %d were damaged", received, passed, buffered, discarded, lost)
			}
			if received, passed, _, discarded := b.account("connector.far"); passed != received-lost || discarded["dropped"] != lost {
				t.Errorf("connector: %d received, %d passed, discarded %v", received, passed, discarded)
			}
			if !strings.Contains(b.log(), "level=ERROR") {
				t.Error("the log says nothing")
			}
			b.stop()
		})
	}
	f("a byte", func(b *backlog, files []string) int { b.change(files[1], flip); return 1 })
	f("bytes in several files", func(b *backlog, files []string) int {
		b.change(files[0], zero)
		b.change(files[2], flip)
		b.change(files[len(files)-1], zero)
		return 3
	})
	f("a file cut off", func(b *backlog, files []string) int { b.change(files[2], cut); return 1 })
	f("a file deleted", func(b *backlog, files []string) int {
		if err := os.Remove(files[2]); err != nil {
			t.Fatal(err)
		}
		return 0
	})
}

// Without its last file, and with the newest position damaged, the numbers of
// events go on, nothing that is there is missing at the endpoint, and what comes
// again was acknowledged last.
func TestDamagedEnd(t *testing.T) {
	b := startBacklog(t, t.TempDir(), backlogConfig("max_size: 16MiB"))
	b.up("far")
	b.send(3000)
	b.arrived("far")
	b.stop()
	var before stream.Report
	out := b.verified(0)
	if _, err := fmt.Sscanf(out[strings.Index(out, "to ")+3:], "%d", &before.Last); err != nil || before.Last != 3002 {
		t.Fatal(err, out)
	}
	positions := b.blockFiles("positions")
	b.change(positions[len(positions)-1], func(content []byte) []byte { content[len(content)-12] ^= 1; return content })
	b.start()
	b.send(1000)
	b.whole("far")
	b.stop()

	events := b.blockFiles("events")
	if err := os.Remove(events[len(events)-1]); err != nil {
		t.Fatal(err)
	}
	b.start()
	if _, s := b.queue("far"); s.Events != 4002 {
		t.Errorf("the last event is number %d, want 4002", s.Events)
	}
	b.send(1000)
	b.whole("far")
	if n := b.metric(`weir_queue_events{queue="connector.far"}`); n != 0 {
		t.Errorf("%s events wait", strconv.FormatFloat(n, 'f', -1, 64))
	}
	if err := b.balanced(); err != nil {
		t.Error(err)
	}
	b.stop()
}
