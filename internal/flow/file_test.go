package flow

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/telemetry"
)

// pcap is a capture of Ethernet packets, a second apart.
func pcap(packets ...[]byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i, p := range packets {
		b = le.AppendUint32(b, uint32(noon.Unix()+int64(i)))
		b = le.AppendUint32(b, 500000)
		b = le.AppendUint32(b, uint32(len(p)))
		b = append(le.AppendUint32(b, uint32(len(p))+100), p...)
	}
	return b
}

// pcapng is the same in the other format, big-endian and in nanoseconds.
func pcapng(packets ...[]byte) []byte {
	block := func(kind uint32, body []byte) []byte {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		return bytesOf(kind, uint32(12+len(body)), body, uint32(12+len(body)))
	}
	b := block(ngSection, bytesOf(uint32(0x1a2b3c4d), uint16(1), uint16(0), ^uint64(0)))
	b = append(b, block(ngInterface, bytesOf(uint16(1), uint16(0), uint32(65535), uint16(9), uint16(1), uint8(9), []byte{0, 0, 0}, uint32(0)))...)
	b = append(b, block(4, []byte("names"))...)
	for i, p := range packets {
		at := uint64(noon.Unix()+int64(i))*1e9 + 5e8
		b = append(b, block(ngEnhanced, bytesOf(uint32(0), at, uint32(len(p)), uint32(len(p)+100), p))...)
	}
	return b
}

func udpPacket(source, destination string, port uint16, payload []byte) []byte {
	length := uint16(28 + len(payload))
	return ethernetHeader(0x0800, bytesOf(uint8(0x45), uint8(0), length, uint32(0), uint8(64), uint8(17), uint16(0), source, destination, uint16(9999), port, length-20, uint16(0), payload))
}

func TestFile(t *testing.T) {
	read := func(name string, contents []byte) (string, *File, error) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		f := &File{Decoder: NewDecoder(Sampling{}, telemetry.NewRegistry(), quiet)}
		var out []string
		err := f.Read(path, func(records []Record, exported bool) error {
			for i := range records {
				r := &records[i]
				if exported != (r.Exporter.IsValid()) || r.Time < noon.UnixNano()+5e8 || r.Time > noon.UnixNano()+35e8 {
					t.Errorf("%s: exported is %v, record %+v", name, exported, r)
				}
			}
			out = append(out, lines(records))
			return nil
		})
		return strings.Join(out, "\n"), f, err
	}
	packet := ethernetHeader(0x0800, ipv4Header("10.0.0.1", "10.0.0.2", 6, 1000))
	arp := ethernetHeader(0x0806, make([]byte, 28))
	const want = "10.0.0.1:1234 > 10.0.0.2:80 proto 6, 154 bytes, 1 packets\n10.0.0.1:1234 > 10.0.0.2:80 proto 6, 154 bytes, 1 packets"
	for name, contents := range map[string][]byte{"packets.pcap": pcap(packet, arp, packet), "packets.pcapng": pcapng(packet, arp, packet)} {
		if got, f, err := read(name, contents); err != nil || got != want || f.Packets != 3 || f.Strange != 1 {
			t.Errorf("%s: %v, %d packets, %d strange\n%s", name, err, f.Packets, f.Strange, got)
		}
	}
	exports := pcap(udpPacket("192.0.2.1", "192.0.2.2", 2055, v9(5, 1, set(0, plain(300)))), udpPacket("192.0.2.1", "192.0.2.2", 2055, v9(5, 2, set(300, plainRecord("10.0.0.1", "10.0.0.2", 50, 1)))))
	if got, _, err := read("exports.pcap", exports); err != nil || got != "10.0.0.1:40000 > 10.0.0.2:443 proto 6, 50 bytes, 1 packets" {
		t.Errorf("exports: %v\n%s", err, got)
	}
	for name, bad := range map[string]struct{ contents, want string }{
		"cut":    {string(pcap(packet)[:60]), "it ends within a packet"},
		"text":   {"hello, world", `it begins with "hell"`},
		"empty":  {"", "it is neither"},
		"nfcapd": {"\x0c\xa5\x01\x00" + strings.Repeat("\x00", 100), "nfdump 1.7"},
		"short":  {"\x0c\xa5\x02\x00", "cut off"},
		"long":   {string(pcap()) + strings.Repeat("\xff", 16), "more than"},
	} {
		if _, _, err := read(name, []byte(bad.contents)); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %q", name, err, bad.want)
		}
	}
}

func TestFileMissing(t *testing.T) {
	err := new(File).Read("/nowhere.pcap", nil)
	if err == nil || err.Error() != `cannot read flows from "/nowhere.pcap": no such file or directory` {
		t.Error(err)
	}
}

// FuzzCapture and FuzzNfcapd: no file stops the readers or makes them ask for much memory.
func FuzzCapture(f *testing.F) {
	packet := ethernetHeader(0x0800, ipv4Header("10.0.0.1", "10.0.0.2", 6, 1000))
	f.Add(pcap(packet, packet))
	f.Add(pcapng(packet, packet))
	f.Fuzz(func(t *testing.T, b []byte) {
		readCapture(bytes.NewReader(b), func(p captured) error {
			datagramIn(p)
			return nil
		})
	})
}

func FuzzNfcapd(f *testing.F) {
	le := binary.LittleEndian
	head := le.AppendUint16(nil, nfcapdMagic)
	head = append(append(le.AppendUint16(head, 2), make([]byte, 32)...), 1, 0, 0, 0)
	record := append(le.AppendUint16(nil, nfcapdRecord), 24, 0, 1, 0, 0, 0, 0, 0, 0, 9, 2, 0, 12, 0, 1, 0, 0, 10, 2, 0, 0, 10)
	block := append(le.AppendUint32(le.AppendUint32(nil, 1), uint32(len(record))), 3, 0, 0, 0)
	for kind := range byte(5) {
		head[16] = kind
		f.Add(append(append(append([]byte(nil), head...), block...), record...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readNfcapd(bytes.NewReader(b), func([]Record) error { return nil })
	})
}
