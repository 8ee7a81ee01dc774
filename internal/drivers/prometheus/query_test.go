package prometheus

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/drivertest"
)

// readAll is what readResults makes of an answer.
func readAll(body string) (text string, err error) {
	err = readResults(strings.NewReader(body), func(r *result) bool {
		text += fmt.Sprint(r.Metric["a"])
		for _, s := range r.Values {
			text += fmt.Sprintf(" %d/%v", s.at, s.value)
		}
		if r.Value != nil {
			text += fmt.Sprintf(" %d/%v", r.Value.at, r.Value.value)
		}
		text += ";"
		return true
	})
	return text, err
}

func TestReadResults(t *testing.T) {
	for body, want := range map[string]string{
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"x"},"values":[[1795310100,"1"],[1795310160.9,"NaN"]]},{"metric":{"a":"y"},"values":[]}]}}`: "x 1795310100/1 1795310160/NaN;y;",
		`{"data":{"result":[{"metric":{"a":"x"},"value":[5.001,"+Inf"]}],"resultType":"vector","stats":{"a":[1]}},"status":"success","warnings":["w"]}`:                         "x 5/+Inf;",
		`{"status":"success","data":[{"__name__":"n","a":"x"},{"a":"y"}]}`:                                                                                                      "x;y;",
		`{"status":"success","data":null}`: "",
	} {
		if got, err := readAll(body); err != nil || got != want {
			t.Errorf("%s: got %s, %v", body, got, err)
		}
	}
	for _, body := range []string{
		"", "[]", "<html>", `{"status":"error","error":"too many samples"}`, `{"status":"success","data":{"result":[{"metric":{"a":"x"},"values":[[1`,
		`{"status":"success","data":{"result":[{"metric":{},"values":[[1,2]]}]}}`, `{"status":"success","data":{"result":[{"metric":{},"value":[1,"x"]}]}}`,
		`{"status":"success","data":{"result":[{"metric":{},"value":[1e300,"1"]}]}}`, `{"status":"success","data":{"result":5}}`, `{"status":"success","data":["x"]}`,
		`{"status":"success","data":{"result":[{"metric":{},"value":[1,"1",3]}]}}`,
	} {
		if got, err := readAll(body); err == nil || err == io.EOF {
			t.Errorf("%s: got %q, %v", body, got, err)
		}
	}
}

func FuzzReadResults(f *testing.F) {
	f.Add(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"x"},"values":[[1795310100,"1"],[1795310160.9,"NaN"]]}]}}`)
	f.Add(`{"status":"success","data":[{"__name__":"n","a":"x"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var c column
		_ = readResults(strings.NewReader(body), func(r *result) bool {
			for _, s := range r.Values {
				c.add(s)
			}
			return true
		}) // any text may come
		if !slices.IsSorted(c.times) || len(c.times) != len(c.values) {
			t.Errorf("got %+v", c)
		}
	})
}

// What a series looks like there, and comes back as.
func TestColumns(t *testing.T) {
	foreign := &timeseries.Schema{Name: "prometheus:up", Step: 15, Type: timeseries.Gauge, Tags: []string{"labels"}, Metrics: []string{"value"}, Packed: "labels"}
	mixed := &timeseries.Schema{Name: "a:b", Step: 15, Tags: []string{"schema", "x y"}, Metrics: []string{"m"}}
	for _, c := range []struct {
		schema   *timeseries.Schema
		labels   map[string]string
		selector string
		want     string
	}{
		{traffic, map[string]string{"__name__": "host_traffic_sent", "schema": "host:traffic", "host": "a", "ifid": "1", "replica": "2"}, `{__name__=~"host_traffic_rcvd|host_traffic_sent",schema="host:traffic",host="a\"\\"}`, `["1" "a"]`},
		{traffic, map[string]string{"__name__": "host_traffic_sent", "schema": "host:traffic"}, `{__name__=~"host_traffic_rcvd|host_traffic_sent",schema="host:traffic",host="a\"\\"}`, `["" ""]`},
		{hits, map[string]string{"__name__": "statsd_gauge_value", "schema": "statsd:gauge", "name": "n", "host": "h", "dc": "x;"}, `{__name__=~"statsd_gauge_value",schema="statsd:gauge"}`, `["n" "dc=x\\;;host=h"]`},
		{foreign, map[string]string{"__name__": "up", "job": "node", "schema": "s", "time": "t"}, `{__name__=~"up"}`, `["job=node;schema=s;time=t"]`},
		{mixed, map[string]string{"__name__": "a_b_m", "schema": "a:b", "exported_schema": "s", "x_y": "z"}, `{__name__=~"a_b_m",schema="a:b"}`, `["s" "z"]`},
	} {
		columns := newColumns(c.schema)
		if got := columns.selector(nil, timeseries.Tags{"host": `a"\`}); got != c.selector {
			t.Errorf("%s: selector %s, want %s", c.schema.Name, got, c.selector)
		}
		if got := fmt.Sprintf("%q", columns.values(c.labels)); got != c.want {
			t.Errorf("%s: values %s, want %s", c.schema.Name, got, c.want)
		}
	}
	if got := newColumns(traffic).selector([]int{1}, nil); got != `{__name__=~"host_traffic_rcvd",schema="host:traffic"}` {
		t.Errorf("got %s", got)
	}
}

func TestJoin(t *testing.T) {
	got := join([]string{"a"}, []column{{[]int64{1, 3}, []float64{10, 30}}, {}, {[]int64{2, 3}, []float64{200, 300}}})
	if fmt.Sprint(got.Times, got.Values) != "[1 2 3] [[10 NaN 30] [NaN NaN NaN] [NaN 200 300]]" {
		t.Errorf("got %+v", got)
	}
}

// A server that is busy, fails, cuts the connection off and rejects: in the end it has what it takes.
func TestFaults(t *testing.T) {
	step, written := 0, 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/write" {
			io.WriteString(w, `{"status":"success","data":{"result":[]}}`) // it has nothing
			return
		}
		body, _ := io.ReadAll(r.Body)
		request, err := snappy.Decode(nil, body)
		if err != nil || r.Header.Get("Authorization") != "Bearer t0ken" || r.Header.Get("Content-Encoding") != "snappy" {
			t.Errorf("%v, %v", err, r.Header)
		}
		switch step++; {
		case step == 1:
			w.WriteHeader(http.StatusBadGateway)
		case step == 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case step == 3:
			panic(http.ErrAbortHandler)
		case strings.Contains(string(request), "bad"):
			http.Error(w, "out of order sample", http.StatusBadRequest)
		default:
			written += strings.Count(string(request), "host_traffic_sent")
		}
	}))
	defer web.Close()
	server := New(Config{Access: delivery.Access{URL: web.URL, Token: delivery.Secret{Text: "t0ken"}}})
	d := openServer(t, server)
	var batch []timeseries.Point
	for i := range 40 {
		host := fmt.Sprint("h", i)
		if i == 17 {
			host = "bad"
		}
		batch = append(batch, point(traffic, 0, []float64{1, math.NaN()}, "1", host))
	}
	if err := d.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if a := d.ledger.Snapshot(); a.Passed != 39 || a.Discarded["rejected"] != 1 || !a.Balanced() || written != 39 {
		t.Errorf("%d written, %+v", written, a)
	}
}

func BenchmarkWriteRequest(b *testing.B) {
	var points []timeseries.Point
	for i := range 1000 {
		points = append(points, timeseries.Point{Schema: traffic, Time: drivertest.Start + int64(i%10), Tags: []string{"1", fmt.Sprint("10.0.0.", i/10)}, Values: []float64{float64(i), 2}})
	}
	for b.Loop() {
		writeRequest(points)
	}
	b.ReportMetric(float64(b.N)*2000/b.Elapsed().Seconds(), "values/s")
}

func BenchmarkReadResults(b *testing.B) {
	var text strings.Builder
	text.WriteString(`{"status":"success","data":{"resultType":"matrix","result":[`)
	for n := range 200 {
		if n > 0 {
			text.WriteString(",")
		}
		fmt.Fprintf(&text, `{"metric":{"__name__":"a_b","host":"%d"},"values":[[0,"0"]`, n)
		for i := range 120 {
			fmt.Fprintf(&text, `,[%d,"%v"]`, 1795310100+60*i, 1.5*float64(i))
		}
		text.WriteString("]}")
	}
	text.WriteString("]}}")
	for b.Loop() {
		if err := readResults(strings.NewReader(text.String()), func(*result) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*200*121/b.Elapsed().Seconds(), "values/s")
}
