package modules

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Each row is one of specification 8.4, used as the scripts use it.
func TestModuleRows(t *testing.T) {
	authority := newAuthority(t)
	url, https := server(t, echo), authority.https(t, good)
	lines := raw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HELLO: NDO\r\nsecond\n12345the rest")
		if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			_, _ = io.WriteString(c, "-end")
		}
	})
	host, port, _ := net.SplitHostPort(lines)
	file := formFile(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyText := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	sum := sha256.Sum256([]byte("header.claim"))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, script string
		args         []any
		want         values
	}{
		{"socket.http: request{}", `local http, ltn12 = require "socket.http", require "ltn12"
			local data, body = "cpu,host=a value=1", {}
			local ok, code, headers, status = http.request{ method = "POST", url = %q .. "/write?db=mydb", source = ltn12.source.string(data),
				headers = { ["content-length"] = #data, ["X-Test"] = 7 }, sink = ltn12.sink.table(body) }
			return ok, code, headers["x-answer"], status, table.concat(body)`, []any{url},
			values{int64(1), int64(200), "yes", "HTTP/1.1 200 OK", "POST /write||7|18 |:|cpu,host=a value=1"}},
		{"socket.http: request{} without sink and source", `local ok, code, headers, status = require("socket.http").request{ url = %q }
			return ok, code, headers["x-answer"], status`, []any{url + "/missing"}, values{int64(1), int64(404), "yes", "HTTP/1.1 404 Not Found"}},
		{"socket.http: request(url)", `local body, code, headers, status = require("socket.http").request(%q)
			return body, code, headers["x-answer"], status`, []any{url}, values{"GET /|||0 |:|", int64(200), "yes", "HTTP/1.1 200 OK"}},
		{"socket.http: request(url, body)", `return (require("socket.http").request(%q, "a=b")), nil`, []any{url}, values{"POST /|application/x-www-form-urlencoded||3 |:|a=b", nil}},
		{"socket.http: connection refused", `return require("socket.http").request{ url = "http://%s" }`, []any{refused(t)}, values{nil, "connection refused"}},
		{"socket.http: timeout, TIMEOUT", `local http = require "socket.http"
			local before = http.TIMEOUT
			http.TIMEOUT = 0.1
			local a, b = http.request("http://%s")
			return before, a, b`, []any{raw(t, silent)}, values{int64(60), nil, "timeout"}},
		{"socket.http: host not found", `return require("socket.http").request("http://no-.invalid/")`, nil, values{nil, "host not found"}},
		{"socket.http: password in the URL", `return (require("socket.http").request(%q)), nil`, []any{strings.Replace(url, "//", "//me:p%40ss@", 1)}, values{"GET /|||0 |me:p@ss|", nil}},
		{"socket.http: redirects of GET", `return (require("socket.http").request(%q)), nil`, []any{url + "/redirect"}, values{"GET /target|||0 |:|", nil}},
		{"socket.http: redirects of HEAD", `local ok, code = require("socket.http").request{ url = %q, method = "HEAD" } return ok, code`, []any{url + "/redirect"}, values{int64(1), int64(200)}},
		{"socket.http: no redirects of POST", `local ok, code = require("socket.http").request(%q, "x") return code`, []any{url + "/redirect"}, values{int64(302)}},
		{"socket.http: PROXY", `local http = require "socket.http"
			http.PROXY = %q
			return (http.request("http://target.invalid/a")), nil`, []any{server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })},
			values{"http://target.invalid/a", nil}},
		{"ssl.https: request{}, not verified", `local https, ltn12 = require "ssl.https", require "ltn12"
			local body = {}
			local ok, code = https.request{ url = %q, method = "PUT", source = ltn12.source.string("x"), sink = ltn12.sink.table(body) }
			return ok, code, body[1]`, []any{https}, values{int64(1), int64(200), "PUT /|||1 |:|x"}},
		{"ssl.https: request(url)", `local body, code = require("ssl.https").request(%q) return body, code`, []any{https}, values{"GET /|||0 |:|", int64(200)}},
		{"ssl.https: request(url, body)", `local body, code = require("ssl.https").request(%q, "a") return body, code`, []any{https},
			values{"POST /|application/x-www-form-urlencoded||1 |:|a", int64(200)}},
		{"ssl.https: TIMEOUT", `local https = require "ssl.https"
			https.TIMEOUT = 0.1
			return https.request("https://%s/")`, []any{raw(t, silent)}, values{nil, "timeout"}},
		{"ltn12: source.string, sink.table, pump.all", `local ltn12, t = require "ltn12", {}
			local ok = ltn12.pump.all(ltn12.source.string(("ab"):rep(3000)), (ltn12.sink.table(t)))
			return ok, table.concat(t) == ("ab"):rep(3000)`, nil, values{int64(1), true}},
		{"ltn12: source.empty, sink.null", `local ltn12 = require "ltn12" return ltn12.pump.all(ltn12.source.empty(), ltn12.sink.null())`, nil, values{int64(1)}},
		{"ltn12: source.file, sink.file", `local ltn12, t = require "ltn12", {}
			local out = %q
			local ok = ltn12.pump.all(ltn12.source.file(io.open(%q, "rb")), ltn12.sink.file(io.open(out, "wb")))
			return ok, io.open(out):read("*a")`, []any{t.TempDir() + "/copy", file}, values{int64(1), "content"}},
		{"mime.b64", `local mime = require "mime"
			return "Basic " .. mime.b64("user:pass"), mime.b64("\0\255")`, nil, values{"Basic dXNlcjpwYXNz", "AP8=", ""}},
		{"mime.unb64", `return require("mime").unb64("AP8=")`, nil, values{"\x00\xff", ""}},
		{"base64", `local base64 = require "base64" return base64.encode("load/1"), base64.decode("bG9hZC8x")`, nil, values{"bG9hZC8x", "load/1"}},
		{"luatz.timetable", `local timetable = require "luatz.timetable"
			local t = timetable.new_from_timestamp(1700000300)
			return t:rfc_3339(), t:strftime("%%d/%%m/%%Y %%H:%%M:%%S"), t.year, t.month, t.day, t.hour, t.min, t.sec`, nil,
			values{"2023-11-14T22:18:20.000", "14/11/2023 22:18:20", int64(2023), int64(11), int64(14), int64(22), int64(18), int64(20)}},
		{"LuaXML", `require "LuaXML"
			local e = xml.eval("<event_data><title>a &amp; \"b\"</title><empty></empty></event_data>")
			return tostring(e), e[0], e[1][0], #e, xml.eval("<a><b></a>")`, nil,
			values{"<event_data>\n  <title>a &amp; &quot;b&quot;</title>\n  <empty />\n</event_data>\n", "event_data", "title", int64(2), nil}},
		{"crypto", `local crypto = require "crypto"
			local key = crypto.pkey.from_pem(%q, true)
			return require("mime").b64(crypto.sign("sha256WithRSAEncryption", "header.claim", key)), crypto.pkey.from_pem("no key", true)`, []any{keyText},
			values{base64.StdEncoding.EncodeToString(signature), nil}},
		{"socket.connect, receive, send, close", `local socket = require "socket"
			local s = assert(socket.connect(%q, %s))
			local a, b, c = s:receive(), s:receive("*l"), s:receive(5)
			local sent = s:send("GOODBYE\n")
			return a, b, c, sent, s:receive("*a"), s:close()`, []any{host, port}, values{"HELLO: NDO", "second", "12345", int64(8), "the rest-end", int64(1)}},
		{"socket.connect: error", `return require("socket").connect("127.0.0.1", %s)`, []any{strings.TrimPrefix(refused(t), "127.0.0.1:")}, values{nil, "connection refused"}},
		{"socket: settimeout", `local s = assert(require("socket").connect(%q, %s))
			s:settimeout(0.1)
			s:receive("*l") s:receive("*l") s:receive(13)
			local data, err, part = s:receive("*l")
			s:settimeout(0)
			local _, now = s:receive(1)
			return data, err, part, now`, []any{host, port}, values{nil, "timeout", "", "timeout"}},
		{"socket: settimeout(0) takes what is there", `local socket = require "socket"
			local s = assert(socket.connect(%q, %s))
			s:receive()
			s:settimeout(0)
			return s:receive()`, []any{host, port}, values{"second"}},
		{"socket: send after the peer has gone", `local s = assert(require("socket").connect(%q, %s))
			s:receive("*a")
			local ok, err
			for i = 1, 100 do
				ok, err = s:send(("x"):rep(100000))
				if not ok then break end
			end
			return ok, err`, func() []any {
			host, port, _ := net.SplitHostPort(raw(t, func(net.Conn) {}))
			return []any{host, port}
		}(), values{nil, "closed"}},
		{"socket.gettime, socket.sleep", `local socket = require "socket"
			local before = socket.gettime()
			socket.sleep(0.01)
			return math.abs(before - os.time()) < 3, socket.gettime() - before >= 0.01`, nil, values{true, true}},
		{"ffi is there, cffi is not", `return type(require("ffi").new), (pcall(require, "cffi"))`, nil, values{"function", false}},
		{"JSON", `local JSON = require "JSON" return JSON:encode(JSON:decode('{"a":[1,2]}'))`, nil, values{`{"a":[1,2]}`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			vm, _ := open(t, Options{})
			run(t, vm, row.want, row.script, row.args...)
		})
	}
}

// The message of require names the module and says that Weir has none of that name.
func TestRequireUnknown(t *testing.T) {
	vm, _ := open(t, Options{})
	raises(t, vm, "module 'no.such' not found", `require "no.such"`)
	raises(t, vm, "no module 'no.such' is built into Weir", `require "no.such"`)
}

// A file JSON.lua of the script's own comes before the module.
func TestJSONFile(t *testing.T) {
	vm, _ := open(t, Options{})
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/JSON.lua", []byte(`return { own = ... }`), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, vm, values{"JSON"}, `package.path = %q .. "/?.lua"
		return require("JSON").own`, dir)
}

// The environment's proxy is used by cURL unless the script sets one, and not for what NO_PROXY names.
// net/http reads the environment once, hence the process.
func TestEnvironmentProxy(t *testing.T) {
	if os.Getenv("WEIR_TEST_PROXY") == "" {
		proxy := server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "by proxy: "+r.RequestURI) })
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestEnvironmentProxy$")
		cmd.Env = append(os.Environ(), "WEIR_TEST_PROXY=1", "http_proxy="+proxy, "no_proxy=no-.invalid,.internal-.invalid")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	vm, _ := open(t, Options{})
	const get = `local body
		local ok, err = pcall(function() require("cURL").easy{ url = %q, %s writefunction = function(s) body = s end }:perform() end)
		return body or err:name()`
	run(t, vm, values{"by proxy: http://target-.invalid/a"}, get, "http://target-.invalid/a", "")
	run(t, vm, values{"COULDNT_RESOLVE_HOST"}, get, "http://no-.invalid/a", "")
	run(t, vm, values{"COULDNT_RESOLVE_HOST"}, get, "http://a.internal-.invalid/a", "")
	run(t, vm, values{"COULDNT_RESOLVE_HOST"}, get, "http://target-.invalid/a", `proxy = "",`)
	run(t, vm, values{nil, "host not found"}, `return require("socket.http").request("http://target-.invalid/a")`) // LuaSocket has its own setting
}
