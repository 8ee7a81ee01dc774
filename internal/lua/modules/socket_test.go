package modules

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestSocket(t *testing.T) {
	vm, m := open(t, Options{})
	address := raw(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch strings.TrimSpace(line) {
			case "line":
				_, _ = io.WriteString(c, "first\r\nsecond\n12345rest")
			case "bye":
				_, _ = io.WriteString(c, "the end")
				return
			}
		}
	})
	host, port, _ := net.SplitHostPort(address)
	run(t, vm, values{int64(5), "first", "second", "12345", "rest"}, `local s = assert(require("socket").connect(%q, %s))
		local n = s:send("line\n")
		return n, s:receive(), s:receive("*l"), s:receive(5), s:receive(4)`, host, port)
	run(t, vm, values{int64(4), "the end", nil, "closed", "", int64(1), nil, "closed", int64(0)}, `local s = assert(require("socket").connect(%q, %q))
		local n = s:send("xbye\n", 2, -1) - 1
		local all = s:receive("*a")
		local a, b, c = s:receive("*l")
		local closed = s:close()
		return n, all, a, b, c, closed, s:send("x")`, host, port)
	run(t, vm, values{nil, "timeout", "", nil, "timeout", "fir"}, `local s = require("socket").tcp()
		s:settimeout(0.05)
		assert(s:connect(%q, %s))
		local a, b, c = s:receive(3)
		s:send("line\n")
		local d = s:receive(3)
		s:receive("*a")
		return a, b, c, nil, "timeout", d`, host, port)
	run(t, vm, values{nil, "connection refused"}, `return require("socket").connect("127.0.0.1", %s)`, strings.TrimPrefix(refused(t), "127.0.0.1:"))
	run(t, vm, values{nil, "invalid port 70000"}, `return require("socket").connect("127.0.0.1", 70000)`)
	raises(t, vm, "string expected, got nil", `return require("socket").connect(nil, 1)`)
	raises(t, vm, `invalid receive pattern "*x"`, `require("socket").tcp():receive("*x")`)
	raises(t, vm, "a number of bytes", `require("socket").tcp():receive(-1)`)
	time.AfterFunc(50*time.Millisecond, m.Interrupt)
	run(t, vm, values{nil, "interrupted", ""}, `local s = assert(require("socket").connect(%q, %s))
		return s:receive()`, host, port)
}
