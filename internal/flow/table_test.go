package flow

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// flowOf is a record of bytes at so many seconds after noon.
func flowOf(second int64, source string, sport uint16, destination string, dport uint16, protocol, flags uint8) *Record {
	at := noon.Unix() + second
	return &Record{Exporter: netip.MustParseAddr("10.0.0.1"), Time: at * 1e9, First: at*1000 - 500, Last: at * 1000, Source: netip.MustParseAddr(source), SourcePort: sport,
		Destination: netip.MustParseAddr(destination), DestinationPort: dport, Protocol: protocol, Flags: flags, Bytes: 10, Packets: 1, In: 3, Out: 7}
}

// back has the interfaces as the way back passes them.
func back(r *Record) *Record {
	r.In, r.Out = r.Out, r.In
	return r
}

func TestFlowKey(t *testing.T) {
	f := func(r *Record, exported bool, want string) {
		t.Helper()
		id, _ := identify(r, exported)
		if got := string(id.AppendKey(nil)); got != want {
			t.Errorf("key %s, want %s", got, want)
		}
	}
	f(flowOf(0, "192.168.1.2", 2964, "209.216.249.58", 22, 6, 0), false, "06A:C0.A8.01.02:p-0B94_D1.D8.F9.3A:p-0016")
	f(flowOf(0, "10.0.0.5", 50000, "8.8.8.8", 443, 6, 0), true, "06C:0A.00.00.05:p-C350_08.08.08.08:p-01BB_0A.00.00.01_00000003_00000007")
	f(flowOf(0, "8.8.8.8", 443, "10.0.0.5", 50000, 6, 0), true, "06C:0A.00.00.05:p-C350_08.08.08.08:p-01BB_0A.00.00.01_00000007_00000003")
	f(flowOf(0, "ff02::2", 5353, "fe80::1", 5353, 17, 0), false, "11B:FE800000000000000000000000000001:p-14E9_FF020000000000000000000000000002:p-14E9")
	ping := flowOf(0, "10.0.0.9", 0, "10.0.0.2", 0x0800, 1, 0)
	ping.ICMP = 0x0800
	f(ping, false, "01A:0A.00.00.02:icmp08_0A.00.00.09:icmp08")
	f(flowOf(0, "10.0.0.9", 0, "10.0.0.2", 0, 47, 0), false, "2FA:0A.00.00.02:gre000_0A.00.00.09:gre000")
	f(flowOf(0, "10.0.0.9", 0, "10.0.0.2", 0, 50, 0), false, "32A:0A.00.00.02:ipsec0_0A.00.00.09:ipsec0")
	f(flowOf(0, "10.0.0.9", 0, "10.0.0.2", 0, 2, 0), false, "02A:0A.00.00.02:igmp_0A.00.00.09:igmp")
	f(flowOf(0, "10.0.0.9", 0, "10.0.0.2", 0, 89, 0), false, "59A:0A.00.00.02:ip59_0A.00.00.09:ip59")
}

// TestTable: both directions are one flow, flags and idle time end it once, and ports are used again.
func TestTable(t *testing.T) {
	var ended []string
	end := func(f *Flow) {
		ended = append(ended, fmt.Sprintf("%d %d/%d %03x", f.PortA, f.BytesAZ, f.BytesZA, f.State))
	}
	table := NewTable(2*time.Minute, 3, end)
	add := func(wantNew bool, r *Record) {
		t.Helper()
		f, isNew, over := table.Add(r, true)
		if isNew != wantNew {
			t.Errorf("new is %v, want %v", isNew, wantNew)
		}
		if over {
			end(f)
		}
	}
	add(true, flowOf(0, "10.0.0.5", 50000, "8.8.8.8", 443, 6, flagSYN))
	add(false, back(flowOf(1, "8.8.8.8", 443, "10.0.0.5", 50000, 6, flagSYN|flagACK)))
	add(false, flowOf(2, "10.0.0.5", 50000, "8.8.8.8", 443, 6, flagFIN|flagACK))
	late := back(flowOf(2, "8.8.8.8", 443, "10.0.0.5", 50000, 6, flagSYN|flagFIN|flagACK))
	late.First -= 1500
	add(false, late)                                                      // the other half, of the same time
	add(true, flowOf(5, "10.0.0.5", 50000, "8.8.8.8", 443, 6, flagSYN))   // again
	add(true, flowOf(100, "10.0.0.5", 50001, "8.8.8.8", 53, 17, 0))       //
	table.Expire(noon.Unix() + 125)                                       // the first of the two
	add(true, flowOf(126, "10.0.0.5", 50000, "8.8.8.8", 443, 6, flagACK)) //
	add(true, flowOf(127, "10.0.0.5", 50002, "8.8.8.8", 443, 6, flagACK)) //
	add(false, flowOf(128, "10.0.0.5", 50001, "8.8.8.8", 53, 17, 0))      // now the newest
	add(true, flowOf(129, "10.0.0.5", 50003, "8.8.8.8", 443, 6, flagRST)) // one too many: 50000 goes
	table.Expire(noon.Unix() + 1000)
	want := "50000 20/10 846\n50000 10/0 102\n50000 10/0 100\n50003 10/0 880\n50002 10/0 100\n50001 20/0 100"
	if got := strings.Join(ended, "\n"); got != want || table.Len() != 0 || table.Pruned != 1 || table.Expired != 3 {
		t.Errorf("ended\n%s\nwant\n%s\n%d left, %d pruned, %d expired", got, want, table.Len(), table.Pruned, table.Expired)
	}
}
