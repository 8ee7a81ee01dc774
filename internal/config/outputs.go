package config

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/spool"
	"github.com/weirhq/weir/internal/statsd/influxdb"
	"github.com/weirhq/weir/internal/statsd/opentsdb"
)

// defaultOutputs fills in what backends are that wait on disk until they are delivered.
func (b *Backend) defaultOutputs() {
	b.InfluxDB, b.OpenTSDB.Batch = influxdb.Default(), opentsdb.DefaultBatch
	b.InfluxDB.MaxQueue, b.OpenTSDB.MaxQueue = spool.DefaultMaxBytes, spool.DefaultMaxBytes
	b.HTTP.MaxQueue, b.Events.MaxQueue = spool.DefaultMaxBytes, spool.DefaultMaxBytes
}

// access is how the server of a backend is reached over HTTP, nil when it has none.
func (b *Backend) access() *delivery.Access {
	switch b.Kind {
	case "influxdb":
		return &b.InfluxDB.Server.Access
	case "opentsdb":
		return &b.OpenTSDB.Access
	case "http":
		return &b.HTTP.Access
	}
	return nil
}

// spooledKinds are the backends whose flushes wait on disk until they are delivered.
func spooledKinds(b *Backend) []namedCase {
	i, o, h := &b.InfluxDB, &b.OpenTSDB, &b.HTTP
	name := func(name string, to *string, example, doc string) option {
		return option{name: name, value: text{to: to, check: filled, expand: true}, example: example, doc: doc}
	}
	tags := func(to *map[string]string, doc string) option {
		return option{name: "tags", value: texts{to: to}, example: "{host: web-1}", doc: "Tags of every metric that has none of the same name." + doc}
	}
	prefix := func(to *string, what string) option {
		return option{name: "prefix", value: text{to: to, expand: true}, example: "app.", doc: "What the names of " + what + " begin with."}
	}
	influx := remoteOptions(&i.MaxQueue, &i.Server.Access, "http://127.0.0.1:8086", "",
		name("database", &i.Server.Database, "statsd", "The database of InfluxDB 1.x; made when it is missing."),
		name("bucket", &i.Server.Bucket, "statsd", "The bucket of InfluxDB 2.x, instead of `database`. Needs `organization` and a token."),
		name("organization", &i.Server.Organization, "example", "Who has the bucket."),
		prefix(&i.Prefix, "measurements"), tags(&i.Tags, ""),
		option{name: "type_tag", value: text{to: &i.TypeTag}, example: `""`,
			doc: "The name of a tag that says `counter`, `gauge`, `timer` or `set`; `\"\"` leaves it out, and then metrics of two types with one name are mixed."})
	tsdb := remoteOptions(&o.MaxQueue, &o.Access, "http://127.0.0.1:4242", " Points are sent to `/api/put` below it.",
		prefix(&o.Prefix, "metrics"), tags(&o.Tags, " OpenTSDB takes no point without a tag: one that has none gets `host`, with the name of this machine."),
		option{name: "batch", value: whole{&o.Batch, 1, 10_000},
			doc: "Points in a request. OpenTSDB takes no long ones unless it has `tsd.http.request.enable_chunked`; with that, 1000 are much faster."})
	document := remoteOptions(&h.MaxQueue, &h.Access, "https://metrics.example.net/statsd", " Documents are sent to just this address, with POST.",
		option{name: "headers", value: texts{to: &h.Headers, secret: true}, example: "{X-Api-Key: \"${STORE_SECRET}\"}", doc: "Headers of requests, besides `Content-Type`. `token` makes one `Authorization: Bearer TOKEN`."})
	return []namedCase{
		{name: "influxdb", section: influx, doc: "Writes to InfluxDB, 1.x and 2.x: a measurement for every name. See [outputs](statsd.md#influxdb)."},
		{name: "opentsdb", section: tsdb, doc: "Writes to OpenTSDB over HTTP. See [outputs](statsd.md#opentsdb)."},
		{name: "http", section: document, doc: "Sends flushes to an HTTP server, as documents of JSON. See [outputs](statsd.md#http)."},
		{name: "events", section: section{options: []option{
			{name: "max_queue", value: size64{&b.Events.MaxQueue}, doc: "What may wait on disk, below `data`, while the stream does not take it. What comes when it is full is refused and counted."},
		}}, doc: "Makes events of flushes, for stream connectors. See [outputs](statsd.md#events)."},
	}
}

// checkSpooled finds what is wrong together in backend i.
func (c *Config) checkSpooled(d *decoder, i int, path string) {
	b := &c.StatsD.Backends[i]
	if a := b.access(); a != nil {
		checkAccess(d, path, a)
	}
	switch b.Kind {
	case "influxdb":
		checkInfluxDB(d, path, &b.InfluxDB.Server)
	case "http":
		checkHeaders(d, path, b.HTTP.Headers, b.HTTP.Access)
	case "events":
		if !c.Events.Runs() {
			d.complain(index("statsd.backends", i), `cannot use "events" for `+index("statsd.backends", i)+`: there is no stream of events, because nothing reads one; give connectors an entry, for example {name: metrics, script: metrics.lua}`)
		}
	}
}

// checkHeaders finds headers that no request can have. It does not quote their values.
func checkHeaders(d *decoder, path string, headers map[string]string, access delivery.Access) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at := path + ".headers." + name
		token := strings.IndexFunc(name, func(c rune) bool {
			return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
		}) < 0
		switch {
		case !token:
			d.complain(at, "cannot use "+quote(name)+" for "+path+".headers: it cannot be the name of a header")
		case strings.ContainsFunc(headers[name], func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			d.complain(at, "cannot use the value of "+at+": it holds a line break or another control character")
		case http.CanonicalHeaderKey(name) == "Authorization" && (access.Username != "" || access.Token != (delivery.Secret{})):
			d.complain(at, "cannot use "+at+": username or token is given too; keep one of them")
		case http.CanonicalHeaderKey(name) == "Host" || http.CanonicalHeaderKey(name) == "Content-Length":
			d.complain(at, "cannot use "+at+": it follows from the address and the document")
		}
	}
}

// readBackends sees whether the files of backends can be used now.
func (c *Config) readBackends() (failed Errors) {
	for i := range c.StatsD.Backends {
		b := &c.StatsD.Backends[i]
		if a := b.access(); a != nil {
			failed = append(failed, c.readAccess(index("statsd.backends", i)+"."+b.Kind, a)...)
		}
	}
	return failed
}
