package script

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// self is the program that runs, also after its file was replaced.
const self = "/proc/self/exe"

// attributes put a child into a process group of its own and let it die with the daemon.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// timerSlack is by how much timers of a script process may be late. The Go runtime in it sleeps for 20 us
// at a time as long as a script computes, to see whether something else has to run: at
// that rate its looking takes a twentieth of the script's time.
const timerSlack = time.Millisecond

// slacken makes the processes that the calling thread starts from now on get timerSlack; tighten
// ends that. Both only save time, so errors mean nothing.
func slacken() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack.Nanoseconds()), 0, 0, 0) }
func tighten() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }

// memorySlack is what a process may map above what it had at first and its budget
// of memory before the kernel refuses: runtimes map more than they use, and
// the refusal is only there for what grows faster than somebody looks.
const memorySlack = 1 << 30

// hostStack is how far the first thread's stack may grow, in bytes. What recurses through
// functions in C, such as a callback of string.gsub that calls string.gsub, meets the limits of
// Lua before this one, and the script sees an error.
const hostStack = 256 << 20

// limit sets what the kernel enforces. Where it cannot, the supervisor's own
// limits stand, so errors mean nothing.
func limit(pid int, budget Budget) {
	none := unix.Rlimit{}
	_ = unix.Prlimit(pid, unix.RLIMIT_STACK, &unix.Rlimit{Cur: hostStack, Max: hostStack}, nil)
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &none, nil)
	if budget.Memory > 0 {
		most := uint64(sizes(pid, "VmData:") + budget.Memory + memorySlack)
		_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most}, nil)
	}
	// When memory runs out, the kernel ends scripts before the daemon.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("500"), 0)
}

// residentMemory returns a function that reads how many bytes pid has in memory that are
// its own. What is mapped from files does not count: every script process has the same program, and how much of it
// the kernel maps says nothing about the script.
func residentMemory(pid int) func() int64 {
	return func() int64 { return sizes(pid, "RssAnon:", "RssShmem:") }
}

// schedule says how long the first thread of pid has had a processor, and has been able to run and waited for one.
// What stands below /proc/PID/task is not read: while names of it are in the kernel's cache, a thread of low priority that ends has
// to remove its own, and whoever collects the process spins until it got the processor to do so.
func schedule(pid int) (computed, waited time.Duration) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0, 0
	}
	on, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	off, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return time.Duration(on), time.Duration(off)
}

// nice raises the nice value of pid's group above that of this process. At niceMost steps the first thread of pid, which makes the calls, computes only while a
// processor has nothing else to do: under the nice value alone it keeps a processor for some milliseconds
// when a process beside it has to run, and one with many short turns, such as a script that is fed by this process, waits
// through each of them. Neither can be refused, and going back can, so errors mean nothing.
func nice(pid, step int) {
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return
	}
	_ = unix.Setpriority(unix.PRIO_PGRP, pid, min(19, 20-own+step))
	if step >= niceMost {
		_ = unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE, Nice: 19}, 0)
	}
}

// sizes adds up fields of /proc/PID/status that are sizes. It returns bytes, 0 when there is no
// such process.
func sizes(pid int, fields ...string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	kib := int64(0)
	for line := range bytes.Lines(text) {
		if words := bytes.Fields(line); len(words) == 3 && slices.Contains(fields, string(words[0])) {
			n, _ := strconv.ParseInt(string(words[1]), 10, 64)
			kib += n
		}
	}
	return kib << 10
}

// awaitExit returns when pid has ended, and leaves it to be waited for. It
// reports whether it could do so.
func awaitExit(pid int) bool {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			return err == nil
		}
	}
}
