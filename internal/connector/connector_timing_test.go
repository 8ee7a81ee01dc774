package connector

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
)

// The figures of a connector as it runs: a real stream, a real script process, and
// acknowledgements that are stored.

// TestMain makes the test binary the script process when Weir starts it as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "script-host" {
		host, err := script.NewHost(os.Args[2])
		if err == nil {
			err = script.Serve(host)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lineScript filters, looks up host and service, and formats a line for each
// status, in lots of 1000 as scripts that send them do.
const lineScript = `
	local lines, n = {}, 0
	function init(conf) end
	function filter(category, element) return category == 1 and (element == 29 or element == 24) end
	function write(d)
		if d.state_type ~= 1 then return false end
		local host = broker_cache:get_hostname(d.host_id)
		local service = broker_cache:get_service_description(d.host_id, d.service_id)
		if not host or not service then error("unknown service " .. d.host_id .. " " .. d.service_id) end
		n = n + 1
		lines[n] = "status,host=" .. host .. ",service=" .. service .. " state=" .. d.state ..
			",output=\"" .. d.output .. "\" " .. d.last_check
		if n < 1000 then return false end
		local body = table.concat(lines, "\n")
		n = 0
		return #body > 0
	end`

const skipScript = `
	function init(conf) end
	function filter(category, element) return false end
	function write(d) return true end`

// members of an event by name: int, float64, string or bool.
func makeEvent(t testing.TB, typ event.Type, members ...any) event.Event {
	t.Helper()
	r := event.NewRecord(event.Lookup(typ))
	for i := 0; i < len(members); i += 2 {
		var v event.Value
		switch x := members[i+1].(type) {
		case int:
			v = event.IntValue(int64(x))
			if r.Descriptor.Field(members[i].(string)).Kind == event.Double {
				v = event.FloatValue(float64(x))
			}
		case float64:
			v = event.FloatValue(x)
		case string:
			v = event.TextValue([]byte(x))
		case bool:
			v = event.BoolValue(x)
		}
		r.Set(members[i].(string), v)
	}
	return r.Encode()
}

// installation is the configuration of hosts x 100 services, and statuses of all of them in no order, with the texts
// usual services have, a few times: each check has another time, so that a script
// does not make a string that it made before.
func installation(b testing.TB, legacy bool, hosts int) (configuration, statuses []event.Event) {
	host, service, status := event.MakeType(1, 30), event.MakeType(1, 27), event.MakeType(1, 29)
	if legacy {
		host, service, status = event.MakeType(1, 12), event.MakeType(1, 23), event.MakeType(1, 24)
	}
	const services = 100
	all := make([][]event.Event, max(1, 80_000/(hosts*services))) // a list for each round of checks
	for h := 1; h <= hosts; h++ {
		configuration = append(configuration, makeEvent(b, host, "host_id", h, "name", fmt.Sprintf("srv-web-%05d", h), "address", "10.20.30.40",
			"alias", "Web server of the shop", "enabled", true, "check_command", "base_host_alive", "instance_id", 3))
		for s := 1; s <= services; s++ {
			name := fmt.Sprintf("Disk-/var/lib/data-%d", s)
			configuration = append(configuration, makeEvent(b, service, "host_id", h, "service_id", s, "host_name", fmt.Sprintf("srv-web-%05d", h),
				"description", name, "display_name", name, "enabled", true, "active_checks", true,
				"check_command", "OS-Linux-Disk-Global-SNMP!/var/lib/data!80!90", "check_interval", 5, "retry_interval", 1, "check_period", "24x7",
				"notification_period", "24x7", "max_check_attempts", 3, "notes_url", "https://wiki.example.org/runbooks/disk",
				"icon_image", "ppm/operatingsystems-linux-snmp-disk.png", "last_check", 1700000000, "next_check", 1700000300, "notification_interval", 30))
			for round := range all {
				checked := 1700000000 + 300*round + (h*37+s*3)%300
				members := []any{"host_id", h, "service_id", s, "checked", true, "state", 0, "state_type", 1, "last_check", checked, "next_check", checked + 300,
					"last_state_change", 1690000000, "last_hard_state_change", 1690000000, "last_time_ok", checked, "latency", 0.125, "execution_time", 0.25,
					"check_attempt", 1, "should_be_scheduled", true, "output", "OK: Disk /var/lib/data Total: 49.09 GB Used: 23.72 GB (48.32%) Free: 25.37 GB (51.68%)",
					"perfdata", "'used'=25468321792B;0:42168954880;0:47440074240;0;52711193600 'inodes'=12.5%;;;0;100"}
				if legacy {
					members = append(members, "host_name", fmt.Sprintf("srv-web-%05d", h), "service_description", name,
						"check_command", "OS-Linux-Disk-Global-SNMP!/var/lib/data!80!90", "check_interval", 5, "retry_interval", 1, "check_period", "24x7", "max_check_attempts", 3)
				}
				all[round] = append(all[round], makeEvent(b, status, members...))
			}
		}
	}
	for _, ordered := range all {
		for i := range ordered {
			statuses = append(statuses, ordered[i*7919%len(ordered)])
		}
	}
	return configuration, statuses
}

// timed is a connector on a stream.
type timed struct {
	b      testing.TB
	stream *stream.Stream
	*Connector
}

func startConnector(b testing.TB, lua, version string) *timed {
	b.Helper()
	log := slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	reg := telemetry.NewRegistry()
	s := stream.New(stream.Config{Path: b.TempDir()}, reg, log)
	if err := s.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	path := filepath.Join(dir, "connector.lua")
	if err := os.WriteFile(path, []byte(lua), 0o600); err != nil {
		b.Fatal(err)
	}
	setup := Setup{Name: "timing", Script: path, BBDO: version, Queue: 10000, Cache: filepath.Join(dir, "cache"), Call: 10 * time.Second}
	c := New(setup, script.DefaultBudget(), s, script.NewRegistry(reg), reg, log)
	if err := c.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			b.Error(err)
		}
		if err := s.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return &timed{b, s, c}
}

// send appends events and returns the number of the last one.
func (r *timed) send(events []event.Event) uint64 {
	r.b.Helper()
	for len(events) > 0 {
		n := min(len(events), 512)
		if err := r.stream.Append(context.Background(), events[:n]); err != nil {
			r.b.Fatal(err)
		}
		events = events[n:]
	}
	backlog, err := r.consumer.Backlog(context.Background())
	if err != nil {
		r.b.Fatal(err)
	}
	return backlog.Acknowledged + uint64(backlog.Events)
}

// await waits until the position is stored behind all events but those the script
// holds back for its next lot.
func (r *timed) await(last uint64) {
	r.b.Helper()
	for end := time.Now().Add(2 * time.Minute); r.consumer.Acked()+1000 < last; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.b.Fatalf("acknowledged %d of %d", r.consumer.Acked(), last)
		}
	}
}

// child is the process id of the script process.
func (r *timed) child() int {
	r.b.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		r.b.Fatal(err)
	}
	var all []string
	for _, task := range tasks {
		if text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children"); err == nil { // the thread may have ended
			all = append(all, strings.Fields(string(text))...)
		}
	}
	if len(all) != 1 {
		r.b.Fatalf("there are %d child processes, want one: %q", len(all), all)
	}
	pid, err := strconv.Atoi(all[0])
	if err != nil {
		r.b.Fatal(err)
	}
	return pid
}

// processorTime is what a process, 0 for this one, has used with all its threads.
func processorTime(b testing.TB, pid int) time.Duration {
	b.Helper()
	clock := int32(unix.CLOCK_PROCESS_CPUTIME_ID)
	if pid != 0 {
		clock = ^int32(pid)<<3 | 2 // the kernel's name for the processor clock of another process
	}
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkConnector is from the stream through the script process to the stored
// acknowledgement. The events are in the stream before the clock runs: as many as a
// connector that keeps up finds there, or a backlog. A CPU-second is one of the daemon
// half and the script process together, all their threads: what one core can do when
// it has to do everything.
func BenchmarkConnector(b *testing.B) {
	const keepsUp, backlog = 20_000, 400_000
	run := func(name, lua, version string, legacy bool, hosts, waiting int) {
		b.Run(name, func(b *testing.B) {
			r := startConnector(b, lua, version)
			configuration, statuses := installation(b, legacy, hosts)
			r.await(r.send(configuration))
			for range max(1, 50_000/len(statuses)) {
				r.await(r.send(statuses))
			}
			pid := r.child()
			var events, at int
			var ours, theirs, took time.Duration
			for range b.N {
				for done := 0; done < backlog; done += waiting {
					r.consumer.Limit(0) // nothing is taken
					var last uint64
					for n := 0; n < waiting; {
						some := statuses[at:min(len(statuses), at+waiting-n)]
						last = r.send(some)
						n += len(some)
						at = (at + len(some)) % len(statuses)
					}
					events += waiting
					ours -= processorTime(b, 0)
					theirs -= processorTime(b, pid)
					begin := time.Now()
					r.consumer.Limit(r.setup.Queue)
					r.await(last)
					took += time.Since(begin)
					ours += processorTime(b, 0)
					theirs += processorTime(b, pid)
				}
			}
			b.ReportMetric(float64(events)/(ours+theirs).Seconds(), "events/CPU-s")
			b.ReportMetric(float64(events)/theirs.Seconds(), "events/script-CPU-s")
			b.ReportMetric(float64(ours.Nanoseconds())/float64(events), "daemon-ns/event")
			b.ReportMetric(float64(theirs.Nanoseconds())/float64(events), "script-ns/event")
			b.ReportMetric(float64(events)/took.Seconds(), "events/s")
			b.ReportMetric(0, "ns/op")
		})
	}
	run("line", lineScript, "3.0.1", false, 100, keepsUp)
	run("line-backlog", lineScript, "3.0.1", false, 100, backlog)
	run("line-100k-services", lineScript, "3.0.1", false, 1000, keepsUp)
	run("line-version-2", "broker_api_version = 2\n"+lineScript, "3.0.1", false, 100, keepsUp)
	run("line-legacy", lineScript, "2.0.0", true, 100, keepsUp)
	run("line-converted", lineScript, "3.0.1", true, 100, keepsUp)
	run("skip", skipScript, "3.0.1", false, 100, keepsUp)
	run("skip-backlog", skipScript, "3.0.1", false, 100, backlog)
}
