package test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
)

// dogConfig is a StatsD server of the dialect with all its sockets, a store, and a connector that writes down what it gets.
const dogConfig = `
data: data
http: {listen: "127.0.0.1:0"}
sources:
  statsd:
    - listen: "udp://127.0.0.1:0"
    - listen: "unixgram://DIR/dgram.sock"
    - {listen: "unix://DIR/stream.sock", framing: length}
statsd:
  dialect: dogstatsd
  container_tag: true
  flush_interval: 1s
  percentiles: [50]
  management: {listen: ""}
  tag_rules: [{names: [app.many], drop: [pod]}]
  backends: [store]
connectors: [{name: export, script: export.lua, parameters: {file: DIR/out}, categories: ["neb:LogEntry"]}]
`

const dogScript = `
broker_api_version = 2
local file
function init(conf)
  file = assert(io.open(conf.file, "a"))
end
function write(e)
  file:write(string.format("%d %d %d %s|%s|%d|%s\n", e._type, e.ctime, e.status or 0, e.host_name or "", e.service_description or "", e.element, e.output))
  file:flush()
  return true
end
`

// A client of DogStatsD sends every type over UDP and both kinds of Unix socket, with tags, rates, values that it
// aggregated with their time, events and service checks: the store answers, and a stream connector has the notices.
func TestDogStatsDClient(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", strings.ReplaceAll(dogConfig, "DIR", dir))
	writeFile(t, dir, "export.lua", dogScript)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	at := time.Now().Add(-time.Hour).Truncate(time.Minute)
	for _, way := range [][2]string{
		{"udp", p.udp}, {"unixgram", "unix://" + filepath.Join(dir, "dgram.sock")}, {"unixstream", "unixstream://" + filepath.Join(dir, "stream.sock")},
	} {
		transport, address := way[0], way[1]
		t.Run(transport, func(t *testing.T) {
			// The client adds up counters and packs the values of timers, which is what the wire can carry.
			c, err := statsd.New(address, statsd.WithNamespace("app."), statsd.WithTags([]string{"via:" + transport}), statsd.WithoutTelemetry(),
				statsd.WithExtendedClientSideAggregation(), statsd.WithContainerID("c0ffee"), statsd.WithWriteTimeout(30*time.Second), statsd.WithConnectTimeout(30*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			for i := range 10 {
				must(c.Count("hits", 3, []string{"dc:lyon"}, 1))
				must(c.Histogram("size", float64(i-5), nil, 1))
				must(c.Distribution("latency", float64(i+1), nil, 1))
				must(c.Timing("took", time.Duration(i+1)*time.Millisecond, nil, 1))
				must(c.Set("who", fmt.Sprint(i%4), nil, 1))
				must(c.Incr("many", []string{fmt.Sprintf("pod:%d", i)}, 1))
			}
			must(c.Gauge("load", -1.5, nil, 1))
			must(c.Gauge("load", -2.5, nil, 1)) // no change of the one before
			must(c.CountWithTimestamp("late", 60, nil, 1, at))
			must(c.GaugeWithTimestamp("level", 7.5, nil, 1, at.Add(time.Second)))
			e := statsd.NewEvent("dep|loy "+transport, "line one\nline|two")
			e.Hostname, e.AlertType, e.Priority, e.AggregationKey, e.SourceTypeName, e.Timestamp = "web1", statsd.Error, statsd.Low, "key", "src", at
			must(c.Event(e))
			check := statsd.NewServiceCheck("redis."+transport, statsd.Critical)
			check.Hostname, check.Message, check.Timestamp = "web2", "it | m: is down", at
			must(c.ServiceCheck(check))
			must(c.Flush())

			for _, want := range []struct {
				schema, name, metric string
				value                float64
			}{
				{"statsd:counter", "app.hits", "rate", 30}, {"statsd:counter", "app.many", "rate", 10}, {"statsd:gauge", "app.load", "value", -2.5},
				{"statsd:timer", "app.size", "lower", -5}, {"statsd:timer", "app.latency", "upper", 10}, {"statsd:timer", "app.took", "count", 10},
				{"statsd:set", "app.who", "count", 4}, {"statsd:counter", "app.late", "rate", 60}, {"statsd:gauge", "app.level", "value", 7.5},
			} {
				if err := eventually(func() error {
					return p.dogPoint(want.schema, want.name, "via="+transport, want.metric, at.Add(-time.Minute), want.value)
				}); err != nil {
					t.Errorf("%v\n%s", err, p.log())
				}
			}
			if err := p.dogPoint("statsd:counter", "app.hits", "container_id=c0ffee", "rate", at, 30); transport == "udp" && err != nil {
				t.Error(err)
			}
			out := filepath.Join(dir, "out")
			for _, want := range []string{
				fmt.Sprintf("65577 %d 0 web1||41|EVENT: error;low;src;key;via:%s;dep|loy %s;line one\nline|two\n", at.Unix(), transport, transport),
				fmt.Sprintf("65577 %d 2 web2|redis.%s|41|CHECK: redis.%s;2;via:%s;it | m: is down\n", at.Unix(), transport, transport, transport),
			} {
				if err := eventually(func() error {
					text, err := os.ReadFile(out)
					if err == nil && !strings.Contains(string(text), want) {
						err = fmt.Errorf("no %q in\n%s", want, text)
					}
					return err
				}); err != nil {
					t.Errorf("%v\n%s", err, p.log())
				}
			}
		})
	}
	if received, passed, buffered, lost := p.account(t, "statsd.notices"); received != 6 || passed != 6 || buffered != 0 || lost != 0 {
		t.Errorf("notices: received %d, passed %d, buffered %d, lost %d", received, passed, buffered, lost)
	}
	if _, _, _, lost := p.account(t, "statsd.values"); lost != 0 {
		t.Errorf("%d values are lost", lost)
	}
	p.send(t, "_e{9,9}:short\nbad:x|c")
	if err := eventually(func() error {
		if _, _, _, lost := p.account(t, "statsd.values"); lost != 2 {
			return fmt.Errorf("%d values are lost, of two that are bad", lost)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	p.stopped(t)
	if _, err := os.Stat(filepath.Join(dir, "dgram.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// dogPoint reports whether the store has a value of a metric, since start and of the series with a tag. Of counters it
// is the sum.
func (p *process) dogPoint(schema, name, tag, metric string, start time.Time, want float64) error {
	var answer struct {
		Series []struct {
			Label string
			Data  []*float64
		}
	}
	parameters := url.Values{
		"schema": {schema}, "tag": {"name=" + name, tag}, "points": {"10000"},
		"start": {fmt.Sprint(start.Unix())}, "end": {fmt.Sprint(time.Now().Unix() + 2)},
	}
	if err := p.ask("/api/v1/query?"+parameters.Encode(), &answer); err != nil {
		return err
	}
	sum, found := 0.0, false
	for _, s := range answer.Series {
		for _, v := range s.Data {
			if s.Label == metric && v != nil {
				sum += *v
				found = found || *v == want
			}
		}
	}
	if schema == "statsd:counter" {
		found = sum == want
	}
	if !found {
		return fmt.Errorf("%s %s of %s with %s: not %v", name, metric, schema, tag, want)
	}
	return nil
}

// Every configuration in YAML on the page is fine.
func TestStatsDPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "statsd.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, path := range regexp.MustCompile(`/etc/weir/[\w.-]+`).FindAllString(string(page), -1) {
		text := "a secret of the page\n"
		if filepath.Ext(path) == ".lua" {
			text = dogScript
		}
		writeFile(t, dir, filepath.Base(path), text)
	}
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 7 {
		t.Errorf("there are %d configurations", len(blocks))
	}
	for _, block := range blocks {
		writeFile(t, dir, "weir.yaml", strings.ReplaceAll(block[1], "/etc/weir/", dir+"/"))
		p, err := begin(dir, append(environment(), "INFLUX_TOKEN=a token"), "check", "-c", "weir.yaml")
		if err != nil {
			t.Fatal(err)
		}
		<-p.done
		if p.code != 0 {
			t.Errorf("%s\n%d\n%s", block[1], p.code, p.log())
		}
	}
}
