package config

import (
	"cmp"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/collector"
)

// Ping is what is pinged, and how.
type Ping struct {
	Packets, Retry int
	Sleep, Timeout time.Duration
	Targets        []PingTarget
}

// PingTarget is a device to ping.
type PingTarget struct{ Name, Address string }

func newPing() Ping { return Ping{Packets: 3, Sleep: time.Second, Timeout: 2 * time.Second} }

func pingOptions(c *Collector) []option {
	return []option{
		{name: "targets", value: list[PingTarget]{to: &c.Ping.Targets, what: "addresses", entry: func(t *PingTarget) value { return pingTarget{t} }},
			example: "[192.0.2.1, 2001:db8::1, {address: gate.example.org, name: gate}]", doc: "What is pinged: addresses, or mappings that give them a name too."},
		{name: "n_packets", value: whole{&c.Ping.Packets, 1, 1000}, doc: "How many echoes a device is asked for at each interval."},
		{name: "timeout", value: duration{to: &c.Ping.Timeout, least: time.Millisecond, max: time.Hour}, doc: "How long an answer may take."},
		{name: "retry", value: whole{&c.Ping.Retry, 0, 99}, doc: "How often a request is repeated within `timeout`, at equal distances, until there is an answer."},
		{name: "sleep_packets", value: duration{to: &c.Ping.Sleep, max: time.Hour}, doc: "How long to wait between an echo and the next one."},
	}
}

// pingTarget is an address, or a mapping.
type pingTarget struct{ to *PingTarget }

func (pingTarget) kind() string   { return "an address or a mapping" }
func (v pingTarget) yaml() string { return v.declared().yaml() }

func (v pingTarget) declared() section {
	return section{options: []option{
		{name: "address", value: text{to: &v.to.Address, what: "an address or a name", check: host, expand: true}, required: true, example: "192.0.2.1", doc: "An IPv4 address, an IPv6 address, or a name, of which an IPv4 address is preferred."},
		{name: "name", value: text{to: &v.to.Name, check: plainName}, example: "gate", doc: "What paths of values have, as `target.NAME`; the address when it is not given."},
	}}
}

func (v pingTarget) decode(d *decoder, path string, n ast.Node) {
	if _, ok := pairs(n); ok {
		v.declared().decode(d, path, n)
		return
	}
	v.declared().options[0].value.decode(d, path, n)
}

func pingDevices(c *Collector) (all []*collector.JobConfig) {
	credential := object{"n_packets": c.Ping.Packets, "sleep_packets": c.Ping.Sleep.Seconds(), "timeout": c.Ping.Timeout.Seconds(), "retry": c.Ping.Retry}
	for _, t := range c.Ping.Targets {
		all = append(all, c.device(cmp.Or(t.Name, t.Address), object{"ipv4": t.Address}, credential, object{}))
	}
	return all
}

// checkPing finds packets that are not through when the next ones are due.
func (c *Collector) checkPing() (reason string) {
	if longest := time.Duration(c.Ping.Packets)*(c.Ping.Timeout+c.Ping.Sleep) - c.Ping.Sleep; c.Kind == "ping" && longest > c.Interval {
		return "a device that does not answer takes " + FormatDuration(longest) + " (n_packets times timeout, and sleep_packets between them), which is longer than the interval " + FormatDuration(c.Interval)
	}
	return ""
}
