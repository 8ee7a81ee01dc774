package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/script"
)

// What a file is at.
const (
	stateLoading   = "loading"
	stateRunning   = "running"
	stateUnmatched = "unmatched" // no group, or nothing that runs
	stateModule    = "module"    // a file that is no plugin
	stateFailed    = "failed"
)

// member is one file. Its fields belong to the goroutine of Monitors.run, except for what says otherwise.
type member struct {
	m          *Monitors
	source     source
	supervisor *script.Supervisor // nil when no process runs
	process    *script.Process    // that has loaded, nil without
	state      string
	reason     string

	probed    bool // its definitions are known
	bound     bool // to the groups there are
	result    Probe
	instances []*placement
	next      int // index of the next instance

	updates *countergroup.Batch // for the goroutine that reads from the process
	known   map[string]*countergroup.Group
	told    map[string]bool // what that goroutine logged once
	said    map[string]bool // what this one did
	silent  atomic.Bool     // it did not vote in the flush that goes on; of the ticking goroutine and those it waits for
}

// placement is one Lua state of a file, as the daemon knows it.
type placement struct {
	Instance
	member    *member
	group     *countergroup.Group // nil for types that are not bound to a counter group
	callbacks map[string]bool
	running   bool
	said      bool // that it is attached
	reason    string
	figures   State
	release   func()   // of what is watched; nil when nothing is
	tracker   *tracker // of a flowtracker
}

// has reports whether any of the callbacks is defined.
func (i *placement) has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return i.callbacks[name] })
}

func (m *Monitors) newMember(s source) *member {
	return &member{m: m, source: s, updates: m.engine.Batch(), known: make(map[string]*countergroup.Group), told: make(map[string]bool), said: make(map[string]bool)}
}

// begin starts a process when the file looks like a plugin.
func (o *member) begin() {
	text, err := os.ReadFile(o.source.path)
	switch {
	case err != nil:
		o.fail("cannot be read: " + err.Error())
		return
	case !bytes.Contains(text, []byte("TrisulPlugin")):
		o.state, o.reason = stateModule, "it does not set TrisulPlugin"
		o.m.log.Debug("not a script to run: it does not set TrisulPlugin", "file", o.source.path)
		return
	}
	o.state, o.reason = stateLoading, ""
	o.supervisor = script.New(o.spec(o.source, nil), o, o.m.scripts, o.m.log)
	if err := o.supervisor.Start(context.Background()); err != nil {
		o.supervisor = nil
		o.fail(err.Error())
	}
}

// spec is for the process of a file. groups are those that a changed one must be usable with.
func (o *member) spec(s source, groups *Groups) script.Spec {
	setup := s.entry.Setup
	setup.Path, setup.Root, setup.Groups = s.path, s.root, groups
	payload, err := json.Marshal(setup)
	if err != nil {
		panic("BUG: cannot encode a setup: " + err.Error())
	}
	return script.Spec{Name: "monitor:" + s.name, API: API, Path: s.path, Setup: payload, Budget: s.entry.Budget, LoadOnce: true}
}

func (o *member) fail(reason string) {
	o.state, o.reason = stateFailed, reason
	o.m.log.Error("script not loaded", "file", o.source.path, "reason", reason)
}

// reload takes a changed file. While the new version does not load, the old one goes on.
func (o *member) reload(s source) {
	before := o.source
	o.source = s
	if o.supervisor == nil || o.state == stateFailed || o.state == stateModule {
		o.leave()
		o.begin()
		return
	}
	supervisor, groups := o.supervisor, o.m.snapshot()
	go func() { // OnReady or the error comes through the goroutine that waits here otherwise
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := supervisor.Reload(ctx, o.spec(s, &groups)); err != nil {
			o.m.log.Error("the changed script cannot be loaded: the version before it goes on", "file", before.path, "error", err)
		}
	}()
}

// leave ends the process without waiting for it.
func (o *member) leave() {
	if supervisor := o.supervisor; supervisor != nil {
		o.supervisor = nil
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = supervisor.Stop(ctx) // it is killed then
		}()
	}
	o.detach()
}

// end ends the process in order; Monitors.run has ended before.
func (o *member) end(ctx context.Context) {
	o.unwatch()
	if o.supervisor != nil {
		_ = o.supervisor.Stop(ctx) // it is killed when ctx ends
	}
}

// detach forgets the process and its instances.
func (o *member) detach() {
	o.unwatch()
	for _, i := range o.instances {
		if i.tracker != nil {
			o.m.mu.Lock()
			o.m.orphans = append(o.m.orphans, i.tracker)
			o.m.mu.Unlock()
		}
	}
	o.process, o.instances, o.probed, o.bound, o.next = nil, nil, false, false, 0
}

func (o *member) unwatch() {
	for _, i := range o.instances {
		if i.release != nil {
			i.release()
			i.release = nil
		}
	}
}

// OnReady implements script.Handler.
func (o *member) OnReady(p *script.Process) {
	go o.m.do(func() {
		if o.supervisor == nil {
			return // it was to end meanwhile
		}
		o.detach()
		o.process, o.state, o.reason = p, stateUnmatched, ""
		clear(o.said)
		o.m.settle()
	})
}

// OnExit implements script.Handler. A file that cannot be loaded is not tried again before it changes.
func (o *member) OnExit(e *script.Exit) {
	go o.m.do(func() {
		if o.supervisor == nil || e.Asked {
			return
		}
		o.detach()
		if e.Failure != nil {
			supervisor := o.supervisor
			o.supervisor = nil
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				_ = supervisor.Stop(ctx)
			}()
			o.fail(e.Failure.Error())
		} else {
			o.state, o.reason = stateFailed, e.Error()
		}
		o.m.settle()
	})
}

// ask is one request to the process, in JSON.
func (o *member) ask(kind byte, question, answer any) error {
	payload, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reply, err := o.process.Request(ctx, kind, payload)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(reply, answer); err != nil {
		return fmt.Errorf("cannot read the answer of the script's process: %w", err)
	}
	return nil
}

// probe learns what the file is and registers the groups it defines.
func (o *member) probe() {
	o.probed = true
	log := o.m.log.With("file", o.source.path)
	if !o.look() {
		return
	}
	for _, w := range o.result.Warnings {
		log.Warn("script: " + w)
	}
	for _, e := range o.result.Errors {
		log.Error("script: " + e)
	}
	for _, d := range o.result.Counter {
		g, err := o.m.groups.Register(d.Definition)
		if err != nil {
			if errors.Is(err, countergroup.ErrMeters) {
				log.Warn("script: "+err.Error(), "defined_as", d.Title)
			} else {
				log.Error("script: " + err.Error())
				continue
			}
		}
		for _, k := range d.Keys {
			g.SetLabel(k.Key, k.Label, "")
		}
	}
	for _, d := range o.result.Alert {
		o.m.define("alert", d)
	}
	for _, d := range o.result.Resource {
		o.m.define("resource", d)
	}
}

// look asks what the file is.
func (o *member) look() bool {
	var result Probe
	if err := o.ask(KindProbe, o.m.snapshot(), &result); err != nil {
		if !errors.Is(err, script.ErrEnded) {
			o.fail(err.Error())
		}
		return false
	}
	o.result = result
	switch {
	case !result.Plugin:
		o.state, o.reason = stateModule, "it leaves TrisulPlugin nil"
		o.leave()
		return false
	case result.Failed != "":
		o.fail(result.Failed)
		return false
	}
	return true
}

// bind makes the instances that the groups there are ask for. again is set when groups have been registered since.
func (o *member) bind(again bool) {
	o.bound = true
	if !o.result.Plugin || o.result.Failed != "" || again && !o.look() {
		return
	}
	o.state, o.reason = stateUnmatched, ""
	groups := o.m.snapshot()
	var wanted []*placement
	var why []string
	for _, block := range o.result.Blocks {
		more, notes := o.wanted(block, groups)
		for _, note := range notes {
			o.once("script: "+note, "file", o.source.path, "type", block.Type)
		}
		if len(more) == 0 {
			why = append(why, fmt.Sprintf("no %s matches %s", groupKind(block.Type), describe(block.Attach)))
		}
		wanted = append(wanted, more...)
	}
	if len(wanted) == 0 {
		o.reason = strings.Join(why, "; ")
		if o.reason == "" {
			o.reason = "it defines groups only"
		} else {
			o.once("script not loaded: "+o.reason, "file", o.source.path)
		}
	}
	if slices.Equal(wanted, o.instances) {
		if len(wanted) > 0 {
			o.state = stateRunning
		}
		return
	}
	o.part(wanted)
	ask := Bind{Groups: groups}
	for _, i := range wanted {
		ask.Instances = append(ask.Instances, i.Instance)
	}
	var answer Bound
	if err := o.ask(KindBind, ask, &answer); err != nil {
		o.m.log.Error("cannot attach a script", "file", o.source.path, "error", err)
		return
	}
	o.instances = wanted
	for _, s := range answer.Instances {
		if n := slices.IndexFunc(wanted, func(i *placement) bool { return i.Index == s.Index }); n >= 0 {
			o.started(wanted[n], s)
		}
	}
	if len(wanted) > 0 {
		o.state = stateRunning
	}
}

// part gives up the instances whose groups are not there any more, before their process is told to unload them: nothing is
// sent to them then.
func (o *member) part(wanted []*placement) {
	gone := slices.DeleteFunc(slices.Clone(o.instances), func(i *placement) bool { return slices.Contains(wanted, i) })
	for _, i := range gone {
		if i.release != nil {
			i.release()
		}
		if i.said {
			o.m.log.Info("script unloaded: its group was taken away", "file", o.source.path, "type", i.Type, "group", i.Title)
		}
	}
	if len(gone) > 0 {
		o.instances = slices.DeleteFunc(slices.Clone(o.instances), func(i *placement) bool { return slices.Contains(gone, i) })
		o.m.publish()
	}
}

// wanted are the instances of a block, those there are already included.
func (o *member) wanted(block Block, groups Groups) (all []*placement, notes []string) {
	engines := o.m.engine.Engines()
	if isFrontend(block.Type) { // of the frontend, which has none
		engines = 1
	}
	var list *tracker // one for all engines
	add := func(guid, title string, g *countergroup.Group) {
		for engine := range engines {
			if n := slices.IndexFunc(o.instances, func(i *placement) bool { return i.Type == block.Type && i.GUID == guid && i.Engine == engine }); n >= 0 {
				all = append(all, o.instances[n])
				list = o.instances[n].tracker
				continue
			}
			o.m.context++
			i := &placement{Instance: Instance{Index: o.next, Type: block.Type, Context: o.m.context, Engine: engine, GUID: guid, Title: title}, member: o, group: g}
			if g != nil {
				i.Meters = len(g.Meters)
			}
			if block.Type == TypeFlowTracker {
				if list == nil {
					list = newTracker(block.Tracker, o.source.name, o.m.engine.Window())
				}
				i.tracker = list
			}
			o.next++
			all = append(all, i)
		}
	}
	from, bindable := groups.of(block.Type)
	if !bindable {
		add("", "", nil)
		return all, nil
	}
	if block.Attach == nil {
		return nil, nil
	}
	matched, notes := match(*block.Attach, from)
	for _, g := range matched {
		var counter *countergroup.Group
		if block.Type == TypeCGMonitor {
			counter = o.m.groups.Lookup(g.GUID)
		}
		add(g.GUID, g.Title, counter)
	}
	return all, notes
}

// of are the groups that a block of a type can be bound to; bindable is false for types that are bound to none.
func (g *Groups) of(blockType string) (groups []Group, bindable bool) {
	switch blockType {
	case TypeCGMonitor:
		return g.Counter, true
	case TypeAlertMonitor:
		return g.Alert, true
	case TypeResourceMonitor:
		return g.Resource, true
	case TypeFTSMonitor:
		return g.FTS, true
	case TypeSGMonitor:
		return g.Session, true
	}
	return nil, false
}

// log is the log for what happens to an instance.
func (i *placement) log() *slog.Logger {
	o := i.member
	log := o.m.log.With("file", o.source.path, "type", i.Type, "group", i.Title)
	if o.m.engine.Engines() > 1 {
		log = log.With("engine", i.Engine)
	}
	return log
}

// started takes how an instance came up. That it is attached is said once it is shown things: see settle.
func (o *member) started(i *placement, s Started) {
	if i.callbacks == nil && !s.Running {
		level := slog.LevelInfo
		if s.Failed {
			level = slog.LevelError
		}
		i.log().Log(context.Background(), level, "script not attached", "reason", s.Reason)
	}
	i.running, i.reason, i.callbacks = s.Running, s.Reason, make(map[string]bool)
	for _, name := range s.Callbacks {
		i.callbacks[name] = true
	}
	if i.running && i.group != nil && i.release == nil && i.has("onupdate", "onnewkey") {
		i.release = o.m.engine.Watch(i.group, i.has("onupdate"), i.has("onnewkey"))
	}
}

// once logs a line the first time it is said about this version of the file.
func (o *member) once(text string, args ...any) {
	if key := fmt.Sprint(text, args); !o.said[key] {
		o.said[key] = true
		o.m.log.Info(text, args...)
	}
}

func groupKind(blockType string) string {
	switch blockType {
	case TypeCGMonitor:
		return "counter group"
	case TypeAlertMonitor:
		return "alert group"
	case TypeResourceMonitor:
		return "resource group"
	case TypeFTSMonitor:
		return "fts group"
	}
	return "session group"
}

// describe is an attach specification for people.
func describe(a *Attach) string {
	if a == nil {
		return "nothing"
	}
	var parts []string
	if len(a.GUIDs) > 0 {
		parts = append(parts, "the GUIDs "+strings.Join(a.GUIDs, ", "))
	}
	for _, name := range a.Names {
		parts = append(parts, fmt.Sprintf("the name %q", name))
	}
	if a.HasRegex {
		parts = append(parts, fmt.Sprintf("the expression %q", a.Regex))
	}
	if len(parts) == 0 {
		return "what it names: nothing"
	}
	return strings.Join(parts, " or ")
}

func (o *member) status() Script {
	s := Script{File: o.source.path, State: o.state, Reason: o.reason, Name: o.result.Name}
	for _, i := range o.instances {
		one := ScriptStatus{Type: i.Type, Group: i.Title, Engine: i.Engine, State: "running", Reason: i.reason, Figures: i.figures}
		if !i.running || i.figures.Reason != "" {
			one.State = "disabled"
		}
		s.Instances = append(s.Instances, one)
	}
	return s
}
