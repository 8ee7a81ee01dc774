package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Config says where the queue of a Driver is.
type Config struct {
	Name     string // of the entry of timeseries.write: in the log and in metrics
	Dir      string // of the queue; made when it is missing
	MaxBytes int64  // the queue may take; 0 means 512 MB
}

// Driver is a timeseries.Driver over a remote store. Its ledger is
// "remote.NAME", in points. Its methods may be called from any goroutine.
type Driver struct {
	remote Remote
	queue  *queue
	log    *slog.Logger
}

var (
	_ timeseries.Driver  = (*Driver)(nil)
	_ timeseries.Reader  = (*Driver)(nil)
	_ timeseries.Catalog = (*Driver)(nil)
)

// deletePatience is how long Delete waits for points that are on their way.
const deletePatience = 10 * time.Second

// New returns a Driver that sends nothing before Start. registry takes one for each name.
func New(cfg Config, remote Remote, registry *telemetry.Registry, log *slog.Logger) *Driver {
	return &Driver{remote: remote, queue: newQueue(cfg, func(ctx context.Context, points []timeseries.Point) error { return remote.Send(ctx, points) }, registry, log), log: log}
}

// Start opens the queue and begins to deliver what waits in it.
func (d *Driver) Start(context.Context) error {
	if err := d.queue.start(d.log); err != nil {
		return fmt.Errorf("cannot start the timeseries driver %s: %w", d.queue.name, err)
	}
	return nil
}

// Stop ends the delivery. What is not delivered stays in the queue on disk.
func (d *Driver) Stop(ctx context.Context) error { return d.queue.Stop(ctx) }

// Flush waits until what was appended before is delivered, or set aside.
func (d *Driver) Flush(ctx context.Context) error { return d.queue.Flush(ctx) }

// Failure says why points cannot be delivered now, nil when they can.
func (d *Driver) Failure() error { return d.queue.Failure() }

// Setup implements timeseries.Driver.
func (d *Driver) Setup(ctx context.Context) error { return d.remote.Setup(ctx) }

// Append implements timeseries.Driver: it returns when the points are in the queue on disk.
func (d *Driver) Append(_ context.Context, points []timeseries.Point) error {
	return d.queue.append(points)
}

// Export implements timeseries.Driver. There is nothing to do: what is in the queue is on its way.
func (d *Driver) Export(context.Context) error { return nil }

// LatestTimestamp implements timeseries.Driver: now, or the time of the newest point when that is later.
func (d *Driver) LatestTimestamp(context.Context) (int64, error) {
	return max(time.Now().Unix(), d.queue.newest.Load()), nil
}

// Delete implements timeseries.Driver. Points that wait in the queue are delivered before.
func (d *Driver) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	if prefix == "" && len(tags) == 0 {
		return errors.New("cannot delete every series: name a prefix or a tag")
	}
	for name, value := range tags {
		if value == "" { // there, a tag without a value is one that the schema has not
			return fmt.Errorf("cannot delete series of %q whose tag %q is empty: the remote store does not know them from others", prefix, name)
		}
	}
	waiting, cancel := context.WithTimeout(ctx, deletePatience)
	defer cancel()
	if err := d.queue.Flush(waiting); err != nil {
		return fmt.Errorf("cannot delete series of %q: they would come back: %w", prefix, err)
	}
	return d.remote.Delete(ctx, prefix, escapeTags(tags))
}

// DeleteOld implements timeseries.Driver. How long points are kept is up to the store.
func (d *Driver) DeleteOld(context.Context, int64) error { return nil }

// Schemas implements timeseries.Catalog: those of which points were ever appended here.
func (d *Driver) Schemas(context.Context) ([]*timeseries.Schema, error) {
	return d.queue.catalog.list(), nil
}
