package config

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/statsd"
)

// Flows is where flow records come from and how they are counted.
type Flows struct {
	Listen []FlowSource
	Homes  []string
	flow.MeterConfig
	Sampling  int // for exporters that do not say
	Exporters []Exporter
}

// FlowSource is one entry of sources.netflow.
type FlowSource struct{ Listen statsd.Listen }

// Exporter is one whose sampling rate is told here.
type Exporter struct {
	Address  string
	Sampling int
}

// Rates are the configured sampling rates.
func (f *Flows) Rates() flow.Sampling {
	rates := flow.Sampling{Fallback: uint32(f.Sampling), Forced: make(map[netip.Addr]uint32)}
	for _, e := range f.Exporters {
		rates.Forced[netip.MustParseAddr(e.Address)] = uint32(e.Sampling)
	}
	return rates
}

// Groups are the counter groups.
type Groups struct {
	Window       time.Duration
	TopperBucket time.Duration // 0 leaves it to the groups
	HighWater    int
	NewKey       time.Duration
	Engines      int
	Off          []string // titles or GUIDs of built-in groups that are not registered
	ToppersOnly  []string // titles or GUIDs of built-in groups of which only keys on topper lists are stored
	Declared     []Group
}

// CountsGroups reports whether something feeds counter groups, or watches them.
func (c *Config) CountsGroups() bool {
	return len(c.Flows.Listen) > 0 || len(c.Monitors) > 0 || len(c.Groups.Declared) > 0
}

func defaultFlows() Flows {
	return Flows{Homes: flow.DefaultHomes, Sampling: 1, MeterConfig: flow.MeterConfig{Idle: 2 * time.Minute, MaxFlows: 1 << 18}}
}

func defaultGroups() Groups {
	return Groups{Window: time.Minute, HighWater: countergroup.DefaultHighWater, Engines: 1, NewKey: 24 * time.Hour}
}

func flowSources(to *[]FlowSource) list[FlowSource] {
	return list[FlowSource]{to: to, what: "sockets", entry: func(s *FlowSource) value {
		return section{options: []option{
			{name: "listen", value: datagrams{&s.Listen}, required: true, example: `"udp://:2055"`,
				doc: "Where exporters send to. Every address takes NetFlow v5 and v9, IPFIX and sFlow v5; they are told apart by their contents."},
		}}
	}}
}

func flowsSection(f *Flows) section {
	return section{options: []option{
		{name: "home_networks", value: list[string]{to: &f.Homes, what: "networks", entry: func(s *string) value {
			return text{to: s, what: "a network such as `10.0.0.0/8`", check: network}
		}}, doc: "What lies inside: traffic is told apart by whether its ends do."},
		{name: "ignore_egress", value: flag{&f.IgnoreEgress}, doc: "Leave out records of packets that leave the exporter. Set it when exporters report each packet where it enters and where it leaves."},
		{name: "both_ports", value: flag{&f.BothPorts}, doc: "Count both ports as applications when both are above 1024; otherwise it is the lower one."},
		{name: "idle", value: duration{to: &f.Idle, least: time.Second, max: 24 * time.Hour}, doc: "When a flow has ended of which nothing comes any more."},
		{name: "max_flows", value: whole{&f.MaxFlows, 1, math.MaxInt32}, doc: "How many flows are followed at once, to count connections. Beyond that the one that is idle for longest has ended."},
		{name: "sampling", value: whole{&f.Sampling, 1, math.MaxInt32}, doc: "The sampling rate of exporters that do not tell theirs: one packet in so many."},
		{name: "exporters", value: list[Exporter]{to: &f.Exporters, what: "exporters", fresh: Exporter{Sampling: 1}, entry: func(e *Exporter) value {
			return section{options: []option{
				{name: "address", value: text{to: &e.Address, what: "an IP address", check: address}, required: true, example: "192.0.2.1", doc: "Its address; of sFlow the agent's."},
				{name: "sampling", value: whole{&e.Sampling, 1, math.MaxInt32}, doc: "Its sampling rate, whatever it tells itself."},
			}}
		}}, doc: "Exporters that tell a wrong sampling rate."},
	}}
}

func groupsSection(g *Groups) section {
	return section{options: []option{
		{name: "window", value: duration{to: &g.Window, least: time.Second, max: time.Hour}, doc: "How long values are added up, in whole seconds. Windows begin at multiples of it."},
		{name: "topper_bucket", value: duration{to: &g.TopperBucket, least: time.Second, max: 24 * time.Hour, off: "what each group says, mostly 5 minutes"}, doc: "Over which time the keys with the largest values are found.", example: "1m"},
		{name: "max_keys", value: whole{&g.HighWater, 1, math.MaxInt32}, doc: "How many keys a group keeps; the ones not used for longest are forgotten at the end of a window. Within a window it takes twice as many. The group's totals count all."},
		{name: "new_key_after", value: duration{to: &g.NewKey, least: time.Minute, max: 3650 * 24 * time.Hour}, doc: "How long a key must not have been seen to be new again."},
		{name: "engines", value: whole{&g.Engines, 1, 8}, doc: "1, 2, 4 or 8: into how many parts keys are split for monitors. Every script has a Lua state for each part of each group, which sees the keys of its part. See [monitors](monitors.md#engines)."},
		{name: "off", value: list[string]{to: &g.Off, what: "groups", entry: func(s *string) value {
			return text{to: s, what: "the title or GUID of a built-in group", check: builtinGroup}
		}}, reload: true, doc: "Built-in groups that do not exist here: nothing is counted in them, and scripts do not find them.", example: `["Dir Mac", VLANStats]`},
		{name: "toppers_only", value: list[string]{to: &g.ToppersOnly, what: "groups", entry: func(s *string) value {
			return text{to: s, what: "the title or GUID of a built-in group with topper lists", check: listedGroup}
		}}, doc: "Built-in groups of which the store keeps windows only of keys that are on a list of the largest, and the totals. See [flows](flows.md#store-only-the-largest).", example: `[Hosts, "External Hosts"]`},
		{name: "groups", value: ownGroups(&g.Declared), doc: "Further groups, fed from what else Weir takes in. See [flows](flows.md)."},
	}}
}

// datagrams is the URL of a UDP socket.
type datagrams struct{ to *statsd.Listen }

func (datagrams) kind() string   { return "`udp://HOST:PORT`, `udp4://HOST:PORT` or `udp6://HOST:PORT`" }
func (v datagrams) yaml() string { return listen(v).yaml() }

func (v datagrams) decode(d *decoder, path string, n ast.Node) {
	before := len(d.errors)
	listen(v).decode(d, path, n)
	if len(d.errors) == before && v.to.Network[:3] != "udp" {
		suggestion := ""
		if v.to.Network == "tcp" {
			suggestion = strconv.Quote("udp://" + v.to.Address)
		}
		d.refuse(n, path, "flow records arrive over UDP", suggestion)
	}
}

func network(s string) (reason, suggestion string) {
	if _, err := flow.NewHomes([]string{s}); err != nil {
		return "it must be a network such as 10.0.0.0/8 or 2001:db8::/32", ""
	}
	return "", ""
}

func address(s string) (reason, suggestion string) {
	if _, err := netip.ParseAddr(s); err != nil {
		return "it must be an IP address such as 192.0.2.1", ""
	}
	return "", ""
}

func builtinGroup(s string) (reason, suggestion string) {
	var titles []string
	for _, d := range countergroup.Builtin() {
		if d.Title == s || d.GUID == s {
			return "", ""
		}
		titles = append(titles, d.Title)
	}
	near := nearest(s, titles)
	if near != "" {
		near = quoted(near)
	}
	return "there is no built-in group of this title or GUID", near
}

// listedGroup is builtinGroup for a group that has lists of the largest keys.
func listedGroup(s string) (reason, suggestion string) {
	for _, d := range countergroup.Builtin() {
		if d.Title == s || d.GUID == s {
			if !slices.ContainsFunc(d.Meters, func(m countergroup.Meter) bool { return m.Top > 0 }) {
				return "this group has no list of its largest keys", ""
			}
		}
	}
	return builtinGroup(s)
}

// checkFlows adds what is wrong with options together.
func (c *Config) checkFlows(d *decoder) {
	seen := make(map[statsd.Listen]bool)
	for i, s := range c.Flows.Listen {
		path := index("sources.netflow", i) + ".listen"
		if seen[s.Listen] {
			d.complain(path, "cannot use "+quote(listenURL(s.Listen))+" for "+path+": an entry before it is the same")
		}
		seen[s.Listen] = true
	}
	c.checkGroups(d)
	if n := c.Groups.Engines; n&(n-1) != 0 {
		d.complain("counter_groups.engines", "cannot use "+strconv.Itoa(n)+" for counter_groups.engines: it must be 1, 2, 4 or 8")
	}
	for _, name := range []string{"window", "topper_bucket"} {
		value := c.Groups.Window
		if name == "topper_bucket" {
			value = c.Groups.TopperBucket
		}
		if path := "counter_groups." + name; value%time.Second != 0 {
			d.complain(path, "cannot use "+FormatDuration(value)+" for "+path+": it must be whole seconds")
		}
	}
}
