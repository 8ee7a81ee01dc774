package connector

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/script"
)

// API is the name of the contract.
const API = "centreon"

// Frames between the halves. Numbers are big-endian.
const (
	kindBatch byte = script.FirstKind     // to the script: u64 number of the first event, a batch of events
	kindAck   byte = script.FirstKind + 1 // from the script: u64 number of the last event that is acknowledged
)

func init() {
	script.RegisterAPI(API, func() script.Host { return new(host) })
}

// host runs one script in a child of the daemon.
type host struct {
	out    *script.Writer
	script *Script
	loaded atomic.Pointer[Script] // script, for other goroutines
	begun  bool                   // it has taken over
	acked  uint64                 // what the script acknowledged
	told   uint64                 // what the daemon was told
	cache  cacheTeller

	settled time.Time // when it was told
}

// collectAt is by how many per cent the heap may grow before it is collected. Most of it
// is a cache whose buffers are used again, so there is little to collect.
const collectAt = 30

// settleEvery is how often the daemon is told of acknowledgements within a frame.
const settleEvery = 5 * time.Millisecond

// Setup implements script.Host.
func (h *host) Setup(payload []byte, out *script.Writer) error {
	var setup Setup
	if err := json.Unmarshal(payload, &setup); err != nil {
		return fmt.Errorf("cannot read the setup: %w", err)
	}
	h.out = out
	debug.SetGCPercent(collectAt)
	h.script = newScript(setup, h)
	h.script.settle = h.settleSoon
	h.loaded.Store(h.script) // before it loads, which may take for ever: the daemon asks where it is
	return h.script.load()
}

// begin is called before a call that only a script that has taken over gets: the
// process before it, if there was one, has ended. What was sent to a script without
// a cache must not count as done, so an error ends the process.
func (h *host) begin() {
	if h.begun {
		return
	}
	h.begun = true
	if err := h.script.TakeOver(); err != nil {
		h.out.Error(err)
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// Frame implements script.Host.
func (h *host) Frame(kind byte, payload []byte, _ *script.Writer) error {
	if kind != kindBatch || len(payload) < 8 {
		return fmt.Errorf("BUG: frame of kind %d with %d bytes", kind, len(payload))
	}
	h.begin()
	return h.settle(h.script.Deliver(binary.BigEndian.Uint64(payload), payload[8:]))
}

// Idle implements script.Host.
func (h *host) Idle(*script.Writer) error {
	h.begin()
	return h.settle(h.script.Flush())
}

// Stop implements script.Host.
func (h *host) Stop(out *script.Writer) {
	if err := h.settle(h.script.Flush()); err != nil {
		out.Error(err)
	}
	if err := h.script.Close(); err != nil {
		out.Error(err)
	}
}

// Place implements script.Placer.
func (h *host) Place() string { return h.script.place() }

// Position implements script.Host.
func (h *host) Position() string {
	s := h.loaded.Load()
	if s == nil {
		return ""
	}
	return s.Position()
}

// Interrupt implements script.Host.
func (h *host) Interrupt() {
	if s := h.loaded.Load(); s != nil {
		s.Interrupt()
	}
}

// settle makes what the cache learned durable, and then tells the daemon what was
// acknowledged: an event that is never delivered again must not be missing in the cache.
func (h *host) settle(err error) error {
	if exit := new(lua.ExitError); errors.As(err, &exit) {
		at := &script.Error{Message: exit.Error(), File: cmp.Or(exit.File, h.script.setup.Script), Line: exit.Line}
		h.out.Error(at)
		h.out.Flush()
		fmt.Fprintf(os.Stderr, "%s%s\nerror: %s\n", script.PositionMark, at.Position(), at.Message)
		os.Exit(1)
	}
	if failed := h.script.Keep(); failed != nil {
		return errors.Join(err, failed)
	}
	if figures := h.cache.due(h.script.cache); figures != nil {
		if failed := h.out.Send(kindCache, figures); failed != nil {
			return failed
		}
	}
	if h.acked > h.told {
		h.told, h.settled = h.acked, time.Now()
		if failed := h.out.Send(kindAck, binary.BigEndian.AppendUint64(nil, h.acked)); failed != nil {
			return failed
		}
	}
	return err
}

// settleSoon is settle for within a frame: a script that is slow has acknowledged events
// long before the frame is done.
func (h *host) settleSoon() error {
	if h.acked == h.told || time.Since(h.settled) < settleEvery {
		return nil
	}
	err := h.settle(nil)
	h.out.Flush()
	return err
}

// Log implements Output.
func (h *host) Log(level slog.Level, text string) { h.out.Log(level, text) }

// Error implements Output.
func (h *host) Error(err error) { h.out.Error(err) }

// Begin implements Output.
func (h *host) Begin(call string) { h.out.Begin(call) }

// Acknowledge implements Output.
func (h *host) Acknowledge(through uint64) { h.acked = through }
