//go:build contracts

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the page prints as results, and pollers send here.
type pageResults struct {
	status     string              // the event of the log of the first script, as JSON
	checks     []map[string]any    // lines of the data file of the last one
	services   map[string]int      // their names to their numbers
	events     map[string][]string // by major version of the session
	hostStatus map[string]any      // the line of the host, of which the page has none
}

func (p *page) results() *pageResults {
	p.t.Helper()
	_, after, ok := strings.Cut(p.text, "INFO: Event received: {")
	if !ok {
		p.t.Fatal("the page has no event in a log")
	}
	after, _, _ = strings.Cut(after, "\n")
	r := &pageResults{status: "{" + after, services: make(map[string]int), events: make(map[string][]string)}
	for _, b := range p.blocks {
		if b.language == "json" && strings.HasPrefix(b.text, `{"message":`) {
			r.checks = objects(p.t, b.text)
		}
	}
	if len(r.checks) == 0 {
		p.t.Fatal("the page has no lines of the data file")
	}
	old := []string{r.status, `{"category":1,"element":12,"host_id":1,"name":"CENTREON","enabled":true,"instance_id":1}`}
	now := []string{strings.NewReplacer(`"_type":65552`, `"_type":65578`, `"element":16`, `"element":42`).Replace(r.status),
		`{"category":1,"element":30,"host_id":1,"name":"CENTREON","enabled":true,"instance_id":1}`}
	for i, check := range r.checks {
		name := check["service"].(string)
		r.services[name] = 10 + i
		old = append(old, fmt.Sprintf(`{"category":1,"element":23,"host_id":1,"service_id":%d,"description":%q,"enabled":true}`, 10+i, name))
		now = append(now, fmt.Sprintf(`{"category":1,"element":27,"host_id":1,"service_id":%d,"description":%q,"enabled":true}`, 10+i, name))
	}
	for i, check := range r.checks {
		output := strings.TrimSuffix(check["message"].(string), "\n")
		fields := fmt.Sprintf(`"host_id":1,"service_id":%d,"state":%v,"state_type":%v`, 10+i, check["state"], check["state_type"])
		old = append(old, fmt.Sprintf(`{"category":1,"element":24,%s,"output":%q}`, fields, output+"\n"))
		now = append(now, fmt.Sprintf(`{"category":1,"element":29,%s,"output":%q}`, fields, output))
	}
	old = append(old, `{"category":1,"element":14,"host_id":1,"state":0,"state_type":1,"output":"OK - 127.0.0.1 rta 0.02ms\n"}`)
	now = append(now, `{"category":1,"element":32,"host_id":1,"state":0,"state_type":1,"output":"OK - 127.0.0.1 rta 0.02ms"}`)
	r.events["2"], r.events["3"] = old, now
	r.hostStatus = map[string]any{"host": "CENTREON", "service": "HOST", "message": "OK - 127.0.0.1 rta 0.02ms\n", "state": 0.0, "state_type": 1.0}
	return r
}

// sent are the events of a session.
func (r *pageResults) sent(s *setting) []string { return r.events[fmt.Sprint(s.session.Major)] }

// has checks that each event sent is among those written, with every member that
// was sent, and returns how many that are. Weir adds those it makes of checks.
func (r *pageResults) has(t *testing.T, s *setting, written []map[string]any) {
	t.Helper()
	events := r.events[s.generation[:1]] // as the script sees them
	next := 0
	for _, w := range written {
		if w["category"] == 3.0 {
			continue
		}
		if next == len(events) {
			t.Fatalf("more than was sent: %v", w)
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(events[next]), &want); err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if !cmp.Equal(w[name], value) {
				t.Errorf("%s is %v, want %v in %v", name, w[name], value, w)
			}
		}
		if kind := w["category"].(float64)*65536 + w["element"].(float64); w["_type"] != kind {
			t.Errorf("_type is %v, want %v", w["_type"], kind)
		}
		next++
	}
	if next != len(events) {
		t.Errorf("%d of %d events were written", next, len(events))
	}
}

// Stage 1 writes each event into the log, at a fixed place.
func TestContractLogger(t *testing.T) {
	page := readPage(t)
	r := page.results()
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			read := fixedFiles(t, "bbdo2file.log")
			s.script = page.logger()
			p := s.start(t)
			s.deliver(t, p, r.sent(&s)...)
			stopped(t, p)
			var written strings.Builder
			for _, m := range messages(t, read("bbdo2file.log")) {
				object, ok := strings.CutPrefix(m, "INFO: Event received: ")
				if !ok {
					t.Fatalf("line %q", m)
				}
				written.WriteString(object + "\n")
			}
			r.has(t, &s, objects(t, written.String()))
			if s.generation == "2.0.0" { // the very line of the page
				var want map[string]any
				if err := json.Unmarshal([]byte(r.status), &want); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, objects(t, written.String())[0]); diff != "" {
					t.Errorf("(-page +got):\n%s", diff)
				}
			}
		})
	}
}

// Stage 2 writes events into a file and a message for each into the log, both at a fixed place.
func TestContractFileLogger(t *testing.T) {
	page := readPage(t)
	r := page.results()
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			read := fixedFiles(t, "bbdo2file.log", "bbdo2file.data")
			s.script = page.fileLogger()
			p := s.start(t)
			s.deliver(t, p, r.sent(&s)...)
			stopped(t, p)
			written := objects(t, read("bbdo2file.data"))
			r.has(t, &s, written)
			received(t, messages(t, read("bbdo2file.log")), written)
		})
	}
}

// received checks that the log has the message of the page for each event.
func received(t *testing.T, log []string, written []map[string]any) {
	t.Helper()
	var want []string
	for _, w := range written {
		want = append(want, fmt.Sprintf("INFO: Event received of category %v and element %v.", w["category"], w["element"]))
	}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Stage 3 takes places and level from parameters, or the ones of before.
func TestContractParameters(t *testing.T) {
	page := readPage(t)
	r := page.results()
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			s.script = page.withParameters()
			dir := t.TempDir()
			s.parameters = map[string]any{"dataFile": filepath.Join(dir, "data"), "logFile": filepath.Join(dir, "log"), "logLevel": 2}
			p := s.start(t)
			s.deliver(t, p, r.sent(&s)...)
			stopped(t, p)
			written := objects(t, contents(t, dir, "data"))
			r.has(t, &s, written)
			log := messages(t, contents(t, dir, "log"))
			if len(log) < 4 || log[0] != "INFO: init: Starting BBDO2FILE StreamConnector (log level: 2)" ||
				!strings.Contains(strings.Join(log[1:4], "\n"), "INFO: New parameter: dataFile has "+filepath.Join(dir, "data")+" for value.") {
				t.Fatalf("log: %q", log)
			}
			received(t, log[4:], written)
		})
		t.Run(s.String()+", without parameters", func(t *testing.T) {
			read := fixedFiles(t, "bbdo2file.log", "bbdo2file.data")
			s.script, s.parameters = page.withParameters(), nil
			p := s.start(t)
			s.deliver(t, p, r.sent(&s)...)
			stopped(t, p)
			r.has(t, &s, objects(t, read("bbdo2file.data")))
			want := []string{"INFO: init: Starting BBDO2FILE StreamConnector (log level: 1)"} // other messages are of level 2
			if diff := cmp.Diff(want, messages(t, read("bbdo2file.log"))); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func contents(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Stage 4 is a write function for stage 3 that lets statuses of hosts and services
// pass, by their numbers in the second generation. Events of the third have others:
// then nothing is written, as the text says.
func TestContractFiltering(t *testing.T) {
	page := readPage(t)
	r := page.results()
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			s.script = page.replaceWrite(page.withParameters(), page.filtering())
			dir := t.TempDir()
			s.parameters = map[string]any{"dataFile": filepath.Join(dir, "data"), "logFile": filepath.Join(dir, "log"), "logLevel": 2}
			p := s.start(t)
			s.deliver(t, p, r.sent(&s)...)
			stopped(t, p)
			log := messages(t, contents(t, dir, "log"))[4:]
			if s.generation != "2.0.0" {
				if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) || len(log) > 0 {
					t.Errorf("something was written: %v, %q", err, log)
				}
				return
			}
			written := objects(t, contents(t, dir, "data"))
			received(t, log, written)
			if len(written) != len(r.checks)+1 {
				t.Fatalf("%d events, want %d statuses", len(written), len(r.checks)+1)
			}
			for i, check := range r.checks {
				if w := written[i]; w["element"] != 24.0 || w["output"] != check["message"] || w["service_id"] != float64(r.services[check["service"].(string)]) {
					t.Errorf("event %d is %v", i, w)
				}
			}
			if w := written[len(r.checks)]; w["element"] != 14.0 {
				t.Errorf("the last event is %v", w)
			}
		})
	}
}

// Stage 5, the complete script, writes the lines that the page shows.
func TestContractComplete(t *testing.T) {
	page := readPage(t)
	r := page.results()
	want := append(append([]map[string]any(nil), r.checks...), r.hostStatus)
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			read := fixedFiles(t, "bbdo2file.log", "bbdo2file.data")
			s.script = page.complete()
			s.parameters = map[string]any{"logLevel": 2}
			p := s.start(t)
			s.deliver(t, p, r.sent(&s)...)
			stopped(t, p)
			log, written := messages(t, read("bbdo2file.log")), objects(t, read("bbdo2file.data"))
			if s.generation != "2.0.0" { // it looks for elements 14 and 24
				if len(written) > 0 || len(log) != 2 {
					t.Errorf("something was written: %v, %q", written, log)
				}
				return
			}
			if diff := cmp.Diff(want, written); diff != "" {
				t.Errorf("(-page +got):\n%s", diff)
			}
			wantLog := []string{"INFO: init: Starting BBDO2FILE StreamConnector (log level: 2)", "INFO: New parameter: logLevel has 2 for value."}
			for _, w := range want {
				wantLog = append(wantLog, fmt.Sprintf("INFO: Event received for host CENTREON and service %s.", w["service"]))
			}
			if diff := cmp.Diff(wantLog, log); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
	// Before pollers have sent their configuration there are no names: the numbers take their place.
	s := setting{session: session2, generation: "2.0.0", script: page.complete()}
	dir := t.TempDir()
	s.parameters = map[string]any{"dataFile": filepath.Join(dir, "data"), "logFile": filepath.Join(dir, "log"), "logLevel": 2}
	p := s.start(t)
	s.deliver(t, p, `{"category":1,"element":24,"host_id":7,"service_id":8,"state":2,"state_type":1,"output":"down"}`)
	stopped(t, p)
	unnamed := []map[string]any{{"host": 7.0, "service": 8.0, "message": "down", "state": 2.0, "state_type": 1.0}}
	if diff := cmp.Diff(unnamed, objects(t, contents(t, dir, "data"))); diff != "" {
		t.Errorf("without names (-want +got):\n%s", diff)
	}
	for _, want := range []string{"WARNING: No host name found in cache for host_id 7\n", "WARNING: No service description found in cache for host_id/service_id 7/8\n"} {
		if log := contents(t, dir, "log"); !strings.Contains(log, want) {
			t.Errorf("the log does not have %q:\n%s", want, log)
		}
	}
}

// Blocks that are no scripts but show a call use names the text has explained. Each
// runs as it stands inside a script that gives these names a value.
func TestContractCalls(t *testing.T) {
	page := readPage(t)
	r := page.results()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	heard := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		text := make([]byte, len("This is a text to send"))
		_, _ = io.ReadFull(conn, text) // the test compares the text
		_, _ = conn.Write([]byte("This is the answer"))
		rest, _ := io.ReadAll(conn) // the end, when the script closes
		heard <- string(text) + string(rest)
	}()
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := setting{session: session2, generation: "2.0.0"}
	dir := t.TempDir()
	s.parameters = map[string]any{"log": filepath.Join(dir, "log"), "address": host, "port": json.Number(port)}
	s.script = `broker_api_version = 2
function init(conf)
  broker_log:set_parameters(3, conf.log)
  local level, text = 3, "a text"
` + page.logCall() + `
  local address, port = conf.address, conf.port
` + page.socket() + `
  broker_log:info(1, "read: " .. content)
end
function write(d)
  if d.element ~= 24 then
    return true
  end
  local host_id, service_id = d.host_id, d.service_id
` + page.hostName() + page.serviceName() + `
  broker_log:info(1, host_name .. "/" .. service_description)
  return true
end
`
	p := s.start(t)
	s.deliver(t, p, r.sent(&s)...)
	stopped(t, p)
	want := []string{"INFO: a text", "INFO: read: This is the answer"}
	for _, check := range r.checks {
		want = append(want, fmt.Sprintf("INFO: CENTREON/%s", check["service"]))
	}
	if diff := cmp.Diff(want, messages(t, contents(t, dir, "log"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	select {
	case got := <-heard:
		if got != "This is a text to send" {
			t.Errorf("the server heard %q", got)
		}
	case <-time.After(patience):
		t.Error("the server heard nothing")
	}

	// Alone it is not a connector, and the log says why and where.
	s = setting{session: session2, generation: "2.0.0", script: page.hostName()}
	p = s.start(t)
	const missing = "script.lua:1: bad argument #1 to 'get_host' (number expected, got nil)"
	if err := p.waitLog(regexp.QuoteMeta(missing)); err != nil {
		t.Error(err)
	}
	stopped(t, p, missing)
}
