package tsdriver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// Inspect loads a driver as Start would, in a process with a budget, up to but without its constructor, and ends the
// process. It returns the names of its functions, sorted. The error is that of the script where it cannot be loaded: a
// *script.Error, with its place. ctx bounds the whole.
func Inspect(ctx context.Context, cfg Config) (functions []string, err error) {
	dir, err := os.MkdirTemp("", "weir-driver-") // so that nothing of a running Weir is touched
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	setup := cfg.Setup
	setup.Inspect, setup.Directory = true, dir
	payload, err := json.Marshal(setup)
	if err != nil {
		panic("BUG: cannot encode a setup: " + err.Error())
	}
	w := &waiter{ready: make(chan *script.Process, 1), exit: make(chan *script.Exit, 1)}
	spec := script.Spec{Name: setup.Name, API: API, Path: setup.Script, Setup: payload, Budget: cfg.Budget}
	s := script.New(spec, w, script.NewRegistry(telemetry.NewRegistry()), slog.New(slog.DiscardHandler))
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	defer s.Stop(ctx) // an error means that it was killed
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("the script did not load in time: %w", ctx.Err())
	case e := <-w.exit:
		if e.Failure != nil {
			return nil, e.Failure
		}
		return nil, e
	case p := <-w.ready:
		text, err := p.Request(ctx, kindAsk, []byte(`{"function":"inspect"}`))
		if err != nil {
			return nil, err
		}
		a := new(answer)
		if err := json.Unmarshal(text, a); err != nil {
			return nil, errAnswer
		}
		return a.Functions, nil
	}
}

// waiter hears how the loading of a script came out.
type waiter struct {
	ready chan *script.Process
	exit  chan *script.Exit
}

// OnReady implements script.Handler.
func (w *waiter) OnReady(p *script.Process) {
	select {
	case w.ready <- p:
	default:
	}
}

// OnFrame implements script.Handler: there are none.
func (*waiter) OnFrame(byte, []byte) {}

// OnExit implements script.Handler.
func (w *waiter) OnExit(e *script.Exit) {
	select {
	case w.exit <- e:
	default: // the first one counts
	}
}
