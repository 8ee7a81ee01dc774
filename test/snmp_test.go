package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// snmpd starts Debian's agent on a port of its own, with a user of version 3 for every pair of protocols that it has.
func snmpd(t *testing.T) (port int) {
	t.Helper()
	program, err := exec.LookPath("snmpd")
	if err != nil {
		program = "/usr/sbin/snmpd"
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = c.LocalAddr().(*net.UDPAddr).Port
	c.Close()
	dir := t.TempDir()
	writeFile(t, dir, "snmpd.conf", `rocommunity harbour-lab-7 127.0.0.1
sysName weir-agent
sysLocation Harbour office
createUser md5user MD5 "a good key" DES "another key"
createUser shauser SHA "a good key" AES "another key"
createUser sha256user SHA-256 "a good key" AES "another key"
createUser sha512user SHA-512 "a good key" AES "another key"
rouser md5user auth
rouser shauser priv
rouser sha256user priv
rouser sha512user priv
`)
	agent := exec.Command(program, "-f", "-Lo", "-C", "-c", filepath.Join(dir, "snmpd.conf"), "-p", filepath.Join(dir, "pid"), fmt.Sprintf("udp:127.0.0.1:%d", port))
	agent.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+filepath.Join(dir, "persistent"), "MIBS=")
	var log strings.Builder
	agent.Stdout, agent.Stderr = &log, &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return port
}

// snmpSensors fetch from an agent: one value, text, a table with rates, an expression over two values.
const snmpSensors = `      sensors:
        - {oids: [{oid: 1.3.6.1.2.1.1.3.0}, {oid: 1.3.6.1.2.1.1.5.0}], expression: "$1 / 100", output_path: "uptime.{$2}"}
        - {oids: [{oid: 1.3.6.1.2.1.2.1.0}, {oid: .1.3.6.1.2.1.1.3.0}], expression: "$1 > 0 ? max($1, 1) + $2 - $2 : 0", output_path: interfaces}
        - {oids: [{oid: 1.3.6.1.2.1.2.2.1.2, fetch_method: walk}, {oid: 1.3.6.1.2.1.2.2.1.10, fetch_method: walk}], expression: "$2 * 8", output_path: "if.{$index}.{$1}"}
        - {oids: [{oid: 1.3.6.1.2.1.31.1.1.1.1, fetch_method: walk}, {oid: 1.3.6.1.2.1.31.1.1.1.6, fetch_method: walk}], expression: "$2", output_path: "hc.{$index}.{$1}"}
        - {oids: [{oid: 1.3.6.1.9.9.9.0}], expression: "$1", output_path: nothing}
`

// TestSNMP polls Debian's agent in versions 1, 2c and 3.
func TestSNMP(t *testing.T) {
	port := snmpd(t)
	dir := t.TempDir()
	config := officeConfig("127.0.0.1:0") + "collectors:\n"
	entry := func(name, options string) {
		config += fmt.Sprintf("  - snmp:\n      name: %s\n      interval: 1s\n      targets: [{address: 127.0.0.1, port: %d, name: %s}]\n%s%s", name, port, name, options, snmpSensors)
	}
	entry("v1", "      version: snmpv1\n      community: harbour-lab-7\n")
	entry("v2c", "      community: harbour-lab-7\n")
	for _, user := range []string{"md5user MD5 DES", "shauser SHA AES", "sha256user SHA256 AES", "sha512user SHA512 AES"} {
		f := strings.Fields(user)
		entry(f[0], fmt.Sprintf("      version: snmpv3\n      security_name: %s\n      auth_protocol: %s\n      auth_key: a good key\n      priv_protocol: %s\n      priv_key: another key\n", f[0], f[1], f[2]))
	}
	entry("wrong", "      version: snmpv3\n      security_name: shauser\n      auth_protocol: SHA\n      auth_key: a bad key of somebody\n      priv_protocol: AES\n      priv_key: another key\n")
	writeFile(t, dir, "weir.yaml", config)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	value := func(path string) error {
		code, body, err := p.get("/api/v1/series?schema=collector:value&tag=path=" + path)
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("%s: %d %s %v", path, code, body, err)
		}
		if !strings.Contains(body, path) {
			return fmt.Errorf("%s is not there: %s", path, body)
		}
		return nil
	}
	for _, name := range []string{"v1", "v2c", "md5user", "shauser", "sha256user", "sha512user"} {
		for _, path := range []string{"uptime.weir-agent", "interfaces", "if.1.lo", "hc.1.lo"} {
			if name == "v1" && strings.HasPrefix(path, "hc") {
				continue // version 1 has no counters of 64 bits
			}
			if err := eventually(func() error { return value("target." + name + ".snmp." + path) }); err != nil {
				t.Errorf("%s: %v\n%s", name, err, p.log())
			}
		}
	}
	for _, expected := range []string{`sensor 5: cannot fetch 1\.3\.6\.1\.9\.9\.9\.0: the device answers NoSuch`, `collector=wrong.*not authentic`} {
		if err := p.waitLog(expected); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(p.log(), "a bad key") || strings.Contains(p.log(), "harbour-lab-7") {
		t.Error("the log has secrets:", p.log())
	}
	if err := eventually(p.balanced); err != nil {
		t.Error(err)
	}
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Error(code, err)
	}
	if kept, err := os.ReadFile(filepath.Join(dir, "data", "collectors", "v2c.state")); err != nil || !strings.Contains(string(kept), "1.3.6.1.2.1.31.1.1.1.6.1") {
		t.Errorf("%s %v", kept, err)
	}
}
