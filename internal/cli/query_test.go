package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

const t0 = 1_700_000_040 // 2023-11-14 22:14:00 UTC

// serveAPI serves the API over a driver in memory, and points the commands at it.
func serveAPI(t *testing.T, token string) *httptest.Server {
	t.Helper()
	d := new(memory.Driver)
	counter := &timeseries.Schema{Name: "statsd:counter", Step: 10, Type: timeseries.Derivative, Tags: []string{"name", "tags"}, Packed: "tags", Metrics: []string{"rate"}}
	pair := &timeseries.Schema{Name: "if:traffic", Step: 10, Type: timeseries.Gauge, Tags: []string{"port"}, Metrics: []string{"in", "out"}}
	add := func(s *timeseries.Schema, at int64, tags []string, values ...float64) {
		if err := d.Append(context.Background(), []timeseries.Point{{Schema: s, Time: at, Tags: tags, Values: values}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range int64(6) {
		add(counter, t0+10*(i+1), []string{"api.requests", "region=eu"}, float64(i))
		add(counter, t0+10*(i+1), []string{"api.requests", "region=us"}, 2*float64(i))
		add(counter, t0+10*(i+1), []string{"it's \x1b[2J", ""}, 0.1)
		if i > 0 && i != 3 && i < 5 {
			add(pair, t0+10*(i+1), []string{"eth0"}, 1.0/3, -1e7*float64(i)-0.5)
		}
	}
	add(pair, t0+40, []string{"eth0"}, math.NaN(), 5)
	server := httptest.NewServer(api.New(api.Dependencies{
		Driver: d, Catalog: d, Registry: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler), Version: "v1", Token: token,
		Started: time.Now(),
	}))
	t.Cleanup(server.Close)
	t.Setenv("WEIR_URL", server.URL)
	t.Setenv("WEIR_TOKEN", token)
	inZone(t, time.FixedZone("CET", 3600))
	return server
}

func inZone(t *testing.T, z *time.Location) {
	old := zone
	zone = z
	t.Cleanup(func() { zone = old })
}

// run is a command line and what comes of it.
func run(args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = Main(args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// golden runs a command that must succeed; the first line of want is empty.
func golden(t *testing.T, command, want string) {
	t.Helper()
	code, out, errs := run(strings.Fields(command)...)
	if code != exitOK || errs != "" {
		t.Errorf("%s: code %d, errors %q", command, code, errs)
	}
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out); diff != "" {
		t.Errorf("%s (-want +got):\n%s", command, diff)
	}
}

var minute = fmt.Sprintf(" --start %d --end %d", t0, t0+60)

func TestQuery(t *testing.T) {
	serveAPI(t, "")
	golden(t, "query statsd:counter name=api.requests --group-by region"+minute, `
statsd:counter, 2023-11-14 23:14:00 to 23:15:00 CET, a point every 10 s

region=eu name=api.requests
  TIME (CET)           rate
  2023-11-14 23:14:10     0
  2023-11-14 23:14:20     1
  2023-11-14 23:14:30     2
  2023-11-14 23:14:40     3
  2023-11-14 23:14:50     4
  2023-11-14 23:15:00     5

  METRIC  LAST  MIN  AVERAGE  95%  MAX  TOTAL
  rate       5    0      2.5    4    5    150

region=us name=api.requests
  TIME (CET)           rate
  2023-11-14 23:14:10     0
  2023-11-14 23:14:20     2
  2023-11-14 23:14:30     4
  2023-11-14 23:14:40     6
  2023-11-14 23:14:50     8
  2023-11-14 23:15:00    10

  METRIC  LAST  MIN  AVERAGE  95%  MAX  TOTAL
  rate      10    0        5    8   10    300
`)
	// unknown points, fractions, negative numbers; two metrics side by side
	golden(t, "query if:traffic"+minute, `
if:traffic, 2023-11-14 23:14:00 to 23:15:00 CET, a point every 10 s

all series together (--group-by shows them apart)
  TIME (CET)                 in        out
  2023-11-14 23:14:20  0.333333  -10000000
  2023-11-14 23:14:30  0.333333  -20000000
  2023-11-14 23:14:40         -          5
  2023-11-14 23:14:50  0.333333  -40000000
  without a value before and after these: 2

  METRIC       LAST        MIN    AVERAGE       95%       MAX  TOTAL
  in       0.333333   0.333333   0.333333  0.333333  0.333333      -
  out     -40000000  -40000000  -17499999         0         5      -
`)
}

func TestQueryForms(t *testing.T) {
	server := serveAPI(t, "")
	golden(t, "query", `
SCHEMA          TYPE        STEP  TAGS       METRICS
if:traffic      gauge       10 s  port       in out
statsd:counter  derivative  10 s  name tags  rate
`)
	golden(t, "query --csv", "schema,type,step,tags,metrics\nif:traffic,gauge,10,port,in out\nstatsd:counter,derivative,10,name tags,rate\n")
	golden(t, "query if:traffic port=eth0 --csv --points 3"+minute, `
time,port,in,out
2023-11-14T22:14:20Z,eth0,0.3333333333333333,-10000000.5
2023-11-14T22:14:40Z,eth0,0.3333333333333333,-9999997.75
2023-11-14T22:15:00Z,eth0,0.3333333333333333,-40000000.5
`)
	_, out, _ := run(strings.Fields("query if:traffic port=eth0 --json --points 6" + minute)...)
	response, err := http.Get(server.URL + "/api/v1/query?schema=if:traffic&tag=port=eth0&points=6" + fmt.Sprintf("&start=%d&end=%d", t0, t0+60))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var want bytes.Buffer
	if _, err := want.ReadFrom(response.Body); err != nil || out != want.String() || !strings.Contains(out, `"epoch_step":10`) {
		t.Errorf("%v\n%s\n%s", err, out, want.String())
	}
}

func TestTopK(t *testing.T) {
	serveAPI(t, "")
	golden(t, "topk statsd:counter"+minute, `
statsd:counter, 2023-11-14 23:14:00 to 23:15:00 CET, the largest 3

  name              tags       VALUE
  api.requests      region=us    300
  api.requests      region=eu    150
  $'it\'s \x1b[2J'                 6
`)
	golden(t, "topk statsd:counter --group-by region --top 1 --csv"+minute, "region,value,rate\nus,300,300\n")
}

func TestSeries(t *testing.T) {
	serveAPI(t, "")
	golden(t, "series", `
if:traffic port=eth0
statsd:counter name=api.requests tags=region=eu
statsd:counter name=api.requests tags=region=us
statsd:counter name=$'it\'s \x1b[2J' tags=
`)
	golden(t, "series statsd:counter region=us", "statsd:counter name=api.requests tags=region=us\n")
	golden(t, "series --csv", "schema,port,name,tags\nif:traffic,eth0,,\nstatsd:counter,,api.requests,region=eu\nstatsd:counter,,api.requests,region=us\nstatsd:counter,,it's \x1b[2J,\n")
	code, out, errs := run("series", "--limit", "1")
	if code != exitOK || out != "if:traffic port=eth0\n" || !strings.Contains(errs, "--limit 0") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

func TestAsk_Failure(t *testing.T) {
	server := serveAPI(t, "s3cret")
	f := func(command string, code int, want string) {
		t.Helper()
		got, out, errs := run(strings.Fields(command)...)
		if got != code || !strings.Contains(errs, want) || out != "" && code != exitFailure {
			t.Errorf("%s: code %d, want %d; output %q, errors %q", command, got, code, out, errs)
		}
	}
	f("query name=a", exitUsage, "first argument must be a schema")
	f("query statsd:counter name", exitUsage, "TAG=VALUE")
	f("query statsd:counter =x", exitUsage, "TAG=VALUE")
	f("query statsd:counter --points 0", exitUsage, `points="0"`)
	f("query statsd:counter --start yesterday", exitUsage, `start="yesterday"`)
	f("query statsd:counter --json --csv", exitUsage, "json")
	f("query statsd:countr", exitFailure, `did you mean "statsd:counter"?`)
	f("query statsd:counter name=nobody", exitFailure, "name=nobody")
	f("query statsd:counter --start -10s", exitFailure, "no point of this range has a value")
	f("topk", exitUsage, "the schema is missing")
	f("topk statsd:counter --start -10s", exitFailure, "above 0")
	f("series statsd:counter --start -10s", exitFailure, "no series has a value")
	f("query --url ftp://x", exitUsage, `"ftp://x"`)
	f("query --token-file /nonexistent/token", exitUsage, "/nonexistent/token")

	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TOKEN", "wrong")
	f("query", exitFailure, "token is wanted")
	if code, _, errs := run("query", "--token-file", token); code != exitOK {
		t.Errorf("with a token file: code %d, %q", code, errs)
	}
	server.Close()
	f("query", exitFailure, "is `weir run` running?")
}

// What answers is not always Weir, or whole.
func TestAsk_OtherServers(t *testing.T) {
	var kind, body string
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		if r.URL.Path == "/api/v1/schemas" && r.URL.RawQuery == "" && status == http.StatusOK && kind == "application/json" {
			_, _ = w.Write([]byte(`{"schemas":[]}`))
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	t.Setenv("WEIR_URL", server.URL)
	f := func(newKind, newBody string, newStatus int, command, want string) {
		t.Helper()
		kind, body, status = newKind, newBody, newStatus
		if code, _, errs := run(strings.Fields(command)...); code != exitFailure || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %q", body, code, errs)
		}
	}
	const js = "application/json"
	f("text/html", "<html>", 200, "query", "is not Weir")
	f(js, "<html>", 500, "query", "500")
	f(js, "{", 200, "query a:b", "cannot read")
	f(js, `{"error":"disk gone","kind":"internal"}`, 500, "query a:b", "disk gone")
	f(js, `{"series":[{"schema":"a:b","tags":{"x":"y"}}`, 200, "series", "cannot read")
	f(js, `{"series":[{"schema":"a:b","tags":{"x":"y"}}],"count":1,"error":"block 7"}`, 200, "series", "block 7")
	f(js, `{"series":7}`, 200, "series", "cannot read")
	f(js, `[]`, 200, "series", "cannot read")
	f(js, `{"schemas":[]}`, 200, "query", "nothing is stored yet")
	// fewer points than counted, and none at all
	f(js, `{"metadata":{"schema":"a:b"},"count":5,"step":10,"series":[{"label":"x","data":[null]},{"label":"x"}]}`, 200, "query a:b", "no point")
	f(js, `{}`, 200, "topk a:b", "above 0")
}

func TestComplete(t *testing.T) {
	server := serveAPI(t, "")
	f := func(want string, args ...string) {
		t.Helper()
		if _, out, _ := run(append([]string{"__complete"}, args...)...); !strings.HasPrefix(out, want) {
			t.Errorf("%v: %q", args, out)
		}
	}
	f("if:traffic\nstatsd:counter\n", "query", "")
	f("name=\ntags=\n", "topk", "statsd:counter", "")
	f(":", "query", "no:schema", "")
	server.Close()
	f(":", "query", "")
}
