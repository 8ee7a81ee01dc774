package node

import (
	"context"
	"sync"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

const (
	batchPackets = 1000                  // of a frame, about
	batchDelay   = 10 * time.Millisecond // for a batch that is not full
	maxPackets   = 8 << 20               // bytes that wait for the child
)

// packets are on their way to the child. Whoever adds one never waits.
type packets struct {
	ledger     *telemetry.Ledger
	full, gone *telemetry.Discard
	problems   *telemetry.Limited

	sending sync.Mutex // keeps batches in order

	mu    sync.Mutex
	batch []byte
	count int
	held  int           // in batch and on their way
	wake  chan struct{} // the batch has a first packet, or is full
}

func newPackets(l *telemetry.Ledger, problems *telemetry.Limited) *packets {
	q := &packets{ledger: l, full: l.Reason("queue_full"), gone: l.Reason("no_process"), problems: problems, wake: make(chan struct{}, 1)}
	l.Hold(func() int64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return int64(q.held)
	})
	return q
}

func (q *packets) add(packet []byte, from backend.Remote) {
	q.mu.Lock()
	q.ledger.Received(1)
	full := len(q.batch)+len(packet) > maxPackets
	if full {
		q.full.Add(1)
	} else {
		q.batch = appendPacket(q.batch, packet, from)
		q.count++
		q.held++
	}
	tell := q.count == 1 || q.count == batchPackets
	q.mu.Unlock()
	if full {
		q.problems.Warn("packets dropped: the Node backends do not keep up with them", "waiting_bytes", maxPackets)
	}
	if tell {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

func (q *packets) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// run sends batches until ctx ends; process is who gets them, nil for nobody.
func (q *packets) run(ctx context.Context, process func() *script.Process) {
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			q.drop()
			return
		}
		if q.waiting() < batchPackets {
			delay := time.NewTimer(batchDelay)
			select {
			case <-q.wake:
			case <-delay.C:
			case <-ctx.Done():
			}
			delay.Stop()
		}
		q.send(ctx, process())
	}
}

// send hands what waits to p.
func (q *packets) send(ctx context.Context, p *script.Process) {
	q.sending.Lock()
	defer q.sending.Unlock()
	q.mu.Lock()
	batch, count := q.batch, q.count
	q.batch, q.count = nil, 0
	q.mu.Unlock()
	if count == 0 {
		return
	}
	sent := p != nil && p.SendWait(ctx, kindPackets, batch) == nil
	q.mu.Lock()
	q.held -= count
	q.mu.Unlock()
	if sent {
		q.ledger.Passed(count)
	} else {
		q.gone.Add(count)
	}
}

// drop counts what waits as lost.
func (q *packets) drop() { q.send(context.Background(), nil) }
