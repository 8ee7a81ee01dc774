package modules

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// echo answers with the request as it saw it.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	user, password, _ := r.BasicAuth()
	w.Header().Set("X-Answer", "yes")
	switch r.URL.Path {
	case "/missing":
		w.WriteHeader(http.StatusNotFound)
	case "/nothing":
		w.WriteHeader(http.StatusNoContent)
		return
	case "/redirect":
		w.Header().Set("Location", "/target")
		w.WriteHeader(http.StatusFound)
		return
	}
	fmt.Fprintf(w, "%s %s|%s|%s|%d %s|%s:%s|%s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("X-Test"),
		r.ContentLength, strings.Join(r.TransferEncoding, ","), user, password, body)
}

func server(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// secure gives the URL of a server of TLS and the file of its certificate.
func secure(t *testing.T) (url, ca string) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = t.TempDir() + "/ca.pem"
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return s.URL, ca
}

// raw is a server that handles connections itself.
func raw(t *testing.T, handle func(net.Conn)) string {
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
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

// silent never answers.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// refused is an address nobody listens at.
func refused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestSocketHTTP(t *testing.T) {
	vm, m := open(t, Options{})
	url := server(t, echo)
	run(t, vm, values{int64(1), int64(200), "yes", "HTTP/1.1 200 OK", "POST /write|text/plain|1|4 |:|data"}, `
		local http, ltn12 = require "socket.http", require "ltn12"
		local body = {}
		local ok, code, headers, status = http.request{
			url = %q, method = "POST", source = ltn12.source.string("data"), sink = ltn12.sink.table(body),
			headers = { ["content-type"] = "text/plain", ["content-length"] = #"data", ["X-Test"] = 1 } }
		return ok, code, headers["x-answer"], status, table.concat(body)`, url+"/write")
	run(t, vm, values{"GET /a|||0 |:|", int64(200), "yes", "HTTP/1.1 200 OK"}, `
		local body, code, headers, status = require "socket.http".request(%q)
		return body, code, headers["x-answer"], status`, url+"/a")
	run(t, vm, values{"POST /a|application/x-www-form-urlencoded||3 |:|a=b", int64(200)}, `
		local body, code = require "socket.http".request(%q, "a=b")
		return body, code`, url+"/a")
	run(t, vm, values{"GET /a|||0 |me:secret|"}, `return (require "socket.http".request(%q))`,
		strings.Replace(url, "//", "//me:secret@", 1)+"/a")
	run(t, vm, values{"GET /target|||0 |:|"}, `return (require "socket.http".request(%q))`, url+"/redirect")
	run(t, vm, values{int64(1), int64(302), "/target"}, `local ok, code, h = require "socket.http".request{ url = %q, method = "POST" }
		return ok, code, h.location`, url+"/redirect")
	run(t, vm, values{int64(1), int64(404)}, `local ok, code = require "socket.http".request{ url = %q }
		return ok, code`, url+"/missing")
	run(t, vm, values{nil, "connection refused"}, `return require "socket.http".request("http://%s/")`, refused(t))
	run(t, vm, values{nil, "invalid host 'nil'"}, `return require "socket.http".request{ method = "POST" }`)
	run(t, vm, values{nil, "unsupported scheme 'ftp'"}, `return require "socket.http".request("ftp://127.0.0.1/")`)
	raises(t, vm, "a URL or a table expected, got nil", `return require "socket.http".request(nil)`)
	run(t, vm, values{nil, "timeout"}, `local http = require "socket.http"
		http.TIMEOUT = 0.05
		return http.request("http://%s/")`, raw(t, silent))
	run(t, vm, values{nil, "closed"}, `return require "socket.http".request("http://%s/")`, raw(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 10))
	}))
	run(t, vm, values{nil, "sink full"}, `return require "socket.http".request{ url = %q, sink = function() return nil, "sink full" end }`, url)

	time.AfterFunc(50*time.Millisecond, m.Interrupt)
	run(t, vm, values{nil, "interrupted"}, `local http = require "socket.http"
		http.TIMEOUT = 3600
		return http.request("http://%s/")`, raw(t, silent))
}

func TestHTTPS(t *testing.T) {
	vm, _ := open(t, Options{})
	url, ca := secure(t)
	run(t, vm, values{"GET /a|||0 |:|", int64(200)}, `local body, code = require "ssl.https".request(%q)
		return body, code`, url+"/a")
	run(t, vm, values{int64(1), int64(200)}, `local ok, code = require "ssl.https".request{ url = %q, verify = "peer", cafile = %q }
		return ok, code`, url, ca)
	run(t, vm, values{nil, true}, `local ok, err = require "ssl.https".request{ url = %q, verify = "peer" }
		return ok, err:find("certificate verify failed", 1, true) == 1`, url)
	run(t, vm, values{nil, "unsupported scheme 'http'"}, `return require "ssl.https".request("http://127.0.0.1/")`)
}
