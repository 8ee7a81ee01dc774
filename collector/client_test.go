package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// server is as much of the REST API as a bot needs.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	answers  map[string]string // "GET /profile/" to JSON
	asked    []string
	status   int                    // of values, 0 for storing them
	refuse   string                 // path for which values are answered with 400
	stored   map[string]json.Number // "ACCOUNT PATH@TIME" to value
	requests int
}

const token = "5f0c9e6e-57c4-4b11-9f5d-4c1e8f6c1a11"

func newServer(t *testing.T) *server {
	s := &server{answers: map[string]string{"/profile/": `{"user_id":88,"user_type":"bot","record":{"id":88}}`}, stored: make(map[string]json.Number)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	return s
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("Authorization") != "Token "+token {
		http.Error(w, "Access denied", http.StatusUnauthorized)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/api")
	if r.Method == http.MethodGet {
		s.asked = append(s.asked, path)
		if answer, ok := s.answers[path]; ok {
			io.WriteString(w, answer)
		} else {
			http.Error(w, `{"detail":"No such thing"}`, http.StatusNotFound)
		}
		return
	}
	s.requests++
	var account int64
	if _, err := fmt.Sscanf(path, "/accounts/%d/values/", &account); err != nil || r.Method != http.MethodPut {
		http.Error(w, "what?", http.StatusMethodNotAllowed)
		return
	}
	var values []struct {
		P string      `json:"p"`
		T json.Number `json:"t"`
		V json.Number `json:"v"`
	}
	if s.status != 0 {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "not now", s.status)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&values); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, v := range values {
		if v.P == s.refuse {
			http.Error(w, "Input validation failed: "+v.P, http.StatusBadRequest)
			return
		}
	}
	for _, v := range values {
		s.stored[fmt.Sprintf("%d %s@%s", account, v.P, v.T)] = v.V
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// has waits until the server has so many values.
func (s *server) has(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		got := len(s.stored)
		s.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server has %d values, not %d", got, n)
		}
	}
}

func (s *server) dial(t *testing.T, spool string, most int64) *Client {
	t.Helper()
	c, err := Dial(t.Context(), ClientConfig{URL: s.URL + "/api/", Token: token, Spool: spool, MaxSpool: most, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func balanced(t *testing.T, c *Client) ClientStats {
	t.Helper()
	s := c.Stats()
	if s.Taken != s.Delivered+s.Waiting+s.Refused+s.Dropped {
		t.Errorf("the figures do not fit: %+v", s)
	}
	return s
}

func TestDial(t *testing.T) {
	s := newServer(t)
	c := s.dial(t, "", 0)
	if c.UserID() != 88 {
		t.Errorf("the bot is %d", c.UserID())
	}
	c.Close()
	for _, config := range []ClientConfig{{URL: "127.0.0.1:8088", Token: "x"}, {URL: "http://127.0.0.1/api?b=x", Token: "x"}, {URL: s.URL}, {URL: s.URL + "/api", Token: "wrong"}} {
		c, err := Dial(t.Context(), config)
		if err == nil {
			c.Close()
			t.Errorf("%+v is good", config)
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("%v shows the token", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s.Close()
	if _, err := Dial(ctx, ClientConfig{URL: s.URL, Token: token, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.HasPrefix(err.Error(), "cannot find out who the bot is: cannot GET /profile/: ") {
		t.Error(err)
	}
}

// TestFetchJobConfigs is the worked example of section 2.
func TestFetchJobConfigs(t *testing.T) {
	s := newServer(t)
	switchCore := `{"id":311,"name":"sw-core","entity_type":"device","parent":null,"details":{"ipv4":"192.0.2.10"},"protocols":{"snmp":{"credential":12,"bot":88,"sensors":[{"sensor":40,"interval":30},{"sensor":41,"interval":null},{"sensor":42,"interval":5}]}}}`
	device := func(id int, protocols string) string {
		return fmt.Sprintf(`{"id":%d,"name":"d","entity_type":"device","parent":null,"details":{},"protocols":{%s}}`, id, protocols)
	}
	others := []string{
		device(320, ``), device(321, `"snmp":{"credential":12,"bot":89,"sensors":[{"sensor":40,"interval":1}]}`), device(322, `"snmp":{"credential":null,"bot":88,"sensors":[{"sensor":40,"interval":1}]}`),
		device(323, `"snmp":{"credential":12,"bot":88,"sensors":[]}`), device(324, `"ping":{"credential":12,"bot":88,"sensors":[{"sensor":40,"interval":1}]}`),
		device(325, `"snmp":{"credential":12,"bot":null,"sensors":[{"sensor":43,"interval":null}]}`), device(326, `"snmp":{"credential":13,"bot":88,"sensors":[{"sensor":40,"interval":1}]}`),
	}
	s.answers["/accounts/"] = `{"list":[{"id":7421,"name":"Harbour office"}]}`
	s.answers["/accounts/7421/entities/"] = `{"list":[` + strings.Join(append([]string{switchCore, `{"id":312,"name":"Gi0/1","entity_type":"interface","parent":311,"details":{},"protocols":{}}`, device(319, "")}, others...), ",") + `]}`
	s.answers["/accounts/7421/entities/311"] = switchCore
	for i, other := range others {
		s.answers[fmt.Sprintf("/accounts/7421/entities/%d", 320+i)] = other
	}
	s.answers["/accounts/7421/credentials/12"] = `{"id":12,"name":"ro v2","protocol":"snmp","details":{"version":"snmpv2c","snmpv12_community":"lab-ro"}}`
	s.answers["/accounts/7421/sensors/40"] = `{"id":40,"name":"load","protocol":"snmp","default_interval":60,"details":{"oids":[]}}`
	s.answers["/accounts/7421/sensors/41"] = `{"id":41,"name":"x","protocol":"snmp","default_interval":300,"details":{}}`
	s.answers["/accounts/7421/sensors/43"] = `{"id":43,"name":"y","protocol":"snmp","default_interval":null,"details":{}}`
	c := s.dial(t, "", 0)
	defer c.Close()
	s.asked = nil
	var got []string
	for config, err := range c.FetchJobConfigs(t.Context(), "snmp") {
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
	}
	if diff := cmp.Diff([]string{
		`{"account_id":7421,"entity_id":311,"name":"sw-core","entity_type":"device","parent":null,"details":{"ipv4":"192.0.2.10"},"credential_details":{"version":"snmpv2c","snmpv12_community":"lab-ro"},"sensors":[{"sensor_id":40,"interval":30,"sensor_details":{"oids":[]}},{"sensor_id":41,"interval":300,"sensor_details":{}}]}`,
		`{"account_id":7421,"entity_id":325,"name":"d","entity_type":"device","parent":null,"details":{},"credential_details":{"version":"snmpv2c","snmpv12_community":"lab-ro"},"sensors":[{"sensor_id":43,"interval":null,"sensor_details":{}}]}`,
	}, got); diff != "" {
		t.Error(diff)
	}
	below := func(parts ...string) (all []string) {
		for _, part := range parts {
			all = append(all, "/accounts/7421/"+part)
		}
		return all
	}
	want := append([]string{"/accounts/"}, below("entities/", "entities/311", "credentials/12", "sensors/40", "sensors/41", "sensors/42", "entities/319", "entities/320", "entities/321", "entities/322",
		"entities/323", "entities/324", "entities/325", "credentials/12", "sensors/43", "entities/326", "credentials/13")...)
	if diff := cmp.Diff(want, s.asked); diff != "" {
		t.Error(diff)
	}
	for range c.FetchJobConfigs(t.Context(), "snmp") {
		break
	}
	s.set(func() { s.answers["/accounts/7421/sensors/40"] = "}" })
	var failure error
	for _, err := range c.FetchJobConfigs(t.Context(), "snmp") {
		failure = errors.Join(failure, err)
	}
	if failure == nil || !strings.HasPrefix(failure.Error(), "cannot read the answer to GET /accounts/7421/sensors/40: ") {
		t.Error(failure)
	}
}

func TestDenied(t *testing.T) {
	s := newServer(t)
	s.answers["/accounts/"] = `{"list":[]}`
	c := s.dial(t, "", 0)
	defer c.Close()
	c.config.Token = "revoked"
	ask := func() (failure error) {
		for _, err := range c.FetchJobConfigs(t.Context(), "snmp") {
			failure = err
		}
		return failure
	}
	if err := ask(); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	c.deniedSince.Store(time.Now().Add(-deniedPatience).UnixNano())
	if err := ask(); err != nil { // long enough: there is nothing to do any more
		t.Error(err)
	}
	c.config.Token = token
	if err := ask(); err != nil || c.deniedSince.Load() != 0 {
		t.Error(err, c.deniedSince.Load())
	}
}

func TestSendResults(t *testing.T) {
	s := newServer(t)
	c := s.dial(t, "", 0)
	defer c.Close()
	at := time.Unix(1718000000, 123456789)
	err := c.SendResults(t.Context(), 7, []Value{{Path: "a.b", Value: 1.5, Time: at}, {Path: "a..b", Value: 1, Time: at}, {Path: "c%2ed", Value: math.NaN()}, {Path: "c%2ed", Value: 1e300, Time: at}})
	if err == nil || err.Error() != `cannot send 2 of 4 values: the path "a..b" has an empty segment` {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]json.Number{"7 a.b@1718000000.123456": "1.5", "7 c%2ed@1718000000.123456": "1e+300"}, s.stored); diff != "" {
		t.Error(diff)
	}
	if err := c.SendResults(t.Context(), 7, nil); err != nil || s.requests != 1 {
		t.Error(err, s.requests)
	}
	s.set(func() { s.status = 503 })
	if err := c.SendResults(t.Context(), 7, []Value{{Path: "lost", Value: 1}}); err == nil || strings.Contains(err.Error(), token) {
		t.Error(err)
	}
	if got := balanced(t, c); got.Delivered != 2 || got.Dropped != 1 {
		t.Errorf("%+v", got)
	}
}

// TestSpool has a server that is away, refuses and comes back, and bots that die meanwhile.
func TestSpool(t *testing.T) {
	s := newServer(t)
	dir := filepath.Join(t.TempDir(), "spool")
	c := s.dial(t, dir, 0)
	send := func(account int64, from, n int) {
		t.Helper()
		for i := from; i < from+n; i++ {
			if err := c.SendResults(t.Context(), account, []Value{{Path: fmt.Sprintf("p%d", i), Value: float64(i), Time: time.Unix(1718000000+int64(i), 0)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(1, 0, 3)
	s.has(t, 3)
	s.set(func() { s.status = 503 })
	send(1, 3, 50)
	send(2, 3, 50)
	if got := balanced(t, c); got.Waiting != 100 || got.Delivered != 3 {
		t.Errorf("%+v", got)
	}
	c.Close() // a bot that is killed leaves the same files; and one dies in a line
	files, _ := filepath.Glob(filepath.Join(dir, "*"+partName))
	f, err := os.OpenFile(files[len(files)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"account":1,"values":[{"p":"half","t":`)
	f.Close()
	c = s.dial(t, dir, 0)
	send(1, 53, 1)
	s.set(func() { s.status, s.refuse = 0, "p20" })
	s.has(t, 3+101-2)
	for deadline := time.Now().Add(10 * time.Second); c.Stats().Waiting > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := balanced(t, c); got.Taken != 101 || got.Delivered != 99 || got.Refused != 2 {
		t.Errorf("%+v", got)
	}
	if got := s.stored["2 p52@1718000052.000000"]; got != "52" {
		t.Errorf("p52 is %q", got)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
		t.Errorf("%v is left", files)
	}
	c.Close()
}

func TestSpoolBound(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	s.status = 500
	const most = 40_000
	c := s.dial(t, dir, most)
	defer c.Close()
	for i := range 2000 {
		if err := c.SendResults(t.Context(), 1, []Value{{Path: fmt.Sprintf("p%d", i), Value: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	size := int64(0)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	got := balanced(t, c)
	if size > most || size < most*3/4 || got.Dropped == 0 || got.Waiting == 0 {
		t.Errorf("%d bytes, %+v", size, got)
	}
	waiting := int(got.Waiting)
	s.set(func() { s.status = 0 })
	s.has(t, waiting)
	newest := 0
	for key := range s.stored {
		n := 0
		fmt.Sscanf(key, "1 p%d@", &n)
		newest = max(newest, n)
	}
	if newest != 1999 {
		t.Errorf("the newest value is p%d", newest)
	}
}

func TestCheckPath(t *testing.T) {
	for _, good := range []string{"a", "A-_z.0", "net.if-1.in", "a%2eb", "a%3ab", "%2e", strings.Repeat("x", 1024)} {
		if err := CheckPath(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".a", "a.", "a..b", "a b", "a/b", "a:b", "a,b", "a%2Eb", "a%2", "a%", "ä", "a\nb", strings.Repeat("x", 1025)} {
		if CheckPath(bad) == nil {
			t.Errorf("%q is good", bad)
		}
	}
}

func FuzzCheckPath(f *testing.F) {
	f.Add("a.b%2e")
	f.Fuzz(func(t *testing.T, path string) {
		if CheckPath(path) != nil {
			return
		}
		for segment := range strings.SplitSeq(path, ".") {
			rest := strings.NewReplacer("%2e", "", "%3a", "").Replace(segment)
			if segment == "" || slices.ContainsFunc([]byte(rest), func(b byte) bool {
				return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", rune(b))
			}) {
				t.Errorf("%q is good", path)
			}
		}
	})
}
