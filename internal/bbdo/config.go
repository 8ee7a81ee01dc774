package bbdo

import (
	"context"
	"time"

	"github.com/weirhq/weir/internal/event"
)

// Config is the configuration of a [Listener] or a [Dialer]. Name and Address are
// needed; zero values of the others mean the defaults said there.
type Config struct {
	Name    string // of the source: in the ledger, logs and status
	Address string // host:port to listen on or to connect to

	// Identity is what we say about ourselves. With a PeerType of Broker, engines
	// ask whether their configuration is up to date, which is answered.
	Identity Identity
	// Version restricts a Listener to peers of one major version (any without it),
	// and is what a Dialer announces (3.0.1 without it).
	Version     Version
	TLS         TLS
	Compression bool // offer it; used when the peer offers it, too

	AckLimit           int           // events after which an acknowledgement is sent; 1000
	MaxEvent           int           // largest event in bytes; 64 MiB
	NegotiationTimeout time.Duration // 5 s
	RetryInterval      time.Duration // between attempts of a Dialer; 15 s
	KeepaliveInterval  time.Duration // of TCP: idle time, and time between probes; 30 s
	KeepaliveCount     int           // unanswered probes that end a connection; 2
}

// DefaultConfig returns a Config with the defaults, for those who show them.
func DefaultConfig() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	number := func(p *int, d int) {
		if *p <= 0 {
			*p = d
		}
	}
	duration := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	number(&c.AckLimit, 1000)
	number(&c.MaxEvent, event.MaxPayload)
	number(&c.KeepaliveCount, 2)
	duration(&c.NegotiationTimeout, NegotiationTimeout)
	duration(&c.RetryInterval, 15*time.Second)
	duration(&c.KeepaliveInterval, 30*time.Second)
	return c
}

// Info says where events come from.
type Info struct {
	Source   string // Config.Name
	Peer     string // address
	Identity        // of the peer
	Version  Version
}

// Sink takes the events of one connection: at most 512, in the order of the peer.
// It returns nil when they are durable, and only then they are acknowledged. After
// an error the same events are offered again, until it works or ctx is done;
// meanwhile nothing is read from the peer. The slice and the payloads are only
// valid during the call. Calls of one connection follow each other; those of
// different connections come from goroutines of their own.
type Sink func(ctx context.Context, conn Info, events []event.Event) error
