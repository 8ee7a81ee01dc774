package connector

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
)

// QueuePrefix and the name of a connector are the name of its position in the stream.
const QueuePrefix = "connector."

const (
	ackDelay  = 20 * time.Millisecond // of a position that makes no room the script needs
	ackRetry  = time.Second           // after a position could not be stored
	logPeriod = 1 * time.Minute       // of the limit of the same warning
)

// Connector is the daemon half: it feeds one script from its position in the stream.
type Connector struct {
	setup      Setup // as it was at first: Reload changes neither the name nor the files
	stream     *stream.Stream
	seed       func(io.Writer) error // nil without SeedFrom
	supervisor *script.Supervisor
	ledger     *telemetry.Ledger
	setAside   *telemetry.Discard
	log        *slog.Logger
	dropped    *telemetry.Discard
	limited    *telemetry.Limited

	ctx      context.Context
	cancel   context.CancelFunc
	feeding  sync.WaitGroup
	storing  sync.WaitGroup
	consumer *stream.Consumer

	taken   atomic.Uint64         // number of the last event the script was ever sent
	counted atomic.Uint64         // number of the last event that counts as passed, set aside or dropped
	gaps    gaps                  // behind counted
	acked   atomic.Uint64         // what the script acknowledged
	wake    chan struct{}         // acked has grown, or an event was left out
	proved  chan struct{}         // acked has grown, for who waits for a sign of life
	ready   chan *script.Process  // the newest process that has not been fed
	ended   atomic.Pointer[ender] // of the process that is fed

	settling sync.Mutex // one settle at a time
	cache    cacheStats

	mu sync.Mutex // for what follows
	suspects
}

// ender ends the feeding of a process.
type ender struct{ cancel context.CancelFunc }

// New returns a connector. Nothing runs before Start.
func New(setup Setup, budget script.Budget, events *stream.Stream, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger) *Connector {
	log = log.With("connector", setup.Name)
	c := &Connector{
		setup: setup, stream: events, log: log,
		ledger:  reg.Ledger("connector."+setup.Name, "events"),
		limited: telemetry.NewLimited(log, logPeriod, 5),
		wake:    make(chan struct{}, 1), proved: make(chan struct{}, 1), ready: make(chan *script.Process, 1),
	}
	c.setAside, c.dropped = c.ledger.Reason("quarantined"), c.ledger.Reason("dropped")
	if setup.Quarantine != "" {
		c.quarantine = script.NewQuarantine(setup.Quarantine)
	}
	c.begin(setup)
	c.supervisor = script.New(c.spec(setup, budget), c, scripts, log)
	return c
}

func (c *Connector) spec(setup Setup, budget script.Budget) script.Spec {
	payload, err := json.Marshal(setup)
	if err != nil {
		panic("BUG: cannot encode a setup: " + err.Error())
	}
	return script.Spec{Name: setup.Name, API: API, Path: setup.Script, Setup: payload, Budget: budget, Quarantine: c.quarantine}
}

// SeedFrom gives a connector that has no broker cache yet one to begin with (section 7, number 4):
// save writes it, in the form of broker.Cache. It is called before Start.
func (c *Connector) SeedFrom(save func(io.Writer) error) { c.seed = save }

// sow makes the file of the broker cache when there is none.
func (c *Connector) sow() (err error) {
	if _, err := os.Stat(c.setup.Cache); c.seed == nil || c.setup.Cache == "" || !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	file, err := os.CreateTemp(filepath.Dir(c.setup.Cache), filepath.Base(c.setup.Cache)+".new-*")
	if err == nil {
		err = errors.Join(c.seed(file), file.Sync(), file.Close())
		if err == nil {
			err = os.Rename(file.Name(), c.setup.Cache)
		}
		if err != nil {
			os.Remove(file.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make the broker cache of a new connector: %w", err)
	}
	return nil
}

// Start opens the position in the stream and starts the script. The stream must run.
func (c *Connector) Start(ctx context.Context) error {
	if c.setup.Cache != "" {
		if err := os.MkdirAll(filepath.Dir(c.setup.Cache), 0o750); err != nil {
			return fmt.Errorf("cannot make the directory of the broker cache: %w", err)
		}
	}
	consumer, err := c.stream.Consumer(ctx, QueuePrefix+c.setup.Name)
	if err != nil {
		return err
	}
	if err := c.sow(); err != nil { // after the position: what comes later, the script learns itself
		return err
	}
	if c.quarantine != nil {
		if err := c.quarantine.Open(); err != nil {
			return err
		}
	}
	consumer.Limit(c.queue)
	c.consumer = consumer
	at := consumer.Acked()
	c.acked.Store(at)
	c.counted.Store(at)
	// A connector of this name may have run before in this process, and given back what it had taken.
	account := c.ledger.Snapshot()
	c.taken.Store(at + uint64(account.Received-account.Passed-account.Lost()))
	c.ledger.Hold(func() int64 { return int64(c.taken.Load() - c.counted.Load()) })
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.supervisor.Start(ctx); err != nil {
		c.cancel()
		return c.close(err)
	}
	c.feeding.Go(c.feed)
	c.storing.Go(c.store)
	return nil
}

func (c *Connector) close(err error) error {
	if c.quarantine != nil {
		if failed := c.quarantine.Close(); err == nil {
			err = failed
		}
	}
	return err
}

// Stop ends the script in order: it gets what was sent to it, a last flush, and
// what it acknowledges is stored. The rest comes again after the next Start.
func (c *Connector) Stop(ctx context.Context) error {
	c.cancel()
	c.feeding.Wait()
	err := c.supervisor.Stop(ctx)
	close(c.wake) // no frame comes after Stop
	c.storing.Wait()
	c.settle()
	return c.close(err)
}

// Reload starts the script anew, as it is now and with another setup, beside the one that runs.
// When it has loaded it takes over, with what the other one has not acknowledged. After an
// error the other one goes on, and setup is forgotten. The name, the files of the cache and
// of the quarantine cannot change.
func (c *Connector) Reload(ctx context.Context, setup Setup, budget script.Budget) error {
	if err := c.supervisor.Reload(ctx, c.spec(setup, budget)); err != nil {
		return err
	}
	c.begin(setup)
	c.consumer.Limit(setup.Queue)
	return nil
}

// OnReady implements script.Handler.
func (c *Connector) OnReady(p *script.Process) {
	c.cache.next()
	select {
	case <-c.ready: // one that was never fed
	default:
	}
	c.ready <- p
}

// OnFrame implements script.Handler.
func (c *Connector) OnFrame(kind byte, payload []byte) {
	if kind == kindCache && c.cache.heard(payload) == nil {
		return
	}
	if kind != kindAck || len(payload) != 8 {
		c.limited.Warn("the script host sent a frame that makes no sense", "kind", kind, "bytes", len(payload))
		return
	}
	before, through := c.acked.Load(), binary.BigEndian.Uint64(payload)
	if through <= before {
		return
	}
	if taken := c.taken.Load(); through > taken {
		c.limited.Warn("the script host acknowledged events that it was not sent: that is left out", "through", through, "sent", taken)
		return
	}
	c.acked.Store(through)
	c.clear(before+1, int(through-before))
	signal(c.wake)
	signal(c.proved)
}

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// OnExit implements script.Handler.
func (c *Connector) OnExit(e *script.Exit) {
	c.suspect(e)
	if e := c.ended.Load(); e != nil {
		e.cancel()
	}
}

// store stores the position whenever the script acknowledges.
func (c *Connector) store() {
	for range c.wake {
		c.linger()
		for !c.settle() {
			select {
			case <-c.ctx.Done():
				return
			case <-time.After(ackRetry):
			}
		}
	}
}

// linger waits a little while the script has enough to do without the room that a stored position
// makes: to store one takes the server of the stream as long as a script takes for hundreds of events.
func (c *Connector) linger() {
	var timer <-chan time.Time
	for c.busy() {
		if timer == nil {
			timer = time.After(ackDelay)
		}
		select {
		case _, ok := <-c.wake:
			if !ok {
				return
			}
		case <-timer:
			return
		}
	}
}

// busy reports whether the script has more than a third of what it may have before it.
func (c *Connector) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	acked, taken := c.acked.Load(), c.taken.Load()
	return taken > acked && taken-acked > uint64(c.queue/3)
}

// settle stores what is acknowledged, and what was set aside right behind it, and reports whether it could.
func (c *Connector) settle() bool {
	c.settling.Lock()
	defer c.settling.Unlock()
	counted := c.counted.Load()
	through, aside := c.past(max(c.acked.Load(), counted))
	if err := c.consumer.Ack(through); err != nil {
		c.limited.Warn("cannot store the position of the connector", "error", err)
		return false
	}
	if through > counted {
		gone := c.gaps.take(through)
		c.setAside.Add(aside)
		c.dropped.Add(gone)
		c.ledger.Passed(int(through-counted) - aside - gone)
		c.counted.Store(through)
		c.forget(through)
	}
	return true
}
