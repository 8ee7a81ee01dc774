package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
)

// connectTimeout bounds connect, name resolution included.
const connectTimeout = 30 * time.Second

const socketType = "broker_tcp_socket"

// socket is an object of broker_tcp_socket (5.4). What blocks in it ends with the budget of the call
// and at the shutdown.
type socket struct {
	modules *modules.Modules
	conn    net.Conn // nil when not connected
	remote  string   // "address:port" as the script gave it
	state   string
}

// socketMethods are what an object of broker_tcp_socket can do.
func socketMethods() map[string]lua.Function {
	method := func(f func(*socket, *lua.Call) (int, error)) lua.Function {
		return func(c *lua.Call) (int, error) {
			s, err := c.Object(1, socketType)
			if err != nil {
				return 0, err
			}
			return f(s.(*socket), c)
		}
	}
	return map[string]lua.Function{
		"connect": method((*socket).connect), "get_state": method((*socket).getState),
		"write": method((*socket).write), "read": method((*socket).read), "close": method((*socket).close),
	}
}

// sockets is the global broker_tcp_socket.
func sockets(vm *lua.VM, m *modules.Modules) (*lua.Table, error) {
	err := vm.DefineType(lua.ObjectType{
		Name: socketType, Methods: socketMethods(),
		Close: func(v any) { v.(*socket).drop() },
	})
	if err != nil {
		return nil, err
	}
	t := &lua.Table{}
	t.Set("new", lua.Function(func(c *lua.Call) (int, error) {
		c.Push(&lua.Object{Type: socketType, Value: &socket{modules: m, state: "unconnected"}})
		return 1, nil
	}))
	return t, nil
}

func (s *socket) drop() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, s.state = nil, "unconnected"
}

func (s *socket) connect(c *lua.Call) (int, error) {
	address, err := c.String(2)
	if err != nil {
		return 0, err
	}
	port, err := c.Int(3)
	if err != nil {
		return 0, err
	}
	if port < 1 || port > 65535 {
		return 0, &lua.ArgumentError{Argument: 3, Message: fmt.Sprintf("port %d, from 1 to 65535 is possible", port)}
	}
	remote := address + ":" + strconv.FormatInt(port, 10)
	if s.conn != nil {
		return 0, fmt.Errorf("broker_socket::connect: Couldn't connect to %s: the socket is connected to %s, close it first", remote, s.remote)
	}
	ctx, done := s.modules.Block(connectTimeout)
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.FormatInt(port, 10)))
	err = ended(ctx, err)
	if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) {
		return 0, fmt.Errorf("broker_socket::connect: Couldn't resolve %s : %w", remote, err)
	}
	if err != nil {
		return 0, fmt.Errorf("broker_socket::connect: Couldn't connect to %s: %w", remote, err)
	}
	s.conn, s.remote, s.state = conn, remote, "connected"
	return 0, nil
}

// ended names what ended an operation when it was the context.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		if cause := context.Cause(ctx); errors.Is(cause, modules.ErrInterrupted) {
			return cause
		}
		return errTimeout
	}
	return err
}

var errTimeout = errors.New("timed out")

func (s *socket) getState(c *lua.Call) (int, error) {
	c.PushString(s.state)
	return 1, nil
}

//lint:ignore ST1005 the text C gives this error
var errUnconnected = errors.New("Transport endpoint is not connected")

func (s *socket) write(c *lua.Call) (int, error) {
	data, err := c.Bytes(2)
	if err != nil {
		return 0, err
	}
	if s.conn == nil {
		return 0, fmt.Errorf("broker_socket::write: Unable to get remote endpoint from socket object: %w", errUnconnected)
	}
	ctx, done := s.modules.BlockOn(s.conn, -1)
	defer done()
	if _, err := s.conn.Write(data); err != nil {
		return 0, fmt.Errorf("broker_socket::write: Couldn't write to %s: %w", s.remote, ended(ctx, err))
	}
	return 0, nil
}

func (s *socket) read(c *lua.Call) (int, error) {
	if s.conn == nil {
		return 0, fmt.Errorf("broker_socket::read: Unable to get remote endpoint from socket object: %w", errUnconnected)
	}
	var buf [1024]byte
	ctx, done := s.modules.BlockOn(s.conn, -1)
	defer done()
	n, err := s.conn.Read(buf[:])
	if n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("broker_socket::read: Couldn't read data from %s: %w", s.remote, ended(ctx, err))
	}
	c.PushBytes(buf[:n])
	return 1, nil
}

func (s *socket) close(*lua.Call) (int, error) {
	s.drop()
	return 0, nil
}
