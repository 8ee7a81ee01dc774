package bbdo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

// recorder is a sink that remembers, and fails as long as it is told to.
type recorder struct {
	mu      sync.Mutex
	events  []event.Event
	infos   []Info
	largest int
	failure error
}

func (r *recorder) sink(_ context.Context, conn Info, events []event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return r.failure
	}
	r.largest = max(r.largest, len(events))
	r.infos = append(r.infos, conn)
	for _, e := range events {
		e.Payload = bytes.Clone(e.Payload)
		r.events = append(r.events, e)
	}
	return nil
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
}

// take returns the types that came since the last time.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var types []string
	for _, e := range r.events {
		types = append(types, fmt.Sprintf("%d:%d", e.Type.Category(), e.Type.Element()))
	}
	r.events = nil
	return strings.Join(types, " ")
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// rig is a receiver without sockets.
type rig struct {
	*receiver
	recorder
	log  lines
	ends chan error // how sessions ended
}

var central = Identity{1, "Central", "weir", Broker}

func newRig(cfg Config) *rig {
	g := &rig{ends: make(chan error, 10)}
	cfg.Name, cfg.Identity = "test", central
	g.receiver = newReceiver(cfg, g.recorder.sink, telemetry.NewRegistry(), slog.New(slog.NewTextHandler(&g.log, nil)))
	return g
}

// connect returns the peer's end of a new connection.
func (g *rig) connect(ctx context.Context, accepting bool) net.Conn {
	ours, theirs := net.Pipe()
	go func() { g.ends <- g.serve(ctx, ours, accepting) }()
	return theirs
}

func (g *rig) balanced(t *testing.T, received, passed int64, discarded map[string]int64) {
	t.Helper()
	got := g.ledger.Snapshot()
	want := telemetry.Account{Component: "test", Unit: "events", Received: received, Passed: passed, Discarded: map[string]int64{"unknown_type": 0, "undecodable": 0, "not_stored": 0}}
	for reason, n := range discarded {
		want.Discarded[reason] = n
	}
	if d := cmp.Diff(want, got); d != "" || !got.Balanced() {
		t.Errorf("ledger: %s", d)
	}
}

// in runs a test in a bubble, with a context that ends before it.
func in(t *testing.T, f func(t *testing.T, ctx context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f(t, ctx)
		cancel()
		synctest.Wait()
	})
}

// packet reads one packet.
func packet(conn net.Conn) ([]byte, error) {
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	payload := make([]byte, int(b[2])<<8|int(b[3]))
	_, err := io.ReadFull(conn, payload)
	return append(b, payload...), err
}

func TestRecordedSessions(t *testing.T) {
	files, _ := filepath.Glob("testdata/sessions/*.txt")
	if len(files) != 3 {
		t.Fatalf("%d sessions", len(files))
	}
	for _, file := range files {
		version := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(version, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in(t, func(t *testing.T, ctx context.Context) {
				g := newRig(Config{})
				conn := g.connect(ctx, true)
				defer conn.Close()
				for n, line := range strings.Split(string(text), "\n") {
					verb, rest, _ := strings.Cut(line, " ")
					switch verb {
					case "", "#":
					case ">":
						if _, err := conn.Write(unhex(rest)); err != nil {
							t.Fatalf("line %d: %v", n+1, err)
						}
					case "<":
						got, err := packet(conn)
						if want := unhex(rest); err != nil || !bytes.Equal(got, want) {
							t.Fatalf("line %d: got\n%x, want\n%x; %v", n+1, got, want, err)
						}
					case "events":
						synctest.Wait()
						if got := g.take(); got != rest {
							t.Fatalf("line %d: events %s", n+1, got)
						}
						if s := g.Status(); s[0].Version != version {
							t.Errorf("status shows version %s", s[0].Version)
						}
					case "wait":
						d, _ := time.ParseDuration(rest)
						time.Sleep(d)
					case "end":
						conn.Close()
						if err := <-g.ends; err != nil {
							t.Errorf("the session ended with: %v", err)
						}
					default:
						t.Fatalf("line %d: what is %q?", n+1, verb)
					}
				}
				if len(g.Status()) != 0 {
					t.Error("still connected")
				}
			})
		})
	}
}

// poller connects a client to a rig.
func poller(t *testing.T, ctx context.Context, g *rig, cfg ClientConfig) *Client {
	t.Helper()
	c, err := NewClient(ctx, g.connect(ctx, !cfg.Accepting), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func some(n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{Type: event.MakeType(1, 32), Source: 3, Payload: hostStatus[headerSize:]}
	}
	return events
}

func TestAcknowledgements(t *testing.T) {
	f := func(version Version, sent, limit int) {
		t.Helper()
		in(t, func(t *testing.T, ctx context.Context) {
			g := newRig(Config{AckLimit: limit})
			c := poller(t, ctx, g, ClientConfig{Version: version})
			if err := c.Send(some(sent)...); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			n, acks := c.Acknowledged()
			effective := int64(limit)
			if limit == 0 {
				effective = 1000
			}
			if rest := int64(sent) - n; rest >= effective || n > 0 && int64(acks) > n/effective {
				t.Errorf("%v: %d of %d acknowledged by %d acks", version, n, sent, acks)
			}
			if s := g.Status()[0]; s.Unacknowledged != int64(sent)-n || s.Events != int64(sent) {
				t.Errorf("status: %+v", s)
			}
			if err := c.Stop(ctx); err != nil {
				t.Error(err)
			}
			if n, after := c.Acknowledged(); n != int64(sent) || after != acks+1 || c.Unacknowledged() != 0 {
				t.Errorf("%v: after stop %d of %d acknowledged, by %d acks", version, n, sent, after)
			}
			if g.largest > maxBatch {
				t.Errorf("a batch of %d", g.largest)
			}
			synctest.Wait()
			g.balanced(t, int64(sent), int64(sent), nil)
		})
	}
	for _, version := range []Version{V200, V300, V301} {
		f(version, 0, 0)
		f(version, 1, 0)
		f(version, 999, 0)
		f(version, 1000, 0)
		f(version, 20_000, 0)
		f(version, 25, 10)
	}
}

func TestAcknowledgementWhenIdle(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		c := poller(t, ctx, g, ClientConfig{})
		start := time.Now()
		f := func(at time.Duration, wantEvents int64, wantAcks int) {
			t.Helper()
			time.Sleep(at - time.Since(start))
			synctest.Wait()
			if events, acks := c.Acknowledged(); events != wantEvents || acks != wantAcks {
				t.Errorf("after %v: %d events by %d acks, want %d by %d", at, events, acks, wantEvents, wantAcks)
			}
		}
		c.Send(some(3)...)
		f(4999*time.Millisecond, 0, 0)
		f(5*time.Second, 3, 1)
		f(20*time.Second, 3, 1) // nothing pending, nothing sent
		c.Send(some(1)...)
		f(20*time.Second, 4, 2) // the last one is more than 5 s ago
		c.Send(some(1)...)
		f(24*time.Second, 4, 2)
		f(25*time.Second, 5, 3)
		c.Close()
	})
}

func TestExactlyOneAcknowledgementOnStop(t *testing.T) {
	f := func(events int) {
		t.Helper()
		in(t, func(t *testing.T, ctx context.Context) {
			g := newRig(Config{})
			conn := g.connect(ctx, true)
			defer conn.Close()
			conn.Write(welcomeJavaMap)
			if _, err := packet(conn); err != nil {
				t.Fatal(err)
			}
			stream := append(bytes.Repeat(hostStatus, events), stop3...)
			stream = append(stream, hostStatus...) // nothing counts after a stop
			go conn.Write(stream)
			for want := int64(events); want >= 0; want = -1 {
				b, err := packet(conn)
				if err != nil {
					t.Fatal(err)
				}
				got, _, _ := readAll(b, 1<<20, 0)
				if n, ok := parseAck(got[0]); n != want || !ok {
					t.Errorf("%d events: acknowledged %d, %v", want, n, ok)
				}
			}
			if b, err := packet(conn); err == nil {
				t.Errorf("%d events: more came: %x", events, b)
			}
		})
	}
	f(0)
	f(1)
	f(512)
	f(999)
}

func TestNegotiationFailures(t *testing.T) {
	f := func(name string, cfg Config, sent []byte, closes bool, after time.Duration, want string) {
		t.Helper()
		in(t, func(t *testing.T, ctx context.Context) {
			g := newRig(cfg)
			start := time.Now()
			conn := g.connect(ctx, true)
			go func() {
				conn.Write(sent)
				if closes {
					conn.Close()
				}
			}()
			err := <-g.ends
			if took := time.Since(start); took != after || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: after %v: %v", name, took, err)
			}
			if !strings.Contains(g.log.String(), "cannot begin a BBDO session") || !strings.Contains(g.log.String(), "peer=pipe") {
				t.Errorf("%s: log: %s", name, g.log.String())
			}
			if _, err := conn.Write([]byte{0}); err == nil {
				t.Errorf("%s: the connection is open", name)
			}
			if s := g.Stats(); s.Failed != 1 || s.Connections != 0 {
				t.Errorf("%s: %+v", name, s)
			}
			g.balanced(t, 0, 0, nil)
		})
	}
	first := "BBDO: invalid protocol header, aborting connection: waiting for message of type 'pb_welcome' but "
	hello := func(v Version) []byte { return AppendPackets(nil, greeting{kind: welcome, version: v}.event()) }
	f("silence", Config{}, nil, false, 5*time.Second, first+"nothing valid came in 5s")
	f("short patience", Config{NegotiationTimeout: time.Second}, nil, false, time.Second, first+"nothing valid came in 1s")
	f("close", Config{}, nil, true, 0, first+"the peer closed the connection")
	f("HTTP", Config{}, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), false, 0, "not a BBDO header: the peer sends HTTP")
	f("TLS", Config{}, unhex("16 0301 0200 010001fc0303 00000000000000000000"), false, 0, "not a BBDO header: the peer sends a TLS ClientHello")
	f("unknown extensions", Config{TLS: TLS{Mode: TLSRequired}}, AppendPackets(nil, greeting{kind: welcome, version: V301, extensions: []string{"QUANTUM", "TLSX"}}.event()), false, 0, "peer does not offer TLS")
	f("noise", Config{}, bytes.Repeat([]byte("noise"), 100), false, 5*time.Second, "(500 bytes were not a BBDO header)")
	f("much noise", Config{}, bytes.Repeat([]byte("noise"), 300_000), false, 0, "not a BBDO header: none in 1048576 bytes")
	f("half a packet", Config{}, welcomeLyon[:40], true, 0, first+"the peer closed the connection (40 bytes")
	f("another packet", Config{}, hostStatus, false, 0, first+"received neb:HostStatus (1:32)")
	f("an ack", Config{}, ack1000, false, 0, first+"received bbdo:")
	f("no version", Config{}, AppendPackets(nil, event.Event{Type: versionResponse, Payload: []byte{0, 2}}), false, 0, "cannot decode")
	f("huge", Config{}, bytes.Repeat(part(0, make([]byte, fullPart)), 2), false, 0, "is too large")
	f("major 1", Config{}, hello(Version{1, 0, 0}), false, 0, "BBDO: peer is using protocol version 1.0.0 whereas we're using protocol version 3.0.1")
	f("major 4", Config{}, hello(Version{4, 1, 2}), false, 0, "BBDO: peer is using protocol version 4.1.2 whereas we're using protocol version 3.0.1")
	f("restricted", Config{Version: V200}, hello(V301), false, 0, "BBDO: peer is using protocol version 3.0.1 whereas we're using protocol version 2.0.0")
	f("no TLS", Config{TLS: TLS{Mode: TLSRequired}}, welcomeJavaMap, false, 0, "peer does not offer TLS, which is required here")
}

func TestNoiseBeforeTheWelcome(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		conn := g.connect(ctx, true)
		defer conn.Close()
		go conn.Write(append([]byte("noise"), welcomeJavaMap...))
		if b, err := packet(conn); err != nil || b[7] != byte(welcome&0xff) {
			t.Errorf("%x, %v", b, err)
		}
	})
}

// Bad input in the middle of a session is skipped and counted, and acknowledged
// where it was an event.
func TestBadEvents(t *testing.T) {
	damaged := bytes.Clone(hostStatus)
	damaged[9] ^= 0x40
	raw := func(category, element int, payload string) []byte {
		return AppendPackets(nil, event.Event{Type: event.MakeType(category, element), Source: 3, Payload: []byte(payload)})
	}
	f := func(name string, third []byte, acknowledged int64, discarded map[string]int64, skipped int64, types string) {
		t.Helper()
		in(t, func(t *testing.T, ctx context.Context) {
			g := newRig(Config{})
			c := poller(t, ctx, g, ClientConfig{})
			c.link.top.Write(slices.Concat(hostStatus, downtime, third, hostStatus))
			synctest.Wait()
			time.Sleep(ackInterval)
			synctest.Wait()
			if n, _ := c.Acknowledged(); n != acknowledged {
				t.Errorf("%s: %d acknowledged", name, n)
			}
			if got := g.take(); got != types {
				t.Errorf("%s: events %s", name, got)
			}
			if got := g.Stats().SkippedBytes; got != skipped || g.Status()[0].SkippedBytes != skipped {
				t.Errorf("%s: %d bytes skipped", name, got)
			}
			total := acknowledged
			for _, n := range discarded {
				total -= n
			}
			g.balanced(t, acknowledged, total, discarded)
			c.Close()
		})
	}
	three, four := "1:32 1:36 1:32", "1:32 1:36 1:32 1:32"
	undecodable, unknown := map[string]int64{"undecodable": 1}, map[string]int64{"unknown_type": 1}
	f("good", hostStatus, 4, nil, 0, four)
	f("wrong checksum", damaged, 3, nil, int64(len(damaged)), three)
	f("unknown element", raw(1, 99, "abc"), 4, unknown, 0, three)
	f("unknown category", raw(4, 1, "abc"), 4, unknown, 0, three)
	f("known number, unknown payload", raw(1, 18, "abc"), 4, unknown, 0, three)
	f("legacy too short", raw(1, 15, "Engine"), 4, undecodable, 0, three)
	f("legacy without end", raw(1, 15, "Engine\x00\x00\x00\x00\x03Lyon"), 4, undecodable, 0, three)
	f("number that is none", AppendPackets(nil, event.Event{Type: event.MakeType(3, 1), Payload: unhex("000000006553f22c 0000012c 0000004d 6c6f61643100 00ed4e00 392e78303030303000 0000 00 00000001 0000000a")}), 4, undecodable, 0, three)
	f("malformed protobuf", raw(1, 32, "\x08"), 4, undecodable, 0, three)
	f("wrong wire type", raw(1, 32, "\x0a\x01a"), 4, undecodable, 0, three)
	f("invalid UTF-8", raw(1, 32, "\x62\x02\xff\xfe"), 4, nil, 0, four)
	f("trailing bytes", AppendPackets(nil, event.Event{Type: event.MakeType(1, 15), Payload: append(bytes.Clone(instanceLyon[headerSize:]), "more"...)}), 4, nil, 0, "1:32 1:36 1:15 1:32")
	f("an ack of nothing", ack1000, 3, nil, 0, three)
	f("a request of an operator", raw(2, 4, ""), 3, nil, 0, three)
	f("an unknown control message", raw(2, 77, "x"), 3, nil, 0, three)
}

// A split event counts once; one that is never completed does not count.
func TestLargeAndCut(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		c := poller(t, ctx, g, ClientConfig{Version: V200})
		c.Send(output(t, event.Legacy, 70000), output(t, event.Legacy, 1))
		c.link.top.Write(part(9, make([]byte, fullPart)))
		c.link.top.Write(hostStatus[:30])
		synctest.Wait()
		c.Close()
		if err := <-g.ends; !errors.Is(err, io.EOF) {
			t.Errorf("ended with %v", err)
		}
		g.balanced(t, 2, 2, nil)
		if s := g.Stats(); s.Incomplete != 1 || s.Aborted != 0 {
			t.Errorf("%+v", s)
		}
		if len(g.recorder.events[0].Payload) != 70253 {
			t.Errorf("%d bytes", len(g.recorder.events[0].Payload))
		}
		for _, want := range []string{"the stream ended inside a packet\" source=test peer=pipe bytes=30", "whose last packet did not come", "bytes=65535"} {
			if !strings.Contains(g.log.String(), want) {
				t.Errorf("no %q in %s", want, g.log.String())
			}
		}
	})
}

func TestHugeEvent(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{MaxEvent: 200_000})
		c := poller(t, ctx, g, ClientConfig{})
		c.Send(some(2)...)
		go c.Send(output(t, event.Protobuf, 300_000))
		if err := <-g.ends; err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("ended with %v", err)
		}
		if s := g.Stats(); s.Aborted != 1 || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
		// What was durable is acknowledged on the way out.
		if err := c.Wait(ctx, 2); err != nil {
			t.Error(err)
		}
		c.Close()
	})
}

func TestDiskFull(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		c := poller(t, ctx, g, ClientConfig{})
		c.Send(some(2)...)
		synctest.Wait()
		g.fail(errors.New("no space left on device"))
		sent := make(chan error, 1)
		go func() { sent <- c.Send(some(100_000)...) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n, acks := c.Acknowledged(); n != 2 || acks != 1 {
			t.Errorf("%d acknowledged by %d", n, acks)
		}
		s := g.Status()[0]
		if s.Stalled != "no space left on device" || s.Unacknowledged == 0 || s.Unacknowledged > maxBatch {
			t.Errorf("status: %+v", s)
		}
		select {
		case err := <-sent:
			t.Errorf("everything was read: %v", err)
		default:
		}
		if a := g.ledger.Snapshot(); !a.Balanced() || a.Buffered != s.Unacknowledged {
			t.Errorf("ledger: %+v", a)
		}
		if log := g.log.String(); !strings.Contains(log, "cannot store events: reading stopped") || strings.Count(log, "cannot store") > 7 {
			t.Errorf("log: %s", log)
		}
		g.fail(nil)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		g.balanced(t, 100_002, 100_002, nil)
		if g.count() != 100_002 || !strings.Contains(g.log.String(), "stored again") {
			t.Errorf("%d events; log: %s", g.count(), g.log.String())
		}
	})
}

func TestStopWhileDiskIsFull(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		stopping, stop := context.WithCancel(ctx)
		c := poller(t, stopping, g, ClientConfig{})
		c.Send(some(2)...)
		synctest.Wait()
		g.fail(errors.New("no space left on device"))
		c.Send(some(3)...)
		synctest.Wait()
		stop()
		if err := <-g.ends; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		c.Close()
		if n, _ := c.Acknowledged(); n != 2 || c.Unacknowledged() != 3 {
			t.Errorf("%d acknowledged, %d not", n, c.Unacknowledged())
		}
		g.balanced(t, 5, 2, map[string]int64{"not_stored": 3})
	})
}

// A peer that does not read its acknowledgements is not waited for forever.
func TestPeerThatDoesNotRead(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		conn := g.connect(ctx, true)
		defer conn.Close()
		conn.Write(welcomeJavaMap)
		packet(conn)
		conn.Write(hostStatus)
		start := time.Now()
		if err := <-g.ends; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
		if got, want := time.Since(start), ackInterval+writeTimeout; got != want {
			t.Errorf("after %v, want %v", got, want)
		}
	})
}

func TestEngineConfiguration(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		c := poller(t, ctx, g, ClientConfig{Identity: Identity{3, "Lyon", "module", Engine}})
		for range 3 {
			if err := c.Configuration(ctx); err != nil {
				t.Fatal(err)
			}
			c.Send(some(1)...)
		}
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
		if n, acks := c.Acknowledged(); n != 3 || acks != 1 || c.Peer() != central {
			t.Errorf("%d acknowledged by %d, peer %+v", n, acks, c.Peer())
		}
	})
}
