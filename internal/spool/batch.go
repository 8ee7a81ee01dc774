package spool

import (
	"context"
	"fmt"
	"time"
)

// Batch are records that were handed out.
type Batch struct {
	Records [][]byte // valid and not to be changed

	spool  *Spool
	number uint64 // of the segment
	end    int64  // in it
}

// Next returns the oldest records that are not done, at least one and as many as
// fit into maxBytes, waiting for one until ctx ends. Called again before Done it returns the
// same ones, and perhaps more.
func (s *Spool) Next(ctx context.Context, maxBytes int) (*Batch, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		b := s.take(maxBytes)
		s.mu.Unlock()
		if b != nil {
			return b, nil
		}
		select {
		case <-s.wake:
		case <-s.quit:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take makes a batch of the records at the head, nil when there are none.
func (s *Spool) take(maxBytes int) *Batch {
	g := s.head()
	if g == nil {
		return nil
	}
	b := &Batch{spool: s, number: g.number, end: s.offset}
	for size := 0; b.end < int64(len(g.data)); {
		f, ok := parseFrame(g.data[b.end:])
		if !ok { // damage: head looks at it when it comes to it
			break
		}
		if size += len(f.record); len(b.Records) > 0 && size > maxBytes {
			break
		}
		b.Records = append(b.Records, f.record)
		b.end += f.size()
	}
	return b
}

// head makes the first segment one that has a record at offset, reads it and
// notes how old that is. It returns nil when no record waits.
func (s *Spool) head() *segment {
	for {
		s.tidy()
		if len(s.segments) == 0 || s.offset >= s.segments[0].size {
			s.records = 0 // of those counted, damage may have taken some
			return nil
		}
		g := s.segments[0]
		if err := g.load(); err != nil {
			s.drop(g, err)
			continue
		}
		f, skipped, ok := nextFrame(g.data[s.offset:])
		if skipped > 0 {
			s.setAside(g, s.offset, g.data[s.offset:s.offset+int64(skipped)])
			s.offset += int64(skipped)
		}
		if ok {
			s.oldest = time.UnixMilli(f.time)
			return g
		}
	}
}

// Done says that the records are not needed any more. When it fails they may be
// handed out again after a restart.
func (b *Batch) Done() error {
	s := b.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if len(s.segments) == 0 || s.segments[0].number != b.number || s.offset >= b.end {
		return nil // done before
	}
	s.offset = b.end
	s.records -= int64(len(b.Records))
	s.head()
	if err := s.writePosition(); err != nil {
		return fmt.Errorf("cannot note what of the queue in %s is done: %w", s.dir, err)
	}
	return nil
}
