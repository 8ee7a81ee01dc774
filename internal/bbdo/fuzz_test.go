package bbdo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/event"
)

// FuzzReader checks that what is read does not depend on how the bytes come, that
// bounds hold, and that events come back as they were when nothing was skipped.
func FuzzReader(f *testing.F) {
	for _, packet := range examples() {
		f.Add(packet, byte(3))
	}
	f.Add(slices.Concat(hostStatus, []byte("noise"), metricLoad, part(1, make([]byte, fullPart)), part(1, nil)), byte(100))
	f.Fuzz(func(t *testing.T, stream []byte, piece byte) {
		const limit = 100_000
		whole, r, err := readAll(stream, 1<<30, limit)
		pieces, q, err2 := readAll(stream, int(piece)+1, limit)
		if d := difference(whole, pieces); d != "" || fmt.Sprint(err) != fmt.Sprint(err2) || r.Skipped() != q.Skipped() || r.Dropped() != q.Dropped() {
			t.Fatalf("%d and %d bytes skipped; %v, %v; %s", r.Skipped(), q.Skipped(), err, err2, d)
		}
		var again []byte
		for _, e := range whole {
			if len(e.Payload) > limit {
				t.Fatalf("an event of %d bytes", len(e.Payload))
			}
			again = AppendPackets(again, e)
		}
		events, _, err := readAll(again, 1<<30, limit)
		if d := difference(whole, events); d != "" || err != nil {
			t.Fatalf("does not come back: %v %s", err, d)
		}
	})
}

// FuzzChunks checks that compressed chunks from anybody neither crash nor grow.
func FuzzChunks(f *testing.F) {
	f.Add(unhex("00000019 00000013 789c2b2e6560666062e06080028e17ec00137101ed"), byte(3))
	f.Add(slices.Concat(chunk([]byte("one")), []byte("noise"), chunk([]byte("two"))), byte(100))
	f.Fuzz(func(t *testing.T, stream []byte, piece byte) {
		whole, _, err := readChunks(stream, 1<<30)
		pieces, _, err2 := readChunks(stream, int(piece)+1)
		if !bytes.Equal(whole, pieces) || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("%d bytes, %v; in pieces %d bytes, %v", len(whole), err, len(pieces), err2)
		}
		if len(whole) > 1032*len(stream) {
			t.Fatalf("%d bytes of %d", len(whole), len(stream))
		}
	})
}

// script is a connection whose peer says something fixed and hangs up.
type script struct {
	net.Conn // nil
	in       io.Reader
	out      bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Close() error                     { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// FuzzNegotiation runs whole connections of peers that say anything.
func FuzzNegotiation(f *testing.F) {
	for _, packet := range examples() {
		f.Add(packet, true, false)
		f.Add(append(bytes.Clone(packet), hostStatus...), false, true)
	}
	f.Add(slices.Concat(welcomeJavaMap, hostStatus, downtime, stop3), true, false)
	f.Add(slices.Concat(welcomeLyon, chunk(slices.Concat(hostStatus, stop3))), true, true)
	f.Fuzz(func(t *testing.T, stream []byte, accepting, compression bool) {
		g := newRig(Config{Compression: compression, MaxEvent: 100_000})
		conn := &script{in: bytes.NewReader(stream)}
		err := g.serve(context.Background(), conn, accepting)
		stats, account := g.Stats(), g.ledger.Snapshot()
		if stats.Connections+stats.Failed != 1 || !account.Balanced() || account.Passed != int64(g.count()) {
			t.Fatalf("%v; %+v; %+v", err, stats, account)
		}
		if stats.Failed == 1 && (err == nil || account.Received != 0) {
			t.Fatalf("a failed negotiation ends with %v after %d events", err, account.Received)
		}
		// Whatever we said is well-formed, and acknowledges exactly what we took.
		if compression {
			return
		}
		answers, r, err := readAll(conn.out.Bytes(), 1<<30, 0)
		if err != nil || r.Skipped() != 0 {
			t.Fatalf("our answers: %v", err)
		}
		acknowledged := int64(0)
		for _, e := range answers {
			if err := event.Check(e); err != nil {
				t.Fatal(err)
			}
			n, _ := parseAck(e)
			acknowledged += n
		}
		if acknowledged != account.Received {
			t.Fatalf("%d acknowledged of %d", acknowledged, account.Received)
		}
	})
}
