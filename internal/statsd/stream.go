package statsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirhq/weir/backend"
)

// Bounds of stream clients, over all listeners.
const (
	maxUnfinished  = 64 << 20 // all buffers together, beyond what connections begin with
	maxConnections = 4096
)

// deadlineListener is what TCP and unix listeners are.
type deadlineListener interface {
	net.Listener
	SetDeadline(time.Time) error
}

// stream listens on TCP or a unix socket.
type stream struct {
	in       *intake
	network  string
	lengths  bool // packets with their length before them instead of lines
	listener deadlineListener
	lanes    []Lane
	next     atomic.Int64 // which lane the next connection feeds

	accepting sync.WaitGroup
	receiving sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool
}

func (in *intake) listenStream(l Listen, lanes []Lane) (listener, error) {
	if l.Network == "unix" {
		if err := removeDeadSocket(l.Address); err != nil {
			return nil, err
		}
	}
	bound, err := net.Listen(l.Network, l.Address)
	if err != nil {
		return nil, err
	}
	if l.Network == "unix" && l.Mode != 0 {
		if err := os.Chmod(l.Address, l.Mode); err != nil {
			bound.Close()
			return nil, err
		}
	}
	return &stream{in: in, network: l.Network, lengths: l.Lengths, lanes: lanes, listener: bound.(deadlineListener), open: make(map[net.Conn]bool)}, nil
}

// removeDeadSocket removes a socket file nobody listens on any more.
func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return nil // nothing there, or something that binding will complain about
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return nil
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot replace the dead socket: %w", err)
	}
	return nil
}

func (s *stream) address() net.Addr { return s.listener.Addr() }

func (s *stream) drops() {} // streams push back instead

func (s *stream) serve() { s.accepting.Go(s.accept) }

func (s *stream) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			s.in.problems.Warn("cannot accept a StatsD connection", "error", err)
			time.Sleep(50 * time.Millisecond) // out of file descriptors, most likely: asking again at once would not help
			continue
		}
		s.in.connections.Received(1)
		if s.in.open.Add(1) > maxConnections {
			s.in.open.Add(-1)
			s.in.tooMany.Add(1)
			s.in.problems.Warn("StatsD connection refused: too many are open", "from", conn.RemoteAddr(), "limit", maxConnections)
			conn.Close()
			continue
		}
		s.mu.Lock()
		s.open[conn] = true
		s.mu.Unlock()
		s.receiving.Go(func() {
			s.receive(conn)
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
			conn.Close()
			s.in.open.Add(-1)
			s.in.connections.Passed(1)
		})
	}
}

func (s *stream) receive(conn net.Conn) {
	lane := s.lanes[int(s.next.Add(1))%len(s.lanes)]
	from := []backend.Remote{{Network: s.network}}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		from[0].Address = tcp.AddrPort()
	}
	packet := make([][]byte, 1)
	f := framer{spare: &s.in.spare, packet: func(lines []byte) {
		packet[0] = lines
		s.in.take(lane, packet, from)
	}}
	defer f.release()
	read := f.read
	if s.lengths {
		read = f.readLengths
	}
	err := read(conn)
	var long lineError
	if errors.As(err, &long) {
		s.in.packets.Received(1)
		s.in.tooLong.Add(1)
		lane.Invalid(f.tail())
		s.in.problems.Warn("StatsD connection closed: "+long.Error(), "from", conn.RemoteAddr())
		return
	}
	if len(f.tail()) > 0 {
		s.in.packets.Received(1)
		s.in.unfinished.Add(1)
		s.in.problems.Warn("StatsD line dropped: the connection ended before the line", "from", conn.RemoteAddr(), "line", shorten(f.tail()))
	}
}

// At the end, how long connections that wait are still accepted, and how long
// clients that go on sending are listened to.
const (
	acceptTime = 10 * time.Millisecond
	drainTime  = 200 * time.Millisecond
)

// close ends all connections, but first reads what clients have sent and the
// kernel has acknowledged: they cannot know that nobody would read it.
func (s *stream) close(ctx context.Context) {
	s.listener.SetDeadline(time.Now().Add(acceptTime))
	s.accepting.Wait()
	s.listener.Close()
	s.mu.Lock()
	for conn := range s.open {
		if half, ok := conn.(interface{ CloseRead() error }); ok {
			half.CloseRead() // reads bring what is there, and then the end
		}
	}
	s.mu.Unlock()
	drained, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if waited(drained, &s.receiving) {
		return
	}
	s.mu.Lock()
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	waited(ctx, &s.receiving) // not for ever: a backend may block in its Packet
}
