// Package tour runs the tour of the README as a newcomer would: every sh block
// in order, in one shell, with the binary that was built from this tree.
package tour

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// expected is what a block must print, the block told by a text it holds.
var expected = []struct {
	block string
	texts []string
}{
	{"weir check", []string{"weir.yaml: ok", "ready"}},
	{"weir series", []string{"statsd:counter name=a", "statsd:timer name=b", `"upper_90"`, "rate", "VALUE"}},
	{"/api/v1/total", []string{`"total":{"rate":1}`}},
	{"grep -E", []string{"stats.a 1 ", "stats_counts.a 1 ", "stats.timers.b.mean_90 320 ", "stats.timers.b.upper 320 "}},
	{"not a metric", []string{`weir_discarded_total{component="statsd.values",reason="bad_line",unit="values"} 1`, `Bad line: 1 in msg \"not a metric\"`}},
}

func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(readme), "\n## A five-minute tour\n")
	tour, _, _ = strings.Cut(tour, "\n## ")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(tour, -1)
	// What the tour leaves running is stopped as a user would, so that the binary stops in order.
	script := "set -eu -o pipefail\ntrap 'kill $(jobs -p); wait' EXIT\n"
	for i, block := range blocks {
		script += block[1] + fmt.Sprintf("echo '-- end of block %d'\n", i)
	}
	output := run(t, onFreePorts(t, script))
	checked := 0
	for i, block := range blocks {
		printed, rest, ok := strings.Cut(output, fmt.Sprintf("-- end of block %d\n", i))
		if !ok {
			t.Fatalf("block %d did not end:\n%s\nprinted\n%s", i, block[1], output)
		}
		output = rest
		for _, e := range expected {
			if !strings.Contains(block[1], e.block) {
				continue
			}
			checked++
			for _, want := range e.texts {
				if !strings.Contains(printed, want) {
					t.Errorf("block %d does not print %q:\n%s\nprinted\n%s", i, want, block[1], printed)
				}
			}
		}
	}
	if checked != len(expected) {
		t.Errorf("%d blocks were checked, want %d: does the tour still show everything?", checked, len(expected))
	}
}

// onFreePorts changes nothing but the ports: the ones the tour names, and in
// its configuration those that are there by default.
func onFreePorts(t *testing.T, script string) string {
	http, statsd, management, graphite := freePort(t), freePort(t), freePort(t), freePort(t)
	script = strings.NewReplacer("8088", http, "8125", statsd, "127.0.0.1 2003", "127.0.0.1 "+graphite,
		"graphite: {host: 127.0.0.1}", "graphite: {host: 127.0.0.1, port: "+graphite+"}").Replace(script)
	configuration := "http: {listen: 127.0.0.1:" + http + "}\nsources: {statsd: [{listen: 'udp://127.0.0.1:" + statsd + "'}]}\nstatsd:\n" +
		"  management: {listen: 127.0.0.1:" + management + "}\n"
	before := script
	script = strings.Replace(script, "<<'END'\nstatsd:\n", "<<'END'\n"+configuration, 1)
	if script == before {
		t.Fatal("cannot find the configuration in the tour")
	}
	return "export WEIR_URL=http://127.0.0.1:" + http + "\n" + script
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// run runs the script in a process group of its own, which is stopped when it
// ends, and returns what it printed.
func run(t *testing.T, script string) string {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "weir"), "./cmd/weir")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bash := exec.CommandContext(ctx, "bash", "-c", script)
	bash.Dir = t.TempDir()
	bash.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	bash.Cancel = func() error { return syscall.Kill(-bash.Process.Pid, syscall.SIGKILL) }
	output, err := os.Create(filepath.Join(t.TempDir(), "output")) // not a pipe: what runs in the background would hold it open
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	bash.Stdout, bash.Stderr = output, output
	failed := bash.Run()
	_ = syscall.Kill(-bash.Process.Pid, syscall.SIGKILL) // nothing is left, unless the script was cut short
	text, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		logged, _ := os.ReadFile(filepath.Join(bash.Dir, "weir.log"))
		t.Fatalf("the tour failed: %v\n%s\nlog\n%s", failed, bytes.TrimSpace(text), logged)
	}
	return string(text)
}
