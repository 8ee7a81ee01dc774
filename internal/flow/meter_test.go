package flow

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/telemetry"
	"pgregory.net/rapid"
)

// ledgerStage keeps the values of the last window: title, key, then meters, as sums over the window.
type ledgerStage struct {
	countergroup.Nothing
	rows map[string]map[string][]float64
}

func (s *ledgerStage) BeginFlush(int64) { s.rows = make(map[string]map[string][]float64) }

func (s *ledgerStage) Window(w *countergroup.Window) {
	group := make(map[string][]float64)
	for _, row := range w.Rows {
		values := slices.Clone(row.Values)
		for i, m := range w.Group.Meters {
			if m.Type == countergroup.Rate {
				values[i] *= 60
			}
		}
		group[row.Key] = values
	}
	s.rows[w.Group.Title] = group
}

// metering is a meter over the built-in groups on data time.
type metering struct {
	meter  *Meter
	engine *countergroup.Engine
	stage  *ledgerStage
	reg    *telemetry.Registry
}

func newMetering(t interface{ Fatal(...any) }, cfg MeterConfig) *metering {
	groups := countergroup.NewRegistry()
	for _, d := range countergroup.Builtin() {
		if _, err := groups.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	if cfg.Homes == nil {
		homes, err := NewHomes(DefaultHomes)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Homes = homes
	}
	m := &metering{stage: &ledgerStage{}, reg: telemetry.NewRegistry()}
	m.engine = countergroup.New(countergroup.Config{}, groups, m.reg, quiet)
	m.engine.SetStages(m.stage)
	m.meter = NewMeter(cfg, groups, m.engine.Batch(), m.reg)
	m.engine.Tick(noon.Unix())
	return m
}

// flush closes the window that is open.
func (m *metering) flush() map[string]map[string][]float64 {
	last := m.engine.LastFlush()
	for t := noon.Unix() + 1; m.engine.LastFlush() == last; t++ {
		m.engine.Tick(t)
	}
	return m.stage.rows
}

// text prints the meters that are not zero.
func text(rows map[string][]float64) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		line := key
		for i, v := range rows[key] {
			if v != 0 {
				line += fmt.Sprintf(" %d=%.0f", i, v)
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestMeter(t *testing.T) {
	m := newMetering(t, MeterConfig{})
	out := Record{Exporter: router, Time: noon.UnixNano(), Source: netip.MustParseAddr("10.0.0.5"), Destination: netip.MustParseAddr("8.8.8.8"), SourcePort: 50000, DestinationPort: 443,
		Protocol: 6, Bytes: 600, Packets: 6, In: 3, Out: 7, HasIn: true, HasOut: true, SourceAS: 65001, ExportBytes: 36, Rate: 1, HasMAC: true,
		SourceMAC: [6]byte{0, 0x1c, 0xc0, 0xb9, 0xb9, 0x10}, DestinationMAC: [6]byte{0, 0x1c, 0xc0, 0xb9, 0xb9, 1}, VLAN: 12}
	in := out
	in.Source, in.Destination, in.SourcePort, in.DestinationPort, in.In, in.Out = out.Destination, out.Source, 443, 50000, 7, 3
	in.Bytes, in.Packets, in.SourceAS, in.DestinationAS = 3000, 3, 0, 65001
	in.SourceMAC, in.DestinationMAC = out.DestinationMAC, out.SourceMAC
	ping := Record{Exporter: router, Time: noon.UnixNano(), Source: netip.MustParseAddr("10.0.0.5"), Destination: netip.MustParseAddr("224.0.0.1"), Protocol: 1, ICMP: 0x0800, DestinationPort: 0x0800, Bytes: 84, Packets: 1, Rate: 1}
	six := Record{Exporter: router, Time: noon.UnixNano(), Source: netip.MustParseAddr("2001:db8::1"), Destination: netip.MustParseAddr("2001:db8::2"), SourcePort: 5000, DestinationPort: 53, Protocol: 17, Bytes: 100, Packets: 1, Rate: 1}
	m.meter.Count([]Record{out, in, ping, six, {}}, true)
	rows := m.flush()
	f := func(group, want string) {
		t.Helper()
		if got := text(rows[group]); got != strings.TrimSpace(want) {
			t.Errorf("%s:\n%s\nwant:\n%s", group, got, want)
		}
	}
	f("Aggregates", `
DIR_INTOHOME 0=3000 1=3
DIR_OUTOFHOME 0=684 1=7
DIR_TRANSIT 0=100 1=1
SYS:GROUP_TOTALS 0=7568 1=22 7=84 8=3700
TOTALBW 0=3784 1=11 7=84 8=3700`)
	f("Hosts", `
08.08.08.08 0=3600 1=600 2=3000 3=9 4=1 6=3600 13=1 16=2
0A.00.00.05 0=3684 1=3000 2=684 3=10 4=2 7=3684 13=2 16=3
E0.00.00.01 0=84 1=84 3=1 4=1 6=84 13=1 16=1
SYS:GROUP_TOTALS 0=7368 1=3684 2=3684 3=20 4=4 6=3684 7=3684 13=4 16=6`)
	f("Internal Hosts", `
0A.00.00.05 0=3684 1=3000 2=684 3=10 4=2 7=3684 13=2 16=3
SYS:GROUP_TOTALS 0=3684 1=3000 2=684 3=10 4=2 7=3684 13=2 16=3`)
	f("HostsIPv6", `
20010DB8000000000000000000000001 0=100 2=100 3=1 4=1 7=100 13=1 16=1
20010DB8000000000000000000000002 0=100 1=100 3=1 4=1 7=100 13=1 16=1
SYS:GROUP_TOTALS 0=200 1=100 2=100 3=2 4=2 7=200 13=2 16=2`)
	f("Apps", `
SYS:GROUP_TOTALS 0=3784 2=3000 3=684 4=3 6=100 7=3
icmp08 0=84 3=84 4=1 7=1
p-0035 0=100 4=1 6=100 7=1
p-01BB 0=3600 2=3000 3=600 4=1 7=1`)
	f("NetworkLayerStats", `
01 0=84 1=1 2=1 3=1
06 0=3600 1=9 2=1 3=1
11 0=100 1=1 2=1 3=1
SYS:GROUP_TOTALS 0=3784 1=11 2=3 3=3`)
	f("FlowGens", `
C0.00.02.01 0=3784 1=72 2=4 3=3784 4=4
SYS:GROUP_TOTALS 0=3784 1=72 2=4 3=3784 4=4`)
	f("FlowIntfs", `
C0.00.02.01_00000003 0=3600 1=600 2=3000 3=2
C0.00.02.01_00000007 0=3600 1=3000 2=600 3=2
SYS:GROUP_TOTALS 0=7200 1=3600 2=3600 3=4`)
	f("Flow-ASN", `
65001 0=3600 1=600 2=3000
SYS:GROUP_TOTALS 0=3600 1=600 2=3000`)
	f("Mac", `
00:1C:C0:B9:B9:01 0=3000 1=600
00:1C:C0:B9:B9:10 0=600 1=3000
SYS:GROUP_TOTALS 0=3600 1=3600`)
	f("Dir Mac", `
00:1C:C0:B9:B9:01\00:1C:C0:B9:B9:10 0=3600 1=3000 2=600
SYS:GROUP_TOTALS 0=3600 1=3000 2=600`)
	f("VLANStats", `
12 0=3600
SYS:GROUP_TOTALS 0=3600`)
	if a := m.reg.Ledger("flow.records", "records").Snapshot(); a.Received != 5 || a.Passed != 4 || a.Discarded["no_ip_address"] != 1 {
		t.Errorf("ledger %+v", a)
	}

	// The flows end, and with them the connections.
	m.meter.Stage().BeginSecond(noon.Unix() + 1000)
	if n := m.meter.table.Len(); n != 0 {
		t.Errorf("%d flows are followed after their time", n)
	}
	if got := m.flush()["Hosts"]["0A.00.00.05"][4]; got != 0 {
		t.Errorf("%v connections are active after their time", got)
	}
}

func TestMeterOptions(t *testing.T) {
	m := newMetering(t, MeterConfig{BothPorts: true, IgnoreEgress: true})
	r := *flowOf(0, "10.0.0.1", 50000, "10.0.0.2", 8080, 6, 0)
	egress := r
	egress.Egress = true
	m.meter.Count([]Record{r, egress}, true)
	rows := m.flush()
	if got, want := text(rows["Apps"]), "SYS:GROUP_TOTALS 0=20 4=1 5=20 7=1\np-1F90 0=10 4=1 5=10 7=1\np-C350 0=10 5=10"; got != want {
		t.Errorf("Apps:\n%s\nwant:\n%s", got, want)
	}
	if a := m.reg.Ledger("flow.records", "records").Snapshot(); a.Discarded["egress"] != 1 {
		t.Errorf("ledger %+v", a)
	}
}

// TestInvariants: what section 7.2 says must be equal, over random records.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := newMetering(t, MeterConfig{})
		addresses := []string{"10.0.0.1", "10.0.0.2", "192.168.1.1", "8.8.8.8", "9.9.9.9", "224.0.0.5", "255.255.255.255"}
		six := []string{"2001:db8::1", "2001:db8::2", "ff02::1"}
		var records []Record
		for range rapid.IntRange(1, 60).Draw(t, "records") {
			from := addresses
			if rapid.Bool().Draw(t, "six") {
				from = six
			}
			r := Record{Exporter: router, Time: noon.UnixNano(), Source: netip.MustParseAddr(rapid.SampledFrom(from).Draw(t, "source")), Destination: netip.MustParseAddr(rapid.SampledFrom(from).Draw(t, "destination")),
				SourcePort: rapid.SampledFrom([]uint16{0, 53, 443, 50000}).Draw(t, "sport"), DestinationPort: rapid.SampledFrom([]uint16{0, 53, 443, 50000}).Draw(t, "dport"),
				Protocol: rapid.SampledFrom([]uint8{1, 2, 6, 17, 47, 50, 58, 89}).Draw(t, "protocol"), Flags: rapid.Byte().Draw(t, "flags"),
				Bytes: rapid.Uint64Range(0, 1<<40).Draw(t, "bytes"), Packets: rapid.Uint64Range(0, 1<<30).Draw(t, "packets"),
				In: uint32(rapid.IntRange(0, 3).Draw(t, "in")), Out: uint32(rapid.IntRange(0, 3).Draw(t, "out")), HasIn: true, HasOut: true}
			records = append(records, r)
		}
		groups.meter.Count(records, true)
		rows := groups.flush()
		total := rows["Aggregates"]["TOTALBW"][0]
		sum := func(group string, meter int, keys func(string) bool) (sum float64) {
			for key, values := range rows[group] {
				if key != countergroup.TotalsKey && (keys == nil || keys(key)) {
					sum += values[meter]
				}
			}
			return sum
		}
		same := func(what string, got, want float64) {
			if d := got - want; d > 1e-6*want || d < -1e-6*want {
				t.Errorf("%s: %f, want %f", what, got, want)
			}
		}
		same("Hosts and HostsIPv6 are twice the traffic", sum("Hosts", 0, nil)+sum("HostsIPv6", 0, nil), 2*total)
		same("directions are the traffic", sum("Aggregates", 0, func(k string) bool { return strings.HasPrefix(k, "DIR_") }), total)
		same("Apps are the traffic", sum("Apps", 0, nil), total)
		same("protocols are the traffic", sum("NetworkLayerStats", 0, nil), total)
		same("interfaces receive and transmit", sum("FlowIntfs", 0, nil), sum("FlowIntfs", 1, nil)+sum("FlowIntfs", 2, nil))
		same("internal and external are all hosts", sum("Internal Hosts", 0, nil)+sum("External Hosts", 0, nil), sum("Hosts", 0, nil))
	})
}

// TestServerPort: of a captured connection the application is the side that did not send the SYN, else the lower port; of exported records always the lower.
func TestServerPort(t *testing.T) {
	f := func(exported bool, want string, flags ...uint8) {
		t.Helper()
		m := newMetering(t, MeterConfig{})
		for i, flag := range flags {
			r := Record{Exporter: router, Time: noon.UnixNano(), Source: netip.MustParseAddr("10.0.0.5"), Destination: netip.MustParseAddr("10.0.0.6"), SourcePort: 1000, DestinationPort: 8080,
				Protocol: 6, Flags: flag, Bytes: 100, Packets: 1, Rate: 1}
			if i%2 == 1 { // the answer
				r.Source, r.Destination, r.SourcePort, r.DestinationPort = r.Destination, r.Source, 8080, 1000
			}
			m.meter.Count([]Record{r}, exported)
		}
		rows := m.flush()["Apps"]
		delete(rows, countergroup.TotalsKey)
		if got := text(rows); got != want {
			t.Errorf("flags %v, exported %v: %s, want %s", flags, exported, got, want)
		}
	}
	f(false, "p-1F90 0=300 4=1 5=300 7=1", flagSYN, flagSYN|flagACK, flagACK)
	f(false, "p-1F90 0=200 4=1 5=200", flagSYN, flagFIN|flagACK)
	f(false, "p-03E8 0=200 4=1 5=200 7=1", flagSYN|flagACK, flagACK)
	f(false, "p-03E8 0=200 4=1 5=200 7=1", flagACK, flagACK)
	f(true, "p-03E8 0=200 4=1 5=200 7=1", flagSYN, flagSYN|flagACK)
}

// TestBusiest: the exporter of most new flows is known, however many others there are, and counting begins anew with each call.
func TestBusiest(t *testing.T) {
	m := newMetering(t, MeterConfig{})
	count := func(exporter netip.Addr, from, to uint16, exported bool) {
		for port := from; port < to; port++ {
			m.meter.Count([]Record{{Time: 1e9, Exporter: exporter, Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("8.8.8.8"), SourcePort: port, DestinationPort: 53, Protocol: 17, Bytes: 1, Packets: 1}}, exported)
		}
	}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	count(a, 1000, 1010, true)
	count(a, 1000, 1010, true) // known flows are none that begin
	count(b, 2000, 2015, true)
	count(a, 3000, 4000, false) // captured
	if exporter, flows := m.meter.Busiest(); exporter != b || flows != 15 {
		t.Errorf("%v began %d flows", exporter, flows)
	}
	if exporter, flows := m.meter.Busiest(); exporter.IsValid() || flows != 0 {
		t.Errorf("of nothing: %v began %d flows", exporter, flows)
	}
	for i := range 2 * maxBegun { // forged addresses
		count(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), 5000, 5001, true)
	}
	if n := len(m.meter.begun); n != maxBegun {
		t.Errorf("%d exporters are told apart", n)
	}
}
