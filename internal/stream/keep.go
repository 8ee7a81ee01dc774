package stream

import (
	"context"

	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirhq/weir/internal/telemetry"
)

// dropPart is the part of the stored messages that goes at once when the oldest
// are dropped to make room.
const dropPart = 32

// freed says that a consumer needs fewer messages than before.
func (s *Stream) freed() {
	select {
	case s.acked <- struct{}{}:
	default:
	}
}

// keep purges what nobody needs, enforces MaxAge and brings a failed server back, until the stream stops.
func (s *Stream) keep() {
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	changed := true
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.acked:
			changed = true
			continue // at the next tick, for all that happens until then
		case <-ticker.C:
		}
		l := s.current()
		if !l.alive() {
			if err := s.revive(l); err != nil {
				s.failed.Warn("stream: the server cannot go on", "error", err)
				continue
			}
			changed = true
			continue
		}
		if err := s.tidy(l, changed); err != nil {
			s.failed.Warn("stream: cannot remove old events", "error", err)
			continue
		}
		changed = s.idle()
	}
}

// idle reports whether there is no consumer, whose acknowledgements say what may go.
func (s *Stream) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.consumers) == 0
}

// tidy purges once.
func (s *Stream) tidy(l *link, changed bool) error {
	if changed {
		if err := s.purge(l, s.needed()); err != nil {
			return err
		}
	}
	if s.cfg.MaxAge <= 0 {
		return nil
	}
	state, err := l.state(s.ctx)
	if err != nil {
		return err
	}
	limit := s.now().Add(-s.cfg.MaxAge)
	if state.Msgs == 0 || !state.FirstTime.Before(limit) {
		return nil
	}
	from, to := state.FirstSeq, state.LastSeq+1 // the first message that is not too old is in from..to
	for from < to {
		middle := from + (to-from)/2
		found, _, err := l.read(s.ctx, middle, 1, 0)
		switch {
		case err != nil:
			return err
		case len(found) > 0 && found[0].time.Before(limit):
			from = found[0].sequence + 1
		default:
			to = middle
		}
	}
	return s.dropBefore(l, from, "age_limit")
}

// needed is the sequence of the first message that a consumer needs.
func (s *Stream) needed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.last.message + 1
	for _, c := range s.consumers {
		c.mu.Lock()
		first = min(first, c.saved.Message)
		c.mu.Unlock()
	}
	return first
}

// purge removes the messages before sequence, but never the last one, which
// says how far the numbers of events are.
func (s *Stream) purge(l *link, sequence uint64) error {
	s.mu.Lock()
	sequence = min(sequence, s.last.message)
	s.mu.Unlock()
	if sequence <= 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
	defer cancel()
	if err := l.events.Purge(ctx, jetstream.WithPurgeSequence(sequence)); err != nil {
		return fmt.Errorf("cannot purge messages before %d: %w", sequence, err)
	}
	return nil
}

// dropOldest makes room for new events.
func (s *Stream) dropOldest(l *link) error {
	if err := s.purge(l, s.needed()); err != nil {
		return err
	}
	state, err := l.state(s.ctx)
	if err != nil {
		return err
	}
	if state.Msgs <= 1 {
		return fmt.Errorf("there is nothing to drop: the limit of %d bytes is too small", s.cfg.MaxBytes)
	}
	return s.dropBefore(l, state.FirstSeq+1+(state.LastSeq-state.FirstSeq)/dropPart, "size_limit")
}

// dropBefore removes the messages before sequence; what consumers had not
// acknowledged of them is counted and logged.
func (s *Stream) dropBefore(l *link, sequence uint64, reason string) error {
	s.mu.Lock()
	last := s.last
	consumers := make([]*Consumer, 0, len(s.consumers))
	for _, c := range s.consumers {
		consumers = append(consumers, c)
	}
	s.mu.Unlock()
	through := last.event
	if sequence <= last.message {
		kept, _, err := l.read(s.ctx, sequence, 1, 0)
		if err != nil {
			return err
		}
		if len(kept) > 0 {
			through = kept[0].first - 1
		}
	}
	for _, c := range consumers {
		if err := c.skip(l, through, sequence, reason); err != nil {
			return err
		}
	}
	return s.purge(l, sequence)
}

// skip moves the acknowledged position over events that are dropped. Those that
// were taken count as dropped too, since they cannot come again, and they go on
// to count against the limit of events that are taken and not acknowledged.
func (c *Consumer) skip(l *link, through, message uint64, reason string) error {
	c.storing.Lock()
	defer c.storing.Unlock()
	c.mu.Lock()
	if through <= c.acked || c.deleted {
		c.mu.Unlock()
		return nil
	}
	n := int(through - c.acked - c.lost(through))
	first := c.acked + 1
	c.discard(reason).Add(n)
	c.advance(through)
	c.pass(through) // Next steps over what is in memory of them
	c.next = max(c.next, message)
	p := position{c.name, c.acked, c.needed()}
	c.mu.Unlock()
	c.stream.log.Error("stream: events dropped before they were read", "consumer", c.name, "events", n, "first", first, "last", through, "reason", reason)
	if err := l.store(c.stream.ctx, p); err != nil {
		return fmt.Errorf("cannot store the position of consumer %q: %w", c.name, err)
	}
	c.mu.Lock()
	c.saved = p
	c.mu.Unlock()
	return nil
}

func (c *Consumer) discard(reason string) *telemetry.Discard {
	switch reason {
	case "age_limit":
		return c.tooOld
	case "size_limit":
		return c.tooMany
	}
	return c.ledger.Reason(reason)
}

// revive closes a server that cannot store any more and opens it again, once there is room.
func (s *Stream) revive(old *link) error {
	if err := s.room(s.cfg.Path, 2*diskReserve); err != nil {
		return err
	}
	s.mu.Lock()
	s.stale = true
	s.mu.Unlock()
	old.close()
	l, err := s.open(s.ctx)
	if err != nil {
		return err
	}
	if err := s.use(s.ctx, l); err != nil {
		l.close()
		return err
	}
	s.log.Info("stream: the server works again")
	return nil
}

// forget removes the position of a consumer.
func (l *link) forget(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return l.marks.Purge(ctx, jetstream.WithPurgeSubject(markSubject(l.cfg.Name, name)))
}

// Backlogs returns what each consumer has not acknowledged, sorted by name.
func (s *Stream) Backlogs(ctx context.Context) ([]Backlog, error) {
	s.mu.Lock()
	consumers := make([]*Consumer, 0, len(s.consumers))
	for _, c := range s.consumers {
		consumers = append(consumers, c)
	}
	s.mu.Unlock()
	slices.SortFunc(consumers, func(a, b *Consumer) int { return strings.Compare(a.name, b.name) })
	all := make([]Backlog, 0, len(consumers))
	for _, c := range consumers {
		b, err := c.Backlog(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}
