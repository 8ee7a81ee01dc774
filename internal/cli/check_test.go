package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	f := func(text string, wantCode int, wantOut, wantErr string) {
		t.Helper()
		path := filepath.Join(dir, "weir.yaml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := Main([]string{"check", "-c", path}, &out, &errs)
		plain := func(b *bytes.Buffer) string { return strings.ReplaceAll(b.String(), dir+"/", "") }
		if code != wantCode || plain(&out) != wantOut || plain(&errs) != wantErr {
			t.Errorf("%s\ncode %d, want %d\n%s\nwant\n%s\nerrors\n%s\nwant\n%s", text, code, wantCode, plain(&out), wantOut, plain(&errs), wantErr)
		}
	}
	f("statsd: {backends: [store, graphite], management: {listen: ''}}\ndata: DIR/x\n", exitOK, `weir.yaml: ok
  statsd      udp://:8125 tcp://:8125
  flush       every 10s to store graphite
  management  none
  http        http://127.0.0.1:8088, no token
  data        x
`, "")
	f("sources: {statsd: []}\nhttp: {token: geheim}\nstatsd: {backends: []}\ntimeseries: {write: []}\n", exitOK, `weir.yaml: ok
  statsd      none
  flush       every 10s to none
  management  127.0.0.1:8126
  http        http://127.0.0.1:8088, token
  data        nothing is kept
`, "")
	f(`sources: {statsd: [], netflow: [{listen: "udp://:2055"}, {listen: "udp6://[::1]:6343"}]}
counter_groups:
  groups:
    - {title: My own, guid: "{2D0A1F3C-5B0E-4C57-9A39-6B1D3F0C7E55}", meters: [{name: a}, {name: b}], feeds: [{from: statsd:counter, key: "{name}", meter: a}]}
`, exitOK, `weir.yaml: ok
  statsd      none
  flush       every 10s to store
  management  127.0.0.1:8126
  http        http://127.0.0.1:8088, no token
  data        ./weir-data
  netflow     udp://:2055
  netflow     udp6://[::1]:6343
  group       'My own': 2 meters, 1 feed
`, "")
	f("log: {levle: info}\n", exitUsage, "", "weir.yaml:1:7: cannot use the key \"levle\": log has no such key; did you mean \"level\"?\n")
	f("http: {token_file: DIR/token}\ndata: ''\n", exitUsage, "", "weir.yaml:2:7: cannot use \"\" for data: it must not be empty\n")
	f("http: {token_file: DIR/token}\n", exitUsage, "", "weir.yaml:1:20: cannot use \"token\" for http.token_file: no such file or directory\n")
	f("a: 1\nb: 2\n", exitUsage, "", `weir.yaml:1:1: cannot use the key "a": the configuration has no such key; its keys are data, log, http, sources, statsd, statsd_proxy, timeseries, stream, connectors, broker, flows, counter_groups, monitors, collectors, inventory
weir.yaml:2:1: cannot use the key "b": the configuration has no such key; its keys are data, log, http, sources, statsd, statsd_proxy, timeseries, stream, connectors, broker, flows, counter_groups, monitors, collectors, inventory
weir: the configuration has 2 mistakes
`)
}
