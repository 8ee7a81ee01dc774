package countergroup

import (
	"context"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weirhq/weir/internal/telemetry"
)

// Config of an Engine. The zero value has the defaults.
type Config struct {
	Window        int              // seconds of the stream window; 0 means 60
	TopperBucket  int              // seconds of every group's topper bucket, in place of what the groups say; 0 leaves them
	HighWater     int              // keys of a group that sets none, see Definition; 0 means DefaultHighWater
	LowWater      int              // keys left by pruning, of a group that sets none; 0 means 4/5 of HighWater
	NewKeyHorizon time.Duration    // without an update after which a key is new again; 0 means 24 hours
	Engines       int              // over which keys are shared out: 1, 2, 4 or 8 (specification 1.7); 0 means 1
	Queue         int              // posted updates that may wait for the next tick; 0 means DefaultQueue
	Now           func() time.Time // the wall clock; nil means time.Now
}

const (
	DefaultHighWater = 250_000
	DefaultQueue     = 4_000_000
	maxGap           = 10 // windows; a clock that jumps further skips the gap
)

// Engine keeps the values of groups. Use it so: New, SetStages, then either Start and Stop (the wall clock ticks), or
// Tick and Finish (the caller ticks, with the times of the data).
type Engine struct {
	cfg      Config
	window   int64
	registry *Registry
	log      *slog.Logger
	stages   []Stage
	seed     maphash.Seed
	batches  atomic.Int32

	gate   sync.RWMutex // closed (locked) while a second is cut off
	shards []shard
	queue  queue

	making sync.Mutex // one new state at a time
	states atomic.Pointer[[]*groupState]

	ledger  *telemetry.Ledger // "countergroup.updates"
	reasons [reasons]*telemetry.Discard
	crowded *telemetry.Limited
	clock   *telemetry.Limited

	ticking  sync.Mutex // one tick at a time; guards what follows
	last     int64      // the second that was closed last, 0 before the first
	finished bool
	refs     []ref
	rows     []Row
	most     int // rows of the largest group since the last flush

	forgotten atomic.Int64 // keys of groups that were taken away
	flushed   atomic.Int64 // the end of the last window
	flushTook atomic.Int64 // nanoseconds of the last flush, stages included

	stop    chan struct{}
	stopped chan struct{}
}

// New returns an Engine of the groups of registry, those included that will be registered later.
func New(cfg Config, registry *Registry, reg *telemetry.Registry, log *slog.Logger) *Engine {
	if cfg.Window <= 0 {
		cfg.Window = 60
	}
	if cfg.HighWater <= 0 {
		cfg.HighWater = DefaultHighWater
	}
	if cfg.NewKeyHorizon <= 0 {
		cfg.NewKeyHorizon = 24 * time.Hour
	}
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultQueue
	}
	if cfg.Engines <= 0 {
		cfg.Engines = 1
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	shards := 16
	for shards < 8*runtime.GOMAXPROCS(0) && shards < 256 {
		shards *= 2
	}
	e := &Engine{
		cfg: cfg, window: int64(cfg.Window), registry: registry, log: log, seed: maphash.MakeSeed(), shards: make([]shard, shards),
		queue:  queue{limit: cfg.Queue, parts: make([]part, shards)},
		ledger: reg.Ledger("countergroup.updates", "updates"), crowded: telemetry.NewLimited(log, time.Minute, 5), clock: telemetry.NewLimited(log, time.Minute, 5),
	}
	e.ledger.Hold(e.queue.len)
	for r, name := range reasonNames {
		e.reasons[r] = e.ledger.Reason(name)
	}
	e.states.Store(new([]*groupState))
	reg.Register(figures{e})
	return e
}

// SetStages sets what windows pass through, in this order. Call it before the first tick.
func (e *Engine) SetStages(stages ...Stage) { e.stages = stages }

// Window is the length of the stream window in seconds.
func (e *Engine) Window() int { return e.cfg.Window }

// Engines is how many engines there are: partitions of the keys, each with a Lua state of its own for every script and group.
func (e *Engine) Engines() int { return e.cfg.Engines }

// EngineOf is the engine that a key of a group belongs to. It is always the same one. g is nil for what is of no counter group, such as a flow.
func (e *Engine) EngineOf(g *Group, key string) int {
	if e.cfg.Engines == 1 {
		return 0
	}
	hash := xxhash.Sum64String(key)
	if g != nil {
		hash ^= g.salt
	}
	return int(hash % uint64(e.cfg.Engines))
}

// LastFlush is the end of the last window that was flushed, 0 before the first.
func (e *Engine) LastFlush() int64 { return e.flushed.Load() }

// Batch returns an empty batch, for one producer.
func (e *Engine) Batch() *Batch {
	return &Batch{engine: e, first: int(e.batches.Add(1)) * 7, parts: make([]part, len(e.shards))}
}

// state returns what the engine knows of g.
func (e *Engine) state(g *Group) *groupState {
	if states := *e.states.Load(); g.index < len(states) && states[g.index] != nil {
		return states[g.index]
	}
	e.making.Lock()
	defer e.making.Unlock()
	states := *e.states.Load()
	if g.index < len(states) && states[g.index] != nil {
		return states[g.index]
	}
	more := make([]*groupState, max(len(states), g.index+1))
	copy(more, states)
	more[g.index] = e.newState(g)
	e.states.Store(&more)
	return more[g.index]
}

func (e *Engine) newState(g *Group) *groupState {
	s := &groupState{group: g, high: g.HighWater, low: g.LowWater, horizon: uint32(e.cfg.NewKeyHorizon / time.Second)}
	up := func(n, of int64) int64 { return max((n+of-1)/of, 1) * of }
	s.bucket = up(int64(g.Bucket), e.window)
	topper := g.TopperBucket
	if e.cfg.TopperBucket > 0 {
		topper = e.cfg.TopperBucket
	}
	s.topper = up(int64(topper), s.bucket)
	if s.high == 0 {
		s.high, s.low = e.cfg.HighWater, e.cfg.LowWater
	}
	if s.low <= 0 || s.low > s.high {
		s.low = s.high * 4 / 5
	}
	s.ceiling = 2 * s.high
	return s
}

// Start begins ticking with the wall clock.
func (e *Engine) Start(context.Context) error {
	e.stop, e.stopped = make(chan struct{}), make(chan struct{})
	go e.run()
	return nil
}

// Stop ends the ticking and flushes the windows that have not ended, as of their end. Producers are to be stopped before. It
// returns the error of ctx when the stages take longer than ctx allows.
func (e *Engine) Stop(ctx context.Context) error {
	if e.stop == nil {
		return nil // never started
	}
	close(e.stop)
	select {
	case <-e.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Watch asks for the seconds of a group: for the values of the keys updated in each (Stage.Second with Values), for its new keys, or both.
// It begins with the next second and ends with the call of release. Seconds nobody watches cost nothing.
func (e *Engine) Watch(g *Group, updates, newKeys bool) (release func()) {
	s := e.state(g)
	count := func(n int32) {
		if updates {
			s.watchers[0].Add(n)
		}
		if newKeys {
			s.watchers[1].Add(n)
		}
	}
	count(1)
	return sync.OnceFunc(func() { count(-1) })
}

// Tick closes the second [t-1, t), delivers it to the stages, and flushes when it ends a window. It counts updates sent before. Seconds between the
// last tick and t are closed one after the other; a gap of more than ten windows flushes once and is skipped. A t that
// is not after the last one does nothing: windows never go back (specification 9).
func (e *Engine) Tick(t int64) {
	e.ticking.Lock()
	defer e.ticking.Unlock()
	if e.last == 0 {
		e.last = t - 1
	}
	if t-e.last > maxGap*e.window {
		end := e.windowEnd(e.last)
		e.clock.Warn("the clock jumped forward: the running windows were flushed, the gap is skipped", "from", e.last, "to", t)
		e.second(end, true)
		e.last = t
		e.begin(t)
		return
	}
	for e.last < t {
		e.second(e.last+1, false)
	}
}

// Finish ends data time: it flushes what has not been flushed, and once more one window later, so that what scripts made
// of the last windows is flushed as well (specification 4.2).
func (e *Engine) Finish() {
	e.ticking.Lock()
	defer e.ticking.Unlock()
	if e.last == 0 || e.finished {
		return
	}
	e.finished = true
	if e.filled() {
		e.secondsTo(e.windowEnd(e.last))
	}
	e.secondsTo(e.windowEnd(e.last))
	e.close()
}

// secondsTo closes all seconds up to end, which ends every bucket.
func (e *Engine) secondsTo(end int64) {
	for e.last < end-1 {
		e.second(e.last+1, false)
	}
	e.second(end, true)
}

// windowEnd is the end of the window that follows the second t.
func (e *Engine) windowEnd(t int64) int64 { return (t/e.window + 1) * e.window }

// passed accounts for values that were applied.
func (e *Engine) passed(values int, lost losses) {
	e.ledger.Passed(values - lost.noRoom - lost.gone)
	e.reasons[keyLimit].Add(lost.noRoom)
	e.reasons[groupGone].Add(lost.gone)
}

// close lets nothing more in from stages.
func (e *Engine) close() { e.reasons[shutdown].Add(e.queue.close()) }

// filled reports whether any group holds something that was not flushed, or updates wait.
func (e *Engine) filled() bool {
	if e.queue.len() > 0 {
		return true
	}
	for i := range e.shards {
		s := &e.shards[i]
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, t := range s.tables {
			if t != nil && (len(t.live[ofBucket].owners) > 0 || t.refused != nil) {
				return true
			}
		}
	}
	return false
}
