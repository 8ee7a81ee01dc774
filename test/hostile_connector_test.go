package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// Hostile connectors beside a healthy one: it gets everything, and each of the
// others is reported with its place.
func TestHostileConnectors(t *testing.T) {
	hostile := map[string]struct{ text, want string }{
		"loop":     {"function init() end\nfunction write(d)\n  while true do end\nend", "loop.lua:3"},
		"pcall":    {"function init() end\nfunction write(d)\n  while true do pcall(function() while true do end end) end\nend", "pcall.lua:3"},
		"exit":     {"function init() end\nfunction write(d) os.exit(0) end", "the script called os.exit"},
		"raise":    {"function init() end\nfunction write(d)\n  error('always')\nend", "raise.lua:3: always"},
		"text":     {"this is not Lua", "text.lua:1"},
		"kill":     {"local ffi = require('ffi')\nfunction init() end\nfunction write(d) ffi.cast('int *', 8)[0] = 1 end", "SIGSEGV"},
		"huge":     {"function init() end\nfunction write(d)\n  x = string.rep('x', 2^30)\n  return true\nend", "not enough memory"},
		"deep":     {"function init() end\nfunction write(d)\n  local function f() return 1 + f() end\n  f()\nend", "deep.lua:3"},
		"nothing":  {"function init() end\nfunction write(d) end", "must return a boolean"},
		"init":     {"function init()\n  local x = nil + 1\nend\nfunction write() return true end", "init.lua:2"},
		"toplevel": {"\nerror('top')", "toplevel.lua:2: top"},
	}
	dir := t.TempDir()
	copyExample(t, dir, "file-logger.lua")
	config := connectorConfig
	for name, script := range hostile {
		writeFile(t, dir, name+".lua", script.text)
		config += fmt.Sprintf("  - {name: %s, script: %s.lua, call_timeout: 500ms, memory: 256MiB}\n", name, name)
	}
	writeFile(t, dir, "weir.yaml", config)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(configuration...)
	session.send(checks(0, 500)...)
	session.stop()
	if n := delivered(t, filepath.Join(dir, "events.json"), 500); n != 500 {
		t.Errorf("%d lines for 500 events", n)
	}
	for name, script := range hostile {
		err := eventually(func() error {
			_, body, err := p.get("/api/v1/scripts")
			if err != nil {
				return err
			}
			for part := range strings.SplitSeq(body, `{"name":`) {
				if strings.HasPrefix(part, `"`+name+`"`) && strings.Contains(part, script.want) {
					return nil
				}
			}
			return fmt.Errorf("%s is not reported with %q: %s", name, script.want, body)
		})
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := p.end(15); err != nil {
		t.Error(err)
	}
}

// The InfluxDB writer sends metrics made of performance data, with names.
func TestInfluxConnector(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/write" || r.URL.Query().Get("db") != "centreon" {
			t.Errorf("request %s %s", r.Method, r.URL)
		}
		body := bufio.NewScanner(r.Body)
		mu.Lock()
		defer mu.Unlock()
		for body.Scan() {
			lines = append(lines, body.Text())
		}
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, version := range []string{"3.0.1", "2.0.0"} {
		dir := t.TempDir()
		copyExample(t, dir, "influxdb-lines.lua")
		writeFile(t, dir, "weir.yaml", `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
connectors: [{name: influx, script: influxdb-lines.lua, bbdo_version: `+version+`, categories: [storage], parameters: {port: `+port+`, batch: 7}}]
`)
		p, err := run(dir, environment(), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		mu.Lock()
		lines = nil
		mu.Unlock()
		session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
		session.send(configuration...)
		session.send(checks(0, 100)...)
		session.stop()
		err = eventually(func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(lines) < 100 {
				return fmt.Errorf("%d lines: %v", len(lines), lines)
			}
			for i, line := range lines {
				if want := fmt.Sprintf("metric,host=alpha,service=load,name=load value=%d.5 %d", i, checkTime+int64(i)); line != want {
					t.Fatalf("%s: got %q, want %q", version, line, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v\n%s", version, err, p.log())
		}
		var answer struct{ Series []any }
		if err := p.ask("/api/v1/series?schema=centreon:metric", &answer); err != nil || len(answer.Series) != 1 {
			t.Errorf("series: %+v, %v", answer, err)
		}
		if code, err := p.end(15); code != 0 || err != nil {
			t.Error(code, err)
		}
	}
}
