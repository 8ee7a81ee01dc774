package tsdriver

import (
	"context"
	"encoding/json"
	"os"

	"github.com/weirhq/weir/internal/script"
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
	p, stop, err := script.Load(ctx, script.Spec{Name: setup.Name, API: API, Path: setup.Script, Setup: payload, Budget: cfg.Budget})
	defer stop()
	if err != nil {
		return nil, err
	}
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
