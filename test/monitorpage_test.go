package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMonitorsPage does what the page about monitors says, as a reader would; after weir run the test is the exporter.
func TestMonitorsPage(t *testing.T) {
	r := newReader(t)
	r.run("export TZ=UTC")
	r.replace = append(r.replace, "udp://:2055", "udp://127.0.0.1:0", "udp://127.0.0.1:2055", "udp://127.0.0.1:0", "/etc/", r.dir+"/etc/")
	if err := os.MkdirAll(filepath.Join(r.dir, "etc/weir/monitors"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.expect("weir script monitors", "large.lua ", "networks.lua ", "cg_monitor", "Hosts", "running", "group:Networks", "0A.00.00.00", "10.0.0.0/24", "0A.00.00.01 is new")
	r.started = func() {
		m := &monitored{t: t}
		soon(t, func() string {
			log, err := os.ReadFile(filepath.Join(r.dir, "weir.log"))
			found := regexp.MustCompile(`msg=ready .*\bhttp=(\S+).* netflow=(\S+)`).FindSubmatch(log)
			if found == nil || strings.Count(string(log), `msg="script attached"`) != 2 {
				return fmt.Sprintf("not ready: %v\n%s", err, log)
			}
			m.address = string(found[2])
			r.run("export WEIR_URL=" + string(found[1]))
			return ""
		})
		together() // new keys are those of later seconds
		soon(t, func() string {
			m.export(exported{from: "10.0.0.1:40000", to: "192.0.2.9:443", protocol: 6, bytes: 6000, packets: 10})
			stored, live := r.run("weir topk group:Networks --start -1m 2>&1 || true"), r.run("weir top Networks --once")
			if !strings.Contains(stored, "0A.00.00.00") || !strings.Contains(live, "10.0.0.0/24") {
				return stored + live
			}
			return ""
		})
	}
	r.read("../docs/monitors.md")
}
