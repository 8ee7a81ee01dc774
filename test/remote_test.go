package test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// remoteConfig has a flush every second, and forgets counters in which nothing arrived.
const remoteConfig = `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [{listen: "udp://127.0.0.1:0"}]}
statsd: {flush_interval: 1s, delete_counters: true, management: {listen: ""}}
timeseries:
`

// countLoad sends n increments of the counter load, with the tag dc=x.
func countLoad(t *testing.T, p *process, n int) {
	t.Helper()
	conn, err := net.Dial("udp", p.udp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range n {
		if _, err := conn.Write([]byte("load:1|c|#dc:x")); err != nil {
			t.Fatal(err)
		}
	}
}

// counted waits until the driver that answers says that load was counted so often.
func counted(t *testing.T, p *process, want float64) {
	t.Helper()
	now := time.Now().Unix()
	parameters := url.Values{
		"schema": {"statsd:counter"}, "tag": {"name=load", "dc=x"}, "start": {strconv.FormatInt(now-3600, 10)}, "end": {strconv.FormatInt(now+3600, 10)},
	}
	err := eventually(func() error {
		code, body, err := p.get("/api/v1/total?" + parameters.Encode())
		if err == nil && !strings.Contains(strings.ReplaceAll(body, " ", ""), fmt.Sprintf(`"rate":%v`, want)) {
			err = fmt.Errorf("want %v, got %d %s", want, code, body)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
}

// summed checks that PromQL says, of the driver that answers, that load was counted so often.
func summed(t *testing.T, p *process, want float64) {
	t.Helper()
	parameters := url.Values{
		"query": {`sum(sum_over_time(statsd_counter_rate{name="load",dc="x"}[1h]))`}, "time": {strconv.FormatInt(time.Now().Unix()+60, 10)},
	}
	code, body, err := p.get("/prometheus/api/v1/query?" + parameters.Encode())
	if err != nil || code != http.StatusOK || !strings.Contains(body, fmt.Sprintf(`"%v"]}]`, want)) {
		t.Errorf("want %v, got %d %s, %v", want, code, body, err)
	}
}

// account returns the ledger of a component.
func (p *process) account(t *testing.T, component string) (received, passed, buffered, lost int64) {
	t.Helper()
	if err := p.balanced(); err != nil {
		t.Fatal(err)
	}
	var now status
	if err := p.ask("/api/v1/status", &now); err != nil {
		t.Fatal(err)
	}
	for _, a := range now.Ledger {
		if a.Component == component {
			for _, n := range a.Discarded {
				lost += n
			}
			return a.Received, a.Passed, a.Buffered, lost
		}
	}
	t.Fatalf("no ledger of %s: %+v", component, now)
	return
}

// Points go to the embedded store, InfluxDB and Prometheus alike, and each of them answers.
func TestRemoteStores(t *testing.T) {
	db, prom := startInfluxd(t), startPrometheusPeer(t)
	dir := t.TempDir()
	writeFile(t, dir, "password", influxPassword+"\n")
	write := fmt.Sprintf("  write:\n    - store\n    - influxdb: {url: \"http://%s:%s\", database: weir, username: %s, password_file: password}\n    - prometheus: {url: %q}\n",
		db.host, db.port, influxUser, prom.url)
	total := 0
	for _, read := range []string{"influxdb", "prometheus", "store"} {
		writeFile(t, dir, "weir.yaml", remoteConfig+write+"  read: "+read+"\n")
		p, err := run(dir, environment(), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		total += 7
		countLoad(t, p, 7)
		counted(t, p, float64(total))
		summed(t, p, float64(total))
		if _, _, _, lost := p.account(t, "remote.influxdb"); lost != 0 {
			t.Errorf("%d points are lost\n%s", lost, p.log())
		}
		p.account(t, "remote.prometheus") // which rejects a second flush in one second, as there may be after a restart
		if strings.Contains(p.log(), influxPassword) {
			t.Error("the password is in the log")
		}
		if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
			t.Fatalf("%d, %v\n%s", code, err, p.log())
		}
	}
	db.holds("weir", `SELECT SUM("rate") FROM "statsd:counter" WHERE "name"='load' AND "dc"='x'`,
		[]series{{Name: "statsd:counter", Columns: []string{"time", "sum"}, Values: [][]any{{float64(0), float64(total)}}}})
}

// A store that hangs holds up nothing. What waits for it survives kill -9, and is delivered when it works again.
func TestRemoteKill(t *testing.T) {
	db := startInfluxd(t, "weir")
	target, err := url.Parse("http://" + db.host + ":" + db.port)
	if err != nil {
		t.Fatal(err)
	}
	var works atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(target)
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if works.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		_, _ = http.MaxBytesReader(w, r.Body, 1<<20).Read(make([]byte, 1<<16)) // so that the end of the connection is seen
		<-r.Context().Done()
	}))
	t.Cleanup(gate.Close)
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", fmt.Sprintf("%s  write:\n    - store\n    - influxdb: {name: far, url: %q, database: weir, username: %s, password: %s}\n", remoteConfig, gate.URL, influxUser, influxPassword))
	for round := range 2 {
		p, err := run(dir, environment(), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		countLoad(t, p, 10)
		counted(t, p, float64(10*(round+1))) // in the embedded store
		if _, passed, buffered, lost := p.account(t, "remote.far"); passed != 0 || buffered == 0 || lost != 0 {
			t.Errorf("passed %d, buffered %d, lost %d", passed, buffered, lost)
		}
		_, metrics, err := p.get("/metrics")
		if err != nil || strings.Contains(metrics, `weir_remote_queue_records{driver="far"} 0`) || !strings.Contains(metrics, `weir_remote_queue_age_seconds{driver="far"} `) {
			t.Errorf("%v, %s", err, metrics)
		}
		p.kill()
	}
	if files, err := filepath.Glob(filepath.Join(dir, "data", "remotes", "far", "*.segment")); err != nil || len(files) == 0 {
		entries, _ := os.ReadDir(filepath.Join(dir, "data"))
		t.Fatalf("no queue on disk: %v, %v", err, entries)
	}
	works.Store(true)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	countLoad(t, p, 10)
	counted(t, p, 30)
	err = eventually(func() error {
		got := db.query("weir", `SELECT SUM("rate") FROM "statsd:counter" WHERE "name"='load'`)
		if len(got) != 1 || got[0].Values[0][1] != float64(30) {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v\n%s", err, p.log())
	}
	if _, _, _, lost := p.account(t, "remote.far"); lost != 0 {
		t.Errorf("%d points are lost\n%s", lost, p.log())
	}
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Fatalf("%d, %v", code, err)
	}
}
