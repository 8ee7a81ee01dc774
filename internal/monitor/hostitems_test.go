package monitor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func address(s string) netip.Addr { return netip.MustParseAddr(s) }

// TestResources: section 5.7: shown within a second, voted on at the flush, changed, and kept.
func TestResources(t *testing.T) {
	const dns, urls = "{D1E27FF0-6D66-4E57-BB91-99F76BB2143E}", "{4EF9DEB9-4332-4867-A667-6A30C5900E9E}"
	r := newRig(t, nil, "add.lua", `TrisulPlugin = { id = { name = "add" }, cg_monitor = { counter_guid = "`+ownGroup+`",
  onnewkey = function(e, ts, key)
    e:add_resource("`+dns+`", "06A:0A.00.00.05:p-C350_08.08.08.08:p-0035", key, "A 1.2.3.4")
    e:add_resource("`+urls+`", nil, "http://" .. key)
    e:add_edge("`+ownGroup+`", "a", "`+ownGroup+`", "b")
    e:add_edge("`+ownGroup+`", "b", "`+ownGroup+`", "c")
  end } }`, "watch.lua", `TrisulPlugin = { id = { name = "watch" }, resource_monitor = { resource_guid = "`+strings.ToLower(dns)+`",
  onnewresource = function(e, x) say("new", x:uri(), x:label(), x:source_ip(), x:destination_port(), (x:timestamp())) end,
  onbeginflush = function(e, ts) say("begin", ts) end,
  flushfilter = function(e, x) say("filter", x:uri()) x:set_label("voted") return x:uri() ~= "b" end,
  onflush = function(e, x) say("flush", x:uri(), x:label()) end,
  onendflush = function() say("end") end } }`)
	r.add("a", 1)
	r.add("b", 1)
	r.tick(1)
	r.tick(1)
	r.want("within a second", fmt.Sprint("new a A 1.2.3.4 10.0.0.5 53 ", begin+1), fmt.Sprint("new b A 1.2.3.4 10.0.0.5 53 ", begin+1))
	r.tick(58)
	r.want("the flush", fmt.Sprint("begin ", begin+60), "filter a", "flush a voted", "filter b", "end")
	want := []Resource{
		{GUID: dns, Time: begin + 1, Flow: "06A:0A.00.00.05:p-C350_08.08.08.08:p-0035", URI: "a", Label: "voted"},
		{GUID: urls, Time: begin + 1, URI: "http://a"}, {GUID: urls, Time: begin + 1, URI: "http://b"},
	}
	if diff := cmp.Diff(want, r.resources); diff != "" {
		t.Errorf("what is handed on (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, r.monitors.Resources()); diff != "" {
		t.Errorf("what is kept (-want +got)\n%s", diff)
	}
	for show, part := range map[string]string{"resources": `"uri":"http://a"`, "alerts": `{"alerts":`, "": `"type":"resource_monitor"`, "x": "cannot show"} {
		answer := httptest.NewRecorder()
		r.monitors.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/?show="+show, nil))
		if !strings.Contains(answer.Body.String(), part) {
			t.Errorf("show=%s: %s", show, answer.Body)
		}
	}
	r.says(1, "adds edges to a graph")
	r.accounts("monitor.effects", 4)
}

// TestAlertVotes: an alert passes when one of two monitors says yes, and both are shown it then; changes of the one that lets it pass count.
func TestAlertVotes(t *testing.T) {
	const user = "{B5F1DECB-51D5-4395-B71B-6FA730B772D9}"
	watch := func(name, vote string) string {
		return `TrisulPlugin = { id = { name = "w" }, alert_monitor = { alert_guid = "` + user + `",
  flushfilter = function(e, a) a:set_message("` + name + `") return ` + vote + ` end,
  onflush = function(e, a) say("` + name + `", a:sigid(), a:message()) end } }`
	}
	r := newRig(t, nil, "add.lua", `TrisulPlugin = { id = { name = "add" }, cg_monitor = { counter_guid = "`+ownGroup+`",
  onnewkey = function(e, ts, key) e:add_alert("`+user+`", nil, key, 2, "message") end } }`, "a.lua", watch("a", `a:sigid() == "x"`), "b.lua", watch("b", "false"))
	r.add("x", 1)
	r.add("y", 1)
	r.tick(60)
	r.wantOf("both are shown what passes", []string{"a", "b"}, "a x a", "b x a")
	if len(r.alerts) != 1 || r.alerts[0].SigID != "x" || r.alerts[0].Message != "a" {
		t.Errorf("alerts %+v", r.alerts)
	}
}

// TestNewAlertChanges: what onnewalert sets stays until the alert is stored, and later monitors see it.
func TestNewAlertChanges(t *testing.T) {
	const user = "{B5F1DECB-51D5-4395-B71B-6FA730B772D9}"
	r := newRig(t, nil, "add.lua", `TrisulPlugin = { id = { name = "add" }, cg_monitor = { counter_guid = "`+ownGroup+`",
  onnewkey = function(e, ts, key) e:add_alert("`+user+`", nil, key, 2, "message") end } }`,
		"set.lua", `TrisulPlugin = { id = { name = "set" }, alert_monitor = { alert_guid = "`+user+`", onnewalert = function(e, a) a:set_priority(1) a:set_message("set " .. a:sigid()) end } }`,
		"take.lua", `TrisulPlugin = { id = { name = "take" }, alert_monitor = { alert_guid = "`+user+`", onnewalert = function(e, a) say(a:priority(), a:message()) end } }`)
	r.add("x", 1)
	r.tick(60)
	r.want("the later monitor sees it", "1 set x")
	if len(r.alerts) != 1 || r.alerts[0].Priority != 1 || r.alerts[0].Message != "set x" {
		t.Errorf("alerts %+v", r.alerts)
	}
}

// TestAlertsOfFlush: an alert that a flush brings is new before it is flushed, which is at the next flush, or at the end.
func TestAlertsOfFlush(t *testing.T) {
	const user = "{B5F1DECB-51D5-4395-B71B-6FA730B772D9}"
	r := newRig(t, nil, "add.lua", `TrisulPlugin = { id = { name = "add" }, cg_monitor = { counter_guid = "`+ownGroup+`",
  onflush = function(e, ts, key) if key ~= "SYS:GROUP_TOTALS" then e:add_alert("`+user+`", nil, key, 2, "message") end end } }`,
		"take.lua", `TrisulPlugin = { id = { name = "take" }, alert_monitor = { alert_guid = "`+user+`",
  onnewalert = function(e, a) say("new", a:sigid()) end, onflush = function(e, a) say("flushed", a:sigid()) end } }`)
	r.add("x", 1)
	r.tick(60)
	r.want("in the flush that brings it")
	r.tick(60)
	r.want("until the next one", "new x", "flushed x")
	r.add("y", 1)
	r.tick(60)
	r.stop()
	if len(r.alerts) != 2 || r.alerts[0].SigID != "x" || r.alerts[1].SigID != "y" {
		t.Errorf("alerts %+v", r.alerts)
	}
}

// TestMessageQueue: messages come at the beginning of the next second, before new keys; of too many for one script its oldest are dropped, and no other
// script's.
func TestMessageQueue(t *testing.T) {
	r := newRig(t, nil, "post.lua", `TrisulPlugin = { id = { name = "post" }, cg_monitor = { counter_guid = "`+ownGroup+`",
  onnewkey = function(e, ts, key) if key ~= "0" then e:post_message_backend("`+ownGroup+`", "before " .. key) end local id = key ~= "3" and "{00000000-0000-4000-8000-0000000000F1}" or nil
    for i = 1, tonumber(key) do if id then e:post_message_backend(id, tostring(i)) else e:post_message_backend(tostring(i)) end end end } }`,
		"quiet.lua", `TrisulPlugin = { id = { name = "quiet" }, message_subscriptions = { "`+ownGroup+`" }, onmessage = function(id, text) if id then say("quiet", text) end end }`,
		"take.lua", `local n, first = 0, nil
TrisulPlugin = { id = { name = "take" }, message_subscriptions = { "{00000000-0000-4000-8000-0000000000f1}" }, onmessage = function(id, text) n = n + 1 first = first or text end,
  cg_monitor = { counter_guid = "`+ownGroup+`", onnewkey = function(e, ts, key) say(n, first) n, first = 0, nil end } }`)
	r.add("3", 1)
	r.tick(1)
	r.add("10005", 1)
	r.tick(1)
	r.add("0", 1)
	r.tick(1)
	r.wantOf("messages before new keys", []string{"quiet", "0", "3", "10000"}, "quiet before 3", "quiet before 10005", "0 nil", "3 1", "10000 6")
	r.says(5, `messages to a script are dropped.*file=\S*/take.lua`)
	r.accounts("monitor.effects", 5)
}
