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
		spec := probeSpec("", Budget{Busy: 20 * time.Second, Hard: time.Minute})
		spec.Name = name
		return superviseIn(t, registry, spec, nil)
	}
	greedy := named("greedy")
	running := next(t, greedy.ready)
	send(t, running, compute, "")
	held := func() (part float64) {
		const looks = 200
		for range looks {
			if state(t, running.child.pid) == 'T' {
				part += 1.0 / looks
			}
			time.Sleep(5 * time.Millisecond)
		}
		return part
	}
	deadline := time.Now().Add(time.Minute)
	for !running.offends() {
		if time.Now().After(deadline) {
			t.Fatal("a call that computes for ever does not offend")
		}
		time.Sleep(10 * time.Millisecond)
	}
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
	time.Sleep(100 * time.Millisecond)
	if part := held(); part < 0.5 || part == 1 {
		t.Errorf("held %.0f %% of the time while others compute", 100*part)
	}
	cancel()
	feeding.Wait()
	for _, s := range others {
		s.stop()
	}
	time.Sleep(100 * time.Millisecond)
	if part := held(); part > 0 {
		t.Errorf("held %.0f %% of the time after the others have ended", 100*part)
	}
	ended, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := greedy.Stop(ended); err == nil {
		t.Error("a call that computes for ever was stopped in order")
	}
	for deadline := time.Now().Add(10 * time.Second); registry.holding(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is left to hold, and it goes on")
		}
	}
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
