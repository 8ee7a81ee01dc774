package cli

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
)

func TestQueue(t *testing.T) {
	dir := t.TempDir()
	s := stream.New(stream.Config{Path: dir, MaxBytes: 1 << 20}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	ctx := context.Background()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer s.Stop(ctx)
	for _, name := range []string{"influx", "a log"} {
		if _, err := s.Consumer(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Append(ctx, []event.Event{{Type: 65537, Payload: []byte("one")}, {Type: 65537, Payload: []byte("two")}}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	run := func(code int, want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := Main(args, &out, &errs); got != code {
			t.Errorf("%q: exit code %d, want %d: %s", args, got, code, &errs)
		}
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("%q prints\n%s\nwant %s", args, &out, want)
		}
	}
	run(0, `(?s)QUEUE +EVENTS +UNACKNOWLEDGED +BYTES +OLDEST +DROPPED\n'a log' +2 +0 +\d+ +\d+s +0\ninflux +2 .*\n2 events so far, \d+ of at most 1048576 bytes`, "queue", "ls", "--url", server.URL)
	run(0, `"name":"influx","events":2`, "queue", "ls", "--json", "--url", server.URL)
	run(0, `^1 messages, 2 events \(1 to 2\), 18 bytes, 0 damages\n$`, "queue", "verify", "--url", server.URL)
	run(0, `^1 messages, 2 events \(1 to 2\), 18 bytes, 0 damages\n$`, "queue", "verify", "--path", dir)
	run(1, `^$`, "queue", "verify", "--path", filepath.Join(dir, "missing"))

	s.Claim([]string{"a log"})
	run(0, `\ninflux is not configured: .*weir queue rm influx lets them go\n$`, "queue", "ls", "--url", server.URL)
	run(1, `^$`, "queue", "rm", "a log", "--url", server.URL)
	run(1, `^$`, "queue", "rm", "none", "--url", server.URL)
	run(0, `^influx is removed; 2 events that waited in it are let go\n$`, "queue", "rm", "influx", "--url", server.URL)
	run(0, `(?s)QUEUE[^\n]*\n'a log' +2 +0 [^\n]*\n\n[^\n]*\n$`, "queue", "ls", "--url", server.URL)

	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "weir-events", "msgs", "*.blk"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), strings.TrimPrefix(files[0], dir))
	if err := os.MkdirAll(filepath.Dir(broken), 0o700); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Replace(content, []byte("one"), []byte("öne"), 1)
	if err := os.WriteFile(broken, append(damaged, content...), 0o600); err != nil {
		t.Fatal(err)
	}
	root, _, _ := strings.Cut(broken, "/jetstream/")
	run(1, `damaged: weir-events/1.blk: \d+ bytes at offset 0 are damaged`, "queue", "verify", "--path", root)
}
