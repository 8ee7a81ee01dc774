package test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/event"
)

const connectorConfig = `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
connectors:
  - name: file
    script: file-logger.lua
    parameters: {data_file: events.json, log_file: file.log, log_level: 3, batch: 50}
`

// copyExample puts an example where the configuration of a test finds it.
func copyExample(t *testing.T, dir, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", "connectors", name))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, name, string(text))
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// bbdoAddress is where pollers connect to.
func (p *process) bbdoAddress() string {
	m := regexp.MustCompile(`(?m)msg=ready .*\bbbdo=tcp://(\S+)`).FindStringSubmatch(p.log())
	if m == nil {
		return ""
	}
	return m[1]
}

// poller is a connection of a poller.
type poller struct {
	*bbdo.Client
	t    *testing.T
	sent int64
}

func connect(t *testing.T, p *process, version bbdo.Version) *poller {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := bbdo.Connect(ctx, p.bbdoAddress(), bbdo.ClientConfig{
		Identity: bbdo.Identity{PollerID: 3, PollerName: "Lyon", BrokerName: "Lyon-module", PeerType: bbdo.Engine}, Version: version,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &poller{Client: c, t: t}
}

// send sends events given as JSON.
func (p *poller) send(objects ...string) {
	p.t.Helper()
	list := make([]event.Event, len(objects))
	for i, o := range objects {
		e, err := event.ParseJSON([]byte(o))
		if err != nil {
			p.t.Fatal(err)
		}
		e.Source = 3
		list[i] = e
	}
	if err := p.Send(list...); err != nil {
		p.t.Fatal(err)
	}
	p.sent += int64(len(list))
}

// stop ends the session: what was sent is acknowledged then.
func (p *poller) stop() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		p.t.Fatal(err)
	}
	if n, _ := p.Acknowledged(); n != p.sent {
		p.t.Fatalf("acknowledged %d of %d events", n, p.sent)
	}
}

// checkTime is when the first check was made.
var checkTime = time.Now().Unix() - 3600

// checks are statuses of checks, from number first on; the number is in the output.
func checks(first, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"category":1,"element":29,"host_id":1,"service_id":2,"checked":true,"last_check":%d,"output":"number %d","perfdata":"load=%d.5;10;20"}`,
			checkTime+int64(i), first+i, i)
	}
	return list
}

var configuration = []string{
	`{"category":1,"element":30,"host_id":1,"name":"alpha","enabled":true,"instance_id":3}`,
	`{"category":1,"element":27,"host_id":1,"service_id":2,"description":"load","host_name":"alpha","enabled":true}`,
}

// logged is a line of the file logger.
type logged struct {
	Type               int64 `json:"_type"`
	Output, Name       string
	Value              float64
	HostName           string `json:"host_name"`
	ServiceDescription string `json:"service_description"`
}

// readLogged returns the lines of a file, none when it is not there.
func readLogged(t *testing.T, path string) iter.Seq[logged] {
	t.Helper()
	return func(yield func(logged) bool) {
		file, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		torn := 0
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var l logged
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				if torn++; torn > 2 { // kill -9 tears the line that is being written, and its event comes again
					t.Fatalf("%v: %s", err, lines.Text())
				}
				continue
			}
			if !yield(l) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// delivered waits until the file has every check below n, each with its names, and
// returns how many lines of checks there are.
func delivered(t *testing.T, path string, n int) (lines int) {
	t.Helper()
	err := eventually(func() error {
		seen := make([]bool, n)
		lines = 0
		for l := range readLogged(t, path) {
			if l.Type != 65565 {
				continue
			}
			lines++
			if i, err := strconv.Atoi(strings.TrimPrefix(l.Output, "number ")); err == nil && i < n {
				seen[i] = true
			}
			if l.HostName != "alpha" || l.ServiceDescription != "load" {
				t.Fatalf("without names: %+v", l)
			}
		}
		if i := slices.Index(seen, false); i >= 0 {
			return fmt.Errorf("\"number %d\" is missing, %d lines are there for %d", i, lines, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// A poller's events reach a script, with names and metrics, and survive kill -9 of
// the script and of the daemon.
func TestConnector(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", connectorConfig)
	copyExample(t, dir, "file-logger.lua")
	data := filepath.Join(dir, "events.json")
	start := func() *process {
		t.Helper()
		p, err := run(dir, environment(), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		return p
	}
	p := start()
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(configuration...)
	session.send(checks(0, 1000)...)
	session.stop()
	if n := delivered(t, data, 1000); n != 1000 {
		t.Errorf("%d lines for 1000 events", n)
	}
	metrics := 0
	for l := range readLogged(t, data) {
		if l.Type == 196617 && l.Name == "load" && l.HostName == "alpha" {
			metrics++
		}
	}
	if metrics != 1000 {
		t.Errorf("%d metrics for 1000 checks", metrics)
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}

	// The script's process is killed: another one goes on.
	pid := p.scriptPID(t, "file")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	session = connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(checks(1000, 500)...)
	session.stop()
	if n := delivered(t, data, 1500); n > 1500+50 {
		t.Errorf("%d lines for 1500 events: more than a batch came again", n)
	}
	if again := p.scriptPID(t, "file"); again == pid {
		t.Error("the process is the same")
	}

	// The daemon is killed right after it acknowledged.
	session = connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(checks(1500, 2000)...)
	session.stop()
	if _, err := p.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p = start()
	delivered(t, data, 3500)
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Errorf("exit code %d, %v\n%s", code, err, p.log())
	}
	if log := p.log(); strings.Contains(log, "panic") || strings.Contains(log, "BUG") {
		t.Error(log)
	}
}

// settled waits until a connector has acknowledged all events there are, at least n.
func (p *process) settled(connector string, n int) error {
	return eventually(func() error {
		var now status
		if err := p.ask("/api/v1/status", &now); err != nil {
			return err
		}
		for _, account := range now.Ledger {
			if account.Component == "stream.connector."+connector && account.Received >= int64(n) && account.Buffered == 0 {
				return nil
			}
		}
		return fmt.Errorf("not everything is acknowledged: %+v", now)
	})
}

// scriptPID waits until a script runs and returns its process.
func (p *process) scriptPID(t *testing.T, name string) (pid int) {
	t.Helper()
	err := eventually(func() error {
		var answer struct {
			Scripts []struct {
				Name, State string
				PID         int
			}
		}
		if err := p.ask("/api/v1/scripts", &answer); err != nil {
			return err
		}
		for _, s := range answer.Scripts {
			if s.Name == name && s.State == "running" {
				pid = s.PID
				return nil
			}
		}
		return fmt.Errorf("script %q does not run: %+v", name, answer)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	return pid
}

// A stop is in order although the script waits for a peer that does not answer: what it waits for ends with an
// error, and what it has not acknowledged comes again.
func TestStopBesideSilentPeer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	requests := make(chan string, 100)
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			go func() {
				request := make([]byte, 4<<10)
				n, _ := conn.Read(request)
				requests <- string(request[:n])
				_, _ = io.Copy(io.Discard, conn) // until the script gives up
				conn.Close()
			}()
		}
	}()
	asked := func(text string) {
		t.Helper()
		for {
			select {
			case request := <-requests:
				if strings.HasSuffix(request, text) {
					return
				}
			case <-time.After(patience):
				t.Fatalf("the script did not send %q", text)
			}
		}
	}
	dir := t.TempDir()
	writeFile(t, dir, "asks.lua", `
local curl = require "cURL"
function init(conf) address = conf.address end
function write(e)
  if e.element ~= 29 then return true end
  curl.easy{ url = address, postfields = e.output }:perform()
  return true
end`)
	writeFile(t, dir, "weir.yaml", fmt.Sprintf(`
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
connectors: [{name: asks, script: asks.lua, categories: [neb], parameters: {address: "http://%s"}}]
`, silent.Addr()))
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(checks(0, 2)...)
	asked("number 0")
	session.stop()
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("exit code %d, %v\n%s", code, err, p.log())
	}
	log := p.log()
	if !strings.Contains(log, "asks.lua:6: ") || strings.Contains(log, "killed") || strings.Contains(log, "did not stop in order") {
		t.Error(log)
	}

	p, err = run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	asked("number 0")
}
