package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// sink keeps what is sent.
type sink struct{ values map[string]float64 }

// SendResults implements collector.Sink.
func (s *sink) SendResults(_ context.Context, account int64, values []collector.Value) error {
	for _, v := range values {
		s.values[fmt.Sprintf("%d %s", account, v.Path)] = v.Value
	}
	return nil
}

// once runs the job of one device with one sensor and returns what it measures.
func once(t *testing.T, of bot.Bot, entity int64, details, sensor string) (map[string]float64, error) {
	t.Helper()
	device := &collector.JobConfig{AccountID: 7, EntityID: entity, Name: "shop.example:80", Details: []byte(details), Sensors: []collector.SensorConfig{
		{Interval: time.Minute, Details: []byte(sensor)}, {Interval: time.Hour, Details: []byte(`"not due"`)},
	}}
	to := &sink{make(map[string]float64)}
	var err error
	jobs := 0
	for job, failed := range of.Jobs(t.Context(), bot.Fixed{device}, to) {
		if failed != nil {
			t.Fatal(failed)
		}
		jobs++
		err = job.Run(t.Context(), collector.Run{Affecting: []time.Duration{time.Minute}})
	}
	if jobs != 1 {
		t.Fatalf("there are %d jobs", jobs)
	}
	return to.values, err
}

func names(values map[string]float64) string {
	var all []string
	for name := range values {
		all = append(all, name[strings.LastIndexByte(name, '.')+1:])
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestHTTP(t *testing.T) {
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-r.Context().Done()
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/huge":
			for range 3 {
				io.WriteString(w, strings.Repeat("x", 1<<20))
			}
		default:
			fmt.Fprintf(w, "%s %s is healthy", r.Method, r.Host)
		}
	})
	plain, secure := httptest.NewServer(server), httptest.NewTLSServer(server)
	defer plain.Close()
	defer secure.Close()
	for _, c := range []struct {
		name, sensor  string
		up, status    float64
		names, prefix string
	}{
		{"plain", `{"url":"` + plain.URL + `/"}`, 1, 200, "bytes connect first_byte status total up", "7 target.shop%2eexample%3a80.http.up"},
		{"below", `{"url":"` + plain.URL + `/","output_path":"front"}`, 1, 200, "bytes connect first_byte status total up", "7 target.shop%2eexample%3a80.http.front.up"},
		{"body", `{"url":"` + plain.URL + `/","method":"OPTIONS","expect_body":"^OPTIONS .* healthy$","headers":{"Host":"x.example"}}`, 1, 200, "bytes connect first_byte status total up", ""},
		{"another body", `{"url":"` + plain.URL + `/","expect_body":"ill"}`, 0, 200, "bytes connect first_byte status total up", ""},
		{"status", `{"url":"` + plain.URL + `/broken"}`, 0, 500, "bytes connect first_byte status total up", ""},
		{"another status", `{"url":"` + plain.URL + `/broken","expect_status":[500]}`, 1, 500, "bytes connect first_byte status total up", ""},
		{"redirection", `{"url":"` + plain.URL + `/moved","expect_status":[302]}`, 1, 302, "bytes connect first_byte status total up", ""},
		{"redirections", `{"url":"` + plain.URL + `/moved","redirects":true}`, 1, 200, "bytes connect first_byte status total up", ""},
		{"huge", `{"url":"` + plain.URL + `/huge"}`, 1, 200, "bytes connect first_byte status total up", ""},
		{"slow", `{"url":"` + plain.URL + `/slow","timeout":"0.1"}`, 0, 0, "total up", ""},
		{"certificate", `{"url":"` + secure.URL + `/","insecure":true}`, 1, 200, "bytes cert_expires connect first_byte status tls total up", ""},
		{"unknown certificate", `{"url":"` + secure.URL + `/"}`, 0, 0, "total up", ""},
		{"nobody", `{"url":"http://127.0.0.1:1/"}`, 0, 0, "total up", ""},
	} {
		values, err := once(t, HTTP, 0, "{}", c.sensor)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		up, status := -1.0, 0.0
		for name, value := range values {
			switch {
			case strings.HasSuffix(name, ".up"):
				up = value
			case strings.HasSuffix(name, ".status"):
				status = value
			case strings.HasSuffix(name, ".bytes") && value > maxPage, value < 0:
				t.Errorf("%s: %s is %g", c.name, name, value)
			}
		}
		if _, ok := values[c.prefix]; up != c.up || status != c.status || names(values) != c.names || c.prefix != "" && !ok {
			t.Errorf("%s: %v", c.name, values)
		}
	}
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(plain.URL, "http://"))
	if values, err := once(t, HTTP, 311, `{"ipv4":"`+host+`"}`, `{"url":"http://{ipv4}:`+port+`/"}`); err != nil || values["7 entity.311.http.up"] != 1 {
		t.Error(values, err)
	}
	for sensor, want := range map[string]string{
		`{}`:                                    `sensor 1 of shop.example:80: cannot use "": it must be like https://www.example.org/`,
		`{"url":"ftp://x/"}`:                    `sensor 1 of shop.example:80: cannot use "ftp://x/": it must be like https://www.example.org/`,
		`{"url":5}`:                             `cannot use the details`,
		`{"url":"http://x/","expect_body":"("}`: "cannot use expect_body",
	} {
		if values, err := once(t, HTTP, 0, "{}", sensor); err == nil || !strings.Contains(err.Error(), want) || len(values) > 0 {
			t.Errorf("%s: %v %v", sensor, err, values)
		}
	}
}

func TestTCP(t *testing.T) {
	listen := func(serve func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); serve(c) }()
			}
		}()
		return l.Addr().String()
	}
	mail := listen(func(c net.Conn) { io.WriteString(c, "220 mail."); io.WriteString(c, "example.org\r\n") })
	echo := listen(func(c net.Conn) { io.Copy(c, c) })
	silent := listen(func(c net.Conn) { io.Copy(io.Discard, c) })
	endless := listen(func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	})
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	secure := listen(func(c net.Conn) {
		s := tls.Server(c, web.TLS)
		if s.Handshake() == nil {
			io.WriteString(s, "hello")
		}
	})
	_, port, _ := net.SplitHostPort(mail)
	for _, c := range []struct {
		name, sensor string
		up           float64
		names        string
	}{
		{"open", `{"address":"` + silent + `"}`, 1, "connect total up"},
		{"banner", `{"address":"` + mail + `","expect":"^220 .*org"}`, 1, "connect total up"},
		{"port", `{"port":"` + port + `","expect":"^220 "}`, 1, "connect total up"},
		{"another banner", `{"address":"` + mail + `","expect":"^221 "}`, 0, "connect total up"},
		{"echo", `{"address":"` + echo + `","send":"PING","expect":"PING"}`, 1, "connect total up"},
		{"silent", `{"address":"` + silent + `","expect":"x","timeout":0.1}`, 0, "connect total up"},
		{"endless", `{"address":"` + endless + `","expect":"y"}`, 0, "connect total up"},
		{"tls", `{"address":"` + secure + `","tls":true,"insecure":true,"expect":"hello"}`, 1, "cert_expires connect tls total up"},
		{"unknown certificate", `{"address":"` + secure + `","tls":true}`, 0, "connect total up"},
		{"no tls", `{"address":"` + mail + `","tls":true,"timeout":1}`, 0, "connect total up"},
		{"closed", `{"address":"127.0.0.1:1"}`, 0, "total up"},
	} {
		values, err := once(t, TCP, 311, `{"ipv4":"127.0.0.1"}`, c.sensor)
		if err != nil || values["7 entity.311.tcp.up"] != c.up || names(values) != c.names {
			t.Errorf("%s: %v %v", c.name, values, err)
		}
	}
	if _, err := once(t, TCP, 311, `{}`, `{"port":25}`); err == nil || !strings.Contains(err.Error(), `cannot use ":25": it must be like mail.example.org:25`) {
		t.Error(err)
	}
}
