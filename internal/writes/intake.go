package writes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// BatchPoints is how many points are appended at a time: a batch that has as many is due.
const BatchPoints = 8192

// Batch are points on their way to the driver. It is used by one goroutine.
type Batch struct {
	points []timeseries.Point
	values []float64 // memory that points refer to
}

// Add adds a point and returns its values, to be filled. The batch keeps tags until it is appended.
func (b *Batch) Add(schema *timeseries.Schema, tags []string, at int64) []float64 {
	n := len(schema.Metrics)
	if len(b.values)+n > cap(b.values) {
		b.values = make([]float64, 0, max(BatchPoints, n)) // points that are there keep what they have
	}
	b.values = b.values[:len(b.values)+n]
	values := b.values[len(b.values)-n : len(b.values) : len(b.values)]
	b.points = append(b.points, timeseries.Point{Schema: schema, Tags: tags, Time: at, Values: values})
	return values
}

// Len is how many points there are.
func (b *Batch) Len() int { return len(b.points) }

// Full reports whether it is time to append.
func (b *Batch) Full() bool { return len(b.points) >= BatchPoints }

// Reset empties the batch.
func (b *Batch) Reset() {
	clear(b.points) // tags of series that are forgotten are not kept alive
	b.points, b.values = b.points[:0], b.values[:0]
}

// Intake hands what one protocol takes in to the driver, and keeps its account in a
// ledger of points: received = passed + discarded by reason. Its methods may be called from any goroutine.
type Intake struct {
	driver          timeseries.Driver
	ledger          *telemetry.Ledger
	refused, failed *telemetry.Discard
	warn            *telemetry.Limited
	protocol        string
	waiting         atomic.Int64 // points that Insist has
}

// NewIntake returns the intake of a protocol; its ledger is "writes.PROTOCOL".
func NewIntake(protocol string, driver timeseries.Driver, reg *telemetry.Registry, log *slog.Logger) *Intake {
	ledger := reg.Ledger("writes."+protocol, "points")
	in := &Intake{
		driver: driver, ledger: ledger, refused: ledger.Reason("refused"), failed: ledger.Reason("failed"),
		warn: telemetry.NewLimited(log, time.Minute, 10), protocol: protocol,
	}
	ledger.Hold(in.waiting.Load)
	return in
}

// Reason is the counter of a reason to drop; see Discard.
func (in *Intake) Reason(reason string) *telemetry.Discard { return in.ledger.Reason(reason) }

// Discard counts n points that came and go nowhere.
func (in *Intake) Discard(reason *telemetry.Discard, n int) {
	in.ledger.Received(n)
	reason.Add(n)
}

// Warn logs something about the input, at a limited rate.
func (in *Intake) Warn(message string, args ...any) {
	in.warn.Warn(message, append(args, "protocol", in.protocol)...)
}

// Append stores the points of b and empties it. With a nil error they are durable, but
// for those that the driver refused for good, which refused says; an error means
// that the same points can be sent again later.
func (in *Intake) Append(ctx context.Context, b *Batch) (refused *timeseries.AppendError, err error) {
	if len(b.points) == 0 {
		return nil, nil
	}
	defer b.Reset()
	in.ledger.Received(len(b.points))
	return in.settle(len(b.points), in.driver.Append(ctx, b.points))
}

// How long Insist waits before it tries again: at first, and at most.
const firstPause, lastPause = 250 * time.Millisecond, 10 * time.Second

// Insist is Append for senders that get no answer: while the points cannot be stored
// it tries again, until ctx ends. Meanwhile the ledger has them as buffered.
func (in *Intake) Insist(ctx context.Context, b *Batch) {
	n := len(b.points)
	if n == 0 {
		return
	}
	defer b.Reset()
	in.ledger.Received(n)
	in.waiting.Add(int64(n))
	defer in.waiting.Add(-int64(n))
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := in.driver.Append(ctx, b.points)
		if err == nil || final(err) || ctx.Err() != nil {
			_, _ = in.settle(n, err) // counted and logged
			return
		}
		in.Warn("cannot store points, trying again", "points", n, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// settle counts what became of n points.
func (in *Intake) settle(n int, err error) (refused *timeseries.AppendError, failure error) {
	switch {
	case err == nil:
		in.ledger.Passed(n)
		return nil, nil
	case final(err) && errors.As(err, &refused):
		dropped := min(refused.Refused, n)
		in.ledger.Passed(n - dropped)
		in.refused.Add(dropped)
		in.Warn("points were refused", "points", dropped, "error", refused.First)
		return refused, nil
	}
	in.failed.Add(n)
	in.Warn("points were not stored", "points", n, "error", err)
	return nil, &Failure{n, err}
}

// Failure is why points could not be stored now.
type Failure struct {
	points int
	err    error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("cannot store %d points now: %v", f.points, f.err)
}
func (f *Failure) Unwrap() error { return f.err }

// final reports whether all of err is about points that will be refused again. Several
// drivers report what they refused together with what failed.
func final(err error) bool {
	var some *timeseries.AppendError
	if !errors.As(err, &some) {
		return false
	}
	if several, ok := some.First.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			if !errors.As(one, &some) {
				return false
			}
		}
	}
	return true
}
