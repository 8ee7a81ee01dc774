package script

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"
)

// Handler is the daemon half of a contract. Its methods are called one at a
// time. They must not wait for the script: what it says is read by the same goroutine.
type Handler interface {
	// OnReady says that p has loaded the script and takes over. What the handler
	// has for the script it sends to p, until OnExit.
	OnReady(p *Process)
	// OnFrame brings a frame of the script, valid during the call only.
	OnFrame(kind byte, payload []byte)
	// OnExit says that the process that was ready last has ended, or that one
	// ended before it was ready. Another one comes unless Stop was called.
	OnExit(e *Exit)
}

const (
	outputPeriod = 10 * time.Second // of the log's limit per script
	outputBurst  = 100              // lines in it
	errorBurst   = 20               // errors in it
	healthy      = time.Minute      // without an exit, and restarts are quick again
	patience     = 10 * time.Second // for the old version at a reload
)

// Supervisor keeps one script running.
type Supervisor struct {
	name     string
	handler  Handler
	registry *Registry
	log      *slog.Logger
	limits   limits
	start    starter
	count    counters

	nice   int // steps of priority for the next process; both belong to the goroutine that runs it
	deaths int // of processes that ended soon, one after the other

	reloads chan reload
	quit    chan struct{} // closed by Stop
	ended   chan struct{}

	mu      sync.Mutex
	spec    Spec
	state   State
	since   time.Time
	process *Process // that took over, nil while there is none
	loading *Process // that has not, nil when there is none
	stopCtx context.Context
	backoff backoff
}

type reload struct {
	ctx  context.Context
	spec Spec
	done chan error
}

// New returns a supervisor for spec. Nothing runs before Start.
func New(spec Spec, handler Handler, registry *Registry, log *slog.Logger) *Supervisor {
	log = log.With("script", spec.Name)
	return &Supervisor{
		name: spec.Name, handler: handler, registry: registry, log: log, limits: newLimits(log), start: startChild,
		reloads: make(chan reload), quit: make(chan struct{}), ended: make(chan struct{}),
		spec: spec, state: Starting, since: time.Now(), backoff: newBackoff(spec.Budget),
	}
}

// Start begins to start the script. It does not wait until the script has
// loaded; that it cannot is in the log and in Stats, and tried again.
func (s *Supervisor) Start(context.Context) error {
	if err := s.registry.add(s); err != nil {
		return err
	}
	go s.run()
	return nil
}

// Stop ends the script in order: it gets what was sent, then it is told to stop;
// when ctx ends it is killed. It is called once, after Start.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopCtx = ctx
	s.mu.Unlock()
	close(s.quit)
	<-s.ended
	s.registry.remove(s)
	if ctx.Err() != nil {
		return fmt.Errorf("cannot stop script %q in order: %w", s.name, ctx.Err())
	}
	return nil
}

// Reload starts the script anew as spec says, beside the one that runs. When the
// new one has loaded, the old one is stopped in order and the new one takes over.
// After an error the old one goes on, and spec is forgotten. The name cannot change.
func (s *Supervisor) Reload(ctx context.Context, spec Spec) error {
	spec.Name = s.name
	r := reload{ctx, spec, make(chan error, 1)}
	select {
	case s.reloads <- r:
		return <-r.done
	case <-s.ended:
		return errors.New("cannot reload a script that was stopped")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Send is Process.Send to the process that runs; ErrAbsent when none does.
func (s *Supervisor) Send(kind byte, payload []byte) error {
	p := s.current()
	if p == nil {
		return ErrAbsent
	}
	return p.Send(kind, payload)
}

// Request is Process.Request to the process that runs; ErrAbsent when none does.
func (s *Supervisor) Request(ctx context.Context, kind byte, payload []byte) ([]byte, error) {
	p := s.current()
	if p == nil {
		return nil, ErrAbsent
	}
	return p.Request(ctx, kind, payload)
}

// RestartSoon lets the next restart wait no longer than Budget.RestartMin, unless the call that
// ended has computed for long. A
// handler that is looking for the frame that ends its script calls it in OnExit.
func (s *Supervisor) RestartSoon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backoff.reset()
}

// Stats are the script's figures as of now.
func (s *Supervisor) Stats() Stats {
	s.mu.Lock()
	stats := Stats{Name: s.name, API: s.spec.API, Path: s.spec.Path, State: s.state, Since: s.since}
	p, quarantine := s.process, s.spec.Quarantine
	if p == nil {
		p = s.loading
	}
	s.mu.Unlock()
	if quarantine != nil {
		stats.Quarantined, _ = quarantine.Count()
		stats.QuarantineFile = quarantine.path
	}
	if p != nil {
		stats.PID, stats.Held = p.child.pid, p.Held()
	}
	s.count.fill(&stats)
	return stats
}

func (s *Supervisor) current() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

func (s *Supervisor) enter(state State, process *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.since, s.process = state, time.Now(), process
	if process != nil {
		s.loading = nil // it was this one
	}
}

// run is the life of the script.
func (s *Supervisor) run() {
	defer close(s.ended)
	defer s.enter(Stopped, nil)
	var p *Process // that has loaded
	loaded := false
	for {
		var exit *Exit
		if p == nil {
			s.enter(Starting, nil)
			p, exit = s.load(context.Background(), s.spec, s.nice)
		}
		if exit == nil {
			loaded = true
			exit = s.live(p)
		}
		if s.quitting() {
			s.sayExit(exit)
			s.handler.OnExit(exit)
			return
		}
		s.enter(Waiting, nil)
		s.count.noteExit(exit)
		s.handler.OnExit(exit)
		s.mu.Lock()
		wait := s.backoff.next(exit.Computed)
		s.mu.Unlock()
		if s.spec.LoadOnce && exit.Failure != nil || s.spec.LoadFirst && !loaded {
			wait = math.MaxInt64
		} else {
			s.log.Error("script ended", "error", exit.Error(), "restart_in", wait)
		}
		var again bool
		if p, again = s.wait(wait); again && p == nil && s.deaths > 0 {
			p, again = s.wait(s.registry.turn())
		}
		if !again {
			return
		}
		s.count.restarts.Add(1)
	}
}

func (s *Supervisor) quitting() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// sayExit logs an exit that was asked for, and came about otherwise.
func (s *Supervisor) sayExit(exit *Exit) {
	if !exit.Asked {
		s.log.Warn("script did not stop in order", "error", exit.Error())
	}
}

// wait waits before a restart. It reports whether there is to be one, and with
// which process if a reload brought one.
func (s *Supervisor) wait(d time.Duration) (p *Process, again bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil, true
		case <-s.quit:
			return nil, false
		case r := <-s.reloads:
			p, exit := s.load(r.ctx, r.spec, 0)
			if exit == nil {
				s.use(r.spec)
				s.count.reloads.Add(1)
				r.done <- nil
				return p, true
			}
			r.done <- exit
		}
	}
}

// use takes spec for this and every later start.
func (s *Supervisor) use(spec Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spec, s.backoff = spec, newBackoff(spec.Budget)
}

// load starts a process and returns it when the script has loaded, or why it has not.
func (s *Supervisor) load(ctx context.Context, spec Spec, nice int) (*Process, *Exit) {
	p := newProcess(spec, s.handler, s.registry, &s.count, s.log, s.limits)
	if err := p.start(s.start); err != nil {
		return nil, &Exit{Name: spec.Name, Reason: "did not start", Failure: &Error{Message: err.Error()}}
	}
	p.inherit(nice)
	s.mu.Lock()
	s.loading = p
	s.mu.Unlock()
	select {
	case <-p.ready:
		return p, nil // and is the one that loads until takeOver
	case <-p.done:
		s.deaths++
		s.nice = p.legacy(s.deaths > 1)
	case <-ctx.Done():
		p.condemn("killed: it did not load in time: " + ctx.Err().Error())
		p.child.kill()
	case <-s.quit:
		p.condemn("killed: weir stops before it has loaded")
		p.child.kill()
	}
	<-p.done
	s.mu.Lock()
	s.loading = nil
	s.mu.Unlock()
	p.hold(false)
	return nil, p.exit
}

// live lets p take over, and its successors after reloads, until one ends.
func (s *Supervisor) live(p *Process) *Exit {
	s.takeOver(p)
	began := time.Now()
	for {
		select {
		case <-p.done:
			s.deaths++
			if time.Since(began) >= healthy {
				s.deaths = 0
				s.RestartSoon()
			}
			s.nice = p.legacy(s.deaths > 1)
			return p.exit
		case <-s.quit:
			s.mu.Lock()
			ctx := s.stopCtx
			s.mu.Unlock()
			p.stop(ctx)
			return p.exit
		case r := <-s.reloads:
			next, exit := s.load(r.ctx, r.spec, 0)
			if exit != nil {
				s.log.Error("cannot reload the script: the running version goes on", "error", exit.Error())
				r.done <- exit
				continue
			}
			s.enter(Starting, nil)
			bounded, cancel := context.WithTimeout(r.ctx, patience)
			p.stop(bounded)
			cancel()
			s.sayExit(p.exit)
			s.handler.OnExit(p.exit)
			s.use(r.spec)
			s.count.reloads.Add(1)
			s.takeOver(next)
			p, began = next, time.Now()
			r.done <- nil
		}
	}
}

func (s *Supervisor) takeOver(p *Process) {
	p.activate()
	s.enter(Running, p)
	s.log.Info("script runs", "pid", p.child.pid, "path", p.spec.Path)
}

// backoff is how long to wait before restarts.
type backoff struct{ min, max, wait time.Duration }

func newBackoff(b Budget) backoff {
	d := DefaultBudget()
	if b.RestartMin <= 0 {
		b.RestartMin = d.RestartMin
	}
	if b.RestartMax <= 0 {
		b.RestartMax = d.RestartMax
	}
	return backoff{min: b.RestartMin, max: max(b.RestartMin, b.RestartMax), wait: b.RestartMin}
}

// next returns how long to wait now that the process has ended in a call which computed for so long, and doubles
// it for the next time. It is no shorter than to let such calls, one after the other, have a twentieth of a processor.
func (b *backoff) next(computed time.Duration) time.Duration {
	wait := b.wait
	b.wait = min(2*b.wait, b.max)
	return max(wait, min(19*computed, b.max))
}

func (b *backoff) reset() { b.wait = b.min }
