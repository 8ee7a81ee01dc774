package test

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The blocks of the page about collectors and the examples are configurations that weir check finds fine.
func TestCollectorsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/collectors.md")
	if err != nil {
		t.Fatal(err)
	}
	var configurations []string
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		configurations = append(configurations, block[1])
	}
	examples, err := filepath.Glob("../examples/collectors/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range examples {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		configurations = append(configurations, string(text))
	}
	if len(configurations) < 8 {
		t.Errorf("there are only %d", len(configurations))
	}
	dir := t.TempDir()
	_, rest, _ := strings.Cut(string(page), "`weir script run`")
	seen, _ := new(process).follow(t, dir, rest)
	if seen["sh"] != 1 || seen["text"] != 1 {
		t.Errorf("the blocks about running a script are %v", seen)
	}
	for _, text := range configurations {
		writeFile(t, dir, "block.yaml", text)
		cmd := exec.Command(binary, "check", "-c", "block.yaml")
		cmd.Dir, cmd.Env = dir, append(environment(), "COMMUNITY=public")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s\n%v\n%s", text, err, out)
		}
	}
}

// TestPingAndCommands polls loopback addresses and runs Debian's plugins against servers of the test, for targets
// of the configuration and for an entity of the inventory, whose sensor cannot run what the configuration does not name.
func TestPingAndCommands(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "healthy") }))
	defer server.Close()
	host, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	o := &office{T: t, dir: t.TempDir()}
	const plugins = "/usr/lib/nagios/plugins/"
	marker := filepath.Join(o.dir, "marker")
	writeFile(t, o.dir, "weir.yaml", officeConfig("127.0.0.1:0")+`collectors:
  - ping:
      interval: 1s
      n_packets: 2
      sleep_packets: 10ms
      timeout: 400ms
      inventory: true
      targets: [127.0.0.1, {address: 127.1.2.3, name: far}, {address: "::1", name: six}, {address: not..a..name, name: nobody}]
  - exec:
      interval: 1s
      inventory: true
      targets:
        - {name: tcp, command: "`+plugins+`check_tcp -H `+host+` -p `+port+`", timeout: 1s}
        - {name: http, command: [`+plugins+`check_http, -H, `+host+`, -p, "`+port+`"], timeout: 1s}
        - {name: closed, command: `+plugins+`check_tcp -H 127.0.0.1 -p 1, timeout: 1s}
        - {name: odd, command: /bin/sh -c "echo 'strange|'\''a b'\''=5ms'; exit 9", timeout: 1s}
        - {name: slow, command: /bin/sleep 600, timeout: 100ms}
      commands:
        - {name: dummy, command: "`+plugins+`check_dummy 1 {ipv4}"}
`)
	writeFile(t, o.dir, "office.yaml", `accounts:
- name: Harbour office
  credentials:
  - {name: three, protocol: ping, details: {n_packets: "3", sleep_packets: "0.01", timeout: "0.2", retry: "1"}}
  - {name: nothing, protocol: exec, details: {}}
  sensors:
  - {name: alive, protocol: ping, interval: 1, details: {}}
  - {name: dummy, protocol: exec, interval: 1, details: {command: dummy}}
  - {name: hostile, protocol: exec, interval: 1, details: {command: /usr/bin/touch `+marker+`, words: [/usr/bin/touch, `+marker+`]}}
  entities:
  - name: gate
    type: device
    details: {ipv4: 127.0.0.9}
    protocols:
      ping: {credential: three, sensors: [{sensor: alive}]}
      exec: {credential: nothing, sensors: [{sensor: dummy}, {sensor: hostile}]}
`)
	add := exec.Command(binary, "inventory", "import", "-c", "weir.yaml", "office.yaml")
	add.Dir, add.Env = o.dir, environment()
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := run(o.dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	o.process = p
	t.Cleanup(p.kill)

	account := 0
	value := func(path string, want float64, least float64) {
		t.Helper()
		soon(t, func() string {
			cmd := exec.Command(binary, "query", "collector:value", fmt.Sprint("account=", account), "path="+path, "--csv")
			cmd.Env = append(environment(), "WEIR_URL="+p.http)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Sprintf("%v\n%s\n%s", err, out, p.log())
			}
			for line := range strings.Lines(string(out)) {
				var got float64
				if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ',')+1:], &got); err == nil && (math.Abs(got-want) < 1e-9 || least > 0 && got >= least) { // a mean of a minute
					return ""
				}
			}
			return fmt.Sprintf("%s is never %g:\n%s", path, want, out)
		})
	}
	for _, name := range []string{"127%2e0%2e0%2e1", "far", "six"} {
		value("target."+name+".ping.success", 1, 0)
		value("target."+name+".ping.rtt_avg", 0, 1e-9)
	}
	value("target.nobody.ping.success", 0, 0)
	value("target.nobody.ping.p1.ok", 0, 0)
	value("target.tcp.exec.status", 0, 0)
	value("target.tcp.exec.perf.time", 0, 1e-9)
	value("target.http.exec.status", 0, 0)
	value("target.http.exec.perf.size", 0, 7)
	value("target.closed.exec.status", 2, 0)
	value("target.odd.exec.status", 3, 0)
	value("target.odd.exec.perf.a-b", 0.005, 0)
	value("target.slow.exec.status", 3, 0)
	account = 1
	value("entity.1.ping.p2.ok", 1, 0)
	value("entity.1.ping.success", 1, 0)
	value("entity.1.exec.dummy.status", 1, 0)
	soon(t, func() string {
		if !strings.Contains(p.log(), "the configuration of the bot has no such command; it has closed, dummy, http, odd, slow, tcp") {
			return "the log does not say what the inventory may not do:\n" + p.log()
		}
		return ""
	})
	if err := o.balanced(); err != nil {
		t.Error(err)
	}
	if code, err := o.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Error(code, err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a sensor of the inventory runs what it likes")
	}
}
