package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/management"
	"github.com/weirhq/weir/internal/telemetry"
)

const patience = 20 * time.Second

// fakeNode is a daemon that keeps the lines it gets and answers health as it is told.
type fakeNode struct {
	Node
	udp    net.PacketConn
	answer atomic.Pointer[string] // "" closes without an answer

	mu        sync.Mutex
	lines     []string
	datagrams int
}

func newFakeNode(t testing.TB, answer string) *fakeNode {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp.(*net.UDPConn).SetReadBuffer(8 << 20)
	admin, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{udp: udp, Node: Node{Host: "127.0.0.1", Port: udp.LocalAddr().(*net.UDPAddr).Port, AdminPort: admin.Addr().(*net.TCPAddr).Port}}
	n.answer.Store(&answer)
	t.Cleanup(func() {
		udp.Close()
		admin.Close()
	})
	go func() {
		buffer := make([]byte, 65536)
		for {
			size, _, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.lines = append(n.lines, strings.Split(string(buffer[:size]), "\n")...)
			n.datagrams++
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
				if size, _ := conn.Read(command); string(command[:size]) == "health\r\n" {
					io.WriteString(conn, *n.answer.Load())
				}
			}()
		}
	}()
	return n
}

func (n *fakeNode) got() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(slices.Values(n.lines))
}

const up, down = "health: up\n", "health: down\n"

// output is a log several goroutines write to.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// started is a running proxy.
type started struct {
	*Proxy
	t        *testing.T
	log      *output
	registry *telemetry.Registry
}

func startProxy(t *testing.T, interval time.Duration, networks string, nodes ...*fakeNode) *started {
	t.Helper()
	s := &started{t: t, log: new(output), registry: telemetry.NewRegistry()}
	cfg := Config{
		Management: "127.0.0.1:0", CheckInterval: interval, Lanes: 2, Component: "statsd_proxy",
		Settings: func() []management.Setting { return []management.Setting{{Name: "nodes", Value: "x"}} },
	}
	for network := range strings.FieldsSeq(networks) {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = t.TempDir() + "/s"
		}
		cfg.Listen = append(cfg.Listen, statsd.Listen{Network: network, Address: address})
	}
	for _, n := range nodes {
		cfg.Nodes = append(cfg.Nodes, n.Node)
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	s.Proxy = New(cfg, s.registry, slog.New(slog.NewTextHandler(s.log, nil)))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		for _, a := range s.registry.Accounts() {
			if !a.Balanced() {
				t.Errorf("%+v does not balance", a)
			}
		}
	})
	return s
}

// send sends packets to the listener of the given number.
func (s *started) send(listener int, packets ...string) {
	s.t.Helper()
	address := s.Addresses()[listener]
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	for _, p := range packets {
		if _, err := io.WriteString(conn, p); err != nil {
			s.t.Fatal(err)
		}
	}
}

// account is the ledger of lines.
func (s *started) account() telemetry.Account {
	return s.registry.Ledger("statsd_proxy.lines", "lines").Snapshot()
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Every line goes to the owner of its name, whatever way it came and however it was packed.
func TestRouting(t *testing.T) {
	nodes := []*fakeNode{newFakeNode(t, up), newFakeNode(t, up), newFakeNode(t, up)}
	p := startProxy(t, time.Hour, "udp4 tcp unix", nodes...)
	want := make([][]string, len(nodes))
	for listener := range 3 {
		var packet strings.Builder
		for i := range 2000 {
			line := fmt.Sprintf("l%d.name%d:%d|c|#tag:%d", listener, i, i, i)
			packet.WriteString(line + "\n\n") // empty lines are nobody's
			owner, _ := p.ring.Load().owner([]byte(fmt.Sprintf("l%d.name%d", listener, i)))
			want[owner] = append(want[owner], line)
			if listener == 0 && packet.Len() > 8000 {
				p.send(listener, packet.String())
				packet.Reset()
			}
		}
		p.send(listener, packet.String())
	}
	for i, n := range nodes {
		slices.Sort(want[i])
		eventually(t, fmt.Sprintf("node %d has its lines", i), func() bool { return len(n.got()) >= len(want[i]) })
		if got := n.got(); !slices.Equal(got, want[i]) {
			t.Errorf("node %d has %d lines, want %d", i, len(got), len(want[i]))
		}
		if n.datagrams > len(want[i])/4 {
			t.Errorf("node %d got %d lines in %d datagrams", i, len(want[i]), n.datagrams)
		}
	}
	if a := p.account(); a.Received != 6000 || a.Passed != 6000 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
}

func TestLinesOfAnyLength(t *testing.T) {
	n := newFakeNode(t, up)
	p := startProxy(t, time.Hour, "udp4 tcp", n)
	long := "long:" + strings.Repeat("1", 40000) + "|c"
	p.send(0, "first:1|c\n"+long+"\nlast:1|c")
	p.send(1, "endless:"+strings.Repeat("1", longest)+"|c\nafter:1|c\n")
	eventually(t, "all lines are there", func() bool { return len(n.got()) == 4 })
	if got := n.got(); !slices.Equal(got, []string{"after:1|c", "first:1|c", "last:1|c", long}) {
		t.Errorf("%.200q", got)
	}
	if a := p.account(); a.Discarded["line_too_long"] != 1 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
}

func TestNodeLeavesAndReturns(t *testing.T) {
	stays, flaps := newFakeNode(t, up), newFakeNode(t, up)
	p := startProxy(t, 10*time.Millisecond, "udp4", stays, flaps)
	both := []string{stays.ID(), flaps.ID()}
	if got := p.Active(); !slices.Equal(got, both) {
		t.Fatalf("%v are active, want %v", got, both)
	}
	var packet, all []string
	for i := range 100 {
		packet = append(packet, fmt.Sprintf("name%d:1|c", i))
	}
	slices.Sort(packet)
	for round := range 5 {
		for _, answer := range []string{down, "", "busy\n"} {
			flaps.answer.Store(&answer)
			eventually(t, "the node is gone", func() bool { return slices.Equal(p.Active(), both[:1]) })
			before := len(stays.got())
			p.send(0, strings.Join(packet, "\n"))
			eventually(t, "the other one has everything", func() bool { return len(stays.got()) == before+len(packet) })
			back := up
			flaps.answer.Store(&back)
			eventually(t, "the node is back", func() bool { return slices.Equal(p.Active(), both) })
		}
		p.send(0, strings.Join(packet, "\n"))
		all = append(all, packet...)
		eventually(t, "both have their share", func() bool { return len(stays.got())+len(flaps.got()) == len(all)+(round+1)*3*len(packet) })
	}
	if len(flaps.got()) == 0 {
		t.Error("the node that came back gets nothing")
	}
	for _, message := range []string{"Removing node " + flaps.ID() + " from the ring.", "Adding node " + flaps.ID() + " to the ring."} {
		if n := strings.Count(p.log.String(), message); n != 15 {
			t.Errorf("%d times %q, want 15", n, message)
		}
	}
	if a := p.account(); a.Lost() != 0 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
}

func TestAllNodesLost(t *testing.T) {
	one, two := newFakeNode(t, down), newFakeNode(t, down)
	p := startProxy(t, 10*time.Millisecond, "udp4", one, two)
	if got := p.Active(); len(got) > 0 {
		t.Fatalf("%v are active", got)
	}
	p.send(0, "a:1|c\nb:1|c\n")
	eventually(t, "the lines are counted as dropped", func() bool { return p.account().Discarded["no_node"] == 2 })
	if !strings.Contains(p.log.String(), "Warning: No backend statsd nodes available!") {
		t.Errorf("the log does not say so: %s", p.log)
	}
	back := up
	two.answer.Store(&back)
	eventually(t, "a node is back", func() bool { return slices.Equal(p.Active(), []string{two.ID()}) })
	p.send(0, "a:1|c\nb:1|c\n")
	eventually(t, "the lines are there", func() bool { return len(two.got()) == 2 })
}

// A node that takes connections and never answers counts as lost after the check interval.
func TestSilentNode(t *testing.T) {
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	n := newFakeNode(t, up)
	mute := &fakeNode{Node: Node{Host: "127.0.0.1", Port: 9, AdminPort: silent.Addr().(*net.TCPAddr).Port}}
	p := startProxy(t, 50*time.Millisecond, "udp4", n, mute)
	if got := p.Active(); !slices.Equal(got, []string{n.ID()}) {
		t.Errorf("%v are active", got)
	}
	if !strings.Contains(p.log.String(), "no answer to health within 50ms") && !strings.Contains(p.log.String(), "use of closed") {
		t.Errorf("%s", p.log)
	}
}

func TestManagement(t *testing.T) {
	one, two := newFakeNode(t, up), newFakeNode(t, down)
	p := startProxy(t, time.Hour, "udp4", one, two)
	ask := func(command, want string) {
		t.Helper()
		conn, err := net.Dial("tcp", p.Console().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, command+"\n")
		answer := make([]byte, len(want)+100)
		n, err := io.ReadAtLeast(conn, answer, max(len(want), 1))
		if got := string(answer[:n]); got != want {
			t.Errorf("%s: %q %v, want %q", command, got, err, want)
		}
	}
	ask("help", help)
	ask("health", "health: up\n")
	ask("health down", "health: down\n")
	ask("health", "health: down\n")
	ask("health UP", "health: up\n")
	ask("status", "uptime: 0\nnodes: "+one.ID()+" \n")
	ask("config", "\nnodes: x\n")
	ask("nonsense", "ERROR\n")
	ask("quit", "")
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		nodes []Node
		want  string
	}{
		{nil, "no nodes"}, {[]Node{{"a", 1, 2}, {"a", 1, 3}}, `nodes[1]: "a:1" is there twice`}, {[]Node{{"a", 1, 2}, {"a", 2, 2}}, ""},
	} {
		if err := (Config{Nodes: c.nodes}).Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.nodes, err, c.want)
		}
	}
}

func FuzzTake(f *testing.F) {
	for _, packet := range []string{"a:1|c", "a:1|c\nb:2|c\n", "\n\n", "", ":\n:", "a\x00b:\xff|c\n", strings.Repeat("x", 70000)} {
		f.Add([]byte(packet))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		registry := telemetry.NewRegistry()
		p := New(Config{Nodes: []Node{{"127.0.0.1", 1, 1}}, Lanes: 1, CheckInterval: time.Second, Component: "p"}, registry, slog.New(slog.DiscardHandler))
		p.lanes[0].Take([][]byte{packet})
		lines := 0
		for line := range bytes.SplitSeq(packet, []byte("\n")) {
			if len(line) > 0 {
				lines++
			}
		}
		if a := p.lines.Snapshot(); a.Received != int64(lines) || !a.Balanced() {
			t.Errorf("%q: %+v", packet, a)
		}
	})
}
