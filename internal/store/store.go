package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Config is what can be chosen about a store. The zero value of every field
// but Path means its default.
type Config struct {
	Path string // directory of the database; made when it is missing

	// Retention is how long raw points are kept, to the length of a block. 0: 7 days
	// for steps up to 5 s, 30 days otherwise; negative: forever.
	Retention time.Duration
	Schemas   map[string]time.Duration // Retention of single schemas, by name

	// Rollups are kept besides the points, longer than these; nil: DefaultRollups.
	// Each must be kept longer than the one before.
	Rollups []Rollup

	MaxSeries int // new series beyond it are refused; 0: no limit
	Memory    int // bytes of points in memory from which they are written as blocks; 0: 32 MiB
}

// Stats are figures about a store.
type Stats struct {
	Series            int64 // live series
	Schemas           int64
	DiskBytes         int64 // of the database, logs included
	MemoryBytes       int64 // points held in memory, not yet in blocks
	JournalBytes      int64 // appended since the last checkpoint
	BlocksWritten     int64 // since start
	QuarantinedBlocks int64 // records set aside because they could not be read
	AppendedValues    int64 // since start
	Recoveries        int64 // times the database was opened again after a failure
	Failure           error // why nothing can be stored now; nil when all is well
}

// Store is the embedded timeseries driver. Its methods may be called from any
// goroutine after Start.
type Store struct {
	cfg    Config
	log    *slog.Logger
	fs     vfs.FS
	now    func() time.Time
	count  *counters
	limits limits

	starting sync.Mutex // Start and Stop one at a time
	lock     io.Closer  // of the directory
	current  atomic.Pointer[database]
	quit     chan struct{}
	watching sync.WaitGroup
	disk     atomic.Int64 // bytes on disk as last read
}

var (
	_ timeseries.Driver  = (*Store)(nil)
	_ timeseries.Catalog = (*Store)(nil)
	_ timeseries.Reader  = (*Store)(nil)
)

// Defaults of Config, and what is not worth a choice.
const (
	defaultMemory   = 32 << 20
	residentSeries  = 1 << 20
	defaultMemtable = 16 << 20
)

// maxAppend is how many points are appended at a time: queries wait that long.
const maxAppend = 8192

var errNotStarted = errors.New("the store is not started")

// New returns a store that opens its database in Start. Its figures are exported
// through reg, which takes one store.
func New(cfg Config, reg *telemetry.Registry, log *slog.Logger) *Store {
	s := &Store{
		cfg: cfg, log: log, fs: vfs.Default, now: time.Now, count: newCounters(reg, log),
		limits: limits{series: cfg.MaxSeries, resident: residentSeries, memory: cfg.Memory, memtable: defaultMemtable, retention: cfg.Retention, schemas: cfg.Schemas, rollups: cfg.Rollups},
	}
	if s.limits.rollups == nil {
		s.limits.rollups = DefaultRollups
	}
	if s.limits.memory <= 0 {
		s.limits.memory = defaultMemory
	}
	s.register(reg)
	return s
}

// Start takes the lock of the directory, opens the database and brings points that
// were appended last back into memory.
func (s *Store) Start(ctx context.Context) (err error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.current.Load() != nil {
		return fmt.Errorf("cannot open store %q: it is open", s.cfg.Path)
	}
	if s.cfg.Path == "" {
		return errors.New("cannot open the store: its path is empty")
	}
	if err := s.fs.MkdirAll(s.cfg.Path, 0o755); err != nil {
		return fmt.Errorf("cannot open store %q: %w", s.cfg.Path, err)
	}
	if s.lock, err = s.fs.Lock(filepath.Join(s.cfg.Path, "LOCK")); err != nil {
		var file *fs.PathError
		if errors.As(err, &file) {
			return fmt.Errorf("cannot open store %q: %w", s.cfg.Path, err)
		}
		return fmt.Errorf("cannot open store %q: another process uses it (%w)", s.cfg.Path, err)
	}
	d := newDatabase(s.fs, s.limits, s.log, s.count)
	if err := d.open(s.cfg.Path, false, ctx.Done()); err != nil {
		s.lock.Close()
		return fmt.Errorf("cannot open store %q: %w", s.cfg.Path, cmp.Or(ctx.Err(), err))
	}
	s.quit = make(chan struct{})
	s.current.Store(d)
	s.watching.Go(s.watch)
	return nil
}

// Stop writes what is in memory as blocks and closes the database, bounded by
// ctx. Nothing that was acknowledged is lost when ctx ends first.
func (s *Store) Stop(ctx context.Context) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.current.Load() == nil {
		return nil
	}
	close(s.quit)
	s.watching.Wait()
	err := s.current.Swap(nil).close(ctx)
	if unlocking := s.lock.Close(); err == nil {
		err = unlocking
	}
	return err
}

// acquire returns the open database, which stays open until its release.
func (s *Store) acquire() (*database, error) {
	for {
		d := s.current.Load()
		if d == nil {
			return nil, errNotStarted
		}
		err := d.acquire()
		if err == nil {
			return d, nil
		}
		if s.current.Load() == d { // otherwise another one took its place
			return nil, err
		}
	}
}

// Setup implements timeseries.Driver: the error is why nothing can be stored now.
func (s *Store) Setup(ctx context.Context) error {
	d := s.current.Load()
	if d == nil {
		return errNotStarted
	}
	return d.err()
}

// Append implements timeseries.Driver. When it returns, the points have been
// written to the log file and survive the death of the process; the log is synced
// to the device every second.
func (s *Store) Append(ctx context.Context, points []timeseries.Point) error {
	if len(points) == 0 {
		return nil
	}
	s.count.ledger.Received(len(points))
	d := s.current.Load()
	if d == nil {
		s.count.failed.Add(len(points))
		return fmt.Errorf("cannot store %d points: %w", len(points), errNotStarted)
	}
	var all timeseries.AppendError
	left := len(points)
	for part := range slices.Chunk(points, maxAppend) {
		refused, err := d.append(ctx, part, s.now().Unix())
		if all.Refused += refused.Refused; all.First == nil {
			all.First = refused.First
		}
		left -= refused.Refused
		if err != nil {
			reason := s.count.failed
			if ctx.Err() != nil {
				reason = s.count.canceled
			}
			reason.Add(left)
			return fmt.Errorf("cannot store %d points: %w", left, err)
		}
		s.count.ledger.Passed(len(part) - refused.Refused)
		left -= len(part) - refused.Refused
	}
	if all.Refused > 0 {
		return &all
	}
	return nil
}

// Export implements timeseries.Driver. Nothing is buffered that it could push out.
func (s *Store) Export(ctx context.Context) error { return nil }

// LatestTimestamp implements timeseries.Driver: points are visible at once, so it is now.
func (s *Store) LatestTimestamp(ctx context.Context) (int64, error) { return s.now().Unix(), nil }

// Schemas implements timeseries.Catalog. Their metrics are all that were ever appended.
func (s *Store) Schemas(ctx context.Context) ([]*timeseries.Schema, error) {
	d, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer d.release()
	d.mu.RLock()
	defer d.mu.RUnlock()
	list := make([]*timeseries.Schema, 0, len(d.schemas))
	for _, sc := range d.schemas {
		list = append(list, sc.definition())
	}
	slices.SortFunc(list, func(a, b *timeseries.Schema) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Stats returns the figures of now.
func (s *Store) Stats() Stats {
	stats := Stats{
		BlocksWritten: s.count.blocks.Load(), QuarantinedBlocks: s.count.quarantined.Load(),
		AppendedValues: s.count.values.Load(), Recoveries: s.count.recoveries.Load(),
	}
	d, err := s.acquire()
	if err != nil {
		stats.Failure = err
		return stats
	}
	defer d.release()
	d.mu.RLock()
	stats.Series, stats.Schemas = d.seriesCount, int64(len(d.schemas))
	stats.MemoryBytes, stats.JournalBytes = int64(d.memory+d.sealing), int64(d.journalBytes)
	d.mu.RUnlock()
	if stats.Failure = d.err(); stats.Failure == nil { // a failed one may hold its locks for good
		s.disk.Store(int64(d.pebble.Metrics().DiskSpaceUsage()))
	}
	stats.DiskBytes = s.disk.Load()
	return stats
}
