package connector

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/script"
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
	parts [][]byte // of the batch, as the stream has them
}

func (s span) last() uint64 { return s.first + uint64(s.count) - 1 }

// data is the batch in one piece.
func (s span) data() []byte {
	if len(s.parts) == 1 {
		return s.parts[0]
	}
	return slices.Concat(s.parts...)
}

// frame is the payload of a frame, in pieces.
func (s span) frame() [][]byte {
	number := binary.BigEndian.AppendUint64(nil, s.first)
	return append(append(make([][]byte, 0, 1+len(s.parts)), number), s.parts...)
}

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
		taken, err := c.next(ctx, most)
		if err != nil {
			if ctx.Err() == nil {
				c.limited.Warn("cannot read events for the script", "error", err)
			}
			return
		}
		if before := c.taken.Load(); taken.last() > before {
			c.gaps.add(before+1, taken.first-1)
			c.ledger.Received(int(taken.last() - before))
			c.taken.Store(taken.last())
		}
		for _, s := range c.without(taken) {
			c.sends(s)
			if err := p.SendWait(ctx, kindBatch, s.frame()...); err != nil {
				return // it has ended: the next one gets the events
			}
			if careful && !c.prove(ctx, p, s) {
				return
			}
		}
	}
}

// next returns the next events, as many as are at hand: a frame of many costs the same as
// one of few.
func (c *Connector) next(ctx context.Context, most int) (span, error) {
	b, err := c.consumer.Next(ctx, most)
	if err != nil {
		return span{}, err
	}
	s, size := span{b.First, b.Count, [][]byte{b.Data}}, len(b.Data)
	for s.count < most && size < batchBytes {
		more := c.consumer.Ready(s.last(), most-s.count)
		if more.Count == 0 {
			break
		}
		s.parts, size = append(s.parts, more.Data), size+len(more.Data)
		s.count += more.Count
	}
	return s, nil
}

// without returns the events of a span but those that were set aside.
func (c *Connector) without(whole span) []span {
	if c.quarantine == nil || !c.quarantine.Touches(whole.first, whole.last()) {
		return []span{whole}
	}
	var spans []span
	rest := span{first: whole.first}
	begin, data := 0, whole.data()
	number, it := whole.first, event.NewIterator(data)
	for from := 0; it.Next(); from, number = it.Offset(), number+1 {
		if !c.quarantine.Has(number, data[from:it.Offset()]) {
			rest.count++
			rest.parts = [][]byte{data[begin:it.Offset()]}
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
