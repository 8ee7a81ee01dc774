package config

import (
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/proxy"
)

// StatsDProxy is the cluster proxy for StatsD; it runs when it has nodes.
type StatsDProxy struct {
	Listen        []statsd.Listen
	Nodes         []proxy.Node
	CheckInterval time.Duration
	Management    string // "host:port"; "" for none
}

func defaultStatsDProxy() StatsDProxy { return StatsDProxy{CheckInterval: 10 * time.Second} }

func statsdProxySection(p *StatsDProxy) section {
	return section{options: []option{
		{name: "listen", value: list[statsd.Listen]{to: &p.Listen, what: "sockets", entry: func(l *statsd.Listen) value { return listen{l} }},
			doc: "Where lines to be spread arrive.", example: `["udp://:8135"]`},
		{name: "nodes", value: list[proxy.Node]{to: &p.Nodes, what: "nodes", entry: func(n *proxy.Node) value {
			return section{options: []option{
				{name: "host", value: text{to: &n.Host, what: "a host name or an IP address", check: host}, required: true, example: "192.0.2.1",
					doc: "Where the daemon is. The placement depends on how it is written: all proxies before the same nodes write it the same way."},
				{name: "port", value: whole{&n.Port, 1, 65535}, required: true, example: "8125", doc: "Where it takes lines, over UDP."},
				{name: "admin_port", value: whole{&n.AdminPort, 1, 65535}, required: true, example: "8126", doc: "Where its management console answers `health`, over TCP."},
			}}
		}}, doc: "StatsD daemons. The proxy runs when there are some.", example: "[{host: 192.0.2.1, port: 8125, admin_port: 8126}]"},
		{name: "check_interval", value: duration{to: &p.CheckInterval, least: 10 * time.Millisecond, max: 24 * time.Hour},
			doc: "How often each node is asked for its health, and how long it may take to answer. One that does not say `health: up` gets no lines until it does."},
		{name: "management", value: section{options: []option{
			{name: "listen", value: text{to: &p.Management, what: "an address `HOST:PORT`, or `\"\"` for none", check: hostPortOrNone},
				doc: "The proxy's own management console, with the commands `status` and `health`."},
		}}, doc: "The console of the proxy."},
	}}
}

// Config is what the proxy itself is told.
func (p StatsDProxy) Config() proxy.Config {
	return proxy.Config{Nodes: p.Nodes, Listen: p.Listen, Management: p.Management, CheckInterval: p.CheckInterval, Component: "statsd_proxy"}
}

// checkStatsDProxy finds what is fine alone and wrong together.
func (c *Config) checkStatsDProxy(d *decoder) {
	p := c.StatsDProxy
	switch {
	case len(p.Nodes) == 0 && len(p.Listen) == 0:
	case len(p.Nodes) == 0:
		d.complain("statsd_proxy.listen", "cannot use statsd_proxy.listen: statsd_proxy.nodes names no daemon to send lines to")
	case len(p.Listen) == 0:
		d.complain("statsd_proxy.nodes", `cannot use statsd_proxy.nodes: statsd_proxy.listen names no socket; write one there, for example "udp://:8135"`)
	default:
		if err := p.Config().Check(); err != nil {
			d.complain("statsd_proxy.nodes", fmt.Sprintf("cannot use statsd_proxy.nodes: %v", err))
		}
	}
}
