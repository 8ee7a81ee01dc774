package netflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/inventory"
	"github.com/weirhq/weir/internal/telemetry"
)

var quiet = slog.New(slog.DiscardHandler)

// sink keeps what is sent, in order.
type sink struct {
	values []collector.Value
	fail   error
}

// SendResults implements collector.Sink.
func (s *sink) SendResults(_ context.Context, account int64, values []collector.Value) error {
	if s.fail != nil {
		return s.fail
	}
	if account != 7 {
		return fmt.Errorf("values of account %d", account)
	}
	for _, v := range values {
		if err := collector.CheckPath(v.Path); err != nil {
			return err
		}
	}
	s.values = append(s.values, values...)
	return nil
}

// take returns what was sent, by path.
func (s *sink) take() map[string]float64 {
	all := make(map[string]float64)
	for _, v := range s.values {
		all[v.Path] = v.Value
	}
	s.values = nil
	return all
}

// device is entity 311 of account 7 that exports from an address.
func device(at string) *collector.JobConfig {
	return &collector.JobConfig{AccountID: 7, EntityID: 311, Name: "edge", EntityType: "device", Details: []byte(`{"ipv4":"` + at + `"}`), Sensors: []collector.SensorConfig{{SensorID: 1}}}
}

// jobs are those of a refresh, by ID.
func jobs(t *testing.T, b *Bot, to collector.Sink, devices ...*collector.JobConfig) map[string]collector.Job {
	t.Helper()
	all := make(map[string]collector.Job)
	for job, err := range b.Jobs(t.Context(), bot.Fixed(devices), to) {
		if err != nil {
			t.Fatal(err)
		}
		all[job.ID] = job
	}
	return all
}

func do(t *testing.T, job collector.Job) {
	t.Helper()
	if err := job.Run(t.Context(), collector.Run{}); err != nil {
		t.Fatal(err)
	}
}

// network is parts in network order.
func network(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		var err error
		switch p := p.(type) {
		case string:
			b = append(b, netip.MustParseAddr(p).AsSlice()...)
		case []byte:
			b = append(b, p...)
		default:
			b, err = binary.Append(b, binary.BigEndian, p)
		}
		if err != nil {
			panic(err)
		}
	}
	return b
}

func v5(records ...[]byte) []byte {
	return append(network(uint16(5), uint16(len(records)), uint32(60000), uint32(1700000000), uint32(0), uint32(0), uint16(0), uint16(0)), slices.Concat(records...)...)
}

func v5Record(source, destination string, in, out uint16, bytes uint32, port uint16, protocol uint8) []byte {
	return network(source, destination, "0.0.0.0", in, out, uint32(1), bytes, uint32(1000), uint32(2000), uint16(40000), port, uint8(0), uint8(0), protocol, uint8(0), uint16(0), uint16(0), uint8(0), uint8(0), uint16(0))
}

func set(id uint16, content []byte) []byte {
	return network(id, uint16(4+len(content)), content)
}

func v9(sets ...[]byte) []byte {
	return append(network(uint16(9), uint16(len(sets)), uint32(60000), uint32(1700000000), uint32(0), uint32(1)), slices.Concat(sets...)...)
}

// templates of v9: bytes, protocol, direction, port, interfaces in 2 and in 4 bytes, and the addresses.
var templates = set(0, network(
	uint16(256), uint16(8), uint16(1), uint16(4), uint16(4), uint16(1), uint16(61), uint16(1), uint16(11), uint16(2), uint16(10), uint16(2), uint16(14), uint16(4), uint16(8), uint16(4), uint16(12), uint16(4),
	uint16(257), uint16(5), uint16(1), uint16(4), uint16(4), uint16(1), uint16(10), uint16(2), uint16(27), uint16(16), uint16(28), uint16(16),
	uint16(258), uint16(5), uint16(1), uint16(8), uint16(4), uint16(1), uint16(10), uint16(2), uint16(8), uint16(4), uint16(12), uint16(4)))

// TestCheckExample is the check example of section 5.4: datagrams of NetFlow v5 and v9 over UDP, and what is
// sent for them, in the order of the section.
func TestCheckExample(t *testing.T) {
	reg := telemetry.NewRegistry()
	flows := NewFlows(reg)
	listener := flow.NewListener(flow.ListenerConfig{Listen: []flow.Listen{{Network: "udp", Address: "127.0.0.1:0"}}, Templates: filepath.Join(t.TempDir(), "t.json")}, flows.Take, reg, quiet)
	if err := listener.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer listener.Stop(context.Background())
	to := new(sink)
	b := New(flows, nil, 0, "", quiet)
	minute := jobs(t, b, to, device("127.0.0.1"))["aggr/1min/7"]
	do(t, minute) // nothing came
	conn, err := net.Dial("udp", listener.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := int64(0)
	send := func(records int64, datagrams ...[]byte) {
		t.Helper()
		for _, d := range datagrams {
			if _, err := conn.Write(d); err != nil {
				t.Fatal(err)
			}
		}
		sent += records
		for late := time.Now().Add(20 * time.Second); flows.ledger.Snapshot().Passed != sent; time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%+v, sent %d", flows.ledger.Snapshot(), sent)
			}
		}
	}
	send(1, v5(v5Record("10.0.0.1", "10.0.1.1", 1, 2, 5, 443, 6)))
	do(t, minute) // the first run: nobody knows how long this window is
	do(t, minute) // nothing new
	if len(to.values) > 0 {
		t.Fatal(to.values)
	}
	send(3, v9(templates, set(256, network(uint32(7000), uint8(6), uint8(1), uint16(80), uint16(7), uint32(8), "192.0.2.1", "192.0.2.9")),
		set(258, network(uint64(300), uint8(47), uint16(7), "192.0.2.1", "192.0.2.9")), set(257, network(uint32(4000), uint8(6), uint16(7), "2001:db8::1", "2001:db8::2"))))
	do(t, minute)
	to.take()
	ports := set(0, network(uint16(257), uint16(6), uint16(1), uint16(4), uint16(4), uint16(1), uint16(10), uint16(2), uint16(27), uint16(16), uint16(28), uint16(16), uint16(11), uint16(2)))
	for range 30 {
		send(6, v5(v5Record("10.0.0.1", "10.0.1.1", 1, 2, 1000, 443, 6), v5Record("10.0.0.1", "10.0.1.1", 1, 3, 500, 53, 17), v5Record("10.0.0.2", "10.0.1.1", 2, 3, 84, 0, 1)),
			v9(ports, set(256, network(uint32(7000), uint8(6), uint8(1), uint16(80), uint16(7), uint32(8), "192.0.2.1", "192.0.2.9")),
				set(258, network(uint64(300), uint8(47), uint16(7), "192.0.2.1", "192.0.2.9")),
				set(257, network(uint32(4000), uint8(6), uint16(7), "2001:db8::1", "2001:db8::2", uint16(443)))))
	}
	do(t, minute)
	var got strings.Builder
	for _, v := range to.values {
		path := strings.Replace(strings.TrimPrefix(v.Path, "netflow.1min."), "entity.311", "E", 1)
		fmt.Fprintf(&got, "%s %.0f\n", path, v.Value)
	}
	want := `egress.E.if.8 210000
egress.E 210000
ingress.E.if.1 45000
ingress.E.if.2 2520
ingress.E.if.7 129000
ingress.E 176520
egress 210000
ingress 176520
egress.E.topip.192%2e0%2e2%2e9 210000
egress.E.if.8.topip.192%2e0%2e2%2e9 210000
egress.E.topprotocol.TCP 210000
egress.E.if.8.topprotocol.TCP 210000
egress.E.topconn.192%2e0%2e2%2e1.192%2e0%2e2%2e9 210000
egress.E.topdstports.80 210000
ingress.E.topip.2001%3adb8%3a%3a1 120000
ingress.E.topip.10%2e0%2e0%2e1 45000
ingress.E.topip.192%2e0%2e2%2e1 9000
ingress.E.topip.10%2e0%2e0%2e2 2520
ingress.E.if.1.topip.10%2e0%2e0%2e1 45000
ingress.E.if.2.topip.10%2e0%2e0%2e2 2520
ingress.E.if.7.topip.2001%3adb8%3a%3a1 120000
ingress.E.if.7.topip.192%2e0%2e2%2e1 9000
ingress.E.topprotocol.TCP 150000
ingress.E.topprotocol.UDP 15000
ingress.E.topprotocol.GREs 9000
ingress.E.topprotocol.ICMP 2520
ingress.E.if.1.topprotocol.TCP 30000
ingress.E.if.1.topprotocol.UDP 15000
ingress.E.if.2.topprotocol.ICMP 2520
ingress.E.if.7.topprotocol.TCP 120000
ingress.E.if.7.topprotocol.GREs 9000
ingress.E.topconn.2001%3adb8%3a%3a1.2001%3adb8%3a%3a2 120000
ingress.E.topconn.10%2e0%2e0%2e1.10%2e0%2e1%2e1 45000
ingress.E.topconn.192%2e0%2e2%2e1.192%2e0%2e2%2e9 9000
ingress.E.topconn.10%2e0%2e0%2e2.10%2e0%2e1%2e1 2520
ingress.E.topdstports.443 150000
ingress.E.topdstports.53 15000
ingress.E.topdstports.0 11520
`
	if got.String() != want {
		t.Errorf("the values are\n%swant\n%s", got.String(), want)
	}
}

// record is one of 100 bytes from an exporter.
func record(exporter, source, destination string) flow.Record {
	return flow.Record{Exporter: netip.MustParseAddr(exporter), Time: 1700000000e9, Source: netip.MustParseAddr(source), Destination: netip.MustParseAddr(destination), Protocol: 6, Bytes: 100, In: 1}
}

// TestWindows lets the jobs of two labels see each record once, and nothing of exporters that are not theirs.
func TestWindows(t *testing.T) {
	flows := NewFlows(telemetry.NewRegistry())
	to := new(sink)
	b := New(flows, nil, 0, "", quiet)
	all := jobs(t, b, to, device("192.0.2.1"))
	minute, quarter := all["aggr/1min/7"], all["aggr/15min/7"]
	one, other := record("192.0.2.1", "10.0.0.1", "10.0.0.2"), record("192.0.2.66", "10.0.0.1", "10.0.0.2")
	feed := func(records ...flow.Record) { flows.Take(records) }
	const sum, sum15 = "netflow.1min.ingress.entity.311", "netflow.15min.ingress.entity.311"
	feed(one)
	do(t, minute)
	do(t, quarter)
	feed(one, other)
	do(t, minute)
	if got := to.take(); got[sum] != 100 || got["netflow.1min.ingress"] != 100 {
		t.Error("one record:", got)
	}
	feed(other)
	do(t, minute)
	if got := to.take(); len(got) != 4 || got[sum] != 0 { // sent even if 0
		t.Error("a record of another exporter:", got)
	}
	to.fail = errors.New("no")
	feed(one)
	if err := minute.Run(t.Context(), collector.Run{}); !errors.Is(err, to.fail) {
		t.Error(err)
	}
	to.fail = nil
	do(t, minute) // nothing is lost, and nothing new must come for it
	if got := to.take(); got[sum] != 100 {
		t.Error("after a failure:", got)
	}
	jobs(t, b, to, device("192.0.2.1")) // a refresh changes nothing
	feed(one)
	do(t, quarter)
	if got := to.take(); got[sum15] != 300 {
		t.Error("15 minutes:", got)
	}
	jobs(t, b, to) // the device is gone
	do(t, minute)
	if got := to.take(); len(got) != 0 {
		t.Error("without a device:", got)
	}
	if a := flows.ledger.Snapshot(); !a.Balanced() || a.Discarded["unwatched"] != 2 {
		t.Errorf("%+v", a)
	}
}

// TestJobs are the times of section 5.4.
func TestJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flows := NewFlows(telemetry.NewRegistry())
		b := New(flows, fakeInventory{}, 0, "", quiet)
		begin := time.Now()
		var got []string
		runs := make(chan string)
		source := bot.Fixed{device("192.0.2.1"), device(""), {AccountID: 3, Name: "lab", Details: []byte(`{"ipv4":"192.0.2.1"}`)}}
		for job, err := range b.Jobs(t.Context(), source, new(sink)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, job.ID)
			if id := job.ID; strings.HasPrefix(id, "aggr/") && strings.HasSuffix(id, "/7") {
				ctx, cancel := context.WithCancel(t.Context())
				job.Run = func(context.Context, collector.Run) error {
					runs <- id + " " + time.Since(begin).String()
					cancel()
					return nil
				}
				c := collector.New(collector.Config{Jobs: func(context.Context) iter.Seq2[collector.Job, error] {
					return func(yield func(collector.Job, error) bool) { yield(job, nil) }
				}, Refresh: time.Hour * 1000, Log: quiet})
				go c.Run(ctx)
			}
		}
		want := "maint/remove_old_data maint/suggest_entities aggr/1min/3 aggr/15min/3 aggr/1h/3 aggr/4h/3 aggr/24h/3 aggr/1min/7 aggr/15min/7 aggr/1h/7 aggr/4h/7 aggr/24h/7"
		if strings.Join(got, " ") != want {
			t.Error(got)
		}
		for _, want := range []string{"aggr/15min/7 15s", "aggr/1min/7 1m0s", "aggr/1h/7 4m15s", "aggr/4h/7 29m15s", "aggr/24h/7 1h29m15s"} {
			if got := <-runs; got != want {
				t.Errorf("first run: %s, want %s", got, want)
			}
		}
	})
}

// fakeInventory has accounts and remembers what is added.
type fakeInventory map[int64][]inventory.Entity

func (f fakeInventory) Accounts(context.Context) (all []inventory.Account, err error) {
	for _, id := range []int64{3, 7} {
		all = append(all, inventory.Account{ID: id})
	}
	return all, nil
}

func (f fakeInventory) Entities(_ context.Context, account int64) ([]inventory.Entity, error) {
	return f[account], nil
}

func (f fakeInventory) AddEntity(_ context.Context, account int64, e *inventory.Entity) (int64, error) {
	f[account] = append(f[account], *e)
	return int64(len(f[account])), nil
}

// TestSuggest adds exporters that nobody knows, in bounds.
func TestSuggest(t *testing.T) {
	in := fakeInventory{7: {
		{Name: "sw", EntityType: "device", Details: []byte(`{"ipv4":"192.0.2.1"}`)}, {Name: "no address", EntityType: "device", Details: []byte(`{}`)},
		{Name: "odd", EntityType: "device", Details: []byte(`[]`)}, {Name: "Gi0/1", EntityType: "interface", Details: []byte(`{"ipv4":"192.0.2.2"}`)},
	}}
	flows := NewFlows(telemetry.NewRegistry())
	b := New(flows, in, 7, "", quiet)
	suggest := jobs(t, b, new(sink), device("192.0.2.77"))["maint/suggest_entities"] // of which nothing came yet
	flows.Take([]flow.Record{record("192.0.2.1", "10.0.0.1", "10.0.0.2"), record("192.0.2.2", "10.0.0.1", "10.0.0.2"), record("2001:db8::1", "10.0.0.1", "10.0.0.2")})
	do(t, suggest)
	do(t, suggest)
	if added := in[7][4:]; len(added) != 1 || len(in[3]) != 0 || added[0].Name != "192.0.2.2 (NetFlow exporter)" || added[0].EntityType != "device" || string(added[0].Details) != `{"ipv4":"192.0.2.2"}` {
		t.Errorf("%+v", in)
	}
	for i := range 3 * maxExporters {
		flows.Take([]flow.Record{record(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String(), "10.0.0.1", "10.0.0.2")})
	}
	for range 3 * maxDevices / maxSuggested {
		before := len(in[7])
		do(t, suggest)
		if n := len(in[7]) - before; n > maxSuggested {
			t.Fatal("at once:", n)
		}
	}
	if n := len(in[7]) - 1; n != maxDevices || len(flows.exporters) > maxExporters {
		t.Error(n, len(flows.exporters))
	}
	flows.forget(time.Unix(1700000000, 0).Add(exporterAge + time.Second))
	if len(flows.exporters) != 1 {
		t.Error("there are still", len(flows.exporters))
	}
}

// TestBounds sends far more different records than there is room for: sums stay right, and so does what is big.
func TestBounds(t *testing.T) {
	flows := NewFlows(telemetry.NewRegistry())
	to := new(sink)
	minute := jobs(t, New(flows, nil, 0, "", quiet), to, device("192.0.2.1"))["aggr/1min/7"]
	flows.Take([]flow.Record{record("192.0.2.1", "10.0.0.1", "10.0.0.2")})
	do(t, minute)
	const n = 5 * maxKeys
	one := []flow.Record{record("192.0.2.1", "10.0.0.1", "192.0.2.9"), record("192.0.2.1", "10.0.0.1", "192.0.2.8")}
	one[1].Source, one[1].Bytes, one[1].In = netip.MustParseAddr("10.9.9.9"), 1000, 77
	for i := range n {
		one[0].Source = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		one[0].In = uint32(i)
		flows.Take(one)
	}
	do(t, minute)
	got := to.take()
	if got["netflow.1min.ingress.entity.311"] != n*1100 || got["netflow.1min.ingress.entity.311.topip.10%2e9%2e9%2e9"] != n*1000 || got["netflow.1min.ingress.entity.311.if.77.topip.10%2e9%2e9%2e9"] != n*1000 {
		t.Error("the sums are wrong:", got["netflow.1min.ingress.entity.311"])
	}
	if len(got) > 30*maxInterfaces || flows.forgotten == 0 {
		t.Error(len(got), flows.forgotten)
	}
}

func TestProtocolNames(t *testing.T) {
	for number, want := range map[uint8]string{0: "HOPOPT", 6: "TCP", 39: "TP--", 61: "proto61", 84: "TTP-IPTM", 93: "AX%2e25", 107: "A-N", 124: "IS-IS-over-IPv4", 135: "Mobility-Header", 143: "proto143", 254: "proto254", 255: "Reserved"} {
		if got := protocolName(number); got != want {
			t.Errorf("%d is %q, want %q", number, got, want)
		}
	}
	for number := range 256 {
		if err := collector.CheckPath("a." + protocolName(uint8(number))); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	flows := NewFlows(telemetry.NewRegistry())
	flows.watch(map[int64][]netip.Addr{7: {netip.MustParseAddr("192.0.2.1")}})
	records := make([]flow.Record, 30)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for i := range records {
			at := (n*30 + i) % 20000
			records[i] = flow.Record{Exporter: netip.MustParseAddr("192.0.2.1"), Source: netip.AddrFrom4([4]byte{10, 0, byte(at >> 8), byte(at)}), Destination: netip.AddrFrom4([4]byte{10, 1, 0, 1}), Protocol: 6, Bytes: 100}
		}
		flows.Take(records)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/30, "ns/record")
}
