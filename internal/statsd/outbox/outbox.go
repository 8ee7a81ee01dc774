// Package outbox is what StatsD backends share whose metrics wait on disk until a server has
// them: a flush is written to a queue, from which it is delivered (see package delivery),
// so that no server delays the next one.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/telemetry"
)

// Config says where what waits lies, and how it is accounted for.
type Config struct {
	Name     string // in metrics and in the log; another one for each backend
	Dir      string // of the queue; made when it is missing
	MaxBytes int64  // the queue may take; 0 means 512 MB
	Ledger   *telemetry.Ledger
	Registry *telemetry.Registry
	Log      *slog.Logger
}

// maxItem is the longest item in bytes; with what a record holds already it still fits in one.
const maxItem = 256 << 10

// Outbox is the part of a backend that is the same for all of them. A backend embeds
// one and has Flush besides.
type Outbox[T any] struct {
	// Record is what the items of a flush are appended to, each ended by Item.
	Record []byte

	kind    string
	unit    string
	ledger  *telemetry.Ledger
	queue   *delivery.Queue[T]
	warn    *telemetry.Limited
	content delivery.Content[T]

	infinite, long *telemetry.Discard

	start  int // of the item in Record
	items  int // in Record
	failed error

	clashes map[string]int64
	base    int64 // milliseconds
	newest  int64 // milliseconds

	lastFlush, lastException atomic.Int64 // Unix seconds
}

// New returns an Outbox for a backend of a kind, which is its name for users. Its content is
// counted in unit; batch of them are sent at once, 0 means a default.
func New[T any](kind, unit string, batch int, cfg Config, content delivery.Content[T]) *Outbox[T] {
	o := &Outbox[T]{
		kind: kind, unit: unit, ledger: cfg.Ledger, content: content, warn: telemetry.NewLimited(cfg.Log.With("backend", cfg.Name), time.Minute, 5),
		infinite: cfg.Ledger.Reason("not_finite"), long: cfg.Ledger.Reason("too_long"), clashes: make(map[string]int64),
	}
	o.queue = delivery.New(delivery.Config{
		Name: cfg.Name, Dir: cfg.Dir, MaxBytes: cfg.MaxBytes, Batch: batch, Figures: "weir_backend", Label: "backend", Target: "the server of a StatsD backend", Items: unit,
		Ledger: cfg.Ledger, Registry: cfg.Registry, Log: cfg.Log,
	}, timed[T]{content, o})
	return o
}

// Name implements [backend.Backend].
func (o *Outbox[T]) Name() string { return o.kind }

// Init implements [backend.Backend]: it opens the queue and begins to deliver what waits in it.
func (o *Outbox[T]) Init(_ context.Context, env backend.Environment) error {
	o.lastFlush.Store(env.Startup)
	if err := o.queue.Start(); err != nil {
		return fmt.Errorf("cannot start the backend %s: %w", o.kind, err)
	}
	return nil
}

// Stop implements [backend.Stopper]. What is not delivered stays in the queue on disk.
func (o *Outbox[T]) Stop(ctx context.Context) error { return o.queue.Stop(ctx) }

// Wait waits until all that was flushed is delivered, or set aside.
func (o *Outbox[T]) Wait(ctx context.Context) error { return o.queue.Flush(ctx) }

// Status implements [backend.StatusReporter].
func (o *Outbox[T]) Status(write func(stat string, value float64)) {
	waiting, bytes := o.queue.Waiting()
	write("last_flush", float64(o.lastFlush.Load()))
	write("last_exception", float64(o.lastException.Load()))
	write("waiting", float64(waiting))
	write("queue_bytes", float64(bytes))
}

// timed notes when content was sent.
type timed[T any] struct {
	delivery.Content[T]
	outbox *Outbox[T]
}

func (t timed[T]) Send(ctx context.Context, items []T) error {
	err := t.Content.Send(ctx, items)
	if err != nil {
		t.outbox.lastException.Store(time.Now().Unix())
	} else {
		t.outbox.lastFlush.Store(time.Now().Unix())
	}
	return err
}

// Begin begins a flush.
func (o *Outbox[T]) Begin(f *backend.Flush) {
	o.Record, o.start, o.items, o.failed = o.Record[:0], 0, 0, nil
	clear(o.clashes)
	o.base = max(f.Timestamp*1000, o.newest+1)
	o.newest = o.base
}

// Time is that of the flush, in milliseconds: later than those of all flushes before, of
// which there may be several in a second.
func (o *Outbox[T]) Time() int64 { return o.base }

// Apart is a time of its own, a moment after that of the flush, for a metric that
// may be the same series as another one: so none takes the place of the other. A series
// has the same name for both; only those whose name was changed on the way to the server need it.
func (o *Outbox[T]) Apart(series string) int64 {
	o.clashes[series]++
	at := o.base + o.clashes[series]
	o.newest = max(o.newest, at)
	return at
}

// Infinite counts an item that cannot be sent since it has no value that is a finite number.
func (o *Outbox[T]) Infinite(name string) {
	o.ledger.Received(1)
	o.infinite.Add(1)
	o.Record = o.Record[:o.start]
	o.warn.Warn("a metric is not a number or not finite, and is not sent", "name", name)
}

// Item ends an item.
func (o *Outbox[T]) Item(name string) {
	if len(o.Record)-o.start > maxItem {
		o.ledger.Received(1)
		o.long.Add(1)
		o.warn.Warn("a metric is too long, and is not sent", "name", name[:min(len(name), 200)], "bytes", len(o.Record)-o.start)
		o.Record = o.Record[:o.start]
		return
	}
	o.items++
	o.start = len(o.Record)
	if len(o.Record) >= delivery.RecordBytes {
		o.Put()
	}
}

// Put puts the items since the last one in the queue.
func (o *Outbox[T]) Put() {
	if err := o.queue.Append(o.Record, o.items); err != nil && o.failed == nil {
		o.failed = err
	}
	o.Record, o.start, o.items = o.Record[:0], 0, 0
}

// End ends a flush. An error means that some of it is lost.
func (o *Outbox[T]) End() error {
	o.Put()
	return o.failed
}

// Finite reports whether a value can be sent.
func Finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
