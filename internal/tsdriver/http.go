package tsdriver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

// maxHTTPBody bounds the body of an answer, in bytes. What is longer is an error, never cut (R26).
const maxHTTPBody = 64 << 20

const maxRedirects = 5

// exchange is one request of HTTP with its answer.
type exchange struct {
	method, url    string
	user, password string
	cookie         bool // user and password go into a cookie
	body           []byte
	contentType    string
	timeout        time.Duration
	noFollow       bool
	network        string // "tcp", "tcp4" or "tcp6"

	response *http.Response
	content  []byte
	remote   string // address of the server
	seconds  map[string]float64
}

// clients are kept so that connections are used again.
type clients map[string]*http.Client

func (c clients) get(network string) *http.Client {
	client := c[network]
	if client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		client = &http.Client{Transport: transport}
		c[network] = client
	}
	return client
}

func (c clients) close() {
	for _, client := range c {
		client.CloseIdleConnections()
	}
}

// do fills in the answer.
func (e *exchange) do(ctx context.Context, all clients) error {
	began := time.Now()
	e.seconds = make(map[string]float64)
	passed := func(name string) { e.seconds[name] = time.Since(began).Seconds() }
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone:              func(httptrace.DNSDoneInfo) { passed("NAMELOOKUP_TIME") },
		ConnectDone:          func(_, _ string, _ error) { passed("CONNECT_TIME") },
		WroteRequest:         func(httptrace.WroteRequestInfo) { passed("PRETRANSFER_TIME") },
		GotFirstResponseByte: func() { passed("STARTTRANSFER_TIME") },
		GotConn: func(i httptrace.GotConnInfo) {
			e.remote, _, _ = net.SplitHostPort(i.Conn.RemoteAddr().String())
			passed("APPCONNECT_TIME")
		},
	})
	var body io.Reader
	if e.body != nil {
		body = bytes.NewReader(e.body)
	}
	q, err := http.NewRequestWithContext(ctx, e.method, e.url, body)
	if err != nil {
		return errors.New("the URL is not one") // the error would quote it, with what is secret in it
	}
	if q.URL.Scheme != "http" && q.URL.Scheme != "https" || q.URL.Host == "" {
		return errors.New("the URL does not begin with http:// or https:// and a host")
	}
	switch {
	case e.user == "":
	case e.cookie:
		q.AddCookie(&http.Cookie{Name: "user", Value: e.user})
		q.AddCookie(&http.Cookie{Name: "password", Value: e.password})
	default:
		q.SetBasicAuth(e.user, e.password)
	}
	if e.contentType != "" {
		q.Header.Set("Content-Type", e.contentType)
	}
	client := *all.get(e.network)
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if e.noFollow {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		passed("REDIRECT_TIME")
		return nil
	}
	e.response, err = client.Do(q)
	if err != nil {
		return withoutURL(ctx, err)
	}
	defer e.response.Body.Close()
	e.content, err = io.ReadAll(io.LimitReader(e.response.Body, maxHTTPBody+1))
	if err == nil && len(e.content) > maxHTTPBody {
		err = fmt.Errorf("the answer has more than %d bytes", maxHTTPBody)
	}
	passed("TOTAL_TIME")
	if err != nil {
		return withoutURL(ctx, err)
	}
	return nil
}

// withoutURL drops the URL from an error of net/http: there may be a password in it.
func withoutURL(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	for of := new(url.Error); errors.As(err, &of); {
		err = of.Err
	}
	return err
}

// headerBlock is the head of an answer as it came, as far as net/http keeps it.
func headerBlock(r *http.Response) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s\r\n", r.Proto, r.Status)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			fmt.Fprintf(&text, "%s: %s\r\n", name, value)
		}
	}
	return text.String() + "\r\n"
}

// table is the answer as httpGet and httpPost give it (4.6).
func (e *exchange) table(err error, withContent, counts bool) *lua.Table {
	t := &lua.Table{}
	times := &lua.Table{}
	for _, name := range []string{"NAMELOOKUP_TIME", "CONNECT_TIME", "APPCONNECT_TIME", "PRETRANSFER_TIME", "REDIRECT_TIME", "STARTTRANSFER_TIME", "TOTAL_TIME"} {
		times.Set(name, e.seconds[name])
	}
	t.Set("HTTP_STATS", times)
	if err != nil {
		t.Set("ERROR", err.Error())
		t.Set("IS_PARTIAL", true)
		t.Set("RESPONSE_CODE", 0)
		return t
	}
	r := e.response
	content := e.content
	if len(content) > 0 {
		headers := &lua.Table{}
		for name, values := range r.Header {
			headers.Set(strings.ToLower(name), " "+strings.Join(values, ", "))
		}
		t.Set("HTTP_HEADER", headers)
	} else {
		content = []byte(headerBlock(r)) // note (a): the version of InfluxDB is looked for in it
	}
	t.Set("RESPONSE_CODE", r.StatusCode)
	t.Set("CONTENT_LEN", len(content))
	if withContent {
		t.Set("CONTENT", content)
	}
	if kind := r.Header.Get("Content-Type"); kind != "" {
		t.Set("CONTENT_TYPE", kind)
	}
	t.Set("EFFECTIVE_URL", r.Request.URL.String())
	t.Set("RESOLVED_IP", e.remote)
	if counts {
		t.Set("BYTES_DOWNLOAD", len(e.content))
		t.Set("BYTES_UPLOAD", len(e.body))
	}
	return t
}

// optional is an argument that may be nil.
func optional(c *lua.Call, i int) string {
	if c.IsNil(i) {
		return ""
	}
	text, err := c.String(i)
	if err != nil {
		return ""
	}
	return text
}

// timeout is an argument in seconds: below 1 is 1 (note d), and a very large one no limit but that of the call.
func timeout(c *lua.Call, i int) time.Duration {
	f, err := c.Float(i)
	switch {
	case err != nil || f != f || f < 1:
		f = 1
	case f > 1e6:
		f = 1e6
	}
	return time.Duration(f * float64(time.Second))
}

// httpFunctions are those of ntop that talk HTTP (4.6).
func (s *state) httpFunctions() map[string]lua.Function {
	perform := func(c *lua.Call, e *exchange, withContent, counts bool) (int, error) {
		ctx, done := s.modules.Block(e.timeout)
		defer done()
		c.Push(e.table(e.do(ctx, s.clients), withContent, counts))
		return 1, nil
	}
	return map[string]lua.Function{
		"httpGet": func(c *lua.Call) (int, error) {
			target, err := c.String(1)
			if err != nil {
				return 0, err
			}
			e := &exchange{method: http.MethodGet, url: target, user: optional(c, 2), password: optional(c, 3), timeout: timeout(c, 4), network: "tcp"}
			e.cookie = c.Bool(6)
			e.noFollow = c.Type(7) == "boolean" && !c.Bool(7)
			if !c.IsNil(8) {
				if version, err := c.Int(8); err == nil && (version == 4 || version == 6) {
					e.network = fmt.Sprintf("tcp%d", version)
				}
			}
			return perform(c, e, c.Bool(5), true)
		},
		"httpPost": func(c *lua.Call) (int, error) {
			target, err := c.String(1)
			if err != nil {
				return 0, err
			}
			e := &exchange{
				method: http.MethodPost, url: target, body: []byte(optional(c, 2)), user: optional(c, 3), password: optional(c, 4), timeout: timeout(c, 5),
				contentType: "application/x-www-form-urlencoded", network: "tcp", cookie: c.Bool(7),
			}
			if bytes.HasPrefix(e.body, []byte("{")) {
				e.contentType = "application/json"
			}
			return perform(c, e, c.Bool(6), false)
		},
		"postHTTPTextFile": s.postFile,
	}
}

// postFile sends a file. One that was to be deleted stays when the server could not take it now, and is gone after
// any other answer: what it did not take then, it never will.
func (s *state) postFile(c *lua.Call) (int, error) {
	path, err := c.String(4)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, nil // nil: there is no such file
	}
	e := &exchange{
		method: http.MethodPost, url: optional(c, 3), user: optional(c, 1), password: optional(c, 2), timeout: timeout(c, 6),
		body: text, contentType: "text/plain; charset=utf-8", network: "tcp",
	}
	ctx, done := s.modules.Block(e.timeout)
	defer done()
	t := &lua.Table{}
	if err := e.do(ctx, s.clients); err != nil {
		t.Set("error_msg", err.Error())
		c.Push(t)
		return 1, nil
	}
	code := e.response.StatusCode
	if c.Bool(5) && !later(code) {
		if err := os.Remove(path); err != nil {
			s.warn.Warn("cannot remove a file that was sent", "path", path, "error", err)
		}
	}
	if code >= 300 {
		first, _, _ := strings.Cut(string(e.content), "\n")
		s.warn.Warn("a server did not take a file, or not all of it", "path", path, "status", code, "kept", later(code), "answer", cut(first))
	}
	t.Set("RESPONSE_CODE", code)
	t.Set("CONTENT", e.content)
	t.Set("CONTENT_LEN", len(e.content))
	c.Push(t)
	return 1, nil
}

// later reports whether a server may take tomorrow what it refused with this status.
func later(code int) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return code >= 500
}
