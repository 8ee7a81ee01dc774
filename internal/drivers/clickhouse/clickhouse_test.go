package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/drivertest"
)

// fake is a ClickHouse that knows the shapes of the statements of this package and
// nothing else: what it does not know it answers with an error.
type fake struct {
	mu         sync.Mutex
	rows       []stored
	statements []string
	failures   []func(http.ResponseWriter) // for the next inserts
}

type stored struct {
	Schema   string `json:"schema_name"`
	Ifid     int16
	Instance string `json:"ntopng_instance_name"`
	Time     int64  `json:"tstamp"`
	Tags     map[string]string
	Metrics  map[string]float64
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	q := r.URL.Query()
	if insert := q.Get("query"); insert != "" {
		f.statements = append(f.statements, insert)
		if len(f.failures) > 0 {
			failure := f.failures[0]
			f.failures = f.failures[1:]
			failure(w)
			return
		}
		f.insert(w, string(body))
		return
	}
	statement := string(body)
	f.statements = append(f.statements, statement)
	switch {
	case strings.HasPrefix(statement, "CREATE "):
	case strings.HasPrefix(statement, "ALTER TABLE `weir`.`timeseries` DELETE WHERE "):
		_, conditions, _ := strings.Cut(statement, " WHERE ")
		f.rows = slices.DeleteFunc(f.rows, func(r stored) bool { return holds(conditions, q, r) })
	case strings.HasPrefix(statement, "SELECT "):
		f.query(w, statement, q)
	default:
		http.Error(w, "Code: 62. DB::Exception: Syntax error", http.StatusBadRequest)
	}
}

// insert takes all rows or none.
func (f *fake) insert(w http.ResponseWriter, body string) {
	var rows []stored
	for line := range strings.Lines(body) {
		var r stored
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			http.Error(w, "Code: 27. DB::Exception: "+err.Error(), http.StatusBadRequest)
			return
		}
		if r.Metrics["sent"] == 666 {
			http.Error(w, "Code: 117. DB::Exception: INCORRECT_DATA", http.StatusBadRequest)
			return
		}
		rows = append(rows, r)
	}
	f.rows = append(f.rows, rows...)
}

var unescaper = strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\r`, "\r", `\0`, "\x00", `\b`, "\b", `\f`, "\f")

func parameter(q url.Values, name string) string { return unescaper.Replace(q.Get("param_" + name)) }

var condition = []*regexp.Regexp{
	regexp.MustCompile(`^schema_name = \{(\w+):String\}$`), regexp.MustCompile(`^ifid = (-?\d+)$`), regexp.MustCompile(`^ntopng_instance_name = \{(\w+):String\}$`),
	regexp.MustCompile(`^tags\[\{(\w+):String\}\] = \{(\w+):String\}$`), regexp.MustCompile(`^tstamp (>|>=|<=) toDateTime\((\d+)\)$`),
	regexp.MustCompile(`^startsWith\(schema_name, \{(\w+):String\}\)$`),
}

// holds reports whether a row meets conditions.
func holds(conditions string, q url.Values, r stored) bool {
	for _, text := range strings.Split(conditions, " AND ") {
		i := slices.IndexFunc(condition, func(e *regexp.Regexp) bool { return e.MatchString(text) })
		if i < 0 {
			panic("the fake does not know " + text)
		}
		m := condition[i].FindStringSubmatch(text)
		ok := false
		switch i {
		case 0:
			ok = r.Schema == parameter(q, m[1])
		case 1:
			ok = strconv.Itoa(int(r.Ifid)) == m[1]
		case 2:
			ok = r.Instance == parameter(q, m[1])
		case 3:
			ok = r.Tags[parameter(q, m[1])] == parameter(q, m[2])
		case 4:
			at, _ := strconv.ParseInt(m[2], 10, 64)
			ok = m[1] == ">" && r.Time > at || m[1] == ">=" && r.Time >= at || m[1] == "<=" && r.Time <= at
		case 5:
			ok = strings.HasPrefix(r.Schema, parameter(q, m[1]))
		}
		if !ok {
			return false
		}
	}
	return true
}

var (
	shape     = regexp.MustCompile("^SELECT (DISTINCT )?(.*) FROM `weir`.`timeseries` WHERE (.*?)( ORDER BY [t0-9, ]*at)?( GROUP BY [t0-9, ]+)?( HAVING count\\(\\) > 0)? FORMAT JSONCompactEachRow$")
	tagColumn = regexp.MustCompile(`tags\[\{(\w+):String\}\] AS t\d+`)
	metric    = regexp.MustCompile(`metrics\[\{(\w+):String\}\]`)
)

// query answers a SELECT, in the order of tags and times as asked for.
func (f *fake) query(w http.ResponseWriter, statement string, q url.Values) {
	m := shape.FindStringSubmatch(statement)
	if m == nil {
		http.Error(w, "Code: 62. DB::Exception: the fake does not know this", http.StatusBadRequest)
		return
	}
	names := func(e *regexp.Regexp) (names []string) {
		for _, m := range e.FindAllStringSubmatch(m[2], -1) {
			names = append(names, parameter(q, m[1]))
		}
		return names
	}
	tags, metrics := names(tagColumn), names(metric)
	key := func(r stored) (key []string) {
		for _, name := range tags {
			key = append(key, r.Tags[name])
		}
		return key
	}
	var rows []stored
	for _, r := range f.rows {
		if holds(m[3], q, r) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b stored) int {
		if c := slices.Compare(key(a), key(b)); c != 0 {
			return c
		}
		return int(a.Time - b.Time)
	})
	aggregates := strings.Contains(m[2], "argMaxIf")
	var groups [][]any
	for i, r := range rows {
		values := make([]any, len(metrics))
		for i, name := range metrics {
			if v, ok := r.Metrics[name]; ok {
				values[i] = v
			}
		}
		var line []any
		for _, value := range key(r) {
			line = append(line, value)
		}
		at := any(r.Time)
		if m[1] != "" {
			at, values = 0, nil
		}
		line = append(append(line, at), values...)
		if same := i > 0 && slices.Equal(key(rows[i-1]), key(r)); same && (aggregates || m[1] != "") {
			last := groups[len(groups)-1]
			for j := range values {
				if values[j] == nil {
					line[len(line)-len(values)+j] = last[len(line)-len(values)+j]
				}
			}
			groups[len(groups)-1] = line
			continue
		}
		groups = append(groups, line)
	}
	for _, line := range groups {
		text, _ := json.Marshal(line)
		fmt.Fprintf(w, "%s\n", text)
	}
}

type delivered struct {
	*drivers.Driver
	ledger *telemetry.Ledger
}

func (d delivered) Append(ctx context.Context, points []timeseries.Point) error {
	err := d.Driver.Append(ctx, points)
	if flushed := d.Flush(ctx); flushed != nil {
		return flushed
	}
	return err
}

func open(t *testing.T, handler http.Handler) (delivered, string) {
	t.Helper()
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	server := New(Config{Access: delivery.Access{URL: web.URL, Username: "weir", Password: delivery.Secret{Text: "s3cret"}}, Database: "weir", Table: "timeseries"})
	registry := telemetry.NewRegistry()
	dir := t.TempDir()
	d := drivers.New(drivers.Config{Name: "clickhouse", Dir: dir}, server, registry, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err := d.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(context.Background()) })
	return delivered{d, registry.Ledger("remote.clickhouse", "points")}, dir
}

// The contract of drivers, with a server that knows only what is asked here.
func TestContract(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver {
		d, _ := open(t, &fake{})
		t.Cleanup(func() {
			if a := d.ledger.Snapshot(); a.Discarded["rejected"] != 0 || !a.Balanced() {
				t.Errorf("%+v", a)
			}
		})
		return d
	})
}

var traffic = &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"sent", "rcvd"}}

func TestStatements(t *testing.T) {
	f := &fake{}
	d, _ := open(t, f)
	points := []timeseries.Point{{Schema: traffic, Time: 1795310100, Tags: []string{"-1", "a'b\\\""}, Values: []float64{1.5e300, math.NaN()}}}
	if err := d.Append(t.Context(), points); err != nil {
		t.Fatal(err)
	}
	for _, err := range d.Samples(t.Context(), timeseries.SampleQuery{Schema: traffic, Tags: timeseries.Tags{"ifid": "-1", "host": "a'b\\\""}, After: 10, Through: 1 << 40}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"CREATE DATABASE IF NOT EXISTS `weir`",
		"CREATE TABLE IF NOT EXISTS `weir`.`timeseries`" + layout,
		"INSERT INTO `weir`.`timeseries` (schema_name, ifid, ntopng_instance_name, tstamp, tags, metrics) FORMAT JSONEachRow",
		"SELECT tags[{p5:String}] AS t0, tags[{p6:String}] AS t1, toUnixTimestamp(tstamp) AS at, " +
			"if(mapContains(metrics, {p7:String}), metrics[{p8:String}], nan), if(mapContains(metrics, {p9:String}), metrics[{p10:String}], nan) " +
			"FROM `weir`.`timeseries` WHERE schema_name = {p0:String} AND ifid = -1 AND tags[{p1:String}] = {p2:String} AND tags[{p3:String}] = {p4:String} " +
			"AND tstamp > toDateTime(10) AND tstamp <= toDateTime(4294967295) ORDER BY t0, t1, at FORMAT JSONCompactEachRow",
	}
	if diff := cmp.Diff(want, f.statements); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]stored{{"host:traffic", -1, "", 1795310100, map[string]string{"ifid": "-1", "host": `a'b\"`}, map[string]float64{"sent": 1.5e300}}}, f.rows); diff != "" {
		t.Error(diff)
	}
}

// What goes wrong: a table that is not there yet and a busy server are waited for, data that the server does
// not take is set aside.
func TestFaults(t *testing.T) {
	status := func(code int, text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, text, code) }
	}
	f := &fake{failures: []func(http.ResponseWriter){
		status(http.StatusBadRequest, "Code: 60. DB::Exception: Table weir.timeseries does not exist"),
		status(http.StatusInternalServerError, "Code: 241. DB::Exception: Memory limit exceeded"),
		func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, // the connection ends
	}}
	d, dir := open(t, f)
	points := make([]timeseries.Point, 100)
	for i := range points {
		points[i] = timeseries.Point{Schema: traffic, Time: 1795310100 + int64(i), Tags: []string{"1", "a"}, Values: []float64{1, 2}}
	}
	points[13].Values = []float64{666, 0}
	points[50].Time = 1 << 33
	if err := d.Append(t.Context(), points); err != nil {
		t.Fatal(err)
	}
	if a := d.ledger.Snapshot(); a.Passed != 98 || a.Discarded["rejected"] != 2 || !a.Balanced() || len(f.rows) != 98 {
		t.Errorf("%d rows, %+v", len(f.rows), a)
	}
	text, err := os.ReadFile(dir + "/rejected.jsonl")
	if err != nil || !strings.Contains(string(text), "INCORRECT_DATA") || !strings.Contains(string(text), "after 2106") {
		t.Errorf("%s, %v", text, err)
	}
}

// Answers that are cut off or hold something else are errors, not results.
func TestBadAnswers(t *testing.T) {
	for _, body := range []string{
		`["1","a",1795310100,1]` + "\n", `["1","a",1795310100,1,2`, `["1","a","x",1,2]`, `["1",2,1795310100,1,2]`, `["1","a",1795310100,"x",2]`, `["1","a",1795310100,1,1e999]`,
		`["1","a",2,1,2]["1","a",1,1,2]`, `{"a":1}`, "Code: 241. DB::Exception: Memory limit exceeded",
	} {
		t.Run(body, func(t *testing.T) {
			d, _ := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) }))
			_, err := d.Query(t.Context(), timeseries.Query{Schema: traffic, Start: 1795310100, End: 1795310400, Options: timeseries.DefaultOptions()})
			if err == nil || !strings.Contains(err.Error(), "cannot read the answer") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzReadSamples(f *testing.F) {
	f.Add(`["1","a",1795310100,1,null]` + "\n" + `["1","a",1795310160,1,2]`)
	f.Fuzz(func(t *testing.T, body string) {
		_ = readSamples(strings.NewReader(body), 2, 2, func(s *timeseries.Samples) bool {
			if len(s.Tags) != 2 || len(s.Values) != 2 || len(s.Values[0]) != len(s.Times) || len(s.Values[1]) != len(s.Times) || !slices.IsSorted(s.Times) {
				t.Errorf("got %+v", s)
			}
			return true
		}) // any text may come
	})
}
