package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/statsd"
)

// Events is the event path: what takes events in, keeps them, and hands them to scripts.
type Events struct {
	BBDO       []BBDO
	Stream     Stream
	Connectors []Connector
}

// BBDO is one entry of sources.bbdo. Either Listen or Connect is given.
type BBDO struct {
	Listen      statsd.Listen
	Connect     statsd.Listen // where a poller listens
	bbdo.Config               // without Name, Address, Identity and Version
	Version     string        // "" for any
	Synthesize  bool          // make the storage events that pollers do not send
}

// Connects reports whether Weir opens the connection.
func (b *BBDO) Connects() bool { return b.Connect.Address != "" }

// Connector is one entry of connectors.
type Connector struct {
	connector.Setup
	Files  []File // parameters whose value is in a file
	Memory int    // bytes of the process
	Errors int    // in a minute
}

// File is a parameter of Setup whose value Load reads from a file.
type File struct {
	Index int // in Parameters
	Path  string
}

// Runs reports whether anything of the event path is configured.
func (e *Events) Runs() bool { return len(e.BBDO) > 0 || len(e.Connectors) > 0 }

func defaultEvents() Events {
	return Events{Stream: defaultStream()}
}

func newConnector() Connector {
	return Connector{
		Setup:  connector.Setup{BBDO: connector.Versions[0], Queue: 10_000, Call: 30 * time.Second},
		Memory: 1 << 30, Errors: 1000,
	}
}

func bbdoSources(to *[]BBDO) list[BBDO] {
	fresh := BBDO{Config: bbdo.DefaultConfig(), Synthesize: true}
	fresh.Compression = true
	return list[BBDO]{to: to, what: "connections", fresh: fresh, entry: func(b *BBDO) value {
		return section{options: []option{
			{name: "listen", value: tcp{to: &b.Listen}, example: `"tcp://:5669"`,
				doc: "Where pollers connect to, as to a central broker. Pollers of version 2 and 3 may share it. Each entry needs either this or `connect`."},
			{name: "connect", value: tcp{to: &b.Connect, remote: true}, example: `"tcp://lyon.example.net:5669"`,
				doc: "Where a poller listens (\"one peer retention\" in Centreon): Weir connects, and connects again when the connection has ended. Events and acknowledgements are the same as with `listen`."},
			{name: "bbdo_version", value: choice{&b.Version, []string{"", "3.0.1", "3.0.0", "2.0.0"}}, example: "2.0.0",
				doc: "With `connect`, the version that the poller is configured with; `\"\"` is 3.0.1. With `listen`, pollers of another major version are refused; `\"\"` takes all."},
			{name: "compression", value: flag{&b.Compression}, doc: "Compress when the poller offers it too."},
			{name: "ack_limit", value: whole{&b.AckLimit, 1, math.MaxInt32}, doc: "After how many durable events the poller gets an acknowledgement, at the latest after 5 s."},
			{name: "max_event", value: size{&b.MaxEvent}, doc: "The largest event; the connection of a poller that sends a larger one is closed. At most 64MiB."},
			{name: "retry_interval", value: duration{to: &b.RetryInterval, least: 100 * time.Millisecond, max: 24 * time.Hour}, doc: "How long to wait before connecting again, with `connect`."},
			{name: "keepalive_interval", value: duration{to: &b.KeepaliveInterval, least: time.Second, max: 24 * time.Hour}, doc: "How long a connection may be idle before TCP probes it, and the time between two probes."},
			{name: "keepalive_count", value: whole{&b.KeepaliveCount, 1, 100}, doc: "How many probes without an answer end a connection."},
			{name: "tls", value: section{options: []option{
				{name: "mode", value: choice{(*string)(&b.TLS.Mode), []string{string(bbdo.TLSOff), string(bbdo.TLSOffered), string(bbdo.TLSRequired), string(bbdo.TLSLayer)}},
					example: "required", doc: "`offered` uses TLS when the poller offers it too, `required` refuses pollers that do not, `layer` begins with TLS before anything else; `\"\"` is no TLS."},
				{name: "cert", value: text{to: &b.TLS.Cert, what: "a PEM file", check: filled}, example: "/etc/weir/cert.pem", doc: "The certificate of this side, needed with `listen`. The side that accepts must have one: the anonymous TLS of Centreon without certificates is not supported, so with `connect` the poller needs one."},
				{name: "key", value: text{to: &b.TLS.Key, what: "a PEM file", check: filled}, example: "/etc/weir/key.pem", doc: "The key of the certificate."},
				{name: "ca", value: text{to: &b.TLS.CA, what: "a PEM file", check: filled}, example: "/etc/weir/ca.pem", doc: "Certificates that those of pollers are checked against. With `connect` it is the system's ones when not given."},
				{name: "hostname", value: text{to: &b.TLS.Hostname, what: "a name", check: host}, example: "lyon.example.net", doc: "The name the poller's certificate must have, with `connect`, when it is not the host there."},
				{name: "client_cert", value: flag{&b.TLS.RequireClientCert}, doc: "Refuse pollers without a certificate, with `listen`."},
			}}, doc: "TLS between pollers and Weir."},
			{name: "synthesize", value: flag{&b.Synthesize},
				doc: "Make the metric and status events that pollers do not send from performance data. Set it to false behind a central broker, which sends them."},
		}}
	}}
}

func connectorList(to *[]Connector) list[Connector] {
	return list[Connector]{to: to, what: "connectors", fresh: newConnector(), entry: func(c *Connector) value {
		return section{options: []option{
			{name: "name", value: text{to: &c.Name, what: "a name of letters, digits, `-`, `_` and `.`", check: connectorName}, required: true, example: "influx",
				doc: "Its position in the stream is kept under this name: a connector with a new name begins with the events that arrive from then on."},
			{name: "script", value: text{to: &c.Script, what: "a file", check: filled, expand: true}, required: true, example: "/usr/share/centreon-broker/lua/influxdb.lua", doc: "The stream connector, a Lua script."},
			{name: "parameters", value: parameters{c}, example: `{http_server_port: 8086, influx_password: {file: /etc/weir/influx}}`,
				doc: "What the script's `init` gets. With `{file: PATH}` the value is the content of a file, so that secrets need not be here."},
			{name: "categories", value: list[string]{to: &c.Categories, what: "categories", entry: func(name *string) value { return text{to: name, check: filled} }}, example: "[neb, storage:pb_metric]",
				doc: "Which events the script gets: categories, or `category:event`. An empty list means all. The broker cache learns from all events."},
			{name: "bbdo_version", value: choice{&c.BBDO, connector.Versions}, doc: "The generation of events the script gets, whatever pollers send, and what `broker.bbdo_version()` returns. Scripts that look for elements 14 and 24 need `2.0.0`."},
			{name: "queue_size", value: whole{&c.Queue, 1, 10_000_000}, doc: "How many events the script may have got and not acknowledged. Further ones wait on disk."},
			{name: "call_timeout", value: duration{to: &c.Call, least: 100 * time.Millisecond, max: 24 * time.Hour},
				doc: "How long a call of the script may take before an error is raised in it. Where that is impossible the process is killed after twice the time and ten seconds, and the events come again."},
			{name: "memory", value: size{&c.Memory}, doc: "How much memory the script's process may take before it is started again; `0B` means no limit."},
			{name: "errors", value: whole{&c.Errors, 0, math.MaxInt32}, doc: "How many errors the script may raise in a minute before it is started again; 0 means no limit."},
		}}
	}}
}

var connectorNames = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func connectorName(s string) (reason, suggestion string) {
	if !connectorNames.MatchString(s) || strings.Trim(s, ".") == "" {
		return "it must be 1 to 64 letters, digits, -, _ or .", ""
	}
	return "", ""
}

// checkEvents finds options of the event path that are wrong together.
func (c *Config) checkEvents(d *decoder) {
	c.checkStream(d)
	seen := make(map[string]bool)
	for i, s := range c.Events.Connectors {
		if seen[s.Name] {
			path := index("connectors", i) + ".name"
			d.complain(path, "cannot use "+quote(s.Name)+" for "+path+": a connector before it has this name")
		}
		seen[s.Name] = true
	}
	sockets := make(map[statsd.Listen]bool)
	for i, b := range c.Events.BBDO {
		path, name, address := index("sources.bbdo", i), "listen", b.Listen
		others := []string{"retry_interval", "tls.hostname"} // options of the other kind of entry
		if b.Connects() {
			name, address, others = "connect", b.Connect, []string{"tls.client_cert"}
		}
		switch {
		case address.Address == "":
			d.complain(path, "cannot use "+path+" without the key listen (pollers connect to Weir) or connect (Weir connects to a poller)")
			continue
		case b.Connects() && b.Listen.Address != "":
			d.complain(path+".connect", "cannot use "+path+".connect: listen is given too; make it an entry of its own")
		case sockets[address]:
			d.complain(path+"."+name, "cannot use "+quote(listenURL(address))+" for "+path+"."+name+": an entry before it is the same")
		}
		sockets[address] = true
		for _, other := range others {
			if _, given := c.positions[path+"."+other]; given {
				d.complain(path+"."+other, "cannot use "+path+"."+other+" in an entry with "+name+": it has no effect there")
			}
		}
		if b.MaxEvent < 1<<16 || b.MaxEvent > event.MaxPayload {
			d.complain(path+".max_event", "cannot use "+path+".max_event: it must be 64KiB to 64MiB")
		}
		if (b.TLS.Cert == "") != (b.TLS.Key == "") {
			d.complain(path+".tls", "cannot use "+path+".tls with only one of cert and key")
		} else if b.TLS.Mode != bbdo.TLSOff && !b.Connects() && b.TLS.Cert == "" {
			d.complain(path+".tls.mode", "cannot use "+path+".tls without cert and key: the side that accepts connections needs them")
		}
	}
}

// readParameters reads the files of parameters.
func (c *Config) readParameters() (failed Errors) {
	for i := range c.Events.Connectors {
		s := &c.Events.Connectors[i]
		for _, f := range s.Files {
			secret, err := readToken(f.Path)
			if err != nil {
				path := index("connectors", i) + ".parameters." + s.Parameters[f.Index].Name
				failed = append(failed, c.Fail(path, fmt.Errorf("cannot use %s for %s: %s", quote(f.Path), path, reason(err))))
			}
			s.Parameters[f.Index].Text = secret
		}
	}
	return failed
}

// parameters are the table a connector's init gets.
type parameters struct{ to *Connector }

func (parameters) kind() string {
	return "a mapping of names to text, numbers or `{file: PATH}`, `${NAME}` for variables of the environment"
}

func (v parameters) yaml() string {
	files := make(map[int]string)
	for _, f := range v.to.Files {
		files[f.Index] = f.Path
	}
	pairs := make([]string, len(v.to.Parameters))
	for i, p := range v.to.Parameters {
		switch path, ok := files[i]; {
		case ok:
			pairs[i] = quoted(p.Name) + ": {file: " + quoted(path) + "}"
		case p.Numeric:
			pairs[i] = quoted(p.Name) + ": " + strconv.FormatFloat(p.Number, 'f', -1, 64)
		default:
			pairs[i] = quoted(p.Name) + ": " + strconv.Quote(p.Text)
		}
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

func (v parameters) decode(d *decoder, path string, n ast.Node) {
	entries, ok := pairs(n)
	if !ok {
		d.refuse(n, path, "it must be a mapping of names to values, not "+what(n), "")
		return
	}
	for _, entry := range entries {
		name := source(entry.Key)
		full := join(path, name)
		d.config.positions[full] = place(entry.Key)
		if name == "" || slices.ContainsFunc(v.to.Parameters, func(p connector.Parameter) bool { return p.Name == name }) {
			d.at(place(entry.Key), fmt.Sprintf("cannot use the parameter %s of %s: it is empty or given twice", quote(name), path))
			continue
		}
		p := connector.Parameter{Name: name}
		switch value := d.resolve(entry.Value).(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			p.Number, p.Numeric = numberOf(value)
		case *ast.MappingNode, *ast.MappingValueNode:
			file := ""
			section{options: []option{{name: "file", value: text{to: &file, what: "a file", check: filled}, required: true, example: "/etc/weir/secret"}}}.decode(d, full, value)
			v.to.Files = append(v.to.Files, File{len(v.to.Parameters), file})
		case *ast.BoolNode:
			number := "0"
			if value.Value {
				number = "1"
			}
			d.refuse(value, full, "scripts take text and numbers only", number)
			continue
		default:
			text{to: &p.Text, expand: true, secret: true}.decode(d, full, value)
		}
		v.to.Parameters = append(v.to.Parameters, p)
	}
}

// tcp is the URL of a TCP socket, here or, where a host is needed, at a peer.
type tcp struct {
	to     *statsd.Listen
	remote bool
}

func (tcp) kind() string   { return "`tcp://HOST:PORT`" }
func (v tcp) yaml() string { return listen{v.to}.yaml() }

func (v tcp) decode(d *decoder, path string, n ast.Node) {
	if s, ok := stringOf(n); ok && !strings.Contains(s, "://") {
		if reason, _ := hostPort(s); reason == "" {
			d.refuse(n, path, "it must be tcp://HOST:PORT", strconv.Quote("tcp://"+s))
			return
		}
	}
	before := len(d.errors)
	listen{v.to}.decode(d, path, n)
	switch {
	case len(d.errors) > before:
	case v.to.Network != "tcp":
		d.refuse(n, path, "it must be tcp://HOST:PORT", strconv.Quote("tcp://"+v.to.Address))
	case v.remote && (strings.HasPrefix(v.to.Address, ":") || strings.HasSuffix(v.to.Address, ":0")):
		d.refuse(n, path, "it must name the host and the port of the poller", "")
	}
}

// size64 is a number of bytes beyond what a process can hold.
type size64 struct{ to *int64 }

func (size64) kind() string { return size{}.kind() }

func (v size64) yaml() string {
	n := int(*v.to)
	return size{&n}.yaml()
}

func (v size64) decode(d *decoder, path string, n ast.Node) {
	var bytes int
	before := len(d.errors)
	size{&bytes}.decode(d, path, n)
	if len(d.errors) > before {
		return
	}
	if bytes < 1<<20 {
		d.refuse(n, path, "it must be at least 1MiB", "1MiB")
		return
	}
	*v.to = int64(bytes)
}
