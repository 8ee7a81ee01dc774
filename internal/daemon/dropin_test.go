package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// text is a buffer that is written and read at the same time.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *text) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *text) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// free returns a free port for a file, in which 0 means the default.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startDropIn starts a DropIn with options and listeners of its own; what it
// returns writes the file again with other options.
func startDropIn(t *testing.T, options string) (d *DropIn, out *text, rewrite func(options string)) {
	t.Helper()
	path, port, mgmt := filepath.Join(t.TempDir(), "config.js"), free(t), free(t)
	rewrite = func(options string) {
		t.Helper()
		file := fmt.Sprintf("{address: '127.0.0.1', port: %d, mgmt_address: '127.0.0.1', mgmt_port: %d, flushInterval: 3600000, %s}", port, mgmt, options)
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(options)
	out = new(text)
	d = NewDropIn(path, out, "test")
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		d.Stop(ctx)
	})
	return d, out, rewrite
}

func TestDropInReload(t *testing.T) {
	d, out, rewrite := startDropIn(t, "backends: ['./backends/console'], automaticConfigReload: false")
	rewrite("backends: ['./backends/graphite'], graphiteHost: 'h', repeater: [{host: 'h', port: 1}], console: {prettyprint: true}, deleteSets: true, automaticConfigReload: false")
	d.Reload()
	if want := "these options changed and need a restart: backends, console, graphite..., repeater\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is not in %q", want, out)
	}
	settings := fmt.Sprint(d.settings())
	if !strings.Contains(settings, "{deleteSets  true}") {
		t.Errorf("settings after a reload: %s", settings)
	}
	rewrite("]")
	d.Reload()
	if !strings.Contains(out.String(), "ERROR: cannot reload: the configuration stays as it was: "+d.path+":1:") {
		t.Errorf("after an error: %q", out)
	}
	if again := fmt.Sprint(d.settings()); again != settings {
		t.Errorf("settings after an error: %s", again)
	}
}

// TestDropInStore checks that a file can ask for the store, and that what was
// sent before the end is in it after the next start.
func TestDropInStore(t *testing.T) {
	directory, http := t.TempDir(), free(t)
	options := fmt.Sprintf("backends: ['store'], weir: {data: '%s', http: '127.0.0.1:%d'}", directory, http)
	first, out, _ := startDropIn(t, options)
	conn, err := net.Dial("udp", first.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "kept:5|c"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); first.server.Status().LastPacket.Equal(first.server.Status().Startup); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the packet does not arrive")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	first.Stop(ctx)
	if strings.Contains(out.String(), "WARNING") {
		t.Errorf("stopping says %s", out)
	}

	startDropIn(t, options)
	body := get(t, fmt.Sprintf("http://127.0.0.1:%d/api/v1/series?schema=statsd:counter", http))
	if !strings.Contains(body, "kept") {
		t.Errorf("the counter is not in the store: %s", body)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestDropInLog(t *testing.T) {
	var out bytes.Buffer
	lines := newDropInLog(&out)
	log := slog.New(lines).With("backend", "b")
	write := func() {
		log.Debug("one")
		log.Info("two")
		log.Warn("three", "n", 3)
		log.Warn(`Bad line: 1 in msg "x"`)
		log.Error("four")
	}
	f := func(debug, dump bool, want string) {
		t.Helper()
		out.Reset()
		lines.debug, lines.dump = debug, dump
		write()
		var got strings.Builder
		for line := range strings.Lines(out.String()) {
			stamp, rest, ok := strings.Cut(line, " - ")
			if _, err := time.Parse("2 Jan 15:04:05", stamp); err != nil || !ok {
				t.Errorf("the line %q has no time: %v", line, err)
			}
			got.WriteString(rest)
		}
		if got.String() != want {
			t.Errorf("debug %v, dump %v: got %q, want %q", debug, dump, got.String(), want)
		}
	}
	const always = "WARNING: three backend=b n=3\nDEBUG: Bad line: 1 in msg \"x\" backend=b\nERROR: four backend=b\n"
	f(false, false, always)
	f(false, true, "DEBUG: one backend=b\n"+always)
	f(true, false, "DEBUG: one backend=b\nINFO: two backend=b\n"+always)
}
