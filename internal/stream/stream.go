// Package stream keeps events durable between those who bring them (pollers)
// and those who take them (connectors). It is a NATS JetStream stream: of an
// embedded server without a port, or of a cluster.
//
// A message of the stream is a batch of events in the layout of
// [event.AppendBatch]; its header says the number of the first event and how
// many there are, so every event has an exact sequence number, counted from 1.
// A consumer is a durable position in that sequence, kept per event as a message
// of a second stream. Nothing else is kept per consumer, so one that stands
// still holds back nobody, and its events stay until it has acknowledged them or
// a limit is reached. (Consumers of JetStream itself acknowledge whole messages
// and write their state some time later: after kill -9 acknowledged events would
// come again.)
//
// What is guaranteed: an event whose Append returned nil, and a position whose
// Ack returned nil, survive the death of the process at any moment, since both
// were written to the operating system before. A power failure loses at most
// the last Config.Sync; with Config.Sync below 0 every write is synchronous and
// nothing is lost.
package stream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirhq/weir/internal/telemetry"
)

// Config is what can be chosen about a stream. The zero value of a field means its default.
type Config struct {
	Path string // directory of the embedded server; made when it is missing

	URL                   string // of a cluster, such as nats://a:4222,nats://b:4222; then there is no embedded server
	User, Password, Token string
	TLS                   *tls.Config
	Replicas              int    // of a cluster's stream; 0: 1
	Name                  string // of the stream; one daemon per name. "": weir

	MaxBytes   int64         // of stored events; 0: 8 GiB
	MaxAge     time.Duration // of stored events; 0: 7 days; negative: no limit
	DiscardOld bool          // at MaxBytes the oldest events are dropped; otherwise new ones are refused, and pollers not acknowledged

	// MaxUnacknowledged is how many events a consumer may have taken and not
	// acknowledged; 0: 10000. Consumer.Limit changes it for one.
	MaxUnacknowledged int

	// Sync is how often the embedded server makes files survive a power failure;
	// 0: every second; negative: at every write.
	Sync time.Duration
}

// Limits that are not worth a choice.
const (
	batchEvents    = 512       // of a message
	batchBytes     = 256 << 10 // of a message, unless a single event is larger
	defaultBytes   = 8 << 30
	defaultAge     = 7 * 24 * time.Hour
	defaultPending = 10000
	requestTimeout = 10 * time.Second
	keepInterval   = time.Second
)

// Errors of Append and Next that callers may want to know.
var (
	ErrFull       = errors.New("the stream has reached its size limit")
	ErrDiskFull   = errors.New("the disk of the stream is full")
	ErrNotStarted = errors.New("the stream is not started")
)

// Stream is the durable stream. Its methods may be called from any goroutine.
type Stream struct {
	cfg    Config
	reg    *telemetry.Registry
	log    *slog.Logger
	now    func() time.Time
	room   func(path string, want int64) error // is nil where so many bytes are free
	failed *telemetry.Limited                  // warnings of what keeps failing

	ledger            *telemetry.Ledger // of what Append was given
	refused, tooLarge *telemetry.Discard
	ctx               context.Context
	cancel            context.CancelFunc
	running           sync.WaitGroup
	requests          chan *request
	acked             chan struct{} // something may be purged
	starting          sync.Mutex

	lostPositions bool // a file of positions was damaged when the server was opened
	first         tail // of what was stored then: before its first event, and its first message

	mu        sync.Mutex
	link      *link // nil while not started
	last      tail
	recent    recent
	stale     bool          // last must be read again before the next message
	grown     chan struct{} // closed and replaced when last grows or something else changes
	consumers map[string]*Consumer
	claimed   map[string]bool // see Claim; nil before it: all of them
}

// tail is the end of the stream.
type tail struct {
	event   uint64 // number of the last event
	message uint64 // sequence of the last message
}

// New returns a stream that opens in Start.
func New(cfg Config, reg *telemetry.Registry, log *slog.Logger) *Stream {
	cfg.Name = cmp.Or(cfg.Name, "weir")
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, defaultBytes)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, defaultAge)
	cfg.MaxUnacknowledged = cmp.Or(cfg.MaxUnacknowledged, defaultPending)
	cfg.Sync = cmp.Or(cfg.Sync, time.Second)
	cfg.Replicas = cmp.Or(cfg.Replicas, 1)
	s := &Stream{
		cfg: cfg, reg: reg, log: log, now: time.Now, room: diskRoom,
		failed:    telemetry.NewLimited(log, time.Minute, 5),
		ledger:    reg.Ledger("stream", "events"),
		acked:     make(chan struct{}, 1),
		grown:     make(chan struct{}),
		consumers: make(map[string]*Consumer),
	}
	s.refused, s.tooLarge = s.ledger.Reason("refused"), s.ledger.Reason("too_large")
	return s
}

// Start opens the stream and the positions of its consumers. ctx bounds the opening.
func (s *Stream) Start(ctx context.Context) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.current() != nil {
		return errors.New("cannot start the stream: it is running")
	}
	l, err := s.open(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.requests = make(chan *request, 1024)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.Unlock()
	if err := s.use(ctx, l); err != nil {
		l.close()
		return err
	}
	s.running.Go(s.appendAll)
	s.running.Go(s.keep)
	return nil
}

// use makes l the link of the stream and reads where it and its consumers stand.
func (s *Stream) use(ctx context.Context, l *link) error {
	end, err := l.tail(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the end of the stream: %w", err)
	}
	positions, err := l.positions(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the positions of the consumers: %w", err)
	}
	first := end
	stored, _, err := l.read(ctx, 1, 1, 0)
	if err != nil {
		return fmt.Errorf("cannot read the beginning of the stream: %w", err)
	}
	if len(stored) > 0 {
		first = tail{stored[0].first - 1, stored[0].sequence}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range positions {
		end.event = max(end.event, p.Event)
	}
	end.event = max(end.event, s.last.event)
	s.link, s.last, s.first, s.stale = l, end, first, false
	s.recent.clear() // what another server stores may be other messages
	for _, p := range positions {
		p.Message = min(p.Message, end.message+1) // more is known when the last messages were lost
		if s.consumers[p.Name] == nil {
			s.consumers[p.Name] = s.newConsumer(p)
		}
	}
	for _, c := range s.consumers {
		c.mu.Lock()
		c.next = min(c.next, end.message+1)
		c.mu.Unlock()
	}
	s.wake()
	return nil
}

// Stop ends the goroutines, fails what waits, and closes the server.
func (s *Stream) Stop(ctx context.Context) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	l := s.current()
	if l == nil {
		return nil
	}
	s.cancel()
	s.running.Wait() // what they do ends with the context of the stream
	s.mu.Lock()
	s.link = nil
	s.wake()
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { l.close(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot close the stream in time: %w", ctx.Err())
	}
}

// kept returns messages from a sequence on that are in memory.
func (s *Stream) kept(sequence uint64) []message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recent.from(sequence)) // the other is used again
}

func (s *Stream) current() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// wake lets those who wait look again. The lock must be held.
func (s *Stream) wake() {
	close(s.grown)
	s.grown = make(chan struct{})
}

// Stats are figures about the stream.
type Stats struct {
	Events   uint64    `json:"events"`   // number of the last event
	Messages uint64    `json:"messages"` // stored
	Bytes    uint64    `json:"bytes"`    // stored
	MaxBytes int64     `json:"max_bytes"`
	Oldest   time.Time `json:"oldest"` // of what is stored
}

// Stats asks the server.
func (s *Stream) Stats(ctx context.Context) (Stats, error) {
	l := s.current()
	if l == nil {
		return Stats{}, ErrNotStarted
	}
	state, err := l.state(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("cannot read the state of the stream: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Events: s.last.event, Messages: state.Msgs, Bytes: state.Bytes, MaxBytes: s.cfg.MaxBytes, Oldest: state.FirstTime}, nil
}

// full reports whether err says that the stream is at MaxBytes. JetStream has no code of its own for it.
func full(err error) bool {
	var refusal *jetstream.APIError
	return errors.As(err, &refusal) && refusal.Description == "maximum bytes exceeded"
}
