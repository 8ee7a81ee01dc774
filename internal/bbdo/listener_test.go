package bbdo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

// source is a started listener or dialer with what it is tested by.
type source struct {
	recorder
	log lines
	reg *telemetry.Registry
}

func (s *source) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&s.log, nil)) }

func (s *source) account() telemetry.Account { return s.reg.Accounts()[0] }

func listen(t *testing.T, cfg Config) (*Listener, *source) {
	t.Helper()
	s := &source{reg: telemetry.NewRegistry()}
	cfg.Name, cfg.Address, cfg.Identity = "pollers", "127.0.0.1:0", central
	l := NewListener(cfg, s.sink, s.reg, s.logger())
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l, s
}

// soon is a context for what takes no time unless it hangs.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	path string // of its own certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.path, _ = a.issue("authority")
	return a
}

// issue makes a certificate for a host name; the first one signs the others.
func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if a.cert == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		a.cert, a.key = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if template.IsCA {
		a.cert, _ = x509.ParseCertificate(der)
	}
	text, _ := x509.MarshalECPrivateKey(private)
	write := func(kind string, der []byte) string {
		path := filepath.Join(a.dir, name+"."+strings.ReplaceAll(kind, " ", "-")+".pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return write("CERTIFICATE", der), write("EC PRIVATE KEY", text)
}

// Sessions with every combination of layers.
func TestLayers(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("central.example")
	clientCert, clientKey := a.issue("poller.example")
	both := []string{"TLS", "COMPRESSION"}
	f := func(name string, server, client TLS, serverCompression, clientCompression bool, want []string) {
		t.Helper()
		if server.Mode != TLSOff {
			server.Cert, server.Key = cert, key
		}
		if client.Mode != TLSOff {
			client.CA, client.Hostname = a.path, "central.example"
		}
		l, s := listen(t, Config{TLS: server, Compression: serverCompression})
		for _, version := range []Version{V200, V301} {
			c, err := Connect(soon(t), l.Addr().String(), ClientConfig{Version: version, TLS: client, Compression: clientCompression})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if !slices.Equal(c.Extensions(), want) || c.Version() != version {
				t.Errorf("%s: extensions %v, version %v", name, c.Extensions(), c.Version())
			}
			sent := append(some(3000), output(t, event.Legacy, 70000), output(t, event.Protobuf, 200_000))
			if err := c.Send(sent...); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := c.Wait(soon(t), 1000); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := c.Stop(soon(t)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			s.mu.Lock()
			if d := difference(sent, s.events); d != "" {
				t.Errorf("%s: %s", name, d)
			}
			s.events = nil
			s.mu.Unlock()
		}
	}
	f("plain", TLS{}, TLS{}, false, false, nil)
	f("compression", TLS{}, TLS{}, true, true, both[1:])
	f("compression at one side", TLS{}, TLS{}, true, false, nil)
	f("TLS", TLS{Mode: TLSOffered}, TLS{Mode: TLSOffered}, false, false, both[:1])
	f("TLS and compression", TLS{Mode: TLSOffered}, TLS{Mode: TLSRequired}, true, true, both)
	f("TLS at one side", TLS{Mode: TLSOffered}, TLS{}, true, true, both[1:])
	f("layer", TLS{Mode: TLSLayer}, TLS{Mode: TLSLayer}, false, false, nil)
	f("layer and compression", TLS{Mode: TLSLayer}, TLS{Mode: TLSLayer}, true, true, both[1:])
	f("client certificate", TLS{Mode: TLSRequired, CA: a.path, RequireClientCert: true}, TLS{Mode: TLSRequired, Cert: clientCert, Key: clientKey}, true, true, both)
}

func TestLayerFailures(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	cert, key := a.issue("central.example")
	otherCert, otherKey := other.issue("poller.example")
	f := func(name string, server, client TLS, want string) {
		t.Helper()
		server.Cert, server.Key = cert, key
		l, s := listen(t, Config{TLS: server, NegotiationTimeout: time.Second})
		c, err := Connect(soon(t), l.Addr().String(), ClientConfig{TLS: client})
		if err == nil { // TLS 1.3 tells clients late
			err = c.Wait(soon(t), 1)
			c.Close()
		}
		for l.Stats().Failed == 0 && soon(t).Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if log := s.log.String(); err == nil || !strings.Contains(log+err.Error(), want) {
			t.Errorf("%s: %v; log: %s", name, err, log)
		}
	}
	good := TLS{Mode: TLSLayer, CA: a.path, Hostname: "central.example"}
	f("peer without TLS", TLS{Mode: TLSRequired}, TLS{}, "peer does not offer TLS, which is required here")
	f("peer without a layer", TLS{Mode: TLSLayer}, TLS{}, "the peer does not speak it")
	f("other name", TLS{Mode: TLSLayer}, TLS{Mode: TLSLayer, CA: a.path, Hostname: "other.example"}, "not other.example")
	f("other authority", TLS{Mode: TLSLayer}, TLS{Mode: TLSLayer, CA: other.path, Hostname: "central.example"}, "unknown authority")
	f("no client certificate", TLS{Mode: TLSLayer, CA: a.path, RequireClientCert: true}, good, "client didn't provide a certificate")
	good.Cert, good.Key = otherCert, otherKey
	f("strange client certificate", TLS{Mode: TLSLayer, CA: a.path}, good, "unknown authority")
}

// Pollers without a certificate speak anonymous TLS, which the log has to explain.
func TestAnonymousTLS(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("central.example")
	l, s := listen(t, Config{TLS: TLS{Mode: TLSLayer, Cert: cert, Key: key}})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A ClientHello of TLS 1.2 with ECDH_anon and DH_anon suites, and supported groups.
	body := slices.Concat(unhex("0303"), make([]byte, 32), unhex("00 0006 c018 0034 00ff 01 00 0008 000a 0004 0002 0017"))
	message := append([]byte{1, 0, 0, byte(len(body))}, body...)
	conn.Write(append([]byte{0x16, 3, 1, 0, byte(len(message))}, message...))
	io.Copy(io.Discard, conn)
	for l.Stats().Failed == 0 && soon(t).Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if !strings.Contains(s.log.String(), "peer offers only anonymous TLS; configure a certificate") {
		t.Errorf("log: %s", s.log.String())
	}
}

func TestConfigurationMistakes(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("central.example")
	f := func(cfg Config, want string) {
		t.Helper()
		cfg.Name = "pollers"
		l := NewListener(cfg, nil, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
		err := l.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), `cannot start bbdo source "pollers": `+want) {
			t.Errorf("%v, want %s", err, want)
		}
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	f(Config{Address: "127.0.0.1:99999"}, "listen tcp")
	f(Config{TLS: TLS{Mode: "on"}}, `cannot use TLS mode "on": want "offered", "required" or "layer"`)
	f(Config{TLS: TLS{Mode: TLSOffered}}, "cannot accept TLS without a certificate and a key")
	f(Config{TLS: TLS{Mode: TLSOffered, Cert: "/nowhere", Key: key}}, `cannot load certificate "/nowhere"`)
	f(Config{TLS: TLS{Mode: TLSOffered, Cert: cert, Key: key, CA: key}}, "cannot read certificates of authorities: none in")
	f(Config{TLS: TLS{Mode: TLSOffered, Cert: cert, Key: key, RequireClientCert: true}}, "cannot require client certificates")
	d := NewDialer(Config{Name: "poller", Address: "nowhere"}, nil, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	if err := d.Start(t.Context()); err == nil || d.Stop(t.Context()) != nil {
		t.Error("a dialer without a port starts")
	}
}

func TestVersions(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		v, err := ParseVersion(text)
		if got := fmt.Sprint(v, err); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	f("3.0.1", "3.0.1 <nil>")
	f("2.0.0", "2.0.0 <nil>")
	f("4.0.0", `0.0.0 cannot use BBDO version "4.0.0": its major version must be 2 or 3`)
	f("3.0", `0.0.0 cannot read BBDO version "3.0": want one such as 3.0.1`)
	f("3.0.1x", `0.0.0 cannot read BBDO version "3.0.1x": want one such as 3.0.1`)
}

// Pollers of all versions at once on one port, two of them with one number.
func TestSeveralPollers(t *testing.T) {
	l, s := listen(t, Config{Compression: true})
	var clients []*Client
	for i, version := range []Version{V200, V300, V301, V301, V301} {
		id := Identity{uint64(i + 1), fmt.Sprint("poller", i+1), "module", Engine}
		if i == 4 {
			id.PollerID = 4
		}
		c, err := Connect(soon(t), l.Addr().String(), ClientConfig{Version: version, Identity: id, Compression: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() {
			for range 10 {
				if err := c.Send(some(1000)...); err != nil {
					t.Error(err)
				}
			}
			if err := c.Wait(soon(t), 9001); err != nil { // less than 1000 stay pending
				t.Errorf("poller %d: %v", i+1, err)
			}
		})
	}
	group.Wait()
	for deadline := soon(t); s.count() < 50_000 && deadline.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	status := l.Status()
	slices.SortFunc(status, func(a, b ConnectionStatus) int {
		return strings.Compare(a.Version+a.PollerName, b.Version+b.PollerName)
	})
	f := func(i int, name, version, extensions string) {
		t.Helper()
		c := status[i]
		if c.PollerName != name || c.Version != version || strings.Join(c.Extensions, " ") != extensions || c.Events != 10_000 || c.Source != "pollers" ||
			c.LastEvent.IsZero() || c.Since.IsZero() || c.Peer == "" || c.Stalled != "" {
			t.Errorf("%+v", c)
		}
	}
	f(0, "", "2.0.0", "COMPRESSION") // versions before 3.0.1 say no name
	f(1, "", "3.0.0", "")
	f(2, "poller3", "3.0.1", "COMPRESSION")
	f(3, "poller4", "3.0.1", "")
	f(4, "poller5", "3.0.1", "COMPRESSION")
	if log := s.log.String(); strings.Count(log, "two pollers have the same number") != 1 || strings.Contains(log, "connected twice") {
		t.Errorf("log: %s", log)
	}
	again, err := Connect(soon(t), l.Addr().String(), ClientConfig{Identity: Identity{3, "poller3", "module", Engine}})
	if err != nil {
		t.Fatal(err)
	}
	clients = append(clients, again)
	for range clients {
		if len(l.Status()) == len(clients) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if log := s.log.String(); !strings.Contains(log, "a poller is connected twice") {
		t.Errorf("log: %s", log)
	}

	s.reg.Register(Collector(func() []Source { return []Source{l} }))
	page := httptest.NewRecorder()
	s.reg.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`weir_bbdo_connections{source="pollers"} 6`, `weir_bbdo_connections_total{source="pollers"} 6`, `weir_bbdo_failed_connections_total{source="pollers"} 0`,
		`weir_bbdo_skipped_bytes_total{source="pollers"} 0`, `weir_bbdo_incomplete_events_total{source="pollers"} 0`, `weir_bbdo_aborted_connections_total{source="pollers"} 0`, `weir_bbdo_stalled{source="pollers"} 0`, `weir_bbdo_unacknowledged{source="pollers"} `,
	} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, c := range clients {
		if err := c.Stop(soon(t)); err != nil || c.Unacknowledged() != 0 {
			t.Errorf("%v, %d events unacknowledged", err, c.Unacknowledged())
		}
	}
	if a := s.account(); a.Component != "pollers" || a.Received != 50_000 || a.Passed != 50_000 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
}

// Stopping acknowledges what is durable, closes everything and refuses newcomers.
func TestListenerStop(t *testing.T) {
	l, s := listen(t, Config{})
	c, err := Connect(soon(t), l.Addr().String(), ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	silent, err := net.Dial("tcp", l.Addr().String()) // in the middle of a negotiation
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c.Send(some(7)...)
	for deadline := soon(t); s.count() < 7 && deadline.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	if err := l.Stop(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(soon(t), 7); err != nil {
		t.Error(err)
	}
	if err := c.Wait(soon(t), 8); !errors.Is(err, io.EOF) {
		t.Errorf("the connection: %v", err)
	}
	if _, err := Connect(soon(t), l.Addr().String(), ClientConfig{}); err == nil {
		t.Error("still listening")
	}
}

// A poller that listens: we connect, speak first, and come back after it went away.
func TestDialer(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("poller.example")
	for _, version := range []Version{V200, V300, {}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		s := &source{reg: telemetry.NewRegistry()}
		d := NewDialer(Config{
			Name: "lyon", Address: listener.Addr().String(), Identity: central, Version: version, RetryInterval: 10 * time.Millisecond,
			TLS: TLS{Mode: TLSRequired, CA: a.path, Hostname: "poller.example"}, Compression: true,
		}, s.sink, s.reg, s.logger())
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			conn, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c, err := NewClient(soon(t), conn, ClientConfig{
				Accepting: true, Identity: Identity{3, "Lyon", "module", Engine}, TLS: TLS{Mode: TLSOffered, Cert: cert, Key: key}, Compression: true,
			})
			if err != nil {
				t.Fatalf("%v: %v", version, err)
			}
			if want := []string{"TLS", "COMPRESSION"}; !slices.Equal(c.Extensions(), want) || version != (Version{}) && c.Version() != version {
				t.Errorf("extensions %v, version %v", c.Extensions(), c.Version())
			}
			if err := c.Send(some(1500)...); err != nil {
				t.Error(err)
			}
			if err := c.Wait(soon(t), 1000); err != nil {
				t.Error(err)
			}
			if why := d.Waiting(); why != "" {
				t.Errorf("connected, and waiting for %s", why)
			}
			if status := d.Status(); len(status) != 1 || status[0].Peer != listener.Addr().String() || version == (Version{}) && status[0].PollerName != "Lyon" {
				t.Errorf("%+v", status)
			}
			if i == 0 {
				c.Close() // without a stop
			} else if err := c.Stop(soon(t)); err != nil {
				t.Error(err)
			}
		}
		listener.Close()
		for d.Stats().Failed == 0 && soon(t).Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := d.Stop(soon(t)); err != nil {
			t.Error(err)
		}
		if why := d.Waiting(); why == "" {
			t.Error("nothing says why there is no connection")
		}
		if log := s.log.String(); !strings.Contains(log, "cannot connect to the poller, trying again") && !strings.Contains(log, "cannot begin a BBDO session") {
			t.Errorf("log: %s", log)
		}
		if account := s.account(); !account.Balanced() || account.Received < 4000 {
			t.Errorf("%+v", account)
		}
	}
}

// A poller that listens may send its first events in one segment with its answer;
// they belong to the next layer.
func TestEventsRightBehindTheAnswer(t *testing.T) {
	for _, compression := range []bool{false, true} {
		in(t, func(t *testing.T, ctx context.Context) {
			g := newRig(Config{Compression: compression})
			conn := g.connect(ctx, false)
			defer conn.Close()
			if b, err := packet(conn); err != nil || b[7] != byte(welcome&0xff) {
				t.Fatalf("%x, %v", b, err)
			}
			events := slices.Concat(hostStatus, downtime, stop3)
			if compression {
				events = chunk(events)
			}
			conn.Write(append(bytes.Clone(welcomeLyon), events...))
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			var answer bytes.Buffer
			io.CopyN(&answer, conn, int64(headerSize))
			if got := g.take(); got != "1:32 1:36" {
				t.Errorf("compression %v: events %s", compression, got)
			}
		})
	}
}

func TestDialerRefusesOtherMajor(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context) {
		g := newRig(Config{})
		conn := g.connect(ctx, false)
		defer conn.Close()
		packet(conn)
		conn.Write(version200)
		if err := <-g.ends; err == nil || err.Error() != "BBDO: peer is using protocol version 2.0.0 whereas we're using protocol version 3.0.1; set bbdo_version to that of the peer" {
			t.Errorf("%v", err)
		}
	})
}

// The lowest version of TLS is 1.2.
func TestOldTLS(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("central.example")
	l, _ := listen(t, Config{TLS: TLS{Mode: TLSLayer, Cert: cert, Key: key}})
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		c.Close()
		t.Error("TLS 1.1 is accepted")
	}
}
