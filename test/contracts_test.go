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
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/bbdo"
)

// These tests run the scripts of the published page about stream connectors, as they
// stand, in the binary, behind a session of a poller. make contracts starts them and
// says in WEIR_CONTRACT where the page is.

// page is the published page, and its blocks by language.
type page struct {
	t      *testing.T
	text   string
	blocks []block
}

type block struct{ language, text string }

func readPage(t *testing.T) *page {
	t.Helper()
	text, err := os.ReadFile(os.Getenv("WEIR_CONTRACT"))
	if err != nil {
		t.Fatalf("WEIR_CONTRACT must name the page: %v", err)
	}
	p := &page{t: t, text: string(text)}
	for _, m := range regexp.MustCompile("(?s)```(\\w+)\n(.*?)```").FindAllStringSubmatch(p.text, -1) {
		p.blocks = append(p.blocks, block{strings.ToLower(m[1]), m[2]})
	}
	return p
}

// lua is the n-th block of Lua, from 1 on; it must have this text, which says which one is meant.
func (p *page) lua(n int, has string) string {
	p.t.Helper()
	for _, b := range p.blocks {
		if b.language != "lua" {
			continue
		}
		if n--; n == 0 {
			if !strings.Contains(b.text, has) {
				p.t.Fatalf("the block does not have %q:\n%s", has, b.text)
			}
			return b.text
		}
	}
	p.t.Fatalf("the page has no block with %q at that place", has)
	return ""
}

// The blocks of the page, in its order. None is left out below.
func (p *page) logCall() string        { return p.lua(1, "broker_log:info(level, text)") }
func (p *page) logger() string         { return p.lua(2, `"Event received: "`) }
func (p *page) fileLogger() string     { return p.lua(3, "data_file = '") }
func (p *page) withParameters() string { return p.lua(4, "stored_parameters = {}") }
func (p *page) filtering() string      { return p.lua(5, "exit as soon as possible") }
func (p *page) hostName() string       { return p.lua(6, "broker_cache:get_host(host_id)") }
func (p *page) serviceName() string    { return p.lua(7, "broker_cache:get_service(host_id, service_id)") }
func (p *page) complete() string       { return p.lua(8, "broker_api_version = 2") }
func (p *page) socket() string         { return p.lua(9, "broker_tcp_socket.new()") }
func (p *page) queueTable() string     { return p.lua(10, `require("socket.http")`) }
func (p *page) queueNew() string       { return p.lua(11, "function event_queue:new") }
func (p *page) queueUse() string       { return p.lua(12, "queue:add(event)") }
func (p *page) queueAdd() string       { return p.lua(13, "function event_queue:add") }
func (p *page) queueFlush() string     { return p.lua(14, "function event_queue:flush") }
func (p *page) influxInit() string     { return p.lua(15, "stream-connector-influxdb.log") }
func (p *page) influxWrite() string    { return p.lua(16, "function write(e)") }
func (p *page) influxFiltered() string { return p.lua(17, "if not (category == 3") }

// There is no other.
func TestContractBlocks(t *testing.T) {
	n := 0
	for _, b := range readPage(t).blocks {
		if b.language == "lua" {
			n++
		}
	}
	if n != 17 {
		t.Errorf("the page has %d blocks of Lua, the tests know 17", n)
	}
}

// replaceWrite puts another write function in the place of that of a script, which
// is at its end.
func (p *page) replaceWrite(script, write string) string {
	p.t.Helper()
	before, _, ok := strings.Cut(script, "function write(")
	if !ok || !strings.HasPrefix(write, "function write(") {
		p.t.Fatal("no write function")
	}
	return before + write
}

// folder is where the scripts of the page write when no parameter says another
// place. They do it here, too: make creates the folder, and the files are removed
// after each test.
const folder = "/var/log/centreon-broker"

// fixedFiles lets one test at a time use the files in the folder. What is in a file
// before is not looked at and stays; a file that was not there is removed at the end.
func fixedFiles(t *testing.T, names ...string) (read func(name string) string) {
	t.Helper()
	dir, err := os.Open(folder)
	if err == nil {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX) // against the same test of another checkout
	}
	if err != nil {
		t.Fatalf("the page's scripts write to %s, which make deps-contracts creates: %v", folder, err)
	}
	before := make(map[string]int64)
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(folder, name)); err == nil {
			before[name] = info.Size()
		}
	}
	t.Cleanup(func() {
		for _, name := range names {
			if _, there := before[name]; !there {
				_ = os.Remove(filepath.Join(folder, name)) // it may not be there
			}
		}
		dir.Close()
	})
	return func(name string) string {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text[min(before[name], int64(len(text))):])
	}
}

// setting is how a script of the page is run.
type setting struct {
	script     string
	session    bbdo.Version   // of the poller
	generation string         // of the events the script gets
	categories []string       // the category filter of the output
	parameters map[string]any // what the user interface has for the script
}

var (
	session2 = bbdo.Version{Major: 2}
	session3 = bbdo.Version{Major: 3, Patch: 1}
)

// settings are the generations: a poller of its own generation, and a newer one in
// front of a script that looks for elements 14 and 24.
var settings = []setting{
	{session: session2, generation: "2.0.0"},
	{session: session3, generation: "3.0.1"},
	{session: session3, generation: "2.0.0"},
}

func (s *setting) String() string {
	return fmt.Sprintf("session %d.%d.%d, events of %s", s.session.Major, s.session.Minor, s.session.Patch, s.generation)
}

// start runs weir with the script as its only connector.
func (s *setting) start(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "script.lua", s.script)
	connector := map[string]any{"name": "page", "script": "script.lua", "bbdo_version": s.generation}
	if s.categories != nil {
		connector["categories"] = s.categories
	}
	if s.parameters != nil {
		connector["parameters"] = s.parameters
	}
	entry, err := json.Marshal(connector)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "weir.yaml", fmt.Sprintf(`
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
connectors: [%s]
`, entry))
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// deliver sends events in a session and returns when the script has acknowledged all of them.
func (s *setting) deliver(t *testing.T, p *process, events ...string) {
	t.Helper()
	session := connect(t, p, s.session)
	session.send(events...)
	session.stop()
	err := eventually(func() error {
		var now status
		if err := p.ask("/api/v1/status", &now); err != nil {
			return err
		}
		for _, account := range now.Ledger {
			if account.Component == "stream.connector.page" && account.Received >= int64(len(events)) && account.Buffered == 0 {
				return nil
			}
		}
		return fmt.Errorf("not everything is acknowledged: %+v", now)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
}

// stopped ends weir, which must not have logged an error. raised are those expected: each must be there.
func stopped(t *testing.T, p *process, raised ...string) {
	t.Helper()
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	log := p.log()
	for _, text := range raised {
		if !strings.Contains(log, text) {
			t.Errorf("the log does not have %q:\n%s", text, log)
		}
	}
	if len(raised) == 0 && strings.Contains(log, "level=ERROR") {
		t.Errorf("an error in the log:\n%s", log)
	}
}

// logLine is a line of broker_log in a file.
var logLine = regexp.MustCompile(`^(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}): (INFO|WARNING|ERROR): (.*)$`)

// messages are "SEVERITY: message" of each line of such a file.
func messages(t *testing.T, text string) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(text) {
		m := logLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("not a line of broker_log: %q", line)
		}
		if _, err := time.Parse(time.ANSIC, m[1]); err != nil {
			t.Fatal(err)
		}
		all = append(all, m[2]+": "+m[3])
	}
	return all
}

// objects reads one JSON object per line.
func objects(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(text) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		all = append(all, o)
	}
	return all
}

// What the page prints as results, and pollers send here.
type results struct {
	status     string              // the event of the log of the first script, as JSON
	checks     []map[string]any    // lines of the data file of the last one
	services   map[string]int      // their names to their numbers
	events     map[string][]string // by major version of the session
	hostStatus map[string]any      // the line of the host, of which the page has none
}

func (p *page) results() *results {
	p.t.Helper()
	_, after, ok := strings.Cut(p.text, "INFO: Event received: {")
	if !ok {
		p.t.Fatal("the page has no event in a log")
	}
	after, _, _ = strings.Cut(after, "\n")
	r := &results{status: "{" + after, services: make(map[string]int), events: make(map[string][]string)}
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
func (r *results) sent(s *setting) []string { return r.events[fmt.Sprint(s.session.Major)] }

// has checks that each event sent is among those written, with every member that
// was sent, and returns how many that are. Weir adds those it makes of checks.
func (r *results) has(t *testing.T, s *setting, written []map[string]any) {
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

// influx is the InfluxDB writer: its blocks, put together in the order of the page.
func (p *page) influx(write string) string {
	return p.queueTable() + "\n" + p.queueNew() + "\n" + p.queueAdd() + "\n" + p.queueFlush() + "\n" + p.influxInit() + "\n" + write
}

// influxParameters are those that the page lists.
func (db *influxd) influxParameters() map[string]any {
	return map[string]any{
		"http_server_address": db.host, "http_server_port": json.Number(db.port), "http_server_protocol": "http",
		"influx_database": "centreon", "influx_user": influxUser, "influx_password": influxPassword, "max_buffer_size": 5, "max_buffer_age": 3600,
	}
}

// measured are checks of two services with performance data, and one of a service that
// nobody has told the name of. Weir makes 3 metrics of each round.
func measured(s *setting, rounds int) []string {
	host, service, check := 12, 23, 24
	if s.session.Major == 3 {
		host, service, check = 30, 27, 29
	}
	all := []string{
		fmt.Sprintf(`{"category":1,"element":%d,"host_id":1,"name":"CENTREON","enabled":true}`, host),
		fmt.Sprintf(`{"category":1,"element":%d,"host_id":1,"service_id":2,"description":"Load avg","enabled":true}`, service),
	}
	for i := range rounds {
		all = append(all,
			fmt.Sprintf(`{"category":1,"element":%d,"checked":true,"host_id":1,"service_id":2,"last_check":%d,"output":"fine","perfdata":"'load 1'=%d.25;4;8;0 time=%dms"}`,
				check, 1700000000+60*i, i, 10*i),
			fmt.Sprintf(`{"category":1,"element":%d,"checked":true,"host_id":7,"service_id":8,"last_check":%d,"output":"fine","perfdata":"size=%dB"}`,
				check, 1700000001+60*i, 1024+i))
	}
	return all
}

// The InfluxDB writer with its queue sends metrics in bulk to a real server, which has every one.
func TestContractInfluxDB(t *testing.T) {
	page := readPage(t)
	const log = "stream-connector-influxdb.log"
	for _, s := range []setting{{session: session2, generation: "2.0.0"}, {session: session3, generation: "2.0.0"}} {
		t.Run(s.String(), func(t *testing.T) {
			db, read := startInfluxd(t, "centreon"), fixedFiles(t, log)
			s.script, s.categories, s.parameters = page.influx(page.influxWrite()), []string{"storage:metric"}, db.influxParameters()
			p := s.start(t)
			s.deliver(t, p, measured(&s, 50)...) // 150 metrics: 30 requests
			stopped(t, p)
			var named, unnamed [][]any
			for i := range 50 {
				named = append(named, []any{float64(1700000000 + 60*i), "CENTREON", float64(10 * i), float64(i) + 0.25})
				unnamed = append(unnamed, []any{float64(1700000001 + 60*i), "7", float64(1024 + i)})
			}
			db.holds("centreon", "SELECT host, _time, load_1 FROM Load_avg", []series{{Name: "Load_avg", Columns: []string{"time", "host", "_time", "load_1"}, Values: named}})
			db.holds("centreon", `SELECT host, size FROM "8"`, []series{{Name: "8", Columns: []string{"time", "host", "size"}, Values: unnamed}})
			db.holds("centreon", "SELECT sum(load_1), count(load_1) FROM Load_avg GROUP BY host", []series{
				{Name: "Load_avg", Tags: map[string]string{"host": "CENTREON"}, Columns: []string{"time", "sum", "count"}, Values: [][]any{{0.0, 49*25 + 12.5, 50.0}}},
			})
			text := read(log)
			for _, want := range []string{"INFO: event_queue:new: getting parameter max_buffer_size => 5\n",
				"WARNING: event_queue:add: host_name for id 7 not found. Restarting centengine should fix this.\n",
				"WARNING: event_queue:add: service_description for id 7.8 not found. Restarting centengine should fix this.\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("the log does not have %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "ERROR") {
				t.Errorf("errors in the log:\n%s", text)
			}
		})
	}

	// What is left in the queue goes at the next event after max_buffer_age.
	t.Run("age", func(t *testing.T) {
		db := startInfluxd(t, "centreon")
		fixedFiles(t, log)
		s := setting{session: session2, generation: "2.0.0", script: page.influx(page.influxWrite()), categories: []string{"storage:metric"}, parameters: db.influxParameters()}
		s.parameters["max_buffer_size"], s.parameters["max_buffer_age"] = 5000, 0
		p := s.start(t)
		s.deliver(t, p, measured(&s, 1)...)
		stopped(t, p)
		db.holds("centreon", `SELECT "size" FROM "8"`, []series{{Name: "8", Columns: []string{"time", "size"}, Values: [][]any{{1700000001.0, 1024.0}}}})
	})

	// When the server refuses, the log says it.
	t.Run("wrong password", func(t *testing.T) {
		db, read := startInfluxd(t, "centreon"), fixedFiles(t, log)
		s := setting{session: session2, generation: "2.0.0", script: page.influx(page.influxWrite()), categories: []string{"storage:metric"}, parameters: db.influxParameters()}
		s.parameters["influx_password"] = "wrong"
		p := s.start(t)
		s.deliver(t, p, measured(&s, 2)...)
		stopped(t, p)
		db.holds("centreon", "SELECT * FROM /.*/", nil)
		for _, want := range []string{"ERROR: event_queue:flush: HTTP POST request FAILED: return code is 401\n",
			`ERROR: event_queue:flush: HTTP POST request FAILED: message line 1 is "{"error":"authorization failed"}`} {
			if text := read(log); !strings.Contains(text, want) {
				t.Errorf("the log does not have %q:\n%s", want, text)
			}
		}
	})

	// The metric of the third generation has a time and no ctime, which the script
	// needs: it raises, at the line that adds it to its queue.
	t.Run("third generation", func(t *testing.T) {
		db := startInfluxd(t, "centreon")
		fixedFiles(t, log)
		s := setting{session: session3, generation: "3.0.1", script: page.influx(page.influxWrite()), categories: []string{"storage:pb_metric"}, parameters: db.influxParameters()}
		p := s.start(t)
		session := connect(t, p, s.session)
		session.send(measured(&s, 5)...)
		session.stop()
		if err := p.waitLog(`script\.lua:\d+: attempt to concatenate field 'ctime' \(a nil value\)`); err != nil {
			t.Fatal(err)
		}
		stopped(t, p, "attempt to concatenate field 'ctime'")
		db.holds("centreon", "SELECT * FROM /.*/", nil)
	})

	// The last block, meant to let only metrics pass, asks for the variables category
	// and element, which nobody has set: it skips every event, and all are acknowledged.
	t.Run("filter", func(t *testing.T) {
		db, read := startInfluxd(t, "centreon"), fixedFiles(t, log)
		s := setting{session: session2, generation: "2.0.0", script: page.influx(page.influxFiltered()), parameters: db.influxParameters()}
		p := s.start(t)
		s.deliver(t, p, measured(&s, 50)...)
		stopped(t, p)
		db.holds("centreon", "SELECT * FROM /.*/", nil)
		if text := read(log); strings.Contains(text, "event_queue:add") || strings.Contains(text, "event_queue:flush") {
			t.Errorf("something was added to the queue:\n%s", text)
		}
	})

	// The block that shows how the queue is used runs inside a write function: a queue
	// per event, and one request each.
	t.Run("use of the queue", func(t *testing.T) {
		db := startInfluxd(t, "centreon")
		fixedFiles(t, log)
		write := "local conf\nlocal begin = init\nfunction init(c)\n  conf = c\n  begin(c)\nend\nfunction write(event)\n" + page.queueUse() + "  return true\nend\n"
		s := setting{session: session2, generation: "2.0.0", script: page.influx(write), categories: []string{"storage:metric"}, parameters: db.influxParameters()}
		p := s.start(t)
		s.deliver(t, p, measured(&s, 2)...)
		stopped(t, p)
		db.holds("centreon", `SELECT "size" FROM "8"`, []series{{Name: "8", Columns: []string{"time", "size"}, Values: [][]any{{1700000001.0, 1024.0}, {1700000061.0, 1025.0}}}})
	})
}
