package differential

import (
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func weirOnly(t *testing.T, options string) *daemon {
	t.Helper()
	p, err := weir()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, p, options)
}

// TestDifferences covers the inputs that kill or confuse the reference daemon,
// where docs/statsd.md promises something else.
func TestDifferences(t *testing.T) {
	t.Parallel()
	d := weirOnly(t, noFlush+`backends: ['./backends/console'], healthStatus: 'down', server: './servers/tcp', socket: '$SOCKET', socket_mod: '0600'`)
	if info, err := os.Stat(d.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v: %v", info.Mode(), err)
	}
	if got := d.ask("health"); got != "health: down\n" {
		t.Errorf("healthStatus 'down' answers %q", got)
	}
	d.send("unix:__proto__:1|c\nconstructor:2|c\ntoString:3|ms\n__proto__:4|s\nhasOwnProperty:__proto__|s\n",
		"unix:r.a:1|c|@+0.5\nr.b:1|c|@ 0.5\nr.c:1|c|@Infinity\n")
	d.askUntil("bad_lines_seen: 3\n")
	if got := d.ask("delcounters valueOf toString"); got != "metric valueOf not found\nmetric toString not found\nEND\n\n" {
		t.Errorf("names every JavaScript object has: %q", got)
	}
	if code := d.stop(); code != 0 {
		t.Errorf("ends with code %d", code)
	}
	for _, want := range []string{"__proto__: 1", "constructor: 2", "timers: { toString: [ 3 ] }", "hasOwnProperty: [ '__proto__' ]", "__proto__: [ '4' ]"} {
		if !strings.Contains(d.stdout.String(), want) {
			t.Errorf("%q is not in the last flush: %s", want, d.stdout)
		}
	}
	if _, err := os.Stat(d.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// TestFinalFlush checks that what was sent just before the end reaches Graphite,
// for both signals.
func TestFinalFlush(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		d := weirOnly(t, noFlush+`graphiteHost: '127.0.0.1', graphitePort: $GRAPHITE`)
		d.send("last:1|c")
		d.cmd.Process.Signal(signal)
		if flush := string(d.next()); !strings.Contains(flush, "stats_counts.last 1 ") {
			t.Errorf("%v: the last flush is %q", signal, flush)
		}
		<-d.exited
		if code := d.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%v: ends with code %d: %s", signal, code, d.stderr)
		}
	}
}

// TestUpstreamDemands covers what the test-suite of the reference daemon asks of
// an executable (StatsD specification section 9.1): the configuration with
// unknown keys, "server is up", a connection per flush that is closed after it,
// a prompt end although the Graphite server is gone, and the ports free again at once.
func TestUpstreamDemands(t *testing.T) {
	t.Parallel()
	p, err := weir()
	if err != nil {
		t.Fatal(err)
	}
	const options = `graphService: 'graphite', batch: 200, flushInterval: 200, percentThreshold: 90, histogram: [{metric: 'a_test_value', bins: [1000]}],
		port: $UDP, mgmt_port: $MGMT, dumpMessages: false, debug: false, graphite: {legacyNamespace: false}, graphitePort: $GRAPHITE, graphiteHost: '127.0.0.1'`
	first := start(t, p, options)
	if flush := string(first.next()); !strings.Contains(flush, "stats.statsd.numStats 3 ") || strings.Contains(flush, "timestamp_lag") {
		t.Errorf("the first flush is %q", flush)
	}
	first.send("a_test_value:100|ms|@0.1")
	found := false
	for range 5 { // the flush that holds it is one of the next
		flush := string(first.next())
		if !strings.Contains(flush, "stats.timers.a_test_value.count_90 1 ") {
			continue
		}
		found = true
		for _, want := range []string{
			"stats.statsd.numStats 5 ", "stats.gauges.statsd.timestamp_lag ", "stats.timers.a_test_value.mean_90 100 ",
			"stats.timers.a_test_value.histogram.bin_1000 1 ", "stats.timers.a_test_value.count_ps 50 ", "stats.timers.a_test_value.count 10 ",
		} {
			if !strings.Contains(flush, want) {
				t.Errorf("%q is not in the flush %q", want, flush)
			}
		}
		break
	}
	if !found {
		t.Error("the timer is in none of the flushes")
	}
	first.graphite.listener.Close()
	begin := time.Now()
	if code := first.stop(); code != 0 {
		t.Errorf("ends with code %d: %s", code, first.stderr)
	}
	if took := time.Since(begin); took > 3*time.Second { // it promises two
		t.Errorf("takes %v to end without a Graphite server", took)
	}
	u, err := net.ListenPacket("udp4", ":"+strconv.Itoa(first.udp))
	if err != nil {
		t.Errorf("the port is not free again: %v", err)
	} else {
		u.Close()
	}
	l, err := net.Listen("tcp", ":"+strconv.Itoa(first.mgmt))
	if err != nil {
		t.Errorf("the management port is not free again: %v", err)
	} else {
		l.Close()
	}
}

// TestReloadOfTheFile checks that changes of the file are noticed, whether it is
// written again or replaced, and SIGHUP, and that an error in it changes nothing.
func TestReloadOfTheFile(t *testing.T) {
	t.Parallel()
	d := weirOnly(t, noFlush+`backends: []`)
	options := func(more string) string {
		return strings.NewReplacer("$UDP", strconv.Itoa(d.udp), "$MGMT", strconv.Itoa(d.mgmt)).Replace(noFlush + `backends: []` + more)
	}
	waitConfig := func(want string) {
		t.Helper()
		deadline := time.Now().Add(startTimeout)
		for !strings.Contains(d.ask("config"), want) {
			if time.Now().After(deadline) {
				t.Fatalf("%q never comes: %s%s", want, d.ask("config"), d.stdout)
			}
		}
	}
	waitConfig("gaugesMaxTTL: 1\n")
	d.write(options(", gaugesMaxTTL: 2"))
	waitConfig("gaugesMaxTTL: 2\n")

	fresh := d.config + ".new"
	if err := os.WriteFile(fresh, []byte("{"+options(", gaugesMaxTTL: 3")+"}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, d.config); err != nil {
		t.Fatal(err)
	}
	waitConfig("gaugesMaxTTL: 3\n")

	d.write(options(", gaugesMaxTTL: 4, ]"))
	if !d.stdout.wait("ERROR: cannot reload: the configuration stays as it was: "+d.config+":2:", startTimeout, d.exited) {
		t.Errorf("nothing in the log: %s", d.stdout)
	}
	waitConfig("gaugesMaxTTL: 3\n")

	d.write(options(", gaugesMaxTTL: 5, automaticConfigReload: false, percentThreshold: 50"))
	waitConfig("gaugesMaxTTL: 5\n")
	if !d.stdout.wait("WARNING: these options changed and need a restart: percentThreshold\n", startTimeout, d.exited) {
		t.Errorf("nothing in the log: %s", d.stdout)
	}

	d.write(options(", gaugesMaxTTL: 6"))
	time.Sleep(4 * 250 * time.Millisecond) // four looks at the file; it must not be taken up
	if got := d.ask("config"); !strings.Contains(got, "gaugesMaxTTL: 5\n") {
		t.Errorf("reloaded although automaticConfigReload is false: %s", got)
	}
	d.cmd.Process.Signal(syscall.SIGHUP)
	waitConfig("gaugesMaxTTL: 6\n")
	if code := d.stop(); code != 0 {
		t.Errorf("ends with code %d", code)
	}
}
