package script

import (
	"bytes"
	"fmt"
	"os"
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

// memorySlack is what a process may map above what it had at first and its budget
// of resident memory before the kernel refuses: runtimes map more than they use, and
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
		most := uint64(statm(pid, 5) + budget.Memory + memorySlack)
		_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most}, nil)
	}
	// When memory runs out, the kernel ends scripts before the daemon.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("500"), 0)
}

// residentMemory returns a function that reads how many bytes pid has in memory.
func residentMemory(pid int) func() int64 { return func() int64 { return statm(pid, 1) } }

// computed is the processor time that the first thread of pid has used.
func computed(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, pid))
	if err != nil {
		return 0
	}
	first, _, _ := bytes.Cut(text, []byte(" "))
	ns, _ := strconv.ParseInt(string(first), 10, 64)
	return time.Duration(ns)
}

// nice raises the nice value of pid's group above that of this process. That cannot be refused,
// and lowering it again can, so errors mean nothing.
func nice(pid, step int) {
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return
	}
	_ = unix.Setpriority(unix.PRIO_PGRP, pid, min(19, 20-own+step))
}

// statm reads a field of /proc/PID/statm: 1 is what is resident, 5 what is
// writable and private. It returns bytes, 0 when there is no such process.
func statm(pid, field int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) <= field {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[field]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
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
