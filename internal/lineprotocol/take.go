package lineprotocol

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/writes"
)

const (
	chunkSize   = 256 << 10 // bytes of a body that are in memory
	maxProblems = 10        // that an answer quotes
	maxQuoted   = 200       // bytes of a line that it quotes
)

// session takes in one request. It is used by one goroutine, and then by the next one.
type session struct {
	handler *Handler
	buffer  []byte
	line    line
	batch   writes.Batch

	unit     precision
	now      int64 // the time of lines that have none
	before   int   // lines before the buffer
	skipping bool  // up to the end of a line that is too long
	problems problems
}

// problems are what could not be stored of one request.
type problems struct {
	texts   []string
	dropped int // points
}

// note counts points that are dropped and reports whether a text about them is wanted.
func (p *problems) note(dropped int) bool {
	p.dropped += dropped
	return len(p.texts) < maxProblems
}

var newline = []byte{'\n'}

// take stores what r has. The error is why not all of it was read or stored; what is
// wrong with single lines is in problems.
func (s *session) take(ctx context.Context, r io.Reader) error {
	held := 0 // bytes of a line whose end was not there yet
	for last := false; !last; {
		filled := held
		for filled < len(s.buffer) && !last {
			n, err := r.Read(s.buffer[filled:])
			if err != nil && err != io.EOF {
				return err
			}
			filled, last = filled+n, err != nil
		}
		data := s.buffer[:filled]
		used, err := s.lines(ctx, data, last)
		if err != nil {
			return err
		}
		s.before += bytes.Count(data[:used], newline)
		held = copy(s.buffer, data[used:])
	}
	return nil
}

// lines takes the lines in data, of which there is no more when last is set, and
// returns how many bytes it has used. It works at a place of the handler's gate.
func (s *session) lines(ctx context.Context, data []byte, last bool) (used int, err error) {
	defer s.handler.gate.Work()()
	for used < len(data) {
		if s.skipping {
			end := bytes.IndexByte(data[used:], '\n')
			s.skipping = end < 0
			if used += end + 1; s.skipping {
				used = len(data)
			}
			continue
		}
		size, err := s.line.parse(data[used:], last)
		if err == errIncomplete {
			if len(data)-used < maxLine {
				break
			}
			err, size, s.skipping = errTooLong, len(data)-used, true
		}
		if err == nil && size > maxLine {
			err = errTooLong
		}
		reason := s.handler.badLine
		if err == nil && s.line.key != nil {
			reason, err = s.store()
		}
		if err != nil {
			s.drop(reason, data, used, size, err)
		}
		if used += size; s.batch.Full() {
			if err := s.append(ctx); err != nil {
				return used, err
			}
		}
	}
	if last {
		return used, s.append(ctx)
	}
	return used, nil
}

// drop counts a line that begins at used in data as dropped, in the words of InfluxDB, which clients look for.
func (s *session) drop(reason *telemetry.Discard, data []byte, used, size int, err error) {
	s.handler.intake.Discard(reason, 1)
	if !s.problems.note(1) {
		return
	}
	line := bytes.TrimRight(data[used:used+size], "\r\n")
	dots := ""
	if len(line) > maxQuoted {
		line, dots = line[:maxQuoted], "..."
	}
	number := s.before + bytes.Count(data[:used], newline) + 1
	text := fmt.Sprintf("unable to parse '%s%s' (line %d): %v", line, dots, number, err)
	s.problems.texts = append(s.problems.texts, text)
	s.handler.intake.Warn("a line was dropped", "error", text)
}

// append stores the batch.
func (s *session) append(ctx context.Context) error {
	refused, err := s.handler.intake.Append(ctx, &s.batch)
	if refused != nil && s.problems.note(refused.Refused) {
		s.problems.texts = append(s.problems.texts, refused.First.Error())
	}
	return err
}

// store adds the points of the line to the batch. The error is why there are none, for the reason.
func (s *session) store() (*telemetry.Discard, error) {
	h := s.handler
	of := h.dictionary.Find(s.line.key)
	if of == nil {
		of = h.dictionary.Add(s.line.key, newSeries(string(s.line.key), h.schemas))
	}
	if of.err != nil {
		return h.badSeries, of.err
	}
	at := s.now
	if s.line.timed {
		at = s.unit.seconds(s.line.time)
	}
	if of.tags != nil {
		return s.declared(of, at)
	}
	for i := range s.line.fields {
		f := &s.line.fields[i]
		if f.kind == text {
			s.text(f)
			continue
		}
		s.batch.Add(of.schema, of.column(f.name, i).tags, at)[0] = f.value
	}
	return nil, nil
}

// declared adds the point of a declared schema that the line is.
func (s *session) declared(of *series, at int64) (*telemetry.Discard, error) {
	for i := range s.line.fields {
		f := &s.line.fields[i]
		metric := of.column(f.name, i).metric
		switch {
		case metric < 0:
			return s.handler.badField, fmt.Errorf("unknown field %.100q: the schema %s has the metrics %q", f.name, of.schema.Name, of.schema.Metrics)
		case f.kind == text:
			return s.handler.badField, fmt.Errorf("field %.100q is a string, and metrics are numbers", f.name)
		}
	}
	values := s.batch.Add(of.schema, of.tags, at)
	for i := range values {
		values[i] = math.NaN()
	}
	for i := range s.line.fields {
		f := &s.line.fields[i]
		values[of.column(f.name, i).metric] = f.value
	}
	return nil, nil
}

// text drops a string: clients write them regularly, and it is no mistake of theirs.
func (s *session) text(f *field) {
	h := s.handler
	h.intake.Discard(h.texts, 1)
	if missed, ok := h.warnTexts.Allow(); ok {
		h.log.Warn("fields that are strings are not stored: series hold numbers", "protocol", "influxdb", "field", string(f.name), "left_out", missed)
	}
}
