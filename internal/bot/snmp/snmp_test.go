package snmp

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/telemetry"
)

// sink keeps what is sent.
type sink struct {
	values  map[string]float64
	batches int
}

// SendResults implements collector.Sink.
func (s *sink) SendResults(_ context.Context, _ int64, values []collector.Value) error {
	s.batches++
	s.values = make(map[string]float64)
	for _, v := range values {
		s.values[strings.TrimPrefix(v.Path, "entity.311.snmp.")] = v.Value
	}
	return nil
}

func details(oids, expression, path string) string {
	var all []map[string]string
	for _, one := range strings.Fields(oids) {
		method, oid, _ := strings.Cut(one, ":")
		all = append(all, map[string]string{"oid": oid, "fetch_method": method})
	}
	text, _ := json.Marshal(map[string]any{"oids": all, "expression": expression, "output_path": path})
	return string(text)
}

func deviceAt(port int, version, more string, sensors ...string) *collector.JobConfig {
	config := &collector.JobConfig{
		AccountID: 7, EntityID: 311, Name: "sw", Details: json.RawMessage(`{"ipv4":"127.0.0.1"}`),
		CredentialDetails: json.RawMessage(fmt.Sprintf(`{"version":%q,"snmpv12_community":"lab","port":"%d"%s}`, version, port, more)),
	}
	for i, s := range sensors {
		config.Sensors = append(config.Sensors, collector.SensorConfig{SensorID: int64(i + 1), Interval: time.Minute, Details: json.RawMessage(s)})
	}
	return config
}

// once does what is due each minute.
func once(t testing.TB, s *SNMP, config *collector.JobConfig) (*sink, error) {
	t.Helper()
	to := &sink{}
	return to, s.fetch(t.Context(), newPoll(config), to, collector.Run{Affecting: []time.Duration{time.Minute}})
}

func balanced(t *testing.T, l *telemetry.Ledger) {
	t.Helper()
	if a := l.Snapshot(); !a.Balanced() {
		t.Errorf("the ledger does not balance: %+v", a)
	}
}

// TestRows has the table of section 5.3.
func TestRows(t *testing.T) {
	a := newAgent(t)
	a.set("1.3.6.1.2.1.1.3.0", gosnmp.TimeTicks, uint32(4711))
	a.set("1.3.9.1.0", gosnmp.Gauge32, uint32(68000))
	a.set("1.3.9.2.0", gosnmp.Integer, 200)
	a.set("1.3.9.3.0", gosnmp.OctetString, "asdf.QWER")
	a.set("1.3.9.4.0", gosnmp.OctetString, " 2.5 ")
	a.set("1.3.9.5.0", gosnmp.ObjectIdentifier, ".1.3.6.1")
	a.set("1.3.9.6.0", gosnmp.Integer, -5)
	a.set("1.3.9.7.0", gosnmp.OctetString, "\xfcber")
	for i, v := range []uint32{60000, 61000, 62000} {
		a.set(fmt.Sprintf("1.3.9.20.1.%d", i+1), gosnmp.Gauge32, v)
		if i < 2 {
			a.set(fmt.Sprintf("1.3.9.20.2.%d", i+1), gosnmp.Gauge32, uint32(10))
		}
	}
	a.set("1.3.9.30.1.127.0.0.1", gosnmp.Integer, 1)
	a.set("1.3.9.30.1.10.0.0.1", gosnmp.Integer, 2)
	for _, version := range []string{"snmpv1", "snmpv2c"} {
		for _, c := range []struct{ oids, expression, path, want, problem string }{
			{"get:1.3.9.1.0", "$1", "t.x", "t.x=68000", ""},
			{"get:.1.3.9.1.0 get:1.3.9.2.0", "$1 + $2", "t", "t=68200", ""},
			{"get:1.3.9.2.0 walk:1.3.9.20.1", "$1 + $2", "t.{$index}", "t.1=60200 t.2=61200 t.3=62200", ""},
			{"walk:1.3.9.20.1 walk:1.3.9.20.2", "$1 / $2", "t.{$index}", "t.1=6000 t.2=6100", ""},
			{"get:1.3.9.1.0 get:1.3.9.3.0", "$1", "a.{$2}.b{$2}c", "a.asdf-QWER.basdf-QWERc=68000", ""},
			{"get:1.3.9.4.0 get:1.3.9.6.0", "$1 - $2", "t", "t=7.5", ""},
			{"get:1.3.9.1.0 get:1.3.9.5.0 get:1.3.9.7.0", "$1", "{$2}.{$3}", "1-3-6-1.uber=68000", ""},
			{"walk:1.3.9.30.1", "$1", "t.{$index}", "t.10-0-0-1=2 t.127-0-0-1=1", ""},
			{"walk:1.3.9.20.1", "$1", "t", "t=62000", ""}, // the last one counts
			{"walk:1.3.9.99", "$1", "t", "", ""},
			{"get:1.3.9.3.0", "$1", "t", "", `sensor 1: the expression needs a number, and $1 is "asdf.QWER"`},
			{"get:1.3.9.99.0", "$1", "t", "", "sensor 1: cannot fetch 1.3.9.99.0: the device answers NoSuch"},
			{"get:1.3.9.1.0", "$1", "a..b", "", "empty segment"},
			{"get:1.3.9.6.0", "sqrt($1)", "t", "", "its result is not a number"},
		} {
			ledger := telemetry.NewLedger("snmp", "rows")
			to, err := once(t, New(Config{Ledger: ledger}), deviceAt(a.port, version, "", details(c.oids, c.expression, c.path)))
			var got []string
			for _, path := range slices.Sorted(maps.Keys(to.values)) {
				got = append(got, fmt.Sprintf("%s=%v", path, to.values[path]))
			}
			if strings.Join(got, " ") != c.want || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s %s %s: %v, %v", version, c.oids, c.expression, got, err)
			}
			balanced(t, ledger)
		}
	}
}

// TestMerging has many sensors in few requests, and one that fails beside others.
func TestMerging(t *testing.T) {
	a := newAgent(t)
	a.set(uptimeOID, gosnmp.TimeTicks, uint32(4711))
	var sensors []string
	for i := range 120 {
		a.set(fmt.Sprintf("1.3.9.1.%d", i+1), gosnmp.Integer, i)
		sensors = append(sensors, details(fmt.Sprintf("get:1.3.9.1.%d", i+1), "$1", fmt.Sprintf("v%d", i)))
	}
	sensors = append(sensors, details("get:1.3.9.7.0", "$1", "gone"), details("walk:1.3.9.1", "$1", "w.{$index}"), details("walk:1.3.9.1", "$1 * 2", "x.{$index}"), `{"oids":5}`)
	to, err := once(t, New(Config{}), deviceAt(a.port, "snmpv2c", "", sensors...))
	if err == nil || !strings.Contains(err.Error(), "sensor 121: cannot fetch 1.3.9.7.0") || !strings.Contains(err.Error(), "sensor 124: cannot use the details") || strings.Contains(err.Error(), "sensor 120") {
		t.Error(err)
	}
	if len(to.values) != 360 || to.batches != 1 || to.values["v119"] != 119 || to.values["x.120"] != 238 {
		t.Error(len(to.values), to.batches)
	}
	if gets, bulks := a.requests(gosnmp.GetRequest), a.requests(gosnmp.GetBulkRequest); gets != 3 || bulks != 5 {
		t.Errorf("%d gets, %d bulks", gets, bulks)
	}
}

func TestRates(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	counter := func(after time.Duration, bits int, value uint64) *variable {
		return &variable{oid: "1.3.9.1.0", at: at.Add(after), bits: bits, counter: value}
	}
	up := func(after time.Duration, uptime time.Duration) *variable {
		return &variable{at: at.Add(after), numeric: true, number: float64(uint32(uptime / (10 * time.Millisecond)))}
	}
	const minute, day = time.Minute, 24 * time.Hour
	for name, c := range map[string]struct {
		bits          int
		first, second uint64
		before, after time.Duration // uptime; negative for none
		passed        time.Duration
		rate          float64
		state         rateState
	}{
		"rise":               {64, 1000, 7000, day, day + minute, minute, 100, rateKnown},
		"rise without time":  {64, 1000, 7000, -1, -1, minute, 100, rateKnown},
		"53 bits":            {64, 1 << 63, 1<<63 + 60, day, day + minute, minute, 1, rateKnown},
		"wrap":               {32, 1<<32 - 3000, 3000, day, day + minute, minute, 100, rateKnown},
		"wrap without time":  {32, 1<<32 - 3000, 3000, -1, -1, minute, 0, rateReset},
		"wrap of 64":         {64, 1<<64 - 3000, 3000, day, day + minute, minute, 0, rateReset},
		"set back":           {32, 5000, 3000, day, day + minute, minute, 0, rateReset},
		"long ago":           {32, 1<<32 - 3000, 3000, day, day + 2*time.Hour, 2 * time.Hour, 0, rateReset},
		"started":            {64, 1000, 7000, day, 20 * time.Second, minute, 0, rateFirst},
		"started long since": {64, 1000, 7000, minute, 10 * minute, 60 * minute, 0, rateReset},
		"uptime wraps":       {64, 1000, 7000, 497*day + 2*time.Hour + 27*minute + 30*time.Second, 497*day + 2*time.Hour + 28*minute + 30*time.Second, minute, 100, rateReset},
		"clock set back":     {64, 1000, 7000, day, day + minute, -minute, 0, rateReset},
	} {
		b := &baselines{samples: make(map[string]sample)}
		step := func(after, uptime time.Duration, value uint64) (float64, rateState) {
			var u *variable
			if uptime >= 0 {
				u = up(after, uptime)
			}
			b.begin(u)
			return b.rate(counter(after, c.bits, value))
		}
		if _, state := step(0, c.before, c.first); state != rateFirst {
			t.Errorf("%s: first %v", name, state)
		}
		rate, state := step(c.passed, c.after, c.second)
		if name == "uptime wraps" { // the device is up for less than a minute, for all it says
			if b.samples["1.3.9.1.0"].value != 7000 {
				t.Error("the sample did not move")
			}
			continue
		}
		if rate != c.rate || state != c.state {
			t.Errorf("%s: %v %v", name, rate, state)
		}
		if again, _ := b.rate(counter(c.passed, c.bits, c.second)); again != rate {
			t.Errorf("%s: a second sensor gets %v", name, again)
		}
	}
}

// TestCountersSurvive has a counter before and after a restart, and a damaged file.
func TestCountersSurvive(t *testing.T) {
	a := newAgent(t)
	path := filepath.Join(t.TempDir(), "collectors", "snmp.state")
	config := deviceAt(a.port, "snmpv2c", "", details("walk:1.3.9.1 walk:1.3.9.2", "$2 * 8", "if.in.{$index}.{$1}"))
	a.set("1.3.9.1.1", gosnmp.OctetString, "lo")
	a.set("1.3.9.2.1", gosnmp.Counter64, uint64(1<<60))
	run := func(s *SNMP) (*sink, error) {
		for job, err := range s.Jobs(t.Context(), bot.Fixed{config}, &sink{}) {
			if err != nil || job.ID != "311" {
				t.Fatal(job.ID, err)
			}
		}
		return once(t, s, config)
	}
	first := New(Config{State: path})
	if to, err := run(first); err != nil || len(to.values) != 0 {
		t.Fatal(to.values, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	a.set("1.3.9.2.1", gosnmp.Counter64, uint64(1<<60+1_000_000))
	if to, err := run(New(Config{State: path})); err != nil || len(to.values) != 1 || !(to.values["if.in.1.lo"] > 0) {
		t.Fatal(to.values, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if to, err := run(New(Config{State: path})); err != nil || len(to.values) != 0 {
		t.Fatal(to.values, err)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

// TestHostile has devices that do what they should not.
func TestHostile(t *testing.T) {
	fast := `,"timeout":0.05,"retries":1`
	sensors := []string{details("get:1.3.9.1.0", "$1", "t"), details("walk:1.3.9.20", "$1", "w.{$index}")}
	next := 0
	for name, c := range map[string]struct {
		answer func(asked, usual *gosnmp.SnmpPacket) [][]byte
		values int
		want   string
	}{
		"silent":  {func(_, _ *gosnmp.SnmpPacket) [][]byte { return [][]byte{} }, 0, "the device does not answer"},
		"garbage": {func(_, _ *gosnmp.SnmpPacket) [][]byte { return [][]byte{{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1, 1}} }, 0, "the device does not answer"},
		"backwards": {func(asked, usual *gosnmp.SnmpPacket) [][]byte {
			if asked.PDUType == gosnmp.GetBulkRequest {
				slices.Reverse(usual.Variables[:2])
			}
			return nil
		}, 1, "the device goes from 1.3.9.20.2 back to 1.3.9.20.1"},
		"circle": {func(asked, usual *gosnmp.SnmpPacket) [][]byte {
			if asked.PDUType == gosnmp.GetBulkRequest {
				usual.Variables = usual.Variables[:1]
				usual.Variables[0].Name = ".1.3.9.20.1"
			}
			return nil
		}, 1, "the device goes from 1.3.9.20.1 back to 1.3.9.20.1"},
		"endless": {func(asked, usual *gosnmp.SnmpPacket) [][]byte {
			if asked.PDUType == gosnmp.GetBulkRequest {
				usual.Variables = usual.Variables[:0]
				for range 200 {
					next++
					usual.Variables = append(usual.Variables, gosnmp.SnmpPDU{Name: fmt.Sprintf(".1.3.9.20.%d", next), Type: gosnmp.Integer, Value: 1})
				}
			}
			return nil
		}, 1, "there are more than 20000 rows"},
		"another": {func(asked, usual *gosnmp.SnmpPacket) [][]byte {
			if asked.PDUType == gosnmp.GetRequest {
				usual.Variables[1].Name = ".1.3.9.9.9"
			}
			return nil
		}, 2, "the answer of the device does not have it"},
		"null": {func(asked, usual *gosnmp.SnmpPacket) [][]byte {
			if asked.PDUType == gosnmp.GetRequest {
				usual.Variables[1].Type, usual.Variables[1].Value = gosnmp.Null, nil
			}
			return nil
		}, 2, "the device answers with a value of no use"},
		"too big": {func(asked, usual *gosnmp.SnmpPacket) [][]byte {
			if len(asked.Variables) > 1 || asked.MaxRepetitions > 4 {
				usual.Error, usual.Variables = gosnmp.TooBig, nil
			}
			return nil
		}, 3, ""},
		"broken": {func(asked, usual *gosnmp.SnmpPacket) [][]byte {
			if asked.PDUType == gosnmp.GetRequest && len(asked.Variables) == 2 {
				usual.Error, usual.ErrorIndex = gosnmp.GenErr, 1
			}
			return nil
		}, 3, ""},
		"late": {func(asked, usual *gosnmp.SnmpPacket) [][]byte { // an answer to something else comes first
			old := *usual
			old.RequestID--
			return [][]byte{encode(&old), encode(usual)}
		}, 3, ""},
	} {
		a := newAgent(t)
		a.set(uptimeOID, gosnmp.TimeTicks, uint32(4711))
		a.set("1.3.9.1.0", gosnmp.Integer, 1)
		a.set("1.3.9.20.1", gosnmp.Integer, 1)
		a.set("1.3.9.20.2", gosnmp.Integer, 2)
		a.mu.Lock()
		a.answer = c.answer
		a.mu.Unlock()
		to, err := once(t, New(Config{}), deviceAt(a.port, "snmpv2c", fast, sensors...))
		if len(to.values) != c.values || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, to.values, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	for credential, want := range map[string]string{
		`{"version":"snmpv4"}`: `cannot use the version "snmpv4"`, `{}`: `cannot use the version ""`, `{"version":5}`: "they are not as they should be",
		`{"version":"snmpv3","snmpv3_securityLevel":"x"}`:                                                              `cannot use the securityLevel "x"`,
		`{"version":"snmpv3","snmpv3_securityLevel":"authNoPriv","snmpv3_authProtocol":"X"}`:                           `cannot use the authProtocol "X"`,
		`{"version":"snmpv3","snmpv3_securityLevel":"authNoPriv","snmpv3_authProtocol":"MD5","snmpv3_authKey":"pwd"}`:  "less than 8 characters",
		`{"version":"snmpv3","snmpv3_securityLevel":"authPriv","snmpv3_privProtocol":"X"}`:                             `cannot use the privProtocol "X"`,
		`{"version":"snmpv3","snmpv3_securityLevel":"authPriv","snmpv3_privProtocol":"AES","snmpv3_privKey":"secret"}`: "less than 8 characters",
		`{"version":"snmpv2c","snmpv12_community":"` + strings.Repeat("x", 128) + `"}`:                                 "more than 127 bytes",
	} {
		config := deviceAt(161, "snmpv2c", "", details("get:1.3.6", "$1", "t"))
		config.CredentialDetails = json.RawMessage(credential)
		wrong := Check(config)
		if len(wrong) != 1 || !strings.Contains(wrong[0].Error(), want) || strings.Contains(wrong[0].Error(), "secret") || strings.Contains(wrong[0].Error(), "pwd") {
			t.Errorf("%s: %v", credential, wrong)
		}
	}
	for _, oid := range []string{"", "1", "sysUpTime.0", "1.3.x", "3.1.1", "1.40.1", "1.3.-1", "1.3.4294967296", "1..3", "1.3.01", strings.Repeat("1.", 128) + "1"} {
		if wrong := Check(deviceAt(161, "snmpv2c", "", details("get:"+oid+" ", "$1", "t"))); len(wrong) != 1 || !strings.Contains(wrong[0].Error(), "sensor 1: cannot use") {
			t.Errorf("%s: %v", oid, wrong)
		}
	}
}

// shelf has entities in memory.
type shelf struct {
	parts []bot.Entity
	log   []string
}

func (s *shelf) Parts(context.Context, int64, int64, string) ([]bot.Entity, error) {
	return slices.Clone(s.parts), nil
}
func (s *shelf) AddPart(_ context.Context, _ int64, e *bot.Entity) error {
	s.log = append(s.log, fmt.Sprintf("add %s below %d %s", e.Name, *e.Parent, e.Details))
	return nil
}
func (s *shelf) ChangePart(_ context.Context, _ int64, e *bot.Entity) error {
	s.log = append(s.log, fmt.Sprintf("change %d %s %s", e.ID, e.Name, e.Details))
	return nil
}
func (s *shelf) DeletePart(_ context.Context, _, id int64) error {
	s.log = append(s.log, fmt.Sprintf("delete %d", id))
	return nil
}

func TestInterfaces(t *testing.T) {
	a := newAgent(t)
	for i, name := range []string{"lo", "eth0", "eth1"} {
		a.set(fmt.Sprintf("1.3.6.1.2.1.2.2.1.2.%d", i+1), gosnmp.OctetString, name)
		a.set(fmt.Sprintf("1.3.6.1.2.1.2.2.1.5.%d", i+1), gosnmp.Gauge32, []uint32{10000000, 1<<32 - 1, 1000000000}[i])
	}
	a.set("1.3.6.1.2.1.31.1.1.1.15.2", gosnmp.Gauge32, uint32(40000))
	a.set("1.3.6.1.2.1.31.1.1.1.18.3", gosnmp.OctetString, "to the \x01harbour")
	s := &shelf{parts: []bot.Entity{
		{ID: 1, Name: "lo", Details: json.RawMessage(`{"snmp_index":"1","speed_bps":"10000000","own":1}`)},
		{ID: 2, Name: "old", Details: json.RawMessage(`{"snmp_index":"2","speed_bps":"1","own":1}`)},
		{ID: 9, Name: "gone", Details: json.RawMessage(`{"snmp_index":"9","speed_bps":"1"}`)},
		{ID: 10, Name: "lo", Details: json.RawMessage(`{"snmp_index":"1","speed_bps":"10000000"}`)},
		{ID: 11, Name: "odd", Details: json.RawMessage(`[]`)},
	}}
	config := deviceAt(a.port, "snmpv2c", "", details("get:1.3.9.1.0", "$1", "t"))
	b := New(Config{Entities: s})
	var ids []string
	for job, err := range b.Jobs(t.Context(), bot.Fixed{config}, &sink{}) {
		if ids = append(ids, job.ID); err != nil {
			t.Fatal(err)
		}
		if job.ID == "311-interfaces" {
			if err := job.Run(t.Context(), collector.Run{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		`change 2 eth0 {"own":1,"snmp_index":"2","speed_bps":"40000000000"}`, "delete 9", "delete 10", "delete 11",
		`add eth1 below 311 {"if_alias":"to the  harbour","snmp_index":"3","speed_bps":"1000000000"}`,
	}
	if !slices.Equal(s.log, want) || !slices.Equal(ids, []string{"311", "311-interfaces"}) {
		t.Errorf("%v %s", ids, strings.Join(s.log, "\n"))
	}
	// A device whose tables do not fit, or that tells nothing, is not believed.
	for _, oid := range []string{"1.3.6.1.2.1.2.2.1.2.7", "1.3.8.1"} {
		a := newAgent(t)
		a.set(oid, gosnmp.OctetString, "x")
		s.log = nil
		if err := b.interfaces(t.Context(), deviceAt(a.port, "snmpv2c", "")); err == nil || len(s.log) > 0 {
			t.Error(err, s.log)
		}
	}
}
