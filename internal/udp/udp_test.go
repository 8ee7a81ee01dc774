package udp

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestServe: what is sent before and after serving begins arrives once, with its sender, and what the
// kernel dropped is told.
func TestServe(t *testing.T) {
	s, err := Listen("udp4", "127.0.0.1:0", 2, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp4", s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	payload := []byte(strings.Repeat("x", 1400))
	const sent = 20000
	for range sent / 2 { // more than the buffer holds
		if _, err := conn.Write(payload); err != nil {
			t.Fatal(err)
		}
	}
	s.CountDrops() // before serving nobody could be told, so nothing is lost by asking
	var received, dropped, strange atomic.Int64
	s.Serve(Handler{
		Senders: true,
		Dropped: func(n int) { dropped.Add(int64(n)) },
		Failed:  func(err error) { t.Error(err) },
		Receive: func(_ int, datagrams [][]byte, from []netip.AddrPort) {
			for i, d := range datagrams {
				if len(d) != len(payload) || from[i].String() != conn.LocalAddr().String() {
					strange.Add(1)
				}
			}
			received.Add(int64(len(datagrams)))
		},
	})
	for range sent / 2 {
		if _, err := conn.Write(payload); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	s.Close(ctx)
	if received.Load()+dropped.Load() != sent || dropped.Load() == 0 || strange.Load() != 0 {
		t.Errorf("%d sent: %d received, %d dropped, %d strange", sent, received.Load(), dropped.Load(), strange.Load())
	}
}

// TestListenRefused: an address another program has is not shared with it.
func TestListenRefused(t *testing.T) {
	s, err := Listen("udp4", "127.0.0.1:0", 2, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	other, err := Listen("udp4", s.Address().String(), 1, 1<<16)
	if err == nil {
		other.Close(t.Context())
		t.Fatal("bound twice")
	}
	s.Serve(Handler{Receive: func(int, [][]byte, []netip.AddrPort) {}, Dropped: func(int) {}, Failed: func(err error) { t.Error(err) }})
	time.Sleep(time.Millisecond) // readers wait in the kernel when it is closed
}
