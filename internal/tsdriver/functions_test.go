package tsdriver

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Everything that line protocol gives a meaning to is escaped (R24).
func TestR24_Escapes(t *testing.T) {
	d, w := load(t, minimal, nil)
	d.lua(t, `
		interface.select("3")
		assert(interface.appendInfluxDB("a b:c,d", 60, { ["t,=x"] = "v, w=x \"y\" \\z", empty = "", n = 5 }, { ["m n"] = 1.25, big = 2^53, text = "12" }))
		assert(not interface.appendInfluxDB("a:b", 60, { t = "line\nend" }, { m = 1 }))
		assert(not interface.appendInfluxDB("a:b", 60, { t = "ends in \\" }, { m = 1 }))
		assert(not interface.appendInfluxDB("a:b", 60, {}, {}))
		assert(not interface.appendInfluxDB("a:b", 60, {}, { m = true }))
		assert(not interface.appendInfluxDB("a:b", 60, {}, { m = 1/0 }))
		assert(not interface.appendInfluxDB("a:b", -1, {}, { m = 1 }))
		ntop.setCache("ntopng.cache.influxdb.export_queue_full", "1")
		assert(not interface.appendInfluxDB("a:b", 60, {}, { m = 1 }))`)
	if err := d.lines.tick(true); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(d.lines.dir, "3_*"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	text, err := os.ReadFile(files[0])
	want := `a\ b:c\,d,n=5,t\,\=x=v\,\ w\=x\ "y"\ \z big=9007199254740992,m\ n=1.25,text=12 60` + "\n"
	if string(text) != want || err != nil {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if d.drops != 7 || w.said("cannot keep a point") != 7 {
		t.Error(d.drops, w.lines)
	}
}

// A file of the spool is complete after 10 seconds without a further point, at its size, and after the process
// has died, then without the line that was torn (R25).
func TestR25_SpoolClosesOnATimer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	now, complete := time.Unix(1_700_000_000, 0), 0
	open := func() *lineSpool {
		t.Helper()
		s, err := openLineSpool(dir, 1000, func() time.Time { return now }, func(lines int) { complete += lines })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	names := func() (all []string) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	add := func(s *lineSpool, ifid int64, line string) {
		t.Helper()
		if err := s.append(ifid, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	s := open()
	add(s, 1, "a\n")
	add(s, -1, "b\n")
	now = now.Add(spoolAge - time.Second)
	add(s, 1, "c\n")
	if err := s.tick(false); err != nil || complete != 0 {
		t.Error(complete, err)
	}
	now = now.Add(time.Second)
	if err := s.tick(false); err != nil || complete != 3 {
		t.Error(complete, err)
	}
	if diff := cmp.Diff([]string{"-1_2_1700000010", "1_1_1700000010"}, names()); diff != "" {
		t.Error(diff)
	}
	add(s, 1, "d\n")
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "7_1_5.tmp"), "whole\ntor") // of a process that died
	s = open()
	if complete != 5 {
		t.Errorf("%d lines are complete", complete)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "7_1_5")); string(text) != "whole\n" {
		t.Errorf("%q %v", text, err)
	}
	if err := s.append(1, []byte(strings.Repeat("x", 1000))); !errors.Is(err, errSpoolFull) {
		t.Error(err)
	}
	for _, name := range names() { // exported
		os.Remove(filepath.Join(dir, name))
	}
	add(s, 1, strings.Repeat("x", 900)+"\n")
}

// Answers are not cut (R26), and have the form that scripts look for (4.6).
func TestR26_HTTP(t *testing.T) {
	long := strings.Repeat("0123456789", 100_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, long)
		case "/ping":
			w.Header().Set("X-Influxdb-Version", "1.6.7")
			w.WriteHeader(http.StatusNoContent)
		case "/echo":
			user, password, _ := r.BasicAuth()
			body := make([]byte, 100)
			n, _ := r.Body.Read(body)
			fmt.Fprintf(w, "%s %s %s:%s %s cookies %d", r.Method, r.Header.Get("Content-Type"), user, password, body[:n], len(r.Cookies()))
		case "/around":
			http.Redirect(w, r, "/around", http.StatusFound)
		case "/moved":
			http.Redirect(w, r, "/ping", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		case "/400":
			w.WriteHeader(http.StatusBadRequest)
		case "/503":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	d, _ := load(t, minimal, nil)
	file := filepath.Join(t.TempDir(), "lines")
	got := d.lua(t, fmt.Sprintf(`
		local url, file = %q, %q
		local out = {}
		local function say(...) out[#out + 1] = table.concat({ ... }, " ") end
		local a = ntop.httpGet(url .. "/long", nil, nil, 5, true)
		say(a.RESPONSE_CODE, #a.CONTENT, a.CONTENT_LEN, a.CONTENT_TYPE, a.HTTP_HEADER["content-type"])
		say(type(ntop.httpGet(url .. "/long", nil, nil, 5, false).CONTENT))
		a = ntop.httpGet(url .. "/ping", "", "", 5, true)
		say(a.RESPONSE_CODE, a.CONTENT:lower():match("\nx%%-influxdb%%-version: v?([%%d%%.]+)\r\n"), a.CONTENT:match("^[^\r]*"), type(a.HTTP_HEADER))
		say(ntop.httpGet(url .. "/echo", "u", "p", 5, true).CONTENT)
		say(ntop.httpGet(url .. "/echo", "u", "p", 5, true, true).CONTENT)
		say(ntop.httpPost(url .. "/echo", "a=b", "u", "p", 5, true).CONTENT)
		say(ntop.httpPost(url .. "/echo", "{}", nil, nil, 5, true).CONTENT)
		a = ntop.httpGet(url .. "/around", nil, nil, 5, true)
		say(a.RESPONSE_CODE, a.ERROR)
		say(ntop.httpGet(url .. "/moved", nil, nil, 5, true).EFFECTIVE_URL == url .. "/ping" and "followed", ntop.httpGet(url .. "/moved", nil, nil, 5, true, nil, false).RESPONSE_CODE)
		a = ntop.httpGet(url .. "/slow", nil, nil, 0, true)
		say(a.RESPONSE_CODE, tostring(a.IS_PARTIAL))
		a = ntop.httpGet("ftp://user:secret@192.0.2.1/", nil, nil, 1, true)
		say(a.RESPONSE_CODE, a.ERROR)
		for _, path in ipairs({ "/503", "/400", "/echo" }) do
			local f = io.open(file, "w") f:write("x") f:close()
			a = ntop.postHTTPTextFile("u", "p", url .. path, file, true, 5)
			say(path, a.RESPONSE_CODE, tostring(ntop.exists(file)), a.CONTENT)
		end
		return table.concat(out, "\n")`, server.URL, file))
	want := strings.Join([]string{
		"200 1000000 1000000 application/json  application/json",
		"nil",
		"204 1.6.7 HTTP/1.1 204 No Content nil",
		"GET  u:p  cookies 0",
		"GET  :  cookies 2",
		"POST application/x-www-form-urlencoded u:p a=b cookies 0",
		"POST application/json : {} cookies 0",
		"0 more than 5 redirects",
		"followed 302",
		"0 true",
		"0 the URL does not begin with http:// or https:// and a host",
		"/503 503 true ",
		"/400 400 false ",
		"/echo 200 false POST text/plain; charset=utf-8 u:p x cookies 0",
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What scripts keep outlives the process, except what has expired; the configuration's preferences win.
func TestCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.json")
	now := time.Unix(1000, 0)
	clock := func() time.Time { return now }
	c, err := openCache(path, map[string]string{"p": "given"}, clock)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.set("a", "1", 0), c.set("short", "2", 10*time.Second), c.set("p", "own", 0), c.push("l", "x", 2), c.push("l", "y", 2), c.push("l", "z", 2)); err != nil {
		t.Fatal(err)
	}
	if c.get("p") != "own" || c.get("short") != "2" {
		t.Error(c.values)
	}
	if err := c.save(true); err != nil {
		t.Fatal(err)
	}
	now = now.Add(10 * time.Second)
	if c, err = openCache(path, map[string]string{"p": "given"}, clock); err != nil {
		t.Fatal(err)
	}
	if c.get("a") != "1" || c.get("short") != "" || c.get("p") != "given" {
		t.Error(c.values)
	}
	if diff := cmp.Diff([]string{"z", "y"}, c.lists["l"]); diff != "" {
		t.Error(diff)
	}
	if err := c.set("large", strings.Repeat("x", maxCacheBytes), 0); err == nil {
		t.Error("there is no limit")
	}
	before := c.bytes
	c.remove("a")
	c.remove("l")
	if c.bytes != before-len("a1")-len("lzy") {
		t.Errorf("%d bytes after %d", c.bytes, before)
	}
}

// Points that wait for a round robin database outlive the process, and those that it had taken come at most again.
func TestRRDQueueOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	q := rrdQueues{dir: dir}
	one, err := q.queue(7)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := one.enqueue(fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := one.dequeue(); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.close(); err != nil {
		t.Fatal(err)
	}
	q = rrdQueues{dir: dir}
	ids, err := q.recover()
	if err != nil || len(ids) != 1 || ids[0] != 7 {
		t.Fatal(ids, err)
	}
	var got []string
	for {
		line, err := q.queues[7].dequeue()
		if err != nil {
			t.Fatal(err)
		}
		if line == nil {
			break
		}
		got = append(got, string(line))
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "3", "4"}, got); diff != "" {
		t.Error(diff)
	}
	if err := q.close(); err != nil {
		t.Fatal(err)
	}
}

// Points of more interfaces than files may be open are spooled, and queues of as many are refused.
func TestManyInterfaces(t *testing.T) {
	d, _ := load(t, minimal, nil)
	got := d.lua(t, `
		local spooled, queued = 0, 0
		for id = 1, 300 do
			interface.select(tostring(id))
			if interface.appendInfluxDB("a:b", 60, { ifid = id }, { m = 1 }) then spooled = spooled + 1 end
			if interface.rrd_enqueue("a:b", 60, { ifid = id }, { m = 1 }) then queued = queued + 1 end
		end
		return spooled .. " " .. queued`)
	if got != "300 256" || len(d.lines.files) > maxOpen {
		t.Error(got, len(d.lines.files))
	}
}
