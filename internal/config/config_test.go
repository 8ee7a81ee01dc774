package config

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/repeater"
)

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("weir.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

// difference compares what configurations say, and not where they say it.
func difference(want, got *Config) string {
	return cmp.Diff(*want, *got, cmp.FilterPath(func(p cmp.Path) bool {
		last := p.Last().String()
		return last == ".file" || last == ".positions"
	}, cmp.Ignore()), cmp.AllowUnexported(Config{}))
}

func TestDefaults(t *testing.T) {
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n", "http:\nstatsd:\n  management:\n", "{}\n"} {
		if diff := difference(Default(), parsed(t, empty)); diff != "" {
			t.Errorf("%q: %s", empty, diff)
		}
	}
}

// Every default can be written as it is documented, and means the same.
func TestDefaultsCanBeWritten(t *testing.T) {
	var lines []string
	for _, o := range root(Default()).options {
		text := o.value.yaml()
		if s, ok := o.value.(section); ok {
			text = given(s)
		}
		lines = append(lines, o.name+": "+text)
	}
	text := strings.Join(lines, "\n")
	if diff := difference(Default(), parsed(t, text)); diff != "" {
		t.Errorf("%s\n%s", text, diff)
	}
}

// given renders what has a value.
func given(s section) string {
	var pairs []string
	for _, o := range s.options {
		text := o.value.yaml()
		if below, ok := o.value.(section); ok {
			text = given(below)
		}
		if text != `""` || o.name == "prefix" {
			if v, ok := o.value.(list[statsd.Listen]); ok {
				text = strings.ReplaceAll(v.yaml(), `, mode: ""`, "")
			}
			pairs = append(pairs, o.name+": "+text)
		}
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

// Every example of the reference is accepted.
func TestExamplesOfOptions(t *testing.T) {
	t.Setenv("WEIR_TOKEN", "secret")
	t.Setenv("NATS_SECRET", "secret")
	t.Setenv("STORE_SECRET", "secret")
	t.Setenv("WEIR_SECRET", "secret")
	var check func(path string, s section)
	try := func(path string, o option) {
		d := &decoder{config: &Config{positions: make(map[string]position)}, lookup: os.LookupEnv}
		file, err := parse([]byte(o.name + ": " + o.example))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		entries, _ := pairs(file.Docs[0].Body)
		d.option(path, o, position{1, 1}, entries[0].Value)
		if len(d.errors) > 0 {
			t.Errorf("%s: %v", path, d.errors)
		}
	}
	check = func(path string, s section) {
		for _, o := range s.options {
			full := join(path, o.name)
			if o.doc == "" || !strings.HasSuffix(o.doc, ".") {
				t.Errorf("%s: the documentation %q is no sentence", full, o.doc)
			}
			if o.example != "" {
				try(full, o)
			} else if o.required {
				t.Errorf("%s: required, and without an example", full)
			}
			for _, p := range (&reference{}).sections(o, path) {
				check(p.path, p.section)
			}
		}
	}
	check("", root(Default()))
}

func TestParse(t *testing.T) {
	t.Setenv("NAME", "here")
	f := func(text string, change func(*Config)) {
		t.Helper()
		want := Default()
		change(want)
		if diff := difference(want, parsed(t, text)); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	f("data: /var/lib/${NAME}/weir", func(c *Config) { c.Data = "/var/lib/here/weir" })
	f("log: {format: json, level: debug}", func(c *Config) { c.Log.Format, c.Log.Level, c.StatsD.Debug = "json", -4, true })
	f("http:\n  listen: '[::1]:80'\n  token: ${NAME}\n", func(c *Config) { c.HTTP.Listen, c.HTTP.Token = "[::1]:80", "here" })
	f("sources: {statsd: []}", func(c *Config) { c.StatsD.Listen = nil })
	f(`
sources:
  statsd:
    - listen: udp://:8125
    - {listen: "udp6://[::1]:0"}
    - {listen: "unix:///tmp/weir.sock", mode: 0660}
    - {listen: "unix:///tmp/b.sock", mode: "777"}
`, func(c *Config) {
		c.StatsD.Listen = []statsd.Listen{{Network: "udp", Address: ":8125"}, {Network: "udp6", Address: "[::1]:0"},
			{Network: "unix", Address: "/tmp/weir.sock", Mode: 0o660}, {Network: "unix", Address: "/tmp/b.sock", Mode: 0o777}}
	})
	f(`
statsd:
  flush_interval: 1m30s
  percentiles: [50, -10, 99.9]
  histograms:
    - {metric: "", bins: [1, 2.5, 1e3, inf]}
  timer_metrics: [count, upper_percent]
  delete_gauges: true
  gauge_ttl: 3
  prefix: ""
  max_names: 0
  key_flush: {interval: 1s, percent: 10, path: keys.log}
  management: {listen: ""}
`, func(c *Config) {
		s := &c.StatsD
		s.FlushInterval, s.Percentiles = 90*time.Second, []float64{50, -10, 99.9}
		s.Histograms = []statsd.Histogram{{Bins: []float64{1, 2.5, 1000, math.Inf(1)}}}
		s.TimerMetrics, s.DeleteGauges, s.GaugeTTL, s.Prefix, s.MaxNames = []string{"count", "upper_percent"}, true, 3, "", 0
		s.KeyFlush = statsd.KeyFlush{Interval: time.Second, Percent: 10, Path: "keys.log"}
		s.Management = ""
	})
	f(`
statsd:
  backends:
    - store
    - graphite
    - graphite: {host: "${NAME}.example.net", port: 1, protocol: pickle, legacy_namespace: false, global_suffix: x, retry: {flushes: 3, size: 1MiB}}
    - console: {pretty: true}
    - repeater: {targets: ["192.0.2.1:8125", "[::1]:8125"], protocol: tcp}
`, func(c *Config) {
		all := make([]Backend, 5)
		for i, kind := range []string{"store", "graphite", "graphite", "console", "repeater"} {
			all[i] = newBackend()
			all[i].Kind = kind
		}
		g := &all[2].Graphite
		g.Host, g.Port, g.Protocol, g.Namespace.Legacy, g.Namespace.GlobalSuffix = "here.example.net", 1, "pickle", false, "x"
		g.Retry.Flushes, g.Retry.Bytes = 3, 1<<20
		all[3].Console.Pretty = true
		all[4].Repeater = repeater.Config{Targets: []string{"192.0.2.1:8125", "[::1]:8125"}, Protocol: "tcp"}
		c.StatsD.Backends = all
	})
	f("timeseries: {write: [], retention: 2w3d12h, max_series: 7}\nstatsd: {backends: [console]}", func(c *Config) {
		c.Timeseries.Write, c.Timeseries.Read, c.Timeseries.Retention, c.Timeseries.MaxSeries = nil, "", (17*24+12)*time.Hour, 7
		console := newBackend()
		console.Kind = "console"
		c.StatsD.Backends = []Backend{console}
	})
	f("timeseries: {rollups: [{step: 10m, keep: 90d}, {step: 1d, keep: 1000d}], schemas: [{name: a:b, step: 1m, metrics: [v], retention: 2d}]}", func(c *Config) {
		c.Timeseries.Rollups = []Rollup{{10 * time.Minute, 90 * 24 * time.Hour}, {24 * time.Hour, 1000 * 24 * time.Hour}}
		s := newSchema()
		s.Name, s.Step, s.Metrics, s.Retention = "a:b", time.Minute, []string{"v"}, 48*time.Hour
		c.Timeseries.Schemas = []Schema{s}
	})
	f("timeseries: {retention: 36500d}", func(c *Config) { c.Timeseries.Retention = 36500 * 24 * time.Hour }) // the longest
	// Anchors.
	f("statsd: &s {percentiles: &p [50]}\n", func(c *Config) { c.StatsD.Percentiles = []float64{50} })
	f("sources: {statsd: [&a {listen: &u 'udp://:1'}]}\nlog: {level: &l error, format: json}\n", func(c *Config) {
		c.StatsD.Listen, c.Log = []statsd.Listen{{Network: "udp", Address: ":1"}}, Log{"json", 8}
	})
}

func TestChanges(t *testing.T) {
	f := func(from, to string, want ...Change) {
		t.Helper()
		if diff := cmp.Diff(want, Changes(parsed(t, from), parsed(t, to))); diff != "" {
			t.Errorf("%s\n%s\n%s", from, to, diff)
		}
	}
	f("", "")
	f("http: {token: a}", "http: {token: b}", Change{"http.token", true})
	f("", "data: /x\nlog: {level: error}\nstatsd: {delete_sets: true, backends: [graphite: {host: x}]}",
		Change{"data", false}, Change{"log.level", true}, Change{"statsd.backends", false}, Change{"statsd.delete_sets", true})
	f("connectors: [{name: a, script: b.lua}]", "connectors: [{name: a, script: c.lua}]", Change{"connectors", true})
	f("sources: {statsd: [{listen: 'udp://:1'}]}", "sources: {statsd: [{listen: 'udp://:2'}]}", Change{"sources.statsd", false})
}

// The page in docs is the declarations, and the example file works.
func TestReference(t *testing.T) {
	const path = "../../docs/configuration.md"
	want := Reference()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("write it again with UPDATE=1 go test ./internal/config: %s", diff)
	}
}

func TestExampleFile(t *testing.T) {
	if _, err := Load("../../examples/weir.yaml"); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"statsd: {backends: [store, graphite: {host: x, retry: {size: 1MiB}}], flush_interval: 10s}\n",
		"sources:\n  statsd:\n    - listen: udp://:8125\n    - {listen: \"unix:///x\", mode: 0660}\n",
		"a: &a [*a]\nlog: {level: warn}\nhttp: {token: ${X}}\n", "- 1\n", "statsd:\n  histograms: [{metric: a, bins: [1, .inf]}]\n", "? [a]\n: b\n", "{", "<<: 1\n---\nb: |\n c\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("weir.yaml", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("a configuration %v with the error %v", c, err)
		}
		if err == nil {
			Changes(Default(), c)
			return
		}
		for _, e := range err.(Errors) {
			if strings.ContainsAny(e.Error(), "\n\r") || e.Line < 0 || e.Line > 0 && e.Column < 1 {
				t.Fatalf("not one line with a place: %+v", e)
			}
		}
	})
}
