package front

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// values are those of a point of host:ndpi, changed by pairs of name and value; nil takes one away.
func values(changes ...any) map[string]any {
	v := map[string]any{"ifid": 1.0, "host": "10.0.0.9", "protocol": "DNS", "bytes_sent": 1.0, "bytes_rcvd": 2.0}
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if v[name] = changes[i+1]; v[name] == nil {
			delete(v, name)
		}
	}
	return v
}

// R22: the recorded texts, in the recorded order, and what we refuse besides. Every
// refusal is in the log and in the ledger.
func TestR22_Append(t *testing.T) {
	f := func(s Sample, reason refusal, want string) {
		t.Helper()
		var out bytes.Buffer
		log, registry, driver := slog.New(slog.NewTextHandler(&out, nil)), telemetry.NewRegistry(), new(memory.Driver)
		definitions := NewDefinitions([]*Definition{{Schema: &timeseries.Schema{Name: "app:plain", Step: 60, Tags: []string{"host"}, Metrics: []string{"v"}}}}, log)
		front := New(definitions, NewDrivers([]Target{{Name: "memory", Driver: driver}}, "memory", registry, log), registry, log)
		front.now = func() time.Time { return time.Unix(start, 0) }
		var refused []Refusal
		ledger := "ts_utils received=1 passed=1"
		if want != "" {
			refused = []Refusal{{0, want}}
			ledger = "ts_utils received=1 passed=0 " + string(reason) + "=1"
		}
		if diff := cmp.Diff(refused, front.Append(t.Context(), []Sample{s})); diff != "" {
			t.Errorf("%v: %s", s, diff)
		}
		if got := accounts(registry); len(got) != 1 || got[0] != ledger {
			t.Errorf("%v: the ledger is %q, want %q", s, got, ledger)
		}
		logged := out.Len() > 0
		if quiet := want == "" || reason == late; logged == quiet {
			t.Errorf("%v: the log is %q", s, out.String())
		}
		stored := 0
		for _, err := range driver.List(t.Context(), timeseries.ListQuery{Schema: definitions.Lookup("host:ndpi").Schema}) {
			if err == nil {
				stored++
			}
		}
		if s.Schema == "host:ndpi" && (stored == 1) != (want == "") {
			t.Errorf("%v: %d series are stored", s, stored)
		}
	}
	ndpi := func(changes ...any) Sample { return Sample{Schema: "host:ndpi", Values: values(changes...)} }
	at := func(when any) Sample { return Sample{Schema: "host:ndpi", Values: values(), Time: when} }
	hurried := func(schema string, values map[string]any) Sample {
		return Sample{Schema: schema, Values: values, Late: true}
	}

	f(ndpi(), "", "")
	f(Sample{Schema: "no:such"}, unknownSchema, "Schema not found: no:such")
	f(Sample{Schema: "local_senders", Values: map[string]any{"ifid": 1.0}}, unknownSchema, "Schema not found: local_senders")
	f(ndpi("host", nil), missingTag, "Missing mandatory tag 'host' while using schema host:ndpi")
	f(Sample{Schema: "host:ndpi"}, missingTag, "Missing mandatory tag 'ifid' while using schema host:ndpi")
	f(ndpi("protocol", "a/b"), invalidTag, `Invalid tag 'protocol' in schema host:ndpi, it contains '\' or '/' characters`)
	f(ndpi("protocol", `a\b`), invalidTag, `Invalid tag 'protocol' in schema host:ndpi, it contains '\' or '/' characters`)
	f(ndpi("bytes_rcvd", nil), missingMetric, "Missing mandatory metric 'bytes_rcvd' while using schema host:ndpi")
	f(ndpi("port", 1.0), unknownName, "unknown tag/metric 'port' in schema host:ndpi")
	f(Sample{Schema: "app:plain", Values: map[string]any{"host": "a", "v": 1.0}}, noInterface, "An 'ifid' tag is required in schema app:plain")
	f(hurried("host:ndpi", values()), late, "The deadline of the script is near, and schema host:ndpi is not critical")
	f(hurried("iface:traffic", map[string]any{"ifid": 1.0, "bytes": 1.0}), "", "")

	// The order: each has everything wrong that is checked later.
	f(ndpi("host", nil, "protocol", "a/b", "bytes_sent", nil, "x", 1.0), missingTag, "Missing mandatory tag 'host' while using schema host:ndpi")
	f(ndpi("protocol", "a/b", "bytes_sent", nil, "x", 1.0), invalidTag, `Invalid tag 'protocol' in schema host:ndpi, it contains '\' or '/' characters`)
	f(ndpi("bytes_sent", nil, "bytes_rcvd", "x", "x", 1.0), missingMetric, "Missing mandatory metric 'bytes_sent' while using schema host:ndpi")
	f(ndpi("bytes_rcvd", "x", "z", 1.0, "y", 1.0), unknownName, "unknown tag/metric 'y' in schema host:ndpi")
	f(Sample{Schema: "app:plain", Values: map[string]any{"host": "a", "v": "x"}}, noInterface, "An 'ifid' tag is required in schema app:plain")

	// What we refuse besides.
	f(ndpi("bytes_sent", math.NaN()), badValue, "Metric 'bytes_sent' in schema host:ndpi is NaN, a finite number is needed")
	f(ndpi("bytes_sent", math.Inf(-1)), badValue, "Metric 'bytes_sent' in schema host:ndpi is -Inf, a finite number is needed")
	f(ndpi("bytes_sent", true), badValue, "Metric 'bytes_sent' in schema host:ndpi is true, a finite number is needed")
	f(ndpi("bytes_sent", "12x"), badValue, `Metric 'bytes_sent' in schema host:ndpi is "12x", a finite number is needed`)
	f(ndpi("bytes_sent", "nan"), badValue, `Metric 'bytes_sent' in schema host:ndpi is "nan", a finite number is needed`)
	f(ndpi("bytes_sent", " 12 "), "", "")
	f(ndpi("bytes_sent", int64(12)), "", "")
	f(at(math.NaN()), badTime, "The timestamp in schema host:ndpi is NaN, a finite number is needed")
	f(at("soon"), badTime, `The timestamp in schema host:ndpi is "soon", a finite number is needed`)
	f(at(false), badTime, `The timestamp in schema host:ndpi is false, a finite number is needed`)
	f(at(-1.0), badTime, "The timestamp -1 in schema host:ndpi is before 1970")
	f(at(1795310100000.0), badTime, "The timestamp 1795310100000 in schema host:ndpi is more than a day ahead of now, 1795310100; seconds are needed")
	f(at(float64(start+86401)), badTime, "The timestamp 1795396501 in schema host:ndpi is more than a day ahead of now, 1795310100; seconds are needed")
	f(at(float64(start+86400)), "", "")
	f(at(int64(0)), "", "")

	// Tag values (section 9).
	f(ndpi("host", ""), "", "")
	f(ndpi("host", `O'Neil, "x"=1 / \ ünï`, "protocol", "x"), invalidTag, `Invalid tag 'host' in schema host:ndpi, it contains '\' or '/' characters`)
	f(ndpi("host", `O'Neil, "x"=1 ünï`), "", "")
	f(ndpi("host", "a\nb"), invalidTag, `cannot append to "host:ndpi": tag host holds a newline or NUL: "a\nb"`)
	f(ndpi("host", strings.Repeat("x", 1025)), invalidTag, `cannot append to "host:ndpi": tag host is 1025 bytes long, at most 1024 are allowed; it begins "`+strings.Repeat("x", 60)+`"`)
	f(ndpi("host", []any{"a"}), invalidTag, "Invalid tag 'host' in schema host:ndpi, it is neither text nor a number")
	f(Sample{Schema: "host:traffic", Values: map[string]any{"ifid": 1.0, "host": `a/b\c`, "bytes_sent": 1.0, "bytes_rcvd": 1.0}}, "", "")
}

// A time is cut to whole seconds, and is now when there is none; a number is one tag
// value whatever way it is written (section 9).
func TestPoint(t *testing.T) {
	front, _ := open(t)
	f := func(when, ifid any, wantTime int64, wantTag string) {
		t.Helper()
		p, why, text := front.point(&Sample{Schema: "host:ndpi", Time: when, Values: values("ifid", ifid, "bytes_sent", "12")}, start)
		want := timeseries.Point{Schema: p.Schema, Time: wantTime, Tags: []string{wantTag, "10.0.0.9", "DNS"}, Values: []float64{12, 2}}
		if diff := cmp.Diff(want, p); why != "" || diff != "" {
			t.Errorf("%v, %v: %s %s", when, ifid, text, diff)
		}
	}
	f(nil, "1", start, "1")
	f(1000.7, 1.0, 1000, "1")
	f("1000.7", int64(1), 1000, "1")
	f(int64(1000), -1.0, 1000, "-1")
	f(0.0, 1.5, 0, "1.5")
	f(0.0, "1.0", 0, "1.0")
	f(0.0, 1e15, 0, "1000000000000000")
	f(0.0, 1e300, 0, "1e+300")
	f(0.0, true, 0, "true")
}

// What some driver does not take is told one by one; the others are stored.
func TestAppendRefusedByDrivers(t *testing.T) {
	registry := telemetry.NewRegistry()
	full := &picky{refuse: "full"}
	front := New(NewDefinitions(nil, quiet), NewDrivers([]Target{{Name: "a", Driver: full}}, "a", registry, quiet), registry, quiet)
	sample := func(host string) Sample {
		return Sample{Schema: "host:traffic", Time: float64(start), Values: map[string]any{"ifid": 1.0, "host": host, "bytes_sent": 1.0, "bytes_rcvd": 1.0}}
	}
	bad := sample("x")
	bad.Schema = "no:such"
	got := front.Append(t.Context(), []Sample{sample("a"), sample("full"), bad, sample("b")})
	want := []Refusal{{1, "limit reached"}, {2, "Schema not found: no:such"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	full.down = errors.New("it is down")
	got = front.Append(t.Context(), []Sample{sample("a"), sample("b")})
	if diff := cmp.Diff([]Refusal{{0, "it is down"}, {1, "it is down"}}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"ts_utils received=6 passed=2 not_stored=3 unknown_schema=1"}, accounts(registry)); diff != "" {
		t.Error(diff)
	}
	if front.Append(t.Context(), nil) != nil {
		t.Error("nothing was refused")
	}
}

func TestAppendAllocations(t *testing.T) {
	front, _ := open(t)
	s := Sample{Schema: "host:ndpi", Values: values()}
	if n := testing.AllocsPerRun(100, func() {
		if _, why, _ := front.point(&s, start); why != "" {
			t.Fatal(why)
		}
	}); n > 2 { // the tags and the values of the point
		t.Errorf("%v allocations for a point", n)
	}
}
