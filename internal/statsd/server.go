package statsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// Server receives StatsD lines, adds them up and hands a flush to its backends
// at every interval.
type Server struct {
	registry   *telemetry.Registry
	log        *slog.Logger
	problems   *telemetry.Limited
	aggregator *Aggregator
	intake     *intake
	runners    []*runner

	onListening []func() error
	listeners   []listener
	stop        chan struct{}
	tasks       sync.WaitGroup // flushLoop and flushKeys
	abandon     context.CancelFunc
	stopping    sync.Once

	mu                            sync.Mutex // guards what follows
	config                        Config
	startup, lastFlush, nextFlush time.Time
}

// Status is how a Server is doing.
type Status struct {
	Startup    time.Time // in whole seconds, as backends are told it; zero before Start
	LastFlush  time.Time // zero before the first
	NextFlush  time.Time
	LastPacket time.Time // Startup when none has come
	BadLines   int64     // invalid values since the start
	Names      int       // held at the moment, over all kinds
}

// New returns a Server. backends are loaded and called in this order. Ledgers
// in reg: "statsd.packets", "statsd.values", "statsd.notices",
// "statsd.connections" and "statsd.backend.<name>".
func New(cfg Config, backends []backend.Backend, reg *telemetry.Registry, log *slog.Logger) *Server {
	shards := cfg.Readers
	if shards <= 0 {
		shards = runtime.GOMAXPROCS(0)
	}
	s := &Server{
		config: cfg, registry: reg, log: log, stop: make(chan struct{}),
		problems: telemetry.NewLimited(log, logPeriod, logBurst),
	}
	s.aggregator = newAggregator(cfg, shards, reg, log)
	for _, b := range backends {
		if _, ok := b.(backend.TimestampTaker); ok {
			for _, shard := range s.aggregator.shards {
				shard.parser.OnTimed = shard.onTimed
			}
		}
	}
	var lanes []Lane
	for _, shard := range s.aggregator.shards {
		lanes = append(lanes, shard)
	}
	s.intake = newIntake(lanes, "statsd", reg, log)
	names := make(map[string]int)
	for _, b := range backends {
		name := b.Name()
		if names[name]++; names[name] > 1 {
			name = fmt.Sprintf("%s.%d", name, names[name]) // two of a kind have two ledgers
		}
		s.runners = append(s.runners, newRunner(b, name, cfg.FlushInterval, reg, log))
	}
	return s
}

// OnListening has Start call f when all sockets are bound and before backends
// are loaded, in the order of the calls of OnListening; an error of f ends Start.
func (s *Server) OnListening(f func() error) { s.onListening = append(s.onListening, f) }

// OnNotices has sink called with events and service checks of the dialect DogStatsD, from one goroutine. It comes
// before Start; without it they are dropped, counted.
func (s *Server) OnNotices(sink NoticeSink) { s.aggregator.notices.sink = sink }

// Start binds the sockets, loads the backends and begins to receive and to
// flush. After an error everything is closed again and the Server cannot be
// used. ctx bounds loading only.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	s.startup = time.Unix(wholeSeconds(time.Now()), 0)
	cfg := s.config
	s.mu.Unlock()
	if cfg.FlushInterval < time.Millisecond {
		return fmt.Errorf("cannot flush every %v: the flush interval must be at least a millisecond", cfg.FlushInterval)
	}
	if err := s.load(ctx, cfg); err != nil {
		s.stopping.Do(func() {}) // Stop has nothing left to do
		for _, l := range s.listeners {
			l.close(ctx)
		}
		return err
	}
	running, abandon := context.WithCancel(context.Background())
	s.abandon = abandon
	for _, r := range s.runners {
		go r.run(running)
		s.intake.handle(r, s.registry)
	}
	if n := s.aggregator.notices; n.sink != nil {
		go n.run(running)
	}
	for _, l := range s.listeners {
		l.serve()
	}
	s.tasks.Go(s.flushLoop)
	if cfg.KeyFlush.Interval > 0 {
		s.tasks.Go(func() { s.flushKeys(cfg.KeyFlush) })
	}
	return nil
}

// load does what can fail.
func (s *Server) load(ctx context.Context, cfg Config) error {
	for i, l := range cfg.Listen {
		bound, err := s.intake.listen(l)
		if err != nil {
			return &ListenError{Index: i, Err: err}
		}
		s.listeners = append(s.listeners, bound)
	}
	for _, f := range s.onListening {
		if err := f(); err != nil {
			return err
		}
	}
	for i, r := range s.runners {
		env := backend.Environment{
			Startup: s.startup.Unix(), Interval: cfg.FlushInterval.Seconds(), Prefix: cfg.Prefix, Debug: cfg.Debug,
			Log: s.log.With("backend", r.name),
		}
		if err := r.init(ctx, env); err != nil {
			for _, loaded := range s.runners[:i] {
				loaded.stop(ctx)
			}
			return fmt.Errorf("cannot load the StatsD backend %q: %w", r.name, err)
		}
	}
	return nil
}

// Addresses is where the server listens, in the order of Config.Listen; valid after Start.
func (s *Server) Addresses() []net.Addr {
	var addresses []net.Addr
	for _, l := range s.listeners {
		addresses = append(addresses, l.address())
	}
	return addresses
}

// Take takes in packets that came another way than over the server's own
// sockets. They may be used again when it returns. It may be called between Start and Stop, one call at a time.
func (s *Server) Take(packets [][]byte, from []backend.Remote) {
	s.intake.take(s.aggregator.shards[0], packets, from)
}

// Aggregator returns what adds up the server's input.
func (s *Server) Aggregator() *Aggregator { return s.aggregator }

// Stop takes in what the sockets still hold, closes them, sends a last flush
// to the backends and stops them. ctx bounds the whole; what did not happen in
// time is the error.
func (s *Server) Stop(ctx context.Context) (err error) {
	s.stopping.Do(func() {
		if s.abandon == nil {
			return // never started
		}
		defer s.abandon()
		close(s.stop)
		waited(ctx, &s.tasks)
		for _, l := range s.listeners {
			l.close(ctx)
		}
		s.flush(true)
		s.aggregator.notices.finish(ctx)
		var late []error
		for _, r := range s.runners {
			late = append(late, r.finish(ctx))
		}
		s.abandon()
		for _, r := range s.runners {
			late = append(late, r.stop(ctx))
		}
		err = errors.Join(late...)
	})
	return err
}

// Reload applies what can change while the server runs: the delete options,
// GaugeTTL, Histograms, TimerMetrics, Sanitize, Prefix, Debug, MaxNames and MaxTagSets. It
// returns the names of the fields of cfg that differ and need a restart
// (specification section 4.3).
func (s *Server) Reload(cfg Config) (ignored []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	applied, ignored := merge(s.config, cfg)
	s.config = applied
	s.aggregator.reload(applied)
	return ignored
}

// Status tells how the server is doing.
func (s *Server) Status() Status {
	s.mu.Lock()
	status := Status{Startup: s.startup, LastFlush: s.lastFlush, NextFlush: s.nextFlush, LastPacket: s.startup}
	s.mu.Unlock()
	if last := s.intake.last.Load(); last != 0 {
		status.LastPacket = time.Unix(0, last)
	}
	status.BadLines = s.aggregator.badLines.Load()
	status.Names = s.aggregator.names.size()
	return status
}

// flushLoop flushes at whole intervals after the start, so that lateness does
// not add up (specification section 2.1).
func (s *Server) flushLoop() {
	for {
		s.mu.Lock()
		now := time.Now()
		delay := flushDelay(s.startup, now, s.config.FlushInterval)
		s.nextFlush = now.Add(delay)
		s.mu.Unlock()
		timer := time.NewTimer(delay)
		select {
		case <-s.stop:
			timer.Stop()
			return
		case <-timer.C:
			s.flush(false)
		}
	}
}

// flushDelay is how long after now the next flush is due.
func flushDelay(startup, now time.Time, interval time.Duration) time.Duration {
	start, at := float64(startup.UnixMilli()), float64(now.UnixMilli())
	every := float64(interval) / float64(time.Millisecond)
	n := jsRound((at-start)/every) + 1
	return time.Duration(math.Max(start+n*every-at, 0) * float64(time.Millisecond))
}

func wholeSeconds(t time.Time) int64 { return int64(jsRound(float64(t.UnixMilli()) / 1000)) }

func (s *Server) flush(last bool) {
	s.intake.countDrops()
	now := time.Now()
	timestamp := wholeSeconds(now)
	s.mu.Lock()
	// The last flush may come within the second of the one before it, and
	// whoever stores one value per timestamp would replace that one by it.
	if previous := wholeSeconds(s.lastFlush); last && !s.lastFlush.IsZero() && timestamp <= previous && s.config.FlushInterval >= time.Second {
		timestamp = previous + 1
	}
	s.lastFlush = now
	s.mu.Unlock()
	f := s.aggregator.flush(timestamp)
	for _, r := range s.runners {
		r.push(f)
	}
}

// waited waits for tasks, as long as ctx allows, and reports whether they are done.
func waited(ctx context.Context, tasks *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() {
		tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
