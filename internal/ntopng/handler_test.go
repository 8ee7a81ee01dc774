package ntopng

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// start is the time of the first points: that of the worked example (section 5.3).
const start = 1795310100

// oddHost has what means something in a parameter, in JSON and in the languages of stores.
const oddHost = `O'Neil, "x"=1,\é/`

// open returns a Handler over the points of the worked example, TLS ten times as much as
// DNS, in which it is an hour after start, and
// over those of oddHost.
func open(t *testing.T) *Handler {
	t.Helper()
	log, registry, driver := slog.New(slog.DiscardHandler), telemetry.NewRegistry(), new(memory.Driver)
	definitions := front.NewDefinitions(nil, log)
	drivers := front.NewDrivers([]front.Target{{Name: "memory", Driver: driver, Local: true}}, "memory", registry, log)
	schema := definitions.Lookup("host:ndpi").Schema
	var points []timeseries.Point
	for i := range 6 {
		for protocol, factor := range map[string]float64{"DNS": 3000, "TLS": 30000} {
			points = append(points, timeseries.Point{Schema: schema, Time: start + 300*int64(i), Tags: []string{"1", "10.0.0.9", protocol},
				Values: []float64{factor * float64(i), 2 * factor * float64(i)}})
		}
		points = append(points, timeseries.Point{Schema: schema, Time: start + 300*int64(i), Tags: []string{"7", oddHost, "DNS"}, Values: []float64{3000 * float64(i), 0}})
	}
	if err := driver.Append(t.Context(), points); err != nil {
		t.Fatal(err)
	}
	h := New(front.New(definitions, drivers, registry, log), func() error { return nil }, log)
	h.now = func() time.Time { return time.Unix(start+3600, 0) }
	return h
}

// ask sends a request and returns the reply.
func ask(t *testing.T, h http.Handler, method, target, body string) (status int, text string) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if kind := w.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("%s: the type is %q", target, kind)
	}
	if origin := w.Header().Get("Access-Control-Allow-Origin"); origin != "*" {
		t.Errorf("%s: the origin allowed is %q", target, origin)
	}
	return w.Code, w.Body.String()
}

const (
	exampleQuery = "?ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795310100&epoch_end=1795311600&limit=10"
	exampleTop   = "?ts_schema=top:host:ndpi&ts_query=ifid:1,host:10.0.0.9&epoch_begin=1795310100&epoch_end=1795311600&limit=10"
)

// sorted is a JSON text with its keys sorted and its numbers as they are written.
func sorted(t *testing.T, text string) (any, string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return v, string(out)
}

// only is got without what the example does not show.
func only(got, example any) any {
	switch example := example.(type) {
	case map[string]any:
		object, _ := got.(map[string]any)
		kept := make(map[string]any)
		for name, v := range example {
			if of, ok := object[name]; ok {
				kept[name] = only(of, v)
			}
		}
		return kept
	case []any:
		list, _ := got.([]any)
		kept := make([]any, len(list))
		for i, v := range list {
			kept[i] = v
			if i < len(example) {
				kept[i] = only(v, example[i])
			}
		}
		return kept
	}
	return got
}

// The worked example (section 5.3): what the specification shows is there byte for byte
// after the keys are sorted, and the whole of the reply, which has both shapes
// (R2), is the golden file. The second version begins where the grid does (R31), and
// not a step later.
func TestWorkedExample(t *testing.T) {
	h := open(t)
	f := func(name, target string) {
		t.Helper()
		status, text := ask(t, h, "GET", target, "")
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", target, status, text)
			return
		}
		example, err := os.ReadFile("testdata/example_" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		want, wanted := sorted(t, string(example))
		got, all := sorted(t, text)
		shown, err := json.Marshal(only(got, want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wanted, string(shown)); diff != "" {
			t.Errorf("%s: %s", target, diff)
		}
		golden(t, "testdata/whole_"+name+".json", all)
	}
	f("v2", pathV2+exampleQuery)
	f("v1", pathV1+exampleQuery)
	f("v1", pathOldest+exampleQuery)
	f("top", pathV2+exampleTop)
}

// golden compares with a file; UPDATE=1 writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(got), "", " "); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s, write it again with UPDATE=1: %s", file, diff)
	}
}
