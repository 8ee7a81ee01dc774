package backend

import (
	"context"
	"log/slog"
	"net/netip"
)

// Backend receives flushes: the Go form of StatsD's backend interface
// (init and flush; specification section 3). What else a backend wants it says
// by implementing PacketHandler, StatusReporter or Stopper.
type Backend interface {
	// Name is how configuration, logs and the management command stats call it.
	Name() string

	// Init is called once, before the first flush, in the order of the
	// configuration. An error is a refusal: the server does not start.
	Init(ctx context.Context, env Environment) error

	// Flush handles one flush. It is called from one goroutine of this backend's
	// own, in the order of the flushes, with a deadline of one flush interval in
	// ctx; f is shared by all backends and must not be changed. An error is logged
	// and counted, and the next flush is delivered all the same. While Flush runs,
	// two flushes wait; when a third one comes the oldest of them is dropped and counted.
	Flush(ctx context.Context, f *Flush) error
}

// Environment is what a backend is told at Init.
type Environment struct {
	Startup  int64        // Unix seconds at which the server started
	Interval float64      // seconds between flushes
	Prefix   string       // of the internal metrics, "statsd" by default
	Debug    bool         // log more
	Log      *slog.Logger // carries the backend's name
}

// PacketHandler is implemented by backends that want every packet as it came,
// before parsing. It is called from the receiving goroutines, several at once;
// packet is only valid during the call, and a call that blocks stalls intake.
type PacketHandler interface {
	Packet(packet []byte, from Remote)
}

// Remote is where a packet came from.
type Remote struct {
	Network string         // "udp", "tcp" or "unix"
	Address netip.AddrPort // the zero value for unix sockets
}

// StatusReporter is implemented by backends that answer the management command
// stats. Status calls write once per figure; the value of a stat whose name
// begins with "last_" is a time in Unix seconds and is shown as seconds ago. It
// may be called at any time after Init.
type StatusReporter interface {
	Status(write func(stat string, value float64))
}

// TimestampTaker is implemented by backends that use Flush.Timed. Without one the server treats a value with a
// timestamp as if it came without.
type TimestampTaker interface{ TakesTimestamps() }

// Stopper is implemented by backends that hold something open. Stop is called
// once, after the last flush; ctx bounds it.
type Stopper interface {
	Stop(ctx context.Context) error
}
