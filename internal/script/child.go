package script

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketBuffer = 1 << 20                // bytes, as far as the system allows
	hungUp       = time.Second            // for a child to end after its socket has
	lastWords    = 200 * time.Millisecond // to read what a child wrote before it ended
)

// child is a process with a socket to it.
type child struct {
	conn     net.Conn
	area     area // nil where there is none
	pid      int
	kill     func()                                  // the process and those it started; harmless when they are gone
	memory   func() int64                            // resident bytes of its own, 0 when unknown
	schedule func() (computed, waited time.Duration) // of the thread that makes the calls: on a processor, and for one
	nice     func(step int)                          // gives it, and what it started, less of the processors than others by so many steps
	pause    func(on bool)                           // stops it, or lets it go on; not what it started
	limit    func()                                  // lets the kernel keep it within its budget from now on
	ended    chan status                             // receives one status when the process is gone and its output read
}

// status is how a process ended.
type status struct {
	code   int    // -1 with a signal
	signal string // "" without
}

// starter starts the child of spec; line is called with every line it prints.
type starter func(spec Spec, line func(stream, text string)) (*child, error)

// startChild starts a process that dies with this one.
func startChild(spec Spec, line func(stream, text string)) (*child, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket for the script: %w", err)
	}
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot use the socket for the script: %w", err)
	}
	if u, ok := conn.(*net.UnixConn); ok {
		_ = errors.Join(u.SetReadBuffer(socketBuffer), u.SetWriteBuffer(socketBuffer)) // only faster
	}
	command := command(spec)
	cmd := exec.Command(command[0], command[1:]...)
	if len(spec.Command) == 0 {
		cmd.Path, cmd.Err = self, nil
	}
	cmd.Env, cmd.Dir = append(os.Environ(), spec.Env...), spec.Dir
	cmd.ExtraFiles = []*os.File{theirs}
	c := &child{conn: conn, ended: make(chan status, 1)}
	shared, file, err := newArea()
	if err == nil {
		c.area, cmd.ExtraFiles = shared, append(cmd.ExtraFiles, file)
		defer file.Close()
	} else if !errors.Is(err, errors.ErrUnsupported) {
		conn.Close()
		return nil, fmt.Errorf("cannot share memory with the script: %w", err)
	}
	cmd.SysProcAttr = attributes()
	streams, err := attach(cmd)
	if err != nil {
		conn.Close()
		c.area.close()
		return nil, fmt.Errorf("cannot make pipes for the script's output: %w", err)
	}
	started := make(chan error)
	go c.attend(cmd, spec, streams, line, started)
	if err := <-started; err != nil {
		conn.Close()
		c.area.close()
		return nil, fmt.Errorf("cannot start %q: %w", command, err)
	}
	return c, nil
}

func command(spec Spec) []string {
	if len(spec.Command) > 0 {
		return spec.Command
	}
	return []string{os.Args[0], Command, spec.API, spec.Name}
}

// attend starts the process and waits for its end, on one thread: a child gets
// its death signal when the thread that started it ends.
func (c *child) attend(cmd *exec.Cmd, spec Spec, streams []stream, line func(stream, text string), started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slacken()
	err := cmd.Start()
	tighten()
	for _, s := range streams {
		s.write.Close()
	}
	if err != nil {
		for _, s := range streams {
			s.read.Close()
		}
		started <- err
		return
	}
	var reaping sync.Mutex
	reaped := false
	c.pid = cmd.Process.Pid
	c.kill = func() {
		reaping.Lock()
		defer reaping.Unlock()
		if !reaped {
			_ = syscall.Kill(-c.pid, syscall.SIGKILL) // fails when all are gone
			_ = cmd.Process.Kill()                    // before it has a group of its own
		}
	}
	c.memory = residentMemory(c.pid)
	c.schedule = func() (computed, waited time.Duration) { return schedule(c.pid) }
	c.nice = func(step int) { nice(c.pid, step) }
	c.pause = func(on bool) {
		signal := syscall.SIGCONT
		if on {
			signal = syscall.SIGSTOP
		}
		reaping.Lock()
		defer reaping.Unlock()
		if !reaped {
			_ = syscall.Kill(c.pid, signal)
		}
	}
	c.limit = func() { limit(c.pid, spec.Budget) }
	started <- nil

	var reading sync.WaitGroup
	for _, s := range streams {
		reading.Go(func() { readLines(s.read, func(text string) { line(s.name, text) }) })
	}
	if awaitExit(c.pid) {
		c.kill() // those it left behind, while its process id is still taken
		reaping.Lock()
		_ = cmd.Wait() // what it says is in the state
	} else {
		_ = cmd.Wait()
		reaping.Lock()
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	}
	reaped = true
	reaping.Unlock()
	for _, s := range streams {
		_ = s.read.SetReadDeadline(time.Now().Add(lastWords)) // a process that left the group may hold the other end
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(lastWords))
	reading.Wait()
	for _, s := range streams {
		s.read.Close()
	}
	state := status{code: cmd.ProcessState.ExitCode()}
	if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		state.signal = unix.SignalName(w.Signal())
	}
	c.ended <- state
}

// stream is one of the outputs of a child.
type stream struct {
	name        string
	read, write *os.File
}

func attach(cmd *exec.Cmd) ([]stream, error) {
	var streams []stream
	for _, name := range []string{"stdout", "stderr"} {
		read, write, err := os.Pipe()
		if err != nil {
			for _, s := range streams {
				s.read.Close()
				s.write.Close()
			}
			return nil, err
		}
		streams = append(streams, stream{name, read, write})
	}
	cmd.Stdout, cmd.Stderr = streams[0].write, streams[1].write
	return streams, nil
}

func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return os.NewFile(uintptr(fds[0]), "script"), os.NewFile(uintptr(fds[1]), "daemon"), nil
}

const maxLine = 4 << 10 // bytes of a line; the rest of a longer one is left out

// readLines calls line for every line of r until it ends.
func readLines(r io.Reader, line func(string)) {
	buf := make([]byte, 0, 64<<10)
	skipping := false
	emit := func(text []byte) {
		if !skipping {
			line(string(text[:min(len(text), maxLine)]))
		}
	}
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			emit(rest[:i])
			rest, skipping = rest[i+1:], false
		}
		if err != nil {
			if len(rest) > 0 {
				emit(rest)
			}
			return
		}
		if len(rest) >= maxLine {
			emit(rest)
			rest, skipping = nil, true
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
	}
}
