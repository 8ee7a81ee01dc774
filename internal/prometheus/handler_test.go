package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// example is a Source with a few series.
func example(t interface{ Fatal(...any) }) *memory.Driver {
	var points []timeseries.Point
	for i := range int64(61) {
		at := 1_700_000_000 + 10*i
		points = append(points,
			timeseries.Point{Schema: counter, Time: at, Tags: []string{"hits", "region=eu"}, Values: []float64{float64(10 * i), 1}},
			timeseries.Point{Schema: counter, Time: at, Tags: []string{"hits", "region=us"}, Values: []float64{float64(20 * i), 2}},
			timeseries.Point{Schema: up, Time: at, Tags: []string{`job=a "b" \\ <é>`}, Values: []float64{1}},
		)
	}
	points = append(points, timeseries.Point{Schema: ndpi, Time: 1_700_000_100, Tags: []string{"1", "10.0.0.1"}, Values: []float64{5, 6}})
	return appended(t, points...)
}

func handler(source Source) *Handler {
	h := NewHandler(source, silent)
	h.now = func() time.Time { return time.Unix(1_700_000_600, 0) }
	return h
}

// answered is the status and the body of an answer, without its last newline.
func answered(h http.Handler, method, path string, form url.Values) (int, string) {
	r := httptest.NewRequest(method, Prefix+"/api/v1/"+path, nil)
	if method == http.MethodPost {
		r = httptest.NewRequest(method, Prefix+"/api/v1/"+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		r.URL.RawQuery = form.Encode()
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSuffix(w.Body.String(), "\n")
}

func TestAnswers(t *testing.T) {
	h := handler(example(t))
	f := func(path, want string, parameters ...string) {
		t.Helper()
		form := make(url.Values)
		for i := 0; i < len(parameters); i += 2 {
			form.Add(parameters[i], parameters[i+1])
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			code, got := answered(h, method, path, form)
			if code != http.StatusOK || got != want {
				t.Errorf("%s %s %v: %d\n got %s\nwant %s", method, path, form, code, got, want)
			}
			if !json.Valid([]byte(got)) {
				t.Errorf("%s is not JSON", got)
			}
		}
	}
	const eu, us = `{"__name__":"statsd_counter_value","name":"hits","region":"eu","schema":"statsd:counter"}`, `{"__name__":"statsd_counter_value","name":"hits","region":"us","schema":"statsd:counter"}`
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":`+eu+`,"value":[1700000600,"600"]},{"metric":`+us+`,"value":[1700000600,"1200"]}]}}`, "query", "statsd_counter_value")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"region":"us"},"value":[1700000100.500,"200"]}]}}`, "query", `sum by (region) (statsd_counter_value{region="us"})`, "time", "2023-11-14T22:15:00.5Z")
	f("query", `{"status":"success","data":{"resultType":"matrix","result":[{"metric":`+eu+`,"values":[[1700000010,"10"],[1700000020,"20"]]}]}}`, "query", `statsd_counter_value{region="eu"}[20s]`, "time", "1700000020")
	f("query", `{"status":"success","data":{"resultType":"scalar","result":[1700000600,"2"]}}`, "query", "1+1")
	f("query", `{"status":"success","data":{"resultType":"string","result":[-1.500,"é\""]}}`, "query", `"é\""`, "time", "-1.5")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[]}}`, "query", "no_such_metric")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000600,"+Inf"]}]}}`, "query", "vector(1/0)")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000600,"1e-07"]}]}}`, "query", "vector(0.0000001)")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"a \"b\" \\ \u003cé\u003e"},"value":[1700000600,"1"]}]}}`, "query", "max by (job) (up)")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":`+eu+`,"value":[1700000600,"600"]}]},"warnings":["results truncated due to limit"]}`, "query", "statsd_counter_value", "limit", "1")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"name":"hits","region":"eu","schema":"statsd:counter"},"value":[1700000600,"1"]}]},"infos":["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"statsd_counter_value\" (1:6)"]}`, "query", `rate(statsd_counter_value{region="eu"}[1m])`)
	f("query_range", `{"status":"success","data":{"resultType":"matrix","result":[{"metric":`+us+`,"values":[[1700000000,"0"],[1700000000.500,"0"],[1700000001,"0"]]}]}}`, "query", `statsd_counter_value{region="us"}`, "start", "1700000000", "end", "1700000001", "step", "0.5")
	f("query_range", `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1700000000,"1"],[1700000060,"1"]]}]}}`, "query", `1`, "start", "1700000000", "end", "1700000119", "step", "1m")
	// A schema with long steps is looked back at for two of them.
	f("query", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"host_ndpi_bytes_sent","host":"10.0.0.1","ifid":"1","schema":"host:ndpi"},"value":[1700000600,"5"]}]}}`, "query", "host_ndpi_bytes_sent")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[]}}`, "query", "host_ndpi_bytes_sent", "lookback_delta", "5m")
	f("query", `{"status":"success","data":{"resultType":"vector","result":[]}}`, "query", "host_ndpi_bytes_sent", "time", "1700000700")

	f("series", `{"status":"success","data":[`+eu+`,`+us+`]}`, "match[]", `statsd_counter_value{region!=""}`, "match[]", "statsd_counter_value", "start", "1700000000", "end", "1700000100")
	f("series", `{"status":"success","data":[`+eu+`]}`, "match[]", `statsd_counter_value{region="eu"}`)
	f("series", `{"status":"success","data":[`+eu+`],"warnings":["results truncated due to limit"]}`, "match[]", "statsd_counter_value", "limit", "1")
	f("series", `{"status":"success","data":[]}`, "match[]", "statsd_counter_value", "end", "1600000000")
	f("series", `{"status":"success","data":[]}`, "match[]", "statsd_counter_value", "end", "-5")
	f("series", `{"status":"success","data":[]}`, "match[]", "nothing")
	f("series", `{"status":"success","data":[`+eu+`]}`, "match[]", `statsd_counter_value{region="eu"}`, "start", firstTime, "end", lastTime)
	f("labels", `{"status":"success","data":["__name__","host","ifid","job","name","region","schema"]}`)
	f("labels", `{"status":"success","data":["__name__","job"]}`, "match[]", "up")
	f("labels", `{"status":"success","data":["__name__","host","ifid","job","schema"]}`, "match[]", "up", "match[]", "host_ndpi_bytes_sent")
	f("labels", `{"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}`, "limit", "1")
	f("labels", `{"status":"success","data":[]}`, "start", "1800000000")
	f("label/__name__/values", `{"status":"success","data":["host_ndpi_bytes_rcvd","host_ndpi_bytes_sent","statsd_counter_rate","statsd_counter_value","up"]}`)
	f("label/__name__/values", `{"status":"success","data":["statsd_counter_rate","statsd_counter_value"]}`, "match[]", `{region="eu"}`)
	f("label/__name__/values", `{"status":"success","data":["host_ndpi_bytes_rcvd","host_ndpi_bytes_sent"]}`, "match[]", `{__name__=~".*bytes.*"}`)
	f("label/region/values", `{"status":"success","data":["eu","us"]}`)
	f("label/region/values", `{"status":"success","data":["us"]}`, "match[]", `{region=~"u.*"}`)
	f("label/schema/values", `{"status":"success","data":["host:ndpi","statsd:counter"]}`)
	f("label/schema/values", `{"status":"success","data":["statsd:counter"]}`, "match[]", `{name="hits"}`)
	f("label/U__job/values", `{"status":"success","data":["a \"b\" \\ \u003cé\u003e"]}`)
	f("label/nothing/values", `{"status":"success","data":[]}`)
	f("metadata", `{"status":"success","data":{"host_ndpi_bytes_rcvd":[{"type":"counter","help":"bytes_rcvd of host:ndpi, every 300 s","unit":""}],"host_ndpi_bytes_sent":[{"type":"counter","help":"bytes_sent of host:ndpi, every 300 s","unit":""}]}}`, "limit", "2")
	f("metadata", `{"status":"success","data":{"up":[{"type":"unknown","help":"up, received from Prometheus","unit":""}]}}`, "metric", "up", "limit_per_metric", "1")
	f("format_query", `{"status":"success","data":"sum(rate(up[5m])) / 2"}`, "query", "sum(rate(up[5m]))/2")
	f("query_exemplars", `{"status":"success","data":[]}`, "query", "up", "start", "1", "end", "2")
	f("rules", `{"status":"success","data":{"groups":[]}}`)
	f("alerts", `{"status":"success","data":{"alerts":[]}}`)
	if code, got := answered(h, http.MethodGet, "status/buildinfo", nil); code != http.StatusOK || !strings.Contains(got, `"version":"`+engineVersion+`"`) {
		t.Errorf("%d %s", code, got)
	}
}

// The version that clients are told is that of the module.
func TestEngineVersion(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`github.com/prometheus/prometheus v0\.(\d)(\d\d)\.(\d+)`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatal("go.mod has no such module")
	}
	if want := m[1] + "." + strings.TrimPrefix(m[2], "0") + "." + m[3]; want != engineVersion {
		t.Errorf("the module is %s, clients are told %s", want, engineVersion)
	}
}

func TestRefusals(t *testing.T) {
	h := handler(example(t))
	f := func(path string, code int, kind, part string, parameters ...string) {
		t.Helper()
		form := make(url.Values)
		for i := 0; i < len(parameters); i += 2 {
			form.Add(parameters[i], parameters[i+1])
		}
		got, body := answered(h, http.MethodPost, path, form)
		var answer struct{ Status, ErrorType, Error string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || got != code || answer.Status != "error" || answer.ErrorType != kind || !strings.Contains(answer.Error, part) {
			t.Errorf("%s %v: %d %s, want %d %s %q", path, form, got, body, code, kind, part)
		}
	}
	f("query", 400, "bad_data", "it is needed")
	f("query", 400, "bad_data", "parse error", "query", "rate(")
	f("query", 400, "bad_data", "want Unix seconds", "query", "1", "time", "yesterday")
	f("query", 400, "bad_data", "out of range", "query", "1", "time", "NaN")
	f("query", 400, "bad_data", "out of range", "query", "1", "time", "1e300")
	f("query", 400, "bad_data", "want seconds", "query", "1", "timeout", "soon")
	f("query", 400, "bad_data", "negative", "query", "1", "lookback_delta", "-1")
	f("query", 400, "bad_data", "whole number", "query", "1", "limit", "-1")
	f("query", 400, "bad_data", "bytes long", "query", strings.Repeat("1+", maxQuery)+"1")
	f("query", 400, "bad_data", "nests", "query", strings.Repeat("(", 600)+"1"+strings.Repeat(")", 600))
	f("query", 400, "bad_data", "nests", "query", strings.Repeat("1+", 600)+"1")
	growing := "up"
	for range 30 {
		growing = `label_join(` + growing + `, "job", "", "job", "job")`
	}
	f("query", 400, "bad_data", "longer", "query", growing)
	for range 6 {
		growing = "up"
		for range 6 {
			growing = `label_replace(` + growing + `, "job", "$1$1$1$1$1$1$1$1", "job", "(.*)")`
		}
	}
	f("query", 400, "bad_data", "longer", "query", growing)
	f("query", 422, "execution", "many-to-many", "query", `statsd_counter_value * on(name) statsd_counter_rate`)
	f("query", 422, "execution", "million samples", "query", `sum_over_time((vector(1) or label_replace(vector(1), "a", "b", "", ""))[48d:1s])`)
	f("query", 400, "bad_data", "million steps", "query", `sum_over_time(vector(1)[365d:1s])`)
	f("query", 400, "bad_data", "million steps", "query", `max_over_time(vector(1)[10y:1ms])`)
	f("query", 400, "bad_data", "million steps", "query", `max_over_time(vector(1)[290y:])`)
	f("query", 400, "bad_data", "million steps", "query", `max_over_time(max_over_time(vector(1)[1s:1ms])[100y:1h] @ 5 offset -3y)`)
	f("query", 400, "bad_data", "million steps", "query", "1"+strings.Repeat(` + max_over_time(vector(1)[20d:1s])`, 3))
	f("query_range", 400, "bad_data", "million steps", "query", `max_over_time(vector(1)[1s:1s])`, "start", "0", "end", "10000000", "step", "1h")
	f("query_range", 400, "bad_data", "million steps", "query", `max_over_time(vector(1)[1s:1h])`, "start", "0", "end", "1e11", "step", "250y")
	f("query", 503, "timeout", "in time", "query", "up", "timeout", "0")
	f("query_range", 400, "bad_data", "needed", "query", "1", "start", "1", "end", "2")
	f("query_range", 400, "bad_data", "before start", "query", "1", "start", "3", "end", "2", "step", "1")
	f("query_range", 400, "bad_data", "0.001", "query", "1", "start", "1", "end", "2", "step", "0")
	f("query_range", 400, "bad_data", "0.001", "query", "1", "start", "1", "end", "2", "step", "0.0001")
	f("query_range", 400, "bad_data", "11000 points", "query", "1", "start", "1", "end", "20000", "step", "1")
	f("query_range", 400, "bad_data", "11000 points", "query", "1", "start", "-1e15", "end", "1e15", "step", "1y")
	f("query_range", 400, "bad_data", "invalid expression type", "query", "up[5m]", "start", "1", "end", "2", "step", "1")
	f("series", 400, "bad_data", "needed")
	f("series", 400, "bad_data", "at least one matcher", "match[]", `{a=~".*"}`)
	f("series", 400, "bad_data", "parse error", "match[]", "up[5m]")
	f("labels", 400, "bad_data", "bytes long", "match[]", strings.Repeat("a", maxQuery+1))
	f("label/%ff/values", 400, "bad_data", "UTF-8")
	f("metadata", 400, "bad_data", "whole number", "limit", "many")
	f("format_query", 400, "bad_data", "parse error", "query", "(")
	f("targets", 404, "not_found", "query_range")
	f("query", 413, "bad_data", "larger than", "query", strings.Repeat("a", maxBody))
	if code, body := answered(h, http.MethodDelete, "series", nil); code != http.StatusNotFound || !strings.Contains(body, "DELETE") {
		t.Errorf("%d %s", code, body)
	}
}

// broken is a Source that fails, as it says.
type broken struct {
	*memory.Driver
	err error
}

func (b broken) Schemas(context.Context) ([]*timeseries.Schema, error) { return nil, b.err }

func TestFailuresOfTheSource(t *testing.T) {
	f := func(err error, code int, part string) {
		t.Helper()
		for _, path := range []string{"query", "series", "labels", "metadata"} {
			got, body := answered(handler(broken{new(memory.Driver), err}), http.MethodGet, path, url.Values{"query": {"up"}, "match[]": {"up"}})
			if got != code || !strings.Contains(body, part) {
				t.Errorf("%s: %d %s, want %d %s", path, got, body, code, part)
			}
		}
	}
	f(errors.New("the disk is gone"), 500, "the disk is gone")
	f(fmt.Errorf("influx gives no samples: %w", errors.ErrUnsupported), 503, "influx gives no samples")
	f(context.DeadlineExceeded, 503, "in time")
}

// endless is a Source with more series than any memory holds.
type endless struct{ read int }

func (e *endless) Schemas(context.Context) ([]*timeseries.Schema, error) {
	return []*timeseries.Schema{ndpi}, nil
}

func (e *endless) Samples(_ context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		times, column := make([]int64, 1000), make([]float64, 1000)
		for i := range times {
			times[i] = q.After + 1 + int64(i)
		}
		for {
			e.read++
			one := &timeseries.Samples{Tags: []string{"1", fmt.Sprint(e.read)}, Times: times}
			for range q.Columns() {
				one.Values = append(one.Values, column)
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}

func (e *endless) List(context.Context, timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		for {
			e.read++
			if !yield(timeseries.Tags{"ifid": "1", "host": fmt.Sprint(e.read)}, nil) {
				return
			}
		}
	}
}

// A question about everything is refused before it takes the memory.
func TestMemoryIsBounded(t *testing.T) {
	for path, form := range map[string]url.Values{
		"query":             {"query": {`{__name__=~".+"}`}},
		"query_range":       {"query": {`rate({schema=~".+"}[1d])`}, "start": {"1700000000"}, "end": {"1700086400"}, "step": {"60"}},
		"series":            {"match[]": {`{__name__=~".+"}`}},
		"label/host/values": {},
	} {
		source := new(endless)
		h := handler(source)
		h.bytes = 1 << 24
		code, body := answered(h, http.MethodGet, path, form)
		if code != http.StatusUnprocessableEntity || !strings.Contains(body, "it is about more than") || !strings.Contains(body, `"execution"`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if source.read > 1<<24/seriesBytes {
			t.Errorf("%s: %d series were read", path, source.read)
		}
	}
}

// hanging is a Source that answers when the question is given up.
type hanging struct{ *memory.Driver }

func (hanging) Schemas(ctx context.Context) ([]*timeseries.Schema, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Questions beyond the places wait, and are sent away when that takes too long.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(hanging{new(memory.Driver)})
		answers := make(chan string, places+1)
		begin := time.Now()
		for range places {
			go func() {
				code, body := answered(h, http.MethodGet, "query", url.Values{"query": {"up"}})
				answers <- fmt.Sprint(code, body)
			}()
		}
		synctest.Wait()
		if code, body := answered(h, http.MethodGet, "query", url.Values{"query": {"up"}}); code != http.StatusServiceUnavailable || !strings.Contains(body, "too many") || time.Since(begin) != placeTimeout {
			t.Errorf("after %v: %d %s", time.Since(begin), code, body)
		}
		for range places {
			if got := <-answers; !strings.Contains(got, "503") || !strings.Contains(got, "in time") || time.Since(begin) != queryTimeout {
				t.Errorf("after %v: %s", time.Since(begin), got)
			}
		}
	})
}

// FuzzParameters: whatever is asked gets an answer in JSON, and never "internal".
func FuzzParameters(f *testing.F) {
	f.Add("query", "query=up&time=1700000000")
	f.Add("query_range", "query=rate(statsd_counter_value[1m])&start=1700000000&end=1700000600&step=15")
	f.Add("query_range", "query=topk(1,statsd_counter_value)&start=2023-11-14T22:13:20Z&end=1700000600.5&step=1m&limit=1&timeout=1s&lookback_delta=1m")
	f.Add("series", "match[]=up&match[]={region=~\"e.*\"}&start=-1&end=292277025-08-18T07:12:54.999999999Z")
	f.Add("labels", "match[]={schema=\"host:ndpi\"}&limit=1")
	f.Add("label/U__a_2e_b/values", "")
	f.Add("metadata", "metric=up&limit_per_metric=1")
	f.Add("format_query", "query=1%2B1")
	f.Add("query_exemplars", "query=up")
	h := handler(example(f))
	h.timeout = time.Second // so that slow questions do not take the time of others
	f.Fuzz(func(t *testing.T, path, query string) {
		r, err := http.NewRequest(http.MethodGet, "http://weir", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.URL.RawQuery = Prefix+"/api/v1/"+path, query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.Bytes()
		if w.Code == http.StatusMovedPermanently || w.Code == http.StatusTemporaryRedirect { // the mux tidies a path
			return
		}
		if !json.Valid(body) || w.Code == http.StatusInternalServerError {
			t.Fatalf("%q %q: %d %q", path, query, w.Code, body)
		}
	})
}
