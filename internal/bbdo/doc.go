// Package bbdo speaks the protocol of Centreon pollers, BBDO 2 and 3
// (specification of Centreon streams, section 4).
//
// A [Listener] accepts pollers and a [Dialer] connects to pollers that listen;
// both hand events to a [Sink] and acknowledge them only after the sink has
// returned, that is, when they are durable. A sink that fails stops the reading
// (the poller keeps its events) until it works again. A [Client] is the other
// side: it sends events and receives acknowledgements.
//
// The layers of a connection, from the socket up: TLS, compression, packets
// ([Reader], [Writer]), events. What a peer says about itself and which layers
// are used is agreed in the first two packets (negotiate.go).
//
// Events are neither decoded nor copied: an event's payload is a piece of the
// connection's read buffer, checked but otherwise as it came.
package bbdo
