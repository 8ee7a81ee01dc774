package bbdo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// dialTimeout is how long an attempt to connect may take.
const dialTimeout = 10 * time.Second

// Dialer connects to a poller that listens ("one peer retention") and receives
// its events. It connects again whenever the connection has ended.
type Dialer struct {
	*receiver
	cancel  context.CancelFunc
	waiting atomic.Pointer[string] // why there is no connection; nil while there is one
}

// NewDialer returns a Dialer that hands events to sink. Nothing is opened before
// Start.
func NewDialer(cfg Config, sink Sink, reg *telemetry.Registry, log *slog.Logger) *Dialer {
	d := &Dialer{receiver: newReceiver(cfg, sink, reg, log)}
	why := "not connected yet"
	d.waiting.Store(&why)
	return d
}

// Start reads certificates and begins to connect. That the peer is not there is no
// error. ctx is handed down to the sink; Stop ends it.
func (d *Dialer) Start(ctx context.Context) error {
	host, _, err := net.SplitHostPort(d.cfg.Address)
	if err == nil {
		d.tls, err = d.cfg.TLS.config(false, host)
	}
	if err != nil {
		return fmt.Errorf("cannot start bbdo source %q: %w", d.cfg.Name, err)
	}
	ctx, d.cancel = context.WithCancel(ctx)
	d.sessions.Go(func() { d.connect(ctx) })
	return nil
}

func (d *Dialer) connect(ctx context.Context) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: d.cfg.keepalive()}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", d.cfg.Address)
		if err == nil {
			d.waiting.Store(nil)
			d.ended(d.serve(ctx, conn, false))
		} else if ctx.Err() == nil {
			d.ended(err)
			d.failed.Add(1)
			d.failures.Warn("cannot connect to the poller, trying again", "address", d.cfg.Address, "interval", d.cfg.RetryInterval, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.cfg.RetryInterval):
		}
	}
}

// Address returns what it connects to.
func (d *Dialer) Address() string { return d.cfg.Address }

func (d *Dialer) ended(err error) {
	why := reason(err)
	d.waiting.Store(&why)
}

// Waiting says why there is no connection at the moment, "" while there is one.
// Any goroutine may call it.
func (d *Dialer) Waiting() string {
	if why := d.waiting.Load(); why != nil {
		return *why
	}
	return ""
}

// Stop acknowledges what is durable and closes the connection. It returns when it
// is closed or ctx is done. It may be called without a successful Start.
func (d *Dialer) Stop(ctx context.Context) error {
	if d.cancel == nil {
		return nil
	}
	d.cancel()
	return d.wait(ctx)
}
