package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// Pollers of two central servers use the same numbers for other hosts. Each script
// gets the events of one, with its names, also after kill -9; series are apart; what
// the caches do not know is at /metrics; secrets are nowhere.
func TestInstallations(t *testing.T) {
	const names = `
local file
function init(conf)
  file = conf.file
  broker_log:set_parameters(3, "")
  broker_log:info(0, "parameters are there: " .. tostring(conf.password ~= nil))
end
function write(d)
  if d.element ~= 29 then return true end
  local out = assert(io.open(file, "a"))
  out:write(tostring(d.output), " ", tostring(broker_cache:get_hostname(d.host_id)), " ", tostring(broker_cache:get_hostname(77)), "\n")
  out:close()
  return true
end`
	dir := t.TempDir()
	writeFile(t, dir, "names.lua", names)
	writeFile(t, dir, "hush", "n0t-s33n-1\n")
	config := `
data: data
log: {level: debug}
http: {listen: "127.0.0.1:0"}
sources:
  statsd: []
  bbdo: [{listen: "tcp://127.0.0.1:0", installation: paris}, {listen: "tcp://127.0.0.1:0", installation: lyon}]
connectors:
  - {name: one, installation: paris, script: names.lua, parameters: {file: one.txt, password: {file: hush}}}
  - {name: two, installation: lyon, script: names.lua, parameters: {file: two.txt, password: "${WEIR_TEST_SECRET}"}}
`
	writeFile(t, dir, "weir.yaml", config)
	start := func() *process {
		t.Helper()
		p, err := run(dir, append(environment(), "WEIR_TEST_SECRET=n0t-s33n-2"), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		return p
	}
	p := start()
	addresses := regexp.MustCompile(`(?m)msg=ready .*\bbbdo="?tcp://(\S+) tcp://([^\s"]+)`).FindStringSubmatch(p.log())
	if addresses == nil {
		t.Fatalf("no two addresses in the log:\n%s", p.log())
	}
	send := func(address, host, output string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := bbdo.Connect(ctx, address, bbdo.ClientConfig{
			Identity: bbdo.Identity{PollerID: 3, PollerName: "poller", BrokerName: "module", PeerType: bbdo.Engine}, Version: bbdo.Version{Major: 3, Minor: 0, Patch: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		l := &poller{Client: c, t: t}
		l.send(`{"category":1,"element":30,"host_id":1,"name":"`+host+`","enabled":true,"instance_id":3}`,
			`{"category":1,"element":27,"host_id":1,"service_id":2,"description":"load","host_name":"`+host+`","enabled":true}`)
		status := fmt.Sprintf(`{"category":1,"element":29,"host_id":1,"service_id":2,"checked":true,"last_check":%d,"output":"%s","perfdata":"load=1"}`, checkTime, output)
		l.send(status, status)
		l.stop()
	}
	send(addresses[1], "seine", "p")
	send(addresses[2], "rhone", "l")
	wait := func(file, want string) {
		t.Helper()
		if err := eventually(func() error {
			got, err := os.ReadFile(filepath.Join(dir, file))
			if err == nil && string(got) != want {
				err = fmt.Errorf("%s has %q, want %q", file, got, want)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	wait("one.txt", "p seine nil\np seine nil\n")
	wait("two.txt", "l rhone nil\nl rhone nil\n")

	var metrics string
	if err := eventually(func() error {
		_, page, err := p.get("/metrics")
		metrics = page
		for _, line := range []string{`weir_cache_misses_total{cache="one"} 2`, `weir_cache_misses_total{cache="two"} 2`,
			`weir_cache_objects{cache="broker@paris",kind="host"} 1`, `weir_cache_objects{cache="one",kind="service"} 1`, `weir_cache_unknown_total{cache="broker@lyon"} 0`} {
			if err == nil && !strings.Contains(page, line+"\n") {
				err = fmt.Errorf("/metrics lacks %s: %s", line, regexp.MustCompile(`(?m)^weir_cache.*$`).FindAllString(page, -1))
			}
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	weir := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.Env = dir, append(environment(), "WEIR_TEST_SECRET=n0t-s33n-2", "WEIR_URL="+p.http)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("weir %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := weir("series", "centreon:metric"); !strings.Contains(out, "paris/seine") || !strings.Contains(out, "lyon/rhone") {
		t.Errorf("weir series:\n%s", out)
	}

	// Secrets, everywhere somebody looks.
	scripts, queues, check := weir("script", "ls", "--json")+weir("script", "ls"), weir("queue", "ls"), weir("check", "-c", "weir.yaml")
	_, status, err := p.get("/api/v1/status")
	if err != nil {
		t.Error(err)
	}
	for what, text := range map[string]string{"the log": p.log(), "/metrics": metrics, "weir script ls": scripts, "weir queue ls": queues, "weir check": check, "the status": status} {
		if text == "" || strings.Contains(text, "n0t-s33n") {
			t.Errorf("a secret is in %s, or nothing is: %s", what, text)
		}
	}
	if !strings.Contains(p.log(), "parameters are there: true") || !strings.Contains(check, "password = *** (string)") {
		t.Errorf("the scripts have no secret, or check does not show that there is one:\n%s", check)
	}

	if _, err := p.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p = start()
	addresses = regexp.MustCompile(`(?m)msg=ready .*\bbbdo="?tcp://(\S+) tcp://([^\s"]+)`).FindStringSubmatch(p.log())
	send(addresses[2], "rhone", "again")
	wait("two.txt", "l rhone nil\nl rhone nil\nagain rhone nil\nagain rhone nil\n")
	wait("one.txt", "p seine nil\np seine nil\n")
}
