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
	p, stop, err := script.Load(ctx, script.Spec{Name: setup.Name, API: inspectAPI, Path: setup.Script, Setup: payload, Budget: budget})
	defer stop()
	if err != nil {
		return nil, err
	}
	answer, err := p.Request(ctx, kindInspect, nil)
	if err != nil {
		return nil, err
	}
	found := new(Inspection)
	return found, json.Unmarshal(answer, found)
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
