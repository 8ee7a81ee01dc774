package test

import (
	"fmt"
	"math"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// TestFeeds: groups of the configuration count StatsD metrics, events and points exactly, without any flows, and what arrives
// just before the end too.
func TestFeeds(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", `http: {listen: "127.0.0.1:0"}
sources:
  statsd: [{listen: "udp://127.0.0.1:0"}]
  bbdo: [{listen: "tcp://127.0.0.1:0"}]
statsd: {flush_interval: 1s, management: {listen: ""}}
counter_groups:
  window: 1s
  groups:
    - title: My sites
      guid: "{2D0A1F3C-5B0E-4C57-9A39-6B1D3F0C7E55}"
      meters: [{name: requests, type: rate, top: 5}, {name: timings}]
      feeds:
        - {from: statsd:counter, match: ["name=web.*.requests"], key: "{1}", meter: requests}
        - {from: statsd:timer, match: ["name=web.*.time"], key: "{1}", meter: timings}
    - title: Checks
      guid: "{2D0A1F3C-5B0E-4C57-9A39-6B1D3F0C7E56}"
      meters: [{name: events}, {name: load}]
      feeds:
        - {from: neb:ServiceStatus, match: ["checked=1"], key: "{host_id}/{service_id}", meter: events}
        - {from: centreon:metric, match: ["metric=load"], key: "{host}/{service}", meter: load, value: value}
`)
	start := func() *process {
		p, err := run(dir, nil, "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		return p
	}
	p := start()
	send := func(p *process, lines ...string) {
		conn, err := net.Dial("udp", p.udp)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
			t.Fatal(err)
		}
	}
	want := func(p *process, group, key, meter string, sum float64) {
		t.Helper()
		soon(t, func() string {
			got := grouped(t, p, group)
			if math.Round(got[key][meter]*1000)/1000 != sum {
				return fmt.Sprintf("%s of %s in %s: want %v, there are %v", meter, key, group, sum, got)
			}
			return ""
		})
	}
	send(p, "web.a.requests:3|c", "web.a.requests:4|c", "web.b.requests:2|c|@0.1", "web.a.time:5|ms", "web.a.time:6|ms", "other:9|c")
	session := connect(t, p, bbdo.Version{Major: 3, Patch: 1})
	session.send(configuration...)
	session.send(checks(0, 10)...)
	session.stop()
	want(p, "My_sites", "a", "requests", 7)
	want(p, "My_sites", "b", "requests", 20)
	want(p, "My_sites", "a", "timings", 11)
	want(p, "My_sites", "SYS:GROUP_TOTALS", "requests", 27)
	want(p, "Checks", "1/2", "events", 10)
	want(p, "Checks", "alpha/load", "load", 50)
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	if _, body, _ := p.get("/metrics"); !strings.Contains(body, `weir_passed_total{component="countergroup.feeds",unit="matches"} 23`) {
		_, rest, _ := strings.Cut(body, `weir_passed_total{component="countergroup.feeds"`)
		t.Errorf("3 metrics, 10 events and 10 points were counted, not %.30s", rest)
	}
	send(p, "web.z.requests:8|c")
	soon(t, func() string {
		if _, body, _ := p.get("/metrics"); !strings.Contains(body, `weir_received_total{component="statsd.intake",unit="values"} 7`) && !strings.Contains(body, `unit="values"} 7`) {
			return "the last line has not come in"
		}
		return ""
	})
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Fatalf("code %d, %v\n%s", code, err, p.log())
	}
	want(start(), "My_sites", "z", "requests", 8)
}
