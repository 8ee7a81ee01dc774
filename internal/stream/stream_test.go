package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

var bg = context.Background()

type fixture struct {
	*Stream
	t   testing.TB
	reg *telemetry.Registry
}

func start(t testing.TB, cfg Config) fixture {
	t.Helper()
	reg := telemetry.NewRegistry()
	s := New(cfg, reg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err := s.Start(bg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(bg) })
	return fixture{s, t, reg}
}

func (f fixture) stop() {
	f.t.Helper()
	if err := f.Stop(bg); err != nil {
		f.t.Fatal(err)
	}
}

// numbered are n events whose payload is their number, from first on.
func numbered(first, n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{Type: event.MakeType(1, 29), Source: 7, Payload: fmt.Appendf(nil, "event %d", first+i)}
	}
	return events
}

func (f fixture) append(first, n int) {
	f.t.Helper()
	if err := f.Append(bg, numbered(first, n)); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) consumer(name string) *Consumer {
	f.t.Helper()
	c, err := f.Consumer(bg, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// want takes events first through last and checks their numbers and payloads.
func want(t testing.TB, c *Consumer, first, last, most int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	for at := first; at <= last; {
		b, err := c.Next(ctx, most)
		if err != nil {
			t.Fatalf("waiting for event %d of %q: %v", at, c.name, err)
		}
		if b.First != uint64(at) || b.Count < 1 || b.Count > most {
			t.Fatalf("got %d events from %d, want some from %d", b.Count, b.First, at)
		}
		it, n := event.NewIterator(b.Data), 0
		for it.Next() {
			if got, want := string(it.Event.Payload), fmt.Sprintf("event %d", at); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			at++
			n++
		}
		if it.Err() != nil || n != b.Count {
			t.Fatalf("%d events in a batch of %d: %v", n, b.Count, it.Err())
		}
	}
}

// none checks that nothing comes.
func none(t testing.TB, c *Consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	if b, err := c.Next(ctx, 1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %d events from %d, %v, want none", b.Count, b.First, err)
	}
}

func ack(t testing.TB, c *Consumer, through int) {
	t.Helper()
	if err := c.Ack(uint64(through)); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) balanced(component string) telemetry.Account {
	f.t.Helper()
	for _, a := range f.reg.Accounts() {
		if a.Component == component {
			if !a.Balanced() {
				f.t.Errorf("the ledger does not balance: %+v", a)
			}
			return a
		}
	}
	f.t.Fatalf("no ledger %q", component)
	return telemetry.Account{}
}

// After a restart a consumer goes on at the event after the last acknowledged
// one, inside a message.
func TestRestart(t *testing.T) {
	cfg := Config{Path: t.TempDir()}
	f := start(t, cfg)
	f.append(1, 3) // before there is a consumer
	c := f.consumer("a")
	none(t, c)
	f.append(4, 1000)
	want(t, c, 4, 1003, 300)
	ack(t, c, 700)
	f.stop()

	f = start(t, cfg)
	c = f.consumer("a")
	want(t, c, 701, 1003, 512)
	none(t, c)
	f.append(1004, 1)
	want(t, c, 1004, 1004, 512)
	if err := c.Ack(1005); err == nil {
		t.Error("an event that was not taken can be acknowledged")
	}
	ack(t, c, 1004)
	a := f.balanced("stream.a")
	if a.Received != 304 || a.Passed != 304 || a.Buffered != 0 {
		t.Errorf("got %+v", a)
	}
	f.stop()

	f = start(t, cfg)
	none(t, f.consumer("a"))
	f.append(1005, 2)
	want(t, f.consumer("a"), 1005, 1006, 1)
}

func TestRewind(t *testing.T) {
	f := start(t, Config{Path: t.TempDir()})
	c := f.consumer("a")
	f.append(1, 2000)
	want(t, c, 1, 1700, 100)
	ack(t, c, 1030)
	c.Rewind()
	want(t, c, 1031, 2000, 1000)
	c.Rewind()
	want(t, c, 1031, 1100, 7)
}

// A consumer that stands still holds back neither others nor Append, and its
// events stay, while those nobody needs go.
func TestConsumersAreIndependent(t *testing.T) {
	f := start(t, Config{Path: t.TempDir(), MaxUnacknowledged: 100})
	slow, fast := f.consumer("slow"), f.consumer("fast")
	for i := range 20 {
		f.append(1+i*500, 500)
		for at := 1 + i*500; at < (i+1)*500; at += 100 {
			want(t, fast, at, at+99, 100)
			ack(t, fast, at+99)
		}
	}
	want(t, slow, 1, 100, 1000)
	none(t, slow) // at its limit
	b, err := slow.Backlog(bg)
	if err != nil || b.Events != 10000 || b.Unacknowledged != 100 || b.Bytes < 100000 || time.Since(b.Oldest) > time.Minute {
		t.Errorf("got %+v, %v", b, err)
	}
	ack(t, slow, 50)
	want(t, slow, 101, 150, 1000)
	none(t, slow)
	slow.Limit(20000)
	want(t, slow, 151, 10000, 1000)
	if err := f.Delete(bg, "slow"); err != nil {
		t.Fatal(err)
	}
	if a := f.balanced("stream.slow"); a.Discarded["deleted"] != 9950 {
		t.Errorf("got %+v", a)
	}
	if _, err := slow.Next(bg, 1); err == nil {
		t.Error("a deleted consumer goes on")
	}
	f.balanced("stream.fast")
	f.balanced("stream")
	if err := f.tidy(f.current(), true); err != nil {
		t.Fatal(err)
	}
	if stats, err := f.Stats(bg); err != nil || stats.Messages != 1 {
		t.Errorf("%d messages are kept for nobody, %v", stats.Messages, err)
	}
}

// Whatever a consumer had acknowledged, or nothing at all: what is not needed goes, and numbers continue.
func TestNumbersContinue(t *testing.T) {
	cfg := Config{Path: t.TempDir()}
	for i := range 3 {
		f := start(t, cfg)
		f.append(1+i*600, 600)
		if err := f.tidy(f.current(), true); err != nil {
			t.Fatal(err)
		}
		if stats, _ := f.Stats(bg); stats.Events != uint64(600*(i+1)) || stats.Messages != 1 {
			t.Errorf("got %+v", stats)
		}
		f.stop()
	}
}

func TestConcurrentAppend(t *testing.T) {
	f := start(t, Config{Path: t.TempDir()})
	c := f.consumer("a")
	const callers, calls = 16, 100
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for call := range calls {
				e := []event.Event{
					{Type: 1<<16 | 1, Source: uint32(caller), Destination: uint32(2 * call)},
					{Type: 1<<16 | 1, Source: uint32(caller), Destination: uint32(2*call + 1)},
				}
				if err := f.Append(bg, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [callers]uint32
	for n := 0; n < 2*callers*calls; {
		b, err := c.Next(bg, 512)
		if err != nil {
			t.Fatal(err)
		}
		it := event.NewIterator(b.Data)
		for it.Next() {
			e := it.Event
			if next[e.Source] != e.Destination {
				t.Fatalf("caller %d: got %d, want %d", e.Source, e.Destination, next[e.Source])
			}
			next[e.Source]++
			n++
		}
		ack(t, c, int(b.First)+b.Count-1)
	}
	all.Wait()
	if stats, err := f.Stats(bg); err != nil || stats.Messages >= callers*calls {
		t.Errorf("calls at the same time do not share messages: %+v, %v", stats, err)
	}
	f.balanced("stream")
	f.balanced("stream.a")
}

func big(n, size int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{Type: 1<<16 | 1, Payload: make([]byte, size)}
	}
	return events
}

// At the size limit new events are refused, and accepted when there is room again.
func TestFullRefuses(t *testing.T) {
	f := start(t, Config{Path: t.TempDir(), MaxBytes: 1 << 20})
	c := f.consumer("a")
	stored := 0
	var err error
	for range 50 {
		if err = f.Append(bg, big(10, 10000)); err != nil {
			break
		}
		stored += 10
	}
	if !errors.Is(err, ErrFull) || stored < 50 {
		t.Fatalf("got %v after %d events", err, stored)
	}
	for seen := 0; seen < stored; {
		b, err := c.Next(bg, 1000)
		if err != nil {
			t.Fatal(err)
		}
		seen += b.Count
		ack(t, c, seen)
	}
	if err := f.tidy(f.current(), true); err != nil {
		t.Fatal(err)
	}
	if err := f.Append(bg, big(10, 10000)); err != nil {
		t.Errorf("there is room: %v", err)
	}
	if a := f.balanced("stream"); a.Discarded["refused"] != 10 {
		t.Errorf("got %+v", a)
	}
	if a := f.balanced("stream.a"); a.Lost() != 0 || a.Buffered != 10 {
		t.Errorf("got %+v", a)
	}
}

// With DiscardOld the oldest events go, and each consumer's ledger says how many it has not seen.
func TestFullDropsOldest(t *testing.T) {
	cfg := Config{Path: t.TempDir(), MaxBytes: 1 << 20, DiscardOld: true}
	f := start(t, cfg)
	c := f.consumer("a")
	if err := f.Append(bg, big(10, 10000)); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Next(bg, 5); err != nil || b.Count != 5 {
		t.Fatal(b.Count, err)
	}
	ack(t, c, 3)
	for range 50 {
		if err := f.Append(bg, big(10, 10000)); err != nil {
			t.Fatal(err)
		}
	}
	a := f.balanced("stream.a")
	lost := a.Discarded["size_limit"]
	if a.Passed != 3 || lost < 300 || a.Buffered > 110 {
		t.Errorf("got %+v", a)
	}
	b, err := c.Next(bg, 1000)
	if err != nil || int64(b.First) != 3+lost+1 {
		t.Errorf("goes on with event %d after %d lost, %v", b.First, lost, err)
	}
	f.stop()
	f = start(t, cfg)
	if b, err := f.consumer("a").Next(bg, 1000); err != nil || int64(b.First) != 3+lost+1 {
		t.Errorf("after a restart: event %d, %v", b.First, err)
	}
}

// What a taker holds goes on to count against its limit after it was dropped:
// for hours of an endpoint that is down it gets nothing more.
func TestDroppedEventsStayTaken(t *testing.T) {
	f := start(t, Config{Path: t.TempDir(), MaxBytes: 1 << 20, DiscardOld: true})
	c := f.consumer("a")
	c.Limit(15)
	for range 30 {
		if err := f.Append(bg, big(10, 10000)); err != nil {
			t.Fatal(err)
		}
		if c.Read() == 0 {
			for range 2 {
				if _, err := c.Next(bg, 10); err != nil {
					t.Fatal(err)
				}
				if c.Read() == 10 {
					if err := f.Append(bg, big(10, 10000)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if c.Acked() <= 15 {
		t.Fatalf("nothing was dropped: %d", c.Acked())
	}
	none(t, c)
	if b, err := c.Backlog(bg); err != nil || b.Unacknowledged != 15 {
		t.Errorf("got %+v, %v", b, err)
	}
	kept := c.Acked() + 1
	ack(t, c, 15)
	if b, err := c.Next(bg, 10); err != nil || b.First != kept {
		t.Errorf("goes on with event %d, %d is the oldest, %v", b.First, kept, err)
	}
	f.balanced("stream.a")
}

func TestAgeLimit(t *testing.T) {
	f := start(t, Config{Path: t.TempDir(), MaxAge: time.Hour})
	c := f.consumer("a")
	for i := range 30 {
		f.append(1+10*i, 10)
	}
	want(t, c, 1, 25, 5)
	ack(t, c, 12)
	tenth, err := f.current().message(bg, 10)
	if err != nil {
		t.Fatal(err)
	}
	f.now = func() time.Time { return tenth.time.Add(time.Hour) } // nine messages are older
	if err := f.tidy(f.current(), true); err != nil {
		t.Fatal(err)
	}
	if a := f.balanced("stream.a"); a.Discarded["age_limit"] != 78 || a.Passed != 12 {
		t.Errorf("got %+v", a)
	}
	want(t, c, 91, 300, 100)
	f.now = func() time.Time { return tenth.time.Add(2 * time.Hour) }
	if err := f.tidy(f.current(), true); err != nil {
		t.Fatal(err)
	}
	if a := f.balanced("stream.a"); a.Discarded["age_limit"] != 288 || a.Buffered != 0 {
		t.Errorf("got %+v", a)
	}
	f.append(301, 10)
	want(t, c, 301, 310, 100)
}

func TestTooLarge(t *testing.T) {
	f := start(t, Config{Path: t.TempDir()})
	c := f.consumer("a")
	events := append(numbered(1, 1), event.Event{Payload: make([]byte, maxPayload)})
	if err := f.Append(bg, append(events, numbered(2, 1)...)); err != nil {
		t.Fatal(err)
	}
	want(t, c, 1, 2, 10)
	if a := f.balanced("stream"); a.Discarded["too_large"] != 1 || a.Passed != 2 {
		t.Errorf("got %+v", a)
	}
	large := event.Event{Type: 65537, Payload: make([]byte, maxPayload-2000)}
	if err := f.Append(bg, []event.Event{large}); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Next(bg, 10); err != nil || len(b.Data) < maxPayload-2000 {
		t.Error(len(b.Data), err)
	}
}

// A damaged file is kept, what is intact in it is delivered, and the rest counted.
func TestDamagedFile(t *testing.T) {
	cfg := Config{Path: t.TempDir()}
	f := start(t, cfg)
	f.consumer("a")
	for i := range 10 {
		f.append(1+100*i, 100)
	}
	f.stop()
	files, err := blocks(cfg.Path, "weir-events")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	content, err := os.ReadFile(files[0].path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)*35/100] ^= 1 // in the fourth message
	if err := os.WriteFile(files[0].path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := VerifyFiles(cfg.Path, "weir")
	if err != nil || report.Damages != 2 || report.Events != 900 {
		t.Errorf("got %+v, %v", report, err)
	}

	f = start(t, cfg)
	if kept, _ := filepath.Glob(filepath.Join(cfg.Path, "quarantine", "weir-events-*.blk")); len(kept) != 1 {
		t.Errorf("the damaged file was not kept: %q", kept)
	}
	c := f.consumer("a")
	want(t, c, 1, 300, 1000)
	want(t, c, 401, 1000, 1000)
	ack(t, c, 1000)
	if a := f.balanced("stream.a"); a.Discarded["damaged"] != 100 || a.Passed != 900 {
		t.Errorf("got %+v", a)
	}
	f.append(1001, 5)
	want(t, c, 1001, 1005, 10)
}

// A damaged position is replaced by the one before it. Without any, everything that
// is stored comes again, since that is better than nothing.
func TestDamagedPositions(t *testing.T) {
	f := func(damage func(content []byte), first int) {
		t.Helper()
		cfg := Config{Path: t.TempDir()}
		f := start(t, cfg)
		c := f.consumer("a")
		f.append(1, 100)
		want(t, c, 1, 100, 100)
		ack(t, c, 30)
		ack(t, c, 40)
		f.stop()
		files, err := blocks(cfg.Path, "weir-positions")
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		content, err := os.ReadFile(files[0].path)
		if err != nil {
			t.Fatal(err)
		}
		damage(content)
		if err := os.WriteFile(files[0].path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := VerifyFiles(cfg.Path, "weir"); err != nil || r.Damages == 0 {
			t.Errorf("got %+v, %v", r, err)
		}
		f = start(t, cfg)
		want(t, f.consumer("a"), first, 100, 100)
		if kept, _ := filepath.Glob(filepath.Join(cfg.Path, "quarantine", "weir-positions-*.blk")); len(kept) != 1 {
			t.Errorf("the damaged file was not kept: %q", kept)
		}
		f.stop()
	}
	f(func(content []byte) { content[len(content)-recordSum-2] ^= 1 }, 31)
	f(func(content []byte) { clear(content) }, 1)
}

// More events can be lost than a consumer may take.
func TestDamageBeyondLimit(t *testing.T) {
	cfg := Config{Path: t.TempDir(), MaxUnacknowledged: 50}
	f := start(t, cfg)
	f.consumer("a")
	for i := range 10 {
		f.append(1+100*i, 100)
	}
	f.stop()
	files, err := blocks(cfg.Path, "weir-events")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(files[0].path)
	if err != nil {
		t.Fatal(err)
	}
	clear(content[len(content)/4 : len(content)*3/4])
	if err := os.WriteFile(files[0].path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f = start(t, cfg)
	c := f.consumer("a")
	for at := 1; at <= 200; at += 50 {
		want(t, c, at, at+49, 50)
		ack(t, c, at+49)
	}
	for at := 801; at <= 1000; at += 50 {
		want(t, c, at, at+49, 50)
		ack(t, c, at+49)
	}
	if a := f.balanced("stream.a"); a.Discarded["damaged"] != 600 || a.Passed != 400 || a.Buffered != 0 {
		t.Errorf("got %+v", a)
	}
}

func TestVerify(t *testing.T) {
	cfg := Config{Path: t.TempDir()}
	f := start(t, cfg)
	f.consumer("a")
	f.append(1, 5000)
	check := func(r *Report, err error) {
		t.Helper()
		if err != nil || r.Damages != 0 || r.Events != 5000 || r.First != 1 || r.Last != 5000 || r.Messages != 10 {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	check(f.Verify(bg))
	check(VerifyFiles(cfg.Path, "weir"))

	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/queues", nil))
	var q Queues
	if err := json.Unmarshal(w.Body.Bytes(), &q); err != nil || w.Code != 200 || len(q.Queues) != 1 || q.Queues[0].Events != 5000 || q.Stream.Events != 5000 {
		t.Errorf("got %d %s, %v", w.Code, w.Body, err)
	}
	w = httptest.NewRecorder()
	f.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/queues/verify", nil))
	var r Report
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Error(err)
	}
	check(&r, nil)
	f.stop()
	check(VerifyFiles(cfg.Path, "weir"))
	w = httptest.NewRecorder()
	f.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/queues", nil))
	if w.Code != 503 {
		t.Errorf("a stopped stream answers %d %s", w.Code, w.Body)
	}
	if err := f.Append(bg, numbered(1, 1)); !errors.Is(err, ErrNotStarted) {
		t.Errorf("a stopped stream: %v", err)
	}
}
