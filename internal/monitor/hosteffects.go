package monitor

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
)

// Groups that count alerts.
const (
	guidAlertSignatures = "{A0FA9464-B496-4A20-A9AB-4D2D09AFF902}"
	guidAlertClasses    = "{20BC4345-37F0-44D0-ABFF-3BED97363CB1}"
	guidAlertPriorities = "{9EFAFDD0-6CBB-4C04-8B13-2C8E0A9D3F85}"
)

// OnFrame implements script.Handler: what a script asks for, section 4. What it posts counts in the next second.
func (o *member) OnFrame(kind byte, payload []byte) {
	switch kind {
	case KindUpdates:
		o.update(payload)
	case KindEffects:
		var effects []Effect
		if err := json.Unmarshal(payload, &effects); err != nil {
			o.m.effects.Received(1)
			o.m.malformed.Add(1)
			o.m.limited.Warn("cannot read what a script asks for: "+err.Error(), "file", o.source.path)
			return
		}
		o.m.effects.Received(len(effects))
		for i := range effects {
			o.effect(&effects[i])
		}
		o.updates.Post() // of alerts
	case KindState:
		var states []State
		if json.Unmarshal(payload, &states) == nil {
			go o.m.do(func() { o.fare(states) })
		}
	}
}

// fare takes how instances fare.
func (o *member) fare(states []State) {
	changed := false
	for _, s := range states {
		for _, i := range o.instances {
			if i.Index == s.Index {
				i.figures = s
				if s.Reason != "" && i.running {
					i.running, changed = false, true
					o.m.log.Error("script not attached any more", "file", o.source.path, "type", i.Type, "group", i.Title, "reason", s.Reason)
				}
				for _, name := range s.Disabled {
					if i.callbacks[name] {
						i.callbacks[name] = false // a filter that fails votes yes, which is what none does
						changed = true
					}
				}
			}
		}
	}
	if changed {
		o.m.publish()
	}
}

// update posts counter updates. Those of groups that are not registered are counted and named once for a script and group.
func (o *member) update(payload []byte) {
	updates, err := DecodeUpdates(payload)
	if err != nil {
		o.m.effects.Received(1)
		o.m.malformed.Add(1)
		o.m.limited.Warn(err.Error(), "file", o.source.path)
		return
	}
	groups := make([]*countergroup.Group, len(updates.GUIDs))
	for i, guid := range updates.GUIDs {
		groups[i] = o.group(guid)
	}
	n, lost := 0, 0
	for updates.Next() {
		n++
		if g := groups[updates.GUID]; g != nil {
			if updates.Meter >= len(g.Meters) && !o.tellOnce("meter "+g.GUID) {
				o.m.log.Error("a script updates a meter that its group does not have; such updates are dropped", "file", o.source.path, "group", g.Title, "meter", updates.Meter, "meters", len(g.Meters))
			}
			o.updates.Add(g, updates.Key, updates.Meter, updates.Value)
		} else {
			lost++
		}
	}
	o.updates.Post()
	o.m.effects.Received(n)
	o.m.effects.Passed(n - lost)
	o.m.unknown.Add(lost)
	if err := updates.Err(); err != nil {
		o.m.effects.Received(1)
		o.m.malformed.Add(1)
		o.m.limited.Warn(err.Error(), "file", o.source.path)
	}
}

// group finds a group, and says once that there is none.
func (o *member) group(guid string) *countergroup.Group {
	if g := o.known[guid]; g != nil {
		return g
	}
	g := o.m.groups.Lookup(guid)
	if g != nil {
		o.known[guid] = g
	} else if !o.tellOnce("group " + guid) {
		o.m.log.Error("a script updates a counter group that is not registered; such updates are dropped", "file", o.source.path, "guid", guid)
	}
	return g
}

// tellOnce reports whether something was said before, in the goroutine of OnFrame.
func (o *member) tellOnce(what string) bool {
	if o.told[what] {
		return true
	}
	if len(o.told) < 1000 {
		o.told[what] = true
	}
	return false
}

// effect does one thing.
func (o *member) effect(e *Effect) {
	m := o.m
	switch e.Op {
	case OpLabel, OpAttribute:
		g := o.group(e.GUID)
		switch {
		case g == nil:
			m.unknown.Add(1)
			return
		case e.Op == OpLabel && !g.SetLabel(string(e.Key), e.Label, e.Description), e.Op == OpAttribute && !g.SetAttribute(string(e.Key), e.Name, e.Value):
			m.notKept.Add(1)
			m.limited.Warn("a label or attribute of a script is not kept: the group has too many", "file", o.source.path, "group", g.Title)
			return
		}
	case OpAlert:
		if e.Alert == nil {
			m.malformed.Add(1)
			return
		}
		if !m.alert(o, *e.Alert) {
			m.notKept.Add(1)
			return
		}
	case OpMessage:
		if e.Message == nil || !m.post(o, *e.Message) {
			m.notKept.Add(1)
			return
		}
	default: // flows' attributes, edges of graphs, resources: nothing keeps them
		m.notKept.Add(1)
		return
	}
	m.effects.Passed(1)
}

// post queues a message for the next second.
func (m *Monitors) post(from *member, message Message) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.messages) >= maxMessages {
		m.messages = slices.Delete(m.messages, 0, 1)
		m.limited.Warn("messages between scripts are dropped: too many wait for the next second", "limit", maxMessages)
		m.notKept.Add(1)
		m.effects.Received(1) // the one that made room was counted as passed
	}
	m.messages = append(m.messages, sent{message, from})
	return true
}

// alert takes a new alert in, section 4.3.
func (m *Monitors) alert(from *member, a Alert) bool {
	for guid, key := range map[string]string{guidAlertSignatures: a.SigID, guidAlertClasses: a.Classification, guidAlertPriorities: strconv.Itoa(a.Priority)} {
		if g := m.groups.Lookup(guid); g != nil && key != "" && len(key) <= countergroup.MaxKey {
			from.updates.Add(g, []byte(key), 0, 1)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.Time == 0 {
		a.Time = float64(time.Now().UnixMicro()) / 1e6
		if m.cfg.DataTime {
			a.Time = float64(m.now)
		}
	}
	if !slices.ContainsFunc(m.others, func(o countergroup.OtherGroup) bool { return o.Kind == "alert" && o.GUID == a.GUID }) {
		m.others = append(m.others, countergroup.OtherGroup{Kind: "alert", Title: a.GUID, GUID: a.GUID})
		m.log.Warn("a script adds alerts to an alert group that nobody defined", "file", from.source.path, "guid", a.GUID)
	}
	if len(m.window) >= maxAlerts {
		m.limited.Warn("alerts of scripts are dropped: too many in one window", "file", from.source.path, "limit", maxAlerts)
		return false
	}
	m.alerts, m.window = append(m.alerts, a), append(m.window, a)
	return true
}

// flushAlerts votes on the alerts of the window and stores those that pass.
func (m *Monitors) flushAlerts(t int64) {
	m.mu.Lock()
	alerts := m.window
	m.window = nil
	m.mu.Unlock()
	attached := m.attached.Load().alerts
	dropped := make([]int, len(alerts))
	watching := make([]int, len(alerts))
	for _, b := range attached {
		var mine []int
		items := Items{Instance: b.index, Event: EventFlush, Time: t, Begin: true, End: true}
		for i, a := range alerts {
			if a.GUID == b.guid {
				mine = append(mine, i)
				watching[i]++
				items.Alerts = append(items.Alerts, a)
			}
		}
		if !b.filter {
			if b.flushes {
				m.items(b, items)
			}
			continue
		}
		items.Event = EventDecide
		reply, ok := m.request(&b.processed, KindItems, encode(items))
		var votes ItemVotes
		if !ok || json.Unmarshal(reply, &votes) != nil {
			continue
		}
		for n, i := range mine {
			if n < len(votes.Pass) && !votes.Pass[n] {
				dropped[i]++
			}
		}
		for _, c := range votes.Changed {
			if c.Item >= 0 && c.Item < len(mine) {
				c.apply(&alerts[mine[c.Item]])
			}
		}
	}
	var stored []Alert
	for i, a := range alerts {
		if watching[i] == 0 || dropped[i] < watching[i] {
			stored = append(stored, a)
		}
	}
	if len(stored) == 0 {
		return
	}
	m.mu.Lock()
	m.kept = append(m.kept, stored...)
	m.kept = slices.Clone(m.kept[max(0, len(m.kept)-keptAlerts):])
	m.mu.Unlock()
	if m.onAlert != nil {
		m.onAlert(stored)
	}
}

func (c *Change) apply(a *Alert) {
	if c.Priority != nil {
		a.Priority = *c.Priority
	}
	if c.Message != nil {
		a.Message = *c.Message
	}
	if c.ExtraMessage != nil {
		a.ExtraMessage = *c.ExtraMessage
	}
}

// Alerts are the newest alerts that were stored, oldest first. Any goroutine.
func (m *Monitors) Alerts() []Alert {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.kept)
}
