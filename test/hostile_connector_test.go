package test

import (
	"bytes"
	"fmt"
	"io"
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

// counter is a script that appends to a file how many more different checks it got,
// whenever it acknowledges them.
const counter = `local seen, n, file = {}, 0
function init(conf) file = conf.file end
function write(e)
  if e.element == 29 and not seen[e.output] then
    seen[e.output], n = true, n + 1
  end
  return false
end
function flush()
  if n > 0 then
    local f = io.open(file, "a")
    f:write(n .. "\n")
    f:close()
    n = 0
  end
  return true
end
`

// pace is how many events a connector wrote to a file, the time in which there were some, and how much of that it computed: events
// a second depend on how fast the machine is just then, the part of the time does not.
type pace struct {
	events         int
	took, computed time.Duration
}

func (p pace) plus(q pace) pace {
	return pace{p.events + q.events, p.took + q.took, p.computed + q.computed}
}

func (p pace) rate() float64 { return float64(p.events) / p.took.Seconds() } // events a second

func (p pace) share() float64 { return p.computed.Seconds() / p.took.Seconds() }

func (p pace) String() string {
	return fmt.Sprintf("%.0f/s (computing %.0f %%)", p.rate(), 100*p.share())
}

// pace sends so many bursts of events, no more than one a second, to the connector called file, which writes them to lines. next makes a burst.
func (p *poller) pace(w *process, bursts int, lines *growing, next func() []event.Event) (sum pace) {
	p.t.Helper()
	before := computed(p.t, w, "file")
	for range bursts {
		list := next()
		begin := time.Now()
		if err := p.Send(list...); err != nil {
			p.t.Fatal(err)
		}
		p.sent += int64(len(list))
		for lines.count(p.t) < p.sent {
			if time.Since(begin) > time.Minute {
				p.t.Fatalf("the healthy connector does not get on: %d events of %d\n%s", lines.lines, p.sent, w.log())
			}
			time.Sleep(2 * time.Millisecond)
		}
		took := time.Since(begin)
		sum = sum.plus(pace{events: len(list), took: took})
		time.Sleep(time.Second - took)
	}
	sum.computed = computed(p.t, w, "file") - before
	return sum
}

// growing counts the lines of a file that grows.
type growing struct {
	file  *os.File
	lines int64
	buf   []byte
}

// openGrowing opens a file once it is there.
func openGrowing(t *testing.T, path string) *growing {
	t.Helper()
	g := &growing{buf: make([]byte, 1<<20)}
	err := eventually(func() (err error) {
		g.file, err = os.Open(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.file.Close() })
	return g
}

// count returns how many lines there are now.
func (g *growing) count(t *testing.T) int64 {
	t.Helper()
	for {
		n, err := g.file.Read(g.buf)
		g.lines += int64(bytes.Count(g.buf[:n], []byte("\n")))
		if err == io.EOF {
			return g.lines
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// computed is for how long the first thread of a script's process has had a processor.
func computed(t *testing.T, w *process, name string) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", w.scriptPID(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	nanoseconds, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(nanoseconds)
}

// settled is the time after which every hostile connector has had its turn, and been ended.
const settled = 45 * time.Second

// checkEvents are checks as events, from number first on.
func checkEvents(t *testing.T, first, n int) []event.Event {
	t.Helper()
	list := make([]event.Event, n)
	for i, text := range checks(first, n) {
		e, err := event.ParseJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		e.Source = 3
		list[i] = e
	}
	return list
}

// Hostile connectors beside a healthy one: it gets everything, and each of the others is
// reported with its place and loses nothing: a good script in its place gets all events.
// WEIR_CYCLES says how often (0) its rate is measured anew afterwards, alone and beside the others in turn.
func TestHostileConnectors(t *testing.T) {
	dir := t.TempDir()
	copyExample(t, dir, "file-logger.lua")
	cycles := int(environmentNumber(t, "WEIR_CYCLES", 0))
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	healthy := strings.Replace(connectorConfig, `"tcp://127.0.0.1:0"}`, `"tcp://127.0.0.1:0", synthesize: false}`, 1)
	writeFile(t, dir, "weir.yaml", healthy)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(configuration...)
	number := 0
	next := func(n int) []event.Event {
		number += n
		return checkEvents(t, number-n, n)
	}
	burst, long := func() []event.Event { return next(10_000) }, func() []event.Event { return next(30_000) }
	if slices.Contains(buildFlags, "-race") { // which is no place to measure: each event comes to all others again
		long = func() []event.Event { return next(5_000) }
	}
	lines := openGrowing(t, filepath.Join(dir, "events.json"))
	session.pace(p, 1, lines, burst)
	alone := session.pace(p, 4, lines, long)

	others := healthy
	since := number // of the first event the others get
	for _, h := range hostile {
		if h.text != "" || h.name == "empty" {
			writeFile(t, dir, h.name+".lua", h.text)
		}
		others += fmt.Sprintf("  - {name: %s, script: %s.lua, categories: [neb], call_timeout: 500ms, memory: 256MiB, quarantine: 0, queue_size: 100000, parameters: {file: %s.count}}\n", h.name, h.name, h.name)
	}
	writeFile(t, dir, "weir.yaml", others)
	p.hangup(t, 1)
	began := time.Now()
	first := session.pace(p, 3, lines, burst) // while they load, and are ended for the first time

	// Each is in the list of scripts, and in the log, with file and line; the one that is no file without a line.
	reports := func(text string, name, want string) bool {
		place := regexp.MustCompile(`\b` + name + `\.lua:[1-9]`)
		return strings.Contains(text, want) && (name == "missing" || place.MatchString(text))
	}
	var reported []string
	missing := hostile[:1]
	for deadline := time.Now().Add(3 * time.Minute); len(missing) > 0 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		missing = nil
		_, list, err := p.get("/api/v1/scripts")
		if err != nil {
			t.Fatal(err)
		}
		reported = strings.Split(list, `{"name":`)
		for _, h := range hostile {
			if !slices.ContainsFunc(reported, func(part string) bool {
				return strings.HasPrefix(part, strconv.Quote(h.name)) && reports(part, h.name, h.want)
			}) {
				missing = append(missing, h)
			}
		}
	}
	for _, h := range missing {
		for _, part := range reported {
			if strings.HasPrefix(part, strconv.Quote(h.name)) {
				t.Errorf("not reported with %q: %s", h.want, part)
			}
		}
	}
	for _, h := range hostile {
		if !slices.ContainsFunc(strings.Split(p.log(), "\n"), func(line string) bool {
			return strings.Contains(line, "script="+h.name) && reports(line, h.name, h.want)
		}) {
			t.Errorf("the log does not say %q of %s", h.want, h.name)
		}
	}
	time.Sleep(time.Until(began.Add(settled)))
	beside := session.pace(p, 4, lines, long)

	// A good script takes their place, with more time for its calls: all begin at once.
	writeFile(t, dir, "counter.lua", counter)
	config := strings.ReplaceAll(others, "call_timeout: 500ms", "call_timeout: 30s")
	for _, h := range hostile {
		config = strings.Replace(config, "script: "+h.name+".lua,", "script: counter.lua,", 1)
	}
	writeFile(t, dir, "weir.yaml", config)
	p.hangup(t, 2)
	for _, h := range hostile {
		if h.acknowledges {
			continue
		}
		err := eventually(func() error {
			content, err := os.ReadFile(filepath.Join(dir, h.name+".count"))
			sum := 0
			for line := range strings.FieldsSeq(string(content)) {
				n, _ := strconv.Atoi(line)
				sum += n
			}
			if err == nil && sum != number-since {
				err = fmt.Errorf("%d of %d events came again", sum, number-since)
			}
			return err
		})
		if err != nil {
			_, list, _ := p.get("/api/v1/scripts")
			for part := range strings.SplitSeq(list, `{"name":`) {
				if strings.HasPrefix(part, strconv.Quote(h.name)) {
					t.Errorf("%s: %v: %s", h.name, err, part)
				}
			}
		}
	}
	writeFile(t, dir, "weir.yaml", healthy)
	p.hangup(t, 3)
	again := session.pace(p, 4, lines, long)
	t.Logf("a healthy connector: %v alone, %v in the first seconds of %d hostile ones", alone, first, len(hostile))
	say := func(alone, beside pace) {
		t.Logf("%v alone, %v beside them: it keeps %.0f %%", alone, beside, 100*beside.rate()/alone.rate())
	}
	alone = alone.plus(again)
	say(alone, beside)
	if cycles > 0 {
		alone, beside = pace{}, pace{}
	}
	long = func() []event.Event { return next(100_000) }
	for i := range cycles {
		before := session.pace(p, 3, lines, long)
		writeFile(t, dir, "weir.yaml", others)
		p.hangup(t, 4+2*i)
		time.Sleep(settled)
		between := session.pace(p, 6, lines, long)
		writeFile(t, dir, "weir.yaml", healthy)
		p.hangup(t, 5+2*i)
		before = before.plus(session.pace(p, 3, lines, long))
		say(before, between)
		alone, beside = alone.plus(before), beside.plus(between)
	}
	if cycles > 0 {
		t.Logf("in %d cycles:", cycles)
		say(alone, beside)
	}
	session.stop()
	if n := delivered(t, filepath.Join(dir, "events.json"), number); n != number {
		t.Errorf("%d lines for %d events", n, number)
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	pids, err := os.ReadFile(filepath.Join(dir, "pids"))
	if err != nil {
		t.Error(err)
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		if command, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && strings.Contains(string(command), "sleep") {
			t.Errorf("process %s that a script started is left behind", pid)
		}
	}
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("exit code %d, %v\n%s", code, err, p.log())
	}
	if log := p.log(); strings.Contains(log, "BUG") {
		t.Error("the log has BUG")
	}
}
