// Package management is StatsD's management interface: a TCP console on which
// one looks at the daemon's state and deletes metrics (StatsD specification
// section 5).
package management

import (
	"log/slog"
	"sync"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
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
	*Port
	Health
	source   Source
	backends []backend.Backend
	settings func() []Setting
	now      func() time.Time
	dumping  sync.Mutex // dumps of many metrics are large: one at a time is made
}

// New returns a Console for address ("host:port"). settings is called for the
// command config, from any goroutine.
func New(address string, s *statsd.Server, backends []backend.Backend, settings func() []Setting, log *slog.Logger) *Console {
	return newConsole(address, server{s, s.Aggregator()}, backends, settings, log)
}

func newConsole(address string, source Source, backends []backend.Backend, settings func() []Setting, log *slog.Logger) *Console {
	c := &Console{source: source, backends: backends, settings: settings, now: time.Now}
	c.Port = NewPort(address, c.answer, log)
	return c
}
