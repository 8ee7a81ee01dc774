package plaintext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/udp"
	"github.com/weirhq/weir/internal/writes"
	"github.com/weirhq/weir/timeseries"
)

// Bounds of what comes in.
const (
	maxConnections = 1024     // over all addresses
	connectionRead = 64 << 10 // bytes that are read at a time
	receiveBuffer  = 4 << 20  // bytes to ask the kernel for, per UDP address
	maxQuoted      = 200      // bytes of a bad line in the log
)

// Listen is one address: the network is "tcp", "udp", "udp4" or "udp6".
type Listen struct{ Network, Address string }

// ListenError says which address could not be bound.
type ListenError struct {
	Index int // of the address, as New was given them
	Err   error
}

func (e *ListenError) Error() string { return e.Err.Error() }
func (e *ListenError) Unwrap() error { return e.Err }

// Listener takes in lines on TCP and UDP addresses. What arrives over TCP while nothing
// can be stored waits, and its sender with it; datagrams are dropped then. Its ledgers are
// "writes.graphite" of points, where a line that is bad is one, "writes.graphite.connections" and
// "writes.graphite.datagrams".
type Listener struct {
	addresses  []Listen
	schema     *timeseries.Schema
	intake     *writes.Intake
	dictionary *writes.Dictionary[series]
	log        *slog.Logger
	last       atomic.Int64 // when something came, in Unix nanoseconds

	badLine, nan, unfinished *telemetry.Discard
	connections, datagrams   *telemetry.Ledger
	tooMany, kernelDrop      *telemetry.Discard
	open                     atomic.Int64

	running   context.Context // ends when points that wait are given up
	abandon   context.CancelFunc
	bound     []net.Addr
	listeners []*net.TCPListener
	servers   []*udp.Server
	accepting sync.WaitGroup
	receiving sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// New returns a Listener that writes to driver. A declared schema "graphite:metric"
// takes the place of the built-in one: so its step can be chosen.
func New(addresses []Listen, driver timeseries.Driver, known writes.Known, reg *telemetry.Registry, log *slog.Logger) *Listener {
	l := &Listener{
		addresses: addresses, schema: &schema, intake: writes.NewIntake("graphite", driver, reg, log), dictionary: writes.NewDictionary[series](), log: log,
		connections: reg.Ledger("writes.graphite.connections", "connections"), datagrams: reg.Ledger("writes.graphite.datagrams", "datagrams"), conns: make(map[net.Conn]bool),
	}
	if declared := known(schema.Name); declared != nil {
		l.schema = declared
	}
	l.badLine, l.nan, l.unfinished = l.intake.Reason("bad_line"), l.intake.Reason("nan"), l.intake.Reason("unfinished_line")
	l.tooMany, l.kernelDrop = l.connections.Reason("too_many"), l.datagrams.Reason("kernel_drop")
	l.connections.Hold(l.open.Load)
	// Whoever reads the ledger gets the kernel's count as of now.
	l.datagrams.Hold(func() int64 {
		for _, s := range l.servers {
			s.CountDrops()
		}
		return 0
	})
	l.running, l.abandon = context.WithCancel(context.Background())
	return l
}

// Start binds the addresses and begins to take in lines. An error is a *ListenError, and nothing is bound then.
func (l *Listener) Start(ctx context.Context) error {
	for i, at := range l.addresses {
		if err := l.listen(at); err != nil {
			for _, bound := range l.listeners {
				bound.Close()
			}
			for _, bound := range l.servers {
				bound.Close(ctx)
			}
			return &ListenError{i, err}
		}
	}
	for _, bound := range l.listeners {
		l.accepting.Go(func() { l.accept(bound) })
	}
	for _, bound := range l.servers {
		s := &session{listener: l}
		bound.Serve(udp.Handler{Receive: func(_ int, datagrams [][]byte, _ []netip.AddrPort) { l.receive(s, datagrams) }, Dropped: l.dropped, Failed: func(err error) {
			l.intake.Warn("cannot receive datagrams", "error", err)
		}})
	}
	return nil
}

func (l *Listener) listen(at Listen) error {
	if at.Network == "tcp" {
		bound, err := net.Listen("tcp", at.Address)
		if err != nil {
			return err
		}
		l.listeners, l.bound = append(l.listeners, bound.(*net.TCPListener)), append(l.bound, bound.Addr())
		return nil
	}
	bound, err := udp.Listen(at.Network, at.Address, 1, receiveBuffer)
	if err != nil {
		return err
	}
	l.servers, l.bound = append(l.servers, bound), append(l.bound, bound.Address())
	return nil
}

// Addresses is where it listens, in the order of New; valid after Start.
func (l *Listener) Addresses() []net.Addr { return l.bound }

// LastInput is when something arrived last; zero for never.
func (l *Listener) LastInput() time.Time {
	if last := l.last.Load(); last != 0 {
		return time.Unix(0, last)
	}
	return time.Time{}
}

// drop counts a line as dropped and logs it.
func (l *Listener) drop(reason *telemetry.Discard, text []byte, err error) {
	l.intake.Discard(reason, 1)
	l.intake.Warn("a line was dropped", "line", string(text[:min(len(text), maxQuoted)]), "error", err)
}

// receive takes in datagrams.
func (l *Listener) receive(s *session, datagrams [][]byte) {
	now := time.Now()
	l.last.Store(now.UnixNano())
	l.datagrams.Received(len(datagrams))
	for _, data := range datagrams {
		s.lines(data, true, now.Unix())
		if s.batch.Full() {
			_, _ = l.intake.Append(l.running, &s.batch) // counted and logged; nobody waits for an answer
		}
	}
	_, _ = l.intake.Append(l.running, &s.batch)
	l.datagrams.Passed(len(datagrams))
}

// dropped counts datagrams that the kernel dropped.
func (l *Listener) dropped(n int) {
	if n == 0 {
		return
	}
	l.datagrams.Received(n)
	l.kernelDrop.Add(n)
	l.intake.Warn("the kernel dropped datagrams because the receive buffer was full; raise net.core.rmem_max or send over TCP", "datagrams", n)
}

func (l *Listener) accept(bound *net.TCPListener) {
	for {
		conn, err := bound.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			l.intake.Warn("cannot accept a connection", "error", err)
			time.Sleep(50 * time.Millisecond) // out of file descriptors, most likely: asking again at once would not help
			continue
		}
		l.connections.Received(1)
		if l.open.Add(1) > maxConnections {
			l.open.Add(-1)
			l.tooMany.Add(1)
			l.intake.Warn("a connection was refused: too many are open", "from", conn.RemoteAddr(), "limit", maxConnections)
			conn.Close()
			continue
		}
		l.mu.Lock()
		l.conns[conn] = true
		l.mu.Unlock()
		l.receiving.Go(func() {
			l.read(conn)
			l.mu.Lock()
			delete(l.conns, conn)
			l.mu.Unlock()
			conn.Close()
			l.open.Add(-1)
			l.connections.Passed(1)
		})
	}
}

// read takes in the lines of a connection, up to its end or an error.
func (l *Listener) read(conn io.Reader) {
	s := &session{listener: l}
	buffer := make([]byte, connectionRead)
	held := 0         // bytes of a line whose end was not there yet
	skipping := false // up to the end of a line that is too long
	for {
		n, err := conn.Read(buffer[held:])
		now := time.Now()
		data := buffer[:held+n]
		used := 0
		if skipping {
			end := bytes.IndexByte(data, '\n')
			if skipping, used = end < 0, end+1; skipping {
				used = len(data)
			}
		}
		used += s.lines(data[used:], false, now.Unix())
		if len(data)-used > maxLine {
			l.drop(l.badLine, data[used:], errTooLong)
			skipping, used = true, len(data)
		}
		held = copy(buffer, data[used:])
		if n > 0 {
			l.last.Store(now.UnixNano())
			l.intake.Insist(l.running, &s.batch)
		}
		if err != nil {
			break
		}
	}
	if held > 0 {
		// Half a number is another number.
		l.drop(l.unfinished, buffer[:held], errors.New("the connection ended before the line did"))
	}
}

// At the end, how long connections that wait are still accepted, and how long what clients have sent is taken in.
const (
	acceptTime = 10 * time.Millisecond
	drainTime  = 300 * time.Millisecond
)

// Stop closes the addresses, takes in what has arrived, and stores it, as far as ctx lets it.
func (l *Listener) Stop(ctx context.Context) error {
	defer l.abandon()
	for _, bound := range l.listeners {
		_ = bound.SetDeadline(time.Now().Add(acceptTime))
	}
	l.accepting.Wait()
	for _, bound := range l.listeners {
		bound.Close()
	}
	l.mu.Lock()
	for conn := range l.conns {
		if half, ok := conn.(*net.TCPConn); ok {
			half.CloseRead() // reads bring what is there, and then the end
		}
	}
	l.mu.Unlock()
	for _, bound := range l.servers {
		bound.Close(ctx)
	}
	done := make(chan struct{})
	go func() {
		l.receiving.Wait()
		close(done)
	}()
	drained, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	select {
	case <-done:
		return nil
	case <-drained.Done():
	}
	l.mu.Lock()
	for conn := range l.conns {
		conn.Close()
	}
	l.mu.Unlock()
	l.abandon()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("connections are still being read: %w", ctx.Err())
	}
}
