package jsconfig

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/graphite"
)

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("config.js", []byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return f
}

func TestOptions(t *testing.T) {
	f := func(text string, change func(c *statsd.Config)) {
		t.Helper()
		want := statsd.DefaultConfig()
		want.Readers = 1
		want.Listen = []statsd.Listen{{Network: "udp4", Address: ":8125"}}
		change(&want)
		if diff := cmp.Diff(want, parse(t, text).StatsD); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	listen := func(l ...statsd.Listen) func(*statsd.Config) { return func(c *statsd.Config) { c.Listen = l } }
	percentiles := func(p ...float64) func(*statsd.Config) { return func(c *statsd.Config) { c.Percentiles = p } }
	interval := func(d time.Duration) func(*statsd.Config) { return func(c *statsd.Config) { c.FlushInterval = d } }
	ttl := func(n int) func(*statsd.Config) { return func(c *statsd.Config) { c.GaugeTTL = n } }
	deletes := func(counters, timers, sets, gauges bool) func(*statsd.Config) {
		return func(c *statsd.Config) {
			c.DeleteCounters, c.DeleteTimers, c.DeleteSets, c.DeleteGauges = counters, timers, sets, gauges
		}
	}
	same := func(*statsd.Config) {}

	f(`{}`, same)
	f(`{nobodyKnows: {this: [1, /x/g, function () {}]}}`, same)
	f(`{"port": 8125, "flushInterval": 10000}`, same)
	f(`{port: 0, address: '', mgmt_port: null, flushInterval: 0, servers: false, server: ''}`, same)

	f(`{port: 9125, address: '127.0.0.1'}`, listen(statsd.Listen{Network: "udp4", Address: "127.0.0.1:9125"}))
	f(`{port: '0x1F40'}`, listen(statsd.Listen{Network: "udp4", Address: ":8000"}))
	f(`{address_ipv6: 1}`, listen(statsd.Listen{Network: "udp", Address: ":8125"}))
	f(`{address: '::1', address_ipv6: true}`, listen(statsd.Listen{Network: "udp", Address: "[::1]:8125"}))
	f(`{server: './servers/tcp'}`, listen(statsd.Listen{Network: "tcp", Address: ":8125"}))
	f(`{server: './servers/tcp.js', socket: '/run/s'}`, listen(statsd.Listen{Network: "unix", Address: "/run/s"}))
	f(`{server: './servers/tcp', socket: '/run/s', socket_mod: '0770'}`, listen(statsd.Listen{Network: "unix", Address: "/run/s", Mode: 0o770}))
	f(`{server: './servers/tcp', socket: '/run/s', socket_mod: 0660}`, listen(statsd.Listen{Network: "unix", Address: "/run/s", Mode: 0o660}))
	f(`{server: './servers/tcp', socket: '/run/s', socket_mod: 0o600}`, listen(statsd.Listen{Network: "unix", Address: "/run/s", Mode: 0o600}))
	f(`{socket: '/run/s'}`, listen(statsd.Listen{Network: "udp4", Address: ":8125"}))
	f(`{port: 1, servers: [{server: './servers/udp', port: 2}, {server: './servers/tcp', address: 'localhost', port: 3}, {}]}`,
		listen(statsd.Listen{Network: "udp4", Address: ":2"}, statsd.Listen{Network: "tcp", Address: "localhost:3"}, statsd.Listen{Network: "udp4", Address: ":8125"}))
	f(`{servers: []}`, listen([]statsd.Listen{}...))

	f(`{mgmt_port: 9126, mgmt_address: '::1'}`, func(c *statsd.Config) { c.Management = "[::1]:9126" })
	f(`{flushInterval: 60 * 1000}`, interval(time.Minute))
	f(`{flushInterval: '500'}`, interval(500*time.Millisecond))
	f(`{flushInterval: 1.5}`, interval(1500*time.Microsecond))
	f(`{flushInterval: ' 0x10 '}`, interval(16*time.Millisecond))
	f(`{flushInterval: [700]}`, interval(700*time.Millisecond))

	f(`{percentThreshold: 0}`, percentiles(90))
	f(`{percentThreshold: ''}`, percentiles(90))
	f(`{percentThreshold: null}`, percentiles(90))
	f(`{percentThreshold: NaN}`, percentiles(90))
	f(`{percentThreshold: 99.9}`, percentiles(99.9))
	f(`{percentThreshold: '-10'}`, percentiles(-10))
	f(`{percentThreshold: [0, 50, '95', -25.5]}`, percentiles(0, 50, 95, -25.5))
	f(`{percentThreshold: []}`, percentiles([]float64{}...))

	f(`{deleteIdleStats: true}`, deletes(true, true, true, true))
	f(`{deleteIdleStats: 'yes', deleteTimers: false, deleteSets: 0, deleteGauges: null}`, deletes(true, false, false, false))
	f(`{deleteIdleStats: false, deleteGauges: 1}`, deletes(false, false, false, true))
	f(`{deleteIdleStats: true, deleteCounters: undefined}`, deletes(true, true, true, true))
	f(`{deleteCounters: ' '}`, deletes(true, false, false, false))
	f(`{deleteCounters: []}`, deletes(true, false, false, false))
	f(`{deleteCounters: -0, deleteTimers: ''}`, same)
	f(`{gaugesMaxTTL: 3}`, ttl(3))
	f(`{gaugesMaxTTL: 1 + 1.0}`, ttl(2))
	for _, not := range []string{`1`, `0`, `-2`, `3.5`, `'4'`, `[5]`, `true`, `null`, `NaN`, `Infinity`} {
		f(`{gaugesMaxTTL: `+not+`}`, ttl(1))
	}

	f(`{prefixStats: ''}`, func(c *statsd.Config) { c.Prefix = "" })
	f(`{prefixStats: 'a.b'}`, func(c *statsd.Config) { c.Prefix = "a.b" })
	f(`{prefixStats: undefined}`, same)
	f(`{keyNameSanitize: 0}`, func(c *statsd.Config) { c.Sanitize = false })
	f(`{keyNameSanitize: undefined}`, same)
	f(`{dumpMessages: 1, debug: 'x', healthStatus: 'down'}`, func(c *statsd.Config) { c.DumpMessages, c.Debug, c.Healthy = true, true, false })
	f(`{keyFlush: {interval: '500', percent: 12.5, log: '/tmp/keys'}}`, func(c *statsd.Config) {
		c.KeyFlush = statsd.KeyFlush{Interval: 500 * time.Millisecond, Percent: 12.5, Path: "/tmp/keys"}
	})
	f(`{keyFlush: {interval: 100, percent: 0}}`, func(c *statsd.Config) { c.KeyFlush.Interval = 100 * time.Millisecond })
	f(`{keyFlush: true}`, same)
	f(`{histogram: [{metric: 'foo', bins: []}, {metric: '', bins: [0.01, 1, '10', 'inf']}]}`, func(c *statsd.Config) {
		c.Histograms = []statsd.Histogram{{Metric: "foo"}, {Bins: []float64{0.01, 1, 10, math.Inf(1)}}}
	})
	f(`{calculatedTimerMetrics: ['count', 'upper_percent']}`, func(c *statsd.Config) { c.TimerMetrics = []string{"count", "upper_percent"} })
	f(`{calculatedTimerMetrics: 'count'}`, same)
	f(`{calculatedTimerMetrics: []}`, same)
}

func TestBackends(t *testing.T) {
	f := func(text string, want ...Backend) {
		t.Helper()
		if diff := cmp.Diff(want, parse(t, text).Backends); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	f(`{}`, Graphite)
	f(`{backends: null}`, Graphite)
	f(`{backends: []}`, []Backend{}...)
	f(`{backends: ['./backends/console', './backends/graphite.js', './backends/repeater', 'store']}`, Console, Graphite, Repeat, Stored)

	f(`{backends: ['./mine', 'statsd-influxdb-backend', '/opt/b.js', './backends/../x', './backends/console']}`,
		"./mine", "statsd-influxdb-backend", "/opt/b.js", "./backends/../x", Console)

	file := parse(t, `{graphiteHost: 'h', graphitePort: 1, flush_counts: 0, keyNameSanitize: false,
		graphite: {legacyNamespace: false, globalPrefix: '', prefixCounter: 'c', prefixTimer: 't', prefixGauge: 'g', prefixSet: 's', globalSuffix: 'x'},
		console: {prettyprint: 1}, repeater: [{host: 'a', port: 2}, {host: '::1', port: 3}], repeaterProtocol: 'tcp',
		log: {backend: 'syslog', level: 'LOG_DEBUG'}, automaticConfigReload: false, weir: {data: '/d', http: ':1'}}`)
	file.StatsD, file.settings, file.flushed = statsd.Config{}, nil, nil
	want := &File{
		Path: "config.js", Backends: []Backend{Graphite},
		Graphite: graphite.Config{Host: "h", Port: 1, Protocol: "text", SanitizeNames: true, Namespace: graphite.Namespace{
			PrefixCounter: "c", PrefixTimer: "t", PrefixGauge: "g", PrefixSet: "s", GlobalSuffix: "x",
		}},
		Repeater: Repeater{Targets: []string{"a:2", "[::1]:3"}, Protocol: "tcp"},
		Log:      Log{Syslog: true, Application: "statsd", Level: "LOG_DEBUG"},
		Store:    Store{Data: "/d", HTTP: ":1"}, Node: Node{Program: "node"}, listens: []int{0},
	}
	want.Console.Pretty = true
	if diff := cmp.Diff(want, file, cmp.AllowUnexported(File{})); diff != "" {
		t.Error(diff)
	}
	if legacy := parse(t, `{graphite: {legacyNamespace: 0}}`).Graphite.Namespace.Legacy; !legacy {
		t.Error("legacyNamespace: 0 switched, but only false does")
	}
	if c := parse(t, `{graphiteProtocol: 'pickle', graphitePort: 1, graphitePicklePort: 2}`).Graphite; c.Port != 2 {
		t.Errorf("pickle goes to port %d", c.Port)
	}
}

// Servers that are modules are apart from StatsD's own, and errors still name the place in the list.
func TestServerModules(t *testing.T) {
	f := parse(t, `{servers: [{server: './mine', port: 1}, {server: './servers/tcp', port: 2}, {server: 'statsd-amqp'}],
		backends: [], weir: {node: '/opt/node', root: '/opt/statsd', isolate: 1}}`)
	if diff := cmp.Diff([]Server{{"./mine", 0}, {"statsd-amqp", 2}}, f.Servers); diff != "" {
		t.Error(diff)
	}
	if len(f.StatsD.Listen) != 1 || f.ListenOption(0) != "option servers[1].port" {
		t.Errorf("%v, %s", f.StatsD.Listen, f.ListenOption(0))
	}
	if want := (Node{"/opt/node", "/opt/statsd", true}); f.Node != want {
		t.Errorf("%v", f.Node)
	}
	if f := parse(t, `{server: '../mine.js', port: 7}`); len(f.StatsD.Listen) != 0 || f.Servers[0] != (Server{"../mine.js", -1}) {
		t.Errorf("%v, %v", f.StatsD.Listen, f.Servers)
	}
}

// What people write in such files.
func TestJavaScript(t *testing.T) {
	directory := t.TempDir()
	secret := filepath.Join(directory, "prefix.txt")
	if err := os.WriteFile(secret, []byte("from.file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TEST_PREFIX", "from.env")
	t.Setenv("WEIR_TEST_FILE", secret)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(host, ".")
	f := func(text, prefix string) {
		t.Helper()
		if got := parse(t, text).StatsD.Prefix; got != prefix {
			t.Errorf("%s\ngot prefix %q, want %q", text, got, prefix)
		}
	}
	f("/* a comment */ // and another\n{\n  prefixStats: 'a' // here\n, port: 8125\n,};\n", "a")
	f("\uFEFF{prefixStats: 'bom'}", "bom")
	f("{prefixStats: 'crlf'\r\n}\r\n", "crlf")
	f("({prefixStats: 'parentheses'})", "parentheses")
	f(`{prefixStats: require('os').hostname().split('.')[0]}`, short)
	f(`{prefixStats: require('node:os').hostname().split('.')[0]}`, short)
	f(`{prefixStats: process.env.WEIR_TEST_PREFIX || 'y'}`, "from.env")
	f(`{prefixStats: process.env.WEIR_TEST_NOTHING || 'y'}`, "y")
	f(`{prefixStats: require('fs').readFileSync(process.env.WEIR_TEST_FILE).toString().trim()}`, "from.file")
	f(`{prefixStats: require('fs').readFileSync(process.env.WEIR_TEST_FILE, 'utf8').trim()}`, "from.file")
	f(`{prefixStats: String(require('fs').existsSync('/nowhere'))}`, "false")
	f(`{prefixStats: require('path').join('a', '..', 'b', 'c.js')}`, "b/c.js")
	f(`{prefixStats: require('path').basename('/x/c.js', '.js') + require('path').extname('a.b.js') + require('path').dirname('/x/y/')}`, "c.js/x")
	f(`{prefixStats: require('util').format('%s-%d%%', 'a', 5)}`, "a-5%")
	f(`{prefixStats: __dirname === require('path').resolve('.') ? 'here' : 'there'}`, "here")
	f(`{prefixStats: [process.pid > 0, process.argv[2], typeof module, typeof exports].join()}`, "true,config.js,object,object")
	f("{prefixStats: `t${1 + 1}`}", "t2")
	f(`{prefixStats: (function () { var x = 'fn'; return x; })()}`, "fn")
	f(`{prefixStats: typeof undeclared + typeof config}`, "undefinedundefined")
	f(`module.exports = {prefixStats: 'exported'}`, "exported")
	f("(function () { leaked = 'sloppy'; return {prefixStats: leaked}; })()", "sloppy")
	f("{prefixStats: 'first'}; var later = 1", "first")
	f(`{prefixStats: (require('os').cpus().length > 0) + '.' + '\x41\u0042\
C'}`, "true.ABC")
}

func TestErrors(t *testing.T) {
	f := func(text string, line, column int, words ...string) {
		t.Helper()
		_, err := Parse("config.js", []byte(text))
		var wrong *Error
		if !errors.As(err, &wrong) {
			t.Errorf("%.80q: got %v", text, err)
			return
		}
		if wrong.Line != line || wrong.Column != column || wrong.Path != "config.js" {
			t.Errorf("%.80q: at %d:%d, want %d:%d (%v)", text, wrong.Line, wrong.Column, line, column, err)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%.80q: %q is not in %q", text, word, err)
			}
		}
	}
	f("", 1, 1, "empty", "{ port: 8125 }")
	f(" \n", 1, 1, "empty")
	f("{port: 8125", 1, 12, "syntax error", "end of input")
	f("{\n  port: 8125\n  address: 'x'\n}", 3, 3, "syntax error")
	f("{\n  port: 8125, ]\n}", 2, 15, "Unexpected token ]")
	f("{port: 8125, ] }", 1, 14, "Unexpected token ]")
	f("{port: (}", 1, 9, "Unexpected token }")
	f("5", 1, 1, `"5"`, "must be an object")
	f("undefined", 1, 1, "must be an object")
	f("{\n  port: x.y\n}", 2, 9, "x is not defined")
	f("{a: 1,\n port: require('http').get}", 2, 15, `cannot require "http"`, "os, path, fs and util")
	f("{\n  port: 70000\n}", 2, 9, "port", "70000", "1 to 65535")
	f("{port: 1.5}", 1, 8, "1.5")
	f("{port: 'x'}", 1, 8, `"x"`, "1 to 65535")
	f("{\n\n flushInterval: 'soon'}", 3, 17, "flushInterval", "milliseconds")
	f("{flushInterval: -1}", 1, 17, "at least 1")
	f("{servers: [{},\n {port: 99999}]}", 2, 9, "servers[1].port")
	f("{servers: [7]}", 1, 12, "servers[0]", "not an object")
	f("{servers: {port: 1}}", 1, 11, "servers", "not a list")
	f("{backends: ['./backends/console',\n 5]}", 2, 2, "backends[1]", "is not the name of a backend", "modules for Node")
	f("{backends: './backends/console'}", 1, 12, "not a list")
	f("{percentThreshold: 'x'}", 1, 20, "percentage")
	f("{percentThreshold: [90, 'x']}", 1, 25, "percentThreshold[1]")
	f("{histogram: [{metric: '', bins: ['x']}]}", 1, 34, "histogram[0].bins[0]", "'inf'")
	f("{histogram: 5}", 1, 13, "histogram")
	f("{server: './servers/tcp', socket: 'x', socket_mod: '0999'}", 1, 52, "socket_mod", "0777")
	f("{graphiteProtocol: 'udp'}", 1, 20, "'text' or 'pickle'")
	f("{repeaterProtocol: 'x'}", 1, 20, "'udp4', 'udp6' or 'tcp'")
	f("{repeater: [{port: 1}]}", 1, 13, "repeater[0]", "host")
	f("{log: {backend: 'x'}}", 1, 17, "'stdout' or 'syslog'")
	f("{a:\n "+strings.Repeat("[", 200), 2, 201, "200 brackets")
	f("{get port() { throw new Error('no') }}", 1, 21, "no")
	f("{prefixStats: (function f() { return f() })()}", 1, 39, "nested too deeply")
	f("{a: 'x'.repeat(1e9)}", 1, 15, "repeat")
	f("{a: Array(1e9).join('x')}", 1, 20, "join")
	f("{a: require('fs').readFileSync('/dev/zero')}", 1, 31, "not a regular file")
	f(strings.Repeat(" ", maxFile)+"{}", 0, 0, "bytes")

	if _, err := Read(filepath.Join(t.TempDir(), "nothing.js")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// What a file may cost: nothing here may hang, overflow the stack or take all memory.
func TestBounds(t *testing.T) {
	fails := func(text, words string) {
		t.Helper()
		_, err := Parse("config.js", []byte(text))
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%.60q: got %v, want %q", text, err, words)
		}
	}
	fails("(function () { for (;;) {} })()", "still evaluating")
	fails("(function () { var s = 'xx'; for (;;) { s += s } })()", "")
	fails("(function () { var all = []; for (;;) { all.push({a: [1, 2, 3]}) } })()", "")
	for _, nested := range []string{"[", "(", "!", "-", "{a:", "new ", "a=>", "f(", "`${", "a?", "if(1)", "function(){", "typeof ", "x**", "a[", "({[", "async ", "/*"} {
		Parse("config.js", []byte(strings.Repeat(nested, maxFile/len(nested)))) // must return, with whatever error
	}
	Parse("config.js", []byte(strings.Repeat("[", maxFile/2)+strings.Repeat("]", maxFile/2)))
	Parse("config.js", []byte(strings.Repeat("{a:", maxFile/4)+"1"+strings.Repeat("}", maxFile/4-1)))
}

func TestSettings(t *testing.T) {
	f := func(text string, flushed bool, want ...Setting) {
		t.Helper()
		if diff := cmp.Diff(want, parse(t, text).Settings(flushed)); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	ttl, idle, interval := Setting{"gaugesMaxTTL", "", "1"}, Setting{"deleteIdleStats", "", "false"}, Setting{"flushInterval", "", "10000"}
	f(`{}`, false, ttl, idle, interval)
	f(`{deleteSets: 'x'}`, true, Setting{"deleteSets", "", "x"}, ttl, idle, interval,
		Setting{"deleteCounters", "", "false"}, Setting{"deleteTimers", "", "false"}, Setting{"deleteGauges", "", "false"})
	f(`{deleteIdleStats: 1, deleteSets: 0, flushInterval: '5', gaugesMaxTTL: '7'}`, true, Setting{"deleteIdleStats", "", "1"}, Setting{"deleteSets", "", "false"},
		Setting{"flushInterval", "", "5"}, Setting{"gaugesMaxTTL", "", "1"},
		Setting{"deleteCounters", "", "true"}, Setting{"deleteTimers", "", "true"}, Setting{"deleteGauges", "", "true"})
	f(`{deleteIdleStats: false, gaugesMaxTTL: 2, flushInterval: 7, a: null, b: /x/g, c: {}, u: undefined, n: -0, fn: function (x) { return  x; },
		d: {e: null, f: [1, [2, 3]], g: {h: 1}, i: function(a){return a}, r: /y/}, arr: ['x', , 3], 10: 'ten'}`, false,
		Setting{"10", "", "ten"}, Setting{"deleteIdleStats", "", "false"}, Setting{"gaugesMaxTTL", "", "2"}, Setting{"flushInterval", "", "7"},
		Setting{"u", "", "undefined"}, Setting{"n", "", "0"}, Setting{"fn", "", "function (x) { return  x; }"},
		Setting{"d", "e", "null"}, Setting{"d", "f", "1,2,3"}, Setting{"d", "g", "[object Object]"}, Setting{"d", "i", "function(a){return a}"}, Setting{"d", "r", "/y/"},
		Setting{"arr", "0", "x"}, Setting{"arr", "2", "3"})
}
