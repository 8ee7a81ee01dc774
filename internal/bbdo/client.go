package bbdo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/event"
)

// stopTimeout is how long a sender waits for the last acknowledgement.
const stopTimeout = 5 * time.Second

// ClientConfig is the configuration of a [Client].
type ClientConfig struct {
	Identity    Identity
	Version     Version // 3.0.1 when zero
	TLS         TLS
	Compression bool
	// Accepting makes the client the side that was connected to, for peers that
	// connect to pollers.
	Accepting bool
	Timeout   time.Duration // of the negotiation; 5 s
}

// Client sends events, as a poller does, and receives acknowledgements. Send and
// Stop are called from one goroutine; the other methods from any.
type Client struct {
	link *link
	out  *Writer
	id   Identity
	conn net.Conn
	done chan struct{} // closed when nothing more is received

	mu            sync.Mutex
	changed       chan struct{} // closed and replaced at each change
	sent          int64
	acknowledged  int64
	acks          int
	configuration int // answers to engine configurations
	err           error
}

// Connect connects to a broker and negotiates.
func Connect(ctx context.Context, address string, cfg ClientConfig) (*Client, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the broker: %w", err)
	}
	return NewClient(ctx, conn, cfg)
}

// NewClient negotiates on a connection, which belongs to the client from here on.
func NewClient(ctx context.Context, conn net.Conn, cfg ClientConfig) (*Client, error) {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	config, err := cfg.TLS.config(cfg.Accepting, host)
	if err != nil {
		conn.Close()
		return nil, err
	}
	l, err := establish(ctx, conn, terms{
		accepting: cfg.Accepting, identity: cfg.Identity, version: cfg.Version, tls: config, tlsMode: cfg.TLS.Mode,
		compression: cfg.Compression, timeout: cfg.Timeout,
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot begin a BBDO session with %s: %w", conn.RemoteAddr(), err)
	}
	c := &Client{link: l, out: NewWriter(l.top), id: cfg.Identity, conn: conn, done: make(chan struct{}), changed: make(chan struct{})}
	go c.receive()
	return c, nil
}

// Peer returns what the broker said about itself.
func (c *Client) Peer() Identity { return c.link.peer }

// Version returns the version of the session.
func (c *Client) Version() Version { return c.link.version }

// Extensions returns the extensions in use.
func (c *Client) Extensions() []string { return c.link.extensions }

func (c *Client) receive() {
	defer close(c.done)
	for {
		var e event.Event
		ok, err := c.link.reader.Next(&e)
		if err == nil && !ok {
			err = c.link.reader.Fill()
		}
		n, isAck := int64(0), false
		if ok {
			n, isAck = parseAck(e)
		}
		if err == nil && !isAck && e.Type != engineConfiguration {
			continue
		}
		c.mu.Lock()
		if c.err == nil {
			c.err = err
		}
		if isAck {
			c.acks++
			c.acknowledged += n
		} else if ok && err == nil {
			c.configuration++
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Send sends events and returns when they are written to the connection, which
// says nothing about their arrival: see Wait.
func (c *Client) Send(events ...event.Event) error {
	counted := int64(0)
	for _, e := range events {
		if e.Type.Category() != control {
			counted++
		}
	}
	c.mu.Lock()
	c.sent += counted
	c.mu.Unlock()
	for _, e := range events {
		if err := c.out.Write(e); err != nil {
			return fmt.Errorf("cannot send to %s: %w", c.conn.RemoteAddr(), err)
		}
	}
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("cannot send to %s: %w", c.conn.RemoteAddr(), err)
	}
	return nil
}

// Configuration asks, as an engine does before each instance event, whether its
// configuration is up to date, and waits for the answer.
func (c *Client) Configuration(ctx context.Context) error {
	c.mu.Lock()
	before := c.configuration
	c.mu.Unlock()
	if err := c.Send(engineConfigurationEvent(c.id)); err != nil {
		return err
	}
	return c.until(ctx, func() bool { return c.configuration > before })
}

// Acknowledged returns how many events were acknowledged, and in how many
// acknowledgements.
func (c *Client) Acknowledged() (events int64, acks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acknowledged, c.acks
}

// Unacknowledged returns how many of the last events that were sent have to be
// sent again on another connection.
func (c *Client) Unacknowledged() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent - c.acknowledged
}

// Wait waits until n events altogether are acknowledged. The error says that the
// connection ended before, or is that of ctx.
func (c *Client) Wait(ctx context.Context, n int64) error {
	return c.until(ctx, func() bool { return c.acknowledged >= n })
}

// until waits for a condition, which is asked with the lock held.
func (c *Client) until(ctx context.Context, condition func() bool) error {
	for {
		c.mu.Lock()
		met, err, changed := condition(), c.err, c.changed
		c.mu.Unlock()
		if met {
			return nil
		}
		if err != nil {
			return fmt.Errorf("connection to %s ended: %w", c.conn.RemoteAddr(), err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stop ends the session in an orderly way: it says stop, waits up to 5 s for the
// last acknowledgement, and closes the connection. An error means that events may
// be left unacknowledged.
func (c *Client) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	c.conn.SetWriteDeadline(deadline) // the broker may have stopped reading
	c.mu.Lock()
	before := c.acks
	c.mu.Unlock()
	err := c.Send(stopEvent(c.id.PollerID))
	if err == nil {
		err = c.until(ctx, func() bool { return c.acks > before && c.acknowledged >= c.sent })
	}
	return errors.Join(err, c.Close())
}

// Close closes the connection at once, as a crash would.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}
