package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/bbdo"
)

// session is how an example is run: the version of the poller's session, and the
// generation of events its script gets.
type session struct {
	version    bbdo.Version
	generation string
}

// sessions are both generations on both sides.
var sessions = []session{
	{bbdo.Version{Major: 2}, "2.0.0"},
	{bbdo.Version{Major: 2}, "3.0.1"},
	{bbdo.Version{Major: 3, Patch: 1}, "2.0.0"},
	{bbdo.Version{Major: 3, Patch: 1}, "3.0.1"},
}

func (s session) String() string {
	return fmt.Sprintf("session %d.%d.%d, events of %s", s.version.Major, s.version.Minor, s.version.Patch, s.generation)
}

// events are what a poller of the session sends for events of the third generation.
func (s session) events(list ...string) []string {
	if s.version.Major > 2 {
		return list
	}
	older := make([]string, len(list))
	for i, e := range list {
		older[i] = strings.NewReplacer(`"element":30`, `"element":12`, `"element":27`, `"element":23`, `"element":29`, `"element":24`).Replace(e)
	}
	return older
}

// startExample runs weir with an example as its only connector.
func (s session) startExample(t *testing.T, script, parameters string) (p *process, dir string) {
	t.Helper()
	dir = t.TempDir()
	copyExample(t, dir, script)
	writeFile(t, dir, "weir.yaml", `
data: data
http: {listen: "127.0.0.1:0"}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
connectors: [{name: example, script: `+script+`, bbdo_version: `+s.generation+`, parameters: {`+parameters+`}}]
`)
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p, dir
}

// endInOrder stops weir.
func (p *process) endInOrder(t *testing.T) {
	t.Helper()
	if code, err := p.end(syscall.SIGTERM); err != nil || code != 0 {
		t.Errorf("exit code %d, %v\n%s", code, err, p.log())
	}
}

// The file logger writes each event of either generation, with names.
func TestFileLogger(t *testing.T) {
	for _, s := range sessions {
		p, dir := s.startExample(t, "file-logger.lua", "data_file: events.json, log_file: file.log, batch: 7")
		poller := connect(t, p, s.version)
		poller.send(s.events(configuration...)...)
		poller.send(s.events(checks(0, 100)...)...)
		poller.stop()
		want := int64(65536 + 29)
		if s.generation == "2.0.0" {
			want = 65536 + 24
		}
		err := eventually(func() error {
			n := 0
			for l := range readLogged(t, filepath.Join(dir, "events.json")) {
				if l.Type != want {
					continue
				}
				if line, _, _ := strings.Cut(l.Output, "\n"); line != fmt.Sprintf("number %d", n) || l.HostName != "alpha" || l.ServiceDescription != "load" {
					t.Fatalf("%v: event %d is %+v", s, n, l)
				}
				n++
			}
			if n != 100 {
				return fmt.Errorf("%d of 100 checks were written", n)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%v: %v\n%s", s, err, p.log())
		}
		p.endInOrder(t)
	}
}

// The InfluxDB writer keeps metrics while the server does not take them, and then
// the server has each of them, with names.
func TestInfluxDBLines(t *testing.T) {
	db := startInfluxd(t)
	for i, s := range sessions {
		database := fmt.Sprintf("centreon%d", i)
		p, _ := s.startExample(t, "influxdb-lines.lua", fmt.Sprintf("host: %s, port: %s, database: %s, user: %s, password: %s, batch: 7", db.host, db.port, database, influxUser, influxPassword))
		poller := connect(t, p, s.version)
		poller.send(s.events(configuration...)...)
		poller.send(s.events(checks(0, 100)...)...)
		poller.send(s.events(
			`{"category":1,"element":30,"host_id":2,"name":"Büro 1, links","enabled":true}`,
			`{"category":1,"element":27,"host_id":2,"service_id":3,"description":"a=b c","enabled":true}`,
			fmt.Sprintf(`{"category":1,"element":29,"host_id":2,"service_id":3,"checked":true,"last_check":%d,"output":"x","perfdata":"'C:\\'=123456789.123456B"}`, checkTime))...)
		poller.stop()
		if err := p.waitLog(`the server answered 404 \(database not found: \\"` + database + `\\"\) to \d+ lines; they are sent again`); err != nil {
			t.Fatal(err)
		}
		db.query("", "CREATE DATABASE "+database)
		var want [][]any
		for i := range 100 {
			want = append(want, []any{float64(checkTime + int64(i)), float64(i) + 0.5})
		}
		db.holds(database, "SELECT value FROM metric WHERE host = 'alpha' AND service = 'load' AND \"name\" = 'load'", []series{{Name: "metric", Columns: []string{"time", "value"}, Values: want}})
		db.holds(database, "SELECT value FROM metric WHERE host = 'Büro 1, links' GROUP BY *", []series{{
			Name: "metric", Tags: map[string]string{"host": "Büro 1, links", "service": "a=b c", "name": "C:/"}, Columns: []string{"time", "value"}, Values: [][]any{{float64(checkTime), 123456789.123456}},
		}})
		p.endInOrder(t)
	}

	// With a wrong password nothing is lost either.
	poll := func(database, password, log string) *process {
		t.Helper()
		s := sessions[0]
		p, _ := s.startExample(t, "influxdb-lines.lua", fmt.Sprintf("host: %s, port: %s, database: %s, user: %s, password: %s", db.host, db.port, database, influxUser, password))
		poller := connect(t, p, s.version)
		poller.send(s.events(configuration...)...)
		poller.send(s.events(checks(0, 1)...)...)
		poller.stop()
		if err := p.waitLog(log); err != nil {
			t.Error(err)
		}
		return p
	}
	poll("centreon0", "wrong", `the server answered 401 \(Unauthorized\) to 1 lines; they are sent again`).endInOrder(t)

	// What the server does not understand is not sent again: there the value is text.
	db.query("", "CREATE DATABASE other")
	db.write("other", fmt.Sprintf(`metric value="text" %d`, checkTime))
	p := poll("other", influxPassword, `the server does not take some of 1 lines: partial write: field type conflict`)
	if err := p.settled("example", 3); err != nil {
		t.Error(err)
	}
	p.endInOrder(t)
}
