package lineprotocol

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// recorder is a driver that remembers points as text.
type recorder struct {
	memory.Driver
	mu   sync.Mutex
	rows []string
	err  error // of the next appends
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
			if refused.Refused++; refused.First == nil {
				refused.First = err
			}
			continue
		}
		r.rows = append(r.rows, fmt.Sprintf("%s %q %v %d", p.Schema.Name, p.Tags, p.Values, p.Time))
	}
	if refused.Refused > 0 {
		return &refused
	}
	return nil
}

var traffic = &timeseries.Schema{Name: "host:traffic", Step: 300, Tags: []string{"ifid", "host"}, Metrics: []string{"bytes_sent", "bytes_rcvd"}}

var packed = &timeseries.Schema{Name: "app:latency", Step: 60, Tags: []string{"host", "labels"}, Metrics: []string{"p50"}, Packed: "labels"}

func known(name string) *timeseries.Schema {
	for _, s := range []*timeseries.Schema{traffic, packed} {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// clock is the time of lines that have none.
const clock = 1_700_000_000

func newTestHandler(driver timeseries.Driver) (*Handler, *telemetry.Registry) {
	reg := telemetry.NewRegistry()
	h := New(driver, known, "test", reg, slog.New(slog.DiscardHandler))
	h.now = func() time.Time { return time.Unix(clock, 0) }
	return h, reg
}

func post(h http.Handler, target string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", target, body)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// account is the ledger, which must balance.
func account(t testing.TB, reg *telemetry.Registry) telemetry.Account {
	t.Helper()
	a := reg.Ledger("writes.influxdb", "points").Snapshot()
	if !a.Balanced() {
		t.Errorf("the ledger does not balance: %+v", a)
	}
	return a
}

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		name, query, body string
		rows              []string // what is stored
		dropped           []string // what the answer says; none means 204
	}{
		{name: "fields are series", body: "cpu,host=a,cpu=0 usage=1.5,idle=98 1700000001000000000\n",
			rows: []string{`influx:cpu ["usage" "cpu=0;host=a"] [1.5] 1700000001`, `influx:cpu ["idle" "cpu=0;host=a"] [98] 1700000001`}},
		{name: "no time is now, no newline at the end", body: "m v=1", rows: []string{`influx:m ["v" ""] [1] 1700000000`}},
		{name: "seconds", query: "precision=s", body: "m v=1 1700000001", rows: []string{`influx:m ["v" ""] [1] 1700000001`}},
		{name: "milliseconds are rounded down", query: "precision=ms", body: "m v=1 1700000001999", rows: []string{`influx:m ["v" ""] [1] 1700000001`}},
		{name: "microseconds", query: "precision=us", body: "m v=1 1700000001000001", rows: []string{`influx:m ["v" ""] [1] 1700000001`}},
		{name: "types", body: "m a=1i,b=2u,c=-3i,d=t,e=FALSE,f=1e3,g=.5,h=+2.,i=\"text\",j=-1.25E-2 1700000001000000000",
			rows: []string{`influx:m ["a" ""] [1] 1700000001`, `influx:m ["b" ""] [2] 1700000001`, `influx:m ["c" ""] [-3] 1700000001`, `influx:m ["d" ""] [1] 1700000001`,
				`influx:m ["e" ""] [0] 1700000001`, `influx:m ["f" ""] [1000] 1700000001`, `influx:m ["g" ""] [0.5] 1700000001`, `influx:m ["h" ""] [2] 1700000001`, `influx:m ["j" ""] [-0.0125] 1700000001`}},
		{name: "white space and comments", body: "# comment\n\n  m v=1 \r\n\t\n m  v=2  1700000001000000000  \n",
			rows: []string{`influx:m ["v" ""] [1] 1700000000`, `influx:m ["v" ""] [2] 1700000001`}},
		{name: "escapes", body: `my\ m\,x,ta\ g\=1=va\,l\ u\=e f\ i\=e\,ld=1` + "\n", rows: []string{`influx:my%20m,x ["f i=e,ld" "ta g\\=1=va,l u\\=e"] [1] 1700000000`}},
		{name: "quotes and backslashes in tags", body: `m,a="x",b=c:\dir\ v=1` + "\n" + `m,a=O'Neil v=2`, rows: []string{`influx:m ["v" "a=O'Neil"] [2] 1700000000`},
			dropped: []string{"(line 1): missing fields"}},
		{name: "semicolons in tags are escaped in the store", body: `m,a=x;y=z v=1`, dropped: nil, rows: []string{`influx:m ["v" "a=x\\;y\\=z"] [1] 1700000000`}},
		{name: "UTF-8", body: "température,ville=Zürich,名=東京 °C=1", rows: []string{`influx:température ["°C" "ville=Zürich;名=東京"] [1] 1700000000`}},
		{name: "an empty tag value is one", body: "m,a= v=1", rows: []string{`influx:m ["v" "a="] [1] 1700000000`}},
		{name: "the order of tags does not matter", body: "m,b=2,a=1 v=1\nm,a=1,b=2 v=2", rows: []string{`influx:m ["v" "a=1;b=2"] [1] 1700000000`, `influx:m ["v" "a=1;b=2"] [2] 1700000000`}},
		{name: "colons", body: "a:b:c v=1\n100% v=2", rows: []string{`influx:a%3Ab%3Ac ["v" ""] [1] 1700000000`, `influx:100%25 ["v" ""] [2] 1700000000`}},
		{name: "strings over several lines", body: "m s=\"a, b=1 \\\"c\\\"\n m v=7\nend\",v=1\nm v=2", rows: []string{`influx:m ["v" ""] [1] 1700000000`, `influx:m ["v" ""] [2] 1700000000`}},
		{name: "a declared schema", body: "host:traffic,host=10.0.0.1,ifid=1 bytes_rcvd=7i,bytes_sent=3i 1700000001000000000\nhost:traffic,ifid=1,host=a bytes_sent=4",
			rows: []string{`host:traffic ["1" "10.0.0.1"] [3 7] 1700000001`, `host:traffic ["1" "a"] [4 NaN] 1700000000`}},
		{name: "a declared schema with a packed tag", body: "app:latency,zone=z,host=h,env=e p50=1", rows: []string{`app:latency ["h" "env=e;zone=z"] [1] 1700000000`}},
		{name: "mistakes about a declared schema", body: "host:traffic,ifid=1 bytes_sent=1\nhost:traffic,ifid=1,host=h,x=y bytes_sent=1\nhost:traffic,ifid=1,host=h bytes=1\nhost:traffic,ifid=1,host=h bytes_sent=\"1\"",
			dropped: []string{`(line 1): missing tag "host"`, `(line 2): unknown tag "x"`, `(line 3): unknown field "bytes"`, `(line 4): field "bytes_sent" is a string`, "dropped=4"}},
		{name: "bad lines between good ones", body: "m v=1\nm\nm v=\nm =1\nm v=1x\nm v=1,\n,a=b v=1\nm,a v=1\nm,a=1,a=2 v=1\nm v=1 x\nm v=2",
			rows: []string{`influx:m ["v" ""] [1] 1700000000`, `influx:m ["v" ""] [2] 1700000000`},
			dropped: []string{"unable to parse 'm' (line 2): missing fields", "'m v=' (line 3): missing field value", "(line 4): missing field key", "(line 5): there is something after", "(line 6): missing field value",
				"(line 7): missing measurement", "(line 8): missing tag value", "(line 9): duplicate tags", "(line 10): bad timestamp", "dropped=9"}},
		{name: "numbers that are none", body: "m v=NaN\nm v=inf\nm v=-Inf\nm v=0x10\nm v=1e999\nm v=1.5i\nm v=99999999999999999999i\nm v=-1u\nm v=tru\nm v=1_000",
			dropped: []string{"(line 1): invalid number", "(line 2): invalid number", "(line 3): invalid number", "(line 4): there is", "(line 5): invalid number", "(line 6): invalid number", "(line 7): invalid number", "(line 8): invalid number", "(line 9): invalid boolean", "dropped=10"}},
		{name: "times that are none", query: "precision=s", body: "m v=1 99999999999999999999\nm v=1 1.5\nm v=1 -1",
			dropped: []string{"(line 1): bad timestamp", "(line 2): bad timestamp", "time -1 is before 1970"}},
		{name: "a quote that is missing costs one line", body: "m s=\"abc\nm v=1\n", rows: []string{`influx:m ["v" ""] [1] 1700000000`}, dropped: []string{"'m s=\"abc' (line 1): unbalanced quotes"}},
		{name: "a quote that is missing before another string", body: "m s=\"abc\nm s=\"def\",v=1\n", rows: []string{`influx:m ["v" ""] [1] 1700000000`}, dropped: []string{"(line 1): there is something after"}},
		{name: "NUL in a tag", body: "m,a=\x00 v=1\nm v=1", rows: []string{`influx:m ["v" ""] [1] 1700000000`}, dropped: []string{"newline or NUL"}},
		{name: "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := new(recorder)
			h, reg := newTestHandler(r)
			w := post(h.V1(), "/write?db=any&"+c.query, strings.NewReader(c.body))
			if got, want := strings.Join(r.rows, "\n"), strings.Join(c.rows, "\n"); got != want {
				t.Errorf("stored\n%s\nwant\n%s", got, want)
			}
			want := http.StatusNoContent
			if len(c.dropped) > 0 {
				want = http.StatusBadRequest
			}
			if w.Code != want {
				t.Errorf("status %d %s, want %d", w.Code, w.Body, want)
			}
			at := w.Body.String()
			for _, text := range c.dropped {
				text = strings.Trim(fmt.Sprintf("%q", text), `"`) // about as JSON has it
				i := strings.Index(at, text)
				if i < 0 {
					t.Errorf("the answer %s lacks %s", at, text)
					continue
				}
				at = at[i:]
			}
			account(t, reg)
		})
	}
}

// What arrives in pieces of any size is the same as what arrives at once.
func TestChunks(t *testing.T) {
	var body strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&body, "m,host=h%d a=%d,s=\"over\ntwo lines %s\" %d000000000\n", i%100, i, strings.Repeat("x", i%200), clock+i)
	}
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r },
		"small": func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 7), io.LimitReader(r, 100_001), r)
		},
	} {
		r := new(recorder)
		h, reg := newTestHandler(r)
		if w := post(h.V1(), "/write", reader(strings.NewReader(body.String()))); w.Code != http.StatusNoContent {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
		if len(r.rows) != 3000 || r.rows[2999] != fmt.Sprintf(`influx:m ["a" "host=h99"] [2999] %d`, clock+2999) {
			t.Errorf("%s: %d rows, the last %s", name, len(r.rows), r.rows[len(r.rows)-1])
		}
		if a := account(t, reg); a.Passed != 3000 || a.Discarded["text"] != 3000 {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestLongLine(t *testing.T) {
	r := new(recorder)
	h, reg := newTestHandler(r)
	long := "m,a=" + strings.Repeat("x", 1<<20) + " v=1"
	w := post(h.V1(), "/write", strings.NewReader("m v=1\n"+long+"\nm v=2\n"+long))
	if len(r.rows) != 2 || w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "(line 2): the line is longer than 64 KiB") || !strings.Contains(w.Body.String(), "(line 4)") {
		t.Errorf("%d %s %q", w.Code, w.Body, r.rows)
	}
	if a := account(t, reg); a.Discarded["bad_line"] != 2 {
		t.Errorf("%+v", a)
	}
}

func TestGzip(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, "m v=1\nm v=2\n")
	z.Close()
	r := new(recorder)
	h, _ := newTestHandler(r)
	if w := post(h.V2(), "/api/v2/write?org=o&bucket=b", bytes.NewReader(zipped.Bytes()), "Content-Encoding", "gzip"); w.Code != http.StatusNoContent || len(r.rows) != 2 {
		t.Errorf("%d %s %q", w.Code, w.Body, r.rows)
	}
	for _, body := range [][]byte{zipped.Bytes()[:zipped.Len()-9], []byte("m v=1")} {
		if w := post(h.V2(), "/api/v2/write", bytes.NewReader(body), "Content-Encoding", "gzip"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"code":"invalid"`) {
			t.Errorf("damaged: %d %s", w.Code, w.Body)
		}
	}
	if w := post(h.V1(), "/write", strings.NewReader("m v=1"), "Content-Encoding", "br"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `Content-Encoding \"br\"`) {
		t.Errorf("unknown: %d %s", w.Code, w.Body)
	}
}

// A body that is small only while it is compressed has a limit too.
func TestBomb(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	line := []byte("# " + strings.Repeat("x", 1<<16) + "\n")
	for range maxBody/len(line) + 1 {
		_, _ = z.Write(line)
	}
	z.Close()
	h, _ := newTestHandler(new(recorder))
	if w := post(h.V1(), "/write", &zipped, "Content-Encoding", "gzip"); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Nothing is acknowledged that is not stored.
func TestFailingDriver(t *testing.T) {
	refused := &timeseries.AppendError{Refused: 1, First: errors.New("no")}
	for name, err := range map[string]error{
		"failed": errors.New("disk full"), "one of two failed": &timeseries.AppendError{Refused: 1, First: errors.Join(refused, errors.New("disk full"))},
	} {
		h, reg := newTestHandler(&recorder{err: err})
		for _, handler := range []http.Handler{h.V1(), h.V2()} {
			w := post(handler, "/", strings.NewReader("m v=1\n"))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "disk full") {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		if a := account(t, reg); a.Discarded["failed"] != 2 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	h, reg := newTestHandler(&recorder{err: &timeseries.AppendError{Refused: 1, First: errors.Join(fmt.Errorf("a: %w", refused), fmt.Errorf("b: %w", refused))}})
	if w := post(h.V1(), "/write", strings.NewReader("m v=1\nm v=2")); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "dropped=1") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if a := account(t, reg); a.Passed != 1 || a.Discarded["refused"] != 1 {
		t.Errorf("%+v", a)
	}
}

func TestOtherPaths(t *testing.T) {
	h, _ := newTestHandler(new(recorder))
	w := httptest.NewRecorder()
	h.Ping().ServeHTTP(w, httptest.NewRequest("HEAD", "/ping", nil))
	if w.Code != http.StatusNoContent || w.Header().Get("X-Influxdb-Version") != "test" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := post(h.Query(), "/query?q=CREATE+DATABASE+%22telegraf%22", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"results"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := post(h.Query(), "/query", strings.NewReader("q=SELECT+1"), "Content-Type", "application/x-www-form-urlencoded"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `SELECT 1`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := post(h.V2(), "/api/v2/write?precision=h", nil); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `precision=\"h\"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzWrite(f *testing.F) {
	for _, seed := range []string{"m,a=b v=1 1\n", "m s=\"a\nb\",v=1i\n# c\n", "m\\ x,a\\,=\\= f\\ =t -1", "host:traffic,ifid=1,host=a bytes_sent=1\n", "m v=1e400,w=.,x=-", "m,a=\\ v=\"\\\"\n"} {
		f.Add([]byte(seed), uint8(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, piece uint8) {
		whole, pieces := new(recorder), new(recorder)
		h, reg := newTestHandler(whole)
		first := post(h.V1(), "/write", bytes.NewReader(body))
		account(t, reg)
		h, reg = newTestHandler(pieces)
		second := post(h.V1(), "/write", io.MultiReader(io.LimitReader(bytes.NewReader(body), int64(piece)), bytes.NewReader(body[min(len(body), int(piece)):])))
		account(t, reg)
		if first.Code != second.Code || strings.Join(whole.rows, "\n") != strings.Join(pieces.rows, "\n") {
			t.Errorf("in pieces: %d %q, at once: %d %q", second.Code, pieces.rows, first.Code, whole.rows)
		}
	})
}
