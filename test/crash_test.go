package test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/stream"
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

// hundredthScript writes the number of every event to its endpoint at once, in one
// write of the system that no page boundary can tear, and acknowledges at every
// hundredth. It has no flush.
const hundredthScript = `
local endpoint, n = nil, 0
function init(conf)
  endpoint = assert(io.open(conf.endpoint, "a"))
  endpoint:setvbuf("no")
  endpoint:write("-------\n")
end
function write(event)
  local ok, why = endpoint:write(string.format("%07d\n", event.output))
  if not ok then
    broker_log:error(0, "cannot write to the endpoint: " .. tostring(why))
    os.exit(1)
  end
  n = n + 1
  return n % 100 == 0
end
`

const (
	crashQueue  = 300  // events the script may have and not acknowledge
	crashWindow = 2000 // events the poller may have sent without an acknowledgement
	crashBatch  = 100
	crashPause  = time.Millisecond
)

const hundredthConfig = `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0", synthesize: false}]}
connectors: [{name: hundredth, script: hundredth.lua, queue_size: 300, categories: ["neb:ServiceStatus"], parameters: {endpoint: endpoint}}]
`

// environmentNumber is a number that an environment variable gives a test, or otherwise.
func environmentNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Kill -9 of the daemon and of the script's process at random moments under load:
// nothing the poller was told to be safe is missing at the endpoint, nothing a
// script had acknowledged comes again, and what comes twice was not acknowledged.
// WEIR_KILLS says how many kills (40), WEIR_SEED repeats the moments of a run.
func TestKillConnector(t *testing.T) {
	kills, seed := int(environmentNumber(t, "WEIR_KILLS", 40)), environmentNumber(t, "WEIR_SEED", uint64(time.Now().UnixNano()))
	t.Logf("WEIR_KILLS=%d WEIR_SEED=%d", kills, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	within := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }

	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", hundredthConfig)
	writeFile(t, dir, "hundredth.lua", hundredthScript)
	start := func() *process {
		t.Helper()
		p, err := begin(dir, environment(), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		return p
	}
	p := start()
	if err := p.ready(); err != nil {
		t.Fatal(err)
	}
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(configuration...)
	session.stop()
	p.kill()

	load := newTireless(t)
	stored := uint64(0) // a position that is known to be stored
	daemons, scripts := 1, 0
	for daemons+scripts < kills {
		p = start()
		sending := make(chan error, 1)
		go func() { sending <- load.session(p) }()
		time.Sleep(within(60 * time.Millisecond)) // it may not even be ready
		switch random.IntN(4) {
		case 0:
			if p.ready() == nil && p.killScript() {
				scripts++
				if random.IntN(4) == 0 { // this daemon, not the next one, starts it again
					again := strings.Count(p.log(), `msg="script runs"`) + 1
					if err := p.waitLog(fmt.Sprintf(`(?s)(msg="script runs".*){%d}`, again)); err != nil {
						t.Error(err)
					}
				}
			}
		case 1, 2:
			if p.ready() == nil {
				stored = p.position(t, stored)
			}
		}
		time.Sleep(within(150 * time.Millisecond))
		p.kill()
		daemons++
		if err := <-sending; err != nil {
			t.Error(err)
		}
		p.unharmed(t)
	}

	p = start()
	if err := p.ready(); err != nil {
		t.Fatal(err)
	}
	if err := load.finish(p); err != nil {
		t.Fatal(err)
	}
	endpoint := filepath.Join(dir, "endpoint")
	last := fmt.Sprintf("%07d\n", load.next-1)
	err := eventually(func() error {
		content, err := os.ReadFile(endpoint)
		if err == nil && !bytes.HasSuffix(content, []byte(last)) {
			err = fmt.Errorf("the endpoint ends with %q, %q was acknowledged to the poller", content[max(0, len(content)-8):], last)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stored = p.position(t, stored)
	var queues stream.Queues
	if err := p.ask("/api/v1/queues", &queues); err != nil {
		t.Fatal(err)
	}
	events := int64(queues.Stream.Events) - int64(len(configuration))
	if rest := int64(queues.Stream.Events - stored); rest != queues.Queues[0].Events || rest >= 100 {
		t.Errorf("%d events wait after the last hundredth", rest)
	}
	lines := arrived(t, endpoint, load.next)
	t.Logf("%d kills of the daemon, %d of the script; %d events, %d in the stream (%d sent again by the poller), %d at the endpoint", daemons, scripts, load.next, events, events-load.next, lines)
	if again := events - load.next; again < 0 || again > int64(daemons)*(crashWindow+crashBatch) {
		t.Errorf("%d events are in the stream twice after %d kills", again, daemons)
	}
	if again := lines - events; again < 0 || again > int64(daemons+scripts)*crashQueue {
		t.Errorf("%d events came to the script twice after %d kills: at most %d each time were not acknowledged", again, daemons+scripts, crashQueue)
	}
	p.accounted(t, "bbdo", "stream", "stream.connector.hundredth", "connector.hundredth")
	for _, arguments := range [][]string{{"--url", p.http}, {"--path", filepath.Join(dir, "data", "stream")}} {
		if arguments[0] == "--path" {
			if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
				t.Errorf("exit code %d, %v\n%s", code, err, p.log())
			}
		}
		if out, err := exec.Command(binary, append([]string{"queue", "verify"}, arguments...)...).CombinedOutput(); err != nil {
			t.Errorf("weir queue verify %v: %v\n%s", arguments, err, out)
		}
	}
	p.unharmed(t)
}

// arrived reads the endpoint: every event is there, and each follows the one before
// it or comes again. It returns how many lines of events there are.
func arrived(t *testing.T, path string, events int64) (lines int64) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := int64(0) // events 0..seen-1 have arrived
	before := int64(-1)
	for line := range strings.Lines(string(content)) {
		if line == "-------\n" { // a new process begins at some event that came before, or the next one
			before = seen - 1
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(line, "\n"), 10, 64)
		if err != nil || len(line) != 8 {
			t.Fatalf("torn line %q", line)
		}
		if n > before+1 {
			t.Fatalf("event %d follows %d", n, before)
		}
		if before-n > crashWindow+crashBatch+crashQueue {
			t.Errorf("event %d comes again after %d", n, before)
		}
		seen, before = max(seen, n+1), n
		lines++
	}
	if seen != events {
		t.Errorf("%d events of %d arrived", seen, events)
	}
	return lines
}

// tireless is a poller that begins a new session after each that broke, and sends
// again what was not acknowledged.
type tireless struct {
	record *event.Record
	acked  int64 // events acknowledged for good: never sent again
	next   int64 // number of the next event that was never sent
}

func newTireless(t *testing.T) *tireless {
	t.Helper()
	e, err := event.ParseJSON([]byte(`{"category":1,"element":29,"host_id":1,"service_id":2,"checked":true,"last_check":1700000000}`))
	if err != nil {
		t.Fatal(err)
	}
	e.Source = 3
	record, err := event.Decode(e)
	if err != nil {
		t.Fatal(err)
	}
	return &tireless{record: record}
}

func (s *tireless) events(first int64, n int) []event.Event {
	list := make([]event.Event, n)
	for i := range list {
		s.record.Set("output", event.TextValue(strconv.AppendInt(nil, first+int64(i), 10)))
		list[i] = s.record.Encode()
	}
	return list
}

// session sends until the daemon is gone. The error is that the daemon broke the
// rules of acknowledgements.
func (s *tireless) session(p *process) error {
	c := s.connect(p)
	if c == nil {
		return nil
	}
	first := s.acked
	for at := first; ; at += crashBatch {
		if c.Send(s.events(at, crashBatch)...) != nil {
			break
		}
		s.next = max(s.next, at+crashBatch)
		if c.Wait(context.Background(), at+crashBatch-first-crashWindow) != nil {
			break
		}
		time.Sleep(crashPause) // so that the script keeps up
	}
	_ = c.Close() // which waits for acknowledgements that are on their way
	return s.settle(c, first)
}

// settle takes over what was acknowledged in a session that began with event first.
func (s *tireless) settle(c *bbdo.Client, first int64) error {
	n, _ := c.Acknowledged()
	if c.Unacknowledged() < 0 {
		return fmt.Errorf("%d events were acknowledged, more than were sent", n)
	}
	s.acked = first + n
	return nil
}

func (s *tireless) connect(p *process) *bbdo.Client {
	if p.waitLog(`msg=ready `) != nil {
		return nil
	}
	c, err := bbdo.Connect(context.Background(), p.bbdoAddress(), bbdo.ClientConfig{
		Identity: bbdo.Identity{PollerID: 3, PollerName: "Lyon", BrokerName: "Lyon-module", PeerType: bbdo.Engine},
	})
	if err != nil {
		return nil
	}
	return c
}

// finish sends again what is left, and then some events that were never sent, and
// ends the session in order: everything is acknowledged.
func (s *tireless) finish(p *process) error {
	c := s.connect(p)
	if c == nil {
		return fmt.Errorf("cannot connect: %s", p.log())
	}
	first := s.acked
	s.next += crashBatch
	for at := first; at < s.next; at += crashBatch {
		if err := c.Send(s.events(at, int(min(crashBatch, s.next-at)))...); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		return err
	}
	if err := s.settle(c, first); err != nil {
		return err
	}
	if s.acked != s.next {
		return fmt.Errorf("%d of %d events were acknowledged", s.acked, s.next)
	}
	return nil
}

// killScript kills the process of the only script, if it runs.
func (p *process) killScript() bool {
	var answer struct{ Scripts []struct{ PID int } }
	if p.ask("/api/v1/scripts", &answer) != nil || len(answer.Scripts) != 1 || answer.Scripts[0].PID == 0 {
		return false
	}
	return syscall.Kill(answer.Scripts[0].PID, syscall.SIGKILL) == nil
}

// position returns the stored position of the only connector, which is not before
// one that was stored earlier.
func (p *process) position(t *testing.T, earlier uint64) uint64 {
	t.Helper()
	var answer stream.Queues
	if err := p.ask("/api/v1/queues", &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Queues) != 1 || answer.Queues[0].Acknowledged < earlier {
		t.Fatalf("the position %d was stored: %+v", earlier, answer)
	}
	return answer.Queues[0].Acknowledged
}

// unharmed checks that the log has nothing that a kill does not explain.
func (p *process) unharmed(t *testing.T) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^.*(level=ERROR|panic|DATA RACE|BUG|damaged).*$`)
	for _, line := range m.FindAllString(p.log(), -1) {
		if !strings.Contains(line, `was ended by SIGKILL`) {
			t.Errorf("in the log: %s", line)
		}
	}
}

// accounted waits until every component's account balances, and checks that those
// named have received something and lost nothing.
func (p *process) accounted(t *testing.T, components ...string) {
	t.Helper()
	if err := p.balanced(); err != nil {
		t.Fatal(err)
	}
	var now status
	if err := p.ask("/api/v1/status", &now); err != nil {
		t.Fatal(err)
	}
	for _, name := range components {
		found := false
		for _, a := range now.Ledger {
			if a.Component == name {
				found = a.Received > 0 && a.Received == a.Passed+a.Buffered
			}
		}
		if !found {
			t.Errorf("%s has lost events, or received none: %+v", name, now.Ledger)
		}
	}
}
