package script

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	writeBuffer     = 64 << 10 // bytes that wait for the end of a call at most
	errorsPerSecond = 10       // whose text is sent; all are counted
	linesPerSecond  = 100      // of the log that are sent; more than the daemon writes
	maxText         = 16 << 10 // bytes of a log line, message or traceback
)

// Writer is how a Host talks to its daemon. Its methods may be called from any
// goroutine. A daemon that is gone ends the process, so nothing here reports it.
type Writer struct {
	calls    *calls
	errors   atomic.Uint64
	overtime atomic.Uint64 // of them those of calls that took too long
	unsaid   atomic.Uint64 // lines of the log that were not sent

	mu    sync.Mutex
	conn  io.Writer
	buf   []byte
	texts perSecond // of errors
	lines perSecond // of the log
}

// perSecond counts what happens in a second. It is under the lock of the Writer.
type perSecond struct {
	begin time.Time
	count int
}

// allow counts one more, and reports whether these are at most so many in this second.
func (p *perSecond) allow(most int) bool {
	if now := time.Now(); now.Sub(p.begin) >= time.Second {
		p.begin, p.count = now, 0
	}
	p.count++
	return p.count <= most
}

// Send sends a frame of the contract. It goes out when the call ends, when
// enough is waiting, or with Flush.
func (w *Writer) Send(kind byte, payload []byte) error {
	if kind < FirstKind {
		panic(fmt.Sprintf("BUG: the frame kind %d is not a contract's", kind))
	}
	if len(payload) > MaxPayload {
		return fmt.Errorf("cannot send a frame with %d bytes: at most %d are allowed", len(payload), MaxPayload)
	}
	w.send(kind, payload)
	return nil
}

// Flush sends what waits.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

// Log writes a line to the daemon's log, with the name of the script, at a
// limited rate: what is above it is counted here, so that a flood costs the daemon nothing.
func (w *Writer) Log(level slog.Level, text string) {
	w.mu.Lock()
	allowed := w.lines.allow(linesPerSecond)
	w.mu.Unlock()
	if !allowed {
		w.unsaid.Add(1)
		return
	}
	w.sendNow(kindLog, encode(logLine{Level: int(level), Text: cut(text)}))
}

// Error reports an error of the script, after which it goes on. All count, the
// daemon shows some.
func (w *Writer) Error(err error) {
	w.errors.Add(1)
	if e := new(Error); errors.As(err, &e) && e.Overtime {
		w.overtime.Add(1)
	}
	w.mu.Lock()
	allowed := w.texts.allow(errorsPerSecond)
	w.mu.Unlock()
	if allowed {
		w.sendNow(kindError, encode(asError(err)))
	}
}

// Begin says that the running call has come to a step of its own, such as the
// next event: Budget.Busy and Budget.Hard begin anew, and name is what the
// daemon calls it. It is for the goroutine of the calls.
func (w *Writer) Begin(name string) { w.calls.begin(name) }

func (w *Writer) send(kind byte, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = appendFrame(w.buf, kind, payload)
	if len(w.buf) >= writeBuffer {
		w.flush()
	}
}

func (w *Writer) sendNow(kind byte, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = appendFrame(w.buf, kind, payload)
	w.flush()
}

// progress tells which frames are done and which one is in work, and sends what waits.
func (w *Writer) progress(done, inWork uint64) {
	var payload [16]byte
	binary.BigEndian.PutUint64(payload[:8], done)
	binary.BigEndian.PutUint64(payload[8:], inWork)
	w.sendNow(kindProgress, payload[:])
}

// reply answers a request.
func (w *Writer) reply(id uint32, answer []byte, err error) {
	status := byte(1)
	if err == nil && len(answer) > MaxPayload-5 {
		err = fmt.Errorf("the answer has %d bytes, at most %d are allowed", len(answer), MaxPayload-5)
	}
	if err != nil {
		status, answer = 0, []byte(err.Error())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = appendHeader(w.buf, kindReply, 5+len(answer))
	w.buf = append(binary.BigEndian.AppendUint32(w.buf, id), status)
	w.buf = append(w.buf, answer...)
	if len(w.buf) >= writeBuffer {
		w.flush()
	}
}

// flush is called with the lock held.
func (w *Writer) flush() {
	if len(w.buf) == 0 {
		return
	}
	_, _ = w.conn.Write(w.buf) // fails when the daemon is gone, which the reader sees
	if cap(w.buf) > 16*writeBuffer {
		w.buf = nil
	}
	w.buf = w.buf[:0]
}

// asError finds the error of the script in err.
func asError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Message: cut(err.Error())}
	}
	return &Error{cut(e.Message), e.File, e.Line, cut(e.Traceback), e.Overtime}
}

func cut(text string) string {
	if len(text) > maxText {
		return text[:maxText] + "..."
	}
	return text
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: cannot encode a frame: %v", err))
	}
	return text
}

// calls knows the call that runs, for the goroutines that ask about it.
type calls struct {
	mu    sync.Mutex
	count uint64
	name  string // "" while none runs
	began time.Time
	busy  time.Duration // in calls that ended
}

func (c *calls) begin(name string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.name != "" {
		c.busy += now.Sub(c.began)
	}
	c.count++
	c.name, c.began = name, now
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy += time.Since(c.began)
	c.name = ""
}

// interrupt calls stop while a call runs.
func (c *calls) interrupt(stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.name != "" {
		stop()
	}
}

func (c *calls) pong() pong {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := pong{Calls: c.count, Busy: int64(c.busy), Name: c.name}
	if c.name != "" {
		p.Running = int64(time.Since(c.began))
		p.Busy += p.Running
	}
	return p
}
