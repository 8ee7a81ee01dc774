package graphite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// Config is what can be chosen. The zero value, with DefaultNamespace, is what
// StatsD does without options: everything is computed and nothing is sent.
type Config struct {
	Host      string // of the Graphite server; "" computes and discards
	Port      int    // 0 means 2003, and 2004 for pickle
	Protocol  string // "text" or "pickle"; "" means text
	Namespace Namespace

	// SanitizeNames is set when the server keeps keys as they came
	// (keyNameSanitize false): the part of a name before its tags is sanitised here.
	SanitizeNames bool

	// Retry keeps flushes that could not be delivered and sends them, oldest
	// first, before the next one. The zero value keeps none, as StatsD does.
	Retry Retry

	// Ledger accounts for the flushes; nil keeps an account nobody sees.
	Ledger *telemetry.Ledger
}

// Retry bounds what is kept for later; the bound that is reached first counts,
// and the oldest flush goes.
type Retry struct {
	Flushes int // at most so many; 0 keeps none
	Bytes   int // at most so many bytes; 0 means no such bound
}

const (
	connectTimeout = 5 * time.Second
	flushTimeout   = 10 * time.Second // of a Flush whose context has no deadline
	// closeTimeout is how long a server that was told the end may take to close.
	// Most close at once; the wait is what shows that a server died with our
	// bytes unread.
	closeTimeout = time.Second
	// keptBuffer is the largest buffer that is kept for the next flush.
	keptBuffer = 64 << 20
)

// Backend sends every flush over a TCP connection of its own and closes it after
// the last byte: readers take the end of the stream for the end of the flush.
type Backend struct {
	config  Config
	address string
	dialer  net.Dialer
	env     backend.Environment
	warn    *telemetry.Limited

	mu      sync.Mutex // Stop may come while an abandoned Flush still runs
	message message

	pending      [][]byte // messages without their ends, oldest first
	pendingBytes int
	held         atomic.Int64 // len(pending), for the ledger

	ledger  *telemetry.Ledger
	connect *telemetry.Discard // nobody listened, or the host has no address
	write   *telemetry.Discard // the connection broke
	timeout *telemetry.Discard // the deadline of the flush, or the end of the daemon, came first
	full    *telemetry.Discard // Retry's bounds
	stopped *telemetry.Discard // still waiting when the daemon ended

	lastFlush, lastException atomic.Int64 // Unix seconds
	flushTime, flushLength   atomic.Int64 // of the last delivery: ms, and characters (bytes when pickled)
}

// New returns a Backend; nothing is opened before the first flush.
func New(config Config) *Backend {
	ledger := config.Ledger
	if ledger == nil {
		ledger = telemetry.NewLedger("statsd.graphite", "flushes")
	}
	b := &Backend{
		config: config, dialer: net.Dialer{Timeout: connectTimeout},
		message: message{Namespace: config.Namespace, pickled: config.Protocol == "pickle", sanitize: config.SanitizeNames},
		ledger:  ledger, connect: ledger.Reason("connect"), write: ledger.Reason("write"), timeout: ledger.Reason("timeout"),
		full: ledger.Reason("retry_full"), stopped: ledger.Reason("stopped"),
	}
	ledger.Hold(b.held.Load)
	port := config.Port
	if port == 0 {
		port = 2003
		if b.message.pickled {
			port = 2004
		}
	}
	b.address = net.JoinHostPort(config.Host, strconv.Itoa(port))
	return b
}

// Name implements [backend.Backend].
func (*Backend) Name() string { return "graphite" }

// Init implements [backend.Backend]. It refuses a protocol it does not know.
func (b *Backend) Init(_ context.Context, env backend.Environment) error {
	if p := b.config.Protocol; p != "" && p != "text" && p != "pickle" {
		return fmt.Errorf("cannot send to Graphite with protocol %q: it must be text or pickle", p)
	}
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b.env, b.warn = env, telemetry.NewLimited(log, time.Minute, 5)
	b.lastFlush.Store(env.Startup)
	return nil
}

// Flush implements [backend.Backend]. It makes one attempt at f, and at what
// earlier ones left, before the deadline of ctx. An error means that f is lost;
// that it is kept for later is only logged.
func (b *Backend) Flush(ctx context.Context, f *backend.Flush) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger.Received(1)
	b.build(f)
	if b.config.Host == "" {
		b.ledger.Passed(1)
		return nil
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, flushTimeout)
		defer cancel()
	}
	for len(b.pending) > 0 {
		if _, err := b.deliver(ctx, b.pending[0]); err != nil {
			return b.failed(b.message.text, err)
		}
		b.dropOldest()
		b.ledger.Passed(1)
	}
	body, err := b.deliver(ctx, b.message.text)
	if err != nil {
		return b.failed(body, err)
	}
	b.ledger.Passed(1)
	b.message.text = body
	if cap(body) > keptBuffer && len(body) < cap(body)/4 {
		b.message.text = nil
	}
	return nil
}

// Status implements [backend.StatusReporter].
func (b *Backend) Status(write func(stat string, value float64)) {
	write("last_flush", float64(b.lastFlush.Load()))
	write("last_exception", float64(b.lastException.Load()))
	write("flush_time", float64(b.flushTime.Load()))
	write("flush_length", float64(b.flushLength.Load()))
}

// Stop implements [backend.Stopper]: what is still kept for later is lost, and counted.
func (b *Backend) Stop(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := len(b.pending)
	if lost == 0 {
		return nil
	}
	b.stopped.Add(lost)
	b.pending, b.pendingBytes = nil, 0
	b.held.Store(0)
	return fmt.Errorf("cannot deliver %d flushes to Graphite at %s before the end", lost, b.address)
}

// build makes the message of f, but for what is only known when it is sent.
func (b *Backend) build(f *backend.Flush) {
	m := &b.message
	start := time.Now()
	m.begin()
	m.metrics(f)
	global := m.global()
	total := global
	if m.Legacy {
		total = "" // numStats never had the prefix
	}
	m.own(total, b.env.Prefix, "numStats", float64(f.Count()), f.Timestamp)
	m.own(global, b.env.Prefix, "graphiteStats.calculationtime", float64(time.Since(start).Milliseconds()), f.Timestamp)
	m.own(global, b.env.Prefix, "processing_time", f.Processing, f.Timestamp)
}

// deliver sends body, completed with the figures of the delivery before it. It
// returns body, which may have moved.
func (b *Backend) deliver(ctx context.Context, body []byte) ([]byte, error) {
	conn, err := b.dialer.DialContext(ctx, "tcp", b.address)
	if err != nil {
		return body, failure{b.connect, fmt.Errorf("cannot connect to Graphite at %s: %w", b.address, err)}
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	current := b.message.text
	b.message.text = body
	b.finish(time.Now().Unix())
	payload := b.message.text
	b.message.text = current

	start := time.Now()
	if _, err := conn.Write(payload); err != nil {
		return payload[:len(body)], failure{b.write, fmt.Errorf("cannot send %d bytes to Graphite at %s: %w", len(payload), b.address, err)}
	}
	took := time.Since(start)
	if err := awaitClose(conn, deadline); err != nil {
		return payload[:len(body)], failure{b.write, fmt.Errorf("cannot tell whether Graphite at %s has read the flush: %w", b.address, err)}
	}
	b.flushTime.Store(took.Milliseconds())
	b.flushLength.Store(int64(len(payload)))
	if !b.message.pickled {
		b.flushLength.Store(int64(utf8.RuneCount(payload)))
	}
	b.lastFlush.Store(time.Now().Unix())
	return payload[:len(body)], nil
}

// finish adds the four figures that describe the delivery before this one, as of now.
func (b *Backend) finish(now int64) {
	m := &b.message
	for _, figure := range [...]struct {
		name  string
		value *atomic.Int64
	}{
		{"graphiteStats.last_exception", &b.lastException}, {"graphiteStats.last_flush", &b.lastFlush},
		{"graphiteStats.flush_time", &b.flushTime}, {"graphiteStats.flush_length", &b.flushLength},
	} {
		m.own(m.global(), b.env.Prefix, figure.name, float64(figure.value.Load()), now)
	}
	m.end()
}

// awaitClose says the end of the stream and waits until the server has closed.
// A server that breaks the connection has perhaps not read everything; one that
// stays open is given a moment and taken at its word.
func awaitClose(conn net.Conn, deadline time.Time) error {
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	wait := min(closeTimeout, time.Until(deadline)/2)
	conn.SetReadDeadline(time.Now().Add(wait))
	_, err := io.Copy(io.Discard, conn)
	if timedOut(err) {
		return nil
	}
	return err
}

// failure is an error with the account it is put down to.
type failure struct {
	reason *telemetry.Discard
	error
}

func (f failure) Unwrap() error { return f.error }

// failed keeps the body of the newest flush for later, or counts it as lost.
func (b *Backend) failed(body []byte, err error) error {
	b.lastException.Store(time.Now().Unix())
	if b.config.Retry.Flushes == 0 {
		b.message.text = body
		var f failure
		reason := b.write
		if errors.As(err, &f) {
			reason = f.reason
		}
		if timedOut(err) || errors.Is(err, context.Canceled) {
			reason = b.timeout
		}
		reason.Add(1)
		return err
	}
	kept := append(make([]byte, 0, len(body)+1024), body...) // with room for the end
	b.message.text = body
	b.pending = append(b.pending, kept)
	b.pendingBytes += len(kept)
	for len(b.pending) > b.config.Retry.Flushes || b.config.Retry.Bytes > 0 && b.pendingBytes > b.config.Retry.Bytes {
		b.dropOldest()
		b.full.Add(1)
	}
	b.held.Store(int64(len(b.pending)))
	if len(b.pending) == 0 {
		return fmt.Errorf("%w; it is too large to be kept for the next attempt", err)
	}
	b.warn.Warn("flush kept for the next attempt", "error", err, "kept", len(b.pending), "bytes", b.pendingBytes)
	return nil
}

func (b *Backend) dropOldest() {
	b.pendingBytes -= len(b.pending[0])
	b.pending[0] = nil
	b.pending = b.pending[1:]
	b.held.Store(int64(len(b.pending)))
}

// timedOut reports whether err is a deadline that passed, of a connection or a context.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
