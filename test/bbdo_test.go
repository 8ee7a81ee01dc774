package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
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
