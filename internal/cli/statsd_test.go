package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestStatsdThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	f := func(text string, words ...string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "config.js")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := Main([]string{"statsd", path}, &out, &errs); code != exitFailure {
			t.Errorf("%s\ncode %d", text, code)
		}
		if !regexp.MustCompile(`^\d{1,2} [A-Z][a-z]{2} \d\d:\d\d:\d\d - \[\d+\] reading config file: ` + regexp.QuoteMeta(path) + "\n").MatchString(out.String()) {
			t.Errorf("%s\nprints %q", text, out.String())
		}
		for _, word := range words {
			if !strings.Contains(errs.String(), strings.ReplaceAll(word, "$PATH", path)) {
				t.Errorf("%s\n%q is not in %q", text, word, errs.String())
			}
		}
	}
	f("{port: 8125", "$PATH:1:12", "syntax error")
	f("{\n port: 'x'\n}", "$PATH:2:8", "port")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	f(fmt.Sprintf("{servers: [], mgmt_address: '127.0.0.1', mgmt_port: %d, backends: ['mine']}", free.Addr().(*net.TCPAddr).Port), "Failed to load backend: mine", "Cannot find module 'mine'")
	f(fmt.Sprintf("{server: './servers/tcp', address: '127.0.0.1', port: %d}", port), fmt.Sprint(port), "option port", "address already in use")
	f(fmt.Sprintf("{servers: [{server: './servers/tcp', address: '127.0.0.1', port: %d}]}", port), fmt.Sprint(port), "option servers[0].port")
	f(fmt.Sprintf("{servers: [], mgmt_address: '127.0.0.1', mgmt_port: %d}", port), fmt.Sprint(port), "options mgmt_port and mgmt_address")
	f("{server: './servers/tcp', socket: '/nowhere/at/all'}", "/nowhere/at/all", "option socket")
	f("{server: './servers/tcp', address: '127.0.0.1', port: 1, log: {backend: 'x'}}", "log.backend")
}

func TestStatsdArguments(t *testing.T) {
	f := func(words string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(append([]string{"statsd"}, args...), &out, &errs); code != exitFailure || !strings.Contains(errs.String(), words) {
			t.Errorf("%q: code %d, errors %q", args, code, errs.String())
		}
	}
	f("weir statsd takes one")
	f("weir statsd takes one", "a.js", "b.js")
	f("no such file", filepath.Join(t.TempDir(), "a.js"))
}
