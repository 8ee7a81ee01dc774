package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
)

// scriptMistakes are the rows of specification 10.1 about scripts: what the file of
// a connector is, and what the log says, FILE being its path.
var scriptMistakes = []struct {
	name, script, want string
	works              bool // the script gets events all the same
}{
	{name: "missing", want: "lua: 'FILE' could not be loaded: open FILE: no such file or directory"},
	{name: "directory", script: "DIRECTORY", want: "lua: 'FILE' could not be loaded: read FILE: is a directory"},
	{name: "unreadable", script: "LOOP", want: "lua: 'FILE' could not be loaded: open FILE: too many levels of symbolic links"},
	{name: "syntax", script: "\nfunction init( end", want: "lua: 'FILE' could not be loaded: FILE:2: <name> or '...' expected near 'end'"},
	{name: "notlua", script: "<?php echo 1;", want: "lua: 'FILE' could not be loaded: FILE:1: unexpected symbol near '<'"},
	{name: "toplevel", script: "\n\nerror('at the top')", want: "lua: 'FILE' could not be compiled: FILE:3: at the top"},
	{name: "noinit", script: "function write() return true end", want: "lua: 'FILE' init() global function is missing"},
	{name: "initnumber", script: "init = 7 function write() return true end", want: "lua: 'FILE' init() global function is missing"},
	{name: "nowrite", script: "function init() end", want: "lua: 'FILE' write() global function is missing"},
	{name: "writetable", script: "function init() end write = {}", want: "lua: 'FILE' write() global function is missing"},
	{name: "initraises", script: "function write() return true end\nfunction init() error('no ' .. 'way') end", want: "lua: error running function 'init': FILE:2: no way"},
	{name: "module", script: "require('no.such.module')" + mistaken(""), want: "no module 'no.such.module' is built into Weir"},
	{name: "exit", script: "os.exit(3)" + mistaken(""), want: "os.exit"},
	{name: "exitlater", script: mistaken("os.exit(0)"), want: "os.exit"},
	{name: "memory", script: mistaken("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(100000) .. i end"), want: "not enough memory"},

	{name: "filterraises", script: "function filter() error('cannot') end" + mistaken(""), want: "FILE:1: the filter is not used: cannot", works: true},
	{name: "filtertext", script: "function filter() return 'yes' end" + mistaken(""), want: "FILE:1: the filter is not used: lua: the function filter does not return a boolean", works: true},
	{name: "filterlater", script: "function filter(c, e) if e == 29 then error('later') end return true end" + mistaken(""), want: "FILE:1: later (event neb:ServiceStatus (1:29))"},
	{name: "filterlatertext", script: "function filter(c, e) if e == 29 then return e end return true end" + mistaken(""), want: "lua: 'filter' must return a boolean, got number (event neb:ServiceStatus (1:29))"},
	{name: "writeraises", script: mistaken("error('broken ' .. d.element)"), want: "FILE:3: broken 29 (event neb:ServiceStatus (1:29))"},
	{name: "writetext", script: mistaken("return 'true'"), want: "lua: 'write' must return a boolean, got string (event neb:ServiceStatus (1:29))"},
	{name: "flushraises", script: "function flush() error('flushing') end" + mistaken("return false"), want: "FILE:1: flushing"},
	{name: "flushtext", script: "function flush() return 1 end" + mistaken("return false"), want: "lua: 'flush' must return a boolean"},
	{name: "version0", script: "broker_api_version = 0" + mistaken(""), want: "broker_api_version is 0, it must be 1 or 2: 1 is used", works: true},
	{name: "version3", script: "broker_api_version = 3" + mistaken(""), want: "broker_api_version is 3, it must be 1 or 2: 1 is used", works: true},
	{name: "versiontext", script: "broker_api_version = 'x'" + mistaken(""), want: "broker_api_version is x, it must be 1 or 2: 1 is used", works: true},
	{name: "versiontable", script: "broker_api_version = {}" + mistaken(""), want: "it must be 1 or 2: 1 is used", works: true},
}

// mistaken is a script that works, but for what write does with a service status.
func mistaken(body string) string {
	return "\nfunction init(conf) file = conf.file end\nfunction write(d) if d.element == 29 then " + body + ` end
  local f = assert(io.open(file, "a")) f:write(type(d), " ", d.element, "\n") f:close()
  return true
end`
}

// Whatever is wrong with a script: the log says it with the place, pollers and other
// connectors do not notice, nothing is lost, and the script is taken when it is repaired.
func TestScriptMistakes(t *testing.T) {
	dir := t.TempDir()
	var config strings.Builder
	config.WriteString("data: data\nhttp: {listen: \"127.0.0.1:0\"}\nstatsd: {backends: []}\nsources: {statsd: [], bbdo: [{listen: \"tcp://127.0.0.1:0\"}]}\nconnectors:\n")
	config.WriteString("  - {name: loop, script: loop.lua, call_timeout: 1h}\n")
	writeFile(t, dir, "loop.lua", mistaken("while true do end"))
	for _, m := range scriptMistakes {
		path, timeout := m.name+".lua", "500ms"
		if m.name == "memory" {
			timeout = "20s" // taking it is slow on some machines
		}
		fmt.Fprintf(&config, "  - {name: %s, script: %s, call_timeout: %s, memory: 200MiB, quarantine: 0, parameters: {file: %s.txt}}\n", m.name, path, timeout, m.name)
		var err error
		switch m.script {
		case "":
		case "DIRECTORY":
			err = os.Mkdir(filepath.Join(dir, path), 0o700)
		case "LOOP":
			err = os.Symlink(path, filepath.Join(dir, path))
		default:
			writeFile(t, dir, path, m.script)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, dir, "weir.yaml", config.String())
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(configuration...)
	session.send(`{"category":1,"element":29,"host_id":1,"service_id":2,"output":"one"}`)
	session.stop()

	said := func(name, text string) bool { // in a line about the connector
		for line := range strings.Lines(p.log()) {
			if (strings.Contains(line, "script="+name+" ") || strings.Contains(line, "connector="+name+" ")) && strings.Contains(line, text) {
				return true
			}
		}
		return false
	}
	for _, m := range scriptMistakes {
		want := strings.ReplaceAll(m.want, "FILE", m.name+".lua")
		if err := eventually(func() error {
			if !said(m.name, want) {
				return fmt.Errorf("%s: the log does not say %q", m.name, want)
			}
			return nil
		}); err != nil {
			t.Errorf("%v:\n%s", err, strings.Join(regexp.MustCompile(`(?m)^.*(script|connector)=`+m.name+` .*$`).FindAllString(p.log(), 5), "\n"))
		}
	}
	got := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, name+".txt"))
		return string(text)
	}
	for _, m := range scriptMistakes {
		if m.works && got(m.name) != "table 30\ntable 27\ntable 29\n" {
			t.Errorf("%s: the script got %q", m.name, got(m.name))
		}
	}

	// Repaired, each gets what it did not acknowledge.
	for _, m := range scriptMistakes {
		if m.works {
			continue
		}
		path := filepath.Join(dir, m.name+".lua")
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, m.name+".lua", mistaken(""))
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil { // those that run do not look at their files
		t.Fatal(err)
	}
	for _, m := range scriptMistakes {
		if err := eventually(func() error {
			if text := got(m.name); !strings.HasSuffix(text, "table 29\n") {
				return fmt.Errorf("%s: the repaired script got %q", m.name, text)
			}
			return nil
		}); err != nil {
			t.Errorf("%v:\n%s", err, strings.Join(regexp.MustCompile(`(?m)^.*(script|connector)=`+m.name+` .*$`).FindAllString(p.log(), -1), "\n"))
		}
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	begin := time.Now() // while one of them loops
	if _, err := p.end(syscall.SIGTERM); err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("stopped after %v, %v", time.Since(begin), err)
	}
	if !strings.Contains(p.log(), "loop.lua:3") {
		t.Error("the log does not say where the script was that looped")
	}
}
