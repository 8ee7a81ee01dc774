package script

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/weirhq/weir/internal/telemetry"
)

// Load starts a process of a script to look at it, and returns it when it has loaded. Stop ends it, and is never nil. The
// error is the script's where it could not be loaded: an *Error with its place if it has one, otherwise the
// *Exit of the process. What the script says and sends goes nowhere. ctx bounds the loading.
func Load(ctx context.Context, spec Spec) (p *Process, stop func(), err error) {
	w := &loading{ready: make(chan *Process, 1), exit: make(chan *Exit, 1)}
	s := New(spec, w, NewRegistry(telemetry.NewRegistry()), slog.New(slog.DiscardHandler))
	if err := s.Start(ctx); err != nil {
		return nil, func() {}, err
	}
	stop = func() { _ = s.Stop(ctx) } // an error means that it was killed
	select {
	case <-ctx.Done():
		return nil, stop, fmt.Errorf("%s: the script did not load in time: %w", spec.Path, ctx.Err())
	case e := <-w.exit:
		if e.Failure != nil {
			return nil, stop, e.Failure
		}
		return nil, stop, e
	case p := <-w.ready:
		return p, stop, nil
	}
}

// loading hears how the loading of a script came out.
type loading struct {
	ready chan *Process
	exit  chan *Exit
}

// OnReady implements Handler.
func (l *loading) OnReady(p *Process) {
	select {
	case l.ready <- p:
	default:
	}
}

// OnFrame implements Handler: nothing that the script asks for is done.
func (*loading) OnFrame(byte, []byte) {}

// OnExit implements Handler.
func (l *loading) OnExit(e *Exit) {
	select {
	case l.exit <- e:
	default: // the first one counts
	}
}
