package modules

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// capture is a server that gives each request as it came over the wire.
func capture(t *testing.T) (address string, requests chan string) {
	t.Helper()
	requests = make(chan string, 10)
	address = raw(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			head, size, chunked := "", 0, false
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				head += line
				if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
					size, _ = strconv.Atoi(strings.TrimSpace(value))
				} else if strings.EqualFold(name, "Transfer-Encoding") {
					chunked = true
				}
				if line == "\r\n" {
					break
				}
			}
			body := make([]byte, size)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			for last := ""; chunked && last != "0\r\n"; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				body = append(body, line...)
				last = line
				n, _ := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
				data := make([]byte, n+2)
				_, _ = io.ReadFull(r, data)
				body = append(body, data...)
			}
			requests <- head + string(body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	return address, requests
}

// full is an address where connecting never ends: its queue of connections is full.
func full(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	c, err := net.Dial("tcp", address) // takes the one place
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return address
}

// Each row is one of specification 8.3, used as the scripts use it. %[1]s is the URL of the server that
// echoes requests, %[2]s that of a proxy, which answers with what it was asked for.
func TestCurlRows(t *testing.T) {
	url := server(t, echo)
	proxy := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("me:secret")) {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		_, _ = io.WriteString(w, "by proxy: "+r.Method+" "+r.RequestURI)
	})
	address, requests := capture(t)
	const send = `local curl = require "cURL"
		local body = ""
		local req = curl.easy():setopt_url(%[1]q):setopt_writefunction(function(chunk) body = body .. tostring(chunk) end)
		`
	for _, row := range []struct {
		name, script string
		want         values
		raises       string
		wire         string // in the request, instead of the echo
	}{
		{name: "the example", want: values{int64(200), `POST /|application/json||7 |:|{"a":1}`}, script: send + `
			req:setopt(curl.OPT_TIMEOUT, 60):setopt(curl.OPT_HTTPHEADER, { "Content-Type: application/json" })
			req:setopt_postfields('{"a":1}')
			req:perform()
			local code = req:getinfo(curl.INFO_RESPONSE_CODE)
			req:close()
			return code, body`},
		{name: "curl.easy(options)", want: values{"PUT /|x/y||1 |:|z"}, script: `local body
			require("cURL").easy{ url = %[1]q, post = true, customrequest = "PUT", postfields = "z", httpheader = { "Content-Type: x/y" },
				writefunction = function(s) body = s end }:perform()
			return body`},
		{name: "setopt, setopt{}, setopt_name return the object", want: values{true}, script: `local curl = require "cURL"
			local e = curl.easy()
			return e == e:setopt(curl.OPT_URL, "x") and e == e:setopt{ url = "x" } and e == e:setopt_url("x")`},
		{name: "constants OPT", want: values{""}, script: `local curl, missing = require "cURL", ""
			for name in ("URL TIMEOUT TIMEOUT_MS CONNECTTIMEOUT HTTPHEADER POSTFIELDS POST CUSTOMREQUEST SSL_VERIFYPEER SSL_VERIFYHOST PROXY" ..
				" PROXYUSERPWD USERPWD WRITEFUNCTION HEADERFUNCTION USERAGENT FOLLOWLOCATION CAINFO SSLCERT SSLKEY HTTPGET NOBODY VERBOSE"):gmatch("%%S+") do
				if type(curl["OPT_" .. name]) ~= "number" or not curl.easy()["setopt_" .. name:lower()] then missing = missing .. " " .. name end
			end
			return missing`},
		{name: "unknown constant", raises: "unknown option: nil", script: `local curl = require "cURL" curl.easy():setopt(curl.OPT_NOTHING, 1)`},
		{name: "constants INFO", want: values{int64(200), url + "/a", true, "text/plain; charset=utf-8"}, script: send + `
			req:setopt_url(%[1]q .. "/a"):perform()
			return req:getinfo(curl.INFO_RESPONSE_CODE), req:getinfo(curl.INFO_EFFECTIVE_URL), req:getinfo(curl.INFO_TOTAL_TIME) > 0, req:getinfo(curl.INFO_CONTENT_TYPE)`},
		{name: "HTTPHEADER as given", wire: "\r\nx-lower: a\r\nx-lower: b\r\n", script: `return require("cURL").easy{ url = "http://" .. %[3]q,
			httpheader = { "x-lower: a", "x-lower: b" }, writefunction = function() end }:perform()`},
		{name: "HTTPHEADER removes a default", want: values{"POST /|||1 |:|x"}, script: send + `req:setopt_postfields("x"):setopt_httpheader{ "Content-Type:" }:perform()
			return body`},
		{name: "POSTFIELDS: content type and length", wire: "Content-Length: 4\r\nAccept: */*\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\na\x00b\xff", script: `
			return require("cURL").easy{ url = "http://" .. %[3]q, postfields = "a\0b\255", writefunction = function() end }:perform()`},
		{name: "POSTFIELDS: not a string", raises: "bad argument #1 to 'setopt_postfields' (string expected, got table)", script: send + `req:setopt_postfields({})`},
		{name: "POSTFIELDS: one content length", wire: "\r\nContent-Length: 1\r\nAccept: */*\r\nContent-Type: a/b\r\n\r\nx", script: `
			return require("cURL").easy{ url = "http://" .. %[3]q, postfields = "x", httpheader = { "content-length: 1", "Content-Type: a/b" }, writefunction = function() end }:perform()`},
		{name: "CUSTOMREQUEST", want: values{"DELETE /|application/x-www-form-urlencoded||1 |:|x"}, script: send + `req:setopt_postfields("x"):setopt(curl.OPT_CUSTOMREQUEST, "DELETE"):perform()
			return body`},
		{name: "TIMEOUT: number and numeric string", raises: "[CURL-EASY][OPERATION_TIMEDOUT] Timeout was reached (28)", script: `local curl = require "cURL"
			curl.easy():setopt_timeout(60):setopt(curl.OPT_TIMEOUT, "0.1"):setopt_url("http://` + raw(t, silent) + `"):perform()`},
		{name: "TIMEOUT: the body counts", raises: "OPERATION_TIMEDOUT", script: `require("cURL").easy{ timeout_ms = 200, url = "http://` + raw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
			silent(c)
		}) + `" }:perform()`},
		{name: "CONNECTTIMEOUT", raises: "OPERATION_TIMEDOUT", script: `require("cURL").easy{ connecttimeout = "0.1", url = "http://` + full(t) + `" }:perform()`},
		{name: "CONNECTTIMEOUT: TLS counts", raises: "OPERATION_TIMEDOUT", script: `require("cURL").easy{ connecttimeout = 0.1, url = "https://` + raw(t, silent) + `" }:perform()`},
		{name: "PROXY host:port, PROXYUSERPWD", want: values{"by proxy: GET http://target.invalid/a"}, script: send + `
			req:setopt_url("http://target.invalid/a"):setopt(curl.OPT_PROXY, (%[2]q):gsub("^http://", ""), nil):setopt(curl.OPT_PROXYUSERPWD, "me:secret"):perform()
			return body`},
		{name: "PROXY with scheme and password", want: values{"by proxy: POST http://target.invalid/"}, script: send + `
			req:setopt_url("http://target.invalid/"):setopt_postfields(""):setopt_proxy((%[2]q):gsub("//", "//me:secret@"), nil):perform()
			return body`},
		{name: "PROXY refuses CONNECT", raises: "[CURL-EASY][RECV_ERROR]", script: send + `req:setopt_url("https://target.invalid/"):setopt_proxy(%[2]q):perform()`},
		{name: "PROXY does not answer", raises: "COULDNT_CONNECT", script: send + `req:setopt_proxy("` + refused(t) + `"):perform()`},
		{name: "USERPWD", want: values{"GET /|||0 |u:p|"}, script: send + `req:setopt(curl.OPT_USERPWD, "u:p"):perform() return body`},
		{name: "user:password@ in the URL", want: values{"GET /|||0 |u:p|"}, script: send + `req:setopt_url((%[1]q):gsub("//", "//u:p@"), nil):perform() return body`},
		{name: "WRITEFUNCTION: results that are fine", want: values{"length nil true"}, script: send + `
			local fine = {}
			for name, f in pairs{ ["nil"] = function() end, ["true"] = function() return true end, length = function(s) return #s end } do
				if pcall(function() req:setopt_writefunction(f):perform() end) then fine[#fine + 1] = name end
			end
			table.sort(fine)
			return table.concat(fine, " ")`},
		{name: "WRITEFUNCTION: another number", raises: "[CURL-EASY][WRITE_ERROR]", script: send + `req:setopt_writefunction(function() return 1 end):perform()`},
		{name: "WRITEFUNCTION: an error", raises: "test:5: full", script: send + `req:setopt_writefunction(function()
			error("full") end):perform()`},
		{name: "WRITEFUNCTION: an object", want: values{"GET /|||0 |:|"}, script: send + `
			req:setopt_writefunction({ write = function(_, s) body = body .. s end }):perform() return body`},
		{name: "WRITEFUNCTION: a large body in pieces", want: values{int64(1 << 20), true}, script: `local n, pieces = 0, 0
			require("cURL").easy{ url = "` + server(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 1<<20))
		}) + `", writefunction = function(s) n, pieces = n + #s, pieces + 1 end }:perform()
			return n, pieces > 1`},
		{name: "HEADERFUNCTION", want: values{"HTTP/1.1 200 OK\r\n", "\r\n"}, script: send + `local lines = {}
			req:setopt_headerfunction(function(line) lines[#lines + 1] = line end):perform()
			return lines[1], lines[#lines]`},
		{name: "READFUNCTION", want: values{"PUT /|||10 |:|first,next"}, script: send + `local parts = { "first", ",", "next and more" }
			req:setopt_upload(true):setopt_infilesize(10):setopt_readfunction(function(n) return table.remove(parts, 1) end):perform()
			return body`},
		{name: "READFUNCTION of POST", want: values{"POST /|application/x-www-form-urlencoded||1 |:|x"}, script: send + `local left = "x"
			req:setopt_post(true):setopt_readfunction({ read = function() local s = left left = nil return s end }):perform()
			return body`},
		{name: "READFUNCTION aborts", raises: "[CURL-EASY][ABORTED_BY_CALLBACK]", script: send + `req:setopt_upload(true):setopt_readfunction(function() return 7 end):perform()`},
		{name: "forms", want: values{"POST text=t\x00t buffer=b (b.txt, text/plain) file=content (f.bin, application/octet-stream)"}, script: `local curl = require "cURL"
			local body
			local form = curl.form():add_content("text", "t\0t"):add_buffer("buffer", "b.txt", "b", "text/plain"):add_file("file", "` + formFile(t) + `")
			curl.easy():setopt_url("` + server(t, showForm) + `"):setopt_httppost(form):setopt_writefunction(function(s) body = s end):perform()
			form:free()
			return body`},
		{name: "forms by table", want: values{"POST a=1 b=two (b.txt, application/octet-stream)"}, script: `local curl = require "cURL"
			local body
			curl.easy{ url = "` + server(t, showForm) + `", httppost = curl.form{ a = 1, b = { data = "two", name = "b.txt" } }, writefunction = function(s) body = s end }:perform()
			return body`},
		{name: "forms: a file that is missing", raises: "cannot add a file to the form", script: `require("cURL").form():add_file("f", "/no/such/file")`},
		{name: "forms: a header of two lines", raises: "has more than one line", script: `require("cURL").form():add_content("f", "x", "a/b\r\nX: y")`},
		{name: "default: GET, Accept", wire: "GET / HTTP/1.1\r\nHost: " + address + "\r\nAccept: */*\r\n\r\n", script: `
			return require("cURL").easy{ url = "http://" .. %[3]q, writefunction = function() end }:perform()`},
		{name: "USERAGENT", wire: "\r\nUser-Agent: centreon\r\n", script: `
			return require("cURL").easy{ url = "http://" .. %[3]q, useragent = "centreon", writefunction = function() end }:perform()`},
		{name: "default: no redirects", want: values{int64(302)}, script: send + `req:setopt_url(%[1]q .. "/redirect"):perform() return req:getinfo_response_code()`},
		{name: "FOLLOWLOCATION", want: values{int64(200), "GET /target|||0 |:|"}, script: send + `req:setopt_url(%[1]q .. "/redirect"):setopt_postfields("x"):setopt_httpheader{"Content-Type:"}:setopt_followlocation(1):perform()
			return req:getinfo_response_code(), body`},
		{name: "FOLLOWLOCATION: the password stays with its host", want: values{"GET /target|||0 |:|"}, script: send + `
			req:setopt_url("` + server(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(url, "127.0.0.1", "localhost", 1)+"/target", http.StatusFound)
		}) + `"):setopt_userpwd("u:p"):setopt_followlocation(true):perform()
			return body`},
		{name: "a body without end", raises: "[CURL-EASY][FILESIZE_EXCEEDED]", script: send + `req:setopt_url("` + server(t, func(w http.ResponseWriter, _ *http.Request) {
			for block := make([]byte, 1<<20); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}) + `"):perform()`},
		{name: "default: no cookies", want: values{"|"}, script: `local body = ""
			for i = 1, 2 do require("cURL").easy{ url = "` + server(t, func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
			_, _ = io.WriteString(w, r.Header.Get("Cookie")+"|")
		}) + `", writefunction = function(s) body = s end }:perform() end
			return body`},
		{name: "NOBODY", want: values{int64(200), ""}, script: send + `req:setopt_nobody(true):perform() return req:getinfo_response_code(), body`},
		{name: "HTTPGET", want: values{"GET /|||0 |:|"}, script: send + `req:setopt_postfields("x"):setopt_httpget(true):perform() return body`},
		{name: "perform returns the object; 404 is no error", want: values{true, int64(404)}, script: send + `
			local same = req:setopt_url(%[1]q .. "/missing"):perform() == req
			return same, req:getinfo(curl.INFO_RESPONSE_CODE)`},
		{name: "getinfo before a response", want: values{int64(0)}, script: send + `return req:getinfo(curl.INFO_RESPONSE_CODE)`},
		{name: "close, then use", raises: "handle has been closed", script: send + `req:close() req:getinfo(curl.INFO_RESPONSE_CODE)`},
		{name: "reset", want: values{"GET /|||0 |:|"}, script: send + `req:setopt_postfields("x"):reset()
			req:setopt_url(%[1]q):setopt_writefunction(function(s) body = body .. s end):perform() return body`},
		{name: "unsetopt", want: values{"GET /|||0 |:|"}, script: send + `req:setopt_userpwd("a:b"):unsetopt_userpwd():setopt_useragent("x"):unsetopt(curl.OPT_USERAGENT):perform() return body`},
		{name: "escape, unescape", want: values{"a%20%26%C3%A9-_.~", "a &é"}, script: `local e = require("cURL").easy() return e:escape("a &é-_.~"), e:unescape("a%%20%%26%%C3%%A9")`},
	} {
		t.Run(row.name, func(t *testing.T) {
			vm, _ := open(t, Options{})
			args := []any{url, proxy, address}
			// Rows use some of the arguments; what the others print is behind a comment.
			script := row.script + "\n--%[1]s%[2]s%[3]s"
			switch {
			case row.raises != "":
				raises(t, vm, row.raises, script, args...)
			case row.wire != "":
				if _, err := vm.DoString("=test", fmt.Sprintf(script, args...)); err != nil {
					t.Fatal(err)
				}
				if got := <-requests; !strings.Contains(got, row.wire) {
					t.Errorf("the server got\n%q, want\n%q", got, row.wire)
				}
			default:
				run(t, vm, row.want, script, args...)
			}
		})
	}
}

func formFile(t *testing.T) string {
	path := t.TempDir() + "/f.bin"
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// showForm answers with the parts of a form.
func showForm(w http.ResponseWriter, r *http.Request) {
	parts, err := r.MultipartReader()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, r.Method)
	for {
		p, err := parts.NextPart()
		if err != nil {
			return
		}
		body, _ := io.ReadAll(p)
		fmt.Fprintf(w, " %s=%s", p.FormName(), body)
		if p.FileName() != "" {
			fmt.Fprintf(w, " (%s, %s)", p.FileName(), p.Header.Get("Content-Type"))
		}
	}
}

// Each row is a number of an error in specification 8.3.
func TestCurlErrorRows(t *testing.T) {
	authority := newAuthority(t)
	vm, _ := open(t, Options{})
	for _, row := range []struct {
		number     int
		name, text string
		options    string
	}{
		{1, "UNSUPPORTED_PROTOCOL", `Protocol "gopher" not supported`, `url = "gopher://127.0.0.1/"`},
		{3, "URL_MALFORMAT", "URL using bad/illegal format or missing URL", `url = "http://a b:c d/"`},
		{6, "COULDNT_RESOLVE_HOST", "Couldn't resolve host name", `url = "http://no-.invalid/"`},
		{7, "COULDNT_CONNECT", "Couldn't connect to server", `url = "http://` + refused(t) + `"`},
		{28, "OPERATION_TIMEDOUT", "Timeout was reached", `timeout_ms = 50, url = "http://` + raw(t, silent) + `"`},
		{35, "SSL_CONNECT_ERROR", "SSL connect error", `url = "https://` + raw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 100))
			_, _ = io.WriteString(c, "220 this is no TLS\r\n")
		}) + `"`},
		{60, "PEER_FAILED_VERIFICATION", "SSL peer certificate or SSH remote key was not OK", `url = "` + authority.https(t, good) + `"`},
		{52, "GOT_NOTHING", "Server returned nothing (no headers, no data)", `url = "http://` + raw(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }) + `"`},
		{56, "RECV_ERROR", "Failure when receiving data from the peer", `url = "http://` + raw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
		}) + `"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, vm, values{false, int64(row.number), row.name, "CURL-EASY", true, true}, `
				local e = require("cURL").easy{ %s }
				local ok, err = pcall(e.perform, e)
				return ok, err:no(), err:name(), err:category(), err:msg():find(%q, 1, true) == 1,
					tostring(err) == "[CURL-EASY][" .. err:name() .. "] " .. err:msg() .. " (" .. err:no() .. ")"`, row.options, row.text)
		})
	}
}
