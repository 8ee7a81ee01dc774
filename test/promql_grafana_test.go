package test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/weirhq/weir/internal/countergroup"
	groups "github.com/weirhq/weir/internal/countergroup/storage"
	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/grafolean"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// dashboard is what matters here of a dashboard of Grafana.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage // text for a data source
		}
	}
	Panels []struct {
		ID          int
		Type, Title string
		GridPos     struct{ H, W, X, Y int }
		Datasource  struct{ Type, UID string }
		Targets     []struct {
			Expr, RefID    string
			Instant, Range bool
		}
	}
}

// storeSamples puts a quarter of an hour of what pollers, exporters, bots and scripts
// bring into a store in dir, which no weir uses.
func storeSamples(t *testing.T, dir string, now int64) {
	t.Helper()
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	s := store.New(store.Config{Path: dir}, telemetry.NewRegistry(), log)
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	var points []timeseries.Point
	add := func(schema *timeseries.Schema, value func(at int64, metric int) float64, tags ...string) {
		for at := (now - 900) / schema.Step * schema.Step; at <= now; at += schema.Step {
			p := timeseries.Point{Schema: schema, Time: at, Tags: tags}
			for m := range schema.Metrics {
				p.Values = append(p.Values, value(at, m))
			}
			points = append(points, p)
		}
	}
	for _, group := range countergroup.Builtin() {
		switch group.Title {
		case "Hosts", "Apps", "Aggregates", "NetworkLayerStats":
			window := &timeseries.Schema{Name: groups.SchemaName(group.Title), Step: 60, Tags: []string{"key"}, Type: timeseries.Derivative}
			for _, meter := range group.Meters {
				window.Metrics = append(window.Metrics, meter.Name)
			}
			topper := &timeseries.Schema{Name: groups.ToppersName(group.Title), Step: 300, Tags: []string{"meter", "key"}, Metrics: []string{"value"}, Type: timeseries.Gauge}
			for i, key := range []string{"SYS:GROUP_TOTALS", "0A.00.00.01", "0A.00.00.02"} {
				add(window, func(_ int64, m int) float64 { return float64(100 * (i + m + 1)) }, key)
				add(topper, func(int64, int) float64 { return float64(30_000 * (i + 1)) }, "Total", key)
			}
		}
	}
	status := &timeseries.Schema{Name: "centreon:status", Step: 60, Tags: []string{"host", "service"}, Metrics: []string{"state"}, Type: timeseries.Gauge, Aggregation: timeseries.Last}
	metric := &timeseries.Schema{Name: "centreon:metric", Step: 60, Tags: []string{"host", "service", "metric"}, Metrics: []string{"value", "warning_low", "warning_high", "critical_low", "critical_high", "min", "max"}, Type: timeseries.Gauge}
	for i, host := range []string{"alpha", "beta"} {
		add(status, func(int64, int) float64 { return 0 }, host, "")
		add(status, func(int64, int) float64 { return float64(2 * i) }, host, "load")
		add(metric, func(_ int64, m int) float64 { return float64(m + i + 1) }, host, "load", "load1")
	}
	definitions := front.NewDefinitions(nil, log)
	counter := func(at int64, metric int) float64 { return float64(at-now+900) * float64(1000*(metric+1)) }
	for name, tags := range map[string][]string{"iface:traffic_rxtx": {"1"}, "iface:packets": {"1"}, "host:traffic": {"1", "10.0.0.1"}} {
		definition := definitions.Lookup(name)
		if definition == nil {
			t.Fatalf("there is no schema %s", name)
		}
		add(definition.Schema, counter, tags...)
	}
	add(grafolean.Schema, func(at int64, _ int) float64 { return float64(at % 7) }, "1", "snmp.router.load")
	if err := s.Append(ctx, points); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// Every expression and every variable of the dashboards has an answer.
func TestGrafanaDashboards(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().Unix()
	storeSamples(t, filepath.Join(dir, "weir-data"), now)
	writeFile(t, dir, "weir.yaml", `http: {listen: "127.0.0.1:0"}
sources: {statsd: [{listen: "tcp://127.0.0.1:0"}], bbdo: [], netflow: []}
statsd: {flush_interval: 1s, management: {listen: ""}}
`)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	weir := &promqlServer{t, "weir", p.http + "/prometheus"}
	connection, err := net.Dial("tcp", p.tcp)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(connection, "api.requests:3|c\napi.requests:4|c|#region:eu\ndb.query:12|ms\ndb.query:20|ms\nqueue:7|g\nusers:anna|s\n")
	connection.Close()
	err = eventually(func() error {
		if weir.question("query", url.Values{"query": {"statsd_set_count and statsd_set_count > 0"}}).values() == 0 {
			return fmt.Errorf("the flush is not stored")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	files, err := filepath.Glob("../examples/grafana/dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	uids := make(map[string]bool)
	expressions := 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			weir := &promqlServer{t, "weir", p.http + "/prometheus"}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var d dashboard
			if err := json.Unmarshal(text, &d); err != nil {
				t.Fatal(err)
			}
			if d.UID == "" || uids[d.UID] || d.Title == "" || d.SchemaVersion < 39 || len(d.Panels) == 0 {
				t.Errorf("uid %q, title %q, schema version %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
			}
			uids[d.UID] = true
			known := []string{"$datasource", "$__rate_interval", "$__interval", "$__range"}
			for _, v := range d.Templating.List {
				if v.Type != "query" {
					continue
				}
				known = append(known, "$"+v.Name)
				var query struct{ Query string }
				if err := json.Unmarshal(v.Query, &query); err != nil {
					t.Fatal(err)
				}
				m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(query.Query)
				if m == nil {
					t.Errorf("variable %s: cannot read %q", v.Name, query.Query)
					continue
				}
				selector := substituted(m[1])
				if answer := weir.ask("label/"+m[2]+"/values", url.Values{"match[]": {selector}}); len(answer) < 5 {
					t.Errorf("variable %s has no values: %s", v.Name, answer)
				}
			}
			taken := make(map[[2]int]string)
			for _, panel := range d.Panels {
				for x := range panel.GridPos.W {
					for y := range panel.GridPos.H {
						at := [2]int{panel.GridPos.X + x, panel.GridPos.Y + y}
						if other := taken[at]; other != "" || at[0] > 23 {
							t.Fatalf("panel %q lies on %q or beside the page", panel.Title, other)
						}
						taken[at] = panel.Title
					}
				}
				if panel.Title == "" || panel.Datasource.UID != "${datasource}" || len(panel.Targets) == 0 {
					t.Errorf("panel %d %q: data source %q, %d targets", panel.ID, panel.Title, panel.Datasource.UID, len(panel.Targets))
				}
				for _, target := range panel.Targets {
					expressions++
					for _, name := range regexp.MustCompile(`\$\w+`).FindAllString(target.Expr, -1) {
						if !strings.Contains(strings.Join(known, " ")+" ", name+" ") {
							t.Errorf("%s: nothing is called %s", panel.Title, name)
						}
					}
					expr := substituted(target.Expr)
					at := time.Now().Unix()
					if target.Instant == target.Range {
						t.Errorf("%s: %s is neither of a time nor of a range", panel.Title, expr)
					}
					answer := promqlResult{}
					if target.Instant {
						answer = weir.question("query", url.Values{"query": {expr}, "time": {fmt.Sprint(at)}})
					} else {
						answer = weir.question("query_range", url.Values{"query": {expr}, "start": {fmt.Sprint(at - 600)}, "end": {fmt.Sprint(at)}, "step": {"15"}})
					}
					if answer.values() == 0 {
						t.Errorf("%s: %s has no answer", panel.Title, expr)
					}
				}
			}
		})
	}
	t.Logf("%d expressions of %d dashboards have answers", expressions, len(files))
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
}

// substituted is an expression as Grafana sends it.
func substituted(expr string) string {
	return regexp.MustCompile(`\$[a-z]\w*`).ReplaceAllString(strings.NewReplacer("$__rate_interval", "1m", "$__interval", "15s", "$__range", "10m").Replace(expr), ".*")
}

// The files that provision Grafana name Weir's address and where the dashboards are.
func TestGrafanaProvisioning(t *testing.T) {
	read := func(name string, into any) {
		text, err := os.ReadFile(filepath.Join("../examples/grafana/provisioning", name))
		if err == nil {
			err = yaml.UnmarshalWithOptions(text, into, yaml.Strict())
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool `yaml:"isDefault"`
			JSONData                     struct {
				HTTPMethod        string `yaml:"httpMethod"`
				PrometheusType    string `yaml:"prometheusType"`
				PrometheusVersion string `yaml:"prometheusVersion"`
				TimeInterval      string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	read("datasources/weir.yaml", &sources)
	if len(sources.Datasources) != 1 || sources.Datasources[0].Type != "prometheus" || sources.Datasources[0].URL != "http://127.0.0.1:8088/prometheus" {
		t.Errorf("got %+v", sources)
	}
	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Folder, Type string
			Options            struct{ Path string }
		}
	}
	read("dashboards/weir.yaml", &providers)
	if len(providers.Providers) != 1 || providers.Providers[0].Type != "file" || providers.Providers[0].Options.Path == "" {
		t.Errorf("got %+v", providers)
	}
}
