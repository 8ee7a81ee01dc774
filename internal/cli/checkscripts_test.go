package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The test binary is the script host, too, as Weir is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "script-host" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// checked runs weir check on a configuration; DIR in text and in what it prints is
// a directory with scripts.
func checked(t *testing.T, text string, scripts map[string]string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, source := range scripts {
		write(name, source)
	}
	write("weir.yaml", text)
	var out, errs bytes.Buffer
	code = Main([]string{"check", "-c", filepath.Join(dir, "weir.yaml")}, &out, &errs)
	return code, strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(errs.String(), dir, "DIR")
}

var columns = regexp.MustCompile(`:\d+: connectors`)

const minimal = "function init() error('init was called') end function write() return true end\n"

func TestCheckConnectors(t *testing.T) {
	t.Setenv("HUSH", "s3cret-1")
	code, out, errs := checked(t, `
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://:5669"}]}
stream: {url: "nats://nats-1:4222"}
connectors:
  - name: influx
    script: DIR/influx.lua
    categories: [neb, storage:pb_metric]
    bbdo_version: 2.0.0
    parameters: {host: "influx.example.net", port: 8086, ratio: 0.5, db: "${HUSH}", file: {file: DIR/hush}, api_token: s3cret-3, proxy: "http://me:s3cret-4@proxy", key: 7}
  - { "name": "splunk", "type": "lua", "path": "DIR/splunk.lua", "filters": {"category": ["neb", "nonsense"]},
      "lua_parameter": [{"type": "password", "name": "pw", "value": "s3cret-5"}, {"type": "none", "name": "x", "value": "s3cret-6"}] }
`, map[string]string{
		"influx.lua": "broker_api_version = 2\nfunction filter(c, e) return true end\nfunction flush() return true end\n" + minimal,
		"splunk.lua": "local helper = require('helper')\nbroker_api_version = 7\nfunction filter() return 'yes' end\nprint('s3cret-7')\n" + minimal,
		"helper.lua": "return {}",
		"hush":       "s3cret-2\n",
	})
	if code != exitOK || strings.Contains(out+errs, "s3cret") {
		t.Errorf("code %d, errors\n%s", code, errs)
	}
	if diff := cmp.Diff(`DIR/weir.yaml: ok
  statsd      none
  flush       every 10s to store
  management  127.0.0.1:8126
  http        http://127.0.0.1:0, no token
  data        ./weir-data
  bbdo        tcp://:5669
  stream      nats://nats-1:4222
  connector   influx
    script      DIR/influx.lua, version 2 of the interface, events of BBDO 2.0.0
    functions   init write filter flush
    events      neb storage:pb_metric
    parameters  host = "influx.example.net" (string)
                port = 8086 (number)
                ratio = 0.5 (number)
                db = *** (string)
                file = *** (string)
                api_token = *** (string)
                proxy = *** (string)
                key = *** (number)
  connector   splunk
    script      DIR/splunk.lua, version 1 of the interface, events of BBDO 3.0.1
    functions   init write
    events      neb
    parameters  pw = *** (string)
`, out); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`warning: DIR/weir.yaml:11:PLACE: connectors[1]: unknown categories are left out: ["nonsense"]; the others count
warning: DIR/weir.yaml:12:PLACE: connectors[1]: the parameter 'x' is left out: its type "none" is none of string, number and password
warning: connector splunk: DIR/splunk.lua:3: the filter is not used: lua: the function filter does not return a boolean
warning: connector splunk: DIR/splunk.lua: broker_api_version is 7, it must be 1 or 2: 1 is used
`, columns.ReplaceAllString(errs, ":PLACE: connectors")); diff != "" {
		t.Error(diff)
	}
}

func TestCheckScripts(t *testing.T) {
	f := func(script, want string) {
		t.Helper()
		code, out, errs := checked(t, "connectors:\n  - name: a\n    script: DIR/a.lua\n    call_timeout: 200ms\n", map[string]string{"a.lua": script})
		if want = "DIR/weir.yaml:3:13: cannot load the script of connector \"a\": " + want; code != exitUsage || out != "" || !strings.HasPrefix(errs, want) {
			t.Errorf("%q: code %d\n%s\nwant\n%s", script, code, errs, want)
		}
	}
	f("function init( end", "DIR/a.lua:1: ")
	f("\n\nlocal x = nil + 1\n"+minimal, "DIR/a.lua:3: ")
	f("\x1bLJ not Lua", "DIR/a.lua:1: lua: 'DIR/a.lua' could not be loaded: ")
	f("function init() end", "DIR/a.lua:1: lua: 'DIR/a.lua' write() global function is missing")
	f("function write() end", "DIR/a.lua:1: lua: 'DIR/a.lua' init() global function is missing")
	f("init = 1\nfunction write() end", "DIR/a.lua:1: lua: 'DIR/a.lua' init() global function is missing")
	f("require('no.such.module')\n"+minimal, "DIR/a.lua")
	f("os.exit(0)\n"+minimal, "DIR/a.lua")
	f("\nwhile true do end\n"+minimal, `script "a" killed: a call took longer than 2.2s in setup at DIR/a.lua:2`)
}

// What a newcomer gets wrong: each mistake has its place, its text, and what to write.
func TestCheckMistakes(t *testing.T) {
	f := func(entry, want string) {
		t.Helper()
		code, out, errs := checked(t, "connectors:\n  - name: first\n    script: DIR/influx.lua\n"+entry, map[string]string{"influx.lua": minimal, "splunk.lua": minimal, "dir.txt": ""})
		if want = "DIR/weir.yaml:" + want + "\n"; code != exitUsage || out != "" || errs != want {
			t.Errorf("%s\ncode %d\n%s\nwant\n%s", entry, code, errs, want)
		}
	}
	const second = "  - name: second\n    script: DIR/splunk.lua\n"
	f(second+"    paramters: {a: 1}\n", `6:5: cannot use the key "paramters": connectors[1] has no such key; did you mean "parameters"?`)
	f(second+"    queue_size: many\n", `6:17: cannot use "many" for connectors[1].queue_size: it must be a whole number, not text`)
	f(second+"    queue_size: 1,000\n", `6:17: cannot use "1,000" for connectors[1].queue_size: it must be a whole number, not text; did you mean 1000?`)
	f(second+"    queue_size: 0\n", `6:17: cannot use "0" for connectors[1].queue_size: it must be 1 to 10000000; did you mean 1?`)
	f(second+"    categories: neb\n", `6:17: cannot use "neb" for connectors[1].categories: it must be a list of categories, not text; did you mean [neb]?`)
	f(second+"    categories: [nebb]\n", `6:18: cannot use "nebb" for connectors[1].categories[0]: it must be "all", "bam", "bbdo", "correlation", "dumper", "extcmd", "generator", "internal", "local", "neb" or "storage", or one of their events, such as neb:service_status; did you mean "neb"?`)
	f(second+"    categories:\n      - neb:service_statu\n", `7:9: cannot use "neb:service_statu" for connectors[1].categories[0]: there is no such category or event; did you mean "neb:service_status"?`)
	f(second+"    call_timeout: 30\n", `6:19: cannot use "30" for connectors[1].call_timeout: a duration is a number with a unit, such as 10s, 1m30s or 7d; did you mean "30s"?`)
	f(second+"    call_timeout: 5 minutes\n", `6:19: cannot use "5 minutes" for connectors[1].call_timeout: a duration is a number with a unit, such as 10s, 1m30s or 7d; did you mean "5m"?`)
	f(second+"    memory: 512\n", `6:13: cannot use "512" for connectors[1].memory: a size is a number with a unit, such as 512KiB, 64MiB or 1GB; did you mean "512B"?`)
	f(second+"    bbdo_version: 3.1\n", `6:19: cannot use "3.1" for connectors[1].bbdo_version: it must be "3.0.1", "3.0.0" or "2.0.0"; did you mean "3.0.1"?`)
	f(second+"    parameters: {verbose: yes, debug: true}\n", `6:39: cannot use "true" for connectors[1].parameters.debug: scripts take text and numbers only; did you mean 1?`)
	f("  - name: first\n    script: DIR/splunk.lua\n", `4:11: cannot use "first" for connectors[1].name: a connector before it has this name`)
	f("  - name: second\n", `4:5: cannot use connectors[1] without the key "script": write for example script: /usr/share/centreon-broker/lua/influxdb.lua`)
	f("  - script: DIR/splunk.lua\n", `4:5: cannot use connectors[1] without the key "name": write for example name: influx`)
	f("  - name: se cond\n    script: DIR/splunk.lua\n", `4:11: cannot use "se cond" for connectors[1].name: it must be 1 to 64 letters, digits, -, _ or .; did you mean "se-cond"?`)
	f("  - name: second\n    script: DIR/splnk.lua\n", `5:13: cannot use "DIR/splnk.lua" for connectors[1].script: no such file or directory; did you mean "DIR/splunk.lua"?`)
	f("  - name: second\n    script: DIR\n", `5:13: cannot use "DIR" for connectors[1].script: it is a directory`)
	f("  - name: second\n    script: DIR/dir.txt/x.lua\n", `5:13: cannot use "DIR/dir.txt/x.lua" for connectors[1].script: not a directory`)
	f(second+"sources: {bbdo: [{lisen: 'tcp://:5669'}]}\n", `6:19: cannot use the key "lisen": sources.bbdo[0] has no such key; did you mean "listen"?`)
	f(second+"stream: {max_age: 1 week}\n", `6:19: cannot use "1 week" for stream.max_age: a duration is a number with a unit, such as 10s, 1m30s or 7d; did you mean "1w"?`)
}
