package connector

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/lua/modules"
)

const nothing = "function init() end function write() return true end"

// equal compares what Lua expressions give.
func equal(t *testing.T, s *Script) func(expression string, want any) {
	return func(expression string, want any) {
		t.Helper()
		if got := result(t, s, expression); got != want {
			t.Errorf("%s is %#v, want %#v", expression, got, want)
		}
	}
}

// fails reports what an expression raises.
func fails(t *testing.T, s *Script) func(expression, want string) {
	return func(expression, want string) {
		t.Helper()
		if _, err := s.vm.DoString("=test", "return "+expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", expression, err, want)
		}
	}
}

func TestJSONEncode(t *testing.T) {
	s, _ := load(t, nothing, nil)
	f := equal(t, s)
	f(`broker.json_encode({})`, `[]`)
	f(`broker.json_encode({"a", "b", x=1})`, `["a","b"]`)
	f(`broker.json_encode({a=1})`, `{"a":1}`)
	f(`broker.json_encode({a={true, false, {b=1.5}}})`, `{"a":[true,false,{"b":1.5}]}`)
	f(`broker.json_encode({[7]="x"})`, `{"7":"x"}`)
	f(`broker.json_encode({['k"']="a\\b\t\r\n/\1\0é"})`, `{"k\"":"a\\b\t\r\n/\u0001\u0000é"}`)
	f(`broker.json_encode(12)`, `12`)
	f(`broker.json_encode(0.1 + 0.2)`, `0.3`)
	f(`broker.json_encode(0/0)`, `nan`)
	f(`broker.json_encode(-(0/0))`, `nan`)
	f(`broker.json_encode({1/0, -1/0})`, `[inf,-inf]`)
	f(`broker.json_encode("x")`, `"x"`)
	g := fails(t, s)
	g(`broker.json_encode()`, "bad argument #1")
	g(`broker.json_encode(nil)`, "json_encode: type not implemented")
	g(`broker.json_encode(print)`, "json_encode: type not implemented")
	g(`broker.json_encode({[true]=1})`, "a key of a table is a boolean")
	g(`(function() local t = {} t.t = t return broker.json_encode(t) end)()`, "nested deeper than 200")
}

func TestJSONOfEvents(t *testing.T) {
	f := func(version, object, want string) {
		t.Helper()
		s, r := load(t, `broker_api_version = 2
function init() end
function write(d) text = broker.json_encode(d) nested = broker.json_encode({e = d}) again = d return true end`, func(s *Setup) { s.BBDO = version })
		deliver(t, s, 1, events(t, object))
		if got := result(t, s, "text"); got != want {
			t.Errorf("got  %v\nwant %s\n%v", got, want, r.errors)
		}
		if got := result(t, s, "nested"); got != `{"e":`+want+`}` {
			t.Errorf("nested: %v", got)
		}
		if got := result(t, s, "again._type == again.category * 65536 + again.element"); got != true {
			t.Error("the event cannot be read after write returned")
		}
	}
	f("3.0.1", `{"category":1,"element":56,"host_id":1,"notification_number":9}`,
		`{"_type":65592, "category":1, "element":56, "host_id":1, "notification_number":9}`)
	f("3.0.1", `{"category":1,"element":56,"host_id":3,"scheduled_downtime_depth":5}`,
		`{"_type":65592, "category":1, "element":56, "host_id":3, "scheduled_downtime_depth":5}`)
	f("3.0.1", `{"category":1,"element":55,"host_id":1,"service_id":2,"acknowledgement_type":2}`,
		`{"_type":65591, "category":1, "element":55, "host_id":1, "service_id":2, "type":0, "internal_id":0, "acknowledgement_type":2}`)
	s, _ := load(t, `function init() end
function write(d) at, depth = d.actual_end_time == -1, d.last_check return true end`, nil)
	deliver(t, s, 1, events(t, `{"category":1,"element":36,"id":7,"actual_end_time":18446744073709551615}`))
	equal(t, s)("at", true)
}

func TestJSONDecode(t *testing.T) {
	s, _ := load(t, nothing, nil)
	f := equal(t, s)
	f(`broker.json_decode('{"a":[1,2.5,null,"x"],"b":null,"a2":true}').a[2]`, 2.5)
	f(`broker.json_decode('{"a":[1,2.5,null,"x"]}').a[4]`, "x")
	f(`broker.json_decode('{"n":4294967296}').n`, int64(4294967296))
	f(`broker.json_decode('{"n":1,"n":2}').n`, int64(2))
	f(`broker.json_decode('"C:\\\\new"')`, `C:\new`)
	f(`broker.json_decode('"\\u00e9\\ud83d\\ude00"')`, "é😀")
	f(`broker.json_decode(' [ ] ')[1]`, nil)
	f(`broker.json_decode('-0.5e1')`, int64(-5))
	bad := func(text, want string) {
		t.Helper()
		f(`select(2, broker.json_decode(`+text+`))`, want)
		f(`(broker.json_decode(`+text+`))`, nil)
	}
	bad(`'{\n "a": 1,\n\n\n\n\n "b":\n}'`, "[json.exception.parse_error.101] parse error at line 8, column 1: syntax error while parsing value - unexpected '}'; expected '[', '{', or a literal")
	bad(`''`, "[json.exception.parse_error.101] parse error at line 1, column 1: syntax error while parsing value - unexpected end of input; expected '[', '{', or a literal")
	for _, text := range []string{"1 2", "{", "[1,]", `{"a"}`, `{a:1}`, `"`, `"\x"`, "01", "1.", "tru", "[1"} {
		if _, message := modules.DecodeJSON(text); !strings.HasPrefix(message, "[json.exception.parse_error.101] parse error at line 1, column ") {
			t.Errorf("%q: %q", text, message)
		}
	}
	if _, message := modules.DecodeJSON(strings.Repeat("[", 100_000)); !strings.Contains(message, "nested deeper") {
		t.Error(message)
	}
	fails(t, s)(`broker.json_decode(nil)`, "bad argument #1")
	fails(t, s)(`broker.json_decode({})`, "bad argument #1")
}

func TestPerfdata(t *testing.T) {
	s, _ := load(t, nothing, nil)
	f := equal(t, s)
	f(`broker.parse_perfdata(" percent_packet_loss=0 rta=0.80").rta`, 0.8)
	f(`broker.json_encode(broker.parse_perfdata("  "))`, "[]")
	f(`broker.parse_perfdata(" 'one value'=12%;25:80;81:95", true)["one value"].warning_high`, int64(80))
	f(`broker.parse_perfdata("a=1;@10:20", true).a.warning_mode`, true)
	const azure = `broker.parse_perfdata("'PingSDWan~vdom~ifName#azure.insights.logicaldisk.free.percentage'=94.82%;;;0;100", true)["PingSDWan~vdom~ifName#azure.insights.logicaldisk.free.percentage"]`
	f(azure+".instance", "PingSDWan")
	f(azure+".subinstance[2]", "ifName")
	f("#"+azure+".metric_fields", int64(5))
	f(azure+".metric_name", "azure.insights.logicaldisk.free.percentage")
	f(azure+".metric_unit", "percentage")
	f(azure+".uom", "%")
	f(azure+".max", int64(100))
	f(`broker.json_encode({x = `+azure+".warning_low})", `{"x":nan}`)
	fails(t, s)("broker.parse_perfdata(nil)", "bad argument #1")
}

func TestSmallFunctions(t *testing.T) {
	s, _ := load(t, nothing, nil)
	f := equal(t, s)
	f(`broker.url_encode("A.a-b_B:c/C?d=D&e~")`, "A.a-b_B%3Ac%2FC%3Fd%3DD%26e~")
	f(`broker.url_encode("é ")`, "%C3%A9%20")
	f(`broker.base64_encode("Hello World from Broker!")`, "SGVsbG8gV29ybGQgZnJvbSBCcm9rZXIh")
	f(`broker.base64_decode("SGVsbG8\n gV29y bGQ")`, "Hello World")
	f(`broker.base64_decode(broker.base64_encode("\0\255"))`, "\x00\xff")
	f(`broker.md5("")`, "d41d8cd98f00b204e9800998ecf8427e")
	f(`broker.stat("/no/such/file")`, nil)
	f(`select(2, broker.stat("/no/such/file"))`, "No such file or directory")
	file := write(t, "1234")
	f(`broker.stat("`+file+`").size`, int64(4))
	f(`broker.stat("`+file+`").uid`, int64(os.Getuid()))
	g := fails(t, s)
	g(`broker.url_encode(nil)`, "bad argument #1")
	g(`broker.base64_decode("*")`, "not base64")
	if _, err := base64.StdEncoding.DecodeString("*"); err == nil {
		t.Error("* is base64")
	}
}

func TestLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "connector.log")
	s, r := load(t, `function init(conf)
  broker_log:info(1, "early") broker_log:info(2, "hidden")
  broker_log:set_parameters("2", "`+file+`")
  broker_log:info(2, "info") broker_log:warning(1, 7) broker_log:error(3, "hidden")
  broker_log:error(-1, "always") broker_log:error("no level") broker_log:info(1)
end
function write() return true end`, nil)
	if want := []string{"INFO early"}; len(r.lines) != 1 || r.lines[0] != want[0] {
		t.Errorf("log of Weir: %q", r.lines)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`(?m)^[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4}: `).ReplaceAllString(string(text), "")
	want := "INFO: info\nWARNING: 7\nERROR: always\nERROR: no level\nINFO: (null)\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	fails(t, s)(`broker_log:set_parameters(4, "x")`, "set_parameters expects the first argument to be 0, 1, 2 or 3.")
	result(t, s, `broker_log:set_parameters(3, "/no/such/folder/x")`)
	result(t, s, `broker_log:info(1, "lost")`)
	if last := r.lines[len(r.lines)-1]; !strings.Contains(last, "ERROR cannot write to the log file") || !strings.Contains(last, "lost") {
		t.Errorf("log of Weir: %q", r.lines)
	}
}

func TestCacheFunctions(t *testing.T) {
	for version, kind := range map[int]string{1: "table", 2: "userdata"} {
		s, r := load(t, fmt.Sprintf("broker_api_version = %d\n", version)+nothing, nil)
		deliver(t, s, 1, events(t,
			`{"category":1,"element":44,"instance_id":3,"name":"Lyon","running":true}`,
			`{"category":1,"element":30,"host_id":1,"name":"alpha","alias":"first","enabled":true,"notes_url":"u"}`,
			`{"category":1,"element":27,"host_id":1,"service_id":2,"description":"load","enabled":true,"check_command":"c"}`,
			`{"category":1,"element":37,"host_id":1,"service_id":0,"name":"CRITICALITY_LEVEL","value":"3","enabled":true}`,
			`{"category":1,"element":49,"hostgroup_id":9,"name":"g","alias":"ga","enabled":true,"poller_id":3}`,
			`{"category":1,"element":50,"hostgroup_id":9,"host_id":1,"name":"member","enabled":true,"poller_id":3}`,
			`{"category":3,"element":11,"index_id":5,"host_id":1,"service_id":2}`, `{"category":3,"element":12,"metric_id":6,"index_id":5}`,
			`{"category":6,"element":25,"ba_id":1,"ba_name":"ba","ba_description":"d"}`, `{"category":6,"element":23,"ba_id":1,"bv_id":4}`))
		f := equal(t, s)
		f("broker_cache:get_hostname(1)", "alpha")
		f(`broker_cache:get_hostname("1")`, "alpha")
		f("broker_cache:get_hostname(2)", nil)
		f("broker_cache:get_hostname(-1)", nil)
		f("type(broker_cache:get_host(1))", kind)
		f("broker_cache:get_host(1).alias", "first")
		f("broker_cache:get_host(1)._type", int64(65566))
		f("broker_cache:get_service(1, 2).description", "load")
		f("broker_cache:get_service_description(1, 2)", "load")
		f("broker_cache:get_notes(1)", "")
		f("broker_cache:get_notes_url(1, nil)", "u")
		f("broker_cache:get_check_command(1, 2)", "c")
		f("broker_cache:get_severity(1)", int64(3))
		f("broker_cache:get_severity(1, 2)", nil)
		f("broker_cache:get_hostgroups(1)[1].group_name", "member")
		f("broker_cache:get_hostgroups(1)[1].group_id", int64(9))
		f("#broker_cache:get_hostgroups(7)", int64(0))
		f("broker_cache:get_hostgroup_alias(9)", "ga")
		f("broker_cache:get_instance_name(3)", "Lyon")
		f("broker_cache:get_index_mapping(5).service_id", int64(2))
		f("broker_cache:get_metric_mapping(6).index_id", int64(5))
		f("broker_cache:get_ba(1).ba_description", "d")
		f("broker_cache:get_bvs(1)[1]", int64(4))
		f("#broker_cache:get_bvs(2)", int64(0))
		g := fails(t, s)
		g("broker_cache.get_hostname(1)", "call it with a colon")
		g("broker_cache:get_hostname(nil)", "bad argument")
		g("broker_cache:get_hostname(1.5)", "no integer representation")
		g("broker_cache:get_service(1)", "bad argument")
		if version == 1 {
			f(`(function() broker_cache:get_host(1).name = "x" return broker_cache:get_host(1).name end)()`, "alpha")
		} else {
			g(`(function() broker_cache:get_host(1).name = "x" end)()`, "")
		}
		if len(r.errors) > 0 {
			t.Error(r.errors)
		}
	}
}

func TestSocket(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			fmt.Fprintf(conn, "got %s", line)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	s, _ := load(t, nothing, nil)
	f := equal(t, s)
	result(t, s, `(function() s = broker_tcp_socket.new() end)()`)
	f(`s:get_state()`, "unconnected")
	fails(t, s)(`s:write("x")`, "broker_socket::write: Unable to get remote endpoint from socket object: ")
	result(t, s, `s:connect("127.0.0.1", `+port+`)`)
	f(`s:get_state()`, "connected")
	fails(t, s)(`s:connect("127.0.0.1", `+port+`)`, "close it first")
	result(t, s, `s:write("hello\n")`)
	f(`s:read()`, "got hello\n")
	f(`s:read()`, "")
	result(t, s, `s:close()`)
	result(t, s, `s:connect("127.0.0.1", `+port+`)`)
	result(t, s, `s:close()`)
	listener.Close()
	fails(t, s)(`s:connect("127.0.0.1", `+port+`)`, "broker_socket::connect: Couldn't connect to 127.0.0.1:"+port+": ")
	fails(t, s)(`s:connect("127.0.0.1")`, "bad argument")
}
