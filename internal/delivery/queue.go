package delivery

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
)

// RecordBytes is about how long a record of a Queue should be.
const RecordBytes = 256 << 10

const (
	batchBytes  = 1 << 20 // of the queue are taken at once
	batchItems  = 10_000  // are sent at once, unless a Config says otherwise
	sendTime    = 30 * time.Second
	firstPause  = 500 * time.Millisecond // before items are sent again; then twice as long every time
	lastPause   = time.Minute
	longestWait = 15 * time.Minute // whatever the server says
	stopTime    = 2 * time.Second  // for what waits when Weir stops and the server works
)

// StopPatience is how long Queue.Stop takes at most.
const StopPatience = stopTime + time.Second

// Config says what a Queue is for.
type Config struct {
	Name     string // of where the items go: in the log and in metrics
	Dir      string // of the queue; made when it is missing
	MaxBytes int64  // the queue may take; 0 means 512 MB
	Batch    int    // items that are sent at once; 0 means 10 000

	// How metrics call it: their names begin with Figures, such as "weir_remote", and have the
	// label Label with Name. What is meant by Name and by an item is for the log and for help.
	Figures, Label, Target string
	Items                  string

	Ledger   *telemetry.Ledger // in items
	Registry *telemetry.Registry
	Log      *slog.Logger
}

// Content is what the records of a Queue hold: items of type T.
type Content[T any] interface {
	// Decode appends the items in a record to dst. After an error dst is as it was. Items
	// may refer to the record.
	Decode(dst []T, record []byte) ([]T, error)

	// Send stores items. After a *Rejected, which says that something is wrong with the
	// items, fewer of them are sent; after any other error, such as a *Later, the same ones once
	// more. Items may come again that are stored, and must then do no harm.
	Send(ctx context.Context, items []T) error

	// Refused is what is written down of items that are rejected, one text of JSON in a line
	// for each, and what the log says about them besides.
	Refused(items []T, reason string) (lines []byte, about []any, err error)
}

// Queue holds items on disk until a server has them: records of them are appended from any
// goroutine and sent by one of its own. When it is full, records are refused and
// counted; those that were taken are never dropped for newer ones, because their writer was told they are safe.
type Queue[T any] struct {
	cfg     Config
	content Content[T]
	warn    *telemetry.Limited
	aside   *quarantine

	full, failed, rejected, damaged *telemetry.Discard
	sends, failures                 atomic.Int64
	failure                         atomic.Pointer[error] // the last one; nil after a success
	waiting                         atomic.Int64          // items that the ledger knows of and that are not done

	mu        sync.Mutex
	spool     *spool.Spool  // nil when it does not run
	inherited int64         // records that were there at the start and are not done
	appended  int64         // records, those included
	done      int64         // of them
	progress  chan struct{} // closed and replaced when done grows

	stop  context.CancelFunc
	ended chan struct{}
}

// New returns a Queue that does nothing before Start. The registry takes one for each name.
func New[T any](cfg Config, content Content[T]) *Queue[T] {
	if cfg.Batch == 0 {
		cfg.Batch = batchItems
	}
	q := &Queue[T]{
		cfg: cfg, content: content, warn: telemetry.NewLimited(cfg.Log, time.Minute, 5), progress: make(chan struct{}), aside: newQuarantine(cfg.Dir),
	}
	reason := cfg.Ledger.Reason
	q.full, q.failed, q.rejected, q.damaged = reason("queue_full"), reason("queue_failed"), reason("rejected"), reason("damaged")
	cfg.Ledger.Hold(q.waiting.Load)
	cfg.Registry.Register(newFigures(q))
	return q
}

// Start opens the queue and begins to send what waits in it.
func (q *Queue[T]) Start() error {
	s, err := spool.Open(q.cfg.Dir, spool.Config{MaxBytes: q.cfg.MaxBytes, Log: q.cfg.Log})
	if err != nil {
		return err
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

// Stop gives what waits a moment to be delivered, unless the server is known not to work.
// What is not delivered is sent after the next start.
func (q *Queue[T]) Stop(ctx context.Context) error {
	if q.failure.Load() == nil {
		moment, cancel := context.WithTimeout(ctx, stopTime)
		_ = q.Flush(moment) // or later
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

// Append puts a record with n items on disk. When it fails they are counted as
// lost, and are not in the queue.
func (q *Queue[T]) Append(record []byte, n int) error {
	if n == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cfg.Ledger.Received(n)
	err := error(spool.ErrClosed)
	if q.spool != nil {
		q.waiting.Add(int64(n))
		if err = q.spool.Append(record); err == nil {
			q.appended++
			return nil
		}
		q.waiting.Add(-int64(n))
	}
	reason := q.failed
	if errors.Is(err, spool.ErrFull) {
		reason = q.full
	}
	reason.Add(n)
	return fmt.Errorf("cannot queue %s for %s: %w", q.cfg.Items, q.cfg.Name, err)
}

// Flush waits until what was appended before is delivered or set aside.
func (q *Queue[T]) Flush(ctx context.Context) error {
	q.mu.Lock()
	want := q.appended
	for q.spool != nil && q.done < want {
		left, progress := want-q.done, q.progress
		q.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("%d records are not delivered to %s yet: %w", left, q.cfg.Name, errors.Join(ctx.Err(), q.Failure()))
		}
		q.mu.Lock()
	}
	q.mu.Unlock()
	return nil
}

// run sends what is in the queue until ctx ends.
func (q *Queue[T]) run(ctx context.Context, s *spool.Spool) {
	var items []T
	for {
		b, err := s.Next(ctx, batchBytes)
		if err != nil {
			return
		}
		items = q.decode(items[:0], b)
		for part := range slices.Chunk(items, q.cfg.Batch) {
			if err := q.deliver(ctx, part); err != nil {
				return // ctx has ended, and the batch comes again
			}
		}
		if err := b.Done(); err != nil {
			q.warn.Warn(q.cfg.Items+" may be delivered to "+q.cfg.Target+" again after a restart", q.cfg.Label, q.cfg.Name, "error", err)
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
func (q *Queue[T]) settle() {
	if q.spool == nil || q.spool.Len() > 0 {
		return
	}
	if lost := q.waiting.Swap(0); lost > 0 {
		q.damaged.Add(int(lost))
	}
	q.done, q.inherited = q.appended, 0
}

// decode returns the items of a batch. Those from before the start enter the ledger now.
func (q *Queue[T]) decode(dst []T, b *spool.Batch) []T {
	q.mu.Lock()
	inherited := q.inherited
	q.inherited = max(inherited-int64(len(b.Records)), 0)
	q.mu.Unlock()
	for i, record := range b.Records {
		before := len(dst)
		var err error
		if dst, err = q.content.Decode(dst, record); err != nil {
			err = errors.Join(err, q.aside.keep(record))
			q.warn.Warn("a record of the queue of "+q.cfg.Target+" cannot be read and is set aside", q.cfg.Label, q.cfg.Name, "bytes", len(record), "error", err)
			continue
		}
		if n := len(dst) - before; int64(i) < inherited {
			q.cfg.Ledger.Received(n)
			q.waiting.Add(int64(n))
		}
	}
	return dst
}

// deliver sends items until the server has them. When it rejects some of them it
// looks for those by halves, and sets them aside. It fails only when ctx ends.
func (q *Queue[T]) deliver(ctx context.Context, items []T) error {
	err := q.persist(ctx, items)
	var rejected *Rejected
	switch {
	case err == nil:
		q.cfg.Ledger.Passed(len(items))
	case !errors.As(err, &rejected):
		return err
	case len(items) > 1 && !rejected.All:
		half := len(items) / 2
		if err := q.deliver(ctx, items[:half]); err != nil {
			return err
		}
		return q.deliver(ctx, items[half:])
	default:
		lines, about, err := q.content.Refused(items, rejected.Reason)
		err = errors.Join(err, q.aside.write(lines))
		q.rejected.Add(len(items))
		about = append([]any{q.cfg.Label, q.cfg.Name, q.cfg.Items, len(items), "file", q.aside.path}, about...)
		q.warn.Warn(q.cfg.Target+" rejects "+q.cfg.Items+", which are set aside", append(about, "reason", rejected.Reason, "error", err)...)
	}
	q.waiting.Add(-int64(len(items)))
	return nil
}

// persist sends items, after failures again and again, with longer and longer
// pauses. It fails when they are rejected and when ctx ends.
func (q *Queue[T]) persist(ctx context.Context, items []T) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := q.once(ctx, items)
		var rejected *Rejected
		if err == nil || errors.As(err, &rejected) { // either way the server works
			if q.failure.Swap(nil) != nil {
				q.cfg.Log.Info(q.cfg.Target+" works again", q.cfg.Label, q.cfg.Name)
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
		q.warn.Warn("cannot deliver "+q.cfg.Items+" to "+q.cfg.Target+", which are sent again", q.cfg.Label, q.cfg.Name, q.cfg.Items, len(items), "after", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (q *Queue[T]) once(ctx context.Context, items []T) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	q.sends.Add(1)
	return q.content.Send(ctx, items)
}

// Failure is why items cannot be delivered now, nil when they can.
func (q *Queue[T]) Failure() error {
	if err := q.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// stats are the figures of the queue; zero when it does not run.
func (q *Queue[T]) stats() (s spool.Stats, sends, failures int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.MaxBytes = q.cfg.MaxBytes
	if q.spool != nil {
		q.settle()
		s = q.spool.Stats()
	}
	return s, q.sends.Load(), q.failures.Load()
}

// Waiting is how many items wait, as far as the ledger knows of them, and what they take on disk.
func (q *Queue[T]) Waiting() (items, bytes int64) {
	s, _, _ := q.stats()
	return q.waiting.Load(), s.Bytes
}
