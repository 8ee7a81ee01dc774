package cli

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hostsGUID = "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"

// TestScriptRunTrisul: each call is a line, in the order of the contract, with what it was given, returned, made and raised.
func TestScriptRunTrisul(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	script := path("mine.lua", `
local OWN = "{11111111-2222-3333-4444-555555555555}"
TrisulPlugin = {
  id = { name = "mine" },
  countergroup = { control = { guid = OWN, name = "Own" }, meters = { { 0, T.K.vartype.COUNTER, 0, "n", "", "" }, { 1, T.K.vartype.GAUGE, 5, "g", "", "" } } },
  cg_monitor = {
    counter_guid = { OWN, "{00000000-0000-0000-0000-000000000000}" },
    onload = function() T.loginfo("on " .. T.monitor_group_name) end,
    onunload = function() end,
    onnewkey = function(engine, ts, key) engine:post_message_backend("new " .. key) end,
    onupdate = function(engine, ts, key, m) end,
    onbeginflush = function(engine, ts) end,
    onflushfilter = function(engine, ts, key, m)
      if key == "b" then return false end
      return true, { -1, 8 }
    end,
    onflush = function(engine, ts, key, m)
      if key == "a" and m[1] == 3 then
        engine:update_counter(OWN, "a", 0, 2)
        engine:update_counter(OWN, "a", 9, 2)
        engine:add_alert_tca("{03AC6B72-FDB7-44C0-9B8C-7A1975C1C5BA}", 5, "FIRED", "much")
        error("after all")
      end
    end,
    onendflush = function(engine) end,
  },
  alert_monitor = {
    alert_name_match = "threshold",
    onnewalert = function(engine, a) end,
    flushfilter = function(engine, a) a:set_message(a:message() .. "!") return true end,
    onflush = function(engine, a) end,
  },
}`)
	own := "{11111111-2222-3333-4444-555555555555}"
	line := func(ts, key, meter, value string) string {
		return `{"ts":` + ts + `,"guid":"` + own + `","key":"` + key + `","meter":` + meter + `,"value":` + value + "}\n"
	}
	input := path("updates.json", line("1200000001", "a", "0", "3")+"\n"+line("1200000001.7", "b", "0", "1")+line("1200000058", "b", "1", "4"))
	code, out, errs := run("script", "run", "--api", "trisul", "--input", input, script)
	alert := `{"guid":"{03AC6B72-FDB7-44C0-9B8C-7A1975C1C5BA}","time":1200000060,"sigid":"5","priority":1,"status":"FIRED","message":"much"}`
	want := `{"call":"load"}
{"call":"onload","group":"Own","returned":true}
{"call":"onload","group":"Threshold Crossing","returned":true}
{"call":"onnewkey","group":"Own","ts":1200000002,"key":"a","effects":[{"op":"message","text":"new a"}]}
{"call":"onupdate","group":"Own","ts":1200000002,"key":"a","metrics":[3,0]}
{"call":"onnewkey","group":"Own","ts":1200000002,"key":"b","effects":[{"op":"message","text":"new b"}]}
{"call":"onupdate","group":"Own","ts":1200000002,"key":"b","metrics":[1,0]}
{"call":"onupdate","group":"Own","ts":1200000059,"key":"b","metrics":[0,4]}
{"call":"onbeginflush","group":"Own","ts":1200000060}
{"call":"onflushfilter","group":"Own","ts":1200000060,"key":"a","metrics":[3,0],"returned":true,"overrides":{"1":8}}
{"call":"onflush","group":"Own","ts":1200000060,"key":"a","metrics":[3,8],"updates":[{"guid":"` + own + `","key":"a","meter":0,"value":2},{"guid":"` + own + `","key":"a","meter":9,"value":2}],"alerts":[` + alert + `],"errors":["` + script + `:22: [mine.lua] Own: onflush: after all","the counter group \"Own\" has no meter 9: the update is dropped"]}
{"call":"onflushfilter","group":"Own","ts":1200000060,"key":"b","metrics":[1,4],"returned":false}
{"call":"onflushfilter","group":"Own","ts":1200000060,"key":"SYS:GROUP_TOTALS","metrics":[4,4],"returned":true,"overrides":{"1":8}}
{"call":"onflush","group":"Own","ts":1200000060,"key":"SYS:GROUP_TOTALS","metrics":[4,8]}
{"call":"onendflush","group":"Own","ts":1200000060}
{"call":"flushfilter","group":"Threshold Crossing","ts":1200000060,"alert":` + alert + `,"returned":true}
{"call":"onflush","group":"Threshold Crossing","ts":1200000060,"alert":` + strings.Replace(alert, "much", "much!", 1) + `}
{"call":"onupdate","group":"Own","ts":1200000061,"key":"a","metrics":[2,0]}
{"call":"onnewalert","group":"Threshold Crossing","ts":1200000061,"alert":` + alert + `}
{"call":"onbeginflush","group":"Own","ts":1200000120}
{"call":"onflushfilter","group":"Own","ts":1200000120,"key":"a","metrics":[2,0],"returned":true,"overrides":{"1":8}}
{"call":"onflush","group":"Own","ts":1200000120,"key":"a","metrics":[2,8]}
{"call":"onflushfilter","group":"Own","ts":1200000120,"key":"SYS:GROUP_TOTALS","metrics":[2,0],"returned":true,"overrides":{"1":8}}
{"call":"onflush","group":"Own","ts":1200000120,"key":"SYS:GROUP_TOTALS","metrics":[2,8]}
{"call":"onendflush","group":"Own","ts":1200000120}
{"call":"onunload","group":"Own"}
`
	if diff := cmp.Diff(want, out); diff != "" || code != exitFailure {
		t.Errorf("code %d (-want +got):\n%s", code, diff)
	}
	for _, text := range []string{"INFO: [mine.lua] Own: on Own\n", "no group has the GUID {00000000-0000-0000-0000-000000000000}", "2 errors in the script"} {
		if !strings.Contains(errs, text) {
			t.Errorf("%q is missing in %q", text, errs)
		}
	}
	plain := path("plain.lua", `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_regex = "^Hosts$", onflush = function() end } }`)

	// A capture.
	code, out, errs = run("script", "run", "--api", "trisul", "--input", path("one.pcap", onePacket()), plain)
	if code != exitOK || !strings.Contains(out, `{"call":"onflush","group":"Hosts","ts":1700000040,"key":"0A.00.00.01","metrics":[0.7,0,0.7,`) {
		t.Errorf("a capture: code %d\n%s%s", code, out, errs)
	}

	// What is wrong, and what would be right.
	f := func(text, want string) {
		t.Helper()
		bad := path("bad.json", `{"ts":1200000001,"guid":"`+hostsGUID+`","key":"a","meter":0,"value":1}`+"\n"+text+"\n")
		code, _, errs := run("script", "run", "--api", "trisul", "--input", bad, plain)
		if code != exitFailure || !strings.Contains(errs, bad+":2: "+want) {
			t.Errorf("%s: code %d, %s", text, code, errs)
		}
	}
	f("nonsense", "cannot read the update: invalid character")
	f(`{"ts":1,"key":"a","meter":0,"value":1}`, `"guid" is missing; each line is one counter update such as {"ts":1700000000,`)
	f(`{"ts":1,"guid":"`+hostsGUID+`","key":"a","meter":0,"value":1,"x":2}`, `cannot read the update: json: unknown field "x"`)
	f(`{"ts":-1,"guid":"`+hostsGUID+`","key":"a","meter":0,"value":1}`, `"ts" is -1; it is a time in Unix seconds`)
	f(`{"ts":1,"guid":"{4CD742B1}","key":"a","meter":0,"value":1}`, `cannot read GUID "{4CD742B1}"`)
	f(`{"ts":1,"guid":"`+own+`","key":"a","meter":0,"value":1}`, `no counter group has the GUID `+own)
	f(`{"ts":1,"guid":"`+hostsGUID+`","key":"a","meter":17,"value":1}`, `"meter" is 17; the counter group "Hosts" has the meters 0 to 16`)
	f(`{"ts":1,"guid":"`+hostsGUID+`","key":"","meter":0,"value":1}`, `"key" has 0 bytes; it has 1 to 512`)

	g := func(want string, args ...string) {
		t.Helper()
		code, _, errs := run(append([]string{"script", "run"}, args...)...)
		if code == exitOK || !strings.Contains(errs, want) {
			t.Errorf("%q: code %d, %s", args, code, errs)
		}
	}
	g("--parameter is for --api centreon", "--api", "trisul", "--parameter", "a=1", plain)
	g("cannot read the input", "--api", "trisul", "--input", filepath.Join(dir, "missing"), plain)
	g("it is neither a file of nfdump", "--api", "trisul", "--input", path("binary", "\x00\x01\x02\x03"), plain)
	g("cg_monitor needs counter_guid", "--api", "trisul", "--input", input, path("half.lua", `TrisulPlugin = { id = { name = "x" }, cg_monitor = {} }`))
	g("it is a module, not a script to run", "--api", "trisul", "--input", input, path("module.lua", `return {}`))
	g("it is attached to nothing", "--api", "trisul", "--input", input, path("nowhere.lua", `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_name_match = "nowhere" } }`))
	g("broken.lua:1: ", "--api", "trisul", "--input", input, path("broken.lua", `TrisulPlugin = {`))
}

// onePacket is a capture with a packet of UDP.
func onePacket() string {
	le := binary.LittleEndian
	out := append(le.AppendUint32(nil, 0xa1b2c3d4), 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	packet := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 9, 0x13, 0x88, 0, 53, 0, 8, 0, 0}
	for _, n := range []int{1700000000, 0, len(packet), len(packet)} {
		out = le.AppendUint32(out, uint32(n))
	}
	return string(append(out, packet...))
}
