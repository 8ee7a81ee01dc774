package test

import (
	network "encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSimpleCounter: scripts count the packets of a capture in groups of their own, on its time, whatever the packets hold, and twice the same.
func TestSimpleCounter(t *testing.T) {
	const resets, sizes, at = "{DE71BED0-0000-4000-8000-000000000011}", "{DE71BED0-0000-4000-8000-000000000012}", 1_700_000_040
	dir := t.TempDir()
	scripts := filepath.Join(dir, "scripts")
	if err := os.Mkdir(scripts, 0o700); err != nil {
		t.Fatal(err)
	}
	group := func(guid, name string) string {
		return `countergroup = { control = { guid = "` + guid + `", name = "` + name + `", bucketsize = 60 }, meters = { { 0, T.K.vartype.COUNTER, 10, 0, "n", "n", "n" } } },`
	}
	example, err := os.ReadFile("../examples/monitors/tcp-resets.lua")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"example.lua": string(example),
		"resets.lua": `TrisulPlugin = { id = { name = "resets" }, ` + group(resets, "Resets") + `
  simplecounter = { protocol_guid = "{77E462AB-2E42-42EC-9A58-C1A6821D6B31}", onpacket = function(engine, layer)
    if layer:testbit(109) then engine:update_counter("` + resets + `", layer:packet():flowid():ipa_readable(), 0, 1) end
  end } }`,
		"sizes.lua": `TrisulPlugin = { id = { name = "sizes" }, ` + group(sizes, "Sizes") + `
  simplecounter = { protocol_guid = "{974FB098-DE46-45DB-94DA-8D64A3BBCDE5}", onpacket = function(engine, layer)
    engine:update_counter_bytes("` + sizes + `", string.format("%04X", layer:rawbytes():hval_16(12)), 0)
    layer:getbyte(layer:total_bytes())
  end } }`,
	} {
		writeFile(t, scripts, name, text)
	}
	writeFile(t, dir, "weir.yaml", "data: data\nmonitors: [{path: scripts}]\ntimeseries: {retention: 3650d}\n")

	segment := func(host, flags byte) []byte {
		b := append(make([]byte, 12), 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, host, 192, 0, 2, 9)
		return append(b, 0xc3, 0x50, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0)
	}
	arp := append(make([]byte, 12), 8, 6, 0, 1)
	packets := [][]byte{segment(1, 4), segment(1, 2), segment(2, 4), arp, segment(1, 4)}
	for n := range 54 { // cut anywhere
		packets = append(packets, segment(3, 4)[:n])
	}
	le := network.LittleEndian
	pcap := append(le.AppendUint32(nil, 0xa1b2c3d4), 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i, b := range packets {
		pcap = le.AppendUint32(le.AppendUint32(pcap, uint32(at+i)), 0) // a second each
		pcap = append(le.AppendUint32(le.AppendUint32(pcap, uint32(len(b))), 60), b...)
	}
	if err := os.WriteFile(filepath.Join(dir, "packets.pcap"), pcap, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
		code, out := replayed(t, dir, "-c", "weir.yaml", "--packets", "packets.pcap")
		// The flags of a segment that is cut are not there from byte 47 on, and the script is told so. Ethernet needs 14 bytes.
		if code != 0 || groupRow(out, "Resets") != "3 keys, 9" || groupRow(out, "'TCP Resets'") != "3 keys, 9" || groupRow(out, "Sizes") != fmt.Sprintf("2 keys, %d", 60*(5+40)) {
			t.Errorf("exit %d\n%s", code, out)
		}
		for _, say := range []string{"resets.lua:3: [resets.lua] onpacket: bad argument #1 to 'testbit' (bit 109 is not one of the 8 there are)", "sizes.lua:4: [sizes.lua] onpacket: bad argument #1 to 'getbyte'"} {
			if !strings.Contains(out, say) {
				t.Errorf("the log does not say %q\n%s", say, out)
			}
		}
	}
}
