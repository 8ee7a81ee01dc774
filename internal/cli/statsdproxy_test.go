package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStatsdProxyThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	// Nobody answers there, which is no reason not to start.
	const nodes = "nodes: [{host: '127.0.0.1', port: 1, adminport: 1}]"
	f := func(text string, words ...string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "proxy.js")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := Main([]string{"statsd-proxy", path}, &out, &errs); code != exitFailure {
			t.Errorf("%s\ncode %d", text, code)
		}
		for _, word := range words {
			if !strings.Contains(errs.String(), strings.ReplaceAll(word, "$PATH", path)) {
				t.Errorf("%s\n%q is not in %q", text, word, errs.String())
			}
		}
	}
	f("{port: 8125}", "$PATH:", "nodes: no nodes")
	f("{nodes: 5}", "$PATH:1:9", `"5" is not a list such as [{host:`)
	f("{nodes: [5]}", "$PATH:1:10", `nodes[0]: "5" is not an object`)
	f("{nodes: [{port: 1, adminport: 2}]}", "nodes[0].host", "needs a host")
	f("{nodes: [{host: 'a', adminport: 2}]}", "nodes[0].port", "needs the port")
	f("{nodes: [{host: 'a', port: 2}]}", "nodes[0].adminport", "management console")
	f("{nodes: [{host: 'a', port: 1, adminport: 2}, {host: 'a', port: 1, adminport: 3}]}", `"a:1" is there twice`)
	f("{"+nodes+", checkInterval: 'soon'}", "checkInterval", "milliseconds")
	f("{"+nodes+", server: './mine'}", "./mine")
	f(fmt.Sprintf("{%s, address: '127.0.0.1', port: 0, mgmt_address: '127.0.0.1', mgmt_port: %d}", nodes, port), fmt.Sprint(port), "mgmt_port")
}

func TestStatsdProxyArguments(t *testing.T) {
	f := func(words string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(append([]string{"statsd-proxy"}, args...), &out, &errs); code != exitFailure || !strings.Contains(errs.String(), words) {
			t.Errorf("%q: code %d, errors %q", args, code, errs.String())
		}
	}
	f("weir statsd-proxy takes one")
	f("weir statsd-proxy takes one", "a.js", "b.js")
	f("no such file", filepath.Join(t.TempDir(), "a.js"))
}
