package bbdo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/event"
)

const (
	extensionTLS         = "TLS"
	extensionCompression = "COMPRESSION"
	// maxGreeting bounds the first packet, which comes from anybody.
	maxGreeting = 64 << 10
	// NegotiationTimeout is how long the peer has for its first packet, and for the
	// TLS handshake.
	NegotiationTimeout = 5 * time.Second
)

// terms is what one side brings into a negotiation.
type terms struct {
	accepting bool // the other side opened the connection and speaks first
	identity  Identity
	// version is announced by the connecting side, V301 when zero. When it is set
	// the accepting side refuses peers of another major version.
	version     Version
	tls         *tls.Config // nil without TLS
	tlsMode     TLSMode
	compression bool // offered
	timeout     time.Duration
	limit       int // largest event in bytes
	warn        func(message string, args ...any)
}

// link is a connection after the negotiation.
type link struct {
	conn       net.Conn // the lowest layer, for deadlines
	reader     *Reader
	top        io.Writer // the highest layer
	peer       Identity
	version    Version
	extensions []string // in use
}

// establish negotiates on a new connection and puts the agreed layers on it
// (specification 4.4). It does not close conn, but cancelling ctx makes it return.
func establish(ctx context.Context, conn net.Conn, t terms) (*link, error) {
	if t.timeout <= 0 {
		t.timeout = NegotiationTimeout
	}
	if t.warn == nil {
		t.warn = func(string, ...any) {}
	}
	if t.limit <= 0 {
		t.limit = event.MaxPayload
	}
	deadline := time.Now().Add(t.timeout)
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	l, err := t.negotiate(ctx, conn)
	if !release() { // cancelled
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return l, conn.SetDeadline(time.Time{})
}

func (t *terms) negotiate(ctx context.Context, conn net.Conn) (*link, error) {
	var stream net.Conn = conn
	var err error
	if t.tlsMode == TLSLayer {
		if stream, err = t.handshake(ctx, conn); err != nil {
			return nil, err
		}
	}
	r := NewReader(stream, maxGreeting, t.warn)
	ours := greeting{kind: welcome, version: t.version, extensions: t.offer(), identity: t.identity}
	if ours.version == (Version{}) {
		ours.version = V301
	}
	if ours.version.before(V301) {
		ours.kind = versionResponse
	}
	if !t.accepting {
		if err := send(stream, ours.event()); err != nil {
			return nil, fmt.Errorf("cannot send the first packet: %w", err)
		}
	}
	theirs, err := t.receive(r)
	if err != nil {
		return nil, err
	}
	supported := theirs.version.Major == 2 || theirs.version.Major == 3
	if !supported || (!t.accepting || t.version != Version{}) && theirs.version.Major != ours.version.Major {
		hint := ""
		if supported {
			hint = "; set bbdo_version to that of the peer"
		}
		return nil, fmt.Errorf("BBDO: peer is using protocol version %v whereas we're using protocol version %v%s", theirs.version, ours.version, hint)
	}
	common := slices.DeleteFunc(t.offer(), func(x string) bool { return !slices.Contains(theirs.extensions, x) })
	if t.tlsMode == TLSRequired && !slices.Contains(common, extensionTLS) {
		return nil, errors.New("peer does not offer TLS, which is required here")
	}
	l := &link{conn: conn, peer: theirs.identity, version: theirs.version, extensions: common}
	if t.accepting {
		// In the peer's own generation, whatever it is.
		ours.kind, ours.version = theirs.kind, theirs.version
		if err := send(stream, ours.event()); err != nil {
			return nil, fmt.Errorf("cannot answer the first packet: %w", err)
		}
	} else if ours.version.before(l.version) {
		l.version = ours.version
	}
	if len(common) == 0 {
		r.limit = t.limit
		l.reader, l.top = r, stream
		return l, nil
	}
	// What came right behind the peer's packet belongs to the next layer.
	var top io.ReadWriter = resumedConn{Conn: stream, rest: &rest{data: r.takeBuffered()}}
	if slices.Contains(common, extensionTLS) {
		if top, err = t.handshake(ctx, top.(net.Conn)); err != nil {
			return nil, err
		}
	}
	l.top = top
	var source io.Reader = top
	if slices.Contains(common, extensionCompression) {
		source, l.top = newChunkReader(top, t.warn), newChunkWriter(top)
	}
	l.reader = NewReader(source, t.limit, t.warn)
	l.reader.begun = true
	return l, nil
}

// offer lists our extensions.
func (t *terms) offer() (extensions []string) {
	if t.tlsMode == TLSOffered || t.tlsMode == TLSRequired {
		extensions = append(extensions, extensionTLS)
	}
	if t.compression {
		extensions = append(extensions, extensionCompression)
	}
	return extensions
}

// receive waits for the peer's first packet.
func (t *terms) receive(r *Reader) (greeting, error) {
	for {
		var e event.Event
		if ok, err := r.Next(&e); err != nil {
			return greeting{}, err
		} else if ok {
			return parseGreeting(e)
		}
		err := r.Fill()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return greeting{}, fmt.Errorf("BBDO: invalid protocol header, aborting connection: waiting for message of type 'pb_welcome' but nothing valid came in %v%s", t.timeout, seen(r))
		case errors.Is(err, io.EOF):
			return greeting{}, fmt.Errorf("BBDO: invalid protocol header, aborting connection: waiting for message of type 'pb_welcome' but the peer closed the connection%s", seen(r))
		case err != nil:
			return greeting{}, fmt.Errorf("cannot read the first packet: %w", err)
		}
	}
}

func seen(r *Reader) string {
	if r.skipped == 0 && r.end == r.start {
		return ""
	}
	return fmt.Sprintf(" (%d bytes were not a BBDO header)", r.skipped+int64(r.end-r.start))
}

// handshake begins TLS. The accepting side is the server.
func (t *terms) handshake(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if t.tls == nil {
		return nil, errors.New("BUG: TLS agreed upon without a configuration")
	}
	c := tls.Client(conn, t.tls)
	if t.accepting {
		c = tls.Server(conn, t.tls)
	}
	err := c.HandshakeContext(ctx)
	if err == nil {
		return c, nil
	}
	var alert *net.OpError
	var record tls.RecordHeaderError
	switch {
	case !t.accepting && errors.As(err, &alert) && alert.Op == "remote error":
		return nil, fmt.Errorf("cannot begin TLS: %w (a peer without a certificate offers only anonymous TLS; configure one there)", err)
	case errors.As(err, &record):
		return nil, fmt.Errorf("cannot begin TLS: the peer does not speak it: %w", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("cannot begin TLS: the peer did not answer in %v", t.timeout)
	}
	return nil, fmt.Errorf("cannot begin TLS: %w", err)
}

func send(w io.Writer, e event.Event) error {
	_, err := w.Write(AppendPackets(nil, e))
	return err
}

// resumedConn is a connection of which some bytes were read already.
type resumedConn struct {
	net.Conn
	*rest
}

type rest struct{ data []byte }

// Read implements net.Conn.
func (c resumedConn) Read(p []byte) (int, error) {
	if len(c.data) > 0 {
		n := copy(p, c.data)
		c.data = c.data[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
