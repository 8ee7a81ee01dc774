package event

import (
	"fmt"
	"strings"
	"testing"
)

// TestRenderV2 has the exact strings of specification 5.3.2.
func TestRenderV2(t *testing.T) {
	f := func(r *Record, want string) {
		t.Helper()
		if got := string(RenderV2(r)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(fields(t, 65592, `"host_id":1,"notification_number":9`), `{"_type":65592, "category":1, "element":56, "host_id":1, "notification_number":9}`)
	f(fields(t, 65592, `"host_id":3,"scheduled_downtime_depth":5`), `{"_type":65592, "category":1, "element":56, "host_id":3, "scheduled_downtime_depth":5}`)
	f(fields(t, 65591, `"host_id":1,"service_id":2,"notification_number":9`),
		`{"_type":65591, "category":1, "element":55, "host_id":1, "service_id":2, "type":0, "internal_id":0, "notification_number":9}`)
	f(fields(t, 65591, `"host_id":1,"service_id":2,"acknowledgement_type":2`),
		`{"_type":65591, "category":1, "element":55, "host_id":1, "service_id":2, "type":0, "internal_id":0, "acknowledgement_type":2}`)

	service := NewRecord(Lookup(65559))
	service.Set("action_url", TextValue([]byte("svc action url")))
	service.Set("notes_url", TextValue([]byte(`d:\\bonjour le "monde"`)))
	got := string(RenderV2(service))
	start := `{"_type":65559, "category":1, "element":23, "acknowledged":false, "acknowledgement_type":0, "action_url":"svc action url", "active_checks":false, "check_freshness":false, "check_interval":0, `
	end := `"retain_status_information":false}`
	notes := `, "notes_url":"d:\\\\bonjour le \"monde\"", `
	if !strings.HasPrefix(got, start) || !strings.HasSuffix(got, end) || !strings.Contains(got, notes) {
		t.Error(got)
	}
	for _, absent := range []string{"last_check", "next_check", "last_time_ok", `"host_id"`, "host_name"} {
		if strings.Contains(got, absent) {
			t.Errorf("%s is there: %s", absent, got)
		}
	}
	service.Set("last_check", IntValue(1700000300))
	service.Set("check_interval", FloatValue(1.2))
	service.Set("output", TextValue([]byte("a\tb\r\n\x00\x1f/\xff\u00e9")))
	got = string(RenderV2(service))
	for _, part := range []string{`"last_check":"1700000300", `, `"check_interval":1.2, `, "\"output\":\"a\\tb\\r\\n\\u0000\\u001F/\xff\u00e9\", "} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is missing: %s", part, got)
		}
	}
	downtime, err := Decode(packet(t, exampleH))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(RenderV2(downtime)); !strings.Contains(got, `"actual_end_time":18446744073709551615, `) {
		t.Error(got)
	}
	host := string(RenderV2(fields(t, MakeType(1, 30), `"tags":[{"id":24,"type":2},{"id":25,"type":2}]`)))
	if !strings.Contains(host, `"tags":[{"id":24, "type":2}, {"id":25, "type":2}], `) {
		t.Error(host)
	}
	f(fields(t, MakeType(3, 7), `"timeserie":[{"key":5,"value":{"pts":[{"ctime":1,"value":0.5}]}}],"metric_id":[2,3,5],"metric_to_index_id":[{"key":1,"value":2}]`),
		`{"_type":196615, "category":3, "element":7, "state":0, "timeserie":[{"key":5, "value":{"pts":[{"ctime":1, "value":0.5, "status":0}], "data_source_type":0, "check_interval":0, "rrd_retention":0}}], `+
			`"metric_id":[2,3,5], "metric_to_index_id":[{"key":1, "value":2}]}`)
	f(fields(t, MakeType(2, 6), ``), `{"_type":131078, "category":2, "element":6}`)
	f(fields(t, MakeType(2, 6), `"idx":0`), `{"_type":131078, "category":2, "element":6, "idx":0}`)
}

func TestAppendShortest(t *testing.T) {
	f := func(x float64, want string) {
		t.Helper()
		if got := string(appendShortest(nil, x)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	f(0, "0")
	f(-1.2, "-1.2")
	f(1e6, "1000000")
	f(1e15, "1000000000000000")
	f(1e16, "1e+16")
	f(0.0001, "0.0001")
	f(0.00001, "1e-05")
	f(1.0/3, "0.3333333333333333")
}

func TestParseJSON(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		e, err := ParseJSON([]byte(text))
		got := fmt.Sprint(err)
		if err == nil {
			r, err := Decode(e)
			if err != nil {
				t.Fatal(err)
			}
			got = content(r)
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
	f(`{"category":1,"element":24,"host_id":1,"service_id":2,"last_check":"1700000300","state":2,"output":"é\n"}`, `state=2 host_id=1 last_check="1700000300" service_id=2 output="é\n"`)
	f(`{"_type":65565, "category":1, "element":29, "state":"CRITICAL","checked":1,"percent_state_change":"6.25","flapping":false,"output":null}`, `checked=true state=2 percent_state_change=6.25`)
	f(`{"_type":65572,"actual_end_time":-1,"deletion_time":18446744073709551615}`, `actual_end_time=18446744073709551615 deletion_time=18446744073709551615`)
	f(`{"_type":65563,"tags":[{"id":1,"type":"HOSTGROUP"}]}`, `tags=[[TagInfo 0 0 id=2 1 type=2 1] ]`)

	f(`{"category":1,"element":24,"hostid":1}`, `cannot read event neb:service_status (1:24): there is no field "hostid"; did you mean "host_id"?`)
	f(`{"category":1,"element":36,"internal_id":1}`, `cannot read event neb:Downtime (1:36): there is no field "internal_id"; did you mean "id"?`)
	f(`{"category":3,"element":1,"time":1}`, `cannot read event storage:metric (3:1): there is no field "time"; did you mean "ctime"?`)
	f(`{"category":1,"element":24,"temperature":1}`, `cannot read event neb:service_status (1:24): there is no field "temperature"`)
	f(`{"_type":65563,"tags":[{"id":1,"kind":1}]}`, `cannot read event neb:Service (1:27): field tags: element 1: there is no field "kind"`)
	f(`{"_type":65563,"tags":{"id":1}}`, `cannot read event neb:Service (1:27): field tags: {"id":1} is not an array`)
	f(`{"_type":65563,"tags":[1]}`, `cannot read event neb:Service (1:27): field tags: element 1: 1 is not a JSON object`)
	f(`{"host_id":1}`, `cannot read event: which event it is must be given: {"category":1, "element":24, ...} or {"_type":65560, ...}`)
	f(`{"category":1,"element":"x"}`, `cannot read event: element is "x", an integer from 0 to 65535 is needed`)
	f(`{"category":70000,"element":1}`, `cannot read event: category is 70000, an integer from 0 to 65535 is needed`)
	f(`{"category":2,"element":99}`, `cannot read event: there is no event 2:99; the elements of category 2 are 1, 2, 3, 4, 5, 6, 7, 8, 9, 10`)
	f(`{"category":9,"element":99}`, `cannot read event: there is no event 9:99; a category is 1 (neb) or 3 (storage), for example`)
	f(`{"category":1,"element":24,"host":1}`, `cannot read event neb:service_status (1:24): there is no field "host"; did you mean "host_id"?`)
	f(`{"_type":65560,"category":3}`, `cannot read event: _type 65560 is of category 1, but category is 3`)
	f(`{"_type":65560,"category":1,"element":23}`, `cannot read event: _type 65560 is element 24, but element is 23`)
	f(`[1]`, `cannot read event: [1] is not a JSON object`)
	f(`null`, `cannot read event: null is not a JSON object`)
	f(`{"a":`, `cannot read event: {"a": is not JSON: unexpected end of JSON input`)
	f(`{"category":1,"element":24,"state":40000}`, `cannot read event neb:service_status (1:24): field state: 40000 does not fit, the nearest value is 32767`)
	f(`{"category":1,"element":24,"state":1.5}`, `cannot read event neb:service_status (1:24): field state: 1.5 is not an integer`)
	f(`{"category":1,"element":24,"checked":"yes"}`, `cannot read event neb:service_status (1:24): field checked: "yes" is neither true nor false`)
	f(`{"category":1,"element":24,"output":1}`, `cannot read event neb:service_status (1:24): field output: 1 is not a string`)
	f(`{"category":1,"element":24,"output":"a\u0000"}`, `cannot read event neb:service_status (1:24): field output: "a\u0000" has a NUL byte, which ends a string in a legacy event`)
	f(`{"category":1,"element":24,"latency":"fast"}`, `cannot read event neb:service_status (1:24): field latency: "fast" is not a number`)
	f(`{"category":1,"element":32,"state":"BROKEN"}`, `cannot read event neb:HostStatus (1:32): field state: "BROKEN" is neither an integer nor one of DOWN, UNREACHABLE, UP`)
}
