package cli

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/telemetry"
)

// serveGroups serves the API over two groups ten seconds into their minute, and points the commands at it.
func serveGroups(t *testing.T) {
	t.Helper()
	groups, reg := countergroup.NewRegistry(), telemetry.NewRegistry()
	register := func(d countergroup.Definition) *countergroup.Group {
		g, err := groups.Register(d)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	hosts := register(countergroup.Definition{Title: "Hosts", GUID: "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", Meters: []countergroup.Meter{
		{ID: 0, Name: "Total", Type: countergroup.Rate, Top: 50}, {ID: 1, Name: "Unused", Type: countergroup.Counter}, {ID: 2, Name: "Conns", Type: countergroup.Counter, Unit: "connections"}}})
	register(countergroup.Definition{Title: "Web / requests", GUID: "{00000000-0000-0000-0000-000000000001}", Meters: []countergroup.Meter{{Name: "n", Type: countergroup.Counter}}})
	engine := countergroup.New(countergroup.Config{}, groups, reg, slog.New(slog.DiscardHandler))
	engine.Tick(t0)
	b := engine.Batch()
	hosts.SetLabel("0A.00.00.02", "mail \x1b[2J", "")
	for i, key := range []string{"0A.00.00.01", "0A.00.00.02", "other"} {
		b.AddRow(hosts, []byte(key), []int{0, 2}, []float64{float64(1000 * (3 - i)), float64(i)})
	}
	b.Send()
	engine.Tick(t0 + 10)
	server := httptest.NewServer(api.New(api.Dependencies{Groups: engine, Registry: reg, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	t.Setenv("WEIR_URL", server.URL)
}

func TestTop(t *testing.T) {
	serveGroups(t)
	f := func(wantCode int, want string, args ...string) {
		t.Helper()
		code, out, errs := run(append([]string{"top"}, args...)...)
		if diff := cmp.Diff(want, out+errs); code != wantCode || diff != "" {
			t.Errorf("weir top %q: code %d (-want +got):\n%s", args, code, diff)
		}
	}
	f(0, `GROUP             GUID                                    KEYS  BUCKET  METERS
Hosts             {4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}     3    60 s       3
'Web / requests'  {00000000-0000-0000-0000-000000000001}     0    60 s       1
`)
	f(0, `Hosts by Total, 10 seconds of 60 s: 3 keys

KEY               LABEL            TOTAL  CONNS
0A.00.00.01       10.0.0.1           300      0
0A.00.00.02       $'mail \x1b[2J'    200      1
other                                100      2
SYS:GROUP_TOTALS                     600      3
`, "Hosts")
	const byConns = `Hosts by Conns, 10 seconds of 60 s: 3 keys

KEY               CONNS  TOTAL
other                 2    100
SYS:GROUP_TOTALS      3    600
`
	f(0, byConns, "hosts", "--meter", "conns", "-n", "1", "--once")
	f(0, byConns, "{4cd742b1-c1ca-4708-be78-0fca2eb01a86}", "--meter", "2", "-n", "1")
	f(0, "'Web / requests' by n, 10 seconds of 60 s: 0 keys\n\nKEY               N\nSYS:GROUP_TOTALS  0\n", "web / requests")
	f(1, "weir: there is no counter group \"Host\": did you mean \"Hosts\"?\n", "Host")
	f(2, "weir: cannot use meter=\"Totl\": counter group \"Hosts\" has no such meter: did you mean \"Total\"?\n", "Hosts", "--meter", "Totl")
	f(2, "weir: cannot use n=\"0\": want a whole number from 1 to 1000\n", "Hosts", "-n", "0")
	code, out, _ := run("top", "Hosts", "--json")
	var answer api.GroupTop
	if err := json.Unmarshal([]byte(out), &answer); code != 0 || err != nil || answer.Active != 3 || answer.Seconds != 10 || answer.Items[0].Label != "10.0.0.1" || answer.Meters[2].Unit != "connections" {
		t.Errorf("code %d, %v: %s", code, err, out)
	}

	narrow := string(topGroupTable(answer, 42))
	if strings.Contains(narrow, "CONNS") || !strings.Contains(narrow, "TOTAL") {
		t.Errorf("for a narrow terminal:\n%s", narrow)
	}
	server := httptest.NewServer(api.New(api.Dependencies{Registry: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	t.Setenv("WEIR_URL", server.URL)
	f(1, "weir: there are no counter groups to ask: the configuration has neither sources.netflow nor counter_groups.groups\n")
}

// TestTopLive: the table is shown at once and at every tick, until it is interrupted or fails.
func TestTopLive(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	tick, shown := make(chan time.Time, 5), 0
	tick <- time.Time{}
	tick <- time.Time{}
	err := live(ctx, tick, func() error {
		if shown++; shown == 3 {
			cancel()
			return ctx.Err() // a request that was interrupted
		}
		return nil
	})
	if err != nil || shown != 3 {
		t.Errorf("%d times, %v", shown, err)
	}
	failed := errors.New("gone")
	if err := live(context.Background(), tick, func() error { return failed }); err != failed {
		t.Error(err)
	}
}
