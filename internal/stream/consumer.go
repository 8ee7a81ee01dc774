package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

// How much Next asks for at a time.
const (
	readMessages = 32
	readBytes    = 2 << 20
)

// Batch are events in order, without gaps.
type Batch struct {
	First uint64 // number of the first event
	Count int
	Data  []byte // in the layout of event.AppendBatch; it must not be changed
}

// Consumer is a durable position in the stream. Next and Rewind belong to one
// goroutine at a time; the other methods may be called from any.
type Consumer struct {
	stream          *Stream
	name            string
	ledger          *telemetry.Ledger
	damaged         *telemetry.Discard
	tooMany, tooOld *telemetry.Discard

	storing sync.Mutex // one position after the other

	mu      sync.Mutex
	deleted bool
	limit   int
	saved   position // what is durable
	acked   uint64   // number of the last acknowledged event
	read    uint64   // number of the last event that Next returned
	gaps    []gap    // after acked: events that cannot be read, already counted as discarded
	given   uint64   // number of the last event that the taker is done with: less than acked where taken events were dropped
	passed  []gap    // after given: events that were never returned
	open    []extent // messages read and not wholly acknowledged, in order
	ahead   []message
	offset  int    // in the data of ahead[0]
	next    uint64 // sequence of the message to ask for
}

// gap is a range of lost events, extent that of a message.
type gap struct{ first, last uint64 }
type extent struct{ message, last uint64 }

func (s *Stream) newConsumer(p position) *Consumer {
	c := &Consumer{stream: s, name: p.Name, limit: s.cfg.MaxUnacknowledged, saved: p, acked: p.Event, read: p.Event, given: p.Event, next: p.Message}
	c.ledger = s.reg.Ledger("stream."+p.Name, "events")
	c.damaged, c.tooMany, c.tooOld = c.ledger.Reason("damaged"), c.ledger.Reason("size_limit"), c.ledger.Reason("age_limit")
	c.ledger.Received(int(s.last.event - min(s.last.event, p.Event)))
	c.ledger.Hold(func() int64 {
		s.mu.Lock()
		last := s.last.event
		s.mu.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.deleted {
			return 0
		}
		return int64(last) - int64(min(last, c.acked)) - int64(c.lost(last))
	})
	return c
}

// lost is how many events after acked and through last are in gaps.
func (c *Consumer) lost(last uint64) uint64 { return within(c.gaps, c.acked+1, last) }

// taken is how many events were returned by Next and not acknowledged since.
func (c *Consumer) taken() uint64 { return c.read - c.given - within(c.passed, c.given+1, c.read) }

// within is how many events from first through last are in gaps.
func within(gaps []gap, first, last uint64) (n uint64) {
	for _, g := range gaps {
		if from, to := max(g.first, first), min(g.last, last); from <= to {
			n += to - from + 1
		}
	}
	return n
}

// pass moves the reading position without returning the events between.
func (c *Consumer) pass(through uint64) {
	if through > c.read {
		c.passed = append(c.passed, gap{c.read + 1, through})
		c.read = through
	}
}

// done says that the taker has acknowledged, or is gone.
func (c *Consumer) done(through uint64) {
	c.given = max(c.given, through)
	for len(c.passed) > 0 && c.passed[0].last <= c.given {
		c.passed = c.passed[1:]
	}
}

// Consumer returns the consumer called name. A new one begins after the last
// event that is stored now, or before the first one when its position may be what
// was damaged, and from now on events are kept for it until Delete.
func (s *Stream) Consumer(ctx context.Context, name string) (*Consumer, error) {
	if name == "" {
		return nil, errors.New("cannot make a consumer without a name")
	}
	s.mu.Lock()
	if s.claimed != nil {
		s.claimed[name] = true
	}
	l, c, end := s.link, s.consumers[name], s.last
	if l == nil || c != nil {
		s.mu.Unlock()
		if l == nil {
			return nil, fmt.Errorf("cannot make consumer %q: %w", name, ErrNotStarted)
		}
		return c, nil
	}
	p := position{Name: name, Event: end.event, Message: end.message + 1}
	if s.lostPositions {
		p = position{Name: name, Event: s.first.event, Message: s.first.message}
		s.log.Error("stream: a position was lost; everything stored comes again", "consumer", name, "events", end.event-p.Event)
	}
	c = s.newConsumer(p)
	s.consumers[name] = c // first, so that nothing is purged that comes after end
	s.mu.Unlock()
	if err := l.store(ctx, p); err != nil {
		s.mu.Lock()
		delete(s.consumers, name)
		s.mu.Unlock()
		return nil, fmt.Errorf("cannot store the position of consumer %q: %w", name, err)
	}
	return c, nil
}

// Consumers are the names of all consumers, also of those that nobody asked for since the start.
func (s *Stream) Consumers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.consumers))
}

// Delete forgets the consumer called name and frees what was kept for it only;
// events it had not acknowledged count as discarded, with the reason "deleted".
func (s *Stream) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	l, c := s.link, s.consumers[name]
	s.mu.Unlock()
	if l == nil {
		return fmt.Errorf("cannot delete consumer %q: %w", name, ErrNotStarted)
	}
	if c == nil {
		return nil
	}
	c.storing.Lock()
	defer c.storing.Unlock()
	if err := l.forget(ctx, name); err != nil {
		return fmt.Errorf("cannot delete the position of consumer %q: %w", name, err)
	}
	s.mu.Lock()
	delete(s.consumers, name)
	last := s.last.event
	s.wake()
	s.mu.Unlock()
	c.mu.Lock()
	c.ledger.Reason("deleted").Add(int(last - min(last, c.acked) - c.lost(last)))
	c.deleted = true
	c.mu.Unlock()
	s.freed()
	return nil
}

// Limit sets how many events may be taken and not acknowledged.
func (c *Consumer) Limit(events int) {
	c.mu.Lock()
	c.limit = events
	c.mu.Unlock()
	c.wake()
}

func (c *Consumer) wake() {
	c.stream.mu.Lock()
	c.stream.wake()
	c.stream.mu.Unlock()
}

// Acked is the number of the last acknowledged event.
func (c *Consumer) Acked() uint64 { c.mu.Lock(); defer c.mu.Unlock(); return c.acked }

// Read is the number of the last event that Next returned.
func (c *Consumer) Read() uint64 { c.mu.Lock(); defer c.mu.Unlock(); return c.read }

// Next returns up to max events that follow those it returned before. It waits
// while there are none, and while the limit of unacknowledged events is
// reached, until ctx ends: its error is then that of ctx. While the server
// cannot be reached it goes on trying.
func (c *Consumer) Next(ctx context.Context, max int) (Batch, error) {
	for {
		c.stream.mu.Lock()
		l, grown, last := c.stream.link, c.stream.grown, c.stream.last
		c.stream.mu.Unlock()
		if l == nil {
			return Batch{}, fmt.Errorf("cannot read events for %q: %w", c.name, ErrNotStarted)
		}
		batch, missing, err := c.take(max, last)
		if err != nil || batch.Count > 0 {
			return batch, err
		}
		var again <-chan time.Time
		if missing {
			if kept := c.stream.kept(c.from()); len(kept) > 0 {
				c.put(kept, last)
				continue
			}
			messages, damaged, err := l.read(ctx, c.from(), readMessages, readBytes)
			if damaged > 0 {
				c.stream.failed.Warn("stream: messages without a valid header are left out", "consumer", c.name, "messages", damaged)
			}
			switch {
			case err == nil && c.put(messages, last):
				continue
			case err == nil: // not there yet, or nothing there can be read
			case ctx.Err() != nil:
			default:
				c.stream.failed.Warn("stream: cannot read events", "consumer", c.name, "error", err)
			}
			again = time.After(100 * time.Millisecond)
		}
		select {
		case <-grown:
		case <-again:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
	}
}

// Ready returns events that follow the event with the number after and are in memory,
// up to max. It never waits: the batch is empty when there are none, or when no more
// may be taken.
func (c *Consumer) Ready(after uint64, max int) (b Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.ahead) > 0 && c.ahead[0].first+uint64(c.ahead[0].count)-1 <= c.read {
		c.drop()
	}
	if c.read == after && !c.deleted && len(c.ahead) > 0 && c.ahead[0].first <= after+1 {
		b, _, _ = c.taking(max, tail{}) // its error is that of a deleted one
	}
	return b
}

// take returns events that are in memory. missing says that none is, and that
// the stream has some.
func (c *Consumer) take(limit int, last tail) (b Batch, missing bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taking(limit, last)
}

// taking is take with the lock held.
func (c *Consumer) taking(limit int, last tail) (b Batch, missing bool, err error) {
	if c.deleted {
		return b, false, fmt.Errorf("cannot read events for %q: the consumer is deleted", c.name)
	}
	limit = min(limit, c.limit-int(c.taken()))
	if limit <= 0 {
		return b, false, nil
	}
	for len(c.ahead) > 0 {
		m := &c.ahead[0]
		end := m.first + uint64(m.count) - 1
		if end <= c.read {
			c.drop()
			continue
		}
		if m.first > c.read+1 {
			c.lose(gap{c.read + 1, m.first - 1})
		}
		it := event.NewIterator(m.data[c.offset:])
		if c.offset == 0 { // step over what was returned before
			for seq := m.first; seq <= c.read && it.Next(); seq++ {
				c.offset = it.Offset()
			}
			it = event.NewIterator(m.data[c.offset:])
		}
		left := int(end - c.read)
		b = Batch{First: c.read + 1, Count: left, Data: m.data[c.offset:]}
		if limit < left {
			for range limit {
				if !it.Next() {
					break
				}
			}
			b.Count, b.Data = limit, b.Data[:it.Offset():it.Offset()]
			c.offset += it.Offset()
		}
		c.read += uint64(b.Count)
		if c.read == end {
			c.drop()
		}
		return b, false, nil
	}
	return b, c.read < last.event, nil
}

// drop forgets the message in memory that was returned.
func (c *Consumer) drop() {
	c.ahead[0] = message{}
	c.ahead, c.offset = c.ahead[1:], 0
}

// lose counts events that the stream has no more.
func (c *Consumer) lose(g gap) {
	for _, known := range c.gaps {
		if known.first <= g.first && g.last <= known.last {
			c.pass(g.last)
			return
		}
	}
	n := int(g.last - g.first + 1)
	c.gaps = append(c.gaps, g)
	c.damaged.Add(n)
	c.stream.log.Error("stream: events cannot be read any more", "consumer", c.name, "events", n, "first", g.first, "last", g.last)
	c.pass(g.last)
}

func (c *Consumer) from() uint64 { c.mu.Lock(); defer c.mu.Unlock(); return c.next }

// put adds messages that were read and reports whether Next can go on. With none
// where last says that there are some, the rest is lost.
func (c *Consumer) put(messages []message, last tail) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		end := m.first + uint64(m.count) - 1
		c.next = m.sequence + 1
		if end <= c.read {
			continue
		}
		if !m.whole && !whole(m) {
			c.stream.log.Error("stream: a message is damaged and left out", "consumer", c.name, "message", m.sequence, "first", m.first, "events", m.count)
			continue
		}
		c.ahead = append(c.ahead, m)
		if len(c.open) == 0 || c.open[len(c.open)-1].message < m.sequence {
			c.open = append(c.open, extent{m.sequence, end})
		}
	}
	if len(messages) == 0 && c.next <= last.message {
		c.next = last.message + 1
	}
	if len(c.ahead) == 0 && c.next > last.message && c.read < last.event {
		c.lose(gap{c.read + 1, last.event})
	}
	return len(messages) > 0
}

// whole reports whether the data of m are as many events as its header says.
func whole(m message) bool {
	it, n := event.NewIterator(m.data), 0
	for it.Next() {
		n++
	}
	return it.Err() == nil && n == m.count
}

// Ack acknowledges every event up to and including number through. When it
// returns nil none of them comes again. It waits until the position is stored,
// so callers acknowledge once for several events where they can. An error means
// that the position is not durable yet; the next Ack makes it so.
func (c *Consumer) Ack(through uint64) error {
	c.storing.Lock()
	defer c.storing.Unlock()
	l := c.stream.current()
	c.mu.Lock()
	switch {
	case through > c.read:
		defer c.mu.Unlock()
		return fmt.Errorf("cannot acknowledge event %d for %q: only events up to %d were taken", through, c.name, c.read)
	case c.deleted || l == nil:
		defer c.mu.Unlock()
		return fmt.Errorf("cannot acknowledge event %d for %q: %w", through, c.name, ErrNotStarted)
	}
	if through > c.acked {
		c.ledger.Passed(int(through - c.acked - c.lost(through)))
		c.advance(through)
	}
	c.done(through)
	p := position{c.name, c.acked, c.needed()}
	unsaved := p != c.saved
	c.mu.Unlock()
	if !unsaved {
		c.wake() // what was dropped meanwhile made room
		return nil
	}
	if err := l.store(c.stream.ctx, p); err != nil {
		return fmt.Errorf("cannot store the position of consumer %q: %w", c.name, err)
	}
	c.mu.Lock()
	freed := p.Message > c.saved.Message
	c.saved = p
	c.mu.Unlock()
	c.wake()
	if freed {
		c.stream.freed()
	}
	return nil
}

// advance moves the acknowledged position.
func (c *Consumer) advance(through uint64) {
	c.acked = through
	for len(c.gaps) > 0 && c.gaps[0].last <= through {
		c.gaps = c.gaps[1:]
	}
	for len(c.open) > 0 && c.open[0].last <= through {
		c.open = c.open[1:]
	}
}

// needed is the sequence of the first message that is not wholly acknowledged.
func (c *Consumer) needed() uint64 {
	if len(c.open) > 0 {
		return c.open[0].message
	}
	return c.next
}

// Rewind makes Next go on after the last acknowledged event, so that all
// others come again: for a script that starts again.
func (c *Consumer) Rewind() {
	c.mu.Lock()
	c.next = c.needed()
	c.read, c.ahead, c.offset, c.open = c.acked, nil, 0, nil
	c.given, c.passed = c.acked, nil
	c.mu.Unlock()
	c.wake()
}

// Backlog is what a consumer has not acknowledged.
type Backlog struct {
	Name           string    `json:"name"`
	Events         int64     `json:"events"`
	Unacknowledged int64     `json:"unacknowledged"` // taken by Next; some of them may have been dropped since
	Bytes          int64     `json:"bytes"`          // estimated from the mean size of stored messages
	Oldest         time.Time `json:"oldest,omitzero"`
	Discarded      int64     `json:"discarded"`    // since the start of the process
	Acknowledged   uint64    `json:"acknowledged"` // number of the last acknowledged event
	Configured     bool      `json:"configured"`   // false: nobody takes the events, see Stream.Claim
}

// Backlog asks the server for bytes and age. Unlike the other methods it may
// fail; it then returns the number of events all the same.
func (c *Consumer) Backlog(ctx context.Context) (Backlog, error) {
	c.stream.mu.Lock()
	l, last, claimed := c.stream.link, c.stream.last, c.stream.isClaimed(c.name)
	c.stream.mu.Unlock()
	c.mu.Lock()
	b := Backlog{Name: c.name, Configured: claimed, Acknowledged: c.acked, Unacknowledged: int64(c.taken())}
	b.Events = int64(last.event - min(last.event, c.acked) - c.lost(last.event))
	needed := c.needed()
	c.mu.Unlock()
	account := c.ledger.Snapshot()
	b.Discarded = account.Lost()
	if l == nil {
		return b, ErrNotStarted
	}
	if b.Events == 0 {
		return b, nil
	}
	state, err := l.state(ctx)
	if err != nil {
		return b, fmt.Errorf("cannot read the state of the stream: %w", err)
	}
	needed = max(needed, state.FirstSeq)
	if state.Msgs == 0 || needed > state.LastSeq {
		return b, nil
	}
	b.Bytes = int64(float64(state.Bytes) * float64(state.LastSeq-needed+1) / float64(state.LastSeq-state.FirstSeq+1))
	messages, _, err := l.read(ctx, needed, 1, 0)
	if err != nil || len(messages) == 0 {
		return b, err
	}
	b.Oldest = messages[0].time
	return b, nil
}
