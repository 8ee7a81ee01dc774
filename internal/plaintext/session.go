package plaintext

import (
	"bytes"

	"github.com/weirhq/weir/internal/writes"
)

// session takes in the lines of one connection or socket. It is used by one goroutine.
type session struct {
	listener *Listener
	batch    writes.Batch
}

// lines adds the points of whole lines in data to the batch, and returns how many
// bytes those are. last says that nothing comes after data, so that the rest is a line too. now is in Unix seconds.
func (s *session) lines(data []byte, last bool, now int64) (used int) {
	for used < len(data) {
		end := bytes.IndexByte(data[used:], '\n')
		if end < 0 {
			if last {
				s.line(data[used:], now)
				return len(data)
			}
			break
		}
		s.line(data[used:used+end], now)
		used += end + 1
	}
	return used
}

// line adds the point of a line.
func (s *session) line(text []byte, now int64) {
	l := s.listener
	if len(text) > maxLine {
		l.drop(l.badLine, text, errTooLong)
		return
	}
	parsed, err := parse(text, now)
	switch err {
	case nil:
	case errBlank:
		return
	case errNaN:
		l.intake.Discard(l.nan, 1) // clients send it for what they do not know
		return
	default:
		l.drop(l.badLine, text, err)
		return
	}
	of := l.dictionary.Find(parsed.path)
	if of == nil {
		of = l.dictionary.Add(parsed.path, newSeries(string(parsed.path)))
	}
	if of.err != nil {
		l.drop(l.badLine, text, of.err)
		return
	}
	s.batch.Add(l.schema, of.tags, parsed.time)[0] = parsed.value
}
