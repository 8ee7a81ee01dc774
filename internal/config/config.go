// Package config is the YAML file of weir run: what it may hold, with types,
// defaults and documentation, and reading it so that a mistake is explained
// where it stands.
//
// Every option is declared once, in options.go, with its documentation, its
// kind of value and an example. Decoding, suggestions for misspelt keys, the
// reference in docs/configuration.md and the comparison of two configurations
// for a reload all come from that declaration; the defaults are those of Default.
package config

import (
	"crypto/tls"
	"log/slog"
	"os"
	"slices"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/bridge"
	"github.com/weirhq/weir/internal/statsd/console"
	"github.com/weirhq/weir/internal/statsd/graphite"
	"github.com/weirhq/weir/internal/statsd/influxdb"
	"github.com/weirhq/weir/internal/statsd/opentsdb"
	"github.com/weirhq/weir/internal/statsd/post"
	"github.com/weirhq/weir/internal/statsd/prometheus"
	"github.com/weirhq/weir/internal/statsd/repeater"
)

// Config is everything weir run is told. Values of it are not changed after Load.
type Config struct {
	Data        string // directory
	Log         Log
	HTTP        HTTP
	StatsD      StatsD
	Timeseries  Timeseries
	Events      Events
	Flows       Flows
	Graphite    []GraphiteSource
	StatsDProxy StatsDProxy
	Groups      Groups
	Monitors    []Monitor
	Inventory   Inventory
	Collectors  []Collector

	Warnings Errors // what is left out of the configuration, and why

	file      string              // where it came from, "" for the defaults
	positions map[string]position // of the options that were given, by path
}

// Log says how to write the log, which goes to standard error.
type Log struct {
	Format string // "text" or "json"
	Level  slog.Level
}

// HTTP is the server of the API, the status page and /metrics.
type HTTP struct {
	Listen    string // host:port
	Token     string // a secret; with TokenFile the content of that file once Load has read it
	TokenFile string
	TLS       TLS
}

// TLS are PEM files; both are empty for plain HTTP.
type TLS struct {
	Cert, Key   string
	Certificate tls.Certificate // read by Load
}

// StatsD is the StatsD server. Listen of the embedded Config is what the file
// has under sources.statsd.
type StatsD struct {
	statsd.Config
	Backends []Backend
	Node     Node
}

// Node says how backends that are modules for Node.js run.
type Node struct {
	Path    string // of the program, or its name
	Config  string // path of a StatsD configuration in JavaScript; "" for none
	Isolate bool   // a process for every backend
}

// Backend is one entry of statsd.backends.
type Backend struct {
	Kind     string // "store", "graphite" and so on; the field of that name counts. Any other is a module for Node.js
	Graphite graphite.Config
	Console  console.Config
	Repeater repeater.Config

	Prometheus prometheus.Config
	InfluxDB   influxdb.Config
	OpenTSDB   opentsdb.Config
	HTTP       post.Config
	Events     bridge.Config
}

// Module reports whether the backend is a module for Node.js.
func (b Backend) Module() bool {
	return !slices.Contains([]string{"store", "graphite", "console", "repeater", "prometheus", "influxdb", "opentsdb", "http", "events"}, b.Kind)
}

// Default is what weir run does without a file.
func Default() *Config {
	server := statsd.DefaultConfig()
	server.MaxTagSets = 100_000          // a tenth of the names, so that no metric takes the room of all others
	server.Management = "127.0.0.1:8126" // the reference daemon lets everybody in
	server.Listen = []statsd.Listen{{Network: "udp", Address: ":8125"}, {Network: "tcp", Address: ":8125"}}
	store := newBackend()
	store.Kind = "store"
	return &Config{
		Data:        "./weir-data",
		Log:         Log{Format: "text", Level: slog.LevelInfo},
		HTTP:        HTTP{Listen: "127.0.0.1:8088"},
		StatsD:      StatsD{Config: server, Backends: []Backend{store}, Node: Node{Path: "node"}},
		Timeseries:  Timeseries{Write: []Driver{newStoreDriver()}, Read: storeDriver, MaxSeries: 5_000_000},
		Events:      defaultEvents(),
		Flows:       defaultFlows(),
		Groups:      defaultGroups(),
		StatsDProxy: defaultStatsDProxy(),
	}
}

func defaultGraphite() graphite.Config {
	return graphite.Config{
		Host: "127.0.0.1", Protocol: "text", Namespace: graphite.DefaultNamespace(),
		Retry: graphite.Retry{Flushes: 60, Bytes: 64 << 20},
	}
}

// Load reads a file, and the files it names: tokens and certificates. The
// error holds every mistake (see Errors).
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, Errors{{File: path, Message: "cannot read the configuration: " + reason(err)}}
	}
	c, err := Parse(path, text)
	if err != nil {
		return nil, err
	}
	if err := c.readFiles(); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse reads the text of a file called name, and touches no other file. The
// error is of type Errors and holds every mistake.
func Parse(name string, text []byte) (*Config, error) {
	c := Default()
	c.file, c.positions = name, make(map[string]position)
	d := &decoder{config: c, lookup: os.LookupEnv}
	d.document(text)
	if len(d.errors) == 0 {
		c.check(d)
	}
	if len(d.errors) > 0 {
		return nil, d.sorted()
	}
	c.StatsD.Debug = c.Log.Level <= slog.LevelDebug
	return c, nil
}

// check finds options that are fine alone and wrong together.
func (c *Config) check(d *decoder) {
	if c.HTTP.Token != "" && c.HTTP.TokenFile != "" {
		d.complain("http.token_file", "cannot use http.token_file: http.token is given too; keep one of them")
	}
	if c.Inventory.Secret != "" && c.Inventory.SecretFile != "" {
		d.complain("inventory.secret_file", "cannot use inventory.secret_file: inventory.secret is given too; keep one of them")
	}
	if c.HTTP.TLS.Cert != "" && c.HTTP.TLS.Key == "" {
		d.complain("http.tls.cert", "cannot use http.tls: cert is given and key is not")
	}
	if c.HTTP.TLS.Key != "" && c.HTTP.TLS.Cert == "" {
		d.complain("http.tls.key", "cannot use http.tls: key is given and cert is not")
	}
	c.checkTimeseries(d)
	c.checkCollectors(d)
	for i, h := range c.StatsD.Histograms {
		if !slices.IsSorted(h.Bins) {
			path := index("statsd.histograms", i) + ".bins"
			d.complain(path, "cannot use "+path+": bins must be in ascending order")
		}
	}
	seen := make(map[statsd.Listen]bool)
	for i, l := range c.StatsD.Listen {
		if l.Lengths && l.Network != "unix" && l.Network != "tcp" {
			path := index("sources.statsd", i) + ".framing"
			d.complain(path, "cannot use "+path+": only streams are cut into packets, and "+listenURL(l)+" is none")
		}
		if l.Mode != 0 && l.Network != "unix" && l.Network != "unixgram" {
			path := index("sources.statsd", i) + ".mode"
			d.complain(path, "cannot use "+path+": only Unix sockets have permissions, and "+listenURL(l)+" is none")
		}
		l.Mode, l.Lengths, l.MaxNames = 0, false, 0
		if seen[l] {
			path := index("sources.statsd", i) + ".listen"
			d.complain(path, "cannot use "+quote(listenURL(l))+" for "+path+": an entry before it is the same")
		}
		seen[l] = true
	}
	c.checkEvents(d)
	c.checkFlows(d)
	c.checkGraphite(d)
	c.checkStatsDProxy(d)
	c.checkOutputs(d)
	only := make(map[string]bool) // kinds that write to one place wherever they are configured
	for i, b := range c.StatsD.Backends {
		path := index("statsd.backends", i)
		switch {
		case b.Kind == "store" && !c.Keeps():
			d.complain(path, `cannot use "store" for `+path+`: timeseries.write names no driver; write one there, for example store`)
		case (b.Kind == "store" || b.Kind == "console" || b.Kind == "prometheus" || b.Kind == "events") && only[b.Kind]:
			d.complain(path, "cannot use "+quote(b.Kind)+" for "+path+": an entry before it is the same")
		}
		only[b.Kind] = true
	}
}
