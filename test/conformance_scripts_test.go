package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// endpoint is an HTTP server that keeps what is posted to it.
type endpoint struct {
	port   string
	mu     sync.Mutex
	bodies []string // with method and URL before them
	times  []time.Time
}

func serve(t *testing.T) *endpoint {
	t.Helper()
	e := new(endpoint)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, e.port, _ = net.SplitHostPort(listener.Addr().String())
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		e.bodies, e.times = append(e.bodies, fmt.Sprintf("%s %s %s", r.Method, r.URL, body)), append(e.times, time.Now())
		e.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return e
}

func (e *endpoint) posted() ([]string, []time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.bodies), slices.Clone(e.times)
}

// script reads one of the scripts of these tests.
func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "conformance", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The two scripts of the public guide run as they stand in make contracts; these are
// made the same way.
func TestConformance15Guide(t *testing.T) {
	server := serve(t)
	tr := conform(t, map[string]string{"logger": script(t, "file-logger.lua"), "influx": script(t, "influxdb.lua")}, map[string]string{
		"bbdo":   "synthesize: true",
		"logger": `bbdo_version: "2.0.0", parameters: {data_file: data.json, log_level: 3}`,
		"influx": `bbdo_version: "2.0.0", categories: [storage], parameters: {port: ` + server.port + `, database: centreon, user: me, password: secret}`,
	})
	at := checkTime
	tr.deliver(legacy, `{"category":1,"element":12,"host_id":1,"name":"CENTREON","enabled":true}`,
		`{"category":1,"element":23,"host_id":1,"service_id":2,"description":"Load avg","enabled":true}`,
		`{"category":1,"element":14,"host_id":1,"output":"UP\n","state":0,"state_type":1}`,
		fmt.Sprintf(`{"category":1,"element":24,"host_id":1,"service_id":2,"checked":true,"last_check":%d,"output":"OK\n","perfdata":"'load 1'=0.5;1;2 load5=0.25"}`, at),
		fmt.Sprintf(`{"category":1,"element":24,"host_id":1,"service_id":2,"checked":true,"last_check":%d,"output":"OK\n","perfdata":"'load 1'=1.5;1;2"}`, at+60))
	tr.await(func() error {
		if bodies, _ := server.posted(); len(bodies) == 0 {
			return fmt.Errorf("nothing was posted")
		}
		return nil
	})
	want := []string{fmt.Sprintf("POST /write?db=centreon&u=me&p=secret Load_avg,host=CENTREON load_1=0.5 %d000000000\nLoad_avg,host=CENTREON load5=0.25 %[1]d000000000\nLoad_avg,host=CENTREON load_1=1.5 %d000000000\n", at, at+60)}
	if bodies, _ := server.posted(); !slices.Equal(bodies, want) {
		t.Errorf("posted %q, want %q", bodies, want)
	}
	var logged []map[string]any
	tr.await(func() error {
		logged = nil
		text, err := os.ReadFile(filepath.Join(tr.dir, "data.json"))
		for line := range strings.Lines(string(text)) {
			var d map[string]any
			if err := json.Unmarshal([]byte(line), &d); err != nil {
				return err // half a line
			}
			logged = append(logged, d)
		}
		if len(logged) < 3 {
			return fmt.Errorf("%d lines, %w", len(logged), err)
		}
		return nil
	})
	if d := logged[0]; d["_type"] != 65550.0 || d["element"] != 14.0 || d["output"] != "UP\n" {
		t.Errorf("%v", d)
	}
	if d := logged[2]; d["element"] != 24.0 || d["last_check"] != float64(at+60) || d["host_id"] != 1.0 || len(logged) != 3 {
		t.Errorf("%v", logged)
	}
	log, err := os.ReadFile(filepath.Join(tr.dir, "logger.log"))
	if err != nil || !strings.Contains(string(log), "INFO: init: data_file is data.json\n") || !strings.Contains(string(log), "INFO: init: log_level is 3\n") {
		t.Errorf("log: %s, %v", log, err)
	}
	tr.stop()
}

func TestConformance16Library(t *testing.T) {
	t.Parallel()
	server := serve(t)
	dir := filepath.Join("testdata", "conformance", "streamlib")
	parts, err := os.ReadDir(dir)
	if err != nil || len(parts) != 5 {
		t.Fatalf("%d parts of the library, %v", len(parts), err)
	}
	tr := conform(t, map[string]string{"library": "broker_log:info(1, 'loading') " + script(t, "connector.lua")}, map[string]string{
		"library": `parameters: {url: "http://127.0.0.1:` + server.port + `/events", max_buffer_size: 10, unheard_of: 1, hard_only: "no", logfile: library.log}`,
	})
	if err := tr.waitLog(`module 'streamlib\.logger' not found`); err != nil {
		t.Error(err)
	}
	tr.stop()
	for _, part := range parts {
		tr.write(filepath.Join("streamlib", part.Name()), script(t, filepath.Join("streamlib", part.Name())))
	}
	tr.start()
	tr.deliver(modern, `{"category":1,"element":44,"instance_id":3,"name":"Lyon","running":true}`,
		`{"category":1,"element":30,"host_id":1,"name":"alpha","enabled":true,"instance_id":3}`,
		`{"category":1,"element":27,"host_id":1,"service_id":2,"description":"load","enabled":true}`)
	const before = 3
	tr.acknowledges("library", before)
	status := func(state int, more string) string {
		return fmt.Sprintf(`{"category":1,"element":29,"host_id":1,"service_id":2,"state":%d,"state_type":1,"last_check":1700000300,"last_hard_state_change":1700000300,"output":"number %d\nmore"%s}`, state%4, state, more)
	}
	var statuses []string
	for i := range 25 {
		statuses = append(statuses, status(i+1, ""))
	}
	tr.deliver(modern, statuses...)
	var want []string
	for i := 1; i <= 25; i++ {
		want = append(want, fmt.Sprint(i, " ", i == 11 || i == 22))
	}
	tr.expect("library", want...)
	tr.acknowledges("library", before+22)
	sizes := func() (sizes []int) {
		bodies, _ := server.posted()
		next := 1
		for _, body := range bodies {
			var list []struct {
				Host, Service, Poller, Output string
				State                         int
			}
			if err := json.Unmarshal([]byte(strings.TrimPrefix(body, "POST /events ")), &list); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			for _, e := range list {
				if e.Host != "alpha" || e.Service != "load" || e.Poller != "Lyon" || e.Output != fmt.Sprint("number ", next) || e.State != next%4 {
					t.Errorf("event %d: %+v", next, e)
				}
				next++
			}
			sizes = append(sizes, len(list))
		}
		return sizes
	}
	if diff := cmp.Diff([]int{10, 1, 10, 1}, sizes()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	tr.acknowledges("library", before+25) // by flush, after the age of the queues
	if diff := cmp.Diff([]int{10, 1, 10, 1, 3}, sizes()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if _, times := server.posted(); times[4].Sub(times[3]) < 5*time.Second {
		t.Errorf("the rest was sent %v after the request before, want 5s", times[4].Sub(times[3]))
	}
	// What is not valid is dropped: soft, acknowledged, in a downtime, seen before, of an unknown host.
	soft := strings.Replace(status(1, ""), `"state_type":1`, `"state_type":0`, 1)
	repeated := strings.Replace(status(1, ""), `"last_check":1700000300`, `"last_check":1700000360`, 1)
	unknown := strings.Replace(status(1, ""), `"host_id":1`, `"host_id":7`, 1)
	tr.deliver(modern, soft, repeated, unknown, status(1, `,"acknowledgement_type":1`), status(1, `,"scheduled_downtime_depth":1`))
	tr.acknowledges("library", before+30)
	if n := len(tr.noted("library")); n != 25 {
		t.Errorf("%d events were accepted, want 25", n)
	}
	log, err := os.ReadFile(filepath.Join(tr.dir, "library.log"))
	for _, line := range []string{"INFO: parameter unheard_of is not handled\n", "ERROR: parameter hard_only must be a number, not no\n"} {
		if !strings.Contains(string(log), line) {
			t.Errorf("log: %s, %v", log, err)
		}
	}
	tr.stop()
}
