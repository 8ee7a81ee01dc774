package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// childVariable makes the test binary a child that runs a probe.
const childVariable = "WEIR_SCRIPT_TEST_CHILD"

// As in a child of the real program, calls are made by the first thread.
func init() {
	if os.Getenv(childVariable) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	RegisterAPI("probe", func() Host { return new(probe) })
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if role := os.Getenv(childVariable); role != "probe" {
		daemonToKill(role)
	}
	host, err := NewHost("probe")
	if err == nil {
		err = Serve(host)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

var (
	discard = slog.New(slog.DiscardHandler)
)

// What a probe can be asked to do.
const (
	echo byte = FirstKind + iota
	untilInterrupt
	forever
	exit
	signal
	grow
	flood
	garbage
	hangUp
	raise
	crash
	spawn
	steps
	huge
	count
	compute
	wait
	chatter
	work
	labour
	stumble
)

// spin never returns.
func spin() {
	for n := 0; ; n++ {
		spins = n
	}
}

var spins int

// probe is a Host that does what frames say.
type probe struct {
	interrupted atomic.Bool
	at          atomic.Pointer[string]
	frames      uint64
}

func (h *probe) place(at string) { h.at.Store(&at) }

func (h *probe) Setup(payload []byte, out *Writer) error {
	h.place("probe.lua:1")
	switch string(payload) {
	case "broken":
		return &Error{Message: "'=' expected near 'x'", File: "probe.lua", Line: 7, Traceback: "stack"}
	case "forever":
		spin()
	case "talkative":
		out.Log(slog.LevelWarn, "loading")
		return out.Send(echo, []byte("early"))
	}
	return nil
}

func (h *probe) Frame(kind byte, payload []byte, out *Writer) error {
	h.interrupted.Store(false)
	h.frames++
	h.place(fmt.Sprintf("probe.lua:%d", 100+kind))
	switch kind {
	case echo:
		return out.Send(echo, payload)
	case untilInterrupt:
		for !h.interrupted.Load() {
			time.Sleep(time.Millisecond)
		}
		return &Error{Message: "interrupted", File: "probe.lua", Line: 33}
	case compute:
		for n := 0; ; n++ {
			h.frames ^= uint64(n)
		}
	case wait:
		time.Sleep(time.Second)
		return out.Send(echo, payload)
	case forever:
		spin()
	case exit:
		fmt.Fprintf(os.Stderr, "%sprobe.lua:35\n", PositionMark)
		os.Exit(3)
	case signal:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case grow:
		for kept := [][]byte{}; ; time.Sleep(time.Millisecond) {
			kept = append(kept, bytes.Repeat([]byte{1}, 8<<20))
			h.frames += uint64(len(kept))
		}
	case huge:
		kept := make([]byte, 6<<30)
		for i := 0; i < len(kept); i += 4 << 10 {
			kept[i] = 1
		}
		return out.Send(echo, kept[:1])
	case flood:
		for i := range 500 {
			fmt.Println("line", i, strings.Repeat("x", i*12))
		}
		return out.Send(echo, nil)
	case work:
		for began := time.Now(); time.Since(began) < 10*time.Millisecond; {
			h.frames++
		}
	case labour, stumble:
		for began, _ := schedule(os.Getpid()); ; h.frames++ { // on a busy machine as well
			if now, _ := schedule(os.Getpid()); now-began >= longCall*3/2 {
				break
			}
		}
		if kind == stumble {
			return errors.New("it was in vain")
		}
	case chatter:
		for range 20000 {
			out.Log(slog.LevelInfo, "chatter")
		}
		return out.Send(echo, nil)
	case garbage:
		_, err := out.conn.Write(payload)
		return err
	case hangUp:
		out.conn.(io.Closer).Close()
		select {}
	case raise:
		for i := range 50 {
			out.Error(&Error{Message: "raised", File: "probe.lua", Line: 36, Overtime: i == 0})
		}
	case crash:
		panic("probe crashed")
	case spawn:
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			return err
		}
		return out.Send(spawn, []byte(strconv.Itoa(cmd.Process.Pid)))
	case steps:
		for i := range 8 {
			out.Begin("step " + strconv.Itoa(i))
			time.Sleep(50 * time.Millisecond)
		}
		return out.Send(echo, nil)
	}
	return nil
}

func (h *probe) Answer(kind byte, payload []byte, _ *Writer) ([]byte, error) {
	if kind == count {
		return []byte(strconv.FormatUint(h.frames, 10)), nil
	}
	if kind == forever {
		spin()
	}
	if len(payload) == 0 {
		return nil, errors.New("nothing asked")
	}
	return bytes.ToUpper(payload), nil
}

func (h *probe) Idle(out *Writer) error { return nil }
func (h *probe) Stop(out *Writer)       { out.Log(slog.LevelInfo, "last words") }
func (h *probe) Place() string          { return "probe.lua:5" }
func (h *probe) Position() string       { return *h.at.Load() }
func (h *probe) Interrupt()             { h.interrupted.Store(true) }

// recorder is a Handler that hands everything to a test.
type recorder struct {
	ready  chan *Process
	frames chan Frame
	exits  chan *Exit
}

func newRecorder() *recorder {
	return &recorder{make(chan *Process, 100), make(chan Frame, 1000), make(chan *Exit, 100)}
}

func (r *recorder) OnReady(p *Process) { r.ready <- p }
func (r *recorder) OnExit(e *Exit)     { r.exits <- e }
func (r *recorder) OnFrame(kind byte, payload []byte) {
	r.frames <- Frame{kind, bytes.Clone(payload)}
}

// next receives from c, or fails when there is nothing for very long.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("nothing comes from a %T", c)
		panic("unreachable")
	}
}

// script is a supervisor with what a test sees of it.
type testScript struct {
	*Supervisor
	*recorder
	log *lockedBuffer
	t   *testing.T
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func probeSpec(setup string, budget Budget) Spec {
	if budget.RestartMin == 0 {
		budget.RestartMin = time.Millisecond
	}
	return Spec{
		Name: "probe", API: "probe", Path: "probe.lua", Setup: []byte(setup),
		Command: []string{"/proc/self/exe"}, Env: []string{childVariable + "=probe"}, Budget: budget,
	}
}

// supervise runs a supervisor until the test ends. start is how children are
// started, nil for processes.
func supervise(t *testing.T, spec Spec, start starter) *testScript {
	t.Helper()
	return superviseIn(t, NewRegistry(telemetry.NewRegistry()), spec, start)
}

func superviseIn(t *testing.T, registry *Registry, spec Spec, start starter) *testScript {
	t.Helper()
	log := new(lockedBuffer)
	s := &testScript{recorder: newRecorder(), log: log, t: t}
	s.Supervisor = New(spec, s.recorder, registry, slog.New(slog.NewTextHandler(log, nil)))
	if start != nil {
		s.Supervisor.start = start
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *testScript) stop() *Exit {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		s.t.Error(err)
	}
	select {
	case e := <-s.exits:
		return e
	default:
		return nil
	}
}

func send(t *testing.T, p *Process, kind byte, payload string) {
	t.Helper()
	if err := p.Send(kind, []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

// gone waits until there is no process pid.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 3000 {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return
		}
		if i := bytes.LastIndexByte(text, ')'); bytes.HasPrefix(text[i+1:], []byte(" Z")) && !bytes.Contains(text[i+1:], []byte(fmt.Sprintf(" Z %d ", os.Getpid()))) {
			return // not ours to collect
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

// daemonToKill is a process with a script that is busy and has a child, until it is killed.
func daemonToKill(string) {
	s := New(probeSpec("", Budget{}), printer{}, NewRegistry(telemetry.NewRegistry()), slog.New(slog.DiscardHandler))
	if err := s.Start(context.Background()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}

// printer prints the process id of its script when that is busy.
type printer struct{}

func (printer) OnReady(p *Process) {
	fmt.Println(p.child.pid)
	_, _ = p.Send(echo, nil), p.Send(forever, nil)
}
func (printer) OnExit(*Exit)         {}
func (printer) OnFrame(byte, []byte) { fmt.Println("busy") }
