package test

import (
	"fmt"
	"path/filepath"
	"strings"
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
