package monitor

import (
	"encoding/json"
	"slices"

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
	if g := o.known[guid]; g != nil && !g.Removed() {
		return g
	}
	delete(o.known, guid)
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
		if e.Message == nil {
			m.malformed.Add(1)
			return
		}
		m.post(o, *e.Message)
	case OpResource:
		if !m.resource(o, e) {
			m.notKept.Add(1)
			return
		}
	case OpEdge, OpFlowEdges:
		if !o.tellOnce("edges") {
			m.log.Warn("a script adds edges to a graph; none is kept", "file", o.source.path)
		}
		m.notKept.Add(1)
		return
	default:
		if !o.flowEffect(e) {
			return
		}
	}
	m.effects.Passed(1)
}

// post queues a message for those it is for (section 3.5), until the next second. Where too many wait the oldest is dropped.
func (m *Monitors) post(from *member, message Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.attached.Load().processes {
		if !p.gets(&message) {
			continue
		}
		to := addressee{p.member, message.Frontend}
		box := m.inboxes[to]
		if box == nil {
			box = new(inbox)
			m.inboxes[to] = box
		}
		one := message
		if from != p.member {
			one.From = -1
		}
		for len(box.messages) > 0 && (len(box.messages) >= maxMessages || box.bytes+len(message.Text) > maxContents) {
			box.bytes -= len(box.messages[0].Text)
			box.messages = box.messages[1:]
			m.limited.Warn("messages to a script are dropped: too many wait for the next second", "file", p.member.source.path, "limit", maxMessages)
			m.notKept.Add(1)
			m.effects.Received(1) // the one that made room was counted as passed
		}
		box.bytes += len(message.Text)
		box.messages = append(box.messages, one)
	}
}

// gets reports whether a message is for an instance of the process, the one that sent it included.
func (p *processed) gets(message *Message) bool {
	listens := p.backend
	if message.Frontend {
		listens = p.frontend
	}
	return listens && (message.ID == "" || slices.Contains(p.subscriptions, message.ID))
}
