package proxy

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

const (
	// datagram is how many bytes of lines go into one datagram: what an Ethernet frame holds over IPv6.
	datagram = 1432
	// longest is what any datagram holds. A longer line cannot be sent on.
	longest = 65507
)

// lane sends on what one reader receives.
type lane struct {
	proxy *Proxy

	mu     sync.Mutex
	routes []route // by node
	closed bool

	received, passed, homeless, oversized, failed int // lines, counted since the last report
}

// route is the way from a lane to a node.
type route struct {
	buffer []byte // lines with a newline between them
	lines  int
	conn   *net.UDPConn
	to     netip.AddrPort // of conn
}

// Take implements [statsd.Lane].
func (l *lane) Take(packets [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ring := l.proxy.ring.Load()
	for _, packet := range packets {
		for len(packet) > 0 {
			line := packet
			if end := bytes.IndexByte(packet, '\n'); end >= 0 {
				line, packet = packet[:end], packet[end+1:]
			} else {
				packet = nil
			}
			if len(line) > 0 {
				l.line(ring, line)
			}
		}
	}
	for i := range l.routes {
		if l.routes[i].lines > 0 {
			l.flush(i)
		}
	}
	l.report()
}

func (l *lane) line(ring *ring, line []byte) {
	l.received++
	if len(line) > longest {
		l.oversized++
		return
	}
	index, ok := ring.owner(keyOf(line))
	if !ok {
		l.homeless++
		return
	}
	r := &l.routes[index]
	if r.lines > 0 && len(r.buffer)+1+len(line) > datagram {
		l.flush(index)
	}
	if r.lines > 0 {
		r.buffer = append(r.buffer, '\n')
	}
	r.buffer = append(r.buffer, line...)
	r.lines++
}

// flush sends what waits for a node.
func (l *lane) flush(index int) {
	r := &l.routes[index]
	err := l.send(r, l.proxy.nodes[index])
	if err != nil {
		l.failed += r.lines
		if missed, ok := l.proxy.problems.Allow(); ok {
			l.proxy.log.Warn("lines not sent to the node", "node", l.proxy.nodes[index].id, "lines", r.lines, "error", err, "left_out", missed)
		}
	} else {
		l.passed += r.lines
	}
	r.buffer, r.lines = r.buffer[:0], 0
}

var errStopped = errors.New("the proxy has stopped")

func (l *lane) send(r *route, n *node) error {
	if l.closed {
		return errStopped
	}
	at := n.address.Load() // a node on the ring has one
	if r.conn == nil || r.to != *at {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(*at))
		if err != nil {
			return err
		}
		if r.conn != nil {
			r.conn.Close()
		}
		r.conn, r.to = conn, *at
	}
	_, err := r.conn.Write(r.buffer)
	if errors.Is(err, syscall.ECONNREFUSED) {
		// This is about an earlier datagram, which nobody took; this one was not sent yet.
		l.proxy.refused.Add(1)
		_, err = r.conn.Write(r.buffer)
	}
	return err
}

// report passes on what was counted. Callers hold mu.
func (l *lane) report() {
	p := l.proxy
	p.lines.Received(l.received)
	p.lines.Passed(l.passed)
	if l.homeless > 0 {
		p.noNode.Add(l.homeless)
		p.problems.Warn("Warning: No backend statsd nodes available!", "lines", l.homeless)
	}
	if l.oversized > 0 {
		p.tooLong.Add(l.oversized)
		p.problems.Warn("lines that do not fit in a datagram are dropped", "lines", l.oversized, "bytes_at_most", longest)
	}
	if l.failed > 0 {
		p.notSent.Add(l.failed)
	}
	l.received, l.passed, l.homeless, l.oversized, l.failed = 0, 0, 0, 0, 0
}

// Invalid implements [statsd.Lane].
func (l *lane) Invalid([]byte) {
	p := l.proxy
	p.lines.Received(1)
	p.tooLong.Add(1)
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for i := range l.routes {
		if conn := l.routes[i].conn; conn != nil {
			conn.Close()
		}
	}
}
