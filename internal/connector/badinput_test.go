package connector

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

// badInput is the pipeline that rows of specification 10.2 run in, with things to talk to.
type badInput struct {
	*Script
	record *recorder
	peers  map[string]string // what the words in angle brackets of a row stand for
}

func newBadInput(t *testing.T, version int) *badInput {
	t.Helper()
	listen := func(handle func(*net.TCPConn)) string {
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
				handle(c.(*net.TCPConn))
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	silent := func(c *net.TCPConn) { t.Cleanup(func() { c.Close() }) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, refused, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	https := httptest.NewUnstartedServer(http.NotFoundHandler())
	https.Config.ErrorLog = log.New(io.Discard, "", 0)
	https.StartTLS()
	t.Cleanup(https.Close)
	b := &badInput{peers: map[string]string{
		"<silent>": listen(silent), "<refused>": refused, "<https>": https.URL, "<dir>": t.TempDir(),
		"<reset>": listen(func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
			c.Close()
		}),
	}}
	b.Script, b.record = load(t, fmt.Sprintf("broker_api_version = %d\nfunction init() end function write(d) event = d return true end", version), nil)
	deliver(t, b.Script, 1, events(t, append(configuration, happening...)...))
	return b
}

func (b *badInput) replace(text string) string {
	for word, value := range b.peers {
		text = strings.ReplaceAll(text, word, value)
	}
	return text
}

// Each row is one of specification 10.2 and a call in it: what it raises, or what it gives. After each the
// script goes on.
func TestBadInputRows(t *testing.T) {
	const raises, gives = "raises", "gives"
	b := newBadInput(t, 1) // one pipeline: a row uses the objects of the one before
	for _, row := range []struct{ row, call, how, want string }{
		{"cache method with a dot, on a wrong object", `broker_cache.get_hostname(1)`, raises, "broker_cache expected, got number: call it with a colon"},
		{"cache method with a dot, on a wrong object", `broker_cache.get_hostname()`, raises, "broker_cache expected, got nil: call it with a colon"},
		{"cache method with a dot, on a wrong object", `broker_cache.get_service("x", 1, 2)`, raises, "broker_cache expected, got string"},
		{"cache method with a dot, on a wrong object", `broker_cache.get_hostgroups(print, 1)`, raises, "broker_cache expected, got function"},
		{"cache method with nil, string, float id", `broker_cache:get_hostname(nil)`, raises, "bad argument #1 to 'get_hostname' (number expected, got nil)"},
		{"cache method with nil, string, float id", `broker_cache:get_hostname("alpha")`, raises, "bad argument #1 to 'get_hostname' (number expected, got string)"},
		{"cache method with nil, string, float id", `broker_cache:get_hostname(1.5)`, raises, "bad argument #1 to 'get_hostname' (number has no integer representation)"},
		{"cache method with nil, string, float id", `broker_cache:get_service_description(1)`, raises, "bad argument #2 to 'get_service_description' (number expected, got nil)"},
		{"cache method with nil, string, float id", `broker_cache:get_service(1, {})`, raises, "bad argument #2 to 'get_service' (number expected, got table)"},
		{"cache method with nil, string, float id", `broker_cache:get_severity(1, "x")`, raises, "bad argument #2 to 'get_severity' (number expected, got string)"},
		{"cache method with nil, string, float id", `broker_cache:get_bvs(0/0)`, raises, "bad argument #1 to 'get_bvs' (number has no integer representation)"},
		{"cache method with nil, string, float id", `broker_cache:get_hostname("1")`, gives, "alpha"},
		{"cache method with nil, string, float id", `broker_cache:get_hostname(1.0)`, gives, "alpha"},
		{"ids negative or beyond 2^53", `tostring(broker_cache:get_hostname(-1))`, gives, "nil"},
		{"ids negative or beyond 2^53", `tostring(broker_cache:get_host(2^60))`, gives, "nil"},
		{"ids negative or beyond 2^53", `tostring(broker_cache:get_service(1e300, -2))`, gives, "nil"},
		{"ids negative or beyond 2^53", `tostring(broker_cache:get_ba(1/0))`, gives, "nil"},
		{"ids negative or beyond 2^53", `#broker_cache:get_hostgroups(-1) .. ""`, gives, "0"},
		{"json_encode without argument, of nil, function, cyclic or too deep", `broker.json_encode()`, raises, "bad argument #1 to 'json_encode'"},
		{"json_encode without argument, of nil, function, cyclic or too deep", `broker.json_encode(nil)`, raises, "json_encode: type not implemented"},
		{"json_encode without argument, of nil, function, cyclic or too deep", `broker.json_encode({ print })`, raises, "json_encode: type not implemented"},
		{"json_encode without argument, of nil, function, cyclic or too deep", `broker.json_encode(coroutine.create(print))`, raises, "json_encode: type not implemented"},
		{"json_encode without argument, of nil, function, cyclic or too deep", `(function() local a, b = {}, {} a.b, b.a = b, a return broker.json_encode(a) end)()`, raises, "deeper than 200 levels, or contains itself"},
		{"json_encode without argument, of nil, function, cyclic or too deep", `(function() local t = {} for i = 1, 300 do t = { t } end return broker.json_encode(t) end)()`, raises, "deeper than 200 levels"},
		{"boolean or table keys in json_encode", `broker.json_encode({ [true] = 1 })`, raises, "a key of a table is a boolean"},
		{"boolean or table keys in json_encode", `broker.json_encode({ [{}] = 1 })`, raises, "a key of a table is a table"},
		{"json_decode of nil, table, bad text", `broker.json_decode(nil)`, raises, "bad argument #1 to 'json_decode' (string expected, got nil)"},
		{"json_decode of nil, table, bad text", `broker.json_decode({})`, raises, "bad argument #1 to 'json_decode' (string expected, got table)"},
		{"json_decode of nil, table, bad text", `broker.json_decode()`, raises, "bad argument #1 to 'json_decode' (string expected, got no value)"},
		{"json_decode of nil, table, bad text", `select(2, broker.json_decode("{"))`, gives, "[json.exception.parse_error.101] parse error at line 1, column 2: "},
		{"json_decode of nil, table, bad text", `tostring(broker.json_decode(("["):rep(1e6)))`, gives, "nil"},
		{"parse_perfdata(nil), unmatched quote, blanks, 1 MB", `broker.parse_perfdata(nil)`, raises, "bad argument #1 to 'parse_perfdata' (string expected, got nil)"},
		{"parse_perfdata(nil), unmatched quote, blanks, 1 MB", `broker.parse_perfdata({}, true)`, raises, "bad argument #1 to 'parse_perfdata' (string expected, got table)"},
		{"parse_perfdata(nil), unmatched quote, blanks, 1 MB", `broker.json_encode(broker.parse_perfdata("'a b=1 c=2"))`, gives, "[]"},
		{"parse_perfdata(nil), unmatched quote, blanks, 1 MB", `broker.json_encode(broker.parse_perfdata(" \t\r\n "))`, gives, "[]"},
		{"parse_perfdata(nil), unmatched quote, blanks, 1 MB", `(function() local n = 0 for _ in pairs(broker.parse_perfdata(("a=1 "):rep(262144))) do n = n + 1 end return n .. "" end)()`, gives, "1"},
		{"parse_perfdata(nil), unmatched quote, blanks, 1 MB", `(function()
			local t = {} for i = 1, 60000 do t[i] = "metric" .. i .. "=" .. i .. ";1;2" end
			local n = 0 for _ in pairs(broker.parse_perfdata(table.concat(t, " "), true)) do n = n + 1 end return n .. "" end)()`, gives, "60000"},
		{"parse_perfdata(nil), unmatched quote, blanks, 1 MB", `broker.json_encode(broker.parse_perfdata(("'"):rep(1048576)))`, gives, "[]"},
		{"set_parameters", `broker_log:set_parameters(4, "f")`, raises, "set_parameters expects the first argument to be 0, 1, 2 or 3."},
		{"set_parameters", `broker_log:set_parameters(-1, "f")`, raises, "set_parameters expects the first argument to be 0, 1, 2 or 3."},
		{"set_parameters", `broker_log:set_parameters(nil, "f")`, raises, "set_parameters expects the first argument to be 0, 1, 2 or 3."},
		{"socket: before connect", `broker_tcp_socket.new():read()`, raises, "broker_socket::read: Unable to get remote endpoint from socket object: Transport endpoint is not connected"},
		{"socket: before connect", `broker_tcp_socket.new():write("x")`, raises, "broker_socket::write: Unable to get remote endpoint from socket object: Transport endpoint is not connected"},
		{"socket: arguments", `broker_tcp_socket.new():connect("127.0.0.1")`, raises, "bad argument #2 to 'connect' (number expected, got no value)"},
		{"socket: arguments", `broker_tcp_socket.new():connect("127.0.0.1", 70000)`, raises, "bad argument #2 to 'connect' (port 70000, from 1 to 65535 is possible)"},
		{"socket: arguments", `broker_tcp_socket.new():connect(nil, 1)`, raises, "bad argument #1 to 'connect' (string expected, got nil)"},
		{"socket: arguments", `broker_tcp_socket.new().write({}, "x")`, raises, "broker_tcp_socket expected, got table"},
		{"socket: connect twice", `(function() s = broker_tcp_socket.new() s:connect("127.0.0.1", <silent>) s:connect("127.0.0.1", <silent>) end)()`, raises,
			"broker_socket::connect: Couldn't connect to 127.0.0.1:<silent>: the socket is connected to 127.0.0.1:<silent>, close it first"},
		{"socket: connect twice", `(function() s:close() s:connect("127.0.0.1", <silent>) return s:get_state() end)()`, gives, "connected"},
		{"socket: unknown host", `broker_tcp_socket.new():connect("no-.invalid", 1)`, raises, "broker_socket::connect: Couldn't resolve no-.invalid:1 : "},
		{"socket: refused", `broker_tcp_socket.new():connect("127.0.0.1", <refused>)`, raises, "broker_socket::connect: Couldn't connect to 127.0.0.1:<refused>: "},
		{"socket: reset", `(function() s = broker_tcp_socket.new() s:connect("127.0.0.1", <reset>) s:write("x") return s:read() end)()`, raises,
			"broker_socket::read: Couldn't read data from 127.0.0.1:<reset>: "},
		{"socket: reset", `(function() for i = 1, 1000 do s:write(("x"):rep(10000)) end end)()`, raises, "broker_socket::write: Couldn't write to 127.0.0.1:<reset>: "},
		{"socket: reset", `(function() s:close() s:connect("127.0.0.1", <silent>) s:write("x") return s:get_state() end)()`, gives, "connected"},
		{"d.unknown", `tostring(event.unknown)`, gives, "nil"},
		{"perform", `require("cURL").easy{ url = "http://[" }:perform()`, raises, "[CURL-EASY][URL_MALFORMAT]"},
		{"perform", `require("cURL").easy():perform()`, raises, "[CURL-EASY][URL_MALFORMAT]"},
		{"perform", `require("cURL").easy{ url = "gopher://x" }:perform()`, raises, "[CURL-EASY][UNSUPPORTED_PROTOCOL]"},
		{"perform", `require("cURL").easy{ url = "<https>" }:perform()`, raises, "[CURL-EASY][PEER_FAILED_VERIFICATION]"},
		{"perform", `require("cURL").easy{ url = "http://127.0.0.1:<silent>", timeout_ms = 50 }:perform()`, raises, "[CURL-EASY][OPERATION_TIMEDOUT]"},
		{"setopt", `require("cURL").easy():setopt_url(nil)`, raises, "bad argument #1 to 'setopt_url' (string expected, got nil)"},
		{"setopt", `require("cURL").easy():setopt(123456, 1)`, raises, "bad argument #1 to 'setopt' (unknown option: 123456)"},
		{"setopt", `require("cURL").easy():setopt_httpheader(5)`, raises, "bad argument #1 to 'setopt_httpheader' (table expected, got number)"},
		{"setopt", `require("cURL").easy():setopt_timeout({})`, raises, "bad argument #1 to 'setopt_timeout' (number expected, got table)"},
		{"setopt", `require("cURL").easy():setopt_ssl_verifypeer({})`, raises, "bad argument #1 to 'setopt_ssl_verifypeer' (boolean expected, got table)"},
		{"setopt", `require("cURL").easy():setopt_writefunction("x")`, raises, "bad argument #1 to 'setopt_writefunction' (function expected, got string)"},
	} {
		t.Run(row.row, func(t *testing.T) {
			call, want := b.replace(row.call), b.replace(row.want)
			values, err := b.vm.DoString("=test", "local v = "+call+" return v") // no tail call: Lua forgets names there
			switch {
			case row.how == raises && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s gave %v and the error %v, want the error %q", call, values, err, want)
			case row.how == gives && (err != nil || len(values) == 0 || !strings.HasPrefix(fmt.Sprint(values[0]), want)):
				t.Errorf("%s gave %v and the error %v, want %q", call, values, err, want)
			}
			if got := result(t, b.Script, `broker_cache:get_hostname(1)`); got != "alpha" {
				t.Errorf("after it the script finds %v", got)
			}
		})
	}
}

// The rows of 10.2 about logs: nothing of it raises an error.
func TestBadInputLog(t *testing.T) {
	b := newBadInput(t, 1)
	forbidden := filepath.Join(b.peers["<dir>"], "a folder")
	if err := os.Mkdir(forbidden, 0o755); err != nil {
		t.Fatal(err)
	}
	b.record.lines = nil
	result(t, b.Script, `(function() broker_log:error("x") broker_log:info(1) broker_log:warning(0, nil) broker_log:set_parameters("3", "/no/such/folder/log")
		broker_log:info(3, "one") broker_log:set_parameters(3, "`+forbidden+`") broker_log:info(3, "two") end)()`)
	for i, want := range []string{"ERROR x", "INFO (null)", "WARN (null)", "ERROR cannot write to the log file of the script: open /no/such/folder/log: no such file or directory; the line was: one",
		"ERROR cannot write to the log file of the script: open " + forbidden + ": is a directory; the line was: two"} {
		if i >= len(b.record.lines) || b.record.lines[i] != want {
			t.Errorf("line %d of %q, want %q", i, b.record.lines, want)
		}
	}
}

// The rows of 10.2 about read-only events.
func TestBadInputReadOnly(t *testing.T) {
	b := newBadInput(t, 2)
	f := fails(t, b.Script)
	f(`(function() event.state = 1 end)()`, "attempt to assign to field 'state' of a read-only record")
	f(`(function() event.new = 1 end)()`, "attempt to assign to field 'new' of a read-only record")
	equal(t, b.Script)(`event.unknown`, nil)
	equal(t, b.Script)(`event[1]`, nil)
}

// The socket of the broker ends with the budget of the call, and at the shutdown.
func TestSocketInterrupted(t *testing.T) {
	b := newBadInput(t, 1)
	result(t, b.Script, b.replace(`(function() s = broker_tcp_socket.new() s:connect("127.0.0.1", <silent>) end)()`))
	time.AfterFunc(50*time.Millisecond, b.Interrupt)
	_, err := b.vm.DoString("=test", "return s:read()")
	if raised := new(lua.Error); !errors.As(err, &raised) || !raised.Deadline && !strings.Contains(raised.Message, "interrupted") {
		t.Errorf("an interrupted read: %v", err)
	}
	equal(t, b.Script)("s:get_state()", "connected")

	s, _ := load(t, nothing, func(setup *Setup) { setup.Call = 100 * time.Millisecond })
	_, err = s.vm.DoString("=test", b.replace(`local s = broker_tcp_socket.new() s:connect("127.0.0.1", <silent>) return s:read()`))
	if raised := new(lua.Error); !errors.As(err, &raised) || !raised.Deadline && !strings.Contains(raised.Message, "timed out") {
		t.Errorf("a read longer than the budget: %v", err)
	}
}
