package modules

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

// maxBody bounds the body of a response, in bytes.
const maxBody = 64 << 20

// request is what the Lua side asks for.
type request struct {
	table *lua.Table
}

func (r request) text(name string) string {
	s, _ := r.table.Get(name).(string)
	return s
}

func (r request) is(name string) bool {
	b, _ := r.table.Get(name).(bool)
	return b
}

// duration reads seconds; what is missing is no limit.
func (r request) duration(name string) time.Duration {
	switch f := r.table.Get(name).(type) {
	case int64:
		return seconds(float64(f))
	case float64:
		return seconds(f)
	}
	return -1
}

// http does one request of HTTP, with the answer read to its end: what socket.http, ssl.https and
// cURL have in common. It takes a table:
//
//	url, method, body; headers: a list of "Name: value", "Name:" removes one that is there by default
//	userpwd: "user:password"; proxy: "" for none, nil for that of the environment; proxyuserpwd
//	timeout, connecttimeout: seconds; follow: redirects; secure: not from https to http
//	verify_peer, verify_host; cainfo, sslcert, sslkey: files
//
// and gives one: status, line, headers (a list of names and values), body, url, time, or error (a
// number of cURL), message and socket_error, the same in the words of LuaSocket.
func (m *Modules) http(c *lua.Call) (int, error) {
	table, err := c.Table(1)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	ctx, done := m.Block(request{table}.duration("timeout"))
	defer done()
	answer, err := m.perform(ctx, request{table})
	if err != nil {
		number, message := classify(ctx, err)
		answer = &lua.Table{}
		answer.Set("error", number)
		answer.Set("message", message)
		answer.Set("socket_error", transferError(ctx, err))
	}
	answer.Set("time", time.Since(began).Seconds())
	c.Push(answer)
	return 1, nil
}

func (m *Modules) perform(ctx context.Context, r request) (*lua.Table, error) {
	target, err := url.Parse(r.text("url"))
	if err != nil {
		return nil, fail(curlMalformed, "URL using bad/illegal format or missing URL: "+withoutURL(err).Error())
	}
	if target.Scheme != "http" && target.Scheme != "https" {
		return nil, fail(curlProtocol, "Protocol \""+target.Scheme+"\" not supported")
	}
	if target.Hostname() == "" {
		return nil, fail(curlMalformed, "URL using bad/illegal format or missing URL: no host part in the URL")
	}
	client, err := m.clients.get(r, target.Hostname())
	if err != nil {
		return nil, err
	}
	// A kept connection that the server closed meanwhile: try again on another, as cURL does.
	for {
		answer, reused, err := exchange(ctx, client, target, r)
		if err != nil && reused && ctx.Err() == nil && (errors.Is(err, io.EOF) || isReset(err)) && !errors.Is(err, errBody) {
			client.CloseIdleConnections()
			continue
		}
		return answer, err
	}
}

// errBody marks an error after the head of the response.
var errBody = errors.New("cannot read the response")

func exchange(ctx context.Context, client *http.Client, target *url.URL, r request) (answer *lua.Table, reused bool, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	var body io.Reader
	text, hasBody := r.table.Get("body").(string)
	if hasBody {
		body = strings.NewReader(text)
	}
	q, err := http.NewRequestWithContext(ctx, r.text("method"), target.String(), body)
	if err != nil {
		return nil, false, fail(curlBadArgument, err.Error())
	}
	if name, password, ok := strings.Cut(r.text("userpwd"), ":"); ok || name != "" {
		q.SetBasicAuth(name, password)
	}
	q.Header["Accept"] = []string{"*/*"}
	q.Header["User-Agent"] = nil // none unless the script has one
	if err := setHeaders(q, r.table.Get("headers")); err != nil {
		return nil, false, err
	}
	follow := *client
	left := 50
	follow.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if !r.is("follow") || r.is("secure") && next.URL.Scheme != "https" {
			return http.ErrUseLastResponse
		}
		if left--; left < 0 {
			return fail(curlRedirects, "Maximum (50) redirects followed")
		}
		return nil
	}
	response, err := follow.Do(q)
	if err != nil {
		return nil, reused, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, reused, errors.Join(errBody, err)
	}
	if len(data) > maxBody {
		return nil, reused, fail(curlTooLarge, "Maximum file size exceeded: the response has more than 64 MiB")
	}
	answer = &lua.Table{}
	answer.Set("status", response.StatusCode)
	answer.Set("line", response.Proto+" "+response.Status)
	answer.Set("headers", headerList(response.Header))
	answer.Set("body", data)
	answer.Set("url", response.Request.URL.String())
	return answer, reused, nil
}

// setHeaders takes a list of "Name: value" lines and sends the names as they are written. Body length
// and encoding are sent once, by net/http.
func setHeaders(q *http.Request, list lua.Value) error {
	lines, _ := list.(*lua.Table)
	if lines == nil {
		return nil
	}
	given := map[string]bool{}
	for _, v := range lines.Array {
		line, ok := v.(string)
		if !ok {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if empty, isEmpty := strings.CutSuffix(line, ";"); !found && isEmpty { // "Name;" is a header without a value
			name, value = empty, ""
		} else if !found {
			continue
		}
		key := http.CanonicalHeaderKey(name)
		switch key {
		case "Host":
			q.Host = value
		case "Content-Length":
		case "Transfer-Encoding":
			if strings.EqualFold(value, "chunked") && q.Body != nil {
				q.TransferEncoding, q.ContentLength = []string{"chunked"}, -1
			}
		case "Connection":
			q.Close = q.Close || strings.EqualFold(value, "close")
		default:
			if !given[key] {
				delete(q.Header, key) // the default one
				given[key] = true
			}
			if key == "User-Agent" { // known to net/http by this name only
				q.Header[key] = nil
				name = key
			}
			if value != "" || !found {
				q.Header[name] = append(q.Header[name], value)
			}
		}
	}
	return nil
}

// headerList gives names and values ordered by name.
func headerList(h http.Header) []any {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	sort.Strings(names)
	list := []any{}
	for _, name := range names {
		for _, value := range h[name] {
			list = append(list, []any{name, value})
		}
	}
	return list
}
