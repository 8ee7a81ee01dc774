package connector

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
)

// TestCacheAnswersAsConfigured asks for the same names before and after they change: what
// Lua remembers must not outlive the configuration.
func TestCacheAnswersAsConfigured(t *testing.T) {
	s, r := load(t, `
		function init() end
		function write(d)
			if d.element ~= 29 then return true end
			for i = 1, 2 do
				broker_log:info(1, table.concat({
					tostring(broker_cache:get_hostname(d.host_id)), tostring(broker_cache:get_service_description(d.host_id, d.service_id)),
					tostring(broker_cache:get_notes(d.host_id)), tostring(broker_cache:get_notes(d.host_id, d.service_id)),
					tostring(broker_cache:get_check_command(d.host_id, d.service_id)), tostring(broker_cache:get_severity(d.host_id)),
					tostring(broker_cache:get_instance_name(3)), tostring(broker_cache:get_hostgroup_name("7"))}, " "))
			end
			return true
		end`, nil)
	host, service, status := event.MakeType(1, 30), event.MakeType(1, 27), event.MakeType(1, 29)
	number := uint64(1)
	send := func(e event.Event) {
		t.Helper()
		if err := s.Deliver(number, event.AppendBatch(nil, []event.Event{e})); err != nil {
			t.Fatal(err)
		}
		number++
	}
	var want []string
	f := func(line string) {
		t.Helper()
		send(makeEvent(t, status, "host_id", 1, "service_id", 2))
		want = append(want, "INFO "+line, "INFO "+line)
		if diff := cmp.Diff(want, r.lines); diff != "" || len(r.errors) > 0 {
			t.Fatal(diff, r.errors)
		}
	}
	configure := func(name, notes string) {
		t.Helper()
		send(makeEvent(t, host, "host_id", 1, "name", name, "notes", notes, "enabled", true))
		send(makeEvent(t, service, "host_id", 1, "service_id", 2, "description", "disk of "+name, "notes", "service of "+notes, "check_command", "check", "enabled", true))
	}
	configure("a", "n1")
	f("a disk of a n1 service of n1 check nil nil nil")
	configure("b", "n2")
	f("b disk of b n2 service of n2 check nil nil nil")
	send(makeEvent(t, event.MakeType(1, 28), "host_id", 1, "service_id", 2, "check_command", "another")) // by an external command
	f("b disk of b n2 service of n2 another nil nil nil")
	send(makeEvent(t, event.MakeType(1, 37), "host_id", 1, "name", "CRITICALITY_LEVEL", "value", "4"))
	send(makeEvent(t, event.MakeType(1, 44), "instance_id", 3, "name", "poller"))
	send(makeEvent(t, event.MakeType(1, 49), "hostgroup_id", 7, "name", "web", "enabled", true))
	f("b disk of b n2 service of n2 another 4 poller web")
	send(makeEvent(t, host, "host_id", 1, "name", "b"))                                    // not enabled: it is gone
	send(makeEvent(t, service, "host_id", 1, "service_id", 2, "description", "disk of b")) // likewise
	send(makeEvent(t, event.MakeType(1, 49), "hostgroup_id", 7, "name", "web"))            // likewise
	send(makeEvent(t, event.MakeType(1, 37), "host_id", 1, "name", "CRITICALITY_LEVEL", "value", "5"))
	want = append(want, "WARN Attempt to update service (1, 2) in lua cache, but it does not exist; reload the engine to have its configuration sent")
	f("nil nil nil nil nil 5 poller nil")
}
