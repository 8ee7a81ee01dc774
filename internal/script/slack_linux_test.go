package script

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that is started between slacken and tighten has timers that may be late, and this one has not.
func TestTimerSlack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := func() int {
		ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	before := own()
	slacken()
	text, err := exec.Command("cat", "/proc/self/timerslack_ns").Output()
	tighten()
	if got := strings.TrimSpace(string(text)); err != nil || got != "1000000" {
		t.Errorf("the started process has %q ns, %v", got, err)
	}
	if after := own(); after != before {
		t.Errorf("this thread had %d ns and has %d now", before, after)
	}
}
