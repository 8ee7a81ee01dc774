package test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The section of the page about PromQL does what it says: its sh blocks run, and print the text blocks behind them.
func TestPromQLPage(t *testing.T) {
	page, err := os.ReadFile("../docs/timeseries.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## Grafana and PromQL\n")
	if !ok {
		t.Fatal("the page has no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")

	dir := t.TempDir()
	storeSamples(t, filepath.Join(dir, "weir-data"), time.Now().Unix())
	writeFile(t, dir, "weir.yaml", `http: {listen: "127.0.0.1:0"}
sources: {statsd: [{listen: "tcp://127.0.0.1:0"}], bbdo: [], netflow: []}
statsd: {flush_interval: 1s, management: {listen: ""}}
`)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	connection, err := net.Dial("tcp", p.tcp)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(connection, "api.requests:3|c\n")
	connection.Close()
	weir := &promqlServer{t, "weir", p.http + "/prometheus"}
	err = eventually(func() error {
		if weir.question("query", url.Values{"query": {`statsd_counter_rate{name="api.requests"}`}}).values() == 0 {
			return fmt.Errorf("the flush is not stored")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	blocks := regexp.MustCompile("(?s)```(\\w+)\n(.*?)```").FindAllStringSubmatch(section, -1)
	ran := 0
	for i, block := range blocks {
		if block[1] != "sh" {
			continue
		}
		ran++
		cmd := exec.Command("sh", "-e")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(block[2], "http://127.0.0.1:8088", p.http))
		cmd.Env = append(environment(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "WEIR_URL="+p.http)
		out, err := cmd.CombinedOutput()
		if err != nil || len(out) == 0 {
			t.Errorf("%s: %v %s", block[2], err, out)
		}
		if i+1 < len(blocks) && blocks[i+1][1] == "text" && string(out) != blocks[i+1][2] {
			t.Errorf("%s printed\n%s\nthe page has\n%s", block[2], out, blocks[i+1][2])
		}
	}
	if ran != 3 {
		t.Errorf("%d blocks ran", ran)
	}
	// The table of expressions.
	rows := regexp.MustCompile("(?m)^\\|.*\\| `(.+)` \\|$").FindAllStringSubmatch(section, -1)
	for _, row := range rows {
		if weir.question("query", url.Values{"query": {row[1]}}).values() == 0 {
			t.Errorf("%s has no answer", row[1])
		}
	}
	if len(rows) != 3 {
		t.Errorf("%d expressions were asked", len(rows))
	}
}
