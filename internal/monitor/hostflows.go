package monitor

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/telemetry"
)

// guidIPFlows is the session group of flows.
const guidIPFlows = "{99A78737-4B41-4387-8F31-8077DB917336}"

const (
	maxRecords  = 50_000  // shown in a second
	maxFlows    = 20_000  // that begin, go on or end in a second
	maxFinished = 100_000 // of a window
	longFlow    = 300     // seconds after which a flow that goes on is flushed
)

// What flows are followed for, as bits.
const (
	wantRecords = 1 << iota // a messagemonitor, or a simplecounter of records
	wantFlows               // an sg_monitor
	wantFlushes             // an sg_monitor or a flowtracker
	wantPackets             // a simplecounter
)

// flows gathers what monitors of flows are shown. Nothing is gathered while there are none.
type flows struct {
	meter  *flow.Meter // nil when no flows are counted
	wants  atomic.Uint32
	ledger *telemetry.Ledger // "monitor.flows": flows of a second or a window, and records
	many   *telemetry.Discard

	mu       sync.Mutex // for what follows
	limits   [3]int     // records and flows of a second, flows of a window
	records  []Flow
	packets  packets
	seconds  map[flow.ID]*followed
	order    []*followed // in the order in which they came in
	finished map[flow.ID]*flow.Flow
	key      []byte
}

// followed is what happened to a flow in a second.
type followed struct {
	flow.Flow
	started, changed, ended bool
}

// Follow has the flows and records of a meter shown to monitors. Call it before Start and before the meter counts.
func (m *Monitors) Follow(meter *flow.Meter) {
	m.flows.meter = meter
	meter.Watch(m.flows.record,
		func(f *flow.Flow) { m.flows.see(f, true, false) },
		func(f *flow.Flow) { m.flows.see(f, false, false) },
		func(f *flow.Flow) { m.flows.see(f, false, true) })
}

func (f *flows) init(reg *telemetry.Registry, dataTime bool) {
	f.ledger = reg.Ledger("monitor.flows", "flows")
	f.many = f.ledger.Reason("too_many")
	f.limits = [3]int{maxRecords, maxFlows, maxFinished}
	if dataTime { // which waits for the scripts
		f.limits = [3]int{math.MaxInt, math.MaxInt, math.MaxInt}
	}
	f.seconds, f.finished = make(map[flow.ID]*followed), make(map[flow.ID]*flow.Flow)
}

// want says what is to be gathered from now on.
func (f *flows) want(what uint32) {
	if f.wants.Swap(what) == what {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if what&wantRecords == 0 {
		f.records = nil
	}
	if what&wantFlows == 0 {
		f.order = nil
		clear(f.seconds)
	}
	if what&wantFlushes == 0 {
		clear(f.finished)
	}
	if what&wantPackets == 0 {
		f.packets = packets{}
	}
}

// take counts what is gathered and reports whether there is room.
func (f *flows) take(room bool) bool {
	f.ledger.Received(1)
	if !room {
		f.many.Add(1)
		return false
	}
	f.ledger.Passed(1)
	return true
}

// record takes a record of an exporter, for message monitors.
func (f *flows) record(r *flow.Record, of *flow.Flow) {
	if f.wants.Load()&wantRecords == 0 || !of.Exported {
		return
	}
	shown := Flow{}
	if of.Forward(r) {
		shown.BytesAZ, shown.PacketsAZ = float64(r.Bytes), float64(r.Packets)
	} else {
		shown.BytesZA, shown.PacketsZA = float64(r.Bytes), float64(r.Packets)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key = of.AppendKey(f.key[:0])
	shown.Key = string(f.key)
	f.add(shown)
}

// add queues a record for message monitors; with mu.
func (f *flows) add(shown Flow) {
	if f.take(len(f.records) < f.limits[0]) {
		f.records = append(f.records, shown)
	}
}

// see notes what happens to a flow.
func (f *flows) see(of *flow.Flow, started, ended bool) {
	wants := f.wants.Load()
	if wants&(wantFlows|wantFlushes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if wants&wantFlows != 0 {
		one := f.seconds[of.ID]
		if one != nil && started { // the same ports again within the second, for another connection
			delete(f.seconds, of.ID)
			one = nil
		}
		if one == nil && f.take(len(f.order) < f.limits[1]) {
			one = new(followed)
			f.seconds[of.ID] = one
			f.order = append(f.order, one)
		}
		if one != nil {
			one.Flow = *of
			one.started, one.ended = one.started || started, one.ended || ended
			one.changed = one.changed || !started && !ended
		}
	}
	if wants&wantFlushes == 0 {
		return
	}
	before := f.finished[of.ID]
	switch {
	case before != nil && !started: // records that come after the end count for it
		*before = *of
	case ended && f.take(len(f.finished) < f.limits[2]):
		last := *of
		f.finished[of.ID] = &last
	}
}

// shown is a flow as scripts are shown it.
func (f *flows) shown(of *flow.Flow) Flow {
	f.key = of.AppendKey(f.key[:0])
	var attributes map[string]string
	for _, a := range of.Attributes() {
		if attributes == nil {
			attributes = make(map[string]string)
		}
		attributes[a.Name] = a.Value
	}
	return Flow{
		Attributes: attributes,
		Key:        string(f.key), Start: of.Start, Last: of.Last, State: int(of.State), Tags: of.Tags(),
		BytesAZ: float64(of.BytesAZ), BytesZA: float64(of.BytesZA), PacketsAZ: float64(of.PacketsAZ), PacketsZA: float64(of.PacketsZA),
	}
}

// WantsPackets reports whether a script counts packets. Any goroutine.
func (m *Monitors) WantsPackets() bool { return m.flows.wants.Load()&wantPackets != 0 }

// ShowPacket has a captured packet shown to the scripts that count packets, by ShowRecords, or now when many wait. It is for the goroutine that
// calls ShowRecords, on data time.
func (m *Monitors) ShowPacket(p *flow.Packet) {
	if !m.WantsPackets() {
		return
	}
	m.flows.mu.Lock()
	m.flows.packets.add(p)
	full := m.flows.packets.full()
	m.flows.mu.Unlock()
	if full {
		m.ShowRecords()
	}
}

// ShowRecords shows message monitors the records, and scripts that count packets those, that came since the last call. What they post counts in the running second, on data time for certain: call it before
// each tick then. On the wall clock the stages call it.
func (m *Monitors) ShowRecords() {
	attached := m.attached.Load()
	m.mu.Lock()
	now := m.now
	m.mu.Unlock()
	m.flows.mu.Lock()
	records := m.flows.records
	m.flows.records = nil
	var frames [][]byte
	if m.flows.packets.n > 0 {
		for _, b := range attached.packets {
			frames = append(frames, m.flows.packets.frame(b.index, now))
		}
		m.flows.packets.reset()
	}
	m.flows.mu.Unlock()
	if len(records)+len(frames) == 0 {
		return
	}
	for n, b := range attached.packets[:len(frames)] {
		m.send(&b.processed, KindPackets, frames[n])
	}
	if len(records) > 0 {
		for _, b := range attached.messages {
			m.showFlows(b, EventNew, now, records)
		}
	}
	m.sync()
}

func (m *Monitors) showFlows(b *bound, event string, t int64, all []Flow) {
	all = m.ofEngine(all, b)
	chunks(all, func(some []Flow, _, _ bool) {
		if len(some) > 0 {
			show := Items{Instance: b.index, Event: event, Time: t, Flows: some}
			kind, payload := show.frame()
			m.send(&b.processed, kind, payload)
		}
	})
}

// ofEngine are the flows that an instance is shown: those of its engine; a messagemonitor has none.
func (m *Monitors) ofEngine(all []Flow, b *bound) []Flow {
	if m.engine.Engines() == 1 || b.frontend {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(f Flow) bool { return m.engine.EngineOf(nil, f.Key) != b.engine })
}

// secondOfFlows shows monitors of flows what happened in the second that ends at t.
func (m *Monitors) secondOfFlows(a *attachment, t int64) {
	f := &m.flows
	f.mu.Lock()
	order := f.order
	f.order = nil
	clear(f.seconds)
	var started, changed, ended []Flow
	for _, one := range order {
		shown := f.shown(&one.Flow)
		if one.started {
			started = append(started, shown)
		}
		if one.changed {
			changed = append(changed, shown)
		}
		if one.ended {
			ended = append(ended, shown)
		}
	}
	f.mu.Unlock()
	for _, b := range a.sessions {
		if b.newItems {
			m.showFlows(b, EventNew, t, started)
		}
		if b.updates {
			m.showFlows(b, EventUpdate, t, changed)
		}
		if b.ends {
			m.showFlows(b, EventTerminate, t, ended)
		}
	}
}

// flushFlows flushes flows that have ended, and those that go on for long: first the trackers rank them, then the monitors of flows vote.
func (m *Monitors) flushFlows(a *attachment, t int64) {
	f := &m.flows
	if f.wants.Load()&wantFlushes == 0 {
		return
	}
	f.mu.Lock()
	all := make([]Flow, 0, len(f.finished))
	for _, one := range f.finished {
		all = append(all, f.shown(one))
	}
	clear(f.finished)
	f.mu.Unlock()
	if f.meter != nil {
		var long []flow.Flow
		f.meter.Long(t, longFlow, func(one *flow.Flow) { long = append(long, *one) })
		f.mu.Lock()
		for i := range long {
			if f.take(len(all) < f.limits[2]) {
				all = append(all, f.shown(&long[i]))
			}
		}
		f.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Flow) int { return strings.Compare(a.Key, b.Key) })
	for _, b := range a.trackers {
		m.track(b, m.ofEngine(all, b), t)
	}
	m.endTrackers(a.trackers, t)
	decide(m, a.sessions, all, flowKind, t)
}

// flowEffect does what a script asks for that is about one flow.
func (o *member) flowEffect(e *Effect) bool {
	m := o.m
	meter := m.flows.meter
	if e.Op == OpFlowRecord {
		if len(e.Numbers) != 4 {
			m.malformed.Add(1)
			return false
		}
		if m.flows.wants.Load()&wantRecords != 0 {
			m.flows.mu.Lock()
			m.flows.add(Flow{Key: e.Flow, BytesAZ: e.Numbers[0], BytesZA: e.Numbers[1], PacketsAZ: e.Numbers[2], PacketsZA: e.Numbers[3]})
			m.flows.mu.Unlock()
		}
		return true
	}
	if meter == nil {
		m.unknownFlow.Add(1)
		return false
	}
	var err error
	switch e.Op {
	case OpTag:
		err = meter.Tag(e.Flow, e.Text)
	case OpFlowAttribute:
		err = meter.SetAttribute(e.Flow, e.Name, e.Value)
	case OpFlowDuration:
		err = meter.SetDuration(e.Flow, e.Number)
	case OpFlowUpdate:
		var known bool
		if known, err = meter.Add(e.Flow, e.Meter, e.Number); !known {
			if !o.tellOnce("flow meter") {
				m.log.Error("a script updates a meter that flows do not have: they have 0 to 3", "file", o.source.path, "meter", e.Meter)
			}
			m.malformed.Add(1)
			return false
		}
	case OpFlowCounter, OpResetCounter:
		g := o.group(e.GUID)
		switch {
		case g == nil:
			m.unknown.Add(1)
			return false
		case e.Op == OpResetCounter:
			err = meter.ResetCounters(e.Flow, g)
		case e.Meter < 0 || e.Meter >= len(g.Meters) || e.Direction < flow.DirectionBoth || e.Direction > flow.DirectionIn || len(e.Key) == 0 || len(e.Key) > countergroup.MaxKey:
			if !o.tellOnce("flow counter " + g.GUID) {
				m.log.Error("a script adds a counter to a flow that cannot be", "file", o.source.path, "group", g.Title, "meter", e.Meter, "meters", len(g.Meters), "direction", e.Direction)
			}
			m.malformed.Add(1)
			return false
		default:
			err = meter.AddCounter(e.Flow, g, e.Key, e.Meter, e.Direction)
		}
	}
	switch {
	case errors.Is(err, flow.ErrNoFlow):
		m.unknownFlow.Add(1)
	case err != nil:
		m.notKept.Add(1)
	}
	return err == nil
}
