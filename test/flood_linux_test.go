package test

import (
	network "encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHostFlood: a million distinct hosts (with the race detector a fifth of it) come in NetFlow v9 while a group may keep ten thousand.
// Memory is bounded, the totals are exact to the byte, what the kernel dropped is counted, and the log names the groups.
func TestHostFlood(t *testing.T) {
	const perDatagram, bytes = 40, 100
	hosts, limit := 1_000_000, 512<<10 // KiB
	if len(buildFlags) > 0 {
		hosts, limit = hosts/5, 4*limit
	}
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", `http: {listen: "127.0.0.1:0"}
sources: {statsd: [], netflow: [{listen: "udp://127.0.0.1:0"}]}
statsd: {management: {listen: ""}}
counter_groups: {window: 10s, max_keys: 10_000}
`)
	p, err := run(dir, nil, "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	conn, err := net.Dial("udp", regexp.MustCompile(`netflow=(\S+)`).FindStringSubmatch(p.log())[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	be := network.BigEndian
	sent := 0
	send := func(set []byte) {
		b := be.AppendUint16([]byte{0, 9}, perDatagram)
		for _, n := range []uint32{1000, uint32(time.Now().Unix()), uint32(sent), 7} {
			b = be.AppendUint32(b, n)
		}
		if _, err := conn.Write(append(b, set...)); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	type account struct{ received, passed, dropped int }
	datagrams := func() (a account) {
		_, body, _ := p.get("/metrics")
		figure := func(name string) int {
			m := regexp.MustCompile(`(?m)^weir_` + name + ` (\S+)$`).FindStringSubmatch(body)
			if m == nil {
				return 0
			}
			v, _ := strconv.ParseFloat(m[1], 64)
			return int(v)
		}
		const of = `component="flow.datagrams",`
		return account{figure("received_total{" + of + `unit="datagrams"}`), figure("passed_total{" + of + `unit="datagrams"}`), figure("discarded_total{" + of + `reason="kernel_drop",unit="datagrams"}`)}
	}
	send([]byte{0, 0, 0, 24, 1, 44, 0, 4, 0, 8, 0, 4, 0, 12, 0, 4, 0, 1, 0, 4, 0, 4, 0, 1}) // template 300: source, destination, bytes, protocol
	soon(t, func() string {
		if a := datagrams(); a.passed != 1 {
			return fmt.Sprintf("the template has not come: %+v", a)
		}
		return ""
	})
	for first := 0; first < hosts; first += perDatagram {
		set := be.AppendUint16(be.AppendUint16(nil, 300), 4+13*perDatagram)
		for i := range perDatagram {
			set = be.AppendUint32(set, 100<<24|uint32(first+i))
			set = append(set, 192, 0, 2, 9, 0, 0, 0, bytes, 17)
		}
		send(set)
		if sent%200 == 0 { // or else nearly all would be lost in the kernel, and it would be no flood of keys
			for a := datagrams(); a.received < sent-200; a = datagrams() {
				time.Sleep(time.Millisecond)
			}
		}
	}
	var a account
	soon(t, func() string {
		if a = datagrams(); a.received != sent || a.passed+a.dropped != sent {
			return fmt.Sprintf("%d datagrams were sent, %+v", sent, a)
		}
		return ""
	})
	records := (a.passed - 1) * perDatagram
	if records < hosts/2 {
		t.Errorf("only %d hosts were counted: no flood", records)
	}
	soon(t, func() string {
		var problems []string
		for group, times := range map[string]int{"Hosts": 2, "Aggregates": 2, "External_Hosts": 2} {
			code, body, err := p.get("/api/v1/total?start=-10m&tag=key=SYS:GROUP_TOTALS&schema=group:" + group)
			var answer struct{ Total map[string]float64 }
			if err != nil || json.Unmarshal([]byte(body), &answer) != nil || math.Round(answer.Total["Total"]) != float64(times*records*bytes) {
				problems = append(problems, fmt.Sprintf("%s: want %d bytes: %d %v %.300s", group, times*records*bytes, code, err, body))
			}
		}
		return strings.Join(problems, "\n")
	})
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	for _, group := range []string{"Hosts", "External Hosts"} {
		name := group
		if strings.Contains(group, " ") {
			name = strconv.Quote(group)
		}
		if line := regexp.MustCompile(`a counter group has more keys than its high-water mark.* group=` + name + ` .*updates_without_key=[1-9]`); !line.MatchString(p.log()) {
			t.Errorf("the log does not name %s:\n%s", group, p.log())
		}
		_, body, _ := p.get("/api/v1/groups/" + strings.ReplaceAll(group, " ", "%20") + "/top?n=1")
		var top struct{ Keys int }
		if err := json.Unmarshal([]byte(body), &top); err != nil || top.Keys > 20_000 {
			t.Errorf("%s holds %d keys: %v %s", group, top.Keys, err, body)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	peak, _ := strconv.Atoi(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(status))[1])
	if peak > limit {
		t.Errorf("%d KiB of memory at most, want less than %d", peak, limit)
	}
	t.Logf("%d datagrams sent, %d dropped by the kernel, %d hosts counted, %d KiB at most", sent, a.dropped, records, peak)
}
