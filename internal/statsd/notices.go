package statsd

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// Bounds of what waits for whoever takes notices.
const (
	noticeQueue = 4096
	noticeBatch = 256
	noticeTime  = 5 * time.Second // for one batch
)

// NoticeSink takes events and service checks; an error means that none of them was taken.
type NoticeSink func(ctx context.Context, notices []Notice) error

// notices hands events and service checks on, from a goroutine of its own so that intake never waits.
type notices struct {
	sink   NoticeSink // nil drops all
	queue  chan Notice
	stop   chan struct{}     // closed when nothing comes any more
	done   chan struct{}     // closed by run
	ledger *telemetry.Ledger // "statsd.notices"
	held   atomic.Int64
	warn   *telemetry.Limited

	none, full, refused *telemetry.Discard
}

func newNotices(reg *telemetry.Registry, log *slog.Logger) *notices {
	n := &notices{
		queue: make(chan Notice, noticeQueue), stop: make(chan struct{}), done: make(chan struct{}), ledger: reg.Ledger("statsd.notices", "notices"),
		warn: telemetry.NewLimited(log, logPeriod, 1),
	}
	n.ledger.Hold(n.held.Load)
	n.none, n.full, n.refused = n.ledger.Reason("no_stream"), n.ledger.Reason("queue_full"), n.ledger.Reason("not_taken")
	return n
}

// put queues one. Any goroutine.
func (n *notices) put(one Notice) {
	n.ledger.Received(1)
	if n.sink == nil {
		n.none.Add(1)
		n.warn.Warn("an event or a service check of DogStatsD is dropped: there is no stream of events", "title", shorten([]byte(one.Title)))
		return
	}
	n.held.Add(1)
	select {
	case n.queue <- one:
	default:
		n.held.Add(-1)
		n.full.Add(1)
		n.warn.Warn("an event or a service check of DogStatsD is dropped: too many wait", "title", shorten([]byte(one.Title)), "most", noticeQueue)
	}
}

// run hands on until finish; then what is left, as long as ctx allows.
func (n *notices) run(ctx context.Context) {
	defer close(n.done)
	batch := make([]Notice, 0, noticeBatch)
	stopping := false
	for {
		batch = batch[:0]
		if !stopping {
			select {
			case one := <-n.queue:
				batch = append(batch, one)
			case <-n.stop:
				stopping = true
			}
		}
		for more := true; more && len(batch) < noticeBatch; {
			select {
			case one := <-n.queue:
				batch = append(batch, one)
			default:
				more = false
			}
		}
		if len(batch) == 0 {
			return // only when stopping
		}
		bounded, cancel := context.WithTimeout(ctx, noticeTime)
		err := n.sink(bounded, batch)
		cancel()
		n.held.Add(-int64(len(batch)))
		if err != nil {
			n.refused.Add(len(batch))
			n.warn.Warn("events and service checks of DogStatsD are dropped", "notices", len(batch), "error", err)
			continue
		}
		n.ledger.Passed(len(batch))
	}
}

// finish waits until what is queued has been handed on, as long as ctx allows; nothing may be put any more.
func (n *notices) finish(ctx context.Context) {
	if n.sink == nil {
		return
	}
	close(n.stop)
	select {
	case <-n.done:
	case <-ctx.Done():
	}
}
