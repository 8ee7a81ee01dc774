package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// statsdProgram is a weir that stands in for one of StatsD's programs.
type statsdProgram struct {
	*process
	command, config  string
	dir              string
	port, management int
}

// unusedPort is free for TCP and UDP on the loopback interface.
func unusedPort(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port))
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// newStatsdProgram writes a configuration; the program is started with start.
func newStatsdProgram(t *testing.T, command, options string) *statsdProgram {
	t.Helper()
	p := &statsdProgram{command: command, dir: t.TempDir(), port: unusedPort(t), management: unusedPort(t)}
	p.config = filepath.Join(p.dir, "config.js")
	text := fmt.Sprintf("{address: '127.0.0.1', port: %d, mgmt_address: '127.0.0.1', mgmt_port: %d, %s}", p.port, p.management, options)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *statsdProgram) start(t *testing.T) {
	t.Helper()
	started, err := begin(p.dir, environment(), p.command, p.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(started.kill)
	p.process = started
	if err := eventually(func() error {
		if !strings.Contains(p.output(), "server is up") {
			return fmt.Errorf("weir %s is not up: %s%s", p.command, p.output(), p.log())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// manage carries out one management command.
func (p *statsdProgram) manage(command string) (string, error) {
	conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", p.management))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, command+"\nquit\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

var counterLine = regexp.MustCompile(`'(k\.\d+)': (\d+)`)

// counters are the counters k.* the daemon holds.
func (p *statsdProgram) counters() (map[string]int, error) {
	answer, err := p.manage("counters")
	if err != nil {
		return nil, err
	}
	counters := make(map[string]int)
	for _, m := range counterLine.FindAllStringSubmatch(answer, -1) {
		counters[m[1]], _ = strconv.Atoi(m[2]) // digits
	}
	return counters, nil
}

// Daemons behind the proxy die, come back and are drained: every line that is sent while the proxy knows is
// counted once, names of the others stay where they are, and names of one that is back return to it.
func TestProxyFailover(t *testing.T) {
	const names = 300
	var nodes []*statsdProgram
	var list []string
	for range 3 {
		n := newStatsdProgram(t, "statsd", "backends: [], flushInterval: 3600000")
		n.start(t)
		nodes = append(nodes, n)
		list = append(list, fmt.Sprintf("{host: '127.0.0.1', port: %d, adminport: %d}", n.port, n.management))
	}
	proxy := newStatsdProgram(t, "statsd-proxy", "checkInterval: 200, nodes: ["+strings.Join(list, ", ")+"]")
	proxy.start(t)

	active := func(want ...int) {
		t.Helper()
		line := "nodes: "
		for _, i := range want {
			line += fmt.Sprintf("127.0.0.1:%d ", nodes[i].port)
		}
		if err := eventually(func() error {
			answer, err := proxy.manage("status")
			if err == nil && !strings.Contains(answer, line+"\n") {
				err = fmt.Errorf("status is %q, want %q", answer, line)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	// send sends every name once and returns what each daemon holds when all have arrived.
	held := make([]map[string]int, 3)
	send := func() []map[string]int {
		t.Helper()
		sum := func() int {
			total := 0
			for i, n := range nodes {
				held[i] = nil
				if !n.running() {
					continue
				}
				counters, err := n.counters()
				if err != nil {
					t.Fatal(err)
				}
				held[i] = counters
				for _, count := range counters {
					total += count
				}
			}
			return total
		}
		before := sum()
		conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", proxy.port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var packet strings.Builder
		for i := range names {
			fmt.Fprintf(&packet, "k.%d:1|c\n", i)
		}
		if _, err := io.WriteString(conn, packet.String()); err != nil {
			t.Fatal(err)
		}
		if err := eventually(func() error {
			if got := sum() - before; got != names {
				return fmt.Errorf("%d of %d lines arrived", got, names)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return append([]map[string]int(nil), held...)
	}

	active(0, 1, 2)
	first := send()
	for i, counters := range first {
		if len(counters) == 0 {
			t.Errorf("node %d got nothing", i)
		}
	}
	nodes[1].process.kill() // SIGKILL
	active(0, 2)
	second := send()
	for _, i := range []int{0, 2} {
		for name := range first[i] {
			if second[i][name] != 2 {
				t.Errorf("%s has left node %d, which was there all the time", name, i)
			}
		}
	}
	nodes[1].start(t)
	active(0, 1, 2)
	third := send()
	if len(third[1]) != len(first[1]) {
		t.Errorf("%d names are at the node that is back, %d were there before", len(third[1]), len(first[1]))
	}
	for name := range first[1] {
		if third[1][name] != 1 {
			t.Errorf("%s has not returned", name)
		}
	}

	if answer, err := nodes[0].manage("health down"); err != nil || answer != "health: down\n" {
		t.Fatalf("%q %v", answer, err)
	}
	active(1, 2)
	if drained := send(); len(drained[0]) != len(third[0]) {
		t.Errorf("the drained node holds %d names, %d before", len(drained[0]), len(third[0]))
	}

	nodes[1].process.kill()
	nodes[2].process.kill()
	active()
	conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", proxy.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "k.1:1|c"); err != nil {
		t.Fatal(err)
	}
	if err := eventually(func() error {
		if !strings.Contains(proxy.output(), "Warning: No backend statsd nodes available!") {
			return fmt.Errorf("the proxy does not say that it has no nodes: %s", proxy.output())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	nodes[2].start(t)
	active(2)
	if last := send(); len(last[2]) != names {
		t.Errorf("the only node has %d of %d names", len(last[2]), names)
	}
	if code, err := proxy.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("the proxy ends with %d %v", code, err)
	}
}

// The proxy as a part of weir run, with the account of what it did.
func TestProxyInWeirRun(t *testing.T) {
	var list []string
	var nodes []*statsdProgram
	for range 2 {
		n := newStatsdProgram(t, "statsd", "backends: [], flushInterval: 3600000")
		n.start(t)
		nodes = append(nodes, n)
		list = append(list, fmt.Sprintf("{host: 127.0.0.1, port: %d, admin_port: %d}", n.port, n.management))
	}
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", `
http: {listen: "127.0.0.1:0"}
sources: {statsd: []}
statsd_proxy:
  listen: ["tcp://127.0.0.1:0"]
  nodes: [`+strings.Join(list, ", ")+`]
`)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	m := regexp.MustCompile(`statsd_proxy=tcp://(\S+)`).FindStringSubmatch(p.log())
	if m == nil {
		t.Fatalf("the log does not say where the proxy listens: %s", p.log())
	}
	conn, err := net.Dial("tcp4", m[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "k.%d:1|c\n", i)
	}
	if _, err := io.WriteString(conn, lines.String()); err != nil {
		t.Fatal(err)
	}
	if err := eventually(func() error {
		one, err := nodes[0].counters()
		if err != nil {
			return err
		}
		two, err := nodes[1].counters()
		if err != nil {
			return err
		}
		if len(one) == 0 || len(two) == 0 || len(one)+len(two) != 1000 {
			return fmt.Errorf("the nodes have %d and %d names, want 1000 together", len(one), len(two))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	var s status
	if err := p.ask("/api/v1/status", &s); err != nil || s.passed("statsd_proxy.lines") != 1000 {
		t.Errorf("%d lines passed, %v", s.passed("statsd_proxy.lines"), err)
	}
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("weir ends with %d %v:\n%s", code, err, p.log())
	}
}
