package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// luaPatience is how long points take through a script and its files: files are complete after 10 seconds, and what
// is complete is sent every 5.
const luaPatience = 90 * time.Second

// inTime is eventually for what takes longer.
func inTime(f func() error) error {
	for late := time.Now().Add(luaPatience); ; time.Sleep(50 * time.Millisecond) {
		err := f()
		if err == nil || time.Now().After(late) {
			return err
		}
	}
}

const luaConfig = `
data: DATA
http: {listen: 127.0.0.1:0}
sources: {statsd: [], bbdo: [], netflow: []}
statsd: {management: {listen: ""}}
timeseries:
  write:
    - store
    - lua: {script: EXAMPLES/influxdb.lua, name: influx, options: {url: "URL", db: series, username: weir, password: "${PASSWORD}"}}
    - lua: {script: EXAMPLES/rrd.lua, name: rrd}
    - lua: {script: every.lua, name: every, options: {url: "URL", db: series, username: weir, password: "${PASSWORD}"},
            preferences: {given: "yes", ifid_1.speed: "1000"}, interfaces: {"1": eth0}}
  read: influx
`

// writeSeries writes what two hosts sent and received, a gauge and a tag that needs escapes.
const writeSeries = `
local u = require("ts_utils")
local T = START
for i = 0, 10 do
  assert(u.append("host:traffic", { ifid = 1, host = "10.0.0.1", bytes_sent = 3000 * i, bytes_rcvd = 600 * i }, T + 300 * i))
  assert(u.append("host:traffic", { ifid = 1, host = "O'Neil, \"x\"=1", bytes_sent = 300 * i, bytes_rcvd = 0 }, T + 300 * i))
  assert(u.append("host:score", { ifid = 1, host = "10.0.0.1", score_as_cli = i, score_as_srv = 5 }, T + 300 * i))
end
`

// Unmodified drivers that use every host function, against a real InfluxDB and rrdtool (acceptance 2): points that
// one process queued are delivered by the next, and both stores answer like the embedded one.
func TestLuaDrivers(t *testing.T) {
	db := startInfluxd(t)
	dir := t.TempDir()
	examples, err := filepath.Abs("../examples/timeseries")
	if err != nil {
		t.Fatal(err)
	}
	every, err := os.ReadFile("testdata/tsdriver/every.lua")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "every.lua", string(every))
	data := filepath.Join(dir, "data")
	text := strings.NewReplacer("DATA", data, "EXAMPLES", examples, "URL", "http://"+db.host+":"+db.port).Replace(luaConfig)
	writeFile(t, dir, "weir.yaml", text)
	start := time.Now().Unix()/3600*3600 - 7200
	writeFile(t, dir, "write.lua", strings.ReplaceAll(writeSeries, "START", fmt.Sprint(start)))
	environment := append(os.Environ(), "PASSWORD="+influxPassword)

	script, err := begin(dir, environment, "script", "run", "--api", "ntopng", "--config", "weir.yaml", "write.lua")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-script.done:
	case <-time.After(luaPatience):
		script.kill()
		t.Fatal("the script does not end")
	}
	if script.code != 0 {
		t.Fatalf("code %d\n%s", script.code, script.log())
	}
	p, err := run(dir, environment, "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()

	// What the driver of the test found, once the server could be asked.
	report := filepath.Join(data, "drivers", "every", "report")
	err = inTime(func() error {
		found, err := os.ReadFile(report)
		switch {
		case err == nil && len(found) == 0: // the driver has opened it, and not written yet
			err = errors.New("the report is empty")
		case err == nil && string(found) != "all is well\n":
			t.Fatalf("%s\n%s", found, p.log())
		}
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	for _, text := range []string{"the script calls ntop.newerThanThis, which is not there", "every function was called"} {
		if !strings.Contains(p.log(), text) {
			t.Errorf("the log does not have %q", text)
		}
	}

	// The driver that is read answers from InfluxDB as the store would.
	ask := func(path string, values url.Values) (map[string]any, error) {
		code, body, err := p.get(path + "?" + values.Encode())
		if err != nil || code != 200 {
			return nil, fmt.Errorf("%d %s %v", code, body, err)
		}
		var answer map[string]any
		return answer, json.Unmarshal([]byte(body), &answer)
	}
	v1 := func(schema, query string) url.Values {
		return url.Values{"ts_schema": {schema}, "ts_query": {query}, "epoch_begin": {fmt.Sprint(start)}, "epoch_end": {fmt.Sprint(start + 3000)}, "limit": {"10"}}
	}
	var got map[string]any
	err = inTime(func() error {
		if got, err = ask("/lua/rest/v2/get/timeseries/ts.lua", v1("host:traffic", "ifid:1,host:10.0.0.1")); err != nil {
			return err
		}
		rsp, _ := got["rsp"].(map[string]any)
		lines, _ := rsp["series"].([]any)
		if len(lines) != 2 {
			return fmt.Errorf("%v", got)
		}
		first, _ := lines[0].(map[string]any)
		want := []any{10., 10., 10., 10., 10., 10., 10., 10., 10., 10.}
		if diff := cmp.Diff(want, first["data"]); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	top, err := ask("/lua/rest/v2/get/timeseries/ts.lua", v1("top:host:traffic", "ifid:1"))
	if err != nil {
		t.Fatal(err)
	}
	var names []any
	for _, line := range top["rsp"].(map[string]any)["series"].([]any) {
		names = append(names, line.(map[string]any)["tags"].(map[string]any)["host"])
	}
	if diff := cmp.Diff([]any{"10.0.0.1", `O'Neil, "x"=1`}, names); diff != "" {
		t.Error(diff)
	}
	rows := db.query("series", `SELECT LAST(bytes_sent) AS sent, LAST(bytes_rcvd) AS rcvd FROM "host:traffic" GROUP BY host`)
	if len(rows) != 2 || rows[1].Tags["host"] != `O'Neil, "x"=1` || rows[1].Values[0][1] != 3000. {
		t.Errorf("%+v", rows)
	}

	// The other driver has a file for each series, with what InfluxDB has.
	files := 0
	err = inTime(func() error {
		files = 0
		return errors.Join(filepath.WalkDir(filepath.Join(data, "drivers", "rrd", "rrd"), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(path) == ".rrd" {
				files++
			}
			return err
		}), func() error {
			if files != 3 {
				return fmt.Errorf("%d files", files)
			}
			return nil
		}())
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Errorf("code %d, %v\n%s", code, err, p.log())
	}
}
