package bbdo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// dialTimeout is how long an attempt to connect may take.
const dialTimeout = 10 * time.Second

// Dialer connects to a poller that listens ("one peer retention") and receives
// its events. It connects again whenever the connection has ended.
type Dialer struct {
	*receiver
	cancel context.CancelFunc
}

// NewDialer returns a Dialer that hands events to sink. Nothing is opened before
// Start.
func NewDialer(cfg Config, sink Sink, reg *telemetry.Registry, log *slog.Logger) *Dialer {
	return &Dialer{receiver: newReceiver(cfg, sink, reg, log)}
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
			d.serve(ctx, conn, false)
		} else if ctx.Err() == nil {
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

// Stop acknowledges what is durable and closes the connection. It returns when it
// is closed or ctx is done. It may be called without a successful Start.
func (d *Dialer) Stop(ctx context.Context) error {
	if d.cancel == nil {
		return nil
	}
	d.cancel()
	return d.wait(ctx)
}
