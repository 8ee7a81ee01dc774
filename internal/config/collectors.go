package config

import (
	"cmp"
	"encoding/json"
	"math"
	"net/url"
	"regexp"
	"time"

	"github.com/weirhq/weir/collector"
)

// Collector is one entry of collectors: a bot with what it polls.
type Collector struct {
	Kind      string // one of collectorKinds
	Name      string // the kind unless it is given
	Account   int    // whose values they are; 0 for those of the configuration
	Inventory bool   // devices of the inventory are polled too
	Interval  time.Duration
	Aligned   bool // jobs begin at multiples of the interval, all at once

	HTTP []HTTPTarget
	TCP  []TCPTarget
	Lua  LuaCollector
	Ping Ping
	SNMP SNMP
	Exec Exec

	Exporters []FlowExporter // of netflow
	Suggest   bool           // exporters that are unknown to the inventory
}

// collectorKind is a bot as an entry of collectors.
type collectorKind struct {
	name, doc string
	options   func(*Collector) []option
	devices   func(*Collector) []*collector.JobConfig // those the entry names
}

// collectorKinds are the bots, one line for each.
var collectorKinds = []collectorKind{
	{"http", "Pages: whether they are there, how long each phase takes, and when the certificate ends. See [collectors](collectors.md#http).", httpTargetOptions, httpDevices},
	{"tcp", "TCP connections: whether something answers, and how long it takes. See [collectors](collectors.md#tcp).", tcpTargetOptions, tcpDevices},
	{"ping", "ICMP echoes: how many are answered, and how fast. See [collectors](collectors.md#ping).", pingOptions, pingDevices},
	{"snmp", "Devices over SNMP: values, rates of counters, whole tables, and what expressions make of them. See [collectors](collectors.md#snmp).", snmpOptions, snmpDevices},
	{"exec", "Commands that check something, such as Nagios plugins: the exit code, the time, and the performance data. See [collectors](collectors.md#commands).", execOptions, execDevices},
	{"lua", "A script that says what there is to do, and does it. See [collectors](collectors.md#lua).", luaCollectorOptions, luaDevices},
	{"netflow", "Summaries of the flow records that `sources.netflow` takes in: bytes of each exporter by interface, address, protocol and port. See [collectors](collectors.md#netflow).", netflowOptions, netflowDevices},
}

// newCollector is an entry of which nothing is given.
func newCollector() Collector {
	return Collector{Interval: time.Minute, Lua: newLuaCollector(), Ping: newPing(), SNMP: newSNMP()}
}

// NewCollector is an entry of a kind with its defaults, which takes everything from elsewhere.
func NewCollector(kind string) Collector {
	c := newCollector()
	c.Kind, c.Name = kind, kind
	return c
}

func collectorList(to *[]Collector) value {
	return list[Collector]{to: to, fresh: newCollector(), entry: collectorValue, what: "bots"}
}

func collectorValue(to *Collector) value {
	var cases []namedCase
	for _, kind := range collectorKinds {
		cases = append(cases, namedCase{name: kind.name, doc: kind.doc, section: section{options: append([]option{
			{name: "name", value: text{to: &to.Name, check: plainName}, example: "far", doc: "What `/metrics` and the log call it; needed when there are two of a kind."},
			{name: "interval", value: duration{to: &to.Interval, least: time.Second, max: 366 * 24 * time.Hour}, doc: "How often targets are polled, in whole seconds."},
			{name: "aligned", value: flag{&to.Aligned}, doc: "Poll all at once, when the clock shows a multiple of the interval, instead of spread over it."},
			{name: "account", value: whole{&to.Account, 0, math.MaxInt32}, doc: "The account of the inventory whose values they are; with 0 they belong to none, and the tag `account` is `0`."},
			{name: "inventory", value: flag{&to.Inventory}, doc: "Poll what the inventory says too: entities of all accounts that have this protocol and name no bot."},
		}, kind.options(to)...)}})
	}
	return named{to: &to.Kind, what: "a bot", cases: cases, later: func(string) string { return "" }}
}

// Devices are those the entry names.
func (c *Collector) Devices() []*collector.JobConfig {
	for _, kind := range collectorKinds {
		if kind.name == c.Kind {
			return kind.devices(c)
		}
	}
	return nil
}

// device is one of an entry with what its bot wants to know. sensor is encoded as JSON, and so are the others.
func (c *Collector) device(name string, details, credential, sensor any) *collector.JobConfig {
	return &collector.JobConfig{
		AccountID: int64(c.Account), Name: name, EntityType: "device", Details: encoded(details), CredentialDetails: encoded(credential),
		Sensors: []collector.SensorConfig{{Interval: c.Interval, Details: encoded(sensor)}},
	}
}

type object map[string]any

func encoded(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic("BUG: what a bot wants to know is not JSON: " + err.Error())
	}
	return text
}

// HTTPTarget is a page to ask for.
type HTTPTarget struct {
	Name, URL, Method, Body string
	Status                  []int
	Redirects, Insecure     bool
	Timeout                 time.Duration
}

func httpTargetOptions(c *Collector) []option {
	return []option{{name: "targets", value: list[HTTPTarget]{to: &c.HTTP, what: "pages", fresh: HTTPTarget{Method: "GET", Timeout: 10 * time.Second}, entry: func(t *HTTPTarget) value {
		return section{options: []option{
			{name: "url", value: text{to: &t.URL, what: "a URL", expand: true, check: pageURL}, required: true, example: "https://www.example.org/", doc: "The page."},
			{name: "name", value: text{to: &t.Name, check: plainName}, example: "shop", doc: "What paths of values have, as `target.NAME`; the URL when it is not given."},
			{name: "method", value: choice{&t.Method, []string{"GET", "HEAD", "POST", "OPTIONS"}}, doc: "How it is asked for."},
			{name: "expect_status", value: list[int]{to: &t.Status, what: "numbers", entry: func(n *int) value { return whole{n, 100, 599} }}, example: "[200, 204]", doc: "Which answers are good; any below 400 when the list is empty."},
			{name: "expect_body", value: text{to: &t.Body, check: pattern}, example: "healthy", doc: "A regular expression (RE2) that the first MiB of the page must match."},
			{name: "redirects", value: flag{&t.Redirects}, doc: "Follow redirections."},
			{name: "insecure", value: flag{&t.Insecure}, doc: "Take certificates that nobody vouches for."},
			{name: "timeout", value: duration{to: &t.Timeout, least: 10 * time.Millisecond, max: time.Hour}, doc: "How long it may take."},
		}}
	}}, example: "[{url: https://www.example.org/, name: shop}]", doc: "The pages."}}
}

func httpDevices(c *Collector) (all []*collector.JobConfig) {
	for _, t := range c.HTTP {
		all = append(all, c.device(cmp.Or(t.Name, t.URL), object{}, object{}, object{
			"url": t.URL, "method": t.Method, "expect_status": t.Status, "expect_body": t.Body, "redirects": t.Redirects, "insecure": t.Insecure, "timeout": t.Timeout.Seconds(),
		}))
	}
	return all
}

// pageURL checks the address of a page.
func pageURL(s string) (reason, suggestion string) {
	u, err := url.Parse(s)
	if err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		return "", ""
	}
	return "it must be like https://www.example.org/path", ""
}

// pattern checks a regular expression.
func pattern(s string) (reason, suggestion string) {
	if _, err := regexp.Compile(s); err != nil {
		return "it is not a regular expression: " + err.Error(), ""
	}
	return "", ""
}

// TCPTarget is where a connection is opened to.
type TCPTarget struct {
	Name, Address, Send, Expect string
	TLS, Insecure               bool
	Timeout                     time.Duration
}

func tcpTargetOptions(c *Collector) []option {
	return []option{{name: "targets", value: list[TCPTarget]{to: &c.TCP, what: "addresses", fresh: TCPTarget{Timeout: 10 * time.Second}, entry: func(t *TCPTarget) value {
		return section{options: []option{
			{name: "address", value: text{to: &t.Address, what: "an address `HOST:PORT`", check: hostPort}, required: true, example: `"mail.example.org:25"`, doc: "Where to connect."},
			{name: "name", value: text{to: &t.Name, check: plainName}, example: "mail", doc: "What paths of values have, as `target.NAME`; the address when it is not given."},
			{name: "tls", value: flag{&t.TLS}, doc: "Shake hands for TLS too."},
			{name: "insecure", value: flag{&t.Insecure}, doc: "Take certificates that nobody vouches for."},
			{name: "send", value: text{to: &t.Send}, example: `"QUIT\r\n"`, doc: "What to write first."},
			{name: "expect", value: text{to: &t.Expect, check: pattern}, example: `"^220 "`, doc: "A regular expression (RE2) that the first 4 KiB that come back must match."},
			{name: "timeout", value: duration{to: &t.Timeout, least: 10 * time.Millisecond, max: time.Hour}, doc: "How long it may take."},
		}}
	}}, example: `[{address: "mail.example.org:25", expect: "^220 "}]`, doc: "The addresses."}}
}

func tcpDevices(c *Collector) (all []*collector.JobConfig) {
	for _, t := range c.TCP {
		all = append(all, c.device(cmp.Or(t.Name, t.Address), object{}, object{}, object{
			"address": t.Address, "tls": t.TLS, "insecure": t.Insecure, "send": t.Send, "expect": t.Expect, "timeout": t.Timeout.Seconds(),
		}))
	}
	return all
}

// checkCollectors finds what is wrong together, and fills in names.
func (c *Config) checkCollectors(d *decoder) {
	c.checkNetflow(d)
	names := make(map[string]bool)
	for i := range c.Collectors {
		of := &c.Collectors[i]
		path := index("collectors", i)
		of.Name = cmp.Or(of.Name, of.Kind)
		if names[of.Name] {
			d.complain(path, "cannot use "+quote(of.Name)+" for "+path+": an entry before it has the same name; give it another one with the option name")
		}
		names[of.Name] = true
		if of.Interval%time.Second != 0 {
			d.complain(path, "cannot use "+path+": the interval "+FormatDuration(of.Interval)+" is not a whole number of seconds")
		}
		if reason := of.checkLua(); reason != "" {
			d.complain(path, "cannot use "+path+": "+reason)
		}
		if reason := of.checkPing(); reason != "" {
			d.complain(path, "cannot use "+path+": "+reason)
		}
		for _, reason := range of.checkExec() {
			d.complain(path, "cannot use "+path+": "+reason)
		}
		for _, reason := range of.checkSNMP() {
			d.complain(path, "cannot use "+path+": "+reason)
		}
		seen := make(map[string]bool)
		for _, device := range of.Devices() {
			if seen[device.Name] {
				d.complain(path, "cannot use "+path+": two targets are called "+quote(device.Name)+"; give one of them another name")
			}
			seen[device.Name] = true
		}
		if len(seen) == 0 && !of.Inventory && of.Kind != LuaKind {
			d.complain(path, "cannot use "+path+": it has no targets, and inventory is not true, so there is nothing to poll")
		}
	}
}
