package test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a test waits for something that should happen soon.
const patience = time.Minute

// process is a running weir.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and all its output was read
	code int           // its exit code, valid then

	http, udp, tcp, unix, management string // where it listens, from the log
	token                            string

	mu     sync.Mutex
	stderr strings.Builder
	stdout strings.Builder
	news   chan struct{} // replaced and closed at every line
}

// begin starts weir without waiting for anything.
func begin(dir string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(binary, args...), done: make(chan struct{}), news: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.read(stdout, &p.stdout) })
	reading.Go(func() { p.read(stderr, &p.stderr) })
	go func() {
		reading.Wait()
		_ = p.cmd.Wait() // the exit code says it
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	return p, nil
}

func (p *process) read(r io.Reader, into *strings.Builder) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		into.WriteString(line)
		close(p.news)
		p.news = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// run starts weir and returns when it is ready.
func run(dir string, env []string, args ...string) (*process, error) {
	p, err := begin(dir, env, args...)
	if err != nil {
		return nil, err
	}
	if err := p.ready(); err != nil {
		p.kill()
		return nil, err
	}
	if code, body, err := p.get("/-/ready"); err != nil || code != http.StatusOK {
		p.kill()
		return nil, fmt.Errorf("the log says ready and /-/ready does not: %d %s %v", code, body, err)
	}
	return p, nil
}

// ready waits until weir says that it is ready, and takes from the log where it listens.
func (p *process) ready() error {
	if err := p.waitLog(`msg=ready `); err != nil {
		return err
	}
	ready := regexp.MustCompile(`(?m)^.*msg=ready .*$`).FindString(p.log())
	field := func(name string) string {
		if m := regexp.MustCompile(`\b` + name + `="?([^"\s]+)`).FindStringSubmatch(ready); m != nil {
			return m[1]
		}
		return ""
	}
	p.http, p.management = field("http"), field("management")
	for _, word := range strings.FieldsFunc(ready, func(r rune) bool { return r == '"' || r == ' ' || r == '=' }) {
		switch network, address, _ := strings.Cut(word, "://"); network {
		case "udp":
			p.udp = address
		case "tcp":
			p.tcp = address
		case "unix":
			p.unix = address
		}
	}
	return nil
}

// waitLog returns when a line of the log matches the expression.
func (p *process) waitLog(expression string) error {
	want := regexp.MustCompile(expression)
	late := time.After(patience)
	for {
		p.mu.Lock()
		log, news := p.stderr.String(), p.news
		p.mu.Unlock()
		if want.MatchString(log) {
			return nil
		}
		select {
		case <-news:
		case <-p.done:
			if log := p.log(); !want.MatchString(log) {
				return fmt.Errorf("weir ended with %d before the log had %s:\n%s", p.code, expression, log)
			}
			return nil
		case <-late:
			return fmt.Errorf("the log does not have %s:\n%s", expression, log)
		}
	}
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end sends a signal and returns the exit code, -1 when the signal killed it.
func (p *process) end(s syscall.Signal) (int, error) {
	if err := p.cmd.Process.Signal(s); err != nil {
		return 0, err
	}
	select {
	case <-p.done:
		return p.code, nil
	case <-time.After(patience):
		p.kill()
		return 0, fmt.Errorf("weir did not end within %v after %v", patience, s)
	}
}

func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
	}
}

// get asks the HTTP API.
func (p *process) get(path string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.http+path, nil)
	if err != nil {
		return 0, "", err
	}
	if p.token != "" {
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// client keeps no connections, so that a daemon can be stopped and its port used again.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// ask decodes the JSON answer of the API.
func (p *process) ask(path string, answer any) error {
	code, body, err := p.get(path)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("%s: %d %s", path, code, body)
	}
	return json.Unmarshal([]byte(body), answer)
}

// status is what /api/v1/status says about the ledger.
type status struct {
	Ledger []struct {
		Component                  string
		Received, Passed, Buffered int64
		Discarded                  map[string]int64
	}
	Balanced bool
}

// passed is how many items a component handed on.
func (s status) passed(component string) int64 {
	for _, account := range s.Ledger {
		if account.Component == component {
			return account.Passed
		}
	}
	return 0
}

// balanced returns nil when every ledger balances at some moment, which takes
// as long as something is on its way.
func (p *process) balanced() error {
	var last status
	err := eventually(func() error {
		last = status{}
		if err := p.ask("/api/v1/status", &last); err != nil {
			return err
		}
		if !last.Balanced || len(last.Ledger) == 0 {
			return errors.New("the ledger does not balance")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: %+v", err, last)
	}
	return nil
}

// eventually calls f until it succeeds.
func eventually(f func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// environment is that of this process without what could change how weir works.
func environment() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "WEIR_") {
			env = append(env, entry)
		}
	}
	// A binary with the race detector would sleep for a second at its end.
	return append(env, "TZ=UTC", "GORACE=atexit_sleep_ms=50")
}
