package modules

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

const socketType = "tcp socket"

// maxReceive bounds what one call takes from a peer, in bytes.
const maxReceive = 64 << 20

// socket is an object of the module socket. It is not connected while conn is nil.
type socket struct {
	m       *Modules
	conn    net.Conn
	in      *bufio.Reader
	timeout time.Duration // of each call, negative for none
	closed  bool
}

func (m *Modules) defineSocket(vm *lua.VM) error {
	method := func(f func(*socket, *lua.Call) (int, error)) lua.Function {
		return func(c *lua.Call) (int, error) {
			s, err := c.Object(1, socketType)
			if err != nil {
				return 0, err
			}
			s.(*socket).m = m
			return f(s.(*socket), c)
		}
	}
	return vm.DefineType(lua.ObjectType{
		Name: socketType,
		Methods: map[string]lua.Function{
			"connect": method((*socket).connect), "send": method((*socket).send), "receive": method((*socket).receive),
			"settimeout": method((*socket).setTimeout), "close": method((*socket).close),
		},
		Close: func(v any) { v.(*socket).drop() },
	})
}

func newSocket(c *lua.Call) (int, error) {
	c.Push(&lua.Object{Type: socketType, Value: &socket{timeout: -1}})
	return 1, nil
}

func (s *socket) drop() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, s.in, s.closed = nil, nil, true
}

func (s *socket) close(c *lua.Call) (int, error) {
	s.drop()
	c.PushInt(1)
	return 1, nil
}

func (s *socket) setTimeout(c *lua.Call) (int, error) {
	s.timeout = -1
	if !c.IsNil(2) {
		f, err := c.Float(2)
		if err != nil {
			return 0, err
		}
		if s.timeout = seconds(f); s.timeout >= 0 {
			s.timeout = max(s.timeout, time.Millisecond) // 0 takes what is there
		}
	}
	c.PushInt(1)
	return 1, nil
}

func (s *socket) connect(c *lua.Call) (int, error) {
	host, err := c.String(2)
	if err != nil {
		return 0, err
	}
	port, err := c.Int(3)
	if err != nil {
		return 0, err
	}
	fail := func(text string) (int, error) {
		c.PushNil()
		c.PushString(text)
		return 2, nil
	}
	switch {
	case port < 1 || port > 65535:
		return fail(fmt.Sprintf("invalid port %d", port))
	case s.conn != nil:
		return fail("already connected")
	}
	ctx, done := s.m.Block(s.timeout)
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.FormatInt(port, 10)))
	if err != nil {
		return fail(socketError(ctx, err))
	}
	s.conn, s.in, s.closed = conn, bufio.NewReader(conn), false
	c.PushInt(1)
	return 1, nil
}

// socketError names an error as LuaSocket does.
func socketError(ctx context.Context, err error) string {
	unknown := new(net.DNSError)
	switch {
	case errors.Is(context.Cause(ctx), ErrInterrupted):
		return "interrupted"
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &unknown):
		if unknown.IsTimeout {
			return "timeout"
		}
		return "host not found"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed"
	}
	if number := syscall.Errno(0); errors.As(err, &number) {
		return number.Error()
	}
	return err.Error()
}

// send sends a string, or its part from i to j, and gives the position of the last byte sent.
func (s *socket) send(c *lua.Call) (int, error) {
	data, err := c.Bytes(2)
	if err != nil {
		return 0, err
	}
	from, to := int64(1), int64(len(data))
	for i, bound := range []*int64{&from, &to} {
		if c.IsNil(3 + i) {
			continue
		}
		if *bound, err = c.Int(3 + i); err != nil {
			return 0, err
		}
		if *bound < 0 {
			*bound += int64(len(data)) + 1
		}
	}
	from, to = max(from, 1), min(to, int64(len(data)))
	if s.conn == nil {
		c.PushNil()
		c.PushString("closed")
		c.PushInt(from - 1)
		return 3, nil
	}
	n := 0
	if from <= to {
		ctx, done := s.m.BlockOn(s.conn, s.timeout)
		n, err = s.conn.Write(data[from-1 : to])
		if err != nil {
			c.PushNil()
			c.PushString(socketError(ctx, err))
			c.PushInt(from - 1 + int64(n))
			done()
			return 3, nil
		}
		done()
	}
	c.PushInt(from - 1 + int64(n))
	return 1, nil
}

// receive takes a number of bytes, a line ("*l") or all until the peer closes ("*a"). After an error
// the third result is what came before it.
func (s *socket) receive(c *lua.Call) (int, error) {
	given, prefix := "*l", ""
	var err error
	if !c.IsNil(2) {
		if given, err = c.String(2); err != nil {
			return 0, err
		}
	}
	pattern := strings.TrimPrefix(given, "*")
	if !c.IsNil(3) {
		if prefix, err = c.String(3); err != nil {
			return 0, err
		}
	}
	count, numeric := 0, false
	if c.Type(2) == "number" {
		n, err := c.Int(2)
		if err != nil || n < 0 || n > maxReceive {
			return 0, &lua.ArgumentError{Argument: 2, Message: fmt.Sprintf("a number of bytes from 0 to %d expected", maxReceive)}
		}
		count, numeric = int(n), true
	} else if pattern != "l" && pattern != "a" {
		return 0, &lua.ArgumentError{Argument: 2, Message: fmt.Sprintf("invalid receive pattern %q, there are *l, *a and a number", given)}
	}
	if s.conn == nil {
		c.PushNil()
		c.PushString("closed")
		c.PushString(prefix)
		return 3, nil
	}
	ctx, done := s.m.BlockOn(s.conn, s.timeout)
	defer done()
	data := []byte(prefix)
	switch {
	case numeric:
		var got []byte
		got, err = io.ReadAll(io.LimitReader(s.in, int64(max(count-len(data), 0))))
		if data = append(data, got...); err == nil && len(data) < count {
			err = io.EOF
		}
	case pattern == "a":
		var got []byte
		got, err = io.ReadAll(io.LimitReader(s.in, maxReceive+1))
		if data = append(data, got...); err == nil && len(got) > maxReceive {
			err = fmt.Errorf("more than %d bytes", maxReceive)
		}
	default:
		data, err = s.line(data)
	}
	if err != nil {
		c.PushNil()
		c.PushString(socketError(ctx, err))
		c.PushBytes(data)
		return 3, nil
	}
	c.PushBytes(data)
	return 1, nil
}

// line appends a line without its end and without carriage returns.
func (s *socket) line(data []byte) ([]byte, error) {
	for {
		part, err := s.in.ReadSlice('\n')
		for _, b := range part {
			if b != '\r' && b != '\n' {
				data = append(data, b)
			}
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return data, err
		}
		if len(data) > maxReceive {
			return data, fmt.Errorf("a line of more than %d bytes", maxReceive)
		}
	}
}
