package test

import (
	"cmp"
	network "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	compare "github.com/google/go-cmp/cmp"
)

// What scripts of these tests share: they write a line for each call to a file that the test reads.
const recorder = `
return function(name)
  local path = T.env.get_config("Test>Dir") .. "/" .. name .. ".seen"
  return function(...)
    local words = {}
    for i = 1, select("#", ...) do
      local v = select(i, ...)
      if type(v) == "table" then v = "{" .. table.concat(v, ",") .. "}" end
      words[i] = tostring(v)
    end
    local f = assert(io.open(path, "a"))
    f:write(table.concat(words, " "), "\n")
    f:close()
  end
end
`

// feeder posts the updates of a file "go" that the test puts there: GUID, key, meter, value per line. It defines the group they are for.
const feeder = `
TrisulPlugin = {
  id = { name = "feeder" },
  countergroup = {
    control = { guid = "{11111111-2222-3333-4444-555555555555}", name = "Fed", bucketsize = 1 },
    meters = {
      { 0, T.K.vartype.RATE_COUNTER, 10, 0, "volume", "what is fed", "bytes" },
      { 1, T.K.vartype.COUNTER, 10, 0, "count", "how often", "" },
    },
  },
  engine_monitor = {
    onmetronome = function(engine, ts, tick, interval)
      local path = T.env.get_config("Test>Dir") .. "/go"
      local f = io.open(path)
      if not f then return end
      for line in f:lines() do
        engine:update_counter(line:match("^(%S+) (%S+) (%S+) (%S+)$"))
      end
      f:close()
      os.remove(path)
    end,
  },
}
`

const fed = "{11111111-2222-3333-4444-555555555555}"

// monitored is weir with scripts in a folder.
type monitored struct {
	*process
	t       *testing.T
	dir     string // of scripts
	address string // for flows
}

// startMonitored starts weir with windows of a second and the scripts by their names, and returns when each group named is watched.
func startMonitored(t *testing.T, scripts map[string]string, watched ...string) *monitored {
	t.Helper()
	return startMonitoredAs(t, "", "", scripts, watched...)
}

// startMonitoredWith is the same with more values for T.env.get_config, each ", NAME: VALUE" in YAML.
func startMonitoredWith(t *testing.T, env string, scripts map[string]string, watched ...string) *monitored {
	t.Helper()
	return startMonitoredAs(t, "", env, scripts, watched...)
}

// startMonitoredAs is the same with more options of counter_groups, written likewise.
func startMonitoredAs(t *testing.T, groups, env string, scripts map[string]string, watched ...string) *monitored {
	t.Helper()
	dir := t.TempDir()
	m := &monitored{t: t, dir: filepath.Join(dir, "scripts")}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.put("record.lua", recorder)
	for name, text := range scripts {
		m.put(name, text)
	}
	writeFile(t, dir, "weir.yaml", fmt.Sprintf(`log: {level: debug}
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], netflow: [{listen: "udp://127.0.0.1:0"}]}
statsd: {management: {listen: ""}}
counter_groups: {window: 1s, topper_bucket: 1s%s}
monitors: [{path: scripts, call_timeout: 300ms, env: {"Test>Dir": %q%s}}]
`, groups, m.dir, env))
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	m.process = p
	_, rest, _ := strings.Cut(p.log(), "netflow=")
	m.address = strings.Fields(rest)[0]
	for _, w := range watched {
		m.attached(w)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", p.log())
		}
	})
	return m
}

// attached waits until a script, written "FILE GROUP", is attached.
func (m *monitored) attached(which string) {
	m.t.Helper()
	file, group, _ := strings.Cut(which, " ")
	pattern := `msg="script attached" file=\S*/` + regexp.QuoteMeta(file) + ` type=\w+ group="?` + regexp.QuoteMeta(group) + `"?( engine=\d)?(\n|$)`
	if err := m.waitLog(`(?m)` + pattern); err != nil {
		m.t.Fatal(err)
	}
}

// put writes a script, in the folder of scripts, at once.
func (m *monitored) put(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

// feed has the feeder post updates, each "key meter value", in one second.
func (m *monitored) feed(updates ...string) {
	m.t.Helper()
	text := ""
	for _, u := range updates {
		text += fed + " " + u + "\n"
	}
	m.put("go", text)
}

// seen are the lines of a script's file so far.
func (m *monitored) seen(name string) []string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, name+".seen"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// sees waits until a script's file has a line that matches, and returns all lines.
func (m *monitored) sees(name, pattern string) []string {
	m.t.Helper()
	want := regexp.MustCompile("(?m)" + pattern)
	var lines []string
	soon(m.t, func() string {
		if lines = m.seen(name); !want.MatchString(strings.Join(lines, "\n")) {
			return fmt.Sprintf("%s: nothing matches %s in\n%s", name, pattern, strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
		return ""
	})
	return lines
}

// exported is a record of NetFlow.
type exported struct {
	from, to       string // address:port
	protocol       byte
	bytes, packets uint32
	in, out        uint16 // interfaces
	flags          byte   // of TCP; 0 stands for ACK and PSH
}

// exportFrom sends a datagram of NetFlow 5 from an address of this machine.
func (m *monitored) exportFrom(source string, list ...exported) {
	m.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}
	conn, err := dialer.Dial("udp4", m.address)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	be := network.BigEndian
	b := be.AppendUint16(be.AppendUint16(nil, 5), uint16(len(list)))
	for _, n := range []uint32{100_000, uint32(time.Now().Unix()), 0, 0, 0} {
		b = be.AppendUint32(b, n)
	}
	for _, c := range list {
		from, to := netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.to)
		b = append(append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...), 0, 0, 0, 0)
		b = be.AppendUint16(be.AppendUint16(b, c.in), c.out)
		for _, n := range []uint32{c.packets, c.bytes, 99_000, 100_000} {
			b = be.AppendUint32(b, n)
		}
		b = be.AppendUint16(be.AppendUint16(b, from.Port()), to.Port())
		b = append(b, 0, cmp.Or(c.flags, 0x18), c.protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	if _, err := conn.Write(b); err != nil {
		m.t.Fatal(err)
	}
}

func (m *monitored) export(list ...exported) { m.exportFrom("127.0.0.1", list...) }

// together waits for the beginning of a second, so that what is done now is done in one.
func together() {
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 100*time.Millisecond)))
}

// everything is a script with every callback of a cg_monitor.
const everything = `
local say = require("record")("%[2]s")
TrisulPlugin = {
  id = { name = "everything", description = "writes every call" },
  onload = function() say("plugin onload", T.monitor_group_name, T.monitor_group_guid) end,
  onunload = function() say("plugin onunload", T.monitor_group_name) end,
  cg_monitor = {
    counter_guid = "%[1]s",
    onload = function() say("onload", T.monitor_group_name) end,
    onunload = function() say("onunload", T.monitor_group_name) end,
    onbeginflush = function(engine, ts) say("onbeginflush", ts) end,
    onflushfilter = function(engine, ts, key, m) say("onflushfilter", ts, key, m) return true end,
    onflush = function(engine, ts, key, m) say("onflush", ts, key, m) end,
    onendflush = function(engine) say("onendflush") end,
    onbegintopperflush = function(engine, ts, meter) say("onbegintopperflush", ts, meter) return true end,
    ontopperflushfilter = function(engine, key, metric) say("ontopperflushfilter", key, metric) return true end,
    ontopperflush = function(engine, key, metric) say("ontopperflush", key, metric) end,
    onendtopperflush = function(engine, meter) say("onendtopperflush", meter) end,
    onupdate = function(engine, ts, key, m) say("onupdate", ts, key, m) end,
    onnewkey = function(engine, ts, key) say("onnewkey", ts, key) end,
    onmetronome = function(engine, ts, count, interval) say("onmetronome", ts, count, interval) end,
  },
}
`

// TestMonitorCallbacks: a script with all callbacks sees what the groups hold, in the order and with the arguments of the contract.
func TestMonitorCallbacks(t *testing.T) {
	m := startMonitored(t, map[string]string{"all.lua": fmt.Sprintf(everything, "{4cd742b1-c1ca-4708-be78-0fca2eb01a86}", "all")}, "all.lua Hosts")
	m.sees("all", "^onendflush$")
	together()
	m.export(
		exported{from: "10.0.0.1:40000", to: "192.0.2.9:443", protocol: 6, bytes: 6000, packets: 10},
		exported{from: "10.0.0.2:40001", to: "192.0.2.9:443", protocol: 6, bytes: 500, packets: 5},
	)
	lines := m.sees("all", `^onflush \d+ SYS:GROUP_TOTALS (?s:.*)^onendtopperflush 16$`)

	a, b, c, totals := "0A.00.00.01", "0A.00.00.02", "C0.00.02.09", "SYS:GROUP_TOTALS"
	order := []string{a, b, c}
	values := map[string][]int{
		a:      {6000, 0, 6000, 10, 1, 0, 0, 6000, 0, 0, 0, 0, 0, 1, 0, 0, 1},
		b:      {500, 0, 500, 5, 1, 0, 0, 500, 0, 0, 0, 0, 0, 1, 0, 0, 1},
		c:      {6500, 6500, 0, 15, 2, 0, 6500, 0, 0, 0, 0, 0, 0, 2, 0, 0, 2},
		totals: {13000, 6500, 6500, 30, 4, 0, 6500, 6500, 0, 0, 0, 0, 0, 4, 0, 0, 4},
	}
	list := func(key string) string {
		return "{" + strings.ReplaceAll(strings.Trim(fmt.Sprint(values[key]), "[]"), " ", ",") + "}"
	}
	first := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "onnewkey ") })
	ts := strings.Fields(lines[first])[1]
	var want []string
	say := func(format string, args ...any) { want = append(want, fmt.Sprintf(format, args...)) }
	for _, key := range order {
		say("onnewkey %s %s", ts, key)
		say("onupdate %s %s %s", ts, key, list(key))
	}
	say("onmetronome %s TICK 1", ts)
	say("onbeginflush %s", ts)
	for _, key := range append(order, totals) {
		say("onflushfilter %s %s %s", ts, key, list(key))
		say("onflush %s %s %s", ts, key, list(key))
	}
	say("onendflush")
	for meter := range 17 {
		if meter == 3 { // nobody asks for the largest
			continue
		}
		say("onbegintopperflush %s %d", ts, meter)
		top := slices.DeleteFunc(slices.Clone(order), func(key string) bool { return values[key][meter] == 0 })
		slices.SortStableFunc(top, func(x, y string) int { return values[y][meter] - values[x][meter] })
		if len(top) > 0 {
			top = append(top, totals)
		}
		for _, key := range top {
			say("ontopperflushfilter %s %d", key, values[key][meter])
			say("ontopperflush %s %d", key, values[key][meter])
		}
		say("onendtopperflush %d", meter)
	}
	got := slices.Clone(lines[first:])
	for i := range got {
		got[i] = regexp.MustCompile(`^(onmetronome \d+) \d+`).ReplaceAllString(got[i], "$1 TICK")
	}
	if diff := compare.Diff(want, got[:min(len(want), len(got))]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := compare.Diff([]string{"plugin onload nil nil", "plugin onload Hosts {4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", "onload Hosts"}[1:], lines[:2]); diff != "" {
		t.Errorf("how it begins (-want +got)\n%s", diff)
	}

	// Ticks count from 1 on, a second each; windows go on without keys; a key that is known is not new.
	m.export(exported{from: "10.0.0.1:40000", to: "192.0.2.9:443", protocol: 6, bytes: 70, packets: 1})
	lines = m.sees("all", `^onflush \d+ 0A.00.00.01 \{70,0,70,1,1,0,0,70,0,0,0,0,0,0,0,0,1\}$`)
	ticks, news, last := 0, 0, 0
	for _, l := range lines {
		words := strings.Fields(l)
		switch words[0] {
		case "onnewkey":
			news++
		case "onmetronome":
			ticks++
			now, _ := strconv.Atoi(words[1])
			if words[2] != strconv.Itoa(ticks) || words[3] != "1" || last > 0 && now != last+1 {
				t.Errorf("tick %d after %d: %s", ticks, last, l)
			}
			last = now
		}
	}
	if news != 3 {
		t.Errorf("%d new keys", news)
	}
	soon(t, func() string {
		if got := grouped(t, m.process, "Hosts"); got[a]["Total"] != 6070 || got[c]["Received"] != 6570 || got[totals]["Total"] != 13140 {
			return fmt.Sprint(got)
		}
		return ""
	})
	if err := m.balanced(); err != nil {
		t.Error(err)
	}
	m.endInOrder(t)
	lines = m.seen("all")
	if diff := compare.Diff([]string{"onunload Hosts", "plugin onunload Hosts"}, lines[max(0, len(lines)-2):]); diff != "" {
		t.Errorf("how it ends (-want +got)\n%s", diff)
	}
}
