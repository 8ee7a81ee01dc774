package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/timeseries"
)

// Timeseries says where series live.
type Timeseries struct {
	Write     []Driver      // every point goes to all of them; their names differ
	Read      string        // name of the one that answers; "" without drivers
	Retention time.Duration // of raw points; 0 leaves it to the store
	MaxSeries int           // 0 means no limit
	Rollups   []Rollup      // by step; none leaves them to the store
	Schemas   []Schema
}

// Rollup is one entry of timeseries.rollups.
type Rollup struct {
	Step, Keep time.Duration
}

// Driver is one entry of timeseries.write.
type Driver struct {
	Kind   string    // one of driverKinds
	Name   string    // the kind unless it is given
	Lua    LuaDriver // a script
	Remote Remote    // of a remote store
}

// storeDriver is the kind of the embedded store.
const storeDriver = "store"

// driverKinds are what an entry of timeseries.write can be, one line for each kind; every
// kind but the store has the option name besides its own.
func driverKinds(to *Driver) []namedCase {
	return append([]namedCase{
		{name: storeDriver, doc: "The embedded store, below `data`."},
		{name: "lua", doc: "A driver written in Lua for ntopng's timeseries contract, in a process of its own. See [timeseries](timeseries.md).", section: luaDriverSection(&to.Lua)},
	}, remoteKinds(to)...)
}

// newDriver is an entry with the defaults of every kind.
func newDriver() Driver { return Driver{Remote: defaultRemote(), Lua: newLuaDriver()} }

// newStoreDriver is the entry that there is without a file.
func newStoreDriver() Driver {
	d := newDriver()
	d.Kind, d.Name = storeDriver, storeDriver
	return d
}

func driverValue(to *Driver) value {
	cases := driverKinds(to)
	for i := range cases {
		if cases[i].name != storeDriver {
			cases[i].section.options = append([]option{{name: "name", value: text{to: &to.Name, check: plainName}, example: "far",
				doc: "What `read`, `/metrics` and the log call it; needed when there are two of a kind."}}, cases[i].section.options...)
		}
	}
	return named{to: &to.Kind, what: "a driver", cases: cases, later: func(string) string { return "" }}
}

// Schema is one entry of timeseries.schemas.
type Schema struct {
	Name              string
	Step              time.Duration
	Type, Aggregation string
	Tags, Metrics     []string
	Heartbeat         time.Duration // 0 is two steps
	Packed            string
	KeepTotal         bool
	Retention         time.Duration // of its points; 0 is that of all
}

// Retentions are those of single schemas, by name.
func (t *Timeseries) Retentions() map[string]time.Duration {
	of := make(map[string]time.Duration)
	for i := range t.Schemas {
		if s := &t.Schemas[i]; s.Retention != 0 {
			of[s.Name] = s.Retention
		}
	}
	return of
}

func rollupValue(r *Rollup) value {
	return section{options: []option{
		{name: "step", value: duration{to: &r.Step, least: time.Minute, max: 366 * 24 * time.Hour}, required: true, example: "1h", doc: "The length of a slot. Schemas whose step does not divide it get the next longer slot that suits them; those with a step of more than half of it get none."},
		{name: "keep", value: duration{to: &r.Keep, least: time.Hour, max: 36500 * 24 * time.Hour}, required: true, example: "400d", doc: "How long its slots are kept."},
	}}
}

var (
	metricsTypes = []string{"counter", "gauge", "derivative"} // in the order of timeseries.MetricsType
	aggregations = []string{"mean", "max", "min", "last"}     // in that of timeseries.Aggregation
)

// Definitions are the schemas that the file declares.
func (t *Timeseries) Definitions() []*front.Definition {
	all := make([]*front.Definition, len(t.Schemas))
	for i := range t.Schemas {
		all[i] = t.Schemas[i].definition()
	}
	return all
}

func (s *Schema) definition() *front.Definition {
	return &front.Definition{KeepTotal: s.KeepTotal, Schema: &timeseries.Schema{
		Name: s.Name, Step: int64(s.Step / time.Second), Tags: s.Tags, Metrics: s.Metrics, Packed: s.Packed, Heartbeat: int64(s.Heartbeat / time.Second),
		Type:        timeseries.MetricsType(slices.Index(metricsTypes, s.Type)),
		Aggregation: timeseries.Aggregation(slices.Index(aggregations, s.Aggregation)),
	}}
}

// newSchema is an entry of which nothing is given.
func newSchema() Schema { return Schema{Type: "counter", Aggregation: "mean"} }

func schemaValue(s *Schema) value {
	nameList := func(to *[]string, what string) value {
		return list[string]{to: to, what: what, entry: func(name *string) value { return text{to: name, check: filled} }}
	}
	return section{options: []option{
		{name: "name", value: text{to: &s.Name, check: filled}, required: true, example: `"app:latency"`, doc: "`PREFIX:NAME`. The name of one that every installation has takes the place of that one."},
		{name: "step", value: duration{to: &s.Step, least: time.Second, max: 36500 * 24 * time.Hour}, required: true, example: "60s", doc: "The time between two points, in whole seconds."},
		{name: "type", value: choice{&s.Type, metricsTypes}, doc: "`counter` grows and is shown as a rate, `gauge` is shown as it is, `derivative` is a rate already."},
		{name: "tags", value: nameList(&s.Tags, "names"), doc: "What tells its series apart, in this order. Scripts can write to it only when `ifid` is one of them.", example: "[ifid, host]"},
		{name: "metrics", value: nameList(&s.Metrics, "names"), required: true, doc: "The values of a point, in this order.", example: "[p50, p99]"},
		{name: "aggregation", value: choice{&s.Aggregation, aggregations}, doc: "What becomes of the points of a gauge in a longer step."},
		{name: "heartbeat", value: duration{to: &s.Heartbeat, least: time.Second, max: 36500 * 24 * time.Hour, off: "two steps"}, doc: "The longest time between two points of a counter within which there is a rate.", example: "5m"},
		{name: "packed", value: text{to: &s.Packed}, doc: "The tag whose value is itself a list `key=value;key=value`, by whose keys one can ask.", example: "labels"},
		{name: "keep_total", value: flag{&s.KeepTotal}, doc: "Statistics of a gauge have a total: the sum of its points."},
		{name: "retention", value: duration{to: &s.Retention, least: time.Hour, max: 36500 * 24 * time.Hour, off: "that of `timeseries`"}, doc: "How long the store keeps its points.", example: "7d"},
	}}
}

func timeseriesSection(t *Timeseries) section {
	return section{options: []option{
		{name: "write", value: list[Driver]{to: &t.Write, fresh: newDriver(), entry: driverValue, what: "drivers"},
			doc: "Where series are written, each point to all of them: a name, or a name with options. With an empty list nothing is kept, and questions are answered with an error. See [timeseries](timeseries.md)."},
		{name: "read", value: text{to: &t.Read, what: "the name of a driver", check: filled},
			doc: "Which of them answers. When it is not given and the store is none of them, it is the first."},
		{name: "retention", value: duration{to: &t.Retention, least: time.Hour, max: 36500 * 24 * time.Hour, off: "7 days for steps up to 5 seconds, 30 days for longer ones"},
			doc: "How long the store keeps points. Rollups tell of them after that.", example: "90d"},
		{name: "rollups", value: list[Rollup]{to: &t.Rollups, entry: rollupValue, what: "rollups"},
			doc: "What the store keeps of series besides their points, the shortest step first, each kept longer than the one before: see [queries](queries.md#long-ranges). With an empty list they are 1m for 60d, 1h for 400d, 1d for 1825d. One that is left out later stays where it was made already."},
		{name: "max_series", value: whole{&t.MaxSeries, 0, math.MaxInt32},
			doc: "How many series there may be. Points of further ones are dropped and counted. 0 means no limit."},
		{name: "schemas", value: list[Schema]{to: &t.Schemas, fresh: newSchema(), entry: schemaValue, what: "schemas"},
			doc: "Schemas besides those that every installation has."},
	}}
}

// Stores reports whether the embedded store is used, and Keeps whether any driver is.
func (c *Config) Stores() bool {
	return slices.ContainsFunc(c.Timeseries.Write, func(d Driver) bool { return d.Kind == storeDriver })
}

// Keeps reports whether series are kept anywhere.
func (c *Config) Keeps() bool { return len(c.Timeseries.Write) > 0 }

// checkTimeseries finds what is wrong together, and fills in names.
func (c *Config) checkTimeseries(d *decoder) {
	t := &c.Timeseries
	names := make([]string, len(t.Write))
	for i := range t.Write {
		w := &t.Write[i]
		w.Name = cmp.Or(w.Name, w.Kind)
		w.checkRemote(d, index("timeseries.write", i))
		if slices.Contains(names, w.Name) {
			path := index("timeseries.write", i)
			message := "an entry before it has the same name"
			if w.Kind != storeDriver {
				message += "; give it another one with the option name"
			}
			d.complain(path, "cannot use "+quote(w.Name)+" for "+path+": "+message)
		}
		names[i] = w.Name
	}
	_, given := c.positions["timeseries.read"]
	switch {
	case slices.Contains(names, t.Read):
	case given && len(names) == 0:
		d.complain("timeseries.read", "cannot use "+quote(t.Read)+" for timeseries.read: timeseries.write names no driver, so there is nothing to read")
	case given:
		d.complain("timeseries.read", "cannot use "+quote(t.Read)+" for timeseries.read: timeseries.write has only "+strings.Join(names, ", ")+"; write it there too")
	case len(names) > 0:
		t.Read = names[0]
	default:
		t.Read = ""
	}
	t.checkRollups(d)
	seen := make(map[string]bool)
	for i := range t.Schemas {
		s := &t.Schemas[i]
		path := index("timeseries.schemas", i)
		if err := s.check(); err != nil {
			d.complain(path, "cannot use "+path+": "+err.Error())
		}
		if seen[s.Name] {
			d.complain(path+".name", "cannot use "+quote(s.Name)+" for "+path+".name: an entry before it has the same name")
		}
		seen[s.Name] = true
	}
}

// checkRollups finds rollups that are not longer, and kept longer, than what is before them.
func (t *Timeseries) checkRollups(d *decoder) {
	before := Rollup{Keep: t.Retention}
	for i, r := range t.Rollups {
		path := index("timeseries.rollups", i)
		switch {
		case r.Step%time.Second != 0 || r.Keep%time.Second != 0:
			d.complain(path, "cannot use "+path+": its step and keep are not whole numbers of seconds")
		case r.Step <= before.Step:
			d.complain(path+".step", "cannot use "+FormatDuration(r.Step)+" for "+path+".step: it is not longer than that of the rollup before it, "+FormatDuration(before.Step))
		case r.Keep <= before.Keep:
			d.complain(path+".keep", "cannot use "+FormatDuration(r.Keep)+" for "+path+".keep: it is not longer than what is kept of shorter steps, "+FormatDuration(before.Keep))
		}
		before = r
	}
}

func (s *Schema) check() error {
	for _, length := range []time.Duration{s.Step, s.Heartbeat} {
		if length%time.Second != 0 {
			return fmt.Errorf("%s is not a whole number of seconds", FormatDuration(length))
		}
	}
	if len(s.Metrics) == 0 {
		return errors.New("it has no metrics")
	}
	return s.definition().Schema.Validate()
}
