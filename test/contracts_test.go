//go:build contracts

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

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
	if err := p.settled("page", len(events)); err != nil {
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
