package front

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/timeseries"
)

func TestBuiltin(t *testing.T) {
	all := Builtin()
	if len(all) != 205 {
		t.Errorf("there are %d built-in schemas, want 205", len(all))
	}
	seen := make(map[string]bool)
	for _, d := range all {
		name := d.Schema.Name
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if d.Schema.Tags[0] != IfID {
			t.Errorf("%s: the first tag is %s", name, d.Schema.Tags[0])
		}
		if d.Virtual() {
			if virtual[name] == "" {
				t.Errorf("%s: no metrics", name)
			}
		} else if err := d.Schema.Validate(); err != nil {
			t.Error(err)
		}
	}
	f := func(want *Definition) {
		t.Helper()
		i := slices.IndexFunc(all, func(d *Definition) bool { return d.Schema.Name == want.Schema.Name })
		if i < 0 {
			t.Errorf("%s is missing", want.Schema.Name)
		} else if diff := cmp.Diff(want, all[i]); diff != "" {
			t.Error(diff)
		}
	}
	f(&Definition{Schema: &timeseries.Schema{Name: "iface:traffic", Step: 1, Tags: []string{"ifid"}, Metrics: []string{"bytes"}}, Critical: true, RRDName: "bytes"})
	f(&Definition{Schema: &timeseries.Schema{Name: "iface:throughput_bps", Step: 1, Type: timeseries.Gauge, Aggregation: timeseries.Max, Tags: []string{"ifid"}, Metrics: []string{"bps"}}, Critical: true})
	f(&Definition{Schema: &timeseries.Schema{Name: "snmp_if:usage", Step: 300, Type: timeseries.Gauge, Heartbeat: 3000, Tags: []string{"ifid", "device", "if_index"}, Metrics: []string{"uplink", "downlink"}}, System: true, RRDName: "usage"})
	f(&Definition{Schema: &timeseries.Schema{Name: "influxdb:memory_size", Step: 10, Type: timeseries.Gauge, Tags: []string{"ifid"}, Metrics: []string{"mem_bytes"}}, System: true, Internal: true})
	f(&Definition{Schema: &timeseries.Schema{Name: "asn:score_anomalies", Step: 300, Type: timeseries.Gauge, Tags: []string{"ifid", "asn"}, Metrics: []string{"anomaly"}}, Commercial: true})
	f(&Definition{Schema: &timeseries.Schema{Name: "local_senders", Step: 300, Tags: []string{"ifid"}}, System: true})
}

// own is a schema of the configuration.
func own(name string, metrics ...string) *Definition {
	return &Definition{Schema: &timeseries.Schema{Name: name, Step: 60, Tags: []string{IfID}, Metrics: metrics}}
}

func TestDefinitions(t *testing.T) {
	var out bytes.Buffer
	d := NewDefinitions([]*Definition{own("host:traffic", "mine"), own("app:latency", "p50")}, slog.New(slog.NewTextHandler(&out, nil)))
	if got := d.Lookup("host:traffic").Schema.Metrics; !slices.Equal(got, []string{"mine"}) {
		t.Errorf("host:traffic has %q, want that of the configuration", got)
	}
	if d.Lookup("app:latency") == nil || d.Lookup("host:ndpi") == nil || d.Lookup("app:none") != nil {
		t.Error("not found, or found")
	}
	first := own("x:y", "a")
	if d.Define(first) != first || d.Define(own("x:y", "a")) != first || out.Len() > 0 {
		t.Errorf("the same definition again: %s", out.String())
	}
	if d.Define(own("x:y", "b")) != first || !strings.Contains(out.String(), "Schema already defined: x:y") {
		t.Errorf("another definition: %s", out.String())
	}
	if all := d.All(); len(all) != 207 || !slices.IsSortedFunc(all, func(a, b *Definition) int { return strings.Compare(a.Schema.Name, b.Schema.Name) }) {
		t.Errorf("all are %d, or not sorted", len(all))
	}
}

// R23: a prefix stands for all schemas whose names begin with it and a colon.
func TestR23_Prefix(t *testing.T) {
	d := NewDefinitions([]*Definition{own("g2:a", "v"), own("g28:x", "v")}, slog.New(slog.DiscardHandler))
	f := func(prefix string, want ...string) {
		t.Helper()
		var got []string
		for _, of := range d.ByPrefix(prefix) {
			got = append(got, of.Schema.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", prefix, got, want)
		}
	}
	f("g2", "g2:a")
	f("g28", "g28:x")
	f("mac", "mac:arp_rqst_sent_rcvd_rpls", "mac:ndpi_categories", "mac:traffic")
	f("g")
	f("")
}

func TestAdjusted(t *testing.T) {
	f := func(name string, a Adjustments, step, insertion, heartbeat int64) {
		t.Helper()
		for _, d := range Builtin() {
			if d.Schema.Name != name {
				continue
			}
			got := d.Adjusted(a)
			if got.Schema.Step != step || got.insertionStep() != insertion || got.Schema.Continuous() != heartbeat {
				t.Errorf("%s %+v: step %d, insertion %d, heartbeat %d, want %d, %d, %d", name, a, got.Schema.Step, got.insertionStep(), got.Schema.Continuous(), step, insertion, heartbeat)
			}
			if same := a == (Adjustments{}); (got == d) != same {
				t.Errorf("%s: the same is %v", name, got == d)
			}
			return
		}
		t.Errorf("there is no %s", name)
	}
	f("host:traffic", Adjustments{}, 300, 300, 600)
	f("host:traffic", Adjustments{HighResolution: true}, 60, 60, 120)
	f("snmp_dev:cpu_states", Adjustments{}, 300, 300, 600)
	f("iface:traffic", Adjustments{Routers: true}, 4, 1, 2)
	f("iface:traffic", Adjustments{StatsPeriod: 5}, 5, 1, 2)
	system := &Definition{System: true, Schema: &timeseries.Schema{Name: "a:b", Step: 300}}
	if system.Adjusted(Adjustments{HighResolution: true}) != system {
		t.Error("a schema of the system has changed")
	}
}

// A definition survives the way to a script and back.
func TestForm(t *testing.T) {
	for _, d := range Builtin() {
		back, err := d.Form().Definition()
		if err != nil {
			t.Error(err)
			continue
		}
		want := *d
		want.InsertionStep, want.Internal, want.Commercial = d.insertionStep(), false, false // which only the catalogue tells
		if diff := cmp.Diff(&want, back, cmp.Transformer("nil", func(list []string) []string { return append([]string{}, list...) })); diff != "" {
			t.Errorf("%s: %s", d.Schema.Name, diff)
		}
	}
	f := func(text, want string) {
		t.Helper()
		var form Form
		err := form.UnmarshalJSON([]byte(text))
		if err == nil {
			_, err = form.Definition()
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	f(`{"name":"a:b","options":[],"_tags":{},"_metrics":["m"]}`, `cannot use schema "a:b": step 0 must be 1 to 1073741824 seconds`)
	f(`{"name":"a b","options":{"step":1},"_metrics":["m"]}`, `cannot use schema "a b": its name must be prefix:rest with one colon, no spaces and at most 255 bytes`)
	f(`{"name":"local","options":{"step":1}}`, `cannot use schema "local": its name must be prefix:rest with one colon, no spaces and at most 255 bytes`)
	f(`{"name":"a:b","options":{"step":"x"},"_metrics":["m"]}`, `cannot use the option step of schema "a:b": it is "x", want a whole number of seconds`)
	f(`{"name":"a:b","options":{"step":60,"metrics_type":"rate"},"_metrics":["m"]}`, `cannot use the option metrics_type of schema "a:b": it is "rate", want counter, gauge or derivative`)
	f(`{"name":"a:b","options":{"step":60},"_metrics":["m","m"]}`, `cannot use schema "a:b": tag or metric "m" is empty, too long or there twice`)
	form := Form{Name: "a:b", Options: map[string]any{"step": "60", "aggregation_function": "median", "influx_internal_query": true, "keep_total": false}, Metrics: []string{"m"}}
	d, err := form.Definition()
	want := &Definition{Schema: &timeseries.Schema{Name: "a:b", Step: 60, Metrics: []string{"m"}}, Options: map[string]any{"influx_internal_query": true}}
	if diff := cmp.Diff(want, d); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestArchives(t *testing.T) {
	f := func(step int64, want ...Archive) {
		t.Helper()
		if got := Archives(step); !slices.Equal(got, want) {
			t.Errorf("%d: got %v, want %v", step, got, want)
		}
	}
	f(1, Archive{1, 86400}, Archive{60, 43200}, Archive{3600, 2400})
	f(4, Archive{1, 86400}, Archive{60, 43200}, Archive{3600, 2400})
	f(10, Archive{1, 86400}, Archive{12, 43200}, Archive{720, 2400})
	f(300, Archive{1, 288}, Archive{12, 2400}, Archive{288, 365})
	f(3600, Archive{1, 720}, Archive{24, 365})
	f(86400, Archive{1, 720}, Archive{24, 365})
}
