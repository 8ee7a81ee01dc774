package management

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
)

// metrics is a Source with some of everything.
type metrics struct {
	mu       sync.Mutex
	status   statsd.Status
	counters []backend.Counter
}

func some() *metrics {
	return &metrics{
		status: statsd.Status{Startup: time.Unix(1700000000, 0), LastPacket: time.Unix(1700000058, 600_000_000), NextFlush: time.Unix(1700000070, 0), BadLines: 3},
		counters: []backend.Counter{{Name: "statsd.bad_lines_seen", Value: 0}, {Name: "statsd.packets_received", Value: 1}, {Name: "statsd.metrics_received", Value: 2},
			{Name: "a", Value: 0.5}, {Name: "b.c", Value: math.Copysign(0, -1)}, {Name: "b.d", Value: 1e21}},
	}
}

func (m *metrics) Status() statsd.Status       { return m.status }
func (m *metrics) Counters() []backend.Counter { return m.counters }
func (m *metrics) Gauges() []backend.Gauge {
	return []backend.Gauge{{Name: "g1", Value: 3}, {Name: "statsd.timestamp_lag"}}
}
func (m *metrics) Timers() []backend.Timer {
	return []backend.Timer{{Name: "t1"}, {Name: "a.b", Values: []float64{1, 2, 9}}}
}
func (m *metrics) Delete(kind statsd.Kind, pattern string) (deleted []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kind != statsd.Counter {
		return nil
	}
	kept := m.counters[:0:0]
	for _, c := range m.counters {
		if prefix, ok := strings.CutSuffix(pattern, "*"); c.Name == pattern || ok && strings.HasPrefix(c.Name, prefix) {
			deleted = append(deleted, c.Name)
		} else {
			kept = append(kept, c)
		}
	}
	m.counters = kept
	return deleted
}

// reporter is a backend with status lines.
type reporter struct {
	backend.Backend
	name   string
	status func(write func(string, float64))
}

func (r reporter) Name() string                       { return r.name }
func (r reporter) Status(write func(string, float64)) { r.status(write) }

// mute is a backend without.
type mute struct{ backend.Backend }

func settings() []Setting {
	return []Setting{{Name: "port", Value: "8125"}, {Name: "backends", Sub: "0", Value: "./backends/graphite"}, {Name: "console", Sub: "prettyprint", Value: "true"}}
}

func console(source Source, out io.Writer, backends ...backend.Backend) *Console {
	c := newConsole("127.0.0.1:0", source, backends, settings, slog.New(slog.NewTextHandler(out, nil)))
	c.now = func() time.Time { return time.Unix(1700000060, 0) }
	return c
}

func TestCommands(t *testing.T) {
	graphite := reporter{name: "graphite", status: func(write func(string, float64)) {
		write("last_flush", 1700000055)
		write("last_exception", 0)
		write("flush_time", 2)
		write("flush_length", 1234.5)
	}}
	printing := reporter{name: "console", status: func(write func(string, float64)) { write("lastFlush", 1700000050) }}
	broken := reporter{name: "broken", status: func(write func(string, float64)) { write("last_flush", 1700000060); panic("no status") }}
	var log bytes.Buffer
	c := console(some(), &log, graphite, mute{}, broken, printing)
	f := func(command, want string) {
		t.Helper()
		got, quit := c.answer(command)
		if diff := cmp.Diff(want, got); diff != "" || quit {
			t.Errorf("%q (quit %v): %s", command, quit, diff)
		}
	}
	f("help", "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, config, quit\n\n")
	f("stats", `uptime: 60
messages.last_msg_seen: 1
messages.bad_lines_seen: 3
graphite.last_flush: 5
graphite.last_exception: 1700000060
graphite.flush_time: 2
graphite.flush_length: 1234.5
broken.last_flush: 0
console.lastFlush: 1700000050
END

`)
	if !strings.Contains(log.String(), "Failed to read stats for backend broken: no status") {
		t.Errorf("log %s", log.String())
	}
	f("counters", `{
  'statsd.bad_lines_seen': 0,
  'statsd.packets_received': 1,
  'statsd.metrics_received': 2,
  a: 0.5,
  'b.c': -0,
  'b.d': 1e+21
}
END

`)
	f("gauges", "{ g1: 3, 'statsd.timestamp_lag': 0 }\nEND\n\n")
	f("timers", "{ t1: [], 'a.b': [ 1, 2, 9 ] }\nEND\n\n")
	f("delcounters a zz b.* b.*", "deleted: a\nmetric zz not found\ndeleted: b.c\ndeleted: b.d\nmetric b.* not found\nEND\n\n")
	f("delcounters", "END\n\n")
	f("delcounters  ", "metric  not found\nmetric  not found\nEND\n\n") // words between single blanks may be empty
	f("delgauges g2", "metric g2 not found\nEND\n\n")
	f("deltimers \xff", "metric \uFFFD not found\nEND\n\n")
	f("health", "health: up\n")
	f("health DOWN", "health: down\n")
	f("health maybe", "health: down\n")
	f("health", "health: down\n")
	f("health Up", "health: up\n")
	f("config", "\nport: 8125\nbackends > 0: ./backends/graphite\nconsole > prettyprint: true\n")
	f("", "ERROR\n")
	f("Help", "ERROR\n")
	f("stats now", c.stats())
	if text, quit := c.answer("quit"); text != "" || !quit {
		t.Errorf("quit: %q %v", text, quit)
	}
}

func TestNoBackendIsAskedBeforeItIsLoaded(t *testing.T) {
	source := some()
	source.status.NextFlush = time.Time{}
	c := console(source, io.Discard, reporter{name: "early", status: func(func(string, float64)) { t.Error("asked") }})
	if got := c.stats(); !strings.HasSuffix(got, "bad_lines_seen: 3\nEND\n\n") {
		t.Errorf("%s", got)
	}
}

func TestSetHealthy(t *testing.T) {
	c := console(some(), io.Discard)
	c.SetHealthy(false)
	if text, _ := c.answer("health"); text != "health: down\n" || c.Healthy() {
		t.Errorf("%q", text)
	}
}

// started returns a running Console.
func started(t *testing.T, out io.Writer) *Console {
	t.Helper()
	c := console(some(), out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func dial(t *testing.T, c *Console) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", c.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// ask sends text in one write and reads as much as is wanted.
func ask(t *testing.T, conn net.Conn, text, want string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("%q: got %q (%v), want %q", text, got, err, want)
	}
}

func TestConversation(t *testing.T) {
	c := started(t, io.Discard)
	first, second := dial(t, c), dial(t, c)
	ask(t, first, "health", "health: up\n") // no newline: what one read returns is a command
	ask(t, second, "health down\n", "health: down\n")
	ask(t, first, "\r\n health \r\n\r\n", "health: down\n")
	ask(t, first, "\n", "ERROR\n")
	ask(t, first, "gauges\ntimers\r\nnonsense", "{ g1: 3, 'statsd.timestamp_lag': 0 }\nEND\n\n{ t1: [], 'a.b': [ 1, 2, 9 ] }\nEND\n\nERROR\n")
	ask(t, first, "health up\nquit\nhealth down\n", "health: up\n")
	if n, err := first.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after quit: %d bytes, %v", n, err)
	}
	ask(t, second, "health", "health: up\n")
	c.Stop()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a client is still connected after Stop")
	}
}

func TestStart_Failure(t *testing.T) {
	c := started(t, io.Discard)
	other := console(some(), io.Discard)
	other.address = c.Address().String()
	if err := other.Start(); err == nil || !strings.Contains(err.Error(), other.address) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

func TestTheClientThatIsSilentLongestMakesRoom(t *testing.T) {
	c := started(t, io.Discard)
	var clients []net.Conn
	for range maxClients {
		conn := dial(t, c)
		ask(t, conn, "health", "health: up\n")
		clients = append(clients, conn)
	}
	ask(t, clients[0], "health", "health: up\n")
	ask(t, dial(t, c), "health", "health: up\n")
	if _, err := clients[1].Read(make([]byte, 1)); err == nil {
		t.Error("the client that was silent longest is still connected")
	}
	ask(t, clients[0], "health", "health: up\n")
}

func TestLongCommandsAndBinaryBytes(t *testing.T) {
	c := console(some(), io.Discard)
	here, there := net.Pipe() // a read returns no more than one write
	go func() {
		c.serve(&client{conn: there})
		there.Close()
	}()
	go func() {
		here.Write(bytes.Repeat([]byte("\x00x\xff"), 100_000))
		here.Write([]byte("health\nquit\n"))
	}()
	got, err := io.ReadAll(here)
	pieces := (300_000 + maxChunk - 1) / maxChunk
	if want := strings.Repeat("ERROR\n", pieces) + "health: up\n"; string(got) != want || err != nil {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

func TestClientsThatGoAwayOrNeverRead(t *testing.T) {
	many := some()
	for i := range 100_000 {
		many.counters = append(many.counters, backend.Counter{Name: fmt.Sprintf("counter.%d", i)})
	}
	f := func(leave func(net.Conn), want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			c := console(many, &log)
			here, there := net.Pipe()
			done := make(chan struct{})
			go func() {
				c.serve(&client{conn: there})
				close(done)
			}()
			here.Write([]byte("counters\n"))
			here.Read(make([]byte, 100))
			leave(here)
			<-done // the clock jumps to the deadline of the write
			if !strings.Contains(log.String(), "MGMT: Caught") || !strings.Contains(log.String(), "Moving on") || !strings.Contains(log.String(), want) {
				t.Errorf("log %q", log.String())
			}
			here.Close()
		})
	}
	f(func(conn net.Conn) { conn.Close() }, "closed pipe")
	f(func(net.Conn) {}, "timeout")
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{"help", "stats", "counters", "timers", "gauges", "delcounters a b.*", "health down", "config", "", " ", "delgauges  \xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, command string) {
		c := console(some(), io.Discard)
		text, quit := c.answer(command)
		if quit != (text == "") || !quit && !strings.HasSuffix(text, "\n") {
			t.Errorf("%q: %q, quit %v", command, text, quit)
		}
	})
}
