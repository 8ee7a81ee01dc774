package connector

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
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
	batchEvents = 512             // of a frame, at most
	ackRetry    = time.Second     // after a position could not be stored
	logPeriod   = 1 * time.Minute // of the limit of the same warning
)

// Connector is the daemon half: it feeds one script from its position in the stream.
type Connector struct {
	setup      Setup
	stream     *stream.Stream
	supervisor *script.Supervisor
	ledger     *telemetry.Ledger
	limited    *telemetry.Limited

	ctx      context.Context
	cancel   context.CancelFunc
	feeding  sync.WaitGroup
	storing  sync.WaitGroup
	consumer *stream.Consumer

	taken   atomic.Uint64         // number of the last event the script was ever sent
	counted atomic.Uint64         // number of the last event that counts as passed
	acked   atomic.Uint64         // what the script acknowledged
	wake    chan struct{}         // acked has grown
	ready   chan *script.Process  // the newest process that has not been fed
	ended   atomic.Pointer[ender] // of the process that is fed
}

// ender ends the feeding of a process.
type ender struct{ cancel context.CancelFunc }

// New returns a connector. Nothing runs before Start.
func New(setup Setup, budget script.Budget, events *stream.Stream, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger) *Connector {
	payload, err := json.Marshal(setup)
	if err != nil {
		panic("BUG: cannot encode a setup: " + err.Error())
	}
	c := &Connector{
		setup: setup, stream: events,
		ledger:  reg.Ledger("connector."+setup.Name, "events"),
		limited: telemetry.NewLimited(log.With("connector", setup.Name), logPeriod, 5),
		wake:    make(chan struct{}, 1), ready: make(chan *script.Process, 1),
	}
	c.ledger.Hold(func() int64 { return int64(c.taken.Load() - c.counted.Load()) })
	spec := script.Spec{Name: setup.Name, API: API, Path: setup.Script, Setup: payload, Budget: budget}
	c.supervisor = script.New(spec, c, scripts, log)
	return c
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
	consumer.Limit(c.setup.Queue)
	c.consumer = consumer
	at := consumer.Acked()
	c.acked.Store(at)
	c.taken.Store(at)
	c.counted.Store(at)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.supervisor.Start(ctx); err != nil {
		c.cancel()
		return err
	}
	c.feeding.Go(c.feed)
	c.storing.Go(c.store)
	return nil
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
	return err
}

// OnReady implements script.Handler.
func (c *Connector) OnReady(p *script.Process) {
	select {
	case <-c.ready: // one that was never fed
	default:
	}
	c.ready <- p
}

// OnFrame implements script.Handler.
func (c *Connector) OnFrame(kind byte, payload []byte) {
	if kind != kindAck || len(payload) != 8 {
		c.limited.Warn("the script host sent a frame that makes no sense", "kind", kind, "bytes", len(payload))
		return
	}
	if through := binary.BigEndian.Uint64(payload); through > c.acked.Load() {
		c.acked.Store(through)
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// OnExit implements script.Handler.
func (c *Connector) OnExit(*script.Exit) {
	if e := c.ended.Load(); e != nil {
		e.cancel()
	}
}

// feed feeds one process after the other, each from the acknowledged position.
func (c *Connector) feed() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case p := <-c.ready:
			ctx, cancel := context.WithCancel(c.ctx)
			c.ended.Store(&ender{cancel})
			c.settle()
			c.consumer.Rewind()
			c.feedTo(ctx, p)
			cancel()
		}
	}
}

// feedTo sends events to p until it has ended or ctx has.
func (c *Connector) feedTo(ctx context.Context, p *script.Process) {
	for {
		batch, err := c.consumer.Next(ctx, batchEvents)
		if err != nil {
			if ctx.Err() == nil {
				c.limited.Warn("cannot read events for the script", "error", err)
			}
			return
		}
		last := batch.First + uint64(batch.Count) - 1
		if taken := c.taken.Load(); last > taken {
			c.ledger.Received(int(last - taken))
			c.taken.Store(last)
		}
		payload := make([]byte, 0, 8+len(batch.Data))
		payload = append(binary.BigEndian.AppendUint64(payload, batch.First), batch.Data...)
		if err := p.SendWait(ctx, kindBatch, payload); err != nil {
			return // it has ended: the next one gets the events
		}
	}
}

// store stores the position whenever the script acknowledges.
func (c *Connector) store() {
	for range c.wake {
		for !c.settle() {
			select {
			case <-c.ctx.Done():
				return
			case <-time.After(ackRetry):
			}
		}
	}
}

// settle stores what is acknowledged and reports whether it could.
func (c *Connector) settle() bool {
	through := c.acked.Load()
	if err := c.consumer.Ack(through); err != nil {
		c.limited.Warn("cannot store the position of the connector", "error", err)
		return false
	}
	for {
		counted := c.counted.Load()
		if through <= counted {
			return true
		}
		if c.counted.CompareAndSwap(counted, through) {
			c.ledger.Passed(int(through - counted))
			return true
		}
	}
}
