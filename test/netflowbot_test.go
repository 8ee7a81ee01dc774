package test

import (
	network "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNetflowBot lets Weir summarise the flows of an exporter of the configuration and of one of the inventory. The
// first window takes a minute, so what it has taken in is seen in its figures, also after a kill; what it makes of it is under test in the bot.
func TestNetflowBot(t *testing.T) {
	dir := t.TempDir()
	config := officeConfig("127.0.0.1:0")
	config = strings.Replace(config, "sources: {statsd: []}", `sources: {statsd: [], netflow: [{listen: "udp://127.0.0.1:0"}]}`, 1)
	writeFile(t, dir, "weir.yaml", config+`collectors:
  - netflow:
      inventory: true
      suggest: true
      exporters:
        - {address: 127.0.0.1, name: core}
`)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	soon(t, func() string { // all jobs there are for the one exporter
		return hasMetric(p, `weir_collector_jobs{collector="netflow"} 7`)
	})
	_, rest, _ := strings.Cut(p.log(), "netflow=")
	conn, err := net.Dial("udp", strings.TrimPrefix(strings.Fields(rest)[0], "udp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	be := network.BigEndian
	record := append(netip.MustParseAddr("10.0.0.1").AsSlice(), netip.MustParseAddr("10.0.1.1").AsSlice()...)
	record = append(record, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 3, 232, 0, 0, 3, 232, 0, 0, 7, 208, 156, 64, 1, 187, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	datagram := be.AppendUint32([]byte{0, 5, 0, 1, 0, 0, 234, 96}, uint32(time.Now().Unix()))
	datagram = append(append(datagram, make([]byte, 12)...), record...)
	for range 30 {
		if _, err := conn.Write(datagram); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, func() string {
		return hasMetric(p, `weir_passed_total{component="flow.summaries",unit="records"} 30`)
	})
	soon(t, func() string { return hasMetric(p, "weir_netflow_bot_kept_records 30") })
	p.kill()
	if p, err = run(dir, environment(), "run", "-c", "weir.yaml"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	soon(t, func() string { return hasMetric(p, "weir_netflow_bot_kept_records 30") }) // windows go on
	output, err := exec.Command(binary, "bot", "netflow", "--url", p.http+"/api", "--token-file", filepath.Join(dir, "weir.yaml")).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "it lives on what is in the daemon") {
		t.Errorf("%v %s", err, output)
	}
}

// hasMetric says what is wrong when /metrics does not have a line.
func hasMetric(p *process, line string) string {
	_, body, err := p.get("/metrics")
	if err != nil {
		return err.Error()
	}
	if !strings.Contains(body, "\n"+line+"\n") {
		name, _, _ := strings.Cut(line, "{")
		_, rest, _ := strings.Cut(body, "\n"+name+"{")
		return fmt.Sprintf("there is no %s but %s{%.300s\n%s", line, name, rest, p.log())
	}
	return ""
}
