package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
)

// Call is one call of a script's function in a Run, for people.
type Call struct {
	Call  string `json:"call"`            // the callback; "load" for the file itself
	Group string `json:"group,omitempty"` // title of the group that the instance is attached to
	Time  int64  `json:"ts,omitempty"`    // Unix seconds

	Key     string    `json:"key,omitempty"`
	Meter   *int      `json:"meter,omitempty"`
	Metrics []float64 `json:"metrics,omitempty"`
	Metric  *float64  `json:"metric,omitempty"` // of a topper item
	Alert   *Alert    `json:"alert,omitempty"`  // that it is shown
	Message *string   `json:"message,omitempty"`

	Returned  *bool              `json:"returned,omitempty"`  // what a vote counts as; of onload, whether the instance runs
	Overrides map[string]float64 `json:"overrides,omitempty"` // by meter

	// What it asked for.
	Updates []Posted `json:"updates,omitempty"`
	Alerts  []Alert  `json:"alerts,omitempty"`
	Effects []Asked  `json:"effects,omitempty"` // everything else

	Errors []string `json:"errors,omitempty"`
}

// Posted is a counter update of a script.
type Posted struct {
	GUID  string  `json:"guid"`
	Key   string  `json:"key"`
	Meter int     `json:"meter"`
	Value float64 `json:"value"`
}

// Asked is an Effect for people.
type Asked struct {
	Op        string    `json:"op"`
	GUID      string    `json:"guid,omitempty"` // of a message, its id
	Key       string    `json:"key,omitempty"`
	Flow      string    `json:"flow,omitempty"`
	Name      string    `json:"name,omitempty"`
	Value     string    `json:"value,omitempty"`
	Label     string    `json:"label,omitempty"`
	Text      string    `json:"text,omitempty"`
	ToGUID    string    `json:"to_guid,omitempty"`
	ToKey     string    `json:"to_key,omitempty"`
	Meter     int       `json:"meter,omitempty"`
	Direction int       `json:"direction,omitempty"`
	Number    float64   `json:"number,omitempty"`
	Numbers   []float64 `json:"numbers,omitempty"`
}

// Run runs one file in this process, for people who write scripts: it is the stage of an engine on data time and makes each call
// by itself, so that what comes of it can be shown. It is for the goroutine that ticks the engine.
type Run struct {
	host    *host
	engine  *countergroup.Engine
	groups  *countergroup.Registry
	known   *Monitors // what an attachment is found with; nothing of it runs
	updates *countergroup.Batch
	out     RunOutput

	instances []*placement
	call      Call // that runs
	messages  []Message
	alerts    []Alert // since the last second
	window    []Alert // since the last flush
	err       error   // of out
}

// RunOutput takes what a run does.
type RunOutput interface {
	Call(c Call) error // an error ends the run
	Log(level slog.Level, text string)
}

// NewRun loads the file of setup, registers the groups it defines and attaches it. Nothing was called when it returns an error
// besides what loading calls. The caller makes it a stage of engine.
func NewRun(setup Setup, engine *countergroup.Engine, groups *countergroup.Registry, out RunOutput) (*Run, error) {
	r := &Run{host: newHost(time.Now), engine: engine, groups: groups, updates: engine.Batch(), out: out}
	r.host.out, r.host.setup = runWriter{r}, setup
	r.call = Call{Call: "load"}
	if err := r.host.load(); err != nil {
		return nil, err
	}
	known := &Monitors{engine: engine, groups: groups, others: countergroup.OtherGroups()}
	r.known = known
	probe := r.host.describe(new(known.snapshot()))
	switch {
	case !probe.Plugin && probe.Failed != "":
		return nil, errors.New(probe.Failed)
	case !probe.Plugin:
		return nil, errors.New("it leaves TrisulPlugin nil: it is a module, not a script to run")
	case probe.Failed != "":
		return nil, errors.New(probe.Failed)
	}
	for _, w := range probe.Warnings {
		out.Log(slog.LevelWarn, w)
	}
	r.call.Errors = append(r.call.Errors, probe.Errors...)
	for _, d := range probe.Counter {
		g, err := groups.Register(d.Definition)
		if err != nil {
			r.call.Errors = append(r.call.Errors, err.Error())
			continue
		}
		for _, k := range d.Keys {
			g.SetLabel(k.Key, k.Label, "")
		}
	}
	for kind, list := range map[string][]Definition{"alert": probe.Alert, "resource": probe.Resource} {
		for _, d := range list {
			known.define(kind, d)
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return r, r.attach(probe, known.snapshot())
}

// attach makes the instances.
func (r *Run) attach(probe *Probe, all Groups) error {
	file := &member{m: r.known}
	matched := false
	for _, block := range probe.Blocks {
		switch block.Type {
		case TypeSGMonitor, TypeFlowTracker, TypeMessageMonitor, TypeResourceMonitor, TypeFTSMonitor, TypeSimpleCounter:
			r.out.Log(slog.LevelWarn, "a run shows counter groups and alerts: "+block.Type+" is loaded, and only its onmetronome called")
		}
		wanted, notes := file.wanted(block, all)
		for _, note := range notes {
			r.out.Log(slog.LevelInfo, note)
		}
		if len(wanted) == 0 {
			r.out.Log(slog.LevelWarn, fmt.Sprintf("no %s matches %s", groupKind(block.Type), describe(block.Attach)))
		}
		for _, i := range wanted {
			matched = true
			r.begin(i, "onload", 0)
			ask := Bind{Groups: all}
			for _, other := range append(r.instances, i) {
				ask.Instances = append(ask.Instances, other.Instance)
			}
			for _, s := range r.host.bind(&ask).Instances {
				if s.Index == i.Index {
					i.running, i.callbacks = s.Running, make(map[string]bool)
					for _, name := range s.Callbacks {
						i.callbacks[name] = true
					}
					if s.Failed {
						r.call.Errors = append(r.call.Errors, s.Reason)
					}
				}
			}
			r.instances = append(r.instances, i)
			r.host.settle()
			r.call.Returned = &i.running
			if err := r.done(); err != nil {
				return err
			}
			if i.running && i.group != nil && i.has("onupdate", "onnewkey") {
				r.engine.Watch(i.group, i.has("onupdate"), i.has("onnewkey"))
			}
		}
	}
	if !matched {
		return errors.New("it is attached to nothing, see above")
	}
	return nil
}

// Close unloads the script. The engine must have finished before.
func (r *Run) Close() error {
	for n := range r.instances {
		i := r.instances[n]
		ask := Bind{}
		for _, other := range r.instances[n+1:] {
			ask.Instances = append(ask.Instances, other.Instance)
		}
		r.begin(i, "onunload", 0)
		r.host.bind(&ask)
		r.host.settle()
		if i.running && i.has("onunload") {
			_ = r.done() // it is kept
		}
	}
	r.host.Stop(nil)
	return r.err
}

// Err is what ended the run, or nil.
func (r *Run) Err() error { return r.err }

func (r *Run) begin(i *placement, name string, t int64) {
	r.call = Call{Call: name, Group: i.Title, Time: t}
}

// done hands the call over.
func (r *Run) done() error {
	if r.err == nil {
		r.err = r.out.Call(r.call)
	}
	r.call = Call{}
	return r.err
}

// frame makes one call by a frame.
func (r *Run) frame(kind byte, payload []byte) {
	if err := r.host.Frame(kind, payload, nil); err != nil {
		r.call.Errors = append(r.call.Errors, err.Error())
	}
	_ = r.done() // it is kept
}

// vote makes one call by a request, and returns the answer, nil without one.
func (r *Run) vote(kind byte, payload []byte, rows, meters int) *Votes {
	answer, err := r.host.Answer(kind, payload, nil)
	if err == nil {
		var v Votes
		if v, err = DecodeVotes(answer, rows, meters); err == nil {
			return &v
		}
	}
	r.call.Errors = append(r.call.Errors, err.Error())
	return nil
}

// of are the running instances of a group that see the keys of an engine.
func (r *Run) of(g *countergroup.Group, engine int) (some []*placement) {
	for _, i := range r.instances {
		if i.running && i.group == g && i.Engine == engine {
			some = append(some, i)
		}
	}
	return some
}

func (r *Run) ofType(name string) (some []*placement) {
	for _, i := range r.instances {
		if i.running && i.Type == name {
			some = append(some, i)
		}
	}
	return some
}

// BeginSecond implements countergroup.Stage.
func (r *Run) BeginSecond(t int64) {
	messages := r.messages
	r.messages = nil
	for _, m := range messages {
		for _, i := range r.instances {
			if i.running && i.has("onmessage") && i.Index != m.From && isFrontend(i.Type) == m.Frontend {
				r.begin(i, "onmessage", t)
				r.call.Message = new(string(m.Text))
				r.host.instances[i.Index].message(&m)
				r.host.settle()
				_ = r.done()
			}
		}
	}
}

// Second implements countergroup.Stage.
func (r *Run) Second(s *countergroup.Second) {
	for _, i := range r.of(s.Group, s.Engine) {
		for n := range s.Rows {
			row := s.Rows[n]
			if row.New && i.has("onnewkey") {
				r.begin(i, "onnewkey", s.Time)
				r.call.Key = row.Key
				r.frame(KindSecond, AppendSecond(nil, i.Index, s.Time, 0, s.Rows[n:n+1]))
			}
			if row.Values != nil && i.has("onupdate") {
				r.begin(i, "onupdate", s.Time)
				r.call.Key, r.call.Metrics = row.Key, row.Values
				row.New = false
				r.frame(KindSecond, AppendSecond(nil, i.Index, s.Time, len(s.Group.Meters), []countergroup.Row{row}))
			}
		}
	}
}

// EndSecond implements countergroup.Stage.
func (r *Run) EndSecond(t int64) {
	alerts := r.alerts
	r.alerts = nil
	for _, i := range r.ofType(TypeAlertMonitor) {
		for _, a := range alerts {
			if alertKind.of(r.known, &a, i.GUID, i.Engine) && i.has("onnewalert") {
				r.begin(i, "onnewalert", t)
				r.call.Alert = &a
				r.frame(KindItems, encode(Items{Instance: i.Index, Event: EventNew, Time: t, Alerts: []Alert{a}}))
			}
		}
	}
	for _, i := range r.instances {
		if !i.running {
			continue
		}
		one := r.host.instances[i.Index]
		one.results()
		r.begin(i, "onmetronome", t)
		one.call("onmetronome", "metronome", t)
		r.host.settle()
		if i.has("onmetronome") {
			_ = r.done()
		}
	}
}

// BeginFlush implements countergroup.Stage.
func (r *Run) BeginFlush(t int64) { r.flush("onbeginflush", Flush{Time: t}) }

func (r *Run) flush(name string, f Flush) {
	for _, i := range r.instances {
		if !i.running {
			continue
		}
		r.begin(i, name, f.Time)
		r.host.instances[i.Index].flush(&f)
		r.host.settle()
		if i.Type == TypeEngineMonitor && i.has(name) {
			_ = r.done()
		}
	}
}

// Window implements countergroup.Stage.
func (r *Run) Window(w *countergroup.Window) {
	all, meters := r.of(w.Group, w.Engine), len(w.Group.Meters)
	none := func(i *placement, name string, mode Mode, part Part) {
		if i.has(name) {
			r.begin(i, name, w.End)
			r.frame(KindWindow, AppendWindow(nil, i.Index, mode, part, w.End, meters, nil))
		}
	}
	for _, i := range all {
		if w.First {
			none(i, "onbeginflush", ModeVote, First)
		}
	}
	for n := range w.Rows {
		one := w.Rows[n : n+1]
		pass, changed := len(all) == 0, []*Votes(nil)
		for _, i := range all {
			if !i.has("onflushfilter") {
				pass = true
				continue
			}
			r.begin(i, "onflushfilter", w.End)
			r.call.Key, r.call.Metrics = one[0].Key, append([]float64(nil), one[0].Values...)
			v := r.vote(KindWindow, AppendWindow(nil, i.Index, ModeVote, 0, w.End, meters, one), 1, meters)
			yes := v == nil || v.Pass(0)
			r.call.Returned, pass = &yes, pass || yes
			if v != nil && yes {
				changed = append(changed, v)
				for _, o := range v.Overrides {
					if r.call.Overrides == nil {
						r.call.Overrides = make(map[string]float64)
					}
					r.call.Overrides[strconv.Itoa(o.Meter)] = o.Value
				}
			}
			_ = r.done()
		}
		if !pass {
			one[0].Drop()
			continue
		}
		for _, v := range changed {
			override(one, v)
		}
		for _, i := range all {
			if i.has("onflush") {
				r.begin(i, "onflush", w.End)
				r.call.Key, r.call.Metrics = one[0].Key, one[0].Values
				r.frame(KindWindow, AppendWindow(nil, i.Index, ModeFlush, 0, w.End, meters, one))
			}
		}
	}
	for _, i := range all {
		if w.Last {
			none(i, "onendflush", ModeFlush, Last)
		}
	}
}

// Toppers implements countergroup.Stage.
func (r *Run) Toppers(l *countergroup.Toppers) {
	all := r.of(l.Group, l.Engine)
	frame := func(i *placement, mode Mode, part Part, items []countergroup.Item) []byte {
		return AppendToppers(nil, i.Index, mode, part, l.End, l.Meter, items)
	}
	enabled := false
	for _, i := range all {
		if !i.has("onbegintopperflush") {
			enabled = true
			continue
		}
		r.begin(i, "onbegintopperflush", l.End)
		r.call.Meter = &l.Meter
		v := r.vote(KindToppers, frame(i, ModeVote, First, nil), 0, 1)
		yes := v == nil || v.Enabled
		r.call.Returned, enabled = &yes, enabled || yes
		_ = r.done()
	}
	for n := range l.Items {
		one := l.Items[n : n+1]
		pass := len(all) == 0
		for _, i := range all {
			if !i.has("ontopperflushfilter") {
				pass = true
				continue
			}
			r.begin(i, "ontopperflushfilter", l.End)
			r.call.Key, r.call.Metric, r.call.Meter = one[0].Key, &one[0].Value, &l.Meter
			v := r.vote(KindToppers, frame(i, ModeVote, 0, one), 1, 1)
			yes := v == nil || v.Pass(0)
			r.call.Returned, pass = &yes, pass || yes
			_ = r.done()
		}
		if !pass {
			one[0].Drop()
			continue
		}
		for _, i := range all {
			if enabled && i.has("ontopperflush") {
				r.begin(i, "ontopperflush", l.End)
				r.call.Key, r.call.Metric, r.call.Meter = one[0].Key, &one[0].Value, &l.Meter
				r.frame(KindToppers, frame(i, ModeFlush, 0, one))
			}
		}
	}
	for _, i := range all {
		if i.has("onendtopperflush") {
			r.begin(i, "onendtopperflush", l.End)
			r.call.Meter = &l.Meter
			r.frame(KindToppers, frame(i, ModeFlush, Last, nil))
		}
	}
}

// EndFlush implements countergroup.Stage.
func (r *Run) EndFlush(t int64) {
	alerts := r.window
	r.window = nil
	for _, i := range r.ofType(TypeAlertMonitor) {
		empty := func(name string, items Items) {
			if i.has(name) {
				r.begin(i, name, t)
				r.frame(KindItems, encode(items))
			}
		}
		empty("onbeginflush", Items{Instance: i.Index, Event: EventFlush, Time: t, Begin: true})
		for _, a := range alerts {
			if !alertKind.of(r.known, &a, i.GUID, i.Engine) {
				continue
			}
			items := Items{Instance: i.Index, Event: EventFilter, Time: t, Alerts: []Alert{a}}
			if i.has("flushfilter") {
				r.begin(i, "flushfilter", t)
				r.call.Alert = &a
				var votes ItemVotes
				answer, err := r.host.Answer(KindItems, encode(items), nil)
				if err == nil {
					err = json.Unmarshal(answer, &votes)
				}
				if err != nil {
					r.call.Errors = append(r.call.Errors, err.Error())
				}
				yes := len(votes.Pass) == 0 || votes.Pass[0]
				r.call.Returned = &yes
				_ = r.done()
				if !yes {
					continue
				}
				for _, c := range votes.Changed {
					for from, to := range map[*string]*string{c.Message: &a.Message, c.ExtraMessage: &a.ExtraMessage} {
						if from != nil {
							*to = *from
						}
					}
					if c.Priority != nil {
						a.Priority = *c.Priority
					}
					items.Alerts[0] = a
				}
			}
			if i.has("onflush") {
				items.Event = EventFlush
				r.begin(i, "onflush", t)
				r.call.Alert = &items.Alerts[0]
				r.frame(KindItems, encode(items))
			}
		}
		empty("onendflush", Items{Instance: i.Index, Event: EventFlush, Time: t, End: true})
	}
	r.flush("onendflush", Flush{Time: t, End: true})
}

// runWriter is the output of the script half.
type runWriter struct{ r *Run }

func (w runWriter) Log(level slog.Level, text string) { w.r.out.Log(level, text) }
func (w runWriter) Error(err error)                   { w.r.call.Errors = append(w.r.call.Errors, err.Error()) }
func (w runWriter) Begin(string)                      {}

// Send takes what the script asks for. Updates count in the next second.
func (w runWriter) Send(kind byte, payload []byte) error {
	r := w.r
	switch kind {
	case KindUpdates:
		updates, err := DecodeUpdates(payload)
		if err != nil {
			return err
		}
		for updates.Next() {
			guid := updates.GUIDs[updates.GUID]
			r.call.Updates = append(r.call.Updates, Posted{guid, string(updates.Key), updates.Meter, updates.Value})
			switch g := r.groups.Lookup(guid); {
			case g == nil:
				r.call.Errors = append(r.call.Errors, fmt.Sprintf("no counter group has the GUID %s: the update is dropped", guid))
			case updates.Meter >= len(g.Meters):
				r.call.Errors = append(r.call.Errors, fmt.Sprintf("the counter group %q has no meter %d: the update is dropped", g.Title, updates.Meter))
			default:
				r.updates.Add(g, updates.Key, updates.Meter, updates.Value)
			}
		}
		r.updates.Post()
		return updates.Err()
	case KindEffects:
		var effects []Effect
		if err := json.Unmarshal(payload, &effects); err != nil {
			return err
		}
		for _, e := range effects {
			switch {
			case e.Op == OpAlert && e.Alert != nil:
				e.Alert.Time = float64(r.call.Time)
				r.call.Alerts = append(r.call.Alerts, *e.Alert)
				r.alerts, r.window = append(r.alerts, *e.Alert), append(r.window, *e.Alert)
			case e.Op == OpMessage && e.Message != nil:
				r.messages = append(r.messages, *e.Message)
				r.call.Effects = append(r.call.Effects, Asked{Op: e.Op, GUID: e.Message.ID, Text: string(e.Message.Text)})
			default:
				r.call.Effects = append(r.call.Effects, Asked{
					e.Op, e.GUID, string(e.Key), e.Flow, e.Name, e.Value, e.Label, e.Text, e.ToGUID, string(e.ToKey), e.Meter, e.Direction, e.Number, e.Numbers,
				})
			}
		}
	}
	return nil
}
