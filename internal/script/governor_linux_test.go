package script

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// A process that has given way altogether is held while others need the processors, and only then.
func TestHold(t *testing.T) {
	registry := NewRegistry(telemetry.NewRegistry())
	named := func(name string) *testScript {
		spec := probeSpec("", Budget{Hard: time.Hour})
		spec.Name = name
		return superviseIn(t, registry, spec, nil)
	}
	greedy := named("greedy")
	running := next(t, greedy.ready)
	send(t, running, compute, "")
	held := func() (part float64) {
		const looks = 200
		for range looks {
			if running.isHeld() {
				part += 1.0 / looks
			}
			time.Sleep(5 * time.Millisecond)
		}
		return part
	}
	await := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not %s within a minute", what)
			}
		}
	}
	running.mu.Lock()
	running.offended = true
	running.mu.Unlock()
	await("an offender that has given way", running.offends)
	if part := held(); part > 0 {
		t.Errorf("held %.0f %% of the time while nothing else computes", 100*part)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	others := make([]*testScript, max(1, runtime.NumCPU()-1)) // one is for this process
	for i := range others {
		others[i] = named(fmt.Sprint("other", i))
		p := next(t, others[i].ready)
		feeding.Go(func() {
			for p.SendWait(ctx, work, nil) == nil {
			}
		})
	}
	await("stopped while others compute", func() bool { return state(t, running.child.pid) == 'T' })
	if part := held(); part < 0.5 {
		t.Errorf("held %.0f %% of the time while others compute", 100*part)
	}
	await("let go for a turn", func() bool { return !running.isHeld() })
	cancel()
	feeding.Wait()
	for _, s := range others {
		s.stop()
	}
	await("let go after the others have ended", func() bool { return !running.isHeld() })
	if part := held(); part > 0 {
		t.Errorf("held %.0f %% of the time after the others have ended", 100*part)
	}
	ended, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := greedy.Stop(ended); err == nil {
		t.Error("a call that computes for ever was stopped in order")
	}
	await("at an end with nothing left to hold", func() bool { return !registry.holding() })
}

// Who only takes long gives way, and who fails again and again, or after long calls, may be held as well.
func TestOffend(t *testing.T) {
	for name, c := range map[string]struct {
		kind    byte
		offends bool
	}{"long calls": {labour, false}, "long calls that fail": {stumble, true}, "one error after the other": {raise, true}} {
		t.Run(name, func(t *testing.T) {
			s := supervise(t, probeSpec("", Budget{Busy: time.Hour, Hard: time.Hour, Memory: 1 << 40}), nil)
			p := next(t, s.ready)
			ctx, cancel := context.WithCancel(t.Context())
			var feeding sync.WaitGroup
			feeding.Go(func() {
				for p.SendWait(ctx, c.kind, nil) == nil {
				}
			})
			look := func() (way, offends bool) {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.nice > 0, p.offended
			}
			way, offends := look()
			for deadline := time.Now().Add(time.Minute); !way || offends != c.offends; way, offends = look() {
				if time.Now().After(deadline) {
					t.Fatalf("it has given way: %v, it offends: %v", way, offends)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if !c.offends { // nor does it later
				time.Sleep(time.Second)
				if _, offends := look(); offends {
					t.Error("it offends")
				}
			}
			cancel()
			feeding.Wait()
			ended, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_ = s.Stop(ended) // what it has to do still takes too long
		})
	}
}

func (p *Process) isHeld() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

func (r *Registry) holding() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.governs
}

// state is what the kernel says a process does: R for running, S for sleeping, T for stopped and others.
func state(t *testing.T, pid int) byte {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return text[bytes.LastIndexByte(text, ')')+2]
}
