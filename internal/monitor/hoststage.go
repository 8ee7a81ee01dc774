package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/script"
)

// attachment is which instances run, as the stage sees it: a snapshot that is replaced, never changed.
type attachment struct {
	groups    map[*countergroup.Group]map[int][]*bound // by engine, in load order
	processes []*processed                             // in load order
	alerts    []*bound
	resources []*bound
	sessions  []*bound // sg_monitors
	trackers  []*bound
	messages  []*bound // that are shown records
	packets   []*bound
	engines   []*processed // with an engine_monitor
}

// processed is a script's process.
type processed struct {
	member  *member
	process *script.Process

	backend, frontend bool // instances of these halves have an onmessage
	subscriptions     []string
}

// bound is a running instance.
type bound struct {
	processed
	index    int
	guid     string
	engine   int
	filter   bool // onflushfilter, or flushfilter
	flushes  bool // onbeginflush, onflush or onendflush
	vetoes   bool // ontopperflushfilter
	begins   bool // onbegintopperflush
	tops     bool // any of the topper callbacks
	updates  bool
	newKeys  bool
	ends     bool // onterminate
	newItems bool // onnewalert, onnewresource, onnewflow
	frontend bool // a messagemonitor or simplecounter, which is of no engine
	tracker  *tracker
}

// publish makes the snapshot of what runs now.
func (m *Monitors) publish() {
	a := &attachment{groups: make(map[*countergroup.Group]map[int][]*bound)}
	wants := uint32(0)
	for _, one := range m.members {
		if one.process == nil || one.supervisor == nil {
			continue
		}
		p := &processed{member: one, process: one.process, subscriptions: one.result.Subscriptions}
		runs, engine := false, false
		for _, i := range one.instances {
			if !i.running {
				continue
			}
			runs = true
			if i.has("onmessage") {
				p.frontend, p.backend = p.frontend || isFrontend(i.Type), p.backend || !isFrontend(i.Type)
			}
			b := &bound{processed: *p, index: i.Index, guid: i.GUID, engine: i.Engine}
			switch i.Type {
			case TypeCGMonitor:
				b.filter, b.flushes = i.has("onflushfilter"), i.has("onbeginflush", "onflush", "onendflush")
				b.vetoes, b.begins = i.has("ontopperflushfilter"), i.has("onbegintopperflush")
				b.tops = b.vetoes || b.begins || i.has("ontopperflush", "onendtopperflush")
				b.updates, b.newKeys = i.has("onupdate"), i.has("onnewkey")
				if a.groups[i.group] == nil {
					a.groups[i.group] = make(map[int][]*bound)
				}
				a.groups[i.group][i.Engine] = append(a.groups[i.group][i.Engine], b)
			case TypeAlertMonitor:
				b.filter, b.flushes, b.newItems = i.has("flushfilter"), i.has("onbeginflush", "onflush", "onendflush"), i.has("onnewalert")
				a.alerts = append(a.alerts, b)
			case TypeResourceMonitor:
				b.filter, b.flushes, b.newItems = i.has("flushfilter"), i.has("onbeginflush", "onflush", "onendflush"), i.has("onnewresource")
				a.resources = append(a.resources, b)
			case TypeSGMonitor:
				b.filter, b.flushes = i.has("flushfilter"), i.has("onbeginflush", "onflush", "onendflush")
				b.newItems, b.updates, b.ends = i.has("onnewflow"), i.has("onupdate"), i.has("onterminate")
				a.sessions = append(a.sessions, b)
				if b.newItems || b.updates || b.ends {
					wants |= wantFlows
				}
				if b.filter || b.flushes {
					wants |= wantFlushes
				}
			case TypeFlowTracker:
				b.tracker = i.tracker
				a.trackers = append(a.trackers, b)
				wants |= wantFlushes
			case TypeMessageMonitor:
				b.frontend = true
				a.messages = append(a.messages, b)
				wants |= wantRecords
			case TypeSimpleCounter:
				b.frontend = true
				if slices.ContainsFunc(one.result.Blocks, func(b Block) bool { return b.Type == i.Type && b.Records }) {
					a.messages = append(a.messages, b)
					wants |= wantRecords
				} else {
					a.packets = append(a.packets, b)
					wants |= wantPackets
				}
			case TypeEngineMonitor:
				engine = true
			}
		}
		if runs {
			a.processes = append(a.processes, p)
		}
		if engine {
			a.engines = append(a.engines, p)
		}
	}
	m.attached.Store(a)
	m.flows.want(wants)
}

// send shows a script something that it is not asked about. A script that has enough to do is waited for a moment, so that the many frames of a large flush are
// not left out; a script that is late misses it.
func (m *Monitors) send(p *processed, kind byte, payload []byte) {
	m.windows.Received(1)
	err := p.process.Send(kind, payload)
	if errors.Is(err, script.ErrFull) {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if !m.cfg.DataTime {
			ctx, cancel = context.WithTimeout(ctx, min(m.patience-m.waited[p.member], 2*m.patience-m.waitedAll))
		}
		began := time.Now()
		err = p.process.SendWait(ctx, kind, payload)
		cancel()
		m.waited[p.member] += time.Since(began)
		m.waitedAll += time.Since(began)
	}
	switch {
	case err == nil:
		m.windows.Passed(1)
	case errors.Is(err, script.ErrFull):
		m.late.Add(1)
		m.limited.Warn("a script is late: what it was to be shown is left out", "file", p.member.source.path, "frames", m.late.Count())
	default:
		m.gone.Add(1)
	}
}

// request asks a script for its votes and reports whether it answered. Without an answer its vote is yes, and it is not asked again in this flush: one that
// loops is waited for once, not once for every group.
func (m *Monitors) request(p *processed, kind byte, payload []byte) ([]byte, bool) {
	if p.member.silent.Load() {
		m.windows.Received(1)
		m.late.Add(1)
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.Votes)
	defer cancel()
	m.windows.Received(1)
	answer, err := p.process.Request(ctx, kind, payload)
	if err != nil {
		p.member.silent.Store(true)
		if errors.Is(err, context.DeadlineExceeded) {
			m.late.Add(1)
		} else {
			m.gone.Add(1)
		}
		m.limited.Warn("a script did not vote: everything passes", "file", p.member.source.path, "error", err)
		return nil, false
	}
	m.windows.Passed(1)
	return answer, true
}

// BeginSecond implements countergroup.Stage: messages come before everything else of a second.
func (m *Monitors) BeginSecond(t int64) {
	m.mu.Lock()
	inboxes := m.inboxes
	m.inboxes, m.now = make(map[addressee]*inbox), t
	m.mu.Unlock()
	clear(m.waited)
	m.waitedAll = 0
	if len(inboxes) == 0 {
		return
	}
	for _, p := range m.attached.Load().processes {
		for _, frontend := range []bool{false, true} {
			if box := inboxes[addressee{p.member, frontend}]; box != nil {
				m.send(p, KindTick, encode(Tick{Time: t, MessagesOnly: true, Messages: box.messages}))
			}
		}
	}
}

// Second implements countergroup.Stage: onnewkey and onupdate.
func (m *Monitors) Second(s *countergroup.Second) {
	for _, b := range m.attached.Load().groups[s.Group][s.Engine] {
		rows, meters := s.Rows, 0
		switch {
		case b.updates:
			meters = len(s.Group.Meters)
		case b.newKeys:
			rows = newOnly(rows)
		default:
			continue
		}
		if len(rows) == 0 {
			continue
		}
		if rows[0].Values == nil { // the watching of values begins with the next second
			meters = 0
		}
		m.send(&b.processed, KindSecond, AppendSecond(nil, b.index, s.Time, meters, rows))
	}
}

func newOnly(rows []countergroup.Row) (news []countergroup.Row) {
	for _, r := range rows {
		if r.New {
			news = append(news, r)
		}
	}
	return news
}

// EndSecond implements countergroup.Stage: alerts, resources, flows, and onmetronome.
func (m *Monitors) EndSecond(t int64) {
	a := m.attached.Load()
	showNew(m, a.alerts, &m.alerts, alertKind, t)
	showNew(m, a.resources, &m.resources, resourceKind, t)
	m.secondOfFlows(a, t)
	m.ShowRecords()
	tick := encode(Tick{Time: t})
	for _, p := range a.processes {
		m.send(p, KindTick, tick)
	}
	m.sync()
}

// sync waits, on data time, until the scripts have done what they were shown: what they post counts in the next second.
func (m *Monitors) sync() {
	if !m.cfg.DataTime {
		return
	}
	for _, p := range m.attached.Load().processes {
		_, _ = p.process.Request(context.Background(), KindSync, nil) // one that has ended posts nothing any more
	}
}

func encode(v any) []byte {
	payload, err := json.Marshal(v)
	if err != nil {
		panic("BUG: cannot encode a frame: " + err.Error())
	}
	return payload
}

// BeginFlush implements countergroup.Stage.
func (m *Monitors) BeginFlush(t int64) {
	a := m.attached.Load()
	m.endOrphans()
	for _, p := range a.processes {
		p.member.silent.Store(false)
	}
	for _, p := range a.engines {
		m.send(p, KindFlush, encode(Flush{Time: t}))
	}
}

// storeItems flushes alerts and resources and hands on what passes; the last time everything there is.
func (m *Monitors) storeItems(a *attachment, t int64, last bool) {
	if alerts := flushItems(m, a.alerts, &m.alerts, alertKind, t, last); len(alerts) > 0 && m.onAlert != nil {
		m.onAlert(alerts)
	}
	if resources := flushItems(m, a.resources, &m.resources, resourceKind, t, last); len(resources) > 0 && m.cfg.Resources != nil {
		m.cfg.Resources(resources)
	}
}

// EndFlush implements countergroup.Stage: alerts, resources and flows are flushed behind the groups.
func (m *Monitors) EndFlush(t int64) {
	a := m.attached.Load()
	m.storeItems(a, t, false)
	m.flushFlows(a, t)
	for _, p := range a.engines {
		m.send(p, KindFlush, encode(Flush{Time: t, End: true}))
	}
	m.sync()
}

// Window implements countergroup.Stage: votes, overrides and onflush, sections 2.3 and 2.4.
func (m *Monitors) Window(w *countergroup.Window) {
	if w.Engine == countergroup.WholeGroup {
		m.wholeGroup(w)
		return
	}
	all := m.attached.Load().groups[w.Group][w.Engine]
	voters := slices.DeleteFunc(slices.Clone(all), func(b *bound) bool { return !b.filter })
	meters := len(w.Group.Meters)
	frame := func(b *bound, mode Mode, rows []countergroup.Row) []byte {
		return AppendWindow(nil, b.index, mode, partOf(w.First, w.Last), w.End, meters, rows)
	}
	ask := func(b *bound, mode Mode) *Votes {
		reply, ok := m.request(&b.processed, KindWindow, frame(b, mode, w.Rows))
		if !ok {
			return nil
		}
		v, err := DecodeVotes(reply, len(w.Rows), meters)
		if err != nil {
			m.limited.Warn("a script's votes are left out: "+err.Error(), "file", b.member.source.path)
			return nil
		}
		return &v
	}
	if len(all) == 1 && len(voters) == 1 { // it decides alone
		if v := ask(all[0], ModeDecide); v != nil {
			for i := range w.Rows {
				if !v.Pass(i) {
					w.Rows[i].Drop()
				}
			}
			override(w.Rows, v)
		}
		m.countTotals(w)
		return
	}
	passed := w.Rows
	if len(voters) > 0 {
		decisive := len(voters) == len(all)
		m.vote(w, voters, decisive, ask)
		if decisive {
			passed = slices.DeleteFunc(slices.Clone(w.Rows), func(r countergroup.Row) bool { return r.Dropped() })
		}
	}
	for _, b := range all {
		switch {
		case b.filter:
			m.send(&b.processed, KindWindow, frame(b, ModeFlush, passed))
		case b.flushes:
			m.send(&b.processed, KindWindow, frame(b, ModeObserve, passed))
		}
	}
	m.countTotals(w)
}

// countTotals notes whether the totals of an engine passed.
func (m *Monitors) countTotals(w *countergroup.Window) {
	if n := len(w.Rows); w.Engines > 1 && n > 0 && w.Rows[n-1].Key == countergroup.TotalsKey {
		m.totals++
		if w.Rows[n-1].Dropped() {
			m.refused++
		}
	}
}

// wholeGroup leaves out the totals over all engines when the totals of every engine were.
func (m *Monitors) wholeGroup(w *countergroup.Window) {
	if m.totals > 0 && m.totals == m.refused {
		w.Rows[0].Drop()
	}
	m.totals, m.refused = 0, 0
}

// vote collects the votes of several instances, all at once: a row passes unless every attached instance votes no. All are given the
// values as they were counted; of several overrides the later instance's counts. An instance that does not answer says yes to every row.
func (m *Monitors) vote(w *countergroup.Window, voters []*bound, decisive bool, ask func(*bound, Mode) *Votes) {
	no := make([]int, len(w.Rows))
	votes := make([]*Votes, len(voters))
	var asking sync.WaitGroup
	for n, b := range voters {
		asking.Go(func() { votes[n] = ask(b, ModeVote) })
	}
	asking.Wait()
	for _, v := range votes {
		if v == nil {
			continue
		}
		for i := range w.Rows {
			if !v.Pass(i) {
				no[i]++
			}
		}
		override(w.Rows, v)
	}
	for i := range w.Rows {
		if decisive && no[i] == len(voters) {
			w.Rows[i].Drop()
		}
	}
}

func partOf(first, last bool) (part Part) {
	if first {
		part |= First
	}
	if last {
		part |= Last
	}
	return part
}

// override applies the values that a script gave for rows that pass.
func override(rows []countergroup.Row, v *Votes) {
	for _, o := range v.Overrides {
		if v.Pass(o.Row) {
			rows[o.Row].Values[o.Meter] = o.Value
		}
	}
}

// parts cuts rows into what one frame may hold. There is at least one part.
func parts[T any](rows []T, each func(rows []T, part Part)) {
	part := First
	for {
		n := min(len(rows), MaxRows)
		if n == len(rows) {
			part |= Last
		}
		each(rows[:n], part)
		if rows = rows[n:]; len(rows) == 0 {
			return
		}
		part = 0
	}
}

// Toppers implements countergroup.Stage, section 2.5.
func (m *Monitors) Toppers(l *countergroup.Toppers) {
	all := m.attached.Load().groups[l.Group][l.Engine] // of the whole group none
	if !slices.ContainsFunc(all, func(b *bound) bool { return b.tops }) {
		return
	}
	ask := func(b *bound, mode Mode, items []countergroup.Item, part Part) *Votes {
		reply, ok := m.request(&b.processed, KindToppers, AppendToppers(nil, b.index, mode, part, l.End, l.Meter, items))
		if !ok {
			return nil
		}
		v, err := DecodeVotes(reply, len(items), 1)
		if err != nil {
			m.limited.Warn("a script's votes are left out: "+err.Error(), "file", b.member.source.path)
			return nil
		}
		return &v
	}
	if len(all) == 1 && !all[0].begins && !all[0].vetoes {
		parts(l.Items, func(items []countergroup.Item, part Part) {
			m.send(&all[0].processed, KindToppers, AppendToppers(nil, all[0].index, ModeObserve, part, l.End, l.Meter, items))
		})
		return
	}
	if len(all) == 1 {
		parts(l.Items, func(items []countergroup.Item, part Part) {
			if v := ask(all[0], ModeDecide, items, part); v != nil {
				for i := range items {
					if !v.Pass(i) {
						items[i].Drop()
					}
				}
			}
		})
		return
	}
	enabled, decisive := false, true // decisive: every instance has a filter, so that no can be the outcome
	no := make([]int, len(l.Items))
	for _, b := range all {
		if !b.begins && !b.vetoes {
			enabled, decisive = true, false
			continue
		}
		decisive = decisive && b.vetoes
		enabled = enabled || !b.begins
		at := 0
		parts(l.Items, func(items []countergroup.Item, part Part) {
			v := ask(b, ModeVote, items, part)
			enabled = enabled || v == nil || v.Enabled
			for i := range items {
				if v != nil && !v.Pass(i) {
					no[at+i]++
				}
			}
			at += len(items)
		})
	}
	var passed []countergroup.Item
	for i := range l.Items {
		if decisive && no[i] == len(all) {
			l.Items[i].Drop()
		} else {
			passed = append(passed, l.Items[i])
		}
	}
	if !enabled {
		passed = nil
	}
	for _, b := range all {
		if !b.tops {
			continue
		}
		parts(passed, func(items []countergroup.Item, part Part) {
			m.send(&b.processed, KindToppers, AppendToppers(nil, b.index, ModeFlush, part, l.End, l.Meter, items))
		})
	}
}
