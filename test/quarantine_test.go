package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// An event that ends its script is found and set aside, and the others arrive.
func TestQuarantineOfEvents(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "fragile.lua", `local ffi = require("ffi")
function init() end
function write(e)
  if e.output == "number 5" then
    ffi.cast("int *", 8)[0] = 1
  end
  local f = io.open("out", "a")
  f:write(e.output .. "\n")
  f:close()
  return true
end
`)
	writeFile(t, dir, "weir.yaml", `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0", synthesize: false}]}
connectors: [{name: fragile, script: fragile.lua, categories: ["neb:ServiceStatus"]}]
`)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
	session.send(checks(0, 8)...)
	session.stop()
	err = eventually(func() error {
		content, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil {
			return err
		}
		for i := range 8 {
			if has := strings.Contains(string(content), fmt.Sprintf("number %d\n", i)); has == (i == 5) {
				return fmt.Errorf("number %d arrived: %v", i, has)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	if q := p.queues(t)["connector.fragile"]; q.Events != 0 {
		t.Errorf("the queue %+v", q)
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	var ledgers status
	if err := p.ask("/api/v1/status", &ledgers); err != nil {
		t.Fatal(err)
	}
	for _, account := range ledgers.Ledger {
		if account.Component == "connector.fragile" && (account.Discarded["quarantined"] != 1 || account.Passed != 7) {
			t.Errorf("ledger %+v", account)
		}
	}
	_, scripts, err := p.get("/api/v1/scripts")
	if err != nil || !strings.Contains(scripts, `"quarantined":1`) || !strings.Contains(scripts, "fragile.lua:5") {
		t.Errorf("%s, %v", scripts, err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "data", "connectors", "fragile.quarantine"))
	if err != nil || strings.Count(string(content), "\n") != 1 || !strings.Contains(string(content), "number 5") || !strings.Contains(string(content), "SIGSEGV") {
		t.Errorf("%s, %v", content, err)
	}
	if !strings.Contains(p.log(), "an event was set aside") {
		t.Error(p.log())
	}
	if code, err := p.end(15); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}
