package exec

import "syscall"

// attributes put a command into a process group of its own and let it die with the daemon.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
