package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/prometheus"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// servePromQL serves the API of Prometheus over a driver in memory.
func servePromQL(t *testing.T) {
	t.Helper()
	d := new(memory.Driver)
	traffic := &timeseries.Schema{Name: "if:traffic", Step: 60, Tags: []string{"port"}, Metrics: []string{"in", "out"}}
	for i := range int64(10) {
		for n, port := range []string{"eth0", "eth 1"} {
			v := float64(60 * i * int64(n+1))
			if err := d.Append(context.Background(), []timeseries.Point{{Schema: traffic, Time: t0 + 60*i, Tags: []string{port}, Values: []float64{v, v / 3}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	log := slog.New(slog.DiscardHandler)
	server := httptest.NewServer(api.New(api.Dependencies{
		Registry: telemetry.NewRegistry(), Log: log, Started: time.Now(),
		Endpoints: []api.Endpoint{{Pattern: prometheus.Prefix + "/", Handler: prometheus.NewHandler(d, log)}},
	}))
	t.Cleanup(server.Close)
	t.Setenv("WEIR_URL", server.URL)
	t.Setenv("WEIR_TOKEN", "")
	inZone(t, time.FixedZone("CET", 3600))
}

func TestQueryPromQL(t *testing.T) {
	servePromQL(t)
	f := func(want string, args ...string) {
		t.Helper()
		code, out, errs := run(append([]string{"query"}, args...)...)
		if code != exitOK || errs != "" {
			t.Errorf("%q: code %d, errors %q", args, code, errs)
		}
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out); diff != "" {
			t.Errorf("%q (-want +got):\n%s", args, diff)
		}
	}
	end := fmt.Sprint(t0 + 540)
	f(`
SERIES                                         VALUE
if_traffic_out port='eth 1' schema=if:traffic    360
if_traffic_out port=eth0 schema=if:traffic       180
`, "--promql", "if_traffic_out", "--end", end)
	f(`
SERIES       VALUE
(no labels)      3
`, "--promql", "sum(rate(if_traffic_in[2m]))", "--end", end)
	f("0.5\n", "--promql", "1/2")
	f("a\n", "--promql", `"a"`)
	f(`
if_traffic_in port=eth0 schema=if:traffic
  TIME (CET)           VALUE
  2023-11-14 23:14:00      0
  2023-11-14 23:16:00    120
  2023-11-14 23:18:00    240
`, "--promql", `if_traffic_in{port="eth0"}`, "--start", fmt.Sprint(t0), "--end", fmt.Sprint(t0+240), "--step", "2m")
	f(`
time,__name__,port,schema,value
2023-11-14T22:14:00Z,if_traffic_out,eth 1,if:traffic,0
2023-11-14T22:15:00Z,if_traffic_out,eth 1,if:traffic,40
2023-11-14T22:14:00Z,if_traffic_out,eth0,if:traffic,0
2023-11-14T22:15:00Z,if_traffic_out,eth0,if:traffic,20
`, "--promql", "if_traffic_out", "--start", fmt.Sprint(t0), "--end", fmt.Sprint(t0+60), "--step", "60", "--csv")
	f(`
time,port,value
2023-11-14T22:23:00Z,eth 1,+Inf
`, "--promql", `sum by (port) (if_traffic_in{port="eth 1"}) / 0`, "--end", end, "--csv")
	f(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000580,"1620"]}]}}`+"\n", "--promql", "sum(if_traffic_in)", "--end", end, "--json")
	// without a step there are 60
	if _, out, _ := run("query", "--promql", "vector(1)", "--start", fmt.Sprint(t0), "--end", fmt.Sprint(t0+600), "--csv"); strings.Count(out, "\n") != 62 {
		t.Errorf("got %s", out)
	}
}

func TestQueryPromQLMistakes(t *testing.T) {
	servePromQL(t)
	f := func(wantCode int, want string, args ...string) {
		t.Helper()
		code, _, errs := run(append([]string{"query"}, args...)...)
		if code != wantCode || !strings.Contains(errs, want) {
			t.Errorf("%q: code %d, want %d; errors %q, want %q", args, code, wantCode, errs, want)
		}
	}
	f(exitFailure, "no series has a value there", "--promql", "nothing")
	f(exitUsage, "parse error", "--promql", "rate(")
	f(exitUsage, "takes one expression", "--promql", "up", "statsd:counter")
	f(exitUsage, "--end", "--promql", "up", "--end", "yesterday")
	f(exitUsage, "--start", "--promql", "up", "--start", "yesterday")
	f(exitUsage, "step", "--promql", "up", "--step", "soon")
	f(exitUsage, "without --promql", "statsd:counter", "--step", "5")
	f(exitUsage, "promql", "--promql", "up", "--points", "5")
	f(exitFailure, "many-to-many", "--promql", "if_traffic_in * on(schema) if_traffic_out", "--end", fmt.Sprint(t0))
}
