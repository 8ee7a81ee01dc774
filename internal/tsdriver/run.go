package tsdriver

import (
	"context"
	"errors"
	"log/slog"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/lua"
)

// Output is where the words of a script go that is run in the foreground.
type Output interface {
	Print(line string)
	Log(level slog.Level, text string)
	Error(err error) // the script goes on
}

// Run runs a script that is no driver in this process: ts_utils asks and writes f, and print goes to out. It
// returns when the script has ended, with its error, best a *script.Error. When ctx ends an error is raised in the
// script. It is for one goroutine.
func Run(ctx context.Context, setup Setup, f *front.Front, out Output) (err error) {
	s, err := open(setup, out, out.Print)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	s.front = f
	if _, err := s.call("native_driver"); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, s.interrupt)()
	chunk, err := s.compile(setup.Script)
	if err == nil {
		_, err = chunk.Call()
	}
	if exit := new(lua.ExitError); errors.As(err, &exit) && exit.Code == 0 {
		return nil
	}
	if err != nil {
		return s.asScriptError(err, "")
	}
	return nil
}
