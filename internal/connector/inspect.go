package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// inspectAPI is the name of the host that only loads a script.
const inspectAPI = API + "-inspect"

const kindInspect byte = script.FirstKind // a request: what is the script like?

func init() {
	script.RegisterAPI(inspectAPI, func() script.Host { return new(inspector) })
}

// Inspection is what a script that was loaded, and not begun, looks like.
type Inspection struct {
	Version   int      `json:"version"`   // of the interface, 1 or 2
	Functions []string `json:"functions"` // of the contract that it defines
	Problems  []string `json:"problems"`  // errors that it goes on after, with their places
}

// Inspect loads a script as a connector would, in a process with a budget, up to
// but without init, and ends the process. The error is that of the script where it
// cannot be loaded: a *script.Error, with its place. ctx bounds the whole.
func Inspect(ctx context.Context, setup Setup, budget script.Budget) (*Inspection, error) {
	setup.Inspect, setup.Cache = true, ""
	payload, err := json.Marshal(setup)
	if err != nil {
		panic("BUG: cannot encode a setup: " + err.Error())
	}
	w := &waiter{ready: make(chan *script.Process, 1), exit: make(chan *script.Exit, 1)}
	log := slog.New(slog.DiscardHandler) // what the script says is in Problems, or of no interest
	spec := script.Spec{Name: setup.Name, API: inspectAPI, Path: setup.Script, Setup: payload, Budget: budget}
	s := script.New(spec, w, script.NewRegistry(telemetry.NewRegistry()), log)
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
		answer, err := p.Request(ctx, kindInspect, nil)
		if err != nil {
			return nil, err
		}
		found := new(Inspection)
		return found, json.Unmarshal(answer, found)
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

// inspector is the script half of Inspect: a host, and the output of its script.
type inspector struct {
	script *Script
	loaded atomic.Pointer[Script] // script, for other goroutines
	found  Inspection
}

// Setup implements script.Host.
func (i *inspector) Setup(payload []byte, _ *script.Writer) error {
	var setup Setup
	if err := json.Unmarshal(payload, &setup); err != nil {
		return errors.New("cannot read the setup") // there are secrets in it
	}
	i.script = newScript(setup, i)
	i.loaded.Store(i.script)
	if err := i.script.load(); err != nil {
		return err
	}
	i.found.Version = 1
	if i.script.readOnly {
		i.found.Version = 2
	}
	i.found.Functions = []string{"init", "write"}
	if i.script.filter != "" {
		i.found.Functions = append(i.found.Functions, "filter")
	}
	if i.script.flushes {
		i.found.Functions = append(i.found.Functions, "flush")
	}
	return nil
}

// Answer implements script.Answerer.
func (i *inspector) Answer(byte, []byte, *script.Writer) ([]byte, error) {
	return json.Marshal(i.found)
}

// Frame implements script.Host: there are none.
func (i *inspector) Frame(kind byte, payload []byte, _ *script.Writer) error {
	return fmt.Errorf("BUG: frame of kind %d with %d bytes", kind, len(payload))
}

// Idle implements script.Host.
func (*inspector) Idle(*script.Writer) error { return nil }

// Stop implements script.Host.
func (i *inspector) Stop(out *script.Writer) {
	if err := i.script.Close(); err != nil {
		out.Error(err)
	}
}

// Position implements script.Host.
func (i *inspector) Position() string {
	if s := i.loaded.Load(); s != nil {
		return s.Position()
	}
	return ""
}

// Interrupt implements script.Host.
func (i *inspector) Interrupt() {
	if s := i.loaded.Load(); s != nil {
		s.Interrupt()
	}
}

// Log implements Output.
func (i *inspector) Log(level slog.Level, text string) {
	if level >= slog.LevelWarn {
		i.found.Problems = append(i.found.Problems, text)
	}
}

// Error implements Output.
func (i *inspector) Error(err error) {
	i.found.Problems = append(i.found.Problems, strings.ReplaceAll(err.Error(), "\n", " "))
}

// Begin implements Output.
func (*inspector) Begin(string) {}

// Acknowledge implements Output.
func (*inspector) Acknowledge(uint64) {}
