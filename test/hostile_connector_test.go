package test

import (
	"fmt"
	"os"
	"path/filepath"
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

// burst sends events and returns how many a second reached the connector called file, and
// were acknowledged by it.
func (p *poller) burst(w *process, list []event.Event) float64 {
	p.t.Helper()
	begin := time.Now()
	if err := p.Send(list...); err != nil {
		p.t.Fatal(err)
	}
	p.sent += int64(len(list))
	last := time.Now().Add(time.Minute)
	for {
		passed := status{}
		if err := w.ask("/api/v1/status", &passed); err != nil {
			p.t.Fatal(err)
		}
		if passed.passed("connector.file") >= p.sent {
			return float64(len(list)) / time.Since(begin).Seconds()
		}
		if time.Now().After(last) {
			p.t.Fatalf("the healthy connector does not get on: %+v\n%s", passed, w.log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

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
func TestHostileConnectors(t *testing.T) {
	const burst, few = 10_000, 4
	dir := t.TempDir()
	copyExample(t, dir, "file-logger.lua")
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
	rate := func(bursts int) float64 { // in the middle one: others use the machine too
		rates := make([]float64, bursts)
		for i := range rates {
			list := checkEvents(t, number, burst)
			number += burst
			rates[i] = session.burst(p, list)
		}
		slices.Sort(rates)
		return rates[bursts/2]
	}
	rate(1)
	alone := rate(5)

	config := healthy
	since := make(map[string]int) // number of the first event each gets
	reloads := 0
	add := func(from, to int) {
		t.Helper()
		for _, h := range hostile[from:to] {
			if h.text != "" || h.name == "empty" {
				writeFile(t, dir, h.name+".lua", h.text)
			}
			since[h.name] = number
			config += fmt.Sprintf("  - {name: %s, script: %s.lua, categories: [neb], call_timeout: 500ms, memory: 256MiB, quarantine: 0, queue_size: 100000, parameters: {file: %s.count}}\n", h.name, h.name, h.name)
		}
		writeFile(t, dir, "weir.yaml", config)
		reloads++
		p.hangup(t, reloads)
	}
	add(0, few)
	first := rate(1)            // they have not given way yet
	time.Sleep(5 * time.Second) // and have been stopped more than once, and wait before they start again
	beside := rate(5)
	add(few, len(hostile))
	rate(1)

	// Each is in the list of scripts, and in the log.
	var reported string
	missing := hostile[:1]
	for deadline := time.Now().Add(3 * time.Minute); len(missing) > 0 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		missing = nil
		if _, reported, err = p.get("/api/v1/scripts"); err != nil {
			t.Fatal(err)
		}
		for _, h := range hostile {
			if !slices.ContainsFunc(strings.Split(reported, `{"name":`), func(part string) bool {
				return strings.HasPrefix(part, strconv.Quote(h.name)) && strings.Contains(part, h.want)
			}) {
				missing = append(missing, h)
			}
		}
	}
	for _, h := range missing {
		for part := range strings.SplitSeq(reported, `{"name":`) {
			if strings.HasPrefix(part, strconv.Quote(h.name)) {
				t.Errorf("not reported with %q: %s", h.want, part)
			}
		}
	}
	for _, h := range hostile {
		if !slices.ContainsFunc(strings.Split(p.log(), "\n"), func(line string) bool {
			return strings.Contains(line, "script="+h.name) && strings.Contains(line, h.want)
		}) {
			t.Errorf("the log does not say %q of %s", h.want, h.name)
		}
	}
	settled := rate(1)

	// A good script takes their place, with more time for its calls: all begin at once.
	writeFile(t, dir, "counter.lua", counter)
	config = strings.ReplaceAll(config, "call_timeout: 500ms", "call_timeout: 30s")
	for _, h := range hostile {
		config = strings.Replace(config, "script: "+h.name+".lua,", "script: counter.lua,", 1)
	}
	writeFile(t, dir, "weir.yaml", config)
	p.hangup(t, reloads+1)
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
			if err == nil && sum != number-since[h.name] {
				err = fmt.Errorf("%d of %d events came again", sum, number-since[h.name])
			}
			return err
		})
		if err != nil {
			_, reported, _ = p.get("/api/v1/scripts")
			for part := range strings.SplitSeq(reported, `{"name":`) {
				if strings.HasPrefix(part, strconv.Quote(h.name)) {
					t.Errorf("%s: %v: %s", h.name, err, part)
				}
			}
		}
	}
	good := rate(2) // what sharing the machine with so many costs when none is hostile
	t.Logf("a healthy connector: %.0f events/s alone, %.0f beside %d that never end a call: %.0f %%, %.0f in the first second; beside %d connectors that get the same events %.0f when those are good and %.0f when they are hostile: %.0f %%",
		alone, beside, few, 100*beside/alone, first, len(hostile), good, settled, 100*settled/good)
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
