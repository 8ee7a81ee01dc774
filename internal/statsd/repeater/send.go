package repeater

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// datagrams sends t's packets, one datagram each, until the queue is closed.
func (b *Backend) datagrams(t *target) {
	var (
		packets  batch
		to       netip.AddrPort
		resolved time.Time
		failure  time.Time // of resolving; packets do not wait for a name
	)
	for t.take(&packets) {
		if now := time.Now(); now.Sub(resolved) > resolveAgain && now.Sub(failure) > retryAfter {
			address, err := b.lookUp(t.address)
			if err == nil {
				to, resolved = address, now
			} else {
				failure = now
				b.warn.Warn("cannot resolve the target of the repeater", "target", t.address, "error", err)
			}
		}
		if !to.IsValid() {
			b.drop(b.resolve, len(packets.ends))
			continue
		}
		for i := range packets.ends {
			if b.running.Err() != nil {
				b.drop(b.stopped, len(packets.ends)-i)
				return
			}
			if _, err := b.socket.WriteToUDPAddrPort(packets.packet(i), to); err != nil {
				b.drop(b.send, 1)
				if missed, ok := b.warn.Allow(); ok {
					b.log.Warn("packet not repeated", "target", t.address, "bytes", len(packets.packet(i)), "error", err, "left_out", missed)
				}
				continue
			}
			b.pass(1)
		}
	}
}

// lookUp returns an address of "host:port" of the family that is repeated over.
func (b *Backend) lookUp(target string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.DefaultResolver.LookupPort(b.running, b.network, port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ctx, cancel := context.WithTimeout(b.running, connectTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+b.network[len("udp"):], host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(addresses) == 0 {
		return netip.AddrPort{}, &net.AddrError{Err: "no address of " + b.network, Addr: host}
	}
	address := addresses[0]
	if b.network == "udp4" {
		address = address.Unmap()
	}
	return netip.AddrPortFrom(address, uint16(number)), nil
}

// stream sends t's packets over one connection of its own, which it opens, and
// opens again, when there is something to send. Packets a broken connection did
// not take wait for the next one; what it had taken may be lost with it.
func (b *Backend) stream(t *target) {
	var packets batch
	var conn *connection
	for t.take(&packets) {
		for len(packets.ends) > 0 {
			if conn == nil {
				if conn = b.connect(t); conn == nil {
					b.drop(b.stopped, len(packets.ends))
					return
				}
			}
			n, err := conn.Write(packets.data)
			if err == nil {
				b.pass(len(packets.ends))
				break
			}
			conn.release()
			conn = nil
			sent, _ := slices.BinarySearch(packets.ends, n+1) // packets that end at or before n
			b.pass(sent)
			packets.cut(sent)
			b.warn.Warn("connection to the target of the repeater broke", "target", t.address, "error", err)
			if n == 0 && !b.pause() {
				b.drop(b.stopped, len(packets.ends))
				return
			}
		}
	}
	if conn != nil {
		conn.release()
	}
}

// cut removes the first n packets.
func (b *batch) cut(n int) {
	if n == 0 {
		return
	}
	start := b.ends[n-1]
	b.data = append(b.data[:0], b.data[start:]...)
	b.ends = append(b.ends[:0], b.ends[n:]...)
	for i := range b.ends {
		b.ends[i] -= start
	}
}

// connection is a connection that closes when Stop gives up.
type connection struct {
	net.Conn
	forget func() bool
}

func (c *connection) release() {
	c.forget()
	c.Close()
}

// connect connects to t, again and again; nil means that Stop gave up.
func (b *Backend) connect(t *target) *connection {
	dialer := net.Dialer{Timeout: connectTimeout}
	for {
		conn, err := dialer.DialContext(b.running, "tcp", t.address)
		if err == nil {
			// Nothing is expected back. Reading shows that the target has closed,
			// before a write disappears into the connection.
			b.tasks.Go(func() {
				io.Copy(io.Discard, conn)
				conn.Close()
			})
			return &connection{conn, context.AfterFunc(b.running, func() { conn.Close() })}
		}
		if b.running.Err() == nil {
			b.warn.Warn("cannot connect to the target of the repeater", "target", t.address, "error", err)
		}
		if !b.pause() {
			return nil
		}
	}
}

// pause waits before the next attempt; false means that Stop gave up.
func (b *Backend) pause() bool {
	select {
	case <-time.After(retryAfter):
		return true
	case <-b.running.Done():
		return false
	}
}
