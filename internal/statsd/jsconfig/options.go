package jsconfig

import (
	"fmt"
	"io/fs"
	"math"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/graphite"
)

const (
	maxInterval = math.MaxInt32 // milliseconds; what is longer makes Node's timers fire at once
	maxPort     = 65535
)

// fill reads every option of config into f, and adds to config what the
// reference daemon adds when it starts.
func (f *File) fill(vm *goja.Runtime, config *goja.Object, at positions) error {
	o := options{at: at}
	top := scope{&o, "", config}
	f.StatsD = top.statsd()
	f.servers = top.truthy("servers")
	f.StatsD.Listen, f.Servers, f.listens = top.listen()
	f.Backends = top.backends()
	f.Graphite = top.graphite(!f.StatsD.Sanitize)
	f.Console.Pretty = top.scope("console").truthy("prettyprint")
	f.Repeater = top.repeater()
	f.Log = top.log()
	f.Store = Store{
		Data: top.scope("weir").textOr("data", "weir-data"),
		HTTP: top.scope("weir").textOr("http", "127.0.0.1:8088"),
	}
	f.Node = Node{
		Program: top.scope("weir").textOr("node", "node"),
		Root:    top.scope("weir").textOr("root", ""),
		Isolate: top.scope("weir").truthy("isolate"),
	}
	f.Reload = top.given("automaticConfigReload", true)
	if o.wrong != nil {
		return o.wrong
	}
	return f.fillIn(vm, top)
}

// options collects the first error.
type options struct {
	at    positions
	wrong *Error
}

// scope is an object of the file; object is nil when there is none, which reads
// as an object without properties.
type scope struct {
	*options
	path   string
	object *goja.Object
}

// fail records what is wrong with the property name.
func (s scope) fail(name, format string, args ...any) {
	if s.wrong != nil {
		return
	}
	where := s.join(name)
	p := s.at.find(where)
	s.wrong = &Error{Line: p.line, Column: p.column, Message: where + ": " + fmt.Sprintf(format, args...)}
}

func (s scope) join(name string) string {
	if s.path == "" {
		return name
	}
	return s.path + "." + name
}

func (s scope) get(name string) goja.Value {
	if s.object == nil {
		return goja.Undefined()
	}
	if v := s.object.Get(name); v != nil {
		return v
	}
	return goja.Undefined()
}

// scope is the object under name; anything that is no object has no properties.
func (s scope) scope(name string) scope {
	inner, _ := s.get(name).(*goja.Object)
	return scope{s.options, s.join(name), inner}
}

// truthy is !!s[name].
func (s scope) truthy(name string) bool { return s.get(name).ToBoolean() }

// given is s[name], or missing when it is undefined.
func (s scope) given(name string, missing bool) bool {
	if v := s.get(name); !goja.IsUndefined(v) {
		return v.ToBoolean()
	}
	return missing
}

// text is String(s[name]), or missing when it is undefined.
func (s scope) text(name, missing string) string {
	if v := s.get(name); !goja.IsUndefined(v) {
		return v.String()
	}
	return missing
}

// textOr is s[name] || missing.
func (s scope) textOr(name, missing string) string {
	if v := s.get(name); v.ToBoolean() {
		return v.String()
	}
	return missing
}

// numberOr is Number(s[name] || missing) within bounds.
func (s scope) numberOr(name string, missing, low, high float64, what string) float64 {
	v := s.get(name)
	if !v.ToBoolean() {
		return missing
	}
	n := v.ToFloat()
	if !(n >= low && n <= high) {
		s.fail(name, "%s is not %s", quote(v), what)
		return missing
	}
	return n
}

// port is s[name] || missing.
func (s scope) port(name string, missing int) int {
	n := s.numberOr(name, float64(missing), 1, maxPort, "a port, a whole number from 1 to 65535")
	if n != math.Trunc(n) {
		s.fail(name, "%s is not a port, a whole number from 1 to 65535", quote(s.get(name)))
	}
	return int(n)
}

// items are the elements of the array under name, nil when it is falsy.
func (s scope) items(name, what string) []goja.Value {
	v := s.get(name)
	if !v.ToBoolean() {
		return nil
	}
	o, _ := v.(*goja.Object)
	if !isArray(v) {
		s.fail(name, "%s is not %s", quote(v), what)
		return nil
	}
	length := int(min(o.Get("length").ToInteger(), maxElements))
	all := make([]goja.Value, 0, min(length, 1024))
	for i := range length {
		item := o.Get(strconv.Itoa(i))
		if item == nil {
			item = goja.Undefined()
		}
		all = append(all, item)
	}
	return all
}

// quote shows a value in a message, cut where it is long.
func quote(v goja.Value) string {
	text := []rune(v.String())
	if len(text) > 60 {
		text = append(text[:60], '…')
	}
	return strconv.Quote(string(text))
}

func (s scope) statsd() statsd.Config {
	c := statsd.DefaultConfig()
	c.Readers = 1 // flushes in the order of arrival, as the reference's are
	c.Management = net.JoinHostPort(s.textOr("mgmt_address", ""), strconv.Itoa(s.port("mgmt_port", 8126)))
	c.FlushInterval = milliseconds(s.numberOr("flushInterval", 10000, 1, maxInterval, "a number of milliseconds, at least 1"))
	c.Percentiles = s.percentiles()
	c.Histograms = s.histograms()
	c.TimerMetrics = s.timerMetrics()
	idle := s.given("deleteIdleStats", false)
	c.DeleteCounters = s.given("deleteCounters", idle)
	c.DeleteTimers = s.given("deleteTimers", idle)
	c.DeleteSets = s.given("deleteSets", idle)
	c.DeleteGauges = s.given("deleteGauges", idle)
	c.GaugeTTL = s.gaugeTTL()
	c.Prefix = s.text("prefixStats", c.Prefix)
	c.Sanitize = s.given("keyNameSanitize", true)
	keys := s.scope("keyFlush")
	c.KeyFlush = statsd.KeyFlush{
		Interval: milliseconds(keys.numberOr("interval", 0, 0, maxInterval, "a number of milliseconds")),
		Percent:  keys.numberOr("percent", 100, 0, math.MaxFloat64, "a percentage"),
		Path:     keys.textOr("log", ""),
	}
	switch dialect := s.textOr("dialect", statsd.Strict.String()); dialect {
	case statsd.Strict.String():
	case statsd.DogStatsD.String():
		c.Dialect = statsd.DogStatsD
	default:
		s.fail("dialect", "%q is not 'statsd' or 'dogstatsd'", dialect)
	}
	c.DumpMessages = s.truthy("dumpMessages")
	c.Debug = s.truthy("debug")
	c.Healthy = !strings.EqualFold(s.textOr("healthStatus", "up"), "down")
	return c
}

func milliseconds(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

// listen is the list servers, or the file itself as the only entry of it: sockets of
// StatsD's own servers, with their places in the list, and modules that are servers.
func (s scope) listen() (sockets []statsd.Listen, modules []Server, places []int) {
	entries := []scope{s}
	if s.truthy("servers") {
		sockets, entries = []statsd.Listen{}, nil
		for i, item := range s.items("servers", "a list such as [{server: './servers/udp', port: 8125}]") {
			name := fmt.Sprintf("servers[%d]", i)
			entry, ok := item.(*goja.Object)
			if !ok {
				s.fail(name, "%s is not an object such as {server: './servers/udp', port: 8125}", quote(item))
				return nil, nil, nil
			}
			entries = append(entries, scope{s.options, name, entry})
		}
	}
	for i, entry := range entries {
		name := entry.textOr("server", "./servers/udp")
		if own := module(name, "servers"); own == "udp" || own == "tcp" {
			sockets, places = append(sockets, entry.listener()), append(places, i)
			continue
		}
		if !s.truthy("servers") {
			i = -1
		}
		modules = append(modules, Server{Module: name, Index: i})
	}
	return sockets, modules, places
}

// listener is the socket of one of StatsD's own servers.
func (s scope) listener() statsd.Listen {
	at := net.JoinHostPort(s.textOr("address", ""), strconv.Itoa(s.port("port", 8125)))
	switch server := s.textOr("server", "./servers/udp"); module(server, "servers") {
	case "udp":
		network := "udp4"
		if s.truthy("address_ipv6") {
			network = "udp" // the wildcard takes IPv4 as well
		}
		return statsd.Listen{Network: network, Address: at}
	case "tcp":
		if socket := s.textOr("socket", ""); socket != "" {
			return statsd.Listen{Network: "unix", Address: socket, Mode: s.mode("socket_mod")}
		}
		return statsd.Listen{Network: "tcp", Address: at}
	default:
		s.fail("server", "%q is not './servers/udp' or './servers/tcp'", server)
		return statsd.Listen{}
	}
}

// module is the name of a module that comes with StatsD: "udp" for
// "./servers/udp" in the directory servers, "" for any other.
func module(name, directory string) string {
	inside, ok := strings.CutPrefix(path.Clean(strings.TrimSuffix(name, ".js")), directory+"/")
	if !ok || !strings.HasPrefix(name, "./") {
		return ""
	}
	return inside
}

// mode is the mode of a socket: a number, or octal digits in a string.
func (s scope) mode(name string) fs.FileMode {
	v := s.get(name)
	if !v.ToBoolean() {
		return 0
	}
	n := v.ToFloat()
	if text, ok := v.Export().(string); ok {
		digits := strings.TrimPrefix(strings.TrimPrefix(text, "0o"), "0O")
		octal, err := strconv.ParseUint(digits, 8, 32)
		n = float64(octal)
		if err != nil {
			n = math.NaN()
		}
	}
	if !(n >= 0 && n <= 0o777) || n != math.Trunc(n) {
		s.fail(name, "%s is not a file mode such as '0777' or 0o777", quote(v))
		return 0
	}
	return fs.FileMode(n)
}

func (s scope) percentiles() []float64 {
	const name = "percentThreshold"
	v := s.get(name)
	if !v.ToBoolean() {
		return []float64{90}
	}
	values, single := []goja.Value{v}, !isArray(v)
	if !single {
		values = s.items(name, "")
	}
	all := []float64{}
	for i, item := range values {
		n := item.ToFloat()
		if math.IsNaN(n) || math.IsInf(n, 0) {
			where := fmt.Sprintf("%s[%d]", name, i)
			if single {
				where = name
			}
			s.fail(where, "%s is not a percentage such as 90, 99.9 or -10", quote(item))
			return nil
		}
		all = append(all, n)
	}
	return all
}

func (s scope) histograms() []statsd.Histogram {
	var all []statsd.Histogram
	for i, item := range s.items("histogram", "a list such as [{metric: '', bins: [10, 100, 'inf']}]") {
		name := fmt.Sprintf("histogram[%d]", i)
		o, ok := item.(*goja.Object)
		if !ok {
			s.fail(name, "%s is not an object such as {metric: '', bins: [10, 100, 'inf']}", quote(item))
			return nil
		}
		entry := scope{s.options, name, o}
		h := statsd.Histogram{Metric: entry.text("metric", "undefined")}
		for j, bin := range entry.items("bins", "a list such as [10, 100, 'inf']") {
			bound := bin.ToFloat()
			if bin.String() == "inf" {
				bound = math.Inf(1)
			}
			if math.IsNaN(bound) {
				entry.fail(fmt.Sprintf("bins[%d]", j), "%s is not an upper bound, a number or 'inf'", quote(bin))
			}
			h.Bins = append(h.Bins, bound)
		}
		all = append(all, h)
	}
	return all
}

// timerMetrics is the list calculatedTimerMetrics; anything but a list with
// something in it keeps all.
func (s scope) timerMetrics() []string {
	if !isArray(s.get("calculatedTimerMetrics")) {
		return nil
	}
	var names []string
	for _, item := range s.items("calculatedTimerMetrics", "") {
		names = append(names, item.String())
	}
	return names
}

// gaugeTTL is a whole number above 1 that is written as a number, or 1.
func (s scope) gaugeTTL() int {
	switch n := s.get("gaugesMaxTTL").Export().(type) {
	case int64:
		return int(max(n, 1))
	case float64:
		if n == math.Trunc(n) && n > 1 && n < math.MaxInt32 {
			return int(n)
		}
	}
	return 1
}

// named is the backend a file calls by name: one that Weir has, or a module for Node.
func named(name string) Backend {
	if b := Backend(module(name, "backends")); native(b) {
		return b
	}
	return Backend(name)
}

func (s scope) backends() []Backend {
	if !s.truthy("backends") {
		return []Backend{Graphite}
	}
	all := []Backend{}
	for i, item := range s.items("backends", "a list such as ['./backends/graphite']") {
		name := item.String()
		if _, ok := item.Export().(string); !ok || name == "" {
			s.fail(fmt.Sprintf("backends[%d]", i), "%s is not the name of a backend: './backends/graphite', './backends/console', './backends/repeater' and 'store' "+
				"come with Weir, others are modules for Node such as './my-backend' or 'statsd-influxdb-backend'", quote(item))
			return nil
		}
		all = append(all, named(name))
	}
	return all
}

func (s scope) graphite(sanitize bool) graphite.Config {
	g := s.scope("graphite")
	n := graphite.DefaultNamespace()
	n.Legacy = g.get("legacyNamespace").Export() != false
	n.GlobalPrefix = g.text("globalPrefix", n.GlobalPrefix)
	n.PrefixCounter = g.text("prefixCounter", n.PrefixCounter)
	n.PrefixTimer = g.text("prefixTimer", n.PrefixTimer)
	n.PrefixGauge = g.text("prefixGauge", n.PrefixGauge)
	n.PrefixSet = g.text("prefixSet", n.PrefixSet)
	n.GlobalSuffix = g.textOr("globalSuffix", "")
	n.FlushCounts = s.given("flush_counts", true)
	c := graphite.Config{Host: s.textOr("graphiteHost", ""), Protocol: s.textOr("graphiteProtocol", "text"), Namespace: n, SanitizeNames: sanitize}
	switch c.Protocol {
	case "text":
		c.Port = s.port("graphitePort", 2003)
	case "pickle":
		c.Port = s.port("graphitePicklePort", 2004)
	default:
		s.fail("graphiteProtocol", "%q is not a protocol: 'text' or 'pickle'", c.Protocol)
	}
	return c
}

func (s scope) repeater() Repeater {
	r := Repeater{Protocol: s.textOr("repeaterProtocol", "udp4")}
	if !slices.Contains([]string{"udp4", "udp6", "tcp"}, r.Protocol) {
		s.fail("repeaterProtocol", "%q is not a protocol: 'udp4', 'udp6' or 'tcp'", r.Protocol)
	}
	for i, item := range s.items("repeater", "a list such as [{host: '192.0.2.1', port: 8125}]") {
		name := fmt.Sprintf("repeater[%d]", i)
		o, _ := item.(*goja.Object)
		target := scope{s.options, name, o}
		host := target.textOr("host", "")
		if host == "" {
			s.fail(name, "%s names no host: an entry looks like {host: '192.0.2.1', port: 8125}", quote(item))
		}
		r.Targets = append(r.Targets, net.JoinHostPort(host, strconv.Itoa(target.port("port", 8125))))
	}
	return r
}

func (s scope) log() Log {
	l := s.scope("log")
	where := l.textOr("backend", "stdout")
	if where != "stdout" && where != "syslog" {
		l.fail("backend", "%q is not a place for the log: 'stdout' or 'syslog'", where)
	}
	return Log{Syslog: where == "syslog", Application: l.textOr("application", "statsd"), Level: l.textOr("level", "LOG_INFO")}
}

// fillIn adds to the file's object what the reference daemon adds when it
// starts, and later with the first flush, and renders it after both.
func (f *File) fillIn(vm *goja.Runtime, top scope) error {
	deletes := []string{"deleteCounters", "deleteTimers", "deleteSets", "deleteGauges"}
	values := map[string]any{"gaugesMaxTTL": f.StatsD.GaugeTTL}
	names := []string{"gaugesMaxTTL"} // in this order
	if goja.IsUndefined(top.get("deleteIdleStats")) {
		names, values["deleteIdleStats"] = append(names, "deleteIdleStats"), false
	}
	if top.truthy("deleteIdleStats") {
		for _, name := range deletes {
			if goja.IsUndefined(top.get(name)) {
				names, values[name] = append(names, name), true
			}
		}
	}
	if !top.truthy("flushInterval") {
		names, values["flushInterval"] = append(names, "flushInterval"), 10000
	}
	var err error
	if f.settings, err = render(vm, top.object, names, values); err != nil {
		return err
	}
	names, values = nil, make(map[string]any)
	for _, name := range deletes {
		if !top.truthy(name) {
			names, values[name] = append(names, name), false
		}
	}
	f.flushed, err = render(vm, top.object, names, values)
	return err
}

// render sets properties of config and returns it as the management command
// config shows it.
func render(vm *goja.Runtime, config *goja.Object, names []string, values map[string]any) ([]Setting, error) {
	for _, name := range names {
		if err := config.Set(name, values[name]); err != nil {
			return nil, err
		}
	}
	var all []Setting
	call, _ := goja.AssertFunction(vm.Get(renderer))
	_, err := call(goja.Undefined(), config, vm.ToValue(func(name, sub, value string) {
		all = append(all, Setting{name, sub, value})
	}))
	return all, err
}
