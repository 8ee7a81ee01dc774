package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/countergroup/feed"
	"github.com/weirhq/weir/internal/countergroup/storage"
)

// Group is one entry of counter_groups.groups.
type Group struct {
	Title, GUID string
	Bucket      time.Duration // 0 is the window
	Meters      []Meter
	ToppersOnly bool // only keys on topper lists are stored
	Feeds       []feed.Spec
}

// Meter is a meter of a Group.
type Meter struct {
	Name, Type string
	Top        int // keys on its list of the largest
}

// meterKinds are the types of meters by their names here.
var meterKinds = []struct {
	name string
	kind countergroup.MeterType
}{
	{"counter", countergroup.Counter}, {"rate", countergroup.Rate}, {"gauge", countergroup.Gauge}, {"running", countergroup.Running},
	{"average", countergroup.Average}, {"delta_rate", countergroup.DeltaRate}, {"maximum", countergroup.Maximum}, {"minimum", countergroup.Minimum},
}

// Declarations are the groups that are declared here, and what feeds them.
func (g *Groups) Declarations() []feed.Group {
	var all []feed.Group
	for _, own := range g.Declared {
		bucket := own.Bucket
		if bucket == 0 {
			bucket = g.Window
		}
		all = append(all, feed.Group{Definition: countergroup.Definition{GUID: own.GUID, Title: own.Title, Bucket: int(bucket / time.Second), Meters: own.definitions(), ToppersOnly: own.ToppersOnly}, Feeds: own.Feeds})
	}
	return all
}

func (g *Group) definitions() []countergroup.Meter {
	var meters []countergroup.Meter
	for i, m := range g.Meters {
		meter := countergroup.Meter{ID: i, Name: m.Name, Top: m.Top}
		for _, k := range meterKinds {
			if k.name == m.Type {
				meter.Type = k.kind
			}
		}
		meters = append(meters, meter)
	}
	return meters
}

func ownGroups(to *[]Group) list[Group] {
	var kinds []string
	for _, k := range meterKinds {
		kinds = append(kinds, k.name)
	}
	return list[Group]{to: to, what: "groups", entry: func(g *Group) value {
		return section{options: []option{
			{name: "title", value: text{to: &g.Title, check: plainName}, required: true, example: "Web requests", doc: "What it is called; its windows are series of the schema `group:TITLE`, with `_` for spaces and colons."},
			{name: "guid", value: text{to: &g.GUID, what: "a GUID in braces", check: guid}, required: true, example: `"{2D0A1F3C-5B0E-4C57-9A39-6B1D3F0C7E55}"`,
				doc: "What scripts attach to; `uuidgen` makes one. It must stay the same."},
			{name: "bucket", value: duration{to: &g.Bucket, least: time.Second, max: 24 * time.Hour, off: "the window"}, doc: "How long values are added up, rounded up to windows.", example: "5m"},
			{name: "meters", value: list[Meter]{to: &g.Meters, what: "meters", some: true, fresh: Meter{Type: "counter"}, entry: func(m *Meter) value {
				return section{options: []option{
					{name: "name", value: text{to: &m.Name, check: plainName}, required: true, example: "requests", doc: "What it is called."},
					{name: "type", value: choice{&m.Type, kinds}, doc: "How updates come together in a bucket: `counter` adds up, `rate` adds up and is per second, `gauge` keeps the last, `running` adds up for ever, `average`, `maximum` and `minimum` say it, `delta_rate` is the growth per second of a number that grows for ever."},
					{name: "top", value: whole{&m.Top, 0, 100_000}, doc: "How many keys its list of the largest has; 0 means no list."},
				}}
			}}, required: true, example: "[{name: requests, type: rate, top: 10}]", doc: "What is counted of each key."},
			{name: "toppers_only", value: flag{&g.ToppersOnly}, doc: "The store keeps windows only of keys that are on the list of the largest of a meter, and the totals. See [flows](flows.md#store-only-the-largest)."},
			{name: "feeds", value: list[feed.Spec]{to: &g.Feeds, what: "feeds", entry: func(s *feed.Spec) value {
				return section{options: []option{
					{name: "from", value: text{to: &s.From, what: "`statsd:counter`, `statsd:gauge`, `statsd:timer`, `statsd:set`, `centreon:status`, `centreon:metric`, or an event such as `neb:ServiceStatus`"}, required: true, example: "statsd:counter",
						doc: "What is counted: StatsD metrics, at every flush; events, named as in `categories` of connectors; or points of series."},
					{name: "match", value: list[string]{to: &s.Match, what: "conditions `FIELD=PATTERN` or `FIELD=~EXPRESSION`", entry: func(to *string) value { return text{to: to} }}, example: `["name=web.*.requests"]`,
						doc: "All must fit the whole of a field: the `name` or a tag of a StatsD metric, a member of an event, a tag of a point. `*` is any text without a dot, `**` any text; an expression is RE2."},
					{name: "key", value: text{to: &s.Key}, required: true, example: `"{1}"`, doc: "The key: text with `{FIELD}` for fields, and `{1}`, `{2}` and so on for what the stars and groups of `match` stand for."},
					{name: "meter", value: text{to: &s.Meter}, required: true, example: "requests", doc: "The meter, by its name."},
					{name: "value", value: text{to: &s.Value}, example: "latency", doc: "The number: `count` of counters and sets, `value` of gauges, each of the `values` of timers or one of their figures such as `mean`, a metric of points, a numeric member of events. When not given, the first of these; an event counts 1."},
				}}
			}}, doc: "What is counted in it."},
		}}
	}}
}

// plainName checks titles and names of meters, which become names of schemas and metrics.
func plainName(s string) (reason, suggestion string) {
	switch {
	case strings.TrimSpace(s) == "":
		return "it must not be empty", ""
	case len(s) > 100:
		return "it must have at most 100 bytes", ""
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "it must not have control characters", ""
	}
	return "", ""
}

func guid(s string) (reason, suggestion string) {
	if _, err := countergroup.ParseGUID(s); err != nil {
		if _, err := countergroup.ParseGUID("{" + s + "}"); err == nil {
			suggestion = `"{` + strings.ToUpper(s) + `}"`
		}
		return "it must be a GUID in braces, such as {2D0A1F3C-5B0E-4C57-9A39-6B1D3F0C7E55}", suggestion
	}
	return "", ""
}

// checkGroups adds what is wrong with declared groups together.
func (c *Config) checkGroups(d *decoder) {
	titles, guids := make(map[string]string), make(map[string]string) // to who has them
	for _, builtin := range countergroup.Builtin() {
		if slices.Contains(c.Groups.Off, builtin.Title) || slices.Contains(c.Groups.Off, builtin.GUID) {
			continue
		}
		titles[strings.ToLower(storage.SchemaName(builtin.Title))] = "the built-in group " + quote(builtin.Title)
		for _, id := range append(builtin.Aliases, builtin.GUID) {
			guids[id] = "the built-in group " + quote(builtin.Title)
		}
	}
	for i, g := range c.Groups.Declared {
		path := index("counter_groups.groups", i)
		complain := func(option, value, reason string) {
			d.complain(path+"."+option, fmt.Sprintf("cannot use %s for %s.%s: %s", quote(value), path, option, reason))
		}
		id, _ := countergroup.ParseGUID(g.GUID)
		schema := strings.ToLower(storage.SchemaName(g.Title))
		if other := titles[schema]; other != "" {
			complain("title", g.Title, other+" has the same name")
		}
		if other := guids[id]; other != "" {
			complain("guid", g.GUID, "it is that of "+other)
		}
		titles[schema], guids[id] = path, path
		if g.Bucket%time.Second != 0 {
			complain("bucket", FormatDuration(g.Bucket), "it must be whole seconds")
		}
		if g.ToppersOnly && !slices.ContainsFunc(g.Meters, func(m Meter) bool { return m.Top > 0 }) {
			complain("toppers_only", "true", "no meter has a list of its largest keys; give one a `top`")
		}
		if len(g.Meters) > countergroup.MaxMeters {
			d.complain(path+".meters", fmt.Sprintf("cannot use %d meters for %s: there may be %d", len(g.Meters), path, countergroup.MaxMeters))
		}
		names := make(map[string]bool)
		for k, m := range g.Meters {
			if names[strings.ToLower(m.Name)] {
				complain(index("meters", k)+".name", m.Name, "a meter before it has the same name")
			}
			names[strings.ToLower(m.Name)] = true
		}
		for k, s := range g.Feeds {
			mistake := feed.Check(s, g.definitions())
			if mistake == nil {
				continue
			}
			reason := mistake.Reason
			if near := nearest(mistake.Value, mistake.Known); near != "" {
				reason += fmt.Sprintf("; did you mean %q?", near)
			} else if len(mistake.Known) > 0 && len(mistake.Known) < 40 {
				reason += "; there are " + strings.Join(mistake.Known, ", ")
			}
			complain(index("feeds", k)+"."+mistake.Option, mistake.Value, reason)
		}
	}
}
