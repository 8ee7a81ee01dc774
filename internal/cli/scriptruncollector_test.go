package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScriptRunCollector does the jobs of a collector once, those after one that raises an error too.
func TestScriptRunCollector(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const end = "\nfunction perform_job(affecting, params) print('now') send_results({{p = params.path, v = #affecting, t = 1700000000}}, 7) end"
	devices := path("devices.jsonl", `{"account_id":7,"entity_id":3,"name":"core","details":{},"sensors":[]}`+"\n")
	f := func(wantCode int, wantOut, wantErrs, text string, args ...string) {
		t.Helper()
		args = append(append([]string{"script", "run", "--api", "collector"}, args...), path("c.lua", text))
		if code, out, errs := run(args...); code != wantCode || out != wantOut || !strings.Contains(errs, wantErrs) {
			t.Errorf("%s\n%v: code %d\n%swant\n%s%s", text, args, code, out, wantOut, errs)
		}
	}
	// intervals of a job, and the default
	f(0, `{"job":"a","intervals":[5,10],"params":{"path":"x.y"},"values":[{"a":7,"p":"x.y","v":2,"t":1700000000}]}
{"job":"b","intervals":[60],"params":{"path":"x.z"},"values":[{"a":7,"p":"x.z","v":1,"t":1700000000}]}
`, "now\nnow\n", `function jobs() return {{id = "a", intervals = {5, 10}, params = {path = "x.y"}}, {id = "b", params = {path = "x.z"}}} end`+end)
	// devices and options
	f(0, `{"job":"core","intervals":[60],"params":{"path":"p.7"},"values":[{"a":7,"p":"p.7","v":1,"t":1700000000}]}
`, "", `function jobs() return {{id = fetch_job_configs()[1].name, params = {path = options.prefix .. "." .. options.n}}} end`+end, "--input", devices, "--parameter", "prefix=p", "--parameter", "n=7")
	// what was sent before an error, and the next job
	f(exitFailure, `{"job":"a","intervals":[60],"params":{"n":1},"values":[{"a":0,"p":"x","v":1}],"error":"`+filepath.Join(dir, "c.lua")+`:2: no"}
{"job":"b","intervals":[60],"params":{"n":2},"values":[{"a":0,"p":"x","v":2}]}
`, "1 errors in the script", "function jobs() return {{id = 'a', params = {n = 1}}, {id = 'b', params = {n = 2}}} end\nfunction perform_job(_, p) send_results({x = p.n}) if p.n == 1 then error('no') end end")
	f(exitFailure, "", "c.lua:1: no jobs", "function jobs() error('no jobs') end"+end)
	f(exitFailure, "", "c.lua:1", "x = = 1")
	f(exitFailure, "", "it must have jobs() and perform_job", "function jobs() end")
	f(exitFailure, "", "cannot read line 1", "function jobs() return {} end"+end, "--input", path("bad", "{\n"))
	f(exitFailure, "", "cannot read the input", "function jobs() return {} end"+end, "--input", filepath.Join(dir, "none"))
	f(exitUsage, "", "collectors have no such thing", "", "--category", "neb")
	f(exitUsage, "", "NAME=VALUE", "", "--parameter", "x")
}
