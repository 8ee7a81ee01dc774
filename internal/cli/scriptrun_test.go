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
	want := `{"call":"init"}
{"call":"write","category":1,"element":29,"event":"ServiceStatus","result":"false","acknowledged":0}
{"call":"write","category":1,"element":32,"event":"HostStatus","result":"false","acknowledged":0}
{"call":"write","category":1,"element":29,"event":"ServiceStatus","result":"true","acknowledged":3}
{"call":"write","category":1,"element":29,"event":"ServiceStatus","result":"not_boolean","acknowledged":3,"errors":["` + script + `: lua: 'write' must return a boolean, got number (event neb:service_status (1:24))"]}
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
	if lines := strings.Split(out, "\n"); code != exitOK || !strings.Contains(lines[2], `"element":32,"event":"HostStatus","result":"filtered"`) ||
		!strings.Contains(lines[1], `"result":"skipped"`) {
		t.Errorf("code %d:\n%s", code, out)
	}

	f := func(code int, message string, args ...string) {
		t.Helper()
		got, _, errs := run(append([]string{"script", "run"}, args...)...)
		if got != code || !strings.Contains(errs, message) {
			t.Errorf("%q: code %d, %s; want %d and %q", args, got, errs, code, message)
		}
	}
	f(exitUsage, `want --api centreon`, "--api", "trisul", script)
	f(exitUsage, `required flag(s) "api" not set`, script)
	f(exitUsage, `want NAME=VALUE`, "--api", "centreon", "--parameter", "x", script)
	f(exitUsage, "cannot read the input", "--api", "centreon", "--input", filepath.Join(dir, "none"), script)
	f(exitFailure, "could not be loaded", "--api", "centreon", filepath.Join(dir, "none.lua"))
	f(exitFailure, "broken.lua:1: ", "--api", "centreon", path("broken.lua", "function init("))
	f(exitFailure, `line 1: cannot read event`, "--api", "centreon", "--parameter", "port=1", "--input", path("bad.json", `{"category":1,"element":29,"hots_id":1}`), script)
}
