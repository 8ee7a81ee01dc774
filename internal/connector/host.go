package connector

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

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
	acked  uint64 // what the script acknowledged
	told   uint64 // what the daemon was told
}

// Setup implements script.Host.
func (h *host) Setup(payload []byte, out *script.Writer) error {
	var setup Setup
	if err := json.Unmarshal(payload, &setup); err != nil {
		return fmt.Errorf("cannot read the setup: %w", err)
	}
	h.out = out
	var err error
	h.script, err = Load(setup, h)
	return err
}

// Frame implements script.Host.
func (h *host) Frame(kind byte, payload []byte, _ *script.Writer) error {
	if kind != kindBatch || len(payload) < 8 {
		return fmt.Errorf("BUG: frame of kind %d with %d bytes", kind, len(payload))
	}
	data := append([]byte(nil), payload[8:]...) // the payload is used again, and a full script keeps the batch
	return h.settle(h.script.Deliver(binary.BigEndian.Uint64(payload), data))
}

// Idle implements script.Host.
func (h *host) Idle(*script.Writer) error { return h.settle(h.script.Flush()) }

// Stop implements script.Host.
func (h *host) Stop(out *script.Writer) {
	if err := h.settle(h.script.Flush()); err != nil {
		out.Error(err)
	}
	if err := h.script.Close(); err != nil {
		out.Error(err)
	}
}

// Position implements script.Host.
func (h *host) Position() string {
	if h.script == nil {
		return ""
	}
	return h.script.Position()
}

// Interrupt implements script.Host.
func (h *host) Interrupt() {
	if h.script != nil {
		h.script.Interrupt()
	}
}

// settle makes what the cache learned durable, and then tells the daemon what was
// acknowledged: an event that is never delivered again must not be missing in the cache.
func (h *host) settle(err error) error {
	if exit := new(lua.ExitError); errors.As(err, &exit) {
		h.out.Error(&script.Error{Message: "the script called os.exit", File: h.script.setup.Script})
		h.out.Flush()
		fmt.Fprintln(os.Stderr, "error: the script called os.exit")
		os.Exit(1)
	}
	if failed := h.script.Keep(); failed != nil {
		return errors.Join(err, failed)
	}
	if h.acked > h.told {
		h.told = h.acked
		if failed := h.out.Send(kindAck, binary.BigEndian.AppendUint64(nil, h.acked)); failed != nil {
			return failed
		}
	}
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
