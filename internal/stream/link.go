package stream

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/telemetry"
)

const (
	firstHeader = "Weir-First" // number of a message's first event
	countHeader = "Weir-Count" // of its events
	diskReserve = 8 << 20      // bytes that stay free, so that positions can be written and old events purged
	maxPayload  = 24 << 20     // bytes of a message in the embedded server, whose files take up to 32 MiB
)

// link is a connection to a server, which is inside this process or far away.
type link struct {
	cfg    Config
	server *server.Server // nil when it is far away
	conn   *nats.Conn
	js     jetstream.JetStream
	events jetstream.Stream
	marks  jetstream.Stream // the positions of consumers
	failed atomic.Bool      // a message was not confirmed
	space  func(path string, want int64) error
}

func eventSubject(name string) string { return name + ".events" }
func markSubject(name, consumer string) string {
	return name + ".position." + hex.EncodeToString([]byte(consumer))
}

// open connects, after starting the embedded server, and makes the streams.
func (s *Stream) open(ctx context.Context) (*link, error) {
	l := &link{cfg: s.cfg, space: s.room}
	options := []nats.Option{nats.Name("weir"), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(false),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.failed.Warn("stream: connection", "error", err) })}
	url := s.cfg.URL
	if url == "" {
		if err := s.repair(); err != nil {
			return nil, err
		}
		started, err := s.serve()
		if err != nil {
			return nil, err
		}
		l.server = started
		options = append(options, nats.InProcessServer(started))
	} else {
		if s.cfg.User != "" {
			options = append(options, nats.UserInfo(s.cfg.User, s.cfg.Password))
		}
		if s.cfg.Token != "" {
			options = append(options, nats.Token(s.cfg.Token))
		}
		if s.cfg.TLS != nil {
			options = append(options, nats.Secure(s.cfg.TLS))
		}
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		l.close()
		return nil, fmt.Errorf("cannot connect to the stream's server: %w", err)
	}
	l.conn = conn
	if err := l.make(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// serve starts the embedded server.
func (s *Stream) serve() (*server.Server, error) {
	if err := os.MkdirAll(s.cfg.Path, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make the stream's directory: %w", err)
	}
	embedded, err := server.NewServer(&server.Options{
		ServerName: "weir", DontListen: true, NoSigs: true, NoSystemAccount: false,
		JetStream: true, StoreDir: s.cfg.Path, DisableJetStreamBanner: true,
		JetStreamMaxMemory: 16 << 20, JetStreamMaxStore: s.cfg.MaxBytes + 1<<30,
		MaxPayload: maxPayload, MaxPending: 2 * maxPayload, WriteDeadline: requestTimeout,
		SyncInterval: max(s.cfg.Sync, time.Millisecond), SyncAlways: s.cfg.Sync < 0,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot start the stream's server: %w", err)
	}
	embedded.SetLoggerV2(&serverLog{s.log, telemetry.NewLimited(s.log, time.Minute, 10)}, false, false, false)
	embedded.Start()
	if !embedded.ReadyForConnections(requestTimeout) || !embedded.JetStreamEnabled() {
		embedded.Shutdown()
		embedded.WaitForShutdown()
		return nil, fmt.Errorf("cannot start the stream's server in %s: it is not ready, its log says why", s.cfg.Path)
	}
	return embedded, nil
}

// make creates or updates the streams.
func (l *link) make(ctx context.Context) (err error) {
	if l.js, err = jetstream.New(l.conn, jetstream.WithDefaultTimeout(requestTimeout)); err != nil {
		return fmt.Errorf("cannot use JetStream: %w", err)
	}
	l.events, err = l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: l.cfg.Name + "-events", Subjects: []string{eventSubject(l.cfg.Name)}, Description: "Events of Weir, in batches",
		MaxBytes: l.cfg.MaxBytes, Discard: jetstream.DiscardNew, AllowDirect: true, Replicas: l.cfg.Replicas, NoAck: false,
	})
	if err != nil {
		return fmt.Errorf("cannot open the stream %s-events: %w", l.cfg.Name, err)
	}
	l.marks, err = l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: l.cfg.Name + "-positions", Subjects: []string{l.cfg.Name + ".position.*"}, Description: "How far the consumers of Weir's events are",
		MaxMsgsPerSubject: 2, // the one before counts when a file is damaged
		AllowDirect:       true, Replicas: l.cfg.Replicas,
	})
	if err != nil {
		return fmt.Errorf("cannot open the stream %s-positions: %w", l.cfg.Name, err)
	}
	return nil
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
	}
	if l.server != nil {
		l.server.Shutdown()
		l.server.WaitForShutdown()
	}
}

// alive reports whether the server can still store. After a failed write, such
// as on a full disk, the embedded one stores nothing more until it is opened again.
func (l *link) alive() bool {
	return l.server == nil || l.server.JetStreamEnabled() && !l.failed.Load()
}

// room checks that size bytes more leave the reserve free.
func (l *link) room(size int) error {
	if l.server == nil {
		return nil
	}
	return l.space(l.cfg.Path, int64(size)+diskReserve)
}

func diskRoom(path string, want int64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(path, &disk); err != nil {
		return nil // the write will tell
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < want {
		return fmt.Errorf("%w: %s has %d bytes free, %d are wanted", ErrDiskFull, path, free, want)
	}
	return nil
}

func (l *link) state(ctx context.Context) (jetstream.StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := l.events.Info(ctx)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return info.State, nil
}

// tail reads the last message. There is always one after the first Append.
func (l *link) tail(ctx context.Context) (tail, error) {
	state, err := l.state(ctx)
	if err != nil {
		return tail{}, err
	}
	end := tail{message: state.LastSeq}
	if state.Msgs == 0 {
		return end, nil
	}
	m, err := l.message(ctx, state.LastSeq)
	if err != nil {
		return tail{}, err
	}
	end.event = m.first + uint64(m.count) - 1
	return end, nil
}

// message is one stored batch.
type message struct {
	sequence uint64 // in JetStream
	first    uint64 // number of the first event
	count    int
	data     []byte
	time     time.Time
	whole    bool // it is known that data are count events
}

func (l *link) message(ctx context.Context, sequence uint64) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	raw, err := l.events.GetMsg(ctx, sequence)
	if err != nil {
		return message{}, err
	}
	m := message{sequence: raw.Sequence, data: raw.Data, time: raw.Time}
	return m, m.header(raw.Header)
}

func (m *message) header(h nats.Header) error {
	first, err1 := strconv.ParseUint(h.Get(firstHeader), 10, 63)
	count, err2 := strconv.ParseUint(h.Get(countHeader), 10, 31)
	if err := errors.Join(err1, err2); err != nil || first == 0 || count == 0 {
		return fmt.Errorf("cannot read message %d: %s=%q, %s=%q are not the number of its first event and of its events", m.sequence, firstHeader, h.Get(firstHeader), countHeader, h.Get(countHeader))
	}
	m.first, m.count = first, int(count)
	return nil
}

// read returns the stored messages from sequence on, as many as a request
// brings; none at the end of the stream. Nothing of it is kept in the server.
// Messages that cannot be read are left out, and damaged counts them.
func (l *link) read(ctx context.Context, sequence uint64, batch, size int) (all []message, damaged int, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	inbox := l.conn.NewInbox()
	replies, err := l.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, 0, err
	}
	defer replies.Unsubscribe() // an error means that the connection is gone
	question := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, sequence, batch, size)
	if err := l.conn.PublishRequest("$JS.API.DIRECT.GET."+l.cfg.Name+"-events", inbox, question); err != nil {
		return nil, 0, err
	}
	for {
		reply, err := replies.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, err
		}
		switch status := reply.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end of the batch; nothing there
			return all, damaged, nil
		default:
			return nil, 0, fmt.Errorf("the server says %s %s", status, reply.Header.Get("Description"))
		}
		m := message{data: reply.Data}
		m.sequence, err = strconv.ParseUint(reply.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("the server sent a message without its sequence: %w", err)
		}
		if at, err := time.Parse(time.RFC3339Nano, reply.Header.Get("Nats-Time-Stamp")); err == nil {
			m.time = at
		}
		if m.header(reply.Header) != nil {
			damaged++
			continue
		}
		all = append(all, m)
	}
}

// position is how far a consumer is.
type position struct {
	Name    string `json:"name"`
	Event   uint64 `json:"event"`   // number of the last acknowledged event
	Message uint64 `json:"message"` // sequence of the first message it still needs
}

func (l *link) store(ctx context.Context, p position) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = l.js.Publish(ctx, markSubject(l.cfg.Name, p.Name), text)
	return err
}

func (l *link) positions(ctx context.Context) ([]position, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := l.marks.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil, err
	}
	var all []position
	for subject := range info.State.Subjects {
		raw, err := l.marks.GetLastMsgForSubject(ctx, subject)
		if err != nil {
			return nil, err
		}
		var p position
		if err := json.Unmarshal(raw.Data, &p); err != nil {
			return nil, fmt.Errorf("cannot read the position %q of %s: %w", raw.Data, subject, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// directory is where the embedded server keeps the blocks of a stream.
func directory(path, stream string) string {
	return filepath.Join(path, "jetstream", "$G", "streams", stream, "msgs")
}

// serverLog brings the log of the embedded server into Weir's, at a limited rate.
type serverLog struct {
	log     *slog.Logger
	limited *telemetry.Limited
}

func (g *serverLog) Noticef(format string, v ...any) {
	g.log.Debug("stream: " + strings.TrimSpace(fmt.Sprintf(format, v...)))
}
func (g *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") {
		return // they are wanted: an event may be that large
	}
	g.limited.Warn("stream: " + fmt.Sprintf(format, v...))
}
func (g *serverLog) Errorf(format string, v ...any) {
	g.limited.Warn("stream: " + fmt.Sprintf(format, v...))
}
func (g *serverLog) Fatalf(format string, v ...any) {
	g.log.Error("stream: " + fmt.Sprintf(format, v...))
}
func (g *serverLog) Debugf(string, ...any) {}
func (g *serverLog) Tracef(string, ...any) {}
