package statsd

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// Receiver is the sockets of a StatsD server for somebody else than its aggregation, such as a proxy.
type Receiver struct {
	in     *intake
	listen []Listen

	mu        sync.Mutex // of what Addresses reads while Stop runs
	listeners []listener
}

// NewReceiver returns a Receiver of what arrives at listen. Every UDP address has a socket for each of lanes, and
// stream connections are dealt to lanes in turn. Ledgers in reg: "<component>.packets" and "<component>.connections".
func NewReceiver(listen []Listen, lanes []Lane, component string, reg *telemetry.Registry, log *slog.Logger) *Receiver {
	return &Receiver{in: newIntake(lanes, component, reg, log), listen: listen}
}

// Start binds every address and begins to receive; a [*ListenError] says which one could not be bound.
func (r *Receiver) Start(ctx context.Context) error {
	var bound []listener
	for i, l := range r.listen {
		one, err := r.in.listen(l)
		if err != nil {
			for _, l := range bound {
				l.close(ctx)
			}
			return &ListenError{Index: i, Err: err}
		}
		bound = append(bound, one)
	}
	for _, l := range bound {
		l.serve()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = bound
	return nil
}

// Addresses is where it listens, in the order of the addresses it was given; none before Start and after Stop. Any goroutine.
func (r *Receiver) Addresses() []net.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	var addresses []net.Addr
	for _, l := range r.listeners {
		addresses = append(addresses, l.address())
	}
	return addresses
}

// Stop takes in what the sockets still hold, as far as ctx lets it, and closes them.
func (r *Receiver) Stop(ctx context.Context) {
	r.mu.Lock()
	bound := r.listeners
	r.listeners = nil
	r.mu.Unlock()
	for _, l := range bound {
		l.close(ctx)
	}
}

// LastPacket is when the last packet came, zero before the first. Any goroutine.
func (r *Receiver) LastPacket() time.Time {
	if last := r.in.last.Load(); last != 0 {
		return time.Unix(0, last)
	}
	return time.Time{}
}
