package front

import (
	_ "embed"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Definitions are all schemas that are declared: those of the configuration, those
// every installation has (section 7), and those that schema files add. Its methods may be
// called from any goroutine.
type Definitions struct {
	warn  *telemetry.Limited
	begin sync.Once
	own   []*Definition // of the configuration: they win over the built-in ones

	mu     sync.RWMutex
	byName map[string]*Definition
}

// NewDefinitions returns the built-in schemas with those of the configuration,
// which must have different names. The table of built-in ones is read when it is needed first.
func NewDefinitions(own []*Definition, log *slog.Logger) *Definitions {
	return &Definitions{own: own, warn: telemetry.NewLimited(log, time.Minute, 10)}
}

// load fills byName at the first use.
func (d *Definitions) load() {
	d.begin.Do(func() {
		d.byName = make(map[string]*Definition)
		for _, definition := range append(Builtin(), d.own...) {
			d.byName[definition.Schema.Name] = definition
		}
	})
}

// Define adds a schema and returns it. When the name is taken the first definition
// stays and is what is returned, with a warning when the new one is different.
func (d *Definitions) Define(definition *Definition) *Definition {
	d.load()
	d.mu.Lock()
	defer d.mu.Unlock()
	name := definition.Schema.Name
	if existing := d.byName[name]; existing != nil {
		if !reflect.DeepEqual(existing, definition) { // every script that loads schema files declares them
			d.warn.Warn("Schema already defined: " + name)
		}
		return existing
	}
	d.byName[name] = definition
	return definition
}

// maxDefinitions bounds how many schemas there are, so that a script that declares more
// and more does not take all memory.
const maxDefinitions = 10_000

// full reports whether no further schema may be declared.
func (d *Definitions) full() bool {
	d.load()
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.byName) >= maxDefinitions
}

// Lookup returns the definition of a name, nil when there is none.
func (d *Definitions) Lookup(name string) *Definition {
	d.load()
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byName[name]
}

// All returns every definition, sorted by name.
func (d *Definitions) All() []*Definition {
	d.load()
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.SortedFunc(maps.Values(d.byName), func(a, b *Definition) int { return strings.Compare(a.Schema.Name, b.Schema.Name) })
}

// ByPrefix returns the definitions whose names begin with prefix and a colon (R23).
func (d *Definitions) ByPrefix(prefix string) []*Definition {
	return slices.DeleteFunc(d.All(), func(of *Definition) bool { return !strings.HasPrefix(of.Schema.Name, prefix+":") })
}

//go:embed catalogue.txt
var catalogue string

// Builtin are the schemas that every installation has, in the order of the catalogue.
func Builtin() []*Definition {
	var all []*Definition
	for line := range strings.Lines(catalogue) {
		if !strings.HasPrefix(line, "#") {
			all = append(all, builtin(strings.Fields(line)))
		}
	}
	return all
}

// builtin reads one line of the catalogue.
func builtin(fields []string) *Definition {
	step, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		panic("BUG: the catalogue has the step " + fields[1])
	}
	schema := &timeseries.Schema{Name: fields[0], Step: step, Tags: append([]string{IfID}, names(fields[3])...), Metrics: names(fields[4])}
	if fields[2] == "g" {
		schema.Type = timeseries.Gauge
	}
	d := &Definition{Schema: schema}
	for _, option := range names(fields[5]) {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "crit":
			d.Critical = true
		case "sys":
			d.System = true
		case "max":
			schema.Aggregation = timeseries.Max
		case "fn":
			d.RRDName = value
		case "hb":
			if schema.Heartbeat, err = strconv.ParseInt(value, 10, 64); err != nil {
				panic("BUG: the catalogue has the heartbeat " + value)
			}
		case "keep":
			d.KeepTotal = true
		case "int":
			d.Internal = true
		case "P":
			d.Commercial = true
		default:
			panic("BUG: the catalogue has the option " + option)
		}
	}
	return d
}

// names are those of a field of the catalogue, which has "-" for none.
func names(field string) []string {
	if field == "-" {
		return nil
	}
	return strings.Split(field, ",")
}
