package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

const (
	keptOutput = 64 << 10 // bytes that are looked at; Nagios takes 8 KiB
	maxOutput  = 1 << 20  // bytes after which a command is not listened to any more
	keptError  = 200      // bytes of standard error, for messages
)

// unknown is the status of what could not be found out.
const unknown = 3

// outcome is what a command says.
type outcome struct {
	status int
	took   time.Duration
	output []byte // whole, or up to the last blank of what was kept
}

// pipePatience is how long what a command left behind may keep its output open.
const pipePatience = time.Second

// environment of commands: nothing of the daemon's, which may hold secrets, and messages as programs expect them.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}

// run runs a program for at most timeout. The outcome says something with every error but that of ctx
// being cancelled. Errors do not quote the words, among which may be secrets.
func run(ctx context.Context, words []string, timeout time.Duration) (outcome, error) {
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stdout, stderr := bounded{keep: keptOutput}, bounded{keep: keptError}
	cmd := exec.CommandContext(timed, words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env, cmd.Dir = environment, "/"
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = pipePatience
	group := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = group
	began := time.Now()
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		_ = group() // somebody of it holds the output; it may have gone since
		err = nil
	}
	o := outcome{status: unknown, took: time.Since(began), output: stdout.text()}
	var exit *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return outcome{}, ctx.Err()
	case timed.Err() != nil && (err != nil || cmd.ProcessState == nil):
		return o, fmt.Errorf("it was killed because it took longer than %s", o.took.Round(time.Millisecond))
	case stdout.size > maxOutput || stderr.size > maxOutput:
		return o, fmt.Errorf("it prints more than %d bytes", maxOutput)
	case errors.As(err, &exit):
		code := exit.ExitCode()
		if code < 0 || code > unknown {
			return o, fmt.Errorf("it ended with %s, where 0 to 3 would be right; it printed %q", exit, said(&stdout, &stderr))
		}
		o.status = code
	case err != nil:
		return o, err
	default:
		o.status = 0
	}
	return o, nil
}

// said is the first line of what a command printed.
func said(outputs ...*bounded) []byte {
	for _, o := range outputs {
		if line, _, _ := bytes.Cut(bytes.TrimSpace(o.kept), []byte("\n")); len(line) > 0 {
			return line[:min(len(line), keptError)]
		}
	}
	return nil
}

// bounded keeps the beginning of an output.
type bounded struct {
	keep int
	kept []byte
	size int
}

var errTooMuch = errors.New("too much output")

// Write implements io.Writer. After an error the pipe is closed.
func (b *bounded) Write(p []byte) (int, error) {
	b.size += len(p)
	b.kept = append(b.kept, p[:min(len(p), b.keep-len(b.kept))]...)
	if b.size > maxOutput {
		return 0, errTooMuch
	}
	return len(p), nil
}

// text is what was kept, without a last word that may be half.
func (b *bounded) text() []byte {
	if b.size <= b.keep {
		return b.kept
	}
	return b.kept[:bytes.LastIndexAny(b.kept, " \n")+1]
}
