package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLuaCollector runs the script of the page about collectors.
func TestLuaCollector(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/collectors.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		m := regexp.MustCompile("(?ms)^```" + language + " script\n(.*?)^```$").FindSubmatch(page)
		if m == nil {
			t.Fatal("the page has no ", language)
		}
		return string(m[1])
	}
	dir := t.TempDir()
	writeFile(t, dir, "dice.lua", block("lua"))
	collectors := strings.Replace(block("yaml"), "/etc/weir/collectors/dice.lua", filepath.Join(dir, "dice.lua"), 1)
	writeFile(t, dir, "weir.yaml", officeConfig("127.0.0.1:0")+collectors)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	stored := func(path string) func() string {
		return func() string {
			code, body, err := p.get("/api/v1/series?schema=collector:value")
			if err != nil {
				return err.Error()
			}
			if code != 200 || !strings.Contains(body, `"path":"`+path+`"`) {
				return body + p.log()
			}
			return ""
		}
	}
	soon(t, stored("dice.fast"))
	soon(t, stored("dice.slow"))
	if problem := hasMetric(p, `weir_script_up{api="collector",script="collector.lua"} 1`); problem != "" {
		t.Error(problem)
	}
}

// TestLuaCollectorExample runs the example.
func TestLuaCollectorExample(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../examples/collectors/load.lua")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", officeConfig("127.0.0.1:0")+"collectors: [lua: {script: "+script+", interval: 1s, options: {host: web1}}]\n")
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	for _, path := range []string{"host.web1.load.1min", "host.web1.memory.available"} {
		soon(t, func() string {
			_, body, err := p.get("/api/v1/series?schema=collector:value")
			if err != nil || !strings.Contains(body, `"path":"`+path+`"`) {
				return body + p.log()
			}
			return ""
		})
	}
}
