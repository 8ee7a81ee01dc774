package differential

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	// The ring is in a package of its own, which statsd only suggests.
	proxyReference = sync.OnceValues(func() (program, error) {
		return installReference("statsd-proxy-"+referenceVersion, "proxy.js", "statsd@"+referenceVersion, "hashring@3.2.0")
	})
	proxyWeir = sync.OnceValues(func() (program, error) { return buildWeir("statsd-proxy") })
)

// proxyNode stands for a StatsD daemon behind proxies; it notes which names it is sent.
type proxyNode struct {
	port, admin int
	down        atomic.Bool

	mu    sync.Mutex
	names map[string]int // lines by name
}

func newProxyNode(t *testing.T) *proxyNode {
	t.Helper()
	n := &proxyNode{port: freePort(t), admin: freePort(t), names: make(map[string]int)}
	lines, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", n.port))
	if err != nil {
		t.Fatal(err)
	}
	lines.(*net.UDPConn).SetReadBuffer(8 << 20)
	admin, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", n.admin))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		lines.Close()
		admin.Close()
	})
	go func() {
		buffer := make([]byte, 65536)
		for {
			size, _, err := lines.ReadFrom(buffer)
			if err != nil {
				return
			}
			n.mu.Lock()
			for line := range strings.SplitSeq(string(buffer[:size]), "\n") {
				name, _, _ := strings.Cut(line, ":")
				n.names[name]++
			}
			n.mu.Unlock()
		}
	}()
	go func() {
		for {
			conn, err := admin.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				command := make([]byte, 100)
				for {
					if _, err := conn.Read(command); err != nil {
						return
					}
					answer := "health: up\n"
					if n.down.Load() {
						answer = "health: down\n"
					}
					io.WriteString(conn, answer)
				}
			}()
		}
	}()
	return n
}

// proxyOf is a running proxy before nodes of its own.
type proxyOf struct {
	*daemon
	nodes []*proxyNode
}

// startProxy starts p before nodes. The nodes' ports decide the placement, so both proxies get the same ones.
func startProxy(t *testing.T, p program, nodes []*proxyNode) *proxyOf {
	t.Helper()
	d := &daemon{t: t, name: p.name, directory: t.TempDir(), exited: make(chan struct{}), stdout: newOutput(), stderr: newOutput()}
	d.udp, d.mgmt = freePort(t), freePort(t)
	d.config = filepath.Join(d.directory, "proxy.js")
	var list []string
	for _, n := range nodes {
		list = append(list, fmt.Sprintf("{host: '127.0.0.1', port: %d, adminport: %d}", n.port, n.admin))
	}
	d.write(fmt.Sprintf("nodes: [%s], server: './servers/udp', host: '0.0.0.0', port: %d, udp_version: 'udp4', mgmt_port: %d, forkCount: 0, checkInterval: 200, cacheSize: 10000",
		strings.Join(list, ", "), d.udp, d.mgmt))
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
	if !d.manageable() {
		t.Fatalf("%s does not come up\nstdout: %s\nstderr: %s", d.name, d.stdout, d.stderr)
	}
	return &proxyOf{d, nodes}
}

// active are the nodes the proxy says it has.
func (p *proxyOf) active() int {
	_, nodes, _ := strings.Cut(p.ask("status\n"), "nodes: ")
	return len(strings.Fields(strings.TrimSuffix(nodes, "<closed>")))
}

func (p *proxyOf) waitActive(want int) {
	p.t.Helper()
	for deadline := time.Now().Add(startTimeout); p.active() != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s has %d nodes, want %d\n%s%s", p.name, p.active(), want, p.stdout, p.stderr)
		}
	}
}

// placement sends one line of every name and returns which node got it.
func (p *proxyOf) placement(names []string) map[string]int {
	p.t.Helper()
	for _, n := range p.nodes {
		n.mu.Lock()
		clear(n.names)
		n.mu.Unlock()
	}
	conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", p.udp))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	placed := make(map[string]int)
	collect := func() {
		clear(placed)
		for i, n := range p.nodes {
			n.mu.Lock()
			for name, lines := range n.names {
				if other, twice := placed[name]; twice || lines > 1 {
					p.t.Fatalf("%s: %q came %d times to node %d, and to node %d", p.name, name, lines, i, other)
				}
				placed[name] = i
			}
			n.mu.Unlock()
		}
	}
	const atOnce = 50 // lines a socket's buffer surely holds
	for sent := 0; sent < len(names); {
		end := min(sent+atOnce, len(names))
		var packet strings.Builder
		for _, name := range names[sent:end] {
			fmt.Fprintf(&packet, "%s:1|c|#tag:value\n", name)
		}
		if _, err := io.WriteString(conn, packet.String()); err != nil {
			p.t.Fatal(err)
		}
		sent = end
		for deadline := time.Now().Add(startTimeout); ; time.Sleep(time.Millisecond) {
			if collect(); len(placed) == sent {
				break
			}
			if time.Now().After(deadline) {
				p.t.Fatalf("%s: %d of %d names arrived\n%s%s", p.name, len(placed), sent, p.stdout, p.stderr)
			}
		}
	}
	return placed
}

// The same nodes get the same names from both proxies, also when one has gone and when it is back.
func TestProxyPlacement(t *testing.T) {
	ref, err := proxyReference()
	if err != nil {
		t.Fatal(err)
	}
	own, err := proxyWeir()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 10_000 {
		switch i % 4 {
		case 0:
			names = append(names, fmt.Sprintf("app.host%d.requests", i))
		case 1:
			names = append(names, fmt.Sprintf("Name with blanks/and %d", i))
		case 2:
			names = append(names, fmt.Sprintf("tagged;host=h%d;env=prod", i))
		case 3:
			names = append(names, fmt.Sprint(i*7919))
		}
	}
	for _, count := range []int{3, 5, 8} {
		t.Run(fmt.Sprintf("%d nodes", count), func(t *testing.T) {
			var nodes []*proxyNode
			for range count {
				nodes = append(nodes, newProxyNode(t))
			}
			r, w := startProxy(t, ref, nodes), startProxy(t, own, nodes)
			same := func(active int) map[string]int {
				t.Helper()
				r.waitActive(active)
				w.waitActive(active)
				want, got := r.placement(names), w.placement(names)
				if len(want) != len(names) || len(got) != len(names) {
					t.Fatalf("%d and %d of %d names were placed", len(want), len(got), len(names))
				}
				wrong := 0
				used := make(map[int]int)
				for _, name := range names {
					used[want[name]]++
					if want[name] != got[name] {
						if wrong++; wrong < 10 {
							t.Errorf("%q is at node %d, StatsD's proxy sends it to %d", name, got[name], want[name])
						}
					}
				}
				if wrong > 0 || len(used) != active {
					t.Errorf("%d of %d names are at another node; names by node: %v", wrong, len(names), used)
				}
				return got
			}
			whole := same(count)
			nodes[1].down.Store(true)
			for name, node := range same(count - 1) {
				if node == 1 {
					t.Fatalf("%q is sent to a node that is down", name)
				}
			}
			nodes[1].down.Store(false)
			for name, node := range same(count) {
				if node != whole[name] {
					t.Fatalf("%q is at node %d when all nodes are back, it was at %d", name, node, whole[name])
				}
			}
			id := fmt.Sprintf("127.0.0.1:%d", nodes[1].port)
			for _, p := range []*proxyOf{r, w} {
				for _, message := range []string{"Removing node " + id + " from the ring.", "Adding node " + id + " to the ring."} {
					if !strings.Contains(p.stdout.String()+p.stderr.String(), message) {
						t.Errorf("%s does not say %q: %s%s", p.name, message, p.stdout, p.stderr)
					}
				}
			}
			compared.Add(int64(3 * len(names)))
		})
	}
}

// The management consoles of both proxies give the same answers.
func TestProxyConsole(t *testing.T) {
	ref, err := proxyReference()
	if err != nil {
		t.Fatal(err)
	}
	own, err := proxyWeir()
	if err != nil {
		t.Fatal(err)
	}
	nodes := []*proxyNode{newProxyNode(t), newProxyNode(t)}
	r, w := startProxy(t, ref, nodes), startProxy(t, own, nodes)
	mask := func(p *proxyOf, text string) string {
		text = strings.NewReplacer(fmt.Sprint(p.udp), "$UDP", fmt.Sprint(p.mgmt), "$MGMT").Replace(text)
		return statsTimes.ReplaceAllString(text, "$1: <time>")
	}
	for _, command := range []string{"help", "status", "health", "health down", "health", "health up", "health nonsense", "config", "stats", "", "HELP", "quit"} {
		want, got := mask(r, r.ask(command+"\n")), mask(w, w.ask(command+"\n"))
		if want != got {
			t.Errorf("%q\n got %q\nwant %q", command, got, want)
		}
	}
}
