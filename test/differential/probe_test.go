package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const probeOptions = `
  port: $UDP, mgmt_port: $MGMT, flushInterval: 1000, deleteTimers: false,
  servers: [{server: './servers/udp', port: $UDP, address: '127.0.0.1'}, {server: './servers/tcp', port: $TCP, address: '127.0.0.1'},
    {server: './servers/udp', port: $UDP2, address_ipv6: true}, {server: './servers/tcp', socket: '$SOCKET'}],
  backends: ['$PROBE', './backends/graphite'], graphiteHost: '127.0.0.1', graphitePort: $GRAPHITE,
  percentThreshold: [50, '90', -10], histogram: [{metric: 't1', bins: [50, 100.5, 'inf']}],
  probe: '$SOCKET.probe', f: function (x) { return x * 2; }, r: /^a/g, nested: {list: [1, , 'two'], none: null, not: undefined}`

// probePackets are sent within one interval. Every kind of metric, number and transport is there.
var probePackets = []string{
	"c1:3|c|@0.1\nc1:2|c\n", "t1:10|ms:20|ms|@0.5:101|ms", "g1:5|g", "g1:-2|g", "u:u1|s:u2|s:u1|s:7|s:__x|s", "bad|z", "tag.c:1|c|#env:prod,x:y",
	"big:1e999|c\nsmall:1e-300|c\nzero:-0|g\nminus:-5|g\nnan:1|c|@0", "10:1|c\n9:1|c\nempty:|s", "t2:5|ms:1|ms:3|ms", "k\"q'\\:1|c", "\xff\xfe\xc3\xa9:1|c",
	"tcp:tcp.a:1|c\ntcp.b:2|ms\n", "tcp:h\xe1gh:1|c\n", "unix:unix.a:1|c\n", "udp2:v6:1|c",
}

// TestProbe runs the same backend module, which writes down all it sees, under both daemons.
func TestProbe(t *testing.T) {
	t.Parallel()
	ref, ours := programs(t)
	probe, err := filepath.Abs("testdata/probe.js")
	if err != nil {
		t.Fatal(err)
	}
	run := func(p program) (notes []string, status, stdout string) {
		for range 4 {
			d := start(t, p, strings.NewReplacer("$PROBE", probe).Replace(probeOptions))
			d.next()
			began := time.Now()
			d.send(probePackets...)
			late := time.Since(began) > 800*time.Millisecond
			d.next()
			d.next()
			status = d.mask(d.ask("stats\n"))
			settings := d.mask(d.ask("config\n"))
			d.kill()
			text, err := os.ReadFile(d.socket + ".probe")
			if err != nil {
				t.Fatalf("%s: %v\n%s%s", d.name, err, d.stdout, d.stderr)
			}
			if late {
				continue
			}
			for note := range strings.SplitSeq(d.mask(string(text)), "\n") {
				notes = append(notes, strings.Replace(note, d.directory, "$DIRECTORY", -1))
			}
			return notes, status + settings, d.mask(d.stdout.String())
		}
		t.Fatal("the machine is too busy")
		return nil, "", ""
	}
	want, wantStatus, wantPrinted := run(ref)
	got, gotStatus, gotPrinted := run(ours)
	third := func(notes []string) []string { // up to the third flush: how many come until the end is chance
		for i, flushes := 0, 0; i < len(notes); i++ {
			if strings.HasPrefix(notes[i], "timestamp") {
				if flushes++; flushes == 4 {
					return notes[:i]
				}
			}
		}
		return notes
	}
	if diff := cmp.Diff(third(want), third(got)); diff != "" {
		t.Errorf("the probe saw other things (-statsd +weir):\n%s", diff)
	}
	if n := strings.Count(fmt.Sprint(want), "packet "); n < len(probePackets) {
		t.Errorf("%d packets were seen, %d sent", n, len(probePackets))
	}
	if diff := cmp.Diff(lines(wantStatus), lines(gotStatus)); diff != "" {
		t.Errorf("the management console differs (-statsd +weir):\n%s", diff)
	}
	if diff := cmp.Diff(firstLines(wantPrinted), firstLines(gotPrinted)); diff != "" {
		t.Errorf("what is printed differs (-statsd +weir):\n%s", diff)
	}
	compared.Add(1)
}

// firstLines are what is printed until the probe has loaded.
func firstLines(text string) []string {
	all := lines(text)
	return all[:min(len(all), 5)]
}
