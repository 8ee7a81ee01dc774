package test

import (
	network "encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// replayed runs weir flow replay in dir and returns its exit code and what it printed.
func replayed(t *testing.T, dir string, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"flow", "replay"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(environment(), "TZ=UTC")
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// groupRow is the row of a group in the table of a replay: keys and total.
func groupRow(out, group string) string {
	m := regexp.MustCompile(`(?m)^` + group + ` +(\d+) .* (\d+)$`).FindStringSubmatch(out)
	if m == nil {
		return ""
	}
	return m[1] + " keys, " + m[2]
}

// datagrams writes a capture of datagrams as UDP packets to port 2055.
func datagrams(t *testing.T, path string, payloads [][]byte) {
	t.Helper()
	le, be := network.LittleEndian, network.BigEndian
	out := append(le.AppendUint32(nil, 0xa1b2c3d4), 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for _, payload := range payloads {
		b := append(make([]byte, 12), 8, 0, 0x45, 0)
		b = append(be.AppendUint16(b, uint16(28+len(payload))), 0, 1, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0x30, 0x39, 8, 7)
		b = append(append(be.AppendUint16(b, uint16(8+len(payload))), 0, 0), payload...)
		out = le.AppendUint32(le.AppendUint32(out, uint32(time.Now().Unix())), 0)
		out = append(le.AppendUint32(le.AppendUint32(out, uint32(len(b))), uint32(len(b))), b...)
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReplayExports: a file of nfcapd is counted as nfdump reports it, windows and all, and so is a capture of the same datagrams.
func TestReplayExports(t *testing.T) {
	dir := t.TempDir()
	packets := filepath.Join(dir, "packets.pcap")
	capture(t, packets)
	collector, stop := startNfcapd(t)
	recorder, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("softflowd", "-r", packets, "-n", relay(t, collector, recorder.LocalAddr().String()), "-v", "9", "-d").CombinedOutput(); err != nil {
		t.Fatalf("softflowd: %v\n%s", err, out)
	}
	file := stop()
	var payloads [][]byte
	for b := make([]byte, 65536); ; {
		recorder.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // all has been sent
		n, _, err := recorder.ReadFrom(b)
		if err != nil {
			break
		}
		payloads = append(payloads, append([]byte(nil), b[:n]...))
	}
	exports := filepath.Join(dir, "exports.pcap")
	datagrams(t, exports, payloads)

	hosts, total := nfdump(t, file, "ip"), 0.0
	for _, v := range nfdump(t, file, "proto") {
		total += v[0]
	}
	if len(hosts) < 12 || total == 0 {
		t.Fatalf("nfdump knows %d hosts and %v bytes", len(hosts), total)
	}
	const records = 9*2*3 + 9
	for _, f := range []string{file, exports} {
		code, out := replayed(t, dir, f)
		if got, want := groupRow(out, "Aggregates"), fmt.Sprintf(" keys, %.0f", 2*total); code != 0 || !strings.HasSuffix(got, want) { // the sum of all and of each direction
			t.Errorf("%s: code %d, Aggregates have %q, want %q\n%s", f, code, got, want, out)
		}
		if want := fmt.Sprintf("records: %d, counted %d\n", records, records); !strings.Contains(out, want) {
			t.Errorf("%s: no %q in\n%s", f, want, out)
		}
		if f == exports && !strings.Contains(out, fmt.Sprintf("packets: %d, strange 0\ndatagrams: %d, decoded %d\n", len(payloads), len(payloads), len(payloads))) {
			t.Errorf("%d datagrams in\n%s", len(payloads), out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "weir-data")); !os.IsNotExist(err) {
		t.Errorf("without -c something was stored: %v", err)
	}

	before, _ := startCounting(t, dir) // writes weir.yaml
	before.kill()
	code, out := replayed(t, dir, "-c", "weir.yaml", file)
	if code != 0 || !regexp.MustCompile(`points: (\d+), stored in ./weir-data \d+\n`).MatchString(out) {
		t.Fatalf("code %d\n%s", code, out)
	}
	p, _ := startCounting(t, dir)
	soon(t, func() string { // the last window ends up to a second from now
		var problems []string
		four, six := grouped(t, p, "Hosts"), grouped(t, p, "HostsIPv6")
		for host, want := range hosts {
			group := four
			if strings.Contains(host, ":") {
				group = six
			}
			if got := group[addressKey(host)]; math.Round(got["Total"]) != want[0] || math.Round(got["Total Packets"]) != want[1] {
				problems = append(problems, fmt.Sprintf("%s: %v, nfdump has %v", host, got, want))
			}
		}
		return strings.Join(problems, "\n")
	})
	if code, out := replayed(t, dir, "-c", "weir.yaml", file); code != 2 || !strings.Contains(out, "another process uses it") || !strings.Contains(out, "stop the weir that runs on it") {
		t.Errorf("while weir runs on the store: code %d\n%s", code, out)
	}
}

// TestReplayPackets: a capture of packets is counted in the windows of its own times.
func TestReplayPackets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "packets.pcap")
	capture(t, file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// What is in it, read without any of Weir's code.
	want, packets, bytes := make(map[string][2]float64), 0, 0
	for b := text[24:]; len(b) > 0; packets++ {
		n := int(network.LittleEndian.Uint32(b[8:]))
		p := b[16 : 16+n]
		b, bytes = b[16+n:], bytes+n
		ends := p[14+12 : 14+20]
		if p[14]>>4 == 6 {
			ends = p[14+8 : 14+40]
		}
		for _, end := range [][]byte{ends[:len(ends)/2], ends[len(ends)/2:]} {
			a, _ := netip.AddrFromSlice(end)
			v := want[a.String()]
			want[a.String()] = [2]float64{v[0] + float64(n), v[1] + 1}
		}
	}
	writeFile(t, dir, "store.yaml", `http: {listen: "127.0.0.1:0"}
sources: {statsd: [], netflow: [{listen: "udp://127.0.0.1:0"}]}
statsd: {management: {listen: ""}}
timeseries: {retention: 3650d}
counter_groups: {window: 1s}
`)
	code, out := replayed(t, dir, "-c", "store.yaml", file)
	for _, line := range []string{fmt.Sprintf("packets: %d, strange 0\n", packets), fmt.Sprintf("records: %d, counted %d\n", packets, packets), "2023-11-14 22:13:20 to 22:13:2"} {
		if code != 0 || !strings.Contains(out, line) {
			t.Errorf("code %d, no %q in\n%s", code, line, out)
		}
	}
	if got, want := groupRow(out, "LinkLayerStats"), fmt.Sprintf("2 keys, %d", bytes); got != want {
		t.Errorf("LinkLayerStats: %q, want %q\n%s", got, want, out)
	}
	p, err := run(dir, nil, "run", "-c", "store.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	for _, group := range []string{"Hosts", "HostsIPv6"} {
		got := groupedIn(t, p, group, "start=1700000000&end=1700000010")
		for host, v := range want {
			if strings.Contains(host, ":") != (group == "HostsIPv6") {
				continue
			}
			if g := got[addressKey(host)]; math.Round(g["Total"]) != v[0] || math.Round(g["Total Packets"]) != v[1] {
				t.Errorf("%s: %v, want %v", host, g, v)
			}
		}
	}

	cut := filepath.Join(dir, "cut.pcap")
	if err := os.WriteFile(cut, text[:len(text)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	code, out = replayed(t, dir, cut)
	if code != 1 || !strings.Contains(out, "it ends within a packet") || !strings.Contains(out, fmt.Sprintf("records: %d,", packets-1)) {
		t.Errorf("of a file that is cut off: code %d\n%s", code, out)
	}
	if code, out = replayed(t, dir, "--exports", file); code != 0 || !strings.Contains(out, "records: 0, counted 0\n") || !strings.Contains(out, "unknown_version") {
		t.Errorf("packets as exports: code %d\n%s", code, out)
	}
}
