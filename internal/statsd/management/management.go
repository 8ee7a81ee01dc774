// Package management is StatsD's management interface: a TCP console on which
// one looks at the daemon's state and deletes metrics (StatsD specification
// section 5).
package management

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/telemetry"
)

const (
	maxClients   = 64               // at once; one more, and the client that was silent longest has to go
	maxChunk     = 64 << 10         // bytes of one read, and so of a command
	piece        = 64 << 10         // bytes of one write
	writeTimeout = 10 * time.Second // of a piece: a client that never reads is dropped
)

// Source is what the console looks at. It is called from the goroutines of
// several clients at once.
type Source interface {
	Status() statsd.Status
	Counters() []backend.Counter
	Gauges() []backend.Gauge
	Timers() []backend.Timer // names and values
	// Delete deletes by exact name, or by prefix when pattern ends in ".*".
	Delete(kind statsd.Kind, pattern string) (deleted []string)
}

// server is a Source: a running server, of which the aggregator holds the metrics.
type server struct {
	*statsd.Server
	*statsd.Aggregator
}

// Setting is one line of the command config: "Name: Value", or "Name > Sub:
// Value" for a part of a setting with several. Value is as JavaScript prints it.
type Setting struct{ Name, Sub, Value string }

// Console is the management interface of one server.
type Console struct {
	address  string
	source   Source
	backends []backend.Backend
	settings func() []Setting
	log      *slog.Logger
	warn     *telemetry.Limited
	now      func() time.Time

	sick     atomic.Bool
	dumping  sync.Mutex // dumps of many metrics are large: one at a time is made
	listener net.Listener
	tasks    sync.WaitGroup

	mu      sync.Mutex
	clients map[*client]struct{}
	stopped bool
}

// New returns a Console for address ("host:port"). settings is called for the
// command config, from any goroutine.
func New(address string, s *statsd.Server, backends []backend.Backend, settings func() []Setting, log *slog.Logger) *Console {
	return newConsole(address, server{s, s.Aggregator()}, backends, settings, log)
}

func newConsole(address string, source Source, backends []backend.Backend, settings func() []Setting, log *slog.Logger) *Console {
	return &Console{
		address: address, source: source, backends: backends, settings: settings, log: log,
		warn: telemetry.NewLimited(log, time.Minute, 10), now: time.Now, clients: make(map[*client]struct{}),
	}
}

// Start listens and serves until Stop.
func (c *Console) Start() error {
	listener, err := net.Listen("tcp", c.address)
	if err != nil {
		return fmt.Errorf("cannot listen for the management console on %q: %w", c.address, err)
	}
	c.listener = listener
	c.tasks.Go(c.accept)
	return nil
}

// Address is where the console listens; valid after Start.
func (c *Console) Address() net.Addr { return c.listener.Addr() }

// Stop disconnects every client and returns when nothing runs any more.
func (c *Console) Stop() {
	c.mu.Lock()
	c.stopped = true
	for client := range c.clients {
		client.conn.Close()
	}
	c.mu.Unlock()
	c.listener.Close()
	c.tasks.Wait()
}

// SetHealthy sets what the command health answers, until a client changes it.
func (c *Console) SetHealthy(healthy bool) { c.sick.Store(!healthy) }

// Healthy is what the command health answers.
func (c *Console) Healthy() bool { return !c.sick.Load() }

func (c *Console) accept() {
	for {
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely
			c.warn.Warn("cannot accept a management client", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		client := &client{conn: conn}
		client.touch()
		if c.admit(client) {
			c.tasks.Go(func() {
				defer c.leave(client)
				c.serve(client)
			})
		}
	}
}

// client is one connection.
type client struct {
	conn  net.Conn
	heard atomic.Int64 // Unix nanoseconds of its last command
}

func (c *client) touch() { c.heard.Store(time.Now().UnixNano()) }

// admit makes room for a client.
func (c *Console) admit(new *client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		new.conn.Close()
		return false
	}
	if len(c.clients) >= maxClients {
		var silent *client
		for other := range c.clients {
			if silent == nil || other.heard.Load() < silent.heard.Load() {
				silent = other
			}
		}
		c.warn.Warn("too many management clients: the one that was silent longest is disconnected", "clients", maxClients, "client", silent.conn.RemoteAddr().String())
		silent.conn.Close()
		delete(c.clients, silent)
	}
	c.clients[new] = struct{}{}
	return true
}

func (c *Console) leave(client *client) {
	client.conn.Close()
	c.mu.Lock()
	delete(c.clients, client)
	c.mu.Unlock()
}

// serve answers one client. What one read returns is a command, or several on
// lines of their own.
func (c *Console) serve(client *client) {
	buffer := make([]byte, maxChunk)
	for {
		n, err := client.conn.Read(buffer)
		if n > 0 {
			client.touch()
			for line := range strings.SplitSeq(strings.TrimSpace(string(buffer[:n])), "\n") {
				answer, quit := c.answer(strings.TrimSpace(line))
				if quit {
					return
				}
				if err := write(client.conn, answer); err != nil {
					c.warn.Warn(fmt.Sprintf("MGMT: Caught %v, Moving on", err))
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// write sends text in pieces, each of which must be taken in time.
func write(conn net.Conn, text string) error {
	for len(text) > 0 {
		n := min(len(text), piece)
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := conn.Write([]byte(text[:n])); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}
