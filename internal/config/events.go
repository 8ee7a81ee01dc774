package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

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
	Broker     Broker
}

// Broker is what only a central broker knows.
type Broker struct {
	KeyFile string // decrypts parameters
	Forget  bool   // what a poller does not have any more after a restart
}

// BBDO is one entry of sources.bbdo. Either Listen or Connect is given.
type BBDO struct {
	Listen       statsd.Listen
	Connect      statsd.Listen // where a poller listens
	bbdo.Config                // without Name, Address, Identity and Version
	Version      string        // "" for any
	Installation string        // the central server whose pollers these are, "" for the only one
	Synthesize   bool          // make the storage events that pollers do not send
}

// Connects reports whether Weir opens the connection.
func (b *BBDO) Connects() bool { return b.Connect.Address != "" }

// Connector is one entry of connectors.
type Connector struct {
	connector.Setup
	Installation       string // whose events it gets
	BrokerFile, Output string // where Load takes from what is not given: a configuration of Centreon Broker, and an output in it

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
		Setup:  connector.Setup{BBDO: connector.Versions[0], Queue: 10_000, Aside: 10, Call: 30 * time.Second},
		Memory: 1 << 30, Errors: 1000,
	}
}

func brokerSection(b *Broker) section {
	return section{options: []option{
		{name: "forget_deleted", value: flag{&b.Forget},
			doc: "Forget hosts and services that a poller does not send again when its engine starts: they were deleted there. Without it they stay until the poller says that they are disabled, as in Centreon."},
		{name: "key_file", value: text{to: &b.KeyFile, what: "a file", check: filled}, example: "/etc/weir/key.json",
			doc: "The key of parameters that begin with `encrypt::`, as Centreon writes them: JSON with the members `app_secret` and `salt`, in base64."},
	}}
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
			{name: "installation", value: text{to: &b.Installation, what: "a name of letters, digits, `-`, `_` and `.`", check: connectorName}, example: "paris",
				doc: "The central server whose pollers these are, when there are several: the same numbers mean other hosts there. A connector gets the events of one. Hosts have `NAME/` before their names in series."},
			{name: "synthesize", value: flag{&b.Synthesize},
				doc: "Make the metric and status events that pollers do not send from performance data. Set it to false behind a central broker, which sends them."},
		}}
	}}
}

func connectorList(to *[]Connector) list[Connector] {
	return list[Connector]{to: to, what: "connectors", fresh: newConnector(), entry: func(c *Connector) value { return connectorEntry{c} }}
}

// connectorEntry is a connector in our words, or an output of Centreon Broker pasted as it is.
type connectorEntry struct{ to *Connector }

func (connectorEntry) kind() string        { return section{}.kind() }
func (v connectorEntry) yaml() string      { return v.declared().yaml() }
func (v connectorEntry) declared() section { return connectorSection(v.to) }

func (v connectorEntry) decode(d *decoder, path string, n ast.Node) {
	entries, _ := pairs(n)
	has := func(keys ...string) bool {
		return slices.ContainsFunc(entries, func(e *ast.MappingValueNode) bool { return slices.Contains(keys, source(e.Key)) })
	}
	s, output := v.declared(), make(map[string]any)
	pasted := has(pastedKeys...)
	if pasted || has("broker_file") {
		i := slices.Index(s.names(), "script")
		s.options[i].required = false
	}
	if pasted {
		kind := ""
		s.options = append(s.options, option{name: "type", value: choice{&kind, []string{"lua"}}})
		raw := make(map[string]*any)
		for _, name := range append([]string{"lua_parameter", "path", "filters"}, ignoredOutputKeys...) {
			raw[name] = new(any)
			s.options = append(s.options, option{name: name, value: anything{raw[name]}})
		}
		s.decode(d, path, n)
		for name, value := range raw {
			output[name] = *value
		}
		v.use(d, path, output)
		return
	}
	s.decode(d, path, n)
}

// use takes what an output that was pasted says.
func (v connectorEntry) use(d *decoder, path string, output map[string]any) {
	found := useOutput(v.to, output)
	if at, ok := d.config.positions[join(path, "path")]; ok && d.config.positions[join(path, "script")] == (position{}) {
		d.config.positions[join(path, "script")] = at
	}
	list, _ := output["lua_parameter"].([]any)
	for i, entry := range list {
		if of, ok := entry.(map[string]any); ok {
			if name, ok := of["name"].(string); ok {
				d.config.positions[path+".parameters."+name] = d.config.positions[index(path+".lua_parameter", i)]
			}
		}
	}
	for _, f := range found.mistakes {
		d.complain(join(path, f.member), "cannot use "+path+": "+f.message)
	}
	for _, f := range found.warnings {
		d.config.Warnings = append(d.config.Warnings, d.config.Fail(join(path, f.member), errors.New(path+": "+f.message)))
	}
}

func connectorSection(c *Connector) section {
	return section{options: []option{
		{name: "name", value: text{to: &c.Name, what: "a name of letters, digits, `-`, `_` and `.`", check: connectorName}, required: true, example: "influx",
			doc: "Its position in the stream is kept under this name: a connector with a new name begins with the events that arrive from then on."},
		{name: "script", value: text{to: &c.Script, what: "a file", check: filled, expand: true}, required: true, example: "/usr/share/centreon-broker/lua/influxdb.lua", doc: "The stream connector, a Lua script."},
		{name: "parameters", value: parameters{c}, example: `{http_server_port: 8086, influx_password: {file: /etc/weir/influx}}`,
			doc: "What the script's `init` gets. With `{file: PATH}` the value is the content of a file, so that secrets need not be here. One that begins with `encrypt::` is decrypted with `broker.key_file`."},
		{name: "categories", value: list[string]{to: &c.Categories, what: "categories", entry: func(name *string) value { return filterEntry{name} }}, example: "[neb, storage:pb_metric]",
			doc: "Which events the script gets: categories, or `category:event`. An empty list means all. The broker cache learns from all events."},
		{name: "installation", value: text{to: &c.Installation, what: "a name of letters, digits, `-`, `_` and `.`", check: connectorName}, example: "paris",
			doc: "Whose events the script gets, when entries of `sources.bbdo` belong to several installations."},
		{name: "broker_file", value: text{to: &c.BrokerFile, what: "a file", check: filled}, example: "/etc/centreon-broker/central-broker.json",
			doc: "A configuration of Centreon Broker, in JSON. The Lua output of the same name in it says script, parameters, categories and queue size, as far as they are not given here."},
		{name: "broker_output", value: text{to: &c.Output, check: filled}, example: "Splunk output", doc: "The name of the output in `broker_file`, when it is not the name of the connector."},
		{name: "bbdo_version", value: choice{&c.BBDO, connector.Versions}, doc: "The generation of events the script gets, whatever pollers send, and what `broker.bbdo_version()` returns. Scripts that look for elements 14 and 24 need `2.0.0`."},
		{name: "legacy_type_alias", value: flag{&c.TypeAlias},
			doc: "Give events without a member `type` one that is their `_type`, as very old brokers did: for scripts that read it, such as the NDO output."},
		{name: "queue_size", value: whole{&c.Queue, 1, 10_000_000}, doc: "How many events the script may have got and not acknowledged. Further ones wait on disk."},
		{name: "call_timeout", value: duration{to: &c.Call, least: 100 * time.Millisecond, max: 24 * time.Hour},
			doc: "How long a call of the script may take before an error is raised in it. Where that is impossible the process is killed after twice the time when the call computes, ten seconds later when it waits, and the events come again."},
		{name: "memory", value: size{&c.Memory}, doc: "How much memory the script's process may take before it is started again; `0B` means no limit."},
		{name: "errors", value: whole{&c.Errors, 0, math.MaxInt32}, doc: "How many errors the script may raise in a minute before it is started again; 0 means no limit."},
		{name: "quarantine", value: whole{&c.Aside, 0, 100_000}, doc: "How many events may be set aside in a row, each of which ended the script's process whenever it got the event alone. With 0 none is, and the script stands before it. An acknowledgement begins a new row."},
	}}
}

// filterEntry is an entry of a category filter. The parser takes neb:host_status
// for a mapping in some places.
type filterEntry struct{ to *string }

func (v filterEntry) text() text {
	return text{to: v.to, what: "a category, or `category:event`", check: category}
}
func (v filterEntry) kind() string { return v.text().kind() }
func (v filterEntry) yaml() string { return v.text().yaml() }

func (v filterEntry) decode(d *decoder, path string, n ast.Node) {
	if entries, ok := pairs(n); ok && len(entries) == 1 && scalar(entries[0].Value) {
		n = ast.String(token.New(source(entries[0].Key)+":"+source(entries[0].Value), "", entries[0].Key.GetToken().Position))
	}
	v.text().decode(d, path, n)
}

// CheckCategory returns an error that says what is wrong with an entry of a
// category filter, nil when nothing is.
func CheckCategory(entry string) error {
	reason, suggestion := category(entry)
	if reason == "" {
		return nil
	}
	if suggestion != "" {
		suggestion = "; did you mean " + suggestion + "?"
	}
	return fmt.Errorf("cannot use the category %q: %s%s", entry, reason, suggestion)
}

// category checks an entry of a category filter.
func category(s string) (reason, suggestion string) {
	if _, unknown := event.ParseFilters([]string{s}); len(unknown) == 0 {
		return "", ""
	}
	known := event.FilterNames()
	slices.Reverse(known) // among names as near, those with small letters first, as they are in most configurations
	reason = "there is no such category or event"
	if !strings.Contains(s, ":") {
		known = slices.DeleteFunc(slices.Clone(known), func(name string) bool { return strings.Contains(name, ":") })
		slices.Sort(known)
		reason = "it must be " + either(known) + ", or one of their events, such as neb:service_status"
	}
	return reason, quotedOrNothing(nearest(s, known))
}

var (
	connectorNames = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	otherBytes     = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

func connectorName(s string) (reason, suggestion string) {
	if !connectorNames.MatchString(s) || strings.Trim(s, ".") == "" {
		better := strings.Trim(otherBytes.ReplaceAllString(s, "-"), "-.")
		if !connectorNames.MatchString(better) {
			better = ""
		}
		return "it must be 1 to 64 letters, digits, -, _ or .", quotedOrNothing(better)
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
	for i, s := range c.Events.Connectors {
		if path := index("connectors", i); s.Output != "" && s.BrokerFile == "" {
			d.complain(path+".broker_output", "cannot use "+path+".broker_output without broker_file")
		}
	}
	c.checkInstallations(d)
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
		case sockets[address] && !strings.HasSuffix(address.Address, ":0"): // the system chooses another port
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

// decryptParameters puts the clear text of encrypted parameters in their place.
func (c *Config) decryptParameters() (failed Errors) {
	var key *secretKey
	if path := c.Events.Broker.KeyFile; path != "" {
		var err error
		if key, err = readSecretKey(path); err != nil {
			return Errors{c.Fail("broker.key_file", fmt.Errorf("cannot use %s for broker.key_file: %s", quote(path), reason(err)))}
		}
	}
	for i := range c.Events.Connectors {
		s := &c.Events.Connectors[i]
		for j := range s.Parameters {
			p := &s.Parameters[j]
			text, ok := strings.CutPrefix(p.Text, encrypted)
			if !ok {
				continue
			}
			p.Secret = true
			path, err := index("connectors", i)+".parameters."+p.Name, error(nil)
			if key == nil {
				err = fmt.Errorf("lua: unable to decrypt %s, no encryption key file available; broker.key_file says where it is", p.Name)
			} else if p.Text, err = key.decrypt(text); err != nil {
				err = fmt.Errorf("lua: unable to decrypt %s: %w", p.Name, err)
			}
			if err != nil {
				failed = append(failed, c.Fail(path, fmt.Errorf("cannot use %s: %w", path, err)))
			}
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
		d.at(place(n), "cannot use the value of "+path+": it must be a mapping of names to values, not "+what(n)) // there may be secrets in it
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
			p.Secret = true
		case *ast.BoolNode:
			number := "0"
			if value.Value {
				number = "1"
			}
			d.refuse(value, full, "scripts take text and numbers only", number)
			continue
		default:
			p.Secret = variable.MatchString(source(value))
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
