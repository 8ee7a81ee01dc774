package front

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// start is the time of the first points of the tests: that of the worked example (section 5.3).
const start = 1795310100

// open returns a Front over one driver in memory, in which it is an hour after start.
func open(t *testing.T) (*Front, *memory.Driver) {
	t.Helper()
	driver := new(memory.Driver)
	log, registry := slog.New(slog.DiscardHandler), telemetry.NewRegistry()
	drivers := NewDrivers([]Target{{Name: "memory", Driver: driver, Local: true}}, "memory", registry, log)
	f := New(NewDefinitions(nil, log), drivers, registry, log)
	f.now = func() time.Time { return time.Unix(start+3600, 0) }
	return f, driver
}

// call calls a function and compares the reply.
func call(t *testing.T, f *Front, function, arguments, want string) {
	t.Helper()
	var got, wanted any
	text := f.Call(t.Context(), function, []byte(arguments))
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err, want)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("%s(%s)\n%s\n%s", function, arguments, text, diff)
	}
}

// worked appends the points of the worked example, and ten times as much of TLS.
func worked(t *testing.T, f *Front) {
	t.Helper()
	var samples []Sample
	for i := range 6 {
		for protocol, factor := range map[string]float64{"DNS": 1, "TLS": 10} {
			samples = append(samples, Sample{Schema: "host:ndpi", Time: float64(start + 300*i), Values: map[string]any{
				"ifid": 1.0, "host": "10.0.0.9", "protocol": protocol, "bytes_sent": factor * float64(3000*i), "bytes_rcvd": factor * float64(6000*i)}})
		}
	}
	if refused := f.Append(t.Context(), samples); refused != nil {
		t.Fatal(refused)
	}
}

const dns = `"schema":"host:ndpi","tags":{"ifid":1,"host":"10.0.0.9","protocol":"DNS"},"epoch_begin":1795310100,"epoch_end":1795311600`

// R2: an answer has both shapes at once.
func TestR02_BothShapes(t *testing.T) {
	f, _ := open(t)
	worked(t, f)
	a, err := f.Query(t.Context(), NewQuestion("host:ndpi", timeseries.Tags{"ifid": "1", "host": "10.0.0.9", "protocol": "DNS", "else": "x"}, start, start+1500))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	const tags = `{"host":"10.0.0.9","ifid":"1","protocol":"DNS"}`
	figures := func(total, v string) string {
		return `{"total":` + total + `,"average":` + v + `,"min_val":` + v + `,"min_val_idx":0,"max_val":` + v + `,"max_val_idx":0,"95th_percentile":` + v
	}
	want := `{"metadata":{"schema":"host:ndpi","query":` + tags + `,"epoch_begin":1795310100,"epoch_end":1795311600,"epoch_step":300,"num_point":5},` +
		`"start":1795310100,"end":1795311600,"step":300,"raw_step":300,"count":5,"series":[` +
		`{"id":"bytes_sent","label":"bytes_sent","tags":` + tags + `,"data":[10,10,10,10,10],"statistics":` + figures("15000", "10") + `}},` +
		`{"id":"bytes_rcvd","label":"bytes_rcvd","tags":` + tags + `,"data":[20,20,20,20,20],"statistics":` + figures("30000", "20") + `}}],` +
		`"statistics":` + figures("45000", "30") + `,"by_serie":[` + figures("15000", "10") + `},` + figures("30000", "20") + `}]},` +
		`"additional_series":{"total":[30,30,30,30,30]},"source_aggregation":"raw"}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
}

// R3: both call styles, every function with its JSON.
func TestR03_BothCallStyles(t *testing.T) {
	f, _ := open(t)
	worked(t, f)
	of := func(question string, more ...string) string {
		return "{" + strings.Join(append([]string{question}, more...), ",") + "}"
	}
	// Contract and one-table calls answer the same.
	call(t, f, "query", of(dns, `"calculate_stats":false,"tags_and":1`), `{"value":{"metadata":{"schema":"host:ndpi","query":{"host":"10.0.0.9","ifid":"1","protocol":"DNS"},
		"epoch_begin":1795310100,"epoch_end":1795311600,"epoch_step":300,"num_point":5},"start":1795310100,"end":1795311600,"step":300,"raw_step":300,"count":5,"series":[
		{"id":"bytes_sent","label":"bytes_sent","tags":{"host":"10.0.0.9","ifid":"1","protocol":"DNS"},"data":[10,10,10,10,10]},
		{"id":"bytes_rcvd","label":"bytes_rcvd","tags":{"host":"10.0.0.9","ifid":"1","protocol":"DNS"},"data":[20,20,20,20,20]}],
		"additional_series":{"total":[30,30,30,30,30]},"source_aggregation":"raw"}}`)
	if a, b := f.Call(t.Context(), "query", []byte(of(dns))), f.Call(t.Context(), "timeseries_query", []byte(of(dns))); string(a) != string(b) {
		t.Errorf("query answers\n%s\ntimeseries_query\n%s", a, b)
	}
	top := `"schema":"host:ndpi","tags":{"ifid":"1","host":"10.0.0.9"},"epoch_begin":1795310100,"epoch_end":1795311600,"calculate_stats":false,"top":1`
	item := `"topk":[{"tags":{"host":"10.0.0.9","ifid":"1","protocol":"TLS"},"value":450000,"partials":{"bytes_rcvd":300000,"bytes_sent":150000}}]`
	rest := `"metadata":{"schema":"host:ndpi","query":{"host":"10.0.0.9","ifid":"1"},"epoch_begin":1795310100,"epoch_end":1795311600,"epoch_step":300,"num_point":5},
		"start":1795310100,"end":1795311600,"step":300,"raw_step":300,"count":5,"additional_series":{"total":[330,330,330,330,330]},"source_aggregation":"raw"`
	line := `{"id":"bytes","label":"bytes","name":"TLS","tags":{"host":"10.0.0.9","ifid":"1","protocol":"TLS"},"data":[300,300,300,300,300]}`
	call(t, f, "timeseries_query_top", of(top), `{"value":`+of(item, rest, `"series":[`+line+`]`)+`}`)
	call(t, f, "queryTopk", of(top, `"with_series":true`), `{"value":`+of(item, rest, `"series":[`+line+`]`)+`}`)
	call(t, f, "queryTopk", of(top), `{"value":`+of(item, rest, `"series":[]`)+`}`)
	if a, b := f.Call(t.Context(), "timeseries_query_top", []byte(of(dns))), f.Call(t.Context(), "timeseries_query", []byte(of(dns))); string(a) != string(b) {
		t.Errorf("a top query without a missing tag is no plain query: %s", a) // section 3.1
	}
	call(t, f, "queryTotal", of(dns), `{"value":{"bytes_sent":15000,"bytes_rcvd":30000}}`)
	call(t, f, "queryTotal", `{"schema":"host:ndpi","tags":{"ifid":1,"extra":"x"},"epoch_begin":1795310100,"epoch_end":"1795311600.5"}`, `{"value":{"bytes_sent":165000,"bytes_rcvd":330000}}`)
	call(t, f, "queryMean", of(dns), `{"value":{"bytes_sent":3000,"bytes_rcvd":6000}}`)
	call(t, f, "queryMean", `{"schema":"host:ndpi","tags":{},"epoch_begin":1795310100,"epoch_end":1795310100}`, `{"value":{"bytes_sent":null,"bytes_rcvd":null}}`)
	call(t, f, "queryLastValues", of(dns, `"num_points":2`), `{"value":{"bytes_sent":[10,10],"bytes_rcvd":[20,20]}}`)
	call(t, f, "queryLastValues", `{"schema":"host:ndpi","tags":{"ifid":1,"host":"10.0.0.9","protocol":"DNS"},"epoch_begin":1795310700,"epoch_end":1795313700}`,
		`{"value":{"bytes_sent":[10,10,10],"bytes_rcvd":[20,20,20]}}`)
	call(t, f, "listSeries", `{"schema":"host:ndpi","tags":{"protocol":"DNS","unknown":"x"},"start_time":1795311600}`, `{"value":[{"ifid":"1","host":"10.0.0.9","protocol":"DNS"}]}`)
	call(t, f, "listSeries", `{"schema":"host:ndpi","tags":[],"start_time":1795311601}`, `{"value":[]}`)
	call(t, f, "listSeries", `{"schema":"host:ndpi","tags":{"host":"x"}}`, `{"code":"no_series","error":"cannot query \"host:ndpi\" with map[host:x]: no such series"}`)
	call(t, f, "batchListSeries", `[{"schema":"host:ndpi","tags":{"protocol":"TLS"}},{"schema":"host:ndpi","tags":{"host":"x"}},{"schema":"no:such"}]`,
		`{"value":[[{"ifid":"1","host":"10.0.0.9","protocol":"TLS"}],null,null]}`)
	call(t, f, "exists", `{"schema":"host:ndpi","tags":{"ifid":1}}`, `{"value":true}`)
	call(t, f, "exists", `{"schema":"host:ndpi","tags":{"ifid":2}}`, `{"value":false}`)
	call(t, f, "append", `[{"schema":"host:traffic","values":{"ifid":1,"host":"a","bytes_sent":1,"bytes_rcvd":1}},{"schema":"x"},{"schema":"y"}]`,
		`{"value":[{"index":1,"reason":"Schema not found: x"},{"index":2,"reason":"Schema not found: y"}]}`)
	call(t, f, "append", `[]`, `{"value":[]}`)
	call(t, f, "getLatestTimestamp", ``, `{"value":1795313700}`)
	call(t, f, "setup", ``, `{"value":true}`)
	call(t, f, "export", `null`, `{"value":true}`)
	call(t, f, "deleteOldData", `{}`, `{"value":true}`)
	call(t, f, "listActiveDrivers", ``, `{"value":[{"name":"memory","reads":true}]}`)
	call(t, f, "getSchema", `{"name":"snmp_if:cbqos","adjustments":{"high_resolution":true}}`, `{"value":{"name":"snmp_if:cbqos","_tags":["ifid","device","if_index","qos_class_id"],"_metrics":["pre","drops","post"],
		"options":{"step":300,"insertion_step":300,"metrics_type":"gauge","aggregation_function":"mean","is_system_schema":true,"rrd_fname":"qos","rrd_heartbeat":3000},
		"retention":[{"aggregation_dp":1,"retention_dp":288},{"aggregation_dp":12,"retention_dp":2400},{"aggregation_dp":288,"retention_dp":365}]}}`)
	call(t, f, "getSchema", `{"name":"no:such"}`, `{"code":"unknown_schema","error":"unknown schema \"no:such\""}`)
	call(t, f, "newSchema", `{"name":"my:own","options":{"step":3600,"metrics_type":"gauge"},"_tags":["ifid"],"_metrics":["v"]}`, `{"value":{"name":"my:own","_tags":["ifid"],"_metrics":["v"],
		"options":{"step":3600,"insertion_step":3600,"metrics_type":"gauge","aggregation_function":"mean"},"retention":[{"aggregation_dp":1,"retention_dp":720},{"aggregation_dp":24,"retention_dp":365}]}}`)
	call(t, f, "append", `[{"schema":"my:own","values":{"ifid":1,"v":"7"},"time":1795312800}]`, `{"value":[]}`)
	call(t, f, "queryTotal", `{"schema":"my:own","epoch_begin":0,"epoch_end":1795312800}`, `{"value":{"v":7}}`)
	var loaded struct{ Value []Form }
	if err := json.Unmarshal(f.Call(t.Context(), "getLoadedSchemas", nil), &loaded); err != nil || len(loaded.Value) != 206 {
		t.Error(err, len(loaded.Value))
	}
	call(t, f, "delete", `{"prefix":"host","tags":{"protocol":"DNS"}}`, `{"value":true}`)
	call(t, f, "exists", `{"schema":"host:ndpi","tags":{"protocol":"DNS"}}`, `{"value":false}`)
	call(t, f, "delete", `{"prefix":"host:ndpi","tags":{}}`, `{"code":"failed","error":"Full schema labels not supported, use schema prefixes instead."}`)
	call(t, f, "delete", `{"prefix":"","tags":[]}`, `{"code":"failed","error":"cannot delete every series: name a schema prefix, or the tag ifid of the interface to delete"}`)
	call(t, f, "delete", `{"prefix":"","tags":{"ifid":1}}`, `{"value":true}`)
	call(t, f, "exists", `{"schema":"my:own"}`, `{"value":false}`)

	// What is wrong with a call.
	call(t, f, "timeseries_query", `{"schema":"no:such"}`, `{"code":"unknown_schema","error":"unknown schema \"no:such\""}`)
	call(t, f, "query", `{"schema":"host:ndpi","tags":{"ifid":1,"protocol":"x"}}`, `{"code":"missing_tag","error":"missing tag 'host' in schema host:ndpi"}`)
	call(t, f, "query", `{"schema":"host:ndpi","tags":{"ifid":1,"host":"none","protocol":"x"}}`, `{"code":"no_series","error":"cannot query \"host:ndpi\" with map[host:none ifid:1 protocol:x]: no such series"}`)
	call(t, f, "query", `{"schema":"host:ndpi","tags":{"ifid":1,"host":"a","protocol":"x"},"epoch_begin":2,"epoch_end":1}`, `{"code":"bad_range","error":"cannot query \"host:ndpi\": start is after end: 2, 1"}`)
	call(t, f, "query", `[1]`, `{"code":"bad_call","error":"bad call: cannot read a question: json: cannot unmarshal array into Go value of type front.questionJSON"}`)
	call(t, f, "frobnicate", `{}`, `{"code":"bad_call","error":"bad call: there is no function \"frobnicate\""}`)
}
