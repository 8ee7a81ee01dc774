package graphite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

const startup = 1699999990

// idle is the flush of a daemon nothing arrived at.
func idle(timestamp int64) *backend.Flush {
	return &backend.Flush{
		Timestamp: timestamp,
		Counters:  []backend.Counter{{Name: "statsd.bad_lines_seen"}, {Name: "statsd.packets_received"}, {Name: "statsd.metrics_received"}},
		Gauges:    []backend.Gauge{{Name: "statsd.timestamp_lag"}},
	}
}

// large is a flush of more bytes than the kernel buffers for a connection.
func large(timestamp int64) *backend.Flush {
	f := idle(timestamp)
	for i := range 200_000 {
		f.Gauges = append(f.Gauges, backend.Gauge{Name: fmt.Sprintf("a.long.name.of.a.gauge.that.fills.buffers.%d", i), Value: 1})
	}
	return f
}

// server is a Graphite server that does with each connection what a test wants.
type server struct {
	listener net.Listener
	port     int
	accepted atomic.Int64
}

func serve(t *testing.T, handle func(net.Conn)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: l, port: l.Addr().(*net.TCPAddr).Port}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			go handle(conn)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return s
}

// reader returns a handler that reads to the end and sends what it read to received.
func reader(received chan<- string) func(net.Conn) {
	return func(conn net.Conn) {
		defer conn.Close()
		text, err := io.ReadAll(conn)
		if err != nil {
			text = []byte(err.Error())
		}
		received <- string(text)
	}
}

func start(t *testing.T, c Config) (*Backend, *telemetry.Ledger) {
	t.Helper()
	c.Ledger = telemetry.NewLedger("statsd.graphite", "flushes")
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Namespace == (Namespace{}) {
		c.Namespace = DefaultNamespace()
	}
	b := New(c)
	if err := b.Init(t.Context(), backend.Environment{Startup: startup, Interval: 10, Prefix: "statsd"}); err != nil {
		t.Fatal(err)
	}
	return b, c.Ledger
}

// account checks that the ledger balances and holds what is wanted; reasons with 0 are left out.
func account(t *testing.T, l *telemetry.Ledger, received, passed, buffered int64, discarded map[string]int64) {
	t.Helper()
	a := l.Snapshot()
	for reason, n := range a.Discarded {
		if n == 0 {
			delete(a.Discarded, reason)
		}
	}
	if discarded == nil {
		discarded = map[string]int64{}
	}
	want := telemetry.Account{Component: "statsd.graphite", Unit: "flushes", Received: received, Passed: passed, Buffered: buffered, Discarded: discarded}
	if diff := cmp.Diff(want, a); diff != "" || !a.Balanced() {
		t.Errorf("ledger (balanced: %v): %s", a.Balanced(), diff)
	}
}

var clock = regexp.MustCompile(`(?m) (\d{10})$`)

func TestIdleFlush(t *testing.T) {
	f := func(n Namespace, wantFirst, wantSecond string) {
		t.Helper()
		received := make(chan string, 1)
		s := serve(t, reader(received))
		b, ledger := start(t, Config{Port: s.port, Namespace: n})
		first := ""
		for i, want := range []string{wantFirst, wantSecond} {
			before := time.Now().Unix()
			if err := b.Flush(t.Context(), idle(1700000000+int64(i)*10)); err != nil {
				t.Fatal(err)
			}
			got := <-received
			// The last four lines carry the time of connecting, and from the second
			// flush on last_flush is the time of the first one.
			lines := strings.SplitAfter(got, "\n")
			if len(lines) != 15 || lines[14] != "" {
				t.Fatalf("%d lines, want 14:\n%s", len(lines)-1, got)
			}
			for j := 10; j < 14; j++ {
				at, err := strconv.ParseInt(clock.FindStringSubmatch(lines[j])[1], 10, 64)
				if err != nil || at < before || at > time.Now().Unix() {
					t.Errorf("line %q has not the time of connecting", lines[j])
				}
				lines[j] = clock.ReplaceAllString(lines[j], " NOW")
			}
			if i == 1 {
				lines[11] = regexp.MustCompile(` 1\d{9} `).ReplaceAllString(lines[11], " LAST ")
				want = strings.Replace(want, "LENGTH", strconv.Itoa(len(first)), 1)
				lines[12] = regexp.MustCompile(` \d+ NOW`).ReplaceAllString(lines[12], " TIME NOW")
			}
			if diff := cmp.Diff(want, regexp.MustCompile(`(calculationtime\S*) \d+ `).ReplaceAllString(strings.Join(lines, ""), "$1 0 ")); diff != "" {
				t.Errorf("flush %d: %s", i+1, diff)
			}
			first = got
		}
		if n := s.accepted.Load(); n != 2 {
			t.Errorf("%d connections, want one per flush", n)
		}
		account(t, ledger, 2, 2, 0, nil)
	}
	f(DefaultNamespace(), `stats.statsd.bad_lines_seen 0 1700000000
stats_counts.statsd.bad_lines_seen 0 1700000000
stats.statsd.packets_received 0 1700000000
stats_counts.statsd.packets_received 0 1700000000
stats.statsd.metrics_received 0 1700000000
stats_counts.statsd.metrics_received 0 1700000000
stats.gauges.statsd.timestamp_lag 0 1700000000
statsd.numStats 4 1700000000
stats.statsd.graphiteStats.calculationtime 0 1700000000
stats.statsd.processing_time 0 1700000000
stats.statsd.graphiteStats.last_exception 0 NOW
stats.statsd.graphiteStats.last_flush 1699999990 NOW
stats.statsd.graphiteStats.flush_time 0 NOW
stats.statsd.graphiteStats.flush_length 0 NOW
`, `stats.statsd.bad_lines_seen 0 1700000010
stats_counts.statsd.bad_lines_seen 0 1700000010
stats.statsd.packets_received 0 1700000010
stats_counts.statsd.packets_received 0 1700000010
stats.statsd.metrics_received 0 1700000010
stats_counts.statsd.metrics_received 0 1700000010
stats.gauges.statsd.timestamp_lag 0 1700000010
statsd.numStats 4 1700000010
stats.statsd.graphiteStats.calculationtime 0 1700000010
stats.statsd.processing_time 0 1700000010
stats.statsd.graphiteStats.last_exception 0 NOW
stats.statsd.graphiteStats.last_flush LAST NOW
stats.statsd.graphiteStats.flush_time TIME NOW
stats.statsd.graphiteStats.flush_length LENGTH NOW
`)
	n := DefaultNamespace()
	n.Legacy, n.GlobalSuffix = false, "host1"
	second := `stats.counters.statsd.bad_lines_seen.rate.host1 0 1700000010
stats.counters.statsd.bad_lines_seen.count.host1 0 1700000010
stats.counters.statsd.packets_received.rate.host1 0 1700000010
stats.counters.statsd.packets_received.count.host1 0 1700000010
stats.counters.statsd.metrics_received.rate.host1 0 1700000010
stats.counters.statsd.metrics_received.count.host1 0 1700000010
stats.gauges.statsd.timestamp_lag.host1 0 1700000010
stats.statsd.numStats.host1 4 1700000010
stats.statsd.graphiteStats.calculationtime.host1 0 1700000010
stats.statsd.processing_time.host1 0 1700000010
stats.statsd.graphiteStats.last_exception.host1 0 NOW
stats.statsd.graphiteStats.last_flush.host1 LAST NOW
stats.statsd.graphiteStats.flush_time.host1 TIME NOW
stats.statsd.graphiteStats.flush_length.host1 LENGTH NOW
`
	first := strings.NewReplacer("1700000010", "1700000000", "LAST", "1699999990", "TIME", "0", "LENGTH", "0").Replace(second)
	f(n, first, second)
}

func TestPickledFlush(t *testing.T) {
	received := make(chan string, 1)
	s := serve(t, reader(received))
	b, ledger := start(t, Config{Port: s.port, Protocol: "pickle"})
	for range 2 {
		if err := b.Flush(t.Context(), idle(1700000000)); err != nil {
			t.Fatal(err)
		}
		metrics, err := unpickle([]byte(<-received))
		if err != nil {
			t.Fatal(err)
		}
		if len(metrics) != 14 || metrics[7] != (metric{"statsd.numStats", 1700000000, "4"}) || metrics[13].Name != "stats.statsd.graphiteStats.flush_length" {
			t.Errorf("%v", metrics)
		}
	}
	account(t, ledger, 2, 2, 0, nil)
}

func TestInit_Failure(t *testing.T) {
	err := New(Config{Protocol: "Pickle"}).Init(t.Context(), backend.Environment{})
	if err == nil || !strings.Contains(err.Error(), `protocol "Pickle"`) {
		t.Errorf("got %v", err)
	}
}

func TestWithoutHostNothingIsSent(t *testing.T) {
	l := telemetry.NewLedger("statsd.graphite", "flushes")
	b := New(Config{Namespace: DefaultNamespace(), Ledger: l})
	if err := b.Flush(t.Context(), idle(1)); err != nil {
		t.Fatal(err)
	}
	account(t, l, 1, 1, 0, nil)
}

// flushWithin flushes under a deadline and fails the test when Flush does not
// keep it, with a margin for a loaded machine.
func flushWithin(t *testing.T, b *Backend, deadline time.Duration, f *backend.Flush) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- b.Flush(ctx, f) }()
	select {
	case err := <-result:
		return err
	case <-time.After(deadline + 30*time.Second):
		t.Fatal("Flush did not return at its deadline")
		return nil
	}
}

func TestServerThatFails(t *testing.T) {
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	f := func(reason string, flush *backend.Flush, handle func(net.Conn)) {
		t.Helper()
		s := serve(t, handle)
		b, ledger := start(t, Config{Port: s.port})
		patience := 20 * time.Second
		if reason == "timeout" {
			patience = time.Second
		}
		err := flushWithin(t, b, patience, flush)
		if err == nil || !strings.Contains(err.Error(), b.address) {
			t.Errorf("%s: got %v, want an error that names the server", reason, err)
		}
		account(t, ledger, 1, 0, 0, map[string]int64{reason: 1})
		status := map[string]float64{}
		b.Status(func(stat string, v float64) { status[stat] = v })
		if status["last_exception"] < 1700000000 || status["last_flush"] != startup || status["flush_length"] != 0 {
			t.Errorf("%s: status %v", reason, status)
		}
	}
	f("timeout", large(1), func(net.Conn) { <-released })                          // accepts, never reads
	f("write", large(1), func(c net.Conn) { c.Read(make([]byte, 100)); abort(c) }) // breaks in the middle
	f("write", idle(1), func(c net.Conn) { c.Read(make([]byte, 10)); abort(c) })

	down := serve(t, nil)
	down.listener.Close()
	b, ledger := start(t, Config{Port: down.port})
	if err := b.Flush(t.Context(), idle(1)); err == nil {
		t.Error("no error although nobody listens")
	}
	account(t, ledger, 1, 0, 0, map[string]int64{"connect": 1})
	if err := b.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// abort closes a connection with bytes of the peer unread, which resets it.
func abort(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func TestServerWithOddEnds(t *testing.T) {
	received := make(chan string, 1)
	f := func(name string, handle func(net.Conn)) {
		t.Helper()
		b, ledger := start(t, Config{Port: serve(t, handle).port})
		if err := flushWithin(t, b, 2*time.Second, large(1700000000)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text := <-received; strings.Count(text, "\n") != 200_014 {
			t.Errorf("%s: %d lines", name, strings.Count(text, "\n"))
		}
		account(t, ledger, 1, 1, 0, nil)
	}
	f("closes its own direction first", func(c net.Conn) {
		c.(*net.TCPConn).CloseWrite()
		reader(received)(c)
	})
	held := make(chan net.Conn, 1)
	f("does not close", func(c net.Conn) {
		text, _ := io.ReadAll(c)
		received <- string(text)
		held <- c
	})
	(<-held).Close()
	f("talks back", func(c net.Conn) {
		go func() {
			for _, err := c.Write(make([]byte, 4096)); err == nil; _, err = c.Write(make([]byte, 4096)) {
			}
		}()
		reader(received)(c)
	})
	f("reads slowly", func(c net.Conn) {
		defer c.Close()
		var text []byte
		piece := make([]byte, 512)
		for n, err := c.Read(piece); err == nil; n, err = c.Read(piece) {
			text = append(text, piece[:n]...)
		}
		received <- string(text)
	})
}

func TestRetry(t *testing.T) {
	received := make(chan string, 10)
	up := atomic.Bool{}
	s := serve(t, func(c net.Conn) {
		if up.Load() {
			reader(received)(c)
		} else {
			abort(c)
		}
	})
	for _, protocol := range []string{"text", "pickle"} {
		up.Store(false)
		b, ledger := start(t, Config{Port: s.port, Protocol: protocol, Retry: Retry{Flushes: 2}})
		for i := range 3 {
			if err := b.Flush(t.Context(), idle(int64(i))); err != nil {
				t.Fatal(err) // it is kept, not lost
			}
		}
		account(t, ledger, 3, 0, 2, map[string]int64{"retry_full": 1})
		up.Store(true)
		if err := b.Flush(t.Context(), idle(3)); err != nil {
			t.Fatal(err)
		}
		for want := int64(1); want <= 3; want++ {
			text := []byte(<-received)
			if protocol == "pickle" {
				metrics, err := unpickle(text)
				if err != nil || len(metrics) != 14 || metrics[0].Timestamp != want {
					t.Errorf("%v %v, want 14 of time %d", err, metrics, want)
				}
				continue
			}
			if lines := bytes.Count(text, []byte("\n")); lines != 14 || !bytes.Contains(text, fmt.Appendf(nil, "numStats 4 %d\n", want)) {
				t.Errorf("%d lines, want 14 of time %d:\n%s", lines, want, text)
			}
		}
		account(t, ledger, 4, 3, 0, map[string]int64{"retry_full": 1})
	}
}

func TestRetryBoundsBytes(t *testing.T) {
	s := serve(t, abort)
	b, ledger := start(t, Config{Port: s.port, Retry: Retry{Flushes: 100, Bytes: 1500}}) // a body has about 500
	for i := range 6 {
		b.Flush(t.Context(), idle(int64(i)))
	}
	if b.pendingBytes > 1500 || b.pendingBytes < 900 {
		t.Errorf("%d bytes are kept", b.pendingBytes)
	}
	kept := int64(len(b.pending))
	account(t, ledger, 6, 0, kept, map[string]int64{"retry_full": 6 - kept})
	if err := b.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "before the end") {
		t.Errorf("got %v", err)
	}
	account(t, ledger, 6, 0, 0, map[string]int64{"retry_full": 6 - kept, "stopped": kept})
}

func TestRetryOfAFlushThatIsTooLarge(t *testing.T) {
	b, ledger := start(t, Config{Port: serve(t, abort).port, Retry: Retry{Flushes: 3, Bytes: 100}})
	if err := b.Flush(t.Context(), idle(1)); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
	account(t, ledger, 1, 0, 0, map[string]int64{"retry_full": 1})
}

func TestCancelEndsAFlush(t *testing.T) {
	connected := make(chan struct{})
	released := make(chan struct{})
	defer close(released)
	s := serve(t, func(net.Conn) { close(connected); <-released })
	b, ledger := start(t, Config{Port: s.port})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-connected; cancel() }()
	if err := b.Flush(ctx, large(1)); err == nil {
		t.Error("no error although the flush was cancelled")
	}
	account(t, ledger, 1, 0, 0, map[string]int64{"timeout": 1})
}
