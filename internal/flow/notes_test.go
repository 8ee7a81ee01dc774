package flow

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/telemetry"
)

func TestParseKey(t *testing.T) {
	v4, v6, router := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.129.74.146")
	for _, id := range []ID{
		{A: v4, Z: router, PortA: 50000, PortZ: 443, Protocol: 6},
		{A: v6, Z: v6, PortA: 50000, PortZ: 53, Protocol: 17},
		{A: v4, Z: router, PortA: 50000, PortZ: 443, Protocol: 6, Router: router, In: 3, Out: 1 << 31},
		{A: v6, Z: v6, Protocol: 58, ICMP: 0x8000, Router: router},
		{A: v4, Z: router, Protocol: 1, ICMP: 0x0800, Router: v6, In: 1},
		{A: v4, Z: router, Protocol: 47},
	} {
		key := string(id.AppendKey(nil))
		got, ok := ParseKey(key)
		if diff := cmp.Diff(id, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || !ok {
			t.Errorf("%s: %v %s", key, ok, diff)
		}
	}
	for _, bad := range []string{"", "x", "06A:", "06A:C0.A8.01.02:p-0B94", "06B:C0.A8.01.02:p-0B94_D1.D8.F9.3A:p-0016", "06A:C0.A8.01.02:p-0B94_p-0000:", "zzA:C0.A8.01.02:p-0B94_D1.D8.F9.3A:p-0016",
		"06A:C0.A8.01.02:p-_D1.D8.F9.3A:p-0016", "06A:C0.A8.01.02:_D1.D8.F9.3A:p-0016", "06C:C0.A8.01.02:p-0B94_D1.D8.F9.3A:p-0016_0A.00.00.01_x_y"} {
		if id, ok := ParseKey(bad); ok {
			t.Errorf("%q is %+v", bad, id)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("06C:0A.00.00.05:p-C350_08.08.08.08:p-01BB_0A.00.00.01_00000003_00000007")
	f.Fuzz(func(t *testing.T, key string) {
		if id, ok := ParseKey(key); ok {
			again, ok := ParseKey(string(id.AppendKey(nil)))
			if id.Protocol == protocolTCP && (!ok || again != id) {
				t.Errorf("%q is %+v and then %+v", key, id, again)
			}
		}
	})
}

// TestNotes: tags within their 64 bytes, counters by direction, and what scripts change of a flow.
func TestNotes(t *testing.T) {
	groups, reg := countergroup.NewRegistry(), telemetry.NewRegistry()
	g, err := groups.Register(countergroup.Definition{GUID: "{00000000-0000-0000-0000-000000000001}", Title: "Own", Meters: []countergroup.Meter{{Type: countergroup.Counter, Name: "bytes"}}})
	if err != nil {
		t.Fatal(err)
	}
	engine := countergroup.New(countergroup.Config{}, groups, reg, quiet)
	homes, err := NewHomes(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMeter(MeterConfig{Homes: homes}, groups, engine.Batch(), reg)
	var flow Flow
	m.Watch(nil, func(f *Flow) { flow = *f }, func(f *Flow) { flow = *f }, func(f *Flow) { flow = *f })
	record := Record{Time: 100e9, Source: netip.MustParseAddr("10.0.0.5"), Destination: netip.MustParseAddr("8.8.8.8"), SourcePort: 50000, DestinationPort: 443, Protocol: 6, Bytes: 100, Packets: 1}
	back := record
	back.Source, back.Destination, back.SourcePort, back.DestinationPort, back.Bytes = record.Destination, record.Source, record.DestinationPort, record.SourcePort, 7
	m.Count([]Record{record}, false)
	key := string(flow.AppendKey(nil))

	must := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	must(m.Tag("06A:0A.00.00.06:p-C350_08.08.08.08:p-01BB", "x"), ErrNoFlow)
	must(m.Tag("nonsense", "x"), ErrNoFlow)
	must(m.Tag(key, "[cidr]home"), nil)
	must(m.Tag(key, "[cidr]home"), nil)
	must(m.Tag(key, strings.Repeat("x", 53)), ErrFull)
	must(m.Tag(key, strings.Repeat("y", 52)), nil)
	must(m.Tag(key, "z"), ErrFull)
	must(m.SetAttribute(key, "os", "linux"), nil)
	must(m.SetAttribute(key, "os", "bsd"), nil)
	must(m.SetAttribute(key, "os", strings.Repeat("x", 300)), ErrFull)
	must(m.AddCounter(key, g, []byte("both"), 0, DirectionBoth), nil)
	must(m.AddCounter(key, g, []byte("out"), 0, DirectionOut), nil)
	must(m.AddCounter(key, g, []byte("in"), 0, DirectionIn), nil)
	m.Count([]Record{record, back}, false)
	if want := "[cidr]home|" + strings.Repeat("y", 52); flow.Tags() != want || len(flow.Tags()) != 63 {
		t.Errorf("tags %q, want %q", flow.Tags(), want)
	}
	if diff := cmp.Diff([]Attribute{{"os", "bsd"}}, flow.Attributes()); diff != "" {
		t.Error(diff)
	}
	counted := map[string]float64{}
	for _, row := range engine.Top(g, 0, 10).Rows {
		counted[row.Key] = row.Values[0]
	}
	if diff := cmp.Diff(map[string]float64{"both": 107, "out": 100, "in": 7}, counted); diff != "" {
		t.Error(diff)
	}
	must(m.ResetCounters(key, g), nil)
	known, err := m.Add(key, 1, 1000)
	must(err, nil)
	if nothing, _ := m.Add(key, 4, 1); !known || nothing {
		t.Error("meters of flows")
	}
	must(m.SetDuration(key, 30), nil)
	var long []Flow
	m.Long(399, 300, func(f *Flow) { long = append(long, *f) })
	m.Long(400, 300, func(f *Flow) { long = append(long, *f) })
	m.Long(401, 300, func(f *Flow) { long = append(long, *f) })
	m.Long(700, 300, func(f *Flow) { long = append(long, *f) })
	if len(long) != 2 || long[0].BytesAZ != 200 || long[0].BytesZA != 1007 || long[0].Start != 70 || long[0].Last != 100 {
		t.Errorf("long flows %+v", long)
	}
	m.Count([]Record{record}, false)
	if got := engine.Top(g, 0, 1).Rows[0].Values[0]; got != 107 {
		t.Errorf("a counter that was taken off counts on: %v", got)
	}
	record.Flags = 0x01
	m.Count([]Record{record}, false)
	if f := m.Figures(); f != (Figures{Flows: 1, New: 1, Hits: 4, Terminated: 1}) {
		t.Errorf("figures %+v", f)
	}
}
