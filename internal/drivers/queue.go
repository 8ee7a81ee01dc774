package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/spool"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

const (
	recordBytes = 256 << 10 // about that many in a record of the queue
	batchBytes  = 1 << 20   // of the queue are taken at once
	batchPoints = 10_000    // are sent at once
	sendTime    = 30 * time.Second
	firstPause  = 500 * time.Millisecond // before points are sent again; then twice as long every time
	lastPause   = time.Minute
	longestWait = 15 * time.Minute // whatever the store says
	stopTime    = 2 * time.Second  // for what waits when Weir stops and the store works
)

// StopPatience is how long Driver.Stop takes at most.
const StopPatience = stopTime + time.Second

// queue holds points on disk until the store has them (R20): they are appended from any
// goroutine and sent by one of its own. When it is full, points are refused and
// counted; those that were taken are never dropped for newer ones, because their writer was told they are safe.
type queue struct {
	cfg     Config
	send    func(context.Context, []timeseries.Point) error
	log     *slog.Logger
	warn    *telemetry.Limited
	catalog *catalog
	aside   *quarantine

	ledger                                   *telemetry.Ledger
	invalid, full, failed, rejected, damaged *telemetry.Discard
	sends, failures                          atomic.Int64
	failure                                  atomic.Pointer[error] // the last one; nil after a success
	newest                                   atomic.Int64          // time of a point
	waiting                                  atomic.Int64          // points that the ledger knows of and that are not done

	mu        sync.Mutex
	spool     *spool.Spool // nil when it does not run
	writer    spool.PointWriter
	inherited int64         // records that were there at the start and are not done
	appended  int64         // records, those included
	done      int64         // of them
	progress  chan struct{} // closed and replaced when done grows

	stop  context.CancelFunc
	ended chan struct{}
}

func newQueue(cfg Config, send func(context.Context, []timeseries.Point) error, registry *telemetry.Registry, log *slog.Logger) *queue {
	q := &queue{
		cfg: cfg, send: send, log: log, warn: telemetry.NewLimited(log, time.Minute, 5), progress: make(chan struct{}),
		catalog: newCatalog(cfg.Dir), aside: newQuarantine(cfg.Dir), ledger: registry.Ledger("remote."+cfg.Name, "points"),
	}
	reason := q.ledger.Reason
	q.invalid, q.full, q.failed, q.rejected, q.damaged = reason("invalid"), reason("queue_full"), reason("queue_failed"), reason("rejected"), reason("damaged")
	q.ledger.Hold(q.waiting.Load)
	registry.Register(newFigures(q))
	return q
}

// start opens the queue and begins to send what waits in it.
func (q *queue) start() error {
	s, err := spool.Open(q.cfg.Dir, spool.Config{MaxBytes: q.cfg.MaxBytes, Log: q.log})
	if err != nil {
		return err
	}
	if err := q.catalog.load(); err != nil {
		q.log.Warn("the schemas of a remote store are not known until points of them come", "driver", q.cfg.Name, "error", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spool, q.inherited = s, s.Len()
	q.appended, q.done = q.inherited, 0
	q.ended = make(chan struct{})
	var ctx context.Context
	ctx, q.stop = context.WithCancel(context.Background())
	go func() {
		defer close(q.ended)
		q.run(ctx, s)
	}()
	return nil
}

// close gives what waits a moment to be delivered, unless the store is known not to work.
// What is not delivered is sent after the next start.
func (q *queue) close(ctx context.Context) error {
	if q.failure.Load() == nil {
		moment, cancel := context.WithTimeout(ctx, stopTime)
		_ = q.flush(moment) // or later
		cancel()
	}
	q.mu.Lock()
	s := q.spool
	q.spool = nil
	q.mu.Unlock()
	if s == nil {
		return nil
	}
	q.stop()
	<-q.ended
	q.mu.Lock()
	close(q.progress) // there will be none
	q.progress = make(chan struct{})
	q.mu.Unlock()
	return errors.Join(q.aside.close(), s.Close())
}

// append puts points on disk. Those that are not valid and those for which there
// is no room are refused, in a *timeseries.AppendError.
func (q *queue) append(points []timeseries.Point) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ledger.Received(len(points))
	if q.spool == nil {
		q.failed.Add(len(points))
		return fmt.Errorf("cannot queue points for %s: %w", q.cfg.Name, spool.ErrClosed)
	}
	var refused timeseries.AppendError
	refuse := func(n int, reason *telemetry.Discard, err error) {
		reason.Add(n)
		if refused.Refused += n; refused.First == nil {
			refused.First = err
		}
	}
	put := func() {
		n := q.writer.Points()
		if n == 0 {
			return
		}
		q.waiting.Add(int64(n))
		err := q.spool.Append(q.writer.Record())
		q.writer.Reset()
		if err == nil {
			q.appended++
			return
		}
		q.waiting.Add(-int64(n))
		reason := q.failed
		if errors.Is(err, spool.ErrFull) {
			reason = q.full
		}
		refuse(n, reason, fmt.Errorf("cannot queue points for %s: %w", q.cfg.Name, err))
	}
	newest := q.newest.Load()
	for i := range points {
		p := &points[i]
		err := p.Validate()
		if err == nil {
			err = q.catalog.add(p.Schema)
		}
		if err != nil {
			refuse(1, q.invalid, err)
			continue
		}
		newest = max(newest, p.Time)
		if q.writer.Add(p); len(q.writer.Record()) >= recordBytes {
			put()
		}
	}
	put()
	q.newest.Store(newest)
	if err := q.catalog.save(); err != nil {
		q.warn.Warn("cannot note the schemas of a remote store", "driver", q.cfg.Name, "error", err)
	}
	if refused.Refused > 0 {
		return &refused
	}
	return nil
}

// flush waits until what was appended before is delivered or set aside.
func (q *queue) flush(ctx context.Context) error {
	q.mu.Lock()
	want := q.appended
	for q.spool != nil && q.done < want {
		left, progress := want-q.done, q.progress
		q.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("%d records are not delivered to %s yet: %w", left, q.cfg.Name, errors.Join(ctx.Err(), q.lastFailure()))
		}
		q.mu.Lock()
	}
	q.mu.Unlock()
	return nil
}

// run sends what is in the queue until ctx ends.
func (q *queue) run(ctx context.Context, s *spool.Spool) {
	var reader spool.PointReader
	var points []timeseries.Point
	for {
		b, err := s.Next(ctx, batchBytes)
		if err != nil {
			return
		}
		points = q.decode(points[:0], b, &reader)
		for part := range slices.Chunk(points, batchPoints) {
			if err := q.deliver(ctx, part); err != nil {
				return // ctx has ended, and the batch comes again
			}
		}
		if err := b.Done(); err != nil {
			q.warn.Warn("points may be delivered to a remote store again after a restart", "driver", q.cfg.Name, "error", err)
		}
		q.mu.Lock()
		q.done += int64(len(b.Records))
		q.settle()
		close(q.progress)
		q.progress = make(chan struct{})
		q.mu.Unlock()
	}
}

// settle counts what the queue lost to damage, as soon as it is empty. It is called with mu held.
func (q *queue) settle() {
	if q.spool == nil || q.spool.Len() > 0 {
		return
	}
	if lost := q.waiting.Swap(0); lost > 0 {
		q.damaged.Add(int(lost))
	}
	q.done, q.inherited = q.appended, 0
}

// decode returns the points of a batch. Those from before the start enter the ledger now.
func (q *queue) decode(dst []timeseries.Point, b *spool.Batch, reader *spool.PointReader) []timeseries.Point {
	q.mu.Lock()
	inherited := q.inherited
	q.inherited = max(inherited-int64(len(b.Records)), 0)
	q.mu.Unlock()
	for i, record := range b.Records {
		before := len(dst)
		var err error
		if dst, err = reader.Append(dst, record); err != nil {
			err = errors.Join(err, q.aside.keep(record))
			q.warn.Warn("a record of the queue of a remote store cannot be read and is set aside", "driver", q.cfg.Name, "bytes", len(record), "error", err)
			continue
		}
		for i := range dst[before:] {
			dst[before+i].Tags = convert(dst[before+i].Tags, escape)
		}
		if n := len(dst) - before; int64(i) < inherited {
			q.ledger.Received(n)
			q.waiting.Add(int64(n))
		}
	}
	return dst
}

// deliver sends points until the store has them. When it rejects some of them it
// looks for those by halves, and sets them aside. It fails only when ctx ends.
func (q *queue) deliver(ctx context.Context, points []timeseries.Point) error {
	err := q.persist(ctx, points)
	var rejected *Rejected
	switch {
	case err == nil:
		q.ledger.Passed(len(points))
	case !errors.As(err, &rejected):
		return err
	case len(points) > 1 && !rejected.All:
		half := len(points) / 2
		if err := q.deliver(ctx, points[:half]); err != nil {
			return err
		}
		return q.deliver(ctx, points[half:])
	default:
		for i := range points {
			points[i].Tags = convert(points[i].Tags, unescape)
		}
		err := q.aside.points(points, rejected.Reason)
		q.rejected.Add(len(points))
		q.warn.Warn("a remote store rejects points, which are set aside", "driver", q.cfg.Name, "points", len(points), "file", q.aside.path,
			"first", points[0].Schema.Name, "tags", points[0].Tags, "time", points[0].Time, "reason", rejected.Reason, "error", err)
	}
	q.waiting.Add(-int64(len(points)))
	return nil
}

// persist sends points, after failures again and again, with longer and longer
// pauses. It fails when they are rejected and when ctx ends.
func (q *queue) persist(ctx context.Context, points []timeseries.Point) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := q.once(ctx, points)
		var rejected *Rejected
		if err == nil || errors.As(err, &rejected) { // either way the store works
			if q.failure.Swap(nil) != nil {
				q.log.Info("a remote store works again", "driver", q.cfg.Name)
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q.failures.Add(1)
		q.failure.Store(&err)
		wait := pause/2 + rand.N(pause/2) // not all at once, when there are many like us
		var later *Later
		if errors.As(err, &later) && later.After > 0 {
			wait = min(later.After, longestWait)
		}
		q.warn.Warn("cannot deliver points to a remote store, which are sent again", "driver", q.cfg.Name, "points", len(points), "after", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (q *queue) once(ctx context.Context, points []timeseries.Point) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	q.sends.Add(1)
	return q.send(ctx, points)
}

// lastFailure is why points cannot be delivered now, nil when they can.
func (q *queue) lastFailure() error {
	if err := q.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// stats are the figures of the queue; zero when it does not run.
func (q *queue) stats() spool.Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.spool == nil {
		return spool.Stats{MaxBytes: q.cfg.MaxBytes}
	}
	q.settle()
	return q.spool.Stats()
}
