package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirhq/weir/timeseries"
)

// limits of a database; tests lower them.
type limits struct {
	series   int // new ones beyond it are refused; 0: none
	resident int // series in the dictionary, besides those with rows in memory
	memory   int // bytes of rows in memory that start a checkpoint
	memtable uint64

	retention time.Duration            // see Config
	schemas   map[string]time.Duration // see Config
	rollups   []Rollup                 // sorted by step
}

// oldest is the start of the first block of sc that is kept at the time now.
func (l *limits) oldest(sc *schema, now int64) int64 {
	keep := l.retention
	if own := l.schemas[sc.Name]; own != 0 {
		keep = own
	}
	switch {
	case keep < 0:
		return 0
	case keep == 0 && sc.Step <= 5:
		keep = 7 * 24 * time.Hour
	case keep == 0:
		keep = 30 * 24 * time.Hour
	}
	return sc.start(max(now-int64(keep/time.Second), 0))
}

// database is one opening of the directory: Pebble, and what of it is in memory.
// When it fails (see recovery.go) it answers queries until another one takes its
// place.
//
// Locks are taken in this order: using, rolling, writing, mu.
type database struct {
	log    *slog.Logger
	count  *counters
	limits limits
	disk   *disk
	pebble *pebble.DB

	using   sync.RWMutex // readers hold it; close waits for them
	rolling sync.Mutex   // held by what makes or deletes slots of tiers, but for late points: one at a time
	writing sync.Mutex   // held by what writes or deletes blocks: one at a time

	mu         sync.RWMutex
	space      *sync.Cond // of mu: rows left memory, or nothing will any more
	schemas    map[string]*schema
	schemaByID map[uint32]*schema
	lastSchema uint32
	bindings   map[*timeseries.Schema]*binding
	dictionary dictionary
	removed    map[uint64]bool // series whose removal is not committed yet

	nextSeries   uint64
	seriesCount  int64
	journal      uint64 // number of the last record
	checkpointed uint64 // records up to it are in blocks
	journalBytes int    // since then
	memory       int    // bytes of rows in open blocks
	sealing      int    // bytes of rows that a checkpoint is writing
	round        uint32 // checkpoints so far
	writer       journalWriter
	row          []float64
	clock        int64  // latest time of an append, Unix seconds
	pending      *group // what the committer takes next
	closed       bool

	wake      chan struct{} // the committer has something to do
	full      chan struct{} // a checkpoint is due
	quit      chan struct{} // closed by close
	committed chan struct{} // closed when the committer is gone
	work      sync.WaitGroup

	patient atomic.Bool // being opened, and may take as long as it needs
	damage  damage
	backlog *backlog
	broken  chan struct{} // closed when the database has failed
	failure atomic.Pointer[error]
}

var (
	errClosed = errors.New("the store is stopped")
	errFenced = errors.New("this opening of the database has been given up")
)

// newDatabase returns a database to be opened.
func newDatabase(fs vfs.FS, limits limits, log *slog.Logger, count *counters) *database {
	d := &database{
		log: log, count: count, limits: limits, disk: newDisk(fs),
		schemas: make(map[string]*schema), schemaByID: make(map[uint32]*schema), bindings: make(map[*timeseries.Schema]*binding),
		dictionary: dictionary{byHash: make(map[uint64]*series), unsaved: make(map[uint64]*series)},
		removed:    make(map[uint64]bool), nextSeries: 1,
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1), quit: make(chan struct{}), committed: make(chan struct{}),
		broken: make(chan struct{}), backlog: newBacklog(),
	}
	d.space = sync.NewCond(&d.mu)
	d.disk.failed = func(err error) { d.fail("write the log", err) }
	return d
}

// open opens the database in path, and gives it up when it fails on the way or stop
// is closed first. Pebble writes tables when it opens, and tries that for ever on a
// full disk: patient lets it, otherwise that is an error.
func (d *database) open(path string, patient bool, stop <-chan struct{}) error {
	d.patient.Store(patient)
	done := make(chan error, 1)
	go func() { done <- d.openPebble(path) }()
	select {
	case err := <-done:
		return err
	case <-d.broken:
		return d.err() // Pebble may never return
	case <-stop:
		d.disk.fence()
		return errClosed
	}
}

// openPebble opens Pebble, reads what is kept in memory and starts to work.
// Whatever goes wrong inside becomes an error.
func (d *database) openPebble(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v\n%s", r, debug.Stack())
		}
		if err != nil {
			d.disk.fence()
			if d.pebble != nil {
				d.closePebble()
			}
		}
	}()
	if d.pebble, err = pebble.Open(path, d.options()); err != nil {
		return err
	}
	if err := d.readState(); err != nil {
		return err
	}
	d.patient.Store(false)
	if err := d.err(); err != nil {
		return err
	}
	go d.commit()
	d.work.Go(d.checkpoints)
	d.work.Go(func() { every(time.Second, d.quit, d.disk.syncLogs) })
	return nil
}

func (d *database) options() *pebble.Options {
	o := &pebble.Options{
		FS: d.disk,
		// Later formats write into the log up to where it was synced. Our log claims
		// to be synced when it has only reached the kernel.
		FormatMajorVersion:          pebble.FormatColumnarBlocks,
		CacheSize:                   8 << 20,
		MemTableSize:                d.limits.memtable,
		MemTableStopWritesThreshold: 1000, // see backlog
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000, // a table that cannot be compacted must not stop writes
		MaxOpenFiles:                512,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      pebbleLog{d},
		EventListener: &pebble.EventListener{
			BackgroundError: d.backgroundError, DataCorruption: d.corruption,
			WALCreated: d.backlog.created, FlushBegin: d.backlog.begun, FlushEnd: d.backlog.ended,
		},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// readState reads what is kept in memory.
func (d *database) readState() error {
	if value, closer, err := d.pebble.Get(metaSeries); err == nil {
		if len(value) == 16 {
			d.nextSeries = binary.BigEndian.Uint64(value)
			d.seriesCount = int64(binary.BigEndian.Uint64(value[8:]))
		}
		closer.Close()
	} else if !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	if value, closer, err := d.pebble.Get(metaCheckpoint); err == nil {
		if len(value) == 8 {
			d.checkpointed = binary.BigEndian.Uint64(value)
		}
		closer.Close()
	} else if !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	d.journal = d.checkpointed
	changed := d.pebble.NewBatch()
	defer changed.Close()
	it, err := d.pebble.NewIter(within([]byte{keySchema}))
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		id := binary.BigEndian.Uint32(it.Key()[1:])
		sc, err := decodeSchema(id, it.Value())
		if err != nil {
			return fmt.Errorf("schema %d cannot be read: %w", id, err)
		}
		if sc.addTiers(d.limits.rollups) {
			_ = changed.Set(schemaKey(id), sc.encode(), nil)
		}
		d.schemas[sc.Name], d.schemaByID[id] = sc, sc
		d.lastSchema = max(d.lastSchema, id)
	}
	if err := it.Error(); err != nil {
		return err
	}
	if !changed.Empty() {
		if err := d.apply(changed, true); err != nil {
			return err
		}
	}
	quarantined, err := d.countQuarantined()
	if err != nil {
		return err
	}
	d.count.quarantined.Store(quarantined)
	return d.replay()
}

// err is why the database failed, nil when it has not.
func (d *database) err() error {
	if err := d.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// fail gives this opening of the database up: nothing is written any more, those
// who wait are told. It may be called from inside Pebble with its locks held.
func (d *database) fail(doing string, err error) {
	err = fmt.Errorf("cannot %s: %w", doing, err)
	if !d.failure.CompareAndSwap(nil, &err) {
		return
	}
	d.disk.fence()
	close(d.broken)
	go func() {
		d.backlog.wake()
		d.mu.Lock()
		d.space.Broadcast()
		d.mu.Unlock()
	}()
}

// backgroundError hears of every error of a flush or compaction. Those of the
// operating system end this opening: waiting would block appends once memory
// tables are full. Others, such as a damaged table, are reported and left alone.
func (d *database) backgroundError(err error) {
	if d.err() != nil {
		return // what a failed one tries means nothing
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && !d.patient.Load() {
		d.fail("write the database", err)
		return
	}
	d.count.background.Add(1)
	d.count.warn("the database reports an error", "error", err.Error())
	time.Sleep(errorPause) // Pebble tries again at once
}

const errorPause = 20 * time.Millisecond

// corruption hears of damaged tables; those who read them go on without (see readBlock).
func (d *database) corruption(info pebble.DataCorruptionInfo) {
	d.count.warn("a table is damaged", "file", info.Path)
}

// apply commits a batch; durable waits until its record has reached the kernel.
// Pebble panics on failures it sees no way out of; that becomes the error of the
// database.
func (d *database) apply(b *pebble.Batch, durable bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(error)
			if !ok {
				cause = fmt.Errorf("%v", r)
			}
			d.fail("write the log", cause)
			err = d.err()
		}
	}()
	d.backlog.wait(func() bool { return d.err() != nil })
	if err := d.err(); err != nil {
		return err
	}
	how := pebble.NoSync
	if durable {
		how = pebble.Sync
	}
	if err := d.pebble.Apply(b, how); err != nil {
		d.fail("write the log", err)
	}
	return d.err()
}

// acquire keeps the database open until release.
func (d *database) acquire() error {
	d.using.RLock()
	d.mu.RLock()
	closed := d.closed
	d.mu.RUnlock()
	if closed {
		d.using.RUnlock()
		return errClosed
	}
	return nil
}

func (d *database) release() { d.using.RUnlock() }

// close ends the database: what is appended is committed, rows in memory become
// blocks, readers finish. When ctx ends first, it stops where it is; what was
// acknowledged is in the log.
func (d *database) close(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		var err error
		if d.err() == nil {
			err = d.checkpoint()
		}
		d.mu.Lock()
		d.closed = true
		d.space.Broadcast()
		d.mu.Unlock()
		close(d.quit)
		if d.err() == nil {
			<-d.committed
			d.work.Wait()
		}
		d.using.Lock() // readers have finished
		defer d.using.Unlock()
		if closing := d.closePebble(); err == nil {
			err = closing
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		d.disk.fence()
		return fmt.Errorf("cannot close the store in time: %w", ctx.Err())
	}
}

// closePebble closes Pebble, which may have been left in any state by a failure.
func (d *database) closePebble() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		d.disk.fence()
	}()
	return d.pebble.Close()
}

// pebbleLog receives what Pebble says. It reports failures it sees no way out of
// through Fatalf and expects the process to end; here the database ends instead.
type pebbleLog struct{ *database }

func (l pebbleLog) Infof(format string, args ...any)  {}
func (l pebbleLog) Errorf(format string, args ...any) { l.count.warn(fmt.Sprintf(format, args...)) }
func (l pebbleLog) Fatalf(format string, args ...any) {
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			l.fail("write the database", err)
			return
		}
	}
	l.fail("write the database", fmt.Errorf(format, args...))
}

// every calls do each period until quit is closed.
func every(period time.Duration, quit <-chan struct{}, do func()) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-quit:
			return
		}
	}
}
