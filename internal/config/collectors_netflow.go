package config

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/weirhq/weir/collector"
)

// FlowExporter is a device that exports flows.
type FlowExporter struct{ Name, Address string }

func netflowOptions(c *Collector) []option {
	return []option{
		{name: "exporters", value: list[FlowExporter]{to: &c.Exporters, what: "exporters", entry: func(e *FlowExporter) value {
			return section{options: []option{
				{name: "address", value: text{to: &e.Address, what: "an IP address", check: ipAddress}, required: true, example: "192.0.2.1", doc: "Where its datagrams come from; for sFlow the address of its agent."},
				{name: "name", value: text{to: &e.Name, check: plainName}, example: "core", doc: "What paths of values have, as `target.NAME`; the address when it is not given."},
			}}
		}}, example: "[{address: 192.0.2.1, name: core}]", doc: "The devices that export."},
		{name: "suggest", value: flag{&c.Suggest}, doc: "Add exporters that nobody knows to the inventory, as devices of `account`, or of every account when that is 0. Their flows are summarised when somebody gives them the protocol `netflow`."},
	}
}

func netflowDevices(c *Collector) (all []*collector.JobConfig) {
	for _, e := range c.Exporters {
		device := c.device(cmp.Or(e.Name, e.Address), object{"ipv4": e.Address}, object{}, object{})
		device.Sensors[0].Interval = 0 // windows have intervals of their own
		all = append(all, device)
	}
	return all
}

// ipAddress checks an address without a port.
func ipAddress(s string) (reason, suggestion string) {
	if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
		return "it must be an IP address, such as 192.0.2.1 or 2001:db8::1", ""
	}
	return "", ""
}

// checkNetflow finds what is wrong with bots that summarise flows.
func (c *Config) checkNetflow(d *decoder) {
	first := ""
	for i := range c.Collectors {
		of, path := &c.Collectors[i], index("collectors", i)
		switch {
		case of.Kind != "netflow":
			continue
		case first != "":
			d.complain(path, "cannot use "+path+": "+first+" is a bot for flows already, and there can be one; add the exporters to it")
		case len(c.Flows.Listen) == 0:
			d.complain(path, "cannot use "+path+": nothing listens for flows; say where with sources.netflow")
		case of.Suggest && !of.Inventory:
			d.complain(path, "cannot use "+path+": suggest is true, and inventory is not, so what is added would never be looked at")
		case of.Interval != time.Minute:
			d.complain(path, "cannot use "+path+": it has windows of 1 minute to 24 hours, and no interval; leave that option out")
		}
		first = cmp.Or(first, path)
	}
}
