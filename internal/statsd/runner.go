package statsd

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// maxWaiting is how many flushes wait for a backend that is still busy.
const maxWaiting = 2

// runner calls one backend from a goroutine of its own, so that a slow,
// hanging or panicking one delays nobody.
type runner struct {
	backend  backend.Backend
	name     string
	interval time.Duration
	log      *slog.Logger
	problems *telemetry.Limited

	ledger                          *telemetry.Ledger // "statsd.backend.<name>"
	full, failed, panicked, stopped *telemetry.Discard

	mu        sync.Mutex
	waiting   []*backend.Flush
	busy      bool
	finishing bool // no further flush comes
	abandoned bool // the running flush was given up and counted
	wake      chan struct{}
	done      chan struct{} // closed when run returns
}

func newRunner(b backend.Backend, name string, interval time.Duration, reg *telemetry.Registry, log *slog.Logger) *runner {
	log = log.With("backend", name)
	r := &runner{
		backend: b, name: name, interval: interval, log: log, problems: telemetry.NewLimited(log, logPeriod, logBurst),
		ledger: reg.Ledger("statsd.backend."+name, "flushes"), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	r.full, r.failed = r.ledger.Reason("queue_full"), r.ledger.Reason("error")
	r.panicked, r.stopped = r.ledger.Reason("panic"), r.ledger.Reason("stopped")
	r.ledger.Hold(func() int64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.busy && !r.abandoned {
			return int64(len(r.waiting)) + 1
		}
		return int64(len(r.waiting))
	})
	return r
}

func (r *runner) init(ctx context.Context, env backend.Environment) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	return r.backend.Init(ctx, env)
}

// push queues a flush; when too many wait, the oldest is dropped.
func (r *runner) push(f *backend.Flush) {
	r.mu.Lock()
	r.ledger.Received(1)
	dropped := len(r.waiting) == maxWaiting
	if dropped {
		r.full.Add(1)
		r.waiting = r.waiting[1:]
	}
	r.waiting = append(r.waiting, f)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	if dropped {
		r.problems.Warn("flush dropped: the backend takes longer than the flush interval", "interval", r.interval)
	}
}

// next returns the next flush, nil when there will be none.
func (r *runner) next() *backend.Flush {
	for {
		r.mu.Lock()
		if len(r.waiting) > 0 {
			f := r.waiting[0]
			r.waiting, r.busy = r.waiting[1:], true
			r.mu.Unlock()
			return f
		}
		finishing := r.finishing
		r.mu.Unlock()
		if finishing {
			return nil
		}
		<-r.wake
	}
}

func (r *runner) run(ctx context.Context) {
	defer close(r.done)
	for f := r.next(); f != nil; f = r.next() {
		deadline, cancel := context.WithTimeout(ctx, r.interval)
		outcome := r.flush(deadline, f)
		cancel()
		r.mu.Lock()
		r.busy = false
		abandoned := r.abandoned
		r.mu.Unlock()
		switch {
		case abandoned: // and already counted
		case outcome == nil:
			r.ledger.Passed(1)
		default:
			outcome.Add(1)
		}
	}
}

// flush hands over one flush and returns why it was lost, nil when it was not.
func (r *runner) flush(ctx context.Context, f *backend.Flush) (lost *telemetry.Discard) {
	defer func() {
		if p := recover(); p != nil {
			lost = r.panicked
			r.problems.Warn("flush lost: the backend panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := r.backend.Flush(ctx, f); err != nil {
		r.problems.Warn("flush lost: the backend failed", "error", err)
		return r.failed
	}
	return nil
}

// finish waits until the backend has taken what is queued. When ctx ends
// first, the rest is counted as lost.
func (r *runner) finish(ctx context.Context) error {
	r.mu.Lock()
	r.finishing = true
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := len(r.waiting)
	if r.busy {
		lost++
	}
	r.abandoned, r.waiting = r.busy, nil
	r.stopped.Add(lost)
	if lost == 0 {
		return nil
	}
	return fmt.Errorf("the StatsD backend %q did not take %d flushes in time", r.name, lost)
}

// stop ends the backend, if it has something to end, and waits no longer than ctx.
func (r *runner) stop(ctx context.Context) error {
	stopper, ok := r.backend.(backend.Stopper)
	if !ok {
		return nil
	}
	ended := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				ended <- fmt.Errorf("it panicked: %v", p)
			}
		}()
		ended <- stopper.Stop(ctx)
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot stop the StatsD backend %q: %w", r.name, err)
	}
	return nil
}
