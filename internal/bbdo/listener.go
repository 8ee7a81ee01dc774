package bbdo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// maxConnections is how many peers a listener has at once.
const maxConnections = 1024

// Listener accepts pollers, as a central broker does.
type Listener struct {
	*receiver
	listener net.Listener
	cancel   context.CancelFunc
	slots    chan struct{} // one for each connection
}

// NewListener returns a Listener that hands events to sink. Nothing is opened
// before Start.
func NewListener(cfg Config, sink Sink, reg *telemetry.Registry, log *slog.Logger) *Listener {
	return &Listener{receiver: newReceiver(cfg, sink, reg, log), slots: make(chan struct{}, maxConnections)}
}

// Start reads certificates, binds the address and begins to accept. ctx is
// handed down to the sink; Stop ends it.
func (l *Listener) Start(ctx context.Context) (err error) {
	if l.tls, err = l.cfg.TLS.config(true, ""); err != nil {
		return fmt.Errorf("cannot start bbdo source %q: %w", l.cfg.Name, err)
	}
	config := net.ListenConfig{KeepAliveConfig: l.cfg.keepalive()}
	if l.listener, err = config.Listen(ctx, "tcp", l.cfg.Address); err != nil {
		return fmt.Errorf("cannot start bbdo source %q: %w", l.cfg.Name, err)
	}
	ctx, l.cancel = context.WithCancel(ctx)
	l.sessions.Add(1)
	go l.accept(ctx)
	return nil
}

func (c *Config) keepalive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: c.KeepaliveInterval, Interval: c.KeepaliveInterval, Count: c.KeepaliveCount}
}

// Addr returns the bound address, after Start.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

func (l *Listener) accept(ctx context.Context) {
	defer l.sessions.Done()
	for {
		conn, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as too many open files
			l.failures.Warn("cannot accept a connection", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case l.slots <- struct{}{}:
		default:
			l.failed.Add(1)
			l.failures.Warn("refused a connection: too many", "peer", conn.RemoteAddr().String(), "limit", maxConnections)
			conn.Close()
			continue
		}
		l.sessions.Go(func() {
			defer func() { <-l.slots }()
			l.serve(ctx, conn, true)
		})
	}
}

// Stop closes the listener, lets each session acknowledge what is durable, and
// closes the connections. It returns when all are closed or ctx is done. It may be
// called without a successful Start.
func (l *Listener) Stop(ctx context.Context) error {
	if l.cancel == nil {
		return nil
	}
	l.listener.Close()
	l.cancel()
	return l.wait(ctx)
}
