package bbdo

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

// receiver is what listeners and dialers have in common: sessions and their accounts.
type receiver struct {
	cfg  Config
	sink Sink
	tls  *tls.Config // nil when TLS is off

	ledger      *telemetry.Ledger // in events
	unknown     *telemetry.Discard
	undecodable *telemetry.Discard
	unstored    *telemetry.Discard
	inside      atomic.Int64 // offered to the sink
	skipped     atomic.Int64
	incomplete  atomic.Int64
	opened      atomic.Int64
	failed      atomic.Int64
	aborted     atomic.Int64

	log       *slog.Logger
	events    *telemetry.Limited // about events
	damage    *telemetry.Limited // about bytes
	failures  *telemetry.Limited // about connections
	twins     *telemetry.Limited // about connections of one poller
	alarms    *telemetry.Limited // about the sink
	sessions  sync.WaitGroup
	mu        sync.Mutex
	connected map[*session]bool
}

func newReceiver(cfg Config, sink Sink, reg *telemetry.Registry, log *slog.Logger) *receiver {
	log = log.With("source", cfg.Name)
	r := &receiver{
		cfg: cfg.withDefaults(), sink: sink, ledger: reg.Ledger(cfg.Name, "events"), log: log, connected: make(map[*session]bool),
		events:   telemetry.NewLimited(log, 10*time.Second, 5),
		damage:   telemetry.NewLimited(log, 10*time.Second, 10),
		failures: telemetry.NewLimited(log, 10*time.Second, 10),
		twins:    telemetry.NewLimited(log, 10*time.Second, 5),
		alarms:   telemetry.NewLimited(log, 10*time.Second, 1),
	}
	r.unknown, r.undecodable, r.unstored = r.ledger.Reason("unknown_type"), r.ledger.Reason("undecodable"), r.ledger.Reason("not_stored")
	r.ledger.Hold(r.inside.Load)
	return r
}

// terms are what we negotiate with. peer is an address.
func (r *receiver) terms(accepting bool, peer string) terms {
	return terms{
		accepting: accepting, identity: r.cfg.Identity, version: r.cfg.Version, tls: r.tls, tlsMode: r.cfg.TLS.Mode,
		compression: r.cfg.Compression, timeout: r.cfg.NegotiationTimeout, limit: r.cfg.MaxEvent,
		warn: func(message string, args ...any) { r.damage.Warn(message, append([]any{"peer", peer}, args...)...) },
	}
}

// serve runs a connection from its first byte to its close.
func (r *receiver) serve(ctx context.Context, conn net.Conn, accepting bool) error {
	defer conn.Close()
	peer := conn.RemoteAddr().String()
	l, err := establish(ctx, conn, r.terms(accepting, peer))
	if err != nil {
		if ctx.Err() == nil {
			r.failed.Add(1)
			r.failures.Warn("cannot begin a BBDO session", "peer", peer, "error", err)
		}
		return err
	}
	s := newSession(r, l)
	r.join(s)
	defer r.leave(s)
	about := []any{"peer", peer, "poller_id", l.peer.PollerID, "poller", l.peer.PollerName, "broker", l.peer.BrokerName, "version", l.version.String()}
	r.log.Info("poller connected", append(about, "type", l.peer.PeerType.String(), "extensions", strings.Join(l.extensions, " "))...)
	err = s.run(ctx)
	if !orderly(err) {
		r.aborted.Add(1)
	}
	r.log.Info("poller disconnected", append(about, "reason", reason(err), "events", s.events.Load(), "unacknowledged", s.unacknowledged.Load())...)
	return err
}

// join registers a session. One poller may have several: the older connection is
// often half-open, and does no harm.
func (r *receiver) join(s *session) {
	r.opened.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	for other := range r.connected {
		if id := s.info.PollerID; id == 0 || id != other.info.PollerID {
			continue
		}
		message := "a poller is connected twice"
		if s.info.PollerName != other.info.PollerName {
			message = "two pollers have the same number"
		}
		r.twins.Warn(message, "poller_id", s.info.PollerID, "peer", s.info.Peer, "poller", s.info.PollerName, "other_peer", other.info.Peer, "other_poller", other.info.PollerName)
		break
	}
	r.connected[s] = true
}

func (r *receiver) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.connected, s)
}

// decodable reports whether an event is worth handing on. Others are counted and
// logged: a sender that got an error would send them again forever.
func (r *receiver) decodable(s *session, e event.Event) bool {
	discard, err := r.undecodable, error(nil)
	if event.Lookup(e.Type) == nil {
		discard, err = r.unknown, errUnknown
	} else if err = event.Check(e); err == nil {
		return true
	}
	discard.Add(1)
	if missed, ok := r.events.Allow(); ok {
		r.log.Warn("skipped an event", "peer", s.info.Peer, "type", e.Type.String(), "poller_id", e.Source, "bytes", len(e.Payload), "error", err, "left_out", missed)
	}
	return false
}

var errUnknown = errors.New("unknown event type")

// wait waits for all sessions to end, at most until ctx is done.
func (r *receiver) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { r.sessions.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ConnectionStatus is one connection as the API shows it.
type ConnectionStatus struct {
	Source         string    `json:"source"`
	Peer           string    `json:"peer"`
	PollerID       uint64    `json:"poller_id"`
	PollerName     string    `json:"poller_name"`
	BrokerName     string    `json:"broker_name"`
	PeerType       string    `json:"peer_type"`
	Version        string    `json:"version"`
	Extensions     []string  `json:"extensions,omitempty"` // in use
	Since          time.Time `json:"since"`
	Events         int64     `json:"events"`
	LastEvent      time.Time `json:"last_event,omitzero"`
	Unacknowledged int64     `json:"unacknowledged"`
	SkippedBytes   int64     `json:"skipped_bytes"`     // that were no part of a packet
	Stalled        string    `json:"stalled,omitempty"` // why its events cannot be stored now
}

// Status returns the connections of now, the oldest first. Any goroutine may call it.
func (r *receiver) Status() []ConnectionStatus {
	r.mu.Lock()
	sessions := slices.Collect(maps.Keys(r.connected))
	r.mu.Unlock()
	slices.SortFunc(sessions, func(a, b *session) int { return a.since.Compare(b.since) })
	all := make([]ConnectionStatus, 0, len(sessions))
	for _, s := range sessions {
		c := ConnectionStatus{
			Source: s.info.Source, Peer: s.info.Peer, PollerID: s.info.PollerID, PollerName: s.info.PollerName, BrokerName: s.info.BrokerName,
			PeerType: s.info.PeerType.String(), Version: s.info.Version.String(), Extensions: s.link.extensions, Since: s.since,
			Events: s.events.Load(), Unacknowledged: s.unacknowledged.Load(), SkippedBytes: s.skipped.Load(),
		}
		if last := s.lastEvent.Load(); last != 0 {
			c.LastEvent = time.Unix(0, last)
		}
		if text := s.stalled.Load(); text != nil {
			c.Stalled = *text
		}
		all = append(all, c)
	}
	return all
}

// Stats are totals of a source since it was made.
type Stats struct {
	Source       string
	Connections  int64 // that negotiated
	Failed       int64 // connections that did not get through the negotiation
	Aborted      int64 // sessions that ended in an error: too much damage, an event that is too large, a broken connection
	SkippedBytes int64 // that were no part of a packet
	Incomplete   int64 // events whose last packet did not come
}

// Stats returns the totals. Any goroutine may call it.
func (r *receiver) Stats() Stats {
	return Stats{
		Source: r.cfg.Name, Connections: r.opened.Load(), Failed: r.failed.Load(), Aborted: r.aborted.Load(),
		SkippedBytes: r.skipped.Load(), Incomplete: r.incomplete.Load(),
	}
}
