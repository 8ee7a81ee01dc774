package feed

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

const statuses event.Type = 1<<16 | 29 // neb:ServiceStatus

// meters of the group under test, one of each kind that matters here.
var meters = []countergroup.Meter{{ID: 0, Name: "sum", Type: countergroup.Counter}, {ID: 1, Name: "last", Type: countergroup.Gauge}, {ID: 2, Name: "mean", Type: countergroup.Average}}

// fixture is a Feeder of one group and what the group holds.
type fixture struct {
	t      testing.TB
	feeder *Feeder
	engine *countergroup.Engine
	group  *countergroup.Group
	reg    *telemetry.Registry
}

func newFixture(t testing.TB, specs ...Spec) *fixture {
	t.Helper()
	x := &fixture{t: t, reg: telemetry.NewRegistry()}
	groups := countergroup.NewRegistry()
	x.engine = countergroup.New(countergroup.Config{}, groups, x.reg, slog.New(slog.DiscardHandler))
	definition := countergroup.Definition{Title: "Mine", GUID: "{00000000-0000-0000-0000-00000000000A}", Meters: meters}
	for _, s := range specs {
		if mistake := Check(s, meters); mistake != nil {
			t.Fatal(mistake)
		}
	}
	var err error
	if x.feeder, err = New([]Group{{definition, specs}}, groups, x.engine, x.reg); err != nil {
		t.Fatal(err)
	}
	x.group = groups.ByTitle("Mine")
	return x
}

// holds compares the keys by meter 0, descending, with "key=sum,last,mean".
func (x *fixture) holds(want ...string) {
	x.t.Helper()
	var got []string
	for _, row := range x.engine.Top(x.group, 0, 100).Rows {
		got = append(got, row.Key+"="+strings.ReplaceAll(strings.Trim(fmt.Sprint(row.Values), "[]"), " ", ","))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		x.t.Errorf("(-want +got):\n%s", diff)
	}
	for _, a := range x.reg.Accounts() {
		if !a.Balanced() {
			x.t.Errorf("%+v does not balance", a)
		}
	}
}

// dropped compares what was dropped, by reason.
func (x *fixture) dropped(want map[string]int64) {
	x.t.Helper()
	got := x.reg.Ledger("countergroup.feeds", "matches").Snapshot().Discarded
	if diff := cmp.Diff(want, got); diff != "" {
		x.t.Errorf("dropped (-want +got):\n%s", diff)
	}
}

func TestFlushes(t *testing.T) {
	flush := &backend.Flush{
		Counters: []backend.Counter{{Name: "web.a.requests", Value: 5}, {Name: "web.b.requests;env=prod", Value: 7}, {Name: "web.b.c.requests", Value: 9}, {Name: "web.idle.requests"}, {Name: "other", Value: 1}},
		Gauges:   []backend.Gauge{{Name: "disk;host=x.example.net;unit=/", Value: 80}, {Name: "disk;host=y", Value: -2}, {Name: "disk", Value: 4}},
		Timers:   []backend.Timer{{Name: "web.a.time", Values: []float64{1, 2, 6}, Fields: []backend.Field{{Name: "count", Value: 30}, {Name: "upper_90", Value: 6}}}, {Name: "web.idle.time"}},
		Sets:     []backend.Set{{Name: "web.a.users", Members: []string{"p", "q"}}, {Name: "web.idle.users"}},
	}
	f := func(want []string, specs ...Spec) *fixture {
		t.Helper()
		x := newFixture(t, specs...)
		if err := x.feeder.Backend().Flush(context.Background(), flush); err != nil {
			t.Fatal(err)
		}
		x.holds(want...)
		return x
	}
	f([]string{"b=7,0,0", "a=5,0,0"}, Spec{From: "statsd:counter", Match: []string{"name=web.*.requests"}, Key: "{1}", Meter: "sum"})
	f([]string{"b.c=9,0,0", "b=7,0,0", "a=5,0,0"}, Spec{From: "statsd:counter", Match: []string{"name=web.**.requests"}, Key: "{1}", Meter: "sum", Value: "count"})
	f([]string{"prod/b=7,0,0"}, Spec{From: "statsd:counter", Match: []string{`name=~web\.(\w+)\.requests`, "env=*"}, Key: "{2}/{1}", Meter: "sum"})
	f([]string{"all=22,0,0"}, Spec{From: "statsd:counter", Match: nil, Key: "all", Meter: "sum"})
	x := f([]string{"x.example.net=0,80,0", "y=0,-2,0"}, Spec{From: "statsd:gauge", Match: []string{"name=disk"}, Key: "{host}", Meter: "last"})
	x.dropped(map[string]int64{"no_field": 1, "no_value": 0})
	f([]string{"a=2,0,3"}, Spec{From: "statsd:timer", Match: []string{"name=web.*.time"}, Key: "{1}", Meter: "mean"}, Spec{From: "statsd:set", Match: []string{"name=web.*.users"}, Key: "{1}", Meter: "sum"})
	f([]string{"web.a.time=30,6,0"}, Spec{From: "statsd:timer", Key: "{name}", Meter: "sum", Value: "count"}, Spec{From: "statsd:timer", Key: "{name}", Meter: "last", Value: "upper_90"})
	x = f(nil, Spec{From: "statsd:timer", Key: "{name}", Meter: "sum", Value: "upper_99"})
	x.dropped(map[string]int64{"no_field": 0, "no_value": 1})
	if x := newFixture(t, Spec{From: "centreon:status", Key: "{host}", Meter: "sum"}); x.feeder.Backend() != nil || !x.feeder.FeedsPoints() {
		t.Error("a backend without a feed from StatsD")
	}
}

func serviceStatus(host, service, state int, output string, latency float64) event.Event {
	r := event.NewRecord(event.Lookup(statuses))
	r.Set("host_id", event.IntValue(int64(host)))
	r.Set("service_id", event.IntValue(int64(service)))
	r.Set("state", event.IntValue(int64(state)))
	r.Set("output", event.TextValue([]byte(output)))
	r.Set("latency", event.FloatValue(latency))
	return r.Encode()
}

func TestEvents(t *testing.T) {
	events := []event.Event{serviceStatus(7, 1, 2, "CRITICAL - disk 99.5%", 0.25), serviceStatus(7, 1, 2, "CRITICAL", 0.75), serviceStatus(8, 2, 0, "OK", 1), {Type: 1<<16 | 23, Payload: []byte{0xff}}}
	f := func(want []string, specs ...Spec) {
		t.Helper()
		x := newFixture(t, specs...)
		x.feeder.Events(events)
		x.holds(want...)
	}
	f([]string{"7/1=2,0,0"}, Spec{From: "neb:ServiceStatus", Match: []string{"state=2"}, Key: "{host_id}/{service_id}", Meter: "sum"})
	f([]string{"7=0,0.75,0.5", "8=0,1,1"}, Spec{From: "neb:ServiceStatus", Key: "{host_id}", Meter: "mean", Value: "latency"}, Spec{From: "neb:ServiceStatus", Key: "{host_id}", Meter: "last", Value: "latency"})
	f([]string{"disk 99.5%=2,0,0"}, Spec{From: "neb:ServiceStatus", Match: []string{"output=* - **"}, Key: "{2}", Meter: "sum", Value: "state"})
	f(nil, Spec{From: "neb:HostStatus", Key: "{host_id}", Meter: "sum"})
}

func TestPoints(t *testing.T) {
	schema := &timeseries.Schema{Name: "centreon:metric", Tags: []string{"host", "service", "metric"}, Metrics: []string{"value", "warning_low", "warning_high", "critical_low", "critical_high", "min", "max"}}
	none := math.NaN()
	point := func(host, metric string, value, high float64) timeseries.Point {
		return timeseries.Point{Schema: schema, Tags: []string{host, "disk", metric}, Values: []float64{value, none, high, none, none, none, none}}
	}
	x := newFixture(t, Spec{From: "centreon:metric", Match: []string{"metric=used"}, Key: `{host}\{service}`, Meter: "last"},
		Spec{From: "centreon:metric", Match: []string{"metric=used"}, Key: `{host}\{service}`, Meter: "sum", Value: "warning_high"})
	x.feeder.Points([]timeseries.Point{point("a", "used", 5, 10), point("a", "free", 6, none), point("b", "used", 7, none), {Schema: &timeseries.Schema{Name: "x:y"}}})
	x.holds(`a\disk=10,5,0`, `b\disk=0,7,0`)
	x.dropped(map[string]int64{"no_field": 0, "no_value": 1})
}

func TestMistakes(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		mistake := Check(s, meters)
		if mistake == nil || !strings.Contains(mistake.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, mistake, want)
		}
	}
	good := Spec{From: "centreon:metric", Key: "{host}", Meter: "sum"}
	if mistake := Check(good, meters); mistake != nil {
		t.Error(mistake)
	}
	with := func(change func(*Spec)) Spec { s := good; change(&s); return s }
	f(with(func(s *Spec) { s.From = "centreon:metrics" }), `cannot use "centreon:metrics" for from: it must be`)
	f(with(func(s *Spec) { s.From = "neb:nothing" }), `for from`)
	f(with(func(s *Spec) { s.Match = []string{"host=a", "nothing"} }), `cannot use "nothing" for match[1]: it must be FIELD=PATTERN`)
	f(with(func(s *Spec) { s.Match = []string{"hots=a"} }), `cannot use "hots" for match[0]: the source has no such field`)
	f(with(func(s *Spec) { s.Match = []string{"host=~("} }), "it is no regular expression")
	f(with(func(s *Spec) { s.Key = "" }), "for key: it must say")
	f(with(func(s *Spec) { s.Key = "{hots}" }), `cannot use "hots" for key`)
	f(with(func(s *Spec) { s.Key = "{}" }), "names no field")
	f(with(func(s *Spec) { s.Key = "{host" }), "a { without its }")
	f(with(func(s *Spec) { s.Match, s.Key = []string{"host=*"}, "{2}" }), "there is no {2}: match has 1 stars and groups")
	f(with(func(s *Spec) { s.Meter = "total" }), `cannot use "total" for meter`)
	f(with(func(s *Spec) { s.Value = "vlaue" }), `cannot use "vlaue" for value`)
	f(Spec{From: "statsd:timer", Key: "k", Meter: "sum", Value: "upper_x"}, `cannot use "upper_x" for value`)
	f(Spec{From: "neb:ServiceStatus", Key: "k", Meter: "sum", Value: "output"}, "the source has no such value")
	for _, name := range []string{"statsd:counter", "centreon:status", "neb:ServiceStatus", "neb:service_status", "storage:metric"} {
		if _, ok := lookup(name); !ok {
			t.Errorf("no source %q among %q", name, Sources())
		}
	}
}

func BenchmarkEvents(b *testing.B) {
	x := newFixture(b, Spec{From: "neb:ServiceStatus", Match: []string{"state=2"}, Key: "{host_id}/{service_id}", Meter: "sum"})
	var events []event.Event
	for i := range 500 {
		events = append(events, serviceStatus(i%100, i%7, i%3, "CRITICAL - disk full", 0.5))
	}
	x.feeder.Events(events)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		x.feeder.Events(events)
	}
	b.ReportMetric(float64(b.N)*float64(len(events))/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func TestNoAllocation(t *testing.T) {
	x := newFixture(t, Spec{From: "neb:ServiceStatus", Match: []string{"state=2", "output=CRIT*"}, Key: "{host_id}/{service_id}", Meter: "sum"})
	events := []event.Event{serviceStatus(7, 1, 2, "CRITICAL", 0.25), serviceStatus(8, 2, 2, "OK", 1)}
	x.feeder.Events(events)
	if n := testing.AllocsPerRun(100, func() { x.feeder.Events(events) }); n != 0 {
		t.Errorf("%v allocations for two events", n)
	}
}
