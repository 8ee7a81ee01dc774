package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckMonitors: monitor scripts are loaded as weir run does, no onload is called, and what is wrong has its file and line.
func TestCheckMonitors(t *testing.T) {
	dir := t.TempDir()
	f := func(wantCode int, wantOut, wantErr []string, files ...string) {
		t.Helper()
		scripts := filepath.Join(dir, "scripts")
		if err := os.RemoveAll(scripts); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(scripts, 0o700); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(files); i += 2 {
			if err := os.WriteFile(filepath.Join(scripts, files[i]), []byte(files[i+1]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		config := filepath.Join(dir, "weir.yaml")
		if err := os.WriteFile(config, []byte("sources: {statsd: []}\ncounter_groups: {off: [Mac]}\nmonitors:\n  - path: "+scripts+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := Main([]string{"check", "-c", config}, &out, &errs)
		if code != wantCode {
			t.Errorf("code %d, want %d", code, wantCode)
		}
		for got, all := range map[*bytes.Buffer][]string{&out: wantOut, &errs: wantErr} {
			text := strings.ReplaceAll(got.String(), dir+"/", "")
			for _, want := range all {
				if !strings.Contains(text, want) {
					t.Errorf("does not say %q:\n%s", want, text)
				}
			}
			if len(all) == 0 && got == &errs && text != "" {
				t.Errorf("complains: %s", text)
			}
		}
	}
	const group = `countergroup = { control = { guid = "{11111111-2222-3333-4444-555555555555}", name = "Mine" }, meters = { { 0, T.K.vartype.COUNTER, 0, "n", "", "" } } }`
	const loads = `onload = function() error("it was called") end`
	f(exitOK, []string{"  monitor     watches\n    file        scripts/a.lua\n    attached    cg_monitor to Hosts, cg_monitor to Mine\n  monitor     defines\n    file        scripts/b.lua\n    attached    plain\n    defines     Mine\n"}, nil,
		"a.lua", `TrisulPlugin = { id = { name = "watches" }, `+loads+`, cg_monitor = { counter_guid = { "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", function() return T.countergroups["Mine"] end } } }`,
		"b.lua", `TrisulPlugin = { id = { name = "defines" }, `+loads+`, `+group+` }`,
		"module.lua", `return { "used by others" }`, "other.lua", `-- TrisulPlugin is not set here`)
	f(exitOK, []string{"attached    to nothing"}, []string{`warning: monitor scripts/off.lua: no counter group matches the name "Dir Mic" or the expression "^Mac$"`},
		"off.lua", `TrisulPlugin = { id = { name = "off" }, cg_monitor = { counter_name_match = "Dir Mic", counter_name_regex = "^Mac$" } }`)
	f(exitUsage, nil, []string{
		"weir.yaml:4:11: cannot load a monitor: scripts/broken.lua:2: cannot load the script: unexpected symbol near '<eof>'",
		"weir.yaml:4:11: cannot load a monitor: scripts/ends.lua: ", "id.name", "the configuration has 3 mistakes",
		"weir.yaml:4:11: cannot load a monitor: scripts/raises.lua:3: cannot load the script: attempt to index",
	}, "broken.lua", "TrisulPlugin = {\n", "ends.lua", "TrisulPlugin = { id = {} }", "raises.lua", "\n\nlocal x = nothing.at_all\nTrisulPlugin = {}")
	f(exitOK, nil, []string{"warning: monitor scripts/odd.lua: ", "onflushFilter"},
		"odd.lua", `TrisulPlugin = { id = { name = "odd" }, cg_monitor = { counter_name_match = "Hosts", onflushFilter = function() end } }`)
}
