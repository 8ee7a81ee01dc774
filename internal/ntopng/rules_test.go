package ntopng

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// value is what a reply has at a path of keys and indexes, as JSON; "" when there is nothing.
func value(t *testing.T, text string, path ...any) string {
	t.Helper()
	at, _ := sorted(t, text)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, ok := at.(map[string]any)
			if _, there := object[step]; !ok || !there {
				return ""
			}
			at = object[step]
		case int:
			list, ok := at.([]any)
			if !ok || step >= len(list) {
				return ""
			}
			at = list[step]
		}
	}
	out, err := json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// reads checks one part of the reply to a GET.
func reads(t *testing.T, h *Handler, target, want string, path ...any) {
	t.Helper()
	status, text := ask(t, h, "GET", target, "")
	if got := value(t, text, path...); status != http.StatusOK || got != want {
		t.Errorf("%s: %d, %v is %s, want %s\n%s", target, status, path, got, want, text)
	}
}

// refused checks that a request is answered with invalid arguments.
func refused(t *testing.T, h *Handler, method, target, body, want string) {
	t.Helper()
	status, text := ask(t, h, method, target, body)
	text = strings.TrimSpace(text)
	reason, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	whole := `{"rc":-5,"rc_str":"INVALID_ARGUMENTS","rc_str_hr":"Invalid arguments","rsp":{"error":` + string(reason) + `}}`
	if status != http.StatusBadRequest || text != whole {
		t.Errorf("%s %s %s: %d\n%s\nwant\n%s", method, target, body, status, text, whole)
	}
}

var seriesPaths = []string{pathV2, pathV1, pathOldest}

// R30: a question without the interface is refused, in every version and in top queries.
func TestR30_NoInterface(t *testing.T) {
	h := open(t)
	for _, path := range seriesPaths {
		refused(t, h, "GET", path+"?ts_schema=host:ndpi&ts_query=host:10.0.0.9,protocol:DNS", "", `cannot query "host:ndpi": ts_query lacks the tag ifid`)
		refused(t, h, "GET", path+"?ts_schema=top:host:ndpi&ts_query=host:10.0.0.9", "", `cannot query "host:ndpi": ts_query lacks the tag ifid`)
		refused(t, h, "GET", path+"?ts_schema=top:local_senders", "", `cannot query "local_senders": ts_query lacks the tag ifid`)
	}
}

// R30b: no data is rc 0 and empty; an unknown schema and a missing tag are errors.
func TestR30b_NoData(t *testing.T) {
	h := open(t)
	const unknown = "?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.1,protocol:DNS"
	const reversed = "?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795311600&epoch_end=1795310100"
	for _, query := range []string{unknown, reversed, "?ts_schema=top:host:ndpi&ts_query=ifid:2", "?ts_schema=host:traffic&ts_query=ifid:1,host:a"} {
		reads(t, h, pathV2+query, `{"rc":0,"rc_str":"OK","rc_str_hr":"Success","rsp":{"metadata":[]}}`)
		reads(t, h, pathV1+query, `{"rc":0,"rc_str":"OK","rc_str_hr":"Success","rsp":[]}`)
		reads(t, h, pathOldest+query, `{"rc":0,"rc_str":"OK","rc_str_hr":"Success","rsp":[]}`)
	}
	for _, path := range seriesPaths {
		refused(t, h, "GET", path+"?ts_schema=no:such&ts_query=ifid:1", "", `unknown schema "no:such"`)
		refused(t, h, "GET", path+"?ts_schema=top:no:such&ts_query=ifid:1", "", `unknown schema "no:such"`)
		refused(t, h, "GET", path+"?ts_schema=host:ndpi&ts_query=ifid:1,protocol:DNS", "", `missing tag 'host' in schema host:ndpi`)
		refused(t, h, "GET", path, "", "the parameter ts_schema is missing: it names a schema such as iface:traffic")
		refused(t, h, "GET", path+"?ts_schema=a+b", "", `cannot use ts_schema="a b": the name of a schema has no spaces`)
		refused(t, h, "GET", path+"?ts_schema=host:ndpi&ts_query=ifid", "", `cannot use "ifid" of ts_query: tag:value,tag:value is needed`)
		refused(t, h, "GET", path+"?ts_schema=host:ndpi&ts_query=ifid:1&epoch_begin=soon", "", `cannot use epoch_begin="soon": a whole number is needed`)
		refused(t, h, "GET", path+"?ts_schema=host:ndpi&ts_query=ifid:1&epoch_end=nan", "", `cannot use epoch_end="nan": a whole number is needed`)
		refused(t, h, "GET", path+"?ts_schema=host:ndpi&ts_query=ifid:1&limit=all", "", `cannot use limit="all": a whole number is needed`)
		refused(t, h, "GET", path+"?ts_schema=host:ndpi&ts_query=ifid:1&ts_aggregation=5m", "", `cannot use ts_aggregation="5m": raw, 1m, 1h or 1d is needed`)
		refused(t, h, "GET", path+"?ts_schema=%zz", "", `cannot use the query "ts_schema=%zz": invalid URL escape "%zz"`)
	}
}

// R31: the versions are one code: what they share is equal, and begins where the grid does.
func TestR31_SharedShape(t *testing.T) {
	h := open(t)
	const query = "?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795310250&epoch_end=1795312200&limit=10"
	_, v2 := ask(t, h, "GET", pathV2+query, "")
	_, v1 := ask(t, h, "GET", pathV1+query, "")
	_, oldest := ask(t, h, "GET", pathOldest+query, "")
	if v1 != oldest {
		t.Errorf("the oldest path answers\n%s\nand v1\n%s", oldest, v1)
	}
	for _, path := range [][]any{{"metadata"}, {"series"}, {"statistics"}, {"start"}, {"end"}, {"step"}, {"count"}, {"raw_step"}} {
		path = append([]any{"rsp"}, path...)
		if a, b := value(t, v2, path...), value(t, v1, path...); a != b || a == "" {
			t.Errorf("%v: v2 has %s, v1 %s", path, a, b)
		}
	}
	reads(t, h, pathV2+query, "1795310100", "rsp", "metadata", "epoch_begin")
	reads(t, h, pathV2+query, "7", "rsp", "metadata", "num_point")
	reads(t, h, pathV2+query, "[10,10,10,10,10,null,null]", "rsp", "series", 0, "data") // null for NaN
	reads(t, h, pathV2+query, "", "rsp", "additional_series")
	reads(t, h, pathV1+query, "[]", "rsp", "additional_series")
	// A line with less than two points is not known in v2, which asks for min_num_points.
	const short = "?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795311300&epoch_end=1795312200"
	reads(t, h, pathV2+short, "[null,null,null]", "rsp", "series", 0, "data")
	reads(t, h, pathV1+short, "[10,null,null]", "rsp", "series", 0, "data")
	reads(t, h, pathV2+"?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795310700&epoch_end=1795311600&initial_point=true", "4", "rsp", "count")
	reads(t, h, pathV2+"?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795310700&epoch_end=1795311600&initial_point=0", "3", "rsp", "count")
	// A comma is part of a value when no tag follows it (section 9).
	reads(t, h, pathV2+"?ts_schema=host:ndpi&ts_query="+url.QueryEscape("ifid:7,host:"+oddHost+",protocol:DNS")+"&epoch_begin=1795310100&epoch_end=1795310700", "[10,10]", "rsp", "series", 0, "data")
	refused(t, h, "GET", pathV2+"?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:a,b=c,:d", "", `cannot use ":d" of ts_query: tag:value,tag:value is needed`)
	// Without a range it is the last hour.
	reads(t, h, pathV2+"?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS", "1795310100", "rsp", "start")
	reads(t, h, pathV2+"?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS", "1795313700", "rsp", "end")
}

// R32: whatever is asked, the answer is bounded.
func TestR32_Bounds(t *testing.T) {
	h := open(t)
	for _, path := range seriesPaths {
		for _, limit := range []string{"-1", "0", "1", "10000", "1000000000", "1e300", "-1e300"} {
			for _, from := range []string{"-1e300", "0", "1480000000"} {
				query := "?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&limit=" + limit + "&epoch_begin=" + from + "&epoch_end=1e300"
				status, text := ask(t, h, "GET", path+query, "")
				n, err := strconv.Atoi(value(t, text, "rsp", "count"))
				if status != http.StatusOK || err != nil || n > maxLimit+1 {
					t.Errorf("%s: %d, %d points", query, status, n)
				}
			}
		}
		// Eight items with that many points are still few enough.
		status, text := ask(t, h, "GET", path+"?ts_schema=top:host:ndpi&ts_query=ifid:1,host:10.0.0.9&epoch_begin=0&limit=1000000000", "")
		if n, err := strconv.Atoi(value(t, text, "rsp", "count")); status != http.StatusOK || err != nil || n > maxLimit+1 || value(t, text, "rsp", "series", 1) == "" {
			t.Errorf("%s: %d, %d points", path, status, n)
		}
	}
	requests := strings.Repeat(`{"ts_schema":"host:ndpi","ts_query":"ifid:1,host:10.0.0.9,protocol:DNS"},`, 101)
	refused(t, h, "POST", pathMulti, `{"ts_requests":[`+strings.TrimSuffix(requests, ",")+`]}`, "cannot use ts_requests: a list of 1 to 100 objects is needed")
	requests = strings.Repeat(`{"ts_schema":"host:ndpi","ts_query":"ifid:1,host:10.0.0.9,protocol:DNS"},`, 100)
	refused(t, h, "POST", pathMulti, `{"limit":10000,"epoch_begin":0,"ts_requests":[`+strings.TrimSuffix(requests, ",")+`]}`,
		"the answers have more than 1048576 points together: ask for fewer at once, or with a smaller limit")
	refused(t, h, "POST", pathV2, `{"ts_query":"`+strings.Repeat("x", maxBody)+`"}`, "cannot read the body, a JSON object is needed: http: request body too large")
	many := "ifid:1"
	for i := range 64 {
		many += ",t" + strconv.Itoa(i) + ":x"
	}
	refused(t, h, "GET", pathV2+"?ts_schema=host:ndpi&ts_query="+many, "", "cannot use ts_query: it has more than 64 tags")
}

// What is compared with is the same question, so much earlier.
func TestCompare(t *testing.T) {
	h := open(t)
	const query = "?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795311000&epoch_end=1795311600&ts_compare="
	back := map[string]int64{"1m": 60, "5m": 300, "30m": 1800, "1h": 3600, "1d": 86400, "1w": 604800, "1M": 2678400, "1Y": 31622400, "??": 180}
	for name, seconds := range back {
		begin := strconv.FormatInt((1795311000-seconds)/300*300, 10)
		reads(t, h, pathV2+query+url.QueryEscape(name), begin, "rsp", "additional_series", name+"_ago", "metadata", "epoch_begin")
		reads(t, h, pathV2+query+url.QueryEscape(name), "", "rsp", "additional_series", "total")
	}
	reads(t, h, pathV2+query+"5m", `[10,10]`, "rsp", "additional_series", "5m_ago", "series", 0, "data")
	reads(t, h, pathV2+query+"5m", `{}`, "rsp", "additional_series", "5m_ago", "additional_series")
	reads(t, h, pathV1+query+"5m", `{"5m ago":[30,30],"total":[30,30]}`, "rsp", "additional_series")
	reads(t, h, pathV1+query+"1h", `{"1h ago":[null,null],"total":[30,30]}`, "rsp", "additional_series")
	reads(t, h, pathV1+query+"1Y", `[]`, "rsp", "additional_series")
}

func TestLegacy(t *testing.T) {
	h := open(t)
	const query = "?ts_schema=host:ndpi&epoch_begin=1795310250&epoch_end=1795311000&limit=10"
	reads(t, h, pathV1+query+"&ts_query=ifid:1,host:x,protocol:DNS&tskey=10.0.0.9", `{"host":"10.0.0.9","ifid":"1","protocol":"DNS"}`, "rsp", "query")
	reads(t, h, pathV1+query+"&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&extended=1", `{"1795310250":10,"1795310550":10,"1795310850":10}`, "rsp", "series", 0, "data")
	reads(t, h, pathV1+query+"&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&extended=false&no_fill=1&version=4&zoom=1h", `[10,10,10]`, "rsp", "series", 0, "data")
	reads(t, h, pathV1+"?ts_schema=top:host:ndpi&ts_query=ifid:1,host:10.0.0.9&epoch_begin=1795310100&epoch_end=1795311600", `"TLS"`, "rsp", "topk", 0, "tags", "protocol")
	reads(t, h, pathV1+"?ts_schema=top:host:ndpi&ts_query=ifid:1,host:10.0.0.9&epoch_begin=1795310100&epoch_end=1795311600", `"top:host:ndpi"`, "rsp", "schema")
}

// A body has the parameters of the URL, values of tags may hold colons.
func TestPost(t *testing.T) {
	h := open(t)
	f := func(target, body, want string, path ...any) {
		t.Helper()
		status, text := ask(t, h, "POST", target, body)
		if got := value(t, text, path...); status != http.StatusOK || got != want {
			t.Errorf("%s: %d, %v is %s, want %s\n%s", body, status, path, got, want, text)
		}
	}
	const range1 = `"epoch_begin":1795310100,"epoch_end":"1795311600"`
	f(pathV2, `{"ts_schema":"host:ndpi","ts_query":"ifid:1,host:10.0.0.9,protocol:DNS","limit":10,"initial_point":false,"tskey":null,`+range1+`}`, `[10,10,10,10,10]`, "rsp", "series", 0, "data")
	f(pathV2+"?ts_schema=host:ndpi", `{"ts_query":"ifid:1,host:10.0.0.9,protocol:DNS","initial_point":true,`+range1+`}`, `6`, "rsp", "count")
	f(pathV1, `{"ts_schema":"host:ndpi","ts_query":"ifid:1,host:fe80::1,protocol:DNS",`+range1+`}`, `[]`, "rsp")
	const multi = `{"ts_requests":[{"ts_schema":"host:ndpi","ts_query":"ifid:1,host:10.0.0.9,protocol:TLS","tskey":"x"},
		{"ts_schema":"host:ndpi","ts_query":"ifid:1,host:none,protocol:TLS"},
		{"ts_schema":"top:host:ndpi","ts_query":"ifid:1,host:10.0.0.9","epoch_begin":1795311000}],"ts_compare":"5m","limit":10,` + range1 + `}`
	f(pathMulti, multi, `[100,100,100,100,100]`, "rsp", 0, "series", 0, "data")
	f(pathMulti, multi, `1795309800`, "rsp", 0, "additional_series", "5m_ago", "start")
	f(pathMulti, multi, `{"metadata":[]}`, "rsp", 1)
	f(pathMulti, multi, `[300,300]`, "rsp", 2, "series", 0, "data")
	f(pathMulti, multi, ``, "rsp", 3)
	refused(t, h, "POST", pathMulti, `{"ts_requests":[{"ts_schema":"no:such","ts_query":"ifid:1"}]}`, `ts_requests[0]: unknown schema "no:such"`)
	refused(t, h, "POST", pathMulti, `{"ts_requests":[7]}`, "cannot use ts_requests: its entries must be objects with ts_schema and ts_query")
	refused(t, h, "POST", pathMulti, `{"ts_requests":{}}`, "cannot use ts_requests: a list of 1 to 100 objects is needed")
	refused(t, h, "POST", pathMulti, `{}`, "the parameter ts_requests is missing: POST an object with it, a list of objects with ts_schema and ts_query")
	refused(t, h, "GET", pathMulti, "", "the parameter ts_requests is missing: POST an object with it, a list of objects with ts_schema and ts_query")
	refused(t, h, "POST", pathV2, `{"ts_schema":["a"]}`, `cannot use "ts_schema": it must be text, a number, true or false`)
	refused(t, h, "POST", pathV2, `[1]`, "cannot read the body, a JSON object is needed: json: cannot unmarshal array into Go value of type map[string]interface {}")
	refused(t, h, "POST", pathV2, "", `cannot read a body of type "": send application/json`)
}

// Special cases of the second version (section 5.2).
func TestSpecial(t *testing.T) {
	h := open(t)
	reads(t, h, pathV2+"?ts_schema=top:flow_check:duration&ts_query=ifid:1,check:x,subdir:flow", `{"metadata":[]}`, "rsp") // no data, and no tag missing
	f := func(schema, tags, want string) {
		t.Helper()
		p := &parameters{values: map[string]string{"ts_schema": schema, "ts_query": tags}}
		q, err := h.question(p)
		if err != nil {
			t.Fatal(err)
		}
		special(&q)
		got, err := json.Marshal(q.Tags)
		if err != nil || string(got) != want {
			t.Errorf("%s %s: %s %v, want %s", schema, tags, got, err, want)
		}
	}
	f("snmp_if:traffic_min", "ifid:3,device:a,port:5", `{"device":"a","if_index":"5","ifid":"-1"}`)
	f("snmp_if:traffic_min", "ifid:3,device:a,if_index:5", `{"device":"a","if_index":"5","ifid":"3"}`)
	f("top:flow_check:duration", "ifid:3,check:a,subdir:b", `{"ifid":"3","subdir":"b"}`)
}

// The catalogue has every built-in schema under the name of its kind of element.
func TestConsts(t *testing.T) {
	h := open(t)
	kinds := []string{"iface", "host", "mac", "subnet", "asn", "country", "os", "vlan", "host_pool", "system", "profile", "redis", "influxdb", "am",
		"snmp_interface", "snmp_device", "obs_point", "flowdev", "flowdev_port", "blacklist"}
	for _, kind := range kinds {
		status, text := ask(t, h, "GET", pathConsts+"?query="+kind+"&ifid=1", "")
		if status != http.StatusOK || value(t, text, "rsp", 0, "schema") == "" {
			t.Errorf("%s: %d %s", kind, status, text)
		}
	}
	reads(t, h, pathConsts+"?query=mac", `{"id":"mac:ndpi_categories","label":"Ndpi categories","measure_unit":"bps","priority":1,"scale":"Rate per second","schema":"mac:ndpi_categories",`+
		`"timeseries":{"bytes":{"color":"#1f77b4","label":"Bytes"}}}`, "rsp", 1)
	reads(t, h, pathConsts+"?query=host", `{"color":"#ff7f0e","invert_direction":true,"label":"Bytes rcvd"}`, "rsp", 31, "timeseries", "bytes_rcvd")
	status, text := ask(t, h, "GET", pathConsts+"?query=x", "")
	if got := value(t, text, "rsp", "error"); status != http.StatusBadRequest || !strings.HasPrefix(got, `"cannot use query=\"x\": there are no schemas for it, but for am, am_vuln_scan, asn, `) {
		t.Error(status, got)
	}
	reads(t, h, pathDate, `"big_endian"`, "rsp")
}

// While Weir starts or stops there is no answer, and a driver that fails is an error of ours.
func TestNotReady(t *testing.T) {
	h := open(t)
	h.ready = func() error { return errors.New("starting") }
	status, text := ask(t, h, "GET", pathV2+exampleQuery, "")
	if want := `{"rc":-6,"rc_str":"INTERNAL_ERROR","rc_str_hr":"Internal error","rsp":{"error":"cannot answer: not ready: starting"}}`; status != http.StatusServiceUnavailable || strings.TrimSpace(text) != want {
		t.Error(status, text)
	}
}

// When so many ask at once that none can be answered in time, the code is that of the contract.
func TestTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		for range cap(h.places) {
			h.places <- struct{}{}
		}
		status, text := ask(t, h, "GET", pathV1+exampleQuery, "")
		want := `{"rc":-6,"rc_str":"INTERNAL_ERROR","rc_str_hr":"Internal error","rsp":{"tsLastError":"OPERATION_TOO_SLOW","error":"no answer within 30s: ask for less (a shorter range, fewer items)"}}`
		if status != http.StatusInternalServerError || strings.TrimSpace(text) != want {
			t.Error(status, text)
		}
	})
}

// Every pattern is one of http.ServeMux and is answered.
func TestPatterns(t *testing.T) {
	h, mux := open(t), http.NewServeMux()
	for _, pattern := range Patterns() {
		mux.Handle(pattern, h)
		method, path, _ := strings.Cut(pattern, " ")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code == http.StatusNotFound || w.Body.Len() == 0 {
			t.Errorf("%s: %d", pattern, w.Code)
		}
	}
	if diff := cmp.Diff(12, len(Patterns())); diff != "" {
		t.Error(diff)
	}
}

// Whatever is sent, the reply is one of the contract.
func FuzzRequest(f *testing.F) {
	f.Add(0, strings.TrimPrefix(exampleQuery, "?"), `{"ts_schema":"host:ndpi"}`)
	f.Add(1, "ts_schema=top:host:ndpi&ts_query=ifid:1&extended=1&ts_compare=1Y&tskey=a", `{"limit":1e999}`)
	f.Add(7, "limit=-1&epoch_end=99999999999999999999", `{"ts_requests":[{"ts_schema":"a","ts_query":"ifid:1","epoch_begin":true}],"limit":3}`)
	f.Add(8, "query=host", `{"query":null}`)
	f.Fuzz(func(t *testing.T, which int, query, body string) {
		h := open(t)
		method, path, _ := strings.Cut(Patterns()[uint(which)%uint(len(Patterns()))], " ")
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var out struct {
			Code *int   `json:"rc"`
			Name string `json:"rc_str"`
			Rsp  any    `json:"rsp"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Code == nil || (*out.Code == 0) != (w.Code == http.StatusOK) || out.Rsp == nil {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
	})
}

// R35: ts_aggregation names the resolution that is read; points are no shorter than its slots.
func TestR35_Aggregation(t *testing.T) {
	h := open(t)
	for _, path := range seriesPaths {
		for aggregation, step := range map[string]string{"": "300", "raw": "300", "1m": "300", "1h": "3600", "1d": "86400"} {
			reads(t, h, path+"?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795310100&epoch_end=1795311600&ts_aggregation="+aggregation,
				step, "rsp", "metadata", "epoch_step")
		}
	}
}
