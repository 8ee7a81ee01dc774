package connector

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
)

// recorder is an Output that keeps everything.
type recorder struct {
	lines  []string
	errors []string
	acked  []uint64
}

func (r *recorder) Log(level slog.Level, text string) {
	r.lines = append(r.lines, level.String()+" "+text)
}
func (r *recorder) Error(err error)            { r.errors = append(r.errors, err.Error()) }
func (r *recorder) Begin(string)               {}
func (r *recorder) Acknowledge(through uint64) { r.acked = append(r.acked, through) }

// last is the last event that was acknowledged.
func (r *recorder) last() uint64 {
	if len(r.acked) == 0 {
		return 0
	}
	return r.acked[len(r.acked)-1]
}

// write makes a script file with this text.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "connector.lua")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a script with this text; change may be nil.
func load(t *testing.T, text string, change func(*Setup)) (*Script, *recorder) {
	t.Helper()
	setup := Setup{Name: "test", Script: write(t, text), BBDO: "3.0.1", Queue: 10000, Call: 10 * time.Second}
	if change != nil {
		change(&setup)
	}
	r := new(recorder)
	s, err := Load(setup, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, r
}

// events encodes JSON objects as a batch.
func events(t testing.TB, objects ...string) []byte {
	t.Helper()
	var batch []byte
	for _, o := range objects {
		e, err := event.ParseJSON([]byte(o))
		if err != nil {
			t.Fatal(err)
		}
		batch = event.AppendBatch(batch, []event.Event{e})
	}
	return batch
}

// statuses are n protobuf service statuses of host 1, with service numbers from 1.
func statuses(t testing.TB, n int) []byte {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"category":1,"element":29,"host_id":1,"service_id":%d,"output":"o"}`, i+1)
	}
	return events(t, list...)
}

func deliver(t *testing.T, s *Script, first uint64, batch []byte) {
	t.Helper()
	if err := s.Deliver(first, batch); err != nil {
		t.Fatal(err)
	}
}

// result runs a Lua expression in the script's state and returns its value.
func result(t *testing.T, s *Script, expression string) any {
	t.Helper()
	values, err := s.vm.DoString("=test", "return "+expression)
	if err != nil {
		t.Fatal(err)
	}
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

func TestLoadOrder(t *testing.T) {
	s, r := load(t, `
calls = {"chunk"}
local function note(s) calls[#calls + 1] = s end
function filter(c, e) note("filter " .. c .. " " .. e) return true end
function init(conf) note("init " .. type(conf)) end
function write(d) note("write " .. d.element) return true end`, nil)
	deliver(t, s, 1, statuses(t, 1))
	want := "chunk|filter 1 2|init table|filter 1 29|write 29"
	if got := result(t, s, `table.concat(calls, "|")`); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(r.errors) > 0 {
		t.Error(r.errors)
	}
}

func TestResultsOfWrite(t *testing.T) {
	s, r := load(t, `
local results = {false, "raise", nil, 1, true}
local n = 0
function init() end
function write(d)
  n = n + 1
  if n == 2 then error("no") end
  return results[n]
end`, nil)
	deliver(t, s, 1, statuses(t, 4))
	if r.last() != 0 {
		t.Errorf("acknowledged %v before write returned true", r.acked)
	}
	deliver(t, s, 5, statuses(t, 1))
	if r.last() != 5 {
		t.Errorf("acknowledged %v, want 5", r.acked)
	}
	if len(r.errors) != 3 || !strings.Contains(r.errors[0], "connector.lua:7: no (event neb:ServiceStatus (1:29))") ||
		!strings.Contains(r.errors[1], "must return a boolean") {
		t.Errorf("errors: %q", r.errors)
	}
}

func TestCounting(t *testing.T) { // the example of 1.5
	s, r := load(t, `
local n = 0
function init() end
function filter(c, e) return e ~= 32 end
function write(d)
  n = n + 1
  if n == 2 then error("no") end
  return n == 3
end`, nil)
	status := `{"category":1,"element":29,"host_id":1,"service_id":1}`
	deliver(t, s, 1, events(t, status, `{"category":1,"element":32,"host_id":1}`, status, status, status))
	if r.last() != 4 || s.pending != 1 {
		t.Errorf("acknowledged %v, %d pending, want 4 and 1", r.acked, s.pending)
	}
}

func TestFilteredBacklog(t *testing.T) {
	s, r := load(t, `
function init() end
function filter() return false end
function write(d) error("called") end`, func(s *Setup) { s.Queue = 10 })
	deliver(t, s, 1, statuses(t, 100))
	if r.last() != 100 || len(r.errors) > 0 {
		t.Errorf("acknowledged %v, errors %q, want all 100 and none", r.acked, r.errors)
	}
}

func TestQueueLimit(t *testing.T) {
	s, r := load(t, `
writes, flushes, safe = 0, 0, false
function init() end
function write(d) writes = writes + 1 return false end
function flush() flushes = flushes + 1 return safe end`, func(s *Setup) { s.Queue = 10 })
	deliver(t, s, 1, statuses(t, 30))
	check := func(writes, flushes int64, acked uint64) {
		t.Helper()
		if w, f := result(t, s, "writes"), result(t, s, "flushes"); w != writes || f != flushes || r.last() != acked {
			t.Fatalf("%v writes, %v flushes, acknowledged %d; want %d, %d, %d", w, f, r.last(), writes, flushes, acked)
		}
	}
	check(10, 0, 0)
	flush := func() {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	flush()
	check(10, 2, 0)
	result(t, s, "(function() safe = true end)()")
	flush()
	check(20, 3, 10)
	flush()
	check(30, 4, 20)
}

func TestCategoryFilter(t *testing.T) {
	s, r := load(t, `
seen = {}
function init() end
function write(d) seen[#seen + 1] = broker_cache:get_hostname(d.host_id) return true end`, func(s *Setup) { s.Categories = []string{"neb:ServiceStatus", "nonsense"} })
	deliver(t, s, 1, events(t, `{"category":1,"element":30,"host_id":1,"name":"alpha","enabled":true}`, `{"category":1,"element":29,"host_id":1,"service_id":2}`,
		`{"category":1,"element":30,"host_id":1,"name":"beta","enabled":true}`))
	if got := result(t, s, `table.concat(seen, ",")`); got != "alpha" || r.last() != 3 {
		t.Errorf("seen %q, acknowledged %v", got, r.acked)
	}
	if len(r.lines) == 0 || !strings.Contains(r.lines[0], "nonsense") {
		t.Errorf("log: %q", r.lines)
	}
}

func TestVersions(t *testing.T) {
	body := `
function init() end
function write(d)
  kind = type(d)
  ok = pcall(function() d.extra = 1 end)
  keys = {}
  for k in pairs(d) do keys[#keys + 1] = k end
  return true
end`
	f := func(version, kind string, writable bool, errors int) *Script {
		t.Helper()
		s, r := load(t, version+body, nil)
		deliver(t, s, 1, events(t, `{"category":1,"element":56,"host_id":1,"notification_number":9}`))
		if got := result(t, s, "kind"); got != kind {
			t.Errorf("%q: type %v, want %v", version, got, kind)
		}
		if got := result(t, s, "ok"); got != writable {
			t.Errorf("%q: writable %v, want %v", version, got, writable)
		}
		if len(r.errors) != errors {
			t.Errorf("%q: errors %q", version, r.errors)
		}
		return s
	}
	f("", "table", true, 0)
	f("broker_api_version = 1", "table", true, 0)
	f("broker_api_version = '2'", "userdata", false, 0)
	f("broker_api_version = 3", "table", true, 1)
	f("broker_api_version = {}", "table", true, 1)
	s := f("broker_api_version = 2", "userdata", false, 0)
	if got := result(t, s, `table.concat(keys, " ")`); got != "_type category element host_id notification_number" {
		t.Errorf("keys: %v", got)
	}
	s, _ = load(t, `broker_api_version = 2
function init() end
function write(d) n = 0 for k in pairs(d) do n = n + 1 end return true end`, func(s *Setup) { s.BBDO = "2.0.0" })
	for element, want := range map[int]int64{23: 83, 1: 15} {
		deliver(t, s, s.next+1, events(t, fmt.Sprintf(`{"category":1,"element":%d}`, element)))
		if got := result(t, s, "n"); got != want {
			t.Errorf("1:%d has %v keys, want %d", element, got, want)
		}
	}
}

func TestGenerations(t *testing.T) {
	body := `
seen = {}
function init() end
function write(d) seen[#seen + 1] = d.element .. " " .. tostring(d.last_check) .. " " .. tostring(d.check_command) return true end`
	batch := events(t, `{"category":1,"element":27,"host_id":1,"service_id":2,"enabled":true,"check_command":"ping"}`,
		`{"category":1,"element":29,"host_id":1,"service_id":2}`, `{"category":1,"element":24,"host_id":1,"service_id":2}`,
		`{"category":1,"element":55,"host_id":1,"service_id":2}`)
	f := func(version, want string) {
		t.Helper()
		s, r := load(t, body, func(s *Setup) { s.BBDO = version })
		deliver(t, s, 1, batch)
		if diff := cmp.Diff(want, result(t, s, `table.concat(seen, "|")`)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
		if r.last() != 4 {
			t.Errorf("%s: acknowledged %v", version, r.acked)
		}
		if got := result(t, s, "broker.bbdo_version()"); got != version {
			t.Errorf("version %v, want %v", got, version)
		}
	}
	f("3.0.1", "27 0 ping|29 0 nil|29 0 nil|55 nil nil")
	f("2.0.0", "23 nil ping|24 nil ping|24 nil ")
}

func TestParameters(t *testing.T) {
	s, _ := load(t, `function init(c) conf = c end
function write() return true end`, func(s *Setup) {
		for _, text := range []string{"port=8857", "ratio=3.1415926535898", "name=x=y", "hex=0x10", "port=1"} {
			p, err := ParseParameter(text)
			if err != nil {
				t.Fatal(err)
			}
			s.Parameters = append(s.Parameters, p)
		}
	})
	f := func(expression string, want any) {
		t.Helper()
		if got := result(t, s, expression); got != want {
			t.Errorf("%s is %v, want %v", expression, got, want)
		}
	}
	f("conf.port + 1", int64(8858))
	f("tostring(conf.port)", "8857")
	f("tostring(conf.ratio)", "3.1415926535898")
	f("conf.name", "x=y")
	f("conf.hex", "0x10")
	f("conf.other", nil)
}

func TestLoadErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		s, err := Load(Setup{Script: write(t, text), BBDO: "3.0.1"}, new(recorder))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
		s.Close()
	}
	f("function init( end", "connector.lua:1: ")
	f("this is not Lua", "could not be loaded")
	f("\nerror('top')", "connector.lua:2: top")
	f("function init() end", "write() global function is missing")
	f("init, write = 1, function() end", "init() global function is missing")
	f("function init() error('cannot') end function write() end", "error running function 'init': ")
	f("function init() os.exit(0) end function write() end", "os.exit")
	f("require('no.such.module')", "no.such.module")
	if _, err := Load(Setup{Script: t.TempDir(), BBDO: "3.0.1"}, new(recorder)); err == nil {
		t.Error("a directory was loaded")
	}
}
