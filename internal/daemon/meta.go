package daemon

import (
	"strings"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/telemetry"
)

// Groups that describe groups, and the table of flows.
const (
	guidMetaGroups   = "{4D88CC23-2883-4DEA-A313-A23B60FE8BDA}"
	guidMetaSessions = "{594606BD-EEB2-4E0B-BAC4-84B7057088C8}"
	guidIPFlows      = "{99A78737-4B41-4387-8F31-8077DB917336}"
)

// meta is a stage that counts how groups and the table of flows fare, once per window: what a window held counts in the next one. Groups without keys are left
// out, and so are the two groups themselves.
type meta struct {
	countergroup.Nothing
	registry    *countergroup.Registry
	engine      *countergroup.Engine
	meter       *flow.Meter
	batch       *countergroup.Batch
	before      map[*countergroup.Group]countergroup.Stats
	flowsBefore flow.Figures
	updated     map[*countergroup.Group]int // rows of the window
	began       time.Time
	full        map[*countergroup.Group]int64 // keys forgotten and updates without a key, as of the last flush
	limited     *telemetry.Limited
}

// newMeta returns the stage of c, which has its groups, engine and meter.
func newMeta(c *counting) *meta {
	return &meta{
		full: make(map[*countergroup.Group]int64), limited: telemetry.NewLimited(c.log, time.Minute, 5),
		registry: c.groups, engine: c.engine, meter: c.meter, batch: c.engine.Batch(),
		before: make(map[*countergroup.Group]countergroup.Stats), updated: make(map[*countergroup.Group]int),
	}
}

// BeginFlush implements countergroup.Stage.
func (m *meta) BeginFlush(int64) {
	m.began = time.Now()
	clear(m.updated)
}

// Window implements countergroup.Stage.
func (m *meta) Window(w *countergroup.Window) {
	for i := range w.Rows {
		if w.Rows[i].Key != countergroup.TotalsKey {
			m.updated[w.Group]++
		}
	}
}

// Meters of the two groups.
var (
	metaMeters    = []int{0, 3, 4, 5, 7, 9, 10}
	sessionMeters = []int{0, 2, 3, 4, 5, 8, 10}
)

// EndFlush implements countergroup.Stage.
func (m *meta) EndFlush(int64) {
	took := float64(time.Since(m.began).Microseconds())
	m.nameOffender()
	groups, flows := m.registry.Lookup(guidMetaGroups), m.registry.Lookup(guidMetaSessions) // nil while they are switched off
	if groups != nil {
		before := m.before
		m.before = make(map[*countergroup.Group]countergroup.Stats)
		for _, s := range m.engine.Stats() {
			before := before[s.Group]
			m.before[s.Group] = s
			if s.Created == 0 || s.Group == groups || s.Group == flows {
				continue
			}
			// Master Size, Flush US (of all groups together), Flush Keys, New Keys, Unique Keys, Tail Prunes, Hi Water Rej
			m.batch.AddRow(groups, []byte(s.Group.GUID), metaMeters, []float64{
				float64(s.Keys), took, float64(m.updated[s.Group]), float64(s.Created - before.Created), float64(s.Keys),
				float64(s.Pruned - before.Pruned), float64(s.Refused - before.Refused),
			})
		}
	}
	if f, before := m.meter.Figures(), m.flowsBefore; flows != nil && f.New > 0 {
		m.flowsBefore = f
		terminated, expired, pruned := f.Terminated-before.Terminated, f.Expired-before.Expired, f.Pruned-before.Pruned
		// Master Size, New, Closed, Expired, Terminated, Key Hits, Tail Prunes
		m.batch.AddRow(flows, []byte(guidIPFlows), sessionMeters, []float64{
			float64(f.Flows), float64(f.New - before.New), float64(terminated + expired + pruned), float64(expired), float64(terminated),
			float64(f.Hits - before.Hits), float64(pruned),
		})
	}
	m.batch.Post()
}

// nameOffender says which exporter a window's flood of keys came from, when groups had more keys than they keep and flows can be why.
func (m *meta) nameOffender() {
	exporter, flows := m.meter.Busiest()
	before := m.full
	m.full = make(map[*countergroup.Group]int64)
	var crowded []string
	for _, s := range m.engine.Stats() {
		m.full[s.Group] = s.Pruned + s.Refused
		if m.full[s.Group] > before[s.Group] {
			crowded = append(crowded, s.Group.Title)
		}
	}
	if len(crowded) > 0 && flows > 0 {
		m.limited.Warn("counter groups have more keys than they keep: most flows of the window came from this exporter", "exporter", exporter, "new_flows", flows, "groups", strings.Join(crowded, ", "))
	}
}
