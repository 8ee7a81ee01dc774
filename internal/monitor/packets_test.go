package monitor

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/flow"
)

const (
	guidTCP      = "{77E462AB-2E42-42EC-9A58-C1A6821D6B31}"
	guidIPv4     = "{0A2C724B-5B9F-4BA6-9C97-B05080558574}"
	guidEthernet = "{974FB098-DE46-45DB-94DA-8D64A3BBCDE5}"
)

// reset is a TCP segment with RST and five bytes, in IPv4 and Ethernet.
var reset = append(append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0},
	0x45, 0, 0, 45, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5, 8, 8, 8, 8),
	append([]byte{0xc3, 0x50, 0x01, 0xbb, 1, 2, 3, 4, 0xff, 0xfe, 0xfd, 0xfc, 0x50, 0x04, 0, 0, 0, 0, 0, 0}, "HELLO"...)...)

// captured are packets of Ethernet as a capture of them shows them; each is 100 bytes on the wire, a second behind the one before.
func captured(t testing.TB, each func(*flow.Packet), data ...[]byte) {
	t.Helper()
	le := binary.LittleEndian
	out := append(le.AppendUint32(nil, 0xa1b2c3d4), 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i, b := range data {
		out = le.AppendUint32(le.AppendUint32(out, uint32(begin+1+i)), 2)
		out = append(le.AppendUint32(le.AppendUint32(out, uint32(len(b))), 100), b...)
	}
	path := filepath.Join(t.TempDir(), "packets.pcap")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	file := flow.File{Contents: flow.ContentsPackets, Packet: each}
	if err := file.Read(path, func([]flow.Record, bool) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func startCounter(t testing.TB, source string) *bench {
	t.Helper()
	b := mustLoad(t, source)
	if s := b.bindOne(Instance{Index: 1, Type: TypeSimpleCounter}); !s.Running {
		t.Fatalf("%+v", s)
	}
	return b
}

func (b *bench) packets(data ...[]byte) {
	b.t.Helper()
	var all packets
	captured(b.t, all.add, data...)
	b.frame(KindPackets, all.frame(1, begin))
}

// TestPacketObjects: every method of section 5.8, and what each says to an offset that is not there.
func TestPacketObjects(t *testing.T) {
	dir := t.TempDir()
	cases := []string{ // what stands behind // is what it gives; an error has the place of the call
		`l:layer_bytes() // 20`, `l:total_bytes() // 25`, `l:protocol_id() // ` + guidTCP, `l:flowkey() // 06A:0A.00.00.05:p-C350_08.08.08.08:p-01BB`,
		`l:testbit(109) // true`, `l:testbit(108) // false`, `l:testbit(0) // true`, `l:testbit(199) // true`,
		`l:testbit(200) // test.lua:2: bad argument #1 to 'testbit' (bit 200 is not one of the 200 there are)`,
		`l:testbit(-1) // test.lua:2: bad argument #1 to 'testbit' (bit -1 is not one of the 200 there are)`,
		`l:getbyte(0) // 195`, `l:getbyte(24) // 79`, `l:getbyte("3") // 187`,
		`l:getbyte(25) // test.lua:2: bad argument #1 to 'getbyte' (1 bytes at offset 25 are not within the 25 there are)`,
		`l:getbyte(-1) // test.lua:2: bad argument #1 to 'getbyte' (1 bytes at offset -1 are not within the 25 there are)`,
		`l:getbyte(0.5) // test.lua:2: bad argument #1 to 'getbyte' (a whole number expected)`,
		`l:getbyte(0/0) // test.lua:2: bad argument #1 to 'getbyte' (a whole number expected)`,
		`l:getbyte(1/0) // test.lua:2: bad argument #1 to 'getbyte' (1 bytes at offset inf are not within the 25 there are)`,
		`l:getbyte(2^53) // test.lua:2: bad argument #1 to 'getbyte' (1 bytes at offset 9007199254740992 are not within the 25 there are)`,
		`l:getbyte() // test.lua:2: bad argument #1 to 'getbyte' (number expected, got nil)`,
		`l.getbyte(1) // test.lua:2: 'getbyte' is to be called with a colon, object:getbyte(...)`,
		`b.size(p) // test.lua:2: 'size' is to be called with a colon, object:size(...)`,
		`b:size() // 25`, `b:length() // 25`, `b:hval_8(0) // 195`, `b:hval_16(0) // 50000`, `b:hval_24(4) // 66051`, `b:hval_32(8) // 4294901244`, `b:hval_32(21) // 1162628175`,
		`b:hval_8(25) // test.lua:2: bad argument #1 to 'hval_8' (1 bytes at offset 25 are not within the 25 there are)`,
		`b:hval_16(24) // test.lua:2: bad argument #1 to 'hval_16' (2 bytes at offset 24 are not within the 25 there are)`,
		`b:hval_24(23) // test.lua:2: bad argument #1 to 'hval_24' (3 bytes at offset 23 are not within the 25 there are)`,
		`b:hval_32(22) // test.lua:2: bad argument #1 to 'hval_32' (4 bytes at offset 22 are not within the 25 there are)`,
		`b:hval_32("x") // test.lua:2: bad argument #1 to 'hval_32' (number expected, got string)`,
		`b:tostring(20) // HELLO`, `b:tostring(20, 2) // HE`, `b:tostring(25) // `, `#b:tostring() // 25`,
		`b:tostring(26) // test.lua:2: bad argument #1 to 'tostring' (0 bytes at offset 26 are not within the 25 there are)`,
		`b:tostring(20, 6) // test.lua:2: bad argument #2 to 'tostring' (6 bytes at offset 20 are not within the 25 there are)`,
		`b:tostring(20, -1) // test.lua:2: bad argument #2 to 'tostring' (-1 bytes at offset 20 are not within the 25 there are)`,
		`b:hexdump(18) // 00000012  00 00 48 45 4C 4C 4F                             ..HELLO`,
		`select(2, b:hexdump():gsub("\n", "")) // 1`,
		`b:hexdump(0, 26) // test.lua:2: bad argument #2 to 'hexdump' (26 bytes at offset 0 are not within the 25 there are)`,
		`p:timestamp() // 6000001 2`, `p:rawbytes():size() // 59`, `p:rawbytes():hval_16(12) // 2048`, `p:wire_length() // 100`, `p:capture_length() // 59`, `p:num_layers() // 3`,
		`p:get_layer(0):protocol_id() // ` + guidEthernet, `p:get_layer(1):layer_bytes() // 20`, `p:get_layer(2):flowkey() == l:flowkey() // true`,
		`p:get_layer(3) // test.lua:2: bad argument #1 to 'get_layer' (layer 3 is not one of the 3 there are)`,
		`p:get_layer(-1) // test.lua:2: bad argument #1 to 'get_layer' (layer -1 is not one of the 3 there are)`,
		`p:find_layer("` + strings.ToLower(guidIPv4) + `"):total_bytes() // 45`, `p:find_layer("{}") // nil`, `p:find_layer("{85C0CCED-DA8D-4029-924A-A6AB87F62EF8}") // nil`,
		`p:find_layer() // test.lua:2: bad argument #1 to 'find_layer' (string expected, got nil)`,
		`p:flowid():porta_readable() // 50000`, `p:originid() // 0`, `p:get_layer(0):packet() == p // true`,
		`b:writetofile(dir .. "/w", 3) // nil`, `b:writetofile(dir .. "/w", 0) // nil`, `b:appendtofile(dir .. "/a") // nil`, `b:appendtofile(dir .. "/a") // nil`,
		`b:writetofile(dir .. "/w", -1) // test.lua:2: bad argument #2 to 'writetofile' (an offset in a file is not negative)`,
		`b:writetofile(nil, 1) // test.lua:2: bad argument #1 to 'writetofile' (string expected, got nil)`,
		`b:appendtofile(dir) // test.lua:2: appendtofile: cannot write ` + dir + `: ` + dir + `: Is a directory`,
		`engine:timestamp() // 6000001`,
	}
	var source strings.Builder
	var want []string
	fmt.Fprintf(&source, "local dir = %q local l, p, b, engine local cases = { ", dir)
	for _, one := range cases {
		code, gives, _ := strings.Cut(one, " // ")
		fmt.Fprintf(&source, "%q, ", code)
		want = append(want, gives)
	}
	source.WriteString(`}
	local function run(code) return setfenv(assert(loadstring("\nlocal a, c = " .. code .. "\nreturn c ~= nil and tostring(a) .. ' ' .. tostring(c) or tostring(a)", "@test.lua")), setmetatable({ l = l, p = p, b = b, dir = dir, engine = engine }, { __index = _G }))() end
TrisulPlugin = { id = { name = "x" }, simplecounter = { protocol_guid = "` + guidTCP + `", onpacket = function(e, layer)
	l, p, b, engine = layer, layer:packet(), layer:rawbytes(), e
	for _, code in ipairs(cases) do
		local _, said = pcall(run, code)
		print(said)
	end
end } }`)
	b := startCounter(t, source.String())
	b.packets(reset)
	b.wantErrors()
	got := b.said()
	if len(got) != len(want) {
		t.Fatalf("%d lines of %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if code, _, _ := strings.Cut(cases[i], " // "); got[i] != want[i] {
			t.Errorf("%s gives %q, want %q", code, got[i], want[i])
		}
	}
	for name, size := range map[string]int64{"w": 28, "a": 50} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() != size {
			t.Errorf("file %s: %v, %v", name, info, err)
		}
	}
}

// TestSimpleCounter: onpacket comes for packets with the protocol, may count the packet, and may keep what it got; an error in it has its place and stops nothing.
func TestSimpleCounter(t *testing.T) {
	b := startCounter(t, `local kept = {}
TrisulPlugin = { id = { name = "x" }, simplecounter = { protocol_guid = "`+strings.ToLower(guidTCP)+`", onpacket = function(engine, layer)
	kept[#kept + 1] = layer
	print(T.enginetype, #kept, kept[1]:getbyte(1), layer:total_bytes())
	engine:update_counter_bytes("`+ownGUID+`", "all", 0)
	layer:getbyte(30)
end } }`)
	udp := append([]byte(nil), reset...)
	udp[23] = 17
	b.packets(reset, udp, reset[:20], reset[:40], nil, []byte("any bytes that are no packet at all"))
	b.packets(reset)
	b.wantSaid("frontend\t1\t80\t25", "frontend\t2\t80\t6", "frontend\t3\t80\t25")
	b.wantErrors("test.lua:6: [test.lua] onpacket: bad argument #1 to 'getbyte' (1 bytes at offset 30 are not within the 25 there are) (2 times)")
	if diff := fmt.Sprint(b.updates); diff != "["+ownGUID+" all 0 100 "+ownGUID+" all 0 100 "+ownGUID+" all 0 100]" {
		t.Error(diff)
	}
}

// TestSimpleCounterOfRecords: with flow_counter it is called for records, whose layers have no bytes.
func TestSimpleCounterOfRecords(t *testing.T) {
	b := startCounter(t, `TrisulPlugin = { id = { name = "x" }, simplecounter = { protocol_guid = "`+guidIPv4+`", flow_counter = true, onpacket = function(engine, layer)
	local p = layer:packet()
	print(layer:total_bytes(), layer:layer_bytes(), layer:rawbytes():size(), p:num_layers(), p:get_layer(1):protocol_id(), layer:flowkey(), p:wire_length(), p:capture_length(), (p:timestamp()), layer:rawbytes():tostring() == "")
	layer:getbyte(0)
end } }`)
	const six = "11D:FF020000000000000000000000000002:p-C350_FF020000000000000000000000000001:p-0035_0A.00.00.01_00000003_00000007"
	b.frame(KindItems, Items{Instance: 1, Event: EventNew, Time: 5, Flows: []Flow{{Key: someFlow, BytesAZ: 3}, {Key: six, BytesZA: 4}, {Key: "nonsense", BytesZA: 4}}})
	b.wantSaid(strings.ReplaceAll("3 0 0 2 "+guidTCP+" "+someFlow+" 3 0 5 true", " ", "\t"))
	b.wantErrors("1 bytes at offset 0 are not within the 0 there are")
}

// TestPacketsToScripts: packets reach the processes of scripts that count them before their second ends, records those with flow_counter, and nobody else.
func TestPacketsToScripts(t *testing.T) {
	counter := func(name, more string) string {
		return `TrisulPlugin = { id = { name = "x" }, simplecounter = { protocol_guid = "` + guidIPv4 + `", ` + more + ` onpacket = function(engine, layer)
			say("` + name + `", layer:total_bytes(), layer:flowkey())
			engine:update_counter("` + ownGroup + `", "` + name + `", 0, 1)
		end } }`
	}
	r := newRig(t, nil, "p.lua", counter("packet", ""), "r.lua", counter("record", "flow_counter = true,"))
	if !r.monitors.WantsPackets() {
		t.Fatal("nobody wants packets")
	}
	captured(t, r.monitors.ShowPacket, reset, reset)
	r.count(true, 100, 0x02)
	r.tick(1)
	const key = "06A:0A.00.00.05:p-C350_08.08.08.08:p-01BB"
	r.wantOf("packets and records", []string{"packet", "record"}, "packet 45 "+key, "packet 45 "+key, "record 100 "+flowKey)
	var many [][]byte // more than are shown at once
	for range 2*maxPackets + 1 {
		many = append(many, reset)
	}
	captured(t, r.monitors.ShowPacket, many...)
	r.tick(59)
	if got := len(r.seen()); got != len(many) {
		t.Errorf("%d packets shown of %d", got, len(many))
	}
	if got := strings.Join(r.out.lines, " "); !strings.Contains(got, fmt.Sprintf("Own packet [%d]", len(many)+2)) {
		t.Errorf("windows %q", got)
	}
}
