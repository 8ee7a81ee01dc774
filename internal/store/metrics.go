package store

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/telemetry"
)

// counters are what a store counts; they outlive a single opening of the database.
type counters struct {
	log    *slog.Logger
	limit  *telemetry.Limited
	ledger *telemetry.Ledger

	invalid, future, expired, full, failed, canceled *telemetry.Discard

	values      atomic.Int64 // appended
	blocks      atomic.Int64 // written
	rolled      atomic.Int64 // blocks of rollups written
	checkpoints atomic.Int64
	quarantined atomic.Int64 // records that are set aside
	background  atomic.Int64 // errors Pebble reported
	recoveries  atomic.Int64
	unreadable  atomic.Int64 // reads that met a damaged part of a table
}

func newCounters(reg *telemetry.Registry, log *slog.Logger) *counters {
	ledger := reg.Ledger("store", "points")
	return &counters{
		log: log, limit: telemetry.NewLimited(log, 10*time.Second, 5), ledger: ledger,
		invalid: ledger.Reason("invalid"),      // Point.Validate or the schema refused it
		future:  ledger.Reason("future"),       // more than a day ahead of the clock
		expired: ledger.Reason("expired"),      // older than the retention
		full:    ledger.Reason("series_limit"), // MaxSeries
		failed:  ledger.Reason("disk"),         // the database cannot be written
		// The caller did not wait any longer; points may be stored nevertheless.
		canceled: ledger.Reason("canceled"),
	}
}

func (c *counters) warn(message string, args ...any) { c.limit.Warn(message, args...) }

// register exports the figures of s.
func (s *Store) register(reg *telemetry.Registry) {
	gauge := func(name, help string, read func(Stats) float64) {
		reg.Gauge("weir_store_"+name, help, func() float64 { return read(s.Stats()) })
	}
	counter := func(name, help string, n *atomic.Int64) {
		reg.Counter("weir_store_"+name, help, func() float64 { return float64(n.Load()) })
	}
	gauge("series", "Series in the store.", func(s Stats) float64 { return float64(s.Series) })
	gauge("schemas", "Schemas in the store.", func(s Stats) float64 { return float64(s.Schemas) })
	gauge("disk_bytes", "Bytes of the database on disk.", func(s Stats) float64 { return float64(s.DiskBytes) })
	gauge("memory_bytes", "Bytes of points in memory that are in no block yet.", func(s Stats) float64 { return float64(s.MemoryBytes) })
	gauge("journal_bytes", "Bytes of journal since the last checkpoint.", func(s Stats) float64 { return float64(s.JournalBytes) })
	gauge("quarantined_blocks", "Records set aside because they could not be read.", func(s Stats) float64 { return float64(s.QuarantinedBlocks) })
	counter("appended_values_total", "Values appended.", &s.count.values)
	counter("blocks_written_total", "Blocks written, again when points were added to them.", &s.count.blocks)
	counter("rollup_blocks_written_total", "Blocks of rollups written, again when slots were added to them or points came late.", &s.count.rolled)
	counter("checkpoints_total", "Times the points in memory were written as blocks.", &s.count.checkpoints)
	counter("recoveries_total", "Times the database was opened again after a failure.", &s.count.recoveries)
	counter("unreadable_total", "Reads that met a damaged part of a table and went on without it.", &s.count.unreadable)
	counter("background_errors_total", "Errors of the database that did not stop it.", &s.count.background)
	reg.Register(&tierFigures{s, prometheus.NewDesc("weir_store_tier_bytes",
		"Bytes on disk of points (raw) and of the rollups of each schema (rollup1 the shortest), those in memory not included.", []string{"tier"}, nil)})
}

// tierFigures are the bytes of the store by tier.
type tierFigures struct {
	store *Store
	bytes *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (f *tierFigures) Describe(ch chan<- *prometheus.Desc) { ch <- f.bytes }

// Collect implements prometheus.Collector.
func (f *tierFigures) Collect(ch chan<- prometheus.Metric) {
	for tier, bytes := range f.store.tierBytes() {
		name := "raw"
		if tier != tierRaw {
			name = fmt.Sprintf("rollup%d", tier)
		}
		ch <- prometheus.MustNewConstMetric(f.bytes, prometheus.GaugeValue, float64(bytes), name)
	}
}

// tierBytes is what each tier takes on disk, by its number: nothing while the
// database cannot be asked.
func (s *Store) tierBytes() (bytes []uint64) {
	d, err := s.acquire()
	if err != nil {
		return nil
	}
	defer d.release()
	if d.err() != nil { // it may hold its locks for good
		return nil
	}
	d.mu.RLock()
	tiers := 0
	for _, sc := range d.schemas {
		tiers = max(tiers, len(sc.Tiers))
	}
	d.mu.RUnlock()
	for tier := range tiers + 1 {
		prefix := []byte{keyData, byte(tier)}
		n, err := d.pebble.EstimateDiskUsage(prefix, after(prefix))
		if err != nil {
			d.count.warn("cannot tell how much a tier takes on disk", "tier", tier, "error", err.Error())
			return bytes
		}
		bytes = append(bytes, n)
	}
	return bytes
}
