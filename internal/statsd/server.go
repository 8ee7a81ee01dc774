package statsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"github.com/weirhq/weir/backend"
)

// Server receives StatsD lines over UDP and hands a flush to its backends at
// every interval.
type Server struct {
	address    string
	interval   time.Duration
	aggregator *Aggregator
	backends   []backend.Backend
	log        *slog.Logger

	conn  net.PacketConn
	stop  chan struct{}
	tasks sync.WaitGroup
}

// NewServer returns a Server that listens on address ("host:port") once started.
func NewServer(address string, interval time.Duration, aggregator *Aggregator, backends []backend.Backend, log *slog.Logger) *Server {
	return &Server{address: address, interval: interval, aggregator: aggregator, backends: backends, log: log, stop: make(chan struct{})}
}

// Start binds the socket and begins to receive and to flush.
func (s *Server) Start() error {
	conn, err := net.ListenPacket("udp", s.address)
	if err != nil {
		return fmt.Errorf("cannot listen for StatsD on %q: %w", s.address, err)
	}
	s.conn = conn
	s.tasks.Go(s.receive)
	s.tasks.Go(s.flushLoop)
	return nil
}

// Address is where the server listens; it is valid after Start.
func (s *Server) Address() net.Addr { return s.conn.LocalAddr() }

// Stop ends receiving, sends a last flush, bounded by ctx, and returns.
func (s *Server) Stop(ctx context.Context) {
	close(s.stop)
	s.conn.Close()
	s.tasks.Wait()
	s.flush(ctx)
}

func (s *Server) receive() {
	buffer := make([]byte, 65535) // the largest datagram there is: reads must not truncate
	for {
		n, _, err := s.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("cannot read from the StatsD socket", "error", err)
			continue
		}
		s.aggregator.Packet(buffer[:n])
	}
}

// flushLoop flushes at whole intervals after the start, so that lateness does
// not add up (specification section 2.1).
func (s *Server) flushLoop() {
	start := jsRound(float64(time.Now().UnixMilli())/1000) * 1000
	interval := float64(s.interval.Milliseconds())
	for {
		now := float64(time.Now().UnixMilli())
		n := jsRound((now-start)/interval) + 1
		delay := time.Duration(math.Max(start+n*interval-now, 0)) * time.Millisecond
		select {
		case <-s.stop:
			return
		case <-time.After(delay):
			s.flush(context.Background())
		}
	}
}

func (s *Server) flush(ctx context.Context) {
	f := s.aggregator.Flush(int64(jsRound(float64(time.Now().UnixMilli()) / 1000)))
	for _, b := range s.backends {
		if err := b.Flush(ctx, f); err != nil {
			s.log.Error("a backend failed", "backend", fmt.Sprintf("%T", b), "error", err)
		}
	}
}
