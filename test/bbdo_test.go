package test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/event"
)

// certificate makes one for a name, that signs itself, and returns its files.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text})))
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// A poller that listens: weir connects to it, with TLS and compression, gets its
// events, comes back after it went away, and says on the status page how it stands.
func TestPollerThatListens(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "lyon.example")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { listener.Close() }()
	address := listener.Addr().String()
	writeFile(t, dir, "weir.yaml", `
data: data
http: {listen: "127.0.0.1:0"}
sources:
  statsd: []
  bbdo:
    - listen: tcp://127.0.0.1:0
    - connect: tcp://`+address+`
      bbdo_version: 2.0.0
      retry_interval: 100ms
      tls: {mode: required, ca: cert.pem, hostname: lyon.example}
connectors:
  - name: file
    script: file-logger.lua
    parameters: {data_file: events.json, batch: 50}
`)
	copyExample(t, dir, "file-logger.lua")
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	// accept takes the next connection that weir makes.
	accept := func(version bbdo.Version, tls bbdo.TLS) (*poller, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatalf("%v\n%s", err, p.log())
		}
		c, err := bbdo.NewClient(ctx, conn, bbdo.ClientConfig{
			Accepting: true, Version: version, TLS: tls, Compression: true,
			Identity: bbdo.Identity{PollerID: 3, PollerName: "Lyon", BrokerName: "Lyon-module", PeerType: bbdo.Engine},
		})
		return &poller{Client: c, t: t}, err
	}
	secure := bbdo.TLS{Mode: bbdo.TLSOffered, Cert: cert, Key: key}
	session, err := accept(bbdo.Version{}, secure)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	if got := session.Extensions(); !slices.Equal(got, []string{"TLS", "COMPRESSION"}) || session.Version() != bbdo.V200 {
		t.Errorf("extensions %v, version %v", got, session.Version())
	}
	session.send(configuration...)
	session.send(checks(0, 1500)...)
	p.shows(t, `"name":"bbdo.2","listen":[],"connect":"tcp://`+address+`","last_input"`, `"peer":"`+address+`"`, `"version":"2.0.0"`, `"extensions":["TLS","COMPRESSION"]`)
	session.stop()
	delivered(t, filepath.Join(dir, "events.json"), 1500)

	// Without a stop, then without TLS, and then it is away.
	session, err = accept(bbdo.Version{}, secure)
	if err != nil {
		t.Fatal(err)
	}
	session.Close()
	if c, err := accept(bbdo.Version{}, bbdo.TLS{}); err == nil {
		session = c
		session.Close()
	}
	if err := p.waitLog("peer does not offer TLS, which is required here"); err != nil {
		t.Error(err)
	}
	listener.Close()
	p.shows(t, `"waiting":"dial tcp `+address, "connection refused")
	if _, page, err := p.get("/"); err != nil || !strings.Contains(page, "connects to <code>tcp://"+address+"</code>") || !strings.Contains(page, "refused") {
		t.Errorf("the status page: %s %v", page, err)
	}
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	session, err = accept(bbdo.Version{}, secure)
	if err != nil {
		t.Fatal(err)
	}
	session.send(checks(1500, 100)...)
	session.stop()
	delivered(t, filepath.Join(dir, "events.json"), 1600)
	_, page, err := p.get("/metrics")
	for _, want := range []string{`weir_bbdo_connections_total{source="bbdo.2"} 3`, `weir_received_total{component="bbdo.2",unit="events"} 1602`, `weir_bbdo_connections_total{source="bbdo"} 0`} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("/metrics lacks %s: %v", want, err)
		}
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	if code, err := p.end(15); code != 0 || err != nil {
		t.Error(code, err)
	}
}

// shows waits until the status has all of these texts.
func (p *process) shows(t *testing.T, texts ...string) {
	t.Helper()
	err := eventually(func() error {
		_, body, err := p.get("/api/v1/status")
		for _, text := range texts {
			if !strings.Contains(body, text) {
				err = errors.Join(err, fmt.Errorf("the status lacks %s: %s", text, body))
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Hostile peers beside a healthy one: each is closed or what it sent is skipped, all
// of it is counted, and the healthy one gets through.
func TestHostilePeers(t *testing.T) {
	t.Parallel()
	tr := conform(t, map[string]string{"all": "function init() end function write(d) note(d.service_id or '-') return true end"},
		map[string]string{"bbdo": "synthesize: false, compression: false, max_event: 64KiB"})
	b := func(text string) []byte { return unhex(t, text) }
	hello := b("bf93 0011 00020007 00000001 00000000 0a0408031801 1801 22074a6176614d6170")
	status := bbdo.AppendPackets(nil, event.Event{Type: event.MakeType(1, 29), Source: 1, Payload: b("0801 1007")}) // service 7
	damaged := bytes.Clone(status)
	damaged[0] ^= 1
	large := bytes.Repeat([]byte{0x62, 0x7f}, 60_000)
	full := bbdo.AppendPackets(nil, event.Event{Type: event.MakeType(1, 29), Source: 1, Payload: large})[:16+65535]
	noise := make([]byte, 2<<20)
	x := uint64(1)
	for i := range noise {
		x = x*6364136223846793005 + 1442695040888963407
		noise[i] = byte(x >> 56)
	}
	answer := len(bbdo.AppendPackets(nil, event.Event{Payload: b("0a0408031801 2a0477656972 3001")}))
	var peers sync.WaitGroup
	// closes sends bytes and waits for weir to close, or closes itself after some bytes came.
	closes := func(name string, after int, packets ...[]byte) {
		w := tr.dial()
		peers.Go(func() {
			defer w.Close()
			w.SetDeadline(time.Now().Add(patience))
			_, _ = w.Write(slices.Concat(packets...)) // it may be closed before all of it is written
			n, err := io.Copy(io.Discard, io.LimitReader(w, int64(cmp.Or(after, 1<<20))))
			if errors.Is(err, os.ErrDeadlineExceeded) || int(n) < after {
				t.Errorf("%s: not closed, after %d bytes", name, n)
			}
		})
	}
	closes("silence", 0)
	closes("half a greeting", 0, hello[:20])
	closes("HTTP", 0, []byte("GET / HTTP/1.1\r\nHost: weir\r\n\r\n"))
	closes("TLS", 0, b("16 0301 0200 0100 01fc 0303"), make([]byte, 500))
	closes("noise", 0, noise)
	closes("another packet first", 0, status)
	closes("version 1", 0, b("57f6 0007 00020001 00000000 00000000 0001 0000 0000 00"))
	// In a session.
	closes("too large", 0, hello, status, full, full)
	closes("noise later", 0, hello, status, noise)
	closes("damage", answer, hello, status, damaged, status)
	closes("cut", answer, hello, status, status[:len(status)-1])
	closes("never completed", answer, hello, status, full)
	session := connect(t, tr.process, modern)
	session.send(numbered(100, 100)...)
	session.stop()
	tr.await(func() error {
		healthy, others := 0, 0
		for _, line := range tr.noted("all") {
			if line == "7" {
				others++
			} else {
				healthy++
			}
		}
		if healthy != 100 || others != 6 {
			return fmt.Errorf("%d events of the healthy poller and %d of others, want 100 and 6", healthy, others)
		}
		return nil
	})
	peers.Wait()
	tr.await(func() error {
		_, page, err := tr.get("/metrics")
		for _, want := range []string{
			`weir_bbdo_failed_connections_total{source="bbdo"} 7`, `weir_bbdo_connections_total{source="bbdo"} 6`, `weir_bbdo_aborted_connections_total{source="bbdo"} 2`,
			`weir_bbdo_incomplete_events_total{source="bbdo"} 2`, `weir_bbdo_connections{source="bbdo"} 0`, `weir_received_total{component="bbdo",unit="events"} 106`,
		} {
			if !strings.Contains(page, want+"\n") {
				err = errors.Join(err, fmt.Errorf("/metrics lacks %s", want))
			}
		}
		if err != nil {
			err = fmt.Errorf("%w: %s", err, regexp.MustCompile(`(?m)^weir_(bbdo|received).*$`).FindAllString(page, -1))
		}
		return err
	})
	for _, want := range []string{
		"but nothing valid came in 5s", "the peer sends HTTP", "the peer sends a TLS ClientHello", "not a BBDO header: none in 1048576 bytes",
		"waiting for message of type 'pb_welcome' but received neb:ServiceStatus", "peer is using protocol version 1.0.0 whereas we're using protocol version",
		"is too large", "wrong checksum, looking for the next one", "the stream ended inside a packet", "whose last packet did not come",
	} {
		if !strings.Contains(tr.log(), want) {
			t.Errorf("the log lacks %q:\n%s", want, tr.log())
		}
	}
	if err := tr.balanced(); err != nil {
		t.Error(err)
	}
	tr.stop()
}
