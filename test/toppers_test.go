package test

import (
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
)

// TestToppersOnly: of a group with toppers_only the store has the largest keys and the exact totals, and says how many windows were left out.
func TestToppersOnly(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", `http: {listen: "127.0.0.1:0"}
sources: {statsd: [{listen: "udp://127.0.0.1:0"}]}
statsd: {flush_interval: 1s, management: {listen: ""}}
counter_groups:
  window: 1s
  topper_bucket: 2s
  groups:
    - title: Sites
      guid: "{2D0A1F3C-5B0E-4C57-9A39-6B1D3F0C7E55}"
      toppers_only: true
      meters: [{name: requests, top: 2}]
      feeds: [{from: statsd:counter, match: ["name=web.*"], key: "{1}", meter: requests}]
`)
	p, err := run(dir, nil, "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	conn, err := net.Dial("udp", p.udp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var lines []string // in one datagram, and so in one window
	for i := range 10 {
		lines = append(lines, fmt.Sprintf("web.site%d:%d|c", i, i+1))
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"site9": 10, "site8": 9, "SYS:GROUP_TOTALS": 55}
	soon(t, func() string {
		got := map[string]float64{}
		for key, meters := range grouped(t, p, "Sites") {
			got[key] = math.Round(meters["requests"])
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("want %v, there is %v", want, got)
		}
		return ""
	})
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	if _, body, err := p.get("/metrics"); err != nil || !strings.Contains(body, `{component="countergroup.storage",reason="no_topper",unit="points"} 8`) {
		t.Error("/metrics does not say that 8 windows were left out", err)
	}
}
