package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// Config says which scripts run, and with what.
type Config struct {
	Entries []Entry
	Scan    time.Duration // how often files are looked at; 0 is 5 seconds
	Votes   time.Duration // how long a window waits for the votes of a script; 0 is 10 seconds

	// DataTime is for seconds that end when their data does, not when the clock says so: the stages wait until the scripts are done
	// with each, and what scripts are late for is not left out.
	DataTime bool

	// Who keeps what scripts make; nil for nobody. The engine's ticking goroutine calls them, and Stop.
	Resources func([]Resource)
	Toppers   func(*countergroup.Toppers) // of a flowtracker, whose group has the title "flowtracker NAME"
}

// Entry is a directory that is searched for scripts, or one script.
type Entry struct {
	Path   string
	Setup  Setup         // what its scripts get; Path and Root are filled in
	Budget script.Budget // of the process of each
}

// Monitors runs the monitor scripts of a daemon: it finds their files, attaches them to groups, gives them what the groups hold, and does what they
// ask for. It is a stage of the engine between what is counted and what is stored.
type Monitors struct {
	cfg     Config
	engine  *countergroup.Engine
	groups  *countergroup.Registry
	scripts *script.Registry
	log     *slog.Logger
	limited *telemetry.Limited
	onAlert func([]Alert) // nil for nobody

	effects   *telemetry.Ledger // "monitor.effects": what scripts asked for besides updates
	unknown   *telemetry.Discard
	malformed *telemetry.Discard
	notKept   *telemetry.Discard

	unknownFlow *telemetry.Discard
	windows     *telemetry.Ledger // "monitor.windows": what was to be shown to scripts, in frames
	late        *telemetry.Discard
	gone        *telemetry.Discard

	ready   chan struct{} // closed when every script was heard of
	work    chan func()   // for the goroutine that owns what follows
	stop    chan struct{}
	stopped chan struct{}
	entries []Entry
	members []*member // in the order in which they are loaded
	paths   []error   // that could not be read, as said last
	changed bool      // groups were registered or taken away since scripts were attached
	context int64     // T.contextid of the next instance

	attached atomic.Pointer[attachment]
	flows    flows

	patience        time.Duration             // of a second, for a script that is late; all together get twice that
	waited          map[*member]time.Duration // in the second that is worked on; of the ticking goroutine
	waitedAll       time.Duration
	totals, refused int // of engines, in the window that is worked on: rows of totals, and those that scripts refused

	mu        sync.Mutex // for what follows
	others    []countergroup.OtherGroup
	inboxes   map[addressee]*inbox
	now       int64 // the end of the second that is worked on; 0 before the first
	alerts    collected[Alert]
	resources collected[Resource]
	orphans   []*tracker // of scripts that have ended, whose lists are to be stored
}

// addressee is where messages go: the instances of one half of a file.
type addressee struct {
	member   *member
	frontend bool
}

// inbox holds the messages for an addressee until the next second, newest last.
type inbox struct {
	messages []Message
	bytes    int
}

const (
	defaultScan  = 5 * time.Second
	defaultVotes = 10 * time.Second
	latePatience = 250 * time.Millisecond
	maxMessages  = 10_000 // on their way to one addressee
)

// New returns monitors of the groups of engine. alert, which may be nil, is told of alerts when they are stored. Nothing runs before Start.
func New(cfg Config, engine *countergroup.Engine, groups *countergroup.Registry, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger, alert func([]Alert)) *Monitors {
	if cfg.Scan == 0 {
		cfg.Scan = defaultScan
	}
	if cfg.Votes == 0 {
		cfg.Votes = defaultVotes
	}
	m := &Monitors{
		cfg: cfg, engine: engine, groups: groups, scripts: scripts, log: log, limited: telemetry.NewLimited(log, time.Minute, 5), onAlert: alert,
		effects: reg.Ledger("monitor.effects", "effects"), windows: reg.Ledger("monitor.frames", "frames"),
		entries: cfg.Entries, work: make(chan func(), 64), ready: make(chan struct{}), stop: make(chan struct{}), stopped: make(chan struct{}), patience: latePatience, waited: make(map[*member]time.Duration), others: countergroup.OtherGroups(), inboxes: make(map[addressee]*inbox),
	}
	m.flows.init(reg, cfg.DataTime)
	m.unknownFlow = m.effects.Reason("unknown_flow")
	m.unknown, m.malformed, m.notKept = m.effects.Reason("unknown_group"), m.effects.Reason("malformed"), m.effects.Reason("not_kept")
	m.late, m.gone = m.windows.Reason("script_is_late"), m.windows.Reason("script_ended")
	m.attached.Store(new(attachment))
	again := func(*countergroup.Group) { go m.do(func() { m.changed = true; m.settle() }) }
	groups.OnRegister(again)
	groups.OnRemove(again)
	return m
}

// do has the owning goroutine run f, unless it has ended.
func (m *Monitors) do(f func()) {
	select {
	case m.work <- f:
	case <-m.stopped:
	}
}

// Start begins to look for scripts. It does not wait until they are loaded.
func (m *Monitors) Start(context.Context) error {
	go m.run()
	return nil
}

func (m *Monitors) run() {
	defer close(m.stopped)
	m.scan()
	ticker := time.NewTicker(m.cfg.Scan)
	defer ticker.Stop()
	for {
		select {
		case f := <-m.work:
			f()
		case <-ticker.C:
			m.scan()
		case <-m.stop:
			return
		}
	}
}

// Reload takes other entries, and looks for changed scripts now. Any goroutine.
func (m *Monitors) Reload(entries []Entry) {
	m.do(func() {
		m.entries = entries
		m.scan()
	})
}

// Ready is closed when every script that was there at the start runs or has failed, and those that run are attached.
func (m *Monitors) Ready() <-chan struct{} { return m.ready }

// Stop ends the scripts in order. The engine must have flushed before.
func (m *Monitors) Stop(ctx context.Context) error {
	close(m.stop)
	<-m.stopped
	m.endOrphans()
	for _, b := range m.attached.Load().trackers {
		m.endTracker(b.tracker) // as of the end of its bucket, as windows are
	}
	m.attached.Store(new(attachment))
	m.flows.want(0)
	var ending sync.WaitGroup
	for _, one := range m.members {
		ending.Go(func() { one.end(ctx) })
	}
	ending.Wait()
	// What came since the last flush is stored without votes: nobody is left to ask.
	m.storeItems(new(attachment), m.engine.LastFlush(), true)
	return ctx.Err()
}

// scan starts scripts that are new, loads changed ones anew and ends those whose file is gone.
func (m *Monitors) scan() {
	found, failed := scan(m.entries)
	if said := errorTexts(failed); !slices.Equal(said, errorTexts(m.paths)) {
		for _, err := range failed {
			m.log.Error(err.Error())
		}
	}
	m.paths = failed
	byPath := make(map[string]*member)
	for _, one := range m.members {
		byPath[one.source.path] = one
	}
	var members []*member
	for _, s := range found {
		one := byPath[s.path]
		delete(byPath, s.path)
		switch {
		case one == nil:
			one = m.newMember(s)
			one.begin()
		case !one.source.same(s):
			one.reload(s)
		}
		members = append(members, one)
	}
	for _, one := range byPath {
		m.log.Info("script unloaded: its file is gone", "file", one.source.path)
		one.leave()
	}
	m.members = members
	m.settle()
}

func errorTexts(errs []error) (texts []string) {
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return texts
}

// settle attaches scripts to groups once every script has been heard of: a script may attach to a group that a later file defines.
func (m *Monitors) settle() {
	for _, one := range m.members {
		if one.state == stateLoading {
			return
		}
	}
	for _, one := range m.members { // definitions before monitors
		if one.process != nil && !one.probed {
			one.probe()
		}
	}
	for {
		again := m.changed
		m.changed = false
		for _, one := range m.members {
			if one.process != nil && (again || !one.bound) {
				one.bind(again)
			}
		}
		if !m.changed {
			break
		}
	}
	m.publish()
	for _, one := range m.members {
		for _, i := range one.instances {
			if i.running && !i.said {
				i.said = true
				i.log().Info("script attached")
			}
		}
	}
	select {
	case <-m.ready:
	default:
		close(m.ready)
	}
}

// snapshot names the groups there are.
func (m *Monitors) snapshot() Groups {
	var all Groups
	for _, g := range m.groups.Groups() {
		all.Counter = append(all.Counter, Group{Title: g.Title, GUID: g.GUID, Aliases: g.Aliases})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.others {
		g := Group{Title: o.Title, GUID: o.GUID}
		switch o.Kind {
		case "alert":
			all.Alert = append(all.Alert, g)
		case "resource":
			all.Resource = append(all.Resource, g)
		case "fts":
			all.FTS = append(all.FTS, g)
		case "session":
			all.Session = append(all.Session, g)
		}
	}
	return all
}

// define adds an alert or resource group, unless its GUID is taken.
func (m *Monitors) define(kind string, d Definition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.others {
		if o.Kind == kind && o.GUID == d.GUID {
			return
		}
	}
	m.others = append(m.others, countergroup.OtherGroup{Kind: kind, Title: d.Name, GUID: d.GUID})
	m.changed = true
}

// Script is one file, for people.
type Script struct {
	File      string         `json:"file"`
	State     string         `json:"state"`
	Reason    string         `json:"reason,omitempty"`
	Name      string         `json:"name,omitempty"`
	Instances []ScriptStatus `json:"instances,omitempty"`
}

// ScriptStatus is one instance of a file.
type ScriptStatus struct {
	Type    string `json:"type"`
	Group   string `json:"group,omitempty"`
	Engine  int    `json:"engine"`
	State   string `json:"state"` // running or disabled
	Reason  string `json:"reason,omitempty"`
	Figures State  `json:"figures"`
}

// Status lists the files and their instances. Any goroutine; empty after Stop.
func (m *Monitors) Status() []Script {
	answer := make(chan []Script, 1)
	m.do(func() {
		var all []Script
		for _, one := range m.members {
			all = append(all, one.status())
		}
		answer <- all
	})
	select {
	case all := <-answer:
		return all
	case <-m.stopped:
		return nil
	}
}

// ServeHTTP answers with {"monitors": [Script, ...]}, and to show=alerts or show=resources with {"alerts": [Alert, ...]} or
// {"resources": [Resource, ...]}.
func (m *Monitors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := make(map[string]any)
	switch show := r.URL.Query().Get("show"); show {
	case "":
		answer["monitors"] = m.Status()
	case "alerts":
		answer[show] = m.Alerts()
	case "resources":
		answer[show] = m.Resources()
	default:
		http.Error(w, fmt.Sprintf("cannot show %q: show is alerts or resources, or left out for the scripts", show), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // fails when the caller went away
}
