package test

import (
	"fmt"
	"strings"
	"testing"
)

// results checks what Lua expressions give in a connector: pairs of an expression and
// its result, as tostring writes it. prelude stands before them, for functions they need.
func results(t *testing.T, prelude string, pairs ...[2]string) {
	t.Helper()
	var list strings.Builder
	for _, p := range pairs {
		list.WriteString("[==[" + p[0] + "]==],\n")
	}
	tr := conform(t, map[string]string{"calculator": prelude + `
function init()
  for _, e in ipairs({` + list.String() + `}) do
    local ok, result = pcall(assert(loadstring("return " .. e)))
    note((ok and "" or "error: ") .. tostring(result))
  end
end
function write() return true end`}, nil)
	for i, got := range tr.lines("calculator", len(pairs)) {
		if got != pairs[i][1] {
			t.Errorf("%s\ngot  %s\nwant %s", pairs[i][0], got, pairs[i][1])
		}
	}
	tr.stop()
}

func TestConformance09JSON(t *testing.T) {
	results(t, "local nan = 0/0",
		[2]string{`broker.json_encode({})`, `[]`},
		[2]string{`broker.json_encode({a = {}})`, `{"a":[]}`},
		[2]string{`broker.json_encode({"a", "b", x = 1})`, `["a","b"]`},
		[2]string{`broker.json_encode({{1, 2}, {k = "v"}})`, `[[1,2],{"k":"v"}]`},
		[2]string{`broker.json_encode({[7] = "x"})`, `{"7":"x"}`},
		[2]string{`broker.json_encode({a = true})`, `{"a":true}`},
		[2]string{`broker.json_encode({n = 0/0})`, `{"n":nan}`},
		[2]string{`broker.json_encode(-(0/0))`, `nan`},
		[2]string{`broker.json_encode({1/0, -1/0})`, `[inf,-inf]`},
		[2]string{`broker.json_encode({12, 1.5, 3.1415926535897931})`, `[12,1.5,3.1415926535898]`},
		[2]string{`broker.json_encode("\\ \" \t \r \n / \1 \0 \127é")`, `"\\ \" \t \r \n / \u0001 \u0000 ` + "\x7fé\""},
		[2]string{`broker.json_encode({['k"\n'] = 1})`, `{"k\"\n":1}`},
		[2]string{`select(2, pcall(broker.json_encode, nil)):match("json_encode: type not implemented")`, `json_encode: type not implemented`},
		[2]string{`select(2, pcall(broker.json_encode, print)):match("json_encode: type not implemented")`, `json_encode: type not implemented`},
		[2]string{`pcall(broker.json_encode)`, `false`},
		[2]string{`(function() local t = {} t.t = t return pcall(broker.json_encode, t) end)()`, `false`},
	)

	body := `
function init() end
function write(d) note(broker.json_encode(d)) return true end`
	tr := conform(t, map[string]string{"new": "broker_api_version = 2" + body, "old": "broker_api_version = 2" + body, "table": body},
		map[string]string{"old": `bbdo_version: "2.0.0"`, "table": "categories: [neb:Host]"})
	tr.deliver(modern, `{"category":1,"element":56,"host_id":1,"notification_number":9}`, `{"category":1,"element":56,"host_id":3,"scheduled_downtime_depth":5}`,
		`{"category":1,"element":55,"host_id":1,"service_id":2,"notification_number":9}`, `{"category":1,"element":55,"host_id":1,"service_id":2,"acknowledgement_type":2}`,
		`{"category":1,"element":30,"host_id":1,"enabled":true,"tags":[{"id":24,"type":2},{"id":25,"type":2}],"check_interval":5,"latency":1.2}`,
		`{"category":1,"element":23,"action_url":"svc action url","notes_url":"d:\\\\bonjour le \"monde\""}`)
	tr.deliver(legacy, `{"category":1,"element":24,"host_id":1,"last_check":1700000300,"latency":1.2,"output":"a\tb\n"}`)
	lines := tr.lines("new", 7)
	for i, want := range []string{
		`{"_type":65592, "category":1, "element":56, "host_id":1, "notification_number":9}`,
		`{"_type":65592, "category":1, "element":56, "host_id":3, "scheduled_downtime_depth":5}`,
		`{"_type":65591, "category":1, "element":55, "host_id":1, "service_id":2, "type":0, "internal_id":0, "notification_number":9}`,
		`{"_type":65591, "category":1, "element":55, "host_id":1, "service_id":2, "type":0, "internal_id":0, "acknowledgement_type":2}`,
	} {
		if lines[i] != want {
			t.Errorf("got  %s\nwant %s", lines[i], want)
		}
	}
	parts := func(got string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s is not in %s", part, got)
			}
		}
	}
	parts(lines[4], `"tags":[{"id":24, "type":2}, {"id":25, "type":2}]`, `"latency":1.2, `)
	parts(tr.lines("table", 1)[0], `"tags":[{`, `"id":24`, `},{`)
	old := tr.lines("old", 3) // adaptive events have no legacy form
	parts(old[0], `{"_type":65548, "category":1, "element":12, "acknowledged":false, `, `"check_interval":5, `)
	if start := `{"_type":65559, "category":1, "element":23, "acknowledged":false, "acknowledgement_type":0, "action_url":"svc action url", "active_checks":false, ` +
		`"check_freshness":false, "check_interval":0, "check_period":"", `; !strings.HasPrefix(old[1], start) || !strings.HasSuffix(old[1], `"retain_status_information":false}`) ||
		strings.Contains(old[1], `"last_check"`) || strings.Contains(old[1], `"next_check"`) {
		t.Errorf("%s\ndoes not begin with\n%s", old[1], start)
	}
	parts(old[1], `, "notes_url":"d:\\\\bonjour le \"monde\"", `)
	parts(old[2], `"last_check":"1700000300", `, `"latency":1.2, `, `"output":"a\tb\n", `)
	tr.stop()
}

// renderings are functions of Lua that write what parse_perfdata returns.
const renderings = `
local function number(x) if x ~= x then return "-" end return tostring(x) end
function simple(text)
  local all = {}
  for k, v in pairs(broker.parse_perfdata(text)) do all[#all + 1] = k .. "=" .. number(v) end
  table.sort(all)
  return table.concat(all, " ")
end
function full(text)
  local all = {}
  for k, m in pairs(broker.parse_perfdata(text, true)) do
    all[#all + 1] = k .. "=" .. number(m.value) .. m.uom .. " w" .. (m.warning_mode and "@" or "") .. number(m.warning_low) .. ":" .. number(m.warning_high) ..
      " c" .. (m.critical_mode and "@" or "") .. number(m.critical_low) .. ":" .. number(m.critical_high) .. " " .. number(m.min) .. ".." .. number(m.max)
  end
  table.sort(all)
  return table.concat(all, "; ")
end
function parts(text)
  local label, m = next(broker.parse_perfdata(text, true))
  return m.metric_name .. " " .. m.instance .. " {" .. table.concat(m.subinstance, ",") .. "} {" .. table.concat(m.metric_fields, ",") .. "} " .. m.metric_unit
end
`

func TestConformance10Perfdata(t *testing.T) {
	var pairs [][2]string
	f := func(text, simple, full string) {
		pairs = append(pairs, [2]string{"simple(" + luaQuote(text) + ")", simple}, [2]string{"full(" + luaQuote(text) + ")", full})
	}
	const none = " w-:- c-:- -..-"
	f(" percent_packet_loss=0 rta=0.80", "percent_packet_loss=0 rta=0.8", "percent_packet_loss=0"+none+"; rta=0.8"+none)
	f(" 'one value'=0;3;5 'another value'=0.89;0.8;1;;", "another value=0.89 one value=0", "another value=0.89 w0:0.8 c0:1 -..-; one value=0 w0:3 c0:5 -..-")
	f(" 'one value'=2s;3;5;0;9 'a b c'=3.14KB;0.8;1;0;10", "a b c=3.14 one value=2", "a b c=3.14KB w0:0.8 c0:1 0..10; one value=2s w0:3 c0:5 0..9")
	f(" 'one value'=12%;25:80;81:95 'another value'=78%;60;90;;", "another value=78 one value=12", "another value=78% w0:60 c0:90 -..-; one value=12% w25:80 c81:95 -..-")
	f("                ", "", "")
	f(" 'one value' 0;3;5", "", "")
	f(" 'events'=;;;0;", "", "")
	seven := func(infotraffic string) (simple, full string) {
		return "bar=1234 baz=1234 foo=1234 infotraffic=" + infotraffic + " metric=239765 q u x=9 time=2.45698",
			"bar=1234 w-inf:10 c20:30 -..-; baz=1234 w@10:20 c-:- -..-; foo=1234 w0:10 c11:inf -..-; infotraffic=" + infotraffic + "x" + none +
				"; metric=239765B/s w0:5 c-:- -inf..-; q u x=9queries_per_second w@10:inf c@5:inf 0..100; time=2.45698s w-:- c-:- -..inf"
	}
	tail := " a[foo]=1234;10;11: c[bar]=1234;~:10;20:30 baz=1234;@10:20; 'q u x'=9queries_per_second;@10:;@5:;0;100"
	simple, full := seven("18")
	f("time=2.45698s;;nan;;inf d[metric]=239765B/s;5;;-inf; infotraffic=18x;;;;"+tail, simple, full)
	simple, full = seven("18.6")
	f("'  \n time'=2,45698s;;nan;;inf d[metric]=239765B/s;5;;-inf; infotraffic=18,6x;;;;"+tail, simple, full)
	f("'ABCD12E'=18.00%;15:;10:;0;100", "ABCD12E=18", "ABCD12E=18% w15:inf c10:inf 0..100")
	f("'et'=18.00%;15:;10:;0;100 other=15 et=13.00%", "et=18 other=15", "et=18% w15:inf c10:inf 0..100; other=15"+none)
	f("'d[foo]'=18.00% other=15 a[foo]=13.00%", "foo=18 other=15", "foo=18%"+none+"; other=15"+none)
	f("metric1= 10 metric2=42", "metric2=42", "metric2=42"+none)
	f("metric=kb/s", "", "")
	for _, text := range []string{"user1=1 user2=2 =1 user3=3", "user1=1 user2=2 user4= user3=3"} {
		f(text, "user1=1 user2=2 user3=3", "user1=1"+none+"; user2=2"+none+"; user3=3"+none)
	}
	f("  'foo  bar   '=2s;2;5;;", "foo  bar=2", "foo  bar=2s w0:2 c0:5 -..-")
	f("'total'=5;;;0;\r", "total=5", "total=5 w-:- c-:- 0..-")
	f("'xx[aa a aa]'=2;3;7;1;9 '[a aa]'=12;25;50;0;118 'aa a]'=28;13;54;0;80", "[a aa]=12 aa a]=28 xx[aa a aa]=2",
		"[a aa]=12 w0:25 c0:50 0..118; aa a]=28 w0:13 c0:54 0..80; xx[aa a aa]=2 w0:3 c0:7 1..9")
	g := func(text, parts string) { pairs = append(pairs, [2]string{"parts(" + luaQuote(text) + ")", parts}) }
	azure := " 'PingSDWan~vdom~ifName#azure.insights.logicaldisk.free.percentage'=94.82%;;;0;100"
	f(azure, "PingSDWan~vdom~ifName#azure.insights.logicaldisk.free.percentage=94.82", "PingSDWan~vdom~ifName#azure.insights.logicaldisk.free.percentage=94.82% w-:- c-:- 0..100")
	g(azure, "azure.insights.logicaldisk.free.percentage PingSDWan {vdom,ifName} {azure,insights,logicaldisk,free,percentage} percentage")
	g(" 'PingSDWan~vdom~ifName#azure.insights#logicaldisk~free.percentage'=94.82%;;;0;100",
		"azure.insights#logicaldisk~free.percentage PingSDWan {vdom,ifName} {azure,insights#logicaldisk~free,percentage} percentage")
	g(" toto~a.b.totu=12g;0;20;10;15", "toto~a.b.totu  {} {toto~a,b,totu} totu")
	g(" tt#a.b=5;1;2", "a.b tt {} {a,b} b")
	g(" #metric~titus=3s;1;8", "metric~titus  {} {metric~titus} #metric~titus")
	pairs = append(pairs,
		[2]string{`broker.json_encode(broker.parse_perfdata("  "))`, "[]"},
		[2]string{`broker.json_encode(broker.parse_perfdata("a=1", true)):match('"warning_low":nan')`, `"warning_low":nan`},
		[2]string{`pcall(broker.parse_perfdata, nil)`, "false"})
	results(t, renderings, pairs...)
}

// luaQuote writes text as a string of Lua.
func luaQuote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(text) {
		if c < ' ' || c == '"' || c == '\\' {
			fmt.Fprintf(&b, "\\%03d", c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// asking is a connector that evaluates what comments say.
const asking = `
function write(d)
  if d.category == 1 and d.element == 35 then
    local ok, result = pcall(assert(loadstring("return " .. d.data)))
    note((ok and "" or "error: ") .. tostring(result))
  elseif d.category == 1 and (d.element == 32 or d.element == 56) and d.host_id == 99 then
    note("status of an unknown host")
  end
  return true
end
function names(list)
  local all = {}
  for i, g in ipairs(list) do all[i] = g.group_id .. ":" .. g.group_name end
  return table.concat(all, " ")
end
function init() end`

// conversation sends events and questions. A connector may see the cache newer than
// its event, so what follows a question is sent when it is answered.
type conversation struct {
	*trial
	session *poller
	answers int
}

func converse(t *testing.T) *conversation {
	t.Helper()
	tr := conform(t, map[string]string{"asking": asking}, nil)
	return &conversation{trial: tr, session: connect(t, tr.process, modern)}
}

func (c *conversation) tell(events ...string) { c.session.send(events...) }

func (c *conversation) ask(expression, answer string) {
	c.t.Helper()
	c.tell(fmt.Sprintf(`{"category":1,"element":35,"data":%s}`, jsonQuote(expression)))
	c.hear(answer)
}

// hear waits for the next thing the script notes.
func (c *conversation) hear(answer string) {
	c.t.Helper()
	c.answers++
	if got := c.lines("asking", c.answers)[c.answers-1]; got != answer {
		c.t.Errorf("got %q, want %q", got, answer)
	}
}

func jsonQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func TestConformance11Cache(t *testing.T) {
	for _, version := range []string{"protobuf", "legacy"} {
		t.Run(version, func(t *testing.T) {
			c := converse(t)
			old := version == "legacy"
			// e is the element number in this generation.
			e := func(protobuf, legacy int) int {
				if old {
					return legacy
				}
				return protobuf
			}
			tell := func(category, element int, members string) {
				c.tell(fmt.Sprintf(`{"category":%d,"element":%d,%s}`, category, element, members))
			}
			// Instances: stored also when they do not run.
			c.ask("broker_cache:get_instance_name(3)", "nil")
			tell(1, e(44, 15), `"instance_id":3,"name":"Lyon","running":true`)
			c.ask("broker_cache:get_instance_name(3)", "Lyon")
			tell(1, e(44, 15), `"instance_id":3,"name":"Lyon 2","running":false`)
			c.ask("broker_cache:get_instance_name(3)", "Lyon 2")

			// Hosts and services.
			tell(1, e(30, 12), `"host_id":1,"name":"alpha","alias":"first","address":"192.0.2.1","enabled":true,"notes":"n","notes_url":"u","action_url":"a","check_command":"ping","instance_id":3`)
			tell(1, e(27, 23), `"host_id":1,"service_id":2,"host_name":"alpha","description":"load","enabled":true,"notes_url":"su","check_command":"c"`)
			c.ask("broker_cache:get_hostname(1)", "alpha")
			c.ask("broker_cache:get_service_description(1, 2)", "load")
			c.ask("broker_cache:get_host(1).alias .. broker_cache:get_host(1).address .. broker_cache:get_host(1).instance_id", "first192.0.2.13")
			c.ask("broker_cache:get_host(1)._type .. ' ' .. broker_cache:get_service(1, 2)._type", "65566 65563")
			c.ask("broker_cache:get_service(1, 2).host_name .. tostring(broker_cache:get_service(1, 2).is_volatile)", "alphafalse")
			c.ask("broker_cache:get_notes(1) .. broker_cache:get_notes_url(1) .. broker_cache:get_action_url(1) .. broker_cache:get_check_command(1)", "nuaping")
			c.ask("broker_cache:get_notes(1, 2) .. broker_cache:get_notes_url(1, 2) .. broker_cache:get_check_command(1, 2) .. broker_cache:get_notes(1, 0)", "sucn")
			c.ask("broker_cache:get_host(1).last_check", "0")
			c.ask("broker_cache:get_service(1, 3)", "nil")

			// Statuses change the cached object, and nothing else of it.
			tell(1, e(32, 14), `"host_id":1,"checked":true,"state":1,"state_type":1,"check_attempt":2,"output":"down","perfdata":"p=1","last_check":1700000300,"last_hard_state":1,"last_time_down":1700000200,"percent_state_change":6.25,"flapping":true,"acknowledgement_type":1,"scheduled_downtime_depth":4,"next_host_notification":7,"notification_number":8`)
			c.ask("(function(h) return table.concat({h.name, h.state, h.state_type, h.check_attempt, h.output, h.perfdata, h.last_check, h.last_hard_state, h.last_time_down, h.percent_state_change, tostring(h.flapping), h.acknowledgement_type, h.scheduled_downtime_depth, h.notification_number}, ' ') end)(broker_cache:get_host(1))",
				"alpha 1 1 2 down p=1 1700000300 1 1700000200 6.25 true 1 4 8")
			longOutput := `"output":"short","long_output":"long"`
			if old {
				longOutput = `"output":"short\nlong"`
			}
			tell(1, e(29, 24), `"host_id":1,"service_id":2,"checked":true,"state":2,"last_time_critical":1700000100,"next_notification":9,`+longOutput)
			c.ask("(function(s) return table.concat({s.description, s.state, s.last_time_critical, s.next_notification, s.output, s.long_output}, ' ') end)(broker_cache:get_service(1, 2))",
				"load 2 1700000100 9 short long")

			// Groups: one that two pollers share goes with the second of them.
			tell(1, e(49, 10), `"hostgroup_id":9,"name":"g","enabled":true,"poller_id":3`)
			tell(1, e(49, 10), `"hostgroup_id":9,"name":"g2","enabled":true,"poller_id":4`)
			c.ask("broker_cache:get_hostgroup_name(9)", "g2")
			tell(1, e(49, 10), `"hostgroup_id":9,"name":"g2","enabled":false,"poller_id":3`)
			c.ask("broker_cache:get_hostgroup_name(9)", "g2")
			tell(1, e(49, 10), `"hostgroup_id":9,"name":"g2","enabled":false,"poller_id":4`)
			c.ask("broker_cache:get_hostgroup_name(9)", "nil")
			tell(1, e(51, 21), `"servicegroup_id":8,"name":"sg","enabled":true,"poller_id":3`)
			tell(1, e(51, 21), `"servicegroup_id":8,"name":"sg","enabled":true,"poller_id":4`)
			tell(1, e(51, 21), `"servicegroup_id":8,"name":"sg","enabled":false,"poller_id":3`)
			c.ask("broker_cache:get_servicegroup_name(8)", "sg")
			tell(1, e(51, 21), `"servicegroup_id":8,"name":"sg","enabled":false,"poller_id":4`)
			c.ask("broker_cache:get_servicegroup_name(8)", "nil")
			member := "name"
			if old {
				member = "group_name"
			}
			tell(1, e(50, 11), `"hostgroup_id":10,"host_id":1,"`+member+`":"ten","enabled":true,"poller_id":3`)
			tell(1, e(50, 11), `"hostgroup_id":9,"host_id":1,"`+member+`":"nine","enabled":true,"poller_id":3`)
			c.ask("names(broker_cache:get_hostgroups(1))", "9:nine 10:ten")
			tell(1, e(50, 11), `"hostgroup_id":10,"host_id":1,"`+member+`":"ten","enabled":false,"poller_id":3`)
			c.ask("names(broker_cache:get_hostgroups(1)) .. #broker_cache:get_hostgroups(7)", "9:nine0")
			tell(1, e(52, 22), `"servicegroup_id":8,"host_id":1,"service_id":2,"`+member+`":"eight","enabled":true,"poller_id":3`)
			c.ask("names(broker_cache:get_servicegroups(1, 2))", "8:eight")
			tell(1, e(52, 22), `"servicegroup_id":8,"host_id":1,"service_id":2,"`+member+`":"eight","enabled":false,"poller_id":3`)
			c.ask("#broker_cache:get_servicegroups(1, 2)", "0")

			// Severities.
			severity := func(element int, service, name, value string) {
				tell(1, element, `"host_id":1,"service_id":`+service+`,"name":"`+name+`","value":"`+value+`","enabled":true`)
			}
			severity(e(37, 3), "0", "CRITICALITY_ID", "5")
			c.ask("broker_cache:get_severity(1)", "nil")
			for _, value := range []string{"3", "0", "abc", "99999999999"} {
				severity(e(37, 3), "0", "CRITICALITY_LEVEL", value)
				c.ask("broker_cache:get_severity(1)", "3")
			}
			tell(1, e(38, 4), `"host_id":1,"service_id":0,"name":"CRITICALITY_LEVEL","value":"7"`) // a status of a variable
			severity(e(37, 3), "2", "CRITICALITY_LEVEL", "4")
			c.ask("broker_cache:get_severity(1) .. ' ' .. broker_cache:get_severity(1, 2)", "3 4")

			// Mappings, business activities and views.
			tell(3, e(11, 5), `"index_id":5,"host_id":1,"service_id":2`)
			tell(3, e(12, 6), `"metric_id":6,"index_id":5`)
			c.ask("broker_cache:get_index_mapping(5).host_id .. broker_cache:get_index_mapping(5).service_id .. broker_cache:get_metric_mapping(6).index_id", "125")
			dimensions := func() {
				tell(6, e(25, 7), `"ba_id":1,"ba_name":"ba","ba_description":"d"`)
				tell(6, e(22, 10), `"bv_id":4,"bv_name":"bv","bv_description":"e"`)
				tell(6, e(23, 9), `"ba_id":1,"bv_id":4`)
				tell(6, e(23, 9), `"ba_id":1,"bv_id":2`)
				tell(6, e(23, 9), `"ba_id":1,"bv_id":4`)
			}
			const views = "(function(ba, bv) return (ba and ba.ba_name .. ba.ba_description or '-') .. (bv and bv.bv_name .. bv.bv_description or '-') .. table.concat(broker_cache:get_bvs(1), ',') end)(broker_cache:get_ba(1), broker_cache:get_bv(4))"
			dimensions()
			c.ask(views, "badbve2,4")
			tell(6, e(30, 11), `"update_started":false`)
			c.ask(views, "badbve2,4")
			tell(6, e(30, 11), `"update_started":true`)
			c.ask(views, "--")
			dimensions()
			c.ask(views, "badbve2,4")

			if !old {
				// Adaptive events: only what is set. They have no legacy form.
				tell(1, 56, `"host_id":1,"scheduled_downtime_depth":0`)
				c.ask("broker_cache:get_host(1).scheduled_downtime_depth .. broker_cache:get_host(1).acknowledgement_type .. broker_cache:get_host(1).notification_number", "018")
				tell(1, 55, `"host_id":1,"service_id":2,"acknowledgement_type":2`)
				c.ask("broker_cache:get_service(1, 2).acknowledgement_type", "2")
				tell(1, 31, `"host_id":1,"notify":true,"check_command":"http","max_check_attempts":5,"notification_period":"24x7"`)
				c.ask("(function(h) return table.concat({h.name, tostring(h.notify), h.check_command, h.max_check_attempts, h.notification_period, tostring(h.active_checks)}, ' ') end)(broker_cache:get_host(1))",
					"alpha true http 5 24x7 false")
				tell(1, 28, `"host_id":1,"service_id":2,"flap_detection_enabled":true,"check_interval":7`)
				c.ask("(function(s) return tostring(s.flap_detection) .. s.check_interval .. s.check_command end)(broker_cache:get_service(1, 2))", "true7c")
				// Of an unknown object: nothing is stored, and the script gets the event.
				tell(1, 32, `"host_id":99,"state":1`)
				c.hear("status of an unknown host")
				tell(1, 56, `"host_id":99,"notification_number":1`)
				c.hear("status of an unknown host")
				c.ask("broker_cache:get_host(99)", "nil")
			}

			// Objects that are not enabled any more.
			tell(1, e(27, 23), `"host_id":1,"service_id":2,"enabled":false`)
			c.ask("broker_cache:get_service(1, 2)", "nil")
			c.ask("broker_cache:get_hostname(1)", "alpha")
			tell(1, e(30, 12), `"host_id":1,"enabled":false`)
			c.ask("tostring(broker_cache:get_host(1)) .. tostring(broker_cache:get_hostname(1))", "nilnil")

			if !old && !strings.Contains(c.log(), "Attempt to update host (99) in lua cache, but it does not exist") {
				t.Errorf("nothing warns of the unknown host:\n%s", c.log())
			}
			c.session.stop()
			c.stop()
		})
	}
}

func TestConformance12Copies(t *testing.T) {
	c := converse(t)
	c.tell(`{"category":1,"element":30,"host_id":1,"name":"alpha","enabled":true}`,
		`{"category":1,"element":27,"host_id":1,"service_id":2,"description":"load","enabled":true}`,
		`{"category":1,"element":50,"hostgroup_id":9,"host_id":1,"name":"nine","enabled":true,"poller_id":3}`)
	c.ask("(function() broker_cache:get_host(1).name = 'x' return broker_cache:get_host(1).name end)()", "alpha")
	c.ask("(function() local h = broker_cache:get_host(1) h.name = 'x' return broker_cache:get_host(1).name .. broker_cache:get_hostname(1) end)()", "alphaalpha")
	c.ask("(function() broker_cache:get_service(1, 2).description = 'x' return broker_cache:get_service(1, 2).description end)()", "load")
	c.ask("(function() broker_cache:get_hostgroups(1)[1].group_name = 'x' return names(broker_cache:get_hostgroups(1)) end)()", "9:nine")
	c.ask("broker_cache:get_host(1).name", "alpha")
	c.session.stop()
	c.stop()
}
