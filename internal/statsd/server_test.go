package statsd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// recorder is a backend that keeps what it is handed.
type recorder struct {
	name string
	env  backend.Environment

	mu      sync.Mutex
	flushes []*backend.Flush
	at      []time.Time
	packets []string // "network packet"
	from    []backend.Remote
	stopped bool
}

func (r *recorder) Name() string { return "recorder" + r.name }

func (r *recorder) Init(_ context.Context, env backend.Environment) error {
	r.env = env
	return nil
}

func (r *recorder) Flush(_ context.Context, f *backend.Flush) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushes, r.at = append(r.flushes, f), append(r.at, time.Now())
	return nil
}

func (r *recorder) Packet(packet []byte, from backend.Remote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets, r.from = append(r.packets, string(packet)), append(r.from, from)
}

func (r *recorder) Stop(context.Context) error {
	r.stopped = true
	return nil
}

// total sums a counter over all flushes.
func (r *recorder) total(name string) (total float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flushes {
		for _, c := range f.Counters {
			if c.Name == name {
				total += c.Value
			}
		}
	}
	return total
}

// start starts a server with these listeners and stops it at the end of the test.
func start(t testing.TB, cfg Config, reg *telemetry.Registry, backends ...backend.Backend) *Server {
	t.Helper()
	s := New(cfg, backends, reg, quiet)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

// stop stops a server; what it was sent is in the backends then.
func stop(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// client connects to one of the server's addresses and sends.
func client(t testing.TB, address net.Addr, texts ...string) net.Conn {
	t.Helper()
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for _, text := range texts {
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

func balanced(t testing.TB, reg *telemetry.Registry) map[string]telemetry.Account {
	t.Helper()
	accounts := make(map[string]telemetry.Account)
	for _, account := range reg.Accounts() {
		accounts[account.Component] = account
		if !account.Balanced() {
			t.Errorf("ledger does not balance: %+v", account)
		}
	}
	return accounts
}

func TestServerTakesInFromEverySender(t *testing.T) {
	const senders, packets = 4, 500
	cfg := DefaultConfig()
	cfg.FlushInterval = 20 * time.Millisecond // several flushes while it goes on
	cfg.Readers = 3
	cfg.Listen = []Listen{
		{Network: "udp4", Address: "127.0.0.1:0"}, {Network: "udp6", Address: "[::1]:0"}, {Network: "tcp", Address: "127.0.0.1:0"},
		{Network: "unix", Address: filepath.Join(t.TempDir(), "s")}, {Network: "udp", Address: "127.0.0.1:0"},
	}
	reg, r := telemetry.NewRegistry(), &recorder{}
	s := start(t, cfg, reg, r)
	var sending sync.WaitGroup
	for _, address := range s.Addresses() {
		for range senders {
			conn := client(t, address)
			sending.Go(func() {
				for i := range packets {
					if _, err := fmt.Fprintf(conn, "hits:2|c\nname%d:1|c\nt:%d|ms\nu:%d|s\n", i%7, i, i); err != nil {
						t.Error(err)
					}
				}
				conn.Close()
			})
		}
	}
	sending.Wait()
	stop(t, s)
	all := float64(len(cfg.Listen) * senders * packets)
	if got := r.total("hits"); got != 2*all {
		t.Errorf("hits sum up to %v, want %v", got, 2*all)
	}
	if got := r.total("statsd.metrics_received"); got != 4*all {
		t.Errorf("%v lines received, want %v", got, 4*all)
	}
	names, timers := 0.0, 0
	for i := range 7 {
		names += r.total(fmt.Sprintf("name%d", i))
	}
	for _, f := range r.flushes {
		for _, timer := range f.Timers {
			timers += len(timer.Values)
			if !slices.IsSorted(timer.Values) {
				t.Errorf("values of a timer are not sorted")
			}
		}
	}
	if names != all || timers != int(all) {
		t.Errorf("names sum up to %v and there are %d timer values, want %v", names, timers, all)
	}
	accounts := balanced(t, reg)
	if got := accounts["statsd.values"]; got.Received != int64(4*all) || got.Passed != got.Received {
		t.Errorf("values: %+v", got)
	}
	if got := accounts["statsd.packets"]; got.Discarded["kernel_drop"] != 0 || got.Passed != int64(r.total("statsd.packets_received")) {
		t.Errorf("packets: %+v", got)
	}
	if got := accounts["statsd.connections"]; got.Passed != 2*senders {
		t.Errorf("connections: %+v", got)
	}
	if !r.stopped {
		t.Error("the backend was not stopped")
	}
}

func TestServerBothFamiliesOnOneIPv6Address(t *testing.T) {
	cfg := config()
	cfg.Listen = []Listen{{Network: "udp6", Address: ":0"}}
	r := &recorder{}
	s := start(t, cfg, telemetry.NewRegistry(), r)
	port := s.Addresses()[0].(*net.UDPAddr).Port
	client(t, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, "a:1|c")
	client(t, &net.UDPAddr{IP: net.IPv6loopback, Port: port}, "a:1|c")
	stop(t, s)
	if got := r.total("a"); got != 2 {
		t.Errorf("a = %v, want 2", got)
	}
	var from []string
	for _, remote := range r.from {
		from = append(from, remote.Network+" "+remote.Address.Addr().String())
	}
	slices.Sort(from)
	if want := []string{"udp ::1", "udp ::ffff:127.0.0.1"}; !slices.Equal(from, want) {
		t.Errorf("senders %q, want %q", from, want)
	}
}

func TestServerShowsPacketsToBackends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f := func(l Listen, sent, want string) {
		t.Helper()
		cfg := config()
		cfg.Listen = []Listen{l}
		reg, r := telemetry.NewRegistry(), &recorder{}
		s := start(t, cfg, reg, panicking{}, r)
		conn := client(t, s.Addresses()[0], sent)
		stop(t, s)
		if len(r.packets) != 1 || r.packets[0] != want {
			t.Fatalf("%s: packets %q, want %q", l.Network, r.packets, want)
		}
		network, local := r.from[0].Network, conn.LocalAddr().String()
		if network != conn.LocalAddr().Network() || network != "unix" && r.from[0].Address.String() != local {
			t.Errorf("%s: packet from %v, want %s", l.Network, r.from[0], local)
		}
		if got := balanced(t, reg)["statsd.backend.panicking.packets"]; got.Discarded["panic"] != 1 {
			t.Errorf("%+v", got)
		}
	}
	f(Listen{Network: "udp4", Address: "127.0.0.1:0"}, "a:1|c\nb\xff", "a:1|c\nb\xff")
	f(Listen{Network: "tcp", Address: "127.0.0.1:0"}, "a:1|c\nb\xe1:1|c\ntail", "a:1|c\nba:1|c\n")
	f(Listen{Network: "unix", Address: path}, "a:1|c\n", "a:1|c\n")
}

// panicking is a backend that panics over everything but Init.
type panicking struct{}

func (panicking) Name() string                                    { return "panicking" }
func (panicking) Init(context.Context, backend.Environment) error { return nil }
func (panicking) Packet([]byte, backend.Remote)                   { panic("a packet") }
func (panicking) Flush(context.Context, *backend.Flush) error     { panic("a flush") }

func TestServerReceivesLargeAndOddPackets(t *testing.T) {
	cfg := config()
	cfg.FlushInterval = 10 * time.Second // only the last flush
	cfg.Listen = []Listen{{Network: "udp4", Address: "127.0.0.1:0"}}
	r := &recorder{}
	s := start(t, cfg, telemetry.NewRegistry(), r)
	full := strings.Repeat("many:1|c\n", 65507/9)
	client(t, s.Addresses()[0], full, strings.Repeat("x", 65507), "nan:NaN|c\nbig:1e400|c\ns\xff\xfe:a\xe2\x82|s:a\ufffd|s\n\xff\x00:1|c", "", "\n\n")
	stop(t, s)
	if got := r.total("many"); got != 65507/9 {
		t.Errorf("many = %v, want %d", got, 65507/9)
	}
	if got := r.total("statsd.packets_received"); got != 5 {
		t.Errorf("%v packets, want 5", got)
	}
	if got := r.total("statsd.bad_lines_seen"); got != 2 {
		t.Errorf("%v bad lines, want 2", got)
	}
	last := r.flushes[len(r.flushes)-1]
	if text := render(last); !strings.Contains(text, "c big=Infinity/Infinity") || !strings.Contains(text, "c =1/0.1;") || !strings.Contains(text, "s s=a\ufffd") {
		t.Errorf("%s", text)
	}
	if status := s.Status(); status.BadLines != 2 || status.Names != 7 || status.LastPacket.Before(status.Startup.Add(-time.Second)) {
		t.Errorf("%+v", status)
	}
}

func TestServerCannotListen(t *testing.T) {
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	taken := udp.LocalAddr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(l Listen, want string) {
		t.Helper()
		cfg := config()
		cfg.Listen = []Listen{{Network: "tcp", Address: "127.0.0.1:0"}, l}
		r := &recorder{}
		s := New(cfg, []backend.Backend{r}, telemetry.NewRegistry(), quiet)
		err := s.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", l, err, want)
		}
		if conn, err := net.Dial("tcp", s.Addresses()[0].String()); err == nil {
			t.Error("the first listener is still open")
			conn.Close()
		}
		if r.env.Log != nil {
			t.Error("a backend was loaded")
		}
		stop(t, s)
	}
	f(Listen{Network: "udp4", Address: taken}, `cannot listen for StatsD on "udp4://`+taken+`": address already in use; stop the program`)
	f(Listen{Network: "unix", Address: file}, `cannot listen for StatsD on "unix://`+file+`": address already in use`)
	f(Listen{Network: "udp", Address: "127.0.0.1:99999"}, "invalid port")
	f(Listen{Network: "sctp", Address: ":1"}, `the network must be "udp"`)
	f(Listen{Network: "udp4", Address: "192.0.2.1:8125"}, "no interface of this machine has the address")

	// a second server does not share the first one's port, however many sockets it has
	cfg := config()
	cfg.Readers = 2
	cfg.Listen = []Listen{{Network: "udp4", Address: "127.0.0.1:0"}}
	first := start(t, cfg, telemetry.NewRegistry())
	f(Listen{Network: "udp4", Address: first.Addresses()[0].String()}, "address already in use")
}

func TestServerUnixSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	cfg := config()
	cfg.Listen = []Listen{{Network: "unix", Address: path, Mode: 0o620}}
	s := start(t, cfg, telemetry.NewRegistry())
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o620 {
		t.Errorf("socket file %v, error %v", info, err)
	}
	again := New(cfg, nil, telemetry.NewRegistry(), quiet)
	if err := again.Start(t.Context()); err == nil {
		t.Error("a second server took over a socket that is alive")
	}
	stop(t, s)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}
}

func TestServerStartOrder(t *testing.T) {
	cfg := config()
	cfg.Listen = []Listen{{Network: "tcp", Address: "127.0.0.1:0"}}
	r := &recorder{}
	s := New(cfg, []backend.Backend{r}, telemetry.NewRegistry(), quiet)
	var order []string
	s.OnListening(func() error {
		conn, err := net.Dial("tcp", s.Addresses()[0].String())
		if err == nil {
			conn.Close()
		}
		order = append(order, fmt.Sprint("listening ", err, " loaded ", r.env.Log != nil))
		return nil
	})
	s.OnListening(func() error {
		order = append(order, "second")
		return errors.New("no")
	})
	if err := s.Start(t.Context()); err == nil || err.Error() != "no" || r.env.Log != nil {
		t.Errorf("Start: %v", err)
	}
	if want := []string{"listening <nil> loaded false", "second"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

// refusing is a backend that cannot be loaded.
type refusing struct {
	recorder
	why string
}

func (r *refusing) Init(context.Context, backend.Environment) error {
	if r.why == "" {
		panic("out of luck")
	}
	return errors.New(r.why)
}

func TestServerBackendRefusesToLoad(t *testing.T) {
	f := func(why, want string) {
		t.Helper()
		first := &recorder{}
		s := New(config(), []backend.Backend{first, &refusing{why: why}}, telemetry.NewRegistry(), quiet)
		if err := s.Start(t.Context()); err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
		if !first.stopped || first.env.Interval != 1 || first.env.Prefix != "statsd" || first.env.Startup == 0 {
			t.Errorf("the first backend: stopped %v, %+v", first.stopped, first.env)
		}
	}
	// a name that occurs twice tells which
	f("no host", `cannot load the StatsD backend "recorder.2": no host`)
	f("", `cannot load the StatsD backend "recorder.2": it panicked: out of luck`)
}

func TestServerFlushTimes(t *testing.T) {
	// T0 is rounded to whole seconds, and flushes fall on T0 + k*I
	f := func(late time.Duration, interval time.Duration, want ...time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(late) // the bubble's clock begins at a whole second
			began := time.Now().Add(-late)
			cfg := config()
			cfg.FlushInterval = interval
			r := &recorder{}
			s := start(t, cfg, telemetry.NewRegistry(), r)
			time.Sleep(want[len(want)-1] - late + time.Millisecond)
			synctest.Wait()
			if status := s.Status(); !status.NextFlush.Equal(began.Add(want[len(want)-1]+interval)) || !status.LastFlush.Equal(began.Add(want[len(want)-1])) {
				t.Errorf("status %+v", status)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for i, at := range r.at {
				if i < len(want) && at.Sub(began) != want[i] {
					t.Errorf("flush %d after %v, want %v", i, at.Sub(began), want[i])
				}
				if got := r.flushes[i].Timestamp; got != wholeSeconds(at) {
					t.Errorf("flush %d has timestamp %d at %v", i, got, at)
				}
			}
			if len(r.at) != len(want) {
				t.Errorf("%d flushes, want %d", len(r.at), len(want))
			}
		})
	}
	s, ms := time.Second, time.Millisecond
	f(0, 10*s, 10*s, 20*s, 30*s)
	f(499*ms, 10*s, 10*s, 20*s)
	f(500*ms, 10*s, 11*s, 21*s) // T0 is half a second ahead
	f(300*ms, 200*ms, 600*ms, 800*ms, 1000*ms)
	f(600*ms, s, 2*s, 3*s)
}

func TestFlushDelay(t *testing.T) {
	f := func(start, now int64, interval, want time.Duration) {
		t.Helper()
		if got := flushDelay(time.UnixMilli(start), time.UnixMilli(now), interval); got != want {
			t.Errorf("start %d, now %d: %v, want %v", start, now, got, want)
		}
	}
	f(1000, 1000, 10*time.Second, 10*time.Second)
	f(1000, 900, 10*time.Second, 10100*time.Millisecond)
	f(1000, 5999, 10*time.Second, 5001*time.Millisecond)
	f(1000, 6000, 10*time.Second, 15*time.Second)      // half way counts as the next one
	f(1000, -3600_000, 10*time.Second, 11*time.Second) // the clock stepped back an hour
	f(0, 3, 2500*time.Microsecond, 2*time.Millisecond)
}

func TestServerLastFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		cfg := config()
		cfg.FlushInterval = 10 * time.Second
		s := start(t, cfg, telemetry.NewRegistry(), r)
		time.Sleep(10100 * time.Millisecond)
		s.aggregator.shards[0].Take([][]byte{[]byte("a:5|c")})
		stop(t, s)
		if len(r.flushes) != 2 || r.total("a") != 5 {
			t.Fatalf("%d flushes, a = %v", len(r.flushes), r.total("a"))
		}
		// not the timestamp of the flush before it, which a store would replace
		if first, last := r.flushes[0].Timestamp, r.flushes[1].Timestamp; last != first+1 {
			t.Errorf("timestamps %d and %d", first, last)
		}
		stop(t, s) // again: nothing happens
		if len(r.flushes) != 2 {
			t.Error("a second Stop flushed again")
		}
	})
}

func TestServerReload(t *testing.T) {
	s := New(config(), nil, telemetry.NewRegistry(), quiet)
	feed := func(packet string) { s.aggregator.shards[0].Take([][]byte{[]byte(packet)}) }
	feed("a:1|c\nt:1|ms\nx y:1|c")
	cfg := config()
	cfg.Prefix, cfg.Sanitize, cfg.DeleteCounters, cfg.TimerMetrics = "weir", false, true, []string{"upper"}
	if ignored := s.Reload(cfg); ignored != nil {
		t.Errorf("ignored %q", ignored)
	}
	feed("x y:1|c\nt:5|ms")
	if got, want := render(s.aggregator.flush(1000)),
		"c statsd.packets_received=1/1; c statsd.metrics_received=3/3; c a=1/1; c x_y=1/1; "+
			"c weir.bad_lines_seen=0/0; c weir.packets_received=1/1; c weir.metrics_received=2/2; c x y=1/1; ms t=[1 5]*2"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	f := s.aggregator.flush(1001)
	if got, want := render(f), "c weir.bad_lines_seen=0/0; c weir.packets_received=0/0; c weir.metrics_received=0/0; ms t=[]*0; g weir.timestamp_lag=0"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if len(f.Counters) != 6 || len(f.Timers[0].Fields) != 0 {
		t.Errorf("%d counters, timer fields %v", len(f.Counters), f.Timers[0].Fields)
	}
	cfg.FlushInterval, cfg.Listen, cfg.Percentiles = time.Minute, []Listen{{Network: "tcp"}}, []float64{50}
	if got, want := s.Reload(cfg), []string{"Listen", "FlushInterval", "Percentiles"}; !slices.Equal(got, want) {
		t.Errorf("ignored %q, want %q", got, want)
	}
	if s.aggregator.options.seconds != 1 {
		t.Error("the flush interval changed")
	}
}

func TestServerFlushIntervalMustBePositive(t *testing.T) {
	cfg := config()
	cfg.FlushInterval = 0
	if err := New(cfg, nil, telemetry.NewRegistry(), slog.New(slog.DiscardHandler)).Start(t.Context()); err == nil {
		t.Error("accepted")
	}
}
