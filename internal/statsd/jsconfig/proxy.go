package jsconfig

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/dop251/goja"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/management"
	"github.com/weirhq/weir/internal/statsd/proxy"
)

// ProxyFile is what a configuration file of StatsD's proxy says (specification section 7).
type ProxyFile struct {
	Path    string
	Proxy   proxy.Config
	Log     Log
	Debug   bool
	Healthy bool // first answer of the management command health
}

// ReadProxy reads the file at path as the proxy does. Its errors are those of [Read].
func ReadProxy(path string) (*ProxyFile, error) {
	text, err := content(path)
	if err != nil {
		return nil, err
	}
	return ParseProxy(path, text)
}

// ParseProxy reads text; path is for messages and for __dirname.
func ParseProxy(path string, text []byte) (*ProxyFile, error) {
	f := &ProxyFile{Path: path}
	if err := evaluateText(path, text, f.fill); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *ProxyFile) fill(vm *goja.Runtime, config *goja.Object, at positions) error {
	o := options{at: at}
	top := scope{&o, "", config}
	f.Log, f.Debug = top.log(), top.truthy("debug")
	f.Healthy = !strings.EqualFold(top.textOr("healthStatus", "up"), "down")
	f.Proxy = proxy.Config{
		Nodes: top.nodes(), Listen: []statsd.Listen{top.listener()}, Component: "statsd_proxy",
		Management:    net.JoinHostPort(top.textOr("mgmt_address", ""), strconv.Itoa(top.port("mgmt_port", 8126))),
		CheckInterval: milliseconds(top.numberOr("checkInterval", 10000, 1, maxInterval, "a number of milliseconds, at least 1")),
	}
	if o.wrong == nil {
		if err := f.Proxy.Check(); err != nil {
			top.fail("nodes", "%v", err)
		}
	}
	if o.wrong != nil {
		return o.wrong
	}
	settings, err := render(vm, config, nil, nil)
	if err != nil {
		return err
	}
	var shown []management.Setting
	for _, s := range settings {
		shown = append(shown, management.Setting(s))
	}
	f.Proxy.Settings = func() []management.Setting { return shown }
	return nil
}

func (s scope) nodes() []proxy.Node {
	const like = "{host: '192.0.2.1', port: 8127, adminport: 8128}"
	var all []proxy.Node
	for i, item := range s.items("nodes", "a list such as ["+like+"]") {
		name := fmt.Sprintf("nodes[%d]", i)
		o, ok := item.(*goja.Object)
		if !ok {
			s.fail(name, "%s is not an object such as %s", quote(item), like)
			return nil
		}
		entry := scope{s.options, name, o}
		n := proxy.Node{Host: entry.textOr("host", ""), Port: entry.port("port", 0), AdminPort: entry.port("adminport", 0)}
		switch {
		case n.Host == "":
			entry.fail("host", "a node needs a host: it looks like %s", like)
		case n.Port == 0:
			entry.fail("port", "a node needs the port its lines go to: it looks like %s", like)
		case n.AdminPort == 0:
			entry.fail("adminport", "a node needs the port of its management console: it looks like %s", like)
		}
		all = append(all, n)
	}
	return all
}
