package test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// TestMonitorReplay: scripts run in a replay on data time, and what they make of the last window is stored, too. Twice is the same.
func TestMonitorReplay(t *testing.T) {
	for range 2 {
		dir := t.TempDir()
		packets := filepath.Join(dir, "packets.pcap")
		capture(t, packets)
		for name, text := range monitorExample(t, "networks.lua") {
			writeFile(t, dir, name, text)
		}
		writeFile(t, dir, "weir.yaml", `http: {listen: "127.0.0.1:0"}
sources: {statsd: [], netflow: [{listen: "udp://127.0.0.1:0"}]}
timeseries: {retention: 3650d}
monitors: [{path: networks.lua}]
`)
		p, err := begin(dir, environment(), "flow", "replay", "-c", "weir.yaml", packets)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		select {
		case <-p.done:
		case <-time.After(patience):
			t.Fatal("the replay does not end")
		}
		if p.code != 0 {
			t.Fatalf("code %d\n%s%s", p.code, p.output(), p.log())
		}
		p, err = run(dir, environment(), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		const span = "start=1699999980&end=1700000280"
		hosts, networks := groupedIn(t, p, "Hosts", span), groupedIn(t, p, "Networks", span)
		want := 0.0
		for key, v := range hosts {
			if key[:8] == "0A.00.00" {
				want += v["Total"]
			}
		}
		if got := networks["0A.00.00.00"]["total"]; want == 0 || fmt.Sprintf("%.3f", got) != fmt.Sprintf("%.3f", want) || networks["0A.00.00.00"]["hosts"] != 10 {
			t.Errorf("%v of %.3f\nhosts %v", networks, want, hosts)
		}
		p.kill()
	}
}
