package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// node is a Node and how it is.
type node struct {
	Node
	id       string
	address  atomic.Pointer[netip.AddrPort] // where its last good check found it, nil before the first
	failures int                            // checks in a row that failed; guarded by Proxy.mu
	active   bool                           // on the ring; guarded by Proxy.mu
}

// maxAnswer is how many bytes of an answer are looked at.
const maxAnswer = 4096

// check asks the node whether it is to be used, and notes where it is.
func (n *node) check(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.admin())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "health\r\n"); err != nil {
		return err
	}
	answer := make([]byte, 0, maxAnswer)
	for !bytes.Contains(answer, []byte("up")) {
		count, err := conn.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+count]
		if bytes.Contains(answer, []byte("up")) {
			break
		}
		if bytes.IndexByte(answer, '\n') >= 0 || len(answer) == cap(answer) {
			return fmt.Errorf("the answer to health is %q: a node that is to be used says \"health: up\"", answer[:min(len(answer), 100)])
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no answer to health within %v", patience)
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the connection ended before an answer to health")
		}
		if err != nil {
			return err
		}
	}
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ip, _ := netip.AddrFromSlice(remote.IP)
		at := netip.AddrPortFrom(ip.Unmap().WithZone(remote.Zone), uint16(n.Port))
		if old := n.address.Load(); old == nil || *old != at {
			n.address.Store(&at)
		}
	}
	return nil
}
