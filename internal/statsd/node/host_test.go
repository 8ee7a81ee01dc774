package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// patience is how long a test waits for something that should happen soon.
const patience = 30 * time.Second

// fixture is a Host with modules in files of their own.
type fixture struct {
	*Host
	t        testing.TB
	scripts  *script.Registry
	registry *telemetry.Registry
	said     *said
	log      *said
}

// said collects text.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func newSaid() *said { return &said{news: make(chan struct{})} }

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
	return s.text.Write(p)
}

// wait returns when so much is there n times.
func (s *said) wait(t *testing.T, text string, n int) {
	t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		have, news := strings.Count(s.text.String(), text), s.news
		s.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("%q is there %d times, want %d:\n%s", text, have, n, s)
		}
	}
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// environment is what a server tells backends.
var environment = backend.Environment{Startup: 1700000000, Interval: 1, Prefix: "statsd"}

// prepare writes files ("NAME", text, ...) and makes a Host whose backends are those named "./...".
func prepare(t testing.TB, change func(c *Config), files ...string) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{t: t, said: newSaid(), log: newSaid(), registry: telemetry.NewRegistry()}
	f.scripts = script.NewRegistry(f.registry)
	c := Config{Name: "node", Node: "node", Option: "weir.node", Roots: []string{dir}, GaugeTTL: 1, Budget: DefaultBudget(), Output: func(stream, kind, text string) {
		fmt.Fprintf(f.said, "%s %s: %s\n", stream, kind, text)
	}}
	c.Budget.RestartMin, c.Budget.RestartMax = 10*time.Millisecond, 50*time.Millisecond
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutSuffix(files[i], ".js"); ok && !strings.Contains(name, "/") && name != "config" {
			c.Backends = append(c.Backends, "./"+name)
		}
		if files[i] == "config.js" {
			c.ConfigFile = path
		}
	}
	if change != nil {
		change(&c)
	}
	f.Host = New(c, f.scripts, f.registry, slog.New(slog.NewTextHandler(f.log, nil)))
	return f
}

// start is prepare and Init; the Host is stopped with the test, and its account must balance.
func start(t testing.TB, change func(c *Config), files ...string) *fixture {
	t.Helper()
	f := prepare(t, change, files...)
	if err := f.Init(t.Context(), environment); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Error(err)
		}
		for _, a := range f.registry.Accounts() {
			if !a.Balanced() || a.Buffered != 0 {
				t.Errorf("%+v", a)
			}
		}
	})
	return f
}

func (f *fixture) flush(flush *backend.Flush) error {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	return f.Flush(ctx, flush)
}

// pid is the child's.
func (f *fixture) pid() int { return f.scripts.Stats()[0].PID }

// module is a backend whose init has the body.
func module(body string) string {
	return "exports.init = function (startup, config, events, logger) {\n" + body + "\nreturn true;\n};\n"
}

const showFlush = `events.on('flush', function (ts, m) { console.log('FLUSH ' + ts + ' ' + JSON.stringify(m)); });`

func refused(t *testing.T, want string, change func(c *Config), files ...string) {
	t.Helper()
	f := prepare(t, change, files...)
	err := f.Init(t.Context(), environment)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if strings.Contains(f.log.String(), "restart_in") {
		t.Errorf("it was to be started again:\n%s", f.log)
	}
	if n := len(f.scripts.Stats()); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// What cannot be loaded says why, and nothing is left running.
func TestRefused(t *testing.T) {
	refused(t, "x.js:2: Failed to load backend: ./x: ReferenceError: missing is not defined", nil, "x.js", module("missing();"))
	refused(t, "Failed to load backend: ./x: Error: init returned no true: it refuses to start", nil, "x.js", "exports.init = function () { return false; };")
	refused(t, "Failed to load backend: ./x: Error: init returned no true", nil, "x.js", "exports.init = function () {};")
	refused(t, "it exports no function init", nil, "x.js", "")
	refused(t, "x.js:2: Failed to load backend: ./x: SyntaxError: Unexpected end of input", nil, "x.js", "exports.init = function ( {\n")
	refused(t, "exited with code 3", nil, "x.js", "process.exit(3)")
	refused(t, "x.js:1: Failed to load backend: ./x: Error: Cannot find module 'left-pad-of-nobody'", nil, "x.js", "require('left-pad-of-nobody');")
	refused(t, "Failed to load backend: ./y: Error: Cannot find module './y'; looked in \"/", func(c *Config) { c.Backends = []string{"./y"} })
	refused(t, "Failed to load server: ./s: Error: start returned no true", func(c *Config) {
		c.Backends, c.Servers = nil, []Server{{"./s", -1}}
	}, "s.js", "exports.start = function () {};")
	refused(t, "config.js:2: Failed to load the configuration", nil, "config.js", "{\n a: nobody.knows }", "x.js", module(""))
	refused(t, `cannot load ./x: it needs Node.js, and there is no program "/no/such/node"; install it (Debian: apt-get install nodejs) or say where it is with weir.node`,
		func(c *Config) { c.Node = "/no/such/node" }, "x.js", module(""))
	refused(t, "killed: no sign of life", func(c *Config) { c.Budget.Hard = time.Second }, "x.js", module("for (;;);"))
}

// The hash is as in section 3.2 of the specification.
func TestFlush(t *testing.T) {
	f := start(t, nil, "config.js", `{flushInterval: 999, percentThreshold: '50', histogram: [{metric: 't1', bins: [50]}], r: /^a/g, f: function () { return 7; }}`,
		"x.js", module(`console.log('CONFIG ' + startup + ' ' + JSON.stringify(config) + config.r.test('abc') + config.f());`+showFlush+`
			events.on('flush', function (ts, m) { console.log('SET ' + [m.sets.u.size(), m.sets.u.has('u2'), m.sets.u.has(''), m.sets.u.values(), m.counters.__proto__, m.gauges.inf, m.timers.t1[1]]);
				m.sets.u.insert('new'); m.sets.u.clear(); m.timer_data.t1.extra = 1; });
			events.on('flush', function (ts, m) { console.log('SHARED ' + m.timer_data.t1.extra + m.sets.u.size()); });`))
	f.said.wait(t, `CONFIG 1700000000 {"flushInterval":1000,"percentThreshold":"50","histogram":[{"metric":"t1","bins":[50]}],"r":{},"gaugesMaxTTL":1,"deleteIdleStats":false}true7`, 1)
	err := f.flush(&backend.Flush{
		Timestamp: 1700000010, Processing: 3,
		Counters: []backend.Counter{{Name: "c\"\\\n1", Value: 32, Rate: 0.1}, {Name: "__proto__", Value: 5, Rate: math.Inf(-1)}},
		Gauges:   []backend.Gauge{{Name: "g", Value: -0.5}, {Name: "inf", Value: math.Inf(1)}},
		Sets:     []backend.Set{{Name: "u", Members: []string{"u1", "u2", "__proto__"}}},
		Timers: []backend.Timer{{Name: "t1", Values: []float64{1e-7, math.Inf(1), 1e21}, Count: 2,
			Fields: []backend.Field{{Name: "mean", Value: math.NaN()}, {Name: "sum", Value: 1 << 60}}, Histogram: []backend.Field{{Name: "bin_50", Value: 2}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.said.wait(t, `FLUSH 1700000010 {"counters":{"c\"\\\n1":32,"__proto__":5},"gauges":{"g":-0.5,"inf":null},"timers":{"t1":[1e-7,null,1e+21]},"timer_counters":{"t1":2},`+
		`"sets":{"u":{"store":{"u1":true,"u2":true,"__proto__":true}}},"counter_rates":{"c\"\\\n1":0.1,"__proto__":null},"timer_data":{"t1":{"mean":null,"sum":1152921504606847000,"histogram":{"bin_50":2}}},`+
		`"pctThreshold":["50"],"histogram":[{"metric":"t1","bins":[50]}],"statsd_metrics":{"processing_time":3}}`, 1)
	f.said.wait(t, "SET 3,true,false,u1,u2,__proto__,5,Infinity,Infinity", 1)
	f.said.wait(t, "SHARED 10", 1)
}

// A flush larger than a frame comes in one piece all the same.
func TestLargeFlush(t *testing.T) {
	f := start(t, nil, "x.js", module(`events.on('flush', function (ts, m) { var sum = 0; for (var k in m.counters) sum += m.counters[k]; console.log('SUM ' + sum); });`))
	flush := new(backend.Flush)
	for i := range 200_000 {
		flush.Counters = append(flush.Counters, backend.Counter{Name: fmt.Sprintf("a.rather.long.name.for.a.counter.%d", i), Value: 2, Rate: 1})
	}
	if err := f.flush(flush); err != nil {
		t.Fatal(err)
	}
	f.said.wait(t, "SUM 400000", 1)
}

// A listener that throws costs the others nothing, and neither do status writers that fail.
func TestListenersThrow(t *testing.T) {
	f := start(t, nil,
		"a.js", module(`events.on('flush', function () { throw new Error('of a'); }); events.on('packet', function () { throw 'text'; });
			events.on('status', function (write) { write(null, 'a', 'before', 1); throw new Error('in status'); });`),
		"b.js", module(showFlush+`events.once('flush', function () { console.log('ONCE'); });
			events.on('packet', function (p, r) { console.log('PACKET ' + p + ' ' + Buffer.isBuffer(p) + ' ' + JSON.stringify(r)); });
			events.on('status', function (write) { write(new Error('none'), 'b', 'x', 1); write(null, 'b', 'last_flush', 90); write(null, 'b', 'text', 'abc'); setTimeout(function () { write(null, 'b', 'late', 1); }, 1); });`))
	for i := range 3 {
		if err := f.flush(&backend.Flush{Timestamp: int64(i)}); err == nil || !strings.Contains(err.Error(), "1 of ") {
			t.Errorf("got %v", err)
		}
	}
	f.said.wait(t, "FLUSH ", 3)
	if n := strings.Count(f.said.String(), "ONCE"); n != 1 {
		t.Errorf("a listener of once was called %d times", n)
	}
	f.log.wait(t, "a.js:2: a listener of the event flush threw: Error: of a", 1)
	text, err := f.StatusText(100)
	if want := "a.before: 1\nb.last_flush: 10\nb.text: abc\n"; text != want || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	f.said.wait(t, "log DEBUG: Failed to read stats for backend b: Error: none", 1)
	f.Packet([]byte("a:1|c"), backend.Remote{Network: "udp", Address: netip.MustParseAddrPort("[::ffff:192.0.2.1]:7")})
	f.Packet([]byte("b\xe1:1|c\n"), backend.Remote{Network: "tcp", Address: netip.MustParseAddrPort("192.0.2.1:65535")})
	f.Packet([]byte("c:1|c\n"), backend.Remote{Network: "unix"})
	f.said.wait(t, `PACKET a:1|c true {"address":"::ffff:192.0.2.1","family":"IPv6","port":7,"size":5}`, 1)
	f.said.wait(t, "PACKET ba:1|c\n false "+`{"address":"192.0.2.1","port":65535,"family":"IPv4","size":7}`, 0) // the line end is printed
	f.said.wait(t, `{"address":"192.0.2.1","port":65535,"family":"IPv4","size":7}`, 1)
	f.said.wait(t, ` false {"size":6}`, 1)
}

// Packets go to the child only while somebody listens.
func TestWant(t *testing.T) {
	f := start(t, nil, "x.js", module(`function on(p) { console.log('PACKET ' + p); }
		events.on('flush', function (ts) { if (ts % 2) events.on('packet', on); else events.removeListener('packet', on); });`))
	packet := func(text string) {
		f.Packet([]byte(text), backend.Remote{Network: "udp", Address: netip.MustParseAddrPort("192.0.2.1:7")})
	}
	packet("nobody")
	for ts := range int64(4) {
		if err := f.flush(&backend.Flush{Timestamp: ts}); err != nil {
			t.Fatal(err)
		}
		packet(fmt.Sprintf("after %d", ts))
	}
	f.said.wait(t, "PACKET after 3", 1)
	if got := f.said.String(); strings.Contains(got, "nobody") || strings.Contains(got, "after 0") || strings.Contains(got, "after 2") || !strings.Contains(got, "PACKET after 1") {
		t.Errorf("got %s", got)
	}
}

// Whatever ends the process, another one is started, and the modules are loaded again in order.
func TestRestart(t *testing.T) {
	death := func(want string, kill func(f *fixture), change func(c *Config), body string) {
		t.Helper()
		f := start(t, change, "a.js", module("console.log('LOADED a');"+showFlush), "b.js", module("console.log('LOADED b');"+body))
		f.said.wait(t, "LOADED b", 1)
		kill(f)
		f.said.wait(t, "LOADED b", 2)
		f.log.wait(t, want, 1)
		late := time.After(patience)
		for f.flush(&backend.Flush{Timestamp: 77}) != nil { // the first may still go to the one that ended
			select {
			case <-late:
				t.Fatalf("no flush arrives: %s", f.log)
			default:
			}
		}
		f.said.wait(t, "FLUSH 77", 1)
	}
	flush := func(f *fixture) {
		if err := f.flush(&backend.Flush{Timestamp: 5}); err == nil {
			f.t.Error("a flush that ended the process passed")
		}
	}
	death("was ended by SIGKILL", func(f *fixture) { syscall.Kill(f.pid(), syscall.SIGKILL) }, nil, "")
	death("exited with code 4", flush, nil, `events.on('flush', function (ts) { if (ts === 5) process.exit(4); });`)
	death("killed: no sign of life for more than 1s", flush, func(c *Config) { c.Budget.Hard = time.Second }, `events.on('flush', function (ts) { if (ts === 5) for (;;); });`)
	death("TypeError: in a timer", func(f *fixture) { f.flush(&backend.Flush{Timestamp: 5}) }, nil,
		`events.on('flush', function (ts) { if (ts === 5) setTimeout(function () { throw new TypeError('in a timer'); }, 1); });`)
	death("in a promise", func(f *fixture) { f.flush(&backend.Flush{Timestamp: 5}) }, nil,
		`events.on('flush', function (ts) { if (ts === 5) Promise.reject(new TypeError('in a promise')); });`)
	death("MiB of memory, more than the 150 MiB allowed", func(f *fixture) { f.flush(&backend.Flush{Timestamp: 5}) }, func(c *Config) { c.Budget.Memory = 150 << 20 },
		`events.on('flush', function (ts) { var kept = []; if (ts === 5) setInterval(function () { kept.push(Buffer.alloc(1 << 20, 1)); }, 1); });`)
}

// While no process runs, a flush waits for the next one, and is lost, with the reason, when there is none in time.
func TestNoProcess(t *testing.T) {
	f := start(t, func(c *Config) { c.Budget.RestartMin, c.Budget.RestartMax = time.Hour, time.Hour }, "x.js", module(`events.on('packet', function () {}); `+showFlush))
	if err := f.flush(&backend.Flush{}); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(f.pid(), syscall.SIGKILL)
	f.log.wait(t, "was ended by SIGKILL", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Flush(ctx, &backend.Flush{}); err == nil || !strings.Contains(err.Error(), `the Node process does not run: script "statsd-node" was ended by SIGKILL`) {
		t.Errorf("got %v", err)
	}
	if _, err := f.StatusText(1); !errors.Is(err, script.ErrAbsent) {
		t.Errorf("got %v", err)
	}
	f.Packet([]byte("a:1|c"), backend.Remote{Network: "udp"})
}

// Packets a busy child cannot take are dropped and counted, and nobody waits.
func TestPacketsFull(t *testing.T) {
	f := start(t, nil, "x.js", module(`events.on('packet', function () {}); events.on('flush', function (ts) { for (var end = Date.now() + 1500; Date.now() < end;); });`))
	if err := f.flush(&backend.Flush{}); err != nil { // the wish for packets has come
		t.Fatal(err)
	}
	flushed := make(chan error)
	go func() { flushed <- f.flush(&backend.Flush{}) }()
	packet := make([]byte, 60_000)
	for range 8000 {
		f.Packet(packet, backend.Remote{Network: "udp"})
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	if n := f.packets.full.Count(); n == 0 {
		t.Error("480 MB of packets waited")
	}
}

// What modules sent before the end arrives, and the process ends by itself.
func TestStop(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	f := prepare(t, nil, "x.js", module(`
		var server = require('net').createServer(function (s) { s.on('data', function (d) { require('fs').appendFileSync(`+fmt.Sprintf("%q", out)+`, d); }); });
		server.listen(0); setInterval(function () {}, 1000);
		events.on('flush', function (ts) { var s = require('net').connect(server.address().port, '127.0.0.1'); s.end('sent ' + ts); });`))
	if err := f.Init(t.Context(), environment); err != nil {
		t.Fatal(err)
	}
	if err := f.flush(&backend.Flush{Timestamp: 8}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.Stop(ctx); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(out); string(text) != "sent 8" {
		t.Errorf("%q, %v", text, err)
	}
}

// Server modules are handed their options, and what they receive comes out.
func TestServer(t *testing.T) {
	got := make(chan string, 4)
	f := start(t, func(c *Config) {
		c.Backends, c.Servers = nil, []Server{{"./s", 1}}
		c.Receive = func(_ context.Context, packets [][]byte, from []backend.Remote) {
			for i := range packets {
				got <- fmt.Sprintf("%q %v", packets[i], from[i])
			}
		}
	}, "config.js", `{servers: [{}, {server: './s', word: 'w'}]}`, "s.js", `exports.start = function (config, callback) {
		callback(Buffer.from(config.word + ':1|c'), {address: '192.0.2.1', port: 9, family: 'IPv4', size: 5});
		setTimeout(function () { callback('b:2|c\n', undefined); }, 1); return true; };`)
	_ = f
	for _, want := range []string{`"w:1|c" {udp 192.0.2.1:9}`, `"b:2|c\n" {tcp invalid AddrPort}`} {
		select {
		case text := <-got:
			if text != want {
				t.Errorf("got %s, want %s", text, want)
			}
		case <-time.After(patience):
			t.Fatal("nothing came")
		}
	}
}

// Names are found as require finds them, from every root, and what they lack is not looked for elsewhere.
func TestResolution(t *testing.T) {
	f := start(t, func(c *Config) {
		root := c.Roots[0]
		c.Backends = []string{"some-backend", "./sub/two", filepath.Join(root, "sub", "two.js"), "@scope/three"}
		c.Roots = []string{filepath.Join(root, "empty"), root}
	}, "empty/x.txt", "", "node_modules/some-backend/package.json", `{"main": "lib/one.js"}`, "node_modules/some-backend/lib/one.js", "var h = require('helper');"+module("console.log('ONE ' + h.v);"),
		"node_modules/some-backend/node_modules/helper/index.js", "exports.v = 5;", "sub/two.js", "var l = require('../lib/logger');"+module("console.log('TWO ' + l);"),
		"lib/logger.js", "module.exports = 'of the tree';", "node_modules/@scope/three/index.js", module("console.log('THREE ' + prefixStats + typeof require('util').log);"))
	f.said.wait(t, "ONE 5", 1)
	f.said.wait(t, "TWO of the tree", 2)
	f.said.wait(t, "THREE statsdfunction", 1)
}

func TestParsePackets(t *testing.T) {
	var payload []byte
	want := []backend.Remote{{Network: "udp", Address: netip.MustParseAddrPort("192.0.2.1:9")}, {Network: "tcp", Address: netip.MustParseAddrPort("[fe80::1%eth0]:65535")}, {Network: "unix"}}
	for i, from := range want {
		payload = appendPacket(payload, []byte(strings.Repeat("x", i)), from)
	}
	packets, from, err := parsePackets(payload)
	if err != nil || len(packets) != 3 || string(packets[2]) != "xx" || cmp.Diff(want, from, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })) != "" {
		t.Errorf("%q, %v, %v", packets, from, err)
	}
	for _, bad := range []string{"\x03\x00", "\x00", "\x00\x04abc", "\x00\x00\x00\x00\x00\x00\x00\x05abc"} {
		if _, _, err := parsePackets([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParsePackets(f *testing.F) {
	f.Add(appendPacket(nil, []byte("a:1|c"), backend.Remote{Network: "udp", Address: netip.MustParseAddrPort("192.0.2.1:9")}))
	f.Add([]byte("\x00\x00\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		packets, from, err := parsePackets(payload)
		if err != nil {
			return
		}
		var again []byte
		for i := range packets {
			again = appendPacket(again, packets[i], from[i])
		}
		if p, r, err := parsePackets(again); err != nil || len(p) != len(packets) || !cmp.Equal(from, r, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })) {
			t.Errorf("%v, %v, %v", p, r, err)
		}
	})
}
