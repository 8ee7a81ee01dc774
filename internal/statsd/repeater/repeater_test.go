package repeater

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

func start(t testing.TB, c Config) (*Backend, *telemetry.Ledger) {
	t.Helper()
	c.Ledger = telemetry.NewLedger("statsd.repeater", "packets")
	b := New(c)
	if err := b.Init(t.Context(), backend.Environment{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(b, 0) })
	return b, c.Ledger
}

// stop gives the backend some time to send what it holds.
func stop(b *Backend, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return b.Stop(ctx)
}

func account(t *testing.T, l *telemetry.Ledger, received, passed int64, discarded map[string]int64) {
	t.Helper()
	a := l.Snapshot()
	if a.Received != received || a.Passed != passed || a.Buffered != 0 || !a.Balanced() {
		t.Errorf("ledger %+v, want received %d, passed %d and nothing inside", a, received, passed)
	}
	for reason, n := range a.Discarded {
		if n != discarded[reason] {
			t.Errorf("discarded %s: %d, want %d", reason, n, discarded[reason])
		}
	}
}

func TestDatagrams(t *testing.T) {
	f := func(protocol, address string) {
		t.Helper()
		var targets []string
		var sockets []net.PacketConn
		for range 2 {
			socket, err := net.ListenPacket(protocol, address)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			sockets = append(sockets, socket)
			targets = append(targets, socket.LocalAddr().String())
		}
		b, ledger := start(t, Config{Targets: targets, Protocol: protocol})
		packets := []string{"foobar", "a:1|c\nb:2|ms\n", "\x00\xff", strings.Repeat("x", 8000)}
		for _, p := range packets {
			buffer := []byte(p)
			b.Packet(buffer, backend.Remote{})
			clear(buffer) // it is only valid during the call
		}
		buffer := make([]byte, 65535)
		for _, socket := range sockets {
			var got []string
			for range packets {
				socket.SetReadDeadline(time.Now().Add(30 * time.Second))
				n, _, err := socket.ReadFrom(buffer)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(buffer[:n]))
			}
			if diff := cmp.Diff(packets, got); diff != "" {
				t.Errorf("%s: %s", protocol, diff)
			}
		}
		if err := stop(b, 30*time.Second); err != nil {
			t.Error(err)
		}
		account(t, ledger, 8, 8, nil)
		b.Packet([]byte("late"), backend.Remote{})
		account(t, ledger, 10, 8, map[string]int64{"stopped": 2})
	}
	f("udp4", "127.0.0.1:0")
	f("udp6", "[::1]:0")
}

func TestDatagramsThatCannotBeSent(t *testing.T) {
	b, ledger := start(t, Config{Targets: []string{"127.0.0.1:9", "name.invalid:8125"}})
	b.Packet(make([]byte, 65535), backend.Remote{}) // 65507 is the most IPv4 takes
	b.Packet([]byte("a:1|c"), backend.Remote{})     // nobody listens: UDP does not care
	if err := stop(b, 30*time.Second); err != nil {
		t.Error(err)
	}
	account(t, ledger, 4, 1, map[string]int64{"send": 1, "resolve": 2})
}

func TestInit_Failure(t *testing.T) {
	f := func(c Config, want string) {
		t.Helper()
		if err := New(c).Init(t.Context(), backend.Environment{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %s", err, want)
		}
	}
	f(Config{Protocol: "udp"}, `protocol "udp"`)
	f(Config{Targets: []string{"localhost"}}, `"localhost"`)
}

// lines listens for TCP connections and sends every line to received.
func lines(t *testing.T, address string, received chan<- string, connections *atomic.Int64) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer conn.Close()
				for s := bufio.NewScanner(conn); s.Scan(); {
					received <- s.Text()
				}
			}()
		}
	}()
	return l
}

func TestStream(t *testing.T) {
	received := make(chan string, 100)
	var connections atomic.Int64
	l := lines(t, "127.0.0.1:0", received, &connections)
	b, ledger := start(t, Config{Targets: []string{l.Addr().String()}, Protocol: "tcp"})
	var want, got []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("foobar%d", i))
		b.Packet([]byte(want[i]), backend.Remote{})
	}
	for range want {
		got = append(got, <-received)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := stop(b, 30*time.Second); err != nil {
		t.Error(err)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for little traffic", n)
	}
	account(t, ledger, 10, 10, nil)
}

func TestStreamWaitsForATargetThatIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	b, ledger := start(t, Config{Targets: []string{address}, Protocol: "tcp"})
	b.Packet([]byte("a"), backend.Remote{})
	b.Packet([]byte("b"), backend.Remote{})
	received := make(chan string, 100)
	var connections atomic.Int64
	lines(t, address, received, &connections)
	if got := []string{<-received, <-received}; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
	if err := stop(b, 30*time.Second); err != nil {
		t.Error(err)
	}
	account(t, ledger, 2, 2, nil)
}

func TestStreamConnectsAgain(t *testing.T) {
	received := make(chan string, 100)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed := make(chan struct{})
	go func() { // every connection is closed after one line
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			conn.Close()
			received <- line
			closed <- struct{}{}
		}
	}()
	b, _ := start(t, Config{Targets: []string{l.Addr().String()}, Protocol: "tcp"})
	target := b.targets[0]
	for i := range 3 {
		want := fmt.Sprintf("line%d\n", i)
		b.Packet([]byte(want[:len(want)-1]), backend.Remote{})
		// A packet that left just before the close became visible is lost; nothing
		// but a later one can replace it.
		for got := ""; got != want; {
			select {
			case got = <-received:
				<-closed
			case <-time.After(3 * time.Second):
				b.Packet([]byte(want[:len(want)-1]), backend.Remote{})
			}
		}
	}
	if n := target.discard(); n != 0 {
		t.Errorf("%d packets wait", n)
	}
}

func TestStreamThatIsNotRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connections atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			defer conn.Close()
		}
	}()
	b, ledger := start(t, Config{Targets: []string{l.Addr().String()}, Protocol: "tcp"})
	packet := bytes.Repeat([]byte("x"), 8000)
	sent := int64(0)
	for b.full.Count() == 0 { // Packet never blocks, so the queue fills while nobody reads
		b.Packet(packet, backend.Remote{})
		sent++
	}
	if err := stop(b, 10*time.Millisecond); err == nil {
		t.Error("no error although packets were left")
	}
	a := ledger.Snapshot()
	if !a.Balanced() || a.Buffered != 0 || a.Received != sent || a.Discarded["queue_full"] != 1 || a.Discarded["stopped"] == 0 {
		t.Errorf("ledger %+v of %d packets", a, sent)
	}
	if n := connections.Load(); n < 2 || n > maxConnections {
		t.Errorf("%d connections, want more than one and at most %d", n, maxConnections)
	}
}

func TestCut(t *testing.T) {
	f := func(n int, want ...string) {
		t.Helper()
		b := batch{data: []byte("abbccc"), ends: []int{1, 3, 6}}
		b.cut(n)
		var got []string
		for i := range b.ends {
			got = append(got, string(b.packet(i)))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	f(0, "a", "bb", "ccc")
	f(1, "bb", "ccc")
	f(2, "ccc")
	f(3)
}

func BenchmarkPacket(b *testing.B) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer socket.Close()
	r, _ := start(b, Config{Targets: []string{socket.LocalAddr().String()}})
	packet := bytes.Repeat([]byte("x"), 1400)
	b.ReportAllocs()
	for b.Loop() {
		r.Packet(packet, backend.Remote{})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}
