package differential

import (
	"fmt"
	"strings"
)

// group is a configuration with the cases that are sent to it. After the first
// flush, which is an idle one, the inputs of the cases of step 1 are sent, after
// the next one those of step 2 and so on; flushes says how many flushes are
// compared in all.
type group struct {
	name    string
	options string // without the listeners and Graphite's address
	every   int    // flushInterval in milliseconds, 500 when it is 0
	flushes int    // 3 when it is 0: idle, cases, idle again
	console bool   // the console backend runs too and is compared
	cases   []testCase
}

// testCase is some packets, each sent by itself (see daemon.send).
type testCase struct {
	name    string
	packets []string
	step    int // 1 when it is 0
}

func one(name string, packets ...string) testCase { return testCase{name: name, packets: packets} }

func later(step int, name string, packets ...string) testCase { return testCase{name, packets, step} }

// types covers every type of value and the bit grammar (specification section 1).
var types = []testCase{
	one("counter", "c.plain:1|c", "c.plain:2|c"),
	one("counter of many values in a packet", "c.lines:1|c\nc.lines:2|c\nc.lines:3|c\n"),
	one("counter of many values in a line", "c.bits:1|c:2|c|@0.1:3|ms"),
	one("negative and fractional counters", "c.neg:-5|c", "c.frac:0.1|c\nc.frac:0.2|c", "c.zero:0|c", "c.minus:-0|c"),
	one("sample rates", "r.a:1|c|@0.1", "r.b:1|c|@0.3", "r.c:1|c|@.5", "r.d:1|c|@5.", "r.e:3|c|@2", "r.f:1|c|@1"),
	one("odd sample rates", "r.exp:1|c|@2e-1", "r.junk:1|c|@0.5|junk", "r.hex:5|c|@0x10", "r.long:1|c|@0.3333333333333333"),
	one("a sample rate of zero", "r.zero:1|c|@0", "r.nan:0|c|@0"),
	one("NaN counters begin again", "nan:0|c|@0", "nan:4|c"),
	one("Infinity", "inf.c:Infinity|c", "inf.c:1|c", "inf.g:-Infinity|g", "inf.big:1e400|c"),
	one("overflow", "of:9007199254740993|c", "of:1|c", "of.big:1e300|c\nof.big:1e300|c", "of.e:1e21|c", "of.s:1e-7|c", "of.s2:0.000001|c"),
	one("numbers", "n.hex:0x1F|c", "n.oct:0o17|c", "n.bin:0b101|c", "n.exp:1e3|c", "n.exp2:+.5e-3|c", "n.dot:.5|c", "n.dot2:5.|c", "n.zeros:00012|c"),
	one("numbers among blanks", "n.blank: 12 |c", "n.tab:\t7|c", "n.only: |c", "n.nbsp:\u00a05|c", "n.bom:\ufeff6|c"),
	one("what is no number", "x.a:1_000|c", "x.b:1n|c", "x.c:1e|c", "x.d:.|c", "x.e:+|c", "x.f:+-1|c", "x.g:0,5|c", "x.h:5 5|c", "x.i:infinity|c", "x.j:nan|c",
		"x.k:NaN|c", "x.l:-0x10|c", "x.m:0x|c", "x.n:inf|c", "x.o:\u0663|c"),
	one("no type", "a", "a|c", "a:1", "a:", ":", "|", "a::|c"),
	one("no value", "v.c:|c", "v.ms:|ms", "v.g:|g", "v.s:|s"),
	one("bad rates", "b.a:1|c|0.1", "b.b:1|c|@", "b.c:1|c|@x", "b.d:1|c|@-0.5", "b.e:1|c|@.1.2", "b.f:1|c|", "b.g:1|ms|@x", "b.h:1|g|@", "b.i:x|s|@x"),
	one("some bits bad", "some:1|c:x|c:2|c", "packed:1:2|c", "m:1|c:2:3|ms"),
	one("unknown types count", "u.h:1|h", "u.d:2|d", "u.m:3|m", "u.C:4|C", "u.kv:5|kv", "u.none:6|", "u.cc:7|cc", "u.space:8| c ", "u.ms: 9| ms"),
	one("a negative timer", "t.neg:-1|ms", "t.minus:-0|ms", "t.untrimmed:-5| ms"),
	one("carriage returns", "cr.c:1|c\r\ncr.ms:2|ms\r\ncr.s:x|s\r\n\r\ncr.g:3|g\r\n", "cr.tag:1|c|#a:b\r\n"),
	one("empty lines", "\n\n\nempty:1|c\n\n", "\n"),
	one("binary bytes", "bin\x00ary:1|c", "bin\xff\xfe:2|c", "bad\x00:\x00|c", "caf\xc3\xa9:3|c"),
	one("names that JavaScript sanitises", "s a b/c+d:1|c", " lead:1|c", "caf\u00e9:1|c", "s\u00a0\u2003x:1|c", "s\ty:1|c", "s%$#@!z:1|c", "\u65e5\u672c:1|c", "UPPER_lower-1.2;x=y:1|c"),
	one("an empty name", ":1|c", ":2|ms", ":3|g", ":x|s"),
	one("a long name", strings.Repeat("long.", 100)+"x:1|c"),
	one("tags", "tag:1|c|#env:prod,x:y", "tag2:1|c|@0.5|#env:prod", "tag3:1|c|#", "tag4:1|c|#solo", "tag5:1|c|#k:v:w", "tag6:1|c|#k:a;b;c", "tag7:1|c|#a:b,"),
	one("tags of other shapes", "tag8:1|c|#x:y|@0.5", "tag9;env=prod:1|c", "fo/o;tag1=val1:250|c", "tag10:1|c|#a:b|#c:d", "tag11:1|c|#,", "tag12:1|c|#a b:c/d", "tag13|#a:b:1|c"),
	one("tags on every type", "tt:5|ms|#a:b", "tt:5|g|#a:b", "tt:5|s|#a:b", "tt:1|c:2|ms|#a:b"),
	one("gauges", "g.set:70|g", "g.neg:-3|g", "g.delta:50|g\ng.delta:-3|g", "g.plus:1|g\ng.plus:+5|g", "g.zero:0|g\ng.zero:-4|g"),
	one("odd gauges", "g.blank:5|g\ng.blank: -5|g", "g.rate:8|g|@0.1", "g.inf:Infinity|g\ng.inf:-1|g", "g.nan:Infinity|g\ng.nan:-Infinity|g\ng.nan:-1|g", "g.frac:0.1|g\ng.frac:+0.2|g"),
	later(2, "gauges keep their value", "g.set:-30|g", "g.zero:7|g"),
	one("sets", "set.a:u1|s", "set.a:u2|s", "set.a:u1|s", "set.b:x|s:y|s:x|s", "set.c:|s", "set.d:0|s\nset.d:|s", "set.e:a b|s|@0.5"),
	one("one name of every type", "same:1|c", "same:2|ms", "same:3|g", "same:4|s"),
	one("timers", "t.one:320|ms", "t.many:12|ms:5|ms:33|ms:8|ms:91|ms:2|ms:47|ms:60|ms:5|ms:19|ms:73|ms", "t.two:1|ms:2|ms"),
	one("sampled timers", "t.rate:5|ms|@0.1", "t.mixed:10|ms:20|ms|@0.5:101|ms", "t.rzero:5|ms|@0"),
	one("fractional timers", "t.f:0.1|ms:0.2|ms:0.3|ms", "t.big:1e308|ms:1e308|ms", "t.small:1e-10|ms", "t.inf:Infinity|ms:1|ms", "t.0:0|ms"),
	one("a packet of many lines", manyLines(300)),
	later(2, "seen again", "c.plain:7|c", "t.one:5|ms", "set.a:u9|s"),
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "many.%d:%d|c\n", i%50, i)
	}
	return b.String()
}

// percentileCases are timers of the lengths at which ranks change.
var percentileCases = []testCase{
	one("one value", "p1:7|ms"),
	one("two values", "p2:7|ms:9|ms"),
	one("ten values", "p10:"+timers(10)),
	one("eleven values", "p11:12|ms:5|ms:33|ms:8|ms:91|ms:2|ms:47|ms:60|ms:5|ms:19|ms:73|ms"),
	one("a hundred values", "p100:"+timers(100)),
	one("equal values", "peq:4|ms:4|ms:4|ms:4|ms:4|ms"),
}

func timers(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%d|ms", (i*37)%101))
	}
	return strings.Join(all, ":")
}

// someOfAll is for options that concern every kind of metric.
var someOfAll = []testCase{
	one("a counter", "c:3|c", "c;a=b:4|c"),
	one("a timer", "t:10|ms:20|ms|@0.5:101|ms", "t;a=b:5|ms"),
	one("a gauge", "g:5|g", "g;a=b:6|g"),
	one("a set", "s:x|s:y|s", "s;a=b:z|s"),
	one("a bad line", "bad"),
}

// idle are metrics that are seen once, and again after two flushes.
var idle = []testCase{
	one("seen in one flush", "once.c:1|c", "once.t:2|ms", "once.g:3|g", "once.s:4|s", "my_packets_received_x:1|c"),
	one("seen in two flushes", "twice.c:1|c", "twice.t:2|ms", "twice.g:3|g", "twice.s:4|s"),
	later(2, "seen in two flushes, again", "twice.c:1|c", "twice.t:2|ms", "twice.g:+3|g", "twice.s:4|s"),
	later(4, "back after a pause", "once.c:5|c", "once.t:6|ms", "once.g:-7|g", "once.s:8|s"),
}

var groups = []group{
	{name: "every type, legacy names", flushes: 4, cases: types},
	{name: "every type, console", console: true, every: 1000, flushes: 4, cases: types},
	{name: "new names", options: `graphite: {legacyNamespace: false}`, flushes: 4, cases: types},
	{name: "names as received", options: `keyNameSanitize: false`, cases: types},

	{name: "percentiles", options: `percentThreshold: [50, 90, 99, 99.9, 0.5, 100]`, cases: percentileCases},
	{name: "percentiles of the top", options: `percentThreshold: [-10, -25.5, -50, -0.5]`, cases: percentileCases},
	{name: "percentiles out of range", options: `percentThreshold: [-100, 150, 101, -250, 0]`, cases: percentileCases},
	{name: "no percentile", options: `percentThreshold: []`, cases: percentileCases},
	{name: "a falsy percentile", options: `percentThreshold: 0`, cases: percentileCases},
	{name: "percentiles as text", options: `percentThreshold: ['75', '-20']`, cases: percentileCases},
	{name: "one percentile", options: `percentThreshold: -7.25`, console: true, every: 1000, cases: percentileCases},

	{name: "histograms", console: true, every: 1000,
		options: `histogram: [{metric: 'none', bins: []}, {metric: 'h.', bins: [0.01, 10, 100.5, 'inf']}, {metric: '', bins: [50]}]`,
		cases: []testCase{
			one("values in bins", "h.a:1|ms:10|ms:50|ms:100.5|ms:1000|ms:0.001|ms"),
			one("no bins", "none:1|ms"),
			one("the rest", "other:1|ms:50|ms:49.9|ms"),
			one("sampled", "h.r:1|ms|@0.1"),
			one("tagged", "h.t:5|ms|#a:b"),
		}},
	{name: "fields of timers", options: `percentThreshold: [90, -10, 99.9], histogram: [{metric: '', bins: [10]}],
		calculatedTimerMetrics: ['count', 'count_ps', 'upper_percent', 'lower_percent', 'mean_percent', 'mean', 'histogram', 'upper_99_percent', 'upper_90']`,
		cases: percentileCases},
	{name: "one field of timers", options: `calculatedTimerMetrics: ['median']`, console: true, every: 1000, cases: percentileCases},
	{name: "all fields of timers", options: `calculatedTimerMetrics: 'count'`, cases: percentileCases},

	{name: "idle metrics stay", flushes: 6, cases: idle},
	{name: "idle metrics go", flushes: 6, options: `deleteIdleStats: true`, cases: idle},
	{name: "idle metrics go, console", flushes: 6, options: `deleteIdleStats: true`, console: true, every: 1000, cases: idle},
	{name: "idle counters go", flushes: 6, options: `deleteCounters: true`, cases: idle},
	{name: "idle timers and sets go", flushes: 6, options: `deleteTimers: 1, deleteSets: 'x'`, cases: idle},
	{name: "idle gauges go", flushes: 6, options: `deleteGauges: true`, cases: idle},
	{name: "idle gauges go after two flushes", flushes: 6, options: `deleteIdleStats: true, deleteSets: false, gaugesMaxTTL: 2`, cases: idle},
	{name: "gaugesMaxTTL as text", flushes: 6, options: `deleteGauges: true, gaugesMaxTTL: '3'`, cases: idle},

	{name: "prefixStats", options: `prefixStats: 'my.stats'`, cases: someOfAll},
	{name: "empty prefixStats", options: `prefixStats: ''`, cases: someOfAll},
	{name: "prefixStats, new names", options: `prefixStats: 'mine', graphite: {legacyNamespace: false}`, cases: someOfAll},
	{name: "suffix", options: `graphite: {globalSuffix: 'host.1'}`, cases: someOfAll},
	{name: "suffix, new names", options: `graphite: {legacyNamespace: false, globalSuffix: require('os').hostname().split('.')[0]}`, cases: someOfAll},
	{name: "prefixes", options: `graphite: {legacyNamespace: false, globalPrefix: 'gp', prefixCounter: 'pc', prefixTimer: 'pt', prefixGauge: 'pg', prefixSet: 'ps'}`, cases: someOfAll},
	{name: "empty prefixes", options: `graphite: {legacyNamespace: false, globalPrefix: '', prefixCounter: '', prefixTimer: '', prefixGauge: '', prefixSet: ''}`, cases: someOfAll},
	{name: "prefixes with the old names", options: `graphite: {legacyNamespace: true, globalPrefix: 'unused', prefixTimer: 'unused'}`, cases: someOfAll},
	{name: "no counts", options: `flush_counts: false`, cases: someOfAll},
	{name: "no counts, new names", options: `flush_counts: 0, graphite: {legacyNamespace: false}`, cases: someOfAll},
	{name: "pickle", options: `graphiteProtocol: 'pickle', graphitePicklePort: $GRAPHITE`, cases: someOfAll},
	{name: "flushInterval as text", options: `flushInterval: '400'`, every: 400, cases: someOfAll},
	{name: "colours", options: `console: {prettyprint: true}, percentThreshold: [50, -10], histogram: [{metric: '', bins: [20, 'inf']}]`, console: true, every: 1000, cases: someOfAll},

	{name: "several servers", every: 1000, options: `servers: [{server: './servers/udp', port: $UDP}, {server: './servers/tcp', port: $TCP}, {server: './servers/tcp', socket: '$SOCKET'},
		{server: './servers/udp', address: '127.0.0.1', port: $UDP2}]`,
		cases: []testCase{
			one("each of them", "srv.udp:1|c", "udp2:srv.udp2:2|c", "tcp:srv.tcp:3|c\n", "unix:srv.unix:4|c\n"),
			one("several lines over TCP", "tcp:tcp.a:1|c\ntcp.b:2|ms\ntcp.c:3|g\n"),
			one("a line in two reads", "tcp:split.a:1|c\nspl<PAUSE>it.b:2|c\n"),
			one("a line that does not end", "tcp:end.a:1|c\nend.b:2|c", "unix:end.c:1"),
			one("bytes over TCP lose their high bit", "tcp:caf\xc3\xa9:1|c\n", "unix:x\xff:1|c\n"),
			one("empty lines over TCP", "tcp:\n\n\ntcp.e:1|c\n\n"),
			one("a bad line over TCP", "tcp:bad\n"),
		}},
	{name: "TCP alone", options: `server: './servers/tcp', port: $TCP`, cases: []testCase{one("a packet over TCP", "tcp:a:1|c\nb:2|ms\n")}},
	{name: "dual stack", options: `address_ipv6: true, port: $UDP`, cases: []testCase{one("IPv4 on an IPv6 socket", "a:1|c")}},
}
