package drivers

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/spool"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// queue holds points on disk until the store has them (R20).
type queue struct {
	*delivery.Queue[timeseries.Point]
	name    string
	ledger  *telemetry.Ledger
	invalid *telemetry.Discard
	warn    *telemetry.Limited
	catalog *catalog
	newest  atomic.Int64 // time of a point

	mu     sync.Mutex
	writer spool.PointWriter
}

func newQueue(cfg Config, send func(context.Context, []timeseries.Point) error, registry *telemetry.Registry, log *slog.Logger) *queue {
	ledger := registry.Ledger("remote."+cfg.Name, "points")
	q := &queue{name: cfg.Name, ledger: ledger, invalid: ledger.Reason("invalid"), warn: telemetry.NewLimited(log, time.Minute, 5), catalog: newCatalog(cfg.Dir)}
	q.Queue = delivery.New(delivery.Config{
		Name: cfg.Name, Dir: cfg.Dir, MaxBytes: cfg.MaxBytes, Figures: "weir_remote", Label: "driver", Target: "a remote store", Items: "points",
		Ledger: ledger, Registry: registry, Log: log,
	}, &points{send: send})
	return q
}

// start opens the queue and begins to send what waits in it.
func (q *queue) start(log *slog.Logger) error {
	if err := q.Start(); err != nil {
		return err
	}
	if err := q.catalog.load(); err != nil {
		log.Warn("the schemas of a remote store are not known until points of them come", "driver", q.name, "error", err)
	}
	return nil
}

// append puts points on disk. Those that are not valid and those for which there
// is no room are refused, in a *timeseries.AppendError.
func (q *queue) append(points []timeseries.Point) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var refused timeseries.AppendError
	refuse := func(n int, err error) {
		if refused.Refused += n; refused.First == nil {
			refused.First = err
		}
	}
	put := func() {
		n := q.writer.Points()
		if err := q.Append(q.writer.Record(), n); err != nil {
			refuse(n, err)
		}
		q.writer.Reset()
	}
	newest := q.newest.Load()
	for i := range points {
		p := &points[i]
		err := p.Validate()
		if err == nil {
			err = q.catalog.add(p.Schema)
		}
		if err != nil {
			q.ledger.Received(1)
			q.invalid.Add(1)
			refuse(1, err)
			continue
		}
		newest = max(newest, p.Time)
		if q.writer.Add(p); len(q.writer.Record()) >= delivery.RecordBytes {
			put()
		}
	}
	put()
	q.newest.Store(newest)
	if err := q.catalog.save(); err != nil {
		q.warn.Warn("cannot note the schemas of a remote store", "driver", q.name, "error", err)
	}
	if refused.Refused > 0 {
		return &refused
	}
	return nil
}

// points are what the records of a queue hold.
type points struct {
	send   func(context.Context, []timeseries.Point) error
	reader spool.PointReader
}

// Decode implements [delivery.Content].
func (p *points) Decode(dst []timeseries.Point, record []byte) ([]timeseries.Point, error) {
	before := len(dst)
	dst, err := p.reader.Append(dst, record)
	for i := range dst[before:] {
		dst[before+i].Tags = convert(dst[before+i].Tags, escape)
	}
	return dst, err
}

// Send implements [delivery.Content].
func (p *points) Send(ctx context.Context, items []timeseries.Point) error { return p.send(ctx, items) }

// Refused implements [delivery.Content].
func (p *points) Refused(items []timeseries.Point, reason string) (lines []byte, about []any, err error) {
	for i := range items {
		p := &items[i]
		p.Tags = convert(p.Tags, unescape)
		line := struct {
			Reason string             `json:"reason"`
			At     time.Time          `json:"at"` // when it was rejected
			Schema string             `json:"schema"`
			Time   int64              `json:"time"`
			Tags   map[string]string  `json:"tags"`
			Values map[string]float64 `json:"values"`
		}{reason, time.Now().UTC(), p.Schema.Name, p.Time, make(map[string]string), make(map[string]float64)}
		for i, name := range p.Schema.Tags {
			line.Tags[name] = p.Tags[i]
		}
		for i, name := range p.Schema.Metrics {
			if !math.IsNaN(p.Values[i]) { // JSON has none
				line.Values[name] = p.Values[i]
			}
		}
		text, err := json.Marshal(line)
		if err != nil {
			return lines, nil, err
		}
		lines = append(append(lines, text...), '\n')
	}
	return lines, []any{"first", items[0].Schema.Name, "tags", items[0].Tags, "time", items[0].Time}, nil
}
