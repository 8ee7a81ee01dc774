package connector

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/script"
)

// How many events are handed to the script in one go: as many as take about
// between these times, so that a slow script shows signs of life and a fast one
// is not slowed down.
const (
	maxChunk   = 256
	quickChunk = 20 * time.Millisecond
	slowChunk  = 200 * time.Millisecond
)

// queue is what a script has before it and what it has not acknowledged.
type queue struct {
	batches []batch // not delivered
	chunk   int

	next    uint64 // number of the next event to deliver
	learned uint64 // number of the first event the cache has not had
	pending int    // events delivered and not acknowledged
	given   int    // of them, those the script has seen

	events    []event.Event // of the chunk
	segment   []byte        // converted events
	converter event.Converter
	ends      []int // offset in the batch after each event of the segment
	seen      byte  // by touch, so that it is not left out as useless
}

type batch struct {
	first  uint64 // number of the first event
	data   []byte
	offset int // of the next event
}

// Deliver hands over a batch of events, of which the first has the number first.
// What the script cannot take because it has not acknowledged enough is delivered
// after a flush. data may be used again when Deliver has returned.
func (s *Script) Deliver(first uint64, data []byte) error {
	s.batches = append(s.batches, batch{first: first, data: data})
	err := s.run()
	if n := len(s.batches); n > 0 {
		s.batches[n-1].data = bytes.Clone(s.batches[n-1].data)
	}
	return err
}

// Full reports whether the script gets nothing more before it acknowledges.
func (s *Script) Full() bool { return s.setup.Queue > 0 && s.pending >= s.setup.Queue && s.given > 0 }

// run delivers until nothing is left or the script has to acknowledge first.
func (s *Script) run() error {
	for len(s.batches) > 0 && !s.Full() {
		if _, err := s.step(); err != nil {
			return err
		}
		if s.settle != nil {
			if err := s.settle(); err != nil {
				return err
			}
		}
	}
	return nil
}

// step delivers one chunk.
func (s *Script) step() (lua.DispatchResult, error) {
	b := &s.batches[0]
	if b.offset == 0 {
		s.next = b.first
	}
	segment, err := s.take(b)
	if err != nil { // damage that the stream did not notice
		s.out.Error(err)
	}
	var result lua.DispatchResult
	if err := s.table.refresh(); err != nil {
		return result, err
	}
	if len(segment) > 0 {
		s.out.Begin("write")
		begin := time.Now()
		result, err = s.vm.Dispatch(segment, lua.DispatchOptions{
			Filter: s.filter, Handler: "write", ReadOnly: s.readOnly,
			Limit: s.setup.Queue, Pending: s.pending, Given: s.given, Messages: 10,
		})
		if err != nil {
			return result, err
		}
		s.pace(result.Records, time.Since(begin))
		s.apply(&result)
		if result.Records > 0 {
			b.offset = s.ends[result.Records-1]
		}
		if result.Stop == lua.StopExit {
			return result, result.Exit
		}
	}
	if b.offset >= len(b.data) || len(segment) == 0 {
		s.batches = s.batches[1:]
	}
	return result, nil
}

// take returns the next events in the form the script gets, after the cache has
// had them. Configuration is not taken together with what came before it: the
// script sees names as they were at its event.
func (s *Script) take(b *batch) ([]byte, error) {
	start, live := b.offset, false
	s.touch(b.data[start:])
	s.events, s.ends, s.segment = s.events[:0], s.ends[:0], s.segment[:0]
	it := event.NewIterator(b.data[start:])
	for len(s.ends) < s.chunk && it.Next() {
		if !configures(it.Event.Type) {
			live = true
		} else if live {
			break
		}
		s.events = append(s.events, it.Event)
		s.ends = append(s.ends, start+it.Offset())
	}
	if s.next >= s.learned {
		s.cache.Expect(s.events)
	}
	same, before := true, start
	for i, e := range s.events {
		foreign := s.setup.Apart && e.Destination != s.setup.Of
		if number := s.next + uint64(i); number >= s.learned { // what is delivered again after the limit was learned before
			if !foreign {
				s.cache.Update(e)
			}
			s.learned = number + 1
		}
		if f := e.Type.Family(); foreign || f != event.None && f != s.family {
			if same {
				s.segment, same = append(s.segment, b.data[start:before]...), false
			}
			if foreign {
				e = event.Event{} // of no type that is defined: it is passed over
			} else {
				e = s.convert(e)
			}
		}
		if !same {
			s.segment = event.AppendBatch(s.segment, []event.Event{e})
		}
		before = s.ends[i]
	}
	if same {
		return b.data[start:before], it.Err()
	}
	return s.segment, it.Err()
}

// touch reads a byte of each line of memory of about the next chunk. Another processor wrote it, and
// asking for all of it in order takes less time than waiting for one event after the other.
func (s *Script) touch(data []byte) {
	const line, perEvent = 64, 512 // bytes
	seen := s.seen
	data = data[:min(len(data), perEvent*s.chunk)]
	for i := 0; i < len(data); i += line {
		seen += data[i]
	}
	s.seen = seen
}

// convert returns an event in the generation the script gets; its payload holds
// until the next call. What has no such form stays as it is, and is passed over
// because its type is not defined.
func (s *Script) convert(e event.Event) event.Event {
	converted, ok, err := s.converter.Convert(e, s.family, s.cache)
	if err != nil {
		s.out.Error(err)
	}
	if !ok {
		return e
	}
	return converted
}

// configures reports whether an event is of a dump of the configuration, rather
// than something that happened.
func configures(t event.Type) bool {
	switch t.Category() {
	case 1:
		switch t.Element() {
		case 3, 10, 11, 12, 15, 16, 17, 19, 21, 22, 23, 25, 27, 28, 30, 31, 33, 34, 37, 39, 40, 41, 42, 44, 49, 50, 51, 52, 53, 54:
			return true
		}
	case 3:
		switch t.Element() {
		case 5, 6, 11, 12:
			return true
		}
	case 6:
		return true
	}
	return false
}

// pace looks for a size of chunks that take a short time each.
func (s *Script) pace(records int, took time.Duration) {
	switch {
	case took > slowChunk:
		s.chunk = max(s.chunk/4, 1)
	case took < quickChunk && records == s.chunk:
		s.chunk = min(2*s.chunk, maxChunk)
	}
}

// apply counts what the script said to the events of a chunk, and acknowledges.
func (s *Script) apply(r *lua.DispatchResult) {
	for i := range r.Errors {
		s.report(&r.Errors[i])
	}
	first := s.next
	s.next += uint64(r.Records)
	s.pending, s.given = r.Pending, r.Given
	switch {
	case s.given == 0: // also what the script never saw (11, number 3)
		s.acknowledge(s.next - 1)
	case r.LastTrue >= 0:
		s.out.Acknowledge(first + uint64(r.LastTrue))
	}
}

// acknowledge acknowledges everything up to through, after which nothing is pending.
func (s *Script) acknowledge(through uint64) {
	s.pending, s.given = 0, 0
	s.out.Acknowledge(through)
}

// report reports an error of filter or write with the event it was about.
func (s *Script) report(e *lua.RecordError) {
	about := event.Type(e.Type).String()
	if e.Cause == lua.CauseMalformed {
		s.out.Log(slog.LevelWarn, "an event is passed over: its payload is damaged: "+about)
		return
	}
	message := e.Err.Message
	if e.Cause == lua.CauseNotBoolean {
		message = "lua: " + message
	}
	s.out.Error(s.at("write", &script.Error{Message: fmt.Sprintf("%s (event %s)", message, about), File: e.Err.File, Line: e.Err.Line, Traceback: e.Err.Traceback, Overtime: e.Err.Deadline}))
}

// Flush calls flush, if there is one (1.6), and goes on with what waits when the
// script has acknowledged. It is called when there is nothing to read, once at
// first and then about once in a second.
func (s *Script) Flush() error {
	if s.flushes {
		if _, _, err := s.flush(); err != nil {
			return err
		}
	}
	return s.run()
}

// flush calls flush and acknowledges when it returns true. ok is false when it
// did not return a boolean. The error is that the script called os.exit.
func (s *Script) flush() (done, ok bool, err error) {
	s.out.Begin("flush")
	results, err := s.vm.Call("flush")
	if exit := new(lua.ExitError); errors.As(err, &exit) {
		return false, false, err
	}
	if err != nil {
		s.out.Error(asScriptError(err))
		return false, false, nil
	}
	if len(results) > 0 {
		done, ok = results[0].(bool)
	}
	if !ok {
		s.out.Error(s.at("flush", &script.Error{Message: "lua: 'flush' must return a boolean"}))
	}
	if done && s.pending > 0 {
		s.acknowledge(s.next - 1)
	}
	return done, ok, nil
}
