package tsdriver

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// What editors are told of is there.
func TestAnnotations(t *testing.T) {
	text, err := os.ReadFile("../../examples/timeseries/annotations/ntopng.lua")
	if err != nil {
		t.Fatal(err)
	}
	d, w := load(t, minimal, nil)
	told := regexp.MustCompile(`(?m)^function (?:(ntop|interface)\.|Schema:)(\w+)\(`).FindAllStringSubmatch(string(text), -1)
	if len(told) < 40 {
		t.Fatalf("%d functions are annotated", len(told))
	}
	for _, m := range told {
		known := d.lua(t, `return getmetatable(require("ts_schema"):new("a:b", { step = 1 })).`+m[2]+` ~= nil`) == true
		if m[1] != "" {
			_, ntop := d.functions()[m[2]]
			_, other := d.interfaceFunctions()[m[2]]
			known = ntop && m[1] == "ntop" || other && m[1] == "interface"
		}
		if !known {
			t.Errorf("%s is annotated and is not there", m[0])
		}
	}
	if len(w.lines) > 0 {
		t.Error(w.lines)
	}
}

// The driver of the end-to-end test calls every function that is there (acceptance 2).
func TestEveryFunctionIsCalled(t *testing.T) {
	text, err := os.ReadFile("../../test/testdata/tsdriver/every.lua")
	if err != nil {
		t.Fatal(err)
	}
	d, _ := load(t, minimal, nil)
	other := []string{ // which no driver calls: other modules look for them
		"addUser", "deleteUser", "dumpBinaryFile", "resetUserPassword", "runLiveExtraction", "ts_inc_num_writes", "ts_inc_num_drops",
		"liveCapture", "getnDPIProtocols", "getnDPICategories",
	}
	for _, functions := range []map[string]bool{keys(d.functions()), keys(d.interfaceFunctions())} {
		for _, name := range slices.Sorted(maps.Keys(functions)) {
			if !slices.Contains(other, name) && !regexp.MustCompile(`\b`+name+`\b`).Match(text) {
				t.Errorf("%s is not called", name)
			}
		}
	}
}

func keys[V any](of map[string]V) map[string]bool {
	out := make(map[string]bool)
	for name := range of {
		out[name] = true
	}
	return out
}

// example loads one of the drivers that are shipped.
func example(t *testing.T, name string, options map[string]any) (*luaDriver, *words) {
	t.Helper()
	text, err := os.ReadFile("../../examples/timeseries/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return load(t, string(text), func(s *Setup) { s.Options = options })
}

// series are points of a counter that grows by 10 a second, and of one that grows by 1.
func hosts(from int64) (points []timeseries.Point) {
	for i := range int64(11) {
		points = append(points, point2("10.0.0.1", from+300*i, float64(3000*i), float64(300*i)), point2("a/b %", from+300*i, float64(300*i), 0))
	}
	return points
}

// The driver of round robin databases answers what was written, through its queue and rrdtool.
func TestExampleRRD(t *testing.T) {
	d, w := example(t, "rrd.lua", nil)
	ctx := t.Context()
	const T = 1_700_000_100 / 300 * 300
	if err := d.Append(ctx, hosts(T)); err != nil {
		t.Fatal(err)
	}
	if n := d.queues.queues[1].length(); n != 22 {
		t.Errorf("%d points wait", n)
	}
	if err := d.Export(ctx); err != nil {
		t.Fatal(err)
	}
	q := timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "10.0.0.1"}, Start: T, End: T + 3000, Options: timeseries.DefaultOptions()}
	r, err := d.Query(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range r.Series[0].Data {
		if v < 9.99 || v > 10.01 || r.Step != 300 {
			t.Errorf("point %d is %v: %+v", i, v, r)
		}
	}
	if r.Count < 8 {
		t.Errorf("%d points", r.Count)
	}
	q.Tags = timeseries.Tags{"ifid": "1"}
	top, err := d.TopK(ctx, q)
	if err != nil || len(top.Items) != 2 || top.Items[0].Tags["host"] != "10.0.0.1" || top.Items[1].Tags["host"] != "a/b %" {
		t.Errorf("%+v %v", top, err)
	}
	if err := d.Delete(ctx, "host", timeseries.Tags{"ifid": "1", "host": "a/b %"}); err != nil {
		t.Error(err)
	}
	left, err := d.list(ctx, timeseries.ListQuery{Schema: traffic})
	if diff := cmp.Diff([]timeseries.Tags{{"ifid": "1", "host": "10.0.0.1"}}, left); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if len(w.lines)+len(w.errors)+int(d.drops) > 0 {
		t.Error(w, d.drops)
	}
}

// Lines are spooled, survive the process, and are sent in files; a server that does not answer loses none.
func TestExampleInfluxDB(t *testing.T) {
	var got []string
	code := http.StatusInternalServerError
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		fmt.Fprintf(body, "%s %s", r.Method, r.URL)
		if user, password, ok := r.BasicAuth(); ok {
			fmt.Fprintf(body, " %s:%s", user, password)
		}
		text := make([]byte, 1<<16)
		n, _ := r.Body.Read(text)
		got = append(got, body.String()+"\n"+string(text[:n]))
		w.WriteHeader(code)
	}))
	defer server.Close()
	d, w := example(t, "influxdb.lua", map[string]any{"url": server.URL, "db": "weir", "username": "u", "password": "p"})
	ctx := t.Context()
	if err := d.Append(ctx, []timeseries.Point{point2(`a, b=c "d"`, 600, 1.5, 1e15), point2("b", 900, 2, 3)}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(d.setup.Directory, "tmp/influxdb")
	if err := d.lines.tick(true); err != nil {
		t.Fatal(err)
	}
	if err := d.Export(ctx); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 1 {
		t.Errorf("files after a server that fails: %q", left)
	}
	code = http.StatusNoContent
	if err := d.Export(ctx); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 {
		t.Errorf("files that were sent: %q", left)
	}
	want := "POST /write?precision=s&db=weir u:p\n" +
		`host:traffic,host=a\,\ b\=c\ "d",ifid=1 bytes_rcvd=1000000000000000,bytes_sent=1.5 600` + "\nhost:traffic,host=b,ifid=1 bytes_rcvd=3,bytes_sent=2 900\n"
	if len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if d.cache.get("ntopng.cache.influxdb.num_exported_points") != "2" || w.said("cannot export") != 1 {
		t.Error(w.lines, d.cache.values)
	}
}

// The page says what works: its configuration is one, its driver is one, and its script prints what it says.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/timeseries.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## Lua drivers\n")
	if !ok {
		t.Fatal("there is no section about drivers in Lua")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	snippets := make(map[string][]string)
	for _, m := range regexp.MustCompile("(?s)```(\\w+)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		snippets[m[1]] = append(snippets[m[1]], m[2])
	}
	if len(snippets["yaml"]) != 1 || len(snippets["lua"]) != 2 || len(snippets["text"]) != 1 {
		t.Fatalf("%q", snippets)
	}
	t.Setenv("PASSWORD", "x")
	if _, err := config.Parse("page", []byte(snippets["yaml"][0])); err != nil {
		t.Error(err)
	}
	d, _ := load(t, snippets["lua"][0], nil)
	if err := d.Append(t.Context(), []timeseries.Point{point2("a", 600, 7, 8)}); err != nil {
		t.Error(err)
	}
	r, err := d.Query(t.Context(), timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "a"}, Start: 300, End: 900, Options: timeseries.DefaultOptions()})
	if err != nil || r.Step != 600 || r.Series[1].Data[0] != 8 {
		t.Errorf("%+v %v", r, err)
	}
	dir := t.TempDir()
	registry, log := telemetry.NewRegistry(), slog.New(slog.DiscardHandler)
	s := store.New(store.Config{Path: dir}, registry, log)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	drivers := front.NewDrivers([]front.Target{{Name: "store", Driver: s, Local: true}}, "store", registry, log)
	f := front.New(front.NewDefinitions(nil, log), drivers, registry, log)
	write(t, filepath.Join(dir, "page.lua"), snippets["lua"][1])
	w := new(words)
	err = Run(t.Context(), Setup{Name: "page", Script: filepath.Join(dir, "page.lua"), Directory: filepath.Join(dir, "script")}, f, w)
	if err := errors.Join(err, s.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.printed, "\n") + "\n"; got != snippets["text"][0] {
		t.Errorf("got %q, want %q", got, snippets["text"][0])
	}
}
