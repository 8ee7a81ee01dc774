package config

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/statsd"
)

// GraphiteSource is one entry of sources.graphite.
type GraphiteSource struct{ Listen statsd.Listen }

func graphiteSources(to *[]GraphiteSource) list[GraphiteSource] {
	return list[GraphiteSource]{to: to, what: "sockets", entry: func(s *GraphiteSource) value {
		return section{options: []option{
			{name: "listen", value: ports{&s.Listen}, required: true, example: `"tcp://:2003"`,
				doc: "Where lines arrive. Without a host it is every address of the machine; whoever reaches it can write."},
		}}
	}}
}

// ports is the URL of a TCP or UDP socket.
type ports struct{ to *statsd.Listen }

func (ports) kind() string {
	return "`tcp://HOST:PORT`, `udp://HOST:PORT`, `udp4://HOST:PORT` or `udp6://HOST:PORT`"
}
func (v ports) yaml() string { return listen(v).yaml() }

func (v ports) decode(d *decoder, path string, n ast.Node) {
	before := len(d.errors)
	listen(v).decode(d, path, n)
	if len(d.errors) == before && v.to.Network == "unix" {
		d.refuse(n, path, "it must be "+plain(v.kind()), "")
	}
}

// checkGraphite finds sources of Graphite that are fine alone and wrong together.
func (c *Config) checkGraphite(d *decoder) {
	seen := make(map[statsd.Listen]bool)
	for i, s := range c.Graphite {
		path := index("sources.graphite", i) + ".listen"
		if seen[s.Listen] {
			d.complain(path, "cannot use "+quote(listenURL(s.Listen))+" for "+path+": an entry before it is the same")
		}
		seen[s.Listen] = true
	}
	if len(c.Graphite) > 0 && !c.Keeps() {
		d.complain("sources.graphite", "cannot use sources.graphite: timeseries.write names no driver, so what arrives could not be stored; write one there, for example store")
	}
}
