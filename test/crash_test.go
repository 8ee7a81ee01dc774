package test

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashConfig has the console print every flush, so that the test knows what
// each one held without asking the store.
const crashConfig = `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [{listen: "udp://127.0.0.1:0"}]}
statsd: {flush_interval: 1s, management: {listen: ""}, backends: [console, store]}
`

// A daemon that is killed during load has, after a restart, every flush that it
// had reported as stored, to the last value.
func TestKillDuringLoad(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(crashConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	env := environment()
	reported := make(map[int64]float64) // timestamp of a flush to its value of the counter "load"
	for round := range 3 {
		p, err := run(dir, env, "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, reported)
		for at, value := range loadAndKill(t, p, 2+round) {
			reported[at] = value
		}
	}
	p, err := run(dir, env, "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	check(t, p, reported)
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("exit code %d, %v\n%s", code, err, p.log())
	}
}

// loadAndKill sends until so many flushes are reported as stored, kills the
// daemon while it sends, and returns the flushes.
func loadAndKill(t *testing.T, p *process, flushes int) map[int64]float64 {
	t.Helper()
	conn, err := net.Dial("udp", p.udp)
	if err != nil {
		t.Fatal(err)
	}
	stop, sending := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sending)
		defer conn.Close()
		for i := 0; ; i++ {
			var packet strings.Builder
			for n := range 20 {
				fmt.Fprintf(&packet, "load:1|c\nname%d:%d|ms\n", (i+n)%500, n)
			}
			_, _ = conn.Write([]byte(packet.String())) // refused once the daemon is dead
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	}()
	var stored int64
	err = eventually(func() error {
		var now status
		if err := p.ask("/api/v1/status", &now); err != nil {
			return err
		}
		// Those that were printed too: only of them the test knows what they held.
		stored = min(now.passed("statsd.backend.store"), now.passed("statsd.backend.console"))
		if stored < int64(flushes) {
			return fmt.Errorf("%d flushes of %d are stored", stored, flushes)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.kill()
	close(stop)
	<-sending
	printed := flushesOf(t, p.output())
	if len(printed) < int(stored) {
		t.Fatalf("%d flushes are reported as stored, %d were printed", stored, len(printed))
	}
	all := make(map[int64]float64)
	total := 0.0
	for _, f := range printed[:stored] {
		all[f.timestamp] = f.load
		total += f.load
	}
	if total == 0 {
		t.Fatal("nothing of the load is in a stored flush")
	}
	return all
}

type printedFlush struct {
	timestamp int64
	load      float64
}

var (
	headline = regexp.MustCompile(`(?m)^Flushing stats at  (.*) GMT\+0000 \(Coordinated Universal Time\)$`)
	counters = regexp.MustCompile(`(?s)counters: \{(.*?)\}`)
	load     = regexp.MustCompile(`\bload: (\d+)`)
)

// flushesOf reads what the console backend printed.
func flushesOf(t *testing.T, output string) []printedFlush {
	t.Helper()
	var all []printedFlush
	places := headline.FindAllStringSubmatchIndex(output, -1)
	for i, place := range places {
		at, err := time.Parse("Mon Jan 02 2006 15:04:05", output[place[2]:place[3]])
		if err != nil {
			t.Fatal(err)
		}
		end := len(output)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		f := printedFlush{timestamp: at.Unix()}
		if m := load.FindStringSubmatch(counters.FindString(output[place[0]:end])); m != nil {
			f.load, _ = strconv.ParseFloat(m[1], 64)
		}
		all = append(all, f)
	}
	return all
}

// check asks for every reported flush.
func check(t *testing.T, p *process, reported map[int64]float64) {
	t.Helper()
	if len(reported) == 0 {
		return
	}
	first, last := int64(math.MaxInt64), int64(0)
	for at := range reported {
		first, last = min(first, at), max(last, at)
	}
	var answer struct {
		Start, Step int64
		Series      []struct{ Data []*float64 }
	}
	parameters := url.Values{
		"schema": {"statsd:counter"}, "tag": {"name=load"}, "points": {"10000"},
		"start": {strconv.FormatInt(first-1, 10)}, "end": {strconv.FormatInt(last+1, 10)},
	}
	if err := p.ask("/api/v1/query?"+parameters.Encode(), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Series) != 1 || answer.Step != 1 {
		t.Fatalf("%+v", answer)
	}
	for at, want := range reported {
		i := at - answer.Start - 1 // slot i covers (start+i, start+i+1]
		if i < 0 || i >= int64(len(answer.Series[0].Data)) {
			t.Errorf("the flush of %d, reported as stored, is out of the answer", at)
		} else if got := answer.Series[0].Data[i]; got == nil && want != 0 || got != nil && *got != want {
			t.Errorf("the flush of %d, reported as stored, had %v and has %s", at, want, shown(got))
		}
	}
}

func shown(v *float64) string {
	if v == nil {
		return "nothing"
	}
	return fmt.Sprint(*v)
}
