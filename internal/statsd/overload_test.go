package statsd

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// hinder is a backend that makes intake slow.
type hinder struct{ recorder }

func (h *hinder) Packet([]byte, backend.Remote) { time.Sleep(50 * time.Microsecond) }

// TestOverload sends far more than can be processed into a small receive
// buffer: what was sent must be what was processed plus what was counted.
func TestOverload(t *testing.T) {
	const senders, packets = 3, 10_000
	cfg := config()
	cfg.Readers = 2
	cfg.Listen = []Listen{{Network: "udp4", Address: "127.0.0.1:0"}}
	reg, r := telemetry.NewRegistry(), &hinder{}
	s := New(cfg, []backend.Backend{r}, reg, quiet)
	s.intake.receiveBuffer = 64 << 10
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	for range senders {
		conn := client(t, s.Addresses()[0])
		sending.Go(func() {
			for range packets {
				if _, err := conn.Write([]byte("hits:1|c\nhits:1|c")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	// The kernel's count is known although no packet comes any more.
	if account := reg.Ledger("statsd.packets", "packets").Snapshot(); account.Discarded["kernel_drop"] == 0 {
		t.Errorf("nothing was dropped, this tests nothing: %+v", account)
	}
	stop(t, s)
	account := balanced(t, reg)["statsd.packets"]
	if account.Received != senders*packets {
		t.Errorf("%d packets sent, %+v", senders*packets, account)
	}
	if got := r.total("hits"); got != float64(2*account.Passed) {
		t.Errorf("hits sum up to %v, but %d packets with two each were processed", got, account.Passed)
	}
}

// TestStopUnderLoad stops a server while senders go on: whatever reached the
// socket is processed or counted, and Stop does not wait for them to end.
func TestStopUnderLoad(t *testing.T) {
	cfg := config()
	cfg.Listen = []Listen{{Network: "udp4", Address: "127.0.0.1:0"}, {Network: "tcp", Address: "127.0.0.1:0"}}
	reg, r := telemetry.NewRegistry(), &recorder{}
	s := start(t, cfg, reg, r)
	var sending sync.WaitGroup
	for _, address := range s.Addresses() {
		conn := client(t, address)
		sending.Go(func() {
			for { // until the socket is gone
				if _, err := conn.Write([]byte("hits:1|c\n")); err != nil {
					return
				}
			}
		})
	}
	for reg.Ledger("statsd.packets", "packets").Snapshot().Passed < 1000 {
		runtime.Gosched()
	}
	began := time.Now()
	stop(t, s)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Stop took %v", took)
	}
	sending.Wait()
	values := balanced(t, reg)["statsd.values"]
	if got := r.total("hits"); got != float64(values.Passed) {
		t.Errorf("hits sum up to %v, %+v", got, values)
	}
}

func TestStreamClients(t *testing.T) {
	cfg := config()
	cfg.Listen = []Listen{{Network: "tcp", Address: "127.0.0.1:0"}}
	reg, r := telemetry.NewRegistry(), &recorder{}
	s := start(t, cfg, reg, r)
	address := s.Addresses()[0]
	for range 100 {
		client(t, address) // connects and never sends
	}
	slow := client(t, address)
	for _, c := range []byte("slow:1|c\nslow:2|c\n") {
		if _, err := slow.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	client(t, address, "tail:1|c\ntail:2|c").Close()
	endless := client(t, address)
	_, err := endless.Write([]byte("endless:1|c\n" + strings.Repeat("x", maxLine)))
	for ; err == nil; _, err = endless.Write([]byte("x")) { // it is closed when it has gone too far
		runtime.Gosched()
	}
	if got := s.intake.open.Load(); got > 102 {
		t.Errorf("%d connections are open, want 102 at most", got)
	}
	stop(t, s)
	for name, want := range map[string]float64{"slow": 3, "tail": 1, "endless": 1, "statsd.bad_lines_seen": 1} {
		if got := r.total(name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	accounts := balanced(t, reg)
	if got := accounts["statsd.packets"]; got.Discarded["unfinished_line"] != 1 || got.Discarded["line_too_long"] != 1 {
		t.Errorf("packets: %+v", got)
	}
	if got := accounts["statsd.connections"]; got.Received != 103 || got.Buffered != 0 {
		t.Errorf("connections: %+v", got)
	}
	if got := s.intake.spare.Load(); got != maxUnfinished {
		t.Errorf("%d bytes of buffers were not given back", maxUnfinished-got)
	}
}

func TestStreamConnectionLimit(t *testing.T) {
	cfg := config()
	cfg.Listen = []Listen{{Network: "tcp", Address: "127.0.0.1:0"}}
	reg := telemetry.NewRegistry()
	s := start(t, cfg, reg)
	s.intake.open.Add(maxConnections - 1)
	first := client(t, s.Addresses()[0], "a:1|c\n")
	for reg.Ledger("statsd.values", "values").Snapshot().Passed == 0 {
		runtime.Gosched()
	}
	refused := client(t, s.Addresses()[0])
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit was taken")
	}
	first.Close()
	for s.intake.open.Load() == maxConnections {
		runtime.Gosched()
	}
	client(t, s.Addresses()[0], "a:1|c\n")
	for reg.Ledger("statsd.values", "values").Snapshot().Passed == 1 {
		runtime.Gosched()
	}
	stop(t, s)
	if got := reg.Ledger("statsd.connections", "connections").Snapshot(); got.Discarded["too_many"] != 1 || got.Received != 3 {
		t.Errorf("%+v", got)
	}
}

// TestMillionNames has a runaway client send a million names against a ceiling
// of a tenth of that, with readers in parallel, and then the names be deleted.
func TestMillionNames(t *testing.T) {
	const names, limit = 1_000_000, 100_000
	cfg := config()
	cfg.MaxNames = limit
	a, feed := aggregate(cfg, 2)
	before := heap()
	var feeding sync.WaitGroup
	for shard := range 2 {
		feeding.Go(func() {
			var packet strings.Builder
			for i := range names {
				fmt.Fprintf(&packet, "service.%d.requests:1|%s\n", i, [...]string{"c", "ms", "g", "s"}[i%4])
				if packet.Len() > 60_000 || i == names-1 {
					feed(shard, packet.String())
					packet.Reset()
				}
			}
		})
	}
	feeding.Wait()
	f := a.flush(1000)
	if f.Count() != limit || a.names.size() != limit {
		t.Errorf("%d metrics in the flush, %d names held, want %d", f.Count(), a.names.size(), limit)
	}
	account := a.ledger.Snapshot()
	if !account.Balanced() || account.Received != 2*names || account.Discarded["name_limit"] < 2*(names-limit) {
		t.Errorf("ledger %+v", account)
	}
	f = nil
	perName := (float64(heap()) - float64(before)) / limit
	t.Logf("%.0f bytes per name", perName)
	if perName > 1000 {
		t.Errorf("%.0f bytes per name are held", perName)
	}
	cfg.DeleteCounters, cfg.DeleteTimers, cfg.DeleteSets, cfg.DeleteGauges = true, true, true, true
	a.reload(cfg)
	feed(0, "service.2.requests:1|g")
	for now := range 4 {
		a.flush(int64(1001 + now))
	}
	// Gauges that came before deleteGauges have no time to live, as in the reference daemon.
	if got := a.Delete(Gauge, "service.*"); len(got) == 0 {
		t.Error("no gauge deleted")
	}
	if got := a.names.size(); got != 4 { // internal ones
		t.Errorf("%d names are left", got)
	}
	if held := int64(heap()) - int64(before); held > 4<<20 {
		t.Errorf("%d bytes are held for no names", held)
	}
	runtime.KeepAlive(a)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
