package grafolean

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/inventory"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// fixture is a Server with a person who may do everything, two accounts and a bot.
type fixture struct {
	*testing.T
	*Server
	clock         int64
	root          string // header
	first, second int64  // accounts
}

const noon = 1718020800

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, clock: noon}
	in := inventory.New(inventory.Config{Path: filepath.Join(t.TempDir(), "inventory.db"), Secret: "long enough for a test"}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { in.Close() })
	f.Server = New(Config{Inventory: in, Driver: &memory.Driver{}, Registry: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	f.now = func() time.Time { return time.Unix(f.clock, 0) }
	f.want(201, "", "POST", "/api/admin/first", `{"name":"Root","username":"root","password":"a good password","email":"r@example.org"}`, `{"id":1}`)
	r := f.do("", "POST", "/api/auth/login", `{"username":"root","password":"a good password"}`)
	f.root = r.Header().Get("X-JWT-Token")
	f.first, f.second = f.made("POST", "/api/admin/accounts", `{"name":"Harbour office"}`), f.made("POST", "/api/admin/accounts/", `{"name":"Airport"}`)
	return f
}

// do sends a request. auth is a header Authorization, or a token for the parameter b.
func (f *fixture) do(auth, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	if auth != "" && !strings.Contains(auth, " ") {
		mark := "?"
		if strings.Contains(target, "?") {
			mark = "&"
		}
		target, auth = target+mark+"b="+auth, ""
	}
	r := httptest.NewRequestWithContext(f.Context(), method, target, reader)
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// want sends a request and compares what comes back; an answer that is not "" is compared whole.
func (f *fixture) want(status int, auth, method, target, body, answer string) {
	f.Helper()
	w := f.do(auth, method, target, body)
	if w.Code != status || answer != "" && w.Body.String() != answer || status == 204 && w.Body.Len() > 0 {
		f.Errorf("%s %s %s: %d %s, want %d %s", method, target, body, w.Code, w.Body, status, answer)
	}
}

// made is the id of what a request by root makes.
func (f *fixture) made(method, target, body string) int64 {
	f.Helper()
	w := f.do(f.root, method, target, body)
	var answer struct{ ID int64 }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 201 || answer.ID == 0 {
		f.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return answer.ID
}

// bot makes one with permissions, and returns its id and token.
func (f *fixture) bot(protocol string, permissions ...string) (int64, string) {
	f.Helper()
	id := f.made("POST", "/api/bots", `{"name":"bot","protocol":`+protocol+`}`)
	for _, p := range permissions {
		f.made("POST", fmt.Sprintf("/api/bots/%d/permissions", id), p)
	}
	w := f.do(f.root, "GET", fmt.Sprintf("/api/bots/%d/token", id), "")
	var answer struct{ Token string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Token) != 36 {
		f.Fatal(w.Code, w.Body)
	}
	return id, answer.Token
}

// everything is the permission of the default bots of the system.
const everything = `{"resource_prefix":"accounts","methods":null}`

func (f *fixture) in(account int64, rest string) string {
	return fmt.Sprintf("/api/accounts/%d%s", account, rest)
}

// TestConformance plays the requests of the library and the three bots: the checklist of
// section 9, whose numbers are in the comments. The rest of it is in the end-to-end tests.
func TestConformance(t *testing.T) {
	f := newFixture(t)
	// 1: both slash forms, without a token.
	status := `{"alive":true,"db_migration_needed":false,"db_version":30,"user_exists":true,"cors_domains":[],"mqtt_ws_hostname":"","mqtt_ws_port":"","enable_signup":false}`
	f.want(200, "", "GET", "/api/status/info", "", status)
	f.want(200, "", "GET", "/api/status/info/", "", status)

	// 2
	poller, token := f.bot(`"snmp"`, everything)
	other, _ := f.bot(`"snmp"`, everything)
	f.want(200, token, "GET", "/api/profile/", "", fmt.Sprintf(`{"user_id":%d,"user_type":"bot","record":{"id":%d,"name":"bot","protocol":"snmp","tied_to_account":null,"config":null,"insert_time":%d,"last_login":%d}}`, poller, poller, f.inserted(poller), f.lastLogin(poller)))
	f.want(401, "5f0c9e6e-57c4-4b11-9f5d-4c1e8f6c1a11", "GET", "/api/profile/", "", "Access denied")
	f.want(401, "", "GET", "/api/profile/", "", "Access denied")

	// 3 and 4: a walk as the library makes it, twice.
	credential := f.made("POST", f.in(f.first, "/credentials/"), `{"name":"ro v2","protocol":"snmp","details":{"version":"snmpv2c","snmpv12_community":"lab-ro"}}`)
	load := f.made("POST", f.in(f.first, "/sensors/"), `{"name":"load","protocol":"snmp","default_interval":60,"details":{"oids":[{"oid":"1.3.6.1.4.1.2021.10.1.5.1","fetch_method":"get"}],"expression":"$1 / 100","output_path":"load.1m"}}`)
	rest := f.made("POST", f.in(f.first, "/sensors/"), `{"name":"rest","protocol":"snmp","default_interval":300,"details":{}}`)
	device := f.made("POST", f.in(f.first, "/entities/"), fmt.Sprintf(`{"name":"sw-core","entity_type":"device","parent":null,"details":{"ipv4":"192.0.2.10"},"protocols":{"snmp":{"credential":"%d","bot":"%d","sensors":[{"sensor":"%d","interval":30},{"sensor":%d,"interval":null}]}}}`, credential, poller, load, rest))
	port := f.made("POST", f.in(f.first, "/entities/"), fmt.Sprintf(`{"name":"Gi0/1","entity_type":"interface","parent":%d,"details":{"snmp_index":"1","speed_bps":"1000000000"}}`, device))
	foreign := f.made("POST", f.in(f.first, "/entities"), fmt.Sprintf(`{"name":"theirs","entity_type":"device","details":{},"protocols":{"snmp":{"credential":%d,"bot":%d,"sensors":[{"sensor":%d,"interval":null}]}}}`, credential, other, load))
	walk := func() (all []string) {
		for _, path := range []string{"/api/accounts/", f.in(f.first, "/entities/"), f.in(f.first, fmt.Sprintf("/entities/%d", device)), f.in(f.first, fmt.Sprintf("/credentials/%d", credential)),
			f.in(f.first, fmt.Sprintf("/sensors/%d", load)), f.in(f.first, fmt.Sprintf("/sensors/%d", rest)), f.in(f.first, fmt.Sprintf("/entities/%d", foreign)), f.in(f.second, "/entities/")} {
			one := f.do(token, "GET", path, "").Body.String()
			for _, form := range []string{strings.TrimSuffix(path, "/"), strings.TrimSuffix(path, "/") + "/"} {
				if w := f.do(token, "GET", form, ""); w.Code != 200 || w.Body.String() != one {
					t.Errorf("GET %s: %d %s", form, w.Code, w.Body)
				}
			}
			all = append(all, one)
		}
		return all
	}
	once := walk()
	entity := fmt.Sprintf(`{"id":%d,"name":"sw-core","entity_type":"device","parent":null,"details":{"ipv4":"192.0.2.10"},"protocols":{"snmp":{"credential":%d,"bot":%d,"sensors":[{"sensor":%d,"interval":30},{"sensor":%d,"interval":null}]}}}`, device, credential, poller, load, rest)
	want := []string{
		fmt.Sprintf(`{"list":[{"id":%d,"name":"Airport"},{"id":%d,"name":"Harbour office"}]}`, f.second, f.first),
		fmt.Sprintf(`{"list":[%s,{"id":%d,"name":"Gi0/1","entity_type":"interface","parent":%d,"details":{"snmp_index":"1","speed_bps":"1000000000"},"protocols":{}},{"id":%d,"name":"theirs","entity_type":"device","parent":null,"details":{},"protocols":{"snmp":{"credential":%d,"bot":%d,"sensors":[{"sensor":%d,"interval":null}]}}}]}`, entity, port, device, foreign, credential, other, load),
		entity,
		fmt.Sprintf(`{"id":%d,"name":"ro v2","protocol":"snmp","details":{"version":"snmpv2c","snmpv12_community":"lab-ro"}}`, credential),
		fmt.Sprintf(`{"id":%d,"name":"load","protocol":"snmp","default_interval":60,"details":{"oids":[{"oid":"1.3.6.1.4.1.2021.10.1.5.1","fetch_method":"get"}],"expression":"$1 / 100","output_path":"load.1m"}}`, load),
		fmt.Sprintf(`{"id":%d,"name":"rest","protocol":"snmp","default_interval":300,"details":{}}`, rest),
	}
	if diff := cmp.Diff(want, once[:6]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(once, walk()); diff != "" {
		t.Error(diff)
	}

	// 5 and 6: lists of the three bots.
	f.want(204, token, "POST", f.in(f.first, "/values/"), `[{"p":"entity.311.ping.p0.ok","v":1.0},{"p":"entity.311.ping.p0.rtt","v":"7.01e-04"},{"p":"netflow.1min.egress","v":"210000"},{"p":"big","v":12345678901234567890},{"p":"big","v":7}]`, "")
	f.want(200, token, "GET", f.in(f.first, "/values/entity.311.ping.p0.rtt"), "", `{"paths":{"entity.311.ping.p0.rtt":{"next_data_point":null,"data":[{"t":1718020800.0,"v":0.000701}]}}}`)
	f.want(200, token, "GET", f.in(f.first, "/values/big/"), "", `{"paths":{"big":{"next_data_point":null,"data":[{"t":1718020800.0,"v":7}]}}}`)
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf(`{"p":"many.%d","v":%d}`, i, i))
	}
	f.want(204, token, "POST", f.in(f.first, "/values"), "["+strings.Join(many, ",")+"]", "")
	f.want(200, token, "GET", f.in(f.first, "/topvalues?f=many.*&n=2"), "", `{"t":1718020800.0,"total":12497500,"list":[{"p":"many.4999","v":4999},{"p":"many.4998","v":4998}]}`)

	// 7: what the SNMP bot does with interfaces, and the suggestion of the NetFlow bot.
	f.want(200, token, "GET", f.in(f.first, fmt.Sprintf("/entities/?parent=%d&entity_type=interface", device)), "", fmt.Sprintf(`{"list":[{"id":%d,"name":"Gi0/1","entity_type":"interface","parent":%d,"details":{"snmp_index":"1","speed_bps":"1000000000"},"protocols":{}}]}`, port, device))
	f.want(204, token, "PUT", f.in(f.first, fmt.Sprintf("/entities/%d/", port)), `{"name":"Gi0/1","entity_type":"interface","details":{"snmp_index":"1","speed_bps":"100"}}`, "")
	f.want(200, token, "GET", f.in(f.first, fmt.Sprintf("/entities/%d", port)), "", fmt.Sprintf(`{"id":%d,"name":"Gi0/1","entity_type":"interface","parent":%d,"details":{"snmp_index":"1","speed_bps":"100"},"protocols":{}}`, port, device))
	f.want(204, token, "DELETE", f.in(f.first, fmt.Sprintf("/entities/%d/", port)), "", "")
	f.want(404, token, "GET", f.in(f.first, fmt.Sprintf("/entities/%d", port)), "", `{"detail":"No such entity"}`)
	f.want(201, token, "POST", f.in(f.second, "/entities/"), `{"name":"192.0.2.1 (NetFlow exporter)","entity_type":"device","details":{"ipv4":"192.0.2.1"}}`, "")

	// 9: removing a sensor shows at the next walk.
	f.want(204, f.root, "DELETE", f.in(f.first, fmt.Sprintf("/sensors/%d", rest)), "", "")
	f.want(200, token, "GET", f.in(f.first, fmt.Sprintf("/entities/%d", device)), "", strings.Replace(entity, fmt.Sprintf(`,{"sensor":%d,"interval":null}`, rest), "", 1))

	// 10: nothing is answered with 200 while the inventory is unavailable.
	f.inventory.Close()
	for _, path := range []string{"/api/accounts/", "/api/profile/", f.in(f.first, "/entities/"), "/api/status/info"} {
		w := f.do(token, "GET", path, "")
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

func (f *fixture) inserted(bot int64) int64 {
	b, err := f.inventory.Bot(f.Context(), nil, bot)
	if err != nil {
		f.Fatal(err)
	}
	return b.InsertTime
}

// lastLogin makes the bot known first, because the answer says when it came last.
func (f *fixture) lastLogin(bot int64) int64 {
	token, err := f.inventory.Token(f.Context(), nil, bot)
	if err != nil {
		f.Fatal(err)
	}
	f.do(token, "GET", "/api/profile", "")
	b, err := f.inventory.Bot(f.Context(), nil, bot)
	if err != nil {
		f.Fatal(err)
	}
	return *b.LastLogin
}

// TestWriting has section 3: forms of requests, paths, values and answers.
func TestWriting(t *testing.T) {
	f := newFixture(t)
	_, token := f.bot(`null`, fmt.Sprintf(`{"resource_prefix":"accounts/%d/values","methods":["POST","PUT"]}`, f.first))
	path := f.in(f.first, "/values/")
	post := func(status int, body, answer string) { t.Helper(); f.want(status, token, "POST", path, body, answer) }
	put := func(status int, body, answer string) { t.Helper(); f.want(status, token, "PUT", path, body, answer) }
	post(204, `{"a.b":1.5,"a.c":"2","a.d":true,"a.b":3}`, "")
	post(204, `[{"p":"x","v":" 1e3 ","t":null,"more":[]},{"p":"x","v":-0.5,"t":0}]`, "")
	f.want(204, token, "POST", path+"?p=q.1&v=57.3", "", "")
	f.want(204, token, "POST", path+"?p=q.2&v=57.3", "[]", "")
	f.want(400, token, "POST", path+"?p=q.2&v=57.3&t=1718000000", "", `{"detail":"Parameter 't' shouldn't be specified with POST"}`)
	f.want(400, token, "POST", path+"?p=q.2&v=57.3", `[{"p":"a","v":1}]`, "")
	post(400, `[{"p":"a","v":1,"t":1718000000}]`, `{"detail":"Parameter 't' shouldn't be specified with POST"}`)
	for _, empty := range []string{"", "[]", "{}"} {
		post(400, empty, `{"detail":"Missing data"}`)
	}
	put(204, "[]", "")
	put(204, `[{"p":"h","v":1,"t":1718000000.75},{"p":"h","v":2,"t":"1718000060.123456"},{"p":"h","v":3,"t":1718000060}]`, "")
	for _, t := range []string{"", `,"t":null`, `,"t":"01718000000"`, `,"t":"1"`, `,"t":"17180000001"`, `,"t":"1718000000.1234567"`, `,"t":"1718000000."`, `,"t":1718000000000`, `,"t":-5`, `,"t":[]`, `,"t":"x"`} {
		put(400, `[{"p":"h","v":1`+t+`}]`, "")
	}
	for _, bad := range []string{"", ".a", "a.", "a..b", "a b", "a/b", "a:b", "a,b", "a%2Eb", "ä", "system.x"} {
		post(400, `[{"p":"good","v":1},{"p":`+strconv.Quote(bad)+`,"v":1}]`, "Input validation failed: Invalid PathInputValue format: "+bad)
	}
	for _, bad := range []string{"null", `"abc"`, "[]", "{}", `"0x10"`, `"1_000"`, `"NaN"`, `"inf"`, `"Infinity"`, `""`, `"1e999"`, "1e999"} {
		w := f.do(token, "POST", path, `[{"p":"good","v":1},{"p":"bad","v":`+bad+`}]`)
		if w.Code != 400 || !strings.HasPrefix(w.Body.String(), "Input validation failed: Invalid ") && !strings.Contains(w.Body.String(), "the body is not JSON") {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
	for _, bad := range []string{"null", "5", `"x"`, "[5]", `[{"p":"a"}]`, `[{"v":1}]`, `[{"p":"a","v":NaN}]`, `[{"p":"a","v":1}`, `[] []`, `[{"p":5,"v":1}]`, `{"a":}`} {
		if w := f.do(token, "POST", path, bad); w.Code != 400 {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
	f.want(200, f.root, "GET", f.in(f.first, "/values/good"), "", `{"paths":{"good":{"next_data_point":null,"data":[]}}}`)
	w := f.do(token, "POST", path, `[{"p":"a..b","v":1}]`, "Content-Type", "text/plain")
	if !strings.HasPrefix(w.Body.String(), "Input validation failed: Invalid PathInputValue format: a..b (the header ") {
		t.Error(w.Body)
	}

	w = f.do(f.root, "POST", f.in(99, "/values/"), `[{"p":"a","v":1}]`)
	if w.Code != 400 || w.Body.String() != `{"detail":"Invalid input format"}` {
		t.Error(w.Code, w.Body)
	}
	f.want(403, token, "POST", f.in(f.second, "/values/"), `[{"p":"a","v":1}]`, "Access to resource denied, insufficient permissions")
	f.want(401, "", "POST", path, `[{"p":"a","v":1}]`, "Access denied")

	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	io.WriteString(zip, `[{"p":"packed","v":1}]`)
	zip.Close()
	if w := f.do(token, "POST", path, packed.String(), "Content-Encoding", "gzip"); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	for _, c := range [][2]string{{"gzip", "not packed"}, {"br", "x"}} {
		if w := f.do(token, "POST", path, c[1], "Content-Encoding", c[0]); w.Code != 400 && w.Code != 415 {
			t.Error(w.Code, w.Body)
		}
	}
	packed.Reset()
	zip = gzip.NewWriter(&packed)
	io.WriteString(zip, "["+strings.Repeat(" ", maxValues+10)+"]")
	zip.Close()
	if w := f.do(token, "POST", path, packed.String(), "Content-Encoding", "gzip"); w.Code != 413 {
		t.Error(w.Code, w.Body)
	}
	post(413, "["+strings.Repeat(`{"p":"a","v":1},`, maxItems)+`{"p":"a","v":1}]`, "")

	get := func(p, want string) {
		t.Helper()
		w := f.do(f.root, "GET", f.in(f.first, "/values/"+p), "")
		if got, _ := strings.CutSuffix(w.Body.String(), "]}}}"); !strings.HasSuffix(got, `"data":[`+want) {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
	get("a.b", `{"t":1718020800.0,"v":3}`)
	get("x", `{"t":1718020800.0,"v":-0.5}`)
	get("q.1", `{"t":1718020800.0,"v":57.3}`)
	get("packed", `{"t":1718020800.0,"v":1}`)
	get("h", `{"t":1718000000.0,"v":1},{"t":1718000060.0,"v":3}`)
	if got := f.ledger; got == nil {
		t.Error("there are no books")
	}
}

// refusing refuses some of what it gets, or all.
type refusing struct {
	memory.Driver
	err error
}

// Append implements timeseries.Driver.
func (r *refusing) Append(context.Context, []timeseries.Point) error { return r.err }

// TestRefused has a driver that cannot store values, and one that does not want them.
func TestRefused(t *testing.T) {
	f := newFixture(t)
	driver := &refusing{}
	f.driver = driver
	for _, c := range []struct {
		err    error
		status int
		answer string
	}{
		{errors.New("the disk is on fire"), 503, "Service unavailable"},
		{&timeseries.AppendError{Refused: 1, First: timeseries.ErrFull}, 503, "Service unavailable"},
		{&timeseries.AppendError{Refused: 1, First: errors.New("too old")}, 400, `{"detail":"1 of 2 values are not stored: too old"}`},
	} {
		driver.err = c.err
		f.want(c.status, f.root, "POST", f.in(f.first, "/values"), `{"a":1,"b":2}`, c.answer)
	}
	f.driver = nil
	f.want(503, f.root, "POST", f.in(f.first, "/values"), `{"a":1}`, "Service unavailable")
}

// TestReading has section 4.6 and the examples of section 6.
func TestReading(t *testing.T) {
	f := newFixture(t)
	f.clock = 1330010000
	f.do(f.root, "POST", "/api/auth/refresh", "")
	w := f.do("", "POST", "/api/auth/login", `{"username":"root","password":"a good password"}`)
	f.root = w.Header().Get("X-JWT-Token")
	var items []string
	for i := int64(0); i <= 10; i++ {
		items = append(items, fmt.Sprintf(`{"p":"a.b","t":%d,"v":%d}`, 1330002160+60*i, i))
	}
	f.want(204, f.root, "PUT", f.in(f.first, "/values/"), "["+strings.Join(items, ",")+`,{"p":"c%2ed","t":1330002160,"v":5}]`, "")
	get := func(query, want string) {
		t.Helper()
		f.want(200, f.root, "GET", f.in(f.first, "/values/a.b"+query), "", `{"paths":{"a.b":`+want+`}}`)
	}
	get("?t0=1330002700&t1=1330002720", `{"next_data_point":null,"data":[{"t":1330002700.0,"v":9}]}`)
	get("?t0=1330002640.5&t1=1330002720.9", `{"next_data_point":null,"data":[{"t":1330002700.0,"v":9}]}`)
	get("?limit=2", `{"next_data_point":1330002280.0,"data":[{"t":1330002160.0,"v":0},{"t":1330002220.0,"v":1}]}`)
	get("?limit=1&sort=desc", `{"next_data_point":1330002700.0,"data":[{"t":1330002760.0,"v":10}]}`)
	get("?limit=0", `{"next_data_point":1330002160.0,"data":[]}`)
	f.want(200, f.root, "GET", f.in(f.first, "/values/c%252ed"), "", `{"paths":{"c%2ed":{"next_data_point":null,"data":[{"t":1330002160.0,"v":5}]}}}`)
	f.want(200, f.root, "GET", f.in(f.second, "/values/a.b"), "", `{"paths":{"a.b":{"next_data_point":null,"data":[]}}}`)

	ask := func(what, body, want string) {
		t.Helper()
		f.want(200, f.root, "POST", f.in(f.first, "/"+what), body, want)
	}
	ask("getvalues", `{"p":"a.b,no","t0":1330002760,"t1":1330009999,"sort":"asc","limit":5}`, `{"paths":{"a.b":{"next_data_point":null,"data":[{"t":1330002760.0,"v":10}]},"no":{"next_data_point":null,"data":[]}}}`)
	ask("getvalues", `{"p":"a.b,c%2ed","t0":"1330002760,1330002170","t1":"1330009999"}`, `{"paths":{"a.b":{"next_data_point":null,"data":[{"t":1330002760.0,"v":10}]},"c%2ed":{"next_data_point":null,"data":[]}}}`)
	for level, middle := range map[int]int64{0: 1330003800, 2: 1330003800, 6: 1328707800} {
		whole := fmt.Sprintf(`{"paths":{"a.b":{"next_data_point":null,"data":[{"t":%d.0,"v":5,"minv":0,"maxv":10}]}}}`, middle)
		ask("getaggrvalues", fmt.Sprintf(`{"p":"a.b","a":%d}`, level), whole)
		begin := middle - bucketWidth(level)/2
		ask("getaggrvalues", fmt.Sprintf(`{"p":"a.b","t0":%d,"t1":%d,"a":"%d"}`, begin, begin, level), whole)
		ask("getaggrvalues", fmt.Sprintf(`{"p":"a.b","t0":%d,"a":%d}`, middle, level), whole) // what next_data_point may have been
		ask("getaggrvalues", fmt.Sprintf(`{"p":"a.b","t0":%d,"a":%d}`, begin+1, level), `{"paths":{"a.b":{"next_data_point":null,"data":[]}}}`)
		ask("getaggrvalues", fmt.Sprintf(`{"p":"a.b","t1":%d,"a":%d}`, begin-1, level), `{"paths":{"a.b":{"next_data_point":null,"data":[]}}}`)
	}
	bad := func(body, want string) {
		t.Helper()
		f.want(400, f.root, "POST", f.in(f.first, "/getaggrvalues"), body, `{"detail":"`+want+`"}`)
	}
	bad(`{"a":0}`, "Path(s) not specified")
	bad(`{"p":"a..b","a":0}`, "Path(s) not specified correctly")
	bad(`{"p":"a","t0":0,"a":0}`, "Error parsing t0")
	bad(`{"p":"a,b","t0":"10,20,30","a":0}`, "Error parsing t0")
	bad(`{"p":"a","t1":"x","a":0}`, "Error parsing t1")
	bad(`{"p":"a","limit":100001,"a":0}`, "Invalid parameter: limit")
	bad(`{"p":"a","limit":"x","a":0}`, "Invalid parameter: limit")
	bad(`{"p":"a","sort":"up","a":0}`, "Invalid parameter: sort (should be 'asc' or 'desc')")
	bad(`{"p":"a"}`, "Invalid parameter: a")
	bad(`{"p":"a","a":7}`, "Invalid parameter a (should be a number in range from 0 to 6).")
	f.want(400, f.root, "GET", f.in(f.first, "/values/a,b"), "", `{"detail":"Only a single path is allowed"}`)
	f.want(404, f.root, "GET", f.in(99, "/values/a"), "", `{"detail":"No such account"}`)
}

// TestPaths has section 4.8, and topvalues, which must not see other accounts.
func TestPaths(t *testing.T) {
	f := newFixture(t)
	f.want(204, f.root, "POST", f.in(f.first, "/values"), `{"h.a":1,"h.b":2,"h.a.x":3,"hh":4,"k.%2e":5}`, "")
	f.want(204, f.root, "POST", f.in(f.second, "/values"), `{"h.secret":99}`, "")
	get := func(query, want string) {
		t.Helper()
		w := f.do(f.root, "GET", f.in(f.first, "/paths/?"+query), "")
		var answer struct {
			Paths, Trailing map[string][]pathJSON
			Limited         bool                  `json:"limit_reached"`
			More            map[string][]pathJSON `json:"paths_with_trailing"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
		var got []string
		for name, m := range map[string]map[string][]pathJSON{"": answer.Paths, "~": answer.More} {
			for filter, all := range m {
				line := name + filter + ":"
				for _, p := range all {
					line += " " + p.Path
					f.want(200, f.root, "GET", f.in(f.first, fmt.Sprintf("/paths/%d", p.ID)), "", `{"path":"`+p.Path+`"}`)
				}
				got = append(got, line)
			}
		}
		slices.Sort(got)
		if answer.Limited {
			got = append(got, "more")
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%s: %s, want %s", query, text, want)
		}
	}
	get("filter=h.*", "h.*: h.a h.a.x h.b")
	get("filter=h.%3F", "h.?: h.a h.b")
	get("filter=h.*,k.%3F,no", "h.*: h.a h.a.x h.b, k.?: k.%2e, no:")
	get("filter=*.x", "*.x: h.a.x")
	get("filter=h.*&limit=2", "h.*: h.a h.a.x, more")
	get("filter=no", "")
	get("", "")
	get("filter=h.&failover_trailing=true", "~h.: h.a h.a.x h.b")
	get("filter=h&failover_trailing=true", "~h: h.a h.a.x h.b hh")
	get("filter=h.a&failover_trailing=true", "h.a: h.a")
	for _, bad := range []string{"asdf*", "a..b", "a.%252e", "a-?"} {
		f.want(400, f.root, "GET", f.in(f.first, "/paths?filter="+bad), "", "")
	}
	f.want(200, f.root, "GET", f.in(f.first, "/topvalues?f=*&n=1"), "", `{"t":1718020800.0,"total":15,"list":[{"p":"k.%2e","v":5}]}`)
	f.want(200, f.root, "GET", f.in(f.first, "/topvalues?f=no.*"), "", `{"t":1718020800.0,"total":0,"list":[]}`)
	f.want(200, f.root, "GET", f.in(f.first, "/topvalues?f=*&t=1718000000"), "", `{"t":1718000000.0,"total":0,"list":[]}`)
	f.want(400, f.root, "GET", f.in(f.first, "/topvalues?n=1"), "", "")

	id := func(path string) int64 {
		n, err := f.inventory.PathID(f.Context(), f.first, path)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	a := f.in(f.first, fmt.Sprintf("/paths/%d", id("h.a")))
	f.want(409, f.root, "PUT", a, `{"path":"h.b"}`, "")
	f.want(204, f.root, "PUT", a, `{"path":"renamed"}`, "")
	get("filter=*", "*: h.a.x h.b hh k.%2e renamed")
	f.want(200, f.root, "GET", f.in(f.first, "/values/renamed"), "", `{"paths":{"renamed":{"next_data_point":null,"data":[{"t":1718020800.0,"v":1}]}}}`)
	f.want(204, f.root, "DELETE", a, "", "")
	get("filter=*", "*: h.a.x h.b hh k.%2e")
	f.want(404, f.root, "GET", a, "", `{"detail":"No such path"}`)
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		filter, path string
		want         bool
	}{
		{"a.*.d", "a.b.c.d", true}, {"a.*.d", "a.d", false}, {"*", "a.b", true}, {"?", "a.b", false}, {"*.b", "a.b.b", true}, {"*.?", "a", false}, {"*.*", "a.b.c", true},
		{"a.*.b.*.c", "a.x.b.b.c", true}, {"a.*.b.*.c", "a.b.b.c", false}, {"*.a.*.a.*.a", "a.a.a.a.a.b", false},
	} {
		f, err := parseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.matches(c.path); got != c.want {
			t.Errorf("%s and %s: %v", c.filter, c.path, got)
		}
	}
}

// TestSessions has persons who log in (section 4.1).
func TestSessions(t *testing.T) {
	f := newFixture(t)
	profile := `{"user_id":1,"user_type":"person","record":{"user_id":1,"name":"Root","username":"root","email":"r@example.org","timezone":"UTC"}}`
	f.want(200, f.root, "GET", "/api/profile", "", profile)
	f.want(200, f.root, "GET", "/api/profile/permissions/", "", `[{"id":1,"resource_prefix":null,"methods":null}]`)
	f.want(401, "", "POST", "/api/admin/first", `{"name":"Root","username":"root2","password":"a good password","email":"r@example.org"}`, "Access denied")
	f.clock += 601
	f.want(401, f.root, "GET", "/api/profile", "", "Access denied")
	w := f.do(f.root, "POST", "/api/auth/refresh", "")
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || answer["exp"] != float64(f.clock+600) || answer["user_id"] != 1.0 {
		t.Error(w.Code, w.Body)
	}
	f.want(200, w.Header().Get("X-JWT-Token"), "GET", "/api/profile", "", profile)
	f.clock += 600
	f.want(401, f.root, "POST", "/api/auth/refresh", "", `{"detail":"Access denied"}`)
	f.clock += 3 * 3600
	f.want(401, w.Header().Get("X-JWT-Token"), "POST", "/api/auth/refresh", "", `{"detail":"Access denied"}`)
	w = f.do("", "POST", "/api/auth/login", `{"username":"root","password":"a good password"}`)
	good := w.Header().Get("X-JWT-Token")
	if !strings.HasPrefix(good, "Bearer 2:") { // keys change
		t.Error(good)
	}
	_, token := f.botBy(good)
	for _, bad := range []string{good + "x", strings.Replace(good, "2:", "3:", 1), strings.Replace(good, "2:", "", 1), "Basic cm9vdDp4", "Bearer ", "Token " + token + "x",
		good[:strings.LastIndexByte(good, '.')] + ".", "Bearer 2:eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoxLCJleHAiOjk5OTk5OTk5OTl9."} {
		if w := f.do(bad, "GET", "/api/profile?b="+token, ""); w.Code != 401 { // the header wins over a token that is good
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
	f.want(200, "Token "+token, "GET", "/api/accounts", "", "")
	for _, c := range []struct {
		status int
		body   string
	}{{422, `{"username":"root"}`}, {422, `{"username":"root","password":5}`}, {422, `{"username":"root","password":"x","more":1}`}, {400, `[]`}, {401, `{"username":"no","password":"x"}`}} {
		f.want(c.status, "", "POST", "/api/auth/login", c.body, "")
	}
	for range loginsAtOnce {
		f.want(401, "", "POST", "/api/auth/login", `{"username":"root","password":"wrong"}`, `{"detail":"Invalid credentials"}`)
	}
	f.want(429, "", "POST", "/api/auth/login", `{"username":"root","password":"a good password"}`, "")
	f.clock += 60
	f.want(200, "", "POST", "/api/auth/login", `{"username":"root","password":"a good password"}`, "")
}

func (f *fixture) botBy(root string) (int64, string) {
	f.root = root
	return f.bot(`"ping"`, everything)
}

// TestPermissions gives and takes them (section 4.2).
func TestPermissions(t *testing.T) {
	f := newFixture(t)
	admin := f.made("POST", "/api/persons", `{"name":"A","username":"admin","password":"another password","email":"a@example.org","timezone":"Europe/Ljubljana"}`)
	f.made("POST", fmt.Sprintf("/api/persons/%d/permissions", admin), fmt.Sprintf(`{"resource_prefix":"/accounts/%d/","methods":["GET","POST"]}`, f.first))
	w := f.do("", "POST", "/api/auth/login", `{"username":"admin","password":"another password"}`)
	limited := w.Header().Get("X-JWT-Token")
	f.want(200, limited, "GET", "/api/accounts", "", fmt.Sprintf(`{"list":[{"id":%d,"name":"Harbour office"}]}`, f.first))
	f.want(403, limited, "GET", f.in(f.second, "/entities"), "", "")

	bots := f.in(f.first, "/bots")
	w = f.do(limited, "POST", bots+"/", `{"name":"mine","protocol":"ping","config":"{\"x\":1}"}`)
	var b inventory.Bot
	if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || w.Code != 201 || *b.Config != `{"x":1}` || *b.TiedToAccount != f.first {
		t.Fatal(w.Code, w.Body)
	}
	mine := fmt.Sprintf("%s/%d", bots, b.ID)
	w = f.do(limited, "POST", mine+"/permissions", fmt.Sprintf(`{"resource_prefix":"accounts/%d/values","methods":["POST"]}`, f.first))
	var given struct{ ID, UserID int64 }
	json.Unmarshal(w.Body.Bytes(), &given)
	if w.Code != 201 || w.Body.String() != fmt.Sprintf(`{"id":%d,"user_id":%d,"resource_prefix":"accounts/%d/values","methods":["POST"]}`, given.ID, b.ID, f.first) {
		t.Error(w.Code, w.Body)
	}
	for _, more := range []string{`{"resource_prefix":null,"methods":null}`, fmt.Sprintf(`{"resource_prefix":"accounts/%d","methods":["PUT"]}`, f.first), fmt.Sprintf(`{"resource_prefix":"accounts/%d","methods":["GET"]}`, f.second)} {
		f.want(403, limited, "POST", mine+"/permissions", more, "Access to resource denied, insufficient permissions")
	}
	for _, bad := range []string{`{"methods":null}`, `{"resource_prefix":"accounts"}`, `{"resource_prefix":"accounts","methods":[]}`, `{"resource_prefix":"accounts","methods":["PATCH"]}`, `{"resource_prefix":"accounts","methods":["GET","GET"]}`, `{"resource_prefix":"accounts","methods":"GET"}`, `{"resource_prefix":"x","methods":null,"y":1}`} {
		f.want(400, f.root, "POST", mine+"/permissions", bad, "")
	}
	f.want(200, limited, "GET", mine+"/token", "", "")
	f.made("POST", fmt.Sprintf("/api/bots/%d/permissions", f.made("POST", "/api/bots", `{"name":"x"}`)), everything)
	f.made("POST", mine+"/permissions", everything)
	f.want(403, limited, "GET", mine+"/token", "", "") // the bot may do more than who asks
	f.want(403, limited, "DELETE", fmt.Sprintf("%s/permissions/%d", mine, given.ID), "", "")
	f.want(403, f.root, "POST", "/api/users/1/permissions", `{"resource_prefix":null,"methods":null}`, "")
	f.want(403, f.root, "DELETE", "/api/users/1/permissions/1", "", "")
	f.want(404, f.root, "DELETE", fmt.Sprintf("%s/permissions/99", mine), "", `{"detail":"No such permission"}`)
	f.want(204, f.root, "DELETE", fmt.Sprintf("%s/permissions/%d", mine, given.ID), "", "")
	f.want(400, f.root, "POST", "/api/bots/99/permissions", everything, "")
	f.want(404, f.root, "GET", fmt.Sprintf("/api/accounts/%d/bots/%d", f.second, b.ID), "", `{"detail":"No such bot"}`)
	f.want(404, f.root, "GET", fmt.Sprintf("/api/bots/%d", b.ID), "", `{"detail":"No such bot"}`)
	f.want(403, f.root, "DELETE", "/api/persons/1", "", "")
	f.want(204, f.root, "PUT", mine, `{"name":"renamed","protocol":null,"config":null}`, "")
	f.want(204, f.root, "DELETE", mine+"/", "", "")
	f.want(200, limited, "GET", "/api/bots", "", "")
	f.want(400, f.root, "POST", fmt.Sprintf("/api/persons/%d/password", admin), `{"old_password":"wrong","new_password":"the newest password"}`, `{"detail":"Invalid old password"}`)
	f.want(204, f.root, "POST", fmt.Sprintf("/api/persons/%d/password", admin), `{"old_password":"another password","new_password":"the newest password"}`, "")
	f.want(204, f.root, "PUT", fmt.Sprintf("/api/persons/%d", admin), `{"name":"A","username":"admin2","email":"a@example.org"}`, "")
	f.want(200, f.root, "GET", fmt.Sprintf("/api/users/%d", admin), "", fmt.Sprintf(`{"user_id":%d,"name":"A","username":"admin2","email":"a@example.org","timezone":"UTC"}`, admin))
	f.want(204, f.root, "DELETE", fmt.Sprintf("/api/persons/%d", admin), "", "")
	f.want(401, limited, "GET", "/api/profile", "", "Access denied")
}

// TestMatrix asks for every resource without a token, with a wrong one, as a bot of another
// account, as one that may only read, and as one that may do everything.
func TestMatrix(t *testing.T) {
	f := newFixture(t)
	_, other := f.bot(`"snmp"`, fmt.Sprintf(`{"resource_prefix":"accounts/%d","methods":null}`, f.second))
	_, reader := f.bot(`"snmp"`, `{"resource_prefix":null,"methods":["GET"]}`)
	_, admin := f.bot(`"snmp"`, `{"resource_prefix":null,"methods":null}`)
	open := map[string]bool{"GET status/info": true, "POST admin/first": true, "POST admin/migratedb": true, "POST auth/login": true, "POST auth/refresh": true}
	free := map[string]bool{"GET profile": true, "GET profile/permissions": true, "GET accounts": true, "GET bots": true}
	asked := 0
	for _, route := range routes {
		resource := strings.Replace(route.pattern, "{}", strconv.FormatInt(f.first, 10), 1)
		resource = strings.ReplaceAll(resource, "{}", "999")
		for _, method := range inventory.Methods {
			if route.methods[method] == nil {
				f.want(405, admin, method, "/api/"+resource, "", `{"detail":"Method Not Allowed"}`)
				continue
			}
			key := method + " " + route.pattern
			for _, who := range []struct {
				name, token string
				may         bool
				refusal     int
			}{
				{"nobody", "", open[key], 401}, {"a wrong token", "5f0c9e6e-57c4-4b11-9f5d-4c1e8f6c1a11", open[key], 401},
				{"another account", other, open[key] || free[key], 403}, {"a reader", reader, open[key] || method == "GET", 403}, {"an admin", admin, true, 0},
			} {
				asked++
				w := f.do(who.token, method, "/api/"+resource, "")
				refused := w.Code == 401 && !(open[key]) || w.Code == 403
				if key == "GET bots/{}/token" || key == "GET accounts/{}/bots/{}/token" {
					refused = refused && w.Body.String() == errForbidden.text || w.Code == 401
				}
				if refused == who.may || refused && w.Code != who.refusal {
					t.Errorf("%s by %s: %d %s", key, who.name, w.Code, w.Body)
				}
			}
		}
	}
	if asked < 300 {
		t.Errorf("only %d requests", asked)
	}
	f.want(404, admin, "GET", "/api/accounts/1/nothing", "", `{"detail":"Not Found"}`)
	f.want(401, "", "GET", "/api/accounts/1/nothing", "", "Access denied")
	for _, id := range []string{"0", "-1", "x", "99999999999", "01", "2147483648"} {
		f.want(404, admin, "GET", "/api/accounts/"+id, "", `{"detail":"No such account"}`)
	}
	if w := f.do(admin, http.MethodHead, "/api/accounts", ""); w.Code != 200 {
		t.Error(w.Code)
	}
}

// TestInput has section 4.5.
func TestInput(t *testing.T) {
	f := newFixture(t)
	post := func(what, body string, status int) {
		t.Helper()
		f.want(status, f.root, "POST", f.in(f.first, "/"+what), body, "")
	}
	for _, bad := range []string{`{"name":"x","protocol":"snmp"}`, `{"name":"x","protocol":"snmp","details":{},"id":5}`, `{"name":5,"protocol":"snmp","details":{}}`, `{"name":"","protocol":"snmp","details":{}}`, `[]`, `null`, `{`} {
		post("credentials", bad, 400)
	}
	for _, bad := range []string{`{"name":"x","protocol":"snmp","details":{}}`, `{"name":"x","protocol":"snmp","details":{},"default_interval":0}`, `{"name":"x","protocol":"snmp","details":{},"default_interval":"60"}`, `{"name":"x","protocol":"snmp","details":{},"default_interval":-1}`} {
		post("sensors", bad, 400)
	}
	post("sensors", `{"name":"x","protocol":"snmp","details":{},"default_interval":null}`, 201)
	post("sensors", `{"name":"x","protocol":"snmp","details":{},"default_interval":null}`, 409)
	protocols := func(p string) string {
		return `{"name":"x","entity_type":"device","details":{},"protocols":{"ping":` + p + `}}`
	}
	bot, _ := f.bot(`"ping"`, everything)
	good := fmt.Sprintf(`{"credential":1,"bot":%d,"sensors":[{"sensor":1,"interval":null}]}`, bot)
	post("entities", protocols(good), 201)
	post("entities", protocols(strings.Replace(good, `,"interval":null`, "", 1)), 201)
	for _, bad := range []string{`{}`, strings.Replace(good, `"credential":1`, `"credential":null`, 1), strings.Replace(good, fmt.Sprint(bot), "null", 1), strings.Replace(good, `"sensor":1`, `"sensor":2`, 1), strings.Replace(good, "null", `"30"`, 1),
		strings.Replace(good, "null", "0.5", 1), strings.Replace(good, `}]`, `},{"sensor":1,"interval":5}]`, 1), strings.Replace(good, `"credential":1`, `"credential":"x"`, 1), strings.Replace(good, "}]}", `}],"more":1}`, 1), strings.Replace(good, "}]", `,"more":1}]`, 1)} {
		post("entities", protocols(bad), 400)
	}
	post("entities", `{"name":"x","entity_type":"device","details":{},"parent":99}`, 400)
	post("entities", `{"name":"x","entity_type":"device","details":{},"protocols":[]}`, 400)
	f.want(404, f.root, "POST", f.in(99, "/entities"), protocols(good), `{"detail":"No such account"}`)
	f.want(422, f.root, "POST", "/api/admin/accounts", `{"name":"x","id":5}`, "")
	f.want(422, f.root, "POST", "/api/admin/accounts", `{}`, "")
	f.want(204, f.root, "PUT", f.in(f.first, ""), `{"name":"Harbour"}`, "")
	f.want(200, f.root, "GET", "/api/admin/accounts", "", "")
	f.want(413, f.root, "POST", f.in(f.first, "/entities"), `{"name":"`+strings.Repeat("x", maxBody)+`"}`, "")
}

// FuzzServer sends bodies to everything that reads one.
func FuzzServer(f *testing.F) {
	f.Add("POST", "/api/accounts/1/values", `[{"p":"a","v":1}]`)
	f.Add("PUT", "/api/accounts/1/values", `[{"p":"a","v":"1","t":"1718000000.5"}]`)
	f.Add("POST", "/api/accounts/1/entities", `{"name":"x","entity_type":"device","details":{}}`)
	f.Add("POST", "/api/accounts/1/getaggrvalues", `{"p":"a,b","t0":"1,2","a":3}`)
	f.Add("GET", "/api/accounts/1/paths?filter=*.a.?", "")
	in := inventory.New(inventory.Config{Path: filepath.Join(f.TempDir(), "inventory.db"), Secret: "long enough for a test"}, slog.New(slog.DiscardHandler))
	defer in.Close()
	s := New(Config{Inventory: in, Driver: &memory.Driver{}, Registry: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	id, err := in.AddBot(f.Context(), &inventory.Bot{Name: "b"})
	if err != nil {
		f.Fatal(err)
	}
	in.AddPermission(f.Context(), id, &inventory.Permission{})
	in.AddAccount(f.Context(), "a")
	token, _ := in.Token(f.Context(), nil, id)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		r, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/api/persons") {
			return
		}
		r.Header.Set("Authorization", "Token "+token)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %s %s: %d %s", method, target, body, w.Code, w.Body)
		}
	})
}
