package script

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// readyHandler looks at the script from OnReady.
type readyHandler struct {
	*recorder
	look func(p *Process)
}

func (h readyHandler) OnReady(p *Process) {
	h.look(p)
	h.recorder.OnReady(p)
}

// A process is that of the script all the time: before it has loaded, when it is ready, and when it has taken over.
func TestProcessWhenReady(t *testing.T) {
	handler := readyHandler{recorder: newRecorder()}
	s := New(probeSpec("", Budget{}), &handler, NewRegistry(telemetry.NewRegistry()), slog.New(slog.DiscardHandler))
	handler.look = func(p *Process) {
		if stats := s.Stats(); stats.PID != p.child.pid {
			t.Errorf("process %d is ready, the script has process %d", p.child.pid, stats.PID)
		}
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	next(t, handler.ready)
	if err := s.Reload(t.Context(), probeSpec("", Budget{})); err != nil {
		t.Fatal(err)
	}
	next(t, handler.ready)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEcho(t *testing.T) {
	s := supervise(t, probeSpec("talkative", DefaultBudget()), nil)
	p := next(t, s.ready)
	if f := next(t, s.frames); string(f.Payload) != "early" {
		t.Errorf("the frame of the setup is %q", f.Payload)
	}
	for i := range 200 { // more than may wait
		if err := p.SendWait(context.Background(), echo, []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		if f := next(t, s.frames); f.Kind != echo || string(f.Payload) != strconv.Itoa(i) {
			t.Fatalf("frame %d is %d %q", i, f.Kind, f.Payload)
		}
	}
	large := strings.Repeat("0123456789", 1<<20)
	send(t, p, echo, large)
	if f := next(t, s.frames); string(f.Payload) != large {
		t.Error("a large frame comes back changed")
	}
	if answer, err := s.Request(t.Context(), echo, []byte("loud")); string(answer) != "LOUD" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	if _, err := s.Request(t.Context(), echo, nil); err == nil || !strings.Contains(err.Error(), "nothing asked") {
		t.Errorf("an error of the script arrives as %v", err)
	}
	if answer, err := p.Request(t.Context(), count, nil); string(answer) != "201" || err != nil {
		t.Errorf("%q frames, %v", answer, err)
	}
	stats := s.Stats()
	if stats.State != Running || stats.PID == 0 || stats.FramesIn != 204 || stats.FramesOut != 202 || stats.BytesIn < 10<<20 || stats.Restarts != 0 {
		t.Errorf("%+v", stats)
	}
	if e := s.stop(); !e.Asked || e.Code != 0 || e.Error() != `script "probe" stopped` {
		t.Errorf("%+v", e)
	}
	for _, want := range []string{"level=WARN msg=loading script=probe", "last words"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, s.log)
		}
	}
	gone(t, stats.PID)
	if err := p.Send(echo, nil); err != ErrEnded {
		t.Errorf("a frame for an ended process: %v", err)
	}
	if err := s.Send(echo, nil); err != ErrAbsent {
		t.Errorf("a frame for a stopped script: %v", err)
	}
}

// What is sent before a stop is worked on.
func TestStopEndsWhatWasSent(t *testing.T) {
	s := supervise(t, probeSpec("", DefaultBudget()), nil)
	p := next(t, s.ready)
	sent := 0
	for ; p.Send(echo, nil) == nil; sent++ {
	}
	if sent < maxWaiting {
		t.Errorf("only %d frames were taken", sent)
	}
	if e := s.stop(); e.Working != nil || e.Waiting != nil || len(s.frames) != sent {
		t.Errorf("%d of %d frames came back, %+v", len(s.frames), sent, e)
	}
}

func TestEndings(t *testing.T) {
	short := Budget{Hard: 2 * time.Second}
	f := func(name string, budget Budget, kind byte, payload, reason string) *Exit {
		t.Helper()
		s := supervise(t, probeSpec("", budget), nil)
		p := next(t, s.ready)
		pid := s.Stats().PID
		send(t, p, kind, payload)
		send(t, p, echo, "next")
		e := next(t, s.exits)
		if !strings.Contains(e.Error(), reason) {
			t.Errorf("%s: %v\nwant %s", name, e, reason)
		}
		if e.Working == nil || e.Working.Kind != kind || len(e.Waiting) != 1 || string(e.Waiting[0].Payload) != "next" {
			t.Errorf("%s: working %v, waiting %v", name, e.Working, e.Waiting)
		}
		gone(t, pid)
		again := next(t, s.ready)
		send(t, again, echo, "alive")
		if f := next(t, s.frames); string(f.Payload) != "alive" {
			t.Errorf("%s: after the restart %q", name, f.Payload)
		}
		if stats := s.Stats(); stats.Restarts != 1 || stats.LastExit == nil || stats.LastExit.Message != e.Error() {
			t.Errorf("%s: %+v", name, stats)
		}
		if !strings.Contains(s.log.String(), "restart_in=") {
			t.Errorf("%s: nothing in the log", name)
		}
		s.stop()
		return e
	}
	f("endless loop", short, forever, "", `script "probe" killed: a call took longer than 2s in frame at probe.lua:134`)
	f("exit", Budget{}, exit, "", `script "probe" exited with code 3 at probe.lua:35`)
	f("signal", Budget{}, signal, "", "was ended by SIGKILL at probe.lua:5")
	f("panic", Budget{}, crash, "", `failed: BUG: the script host panicked: probe crashed`)
	f("hang-up", Budget{}, hangUp, "", "was ended by SIGKILL")
	f("memory", Budget{Memory: 256 << 20}, grow, "", "more than the 256 MiB allowed, in frame at probe.lua:137")
	if e := f("memory at once", Budget{Memory: 256 << 20}, huge, "", "exited with code"); !strings.Contains(e.Output, "out of memory") && !strings.Contains(e.Output, "failed to allocate") {
		t.Errorf("the kernel did not refuse memory: %v", e) // the second text is the race detector's
	}
	for _, g := range []string{
		"GET / HTTP/1.0\r\n\r\n", "\x00\x00\x00\x00\x1f", "\xff\xff\xff\xff\x20", "\x00\x00\x00\x00\x12", "\x00\x00\x00\x01\x14{",
		"\x00\x00\x00\x10\x12\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x10", "\x00\x00\x00\x00\x0f",
	} {
		f("garbage", Budget{}, garbage, g, "killed: it does not speak the protocol: bad frame")
	}
}

// Restarts leave no process, file descriptor or goroutine behind.
func TestNothingIsLeft(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	files, goroutines := open(), runtime.NumGoroutine()
	s := supervise(t, probeSpec("", Budget{RestartMax: time.Millisecond}), nil)
	for range 20 {
		p := next(t, s.ready)
		send(t, p, exit, "")
		e := next(t, s.exits)
		if e.Code != 3 {
			t.Errorf("%v", e)
		}
		gone(t, p.child.pid)
	}
	next(t, s.ready)
	s.stop()
	for i := 0; i < 500 && (open() > files || runtime.NumGoroutine() > goroutines); i++ {
		time.Sleep(10 * time.Millisecond)
	}
	if f, g := open(), runtime.NumGoroutine(); f > files || g > goroutines {
		t.Errorf("%d file descriptors became %d, %d goroutines became %d", files, f, goroutines, g)
	}
}

// A call that goes on for ever is interrupted when the script is to stop, and the one after it too.
func TestStopInterrupts(t *testing.T) {
	s := supervise(t, probeSpec("", DefaultBudget()), nil)
	p := next(t, s.ready)
	send(t, p, untilInterrupt, "")
	send(t, p, untilInterrupt, "")
	send(t, p, echo, "on")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	if f := next(t, s.frames); string(f.Payload) != "on" {
		t.Errorf("%q", f.Payload)
	}
	if e := next(t, s.exits); !e.Asked || e.Reason != "stopped" {
		t.Errorf("%v", e)
	}
	if last := s.Stats().LastError; last == nil || last.Message != "probe.lua:33: interrupted" || last.Position != "probe.lua:33" {
		t.Errorf("last error %+v", last)
	}
}

// A call that computes has less time than one that waits.
func TestBusy(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{Busy: 400 * time.Millisecond, Hard: time.Minute}), nil)
	p := next(t, s.ready)
	send(t, p, wait, "waited")
	if f := next(t, s.frames); string(f.Payload) != "waited" {
		t.Errorf("%q", f.Payload)
	}
	send(t, p, compute, "")
	e := next(t, s.exits)
	if !strings.Contains(e.Error(), "killed: a call computed for longer than 400ms in frame at probe.lua:147") {
		t.Errorf("%v", e)
	}
	if e.Computed == 0 {
		t.Error("the exit does not say how long it computed")
	}
	s.stop()
}

// Every step of a call has the whole budget.
func TestSteps(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{Hard: 300 * time.Millisecond}), nil)
	p := next(t, s.ready)
	send(t, p, steps, "")
	next(t, s.frames)
	if e := s.stop(); !e.Asked {
		t.Errorf("%v", e)
	}
}

func TestErrorRate(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{Errors: 120, Hard: 10 * time.Second}), nil)
	p := next(t, s.ready)
	send(t, p, raise, "")
	send(t, p, raise, "")
	if answer, err := p.Request(t.Context(), count, nil); string(answer) != "2" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	send(t, p, raise, "")
	if e := next(t, s.exits); !strings.Contains(e.Error(), `killed: more than 120 errors within a minute, the last one "probe.lua:36: raised"`) || e.Position != "probe.lua:36" {
		t.Errorf("%v", e)
	}
	if stats := s.Stats(); stats.Errors != 150 || stats.Overtime != 3 {
		t.Errorf("%d errors, %d of calls that took too long", stats.Errors, stats.Overtime)
	}
	s.stop()
}

func TestOutputFlood(t *testing.T) {
	s := supervise(t, probeSpec("", DefaultBudget()), nil)
	p := next(t, s.ready)
	for range 40 { // one call would take long: the script would have to give way to others, on a busy machine for minutes
		send(t, p, flood, "")
		next(t, s.frames)
	}
	s.stop() // everything is read
	stats := s.Stats()
	if said := strings.Count(s.log.String(), "stream=stdout"); stats.Lines != 20000 || stats.Unsaid < 19800 || int64(said)+stats.Unsaid < stats.Lines {
		t.Errorf("%d lines, %d said, %d left out", stats.Lines, said, stats.Unsaid)
	}
}

// What a script logs above the limit stays in its process, and is counted.
func TestLogFlood(t *testing.T) {
	s := supervise(t, probeSpec("", DefaultBudget()), nil)
	p := next(t, s.ready)
	send(t, p, chatter, "")
	next(t, s.frames)
	deadline := time.Now().Add(time.Minute)
	for {
		said := int64(strings.Count(s.log.String(), "msg=chatter"))
		if unsaid := s.Stats().Unsaid; said+unsaid == 20000 && said > 0 && said < 1000 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d said and %d left out of 20000", said, unsaid)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if sent := s.count.bytesOut.Load(); sent > 100_000 {
		t.Errorf("the daemon got %d bytes", sent)
	}
	s.stop()
}

func TestSetup(t *testing.T) {
	s := supervise(t, probeSpec("broken", DefaultBudget()), nil)
	for range 3 {
		if e := next(t, s.exits); e.Failure == nil || e.Error() != `script "probe" failed: probe.lua:7: '=' expected near 'x'` || e.Failure.Traceback != "stack" {
			t.Errorf("%v", e)
		}
	}
	if stats := s.Stats(); stats.LastExit.Position != "probe.lua:7" || stats.State == Running {
		t.Errorf("%+v", stats)
	}
	if err := s.Reload(t.Context(), probeSpec("", DefaultBudget())); err != nil { // repaired
		t.Error(err)
	}
	next(t, s.ready)
	s.stop()

	s = supervise(t, probeSpec("forever", Budget{Hard: 300 * time.Millisecond}), nil)
	if e := next(t, s.exits); !strings.Contains(e.Error(), "killed: a call took longer than 300ms in setup at probe.lua:1") {
		t.Errorf("%v", e)
	}
	s.stop()

	spec := probeSpec("", DefaultBudget())
	spec.Command = []string{"sh", "-c", "exec 3>&-; exec sleep 1000"}
	s = supervise(t, spec, nil)
	if e := next(t, s.exits); e.Error() != `script "probe" killed: it hung up and did not end at probe.lua` {
		t.Errorf("%v", e)
	}
	s.stop()

	spec.Budget.Hard = 300 * time.Millisecond
	spec.Command = []string{"sleep", "1000"}
	s = supervise(t, spec, nil)
	if e := next(t, s.exits); e.Error() != `script "probe" killed: no sign of life for more than 300ms at probe.lua` {
		t.Errorf("%v", e)
	}
	s.stop()

	spec.Command = []string{"sh", "-c", "echo 'TypeError: x is not a function' >&2; echo '    at main.js:3' >&2; exit 1"}
	s = supervise(t, spec, nil)
	if e := next(t, s.exits); e.Error() != `script "probe" exited with code 1 at probe.lua: TypeError: x is not a function` {
		t.Errorf("%v", e)
	}
	s.stop()

	spec.Command = []string{"/nonexistent/node"}
	s = supervise(t, spec, nil)
	if e := next(t, s.exits); !strings.Contains(e.Error(), `did not start: cannot start ["/nonexistent/node"]`) {
		t.Errorf("%v", e)
	}
	s.stop()
}

func TestReload(t *testing.T) {
	s := supervise(t, probeSpec("", DefaultBudget()), nil)
	old := next(t, s.ready)
	send(t, old, echo, "old")
	if f := next(t, s.frames); string(f.Payload) != "old" {
		t.Errorf("%q", f.Payload)
	}

	err := s.Reload(t.Context(), probeSpec("broken", DefaultBudget()))
	if e := new(Exit); !errors.As(err, &e) || e.Failure.Position() != "probe.lua:7" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Reload(ctx, probeSpec("forever", Budget{})); err == nil || !strings.Contains(err.Error(), "did not load in time") {
		t.Errorf("%v", err)
	}
	send(t, old, echo, "still") // nothing happened to it
	if f := next(t, s.frames); string(f.Payload) != "still" || len(s.exits) != 0 || len(s.ready) != 0 {
		t.Errorf("%q, %d exits", f.Payload, len(s.exits))
	}

	for range 10 {
		send(t, old, echo, "before")
	}
	if err := s.Reload(t.Context(), probeSpec("talkative", DefaultBudget())); err != nil {
		t.Fatal(err)
	}
	if e := next(t, s.exits); !e.Asked || e.Working != nil || e.Waiting != nil {
		t.Errorf("%+v", e)
	}
	for range 10 {
		if f := next(t, s.frames); string(f.Payload) != "before" {
			t.Errorf("%q", f.Payload)
		}
	}
	if f := next(t, s.frames); string(f.Payload) != "early" {
		t.Errorf("%q", f.Payload)
	}
	fresh := next(t, s.ready)
	if fresh == old || old.Send(echo, nil) != ErrEnded || fresh.Send(echo, nil) != nil {
		t.Error("frames go to the old version")
	}
	if stats := s.Stats(); stats.Reloads != 1 || stats.Restarts != 0 || stats.LastExit != nil {
		t.Errorf("%+v", stats)
	}
	s.stop()
	if err := s.Reload(t.Context(), probeSpec("", DefaultBudget())); err == nil {
		t.Error("a stopped script was reloaded")
	}
}

func TestStopWhileBusy(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{}), nil)
	p := next(t, s.ready)
	pid := s.Stats().PID
	send(t, p, forever, "")
	answered := make(chan error)
	go func() {
		_, err := p.Request(context.Background(), count, nil)
		answered <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if e := next(t, s.exits); e.Asked || e.Working == nil || !strings.Contains(e.Error(), "killed: it did not stop in time") {
		t.Errorf("%+v", e)
	}
	if err := next(t, answered); err == nil {
		t.Error("a request was answered")
	}
	gone(t, pid)
}

// A script that waits for nothing does not hold up who sends to it.
func TestBackPressure(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{}), nil)
	p := next(t, s.ready)
	send(t, p, forever, "")
	for range maxWaiting + window - 1 {
		if err := p.SendWait(t.Context(), echo, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Send(echo, nil); err != ErrFull || p.Held() != maxWaiting+window {
		t.Errorf("%v with %d frames", err, p.Held())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.SendWait(ctx, echo, nil); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	released := make(chan error)
	go func() { released <- p.SendWait(context.Background(), echo, nil) }()
	p.child.kill()
	if err := next(t, released); err != ErrEnded {
		t.Errorf("%v", err)
	}
	if e := next(t, s.exits); len(e.Waiting) < maxWaiting {
		t.Errorf("%d frames are known to wait", len(e.Waiting))
	}
	s.stop()
}

// Processes a script starts do not outlive it.
func TestGrandchildren(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{}), nil)
	p := next(t, s.ready)
	send(t, p, spawn, "")
	pid, err := strconv.Atoi(string(next(t, s.frames).Payload))
	if err != nil {
		t.Fatal(err)
	}
	send(t, p, signal, "")
	next(t, s.exits)
	gone(t, pid)
	s.stop()
}

func TestRegistry(t *testing.T) {
	s := supervise(t, probeSpec("", DefaultBudget()), nil)
	next(t, s.ready)
	other := New(probeSpec("", DefaultBudget()), newRecorder(), s.registry, s.Supervisor.log)
	if err := other.Start(t.Context()); err == nil || !strings.Contains(err.Error(), `"probe"`) {
		t.Errorf("two scripts of one name: %v", err)
	}
	w := httptest.NewRecorder()
	s.registry.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/scripts", nil))
	for _, want := range []string{`{"scripts":[{"name":"probe","api":"probe","path":"probe.lua","state":"running","pid":`, `"restarts":0`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	s.stop()
	if all := s.registry.Stats(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// No script outlives a daemon that is killed.
func TestDaemonKilled(t *testing.T) {
	daemon := exec.Command("/proc/self/exe")
	daemon.Env = append(os.Environ(), childVariable+"=daemon")
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	pid, err := strconv.Atoi(lines.Text())
	if err != nil {
		t.Fatalf("%q: %v", lines.Text(), err)
	}
	if lines.Scan(); lines.Text() != "busy" {
		t.Errorf("%q", lines.Text())
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the script is not there: %v", err)
	}
	_ = daemon.Process.Kill()
	_ = daemon.Wait()
	gone(t, pid)
}

func TestServeByHand(t *testing.T) {
	host := exec.Command("/proc/self/exe")
	host.Env = append(os.Environ(), childVariable+"=probe")
	out, err := host.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a script host is started by weir, not by hand") {
		t.Errorf("%v, %s", err, out)
	}
}
