package flow

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"pgregory.net/rapid"
)

// line says the essence of a record.
func line(r *Record) string {
	return fmt.Sprintf("%s:%d > %s:%d proto %d, %d bytes, %d packets", r.Source, r.SourcePort, r.Destination, r.DestinationPort, r.Protocol, r.Bytes, r.Packets)
}

func lines(records []Record) string {
	var out []string
	for i := range records {
		out = append(out, line(&records[i]))
	}
	return strings.Join(out, "\n")
}

func TestVersion9(t *testing.T) {
	d, reg := newTestDecoder()
	records := d.Decode(v9(5, 1, set(0, plain(300)), set(300, plainRecord("10.0.0.1", "192.0.2.9", 5000, 7), plainRecord("10.0.0.2", "192.0.2.9", 60, 1), uint16(0))), router, noon)
	want := []Record{{
		Exporter: router, Time: noon.UnixNano(), First: noon.UnixMilli() - 50000, Last: noon.UnixMilli() - 40000,
		Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("192.0.2.9"), SourcePort: 40000, DestinationPort: 443,
		Protocol: 6, Flags: 0x1b, Bytes: 5000, Packets: 7, Rate: 1, In: 3, Out: 7, HasIn: true, HasOut: true,
	}}
	size := float64(20 + 4 + 4 + 12*4 + 4 + 2*36 + 2)
	want = append(want, want[0])
	want[1].Source, want[1].Bytes, want[1].Packets = netip.MustParseAddr("10.0.0.2"), 60, 1
	want[0].ExportBytes, want[1].ExportBytes = size/2, size/2
	if diff := cmp.Diff(want, records, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	balanced(t, reg, d)
}

func TestVersion5(t *testing.T) {
	d, reg := newTestDecoder()
	record := bytesOf("10.0.0.1", "10.0.0.2", "10.0.0.3", uint16(1), uint16(2), uint32(10), uint32(1000), uint32(59000), uint32(60000),
		uint16(0), uint16(0x0800), uint8(0), uint8(0), uint8(1), uint8(4), uint16(65001), uint16(65002), uint8(24), uint8(24), uint16(0))
	head := func(n uint16, sequence uint32, sampling uint16) []byte {
		return bytesOf(uint16(5), n, uint32(60000), uint32(noon.Unix()), uint32(500e6), sequence, uint8(0), uint8(1), sampling)
	}
	records := d.Decode(bytesOf(head(2, 100, 1<<14|100), record, record), router, noon)
	if len(records) != 2 || records[1].Bytes != 100000 || records[1].Packets != 1000 || records[1].Rate != 100 || records[1].ICMP != 0x0800 ||
		records[1].SourceAS != 65001 || records[1].Last != noon.UnixMilli()+500 || records[1].TOS != 4 {
		t.Errorf("decoded %+v", records)
	}
	d.Decode(bytesOf(head(1, 105, 0), record), router, noon) // 102 was expected
	if d.Lost != 3 {
		t.Errorf("%d lost, want 3", d.Lost)
	}
	if got := d.Decode(bytesOf(head(3, 106, 0), record, record[:20]), router, noon); len(got) != 1 {
		t.Errorf("%d records before the missing one, want 1", len(got))
	}
	if got := reg.Ledger("flow.datagrams", "datagrams").Snapshot(); got.Discarded["malformed"] != 1 || got.Passed != 2 {
		t.Errorf("ledger %+v", got)
	}
	balanced(t, reg, d)
}

// TestHeld: data that come before their template are decoded when it comes, in order, with the time they came.
func TestHeld(t *testing.T) {
	d, reg := newTestDecoder()
	if got := d.Decode(v9(5, 1, set(300, plainRecord("10.0.0.1", "192.0.2.9", 1, 1))), router, noon); len(got) != 0 {
		t.Fatalf("decoded %v without a template", got)
	}
	d.Decode(v9(5, 2, set(300, plainRecord("10.0.0.2", "192.0.2.9", 2, 1))), router, noon.Add(time.Second))
	d.Decode(v9(6, 1, set(0, plain(300))), router, noon) // of another domain
	if d.Held() != 2 {
		t.Fatalf("%d held, want 2", d.Held())
	}
	got := d.Decode(v9(5, 3, set(0, plain(300)), set(300, plainRecord("10.0.0.3", "192.0.2.9", 3, 1))), router, noon.Add(time.Minute))
	if len(got) != 3 || got[0].Bytes != 1 || got[1].Bytes != 2 || got[2].Bytes != 3 || got[1].Time != noon.Add(time.Second).UnixNano() {
		t.Errorf("decoded %s", lines(got))
	}
	d.Decode(v9(5, 4, set(301, make([]byte, 40))), router, noon)
	d.Expire(noon.Add(holdFor - time.Second))
	if d.Held() != 1 {
		t.Errorf("%d held before the time is over, want 1", d.Held())
	}
	d.Expire(noon.Add(holdFor + time.Second))
	if d.Held() != 0 || d.heldBytes != 0 {
		t.Errorf("%d held, %d bytes, after the time is over", d.Held(), d.heldBytes)
	}
	for i := range 2000 { // more than is held for one domain
		d.Decode(v9(5, uint32(5+i), set(302, make([]byte, 1300))), router, noon)
	}
	a := reg.Ledger("flow.held", "sets").Snapshot()
	if d.heldBytes > maxHeld || a.Discarded["too_many_held"] == 0 || a.Discarded["no_template_in_time"] != 1 {
		t.Errorf("%d bytes held, ledger %+v", d.heldBytes, a)
	}
	balanced(t, reg, d)
}

// TestRestart: a decoder that loads what another saved decodes at once; a damaged file is put aside.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "templates.json")
	d, _ := newTestDecoder()
	if err := d.Load(path); err != nil {
		t.Fatal(err)
	}
	sampler := bytesOf(uint16(301), uint16(4), uint16(8), uint16(1), uint16(4), uint16(fieldSamplerID), uint16(2), uint16(fieldSamplingInterval), uint16(4))
	d.Decode(v9(5, 1, set(0, plain(300)), set(0, template(302, fieldSource4, 4, fieldDestination4, 4, fieldBytes, 4, fieldSamplerID, 2)), set(1, sampler), set(301, uint32(0), uint16(9), uint32(50))), router, noon)
	d.Decode(ipfix(1, 1, set(2, template(400, fieldSource6, 16, fieldDestination6, 16, 82, variable, fieldBytes, 8))), router, noon)
	if !d.Changed() {
		t.Error("nothing to save after templates came")
	}
	if err := d.Save(path); err != nil {
		t.Fatal(err)
	}
	again, _ := newTestDecoder()
	if err := again.Load(path); err != nil {
		t.Fatal(err)
	}
	if again.Changed() {
		t.Error("something to save after loading")
	}
	got := lines(again.Decode(v9(5, 2, set(300, plainRecord("10.0.0.1", "192.0.2.9", 5, 1)), set(302, "10.0.0.1", "10.0.0.2", uint32(3), uint16(9))), router, noon))
	got += "\n" + lines(again.Decode(ipfix(1, 2, set(400, "2001:db8::1", "2001:db8::2", uint8(3), []byte("eth"), uint64(9))), router, noon))
	want := "10.0.0.1:40000 > 192.0.2.9:443 proto 6, 5 bytes, 1 packets\n10.0.0.1:0 > 10.0.0.2:0 proto 0, 150 bytes, 0 packets\n" +
		"2001:db8::1:0 > 2001:db8::2:0 proto 0, 9 bytes, 0 packets"
	if got != want {
		t.Errorf("after a restart:\n%s\nwant:\n%s", got, want)
	}

	for _, text := range []string{"{", `{"exporters":[{"address":"","version":9}]}`, `{"exporters":[{"address":"192.0.2.1","version":9,"templates":[{"id":300,"fields":[]}]}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, _ := newTestDecoder()
		err := d.Load(path)
		if err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("loading %s: %v", text, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("the damaged file %s is still in place", text)
		}
	}
}

// TestExporterRestart: an exporter that begins again, with its sequence at 0, another boot time and its templates under other numbers, is decoded on, and its jump
// back is no loss; a gap before and after it is.
func TestExporterRestart(t *testing.T) {
	d, reg := newTestDecoder()
	record := plainRecord("10.0.0.1", "192.0.2.9", 5, 1)
	d.Decode(v9(5, 5_000_000, set(0, plain(300)), set(300, record)), router, noon)
	d.Decode(v9(5, 5_000_003, set(300, record)), router, noon)
	if lost := d.Lost; lost != 2 {
		t.Errorf("%d are lost, want 2", lost)
	}
	got := d.Decode(v9(5, 0, set(300, record)), router, noon) // before its templates: what was known goes on
	got = append(got, d.Decode(v9(5, 1, set(0, plain(256)), set(256, record)), router, noon)...)
	got = append(got, d.Decode(v9(5, 2, set(0, template(300, fieldBytes, 4, fieldSource4, 4, fieldDestination4, 4)), set(300, uint32(9), "10.0.0.3", "10.0.0.4")), router, noon)...)
	want := "10.0.0.1:40000 > 192.0.2.9:443 proto 6, 5 bytes, 1 packets\n10.0.0.1:40000 > 192.0.2.9:443 proto 6, 5 bytes, 1 packets\n10.0.0.3:0 > 10.0.0.4:0 proto 0, 9 bytes, 0 packets"
	if lines(got) != want {
		t.Errorf("decoded\n%s\nwant\n%s", lines(got), want)
	}
	if lost := d.Lost; lost != 2 {
		t.Errorf("%d are lost after the restart, want 2", lost)
	}
	d.Decode(v9(5, 5, set(256, record)), router, noon)
	if lost := d.Lost; lost != 4 {
		t.Errorf("%d are lost in the end, want 4", lost)
	}
	balanced(t, reg, d)
}

// TestTemplateChange: a template that is sent again with other fields takes its place.
func TestTemplateChange(t *testing.T) {
	d, _ := newTestDecoder()
	d.Decode(v9(5, 1, set(0, plain(300))), router, noon)
	got := d.Decode(v9(5, 2, set(0, template(300, fieldBytes, 2, fieldSource4, 4, fieldDestination4, 4)), set(300, uint16(7), "10.0.0.1", "10.0.0.2")), router, noon)
	if want := "10.0.0.1:0 > 10.0.0.2:0 proto 0, 7 bytes, 0 packets"; lines(got) != want {
		t.Errorf("decoded %s, want %s", lines(got), want)
	}
}

func TestBidirectional(t *testing.T) {
	d, _ := newTestDecoder()
	with := func(id uint16, pairs ...any) []byte { return bytesOf(append([]any{id, uint16(5)}, pairs...)...) }
	rfc5103 := with(400, uint16(fieldSource4), uint16(4), uint16(fieldDestination4), uint16(4), uint16(fieldBytes), uint16(4),
		uint16(fieldBytes|0x8000), uint16(4), uint32(reverseEnterprise), uint16(fieldPackets|0x8000), uint16(4), uint32(reverseEnterprise))
	got := d.Decode(ipfix(1, 1, set(2, rfc5103), set(400, "10.0.0.1", "10.0.0.2", uint32(10), uint32(20), uint32(2))), router, noon)
	want := "10.0.0.1:0 > 10.0.0.2:0 proto 0, 10 bytes, 0 packets\n10.0.0.2:0 > 10.0.0.1:0 proto 0, 20 bytes, 2 packets"
	if lines(got) != want {
		t.Errorf("decoded\n%s\nwant\n%s", lines(got), want)
	}
	got = d.Decode(v9(1, 1, set(0, template(300, fieldSource4, 4, fieldDestination4, 4, fieldInitiatorBytes, 4, fieldResponderBytes, 4)), set(300, "10.0.0.1", "10.0.0.2", uint32(10), uint32(20))), router, noon)
	if want := strings.Replace(want, "2 packets", "0 packets", 1); lines(got) != want {
		t.Errorf("decoded\n%s\nwant\n%s", lines(got), want)
	}
}

// TestFlood: what hostile exporters make the decoder keep has bounds.
func TestFlood(t *testing.T) {
	d, reg := newTestDecoder()
	for id := range 2 * maxTemplates {
		d.Decode(v9(5, 1, set(0, plain(uint16(300+id)))), router, noon)
	}
	if n := len(d.exporters[exporterKey{router, 5, 9}].templates); n != maxTemplates || d.Refused != maxTemplates {
		t.Errorf("%d templates kept, %d refused", n, d.Refused)
	}
	for domain := range uint32(2 * maxExporters) {
		d.Decode(v9(domain, 1, set(0, plain(300)), set(999, make([]byte, 100))), router, noon.Add(time.Duration(domain)))
	}
	if len(d.exporters) != maxExporters || d.exporters[exporterKey{router, 2*maxExporters - 1, 9}] == nil {
		t.Errorf("%d exporters kept", len(d.exporters))
	}
	huge := bytesOf(uint16(300), uint16(65535))
	if got := d.Decode(v9(1, 1, set(0, huge)), router, noon); len(got) > 0 {
		t.Error("records of a template that is not there")
	}
	balanced(t, reg, d)
}

// TestLikeGoflow2: random templates and records are read as goflow2 reads them.
func TestLikeGoflow2(t *testing.T) {
	elements := []uint16{fieldBytes, fieldPackets, fieldProtocol, fieldTOS, fieldFlags, fieldSourcePort, fieldDestinationPort, fieldSource4, fieldDestination4,
		fieldIn, fieldOut, fieldSourceAS, fieldDestinationAS, fieldSource6, fieldDestination6, fieldSourceVLAN, 82, 95, 234}
	rapid.Check(t, func(t *rapid.T) {
		isIPFIX := rapid.Bool().Draw(t, "ipfix")
		fields := []Field{{Element: 40, Length: 1}} // goflow2 cannot read a template all of whose fields vary
		for _, element := range rapid.SliceOfNDistinct(rapid.SampledFrom(elements), 1, 12, rapid.ID).Draw(t, "elements") {
			f := Field{Element: element}
			switch element {
			case fieldSource4, fieldDestination4:
				f.Length = 4
			case fieldSource6, fieldDestination6:
				f.Length = 16
			case 82, 95, 234:
				f.Length = uint16(rapid.IntRange(1, 20).Draw(t, "length"))
				if isIPFIX && rapid.Bool().Draw(t, "varying") {
					f.Length = variable
				}
			default:
				f.Length = uint16(rapid.IntRange(1, 8).Draw(t, "length"))
			}
			fields = append(fields, f)
		}
		definition := bytesOf(uint16(300), uint16(len(fields)))
		for _, f := range fields {
			definition = append(definition, bytesOf(f.Element, f.Length)...)
		}
		var data []byte
		for range rapid.IntRange(1, 5).Draw(t, "records") {
			for _, f := range fields {
				length := int(f.Length)
				if f.Length == variable {
					length = rapid.IntRange(0, 300).Draw(t, "size")
					if length < 255 {
						data = append(data, byte(length))
					} else {
						data = append(data, bytesOf(uint8(255), uint16(length))...)
					}
				}
				data = append(data, rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "value")...)
			}
		}
		templateSet := uint16(0)
		build := v9
		if isIPFIX {
			templateSet, build = 2, ipfix
		}
		packet := build(1, 1, set(templateSet, definition), set(300, data))

		d, _ := newTestDecoder()
		got := d.Decode(packet, router, noon)

		var p9 netflow.NFv9Packet
		var p10 netflow.IPFIXPacket
		if err := netflow.DecodeMessageVersion(bytes.NewBuffer(packet), netflow.CreateTemplateSystem(), &p9, &p10); err != nil {
			t.Fatal(err)
		}
		var records []netflow.DataRecord
		for _, s := range append(p9.FlowSets, p10.FlowSets...) {
			if s, ok := s.(netflow.DataFlowSet); ok {
				records = append(records, s.Records...)
			}
		}
		if len(got) != len(records) {
			t.Fatalf("%d records, goflow2 has %d", len(got), len(records))
		}
		for i, record := range records {
			r := got[i]
			for _, v := range record.Values {
				value, _ := v.Value.([]byte)
				ours, theirs := uint64(0), number(value)
				switch v.Type {
				case fieldBytes:
					ours = r.Bytes
				case fieldPackets:
					ours = r.Packets
				case fieldProtocol:
					ours, theirs = uint64(r.Protocol), theirs&0xff
				case fieldTOS:
					ours, theirs = uint64(r.TOS), theirs&0xff
				case fieldFlags:
					ours, theirs = uint64(r.Flags), theirs&0xff
				case fieldSourcePort:
					ours, theirs = uint64(r.SourcePort), theirs&0xffff
				case fieldDestinationPort:
					ours, theirs = uint64(r.DestinationPort), theirs&0xffff
				case fieldIn:
					ours, theirs = uint64(r.In), theirs&0xffffffff
				case fieldOut:
					ours, theirs = uint64(r.Out), theirs&0xffffffff
				case fieldSourceAS:
					ours, theirs = uint64(r.SourceAS), theirs&0xffffffff
				case fieldDestinationAS:
					ours, theirs = uint64(r.DestinationAS), theirs&0xffffffff
				case fieldSourceVLAN:
					ours, theirs = uint64(r.VLAN), theirs&0xffff
				case fieldSource4, fieldSource6:
					if a, _ := netip.AddrFromSlice(value); !r.Source.IsValid() || a.Is6() && !a.IsUnspecified() && r.Source.Is6() && r.Source != a {
						t.Fatalf("source %s, goflow2 has %s", r.Source, a)
					}
					continue
				default:
					continue
				}
				if ours != theirs {
					t.Fatalf("element %d is %d, goflow2 has %d", v.Type, ours, theirs)
				}
			}
		}
	})
}

// FuzzDecode: no datagram stops the decoder, and every one is accounted for.
func FuzzDecode(f *testing.F) {
	f.Add(v9(5, 1, set(0, plain(300)), set(300, plainRecord("10.0.0.1", "192.0.2.9", 5000, 7))))
	f.Add(ipfix(1, 1, set(2, template(400, fieldSource6, 16, fieldDestination6, 16, 82, variable, fieldBytes, 8)), set(400, "2001:db8::1", "2001:db8::2", uint8(3), []byte("eth"), uint64(9))))
	f.Add(sflowDatagram(sflowSample(10, ethernetHeader(0x0800, ipv4Header("10.0.0.1", "10.0.0.2", 6, 1000)))))
	f.Add(bytesOf(uint16(5), uint16(1), make([]byte, 68)))
	f.Add(v9(5, 1, set(1, bytesOf(uint16(301), uint16(4), uint16(8), uint16(1), uint16(4), uint16(48), uint16(2), uint16(34), uint16(4))), set(301, uint32(0), uint16(9), uint32(50))))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, reg := newTestDecoder()
		for range 2 { // the second time its templates are known
			for _, r := range d.Decode(b, router, noon) {
				if r.Rate == 0 {
					t.Error("a record without a rate")
				}
			}
		}
		balanced(t, reg, d)
	})
}
