package test

import (
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// A connector that leaves the configuration keeps its events until somebody lets them go.
func TestQueueRemoval(t *testing.T) {
	dir := t.TempDir()
	const head = "data: data\nhttp: {listen: \"127.0.0.1:0\"}\nsources: {statsd: [], bbdo: [{listen: \"tcp://127.0.0.1:0\"}]}\nconnectors:\n  - {name: stays, script: s.lua}\n"
	writeFile(t, dir, "s.lua", "function init() end function write() return true end")
	writeFile(t, dir, "f.lua", "function init() end function write() return false end")
	writeFile(t, dir, "weir.yaml", head+"  - {name: goes, script: f.lua}\n")
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
	session.stop()
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Fatal(code, err)
	}

	writeFile(t, dir, "weir.yaml", head)
	p = start()
	weir := func(code int, want string, args ...string) {
		t.Helper()
		cmd := exec.Command(binary, args...)
		cmd.Env = append(environment(), "WEIR_URL="+p.http)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code || !regexp.MustCompile(want).Match(out) {
			t.Errorf("weir %q: code %d\n%s\nwant %d, %s", args, got, out, code, want)
		}
	}
	if !strings.Contains(p.log(), "events are kept for a queue that is not configured") {
		t.Error("the log does not name the queue")
	}
	weir(0, `(?s)connector\.goes +2 .*connector\.goes is not configured`, "queue", "ls")
	weir(1, "cannot remove the queue .*connector.stays.*: it is configured", "queue", "rm", "stays")
	weir(1, `there is none; the queues are connector.goes connector.stays`, "queue", "rm", "gone")
	weir(0, "connector.goes is removed; 2 events", "queue", "rm", "goes")
	weir(0, `^QUEUE [^\n]*\nconnector\.stays [^\n]*\n\n`, "queue", "ls")
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
}
