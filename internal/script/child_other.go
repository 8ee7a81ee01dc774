//go:build !linux

package script

import (
	"os"
	"syscall"
	"time"
)

// self is the program that runs.
var self, _ = os.Executable()

// attributes put a child into a process group of its own. That it ends with the
// daemon is up to it: its socket closes.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Timers are not touched here.
func slacken() {}
func tighten() {}

// Memory is not watched here.
func limit(int, Budget) {}

func residentMemory(int) func() int64 { return func() int64 { return 0 } }

// Priorities stay as they are here.
func schedule(int) (computed, waited time.Duration) { return 0, 0 }

func nice(int, int) {}

// awaitExit cannot wait for a process without collecting it here.
func awaitExit(int) bool { return false }
