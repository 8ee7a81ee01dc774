// Package udp takes in datagrams as fast as the kernel gives them: batched reads,
// several sockets on one port, large receive buffers, and the kernel's own count of what it
// dropped, so that what was sent is what was received plus what is known to be dropped.
package udp

import "net/netip"

// Handler is what a server gives what arrives to. Its functions are called from the
// reader of a socket; Dropped also from whoever calls CountDrops. What they are given
// is valid only until they return.
type Handler struct {
	// Receive takes the datagrams that came to one socket, counted from 0. The readers of
	// different sockets call it at the same time. from is filled when Senders is set.
	Receive func(socket int, datagrams [][]byte, from []netip.AddrPort)
	Senders bool                // the senders' addresses are wanted
	Dropped func(datagrams int) // how many the kernel dropped because the receive buffer was full
	Failed  func(err error)     // a read failed; it is tried again
}
