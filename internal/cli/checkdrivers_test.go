package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A driver in a script is loaded by weir check, without its constructor, and what is wrong has its place.
func TestCheckDrivers(t *testing.T) {
	dir := t.TempDir()
	for source, want := range map[string]string{
		"local d = {} function d:new() error('a check must not come here') end function d:append() end return d": "",
		"return 7":             "is not a timeseries driver",
		"\nlocal x = = 1":      "driver.lua:2",
		"return { new = 1 }":   "is not a timeseries driver",
		"while true do end":    "took",
		"require('not there')": "driver.lua:1",
	} {
		path := filepath.Join(dir, "driver.lua")
		config := filepath.Join(dir, "weir.yaml")
		for file, text := range map[string]string{path: source, config: "timeseries: {write: [store, lua: {script: " + path + ", call_timeout: 300ms}]}\n"} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		code, out, errs := run("check", "-c", config)
		if want == "" && code != 0 || want != "" && (code != exitUsage || !strings.Contains(errs, want) || !strings.Contains(errs, "weir.yaml:1:")) {
			t.Errorf("%s: code %d\n%s\n%s", source, code, out, errs)
		}
	}
}
