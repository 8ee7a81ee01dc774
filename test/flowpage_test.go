package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestFlowsPage does what the page about flows says, as a reader would; after weir run the test is the exporter.
func TestFlowsPage(t *testing.T) {
	r := newReader(t)
	packets := filepath.Join(r.dir, "office.pcap")
	capture(t, packets)
	r.run("export TZ=UTC")
	r.replace = append(r.replace, "udp://:2055", "udp://127.0.0.1:0")
	r.expect("weir top Hosts --once", "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", "Hosts by Total, ", "C0.00.02.09", "192.0.2.9", "SYS:GROUP_TOTALS", "Apps by Connections, ", "p-0035")
	r.started = func() {
		address, url := "", ""
		soon(t, func() string {
			log, err := os.ReadFile(filepath.Join(r.dir, "weir.log"))
			m := regexp.MustCompile(`msg=ready .*\bhttp=(\S+).* netflow=(\S+)`).FindSubmatch(log)
			if m == nil {
				return fmt.Sprintf("not ready: %v\n%s", err, log)
			}
			url, address = string(m[1]), string(m[2])
			return ""
		})
		if left := 60 - time.Now().Second(); left < 20 { // what follows looks at one bucket
			time.Sleep(time.Duration(left) * time.Second)
		}
		if out, err := exec.Command("softflowd", "-r", packets, "-n", address, "-v", "9", "-d").CombinedOutput(); err != nil {
			t.Fatalf("softflowd: %v\n%s", err, out)
		}
		r.run("export WEIR_URL=" + url)
		soon(t, func() string {
			if out := r.run("weir top Hosts --once"); !strings.Contains(out, "10.0.0.9") {
				return out
			}
			return ""
		})
	}
	r.read("../docs/flows.md")
}
