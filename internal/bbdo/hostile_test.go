package bbdo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What the specification says about bad input (section 10.3) is tested by
// TestNegotiationFailures, TestBadEvents, TestLargeAndCut, TestHugeEvent, TestDiskFull,
// TestSeveralPollers, and here.

// Extensions nobody knows are ignored.
func TestUnknownExtensions(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{Compression: true})
		conn := g.connect(ctx, true)
		defer conn.Close()
		hello := greeting{kind: welcome, version: V301, extensions: []string{"QUANTUM", "COMPRESSION", "TLSX"}, identity: Identity{PollerID: 3}}
		conn.Write(AppendPackets(nil, hello.event()))
		if b, err := packet(conn); err != nil || !bytes.Contains(b, []byte("COMPRESSION")) || bytes.Contains(b, []byte("QUANTUM")) {
			t.Fatalf("%x, %v", b, err)
		}
		conn.Write(chunk(slices.Concat(hostStatus, downtime)))
		synctest.Wait()
		if got := g.take(); got != "1:32 1:36" {
			t.Errorf("events %s", got)
		}
		if s := g.Status()[0]; !slices.Equal(s.Extensions, []string{"COMPRESSION"}) {
			t.Errorf("%+v", s)
		}
	})
}

// Damage in the compressed layer: a chunk that is none is skipped, one that holds more
// than it says ends the session. What was durable is acknowledged before.
func TestCompressedDamage(t *testing.T) {
	bomb := chunk(make([]byte, 10_000_000))
	binary.BigEndian.PutUint32(bomb[4:], 1000)
	f := func(name string, bad []byte, want string, types string, aborted int64) {
		t.Helper()
		in(t, func(t *testing.T, ctx context.Context) {
			g := newRig(Config{Compression: true})
			conn := g.connect(ctx, true)
			defer conn.Close()
			hello := greeting{kind: welcome, version: V301, extensions: []string{"COMPRESSION"}}
			conn.Write(AppendPackets(nil, hello.event()))
			if _, err := packet(conn); err != nil {
				t.Fatal(err)
			}
			go conn.Write(slices.Concat(chunk(hostStatus), bad, chunk(hostStatus), chunk(stop3)))
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			header := make([]byte, 8)
			if _, err := io.ReadFull(conn, header); err != nil {
				t.Fatalf("%s: no acknowledgement: %v", name, err)
			}
			rest := make([]byte, int(binary.BigEndian.Uint32(header))-4)
			if _, err := io.ReadFull(conn, rest); err != nil {
				t.Fatal(err)
			}
			ack, _, err := readChunks(slices.Concat(header, rest), 1<<20)
			events, _, _ := readAll(ack, 1<<20, 0)
			if err != nil || len(events) != 1 {
				t.Fatalf("%s: %d packets, %v", name, len(events), err)
			}
			if n, ok := parseAck(events[0]); !ok || n != int64(strings.Count(types, ":")) {
				t.Errorf("%s: acknowledged %d", name, n)
			}
			conn.Close()
			if err := <-g.ends; !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: ended with %v", name, err)
			}
			if got := g.take(); got != types || g.Stats().Aborted != aborted {
				t.Errorf("%s: events %s, %+v", name, got, g.Stats())
			}
		})
	}
	f("noise", []byte("noise noise"), "<nil>", "1:32 1:32", 0)
	f("bomb", bomb, "more content than it announced", "1:32", 1)
}

// What a peer sends of a large event takes no more memory than it has sent, and only
// up to the limit, whatever it does.
func TestPartsWithoutEnd(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{MaxEvent: 1 << 20})
		conn := g.connect(ctx, true)
		defer conn.Close()
		conn.Write(welcomeJavaMap)
		if _, err := packet(conn); err != nil {
			t.Fatal(err)
		}
		full := part(9, make([]byte, fullPart))
		sent := 0
		for ; sent < 100; sent++ {
			if _, err := conn.Write(full); err != nil {
				break
			}
		}
		if err := <-g.ends; err == nil || !strings.Contains(err.Error(), "is too large") || sent > 17 {
			t.Errorf("after %d parts: %v", sent, err)
		}
		if s := g.Stats(); s.Aborted != 1 || s.Incomplete != 1 {
			t.Errorf("%+v", s)
		}
		g.balanced(t, 0, 0, nil)
	})
}

// The timer of acknowledgements does not see the clock of the machine being set: every
// time it compares has a monotonic reading, which "m=" shows.
func TestMonotonicTime(t *testing.T) {
	g := newRig(Config{})
	c := poller(t, t.Context(), g, ClientConfig{})
	for len(g.Status()) == 0 {
		time.Sleep(time.Millisecond)
	}
	g.receiver.mu.Lock()
	sessions := make([]*session, 0, 1)
	for s := range g.connected {
		sessions = append(sessions, s)
	}
	g.receiver.mu.Unlock()
	if err := c.Stop(t.Context()); err != nil { // sends an acknowledgement
		t.Fatal(err)
	}
	if err := <-g.ends; err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for _, at := range []time.Time{sessions[0].since, sessions[0].lastAck, sessions[0].lastAck.Add(ackInterval)} {
		if !strings.Contains(at.String(), "m=") {
			t.Errorf("%v has no monotonic reading", at)
		}
	}
}
