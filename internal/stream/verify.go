package stream

import (
	"context"
	"fmt"
	"os"

	"github.com/weirhq/weir/internal/event"
)

// maxDamage is how many damages a Report describes; all are counted.
const maxDamage = 100

// Report is what a verification found.
type Report struct {
	Messages int      `json:"messages"`
	Events   int64    `json:"events"`
	Bytes    int64    `json:"bytes"` // of the events
	First    uint64   `json:"first"` // number of the first event
	Last     uint64   `json:"last"`
	Damages  int      `json:"damages"`
	Damage   []string `json:"damage"` // descriptions of the first of them

	sequence uint64 // of the last message
}

func (r *Report) damaged(format string, args ...any) {
	r.Damages++
	if len(r.Damage) < maxDamage {
		r.Damage = append(r.Damage, fmt.Sprintf(format, args...))
	}
}

// add checks a message: its layout, and that it follows the one before.
func (r *Report) add(m message) {
	if r.sequence > 0 && m.sequence <= r.sequence {
		return // replaced
	}
	it, n := event.NewIterator(m.data), 0
	for it.Next() {
		n++
	}
	switch {
	case it.Err() != nil:
		r.damaged("message %d: %v", m.sequence, it.Err())
	case n != m.count:
		r.damaged("message %d: %d events, its header says %d", m.sequence, n, m.count)
	}
	if r.sequence > 0 && m.first != r.Last+1 {
		r.damaged("message %d: begins with event %d, %d was expected", m.sequence, m.first, r.Last+1)
	}
	if r.Messages == 0 {
		r.First = m.first
	}
	r.Messages++
	r.Events += int64(n)
	r.Bytes += int64(len(m.data))
	r.Last, r.sequence = m.first+uint64(m.count)-1, m.sequence
}

// Verify reads every stored message from the server, checks its layout and that
// the numbers of events continue. Events appended meanwhile may or may not be part of it.
func (s *Stream) Verify(ctx context.Context) (*Report, error) {
	l := s.current()
	if l == nil {
		return nil, fmt.Errorf("cannot verify the stream: %w", ErrNotStarted)
	}
	state, err := l.state(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot verify the stream: %w", err)
	}
	r := &Report{Damage: []string{}}
	for next := state.FirstSeq; next <= state.LastSeq; {
		messages, damaged, err := l.read(ctx, next, readMessages, readBytes)
		if err != nil {
			return nil, fmt.Errorf("cannot verify the stream from message %d on: %w", next, err)
		}
		if damaged > 0 {
			r.damaged("%d messages after %d: no valid header", damaged, next)
		}
		if len(messages) == 0 {
			break
		}
		if messages[0].sequence > next {
			now, err := l.state(ctx)
			if err != nil {
				return nil, fmt.Errorf("cannot verify the stream from message %d on: %w", next, err)
			}
			if now.FirstSeq > next { // purged meanwhile, since nobody needs it: what follows need not continue it
				r.sequence = 0
			}
		}
		for _, m := range messages {
			r.add(m)
		}
		next = messages[len(messages)-1].sequence + 1
	}
	return r, nil
}

// VerifyFiles does the same with the files of an embedded server in directory
// path, and checks the checksums of all of them. It changes nothing. While the daemon
// runs, messages that are being written look unfinished, which is no damage.
func VerifyFiles(path, name string) (*Report, error) {
	r := &Report{Damage: []string{}}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("cannot verify the stream: %w", err)
	}
	for _, stream := range []string{name + "-events", name + "-positions"} {
		all, err := blocks(path, stream)
		if err != nil {
			return nil, fmt.Errorf("cannot verify the stream: %w", err)
		}
		for i, b := range all {
			content, err := os.ReadFile(b.path)
			if os.IsNotExist(err) {
				r.sequence = 0 // purged meanwhile, with all before it
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cannot verify the stream: %w", err)
			}
			good := 0
			damage, onlyEnd := b.scan(stream, content, func(record []byte) {
				good += len(record)
				if stream != name+"-events" {
					return
				}
				switch m, ok, err := parse(record); {
				case err != nil:
					r.damaged("%v", err)
				case ok:
					r.add(m)
				}
			})
			if onlyEnd && i == len(all)-1 && unfinished(content[good:]) {
				continue
			}
			for _, d := range damage {
				r.damaged("%s/%s", stream, d)
			}
		}
	}
	return r, nil
}
