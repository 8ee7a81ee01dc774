package udp

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Server is one address with a number of sockets: the kernel spreads the
// senders over them (SO_REUSEPORT), so that every reader has a socket of its own.
//
// Receive offload (UDP_GRO) is left off on purpose: with it Linux counts a
// dropped train of datagrams as one drop, and then what was sent is not what
// was processed plus what was counted.
type Server struct {
	handler Handler // set before serving
	serving atomic.Bool
	sockets []*socket
	buffer  int
}

// socket is one socket and its reader.
type socket struct {
	server *Server
	index  int
	conn   *net.UDPConn
	raw    syscall.RawConn
	done   chan struct{} // closed when the reader has ended; nil before Serve

	mu      sync.Mutex
	dropped uint32 // what the kernel said last; it counts modulo 2^32
	closed  bool
}

// Listen binds network ("udp", "udp4" or "udp6") and address with so many
// sockets, and asks the kernel for receive buffers of so many bytes each.
func Listen(network, address string, sockets, buffer int) (*Server, error) {
	s := &Server{}
	for i := range sockets {
		conn, err := bind(network, address, i > 0)
		if err != nil {
			s.Close(context.Background())
			return nil, err
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			conn.Close()
			s.Close(context.Background())
			return nil, err
		}
		s.sockets = append(s.sockets, &socket{server: s, index: i, conn: conn, raw: raw})
		if i == 0 {
			address = conn.LocalAddr().String() // the port, when none was asked for
			err = control(raw, func(fd int) error {
				if sockets == 1 {
					return nil
				}
				// Only now: binding the first socket without it fails when
				// another program has the address, instead of sharing with it.
				return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
			})
			if err != nil {
				s.Close(context.Background())
				return nil, err
			}
		}
		size := s.sockets[i].enlarge(buffer)
		if i == 0 {
			s.buffer = size
		}
	}
	return s, nil
}

// ReceiveBuffer is how many bytes a socket's receive buffer holds.
func (s *Server) ReceiveBuffer() int { return s.buffer }

// bind binds one socket. As in the reference daemon, an IPv6 socket also
// takes IPv4 senders, even when the address is of IPv6 only.
func bind(network, address string, share bool) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error {
			if share {
				if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
					return os.NewSyscallError("setsockopt", err)
				}
			}
			if network == "udp6" {
				return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0))
			}
			return nil
		})
	}}
	conn, err := config.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// control calls f with the socket's descriptor.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if failed := raw.Control(func(fd uintptr) { err = f(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// enlarge makes the receive buffer as large as allowed, up to bytes, and
// returns how large it is.
func (s *socket) enlarge(bytes int) (size int) {
	control(s.raw, func(fd int) error {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil { // needs CAP_NET_ADMIN
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes) // goes up to net.core.rmem_max
		}
		size, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		return nil
	})
	return size / 2 // the kernel doubles it for its own bookkeeping
}

// Address is what was bound.
func (s *Server) Address() net.Addr { return s.sockets[0].conn.LocalAddr() }

// Serve begins to receive.
func (s *Server) Serve(h Handler) {
	s.handler = h
	s.serving.Store(true)
	for _, s := range s.sockets {
		s.done = make(chan struct{})
		go s.receive()
	}
}

// CountDrops tells the handler what the kernel dropped since the last call. Any goroutine.
func (s *Server) CountDrops() {
	for _, s := range s.sockets {
		s.countDrops()
	}
}

// Close takes in what has arrived, as far as ctx lets it, tells the last drops and
// closes the sockets. It is called once, whether Serve was called or not.
func (s *Server) Close(ctx context.Context) {
	for _, s := range s.sockets {
		s.refuse()
	}
	for _, s := range s.sockets {
		if s.done != nil {
			s.conn.SetReadDeadline(time.Now()) // ends receive's waiting, and then it drains
			select {
			case <-s.done:
			case <-ctx.Done():
			}
		}
		s.countDrops()
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.conn.Close()
	}
}

// refuse has the kernel drop, and count, whatever arrives from now on.
func (s *socket) refuse() {
	dropAll := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
	control(s.raw, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &dropAll)
	})
}

// countDrops counts what the kernel dropped since the last call, as it knows
// it now: the count that comes with packets (SO_RXQ_OVFL) is of the past, and
// the last drops would never be told.
func (s *socket) countDrops() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.server.serving.Load() {
		return
	}
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	control(s.raw, func(fd int) error {
		_, _, number := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if number == 0 {
			if n := int(info[unix.SK_MEMINFO_DROPS] - s.dropped); n > 0 {
				s.server.handler.Dropped(n)
			}
			s.dropped = info[unix.SK_MEMINFO_DROPS]
		}
		return nil
	})
}

const (
	batchSize = 64    // datagrams per system call
	maxPacket = 65535 // the largest datagram there is: reads must not truncate
)

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
}

// batch is where one system call puts datagrams. It refers to itself by
// pointers the kernel reads, so it stays where it was made.
type batch struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6 // large enough for IPv4 too
	buffers  []byte
	packets  [batchSize][]byte
	from     [batchSize]netip.AddrPort
	named    bool // the senders are wanted
}

// stride keeps the beginnings of the buffers, which is all that most packets
// use, from falling into the same few sets of the processor's caches.
const stride = maxPacket + 1 + 1536

func newBatch(named bool) *batch {
	b := &batch{buffers: make([]byte, batchSize*stride), named: named}
	for i := range b.messages {
		b.vectors[i].Base = &b.buffers[i*stride]
		b.vectors[i].SetLen(maxPacket)
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
		if named {
			b.messages[i].header.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		}
	}
	return b
}

// read fills b with what the socket holds, without waiting, and returns how many datagrams came.
func (b *batch) read(fd uintptr) (int, syscall.Errno) {
	if b.named {
		for i := range b.messages {
			b.messages[i].header.Namelen = uint32(unsafe.Sizeof(b.names[i]))
		}
	}
	n, _, number := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.messages)), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if number != 0 {
		return 0, number
	}
	for i := range int(n) {
		b.packets[i] = b.buffers[i*stride:][:b.messages[i].length]
		if b.named {
			b.from[i] = addressOf(&b.names[i])
		}
	}
	return int(n), 0
}

// addressOf reads a sender's address.
func addressOf(name *unix.RawSockaddrInet6) netip.AddrPort {
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), bigEndian(v4.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), bigEndian(name.Port))
}

// bigEndian reads a port, which the kernel leaves in the order of the network.
func bigEndian(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// receive takes in what arrives until the read deadline passes, and then what
// is left in the socket.
func (s *socket) receive() {
	defer close(s.done)
	b := newBatch(s.server.handler.Senders)
	n, number := 0, syscall.Errno(0)
	wait := func(fd uintptr) bool {
		n, number = b.read(fd)
		return number != unix.EAGAIN
	}
	for s.raw.Read(wait) == nil {
		s.take(b, n, number)
	}
	for n, number = 1, 0; number == 0 && n > 0 || number == unix.EINTR; s.take(b, n, number) {
		n = 0
		s.raw.Control(func(fd uintptr) { n, number = b.read(fd) })
	}
}

func (s *socket) take(b *batch, n int, number syscall.Errno) {
	if n > 0 {
		s.server.handler.Receive(s.index, b.packets[:n], b.from[:n])
	}
	if number != 0 && number != unix.EINTR && number != unix.EAGAIN {
		s.server.handler.Failed(number)
		time.Sleep(10 * time.Millisecond) // such as no memory: trying again at once would not help
	}
}
