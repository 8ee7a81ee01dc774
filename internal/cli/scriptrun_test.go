package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScriptRun(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	script := path("mine.lua", `
function init(conf) broker_log:info(0, "port " .. conf.port + 1) end
function filter(c, e) return e ~= 32 end
function write(d)
  if d.host_id == 3 then error("three") end
  return d.host_id == 4 or (d.host_id == 5 and 1)
end
function flush() return true end`)
	input := path("events.json", `{"category":1,"element":29,"host_id":1}
{"category":1,"element":32,"host_id":2}

{"category":1,"element":29,"host_id":4}
{"_type":65565,"host_id":5}
{"category":1,"element":55,"host_id":1}
`)
	code, out, errs := run("script", "run", "--api", "centreon", "--input", input, "--parameter", "port=8086", "--bbdo-version", "2.0.0", script)
	want := `{"call":"load"}
{"call":"filter","category":1,"element":2,"event":"comment","result":"true"}
{"call":"init"}
{"call":"write","category":1,"element":29,"event":"ServiceStatus","result":"false","acknowledged":0}
{"call":"write","category":1,"element":32,"event":"HostStatus","result":"false","acknowledged":0}
{"call":"write","category":1,"element":29,"event":"ServiceStatus","result":"true","acknowledged":3}
{"call":"write","category":1,"element":29,"event":"ServiceStatus","result":"not_boolean","acknowledged":3,"errors":["` + script + `:4: lua: 'write' must return a boolean, got number (event neb:service_status (1:24))"]}
{"call":"write","category":1,"element":55,"event":"AdaptiveServiceStatus","result":"skipped","acknowledged":3}
{"call":"flush","result":"true","acknowledged":5}
`
	if diff := cmp.Diff(want, out); diff != "" || code != exitFailure {
		t.Errorf("code %d (-want +got):\n%s", code, diff)
	}
	if !strings.Contains(errs, "INFO: port 8087\n") || !strings.Contains(errs, "1 errors in the script") {
		t.Errorf("standard error: %q", errs)
	}

	code, out, _ = run("script", "run", "--api", "centreon", "--input", input, "--parameter", "port=1", "--category", "neb:HostStatus", script)
	if lines := strings.Split(out, "\n"); code != exitOK || !strings.Contains(lines[4], `"element":32,"event":"HostStatus","result":"filtered"`) ||
		!strings.Contains(lines[3], `"result":"skipped"`) {
		t.Errorf("code %d:\n%s", code, out)
	}

	f := func(code int, message string, args ...string) {
		t.Helper()
		got, _, errs := run(append([]string{"script", "run"}, args...)...)
		if got != code || !strings.Contains(errs, message) {
			t.Errorf("%q: code %d, %s; want %d and %q", args, got, errs, code, message)
		}
	}
	lines := func(want string, args ...string) {
		t.Helper()
		code, got, errs := run(append([]string{"script", "run", "--api", "centreon", "--input", input}, args...)...)
		if diff := cmp.Diff(want, got); diff != "" || code != exitFailure {
			t.Errorf("%q: code %d, %s (-want +got):\n%s", args, code, errs, diff)
		}
	}
	noBoolean := path("filter.lua", `
broker_api_version = 3
function filter() return 3 end
function init() error({}) end
function write() return true end`)
	lines(`{"call":"load"}
{"call":"filter","category":1,"element":2,"event":"comment","result":"not_boolean","errors":["`+noBoolean+
		`:3: the filter is not used: lua: the function filter does not return a boolean","`+noBoolean+`: broker_api_version is 3, it must be 1 or 2: 1 is used"]}
{"call":"init","result":"error","errors":["`+noBoolean+`:4: lua: error running function 'init': (error object is a table value)"]}
`, noBoolean)
	broken := path("broken.lua", "function init(")
	lines(`{"call":"load","result":"error","errors":["`+broken+`:1: lua: '`+broken+`' could not be loaded: `+broken+`:1: \u003cname\u003e or '...' expected near '\u003ceof\u003e'"]}
`, broken)

	f(exitUsage, `want --api centreon`, "--api", "nagios", script)
	f(exitUsage, `say what the script is written for: --api centreon`, script)
	f(exitUsage, `0 scripts are given, and one is run: weir script run --api centreon SCRIPT`, "--api", "centreon")
	f(exitUsage, `want NAME=VALUE`, "--api", "centreon", "--parameter", "x", script)
	f(exitUsage, `cannot use --bbdo-version "2.1": want one of 3.0.1, 3.0.0, 2.0.0`, "--api", "centreon", "--bbdo-version", "2.1", script)
	f(exitUsage, `cannot use the category "nebb": it must be `, "--api", "centreon", "--category", "nebb", script)
	f(exitUsage, `did you mean "neb:host_status"?`, "--api", "centreon", "--category", "neb:hoststatus_", script)
	f(exitUsage, "cannot read the input", "--api", "centreon", "--input", filepath.Join(dir, "none"), script)
	f(exitFailure, "could not be loaded", "--api", "centreon", filepath.Join(dir, "none.lua"))
	events := func(message, text string) {
		t.Helper()
		f(exitFailure, message, "--api", "centreon", "--parameter", "port=1", "--input", path("bad.json", text), script)
	}
	events(`bad.json:1: cannot read event neb:ServiceStatus (1:29): there is no field "hots_id"; did you mean "host_id"?`, `{"category":1,"element":29,"hots_id":1}`)
	events(`bad.json:2: cannot read event: [] is not a JSON object; each line must be one event`, "\n[]")
	events(`bad.json:1: cannot read event: { is not JSON: unexpected end of JSON input; each line must be one event`, "{\n\"category\":1}")
	code, _, errs = run("script", "run", "--api", "centreon", "--parameter", "port=1", "--input", path("empty.json", "\n"), script)
	if code != exitOK || !strings.Contains(errs, "there is no event in "+filepath.Join(dir, "empty.json")) {
		t.Errorf("code %d, %s", code, errs)
	}
}
