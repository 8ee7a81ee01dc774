//go:build contracts

package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// influx is the InfluxDB writer: its blocks, put together in the order of the page.
func (p *page) influx(write string) string {
	return p.queueTable() + "\n" + p.queueNew() + "\n" + p.queueAdd() + "\n" + p.queueFlush() + "\n" + p.influxInit() + "\n" + write
}

// influxParameters are those that the page lists.
func (db *influxd) influxParameters() map[string]any {
	return map[string]any{
		"http_server_address": db.host, "http_server_port": json.Number(db.port), "http_server_protocol": "http",
		"influx_database": "centreon", "influx_user": influxUser, "influx_password": influxPassword, "max_buffer_size": 5, "max_buffer_age": 3600,
	}
}

// measured are checks of two services with performance data, and one of a service that
// nobody has told the name of. Weir makes 3 metrics of each round.
func measured(s *setting, rounds int) []string {
	host, service, check := 12, 23, 24
	if s.session.Major == 3 {
		host, service, check = 30, 27, 29
	}
	all := []string{
		fmt.Sprintf(`{"category":1,"element":%d,"host_id":1,"name":"CENTREON","enabled":true}`, host),
		fmt.Sprintf(`{"category":1,"element":%d,"host_id":1,"service_id":2,"description":"Load avg","enabled":true}`, service),
	}
	for i := range rounds {
		all = append(all,
			fmt.Sprintf(`{"category":1,"element":%d,"checked":true,"host_id":1,"service_id":2,"last_check":%d,"output":"fine","perfdata":"'load 1'=%d.25;4;8;0 time=%dms"}`,
				check, 1700000000+60*i, i, 10*i),
			fmt.Sprintf(`{"category":1,"element":%d,"checked":true,"host_id":7,"service_id":8,"last_check":%d,"output":"fine","perfdata":"size=%dB"}`,
				check, 1700000001+60*i, 1024+i))
	}
	return all
}

// The InfluxDB writer with its queue sends metrics in bulk to a real server, which has every one.
func TestContractInfluxDB(t *testing.T) {
	page := readPage(t)
	const log = "stream-connector-influxdb.log"
	for _, s := range []setting{{session: session2, generation: "2.0.0"}, {session: session3, generation: "2.0.0"}} {
		t.Run(s.String(), func(t *testing.T) {
			db, read := startInfluxd(t, "centreon"), fixedFiles(t, log)
			s.script, s.categories, s.parameters = page.influx(page.influxWrite()), []string{"storage:metric"}, db.influxParameters()
			p := s.start(t)
			s.deliver(t, p, measured(&s, 50)...) // 150 metrics: 30 requests
			stopped(t, p)
			var named, unnamed [][]any
			for i := range 50 {
				named = append(named, []any{float64(1700000000 + 60*i), "CENTREON", float64(10 * i), float64(i) + 0.25})
				unnamed = append(unnamed, []any{float64(1700000001 + 60*i), "7", float64(1024 + i)})
			}
			db.holds("centreon", "SELECT host, _time, load_1 FROM Load_avg", []series{{Name: "Load_avg", Columns: []string{"time", "host", "_time", "load_1"}, Values: named}})
			db.holds("centreon", `SELECT host, size FROM "8"`, []series{{Name: "8", Columns: []string{"time", "host", "size"}, Values: unnamed}})
			db.holds("centreon", "SELECT sum(load_1), count(load_1) FROM Load_avg GROUP BY host", []series{
				{Name: "Load_avg", Tags: map[string]string{"host": "CENTREON"}, Columns: []string{"time", "sum", "count"}, Values: [][]any{{0.0, 49*25 + 12.5, 50.0}}},
			})
			text := read(log)
			for _, want := range []string{"INFO: event_queue:new: getting parameter max_buffer_size => 5\n",
				"WARNING: event_queue:add: host_name for id 7 not found. Restarting centengine should fix this.\n",
				"WARNING: event_queue:add: service_description for id 7.8 not found. Restarting centengine should fix this.\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("the log does not have %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "ERROR") {
				t.Errorf("errors in the log:\n%s", text)
			}
		})
	}

	// What is left in the queue goes at the next event after max_buffer_age.
	t.Run("age", func(t *testing.T) {
		db := startInfluxd(t, "centreon")
		fixedFiles(t, log)
		s := setting{session: session2, generation: "2.0.0", script: page.influx(page.influxWrite()), categories: []string{"storage:metric"}, parameters: db.influxParameters()}
		s.parameters["max_buffer_size"], s.parameters["max_buffer_age"] = 5000, 0
		p := s.start(t)
		s.deliver(t, p, measured(&s, 1)...)
		stopped(t, p)
		db.holds("centreon", `SELECT "size" FROM "8"`, []series{{Name: "8", Columns: []string{"time", "size"}, Values: [][]any{{1700000001.0, 1024.0}}}})
	})

	// When the server refuses, the log says it.
	t.Run("wrong password", func(t *testing.T) {
		db, read := startInfluxd(t, "centreon"), fixedFiles(t, log)
		s := setting{session: session2, generation: "2.0.0", script: page.influx(page.influxWrite()), categories: []string{"storage:metric"}, parameters: db.influxParameters()}
		s.parameters["influx_password"] = "wrong"
		p := s.start(t)
		s.deliver(t, p, measured(&s, 2)...)
		stopped(t, p)
		db.holds("centreon", "SELECT * FROM /.*/", nil)
		for _, want := range []string{"ERROR: event_queue:flush: HTTP POST request FAILED: return code is 401\n",
			`ERROR: event_queue:flush: HTTP POST request FAILED: message line 1 is "{"error":"authorization failed"}`} {
			if text := read(log); !strings.Contains(text, want) {
				t.Errorf("the log does not have %q:\n%s", want, text)
			}
		}
	})

	// The metric of the third generation has a time and no ctime, which the script
	// needs: it raises, at the line that adds it to its queue.
	t.Run("third generation", func(t *testing.T) {
		db := startInfluxd(t, "centreon")
		fixedFiles(t, log)
		s := setting{session: session3, generation: "3.0.1", script: page.influx(page.influxWrite()), categories: []string{"storage:pb_metric"}, parameters: db.influxParameters()}
		p := s.start(t)
		session := connect(t, p, s.session)
		session.send(measured(&s, 5)...)
		session.stop()
		if err := p.waitLog(`script\.lua:\d+: attempt to concatenate field 'ctime' \(a nil value\)`); err != nil {
			t.Fatal(err)
		}
		stopped(t, p, "attempt to concatenate field 'ctime'")
		db.holds("centreon", "SELECT * FROM /.*/", nil)
	})

	// The last block, meant to let only metrics pass, asks for the variables category
	// and element, which nobody has set: it skips every event, and all are acknowledged.
	t.Run("filter", func(t *testing.T) {
		db, read := startInfluxd(t, "centreon"), fixedFiles(t, log)
		s := setting{session: session2, generation: "2.0.0", script: page.influx(page.influxFiltered()), parameters: db.influxParameters()}
		p := s.start(t)
		s.deliver(t, p, measured(&s, 50)...)
		stopped(t, p)
		db.holds("centreon", "SELECT * FROM /.*/", nil)
		if text := read(log); strings.Contains(text, "event_queue:add") || strings.Contains(text, "event_queue:flush") {
			t.Errorf("something was added to the queue:\n%s", text)
		}
	})

	// The block that shows how the queue is used runs inside a write function: a queue
	// per event, and one request each.
	t.Run("use of the queue", func(t *testing.T) {
		db := startInfluxd(t, "centreon")
		fixedFiles(t, log)
		write := "local conf\nlocal begin = init\nfunction init(c)\n  conf = c\n  begin(c)\nend\nfunction write(event)\n" + page.queueUse() + "  return true\nend\n"
		s := setting{session: session2, generation: "2.0.0", script: page.influx(write), categories: []string{"storage:metric"}, parameters: db.influxParameters()}
		p := s.start(t)
		s.deliver(t, p, measured(&s, 2)...)
		stopped(t, p)
		db.holds("centreon", `SELECT "size" FROM "8"`, []series{{Name: "8", Columns: []string{"time", "size"}, Values: [][]any{{1700000001.0, 1024.0}, {1700000061.0, 1025.0}}}})
	})
}
