package differential

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/weirhq/weir/internal/cli" // what is tested runs as a program: without this go test would not notice that it changed
)

// referenceVersion is the newest version of the npm package.
const referenceVersion = "0.9.0"

// startTimeout and stopTimeout are generous: machines that test are busy.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 10 * time.Second
)

// program is a daemon that takes a configuration file as its last argument.
type program struct {
	name    string
	command []string
}

var (
	reference = sync.OnceValues(func() (program, error) {
		return installReference("statsd-"+referenceVersion, "stats.js", "statsd@"+referenceVersion)
	})
	weir = sync.OnceValues(func() (program, error) { return buildWeir("statsd") })
)

// buildDirectory is where TestMain has the binary built.
var buildDirectory string

func TestMain(m *testing.M) {
	directory, err := os.MkdirTemp("", "weir-differential-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDirectory = directory
	// The daemons wait for flushes nearly all of the time: more pairs than cores can run at once.
	flag.Parse()
	flag.Set("test.parallel", "4")
	code := m.Run()
	os.RemoveAll(directory)
	fmt.Printf("%d cases compared with statsd %s\n", compared.Load(), referenceVersion)
	os.Exit(code)
}

// installReference installs npm packages into a directory of the user's cache, once, and returns the
// script of statsd that was asked for.
func installReference(name, main string, packages ...string) (program, error) {
	const advice = "install Node.js and npm (Debian: apt-get install nodejs npm) and let npm reach its registry, or run make deps-test"
	cache, err := os.UserCacheDir()
	if err != nil {
		return program{}, fmt.Errorf("no place for the reference daemon: %w", err)
	}
	directory := filepath.Join(cache, "weir-test", name)
	script := filepath.Join(directory, "node_modules", "statsd", main)
	p := program{"statsd " + referenceVersion, []string{"node", script}}
	if _, err := os.Stat(script); err == nil {
		return p, nil
	}
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil {
		return program{}, err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(directory), "installing-")
	if err != nil {
		return program{}, err
	}
	defer os.RemoveAll(fresh)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	options := []string{"install", "--no-audit", "--no-fund", "--omit=optional", "--prefix", fresh}
	install := exec.CommandContext(ctx, "npm", append(options, packages...)...)
	if out, err := install.CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("cannot install the reference daemon with %q: %w\n%s\n%s", install, err, out, advice)
	}
	if err := os.Rename(fresh, directory); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return program{}, err
	}
	return p, nil
}

// buildWeir builds the binary without the race detector: this test is about what it says.
func buildWeir(command string) (program, error) {
	binary := filepath.Join(buildDirectory, "weir")
	build := exec.Command("go", "build", "-o", binary, "github.com/weirhq/weir/cmd/weir")
	if out, err := build.CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("cannot build weir: %w\n%s", err, out)
	}
	return program{"weir", []string{binary, command}}, nil
}

// daemon is a running program with a Graphite server of its own.
type daemon struct {
	t        *testing.T
	name     string
	cmd      *exec.Cmd
	exited   chan struct{}
	stdout   *output
	stderr   *output
	graphite *graphiteServer
	repeated net.PacketConn // where a repeater sends to

	directory, config    string
	udp, tcp, udp2, mgmt int
	socket, keys         string
	replace              *strings.Replacer // what differs by place alone
}

// Ports are below those the kernel gives to connections (32768 on Linux), each
// is used once, and tests of another process begin elsewhere.
const firstPort, lastPort = 20000, 32000

var lastFree atomic.Int64

// freePort returns a port that is free for TCP and UDP.
func freePort(t *testing.T) int {
	t.Helper()
	for range lastPort - firstPort {
		port := firstPort + int(lastFree.Add(1)+int64(os.Getpid())*97)%(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// start starts p with a configuration made of options, in which $UDP, $TCP,
// $UDP2, $MGMT, $GRAPHITE, $SOCKET, $KEYS and $REPEATED stand for this daemon's own.
// It returns when the daemon says that it is up. The daemon is stopped with the test.
func start(t *testing.T, p program, options string) *daemon {
	t.Helper()
	for attempt := 1; ; attempt++ {
		d := &daemon{t: t, name: p.name, directory: t.TempDir(), exited: make(chan struct{}), stdout: newOutput(), stderr: newOutput()}
		d.graphite = newGraphiteServer(t)
		repeated, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { repeated.Close() })
		d.repeated = repeated
		d.udp, d.tcp, d.udp2, d.mgmt = freePort(t), freePort(t), freePort(t), freePort(t)
		d.socket, d.keys = filepath.Join(d.directory, "s"), filepath.Join(d.directory, "keys")
		d.config = filepath.Join(d.directory, "config.js")
		values := []string{
			"$UDP2", fmt.Sprint(d.udp2), "$UDP", fmt.Sprint(d.udp), "$TCP", fmt.Sprint(d.tcp), "$MGMT", fmt.Sprint(d.mgmt),
			"$GRAPHITE", fmt.Sprint(d.graphite.port()), "$SOCKET", d.socket, "$KEYS", d.keys,
			"$REPEATED", fmt.Sprint(repeated.LocalAddr().(*net.UDPAddr).Port),
		}
		var back []string
		for i := 0; i < len(values); i += 2 {
			back = append(back, values[i+1], values[i])
		}
		d.replace = strings.NewReplacer(append(back, d.config, "$CONFIG")...)
		d.write(strings.NewReplacer(values...).Replace(options))
		d.cmd = exec.Command(p.command[0], append(p.command[1:len(p.command):len(p.command)], d.config)...)
		d.cmd.Stdout, d.cmd.Stderr = d.stdout, d.stderr
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			d.cmd.Wait()
			close(d.exited)
		}()
		t.Cleanup(d.kill)
		if d.stdout.wait("server is up", startTimeout, d.exited) && d.manageable() {
			return d
		}
		d.kill()
		if attempt == 3 || !strings.Contains(strings.ToLower(d.stderr.String()), "in use") {
			t.Fatalf("%s does not come up with %s\nstdout: %s\nstderr: %s", d.name, options, d.stdout, d.stderr)
		}
	}
}

// manageable reports whether the management console comes up: the reference
// daemon says that it is up before it has the port.
func (d *daemon) manageable() bool {
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", d.mgmt))
		if err == nil {
			conn.Close()
			return true
		}
		select {
		case <-d.exited:
			return false
		default:
		}
	}
	return false
}

func (d *daemon) write(options string) {
	d.t.Helper()
	if err := os.WriteFile(d.config, []byte("{\n"+options+"\n}\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// stop sends SIGTERM and returns the exit code.
func (d *daemon) stop() int {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(stopTimeout):
		d.t.Errorf("%s does not end", d.name)
		d.kill()
	}
	return d.cmd.ProcessState.ExitCode()
}

func (d *daemon) kill() {
	d.cmd.Process.Kill()
	<-d.exited
}

// output collects what a process prints.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced at every write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// wait reports whether text is printed before the timeout or the end.
func (o *output) wait(text string, timeout time.Duration, end <-chan struct{}) bool {
	deadline := time.After(timeout)
	for {
		o.mu.Lock()
		found, changed := strings.Contains(o.text.String(), text), o.changed
		o.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-changed:
		case <-end:
			return strings.Contains(o.String(), text)
		case <-deadline:
			return false
		}
	}
}

// graphiteServer takes flushes in: each is what comes over one connection until its end.
type graphiteServer struct {
	listener net.Listener
	flushes  chan []byte
}

func newGraphiteServer(t *testing.T) *graphiteServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	g := &graphiteServer{l, make(chan []byte, 1000)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			payload, _ := io.ReadAll(conn)
			conn.Close()
			g.flushes <- payload
		}
	}()
	return g
}

func (g *graphiteServer) port() int { return g.listener.Addr().(*net.TCPAddr).Port }

// next is the next flush.
func (d *daemon) next() []byte {
	d.t.Helper()
	select {
	case payload := <-d.graphite.flushes:
		return payload
	case <-d.exited:
		d.t.Fatalf("%s ended: %s%s", d.name, d.stdout, d.stderr)
	case <-time.After(startTimeout):
		d.t.Fatalf("%s does not flush: %s%s", d.name, d.stdout, d.stderr)
	}
	return nil
}

// send sends one packet: over UDP, or as "tcp:...", "unix:..." and "udp2:..." over
// the other listeners.
func (d *daemon) send(packets ...string) {
	d.t.Helper()
	last := ""
	for _, packet := range packets {
		via, data := "udp", packet
		for _, other := range []string{"tcp", "unix", "udp2"} {
			if rest, ok := strings.CutPrefix(packet, other+":"); ok {
				via, data = other, rest
			}
		}
		if last != "" && via != last {
			time.Sleep(30 * time.Millisecond) // two sockets have no common order
		}
		last = via
		network, address := "udp4", fmt.Sprintf("127.0.0.1:%d", d.udp)
		switch via {
		case "tcp":
			network, address = "tcp4", fmt.Sprintf("127.0.0.1:%d", d.tcp)
		case "unix":
			network, address = "unix", d.socket
		case "udp2":
			address = fmt.Sprintf("127.0.0.1:%d", d.udp2)
		}
		conn, err := net.Dial(network, address)
		if err != nil {
			d.t.Fatalf("%s: %v", d.name, err)
		}
		for i, part := range strings.Split(data, "<PAUSE>") { // two reads of a stream
			if i > 0 {
				time.Sleep(30 * time.Millisecond)
			}
			if _, err := conn.Write([]byte(part)); err != nil {
				d.t.Fatalf("%s: %v", d.name, err)
			}
		}
		conn.Close()
		if via != "udp" && via != "udp2" {
			time.Sleep(10 * time.Millisecond) // the order of connections
		}
	}
}

// ask sends one management command over a connection of its own and returns
// everything that comes until the daemon is silent or closes.
func (d *daemon) ask(command string) string {
	d.t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", d.mgmt))
	if err != nil {
		d.t.Fatalf("%s: %v", d.name, err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, command); err != nil {
		d.t.Fatalf("%s: %v", d.name, err)
	}
	var answer []byte
	buffer := make([]byte, 1<<16)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		n, err := conn.Read(buffer)
		answer = append(answer, buffer[:n]...)
		if errors.Is(err, io.EOF) {
			return string(answer) + "<closed>"
		}
		if err != nil {
			return string(answer)
		}
		conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	}
}

var (
	stampLine    = regexp.MustCompile(`(?m)^\d{1,2} [A-Z][a-z]{2} \d\d:\d\d:\d\d - `)
	flushDate    = regexp.MustCompile(`[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d GMT[-+]\d{4} \([^)]*\)`)
	pid          = regexp.MustCompile(`- \[\d+\] `)
	graphiteLine = regexp.MustCompile(`(?m)^(.*) (\S+) \d+$`)
	timeNames    = regexp.MustCompile(`(calculationtime|processing_time|flush_time|flush_length|last_flush|last_exception|timestamp_lag)($|[.;])`)
	statsTimes   = regexp.MustCompile(`(?m)^(uptime|messages\.last_msg_seen|graphite\.\w+|console\.lastFlush|console\.lastException): \d+$`)
	lag          = regexp.MustCompile(`('[^']*\.timestamp_lag'): \S+?(,| )`)
)

// maskGraphite masks what depends on time in the lines of a flush.
func maskGraphite(payload []byte) string {
	return graphiteLine.ReplaceAllStringFunc(string(payload), func(line string) string {
		m := graphiteLine.FindStringSubmatch(line)
		if timeNames.MatchString(m[1]) {
			m[2] = "<time>"
		}
		return m[1] + " " + m[2] + " <time>"
	})
}

// mask masks what depends on time and place in text for people.
func (d *daemon) mask(text string) string {
	text = d.replace.Replace(text)
	text = stampLine.ReplaceAllString(text, "<stamp> - ")
	text = flushDate.ReplaceAllString(text, "<date>")
	text = pid.ReplaceAllString(text, "- [<pid>] ")
	text = lag.ReplaceAllString(text, "$1: <time>$2")
	return statsTimes.ReplaceAllString(text, "$1: <time>")
}
