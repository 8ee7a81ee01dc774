package influxdb

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/timeseries"
)

var (
	traffic = &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"sent", "rcvd"}}
	odd     = &timeseries.Schema{Name: "a,b:c=d", Step: 60, Tags: []string{"t g", "tags"}, Metrics: []string{"m,1"}, Packed: "tags"}
)

// R33: what points look like in line protocol.
func TestR33_Lines(t *testing.T) {
	for want, p := range map[string]timeseries.Point{
		"host:traffic,ifid=1,host=10.0.0.1 sent=600,rcvd=1200.5 1795310100":                   {Schema: traffic, Time: 1795310100, Tags: []string{"1", "10.0.0.1"}, Values: []float64{600, 1200.5}},
		"host:traffic,ifid=1 rcvd=1e+300 0":                                                   {Schema: traffic, Tags: []string{"1", ""}, Values: []float64{math.NaN(), 1e300}},
		`host:traffic,ifid=1,host=a\,b\=c\ d\e"' sent=-1,rcvd=0 5`:                            {Schema: traffic, Time: 5, Tags: []string{"1", `a,b=c d\e"'`}, Values: []float64{-1, 0}},
		"host:traffic,ifid=1,host=a" + string(drivers.EscapedByte('\\')) + " sent=1,rcvd=1 5": {Schema: traffic, Time: 5, Tags: []string{"1", `a\`}, Values: []float64{1, 1}},
		`a\,b:c=d,t\ g=x,dc=y,host=z m\,1=1 5`:                                                {Schema: odd, Time: 5, Tags: []string{"x", "dc=y;host=z"}, Values: []float64{1}},
		`a\,b:c=d,t\ g=x,tags=host\=z;dc\=y m\,1=1 5`:                                         {Schema: odd, Time: 5, Tags: []string{"x", "host=z;dc=y"}, Values: []float64{1}},
	} {
		if got := string(lines([]timeseries.Point{p})); got != want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

// scripted is a server that answers writes as it is told, and then well.
type scripted struct {
	mu      sync.Mutex
	answers []func(http.ResponseWriter, *http.Request)
	writes  []string // path and query of each
	lines   map[string]bool
	query   string // the answer to questions
	asked   []string
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/ping":
		w.WriteHeader(http.StatusNoContent)
	case "/query":
		s.asked = append(s.asked, r.FormValue("db")+" "+r.FormValue("q")+" "+r.Header.Get("Authorization"))
		if s.query == "" {
			s.query = `{"results":[{"statement_id":0}]}`
		}
		io.WriteString(w, s.query)
	case "/api/v2/delete":
		s.asked = append(s.asked, string(body))
		w.WriteHeader(http.StatusNoContent)
	default:
		s.writes = append(s.writes, r.URL.Path+"?"+r.URL.RawQuery+" "+r.Header.Get("Authorization"))
		if len(s.answers) > 0 {
			answer := s.answers[0]
			s.answers = s.answers[1:]
			answer(w, r)
			return
		}
		if s.lines == nil {
			s.lines = make(map[string]bool)
		}
		for line := range strings.Lines(string(body)) {
			if strings.Contains(line, "host=bad") {
				http.Error(w, `{"error":"partial write: field type conflict dropped=1"}`, http.StatusBadRequest)
				return
			}
		}
		for line := range strings.Lines(string(body)) {
			s.lines[line] = true
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func answer(code int, text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, text)
	}
}

// points are n of one host, at different times.
func points(host string, n int) (list []timeseries.Point) {
	for i := range n {
		list = append(list, timeseries.Point{Schema: traffic, Time: 1795310100 + int64(i), Tags: []string{"1", host}, Values: []float64{1, 2}})
	}
	return list
}

// InfluxDB 2: faults of every kind come and go, and in the end all good points are there, each known to the books.
func TestFaults(t *testing.T) {
	s := &scripted{answers: []func(http.ResponseWriter, *http.Request){
		answer(http.StatusInternalServerError, `{"code":"internal error","message":"unexpected error"}`),
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, // cut off before the answer
		answer(http.StatusNotFound, `{"code":"not found","message":"bucket \"weir\" not found"}`),
	}}
	web := httptest.NewServer(s)
	defer web.Close()
	d := open(t, Config{Access: delivery.Access{URL: web.URL, Token: delivery.Secret{Text: "t0ken"}}, Bucket: "weir", Organization: "o"})
	batch := append(points("a", 50), append(points("bad", 1), points("b", 50)...)...)
	if err := d.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if a := d.ledger.Snapshot(); a.Passed != 100 || a.Discarded["rejected"] != 1 || !a.Balanced() || len(s.lines) != 100 {
		t.Errorf("%d lines, %+v", len(s.lines), a)
	}
	if d.Failure() != nil {
		t.Errorf("got %v", d.Failure())
	}
	if want := "/api/v2/write?bucket=weir&org=o&precision=s Token t0ken"; s.writes[0] != want {
		t.Errorf("got %q, want %q", s.writes[0], want)
	}

	s.query = `{"results":[{"statement_id":0,"series":[{"name":"measurements","columns":["name"],"values":[["host:traffic"],["host:\"x\""]]}]}]}`
	s.asked = nil
	if err := d.Delete(t.Context(), "ho/st", timeseries.Tags{"host": `a"\b`}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		`weir SHOW MEASUREMENTS WITH MEASUREMENT =~ /^ho\/st:/ Token t0ken`,
		`{"predicate":"_measurement=\"host:traffic\" AND \"host\"=\"a\\\"\\\\b\"","start":"1970-01-01T00:00:00Z","stop":"2262-04-11T00:00:00Z"}`,
		`{"predicate":"_measurement=\"host:\\\"x\\\"\" AND \"host\"=\"a\\\"\\\\b\"","start":"1970-01-01T00:00:00Z","stop":"2262-04-11T00:00:00Z"}`,
	}, s.asked); diff != "" {
		t.Error(diff)
	}
}

// A user who may not make a database uses one that is there.
func TestSetup(t *testing.T) {
	there := true
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch q := r.FormValue("q"); {
		case q == `CREATE DATABASE "we\"ir"`:
			http.Error(w, `{"error":"error authorizing query: requires admin privilege"}`, http.StatusForbidden)
		case q == "SHOW MEASUREMENTS LIMIT 1" && r.FormValue("db") == `we"ir` && there:
			io.WriteString(w, `{"results":[{"statement_id":0}]}`)
		default:
			io.WriteString(w, `{"results":[{"statement_id":0,"error":"database not found"}]}`)
		}
	}))
	defer web.Close()
	s := New(Config{Access: delivery.Access{URL: web.URL}, Database: `we"ir`})
	if err := s.Setup(t.Context()); err != nil {
		t.Error(err)
	}
	there = false
	if err := s.Setup(t.Context()); err == nil || !strings.Contains(err.Error(), "admin privilege") {
		t.Errorf("got %v", err)
	}
}

// When the server stored none of a batch it says how many that is, and nobody looks for the bad ones.
func TestAllDropped(t *testing.T) {
	s := &scripted{answers: []func(http.ResponseWriter, *http.Request){answer(http.StatusBadRequest, `{"error":"partial write: points beyond retention policy dropped=100"}`)}}
	web := httptest.NewServer(s)
	defer web.Close()
	d := open(t, Config{Access: delivery.Access{URL: web.URL}, Database: "weir"})
	if err := d.Append(t.Context(), points("a", 100)); err != nil {
		t.Fatal(err)
	}
	if a := d.ledger.Snapshot(); a.Discarded["rejected"] != 100 || !a.Balanced() || len(s.writes) != 1 {
		t.Errorf("%d writes, %+v", len(s.writes), a)
	}
}

// Answers in parts are put together, and those that are cut off or are something else are errors.
func TestAnswers(t *testing.T) {
	s := &scripted{}
	web := httptest.NewServer(s)
	defer web.Close()
	d := open(t, Config{Access: delivery.Access{URL: web.URL}, Database: "weir"})
	ask := func() (text string, err error) {
		for one, err := range d.Samples(t.Context(), timeseries.SampleQuery{Schema: traffic, Tags: timeseries.Tags{"host": `O'Neil\`}, After: 60, Through: math.MaxInt64}) {
			if err != nil {
				return "", err
			}
			text += fmt.Sprint(one.Tags, one.Times, one.Values)
		}
		return text, nil
	}
	head := `{"name":"host:traffic","tags":{"host":"O'Neil` + string(drivers.EscapedByte('\\')) + `","ifid":"1"},"columns":["time","sent","rcvd"],"values":`
	s.query = `{"results":[{"statement_id":0,"series":[` + head + `[[61,1,null]],"partial":true}],"partial":true}]}` + "\n" + `{"results":[{"statement_id":0,"series":[` + head + `[[62,2e3,3]]}]}]}`
	s.asked = nil
	if got, err := ask(); err != nil || got != `[1 O'Neil\] [61 62] [[1 2000] [NaN 3]]` {
		t.Errorf("got %s, %v", got, err)
	}
	if want := `weir SELECT "sent","rcvd" FROM "host:traffic" WHERE "host"='O\'Neil` + string(drivers.EscapedByte('\\')) + `' AND time > 60s AND time <= 9223372036s GROUP BY "ifid","host" `; s.asked[0] != want {
		t.Errorf("got  %s\nwant %s", s.asked[0], want)
	}
	for _, text := range []string{
		s.query[:len(s.query)-3], strings.SplitAfter(s.query, "\n")[0], `{"error":"timeout"}`, `{"results":[{"error":"database not found"}]}`, "<html>", " ",
		`{"results":[{"series":[` + head + `[[62,1,1],[61,1,1]]}]}]}`, `{"results":[{"series":[` + head + `[[62,1]]}]}]}`, `{"results":[{"series":[` + head + `[[62,1,"x"]]}]}]}`, `{"results":[{"series":[` + head + `[["x",1,1]]}]}]}`,
	} {
		s.query = text
		if got, err := ask(); err == nil {
			t.Errorf("%s: got %s", text, got)
		}
	}
}

func FuzzReadRows(f *testing.F) {
	f.Add(`{"results":[{"statement_id":0,"series":[{"name":"a:b","tags":{"ifid":"1"},"columns":["time","sent","rcvd"],"values":[[61,1,null]]}]}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		readRows(strings.NewReader(body), func(r row, err error) bool {
			one := &timeseries.Samples{Values: make([][]float64, 2)}
			_ = r.Values.rows(func(cells [][]byte) error {
				if err := addRow(one, cells); err != nil {
					return err
				}
				if len(one.Values[0]) != len(one.Times) || len(one.Values[1]) != len(one.Times) {
					t.Errorf("got %+v", one)
				}
				return nil
			}) // any text may come
			return err == nil
		})
	})
}

// Points that ntopng wrote are read, and those that the real server does not take are told from the others.
func TestInfluxdDatabase(t *testing.T) {
	address := startInfluxd(t)
	d := open(t, Config{Access: delivery.Access{URL: address}, Database: "ntopng"})
	response, err := http.Post(address+"/write?precision=s&db=ntopng", "text/plain", strings.NewReader(
		"host:traffic,ifid=1,host=10.0.0.1 sent=600,rcvd=1200 1795310100\nhost:traffic,host=10.0.0.1,ifid=1 sent=1200.0,rcvd=2400 1795310160\nhost:load,ifid=1,host=x value=\"text\" 1795310100\n"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	q := timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "10.0.0.1"}, Start: 1795310100, End: 1795310160, Options: timeseries.DefaultOptions()}
	r, err := d.Query(t.Context(), q)
	if err != nil || r.Series[0].Data[0] != 10 || r.Series[1].Data[0] != 20 {
		t.Errorf("%+v, %v", r, err)
	}

	load := &timeseries.Schema{Name: "host:load", Step: 60, Type: timeseries.Gauge, Tags: []string{"ifid", "host"}, Metrics: []string{"value"}}
	batch := points("a", 20)
	batch = append(batch, timeseries.Point{Schema: load, Time: 1795310100, Tags: []string{"1", "a"}, Values: []float64{1}}) // a field of text
	batch = append(batch, points("b", 20)...)
	if err := d.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if a := d.ledger.Snapshot(); a.Passed != 40 || a.Discarded["rejected"] != 1 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
	total, err := d.Total(t.Context(), timeseries.Query{Schema: &timeseries.Schema{Name: "host:traffic", Step: 1, Type: timeseries.Gauge, Tags: traffic.Tags, Metrics: traffic.Metrics}, Tags: timeseries.Tags{"host": "b"}, Start: 1795310000, End: 1795311000})
	if diff := cmp.Diff(map[string]float64{"sent": 20, "rcvd": 40}, total, cmpopts.EquateNaNs()); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func BenchmarkLines(b *testing.B) {
	list := points("10.0.0.1", 1000)
	for b.Loop() {
		lines(list)
	}
	b.ReportMetric(float64(b.N)*2000/b.Elapsed().Seconds(), "values/s")
}

func BenchmarkReadRows(b *testing.B) {
	var text strings.Builder
	text.WriteString(`{"results":[{"statement_id":0,"series":[`)
	for n := range 100 {
		if n > 0 {
			text.WriteString(",")
		}
		fmt.Fprintf(&text, `{"name":"a:b","tags":{"host":"%d"},"columns":["time","sent","rcvd"],"values":[[0,0,0]`, n)
		for i := range 120 {
			fmt.Fprintf(&text, ",[%d,%d,%v]", 1795310100+60*i, 600*i, 1.5*float64(i))
		}
		text.WriteString("]}")
	}
	text.WriteString("]}]}")
	for b.Loop() {
		readRows(strings.NewReader(text.String()), func(r row, err error) bool {
			one := &timeseries.Samples{Values: make([][]float64, 2)}
			if err := errors.Join(err, r.Values.rows(func(cells [][]byte) error { return addRow(one, cells) })); err != nil {
				b.Fatal(err)
			}
			return true
		})
	}
	b.ReportMetric(float64(b.N)*100*121*2/b.Elapsed().Seconds(), "values/s")
}
