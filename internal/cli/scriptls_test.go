package cli

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

func TestScriptList(t *testing.T) {
	inZone(t, time.UTC)
	at := time.Date(2025, 1, 31, 12, 0, 0, 0, time.UTC)
	all := []script.Stats{
		{Name: "influx", API: "centreon", State: script.Running, PID: 4711, Since: time.Now().Add(-90 * time.Second), Restarts: 2, Calls: 12345, Errors: 3, BusySeconds: 1.5,
			MemoryBytes: 33 << 20, FramesIn: 100, FramesOut: 99, Held: 1,
			LastExit:  &script.Event{Time: at, Message: `script "influx" killed: a call took longer than 5s`, Position: "influx.lua:7"},
			LastError: &script.Event{Time: at, Message: "attempt to index a nil value\x1b[2J", Position: "influx.lua:9"}},
		{Name: "other one", API: "centreon", State: script.Waiting, Since: time.Now().Add(-500 * time.Millisecond)},
	}
	scripts := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"scripts": all})
	})
	server := httptest.NewServer(api.New(api.Dependencies{Registry: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler), Endpoints: []api.Endpoint{{Pattern: "GET /api/v1/scripts", Handler: scripts}}}))
	defer server.Close()
	t.Setenv("WEIR_URL", server.URL)

	code, out, errs := run("script", "ls")
	want := `NAME         API       STATE      FOR   PID  RESTARTS  CALLS  ERRORS   BUSY  MEMORY   IN  OUT  HELD
influx       centreon  running  1m30s  4711         2  12345       3  1.5 s  33 MiB  100   99     1
'other one'  centreon  waiting     0s     -         0      0       0    0 s   0 MiB    0    0     0
influx: last exit 2025-01-31 12:00:00 at influx.lua:7: 'script "influx" killed: a call took longer than 5s'
influx: last error 2025-01-31 12:00:00 at influx.lua:9: $'attempt to index a nil value\x1b[2J'
`
	if diff := cmp.Diff(want, out); diff != "" || code != exitOK || errs != "" {
		t.Errorf("code %d, %s (-want +got):\n%s", code, errs, diff)
	}
	if _, out, _ := run("script", "ls", "--json"); !strings.Contains(out, `"position":"influx.lua:9"`) {
		t.Errorf("%s", out)
	}
	all = nil
	if code, out, errs := run("script", "ls"); code != exitOK || out != "" || errs != "weir: no script is configured\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	if code, out, _ := run("script"); code != exitOK || !strings.Contains(out, "ls ") {
		t.Errorf("code %d, %q", code, out)
	}
}

func TestScriptHost(t *testing.T) {
	if code, _, errs := run("script-host", "unheard-of"); code != exitUsage || !strings.Contains(errs, `"unheard-of": want one of`) {
		t.Errorf("code %d, %q", code, errs)
	}
	if _, out, _ := run("help"); strings.Contains(out, "script-host") {
		t.Errorf("what only weir starts is in the help:\n%s", out)
	}
}
