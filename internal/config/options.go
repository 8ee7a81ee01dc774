package config

import (
	"math"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/repeater"
)

// root declares every option, with c as the place where values go.
func root(c *Config) section {
	return section{
		options: []option{
			{name: "data", value: text{to: &c.Data, what: "a directory", check: filled, expand: true},
				doc: "Where the store keeps its files. It is made when it is missing; relative to the directory Weir is started in."},
			{name: "log", value: logSection(&c.Log), doc: "The log, on standard error."},
			{name: "http", value: httpSection(&c.HTTP), doc: "The HTTP API, the status page and `/metrics`."},
			{name: "sources", value: sourcesSection(c), doc: "What takes data in."},
			{name: "statsd", value: statsdSection(&c.StatsD), doc: "What happens to StatsD metrics."},
			{name: "statsd_proxy", value: statsdProxySection(&c.StatsDProxy), doc: "Spreads StatsD lines over other daemons, each name always to the same one, with the placement of StatsD's cluster proxy. See [StatsD](statsd.md#the-cluster-proxy)."},
			{name: "timeseries", value: timeseriesSection(&c.Timeseries), doc: "Where series live."},
			{name: "stream", value: streamSection(&c.Events.Stream), doc: "Where events are kept until every connector has them. It is started when `sources.bbdo` or `connectors` has an entry."},
			{name: "connectors", value: connectorList(&c.Events.Connectors), reload: true, doc: "Centreon stream connectors: scripts that get events, each in a process of its own. A reload also takes scripts whose files have changed. See [connectors](connectors.md)."},
			{name: "broker", value: brokerSection(&c.Events.Broker), doc: "What a central broker knows, and scripts ask for."},
			{name: "flows", value: flowsSection(&c.Flows), doc: "How flow records are counted. See [flows](flows.md)."},
			{name: "counter_groups", value: groupsSection(&c.Groups), doc: "Counter groups: for every host, application, interface and so on what its meters counted, in windows. See [monitors](monitors.md)."},
			{name: "monitors", value: monitorList(&c.Monitors), reload: true, doc: "Trisul monitor scripts, which watch and change what counter groups hold. See [monitors](monitors.md)."},
			{name: "collectors", value: collectorList(&c.Collectors), example: "[http: {targets: [{url: https://www.example.org/}]}]", doc: "Bots, which poll. See [collectors](collectors.md)."},
			{name: "inventory", value: inventorySection(&c.Inventory), doc: "Accounts with their entities, credentials and sensors, and the bots and persons that use the REST API under `/api`. See [inventory](inventory.md)."},
		},
		later: []string{"script"},
	}
}

func logSection(l *Log) section {
	return section{options: []option{
		{name: "format", value: choice{&l.Format, []string{"text", "json"}}, doc: "`key=value` lines, or one JSON object per line."},
		{name: "level", value: level{&l.Level}, reload: true, doc: "The least important messages that are written."},
	}}
}

func httpSection(h *HTTP) section {
	return section{options: []option{
		{name: "listen", value: text{to: &h.Listen, what: "an address `HOST:PORT`", check: hostPort},
			doc: "Everybody who reaches this address can ask, so it is the local machine unless you say otherwise; set a token then."},
		{name: "token", value: text{to: &h.Token, check: filled, expand: true, secret: true}, reload: true, example: "${WEIR_TOKEN}",
			doc: "A secret that callers must show, as `Authorization: Bearer TOKEN` or as the password of basic authentication. `/-/healthy` and `/-/ready` stay open."},
		{name: "token_file", value: text{to: &h.TokenFile, what: "a file", check: filled}, reload: true, example: "/etc/weir/token",
			doc: "A file with the token, instead of `token`. White space around it is left out. Read again on SIGHUP."},
		{name: "tls", value: section{options: []option{
			{name: "cert", value: text{to: &h.TLS.Cert, what: "a PEM file", check: filled}, reload: true, example: "/etc/weir/cert.pem",
				doc: "The certificate, and those that lead to its root. Read again on SIGHUP."},
			{name: "key", value: text{to: &h.TLS.Key, what: "a PEM file", check: filled}, reload: true, example: "/etc/weir/key.pem",
				doc: "The key of the certificate."},
		}}, doc: "HTTPS instead of HTTP. Whether it is HTTP or HTTPS changes only with a restart."},
	}}
}

func sourcesSection(c *Config) section {
	s := &c.StatsD
	return section{
		options: []option{
			{name: "statsd", value: list[statsd.Listen]{to: &s.Listen, what: "sockets", entry: func(l *statsd.Listen) value {
				return section{options: []option{
					{name: "listen", value: listen{l}, required: true, example: `"udp://:8125"`,
						doc: "Where StatsD lines arrive. Without a host it is every address of the machine, IPv4 and IPv6."},
					{name: "mode", value: mode{&l.Mode}, example: "0660",
						doc: "Permissions of a Unix socket. When not given, they are what the umask leaves."},
					{name: "max_names", value: whole{&l.MaxNames, 0, math.MaxInt32}, example: "10000",
						doc: "How many of the names that are held may have come here first. Values of further ones are added up in the metrics `overflow;source=...`, and the socket is named in the log, at `/metrics` and by `weir doctor`; see [Cardinality](statsd.md#cardinality). `0` means no limit."},
					{name: "framing", value: framing{&l.Lengths},
						doc: "How a stream is cut into packets: into lines, or each with its length before it, four bytes, little endian, as DogStatsD's clients do on a Unix stream."},
				}}
			}}, doc: "Sockets on which StatsD lines arrive; an empty list turns StatsD off.", example: `[{listen: "udp://:8125"}, {listen: "unix:///run/weir.sock", mode: 0660}]`},
			{name: "bbdo", value: bbdoSources(&c.Events.BBDO), example: `[{listen: "tcp://:5669"}]`,
				doc: "Connections with Centreon pollers; none unless given."},
			{name: "netflow", value: flowSources(&c.Flows.Listen), example: `[{listen: "udp://:2055"}, {listen: "udp://:6343"}]`,
				doc: "Sockets on which NetFlow v5 and v9, IPFIX and sFlow v5 arrive; none unless given."},
			{name: "graphite", value: graphiteSources(&c.Graphite), example: `[{listen: "tcp://:2003"}, {listen: "udp://:2003"}]`,
				doc: "Sockets on which lines of Graphite's plaintext protocol arrive; none unless given. What writes with InfluxDB's or Prometheus' protocol writes to `http.listen`. See [timeseries](timeseries.md)."},
		},
	}
}

func statsdSection(s *StatsD) section {
	return section{options: append([]option{
		{name: "flush_interval", value: duration{to: &s.FlushInterval, least: 100 * time.Millisecond, max: 24 * time.Hour},
			doc: "How long metrics are added up before they go to the backends. The store keeps one point per whole second at most."},
		{name: "backends", value: list[Backend]{to: &s.Backends, fresh: newBackend(), entry: backendValue, what: "backends"},
			doc: "Where flushes go, in this order: a name, or a name with options. A path such as `./mine.js` and the name of an npm package such as `statsd-influxdb-backend` are StatsD backends for Node.js, which run as they are: see [Node backends](statsd.md#node-backends).", example: "[store, graphite: {host: graphite.example.net}, ./mine.js]"},
		{name: "node", value: section{options: []option{
			{name: "path", value: text{to: &s.Node.Path, what: "a program", check: filled, expand: true}, doc: "The program: a path, or a name to be found on `PATH`. It is started only when there is a backend for it."},
			{name: "config", value: text{to: &s.Node.Config, expand: true}, example: "/etc/statsd/config.js",
				doc: "The configuration that backends are handed, a StatsD file in JavaScript; without one it is what `statsd` here says. Its directory is also looked in for modules."},
			{name: "isolate", value: flag{&s.Node.Isolate}, doc: "Give every backend a process of its own. Otherwise they share one, and one that ends it ends it for all; they are loaded again in a new one."},
		}}, doc: "How backends for Node.js run."},
		{name: "percentiles", value: list[float64]{to: &s.Percentiles, what: "percentages", entry: func(f *float64) value {
			return number{f, "a percentage from -100 to 100", percentage}
		}}, doc: "Percentiles of timers. Negative ones look at the largest values.", example: "[50, 90, 99.9, -10]"},
		{name: "histograms", value: list[statsd.Histogram]{to: &s.Histograms, what: "histograms", entry: func(h *statsd.Histogram) value {
			return section{options: []option{
				{name: "metric", value: text{to: &h.Metric}, required: true, example: "api.", doc: "Timers whose name contains this text; `\"\"` is all timers. The first entry that fits counts."},
				{name: "bins", value: list[float64]{to: &h.Bins, what: "numbers", entry: func(f *float64) value {
					return number{f, "a number, or inf", func(float64) (string, string) { return "", "" }}
				}}, doc: "Upper bounds, ascending and exclusive; `inf` takes the rest. An empty list means no histogram.", example: "[10, 100, 1000, inf]"},
			}}
		}}, reload: true, doc: "Frequencies of timers.", example: "[{metric: api., bins: [10, 100, 1000, inf]}]"},
		{name: "timer_metrics", value: list[string]{to: &s.TimerMetrics, what: "fields", entry: func(field *string) value {
			return choice{field, timerFields}
		}}, reload: true, doc: "The fields of timers to keep; an empty list keeps all. Those of percentiles are named once for all: `upper_percent` is `upper_90` and `upper_top10` alike.", example: "[count, mean, upper_percent]"},
		{name: "delete_counters", value: flag{&s.DeleteCounters}, reload: true, doc: "Forget counters after a flush in which nothing arrived, instead of sending 0 for ever."},
		{name: "delete_timers", value: flag{&s.DeleteTimers}, reload: true, doc: "The same for timers."},
		{name: "delete_sets", value: flag{&s.DeleteSets}, reload: true, doc: "The same for sets."},
		{name: "delete_gauges", value: flag{&s.DeleteGauges}, reload: true, doc: "Forget gauges after `gauge_ttl` flushes in which nothing arrived, instead of sending the last value for ever."},
		{name: "gauge_ttl", value: whole{&s.GaugeTTL, 1, math.MaxInt32}, reload: true, doc: "How many flushes a gauge is sent after its last value, with `delete_gauges`."},
		{name: "prefix", value: text{to: &s.Prefix}, reload: true, doc: "What the names of Weir's own StatsD metrics begin with."},
		{name: "sanitize", value: flag{&s.Sanitize}, doc: "Replace characters of names that Graphite cannot take: white space becomes `_`, `/` becomes `-`, others go."},
		{name: "max_names", value: whole{&s.MaxNames, 0, math.MaxInt32}, reload: true,
			doc: "How many names are held at once. Values of further names are dropped, counted, and one of them is named in the log. 0 means no limit."},
		{name: "max_tag_sets", value: whole{&s.MaxTagSets, 0, math.MaxInt32}, reload: true,
			doc: "How many sets of tags one metric has at once, for each kind. Values of further ones are added up under its name with the tag `overflow=true`, counted, and the metric is named in the log, at `/metrics` and by `weir doctor`. 0 means no limit. See [cardinality](statsd.md#cardinality)."},
		{name: "readers", value: whole{&s.Readers, 0, 256},
			doc: "How many goroutines receive on each UDP address; 0 means one per processor. With 1, flushes list names in the order in which they arrived first."},
		{name: "dump_messages", value: flag{&s.DumpMessages}, doc: "Log every line that arrives."},
		{name: "key_flush", value: section{options: []option{
			{name: "interval", value: duration{to: &s.KeyFlush.Interval, least: 100 * time.Millisecond, max: 24 * time.Hour, off: "never"}, doc: "How often."},
			{name: "percent", value: number{&s.KeyFlush.Percent, "a percentage above 0, up to 100", func(f float64) (string, string) {
				if f > 0 && f <= 100 {
					return "", ""
				}
				return "it must be above 0 and at most 100", "100"
			}}, doc: "How many of the names are listed."},
			{name: "path", value: text{to: &s.KeyFlush.Path}, doc: "The file the list is appended to; `\"\"` is standard output.", example: "/var/log/weir/keys.log"},
		}}, doc: "Lists the names that arrive most often."},
		{name: "management", value: section{options: []option{
			{name: "listen", value: text{to: &s.Management, what: "an address `HOST:PORT`, or `\"\"` for none", check: hostPortOrNone},
				doc: "Whoever reaches this address can look at metrics and delete them."},
		}}, doc: "StatsD's management console: `stats`, `counters`, `delcounters`, `health` and others over TCP."},
	}, dialectOptions(&s.Config)...)}
}

// timerFields are what Config.TimerMetrics may name.
var timerFields = []string{
	"std", "upper", "lower", "count", "count_ps", "sum", "sum_squares", "mean", "median", "histogram",
	"count_percent", "mean_percent", "upper_percent", "lower_percent", "sum_percent", "sum_squares_percent",
}

func newBackend() Backend {
	b := Backend{Graphite: defaultGraphite(), Repeater: repeater.Config{Protocol: "udp4"}, Prometheus: defaultScrape()}
	b.defaultOutputs()
	return b
}

func backendValue(b *Backend) value {
	g := &b.Graphite
	prefix := func(name string, to *string, doc string) option {
		return option{name: name, value: text{to: to, expand: true}, doc: doc}
	}
	return named{to: &b.Kind, what: "a backend", later: func(string) string { return "" }, other: module, cases: append([]namedCase{
		{name: "store", doc: "Writes to the timeseries store, where `weir query` and the HTTP API find it: schemas `statsd:counter`, `statsd:gauge`, `statsd:timer`, `statsd:histogram` and `statsd:set`."},
		{name: "graphite", doc: "Sends to a Graphite server, one connection per flush.", section: section{options: []option{
			{name: "host", value: text{to: &g.Host, what: "a host name or an IP address", check: host, expand: true}, doc: "Where the server is.", example: "graphite.example.net"},
			{name: "port", value: whole{&g.Port, 0, 65535}, doc: "Its port; 0 means 2003, or 2004 for `pickle`."},
			{name: "protocol", value: choice{&g.Protocol, []string{"text", "pickle"}}, doc: "Lines of text, or Python pickles."},
			{name: "flush_counts", value: flag{&g.Namespace.FlushCounts}, doc: "Send the counts of counters besides their rates."},
			{name: "legacy_namespace", value: flag{&g.Namespace.Legacy}, doc: "Names as StatsD makes them by default, such as `stats.NAME` and `stats_counts.NAME`; with `false` the prefixes below count."},
			prefix("global_prefix", &g.Namespace.GlobalPrefix, "First element of every name. `\"\"` leaves it out, here and below."),
			prefix("prefix_counter", &g.Namespace.PrefixCounter, "Second element of counters."),
			prefix("prefix_timer", &g.Namespace.PrefixTimer, "Second element of timers."),
			prefix("prefix_gauge", &g.Namespace.PrefixGauge, "Second element of gauges."),
			prefix("prefix_set", &g.Namespace.PrefixSet, "Second element of sets."),
			prefix("global_suffix", &g.Namespace.GlobalSuffix, "Last element of every name, in both namespaces."),
			{name: "retry", value: section{options: []option{
				{name: "flushes", value: whole{&g.Retry.Flushes, 0, 100_000}, doc: "How many; 0 keeps none, as StatsD does."},
				{name: "size", value: size{&g.Retry.Bytes}, doc: "How much memory they may take; `0B` means no such limit."},
			}}, doc: "Flushes that could not be delivered are kept and sent later, oldest first. The limit that is reached first counts; what is dropped then is counted."},
		}}},
		{name: "console", doc: "Prints every flush on standard output, as StatsD's console backend does.", section: section{options: []option{
			{name: "pretty", value: flag{&b.Console.Pretty}, doc: "Show more levels, in colours."},
		}}},
		{name: "repeater", doc: "Sends every packet on as it came, to other StatsD servers.", section: section{options: []option{
			{name: "targets", value: list[string]{to: &b.Repeater.Targets, what: "addresses `HOST:PORT`", some: true, entry: func(target *string) value {
				return text{to: target, what: "an address `HOST:PORT`", check: hostPort, expand: true}
			}}, required: true, doc: "Where to.", example: `["192.0.2.1:8125"]`},
			{name: "protocol", value: choice{&b.Repeater.Protocol, []string{"udp4", "udp6", "tcp"}}, doc: "How."},
		}}},
	}, outputKinds(b)...)}
}

// module reports whether name is that of a Node module rather than a mistyped backend: a path, or a package.
func module(name string) bool {
	return strings.HasSuffix(name, ".js") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || strings.HasPrefix(name, "/") ||
		strings.HasPrefix(name, "@") || strings.Contains(name, "statsd") || strings.HasSuffix(name, "-backend")
}
