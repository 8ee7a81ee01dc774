package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/statsd/proxy"
)

func TestStatsDProxy(t *testing.T) {
	c, err := Parse("weir.yaml", []byte("statsd_proxy:\n  listen: [\"udp://:8135\", \"tcp://:8135\"]\n  check_interval: 2s\n  management: {listen: \"127.0.0.1:8136\"}\n"+
		"  nodes: [{host: 192.0.2.1, port: 8125, admin_port: 8126}, {host: b.example, port: 1, admin_port: 2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := c.StatsDProxy.Config()
	if len(got.Listen) != 2 || got.CheckInterval != 2*time.Second || got.Management != "127.0.0.1:8136" ||
		!cmp.Equal(got.Nodes, []proxy.Node{{Host: "192.0.2.1", Port: 8125, AdminPort: 8126}, {Host: "b.example", Port: 1, AdminPort: 2}}) {
		t.Errorf("%+v", got)
	}
	for text, want := range map[string]string{
		`{nodes: [{host: a, port: 1, admin_port: 2}]}`: "statsd_proxy.listen names no socket",
		`{listen: ["udp://:8135"]}`:                    "names no daemon",
		`{listen: ["udp://:8135"], nodes: [{host: a, port: 1, admin_port: 2}, {host: a, port: 1, admin_port: 3}]}`: `"a:1" is there twice`,
		`{listen: ["udp://:8135"], nodes: [{host: a, port: 1}]}`:                                                   "admin_port",
		`{listen: ["udp://:8135"], nodes: [{host: a, port: 99999, admin_port: 1}]}`:                                "65535",
	} {
		if _, err := Parse("weir.yaml", []byte("statsd_proxy: "+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
