// Package modules gives scripts the modules they get by require although nothing is installed on
// the host: LuaSocket, LuaSec and Lua-cURL on net and net/http, and small ones of encoding
// (specification 8.3 to 8.5). What scripts see is written in Lua, in the folder lua; Go does
// what Lua cannot: connections, TLS, cryptography.
package modules

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

//go:embed lua/*.lua
var sources embed.FS

// Options of the modules.
type Options struct {
	// Call bounds how long one function of a module may block, in addition to the timeouts a
	// script sets: the time budget of a call of the script. 0 is no bound.
	Call time.Duration

	// Log gets what happens between calls of the script, such as messages of Kafka that were lost.
	// It is used on the goroutine of the VM only. nil discards.
	Log *slog.Logger
}

// Modules are the modules of one VM.
type Modules struct {
	vm      *lua.VM
	options Options
	clients clients

	mu          sync.Mutex
	interrupted context.CancelCauseFunc // of the blocking call, nil when there is none
}

// ErrInterrupted is the cause of the end of a context that Interrupt ended.
var ErrInterrupted = errors.New("interrupted")

// Register makes the modules known to a VM. They take no resources before a script uses them.
// Close them after the VM.
func Register(vm *lua.VM, o Options) (*Modules, error) {
	m := &Modules{vm: vm, options: o}
	if err := m.defineSocket(vm); err != nil {
		return nil, err
	}
	if err := m.defineProducer(vm); err != nil {
		return nil, err
	}
	if err := defineKey(vm); err != nil {
		return nil, err
	}
	// Each file gets these and fills package.preload.
	native := map[string]lua.Value{
		"b64": lua.Function(encodeBase64), "unb64": lua.Function(decodeBase64),
		"http": lua.Function(m.http), "tcp": lua.Function(newSocket),
		"sleep": lua.Function(m.sleep), "gettime": lua.Function(getTime),
		"kafka_producer": lua.Function(m.newProducer), "kafka_check": lua.Function(checkProperty),
		"json_encode": lua.Function(jsonEncode), "json_decode": lua.Function(jsonDecode), "json_indent": lua.Function(jsonIndent),
		"from_pem": lua.Function(keyFromPEM), "sign": lua.Function(sign),
	}
	files, err := sources.ReadDir("lua")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		source, err := sources.ReadFile("lua/" + file.Name())
		if err != nil {
			return nil, err
		}
		chunk, err := vm.Load("=weir/"+file.Name(), source)
		if err == nil {
			_, err = chunk.Call(native)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot prepare the modules of %s: %w", file.Name(), err)
		}
	}
	return m, nil
}

// Block returns the context of a Go function of the VM that may block: it ends after the timeout (none
// when it is negative), with the budget, and by Interrupt. The function must call done at its end.
func (m *Modules) Block(timeout time.Duration) (ctx context.Context, done func()) {
	if m.options.Call > 0 && (timeout < 0 || timeout > m.options.Call) {
		timeout = m.options.Call
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := func() {}
	if timeout >= 0 {
		ctx, stop = context.WithTimeout(ctx, timeout)
	}
	m.mu.Lock()
	m.interrupted = cancel
	m.mu.Unlock()
	if m.vm.Interrupted() { // before there was something to cancel
		cancel(ErrInterrupted)
	}
	return ctx, func() {
		m.mu.Lock()
		m.interrupted = nil
		m.mu.Unlock()
		stop()
		cancel(nil)
	}
}

// BlockOn is Block for what is done with a connection until done is called.
func (m *Modules) BlockOn(conn net.Conn, timeout time.Duration) (ctx context.Context, done func()) {
	ctx, unblock := m.Block(timeout)
	_ = conn.SetDeadline(time.Time{})
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0))
		close(ended)
	})
	return ctx, func() {
		if !stop() { // the next function must not find its end
			<-ended
		}
		unblock()
	}
}

// Interrupt makes the function that blocks now, if any, return an error. Any goroutine may call it, after
// Interrupt of the VM: a function that begins to block in between finds that done.
func (m *Modules) Interrupt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.interrupted != nil {
		m.interrupted(ErrInterrupted)
	}
}

// Close gives up the connections kept for later requests.
func (m *Modules) Close() { m.clients.close() }

// seconds turns a number of seconds into a duration; too many are no limit.
func seconds(f float64) time.Duration {
	if f < 0 || f != f || f > 1e9 {
		return -1
	}
	return time.Duration(f * float64(time.Second))
}

func getTime(c *lua.Call) (int, error) {
	c.PushFloat(float64(time.Now().UnixMicro()) / 1e6)
	return 1, nil
}

func (m *Modules) sleep(c *lua.Call) (int, error) {
	f, err := c.Float(1)
	if err != nil {
		return 0, err
	}
	if f <= 0 || f != f {
		return 0, nil
	}
	wanted := seconds(f)
	ctx, done := m.Block(-1)
	defer done()
	if wanted < 0 {
		wanted = 1 << 62
	}
	timer := time.NewTimer(wanted)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("cannot sleep %g s: %w", f, context.Cause(ctx))
	}
}
