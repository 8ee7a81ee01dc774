package monitor

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/script"
)

// instance is one Lua state with the callbacks of one block, bound to one group where its type is.
type instance struct {
	Instance
	host    *host
	started Started
	state   *state // nil when it does not run
	dying   string // why it is to be unloaded after the call

	guids   []string // that it updates; the place is the number in updates
	updates []byte   // as in updates.go, without their head
	dropped int64    // updates with values that are not finite

	async    *async
	disabled []string
	reports  map[string]*report
	last     string // error
	told     State
}

// report is an error that was shown, and how often it came again.
type report struct {
	err     script.Error
	shown   time.Time
	repeats int64
}

const (
	repeatEvery = time.Minute // an error of one place and callback is shown
	maxReports  = 200         // places that are told apart in that time
	maxGUIDs    = 4096
)

// prefix is what log lines begin with (8.4).
func (i *instance) prefix() string {
	if i.Title == "" {
		return i.host.name()
	}
	return i.host.name() + " " + i.Title + ":"
}

func (i *instance) log(level slog.Level, text string) { i.host.log(level, i.prefix(), text) }

func (i *instance) frontend() bool { return isFrontend(i.Type) }

// start makes an instance (2.2, 6). One that does not come up says why.
func (h *host) start(n Instance, groups *Groups) *instance {
	i := &instance{Instance: n, host: h, started: Started{Index: n.Index}, reports: make(map[string]*report)}
	fail := func(err error) *instance {
		i.started.Failed, i.started.Reason = true, err.Error()
		i.end()
		return i
	}
	s, err := h.newState(i, groups)
	i.state = s
	if err != nil {
		return fail(err)
	}
	if _, err := s.load(); err != nil {
		return fail(err)
	}
	h.out.Begin("onload")
	results, err := s.patiently("onload")
	if err != nil {
		return fail(h.asScriptError(err, "onload: "))
	}
	if results[0] == false {
		i.started.Reason = "onload returned false"
		i.end()
		return i
	}
	if results, err = s.call("callbacks"); err != nil {
		return fail(err)
	}
	for _, name := range results[0].(*lua.Table).Array {
		i.started.Callbacks = append(i.started.Callbacks, name.(string))
	}
	i.started.Running = true
	return i
}

// end frees the state. What the instance posted is sent by the next settle.
func (i *instance) end() {
	if i.async != nil {
		i.async.stop()
		i.async = nil
	}
	if i.state != nil {
		i.state.close()
		i.state = nil
	}
}

// stop unloads the instance.
func (i *instance) stop() {
	if i.started.Running && i.state != nil {
		i.call("onunload", "onunload")
	}
	i.end()
	i.sendUpdates()
}

// natives are what the prelude of an instance calls.
func (i *instance) natives(t map[string]lua.Value) {
	t["errors"] = lua.Function(i.takeErrors)
	t["disabled"] = lua.Function(func(c *lua.Call) (int, error) {
		name, err := c.String(1)
		if err != nil {
			return 0, err
		}
		most, err := c.Int(2)
		if err != nil {
			return 0, err
		}
		i.disabled = append(i.disabled, name)
		i.log(slog.LevelError, fmt.Sprintf("callback %s has failed %d times in a row and is not called any more", name, most))
		return 0, nil
	})
	t["updates"] = lua.Function(func(c *lua.Call) (int, error) {
		b, err := c.Bytes(1)
		if err != nil {
			return 0, err
		}
		i.updates = append(i.updates, b...)
		if len(i.updates) >= 1<<20 {
			i.sendUpdates()
		}
		return 0, nil
	})
	t["not_finite"] = lua.Function(func(c *lua.Call) (int, error) {
		n, err := c.Int(1)
		i.dropped += n
		return 0, err
	})
	t["slot"] = lua.Function(func(c *lua.Call) (int, error) {
		guid, err := c.String(1)
		if err != nil {
			return 0, err
		}
		slot := slices.Index(i.guids, guid)
		if slot < 0 {
			if len(i.guids) >= maxGUIDs {
				return 0, fmt.Errorf("updates of more than %d groups", maxGUIDs)
			}
			slot = len(i.guids)
			i.guids = append(i.guids, guid)
		}
		c.PushInt(int64(slot))
		return 1, nil
	})
	t["effect"] = lua.Function(i.takeEffect)
	t["schedule"], t["file"] = lua.Function(i.schedule), lua.Function(i.fileJob)
}

func (i *instance) sendUpdates() {
	if len(i.updates) == 0 {
		return
	}
	payload := append(appendUpdatesHead(nil, i.Index, i.guids), i.updates...)
	i.updates = i.updates[:0]
	if err := i.host.out.Send(KindUpdates, payload); err != nil {
		i.host.out.Error(err)
	}
}

// call makes one call into the prelude; callback is its name for people. It returns false when it was
// stopped because it took too long, and also when the instance does not run.
func (i *instance) call(callback, function string, args ...lua.Value) ([]lua.Value, bool) {
	if i.state == nil {
		return nil, false
	}
	i.host.out.Begin(callback)
	results, err := i.state.call(function, args...)
	if err != nil {
		i.stopped(callback, err)
	}
	if i.dying != "" {
		i.started.Running, i.started.Reason, i.started.Failed = false, i.dying, true
		i.log(slog.LevelError, "unloaded: "+i.dying)
		i.end()
		return nil, false
	}
	return results, err == nil
}

// stopped is for an error that the prelude did not catch: a callback was stopped, or memory was used up.
func (i *instance) stopped(callback string, err error) {
	raised := new(lua.Error)
	if !errors.As(err, &raised) || !raised.Deadline {
		i.raised(callback, i.host.asScriptError(err, ""), 1)
		i.dying = cmp.Or(i.dying, "the state of the script is not usable: "+err.Error())
		return
	}
	if results, err := i.state.call("timed_out"); err == nil && len(results) > 0 {
		if name, ok := results[0].(string); ok {
			callback = name
		}
	}
	e := i.host.asScriptError(err, "")
	e.Message = fmt.Sprintf("callback %s exceeded %v", callback, i.host.call())
	i.raised(callback, e, 1)
	if _, err := i.state.call("finish"); err != nil {
		i.dying = "the state of the script is not usable: " + err.Error()
	}
}

// takeErrors gets what went wrong in callbacks, from host.report.
func (i *instance) takeErrors(c *lua.Call) (int, error) {
	list, err := c.Table(1)
	if err != nil {
		return 0, err
	}
	for _, v := range list.Array {
		t, ok := v.(*lua.Table)
		if !ok {
			continue
		}
		e := new(script.Error)
		e.Message, _ = t.Get("message").(string)
		e.File, _ = t.Get("file").(string)
		line, _ := t.Get("line").(int64)
		e.Line = int(line)
		e.Traceback, _ = t.Get("trace").(string)
		name, _ := t.Get("callback").(string)
		count, _ := t.Get("count").(int64)
		if e.Message == "not enough memory" {
			i.dying = fmt.Sprintf("%s used more memory than the %d bytes a state may have", name, i.host.setup.Memory)
		}
		i.raised(name, e, count)
	}
	return 0, nil
}

// raised shows an error of a callback that came count times, unless it was shown less than a minute ago.
func (i *instance) raised(callback string, e *script.Error, count int64) {
	now := i.host.now()
	key := callback + "\x00" + e.Position()
	if e.Traceback == "" { // no error, but something to complain about
		key += e.Message
	}
	r := i.reports[key]
	if r == nil {
		if len(i.reports) >= maxReports {
			for key, r := range i.reports {
				if now.Sub(r.shown) >= repeatEvery {
					delete(i.reports, key)
				}
			}
			if len(i.reports) >= maxReports {
				return // the daemon counts errors, and these tell nothing new
			}
		}
		r = new(report)
		i.reports[key] = r
	}
	r.err = *e
	if !strings.HasPrefix(e.Message, "callback ") {
		r.err.Message = callback + ": " + e.Message
	}
	r.err.Message = i.prefix() + " " + r.err.Message
	r.repeats += count
	i.last = strings.ReplaceAll(r.err.Error(), "\n", " ")
	if r.shown.IsZero() || now.Sub(r.shown) >= repeatEvery {
		i.show(r, now)
	}
}

func (i *instance) show(r *report, now time.Time) {
	e := r.err
	if r.repeats > 1 {
		e.Message += fmt.Sprintf(" (%d times)", r.repeats)
	}
	r.shown, r.repeats = now, 0
	i.host.out.Error(&e)
}

// repeats shows errors that came again since they were shown.
func (i *instance) repeats() {
	now := i.host.now()
	for _, r := range i.reports {
		if r.repeats > 0 && now.Sub(r.shown) >= repeatEvery {
			i.show(r, now)
		}
	}
}

// rows works on a window, a second or a topper list. The size of steps follows their time: a step is what the
// supervisor measures.
func (i *instance) rows(kind byte, payload []byte) {
	function, callback := "window", "onflush"
	switch kind {
	case KindToppers:
		function, callback = "toppers", "ontopperflush"
	case KindSecond:
		function, callback = "second", "onupdate"
	}
	if _, ok := i.call(callback, function, payload); !ok {
		return
	}
	limit := 16
	for i.state != nil {
		began := time.Now()
		results, ok := i.call(callback, "step", int64(limit))
		if ok && results[0] == true {
			return
		}
		limit = nextLimit(limit, time.Since(began))
	}
}

// nextLimit is how many callbacks the next step makes at most.
func nextLimit(limit int, took time.Duration) int {
	switch {
	case took < 10*time.Millisecond:
		return min(2*limit, 1024)
	case took > 40*time.Millisecond:
		return max(limit/2, 1)
	}
	return limit
}

// votes is the answer for the rows that were worked on last; a yes to all from an instance that does not run.
func (i *instance) votes(payload []byte) []byte {
	if results, ok := i.call("votes", "votes"); ok {
		return []byte(results[0].(string))
	}
	rows := int(order.Uint32(payload[16:]))
	yes := bytes.Repeat([]byte{0xff}, 1+(rows+7)/8)
	return append(yes, 0, 0, 0, 0)
}

func (i *instance) message(m *Message) {
	var id lua.Value
	if m.ID != "" {
		id = m.ID
	}
	i.call("onmessage", "message", id, m.Text)
}

// flush tells an engine_monitor of the beginning or the end of a flush, and every instance the time of it.
func (i *instance) flush(f *Flush) {
	switch {
	case i.Type != TypeEngineMonitor:
		i.call("onbeginflush", "set_now", f.Time)
	case f.End:
		i.call("onendflush", "simple", "onendflush", f.Time)
	default:
		i.call("onbeginflush", "set_now", f.Time)
		i.call("onbeginflush", "simple", "onbeginflush", f.Time)
	}
}

// fares returns how the instance is, and whether that is news.
func (i *instance) fares() (State, bool) {
	s := State{Index: i.Index, Calls: i.told.Calls, Errors: i.told.Errors, LastError: i.last, Disabled: i.disabled, NotFinite: i.dropped}
	if i.state == nil {
		s.Reason = i.started.Reason
	} else if results, err := i.state.call("figures"); err == nil {
		s.Calls, _ = results[0].(int64)
		s.Errors, _ = results[1].(int64)
		s.Memory = i.state.vm.Memory()
	}
	changed := s.Calls != i.told.Calls || s.Errors != i.told.Errors || s.LastError != i.told.LastError || len(s.Disabled) != len(i.told.Disabled) ||
		s.Reason != i.told.Reason || s.NotFinite != i.told.NotFinite
	i.told = s
	return s, changed
}
