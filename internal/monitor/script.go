package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/script"
)

func init() {
	script.RegisterAPI(API, func() script.Host { return newHost(time.Now) })
}

// output is where a host's words go: a script.Writer.
type output interface {
	Send(kind byte, payload []byte) error
	Log(level slog.Level, text string)
	Error(err error)   // the script goes on
	Begin(call string) // a call of the script begins
}

// host runs one file, with a Lua state for the probe and one per instance.
type host struct {
	now    func() time.Time
	out    output
	setup  Setup
	homes  homes
	source []byte // of the file
	probe  *state
	plugin bool   // the file assigned TrisulPlugin
	broken string // why a file that is no plugin does not run, for Probe

	instances map[int]*instance
	made      int                   // one more than the largest index there was
	order     []*instance           // by index
	running   atomic.Pointer[state] // that a call is made into, for other goroutines
	told      time.Time             // when State was sent
	effects   []Effect
}

func newHost(now func() time.Time) *host {
	return &host{now: now, instances: make(map[int]*instance)}
}

// name is what log lines begin with.
func (h *host) name() string { return "[" + filepath.Base(h.setup.Path) + "]" }

// Setup implements script.Host.
func (h *host) Setup(payload []byte, out *script.Writer) error {
	h.out = out
	if err := json.Unmarshal(payload, &h.setup); err != nil {
		return fmt.Errorf("cannot read the setup: %w", err)
	}
	return h.load()
}

// load runs the file in the state of the probe.
func (h *host) load() error {
	if err := h.homes.parse(h.setup.Homes); err != nil {
		return err
	}
	source, err := os.ReadFile(h.setup.Path)
	if err != nil {
		return &script.Error{Message: fmt.Sprintf("cannot read the script: %v", err), File: h.setup.Path}
	}
	if len(source) > 0 && source[0] == '#' {
		source = append([]byte("--"), source...)
	}
	h.source = source
	h.probe, err = h.newState(nil, &Groups{})
	if err != nil {
		return err
	}
	if h.plugin, err = h.probe.load(); err != nil {
		if strings.Contains(string(source), "TrisulPlugin") {
			return err
		}
		h.broken = err.Error() // a tool, a dump or a fixture
		return nil
	}
	if h.setup.Groups == nil || !h.plugin {
		return nil
	}
	if p := h.describe(h.setup.Groups); p.Failed != "" {
		return &script.Error{Message: p.Failed, File: h.setup.Path}
	}
	return nil
}

// Answer implements script.Answerer.
func (h *host) Answer(kind byte, payload []byte, _ *script.Writer) ([]byte, error) {
	defer h.settle()
	switch kind {
	case KindProbe:
		var groups Groups
		if err := json.Unmarshal(payload, &groups); err != nil {
			return nil, fmt.Errorf("cannot read the groups: %w", err)
		}
		return json.Marshal(h.describe(&groups))
	case KindBind:
		var bind Bind
		if err := json.Unmarshal(payload, &bind); err != nil {
			return nil, fmt.Errorf("cannot read the instances: %w", err)
		}
		return json.Marshal(h.bind(&bind))
	case KindWindow, KindToppers:
		i, err := h.rows(kind, payload)
		if err != nil {
			return nil, err
		}
		return i.votes(payload), nil
	case KindItems, KindFlows:
		votes, err := h.itemsOf(kind, payload)
		if err != nil {
			return nil, err
		}
		return json.Marshal(votes)
	case KindSync:
		return nil, nil
	}
	return nil, fmt.Errorf("BUG: request of kind %d with %d bytes", kind, len(payload))
}

// Frame implements script.Host.
func (h *host) Frame(kind byte, payload []byte, _ *script.Writer) error {
	defer h.settle()
	switch kind {
	case KindWindow, KindToppers, KindSecond:
		_, err := h.rows(kind, payload)
		return err
	case KindItems, KindFlows:
		_, err := h.itemsOf(kind, payload)
		return err
	case KindPackets:
		return h.packets(payload)
	case KindTick:
		var tick Tick
		if err := json.Unmarshal(payload, &tick); err != nil {
			return fmt.Errorf("cannot read the tick: %w", err)
		}
		h.tick(&tick)
		return nil
	case KindFlush:
		var flush Flush
		if err := json.Unmarshal(payload, &flush); err != nil {
			return fmt.Errorf("cannot read the flush: %w", err)
		}
		for _, i := range h.order {
			i.flush(&flush)
		}
		return nil
	}
	return fmt.Errorf("BUG: frame of kind %d with %d bytes", kind, len(payload))
}

// Idle implements script.Host.
func (h *host) Idle(*script.Writer) error {
	for _, i := range h.order {
		i.results()
		i.repeats()
	}
	h.settle()
	return nil
}

// Stop implements script.Host.
func (h *host) Stop(*script.Writer) {
	for _, i := range h.order {
		i.stop()
	}
	h.told = time.Time{}
	h.settle()
	if h.probe != nil {
		h.probe.close()
	}
}

// Position implements script.Host.
func (h *host) Position() string {
	s := h.running.Load()
	if s == nil {
		return ""
	}
	p := s.vm.Position()
	if p == nil {
		return ""
	}
	return (&script.Error{File: p.File, Line: p.Line}).Position()
}

// Interrupt implements script.Host.
func (h *host) Interrupt() {
	if s := h.running.Load(); s != nil {
		s.vm.Interrupt()
		s.modules.Interrupt() // after it: what blocks in a module returns to a call that is to end
	}
}

// bind makes the instances that are named and are not there, and unloads the others.
func (h *host) bind(b *Bind) *Bound {
	named := make(map[int]bool)
	for _, n := range b.Instances {
		named[n.Index] = true
	}
	for _, i := range h.order {
		if !named[i.Index] {
			i.stop()
			delete(h.instances, i.Index)
		}
	}
	for _, n := range b.Instances {
		if h.instances[n.Index] == nil {
			h.instances[n.Index] = h.start(n, &b.Groups)
			h.made = max(h.made, n.Index+1)
		}
	}
	h.order = slices.SortedFunc(maps.Values(h.instances), func(a, b *instance) int { return a.Index - b.Index })
	bound := new(Bound)
	for _, i := range h.order {
		bound.Instances = append(bound.Instances, i.started)
	}
	return bound
}

// instance finds an instance. One that was unloaded while a frame for it was under way does nothing, and says yes to everything.
func (h *host) instance(index int) (*instance, error) {
	switch i := h.instances[index]; {
	case i != nil:
		return i, nil
	case index < h.made:
		return new(instance), nil
	}
	return nil, fmt.Errorf("BUG: a frame for instance %d, which was never there", index)
}

// rows finds the instance that a binary frame is for, and works on the frame.
func (h *host) rows(kind byte, payload []byte) (*instance, error) {
	if len(payload) < headSize {
		return nil, fmt.Errorf("BUG: rows in %d bytes", len(payload))
	}
	i, err := h.instance(int(order.Uint32(payload)))
	if err != nil {
		return nil, err
	}
	i.rows(kind, payload)
	return i, nil
}

// tick delivers messages and then ticks.
func (h *host) tick(t *Tick) {
	for _, m := range t.Messages {
		for _, i := range h.order {
			if i.Index != m.From && i.frontend() == m.Frontend {
				i.message(&m)
			}
		}
	}
	for _, i := range h.order {
		i.results()
		if !t.MessagesOnly {
			i.call("onmetronome", "metronome", t.Time)
		}
	}
}

// settle sends what the instances collected.
func (h *host) settle() {
	for _, i := range h.order {
		i.sendUpdates()
	}
	h.sendEffects()
	now := h.now()
	if now.Sub(h.told) < time.Second {
		return
	}
	h.told = now
	var states []State
	for _, i := range h.order {
		if s, changed := i.fares(); changed {
			states = append(states, s)
		}
	}
	if len(states) > 0 {
		h.send(KindState, states)
	}
}

const effectsPerFrame = 1000

func (h *host) effect(e Effect) {
	h.effects = append(h.effects, e)
	if len(h.effects) >= effectsPerFrame {
		h.sendEffects()
	}
}

func (h *host) sendEffects() {
	if len(h.effects) > 0 {
		h.send(KindEffects, h.effects)
		h.effects = h.effects[:0]
	}
}

func (h *host) send(kind byte, v any) {
	text, err := json.Marshal(v)
	if err == nil {
		err = h.out.Send(kind, text)
	}
	if err != nil {
		h.out.Error(err)
	}
}

func (h *host) log(level slog.Level, prefix, text string) { h.out.Log(level, prefix+" "+text) }

// asScriptError gives an error of the Lua state the form that the daemon shows with its place.
func (h *host) asScriptError(err error, prefix string) *script.Error {
	e := &script.Error{Message: prefix + err.Error(), File: h.setup.Path}
	if raised := new(lua.Error); errors.As(err, &raised) {
		e.Traceback, e.Overtime = raised.Traceback, raised.Deadline
		message := raised.Message
		if raised.File != "" && raised.Line > 0 {
			e.Line = raised.Line
			if !strings.HasPrefix(raised.File, "...") { // a name that Lua cut
				e.File = raised.File
			}
			if _, rest, ok := strings.Cut(message, fmt.Sprintf(":%d: ", raised.Line)); ok {
				message = rest
			}
		}
		e.Message = prefix + message
		if raised.Deadline {
			e.Message = prefix + "it was stopped because it took too long"
		}
	}
	return e
}

// call is how long one callback may take, 0 is for ever.
func (h *host) call() time.Duration { return time.Duration(h.setup.Call) * time.Millisecond }
