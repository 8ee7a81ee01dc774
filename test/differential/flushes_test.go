package differential

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// compared counts the cases in which both daemons were compared.
var compared atomic.Int64

// TestFlushes compares Graphite's lines and the console's output of every group.
func TestFlushes(t *testing.T) {
	t.Parallel()
	ref, ours := programs(t)
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			g.defaults()
			want, got := g.both(t, ref, ours)
			for i := range want.flushes {
				if want.flushes[i] != got.flushes[i] {
					t.Errorf("flush %d differs (-statsd +weir):\n%s", i, cmp.Diff(lines(want.flushes[i]), lines(got.flushes[i])))
				}
				if g.console && want.console[i] != got.console[i] {
					t.Errorf("flush %d on the console differs (-statsd +weir):\n%s", i, cmp.Diff(lines(want.console[i]), lines(got.console[i])))
				}
			}
			compared.Add(int64(len(g.cases)))
		})
	}
}

func lines(text string) []string { return strings.Split(text, "\n") }

func programs(t *testing.T) (ref, ours program) {
	t.Helper()
	ref, err := reference()
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = weir(); err != nil {
		t.Fatal(err)
	}
	return ref, ours
}

func (g *group) defaults() {
	if g.every == 0 {
		g.every = 500
	}
	if g.flushes == 0 {
		g.flushes = 3
	}
}

// result is what one daemon made of a group, masked.
type result struct {
	flushes []string
	console []string
	late    bool // the inputs of a step did not all arrive before its flush
}

// packets are the lines about how many packets came, by which each flush of a daemon tells in which interval they did.
var packets = regexp.MustCompile(`(?m)^\S*packets_received.*$`)

// received are those lines of every flush.
func (r result) received() (lines []string) {
	for _, text := range r.flushes {
		lines = append(lines, strings.Join(packets.FindAllString(text, -1), "\n"))
	}
	return lines
}

// both runs the group in both daemons at once, again when the machine was too busy to send everything within
// one interval, or for both daemons to take it in the same one. What differs each time is a difference.
func (g *group) both(t *testing.T, ref, ours program) (want, got result) {
	t.Helper()
	const tries = 4
	for try := range tries {
		results := make(chan result, 1)
		a, b := start(t, ref, g.configuration()), start(t, ours, g.configuration())
		go func() { // it reports failures of the daemon with Fatal: a goroutine of its own must end as well
			r := result{late: true}
			defer func() { results <- r }()
			r = g.run(a)
		}()
		got = g.run(b)
		want = <-results
		if t.Failed() {
			t.FailNow()
		}
		if !want.late && !got.late && (slices.Equal(want.received(), got.received()) || try == tries-1) {
			return want, got
		}
		t.Log("the machine was too busy to send everything between two flushes; again")
		g.every *= 2
	}
	t.Fatal("the machine is too busy to send everything between two flushes")
	return want, got
}

// configuration is the text of the file, with the listeners the options leave out.
func (g *group) configuration() string {
	options := []string{"mgmt_port: $MGMT", "graphiteHost: '127.0.0.1'", "graphitePort: $GRAPHITE"}
	if !strings.Contains(g.options, "port: $") {
		options = append(options, "port: $UDP")
	}
	if !strings.Contains(g.options, "flushInterval:") {
		options = append(options, fmt.Sprintf("flushInterval: %d", g.every))
	}
	backends := "backends: ['./backends/graphite']"
	if g.console {
		backends = "backends: ['./backends/console', './backends/graphite']"
	}
	options = append(options, backends)
	if g.options != "" {
		options = append(options, g.options)
	}
	return strings.Join(options, ",\n")
}

// run sends the inputs of each step right after a flush, so that all of them
// are in the next one.
func (g *group) run(d *daemon) result {
	var r result
	for step := range g.flushes {
		begin := time.Now()
		for _, c := range g.cases {
			if max(c.step, 1) == step {
				d.send(c.packets...)
			}
		}
		took := time.Since(begin)
		if step > 0 && took > time.Duration(g.every)*time.Millisecond/2 {
			r.late = true
		}
		payload := d.next()
		if strings.Contains(g.options, "'pickle'") {
			payload = unpickle(d, payload)
		}
		r.flushes = append(r.flushes, maskGraphite(payload))
	}
	if code := d.stop(); code != 0 {
		d.t.Errorf("%s ends with code %d: %s", d.name, code, d.stderr)
	}
	if g.console { // now that everything is printed
		blocks := strings.Split(d.stdout.String(), "Flushing stats at ")
		for i := range g.flushes {
			block := blocks[i+1]
			if next := stampLine.FindStringIndex(block); next != nil { // a log line in between
				block = block[:next[0]]
			}
			r.console = append(r.console, d.mask(block))
		}
	}
	return r
}

var pickled = regexp.MustCompile(`\(S'([^']*)'\n\(L(\d+)L\nS'([^']*)'\ntta`)

// unpickle turns a pickled flush into text lines, and fails when it is anything
// but a list of pairs in pickle protocol 0.
func unpickle(d *daemon, payload []byte) []byte {
	if len(payload) < 4 || int(binary.BigEndian.Uint32(payload)) != len(payload)-4 {
		d.t.Errorf("%s: the length of a pickled flush is wrong: % x", d.name, payload[:min(len(payload), 8)])
		return payload
	}
	body := string(payload[4:])
	var text, again strings.Builder
	for _, m := range pickled.FindAllStringSubmatch(body, -1) {
		fmt.Fprintf(&text, "%s %s %s\n", m[1], m[3], m[2])
		again.WriteString(m[0])
	}
	if body != "(l"+again.String()+"." {
		d.t.Errorf("%s: a flush is not pickled as it should be: %q", d.name, body)
	}
	return []byte(text.String())
}
