package connector

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/stream"
)

const (
	batchEvents = 4096            // of a frame, at most
	batchBytes  = 1 << 20         // of a frame, unless the stream's own batch is larger
	proof       = 3 * time.Second // without work and without an end, after which a script has survived what it got
)

// span are events without gaps, as they are sent in one frame.
type span struct {
	first uint64
	count int
	data  []byte
}

func (s span) last() uint64 { return s.first + uint64(s.count) - 1 }

// feed feeds one process after the other, each from the acknowledged position.
func (c *Connector) feed() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case p := <-c.ready:
			ctx, cancel := context.WithCancel(c.ctx)
			c.ended.Store(&ender{cancel})
			c.settle()
			c.consumer.Rewind()
			c.forgo()
			c.feedTo(ctx, p)
			cancel()
		}
	}
}

// forgo counts what the process before had taken and does not come again: the
// stream dropped it since.
func (c *Connector) forgo() {
	c.settling.Lock()
	defer c.settling.Unlock()
	through := min(c.consumer.Acked(), c.taken.Load())
	c.gaps.take(through)
	c.gaps.add(c.counted.Load()+1, through)
}

// feedTo sends events to p until it has ended or ctx has.
func (c *Connector) feedTo(ctx context.Context, p *script.Process) {
	for {
		most, careful := c.atOnce(c.consumer.Read() + 1)
		batch, payload, err := c.next(ctx, most)
		if err != nil {
			if ctx.Err() == nil {
				c.limited.Warn("cannot read events for the script", "error", err)
			}
			return
		}
		last := batch.First + uint64(batch.Count) - 1
		if taken := c.taken.Load(); last > taken {
			c.gaps.add(taken+1, batch.First-1)
			c.ledger.Received(int(last - taken))
			c.taken.Store(last)
		}
		for _, s := range c.without(batch) {
			if s.count < batch.Count {
				payload = append(binary.BigEndian.AppendUint64(nil, s.first), s.data...)
			}
			c.sends(s)
			if err := p.SendWait(ctx, kindBatch, payload); err != nil {
				return // it has ended: the next one gets the events
			}
			if careful && !c.prove(ctx, p, s) {
				return
			}
		}
	}
}

// next returns the next events, as many as are at hand, and the payload of a frame with
// all of them. A frame of many costs the same as one of few.
func (c *Connector) next(ctx context.Context, most int) (stream.Batch, []byte, error) {
	b, err := c.consumer.Next(ctx, most)
	if err != nil {
		return b, nil, err
	}
	parts, size := [][]byte{b.Data}, 8+len(b.Data)
	for b.Count < most && size < batchBytes {
		more := c.consumer.Ready(b.First+uint64(b.Count)-1, most-b.Count)
		if more.Count == 0 {
			break
		}
		parts, size = append(parts, more.Data), size+len(more.Data)
		b.Count += more.Count
	}
	payload := binary.BigEndian.AppendUint64(make([]byte, 0, size), b.First)
	for _, part := range parts {
		payload = append(payload, part...)
	}
	b.Data = payload[8:]
	return b, payload, nil
}

// without returns the events of a batch but those that were set aside.
func (c *Connector) without(b stream.Batch) []span {
	whole := span{b.First, b.Count, b.Data}
	if c.quarantine == nil || !c.quarantine.Touches(b.First, whole.last()) {
		return []span{whole}
	}
	var spans []span
	rest := span{first: b.First}
	begin := 0
	number, it := b.First, event.NewIterator(b.Data)
	for from := 0; it.Next(); from, number = it.Offset(), number+1 {
		if !c.quarantine.Has(number, b.Data[from:it.Offset()]) {
			rest.count++
			rest.data = b.Data[begin:it.Offset()]
			continue
		}
		if rest.count > 0 {
			spans = append(spans, rest)
		}
		rest, begin = span{first: number + 1}, it.Offset()
		c.leave(number)
		signal(c.wake) // it may be all that the script had to do
	}
	if rest.count > 0 {
		spans = append(spans, rest)
	}
	return spans
}

// prove waits until p has acknowledged what it was sent, or had it for a while and
// lives. It returns false when p, or ctx, has ended.
func (c *Connector) prove(ctx context.Context, p *script.Process, s span) bool {
	timer := time.NewTimer(proof)
	defer timer.Stop()
	for c.acked.Load() < s.last() {
		select {
		case <-c.proved:
			continue
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
		if p.Held() == 0 {
			break
		}
		timer.Reset(proof)
	}
	c.clear(s.first, s.count)
	return true
}
