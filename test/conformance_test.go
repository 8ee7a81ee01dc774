package test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/connector"
)

// The conformance items of the specification of Centreon streams, section 12, one
// test each, in this file and those beside it: a poller's session, the binary, and a
// script in its own process.

var (
	legacy = bbdo.V200
	modern = bbdo.V301
)

// trial is a running weir with connectors whose scripts are the text of a test.
type trial struct {
	*process
	t   *testing.T
	dir string
}

// conform starts weir with a connector for every script, by name. Options are those
// of the connector, as YAML, and with the name "bbdo" those of the source. A script
// gets note(text), which adds a line to what lines returns. Unless options say so
// nothing is synthesized, so events have the numbers in which they were sent, from 1 on.
func conform(t *testing.T, scripts map[string]string, options map[string]string) *trial {
	t.Helper()
	tr := &trial{t: t, dir: t.TempDir()}
	config := `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0", ` + cmp.Or(options["bbdo"], "synthesize: false") + `}]}
connectors:
`
	for name, text := range scripts {
		tr.write(name+".lua", fmt.Sprintf(`local function note(...) local f = assert(io.open("%s.out", "a")) f:write(table.concat({...}, " "), "\n") f:close() end `, name)+text)
		config += fmt.Sprintf("  - {name: %s, script: %s.lua, %s}\n", name, name, options[name])
	}
	tr.write("weir.yaml", config)
	tr.start()
	return tr
}

func (tr *trial) write(name, text string) {
	tr.t.Helper()
	path := filepath.Join(tr.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *trial) start() {
	tr.t.Helper()
	p, err := run(tr.dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.process = p
	tr.t.Cleanup(p.kill)
}

// stop ends weir in order; nothing may have gone wrong inside.
func (tr *trial) stop() {
	tr.t.Helper()
	if code, err := tr.end(syscall.SIGTERM); code != 0 || err != nil || strings.Contains(tr.log(), "BUG") {
		tr.t.Errorf("exit code %d, %v\n%s", code, err, tr.log())
	}
}

// deliver sends events in one session, from beginning to stop: they are durable then.
func (tr *trial) deliver(version bbdo.Version, objects ...string) {
	tr.t.Helper()
	session := connect(tr.t, tr.process, version)
	session.send(objects...)
	session.stop()
}

// noted is what a script has noted.
func (tr *trial) noted(name string) []string {
	text, err := os.ReadFile(filepath.Join(tr.dir, name+".out"))
	if err != nil {
		return nil // nothing yet
	}
	whole := text[:strings.LastIndexByte(string(text), '\n')+1]
	if len(whole) == 0 {
		return nil // the file was made, or a line is being written
	}
	return strings.Split(strings.TrimSuffix(string(whole), "\n"), "\n")
}

// lines waits until a script has noted n lines.
func (tr *trial) lines(name string, n int) (lines []string) {
	tr.t.Helper()
	tr.await(func() error {
		if lines = tr.noted(name); len(lines) < n {
			return fmt.Errorf("%s has noted %d of %d lines: %q", name, len(lines), n, lines)
		}
		return nil
	})
	return lines
}

// expect waits for what a script notes, all of it.
func (tr *trial) expect(name string, want ...string) {
	tr.t.Helper()
	if diff := gocmp.Diff(want, tr.lines(name, len(want))); diff != "" {
		tr.t.Errorf("%s noted (-want +got):\n%s", name, diff)
	}
}

// await waits until f succeeds.
func (tr *trial) await(f func() error) {
	tr.t.Helper()
	if err := eventually(f); err != nil {
		tr.t.Fatalf("%v\n%s", err, tr.log())
	}
}

// acknowledged is the number of the last event that a connector has acknowledged.
func (tr *trial) acknowledged(name string) uint64 {
	tr.t.Helper()
	var answer struct {
		Queues []struct {
			Name         string
			Acknowledged uint64
		}
	}
	if err := tr.ask("/api/v1/queues", &answer); err != nil {
		tr.t.Fatal(err)
	}
	for _, q := range answer.Queues {
		if q.Name == connector.QueuePrefix+name {
			return q.Acknowledged
		}
	}
	tr.t.Fatalf("no queue of %s: %+v", name, answer)
	return 0
}

// acknowledges waits until a connector has acknowledged event n, and nothing after it.
func (tr *trial) acknowledges(name string, n uint64) {
	tr.t.Helper()
	tr.await(func() error {
		if got := tr.acknowledged(name); got != n {
			return fmt.Errorf("%s has acknowledged %d, not %d", name, got, n)
		}
		return nil
	})
}

// numbered are service statuses of which the service's number counts from first on.
func numbered(first, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"category":1,"element":29,"host_id":1,"service_id":%d}`, first+i)
	}
	return list
}

func TestConformance01LoadOrder(t *testing.T) {
	tr := conform(t, map[string]string{"order": `
calls = {"chunk"}
local function call(s) calls[#calls + 1] = s end
function filter(c, e) call("filter " .. c .. " " .. e) return true end
function init(conf) call("init " .. type(conf)) end
function write(d) call("write " .. d.service_id) note(table.concat(calls, ", ")) return true end`}, nil)
	tr.deliver(modern, numbered(1, 2)...)
	tr.expect("order", "chunk, filter 1 2, init table, filter 1 29, write 1",
		"chunk, filter 1 2, init table, filter 1 29, write 1, filter 1 29, write 2")
	tr.stop()
}

func TestConformance02Acknowledgements(t *testing.T) {
	tr := conform(t, map[string]string{"five": `
local results, n = {false, "raise", nil, 1, true}, 0
function init() end
function write(d)
  n = n + 1
  note(n)
  if results[n] == "raise" then error("on purpose") end
  return results[n]
end`}, nil)
	tr.deliver(modern, numbered(1, 4)...)
	tr.expect("five", "1", "2", "3", "4")
	// Acknowledgements go the same way as these errors, and would be there as early.
	if err := tr.waitLog(`five\.lua:7: on purpose[\s\S]*must return a boolean[\s\S]*must return a boolean`); err != nil {
		t.Error(err)
	}
	if n := tr.acknowledged("five"); n != 0 {
		t.Errorf("acknowledged %d before write returned true", n)
	}
	tr.deliver(modern, numbered(5, 1)...)
	tr.acknowledges("five", 5)
	tr.expect("five", "1", "2", "3", "4", "5")
	tr.stop()
}

func TestConformance03Restart(t *testing.T) {
	tr := conform(t, map[string]string{"again": `
local first = not io.open("again.out")
function init() note("init") end
function write(d)
  note(d.service_id)
  return first and d.service_id == 3
end`}, nil)
	tr.deliver(modern, numbered(1, 5)...)
	seen := []string{"init", "1", "2", "3", "4", "5"}
	tr.lines("again", 6)
	tr.acknowledges("again", 3)
	for range 2 {
		if err := syscall.Kill(tr.scriptPID(t, "again"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, "init", "4", "5")
		tr.lines("again", len(seen))
	}
	// first is false in the second life, so 4 and 5 stay; and so they do when weir ends.
	tr.stop()
	tr.start()
	tr.expect("again", append(seen, "init", "4", "5")...)
	tr.acknowledges("again", 3)
	tr.stop()
}

func TestConformance04Flush(t *testing.T) {
	t.Parallel()
	tr := conform(t, map[string]string{"idle": `
local socket = require("socket")
local writes, last = 0, 0
function init() end
function write(d)
  writes = writes + 1
  if writes == 1 then
    note("begun")
    repeat socket.sleep(0.01) local f = io.open("go") until f
    f:close()
  end
  last = socket.gettime()
  return false
end
function flush()
  if writes > 0 then note(writes, socket.gettime() - last) end
  return true
end`}, nil)
	session := connect(t, tr.process, modern)
	session.send(numbered(0, 1)...)
	tr.lines("idle", 1)
	session.send(numbered(1, 999)...) // the burst waits behind the first event
	session.stop()
	tr.write("go", "")
	lines := tr.lines("idle", 5)[1:]
	before := 0.0
	for i, line := range lines {
		writes, since, _ := strings.Cut(line, " ")
		at, err := strconv.ParseFloat(since, 64)
		if writes != "1000" || err != nil {
			t.Fatalf("flush was called during the burst: %q", lines)
		}
		if i == 0 && at > 1.5 {
			t.Errorf("the first flush came %g s after the burst", at)
		}
		if gap := at - before; i > 0 && (gap < 0.9 || gap > 3) {
			t.Errorf("flushes %g s apart: %q", gap, lines)
		}
		before = at
	}
	tr.acknowledges("idle", 1000)
	tr.stop()
}

func TestConformance05QueueLimit(t *testing.T) {
	t.Parallel()
	tr := conform(t, map[string]string{"ten": `
function init() end
function write(d) note("write") return false end
function flush()
  local safe = os.remove("safe")
  note("flush", tostring(safe))
  return safe == true
end`}, map[string]string{"ten": "queue_size: 10"})
	tr.deliver(modern, numbered(1, 30)...)
	// phase waits for two flushes after what was noted before, and returns what they came after.
	done := 0
	phase := func() (writes int) {
		t.Helper()
		tr.await(func() error {
			lines := tr.noted("ten")[done:]
			last := slices.Index(lines, "flush nil")
			if last < 0 || len(lines) < last+2 {
				return fmt.Errorf("no more flushes: %q", lines)
			}
			return nil
		})
		for _, line := range tr.noted("ten")[done:] {
			done++
			if line == "write" {
				writes++
			}
		}
		return writes
	}
	flushes := func() int {
		return len(slices.DeleteFunc(tr.noted("ten"), func(line string) bool { return !strings.HasPrefix(line, "flush") }))
	}
	tr.lines("ten", 10)
	if n := phase(); n != 10 {
		t.Errorf("%d writes before an acknowledgement, want 10", n)
	}
	for i := range uint64(3) {
		before := flushes()
		tr.write("safe", "")
		tr.acknowledges("ten", 10*(i+1))
		want := 10
		if i == 2 {
			want = 0
		}
		if n := phase(); n != want || flushes() <= before {
			t.Errorf("%d writes after flush returned true for the %d. time, want %d: %q", n, i+1, want, tr.noted("ten"))
		}
	}
	tr.stop()
}

func TestConformance06Versions(t *testing.T) {
	body := `
function init() end
function write(d)
  local before, writable = d.host_id, pcall(function() d.host_id = 99 d.extra = "x" end)
  local keys = {}
  for k in pairs(d) do keys[#keys + 1] = k end
  note(d.element, type(d), tostring(writable), tostring(d.extra), tostring(d.host_id == before), #keys)
  if d.element == 1 or d.element == 56 then note(unpack(keys)) end
  return true
end`
	tr := conform(t, map[string]string{"one": body, "two": "broker_api_version = 2" + body, "legacytwo": "broker_api_version = 2" + body},
		map[string]string{"legacytwo": `bbdo_version: "2.0.0"`, "one": "categories: [neb:AdaptiveHostStatus]", "two": "categories: [neb:AdaptiveHostStatus]"})
	tr.deliver(legacy, `{"category":1,"element":23,"host_id":1,"service_id":2}`, `{"category":1,"element":1,"host_id":1}`)
	tr.deliver(modern, `{"category":1,"element":56,"host_id":1,"notification_number":9}`)
	one := tr.lines("one", 2)
	if one[0] != "56 table true x false 6" || len(strings.Fields(one[1])) != 6 { // with extra; the order is unspecified
		t.Errorf("version 1: %q", one)
	}
	tr.expect("two", "56 userdata false nil true 5", "_type category element host_id notification_number")
	tr.expect("legacytwo", "23 userdata false nil true 83", "1 userdata false nil true 15",
		"_type category element type author comment_data deletion_time entry_time host_id instance_id sticky notify_contacts persistent_comment service_id state")
	tr.stop()
}

func TestConformance07AbsentTimes(t *testing.T) {
	body := `
function init() end
function write(d) note(d.element, d.service_id, tostring(d.last_check)) return true end`
	tr := conform(t, map[string]string{"old": body, "new": body}, map[string]string{"old": `bbdo_version: "2.0.0"`})
	tr.deliver(legacy, `{"category":1,"element":24,"host_id":1,"service_id":1}`, `{"category":1,"element":24,"host_id":1,"service_id":2,"last_check":1700000000}`)
	tr.deliver(modern, numbered(3, 1)...)
	tr.expect("old", "24 1 nil", "24 2 1700000000", "24 3 nil")
	tr.expect("new", "29 1 0", "29 2 1700000000", "29 3 0")
	tr.stop()
}

func TestConformance08Sentinel(t *testing.T) {
	tr := conform(t, map[string]string{"one": `
function init() end
function write(d) note(tostring(d.actual_end_time == -1), tostring(d.deletion_time == -1), tostring(d.start_time)) return true end`,
		"two": `broker_api_version = 2
function init() end
function write(d) note(tostring(d.actual_end_time == -1)) note(broker.json_encode(d)) return true end`}, nil)
	tr.deliver(modern, `{"category":1,"element":36,"id":7,"host_id":1,"actual_end_time":18446744073709551615,"deletion_time":18446744073709551615,"start_time":1700000000}`)
	tr.expect("one", "true true 1700000000")
	tr.expect("two", "true", `{"_type":65572, "category":1, "element":36, "id":7, "instance_id":0, "host_id":1, "service_id":0, "author":"", "comment_data":"", "type":0, "duration":0, `+
		`"triggered_by":0, "entry_time":0, "actual_start_time":0, "actual_end_time":18446744073709551615, "start_time":1700000000, "deletion_time":18446744073709551615, `+
		`"end_time":0, "started":false, "cancelled":false, "fixed":false}`)
	tr.stop()
}

func TestConformance13Log(t *testing.T) {
	const each = 1000
	script := func(name string) string {
		return `
function init()
  broker_log:set_parameters(2, "shared.log")
  broker_log:info(1, "` + name + ` begins") broker_log:info(3, "hidden") broker_log:warning(2, "` + name + ` warns") broker_log:error(3, "hidden") broker_log:error(0, "` + name + ` fails")
end
function write(d) broker_log:info(2, "` + name + ` " .. d.service_id .. " " .. string.rep("x", 300)) return true end`
	}
	tr := conform(t, map[string]string{"a": script("a"), "b": script("b")}, nil)
	tr.deliver(modern, numbered(1, each)...)
	tr.acknowledges("a", each)
	tr.acknowledges("b", each)
	text, err := os.ReadFile(filepath.Join(tr.dir, "shared.log"))
	if err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`^([A-Z][a-z]{2} [A-Z][a-z]{2} [ 1-3][0-9] \d\d:\d\d:\d\d \d{4}): (INFO|WARNING|ERROR): ([ab]) (begins|warns|fails|(\d+) x{300})$`)
	levels := map[string]string{"begins": "INFO", "warns": "WARNING", "fails": "ERROR"}
	seen := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		m := whole.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("not a whole line: %q", line)
		}
		if _, err := time.Parse(time.ANSIC, m[1]); err != nil {
			t.Error(err)
		}
		if want := levels[m[4]]; want != "" && m[2] != want {
			t.Errorf("level of %q", line)
		}
		if m[5] != "" {
			if seen[m[3]]++; m[5] != strconv.Itoa(seen[m[3]]) {
				t.Fatalf("lines of %s are not in order: %q", m[3], line)
			}
		} else {
			seen[m[3]+m[4]]++
		}
	}
	want := map[string]int{"a": each, "b": each, "abegins": 1, "bbegins": 1, "awarns": 1, "bwarns": 1, "afails": 1, "bfails": 1}
	if diff := gocmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	tr.stop()
}
