//go:build !cgo

package lua

import (
	"errors"
	"time"
)

// engine without cgo cannot be opened, so the rest is never called.
type engine struct{}

func (engine) open(*VM, int64) error {
	return errors.New("cannot run Lua scripts: this binary was built without cgo")
}

func (engine) close()                       {}
func (engine) request([]byte) (int, []byte) { return 0, nil }
func (engine) exitError() *ExitError        { return nil }
func (engine) memory() int64                { return 0 }
func (engine) counter() uintptr             { return 0 }
func (engine) setBudget(time.Duration)      {}
func (engine) running() (bool, uint64)      { return false, 0 }
func (engine) interrupted() bool            { return false }
func (engine) interrupt(uint64)             {}
func (engine) position() *Position          { return nil }
func (engine) dispatch([]byte, *DispatchOptions) (DispatchResult, int, []byte) {
	return DispatchResult{}, 0, nil
}

type frame struct{}

func (frame) count() int                 { return 0 }
func (frame) argument(int) *argument     { return &argument{kind: kindNone} }
func (frame) encode(int) ([]byte, error) { return nil, nil }
