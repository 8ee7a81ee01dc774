package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// load reads a configuration; DIR in text is a directory of the test.
func load(t *testing.T, dir, text string) *config.Config {
	t.Helper()
	path := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// output is a log or a standard output that several goroutines write.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// started returns a running daemon that the test stops, and its log.
func started(t *testing.T, cfg *config.Config) (*Daemon, *output) {
	t.Helper()
	log, level := new(output), new(slog.LevelVar)
	d := New(cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), Options{Version: "test", Stdout: io.Discard, Level: level})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d, log
}

const small = `
data: DIR/data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [{listen: "udp://127.0.0.1:0"}]}
statsd: {management: {listen: "127.0.0.1:0"}}
`

func TestReadiness(t *testing.T) {
	d := New(load(t, t.TempDir(), small), slog.New(slog.DiscardHandler), Options{Stdout: io.Discard})
	f := func(when, want string) {
		t.Helper()
		got := ""
		if err := d.ready(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	f("before Start", "starting")
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f("after Start", "")
	if sources := d.sources(); len(sources) != 1 || len(sources[0].Listen) != 1 {
		t.Errorf("sources %+v", sources)
	}
	if err := d.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	f("after Stop", "stopping")
	if err := d.Stop(t.Context()); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

// A Start that fails closes what it had opened.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	d := New(load(t, dir, strings.ReplaceAll(small, `management: {listen: "127.0.0.1:0"}`, `management: {listen: "`+taken.Addr().String()+`"}`)),
		slog.New(slog.DiscardHandler), Options{Stdout: io.Discard})
	err = d.Start(t.Context())
	var place *config.Error
	if !errors.As(err, &place) || place.Line != 5 || place.Column != 31 || !strings.Contains(err.Error(), "cannot listen for the management console") {
		t.Fatalf("%#v", err)
	}
	if _, err := http.Get(d.web.url() + "/-/healthy"); err == nil {
		t.Error("HTTP is still served")
	}
	started(t, load(t, dir, small)) // the store is free again
}

func TestComponentFails(t *testing.T) {
	d, _ := started(t, load(t, t.TempDir(), small))
	d.web.listener.Close()
	if err := <-d.Failed(); !strings.Contains(err.Error(), "cannot go on serving HTTP") {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	d, log := started(t, load(t, dir, small))
	f := func(text string, applied, restart []string) {
		t.Helper()
		gotApplied, gotRestart := d.Reload(load(t, dir, text))
		if diff := cmp.Diff([2][]string{applied, restart}, [2][]string{gotApplied, gotRestart}); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	f(small, nil, nil)
	f(small+"log: {level: debug}", []string{"log.level"}, nil)
	if d.options.Level.Level() != slog.LevelDebug {
		t.Error("the level is not debug")
	}
	f(small+"log: {level: debug, format: json}\ntimeseries: {retention: 2d}", nil, []string{"log.format", "timeseries.retention"})
	f(small, []string{"log.level"}, nil)
	f(strings.Replace(small, `:0"}`, `:0", token: geheim}`, 1), []string{"http.token"}, nil)
	if code := status(t, http.DefaultClient, d.web.url()+"/metrics"); code != http.StatusUnauthorized {
		t.Errorf("the token is not asked for: %d", code)
	}
	if strings.Contains(log.String(), "geheim") {
		t.Error("a secret is in the log")
	}
	certificate(t, dir, 1)
	f(strings.Replace(small, `:0"}`, `:0", tls: {cert: DIR/cert.pem, key: DIR/key.pem}}`, 1), []string{"http.token"}, []string{"http.tls"})
}

// Every option of the StatsD server that is documented to change without a
// restart is one that the server applies.
func TestReloadOfStatsD(t *testing.T) {
	dir := t.TempDir()
	before := load(t, dir, small)
	after := load(t, dir, strings.Replace(small, "statsd: {m", `statsd: {delete_counters: true, delete_timers: true, delete_sets: true, delete_gauges: true,
  gauge_ttl: 3, histograms: [{metric: a, bins: [1]}], timer_metrics: [count], prefix: p, max_names: 7, max_tag_sets: 5,
  tag_rules: [{drop: [a]}], ttl: {counters: 1m, timers: 1m, gauges: 1m, sets: 1m}, m`, 1)+"log: {level: debug}\n")
	for _, c := range config.Changes(before, after) {
		if !c.Reload {
			t.Errorf("%s is not documented to change without a restart", c.Path)
		}
	}
	_, page, _ := strings.Cut(config.Reference(), "\n## `statsd`")
	page, _, _ = strings.Cut(page, "\n## `timeseries`")
	documented := strings.Count(page, "` ↻ |")
	if n := len(config.Changes(before, after)); n != documented+1 { // and the level
		t.Errorf("%d options changed, %d are documented to", n, documented)
	}
	if ignored := newIntake(before, nil, nil, nil, telemetry.NewRegistry(), slog.New(slog.DiscardHandler), io.Discard).server.Reload(after.StatsD.Config); len(ignored) > 0 {
		t.Errorf("the server ignores %s", ignored)
	}
}

func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir, 1)
	text := strings.Replace(small, `:0"}`, `:0", tls: {cert: DIR/cert.pem, key: DIR/key.pem}}`, 1)
	d, _ := started(t, load(t, dir, text))
	if !strings.HasPrefix(d.web.url(), "https://") {
		t.Fatal(d.web.url())
	}
	trusting := func(pool *x509.CertPool) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	}
	if code := status(t, trusting(pool), d.web.url()+"/-/ready"); code != http.StatusOK {
		t.Errorf("got %d", code)
	}
	renewed := certificate(t, dir, 2)
	d.Reload(load(t, dir, text))
	if code := status(t, trusting(renewed), d.web.url()+"/-/ready"); code != http.StatusOK {
		t.Errorf("got %d", code)
	}
	if response, err := trusting(pool).Get(d.web.url() + "/-/ready"); err == nil {
		response.Body.Close()
		t.Error("the old certificate is still used")
	}
}

func status(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// certificate writes cert.pem and key.pem and returns a pool that trusts them.
func certificate(t *testing.T, dir string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

func TestWarnings(t *testing.T) {
	f := func(change func(string) string, want string) {
		t.Helper()
		_, log := started(t, load(t, t.TempDir(), change(small)))
		if got := strings.Contains(log.String(), "level=WARN"); got != (want != "") || !strings.Contains(log.String(), want) {
			t.Errorf("want %q in\n%s", want, log)
		}
	}
	f(func(s string) string { return s }, "")
	f(func(s string) string {
		return strings.Replace(s, `http: {listen: "127.0.0.1:0"`, `http: {listen: ":0"`, 1)
	}, "can read all data")
	f(func(s string) string {
		return strings.Replace(s, `http: {listen: "127.0.0.1:0"`, `http: {token: x, listen: ":0"`, 1)
	}, "")
	f(func(s string) string {
		return strings.Replace(s, `management: {listen: "127.0.0.1:0"`, `management: {listen: ":0"`, 1)
	}, "can delete metrics")
}

// chores counts what upkeep does; each of the first deletions fails.
type chores struct {
	memory.Driver
	exports, deletions int
}

func (c *chores) Export(context.Context) error { c.exports++; return nil }

func (c *chores) DeleteOld(_ context.Context, now int64) error {
	if c.deletions++; c.deletions == 1 {
		return timeseries.ErrFull
	}
	return nil
}

func TestUpkeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := new(chores), new(output)
		u := newUpkeep(c, slog.New(slog.NewTextHandler(log, nil)))
		if err := u.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Hour + time.Second)
		if err := u.stop(t.Context()); err != nil {
			t.Error(err)
		}
		if c.exports != 2*3600/5 || c.deletions != 2 {
			t.Errorf("%d exports, %d deletions", c.exports, c.deletions)
		}
		if n := strings.Count(log.String(), "cannot delete old points"); n != 1 {
			t.Errorf("the failure is logged %d times", n)
		}
	})
}
