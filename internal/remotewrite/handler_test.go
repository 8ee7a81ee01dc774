package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// recorder is a driver that remembers points as text.
type recorder struct {
	memory.Driver
	mu   sync.Mutex
	rows []string
	err  error // of all appends
}

func (r *recorder) Append(_ context.Context, points []timeseries.Point) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	var refused timeseries.AppendError
	for _, p := range points {
		if err := p.Validate(); err != nil {
			refused.Refused++
			refused.First = err
			continue
		}
		r.rows = append(r.rows, fmt.Sprintf("%s %q %v %d %d", p.Schema.Name, p.Tags, p.Values, p.Time, p.Schema.Type))
	}
	if refused.Refused > 0 {
		return &refused
	}
	return nil
}

func newTestHandler(driver timeseries.Driver) (*Handler, *telemetry.Registry) {
	reg := telemetry.NewRegistry()
	return New(driver, func(string) *timeseries.Schema { return nil }, reg, slog.New(slog.DiscardHandler)), reg
}

const (
	type1 = "application/x-protobuf"
	type2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

// post sends a message as its senders do.
func post(h http.Handler, kind string, message []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/api/v1/write", bytes.NewReader(snappy.Encode(nil, message)))
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Content-Encoding", "snappy")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// oneSeries is a series of version 1; labels are names and values in turns.
func oneSeries(samples []prompb.Sample, labels ...string) prompb.TimeSeries {
	s := prompb.TimeSeries{Samples: samples}
	for i := 0; i < len(labels); i += 2 {
		s.Labels = append(s.Labels, prompb.Label{Name: labels[i], Value: labels[i+1]})
	}
	return s
}

func marshal(t testing.TB, message interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	data, err := message.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func account(t testing.TB, reg *telemetry.Registry) telemetry.Account {
	t.Helper()
	a := reg.Ledger("writes.prometheus", "points").Snapshot()
	if !a.Balanced() {
		t.Errorf("the ledger does not balance: %+v", a)
	}
	return a
}

func TestWrite(t *testing.T) {
	at := func(value float64, milliseconds int64) prompb.Sample {
		return prompb.Sample{Value: value, Timestamp: milliseconds}
	}
	stale := math.Float64frombits(staleMarker)
	for _, c := range []struct {
		name      string
		series    []prompb.TimeSeries
		rows      []string
		dropped   string // what the answer says; "" means 204
		discarded map[string]int64
	}{
		{name: "a gauge", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(1.5, 1700000000999), at(2, 1700000015000)}, "__name__", "up", "instance", "a:9090", "job", "x")},
			rows: []string{`prometheus:up ["instance=a:9090;job=x"] [1.5] 1700000000 1`, `prometheus:up ["instance=a:9090;job=x"] [2] 1700000015 1`}},
		{name: "counters by their names", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "a_total"), oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "b_bucket", "le", "+Inf")},
			rows: []string{`prometheus:a_total [""] [1] 1 0`, `prometheus:b_bucket ["le=+Inf"] [1] 1 0`}},
		{name: "what a schema cannot be called", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "job:up:sum"), oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "with space %")},
			rows: []string{`prometheus:job%3Aup%3Asum [""] [1] 1 1`, `prometheus:with%20space%20%25 [""] [1] 1 1`}},
		{name: "labels in no order, one without a value", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(1, 1000)}, "b", "2", "__name__", "m", "c", "", "a", "1")}, rows: []string{`prometheus:m ["a=1;b=2"] [1] 1 1`}},
		{name: "quotes, commas, backslashes, UTF-8", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "température", "a", `"x", y\z;=`, "名", "東京")},
			rows: []string{`prometheus:température ["a=\"x\", y\\\\z\\;\\=;名=東京"] [1] 1 1`}},
		{name: "numbers that are none", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(math.NaN(), 1000), at(stale, 2000), at(3, 3000)}, "__name__", "m")},
			rows: []string{`prometheus:m [""] [3] 3 1`}, discarded: map[string]int64{"nan": 1, "stale": 1}},
		{name: "infinity", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(math.Inf(-1), 1000), at(3, 3000)}, "__name__", "m")},
			rows: []string{`prometheus:m [""] [3] 3 1`}, dropped: "1 points were dropped: a sample of prometheus:m is infinite", discarded: map[string]int64{"infinite": 1}},
		{name: "bad series beside a good one", series: []prompb.TimeSeries{
			oneSeries([]prompb.Sample{at(1, 1000)}, "a", "b"), oneSeries([]prompb.Sample{at(1, 1000), at(2, 2000)}, "__name__", "m", "a", "1", "a", "2"), oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "m", "", "2"),
			oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "good"),
		}, rows: []string{`prometheus:good [""] [1] 1 1`}, dropped: "__name__ is missing", discarded: map[string]int64{"bad_series": 4}},
		{name: "labels that are not UTF-8", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "m", "a", "\xff")}, dropped: "is not UTF-8", discarded: map[string]int64{"bad_series": 1}},
		{name: "a newline in a label, and times that are none", series: []prompb.TimeSeries{oneSeries([]prompb.Sample{at(1, 1000)}, "__name__", "m", "a", "x\ny"), oneSeries([]prompb.Sample{at(1, -1)}, "__name__", "m")},
			dropped: "2 points were dropped", discarded: map[string]int64{"refused": 2}},
		{name: "native histograms", series: []prompb.TimeSeries{{Labels: []prompb.Label{{Name: "__name__", Value: "h"}}, Histograms: []prompb.Histogram{{Sum: 1, Timestamp: 1000}}}}, discarded: map[string]int64{"native_histogram": 1}},
		{name: "exemplars", series: []prompb.TimeSeries{{Labels: []prompb.Label{{Name: "__name__", Value: "m"}}, Samples: []prompb.Sample{at(1, 1000)}, Exemplars: []prompb.Exemplar{{Value: 1, Timestamp: 1000}}}}, rows: []string{`prometheus:m [""] [1] 1 1`}},
		{name: "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := new(recorder)
			h, reg := newTestHandler(r)
			message := marshal(t, &prompb.WriteRequest{Timeseries: c.series, Metadata: []prompb.MetricMetadata{{MetricFamilyName: "m", Help: "x"}}})
			for range 2 { // the second time from the dictionary
				r.rows = nil
				w := post(h, type1, message)
				if got, want := strings.Join(r.rows, "\n"), strings.Join(c.rows, "\n"); got != want {
					t.Errorf("stored\n%s\nwant\n%s", got, want)
				}
				want := http.StatusNoContent
				if c.dropped != "" {
					want = http.StatusBadRequest
				}
				if w.Code != want || !strings.Contains(w.Body.String(), c.dropped) {
					t.Errorf("status %d %s, want %d with %q", w.Code, w.Body, want, c.dropped)
				}
			}
			a := account(t, reg)
			for reason, n := range c.discarded {
				if a.Discarded[reason] != 2*n {
					t.Errorf("%d are discarded as %s, want %d", a.Discarded[reason], reason, 2*n)
				}
			}
		})
	}
}

// Fields of a series may come in any order.
func TestLabelsApart(t *testing.T) {
	sample := func(value float64) []byte {
		return marshal(t, &prompb.TimeSeries{Samples: []prompb.Sample{{Value: value, Timestamp: 1000}}})
	}
	labels := func(names ...string) []byte {
		s := oneSeries(nil, names...)
		return marshal(t, &s)
	}
	content := bytes.Join([][]byte{sample(1), labels("__name__", "m"), sample(2), labels("a", "b"), labels("c", "d"), sample(3), labels("e", "f")}, nil)
	message := append([]byte{0x0a, byte(len(content))}, content...)
	r := new(recorder)
	h, _ := newTestHandler(r)
	w := post(h, type1, message)
	if want := []string{`prometheus:m ["a=b;c=d;e=f"] [1] 1 1`, `prometheus:m ["a=b;c=d;e=f"] [2] 1 1`, `prometheus:m ["a=b;c=d;e=f"] [3] 1 1`}; w.Code != http.StatusNoContent || strings.Join(r.rows, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d %s %q", w.Code, w.Body, r.rows)
	}
}

func TestVersion2(t *testing.T) {
	r := new(recorder)
	h, reg := newTestHandler(r)
	request := &writev2.Request{
		Symbols: []string{"", "__name__", "requests", "job", "x", "latency"},
		Timeseries: []writev2.TimeSeries{
			{LabelsRefs: []uint32{1, 2, 3, 4}, Samples: []writev2.Sample{{Value: 5, Timestamp: 1000}, {Value: math.NaN(), Timestamp: 2000}}, Metadata: writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER}},
			{LabelsRefs: []uint32{1, 5}, Samples: []writev2.Sample{{Value: 6, Timestamp: 1000}}, Metadata: writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_GAUGE}},
			{LabelsRefs: []uint32{1, 5}, Histograms: []writev2.Histogram{{Sum: 1}}},
		},
	}
	w := post(h, type2, marshal(t, request))
	if want := []string{`prometheus:requests ["job=x"] [5] 1 0`, `prometheus:latency [""] [6] 1 1`}; w.Code != http.StatusNoContent || strings.Join(r.rows, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d %s %q", w.Code, w.Body, r.rows)
	}
	if got := w.Header().Get("X-Prometheus-Remote-Write-Samples-Written"); got != "3" {
		t.Errorf("written %s", got)
	}
	if a := account(t, reg); a.Passed != 2 || a.Lost() != 2 {
		t.Errorf("%+v", a)
	}
	request.Timeseries[1].LabelsRefs = []uint32{1, 99}
	if w := post(h, type2, marshal(t, request)); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "damaged") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	account(t, reg)
}

func TestRefusedRequests(t *testing.T) {
	one := oneSeries([]prompb.Sample{{Value: 1, Timestamp: 1000}}, "__name__", "m")
	message := marshal(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one}})
	h, reg := newTestHandler(new(recorder))
	for _, c := range []struct {
		name, kind, encoding string
		body                 []byte
		status               int
	}{
		{"another type", "text/plain", "snappy", snappy.Encode(nil, message), http.StatusUnsupportedMediaType},
		{"another message", "application/x-protobuf;proto=x.Y", "snappy", snappy.Encode(nil, message), http.StatusUnsupportedMediaType},
		{"another compression", type1, "zstd", message, http.StatusUnsupportedMediaType},
		{"no compression", type1, "snappy", message, http.StatusBadRequest},
		{"cut short", type1, "snappy", snappy.Encode(nil, message[:len(message)-3]), http.StatusBadRequest},
		{"a large body", type1, "snappy", make([]byte, maxBody+1), http.StatusRequestEntityTooLarge},
		{"a large message", type1, "snappy", snappy.Encode(nil, make([]byte, maxMessage+1)), http.StatusRequestEntityTooLarge},
	} {
		r := httptest.NewRequest("POST", "/api/v1/write", bytes.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		r.Header.Set("Content-Encoding", c.encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	account(t, reg)
	failing, reg := newTestHandler(&recorder{err: errors.New("disk full")})
	if w := post(failing, type1, message); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "disk full") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if a := account(t, reg); a.Discarded["failed"] != 1 {
		t.Errorf("%+v", a)
	}
}

func FuzzWrite(f *testing.F) {
	one := oneSeries([]prompb.Sample{{Value: 1, Timestamp: 1000}}, "__name__", "m", "a", "b")
	f.Add(marshal(f, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one}}), false)
	f.Add(marshal(f, &writev2.Request{Symbols: []string{"", "__name__", "m"}, Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Value: 1, Timestamp: 1}}}}}), true)
	f.Fuzz(func(t *testing.T, message []byte, second bool) {
		h, reg := newTestHandler(new(recorder))
		kind := type1
		if second {
			kind = type2
		}
		if w := post(h, kind, message); w.Code != http.StatusNoContent && w.Code != http.StatusBadRequest {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		account(t, reg)
		// What the reference implementation reads, Weir reads too.
		var request prompb.WriteRequest
		if err := request.Unmarshal(message); err == nil && !second {
			if account(t, reg).Discarded["bad_message"] > 0 {
				t.Errorf("%x is called damaged", message)
			}
		}
	})
}
