package tsdriver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/spool"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Config is a driver of the configuration.
type Config struct {
	Setup      Setup
	Budget     script.Budget // of its process
	Query      time.Duration // a question may take, 0 for as long as any call
	QueueBytes int64         // of points that wait for the script, 0 for spool.DefaultMaxBytes
}

// Driver is the daemon half: a timeseries.Driver whose points go through a durable queue to a
// script, and which asks that script questions. Its methods may be called from any goroutine, between Start and Stop.
type Driver struct {
	cfg        Config
	supervisor *script.Supervisor
	quarantine *script.Quarantine
	log        *slog.Logger
	limited    *telemetry.Limited

	ledger                                   *telemetry.Ledger // of points
	invalid, full, refused, failed, setAside *telemetry.Discard
	held                                     atomic.Int64 // points that wait or are with the script
	queue                                    *spool.Spool
	appending                                sync.Mutex // one writer of records
	writer                                   spool.PointWriter
	record                                   []byte
	left                                     int64 // records that were there at the start and have not been read

	cancel  context.CancelFunc
	feeding sync.WaitGroup
	current *run                        // of the methods of script.Handler
	ready   chan *run                   // the newest that has not been fed
	exit    atomic.Pointer[script.Exit] // why there is no process, nil while there is one
}

var _ timeseries.Driver = (*Driver)(nil)

// Bounds of a record of the queue.
const (
	recordPoints = 1000
	recordBytes  = 256 << 10
)

// New returns a driver. Nothing runs before Start. Its ledger is "tsdriver.NAME".
func New(cfg Config, scripts *script.Registry, registry *telemetry.Registry, log *slog.Logger) *Driver {
	name := cfg.Setup.Name
	log = log.With("driver", name)
	d := &Driver{
		cfg: cfg, log: log, limited: telemetry.NewLimited(log, time.Minute, 5), ledger: registry.Ledger("tsdriver."+name, "points"),
		ready:      make(chan *run, 1),
		quarantine: script.NewQuarantine(filepath.Join(cfg.Setup.Directory, "quarantine.jsonl")),
	}
	d.invalid, d.full, d.refused = d.ledger.Reason("invalid"), d.ledger.Reason("queue_full"), d.ledger.Reason("refused")
	d.failed, d.setAside = d.ledger.Reason("failed"), d.ledger.Reason("quarantined")
	d.ledger.Hold(d.held.Load)
	d.supervisor = script.New(d.spec(cfg), d, scripts, log)
	return d
}

func (d *Driver) spec(cfg Config) script.Spec {
	payload, err := json.Marshal(cfg.Setup)
	if err != nil {
		panic("BUG: cannot encode a setup: " + err.Error())
	}
	return script.Spec{Name: "timeseries." + cfg.Setup.Name, API: API, Path: cfg.Setup.Script, Setup: payload, Budget: cfg.Budget, Quarantine: d.quarantine}
}

// Start opens the queue and starts the script. It does not wait until the script has loaded.
func (d *Driver) Start(ctx context.Context) error {
	dir := d.cfg.Setup.Directory
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("cannot make the directory of the timeseries driver %q: %w", d.cfg.Setup.Name, err)
	}
	var err error
	if d.queue, err = spool.Open(filepath.Join(dir, "queue"), spool.Config{MaxBytes: d.cfg.QueueBytes, Log: d.log}); err != nil {
		return fmt.Errorf("cannot open the queue of the timeseries driver %q: %w", d.cfg.Setup.Name, err)
	}
	d.left = d.queue.Len()
	if err := d.quarantine.Open(); err != nil {
		return errors.Join(err, d.queue.Close())
	}
	if err := d.supervisor.Start(ctx); err != nil {
		return errors.Join(err, d.queue.Close(), d.quarantine.Close())
	}
	feeding, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.feeding.Go(func() { d.feed(feeding) })
	d.feeding.Go(func() { d.watch(feeding, lookEvery) })
	return nil
}

// lookEvery is how often the file of the script is looked at.
const lookEvery = 3 * time.Second

// watch loads a changed script anew; one that cannot be used does not take the place of the one that runs.
func (d *Driver) watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for seen := d.stamp(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := d.stamp()
		if now == seen || now == (stamp{}) { // it may be about to be written
			continue
		}
		seen = now
		if err := d.Reload(ctx, d.cfg); err != nil && ctx.Err() == nil {
			d.log.Error("cannot use the changed script: the one before goes on", "script", d.cfg.Setup.Script, "error", err)
		}
	}
}

// stamp changes when the file of a script does.
type stamp struct{ size, time int64 }

func (d *Driver) stamp() stamp {
	info, err := os.Stat(d.cfg.Setup.Script)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime().UnixNano()}
}

// Stop ends the script in order. What waits in the queue is there at the next Start.
func (d *Driver) Stop(ctx context.Context) error {
	d.cancel()
	d.feeding.Wait()
	return errors.Join(d.supervisor.Stop(ctx), d.queue.Close(), d.quarantine.Close())
}

// Reload starts the script anew, as it is now and with another configuration, beside the one that
// runs, and takes over when it has loaded. After an error the other one goes on. Neither the name nor the
// directory can change.
func (d *Driver) Reload(ctx context.Context, cfg Config) error {
	return d.supervisor.Reload(ctx, d.spec(cfg))
}

// run is one process of the script, with what it said and how it ended.
type run struct {
	process *script.Process
	taken   chan taken
	exit    chan *script.Exit
}

// OnReady implements script.Handler.
func (d *Driver) OnReady(p *script.Process) {
	d.exit.Store(nil)
	d.current = &run{process: p, taken: make(chan taken, 1), exit: make(chan *script.Exit, 1)}
	select {
	case <-d.ready: // one that was never fed
	default:
	}
	d.ready <- d.current
}

// OnFrame implements script.Handler.
func (d *Driver) OnFrame(kind byte, payload []byte) {
	var t taken
	if kind != kindTaken || json.Unmarshal(payload, &t) != nil || d.current == nil {
		d.limited.Warn("the script host sent a frame that makes no sense", "kind", kind, "bytes", len(payload))
		return
	}
	select {
	case <-d.current.taken: // nobody waited for it
	default:
	}
	d.current.taken <- t
}

// OnExit implements script.Handler.
func (d *Driver) OnExit(e *script.Exit) {
	if !e.Asked {
		d.exit.Store(e)
	}
	if d.current != nil { // else it never was ready
		d.current.exit <- e
		d.current = nil
	}
}

// Failure says why the script does not run, for front.Failing.
func (d *Driver) Failure() error {
	if e := d.exit.Load(); e != nil {
		return e
	}
	return nil
}

// Append implements timeseries.Driver: it returns when the points are in the queue.
func (d *Driver) Append(_ context.Context, points []timeseries.Point) error {
	d.appending.Lock()
	defer d.appending.Unlock()
	d.ledger.Received(len(points))
	var refused timeseries.AppendError
	refuse := func(n int, why *telemetry.Discard, err error) {
		why.Add(n)
		refused.Refused += n
		if refused.First == nil {
			refused.First = err
		}
	}
	d.writer.Reset()
	for i := range points {
		if err := points[i].Validate(); err != nil {
			refuse(1, d.invalid, err)
			continue
		}
		d.writer.Add(&points[i])
		if d.writer.Points() >= recordPoints || len(d.writer.Record()) >= recordBytes {
			if n, err := d.flush(); err != nil {
				refuse(n, d.full, err)
			}
		}
	}
	if n, err := d.flush(); err != nil {
		refuse(n, d.full, err)
	}
	if refused.Refused > 0 {
		return &refused
	}
	return nil
}

// flush puts what the writer has into the queue.
func (d *Driver) flush() (points int, err error) {
	points = d.writer.Points()
	if points == 0 {
		return 0, nil
	}
	d.record = binary.AppendUvarint(d.record[:0], uint64(points))
	d.record = append(d.record, d.writer.Record()...)
	d.writer.Reset()
	d.held.Add(int64(points)) // before they can be read
	if err := d.queue.Append(d.record); err != nil {
		d.held.Add(-int64(points))
		return points, fmt.Errorf("cannot queue points for the timeseries driver %q: %w", d.cfg.Setup.Name, err)
	}
	return points, nil
}

// question asks the script.
func (d *Driver) question(ctx context.Context, q *question) (*answer, error) {
	if d.cfg.Query > 0 && q.Schema != nil {
		bounded, cancel := context.WithTimeout(ctx, d.cfg.Query)
		defer cancel()
		ctx = bounded
	}
	if at, ok := ctx.Deadline(); ok {
		q.Millis = max(time.Until(at).Milliseconds(), 1)
	}
	payload, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	text, err := d.supervisor.Request(ctx, kindAsk, payload)
	if err != nil {
		if failure := d.Failure(); errors.Is(err, script.ErrAbsent) && failure != nil {
			err = failure
		}
		return nil, fmt.Errorf("cannot ask the timeseries driver %q: %w", d.cfg.Setup.Name, err)
	}
	a := new(answer)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, errAnswer
	}
	if a.Code != "" {
		return nil, &remoteError{a.Error, sentinels[a.Code]}
	}
	return a, nil
}

// Setup implements timeseries.Driver.
func (d *Driver) Setup(ctx context.Context) error {
	_, err := d.question(ctx, &question{Function: "setup"})
	return err
}

// Export implements timeseries.Driver.
func (d *Driver) Export(ctx context.Context) error {
	_, err := d.question(ctx, &question{Function: "export"})
	return err
}

// LatestTimestamp implements timeseries.Driver.
func (d *Driver) LatestTimestamp(ctx context.Context) (int64, error) {
	a, err := d.question(ctx, &question{Function: "getLatestTimestamp"})
	if err != nil {
		return 0, err
	}
	return a.Time, nil
}

// Delete implements timeseries.Driver. Points that wait in the queue are not touched.
func (d *Driver) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	_, err := d.question(ctx, &question{Function: "delete", Prefix: prefix, Tags: tags})
	return err
}

// DeleteOld implements timeseries.Driver.
func (d *Driver) DeleteOld(ctx context.Context, now int64) error {
	_, err := d.question(ctx, &question{Function: "deleteOldData", End: now})
	return err
}

// Query implements timeseries.Driver.
func (d *Driver) Query(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	a, err := d.question(ctx, ask("query", &q))
	if err != nil {
		return nil, err
	}
	return a.Result.result(&q)
}

// Total implements timeseries.Driver.
func (d *Driver) Total(ctx context.Context, q timeseries.Query) (map[string]float64, error) {
	a, err := d.question(ctx, ask("queryTotal", &q))
	if err != nil {
		return nil, err
	}
	return fromBitMap(a.Totals), nil
}

// TopK implements timeseries.Driver.
func (d *Driver) TopK(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	a, err := d.question(ctx, ask("topk", &q))
	if err != nil {
		return nil, err
	}
	r, err := a.Result.result(&q)
	if err != nil {
		return nil, err
	}
	top := &timeseries.TopResult{Result: *r}
	for _, item := range a.Items {
		top.Items = append(top.Items, timeseries.TopItem{Tags: item.Tags, Value: item.Value.float(), Partials: fromBitMap(item.Partials)})
	}
	return top, nil
}

// List implements timeseries.Driver.
func (d *Driver) List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		a, err := d.question(ctx, &question{Function: "listSeries", Schema: q.Schema, Tags: q.Tags, Start: q.Start, End: q.End})
		if err != nil {
			yield(nil, err)
			return
		}
		for _, tags := range a.Series {
			if !yield(tags, nil) {
				return
			}
		}
	}
}
