package test

import (
	network "encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// capture writes a pcap file: several hosts, TCP, UDP and ICMP over IPv4, UDP over IPv6.
func capture(t *testing.T, path string) {
	t.Helper()
	le, be := network.LittleEndian, network.BigEndian
	out := append(le.AppendUint32(nil, 0xa1b2c3d4), 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	at := time.Unix(1700000000, 0)
	packet := func(source, destination string, protocol byte, payload []byte) {
		s, d := netip.MustParseAddr(source), netip.MustParseAddr(destination)
		b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
		if s.Is4() {
			b = append(b, 8, 0, 0x45, 0)
			b = append(be.AppendUint16(b, uint16(20+len(payload))), 0, 1, 0, 0, 64, protocol, 0, 0)
		} else {
			b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
			b = append(be.AppendUint16(b, uint16(len(payload))), protocol, 64)
		}
		b = append(append(append(b, s.AsSlice()...), d.AsSlice()...), payload...)
		at = at.Add(7 * time.Millisecond)
		out = le.AppendUint32(out, uint32(at.Unix()))
		out = le.AppendUint32(out, uint32(at.Nanosecond()/1000))
		out = le.AppendUint32(out, uint32(len(b)))
		out = append(le.AppendUint32(out, uint32(len(b))), b...)
	}
	tcp := func(source, destination uint16, flags byte, n int) []byte {
		b := be.AppendUint16(be.AppendUint16(nil, source), destination)
		return append(append(b, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0), make([]byte, n)...)
	}
	udp := func(source, destination uint16, n int) []byte {
		b := be.AppendUint16(be.AppendUint16(nil, source), destination)
		return append(append(be.AppendUint16(b, uint16(8+n)), 0, 0), make([]byte, n)...)
	}
	for i := range uint16(9) {
		host, port := fmt.Sprintf("10.0.0.%d", i+1), 40000+i
		packet(host, "192.0.2.9", 6, tcp(port, 443, 0x02, 0))
		packet("192.0.2.9", host, 6, tcp(443, port, 0x12, 0))
		for n := range int(i) * 3 {
			packet(host, "192.0.2.9", 6, tcp(port, 443, 0x18, 100*n))
			packet("192.0.2.9", host, 6, tcp(443, port, 0x18, 50*n))
		}
		packet(host, "192.0.2.9", 6, tcp(port, 443, 0x11, 0))
		packet(host, "10.0.0.53", 17, udp(5000+i, 53, 30))
		packet("10.0.0.53", host, 17, udp(53, 5000+i, 90+int(i)))
		packet(host, "198.51.100.1", 1, append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, make([]byte, 56)...))
		packet("198.51.100.1", host, 1, append([]byte{0, 0, 0, 0, 0, 1, 0, 1}, make([]byte, 56)...))
		packet(fmt.Sprintf("2001:db8::%d", i+1), "2001:db8::53", 17, udp(6000+i, 53, 40+int(i)))
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// startCounting starts weir with a socket for flows and windows of a second, and returns the address of the socket.
func startCounting(t *testing.T, dir string) (*process, string) {
	t.Helper()
	config := `http: {listen: "127.0.0.1:0"}
sources: {statsd: [], netflow: [{listen: "udp://127.0.0.1:0"}]}
statsd: {management: {listen: ""}}
counter_groups: {window: 1s}
`
	if err := os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := run(dir, nil, "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	_, rest, ok := strings.Cut(p.log(), "netflow=")
	if !ok {
		t.Fatalf("the log does not say where flows are listened for:\n%s", p.log())
	}
	return p, strings.Fields(rest)[0]
}

// grouped are the volumes of a group's meters since the test began, by key.
func grouped(t *testing.T, p *process, group string) map[string]map[string]float64 {
	t.Helper()
	return groupedIn(t, p, group, "start=-10m")
}

// groupedIn is the same of a range.
func groupedIn(t *testing.T, p *process, group, span string) map[string]map[string]float64 {
	t.Helper()
	code, body, err := p.get("/api/v1/topk?top=1000&" + span + "&schema=" + url.QueryEscape("group:"+group))
	if err != nil || code == 400 {
		t.Fatalf("%v %s", err, body)
	}
	if code != 200 {
		return nil // nothing is stored yet
	}
	var answer struct {
		Items []struct {
			Tags     map[string]string  `json:"tags"`
			Partials map[string]float64 `json:"partials"`
		} `json:"topk"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	out := make(map[string]map[string]float64)
	for _, item := range answer.Items {
		out[item.Tags["key"]] = item.Partials
	}
	return out
}

// soon asks until a check passes, and fails with what it said last.
func soon(t *testing.T, check func() string) {
	t.Helper()
	err := eventually(func() error {
		if problem := check(); problem != "" {
			return errors.New(problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// relay gives every datagram that arrives at it to several addresses.
func relay(t *testing.T, to ...string) (address string) {
	t.Helper()
	in, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	var conns []net.Conn
	for _, a := range to {
		conn, err := net.Dial("udp4", a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn)
	}
	go func() {
		b := make([]byte, 65536)
		for {
			n, _, err := in.ReadFrom(b)
			if err != nil {
				return
			}
			for _, conn := range conns {
				conn.Write(b[:n])
			}
		}
	}()
	return in.LocalAddr().String()
}

// nfdump is what nfdump reports of a collected file: bytes and packets by an element such as "ip" or "port".
func nfdump(t *testing.T, file, element string) map[string][2]float64 {
	t.Helper()
	text, err := exec.Command("nfdump", "-r", file, "-s", element+"/bytes", "-n", "0", "-o", "csv").Output()
	if err != nil {
		t.Fatalf("nfdump: %v", err)
	}
	lines := csv.NewReader(strings.NewReader(string(text)))
	lines.FieldsPerRecord = -1
	rows, err := lines.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][2]float64)
	for _, row := range rows {
		if len(row) < 11 || row[0] == "ts" {
			continue
		}
		packets, err1 := strconv.ParseFloat(row[7], 64)
		bytes, err2 := strconv.ParseFloat(row[9], 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("nfdump printed %q", row)
		}
		out[row[4]] = [2]float64{bytes, packets}
	}
	return out
}

// startNfcapd starts a collector of nfdump on a port of its own. stop ends it and returns the file it has written.
func startNfcapd(t *testing.T) (address string, stop func() string) {
	t.Helper()
	spare, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = spare.LocalAddr().String()
	spare.Close()
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(address)
	nfcapd := exec.Command("nfcapd", "-w", dir, "-p", port, "-b", "127.0.0.1", "-t", "3600")
	log := &strings.Builder{}
	nfcapd.Stdout, nfcapd.Stderr = log, log
	if err := nfcapd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		nfcapd.Process.Signal(syscall.SIGTERM)
		nfcapd.Wait()
	})
	t.Cleanup(end)
	number, _ := strconv.Atoi(port)
	soon(t, func() string {
		sockets, err := os.ReadFile("/proc/net/udp")
		if err != nil || !strings.Contains(string(sockets), fmt.Sprintf(" 0100007F:%04X ", number)) {
			return fmt.Sprintf("nfcapd does not listen on port %d: %v", number, err)
		}
		return ""
	})
	return address, func() string {
		t.Helper()
		time.Sleep(200 * time.Millisecond) // nfcapd tells nobody what it has taken in
		end()
		found, err := filepath.Glob(filepath.Join(dir, "nfcapd.*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("nfcapd left %v, %v\n%s", found, err, log)
		}
		return found[0]
	}
}

// addressKey is an address as a key of counter groups.
func addressKey(text string) string {
	a := netip.MustParseAddr(text)
	key := strings.ToUpper(fmt.Sprintf("%x", a.AsSlice()))
	if a.Is4() {
		key = key[:2] + "." + key[2:4] + "." + key[4:6] + "." + key[6:]
	}
	return key
}

// TestFlowsLikeNfdump: softflowd exports a capture, and what Weir counted of each host and port is what nfdump reports of the same datagrams.
func TestFlowsLikeNfdump(t *testing.T) {
	dir := t.TempDir()
	packets := filepath.Join(dir, "packets.pcap")
	capture(t, packets)
	for _, version := range []string{"5", "9", "10"} {
		t.Run("version "+version, func(t *testing.T) {
			dir := t.TempDir()
			p, address := startCounting(t, dir)
			collector, stop := startNfcapd(t)
			out, err := exec.Command("softflowd", "-r", packets, "-n", relay(t, address, collector), "-v", version, "-d").CombinedOutput()
			if err != nil {
				t.Fatalf("softflowd: %v\n%s", err, out)
			}
			exported := 9*2*3 + 9 // conversations in both directions, and the half ones over IPv6
			if version == "5" {
				exported -= 9 // which has no IPv6
			}
			soon(t, func() string {
				_, body, _ := p.get("/metrics")
				if !strings.Contains(body, fmt.Sprintf(`weir_passed_total{component="flow.records",unit="records"} %d`, exported)) {
					_, rest, _ := strings.Cut(body, `weir_passed_total{component="flow.records"`)
					return fmt.Sprintf("%d records are expected, counted are %.30s", exported, rest)
				}
				return ""
			})
			file := stop()
			hosts, ports := nfdump(t, file, "ip"), nfdump(t, file, "port")
			if len(hosts) < 12 {
				t.Fatalf("nfdump knows %d hosts", len(hosts))
			}
			total := [2]float64{}
			for _, v := range nfdump(t, file, "proto") {
				total[0], total[1] = total[0]+v[0], total[1]+v[1]
			}
			soon(t, func() string {
				var problems []string
				same := func(what string, got map[string]float64, bytes, packets string, want [2]float64) {
					if math.Round(got[bytes]) != want[0] || packets != "" && math.Round(got[packets]) != want[1] {
						problems = append(problems, fmt.Sprintf("%s: %.1f bytes and %.1f packets, nfdump has %.0f and %.0f", what, got[bytes], got[packets], want[0], want[1]))
					}
				}
				four, six, apps := grouped(t, p, "Hosts"), grouped(t, p, "HostsIPv6"), grouped(t, p, "Apps")
				for host, want := range hosts {
					group := four
					if strings.Contains(host, ":") {
						group = six
					}
					same(host, group[addressKey(host)], "Total", "Total Packets", want)
				}
				if n := max(0, len(four)-1) + max(0, len(six)-1); n != len(hosts) { // without the totals
					problems = append(problems, fmt.Sprintf("%d hosts, nfdump has %d", n, len(hosts)))
				}
				for _, port := range []int{443, 53} {
					same(fmt.Sprint("port ", port), apps[fmt.Sprintf("p-%04X", port)], "Total", "", ports[strconv.Itoa(port)])
				}
				same("all", grouped(t, p, "Aggregates")["TOTALBW"], "Total", "Packets", total)
				return strings.Join(problems, "\n")
			})
			if err := p.balanced(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFlowsRestart: after a kill -9 in the middle of an export nothing is undecodable, though templates come only at its beginning.
func TestFlowsRestart(t *testing.T) {
	dir := t.TempDir()
	p, address := startCounting(t, dir)
	be := network.BigEndian
	datagram := func(sequence uint32, sets ...[]byte) []byte {
		b := be.AppendUint16(be.AppendUint16(nil, 9), uint16(len(sets)))
		for _, n := range []uint32{1000, uint32(time.Now().Unix()), sequence, 7} {
			b = be.AppendUint32(b, n)
		}
		for _, s := range sets {
			b = append(b, s...)
		}
		return b
	}
	set := func(id uint16, body ...byte) []byte {
		return append(be.AppendUint16(be.AppendUint16(nil, id), uint16(4+len(body))), body...)
	}
	template := set(0, 1, 44, 0, 4, 0, 8, 0, 4, 0, 12, 0, 4, 0, 1, 0, 4, 0, 4, 0, 1) // 300: source, destination, bytes, protocol
	data := set(300, 10, 0, 0, 1, 192, 0, 2, 9, 0, 0, 0, 100, 17)
	send := func(to string, b []byte) {
		conn, err := net.Dial("udp4", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	send(address, datagram(1, template))
	soon(t, func() string {
		text, err := os.ReadFile(filepath.Join(dir, "weir-data", "flow", "templates.json"))
		if err != nil || !strings.Contains(string(text), `"id":300`) {
			return fmt.Sprintf("the template is not saved: %v %s", err, text)
		}
		return ""
	})
	p.kill()
	p, address = startCounting(t, dir)
	for i := range 10 {
		send(address, datagram(uint32(2+i), data))
	}
	soon(t, func() string {
		got := grouped(t, p, "Hosts")["0A.00.00.01"]
		if math.Round(got["Total"]) != 1000 {
			return fmt.Sprintf("after the restart %v", got)
		}
		return ""
	})
	_, body, _ := p.get("/metrics")
	if !strings.Contains(body, `weir_received_total{component="flow.held",unit="sets"} 0`) {
		t.Error("data waited for a template that was known before the restart")
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
}

// TestSFlow: samples of packets between hosts, multiplied by their rate, are what the groups hold.
func TestSFlow(t *testing.T) {
	p, address := startCounting(t, t.TempDir())
	conn, err := net.Dial("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	be := network.BigEndian
	words := func(b []byte, numbers ...uint32) []byte {
		for _, n := range numbers {
			b = be.AppendUint32(b, n)
		}
		return b
	}
	want := make(map[string][2]float64)
	const datagrams, rate = 50, 128
	for i := range uint32(datagrams) {
		var samples []byte
		const n = 4
		for k := range uint32(n) {
			source, destination := [4]byte{10, 0, 0, byte(i%7 + 1)}, [4]byte{192, 0, 2, byte(k + 1)}
			length := uint16(60 + 10*i + k)
			header := append(append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0}, byte(length>>8), byte(length), 0, 1, 0, 0, 64, 17, 0, 0), source[:]...)
			header = append(append(header, destination[:]...), 0x13, 0x88, 0, 53, 0, 40, 0, 0)
			record := append(words(nil, 1, uint32(length)+18, 4, uint32(len(header))), header...)
			for len(record)%4 != 0 {
				record = append(record, 0)
			}
			body := append(words(nil, i*n+k, 3, rate, rate*(i*n+k), 0, 3, 4, 1, 1, uint32(len(record))), record...)
			samples = append(words(samples, 1, uint32(len(body))), body...)
			for _, a := range [][4]byte{source, destination} {
				key := addressKey(netip.AddrFrom4(a).String())
				v := want[key]
				want[key] = [2]float64{v[0] + rate*float64(length), v[1] + rate}
			}
		}
		datagram := append(words(nil, 5, 1, 0xc0000207, 0, i, 1000, n), samples...)
		if _, err := conn.Write(datagram); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, func() string {
		got := grouped(t, p, "Hosts")
		var problems []string
		for key, v := range want {
			if math.Round(got[key]["Total"]) != v[0] || math.Round(got[key]["Total Packets"]) != v[1] {
				problems = append(problems, fmt.Sprintf("%s: %v, want %v", key, got[key], v))
			}
		}
		return strings.Join(problems, "\n")
	})
	if got := grouped(t, p, "FlowGens")["C0.00.02.07"]["Flow Records"]; math.Round(got) != datagrams*4 {
		t.Errorf("%v records of the agent", got)
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
}
