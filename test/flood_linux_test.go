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
	records, sent, dropped := floodOfHosts(t, p, hosts)
	soon(t, func() string {
		var problems []string
		for group, times := range map[string]int{"Hosts": 2, "Aggregates": 2, "External_Hosts": 2} {
			code, body, err := p.get("/api/v1/total?start=-10m&tag=key=SYS:GROUP_TOTALS&schema=group:" + group)
			var answer struct{ Total map[string]float64 }
			if err != nil || json.Unmarshal([]byte(body), &answer) != nil || math.Round(answer.Total["Total"]) != float64(times*records*floodBytes) {
				problems = append(problems, fmt.Sprintf("%s: want %d bytes: %d %v %.300s", group, times*records*floodBytes, code, err, body))
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
	if line := regexp.MustCompile(`most flows of the window came from this exporter" exporter=127\.0\.0\.1 new_flows=[1-9]\d* groups="?[^"]*Hosts`); !line.MatchString(p.log()) {
		t.Errorf("the log does not name the exporter:\n%s", p.log())
	}
	peak := p.peak(t)
	if peak > limit {
		t.Errorf("%d KiB of memory at most, want less than %d", peak, limit)
	}
	t.Logf("%d datagrams sent, %d dropped by the kernel, %d hosts counted, %d KiB at most", sent, dropped, records, peak)
}

// TestMillionKeys: a million keys of one group with its 17 meters and toppers, twice over while windows end, leave the whole process below 500 MB.
func TestMillionKeys(t *testing.T) {
	hosts, limit := 1_000_000, 500_000_000/1024 // KiB
	if len(buildFlags) > 0 {
		hosts = hosts / 5 // the race detector takes a multiple for each
	}
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", `http: {listen: "127.0.0.1:0"}
sources: {statsd: [], netflow: [{listen: "udp://127.0.0.1:0"}]}
statsd: {management: {listen: ""}, backends: []}
timeseries: {write: []}
flows: {max_flows: 1000}
counter_groups: {window: 5s, topper_bucket: 5s, max_keys: 1_100_000, off: ["External Hosts"]}
`)
	p, err := run(dir, nil, "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	held := func() (keys int) {
		_, body, _ := p.get("/api/v1/groups/Hosts/top?n=1")
		var top struct{ Keys int }
		_ = json.Unmarshal([]byte(body), &top)
		return top.Keys
	}
	records := 0
	for range 2 {
		more, _, dropped := floodOfHosts(t, p, hosts)
		records += more
		if dropped > 0 {
			t.Logf("%d datagrams were dropped by the kernel", dropped)
		}
	}
	keys := held()
	if keys < hosts*9/10 || keys > hosts+1 {
		t.Errorf("%d keys are held, of %d hosts", keys, hosts)
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	peak := p.peak(t)
	if peak > limit {
		t.Errorf("%d KiB of memory at most, want less than %d", peak, limit)
	}
	t.Logf("%d records, %d keys, %d KiB at most", records, keys, peak)
}

const (
	floodRecords = 40  // of a datagram
	floodBytes   = 100 // of a record
)

// floodOfHosts sends a record of each of so many hosts in NetFlow v9, which all go to one other host, and returns how many were counted, how many datagrams
// were sent and how many the kernel dropped.
func floodOfHosts(t *testing.T, p *process, hosts int) (records, sent, dropped int) {
	t.Helper()
	conn, err := net.Dial("udp", regexp.MustCompile(`netflow=(\S+)`).FindStringSubmatch(p.log())[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	be := network.BigEndian
	send := func(set []byte) {
		b := be.AppendUint16([]byte{0, 9}, floodRecords)
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
	before := datagrams()
	send([]byte{0, 0, 0, 24, 1, 44, 0, 4, 0, 8, 0, 4, 0, 12, 0, 4, 0, 1, 0, 4, 0, 4, 0, 1}) // template 300: source, destination, bytes, protocol
	soon(t, func() string {
		if a := datagrams(); a.passed != before.passed+1 {
			return fmt.Sprintf("the template has not come: %+v", a)
		}
		return ""
	})
	for first := 0; first < hosts; first += floodRecords {
		set := be.AppendUint16(be.AppendUint16(nil, 300), 4+13*floodRecords)
		for i := range floodRecords {
			set = be.AppendUint32(set, 100<<24|uint32(first+i))
			set = append(set, 192, 0, 2, 9, 0, 0, 0, floodBytes, 17)
		}
		send(set)
		if sent%200 == 0 { // or else nearly all would be lost in the kernel, and it would be no flood of keys
			for a := datagrams(); a.received < before.received+sent-200; a = datagrams() {
				time.Sleep(time.Millisecond)
			}
		}
	}
	var a account
	soon(t, func() string {
		if a = datagrams(); a.received != before.received+sent || a.passed+a.dropped != a.received {
			return fmt.Sprintf("%d datagrams were sent, %+v after %+v", sent, a, before)
		}
		return ""
	})
	records = (a.passed - before.passed - 1) * floodRecords
	if records < hosts/2 {
		t.Errorf("only %d hosts were counted: no flood", records)
	}
	return records, sent, a.dropped - before.dropped
}

// peak is the most memory the process had, in KiB.
func (p *process) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	peak, _ := strconv.Atoi(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(status))[1])
	return peak
}
