//go:build !linux

package udp

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Server is one socket read datagram by datagram: what every system offers. The
// kernel's drops are not known here.
type Server struct {
	conn *net.UDPConn
	done chan struct{}
}

// Listen binds network ("udp", "udp4" or "udp6") and address with one socket, and asks
// the kernel for a receive buffer of so many bytes.
func Listen(network, address string, _, buffer int) (*Server, error) {
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	s := &Server{conn: conn.(*net.UDPConn)}
	for size := buffer; size >= 64<<10 && s.conn.SetReadBuffer(size) != nil; size /= 2 {
	}
	return s, nil
}

// ReceiveBuffer is 0: how much the system granted is not known.
func (s *Server) ReceiveBuffer() int { return 0 }

// Address is what was bound.
func (s *Server) Address() net.Addr { return s.conn.LocalAddr() }

// CountDrops does nothing here.
func (s *Server) CountDrops() {}

// Serve begins to receive.
func (s *Server) Serve(h Handler) {
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		buffer := make([]byte, 65535)
		packets, from := make([][]byte, 1), make([]netip.AddrPort, 1)
		for {
			n, address, err := s.conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			packets[0], from[0] = buffer[:n], address
			h.Receive(0, packets, from)
		}
	}()
}

// Close stops receiving and closes the socket.
func (s *Server) Close(ctx context.Context) {
	if s.done != nil {
		s.conn.SetReadDeadline(time.Now())
		select {
		case <-s.done:
		case <-ctx.Done():
		}
	}
	s.conn.Close()
}
