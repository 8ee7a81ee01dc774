package differential

import (
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pair starts both daemons with the same options.
func pair(t *testing.T, options string) [2]*daemon {
	t.Helper()
	ref, ours := programs(t)
	return [2]*daemon{start(t, ref, options), start(t, ours, options)}
}

// equal fails when what both daemons gave differs.
func equal(t *testing.T, what, want, got string) {
	t.Helper()
	if want != got {
		t.Errorf("%s differs (-statsd +weir):\n%s", what, cmp.Diff(lines(want), lines(got)))
	}
	compared.Add(1)
}

// noFlush keeps flushes out of the way.
const noFlush = `port: $UDP, mgmt_port: $MGMT, flushInterval: 3600000, `

// TestManagement compares the answers of the management console: each command is
// a case. Both daemons hold the same metrics and do not flush meanwhile.
func TestManagement(t *testing.T) {
	t.Parallel()
	d := pair(t, noFlush+`graphiteHost: '127.0.0.1', graphitePort: $GRAPHITE, backends: ['./backends/graphite', './backends/console'],
		prefixStats: 'p', deleteSets: 'yes', unknown: {a: null, f: function (x) { return  x; }, r: /x/g, n: [1, [2, 3]], o: {p: 1}, s: 'q\n'},
		nothing: null, empty: {}, re: /y/, when: undefined, minus: -0, list: ['a', , 'c'], fn: (a) => a, 7: 'seven', big: 1e21, yes: true,
		histogram: [{metric: '', bins: [10, 'inf']}], keyFlush: {interval: 0}, percentThreshold: [90, -5]`)
	for _, one := range d {
		one.send("c.a:1|c\nc.b:2.5|c\nc.ab:3|c\nc:4|c\nd.c.a:5|c\n", "x;t=v:1|c", "10:1|c\n9:2|c\n", "minus:-0|g\ng.a:70|g\ng.b:-3|g\ng:4|g\n", "t.a:1|ms:3|ms:2|ms\n",
			"t.b:-0|ms\nt.many:"+timers(130)+"\n", "bad", "quo'te:1|c", "s:1|s")
	}
	waitFor(t, d, "bad_lines_seen: 1\n")
	for _, command := range []string{
		"help", "stats", "counters", "timers", "gauges", "config", "health", "health down", "health", "health UP", "health maybe", "health down now",
		"delcounters", "delcounters nothing", "delcounters c.a", "delcounters c.*", "counters", "delcounters d c.a *", "delcounters d.*", "delcounters x;t=v 10 p.metrics_received", "counters",
		"delgauges g.a nothing g", "gauges", "delgauges *", "delgauges g.*", "gauges", "deltimers t.b", "timers", "deltimers t.*", "timers", "delcounters  9",
		"HELP", "nothing", "stats now", " help ", "help\r\n", "\n", " ", "counters\n", "quit", "quit now", "delsets s", "sets",
	} {
		var answers [2]string
		var asked sync.WaitGroup
		for i, one := range d {
			asked.Go(func() { answers[i] = one.mask(one.ask(command)) })
		}
		asked.Wait()
		equal(t, "the answer to "+strconv.Quote(command), answers[0], answers[1])
	}
}

// waitFor waits until both daemons' stats say text, so everything sent before is taken in.
func waitFor(t *testing.T, d [2]*daemon, text string) {
	t.Helper()
	for _, one := range d {
		deadline := time.Now().Add(startTimeout)
		for !strings.Contains(one.ask("stats"), text) {
			if time.Now().After(deadline) {
				t.Fatalf("%s never says %q: %s", one.name, text, one.ask("stats"))
			}
		}
	}
}

// TestManagementAfterFlush compares what changes with the first flush.
func TestManagementAfterFlush(t *testing.T) {
	t.Parallel()
	for _, options := range []string{
		`port: $UDP, mgmt_port: $MGMT, flushInterval: 300, graphiteHost: '127.0.0.1', graphitePort: $GRAPHITE`,
		`port: $UDP, mgmt_port: $MGMT, flushInterval: '300', graphiteHost: '127.0.0.1', graphitePort: $GRAPHITE, deleteIdleStats: true, deleteSets: 0, gaugesMaxTTL: '4'`,
		`port: $UDP, mgmt_port: $MGMT, flushInterval: 300, graphiteHost: '127.0.0.1', graphitePort: $GRAPHITE, backends: null, deleteGauges: 1, gaugesMaxTTL: 7`,
	} {
		ref, ours := programs(t)
		var answers [2][]string
		for i, p := range []program{ref, ours} {
			one := start(t, p, options)
			one.next()
			one.send("c:1|c", "t:2|ms", "g:3|g")
			one.next()
			one.next()
			for _, command := range []string{"config", "stats", "counters", "timers", "gauges"} {
				answers[i] = append(answers[i], one.mask(one.ask(command)))
			}
			if code := one.stop(); code != 0 {
				t.Errorf("%s ends with code %d", one.name, code)
			}
		}
		for i := range answers[0] {
			equal(t, "an answer after flushes", lagless(answers[0][i]), lagless(answers[1][i]))
		}
	}
}

var lagValue = regexp.MustCompile(`timestamp_lag': [^ ,]+`)

// lagless masks the lag in a dump of two gauges, which fit on one line whatever it is.
func lagless(text string) string { return lagValue.ReplaceAllString(text, "timestamp_lag': <time>") }

// TestConnection compares a connection that stays open over several commands.
func TestConnection(t *testing.T) {
	t.Parallel()
	d := pair(t, noFlush+`backends: []`)
	var got [2]string
	for i, one := range d {
		conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(one.mgmt))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(startTimeout))
		buffer := make([]byte, 4096)
		for _, command := range []string{"help\n", "health\n", "nothing\n"} {
			io.WriteString(conn, command)
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			got[i] += string(buffer[:n])
		}
		io.WriteString(conn, "quit\n")
		rest, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		got[i] += string(rest) + "<closed>"
	}
	equal(t, "a conversation", got[0], got[1])
}

// TestStandardOutput compares everything that is printed from the start to the end.
func TestStandardOutput(t *testing.T) {
	t.Parallel()
	for _, options := range []string{
		``, `dumpMessages: true, `, `backends: ['./backends/console'], `, `backends: ['./backends/console'], debug: true, dumpMessages: 1, title: 'x', `,
		`backends: [], debug: true, server: './servers/tcp', log: {backend: 'stdout'}, title: false, `,
	} {
		d := pair(t, noFlush+options)
		var got [2]string
		for i, one := range d {
			if !strings.Contains(options, "tcp") {
				one.send("a:1|c\nbad\n\nb:x|c:2|c|@y\n", "g:1|g\ng:+2|g", "c;t=v:1|c|#x:y\n", "unknown:5|z")
				one.askUntil("bad_lines_seen: 3\n")
			}
			if code := one.stop(); code != 0 {
				t.Errorf("%s ends with code %d", one.name, code)
			}
			if text := one.stderr.String(); text != "" {
				t.Errorf("%s prints to standard error: %s", one.name, text)
			}
			got[i] = ownLines.ReplaceAllString(one.mask(one.stdout.String()), "")
		}
		equal(t, "standard output with "+options, got[0], got[1])
	}
}

// ownLines are what Weir says about itself with debug.
var ownLines = regexp.MustCompile(`(?m)^<stamp> - (INFO|DEBUG): StatsD .*\n`)

func (d *daemon) askUntil(text string) {
	d.t.Helper()
	waitFor(d.t, [2]*daemon{d, d}, text)
}

// TestKeyFlush compares the lists of the busiest keys.
func TestKeyFlush(t *testing.T) {
	t.Parallel()
	for _, options := range []string{`percent: 50, `, ``} {
		d := pair(t, noFlush+`backends: [], keyFlush: {interval: 1500, `+options+`log: '$KEYS'}`)
		var got [2]string
		for _, one := range d {
			one.send("a:1|c\nb:1|c\nb:2|c\nb:2|ms:3|ms\n", "c/d e:1|g", "bad\nbad:\nbad\nbad\nbad", "a:1|c|#t:v")
		}
		for i, one := range d {
			got[i] = one.mask(untilWritten(t, one.keys))
		}
		equal(t, "the busiest keys", got[0], got[1])
	}
}

func untilWritten(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			return string(text)
		}
	}
	t.Fatalf("%s stays empty", path)
	return ""
}

// TestRepeater compares the packets that are sent on.
func TestRepeater(t *testing.T) {
	t.Parallel()
	d := pair(t, noFlush+`backends: ['./backends/repeater'], repeater: [{host: '127.0.0.1', port: $REPEATED}]`)
	packets := []string{"a:1|c", "a:1|c\nb:2|ms\n", "bad\x00\xff line", "\n\n", strings.Repeat("x", 8000) + ":1|c"}
	var got [2][]string
	for i, one := range d {
		one.send(packets...)
		buffer := make([]byte, 1<<16)
		one.repeated.SetReadDeadline(time.Now().Add(startTimeout))
		for range packets {
			n, _, err := one.repeated.ReadFrom(buffer)
			if err != nil {
				t.Fatalf("%s: %v", one.name, err)
			}
			got[i] = append(got[i], string(buffer[:n]))
		}
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("packets differ (-statsd +weir):\n%s", diff)
	}
	if diff := cmp.Diff(packets, got[1]); diff != "" {
		t.Errorf("packets change on their way:\n%s", diff)
	}
	compared.Add(int64(len(packets)))
}
