package front

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Target is one driver that points are written to.
type Target struct {
	Name   string // of its entry in timeseries.write
	Driver timeseries.Driver

	// Local says that Setup tells whether points can be taken now, as it does of the
	// embedded store. The others have queues of their own: they are set up
	// in the background, again and again until it works, and nobody waits for it.
	Local bool
}

// Failing is implemented by drivers that know why they do not work now, such as
// a server that cannot be reached. It may be called from any goroutine.
type Failing interface {
	Failure() error // nil when all is well
}

// Drivers writes to every target and reads from one of them (R21). It is a
// timeseries.Driver itself, and what the sources of the daemon write to. Its methods may be called from
// any goroutine; a panic of a driver becomes an error, logged and counted.
type Drivers struct {
	targets []*target
	read    *target // nil when nothing can be read
	log     *slog.Logger
	now     func() time.Time
}

var (
	_ timeseries.Driver  = (*Drivers)(nil)
	_ timeseries.Catalog = (*Drivers)(nil)
)

// How long drivers may take, so that one that hangs does not hold up the others for ever.
const (
	appendPatience = 10 * time.Second // when there are several targets
	upkeepPatience = 2 * time.Minute  // one Setup, Export or DeleteOld
	firstRetry     = 5 * time.Second  // of a Setup that failed; then twice as long every time
	lastRetry      = 5 * time.Minute
)

// errNothingToRead is the answer to questions when no driver is read from.
var errNothingToRead = errors.New("no driver answers questions: timeseries.read names none")

// target is a Target with what is known of it.
type target struct {
	Target
	log    *slog.Logger
	warn   *telemetry.Limited
	panics atomic.Int64

	// With several targets each has a ledger.
	ledger                    *telemetry.Ledger
	refused, failed, panicked *telemetry.Discard

	upkeep  sync.Mutex // one Setup, Export or DeleteOld at a time
	ready   bool       // Setup has worked
	retry   time.Time  // when Setup is tried again
	pause   time.Duration
	failure atomic.Pointer[failure] // the last one; nil after a success
}

// failure is what went wrong last.
type failure struct {
	err error
	at  time.Time
}

// NewDrivers returns Drivers over targets with different names; read is the name
// of the one that answers, "" for none. With several targets each has a ledger
// "timeseries.NAME" of points. registry takes one Drivers.
func NewDrivers(targets []Target, read string, registry *telemetry.Registry, log *slog.Logger) *Drivers {
	d := &Drivers{log: log, now: time.Now}
	for _, t := range targets {
		made := &target{Target: t, log: log, warn: telemetry.NewLimited(log, time.Minute, 5)}
		if len(targets) > 1 {
			made.ledger = registry.Ledger("timeseries."+t.Name, "points")
			made.refused, made.failed, made.panicked = made.ledger.Reason("refused"), made.ledger.Reason("failed"), made.ledger.Reason("panicked")
		}
		d.targets = append(d.targets, made)
		if t.Name == read {
			d.read = made
		}
	}
	registry.Counter("weir_timeseries_panics_total", "Panics of timeseries drivers that were caught.", func() float64 {
		n := int64(0)
		for _, t := range d.targets {
			n += t.panics.Load()
		}
		return float64(n)
	})
	return d
}

// caught is deferred around every call of a driver: a panic becomes an error.
func (t *target) caught(doing string, err *error) {
	if p := recover(); p != nil {
		*err = t.panic(doing, p)
	}
}

func (t *target) panic(doing string, value any) error {
	t.panics.Add(1)
	t.log.Error("a timeseries driver panicked", "driver", t.Name, "call", doing, "panic", value, "stack", string(debug.Stack()))
	return &panicError{t.Name, doing, value}
}

type panicError struct {
	driver, doing string
	value         any
}

func (e *panicError) Error() string {
	return fmt.Sprintf("the timeseries driver %s panicked in %s: %v", e.driver, e.doing, e.value)
}

// note remembers how a write went, for Status.
func (t *target) note(err error, now time.Time) {
	var some *timeseries.AppendError
	switch {
	case err == nil || errors.As(err, &some): // points were refused, the driver works
		if t.failure.Load() != nil {
			t.failure.Store(nil)
		}
	default:
		t.failure.Store(&failure{err, now})
	}
}

// Append implements timeseries.Driver. Every target gets the points, also after
// one has failed. With several targets the error is a *timeseries.AppendError: as
// many points as the worst target refused are somewhere missing.
func (d *Drivers) Append(ctx context.Context, points []timeseries.Point) error {
	if len(d.targets) == 1 {
		return d.targets[0].append(ctx, points)
	}
	var all timeseries.AppendError
	var errs []error
	for _, t := range d.targets {
		refused, err := t.count(ctx, points, d.now)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
			all.Refused = max(all.Refused, refused)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	all.First = errors.Join(errs...)
	return &all
}

func (t *target) append(ctx context.Context, points []timeseries.Point) (err error) {
	defer t.caught("append", &err)
	return t.Driver.Append(ctx, points)
}

// count appends and keeps the books. refused is how many points are not in the target.
func (t *target) count(ctx context.Context, points []timeseries.Point, now func() time.Time) (refused int, err error) {
	ctx, cancel := context.WithTimeout(ctx, appendPatience)
	defer cancel()
	t.ledger.Received(len(points))
	err = t.append(ctx, points)
	t.note(err, now())
	var some *timeseries.AppendError
	var panicked *panicError
	reason := t.failed
	switch refused = len(points); {
	case err == nil:
		refused = 0
	case errors.As(err, &some):
		refused, reason = min(some.Refused, len(points)), t.refused
	case errors.As(err, &panicked):
		reason = t.panicked
	}
	t.ledger.Passed(len(points) - refused)
	reason.Add(refused)
	if err != nil {
		t.warn.Warn("a timeseries driver did not take points", "driver", t.Name, "points", refused, "error", err)
	}
	return refused, err
}

// Setup implements timeseries.Driver: it sets up local targets and returns why one
// of them cannot take points. The others are set up by Export.
func (d *Drivers) Setup(ctx context.Context) error {
	var errs []error
	for _, t := range d.targets {
		if t.Local {
			errs = append(errs, t.setup(ctx))
		}
	}
	return errors.Join(errs...)
}

func (t *target) setup(ctx context.Context) (err error) {
	defer t.caught("setup", &err)
	return t.Driver.Setup(ctx)
}

// Export implements timeseries.Driver. Targets that are not set up yet are set up
// first, those that fail again after longer and longer pauses.
func (d *Drivers) Export(ctx context.Context) error {
	return d.each(ctx, func(ctx context.Context, t *target) (err error) {
		defer t.caught("export", &err)
		if now := d.now(); !t.Local && !t.ready {
			if now.Before(t.retry) {
				return nil
			}
			if err := t.setup(ctx); err != nil {
				t.pause = min(max(2*t.pause, firstRetry), lastRetry)
				t.retry = now.Add(t.pause)
				err = fmt.Errorf("cannot set up: %w", err)
				t.note(err, now)
				return err
			}
			t.ready = true
			t.note(nil, now)
		}
		return t.Driver.Export(ctx)
	})
}

// DeleteOld implements timeseries.Driver.
func (d *Drivers) DeleteOld(ctx context.Context, now int64) error {
	return d.each(ctx, func(ctx context.Context, t *target) (err error) {
		defer t.caught("deleteOldData", &err)
		return t.Driver.DeleteOld(ctx, now)
	})
}

// each calls f for every target at once. One whose last upkeep still runs is left out.
func (d *Drivers) each(ctx context.Context, f func(context.Context, *target) error) error {
	ctx, cancel := context.WithTimeout(ctx, upkeepPatience)
	defer cancel()
	errs := make([]error, len(d.targets))
	var all sync.WaitGroup
	for i, t := range d.targets {
		if !t.upkeep.TryLock() {
			continue
		}
		all.Go(func() {
			defer t.upkeep.Unlock()
			if err := f(ctx, t); err != nil {
				errs[i] = fmt.Errorf("%s: %w", t.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Delete implements timeseries.Driver: in every target, also after one has failed.
func (d *Drivers) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	var errs []error
	for _, t := range d.targets {
		if err := t.delete(ctx, prefix, tags); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (t *target) delete(ctx context.Context, prefix string, tags timeseries.Tags) (err error) {
	defer t.caught("delete", &err)
	return t.Driver.Delete(ctx, prefix, tags)
}

// Query implements timeseries.Driver.
func (d *Drivers) Query(ctx context.Context, q timeseries.Query) (result *timeseries.Result, err error) {
	if d.read == nil {
		return nil, errNothingToRead
	}
	defer d.read.caught("query", &err)
	return d.read.Driver.Query(ctx, q)
}

// Total implements timeseries.Driver.
func (d *Drivers) Total(ctx context.Context, q timeseries.Query) (total map[string]float64, err error) {
	if d.read == nil {
		return nil, errNothingToRead
	}
	defer d.read.caught("queryTotal", &err)
	total, err = d.read.Driver.Total(ctx, q)
	if errors.Is(err, errors.ErrUnsupported) {
		return d.read.totalOfPoints(ctx, q)
	}
	return total, err
}

// TopK implements timeseries.Driver.
func (d *Drivers) TopK(ctx context.Context, q timeseries.Query) (result *timeseries.TopResult, err error) {
	if d.read == nil {
		return nil, errNothingToRead
	}
	defer d.read.caught("topk", &err)
	result, err = d.read.Driver.TopK(ctx, q)
	if errors.Is(err, errors.ErrUnsupported) {
		return d.read.topOfPoints(ctx, q)
	}
	return result, err
}

// LatestTimestamp implements timeseries.Driver.
func (d *Drivers) LatestTimestamp(ctx context.Context) (t int64, err error) {
	if d.read == nil {
		return 0, errNothingToRead
	}
	defer d.read.caught("getLatestTimestamp", &err)
	return d.read.Driver.LatestTimestamp(ctx)
}

// List implements timeseries.Driver.
func (d *Drivers) List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		if d.read == nil {
			yield(nil, errNothingToRead)
			return
		}
		if err := d.read.list(ctx, q, yield); err != nil {
			yield(nil, err)
		}
	}
}

// list returns the error of a panic of the driver. One of yield is the caller's own and goes through.
func (t *target) list(ctx context.Context, q timeseries.ListQuery, yield func(timeseries.Tags, error) bool) (err error) {
	theirs := false
	defer func() {
		if theirs {
			return
		}
		if p := recover(); p != nil {
			err = t.panic("listSeries", p)
		}
	}()
	for tags, err := range t.Driver.List(ctx, q) {
		theirs = true
		more := yield(tags, err)
		theirs = false
		if !more {
			return nil
		}
	}
	return nil
}

// Schemas implements timeseries.Catalog for the driver that is read, or, when that
// one has no catalogue, for the first target with one.
func (d *Drivers) Schemas(ctx context.Context) (schemas []*timeseries.Schema, err error) {
	if d.read == nil {
		return nil, errNothingToRead
	}
	for _, t := range append([]*target{d.read}, d.targets...) {
		if catalog, ok := t.Driver.(timeseries.Catalog); ok {
			defer t.caught("schemas", &err)
			return catalog.Schemas(ctx)
		}
	}
	return nil, fmt.Errorf("the timeseries driver %s cannot list schemas: %w", d.read.Name, errors.ErrUnsupported)
}

// Reads reports whether there is a driver to ask.
func (d *Drivers) Reads() bool { return d.read != nil }

// TargetStatus is how a target does.
type TargetStatus struct {
	Name    string
	Reads   bool      // questions are answered from it
	Failure error     // why it does not work now, nil when it does
	Since   time.Time // of the last failure, zero when the driver only says so itself
}

// Status is how every target does, in their order.
func (d *Drivers) Status() []TargetStatus {
	all := make([]TargetStatus, len(d.targets))
	for i, t := range d.targets {
		all[i] = TargetStatus{Name: t.Name, Reads: t == d.read}
		if failed := t.failure.Load(); failed != nil {
			all[i].Failure, all[i].Since = failed.err, failed.at
		} else if own, ok := t.Driver.(Failing); ok {
			all[i].Failure = own.Failure()
		}
	}
	return all
}
