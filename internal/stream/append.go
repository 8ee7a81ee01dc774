package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirhq/weir/internal/event"
)

// request is one call of Append.
type request struct {
	events []event.Event
	done   chan error // takes one
}

// Append stores events and returns nil when all of them are durable, as the
// package says. Calls at the same time share messages: while one message is
// being written, what arrives becomes the next one, so an idle stream does not
// wait. The events of one caller keep their order; the payloads are not kept
// after the return. After an error some of the events may be stored: the caller
// brings them again, as pollers do.
//
// An event that no message can hold is dropped and counted as too_large.
func (s *Stream) Append(ctx context.Context, events []event.Event) error {
	if len(events) == 0 {
		return nil
	}
	s.ledger.Received(len(events))
	s.mu.Lock()
	l, requests, running := s.link, s.requests, s.ctx
	s.mu.Unlock()
	if l == nil {
		s.refused.Add(len(events))
		return fmt.Errorf("cannot store %d events: %w", len(events), ErrNotStarted)
	}
	r := &request{events, make(chan error, 1)}
	select {
	case requests <- r:
	case <-running.Done():
		s.refused.Add(len(events))
		return fmt.Errorf("cannot store %d events: %w", len(events), ErrNotStarted)
	case <-ctx.Done():
		s.refused.Add(len(events))
		return fmt.Errorf("cannot store %d events: %w", len(events), ctx.Err())
	}
	// From here on the appender reads the events: wait for it, whatever ctx says. Every step of it is bounded.
	select {
	case err := <-r.done:
		return err
	case <-running.Done():
		s.running.Wait() // the appender answers what it holds
		select {
		case err := <-r.done:
			return err
		default:
			s.refused.Add(len(events))
			return fmt.Errorf("cannot store %d events: %w", len(events), ErrNotStarted)
		}
	}
}

// appendAll writes what Append was given, until the stream stops.
func (s *Stream) appendAll() {
	a := appender{stream: s}
	for {
		select {
		case <-s.ctx.Done():
			return
		case r := <-s.requests:
			a.group = append(a.group[:0], r)
		}
		for n := len(a.group[0].events); n < batchEvents; {
			select {
			case r := <-s.requests:
				a.group = append(a.group, r)
				n += len(r.events)
				continue
			default:
			}
			break
		}
		a.write()
	}
}

// appender makes messages of the requests of one group.
type appender struct {
	stream *Stream
	group  []*request
	data   []byte
	count  int
	left   int // events of the group that are not accounted for
}

// write stores the group and answers every request when its last event is stored.
func (a *appender) write() {
	answered, failure := 0, error(nil)
	a.left = 0
	for _, r := range a.group {
		a.left += len(r.events)
	}
	limit := a.maxEvent()
	for i, r := range a.group {
		for j := range r.events {
			e := &r.events[j]
			if int64(len(e.Payload)) > limit {
				a.stream.tooLarge.Add(1)
				a.left--
				a.stream.failed.Warn("stream: event dropped, no message can hold it", "type", e.Type.String(), "bytes", len(e.Payload), "limit", limit)
				continue
			}
			if a.count == batchEvents || a.count > 0 && len(a.data)+len(e.Payload) > batchBytes {
				if failure = a.publish(); failure != nil {
					break
				}
				for ; answered < i; answered++ {
					a.group[answered].done <- nil
				}
			}
			a.data = event.AppendBatch(a.data, r.events[j:j+1])
			a.count++
		}
		if failure != nil {
			break
		}
	}
	if failure == nil {
		failure = a.publish()
	}
	a.stream.refused.Add(a.left) // none after success
	for ; answered < len(a.group); answered++ {
		r := a.group[answered]
		if failure != nil {
			r.done <- fmt.Errorf("cannot store %d events: %w", len(r.events), failure)
		} else {
			r.done <- nil
		}
	}
	a.data, a.count = a.data[:0], 0
	if cap(a.data) > 4*batchBytes {
		a.data = nil
	}
	clear(a.group)
}

func (a *appender) maxEvent() int64 {
	if l := a.stream.current(); l != nil {
		return l.conn.MaxPayload() - 1024 // the header
	}
	return maxPayload
}

// publish stores the batch made so far as one message.
func (a *appender) publish() error {
	if a.count == 0 {
		return nil
	}
	err := a.stream.publish(a.data, a.count)
	switch {
	case err != nil:
		a.stream.failed.Warn("stream: events are refused", "error", err)
	default:
		a.stream.ledger.Passed(a.count)
		a.left -= a.count
		a.data, a.count = a.data[:0], 0
	}
	return err
}

func (s *Stream) publish(data []byte, count int) error {
	l := s.current()
	if l == nil {
		return ErrNotStarted
	}
	if err := l.room(len(data)); err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		end, err := s.end(l)
		if err != nil {
			return err
		}
		m := &nats.Msg{Subject: eventSubject(s.cfg.Name), Data: data, Header: nats.Header{
			firstHeader: {strconv.FormatUint(end.event+1, 10)}, countHeader: {strconv.Itoa(count)}}}
		ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
		ack, err := l.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequence(end.message), jetstream.WithRetryAttempts(0))
		cancel()
		switch {
		case err == nil:
			s.mu.Lock()
			s.last = tail{end.event + uint64(count), ack.Sequence}
			if len(s.consumers) > 0 {
				s.recent.add(message{sequence: ack.Sequence, first: end.event + 1, count: count, data: slices.Clone(data), whole: true})
			}
			for _, c := range s.consumers {
				c.ledger.Received(count)
			}
			s.wake()
			s.mu.Unlock()
			return nil
		case full(err) && attempt < 100 && s.dropUnclaimed(l):
		case full(err) && s.cfg.DiscardOld && attempt < 100:
			if err := s.dropOldest(l); err != nil {
				return errors.Join(ErrFull, err)
			}
		case full(err):
			return fmt.Errorf("%w of %d bytes: a consumer is behind (weir queue ls shows which)", ErrFull, s.cfg.MaxBytes)
		default:
			s.mu.Lock()
			s.stale = true // it may be stored all the same
			s.mu.Unlock()
			l.failed.Store(true)
			return fmt.Errorf("the server did not confirm: %w", err)
		}
	}
}

// end returns the end of the stream, asking the server after a failure.
func (s *Stream) end(l *link) (tail, error) {
	s.mu.Lock()
	end, stale := s.last, s.stale
	s.mu.Unlock()
	if !stale {
		return end, nil
	}
	stored, err := l.tail(s.ctx)
	if err != nil {
		return tail{}, fmt.Errorf("cannot read the end of the stream: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stored.event > s.last.event {
		for _, c := range s.consumers {
			c.ledger.Received(int(stored.event - s.last.event))
		}
		s.last.event = stored.event
	}
	s.last.message, s.stale = stored.message, false
	s.wake()
	return s.last, nil
}
