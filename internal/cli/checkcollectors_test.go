package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A collector in a script is loaded by weir check, without a call of its functions, and what is wrong has its place.
func TestCheckCollectors(t *testing.T) {
	dir := t.TempDir()
	for source, want := range map[string]string{
		"function jobs() error('a check must not come here') end function perform_job() end": "",
		"function jobs() end":       "the script has no global function perform_job()",
		"\nlocal x = = 1":           "mine.lua:2",
		"while true do print() end": "took longer than 300ms",
	} {
		path, config := filepath.Join(dir, "mine.lua"), filepath.Join(dir, "weir.yaml")
		for file, text := range map[string]string{path: source, config: "collectors: [lua: {script: " + path + ", call_timeout: 300ms}]\n"} {
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
