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

	"github.com/weirhq/weir/internal/telemetry"
)

const (
	maxClients   = 64               // at once; one more, and the client that was silent longest has to go
	maxChunk     = 64 << 10         // bytes of one read, and so of a command
	piece        = 64 << 10         // bytes of one write
	writeTimeout = 10 * time.Second // of a piece: a client that never reads is dropped
)

// Port is a TCP port on which clients type commands, whatever the commands are.
type Port struct {
	address  string
	answer   func(command string) (text string, quit bool)
	warn     *telemetry.Limited
	listener net.Listener
	tasks    sync.WaitGroup

	mu      sync.Mutex
	clients map[*client]struct{}
	stopped bool
}

// NewPort returns a Port for address ("host:port"). answer carries out one command, without the end of its line,
// from the goroutines of several clients at once; quit ends the connection.
func NewPort(address string, answer func(command string) (text string, quit bool), log *slog.Logger) *Port {
	return &Port{address: address, answer: answer, warn: telemetry.NewLimited(log, time.Minute, 10), clients: make(map[*client]struct{})}
}

// Start listens and serves until Stop.
func (p *Port) Start() error {
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("cannot listen for the management console on %q: %w", p.address, err)
	}
	p.listener = listener
	p.tasks.Go(p.accept)
	return nil
}

// Address is where the console listens; valid after Start.
func (p *Port) Address() net.Addr { return p.listener.Addr() }

// Stop disconnects every client and returns when nothing runs any more.
func (p *Port) Stop() {
	p.mu.Lock()
	p.stopped = true
	for client := range p.clients {
		client.conn.Close()
	}
	p.mu.Unlock()
	p.listener.Close()
	p.tasks.Wait()
}

func (p *Port) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely
			p.warn.Warn("cannot accept a management client", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		client := &client{conn: conn}
		client.touch()
		if p.admit(client) {
			p.tasks.Go(func() {
				defer p.leave(client)
				p.serve(client)
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
func (p *Port) admit(new *client) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		new.conn.Close()
		return false
	}
	if len(p.clients) >= maxClients {
		var silent *client
		for other := range p.clients {
			if silent == nil || other.heard.Load() < silent.heard.Load() {
				silent = other
			}
		}
		p.warn.Warn("too many management clients: the one that was silent longest is disconnected", "clients", maxClients, "client", silent.conn.RemoteAddr().String())
		silent.conn.Close()
		delete(p.clients, silent)
	}
	p.clients[new] = struct{}{}
	return true
}

func (p *Port) leave(client *client) {
	client.conn.Close()
	p.mu.Lock()
	delete(p.clients, client)
	p.mu.Unlock()
}

// serve answers one client. What one read returns is a command, or several on
// lines of their own.
func (p *Port) serve(client *client) {
	buffer := make([]byte, maxChunk)
	for {
		n, err := client.conn.Read(buffer)
		if n > 0 {
			client.touch()
			for line := range strings.SplitSeq(strings.TrimSpace(string(buffer[:n])), "\n") {
				answer, quit := p.answer(strings.TrimSpace(line))
				if quit {
					return
				}
				if err := write(client.conn, answer); err != nil {
					p.warn.Warn(fmt.Sprintf("MGMT: Caught %v, Moving on", err))
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
