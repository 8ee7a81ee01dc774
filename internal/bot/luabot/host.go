package luabot

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/script"
)

func init() {
	script.RegisterAPI(API, func() script.Host { return new(host) })
}

// host runs one script in a child of the daemon.
type host struct {
	script *luaScript
	reach  atomic.Pointer[luaScript] // script, for other goroutines
}

var _ script.Answerer = (*host)(nil)

// Setup implements script.Host.
func (h *host) Setup(payload []byte, out *script.Writer) error {
	var setup Setup
	if err := json.Unmarshal(payload, &setup); err != nil {
		return errors.New("cannot read the setup") // there may be secrets in it
	}
	var err error
	if h.script, err = newScript(setup, func(line string) { out.Log(slog.LevelInfo, line) }, script.Logger(out.Log)); err != nil {
		return err
	}
	h.reach.Store(h.script) // before it runs something, which may take for ever
	return h.script.load()
}

// Answer implements script.Answerer.
func (h *host) Answer(kind byte, payload []byte, out *script.Writer) ([]byte, error) {
	switch kind {
	case kindJobs:
		var q jobsRequest
		if err := json.Unmarshal(payload, &q); err != nil {
			return nil, fmt.Errorf("BUG: %w", err)
		}
		out.Begin("jobs")
		all, err := h.script.jobs(q.Devices)
		if err != nil {
			h.failed(err, out)
			return nil, err
		}
		return json.Marshal(jobsAnswer{all})
	case kindPerform:
		var q performRequest
		if err := json.Unmarshal(payload, &q); err != nil {
			return nil, fmt.Errorf("BUG: %w", err)
		}
		if q.Until != 0 && time.Now().UnixMilli() > q.Until {
			return nil, errors.New("the jobs before it took too long")
		}
		out.Begin("perform_job " + q.ID)
		values, err := h.script.perform(&q)
		answer := performAnswer{Values: values}
		if err != nil {
			h.failed(err, out)
			answer.Error = err.Error()
		}
		return json.Marshal(answer)
	}
	return nil, fmt.Errorf("BUG: request of kind %d with %d bytes", kind, len(payload))
}

// failed counts an error of the script. After os.exit nothing can be called any more: the process ends.
func (h *host) failed(err error, out *script.Writer) {
	out.Error(err)
	if h.script.exited {
		out.Flush()
		if at := new(script.Error); errors.As(err, &at) {
			fmt.Fprintf(os.Stderr, "%s%s\nerror: %s\n", script.PositionMark, at.Position(), at.Message)
		}
		os.Exit(1)
	}
}

// Frame implements script.Host: there are none.
func (h *host) Frame(kind byte, payload []byte, _ *script.Writer) error {
	return fmt.Errorf("BUG: frame of kind %d with %d bytes", kind, len(payload))
}

// Idle implements script.Host.
func (*host) Idle(*script.Writer) error { return nil }

// Stop implements script.Host.
func (h *host) Stop(*script.Writer) { h.script.close() }

// Position implements script.Host.
func (h *host) Position() string {
	if s := h.reach.Load(); s != nil {
		return s.position()
	}
	return ""
}

// Interrupt implements script.Host.
func (h *host) Interrupt() {
	if s := h.reach.Load(); s != nil {
		s.interrupt()
	}
}
