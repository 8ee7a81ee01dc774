package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// The JSON poster sends statuses in batches, and again what the server did not take.
func TestJSONPoster(t *testing.T) {
	for version, element := range map[string]int64{"3.0.1": 29, "2.0.0": 24} {
		var mu sync.Mutex
		requests, up := 0, false
		seen := make(map[string]int)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			requests++
			if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("request %s with %v", r.Method, r.Header)
			}
			if !up {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			var events []struct {
				logged
				Element int64
			}
			if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
				t.Error(err)
			}
			if len(events) == 0 || len(events) > 7 {
				t.Errorf("a request with %d events", len(events))
			}
			for _, e := range events {
				if e.Element != element || e.HostName != "alpha" || e.ServiceDescription != "load" {
					t.Errorf("event %+v", e)
				}
				line, _, _ := strings.Cut(e.Output, "\n") // generation 2 has the long output behind it
				seen[line]++
			}
			w.WriteHeader(http.StatusAccepted)
		}))
		t.Cleanup(server.Close)
		dir := t.TempDir()
		copyExample(t, dir, "http-json-poster.lua")
		writeFile(t, dir, "weir.yaml", `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
connectors: [{name: poster, script: http-json-poster.lua, bbdo_version: `+version+`, parameters: {url: "`+server.URL+`", batch: 7, timeout: 5, token: secret}}]
`)
		p, err := run(dir, environment(), "run", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		session := connect(t, p, bbdo.Version{Major: 3, Minor: 0, Patch: 1})
		session.send(configuration...)
		session.send(checks(0, 100)...)
		session.stop()
		err = eventually(func() error {
			mu.Lock()
			defer mu.Unlock()
			if requests < 2 {
				return fmt.Errorf("%d requests while the server is down, want it tried again", requests)
			}
			up = true
			return nil
		})
		if err == nil {
			err = eventually(func() error {
				mu.Lock()
				defer mu.Unlock()
				for i := range 100 {
					if n := seen[fmt.Sprintf("number %d", i)]; n != 1 {
						return fmt.Errorf("event %d came %d times, %d of 100 are there", i, n, len(seen))
					}
				}
				return nil
			})
		}
		if err != nil {
			t.Errorf("version %s: %v\n%s", version, err, p.log())
		}
		if _, err := p.end(15); err != nil {
			t.Error(err)
		}
	}
}
