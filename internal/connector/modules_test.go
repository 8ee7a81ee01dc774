package connector

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/lua"
)

// A script posts with the modules of the host, not with a file of the same name beside it.
func TestModules(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.Header.Get("Content-Type") + " " + string(body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	s, r := load(t, fmt.Sprintf(`
local curl = require "cURL"
function init(conf)
  local request = curl.easy():setopt_url(%q):setopt(curl.OPT_HTTPHEADER, { "content-type: application/json" })
  request:setopt_postfields(broker.json_encode({ a = 1 })):perform()
  broker_log:info(0, "answer " .. request:getinfo(curl.INFO_RESPONSE_CODE))
end
function write(d) return true end`, server.URL), nil)
	defer s.Close()
	if want := `POST application/json {"a":1}`; got != want {
		t.Errorf("the server got %q, want %q", got, want)
	}
	if len(r.lines) != 1 || r.lines[0] != "INFO answer 202" {
		t.Errorf("the log has %q", r.lines)
	}
}

// The shutdown ends what waits for a peer.
func TestModulesInterrupt(t *testing.T) {
	waiting := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(waiting)
		<-r.Context().Done()
	}))
	defer server.Close()
	s, _ := load(t, fmt.Sprintf(`
function init(conf) end
function write(d) return true end
function flush()
  require "cURL".easy{ url = %q }:perform()
  return true
end`, server.URL), func(s *Setup) { s.Call = time.Hour })
	defer s.Close()
	go func() {
		<-waiting
		s.Interrupt()
	}()
	done := make(chan error)
	go func() {
		_, err := s.vm.Call("flush")
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("the interrupted call gave no error")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call was not interrupted")
	}
}

// The documentation has a row for each module that needs no file.
func TestModulesDocumented(t *testing.T) {
	preloaded := func(vm *lua.VM) []string {
		t.Helper()
		values, err := vm.DoString("=test", `
local names = {}
for name in pairs(package.preload) do names[#names + 1] = name end
table.sort(names)
return table.concat(names, "\n")`)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(values[0].(string), "\n")
	}
	bare, err := lua.New(lua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	language := preloaded(bare)
	s, _ := load(t, "function init() end function write() return true end", nil)
	registered := slices.DeleteFunc(preloaded(s.vm), func(name string) bool { return slices.Contains(language, name) })
	text, err := os.ReadFile("../../docs/connectors.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| module | content |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
			documented = append(documented, m[1])
		}
	}
	slices.Sort(documented)
	if d := cmp.Diff(registered, documented); d != "" {
		t.Errorf("modules and their documentation (-modules +documentation):\n%s", d)
	}
}
