package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// server is a server for backends. Its answers are scripted: "500", "hang", "close" or "204"
// for the first requests, one after the other, and 204 for those that follow.
type server struct {
	url string

	mu       sync.Mutex
	script   []string
	requests []*http.Request
	bodies   []string // that were answered with 204
	hanging  atomic.Int64
	release  chan struct{}
}

func scripted(t *testing.T, script ...string) *server {
	t.Helper()
	s := &server{script: script, release: make(chan struct{})}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		s.mu.Lock()
		answer := "204"
		if len(s.script) > 0 {
			answer, s.script = s.script[0], s.script[1:]
		}
		s.requests = append(s.requests, r)
		if answer == "204" {
			s.bodies = append(s.bodies, string(body))
		}
		s.mu.Unlock()
		switch answer {
		case "500":
			http.Error(w, "out of order", http.StatusInternalServerError)
		case "hang":
			s.hanging.Add(1)
			select {
			case <-s.release:
			case <-r.Context().Done():
			}
			panic(http.ErrAbortHandler)
		case "close":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(h.Close)
	s.url = h.URL
	return s
}

// got returns the bodies that were answered with 204, and the first request.
func (s *server) got() (bodies []string, first *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) > 0 {
		first = s.requests[0]
	}
	return append(bodies, s.bodies...), first
}

// holds waits until something that was sent to s is found by look.
func (s *server) holds(t *testing.T, p *process, look func(bodies []string) error) {
	t.Helper()
	if err := eventually(func() error {
		bodies, _ := s.got()
		return look(bodies)
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
}

// goesOn waits until a server hangs, and then until two more flushes were taken by a backend.
func (s *server) goesOn(t *testing.T, p *process, backend string) {
	t.Helper()
	if err := eventually(func() error {
		if s.hanging.Load() == 0 {
			return fmt.Errorf("nothing hangs")
		}
		return nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	_, before, _, _ := p.account(t, "statsd.backend."+backend)
	if err := eventually(func() error {
		if _, passed, _, lost := p.account(t, "statsd.backend."+backend); passed < before+2 || lost > 0 {
			return fmt.Errorf("%d flushes passed and %d are lost while the server hangs; before it were %d", passed, lost, before)
		}
		return nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	close(s.release)
}

// influxSum waits until a question for one sum has this answer.
func influxSum(t *testing.T, db *influxd, p *process, q string, want float64) {
	t.Helper()
	if err := eventually(func() error {
		if got := db.query("metrics", q); len(got) != 1 || got[0].Values[0][1] != want {
			return fmt.Errorf("%s: got %v, want %v", q, got, want)
		}
		return nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
}

// A real InfluxDB gets metrics of all types under names of all kinds, in a database that is made for them.
func TestOutputInfluxDB(t *testing.T) {
	db := startInfluxd(t)
	dir := t.TempDir()
	writeFile(t, dir, "password", influxPassword+"\n")
	p := startOutputs(t, dir, fmt.Sprintf("    - influxdb: {url: \"http://%s:%s\", database: metrics, username: %s, password_file: password, tags: {env: test}}\n  sanitize: false\n", db.host, db.port, influxUser))
	p.send(t, outputLines)
	p.send(t, "a b,c=d\\:1|c\n#hash:2|c\nx;k=1;l=2:3|c\nx;l=2;k=1:4|c\ninf:Infinity|g\n\x01\xff;\xfe=\\:5|c")
	if err := eventually(func() error {
		if got := db.query("", "SHOW DATABASES"); len(got) != 1 || !strings.Contains(fmt.Sprint(got[0].Values), "metrics") {
			return fmt.Errorf("no database: %v", got)
		}
		return nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	for q, want := range map[string]float64{
		`SELECT SUM("value") FROM "hits" WHERE dc='lyon' AND env='test' AND metric_type='counter'`: 3,
		`SELECT LAST("value") FROM "load" WHERE metric_type='gauge'`:                               0.5,
		`SELECT SUM("count") FROM "api.users.time" WHERE metric_type='timer'`:                      3,
		`SELECT MAX("upper_50") FROM "api.users.time"`:                                             100,
		`SELECT MAX("value") FROM "who" WHERE metric_type='set'`:                                   2,
		`SELECT SUM("value") FROM "a b,c=d_"`:                                                      1,
		`SELECT SUM("value") FROM "_hash"`:                                                         2,
		`SELECT SUM("value") FROM "x" WHERE k='1' AND l='2'`:                                       7, // two keys, one series
	} {
		influxSum(t, db, p, q, want)
	}
	_, passed, _, lost := p.account(t, "statsd.influxdb")
	if passed == 0 || lost > 0 && !strings.Contains(p.log(), "not finite") {
		t.Errorf("passed %d, lost %d\n%s", passed, lost, p.log())
	}
	if strings.Contains(p.log(), influxPassword) {
		t.Error("the password is in the log")
	}
	p.stopped(t)
}

// InfluxDB 2.x is written to with a token, also after failures of every kind.
func TestOutputInfluxDBSecond(t *testing.T) {
	s := scripted(t, "204", "500", "hang", "close") // the first is the ping
	dir := t.TempDir()
	writeFile(t, dir, "token", "t0ken-of-influxdb\n")
	p := startOutputs(t, dir, fmt.Sprintf("    - influxdb: {url: %q, bucket: b, organization: o, token_file: token, type_tag: \"\"}\n", s.url))
	p.send(t, outputLines)
	s.goesOn(t, p, "influxdb")
	s.holds(t, p, func(bodies []string) error {
		all := strings.Join(bodies, "")
		for _, want := range []string{"hits,dc=lyon value=3,rate=3 ", "load value=0.5 ", "who value=2 "} {
			if strings.Count(all, want) < 1 {
				return fmt.Errorf("no %q in %q", want, all)
			}
		}
		if strings.Count(all, "hits,dc=lyon value=3,") != 1 {
			return fmt.Errorf("hits came %d times", strings.Count(all, "hits,dc=lyon value=3,"))
		}
		return nil
	})
	s.mu.Lock()
	last := s.requests[len(s.requests)-1]
	s.mu.Unlock()
	if last.URL.String() != "/api/v2/write?bucket=b&org=o&precision=ms" || last.Header.Get("Authorization") != "Token t0ken-of-influxdb" {
		t.Errorf("%s %v", last.URL, last.Header)
	}
	if strings.Contains(p.log(), "t0ken") {
		t.Error("the token is in the log")
	}
	p.stopped(t)
}

// What waits for a server that hangs survives kill -9, and comes when it works again: everything, once.
func TestOutputKill(t *testing.T) {
	db := startInfluxd(t, "metrics")
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
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
		<-r.Context().Done()
	}))
	t.Cleanup(gate.Close)
	dir := t.TempDir()
	backends := fmt.Sprintf("    - influxdb: {url: %q, database: metrics, username: %s, password: %s}\n", gate.URL, influxUser, influxPassword)
	for range 2 {
		p := startOutputs(t, dir, backends)
		p.send(t, "load:4|c")
		p.send(t, "load:6|c")
		if err := eventually(func() error { // the datagrams are in a flush, and that is in the queue
			_, metrics, err := p.get("/metrics")
			if err != nil || strings.Contains(metrics, `weir_backend_queue_records{backend="influxdb"} 0`) {
				return fmt.Errorf("nothing waits: %v", err)
			}
			if p.passedMetrics(t) < 2 {
				return fmt.Errorf("the metrics have not arrived")
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%s", err, p.log())
		}
		_, before, _, _ := p.account(t, "statsd.backend.influxdb")
		if err := eventually(func() error {
			if _, passed, _, _ := p.account(t, "statsd.backend.influxdb"); passed < before+2 {
				return fmt.Errorf("no flush since")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, passed, buffered, lost := p.account(t, "statsd.influxdb"); passed != 0 || buffered == 0 || lost != 0 {
			t.Errorf("passed %d, buffered %d, lost %d", passed, buffered, lost)
		}
		p.kill()
	}
	if files, err := filepath.Glob(filepath.Join(dir, "data", "backends", "influxdb", "*.segment")); err != nil || len(files) == 0 {
		t.Fatalf("no queue on disk: %v", err)
	}
	works.Store(true)
	p := startOutputs(t, dir, backends)
	influxSum(t, db, p, `SELECT SUM("value") FROM "load"`, 20)
	if _, _, _, lost := p.account(t, "statsd.influxdb"); lost != 0 {
		t.Errorf("%d metrics are lost\n%s", lost, p.log())
	}
	p.stopped(t)
}

// passedMetrics is how many StatsD metrics have been aggregated.
func (p *process) passedMetrics(t *testing.T) int64 {
	t.Helper()
	_, passed, _, _ := p.account(t, "statsd.values")
	return passed
}

// OpenTSDB gets every point, although its server fails in every way first.
func TestOutputOpenTSDB(t *testing.T) {
	s := scripted(t, "500", "hang", "close")
	p := startOutputs(t, t.TempDir(), fmt.Sprintf("    - opentsdb: {url: %q, prefix: stats., tags: {host: web-1}}\n", s.url))
	p.send(t, outputLines)
	s.goesOn(t, p, "opentsdb")
	s.holds(t, p, func(bodies []string) error {
		found := make(map[string]float64) // sums
		for _, body := range bodies {
			var points []struct {
				Metric    string
				Timestamp int64
				Value     float64
				Tags      map[string]string
			}
			if err := json.Unmarshal([]byte(body), &points); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			for _, point := range points {
				if point.Tags["host"] != "web-1" || point.Timestamp < 1e9 {
					t.Fatalf("%+v", point)
				}
				found[point.Metric+" "+point.Tags["dc"]] += point.Value
			}
		}
		for name, want := range map[string]float64{"stats.hits.count lyon": 3, "stats.api.users.time.count ": 3, "stats.api.users.time.upper_50 ": 100, "stats.who.count ": 2} {
			if found[name] != want {
				return fmt.Errorf("%s: %v, want %v", name, found[name], want)
			}
		}
		return nil
	})
	if _, first := s.got(); first.URL.String() != "/api/put?details=" || first.Method != http.MethodPost {
		t.Errorf("%s %s", first.Method, first.URL)
	}
	if _, passed, _, lost := p.account(t, "statsd.opentsdb"); passed == 0 || lost != 0 {
		t.Errorf("passed %d, lost %d", passed, lost)
	}
	p.stopped(t)
}

// Documents arrive with headers and token, although the server fails in every way first. One that it does not want is set aside.
func TestOutputHTTP(t *testing.T) {
	s := scripted(t, "500", "hang", "close")
	dir := t.TempDir()
	p := startOutputs(t, dir, fmt.Sprintf("    - http: {url: \"%s/in/statsd\", token: h-t0ken, headers: {X-Api-Key: k3y}}\n", s.url))
	p.send(t, outputLines)
	s.goesOn(t, p, "http")
	s.holds(t, p, func(bodies []string) error {
		hits, seen := 0.0, make(map[string]bool)
		for _, body := range bodies {
			var d struct {
				Timestamp int64
				Part      int
				Last      bool
				Counters  []struct {
					Name  string
					Tags  map[string]string
					Value float64
				}
				Timers []struct {
					Name   string
					Fields map[string]float64
				}
			}
			if err := json.Unmarshal([]byte(body), &d); err != nil || !d.Last || d.Part != 1 || seen[fmt.Sprint(d.Timestamp)] {
				t.Fatalf("%v: %s", err, body)
			}
			seen[fmt.Sprint(d.Timestamp)] = true
			for _, c := range d.Counters {
				if c.Name == "hits" && c.Tags["dc"] == "lyon" {
					hits += c.Value
				}
			}
		}
		if hits != 3 {
			return fmt.Errorf("%v hits", hits)
		}
		return nil
	})
	_, first := s.got()
	if first.URL.Path != "/in/statsd" || first.Header.Get("Authorization") != "Bearer h-t0ken" || first.Header.Get("X-Api-Key") != "k3y" {
		t.Errorf("%s %v", first.URL, first.Header)
	}
	if strings.Contains(p.log(), "t0ken") || strings.Contains(p.log(), "k3y") {
		t.Error("a secret is in the log")
	}
	p.stopped(t)
}

// A stream connector in Lua exports what StatsD counted, also after it was killed.
func TestOutputEvents(t *testing.T) {
	const script = `
broker_api_version = 2
local file
function init(conf)
  file = assert(io.open(conf.file, "a"))
end
function write(e)
  file:write(string.format("%d %d %d %s %s %d %d\n", e._type, e.category, e.element, e.name, e.value, e.value_type, e.interval))
  file:flush()
  return true
end
`
	dir := t.TempDir()
	writeFile(t, dir, "export.lua", script)
	out := filepath.Join(dir, "out")
	backends := fmt.Sprintf("    - events\nconnectors: [{name: export, script: export.lua, parameters: {file: %q}, categories: [\"storage:pb_metric\"]}]\n", out)
	holds := func(p *process, want ...string) {
		t.Helper()
		if err := eventually(func() error {
			text, err := os.ReadFile(out)
			if err != nil {
				return err
			}
			for _, line := range want {
				if !strings.Contains(string(text), line+"\n") {
					return fmt.Errorf("no %q in\n%s", line, text)
				}
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%s", err, p.log())
		}
	}
	p := startOutputs(t, dir, backends)
	p.send(t, outputLines)
	holds(p, "196617 3 9 hits;dc=lyon 3 3 1", "196617 3 9 load 0.5 0 1", "196617 3 9 api.users.time.upper_50 100 0 1", "196617 3 9 who 2 0 1")
	if _, passed, _, lost := p.account(t, "statsd.events"); passed == 0 || lost != 0 {
		t.Errorf("passed %d, lost %d", passed, lost)
	}
	p.kill()
	p = startOutputs(t, dir, backends)
	p.send(t, "hits:5|c")
	holds(p, "196617 3 9 hits 5 3 1")
	p.stopped(t)
}
