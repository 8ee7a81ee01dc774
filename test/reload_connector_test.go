package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// versioned is a script that writes its version, a parameter, and what it got, one line an event.
const versioned = `local version, tag, file = %q
function init(conf)
  tag, file = conf.tag, conf.file
end
function write(e)
  if e.element ~= 29 then return true end
  local f = io.open(file, "a")
  f:setvbuf("no")
  f:write(version .. " " .. tag .. " " .. tostring(broker_cache:get_hostname(e.host_id)) .. " " .. e.output .. "\n")
  f:close()
  return true
end
`

// hangup asks for the nth reload and waits for its end.
func (p *process) hangup(t *testing.T, n int) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	err := eventually(func() error {
		if got := strings.Count(p.log(), "connectors reloaded"); got != n {
			return fmt.Errorf("%d reloads in the log, want %d", got, n)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
}

// written waits until the file has a line with every number from first on, in order and with the
// beginning that is given, and returns how many lines it has. Lines may come twice.
func written(t *testing.T, path, begin string, first, n int) int {
	t.Helper()
	lines := 0
	err := eventually(func() error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all := strings.Split(strings.TrimSpace(string(content)), "\n")
		lines = len(all)
		next := first
		for _, line := range all {
			if line == fmt.Sprintf("%s alpha number %d", begin, next) {
				next++
			}
		}
		if next != first+n {
			return fmt.Errorf("%s: %q number %d is missing; the last line is %q", path, begin, next, all[len(all)-1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

type queue struct {
	Name       string
	Events     int64
	Configured bool
}

func (p *process) queues(t *testing.T) map[string]queue {
	t.Helper()
	var answer struct{ Queues []queue }
	if err := p.ask("/api/v1/queues", &answer); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]queue)
	for _, q := range answer.Queues {
		all[q.Name] = q
	}
	return all
}

// Connectors are added, removed and changed while Weir runs, and nothing is lost.
func TestReloadConnectors(t *testing.T) {
	dir := t.TempDir()
	configure := func(connectors ...string) {
		t.Helper()
		writeFile(t, dir, "weir.yaml", `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
connectors: [`+strings.Join(connectors, ",\n")+"]\n")
	}
	entry := func(name, script, tag string) string {
		return fmt.Sprintf("{name: %s, script: %s.lua, parameters: {file: %s.out, tag: %s}}", name, script, name, tag)
	}
	for _, name := range []string{"one", "two"} { // scripts of their own folders, so that one change is one script's
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, name+"/s.lua", fmt.Sprintf(versioned, "v1"))
	}
	out := func(name string) string { return filepath.Join(dir, name+".out") }
	configure(entry("stays", "one/s", "x"), entry("goes", "two/s", "x"), entry("changes", "two/s", "x"))
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(configuration...)
	session.send(checks(0, 100)...)
	for _, name := range []string{"stays", "goes", "changes"} {
		written(t, out(name), "v1 x", 0, 100)
	}
	pid := p.scriptPID(t, "stays")

	// A file, a parameter and the list change. What comes meanwhile is for somebody.
	writeFile(t, dir, "two/s.lua", fmt.Sprintf(versioned, "v2"))
	configure(entry("stays", "one/s", "x"), entry("changes", "two/s", "y"), entry("new", "one/s", "x"))
	session.send(checks(100, 50)...)
	p.hangup(t, 1)
	session.send(checks(150, 50)...)
	written(t, out("stays"), "v1 x", 0, 200)
	written(t, out("changes"), "v2 y", 150, 50)
	written(t, out("new"), "v1 x", 150, 50)
	if again := p.scriptPID(t, "stays"); again != pid {
		t.Error("a script that did not change was started anew")
	}
	if q := p.queues(t)["connector.goes"]; q.Configured || q.Events < 50 {
		t.Errorf("the queue of the connector that was removed: %+v", q)
	}

	// A script that cannot be loaded leaves the one that runs alone.
	pid = p.scriptPID(t, "changes")
	writeFile(t, dir, "two/s.lua", "function init() end\n\nfunction write(e) return tru e end\n")
	p.hangup(t, 2)
	if again := p.scriptPID(t, "changes"); again != pid {
		t.Error("the script that runs was ended for one that cannot be loaded")
	}
	if err := p.waitLog(`two/s\.lua:3: .*`); err != nil {
		t.Error(err)
	}
	session.send(checks(200, 50)...)
	written(t, out("changes"), "v2 y", 150, 100)

	// The next one can. The connector that was removed comes back, and gets what was kept for it.
	writeFile(t, dir, "two/s.lua", fmt.Sprintf(versioned, "v3"))
	configure(entry("stays", "one/s", "x"), entry("goes", "two/s", "x"), entry("changes", "two/s", "y"), entry("new", "one/s", "x"))
	p.hangup(t, 3)
	session.send(checks(250, 50)...)
	session.stop()
	written(t, out("changes"), "v3 y", 250, 50)
	written(t, out("goes"), "v3 x", 200, 100)
	for name, first := range map[string]int{"stays": 0, "goes": 0, "changes": 0, "new": 150} {
		content, err := os.ReadFile(out(name))
		if err != nil {
			t.Fatal(err)
		}
		for i := first; i < 300; i++ {
			if !strings.Contains(string(content), fmt.Sprintf(" alpha number %d\n", i)) {
				t.Errorf("%s never got number %d", name, i)
			}
		}
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}

	// All of them go, and Weir goes on.
	configure()
	p.hangup(t, 4)
	var answer struct{ Scripts []struct{ Name string } }
	if err := p.ask("/api/v1/scripts", &answer); err != nil || len(answer.Scripts) != 0 {
		t.Errorf("scripts that run: %+v, %v", answer, err)
	}
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("exit code %d, %v\n%s", code, err, p.log())
	}
}
