package script

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stepsDown is how much less of the processors a process gets than this one.
func stepsDown(t *testing.T, pid int) int {
	t.Helper()
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		return -1 // it has ended
	}
	return own - theirs // the system counts from the other end
}

func TestPriority(t *testing.T) {
	s := supervise(t, probeSpec("", Budget{Hard: 10 * time.Second, RestartMax: time.Millisecond}), nil)
	p := next(t, s.ready)
	pid := s.Stats().PID
	if n := stepsDown(t, pid); n != 0 {
		t.Errorf("at first %d steps", n)
	}
	send(t, p, forever, "")
	deadline := time.Now().Add(time.Minute)
	for stepsDown(t, pid) < niceStep {
		if time.Now().After(deadline) {
			t.Fatalf("a call that computes for long keeps its priority\n%s", s.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
	next(t, s.exits)
	p = next(t, s.ready)
	if n := stepsDown(t, s.Stats().PID); n < niceStep {
		t.Errorf("the next process begins with %d steps", n)
	}
	if better, worse := p.legacy(false), p.legacy(true); better >= worse {
		t.Errorf("one that did nothing leaves %d steps, one that died again %d", better, worse)
	}
	for step, want := range map[int]uint32{niceMost - 1: unix.SCHED_NORMAL, niceMost: unix.SCHED_IDLE} {
		p := supervise(t, probeSpec("", Budget{}), nil)
		running := next(t, p.ready)
		running.inherit(step)
		if got := policy(t, running.child.pid); got != unix.SCHED_NORMAL {
			t.Errorf("a process that begins after %d steps has policy %d", step, got)
		}
		running.nice = step - niceStep
		running.giveWay(niceMost, "a test")
		if got := policy(t, running.child.pid); got != want {
			t.Errorf("after %d steps the policy is %d, not %d", step, got, want)
		}
		p.stop()
	}
	s.stop()
}

// policy is how the kernel schedules the first thread of a process.
func policy(t *testing.T, pid int) uint32 {
	t.Helper()
	attributes, err := unix.SchedGetAttr(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return attributes.Policy
}
