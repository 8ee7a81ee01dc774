package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/stream"
)

// endpointScript appends the number of every event to its endpoint, a file, and
// says false as long as there is no such directory: the endpoint is down.
const endpointScript = `
local path, lines = nil, {}
local function deliver()
  if #lines == 0 then return true end
  local file = io.open(path, "a")
  if not file then return false end
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  lines = {}
  return true
end
function init(conf) path = conf.endpoint end
function write(event)
  lines[#lines + 1] = event.output
  return #lines >= 100 and deliver()
end
function flush() return deliver() end
`

// backlogConfig has a connector "far" whose endpoint is far/endpoint, and more of
// both where they are given.
func backlogConfig(streamOptions string, more ...string) string {
	config := `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0", synthesize: false}]}
stream: {` + streamOptions + `}
connectors:
`
	for _, name := range append([]string{"far"}, more...) {
		config += "  - {name: " + name + ", script: endpoint.lua, queue_size: 500, categories: [\"neb:ServiceStatus\"], parameters: {endpoint: " + name + "/endpoint}}\n"
	}
	return config
}

// backlog is a daemon with connectors to endpoints that are down.
type backlog struct {
	*process
	t    *testing.T
	dir  string
	load *tireless
}

func startBacklog(t *testing.T, dir, config string) *backlog {
	t.Helper()
	writeFile(t, dir, "weir.yaml", config)
	writeFile(t, dir, "endpoint.lua", endpointScript)
	b := &backlog{t: t, dir: dir, load: newTireless(t)}
	b.load.record.Set("long_output", event.TextValue(bytes.Repeat([]byte("x"), 200)))
	b.start()
	session := connect(t, b.process, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(configuration...)
	session.stop()
	return b
}

func (b *backlog) start() {
	b.t.Helper()
	p, err := run(b.dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(p.kill)
	b.process = p
}

func (b *backlog) stop() {
	b.t.Helper()
	if code, err := b.end(syscall.SIGTERM); code != 0 || err != nil {
		b.t.Fatalf("exit code %d, %v\n%s", code, err, b.log())
	}
}

// up makes an endpoint work.
func (b *backlog) up(name string) {
	b.t.Helper()
	if err := os.Mkdir(filepath.Join(b.dir, name), 0o700); err != nil {
		b.t.Fatal(err)
	}
}

// send has n events acknowledged.
func (b *backlog) send(n int) {
	b.t.Helper()
	session := connect(b.t, b.process, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	for ; n > 0; n -= 1000 {
		list := b.load.events(b.load.next, min(n, 1000))
		if err := session.Send(list...); err != nil {
			b.t.Fatal(err)
		}
		b.load.next += int64(len(list))
		session.sent += int64(len(list))
	}
	session.stop()
}

// sending sends n events, which may take as long as the daemon wants, and waits
// until all are acknowledged.
func (b *backlog) sending(n int) (session *poller, done chan error) {
	b.t.Helper()
	session, done = connect(b.t, b.process, bbdo.Version{Major: 3, Minor: 0, Patch: 1}), make(chan error, 1)
	first := b.load.next
	b.load.next += int64(n)
	go func() {
		for at := 0; at < n; at += 1000 {
			if err := session.Send(b.load.events(first+int64(at), min(1000, n-at))...); err != nil {
				done <- err
				return
			}
		}
		done <- session.Stop(b.t.Context())
	}()
	return session, done
}

// refused waits until the poller of a session is not read any more, and checks
// that its acknowledgements stand still, and that everything else goes on.
func (b *backlog) refused(session *poller, reason string) {
	b.t.Helper()
	err := eventually(func() error {
		if b.metric(`weir_bbdo_stalled{source="bbdo"}`) != 1 {
			return errors.New("events are taken still")
		}
		return nil
	})
	if err != nil {
		b.t.Fatalf("%v\n%s", err, b.log())
	}
	stands, _ := session.Acknowledged()
	other := connect(b.t, b.process, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	defer other.Close()
	other.send(configuration...) // which no endpoint gets
	if err := b.waitLog(`cannot store events: reading stopped, nothing is acknowledged, trying again.*` + reason); err != nil {
		b.t.Error(err)
	}
	if code, body, err := b.get("/-/ready"); err != nil || code != 200 {
		b.t.Errorf("/-/ready: %d %s, %v", code, body, err)
	}
	if n, _ := session.Acknowledged(); n != stands {
		b.t.Errorf("acknowledged %d and then %d events", stands, n)
	}
	if n, _ := other.Acknowledged(); n != 0 {
		b.t.Errorf("%d events of another poller were acknowledged", n)
	}
}

// whole waits until an endpoint has the last event: every one is there, those that
// came again were not acknowledged to the poller before, and they are few.
func (b *backlog) whole(name string) {
	b.t.Helper()
	numbers := b.lines(name)
	seen, again := int64(-1), 0
	for _, n := range numbers {
		switch {
		case n > seen+1:
			b.t.Fatalf("event %d follows %d at %s", n, seen, name)
		case n == seen+1:
			seen = n
		default:
			again++
		}
	}
	if seen != b.load.next-1 || again > 2000 {
		b.t.Errorf("%d events of %d arrived at %s, %d came again", seen+1, b.load.next, name, again)
	}
	b.t.Logf("%d events arrived at %s, %d came again", seen+1, name, again)
}

// arrived waits until an endpoint has the last event, and returns the numbers of
// those that arrived. They are in order, and none came twice.
func (b *backlog) arrived(name string) []int64 {
	b.t.Helper()
	numbers := b.lines(name)
	for i := 1; i < len(numbers); i++ {
		if numbers[i] <= numbers[i-1] {
			b.t.Fatalf("event %d came after %d", numbers[i], numbers[i-1])
		}
	}
	return numbers
}

// lines waits until an endpoint has the last event and returns what arrived.
func (b *backlog) lines(name string) []int64 {
	b.t.Helper()
	var numbers []int64
	last := fmt.Sprintf("\n%d\n", b.load.next-1)
	err := eventually(func() error {
		content, err := os.ReadFile(filepath.Join(b.dir, name, "endpoint"))
		if err != nil {
			return err
		}
		if !bytes.HasSuffix(content, []byte(last)) {
			return fmt.Errorf("the endpoint of %s ends with %q, not %q", name, content[max(0, len(content)-20):], last)
		}
		numbers = numbers[:0]
		for field := range bytes.FieldsSeq(content) {
			n, err := strconv.ParseInt(string(field), 10, 64)
			if err != nil {
				b.t.Fatal(err)
			}
			numbers = append(numbers, n)
		}
		return nil
	})
	if err != nil {
		b.t.Fatalf("%v\n%s", err, b.log())
	}
	return numbers
}

// queue returns what the API says about a queue.
func (b *backlog) queue(name string) (q stream.Backlog, s stream.Stats) {
	b.t.Helper()
	var answer stream.Queues
	if err := b.ask("/api/v1/queues", &answer); err != nil {
		b.t.Fatal(err)
	}
	for _, q := range answer.Queues {
		if q.Name == "connector."+name {
			return q, answer.Stream
		}
	}
	b.t.Fatalf("no queue %s: %+v", name, answer)
	return
}

// full waits until the script of a queue has all the events it may have.
func (b *backlog) full(name string) {
	b.t.Helper()
	err := eventually(func() error {
		if q, _ := b.queue(name); q.Unacknowledged != 500 {
			return fmt.Errorf("the script has %d events, 500 are its limit", q.Unacknowledged)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// metric returns a figure of /metrics.
func (b *backlog) metric(name string) float64 {
	b.t.Helper()
	_, body, err := b.get("/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		b.t.Fatalf("no metric %s in\n%s", name, body)
	}
	x, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		b.t.Fatal(err)
	}
	return x
}

// weir runs a command and returns what it printed and its exit code.
func (b *backlog) weir(args ...string) (out string, code int) {
	b.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = b.dir, environment()
	text, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// account returns the ledger of a component when it balances.
func (b *backlog) account(component string) (received, passed, buffered int64, discarded map[string]int64) {
	b.t.Helper()
	if err := b.balanced(); err != nil {
		b.t.Fatal(err)
	}
	var now status
	if err := b.ask("/api/v1/status", &now); err != nil {
		b.t.Fatal(err)
	}
	for _, a := range now.Ledger {
		if a.Component == component {
			return a.Received, a.Passed, a.Buffered, a.Discarded
		}
	}
	b.t.Fatalf("no ledger of %s: %+v", component, now)
	return
}

// The endpoint is down for hours, with the oldest events dropped at the limit: the
// backlog grows on disk up to the limit and is visible; what is dropped is counted;
// then everything from the oldest kept event on arrives in order.
func TestEndpointDown(t *testing.T) {
	const limit = 2 << 20
	b := startBacklog(t, t.TempDir(), backlogConfig("max_size: 2MiB, drop_oldest: true"))
	b.send(1000)
	b.full("far")
	q, _ := b.queue("far")
	if q.Events < 1000 || q.Events > 1002 || q.Oldest.IsZero() || q.Bytes == 0 { // of the two names some are acknowledged

		t.Errorf("got %+v", q)
	}
	b.send(59000)
	q, s := b.queue("far")
	acked := 60002 - q.Events - q.Discarded // of the two names
	if q.Discarded < 20000 || acked < 0 || acked > 2 || s.Bytes > limit || s.Bytes < limit/2 {
		t.Errorf("got %+v, %+v", q, s)
	}
	if q.Unacknowledged != 500 {
		t.Errorf("the script has %d events, 500 are its limit", q.Unacknowledged)
	}
	size := int64(0)
	err := filepath.WalkDir(filepath.Join(b.dir, "data", "stream"), func(path string, d fs.DirEntry, err error) error {
		if info, err := d.Info(); err == nil && !d.IsDir() {
			size += info.Size()
		}
		return nil
	})
	if err != nil || size > 4*limit {
		t.Errorf("%d bytes on disk with a limit of %d, %v", size, limit, err)
	}
	out, code := b.weir("queue", "ls", "--url", b.http)
	row := regexp.MustCompile(fmt.Sprintf(`(?m)^connector\.far +%d +\d+ +\d+ +\d+s .*\b%d\b`, q.Events, q.Discarded))
	if code != 0 || !row.MatchString(out) || !strings.Contains(out, "of at most 2097152 bytes used") {
		t.Errorf("weir queue ls: %d %s\nwant %s", code, out, row)
	}
	if n := b.metric(`weir_queue_events{queue="connector.far"}`); n != float64(q.Events) {
		t.Errorf("%v events in /metrics, %d in the queue", n, q.Events)
	}
	if age := b.metric(`weir_queue_oldest_age_seconds{queue="connector.far"}`); age <= 0 || age > 60 {
		t.Errorf("the oldest event is %v s old", age)
	}
	if x := b.metric(`weir_stream_bytes`); x > limit || b.metric(`weir_stream_limit_bytes`) != limit || b.metric(`weir_queue_bytes{queue="connector.far"}`) > x {
		t.Errorf("%v bytes in /metrics", x)
	}
	if !strings.Contains(b.log(), "events dropped before they were read") {
		t.Error("the log does not say that events were dropped")
	}

	b.up("far")
	numbers := b.arrived("far")
	kept := int(q.Events)
	held := len(numbers) - kept // by the script while its endpoint was down
	if held < 0 || held > 500 {
		t.Fatalf("%d events arrived, %d were kept", len(numbers), kept)
	}
	for i, n := range numbers {
		want := int64(i)
		if i >= held {
			want = b.load.next - int64(kept) + int64(i-held)
		}
		if n != want {
			t.Fatalf("event %d arrived as number %d of %d, want %d", n, i, len(numbers), want)
		}
	}
	received, passed, buffered, discarded := b.account("stream.connector.far")
	if received != 60002 || buffered != 0 || discarded["size_limit"] != q.Discarded || passed != q.Events+acked {
		t.Errorf("%d received, %d passed, %d buffered, discarded %v", received, passed, buffered, discarded)
	}
	if received, passed, _, _ := b.account("stream"); received != 60002 || passed != received {
		t.Errorf("%d received, %d passed", received, passed)
	}
	if received, passed, buffered, discarded = b.account("connector.far"); passed != int64(len(numbers))+2 || buffered != 0 {
		t.Errorf("%d arrived, %d received, %d passed, %d buffered, discarded %v", len(numbers), received, passed, buffered, discarded)
	}
	b.stop()
}

// The stream is full, and nothing may be dropped: pollers are not acknowledged and
// keep their events, everything else goes on. When the endpoint is there again, so
// does the rest, and nothing is missing.
func TestStreamFull(t *testing.T) {
	b := startBacklog(t, t.TempDir(), backlogConfig("max_size: 2MiB"))
	session, done := b.sending(60000)
	b.refused(session, "reached its size limit of 2097152 bytes")
	q, s := b.queue("far")
	if q.Discarded != 0 || s.Bytes > 2<<20 || s.Bytes < 1<<20 {
		t.Errorf("got %+v, %+v", q, s)
	}
	b.up("far")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.whole("far")
	b.accounted(t, "stream.connector.far", "connector.far")
	if received, passed, _, discarded := b.account("stream"); received != passed+discarded["refused"] || discarded["refused"] == 0 {
		t.Errorf("%d received, %d passed, %v", received, passed, discarded)
	}
	b.stop()
}

// A slow connector, one that is stuck, and one whose endpoint is down, beside a fast
// one: each has a position of its own, and neither intake nor the fast one waits.
func TestSlowConnector(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "slow.lua", `
function init() end
function write(event)
  local until_ = os.clock() + 0.002
  while os.clock() < until_ do end
  return true
end
`)
	writeFile(t, dir, "stuck.lua", `
function init() end
function write() while true do end end
`)
	b := startBacklog(t, dir, backlogConfig("max_size: 64MiB", "fast")+`
  - {name: slow, script: slow.lua, queue_size: 100}
  - {name: stuck, script: stuck.lua, queue_size: 100, call_timeout: 1m}
`)
	b.up("fast")
	b.send(20000)
	if n := len(b.arrived("fast")); n != 20000 {
		t.Errorf("%d events arrived", n)
	}
	q, _ := b.queue("fast")
	slow, _ := b.queue("slow")
	stuck, _ := b.queue("stuck")
	far, _ := b.queue("far")
	if q.Events != 0 || far.Events < 20000 || stuck.Events < 20000 || slow.Events == 0 || slow.Acknowledged == 0 || slow.Events >= stuck.Events {
		t.Errorf("fast %+v\nfar %+v\nslow %+v\nstuck %+v", q, far, slow, stuck)
	}
	if far.Unacknowledged != 500 || slow.Unacknowledged > 100 || stuck.Unacknowledged > 100 {
		t.Errorf("more taken than allowed: far %+v\nslow %+v\nstuck %+v", far, slow, stuck)
	}
	b.up("far")
	if n := len(b.arrived("far")); n != 20000 {
		t.Errorf("%d events arrived", n)
	}
	b.accounted(t, "bbdo", "stream", "stream.connector.fast", "stream.connector.far", "stream.connector.slow", "stream.connector.stuck", "connector.fast", "connector.far", "connector.slow")
	b.kill() // the end of a stuck script takes its time
}
