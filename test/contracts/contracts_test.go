//go:build contracts

// Package contracts runs the scripts of published pages as they stand. It is started by
// make contracts, which says where the pages are.
package contracts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/event"
)

// blocks are the Lua blocks of the page about stream connectors.
func blocks(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(os.Getenv("WEIR_CONTRACT"))
	if err != nil {
		t.Fatalf("WEIR_CONTRACT must name the page: %v", err)
	}
	var all []string
	for _, m := range regexp.MustCompile("(?s)```(?i:lua)\n(.*?)```").FindAllSubmatch(text, -1) {
		all = append(all, string(m[1]))
	}
	return all
}

// containing is the first block with all of these texts.
func containing(t *testing.T, all []string, texts ...string) string {
	t.Helper()
next:
	for _, block := range all {
		for _, text := range texts {
			if !strings.Contains(block, text) {
				continue next
			}
		}
		return block
	}
	t.Fatalf("no block has %q", texts)
	return ""
}

// output fails the test when the script raises.
type output struct {
	t     *testing.T
	acked uint64
}

func (o *output) Log(level slog.Level, text string) { o.t.Log(level, text) }
func (o *output) Error(err error)                   { o.t.Errorf("the script raised: %v", err) }
func (o *output) Begin(string)                      {}
func (o *output) Acknowledge(through uint64)        { o.acked = through }

// run hands events of pollers, which are of the second generation, to a script.
func run(t *testing.T, text string, categories []string, parameters ...string) *output {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.lua")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	setup := connector.Setup{Name: "contract", Script: path, BBDO: "2.0.0", Queue: 10000, Categories: categories}
	for _, p := range parameters {
		parameter, err := connector.ParseParameter(p)
		if err != nil {
			t.Fatal(err)
		}
		setup.Parameters = append(setup.Parameters, parameter)
	}
	out := &output{t: t}
	s, err := connector.Load(setup, out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var batch []byte
	for _, o := range []string{
		`{"category":1,"element":12,"host_id":1,"name":"CENTREON","enabled":true}`,
		`{"category":1,"element":23,"host_id":1,"service_id":2,"description":"Load avg","enabled":true}`,
		`{"category":1,"element":24,"host_id":1,"service_id":2,"output":"OK: load\n","state":0,"state_type":1}`,
		`{"category":3,"element":1,"metric_id":1,"name":"load 1","value":"0.5","host_id":1,"service_id":2,"ctime":1700000000}`,
		`{"category":1,"element":14,"host_id":1,"output":"UP\n","state":0,"state_type":1}`,
	} {
		e, err := event.ParseJSON([]byte(o))
		if err != nil {
			t.Fatal(err)
		}
		batch = event.AppendBatch(batch, []event.Event{e})
	}
	if err := s.Deliver(1, batch); err != nil {
		t.Fatal(err)
	}
	return out
}

// The file logger, from the stage that takes parameters on.
func TestFileLogger(t *testing.T) {
	all := blocks(t)
	parameters := containing(t, all, "stored_parameters", "New parameter", "writeIntoFile(d)")
	filtered := parameters + containing(t, all, "exit as soon as possible")
	f := func(text string, lines int, want map[string]any) {
		t.Helper()
		dir := t.TempDir()
		data := filepath.Join(dir, "data")
		out := run(t, text, nil, "dataFile="+data, "logFile="+filepath.Join(dir, "log"), "logLevel=3")
		if out.acked != 5 {
			t.Errorf("acknowledged %d of 5", out.acked)
		}
		content, err := os.ReadFile(data)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
		if len(got) != lines {
			t.Fatalf("%d lines, want %d:\n%s", len(got), lines, content)
		}
		var last map[string]any
		if err := json.Unmarshal([]byte(got[len(got)-1]), &last); err != nil {
			t.Fatal(err)
		}
		for key, value := range want {
			if last[key] != value {
				t.Errorf("%s is %v, want %v", key, last[key], value)
			}
		}
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil || !strings.Contains(string(log), "INFO: init: Starting BBDO2FILE StreamConnector (log level: 3)") {
			t.Errorf("log: %s, %v", log, err)
		}
	}
	f(parameters, 5, map[string]any{"element": 14.0, "host_id": 1.0})
	f(filtered, 2, map[string]any{"element": 14.0, "output": "UP\n"})
	f(containing(t, all, "broker_api_version = 2"), 2, map[string]any{"host": "CENTREON", "service": "HOST", "message": "UP\n", "state": 0.0, "state_type": 1.0})
}

// The InfluxDB writer: its blocks make one script.
func TestInfluxDB(t *testing.T) {
	all := blocks(t)
	var text strings.Builder
	began := false
	for _, block := range all {
		if strings.Contains(block, `require("socket.http")`) {
			began = true
		}
		if strings.Contains(block, "if not (category ==") { // compares globals that do not exist: never true
			break
		}
		if began && !strings.HasPrefix(block, "-- We construct it") { // which shows how it is used
			text.WriteString(block + "\n")
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bodies := make(chan string, 10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- fmt.Sprintf("%s %s %s", r.Method, r.URL, body)
		w.WriteHeader(http.StatusNoContent)
	})}
	go server.Serve(listener)
	defer server.Shutdown(context.Background())
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	out := run(t, text.String(), []string{"storage:metric"}, "http_server_address=127.0.0.1", "http_server_port="+port, "max_buffer_size=1", "influx_user=me", "influx_password=secret")
	want := "POST /write?db=mydb&u=me&p=secret Load_avg,host=CENTREON load_1=0.5 1700000000000000000\n"
	select {
	case got := <-bodies:
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	default:
		t.Error("no request arrived")
	}
	if out.acked < 4 {
		t.Errorf("acknowledged %d", out.acked)
	}
}
