package front

import (
	"slices"

	"github.com/weirhq/weir/timeseries"
)

// Definition is a schema as a schema file declares it: what is stored, and what
// only scripts ask for. A Definition is not changed once it is in use.
type Definition struct {
	// Schema is what queries ask for; its Step is the resolution of answers. A
	// virtual schema has no metrics (see Virtual).
	Schema *timeseries.Schema

	// InsertionStep is the time in seconds between two points that are written; 0
	// means Schema.Step.
	InsertionStep int64

	Critical   bool   // is_critical_ts: written even when a script is close to its deadline
	System     bool   // is_system_schema: of the system interface, which has ifid -1
	KeepTotal  bool   // keep_total: statistics of gauges have a total
	RRDName    string // rrd_fname; "" means what follows the colon of the name
	Internal   bool   // influx_internal_query: about the server of the driver itself
	Commercial bool   // written by commercial editions only

	// Options are those of a schema file that nothing here knows, as they were given.
	Options map[string]any
}

// IfID is the tag that every schema must have that scripts write to.
const IfID = "ifid"

// Virtual reports whether the schema has no points of its own: it is answered
// from another one (local_senders, local_receivers).
func (d *Definition) Virtual() bool { return len(d.Schema.Metrics) == 0 }

// HasTag reports whether name is a tag of the schema.
func (d *Definition) HasTag(name string) bool { return slices.Contains(d.Schema.Tags, name) }

// insertionStep is InsertionStep with its default.
func (d *Definition) insertionStep() int64 {
	if d.InsertionStep > 0 {
		return d.InsertionStep
	}
	return d.Schema.Step
}

// Adjustments are what changes the steps of schemas while Weir runs (section 1.3).
type Adjustments struct {
	HighResolution bool  `json:"high_resolution"` // schemas of 300 s that are not of the system have 60 s
	Routers        bool  `json:"routers"`         // iface:traffic is read at 4 s
	StatsPeriod    int64 `json:"stats_period"`    // seconds between two updates of an interface without packets; 0 for one with packets
}

// Adjusted is d with the steps that a script sees. It is d itself when nothing changes.
func (d *Definition) Adjusted(a Adjustments) *Definition {
	insertion, step := d.insertionStep(), d.Schema.Step
	if a.HighResolution && step == 300 && !d.System {
		insertion, step = 60, 60
	}
	if a.Routers && d.Schema.Name == "iface:traffic" {
		step = 4
	}
	step = max(step, a.StatsPeriod)
	if insertion == d.insertionStep() && step == d.Schema.Step {
		return d
	}
	adjusted, schema := *d, *d.Schema
	adjusted.Schema, adjusted.InsertionStep = &schema, insertion
	schema.Step = step
	if schema.Heartbeat == 0 {
		schema.Heartbeat = 2 * insertion
	}
	return &adjusted
}
