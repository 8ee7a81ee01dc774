package bbdo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/event"
)

const (
	maxBatch    = 512
	ackInterval = 5 * time.Second
	// writeTimeout is how long a peer may leave our packets unread.
	writeTimeout = 10 * time.Second
	// lingerTime and lingerBytes bound the wait for a peer to close after its stop:
	// closing with unread bytes could destroy the last acknowledgement on its way.
	lingerTime  = 5 * time.Second
	lingerBytes = 1 << 20
	// The sink is tried again after retryMin, then ever later up to retryMax.
	retryMin = 250 * time.Millisecond
	retryMax = 5 * time.Second
)

// errStopped ends a session that the peer ended with a stop.
var errStopped = errors.New("the peer stopped")

// session receives the events of one connection. All but the counters belongs to
// the goroutine of run.
type session struct {
	r    *receiver
	link *link
	info Info
	out  *Writer

	batch   []event.Event
	lastAck time.Time
	unacked int64 // durable or skipped, and not yet acknowledged
	dropped int64 // incomplete events that were counted
	mute    bool  // a write failed, and may have left half a packet

	since          time.Time
	events         atomic.Int64
	lastEvent      atomic.Int64 // Unix nanoseconds; 0 before the first
	unacknowledged atomic.Int64 // of those taken off the wire
	skipped        atomic.Int64 // bytes
	stalled        atomic.Pointer[string]
}

func newSession(r *receiver, l *link) *session {
	now := time.Now()
	return &session{
		r: r, link: l, out: NewWriter(l.top), batch: make([]event.Event, 0, maxBatch), lastAck: now, since: now,
		info: Info{Source: r.cfg.Name, Peer: l.conn.RemoteAddr().String(), Identity: l.peer, Version: l.version},
	}
}

// run receives until the connection ends, the peer stops (nil) or ctx is done
// (its error). It does not close the connection.
func (s *session) run(ctx context.Context) error {
	release := context.AfterFunc(ctx, func() { s.link.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer release()
	err := s.receive(ctx)
	s.link.reader.End()
	s.count()
	if errors.Is(err, errStopped) {
		s.linger(ctx)
		return nil
	}
	if s.unacked > 0 && !s.mute {
		err = errors.Join(err, s.acknowledge())
	}
	return err
}

func (s *session) receive(ctx context.Context) error {
	for {
		taken, end := s.take()
		if taken > 0 {
			if err := s.deliver(ctx, taken); err != nil {
				return err
			}
		}
		if errors.Is(end, errStopped) { // exactly one, even of nothing
			if err := s.acknowledge(); err != nil {
				return err
			}
		}
		if end != nil {
			return end
		}
		if err := s.acknowledgeIfDue(); err != nil {
			return err
		}
		if taken > 0 { // there may be more in the buffer
			continue
		}
		if err := s.fill(ctx); err != nil {
			return err
		}
	}
}

// take fills the batch from the buffer and returns how many events that were,
// including those not worth handing on. end says why nothing can follow them.
func (s *session) take() (taken int, end error) {
	s.batch = s.batch[:0]
	for taken < maxBatch {
		var e event.Event
		ok, err := s.link.reader.Next(&e)
		if err != nil {
			return taken, err
		}
		if !ok {
			break
		}
		if e.Type.Category() == control {
			if err := s.control(e); err != nil {
				return taken, err
			}
			continue
		}
		taken++
		if s.r.decodable(s, e) {
			s.batch = append(s.batch, e)
		}
	}
	return taken, nil
}

// control handles a control message. Acknowledgements and requests from operators
// are for senders and brokers, which this side is not.
func (s *session) control(e event.Event) error {
	switch e.Type {
	case legacyStop, protobufStop:
		return errStopped
	case engineConfiguration:
		return s.send(engineConfigurationEvent(s.r.cfg.Identity))
	}
	return nil
}

// fill reads once, or until an acknowledgement is due.
func (s *session) fill(ctx context.Context) error {
	var deadline time.Time
	if s.unacked > 0 {
		deadline = s.lastAck.Add(ackInterval)
	}
	s.link.conn.SetReadDeadline(deadline)
	if err := ctx.Err(); err != nil { // before, its effect on the deadline is lost
		return err
	}
	err := s.link.reader.Fill()
	s.count()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

// count makes what the reader counted visible to others.
func (s *session) count() {
	skipped, dropped := s.link.reader.Skipped(), s.link.reader.Dropped()
	s.r.skipped.Add(skipped - s.skipped.Swap(skipped))
	s.r.incomplete.Add(dropped - s.dropped)
	s.dropped = dropped
}

// deliver hands the batch to the sink until it is durable.
func (s *session) deliver(ctx context.Context, taken int) error {
	s.events.Add(int64(taken))
	s.unacknowledged.Add(int64(taken))
	s.lastEvent.Store(time.Now().UnixNano())
	n := len(s.batch)
	s.r.inside.Add(int64(n))
	s.r.ledger.Received(taken)
	defer s.r.inside.Add(-int64(n))
	for wait := retryMin; n > 0; wait = min(2*wait, retryMax) {
		err := s.r.sink(ctx, s.info, s.batch)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			s.stall(err)
			if err := s.acknowledgeIfDue(); err != nil { // of batches before
				s.r.unstored.Add(n)
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
				continue
			}
		}
		// Not acknowledged, so the peer keeps them and sends them again.
		s.r.unstored.Add(n)
		return ctx.Err()
	}
	if s.stalled.Swap(nil) != nil {
		s.r.log.Info("events are stored again, reading goes on", "peer", s.info.Peer, "poller", s.info.PollerName)
	}
	s.r.ledger.Passed(n)
	s.unacked += int64(taken)
	return nil
}

func (s *session) stall(err error) {
	text := err.Error()
	s.stalled.Store(&text)
	s.r.alarms.Warn("cannot store events: reading stopped, nothing is acknowledged, trying again", "peer", s.info.Peer, "poller", s.info.PollerName, "events", len(s.batch), "error", text)
}

func (s *session) acknowledgeIfDue() error {
	if s.unacked >= int64(s.r.cfg.AckLimit) || s.unacked > 0 && time.Since(s.lastAck) >= ackInterval {
		return s.acknowledge()
	}
	return nil
}

// acknowledge sends how many events became durable since the last time.
func (s *session) acknowledge() error {
	if err := s.send(ackEvent(s.link.version, s.unacked)); err != nil {
		return fmt.Errorf("cannot acknowledge %d events: %w", s.unacked, err)
	}
	s.unacknowledged.Add(-s.unacked)
	s.unacked = 0
	s.lastAck = time.Now()
	return nil
}

func (s *session) send(e event.Event) error {
	s.link.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	err := s.out.Write(e)
	if err == nil {
		err = s.out.Flush()
	}
	s.mute = err != nil
	return err
}

// linger waits for the peer to close.
func (s *session) linger(ctx context.Context) {
	s.link.conn.SetReadDeadline(time.Now().Add(lingerTime))
	if ctx.Err() == nil {
		io.CopyN(io.Discard, s.link.conn, lingerBytes)
	}
}

// reason says in a word or two why a session ended.
func reason(err error) string {
	switch {
	case err == nil:
		return "peer stopped"
	case errors.Is(err, context.Canceled):
		return "stopping"
	case orderly(err):
		return "peer closed the connection without a stop"
	}
	return err.Error()
}

// orderly reports whether one side closed the connection, instead of an error that
// ended it.
func orderly(err error) bool {
	return err == nil || errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}
