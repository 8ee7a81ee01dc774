package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// monitorExample is the text of an example.
func monitorExample(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../examples/monitors", name))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{name: string(text)}
}

// An exporter that is silent raises one alert, and one more when it is back.
func TestSilentExporters(t *testing.T) {
	m := startMonitoredWith(t, `, "SilentExporters>Seconds": "2"`, monitorExample(t, "silent-exporters.lua"), "silent-exporters.lua FlowGens")
	one := exported{from: "10.0.0.1:1000", to: "10.0.0.2:2000", protocol: 17, bytes: 100, packets: 1}
	m.exportFrom("127.0.0.2", one)
	m.exportFrom("127.0.0.3", one)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // this one goes on
		for {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
				m.exportFrom("127.0.0.3", one)
			}
		}
	}()
	if err := m.waitLog(`msg=alert message="127\.0\.0\.2 sent no flows for 2 seconds" sigid=EXPORTER priority=1 status=FIRED`); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // it is said once
	m.exportFrom("127.0.0.2", one)
	if err := m.waitLog(`msg=alert message="127\.0\.0\.2 sends flows again" sigid=EXPORTER priority=3 status=CLEAR`); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(m.log(), "status=FIRED"); n != 1 {
		t.Errorf("%d alerts", n)
	}
	if strings.Contains(m.log(), `message="127.0.0.3`) {
		t.Error("the exporter that went on is silent")
	}
}

// A host fires above the high threshold, stays as it is between the two, and clears below the low one, or when nothing comes.
func TestTrafficThreshold(t *testing.T) {
	m := startMonitoredWith(t, `, "TrafficThreshold>High": "8000", "TrafficThreshold>Low": "4000"`, monitorExample(t, "traffic-threshold.lua"), "traffic-threshold.lua Internal Hosts")
	receive := func(bytes uint32) {
		together()
		m.export(exported{from: "192.0.2.9:443", to: "10.0.0.1:40000", protocol: 6, bytes: bytes, packets: 1})
	}
	for _, bytes := range []uint32{700, 1100, 700, 1200, 400, 900, 1500} { // in seconds of their own, one after another
		receive(bytes)
	}
	if err := m.waitLog(`message="0A\.00\.00\.01 receives nothing"`); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(m.log()) {
		if _, rest, ok := strings.Cut(line, "msg=alert message="); ok {
			text, rest, _ := strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
			got = append(got, text+" "+strings.Fields(rest)[0]+" "+strings.Fields(rest)[2])
		}
	}
	want := []string{
		"0A.00.00.01 receives 8800 bit/s sigid=1 status=FIRED", "0A.00.00.01 receives 3200 bit/s sigid=1 status=CLEAR",
		"0A.00.00.01 receives 12000 bit/s sigid=1 status=FIRED", "0A.00.00.01 receives nothing sigid=1 status=CLEAR",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The networks have what their hosts have, a window later.
func TestNetworks(t *testing.T) {
	m := startMonitoredWith(t, `, "Networks>Window": "1"`, monitorExample(t, "networks.lua"), "networks.lua Hosts")
	together()
	m.export(
		exported{from: "10.0.0.1:40000", to: "192.0.2.9:443", protocol: 6, bytes: 6000, packets: 10},
		exported{from: "10.0.0.2:40001", to: "192.0.2.9:443", protocol: 6, bytes: 500, packets: 5},
		exported{from: "10.0.1.7:40001", to: "10.0.0.2:443", protocol: 6, bytes: 70, packets: 1},
	)
	soon(t, func() string {
		want := map[string]map[string]float64{
			"0A.00.00.00": {"total": 6570, "received": 70, "transmitted": 6500, "hosts": 2}, "C0.00.02.00": {"total": 6500, "received": 6500, "hosts": 1, "transmitted": 0},
			"0A.00.01.00": {"total": 70, "transmitted": 70, "hosts": 1, "received": 0}, "SYS:GROUP_TOTALS": {"total": 13140, "received": 6570, "transmitted": 6570, "hosts": 4},
		}
		return cmp.Diff(want, grouped(t, m.process, "Networks"))
	})
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
}
