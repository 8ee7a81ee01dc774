package modules

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestCurl(t *testing.T) {
	vm, _ := open(t, Options{})
	url := server(t, echo)
	run(t, vm, values{int64(200), "POST /a|application/json||4 |:|da\x00a", "POST"}, `local curl = require "cURL"
		local body = ""
		local req = curl.easy()
		  :setopt_url(%q)
		  :setopt_writefunction(function(chunk) body = body .. tostring(chunk) end)
		  :setopt(curl.OPT_TIMEOUT, 60)
		  :setopt(curl.OPT_HTTPHEADER, { "Content-Type: application/json", "content-length: 4" })
		req:setopt_postfields("da\0a")
		req:perform()
		local code = req:getinfo(curl.INFO_RESPONSE_CODE)
		req:close()
		return code, body, body:match("^%%u+")`, url+"/a")
	// one is the body that a request with these options gets.
	one := func(want, path, options string) {
		t.Helper()
		run(t, vm, values{want}, `local curl = require "lcurl"
			local body = {}
			local req = curl.easy{ url = %q, writefunction = function(chunk) body[#body + 1] = chunk end, %s }
			assert(req:perform() == req)
			return table.concat(body)`, url+path, options)
	}
	one("GET /a|||0 |:|", "/a", "")
	one("POST /a|application/x-www-form-urlencoded||3 |:|a=b", "/a", `post = true, postfields = "a=b"`)
	one("POST /a|||3 |:|a=b", "/a", `postfields = "a=b", httpheader = { "Content-Type:" }`)
	one("POST /a|application/x-www-form-urlencoded||0 |:|", "/a", `post = 1`)
	one("PUT /a|x/y||3 |:|a=b", "/a", `customrequest = "PUT", postfields = "a=b", httpheader = { "content-type: x/y" }`)
	one("DELETE /a|||0 |:|", "/a", `customrequest = "DELETE"`)
	one("POST /a|application/x-www-form-urlencoded||-1 chunked|:|a=b", "/a", `postfields = "a=b", httpheader = { "Transfer-Encoding:chunked" }`)
	one("GET /a||7|0 |u:p|", "/a", `userpwd = "u:p", httpheader = { "X-Test: 7" }, timeout = "5", timeout_ms = 5000, connecttimeout = 5`)
	one("GET /target|||0 |:|", "/redirect", `followlocation = true`)
	one("", "/redirect", ``)
	one("", "/a", `nobody = true`)
	one("GET /a|||0 |:|", "/a", `httpget = true, verbose = false`)
	one("GET /missing|||0 |:|", "/missing", "")
	run(t, vm, values{int64(0), int64(204), url + "/nothing", true, nil}, `local curl = require "cURL"
		local req = curl.easy{ url = %q }
		local before = req:getinfo(curl.INFO_RESPONSE_CODE)
		req:perform()
		return before, req:getinfo_response_code(), req:getinfo(curl.INFO_EFFECTIVE_URL), req:getinfo(curl.INFO_TOTAL_TIME) > 0, req:getinfo(curl.INFO_CONTENT_TYPE)`,
		url+"/nothing")
	run(t, vm, values{"HTTP/1.1 200 OK\r\n", "X-Answer: yes\r\n", "text/plain; charset=utf-8"}, `local curl = require "cURL"
		local lines = {}
		local req = curl.easy{ url = %q, headerfunction = function(line) lines[#lines + 1] = line end, writefunction = function(s) return #s end }
		req:perform()
		local answer
		for _, line in ipairs(lines) do if line:find("^X%%-Answer") then answer = line end end
		return lines[1], answer, req:getinfo(curl.INFO_CONTENT_TYPE)`, url)
	run(t, vm, values{"a%20b%2F", "a b/"}, `local e = require("cURL").easy()
		return e:escape("a b/"), e:unescape("a%%20b%%2F")`)
	run(t, vm, values{"GET"}, `local body = {}
		local e = require("cURL").easy{ postfields = "x" }
		e:reset():setopt_url(%q):setopt_postfields("x"):setopt_httpget(true):setopt_writefunction(table.insert, body)
		e:unsetopt_postfields():unsetopt(require("cURL").OPT_USERPWD):perform()
		return table.concat(body):match("^%%u+")`, url)
}

func TestCurlErrors(t *testing.T) {
	vm, m := open(t, Options{})
	url := server(t, echo)
	raises(t, vm, "bad argument #1 to 'setopt_url' (string expected, got nil)", `require("cURL").easy():setopt_url(nil)`)
	raises(t, vm, "test:1: bad argument #1 to 'setopt_postfields' (string expected, got number)", `require("cURL").easy():setopt_postfields(5)`)
	raises(t, vm, "string expected, got table", `local c = require("cURL") c.easy():setopt(c.OPT_POSTFIELDS, {})`)
	raises(t, vm, "unknown option: nil", `local c = require("cURL") c.easy():setopt(c.OPT_NONSENSE, 1)`)
	raises(t, vm, "unknown option: nonsense", `require("cURL").easy{ nonsense = 1 }`)
	raises(t, vm, "number expected, got string", `require("cURL").easy():setopt_timeout("soon")`)
	raises(t, vm, "table expected, got string", `require("cURL").easy():setopt_httpheader("a: b")`)
	raises(t, vm, "handle has been closed", `local e = require("cURL").easy() e:close() e:close() e:perform()`)
	raises(t, vm, "handle has been closed", `local e = require("cURL").easy() e:close() e:setopt_url("x")`)
	raises(t, vm, "my own error", `require("cURL").easy{ url = %q, writefunction = function() error("my own error") end }:perform()`, url)
	raises(t, vm, "[CURL-EASY][COULDNT_CONNECT] Couldn't connect to server (7)", `require("cURL").easy{ url = "http://%s/" }:perform()`, refused(t))

	// fails wants the error object.
	fails := func(number int, name, options string) {
		t.Helper()
		run(t, vm, values{false, int64(number), name, "CURL-EASY", true}, `
			local ok, err = pcall(function() require("cURL").easy{ %s }:perform() end)
			return ok, err:no(), err:name(), err:category(), tostring(err):find(err:msg(), 1, true) ~= nil`, options)
	}
	fails(3, "URL_MALFORMAT", ``)
	fails(3, "URL_MALFORMAT", `url = "http://[::1"`)
	fails(3, "URL_MALFORMAT", `url = "http:///path"`)
	fails(1, "UNSUPPORTED_PROTOCOL", `url = "gopher://127.0.0.1/"`)
	fails(7, "COULDNT_CONNECT", `url = "`+refused(t)+`"`)
	fails(28, "OPERATION_TIMEDOUT", `url = "http://`+raw(t, silent)+`", timeout_ms = 50`)
	fails(35, "SSL_CONNECT_ERROR", `url = "`+strings.Replace(url, "http:", "https:", 1)+`"`)
	fails(52, "GOT_NOTHING", `url = "http://`+raw(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })+`"`)
	fails(56, "RECV_ERROR", `url = "http://`+raw(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
	})+`"`)
	fails(56, "RECV_ERROR", `url = "http://`+raw(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Long: "+strings.Repeat("x", 1000)+"\r\n", 3000)+"\r\n")
	})+`"`)
	fails(43, "BAD_FUNCTION_ARGUMENT", `url = "`+url+`", httpheader = { "X-A: a\r\nX-B: b" }`)
	fails(23, "WRITE_ERROR", `url = "`+url+`", writefunction = function() return 0 end`)
	fails(47, "TOO_MANY_REDIRECTS", `followlocation = true, url = "`+server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/", http.StatusFound)
	})+`"`)
	time.AfterFunc(50*time.Millisecond, m.Interrupt)
	fails(42, "ABORTED_BY_CALLBACK", `url = "http://`+raw(t, silent)+`"`)
}

func TestCurlTLS(t *testing.T) {
	vm, _ := open(t, Options{})
	url, ca := secure(t)
	port := url[strings.LastIndex(url, ":"):]
	// code wants the number of the error, 0 for none.
	code := func(want int, url, options string) {
		t.Helper()
		run(t, vm, values{int64(want)}, `local ok, err = pcall(function()
				require("cURL").easy{ url = %q, writefunction = function() end, %s }:perform()
			end)
			return ok and 0 or err:no()`, url, options)
	}
	code(60, url, ``)
	code(0, url, `cainfo = "`+ca+`"`)
	code(0, url, `ssl_verifypeer = false, ssl_verifyhost = 0`)
	code(0, url, `ssl_verifypeer = 0`)
	code(60, "https://localhost"+port, `cainfo = "`+ca+`", ssl_verifyhost = 1`)
	code(60, "https://localhost"+port, `ssl_verifypeer = false, ssl_verifyhost = true`)
	code(0, "https://localhost"+port, `cainfo = "`+ca+`", ssl_verifyhost = false`)
	code(60, "https://localhost"+port, `ssl_verifyhost = false`)
	code(77, url, `cainfo = "/nowhere.pem"`)
	code(58, url, `sslcert = "/nowhere.pem"`)
}

// A server may want a certificate of the script.
func TestCurlCertificate(t *testing.T) {
	vm, _ := open(t, Options{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, len(r.TLS.PeerCertificates))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	der, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := t.TempDir()+"/cert.pem", t.TempDir()+"/key.pem"
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: s.Certificate().Raw}, key: {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, vm, values{"1", false, int64(35)}, `local body
		local curl = require "cURL"
		curl.easy{ url = %q, cainfo = %q, sslcert = %q, sslkey = %q, writefunction = function(s) body = s end }:perform()
		local ok, err = pcall(function() curl.easy{ url = %q, cainfo = %q }:perform() end)
		return body, ok, err:no()`, s.URL, cert, cert, key, s.URL, cert)
}

func TestCurlProxy(t *testing.T) {
	vm, _ := open(t, Options{})
	var connects atomic.Int32
	proxy := server(t, func(w http.ResponseWriter, r *http.Request) {
		authorization := r.Header.Get("Proxy-Authorization")
		if r.Method != http.MethodConnect {
			_, _ = io.WriteString(w, r.RequestURI+" "+authorization)
			return
		}
		if authorization != "Basic dTpw" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		to, err := net.Dial("tcp", r.RequestURI)
		if err != nil {
			return
		}
		connects.Add(1)
		from, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			_, _ = io.Copy(to, buffered)
			to.Close()
		}()
		_, _ = io.Copy(from, to)
		from.Close()
	})
	run(t, vm, values{"http://target.invalid/a Basic dTpw"}, `local body
		require("cURL").easy{ url = "http://target.invalid/a", proxy = %q, proxyuserpwd = "u:p", writefunction = function(s) body = s end }:perform()
		return body`, strings.TrimPrefix(proxy, "http://"))
	url, ca := secure(t)
	run(t, vm, values{"GET /a|||0 |:|"}, `local body
		require("cURL").easy{ url = %q, proxy = %q, proxyuserpwd = "u:p", cainfo = %q, writefunction = function(s) body = s end }:perform()
		return body`, url+"/a", proxy, ca)
	raises(t, vm, "Proxy Authentication Required", `require("cURL").easy{ url = %q, proxy = %q, cainfo = %q }:perform()`, url, proxy, ca)
	if connects.Load() != 1 {
		t.Errorf("the proxy saw %d connections, want 1", connects.Load())
	}
	raises(t, vm, "Unsupported proxy scheme", `require("cURL").easy{ url = "http://x", proxy = "quic://x" }:perform()`)
}

// A server that closes a kept connection between two requests must not make the second fail.
func TestCurlKeptConnection(t *testing.T) {
	vm, _ := open(t, Options{})
	address := raw(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = c.Read(make([]byte, 1)) // of the second request, which gets no answer
	})
	run(t, vm, values{"okokok"}, `local body = ""
		for i = 1, 3 do
			require("cURL").easy{ url = "http://%s", postfields = "x", writefunction = function(s) body = body .. s end }:perform()
		end
		return body`, address)
}

func TestCurlSOCKS(t *testing.T) {
	vm, _ := open(t, Options{})
	url := server(t, echo)
	proxy := raw(t, func(c net.Conn) {
		var greeting [3]byte
		if _, err := io.ReadFull(c, greeting[:]); err != nil || greeting != [3]byte{5, 1, 0} {
			return
		}
		_, _ = c.Write([]byte{5, 0})
		var request [10]byte // connect to an address of IPv4
		if _, err := io.ReadFull(c, request[:]); err != nil || request[1] != 1 || request[3] != 1 {
			return
		}
		to, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: request[4:8], Port: int(request[8])<<8 | int(request[9])})
		if err != nil {
			return
		}
		defer to.Close()
		_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		go func() { _, _ = io.Copy(to, c) }()
		_, _ = io.Copy(c, to)
	})
	run(t, vm, values{"GET /a|||0 |:|", int64(7)}, `local body
		local curl = require "cURL"
		curl.easy{ url = %q, proxy = "socks5://%s", writefunction = function(s) body = s end }:perform()
		local ok, err = pcall(function() curl.easy{ url = %q, proxy = "socks5://%s" }:perform() end)
		return body, err:no()`, url+"/a", proxy, url, refused(t))
}
