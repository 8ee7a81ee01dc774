//go:build !linux

package exec

import "syscall"

// attributes put a command into a process group of its own. When the daemon is killed, it goes on until its end.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
