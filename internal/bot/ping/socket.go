package ping

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// network is a family of addresses: how its sockets are opened, and the kinds of its messages.
type network struct {
	raw, datagram  string // names of networks of package icmp
	any            string // the address of all interfaces
	request, reply byte
	filter         func(*icmp.PacketConn) error // lets only replies through, where the kernel can
	packets        func(*icmp.PacketConn) net.PacketConn
}

var ip4 = network{
	"ip4:icmp", "udp4", "0.0.0.0", request4, reply4,
	func(c *icmp.PacketConn) error {
		var f ipv4.ICMPFilter
		f.SetAll(true)
		f.Accept(ipv4.ICMPTypeEchoReply)
		return c.IPv4PacketConn().SetICMPFilter(&f)
	},
	func(c *icmp.PacketConn) net.PacketConn { return c.IPv4PacketConn().PacketConn },
}

var ip6 = network{
	"ip6:ipv6-icmp", "udp6", "::", request6, reply6,
	func(c *icmp.PacketConn) error {
		var f ipv6.ICMPFilter
		f.SetAll(true)
		f.Accept(ipv6.ICMPTypeEchoReply)
		return c.IPv6PacketConn().SetICMPFilter(&f)
	},
	func(c *icmp.PacketConn) net.PacketConn { return c.IPv6PacketConn().PacketConn },
}

// shared is the socket of a network, open while somebody uses it.
type shared struct {
	network network

	mu     sync.Mutex
	users  int
	socket *socket
}

// open returns the socket. The caller calls close when it is done with it.
func (s *shared) open() (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		opened, err := listen(s.network)
		if err != nil {
			return nil, err
		}
		s.socket = opened
	}
	s.users++
	return s.socket, nil
}

func (s *shared) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		s.socket.close()
		s.socket = nil
	}
}

// receiveBuffer is what is asked of the kernel, in bytes: room for the answers of thousands of devices.
const receiveBuffer = 4 << 20

// socket sends requests to all devices of a network and knows whose answers come back.
// Its methods may be called from any goroutine.
type socket struct {
	network    network
	conn       *icmp.PacketConn
	raw        bool
	identifier uint16
	pace       pace
	reading    sync.WaitGroup

	mu      sync.Mutex
	number  uint64 // of the last request
	waiting map[uint64]waiter
}

// waiter is who waits for a reply.
type waiter struct {
	cookie uint64
	to     netip.Addr
	sent   time.Time
	answer chan<- time.Duration // has room
}

// listen opens a raw socket, or a datagram one where that is not allowed.
func listen(n network) (*socket, error) {
	conn, first := icmp.ListenPacket(n.raw, n.any)
	if first == nil {
		// Without the filter the socket gets requests and errors too, which cost time and mean nothing here.
		_ = n.filter(conn)
		return newSocket(n, conn, true), nil
	}
	conn, err := icmp.ListenPacket(n.datagram, n.any)
	if err != nil {
		return nil, fmt.Errorf("cannot send ICMP: a raw socket: %w (CAP_NET_RAW is needed); a datagram socket: %w (net.ipv4.ping_group_range must have the group of this process)", first, err)
	}
	return newSocket(n, conn, false), nil
}

func newSocket(n network, conn *icmp.PacketConn, raw bool) *socket {
	if of, ok := n.packets(conn).(interface{ SetReadBuffer(int) error }); ok {
		_ = of.SetReadBuffer(receiveBuffer) // as much as the kernel gives
	}
	s := &socket{network: n, conn: conn, raw: raw, identifier: uint16(rand.Uint32()), waiting: make(map[uint64]waiter)}
	s.reading.Go(s.read)
	return s
}

func (s *socket) close() {
	s.conn.Close()
	s.reading.Wait()
}

// ask sends up to attempts requests to an address, at equal distances within timeout,
// and returns how long the first answer took. An answer to one request may come while the next
// one waits. An address that cannot be sent to does not answer. An error is that of ctx.
func (s *socket) ask(ctx context.Context, to netip.Addr, timeout time.Duration, attempts int) (took time.Duration, answered bool, err error) {
	answer := make(chan time.Duration, attempts)
	sent := make([]uint64, 0, attempts)
	defer func() { s.forget(sent) }()
	patience := time.NewTimer(0)
	defer patience.Stop()
	address := s.address(to)
	for range attempts {
		if err := s.pace.wait(ctx); err != nil {
			return 0, false, err
		}
		sent = append(sent, s.send(address, to, answer))
		patience.Reset(timeout / time.Duration(attempts))
		select {
		case took := <-answer:
			return took, true, nil
		case <-patience.C:
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
	}
	return 0, false, nil
}

// address is to as this kind of socket wants it.
func (s *socket) address(to netip.Addr) net.Addr {
	if s.raw {
		return &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}
	}
	return &net.UDPAddr{IP: to.AsSlice(), Zone: to.Zone()}
}

// send sends one request, whose number it returns.
func (s *socket) send(address net.Addr, to netip.Addr, answer chan<- time.Duration) uint64 {
	s.mu.Lock()
	s.number++
	e := echo{number: s.number, cookie: rand.Uint64()} // of the runtime's generator, which cannot be predicted
	message := e.message(s.network.request, s.identifier)
	s.waiting[e.number] = waiter{cookie: e.cookie, to: to, sent: time.Now(), answer: answer}
	s.mu.Unlock()
	// What cannot be sent, because there is no way, is not answered.
	_, _ = s.conn.WriteTo(message[:], address)
	return e.number
}

func (s *socket) forget(sent []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range sent {
		delete(s.waiting, number)
	}
}

// afterError is how long reading pauses when the kernel reports an error.
const afterError = 10 * time.Millisecond

// read hands replies to those who wait for them until the socket is closed.
func (s *socket) read() {
	packet := make([]byte, 2048) // more is not looked at
	for {
		n, from, err := s.conn.ReadFrom(packet)
		now := time.Now()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(afterError)
			continue
		}
		// A raw socket gets the replies for every program of the machine, and replies may
		// come late or twice: neither is worth a word.
		if e, err := parse(s.network.reply, packet[:n]); err == nil {
			s.deliver(e, addressOf(from), now)
		}
	}
}

// deliver takes a reply that came from an address.
func (s *socket) deliver(e echo, from netip.Addr, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.waiting[e.number]
	if !ok || w.cookie != e.cookie || w.to.WithZone("") != from {
		return
	}
	delete(s.waiting, e.number)
	w.answer <- now.Sub(w.sent)
}

// addressOf is the IP address of a.
func addressOf(a net.Addr) netip.Addr {
	var ip net.IP
	switch a := a.(type) {
	case *net.IPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	}
	address, _ := netip.AddrFromSlice(ip)
	return address.Unmap()
}

// pace spreads requests that would leave at once, so that neither the buffer for their answers nor a
// switch on their way overflows, which would look like devices that do not answer.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

const (
	paceGap   = 20 * time.Microsecond // 50 000 requests a second
	paceBurst = 64                    // requests that may leave without a gap
)

func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-paceBurst * paceGap); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(paceGap)
	pause := p.next.Sub(now)
	p.mu.Unlock()
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
