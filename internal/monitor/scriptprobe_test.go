package monitor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/countergroup"
)

func probe(t *testing.T, source string, groups Groups) *Probe {
	t.Helper()
	p := new(Probe)
	mustLoad(t, source).ask(KindProbe, groups, p)
	return p
}

// Attach specifications (2.1, 2.2, 9, 10.4): what the file says. What matches is the daemon's to find.
func TestAttach(t *testing.T) {
	f := func(fields string, want Attach, complaints ...string) {
		t.Helper()
		p := probe(t, `TrisulPlugin = { id = { name = "x" }, onload = function() T.group = "Apps" end, cg_monitor = { `+fields+` } }`, someGroups)
		if p.Failed != "" || len(p.Blocks) != 1 || p.Blocks[0].Attach == nil {
			t.Errorf("%s: %+v", fields, p)
			return
		}
		if diff := cmp.Diff(want, *p.Blocks[0].Attach); diff != "" {
			t.Errorf("%s: %s", fields, diff)
		}
		got := strings.Join(append(p.Errors, p.Warnings...), "\n")
		if (len(complaints) == 0) != (got == "") {
			t.Errorf("%s: %q", fields, got)
		}
		for _, c := range complaints {
			if !strings.Contains(got, c) {
				t.Errorf("%s: %q, want %q", fields, got, c)
			}
		}
	}
	lower := strings.ToLower(hostsGUID)
	f(`counter_guid = "`+lower+`"`, Attach{GUIDs: []string{hostsGUID}})
	f(`counter_guid = { "`+hostsGUID+`", "`+lower+`", "`+ownGUID+`" }`, Attach{GUIDs: []string{hostsGUID, hostsGUID, ownGUID}})
	f(`counter_name_match = "HOSTS", counter_name_regex = "^Hosts$", counter_guid = "`+hostsGUID+`"`,
		Attach{GUIDs: []string{hostsGUID}, Names: []string{"HOSTS"}, Regex: "^Hosts$", HasRegex: true})
	f(`counter_name_match = { "hosts", "subnet" }`, Attach{Names: []string{"hosts", "subnet"}})
	f(`counter_name_regex = "(?i).*(host).*"`, Attach{Regex: "(?i).*(host).*", HasRegex: true})
	f(`counter_guid = function() return T.countergroups["Apps"] end`, Attach{GUIDs: []string{appsGUID}})
	f(`counter_guid = function() TrisulPlugin.onload() return T.countergroups[T.group] end`, Attach{GUIDs: []string{appsGUID}})
	f(`counter_guid = function() assert(T.env.get_config("App>DBRoot") == "/db") return nil end`, Attach{})
	f(`counter_guid = { function() return "`+appsGUID+`" end, "`+hostsGUID+`" }`, Attach{GUIDs: []string{appsGUID, hostsGUID}})
	f(`counter_guid = { "{xyz}", "`+hostsGUID+`" }`, Attach{GUIDs: []string{hostsGUID}}, `counter_guid[1]: cannot read GUID "{xyz}"`)
	f(`counter_guid = "4CD742B1-C1CA-4708-BE78-0FCA2EB01A86"`, Attach{}, "it is not in braces")
	f(`counter_name_regex = "(", counter_name_match = "a"`, Attach{Names: []string{"a"}}, "counter_name_regex: error parsing regexp: missing closing )")
	f(`counter_name_match = ""`, Attach{Names: []string{""}}, "counter_name_match is empty: it matches every group")
	f(`counter_name_regex = ""`, Attach{HasRegex: true}, "counter_name_regex is empty: it matches every group")
}

func TestProbeSeesNewGroups(t *testing.T) {
	b := mustLoad(t, `TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = function() return T.countergroups["Late"] end } }`)
	var p Probe
	b.ask(KindProbe, someGroups, &p)
	if got := p.Blocks[0].Attach.GUIDs; len(got) != 0 {
		t.Errorf("%q", got)
	}
	p = Probe{}
	b.ask(KindProbe, Groups{Counter: []Group{{Title: "Late", GUID: ownGUID}}}, &p)
	if got := p.Blocks[0].Attach.GUIDs; len(got) != 1 || got[0] != ownGUID {
		t.Errorf("%q", got)
	}
}

// Files that cannot be used (9).
func TestProbeFails(t *testing.T) {
	f := func(source, want string) {
		t.Helper()
		p := probe(t, source, someGroups)
		if !p.Plugin || !strings.Contains(p.Failed, want) || want == "" {
			t.Errorf("%s: %q, want %q", source, p.Failed, want)
		}
	}
	counter := func(fields string) string {
		return `TrisulPlugin = { id = { name = "x" }, simplecounter = { ` + fields + ` } }`
	}
	f(counter(""), "simplecounter needs protocol_guid")
	f(counter("protocol_guid = 6"), "simplecounter.protocol_guid is not a string")
	f(counter(`protocol_guid = "TCP"`), "simplecounter.protocol_guid: ")
	f(counter(`protocol_guid = "`+guidTCP+`", flow_counter = 1`), "simplecounter.flow_counter is not true or false")
	f(counter(`protocol_guid = "`+guidTCP+`", onpacket = 1`), "simplecounter.onpacket is not a function")
	block := func(fields, want string) {
		t.Helper()
		f(`TrisulPlugin = { id = { name = "x" }, cg_monitor = { `+fields+` } }`, want)
	}
	guid := `counter_guid = "` + hostsGUID + `", `
	f(`TrisulPlugin = "x"`, "TrisulPlugin is a string, not a table")
	f(`TrisulPlugin = {}`, "TrisulPlugin.id is missing")
	f(`TrisulPlugin = { id = {} }`, "TrisulPlugin.id.name is not a string")
	f(`TrisulPlugin = { id = { name = "x" }, onload = 5 }`, "TrisulPlugin.onload is a number, not a function")
	f(`TrisulPlugin = { id = { name = "x" }, cg_monitor = true }`, "TrisulPlugin.cg_monitor is a boolean, not a table")
	f(`TrisulPlugin = { id = { name = "x" }, alert_monitor = {} }`, "alert_monitor needs alert_guid, alert_name_match or alert_name_regex")
	block("", "cg_monitor needs counter_guid, counter_name_match or counter_name_regex")
	block(`counter_guid = 5`, "counter_guid is a number, not a string or a function")
	block(`counter_guid = { 5 }`, "counter_guid[1] is a number")
	block(`counter_guid = { x = "`+hostsGUID+`" }`, "counter_guid[x]")
	block(`counter_guid = function() return 5 end`, "counter_guid: the function returned a number, not a string")
	block(`counter_guid = function() error("no config") end`, "no config")
	block(`counter_name_match = 5`, "counter_name_match is a number, not a string")
	block(`counter_name_match = { "a", {} }`, "counter_name_match[2] is a table")
	block(`counter_name_regex = { "a" }`, "counter_name_regex is a table, not a string")
	block(guid+`onflush = "print"`, "cg_monitor.onflush is not a function")
	block(guid+`onmetronome = {}`, "cg_monitor.onmetronome is not a function")
}

func TestProbeWarns(t *testing.T) {
	f := func(fields string, want ...string) {
		t.Helper()
		p := probe(t, `TrisulPlugin = { id = { name = "x" }, `+fields+` }`, someGroups)
		if diff := cmp.Diff(want, p.Warnings); diff != "" || p.Failed != "" {
			t.Errorf("%s: %q %s", fields, p.Failed, diff)
		}
	}
	block := func(name string, want ...string) {
		t.Helper()
		f(`cg_monitor = { counter_guid = "`+hostsGUID+`", `+name+` = function() end }`, want...)
	}
	block("onflush")
	block("helper")
	block("flushfilter", "cg_monitor.flushfilter is not a callback, is onflushfilter meant?: it is ignored")
	block("onflushFilter", "cg_monitor.onflushFilter is not a callback, is onflushfilter meant?: it is ignored")
	block("ontopperfilter", "cg_monitor.ontopperfilter is not a callback, is ontopperflushfilter meant?: it is ignored")
	block("onsomething", "cg_monitor.onsomething is not a callback: it is ignored")
	f("cg_flush_monitor = {}", "script type cg_flush_monitor is not supported")
	f(`simplecounter = { protocol_guid = "`+hostsGUID+`" }`, "simplecounter.protocol_guid "+hostsGUID+" is no protocol of packets: onpacket is never called")
	f("reassembly_handler = {}, protocol_handler = {}", "script type reassembly_handler is not supported", "script type protocol_handler is not supported")
	f("mac_table = {}, helper = function() end")
}

// Types and names of what a file has (2.2, 9 and 10).
func TestBlocks(t *testing.T) {
	f := func(fields string, want ...Block) {
		t.Helper()
		p := probe(t, `TrisulPlugin = { id = { name = "x", description = "d" }, `+fields+` }`, someGroups)
		if diff := cmp.Diff(want, p.Blocks); diff != "" || p.Failed != "" || p.Name != "x" || p.Description != "d" {
			t.Errorf("%s: %q %s", fields, p.Failed, diff)
		}
	}
	f("", Block{Type: TypePlain})
	f("onload = print", Block{Type: TypePlain})
	f("engine_monitor = { onendflush = print, onbeginflush = print, schedule_polls = print }", Block{Type: TypeEngineMonitor, Callbacks: []string{"onbeginflush", "onendflush"}})
	f(`sg_monitor = { onflush = print }, alert_monitor = { alert_name_match = "User" }`,
		Block{Type: TypeAlertMonitor, Attach: &Attach{Names: []string{"User"}}},
		Block{Type: TypeSGMonitor, Attach: &Attach{GUIDs: []string{defaultSession}}, Callbacks: []string{"onflush"}})
	f(`flowtracker = { control = { name = "big", count = 20 }, getmetric = print }`,
		Block{Type: TypeFlowTracker, Callbacks: []string{"getmetric"}, Tracker: &Tracker{Name: "big", Bucket: 60, Count: 20}})
	f("messagemonitor = { onnewflowrecord = print }", Block{Type: TypeMessageMonitor, Callbacks: []string{"onnewflowrecord"}})
	f(`simplecounter = { protocol_guid = "`+guidTCP+`", flow_counter = true, onpacket = print }`, Block{Type: TypeSimpleCounter, Callbacks: []string{"onpacket"}, Records: true})
}

func TestDefinitions(t *testing.T) {
	meters := func(rows string) *Probe {
		t.Helper()
		return probe(t, `TrisulPlugin = { id = { name = "x" }, countergroup = { control = { guid = "`+strings.ToLower(ownGUID)+`", name = "Mine", description = "d", bucketsize = 30,
			resolver_guid = "`+hostsGUID+`" }, meters = { `+rows+` }, keyinfo = { {"k", "label"}, {7, "seven"} } } }`, someGroups)
	}
	want := countergroup.Definition{GUID: ownGUID, Title: "Mine", Description: "d", Bucket: 30, Resolver: hostsGUID, Meters: []countergroup.Meter{
		{ID: 0, Type: countergroup.Rate, Top: 10, Bottom: 5, Name: "bytes", Description: "Total BW", Unit: "Bps"},
		{ID: 1, Type: countergroup.Gauge, Top: 3, Name: "load", Description: "Load"},
	}}
	p := meters(`{ 1, T.K.vartype.GAUGE, 3, "load", "Load" }, { 0, T.K.vartypes.RATE_COUNTER, 10, 5, "bytes", "Total BW", "Bps" }`)
	if len(p.Counter) != 1 || p.Failed != "" {
		t.Fatalf("%+v", p)
	}
	if diff := cmp.Diff(CounterDefinition{Definition: want, Keys: []KeyLabel{{"k", "label"}, {"7", "seven"}}}, p.Counter[0]); diff != "" {
		t.Error(diff)
	}
	if _, err := countergroup.NewRegistry().Register(p.Counter[0].Definition); err != nil {
		t.Error(err)
	}
	bad := func(rows, want string) {
		t.Helper()
		if p := meters(rows); len(p.Counter) != 0 || len(p.Errors) != 1 || !strings.Contains(p.Errors[0], want) {
			t.Errorf("%s: %+v", rows, p)
		}
	}
	bad(``, "countergroup.meters is missing")
	bad(`{ 0, 4, 10, "a" }, { 0, 4, 10, "b" }`, "countergroup.meters[2]: the id 0 is there already")
	bad(`{ 0, 4, 10, "a" }, { 2, 4, 10, "b" }`, "1 is missing")
	bad(`{ 0, 99, 10, "a" }`, "column 2 is 99, which is no type of meter")
	bad(`{ 0, T.K.vartype.NOPE, 10, "a" }`, "column 2, the type")
	bad(`{ "0", 4, 10, "a" }`, "column 1, the id")
	bad(`5`, "it is not a row")

	f := func(fields, want string) {
		t.Helper()
		p := probe(t, `TrisulPlugin = { id = { name = "x" }, `+fields+` }`, someGroups)
		if len(p.Counter)+len(p.Alert)+len(p.Resource) != 0 || len(p.Errors) == 0 || !strings.Contains(p.Errors[0], want) {
			t.Errorf("%s: %+v", fields, p)
		}
	}
	row := `meters = { { 0, 4, 1, "a" } }`
	f(`countergroup = { }`, "countergroup.control is missing")
	f(`countergroup = { control = { name = "a" }, `+row+` }`, "countergroup.control.guid is missing")
	f(`countergroup = { control = { guid = "`+ownGUID+`" }, `+row+` }`, "countergroup.control.name is missing")
	f(`countergroup = { control = { guid = "x", name = "a" }, `+row+` }`, `cannot read GUID "x"`)
	f(`countergroup = { control = { guid = "`+ownGUID+`", name = "a", bucketsize = 0 }, `+row+` }`, "bucketsize is 0")
	f(`alertgroup = { control = { guid = "`+ownGUID+`", name = 7 } }`, "alertgroup.control.name is not a string")

	p = probe(t, `TrisulPlugin = { id = { name = "x" }, alertgroup = { control = { guid = "`+ownGUID+`", name = "A", description = "d" } },
		resourcegroup = { control = { guid = "`+ownGUID+`", name = "R" } } }`, someGroups)
	if diff := cmp.Diff([]Definition{{ownGUID, "A", "d"}}, p.Alert); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Definition{{ownGUID, "R", ""}}, p.Resource); diff != "" {
		t.Error(diff)
	}
}
