package test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// outputsConfig is a StatsD server with a flush every second and backends to be added.
const outputsConfig = `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [{listen: "udp://127.0.0.1:0"}]}
timeseries: {write: []}
statsd:
  flush_interval: 1s
  percentiles: [50]
  management: {listen: ""}
  backends:
`

// startOutputs starts weir with backends.
func startOutputs(t *testing.T, dir, backends string) *process {
	t.Helper()
	writeFile(t, dir, "weir.yaml", outputsConfig+backends)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// send sends one datagram to StatsD.
func (p *process) send(t *testing.T, lines string) {
	t.Helper()
	conn, err := net.Dial("udp", p.udp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(lines)); err != nil {
		t.Fatal(err)
	}
}

// stopped ends weir in order.
func (p *process) stopped(t *testing.T) {
	t.Helper()
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Fatalf("%d, %v\n%s", code, err, p.log())
	}
}

// outputLines are metrics of all types.
const outputLines = "hits:3|c|#dc:lyon\nload:0.5|g\napi.users.time:300|ms|@0.5\napi.users.time:100|ms\nwho:a|s:b|s\ndebug.x:1|c"

// A real Prometheus scrapes every type, with the token, and finds nothing to complain about.
func TestOutputPrometheus(t *testing.T) {
	p := startOutputs(t, t.TempDir(), `    - prometheus:
        rules: [{match: "debug.*", drop: true}, {match: "api.*.time", name: api_seconds, labels: {route: $1}, timers: histogram, scale: 0.001}]
        buckets: [0.2, 1]
`)
	p.send(t, outputLines)
	dir := t.TempDir()
	writeFile(t, dir, "prometheus.yml", fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs: [{job_name: statsd, metrics_path: /statsd/metrics, static_configs: [{targets: [%q]}]}]\n", strings.TrimPrefix(p.http, "http://")))
	ask := scraping(t, dir)
	for query, want := range map[string]string{
		`hits{dc="lyon"}`: "3", `load`: "0.5", `api_seconds_count{route="users"}`: "3", `api_seconds_bucket{le="0.2"}`: "1.5",
		`api_seconds_sum`: "0.6", `up`: "1", `absent(debug_x)`: "1", `count(statsd_packets_received)`: "1",
	} {
		if err := eventually(func() error { return ask(query, want) }); err != nil {
			t.Errorf("%v\n%s", err, p.log())
		}
	}
	if err := eventually(func() error { // members are those of one flush
		p.send(t, "who:a|s\nwho:b|s")
		return ask("who", "2")
	}); err != nil {
		t.Error(err)
	}
	p.send(t, "hits:4|c|#dc:lyon") // Prometheus sees the sum
	if err := eventually(func() error { return ask(`hits`, "7") }); err != nil {
		t.Error(err)
	}
	if _, passed, _, lost := p.account(t, "statsd.prometheus"); passed == 0 || lost == 0 { // what the rule dropped
		t.Errorf("passed %d, lost %d", passed, lost)
	}
	p.stopped(t)
}

// scraping starts Debian's prometheus with the file prometheus.yml in dir. It returns a question for one number.
func scraping(t *testing.T, dir string) func(query, want string) error {
	t.Helper()
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start prometheus, which make deps-test installs: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its data go too
		_ = cmd.Wait()         // how it ended does not matter
	})
	listening := regexp.MustCompile(`msg="Listening on" address=([\d.:]+)`)
	var address string
	if err := eventually(func() error {
		m := listening.FindStringSubmatch(log.String())
		if m == nil {
			return fmt.Errorf("prometheus does not listen:\n%s", log.String())
		}
		address = m[1]
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	asking := http.Client{Timeout: 5 * time.Second}
	return func(query, want string) error {
		response, err := asking.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			return err
		}
		if r := answer.Data.Result; len(r) != 1 || r[0].Value[1] != want {
			return fmt.Errorf("%s: got %v, want %s", query, r, want)
		}
		return nil
	}
}
