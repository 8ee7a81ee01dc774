package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The users of an influxd: who may do everything, and what writers need to know.
const (
	influxUser     = "weir"
	influxPassword = "p4ssword"
)

// influxd is a running InfluxDB of Debian's package influxdb, with its data in a
// folder of the test, which lets in nobody without a password.
type influxd struct {
	t    *testing.T
	host string // where it serves HTTP
	port string
}

const influxConfig = `
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "DIR/meta"
[data]
dir = "DIR/data"
wal-dir = "DIR/wal"
[http]
bind-address = "127.0.0.1:0"
auth-enabled = true
[monitor]
store-enabled = false
`

// startInfluxd starts a server that ends with the test, with these databases.
func startInfluxd(t *testing.T, databases ...string) *influxd {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "influxdb.conf", strings.ReplaceAll(influxConfig, "DIR", dir))
	cmd := exec.Command("influxd", "-config", filepath.Join(dir, "influxdb.conf"))
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start influxd, which make deps-test installs: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended does not matter
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("influxd did not end")
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	db := &influxd{t: t}
	listening := regexp.MustCompile(`msg="Listening on HTTP".* addr=([\d.]+):(\d+)`)
	err := eventually(func() error {
		m := listening.FindStringSubmatch(log.String())
		if m == nil {
			return fmt.Errorf("influxd does not listen:\n%s", log.String())
		}
		db.host, db.port = m[1], m[2]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db.query("", fmt.Sprintf("CREATE USER %s WITH PASSWORD '%s' WITH ALL PRIVILEGES", influxUser, influxPassword))
	for _, name := range databases {
		db.query("", "CREATE DATABASE "+name)
	}
	return db
}

// series is a series of the answer of InfluxDB's query API.
type series struct {
	Name    string
	Tags    map[string]string
	Columns []string
	Values  [][]any
}

// query asks a question; times in the answer are seconds.
func (db *influxd) query(database, q string) []series {
	db.t.Helper()
	response := db.post("/query", url.Values{"db": {database}, "q": {q}, "epoch": {"s"}}, "")
	defer response.Body.Close()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []series
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Error != "" || len(answer.Results) != 1 || answer.Results[0].Error != "" {
		db.t.Fatalf("%s: %s, %v, %+v", q, response.Status, err, answer)
	}
	return answer.Results[0].Series
}

// write writes lines.
func (db *influxd) write(database, lines string) {
	db.t.Helper()
	response := db.post("/write", url.Values{"db": {database}, "precision": {"s"}}, lines)
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		db.t.Fatal(response.Status)
	}
}

// post sends a request; its answer must be closed.
func (db *influxd) post(path string, parameters url.Values, body string) *http.Response {
	db.t.Helper()
	parameters.Set("u", influxUser)
	parameters.Set("p", influxPassword)
	ctx, cancel := context.WithTimeout(db.t.Context(), patience)
	db.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+db.host+":"+db.port+path+"?"+parameters.Encode(), strings.NewReader(body))
	if err != nil {
		db.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		db.t.Fatal(err)
	}
	return response
}

// holds waits until a question has this answer.
func (db *influxd) holds(database, q string, want []series) {
	db.t.Helper()
	err := eventually(func() error {
		if diff := cmp.Diff(want, db.query(database, q)); diff != "" {
			return fmt.Errorf("%s (-want +got):\n%s", q, diff)
		}
		return nil
	})
	if err != nil {
		db.t.Fatal(err)
	}
}

// lockedBuffer is written by a process that is looked at meanwhile.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
