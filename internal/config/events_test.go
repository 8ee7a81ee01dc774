package config

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/statsd"
)

func TestConnectors(t *testing.T) {
	t.Setenv("TOKEN", "s3cret")
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	authorities := filepath.Join(dir, "ca.pem")
	server := httptest.NewTLSServer(nil)
	server.Close()
	if err := os.WriteFile(authorities, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "weir.yaml")
	text := `
sources:
  bbdo:
    - {listen: "tcp://127.0.0.1:5669", synthesize: false}
    - connect: tcp://lyon:5669
      bbdo_version: 2.0.0
      compression: false
      ack_limit: 10
      max_event: 1MiB
      retry_interval: 2s
      keepalive_interval: 10s
      keepalive_count: 3
      tls: {mode: required, ca: ` + authorities + `, hostname: poller}
stream: {max_size: 1GiB, max_age: 1d, drop_oldest: true}
connectors:
  - name: influx
    script: influx.lua
    parameters: {port: 8086, ratio: 0.5, token: "${TOKEN}", pw: {file: ` + secret + `}, text: "1"}
    categories: [neb, "storage:pb_metric"]
    bbdo_version: 2.0.0
    legacy_type_alias: true
    queue_size: 5
    call_timeout: 1s
    memory: 64MiB
    errors: 7
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Connector{
		Setup: connector.Setup{
			Name: "influx", Script: "influx.lua", Categories: []string{"neb", "storage:pb_metric"}, BBDO: "2.0.0", TypeAlias: true, Queue: 5, Aside: 10, Call: time.Second,
			Parameters: []connector.Parameter{
				{Name: "port", Number: 8086, Numeric: true}, {Name: "ratio", Number: 0.5, Numeric: true},
				{Name: "token", Text: "s3cret", Secret: true}, {Name: "pw", Text: "hush", Secret: true}, {Name: "text", Text: "1"},
			},
		},
		Files: []File{{3, secret}}, Memory: 64 << 20, Errors: 7,
	}
	if diff := cmp.Diff([]Connector{want}, c.Events.Connectors); diff != "" {
		t.Error(diff)
	}
	if s := c.Events.Stream; s.MaxBytes != 1<<30 || s.MaxAge != 24*time.Hour || !s.DiscardOld || !c.Events.Runs() || c.Events.BBDO[0].Synthesize {
		t.Errorf("%+v", c.Events)
	}
	dialer := BBDO{
		Connect: statsd.Listen{Network: "tcp", Address: "lyon:5669"}, Version: "2.0.0", Synthesize: true,
		Config: bbdo.Config{
			TLS: bbdo.TLS{Mode: bbdo.TLSRequired, CA: authorities, Hostname: "poller"}, AckLimit: 10, MaxEvent: 1 << 20, NegotiationTimeout: 5 * time.Second,
			RetryInterval: 2 * time.Second, KeepaliveInterval: 10 * time.Second, KeepaliveCount: 3,
		},
	}
	if diff := cmp.Diff(dialer, c.Events.BBDO[1]); diff != "" {
		t.Error(diff)
	}
	if Default().Events.Runs() {
		t.Error("events run without being configured")
	}
}

func TestInstallations(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		c := parsed(t, text)
		got := []string{strings.Join(c.Installations(), " ")}
		for _, s := range c.Events.Connectors {
			got = append(got, s.Installation)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	const connectors = "connectors: [{name: a, script: x}, {name: b, script: x, installation: paris}]\n"
	f("connectors: [{name: a, script: x}]", "", "")
	f("sources: {bbdo: [{listen: 'tcp://:1', installation: paris}, {listen: 'tcp://:2', installation: paris}]}\n"+connectors, "paris", "paris", "paris")
	f("sources: {bbdo: [{listen: 'tcp://:1'}, {listen: 'tcp://:2', installation: paris}]}\n"+connectors, " paris", "", "paris")

	bad := func(text, want string) {
		t.Helper()
		_, err := Parse("weir.yaml", []byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("%s\nerror %v\nwant  %s", text, err, want)
		}
	}
	bad("sources: {bbdo: [{listen: 'tcp://:1', installation: lyon}, {listen: 'tcp://:2', installation: paris}]}\n"+connectors,
		`weir.yaml:2:14: cannot use connectors[0] without the key "installation": the entries of sources.bbdo belong to several, "lyon", "paris"`)
	bad("sources: {bbdo: [{listen: 'tcp://:1', installation: pariss}]}\n"+connectors,
		`weir.yaml:2:71: cannot use "paris" for connectors[1].installation: no entry of sources.bbdo belongs to it; did you mean "pariss"?`)
	bad("sources: {bbdo: [{listen: 'tcp://:1', installation: p aris}]}\n",
		`weir.yaml:1:53: cannot use "p aris" for sources.bbdo[0].installation: it must be 1 to 64 letters, digits, -, _ or .; did you mean "p-aris"?`)
}

func TestCategories(t *testing.T) {
	for _, text := range []string{"[neb:host_status, storage]", "[neb:host_status,storage]", `["neb:host_status", 'storage']`, "\n    - neb:host_status\n    - storage"} {
		c := parsed(t, "connectors:\n  - name: a\n    script: x\n    categories: "+text)
		if diff := cmp.Diff([]string{"neb:host_status", "storage"}, c.Events.Connectors[0].Categories); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
}

func TestMistakesOfConnectors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Parse("weir.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v\nwant  %s", text, err, want)
		}
	}
	one := func(more string) string { return "connectors: [{name: a, script: a.lua" + more + "}]" }
	f("connectors: [{name: a}]", `weir.yaml:1:14: cannot use connectors[0] without the key "script"`)
	f("connectors: [{name: a b, script: x}]", "it must be 1 to 64 letters")
	f("connectors: [{name: .., script: x}]", "it must be 1 to 64 letters")
	f("connectors: [{name: a, script: x}, {name: a, script: y}]", "a connector before it has this name")
	f(one(", parameters: {verbose: true}"), "scripts take text and numbers only; did you mean 1?")
	f(one(", parameters: {a: 1, a: 2}"), "given twice")
	f(one(", parameters: {a: [1]}"), "it must be text, not a list")
	f(one(", parameters: {a: {fil: x}}"), `did you mean "file"?`)
	f(one(", parameters: 7"), "it must be a mapping of names to values")
	f(one(`, parameters: {a: "${NO_SUCH}"}`), "the environment has no variable")
	f(one(", categories: [storag]"), `weir.yaml:1:52: cannot use "storag" for connectors[0].categories[0]: it must be "all", "bam", "bbdo", "correlation", "dumper", "extcmd", "generator", "internal", "local", "neb" or "storage", or one of their events, such as neb:service_status; did you mean "storage"?`)
	f(one(", categories: [neb:host_statu]"), `cannot use "neb:host_statu" for connectors[0].categories[0]: there is no such category or event; did you mean "neb:host_status"?`)
	f(`sources: {bbdo: [{connect: "tcp://a:5669", bbdo_version: 2.5}]}`, `cannot use "2.5" for sources.bbdo[0].bbdo_version: it must be "", "3.0.1", "3.0.0" or "2.0.0"`)
	f(one(", bbdo_version: 2"), `it must be "3.0.1", "3.0.0" or "2.0.0"; did you mean "2.0.0"?`)
	f(`sources: {bbdo: [{listen: "udp://:5669"}]}`, `it must be tcp://HOST:PORT; did you mean "tcp://:5669"?`)
	f(`sources: {bbdo: [{listen: "tcp://:5669", tls: {mode: required}}]}`, "without cert and key")
	f(`sources: {bbdo: [{listen: "tcp://:5669"}, {listen: "tcp://:5669"}]}`, "an entry before it is the same")
	f(`sources: {bbdo: [{connect: "tcp://a:5669"}, {connect: "tcp://a:5669"}]}`, `cannot use "tcp://a:5669" for sources.bbdo[1].connect: an entry before it is the same`)
	f(`sources: {bbdo: [{synthesize: true}]}`, "without the key listen (pollers connect to Weir) or connect")
	f(`sources: {bbdo: [{listen: "tcp://:5669", connect: "tcp://a:5669"}]}`, "listen is given too")
	f(`sources: {bbdo: [{connect: "a:5669"}]}`, `it must be tcp://HOST:PORT; did you mean "tcp://a:5669"?`)
	f(`sources: {bbdo: [{connect: "tcp://:5669"}]}`, "it must name the host and the port")
	f(`sources: {bbdo: [{connect: "tcp://a:0"}]}`, "it must name the host and the port")
	f(`sources: {bbdo: [{connect: "tcp://a:5669", tls: {client_cert: true}}]}`, "sources.bbdo[0].tls.client_cert in an entry with connect: it has no effect there")
	f(`sources: {bbdo: [{listen: "tcp://:5669", retry_interval: 1s}]}`, "sources.bbdo[0].retry_interval in an entry with listen: it has no effect there")
	f(`sources: {bbdo: [{connect: "tcp://a:5669", tls: {cert: a}}]}`, "with only one of cert and key")
	f(`sources: {bbdo: [{listen: "tcp://:5669", bbdo_version: 4.0.0}]}`, `it must be "", "3.0.1", "3.0.0" or "2.0.0"`)
	f(`sources: {bbdo: [{listen: "tcp://:5669", max_event: 1GiB}]}`, "it must be 64KiB to 64MiB")
	f("stream: {max_size: 1B}", "it must be at least 1MiB")
}
