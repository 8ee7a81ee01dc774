package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
)

// make returns an event with members: pairs of a name and a value.
func makeEvent(t testing.TB, typ event.Type, members ...any) event.Event {
	t.Helper()
	d := event.Lookup(typ)
	r := event.NewRecord(d)
	for i := 0; i < len(members); i += 2 {
		f := d.Field(members[i].(string))
		if f == nil {
			t.Fatalf("%v has no member %q", typ, members[i])
		}
		var v event.Value
		switch x := members[i+1].(type) {
		case int:
			v = event.IntValue(int64(x))
			if f.Kind == event.Double {
				v = event.FloatValue(float64(x))
			}
		case float64:
			v = event.FloatValue(x)
		case string:
			v = event.TextValue([]byte(x))
		case bool:
			v = event.BoolValue(x)
		default:
			t.Fatalf("member %q is a %T", members[i], x)
		}
		r.Set(f.Name, v)
	}
	e := r.Encode()
	e.Source = 3
	return e
}

func newCache(t testing.TB) *Cache { return NewCache(slog.New(slog.NewTextHandler(t.Output(), nil))) }

// update applies one event.
func update(t testing.TB, c *Cache, typ event.Type, members ...any) {
	t.Helper()
	c.Update(makeEvent(t, typ, members...))
}

// want checks members of a record.
func want(t *testing.T, r *event.Record, members ...any) {
	t.Helper()
	if r == nil {
		t.Fatalf("no record; want %v", members)
	}
	for i := 0; i < len(members); i += 2 {
		name := members[i].(string)
		f := r.Descriptor.Field(name)
		if f == nil {
			t.Fatalf("%s has no member %q", r.Descriptor.Name, name)
		}
		v := r.Get(name)
		var got any
		switch members[i+1].(type) {
		case int:
			got = int(v.Int())
		case float64:
			got = v.Float()
		case string:
			got = string(v.Text())
		case bool:
			got = v.Bool()
		}
		if got != members[i+1] {
			t.Errorf("%s.%s = %v, want %v", r.Descriptor.Name, name, got, members[i+1])
		}
	}
}

func wantText(t *testing.T, got []byte, ok bool, text string) {
	t.Helper()
	if !ok || string(got) != text {
		t.Errorf("got %q, %v; want %q", got, ok, text)
	}
}

// generations runs a test for both families of events.
func generations(t *testing.T, f func(t *testing.T, legacy bool)) {
	t.Run("legacy", func(t *testing.T) { f(t, true) })
	t.Run("protobuf", func(t *testing.T) { f(t, false) })
}

func of(legacy bool, l, p event.Type) event.Type {
	if legacy {
		return l
	}
	return p
}

func TestUnknown(t *testing.T) {
	c := newCache(t)
	_, host := c.Hostname(1)
	_, service := c.ServiceDescription(1, 2)
	_, notes := c.Notes(1, 0)
	_, notesURL := c.NotesURL(1, 2)
	_, action := c.ActionURL(1, 2)
	_, command := c.CheckCommand(1, 2)
	_, hostCommand := c.CheckCommand(1, 0)
	_, severity := c.Severity(1, 0)
	_, hostGroup := c.HostGroupName(1)
	_, alias := c.HostGroupAlias(1)
	_, serviceGroup := c.ServiceGroupName(1)
	_, instance := c.InstanceName(1)
	for i, ok := range []bool{host, service, notes, notesURL, action, command, hostCommand, severity, hostGroup, alias, serviceGroup, instance} {
		if ok {
			t.Errorf("question %d is answered by an empty cache", i)
		}
	}
	for i, r := range []*event.Record{c.Host(1), c.Service(1, 2), c.IndexMapping(1), c.MetricMapping(1), c.BA(1), c.BV(1)} {
		if r != nil {
			t.Errorf("record %d is there in an empty cache", i)
		}
	}
	if len(c.HostGroups(1))+len(c.ServiceGroups(1, 2))+len(c.BVs(1)) != 0 {
		t.Error("an empty cache has groups or views")
	}
	if got := c.Stats().Misses; got != 17 {
		t.Errorf("%d misses, want 17", got)
	}
}

func TestHosts(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		c := newCache(t)
		host := of(legacy, legacyHost, pbHost)
		members := []any{"host_id", 12, "name", "srv-1", "alias", "Server 1", "address", "10.0.0.1", "enabled", true, "instance_id", 3,
			"notes", "n", "notes_url", "http://n", "action_url", "", "check_command", "ping", "check_interval", 5, "state", 1, "last_check", 0}
		update(t, c, host, members...)
		name, ok := c.Hostname(12)
		wantText(t, name, ok, "srv-1")
		text, ok := c.Notes(12, 0)
		wantText(t, text, ok, "n")
		text, ok = c.NotesURL(12, 0)
		wantText(t, text, ok, "http://n")
		text, ok = c.ActionURL(12, 0)
		wantText(t, text, ok, "")
		text, ok = c.CheckCommand(12, 0)
		wantText(t, text, ok, "ping")
		r := c.Host(12)
		want(t, r, "name", "srv-1", "alias", "Server 1", "address", "10.0.0.1", "instance_id", 3, "state", 1, "last_check", 0)
		if r.Descriptor.Type != pbHost || r.Source != 3 {
			t.Errorf("the record is %v from source %d", r.Descriptor.Type, r.Source)
		}

		// What the caller does to a record does not reach the cache.
		r.Set("name", event.TextValue([]byte("x")))
		want(t, c.Host(12), "name", "srv-1")

		// A later event replaces the whole object.
		update(t, c, host, "host_id", 12, "name", "srv-one", "enabled", true)
		want(t, c.Host(12), "name", "srv-one", "alias", "", "state", 0)
		text, ok = c.Notes(12, 0)
		wantText(t, text, ok, "")

		update(t, c, host, "host_id", 12, "name", "srv-one", "enabled", false)
		if _, ok := c.Hostname(12); ok || c.Host(12) != nil {
			t.Error("a disabled host is still there")
		}
	})
}

func TestServices(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		c := newCache(t)
		service := of(legacy, legacyService, pbService)
		update(t, c, service, "host_id", 12, "service_id", 30, "host_name", "srv-1", "description", "Disk /", "enabled", true,
			"notes", "n", "notes_url", "nu", "action_url", "au", "check_command", "disk", "retry_interval", 1.5,
			of2(legacy, "volatile", "is_volatile"), true)
		name, ok := c.ServiceDescription(12, 30)
		wantText(t, name, ok, "Disk /")
		text, ok := c.Notes(12, 30)
		wantText(t, text, ok, "n")
		text, ok = c.NotesURL(12, 30)
		wantText(t, text, ok, "nu")
		text, ok = c.ActionURL(12, 30)
		wantText(t, text, ok, "au")
		text, ok = c.CheckCommand(12, 30)
		wantText(t, text, ok, "disk")
		want(t, c.Service(12, 30), "description", "Disk /", "host_name", "srv-1", "is_volatile", true, "retry_interval", 1.5, "last_time_ok", 0)
		if _, ok := c.ServiceDescription(30, 12); ok {
			t.Error("the service is found under another key")
		}
		update(t, c, service, "host_id", 12, "service_id", 30, "description", "Disk /", "enabled", false)
		if c.Service(12, 30) != nil || c.Stats().Services != 0 {
			t.Error("a disabled service is still there")
		}
	})
}

func of2(legacy bool, l, p string) string {
	if legacy {
		return l
	}
	return p
}

func TestStatuses(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		c := newCache(t)
		update(t, c, of(legacy, legacyHost, pbHost), "host_id", 1, "name", "h", "enabled", true, "address", "a", "max_check_attempts", 3, "check_command", "ping")
		update(t, c, of(legacy, legacyService, pbService), "host_id", 1, "service_id", 2, "description", "s", "enabled", true, "check_command", "disk", "max_check_attempts", 4)
		output := func(short, long string) []any {
			if legacy {
				return []any{"output", short + "\n" + long}
			}
			return []any{"output", short, "long_output", long}
		}
		both := []any{
			"checked", true, "check_type", 1, "state", 2, "state_type", 1, "last_state_change", 101, "last_hard_state", 1, "last_hard_state_change", 102,
			"perfdata", "a=1", "flapping", true, "percent_state_change", 6.5, "latency", 0.25, "execution_time", 0.5, "last_check", 103, "next_check", 104,
			"should_be_scheduled", true, "check_attempt", 2, "notification_number", 7, "no_more_notifications", true, "last_notification", 105,
			"acknowledgement_type", 2, "scheduled_downtime_depth", 1,
		}
		host := append([]any{"last_time_up", 106, "last_time_down", 107, "last_time_unreachable", 108}, both...)
		service := append([]any{"last_time_ok", 111, "last_time_warning", 112, "last_time_critical", 113, "last_time_unknown", 114, "next_notification", 115}, both...)

		hostEvent := append([]any{"host_id", 1}, append(host, output("down", "because")...)...)
		if !legacy { // in legacy statuses it is not on the wire
			hostEvent = append(hostEvent, "next_host_notification", 109)
			host = append(host, "next_host_notification", 109)
		}
		update(t, c, of(legacy, legacyHostStatus, pbHostStatus), hostEvent...)
		update(t, c, of(legacy, legacyServiceStatus, pbServiceStatus), append([]any{"host_id", 1, "service_id", 2}, append(service, output("full", "90 %\n91 %")...)...)...)

		want(t, c.Host(1), append(host, "output", "down", "name", "h", "address", "a", "max_check_attempts", 3, "check_command", "ping", "enabled", true)...)
		want(t, c.Service(1, 2), append(service, "output", "full", "long_output", "90 %\n91 %", "description", "s", "check_command", "disk", "enabled", true)...)

		// The next status takes everything back, and old records stay as they were.
		before := c.Service(1, 2)
		update(t, c, of(legacy, legacyServiceStatus, pbServiceStatus), "host_id", 1, "service_id", 2, "last_check", 203)
		want(t, c.Service(1, 2), "state", 0, "perfdata", "", "output", "", "flapping", false, "last_check", 203, "last_time_ok", 0, "acknowledgement_type", 0)
		want(t, before, "perfdata", "a=1", "output", "full", "last_check", 103)
		if c.Stats().Unknown != 0 || c.Stats().Refused != 0 {
			t.Errorf("figures: %+v", c.Stats())
		}

		// So does a new configuration.
		update(t, c, of(legacy, legacyHost, pbHost), "host_id", 1, "name", "h", "enabled", true, "address", "a", "max_check_attempts", 3, "check_command", "ping")
		want(t, c.Host(1), "state", 0, "last_check", 0, "output", "")
	})
}

func TestMixedGenerations(t *testing.T) {
	c := newCache(t)
	update(t, c, legacyService, "host_id", 1, "service_id", 2, "description", "s", "enabled", true, "output", "first\nmore")
	want(t, c.Service(1, 2), "output", "first", "long_output", "more")
	update(t, c, pbServiceStatus, "host_id", 1, "service_id", 2, "output", "second", "state", 1)
	want(t, c.Service(1, 2), "output", "second", "long_output", "", "state", 1, "description", "s")
	update(t, c, legacyServiceStatus, "host_id", 1, "service_id", 2, "output", "third\n", "state", 2)
	want(t, c.Service(1, 2), "output", "third", "long_output", "", "state", 2)
}

func TestMetaServices(t *testing.T) {
	c := newCache(t)
	update(t, c, legacyService, "host_id", 9, "service_id", 1, "host_name", "_Module_Meta", "description", "meta_5", "enabled", true)
	update(t, c, legacyService, "host_id", 10, "service_id", 1, "host_name", "_Module_BAM_1", "description", "ba_7", "enabled", true)
	want(t, c.Service(9, 1), "type", 2, "internal_id", 5)
	want(t, c.Service(10, 1), "type", 3, "internal_id", 7)
	// A status does not change what kind of service it is.
	update(t, c, pbServiceStatus, "host_id", 10, "service_id", 1, "state", 1)
	want(t, c.Service(10, 1), "type", 3, "internal_id", 7, "state", 1)
}

func TestAdaptive(t *testing.T) {
	c := newCache(t)
	update(t, c, pbHost, "host_id", 1, "name", "h", "enabled", true, "notify", true, "active_checks", true, "check_command", "ping", "check_interval", 5, "flap_detection", true, "should_be_scheduled", true)
	update(t, c, legacyService, "host_id", 1, "service_id", 2, "description", "s", "enabled", true, "notify", true, "active_checks", true, "flap_detection", true, "check_command", "disk", "should_be_scheduled", true)

	update(t, c, pbAdaptiveHostStatus, "host_id", 1, "notification_number", 9)
	update(t, c, pbAdaptiveHostStatus, "host_id", 1, "scheduled_downtime_depth", 5)
	want(t, c.Host(1), "notification_number", 9, "scheduled_downtime_depth", 5, "acknowledgement_type", 0)
	update(t, c, pbAdaptiveHostStatus, "host_id", 1, "scheduled_downtime_depth", 0)
	want(t, c.Host(1), "notification_number", 9, "scheduled_downtime_depth", 0)
	update(t, c, pbAdaptiveServiceStatus, "host_id", 1, "service_id", 2, "acknowledgement_type", 2, "notification_number", 4)
	want(t, c.Service(1, 2), "acknowledgement_type", 2, "notification_number", 4)
	// A full status is newer than adaptive ones before it.
	update(t, c, pbServiceStatus, "host_id", 1, "service_id", 2, "notification_number", 1)
	want(t, c.Service(1, 2), "acknowledgement_type", 0, "notification_number", 1)

	update(t, c, pbAdaptiveHost, "host_id", 1, "notify", false, "check_command", "ping6", "check_interval", 7, "retry_interval", 2, "max_check_attempts", 4,
		"flap_detection", false, "event_handler", "restart", "event_handler_enabled", true, "passive_checks", true, "obsess_over_host", true,
		"check_freshness", true, "check_period", "24x7", "notification_period", "never")
	want(t, c.Host(1), "notify", false, "active_checks", true, "check_command", "ping6", "check_interval", 7, "retry_interval", 2.0, "max_check_attempts", 4,
		"flap_detection", false, "event_handler", "restart", "event_handler_enabled", true, "passive_checks", true, "obsess_over_host", true,
		"check_freshness", true, "check_period", "24x7", "notification_period", "never", "should_be_scheduled", true, "name", "h")
	text, ok := c.CheckCommand(1, 0)
	wantText(t, text, ok, "ping6")

	update(t, c, pbAdaptiveService, "host_id", 1, "service_id", 2, "flap_detection_enabled", false, "active_checks", false, "obsess_over_service", true, "check_command", "disk2")
	want(t, c.Service(1, 2), "flap_detection", false, "active_checks", false, "obsess_over_service", true, "notify", true)
	text, ok = c.CheckCommand(1, 2)
	wantText(t, text, ok, "disk2")
	// Every member that an adaptive event may set, and none that it does not.
	update(t, c, pbService, "host_id", 1, "service_id", 3, "description", "all", "enabled", true, "notify", true, "state", 2)
	update(t, c, pbAdaptiveService, "host_id", 1, "service_id", 3, "notify", false, "should_be_scheduled", true, "passive_checks", true,
		"event_handler_enabled", true, "event_handler", "restart", "check_interval", 7, "retry_interval", 2, "max_check_attempts", 4,
		"check_freshness", true, "check_period", "24x7", "notification_period", "never", "flap_detection_enabled", true)
	want(t, c.Service(1, 3), "notify", false, "should_be_scheduled", true, "passive_checks", true, "event_handler_enabled", true, "event_handler", "restart",
		"check_interval", 7, "retry_interval", 2, "max_check_attempts", 4, "check_freshness", true, "check_period", "24x7",
		"notification_period", "never", "flap_detection", true, "description", "all", "state", 2, "active_checks", false)
	// Settings outlive statuses, except the one that statuses carry too.
	update(t, c, pbServiceStatus, "host_id", 1, "service_id", 2, "should_be_scheduled", true)
	update(t, c, pbAdaptiveService, "host_id", 1, "service_id", 2, "should_be_scheduled", false)
	want(t, c.Service(1, 2), "should_be_scheduled", false, "active_checks", false)
	update(t, c, pbServiceStatus, "host_id", 1, "service_id", 2, "should_be_scheduled", true)
	want(t, c.Service(1, 2), "should_be_scheduled", true, "active_checks", false)

	// However many there are, they take bounded room.
	for i := range 2000 {
		update(t, c, pbAdaptiveService, "host_id", 1, "service_id", 2, "check_command", fmt.Sprintf("disk%d", i))
	}
	want(t, c.Service(1, 2), "check_command", "disk1999", "active_checks", false)
	if n := len(c.services[pair{1, 2}].more.settings); n > 600 {
		t.Errorf("2000 adaptive events take %d bytes", n)
	}
	// A new configuration ends them.
	update(t, c, legacyService, "host_id", 1, "service_id", 2, "description", "s", "enabled", true, "active_checks", true)
	want(t, c.Service(1, 2), "active_checks", true, "check_command", "")
}

func TestUnknownObjects(t *testing.T) {
	var log bytes.Buffer
	c := NewCache(slog.New(slog.NewTextHandler(&log, nil)))
	for _, typ := range []event.Type{legacyHostStatus, pbHostStatus, pbAdaptiveHostStatus, pbAdaptiveHost} {
		update(t, c, typ, "host_id", 17)
	}
	for _, typ := range []event.Type{legacyServiceStatus, pbServiceStatus, pbAdaptiveServiceStatus, pbAdaptiveService} {
		update(t, c, typ, "host_id", 17, "service_id", 18)
	}
	if s := c.Stats(); s.Unknown != 8 || s.Hosts+s.Services != 0 {
		t.Errorf("figures: %+v", s)
	}
	for text, n := range map[string]int{
		"Attempt to update host (17) in lua cache, but it does not exist":        4,
		"Attempt to update service (17, 18) in lua cache, but it does not exist": 4,
	} {
		if got := strings.Count(log.String(), text); got != n {
			t.Errorf("%q is in the log %d times, want %d:\n%s", text, got, n, log.String())
		}
	}
}

func TestGroups(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		for _, g := range []struct {
			group event.Type
			key   string
			name  func(*Cache) (string, bool)
		}{
			{of(legacy, legacyHostGroup, pbHostGroup), "hostgroup_id", func(c *Cache) (string, bool) { return c.HostGroupName(5) }},
			{of(legacy, legacyServiceGroup, pbServiceGroup), "servicegroup_id", func(c *Cache) (string, bool) { return c.ServiceGroupName(5) }},
		} {
			c := newCache(t)
			check := func(want string, known bool) {
				t.Helper()
				if got, ok := g.name(c); got != want || ok != known {
					t.Errorf("%v: the group is %q, %v; want %q, %v", g.group, got, ok, want, known)
				}
			}
			update(t, c, g.group, g.key, 5, "name", "Linux", "enabled", true, "poller_id", 1)
			update(t, c, g.group, g.key, 5, "name", "Linux servers", "enabled", true, "poller_id", 2)
			check("Linux servers", true)
			update(t, c, g.group, g.key, 5, "name", "", "enabled", false, "poller_id", 1)
			check("Linux servers", true)
			update(t, c, g.group, g.key, 5, "name", "", "enabled", false, "poller_id", 9)
			check("Linux servers", true)
			update(t, c, g.group, g.key, 5, "name", "", "enabled", false, "poller_id", 2)
			check("", false)
			update(t, c, g.group, g.key, 5, "name", "", "enabled", false, "poller_id", 2)
		}
	})
	c := newCache(t)
	update(t, c, pbHostGroup, "hostgroup_id", 1, "name", "a", "alias", "Group A", "enabled", true)
	update(t, c, pbHostGroup, "hostgroup_id", 1, "name", "b", "alias", "other", "enabled", true)
	update(t, c, legacyHostGroup, "hostgroup_id", 2, "name", "c", "enabled", true)
	for id, want := range map[uint64]string{1: "Group A", 2: ""} { // the name only is updated
		if alias, ok := c.HostGroupAlias(id); alias != want || !ok {
			t.Errorf("alias of %d is %q, %v; want %q", id, alias, ok, want)
		}
	}
}

func TestMembers(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		c := newCache(t)
		member, name := of(legacy, legacyHostGroupMember, pbHostGroupMember), of2(legacy, "group_name", "name")
		// Memberships do not need the group, and come in any order.
		for _, id := range []int{7, 2, 5} {
			update(t, c, member, "host_id", 1, "hostgroup_id", id, name, fmt.Sprint("g", id), "enabled", true)
		}
		update(t, c, member, "host_id", 1, "hostgroup_id", 5, name, "renamed", "enabled", true)
		if diff := cmp.Diff([]Group{{2, "g2"}, {5, "renamed"}, {7, "g7"}}, c.HostGroups(1)); diff != "" {
			t.Errorf("groups of the host (-want +got):\n%s", diff)
		}
		c.HostGroups(1)[0].Name = "overwritten"
		update(t, c, member, "host_id", 1, "hostgroup_id", 7, name, "", "enabled", false)
		update(t, c, member, "host_id", 1, "hostgroup_id", 99, name, "", "enabled", false)
		if diff := cmp.Diff([]Group{{2, "g2"}, {5, "renamed"}}, c.HostGroups(1)); diff != "" {
			t.Errorf("groups of the host (-want +got):\n%s", diff)
		}

		member = of(legacy, legacyServiceGroupMember, pbServiceGroupMember)
		update(t, c, member, "host_id", 1, "service_id", 2, "servicegroup_id", 5, name, "five", "enabled", true)
		update(t, c, member, "host_id", 1, "service_id", 2, "servicegroup_id", 4, name, "four", "enabled", true)
		if diff := cmp.Diff([]Group{{4, "four"}, {5, "five"}}, c.ServiceGroups(1, 2)); diff != "" {
			t.Errorf("groups of the service (-want +got):\n%s", diff)
		}
		update(t, c, member, "host_id", 1, "service_id", 2, "servicegroup_id", 4, "enabled", false)
		update(t, c, member, "host_id", 1, "service_id", 2, "servicegroup_id", 5, "enabled", false)
		if got := c.ServiceGroups(1, 2); len(got) != 0 || len(c.ServiceGroups(2, 1)) != 0 {
			t.Errorf("groups of the service: %v", got)
		}
	})
}

func TestSeverity(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		var log bytes.Buffer
		c := NewCache(slog.New(slog.NewTextHandler(&log, nil)))
		variable := of(legacy, legacyCustomVariable, pbCustomVariable)
		check := func(host, service uint64, want int32, known bool) {
			t.Helper()
			if got, ok := c.Severity(host, service); got != want || ok != known {
				t.Errorf("severity of %d, %d is %d, %v; want %d, %v", host, service, got, ok, want, known)
			}
		}
		set := func(service int, name, value string) {
			update(t, c, variable, "host_id", 1, "service_id", service, "name", name, "value", value, "enabled", true)
		}
		set(0, "OTHER", "4")
		set(0, "CRITICALITY_LEVEL", "0")
		check(1, 0, 0, false)
		set(0, "CRITICALITY_LEVEL", "3")
		set(2, "CRITICALITY_LEVEL", "-5")
		set(0, "CRITICALITY_LEVEL", "0")
		set(0, "CRITICALITY_LEVEL", "abc")
		set(0, "CRITICALITY_LEVEL", "3000000000")
		check(1, 0, 3, true)
		check(1, 2, -5, true)
		update(t, c, of(legacy, event.MakeType(1, 4), event.MakeType(1, 38)), "host_id", 1, "name", "CRITICALITY_LEVEL", "value", "8")
		check(1, 0, 3, true)
		for _, value := range []string{"abc", "3000000000"} {
			if !strings.Contains(log.String(), "value="+value) {
				t.Errorf("nothing about %q in the log: %s", value, log.String())
			}
		}
	})
}

func TestInstancesMappingsAndViews(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		c := newCache(t)
		update(t, c, of(legacy, legacyInstance, pbInstance), "instance_id", 3, "name", "Paris", "running", true)
		update(t, c, of(legacy, legacyInstance, pbInstance), "instance_id", 3, "name", "Lyon", "running", false)
		if name, ok := c.InstanceName(3); name != "Lyon" || !ok {
			t.Errorf("the poller is %q, %v", name, ok)
		}
		update(t, c, of(legacy, legacyIndexMapping, pbIndexMapping), "index_id", 40, "host_id", 1, "service_id", 2)
		want(t, c.IndexMapping(40), "index_id", 40, "host_id", 1, "service_id", 2)
		update(t, c, of(legacy, legacyMetricMapping, pbMetricMapping), "index_id", 40, "metric_id", 77)
		want(t, c.MetricMapping(77), "index_id", 40, "metric_id", 77)

		ba, bv := of(legacy, legacyBA, pbBA), of(legacy, legacyBV, pbBV)
		relation, truncate := of(legacy, legacyBABV, pbBABV), of(legacy, legacyTruncate, pbTruncate)
		update(t, c, ba, "ba_id", 1, "ba_name", "Shop", "ba_description", "the shop")
		update(t, c, bv, "bv_id", 8, "bv_name", "Sales", "bv_description", "all sales")
		for _, id := range []int{8, 3, 8, 5} {
			update(t, c, relation, "ba_id", 1, "bv_id", id)
		}
		update(t, c, truncate, "update_started", false)
		want(t, c.BA(1), "ba_id", 1, "ba_name", "Shop", "ba_description", "the shop")
		want(t, c.BV(8), "bv_id", 8, "bv_name", "Sales", "bv_description", "all sales")
		if c.BA(1).Descriptor.Type != pbBA || c.BV(8).Descriptor.Type != pbBV {
			t.Error("BA or BV is not of the protobuf generation")
		}
		if diff := cmp.Diff([]uint64{3, 5, 8}, c.BVs(1)); diff != "" {
			t.Errorf("views (-want +got):\n%s", diff)
		}
		update(t, c, truncate, "update_started", true)
		if c.BA(1) != nil || c.BV(8) != nil || len(c.BVs(1)) != 0 {
			t.Error("the truncate signal left something")
		}
		want(t, c.IndexMapping(40), "host_id", 1)
	})
}

func TestNotCached(t *testing.T) {
	c := newCache(t)
	for _, d := range event.Descriptors() {
		if _, ok := layouts[d.Type]; ok {
			continue
		}
		switch d.Name {
		case "acknowledgement", "Acknowledgement", "comment", "Comment", "downtime", "Downtime", "Severity", "Tag", "log_entry", "LogEntry":
			c.Update(makeEvent(t, d.Type))
		}
	}
	if diff := cmp.Diff(Stats{}, c.Stats()); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
}

func TestDamagedEvents(t *testing.T) {
	c := newCache(t)
	update(t, c, legacyHost, "host_id", 1, "name", "h", "enabled", true)
	update(t, c, pbService, "host_id", 1, "service_id", 2, "description", "s", "enabled", true)
	short := makeEvent(t, legacyHost, "host_id", 1, "name", "other", "enabled", true)
	short.Payload = short.Payload[:len(short.Payload)-1]
	c.Update(short)
	wrong := makeEvent(t, pbService, "host_id", 1, "service_id", 2, "description", "other", "enabled", true)
	wrong.Payload = append(wrong.Payload, 0xff)
	c.Update(wrong)
	instance := makeEvent(t, pbInstance, "instance_id", 1)
	instance.Payload = append(instance.Payload, 0xff)
	c.Update(instance)
	adaptive := makeEvent(t, pbAdaptiveService, "host_id", 1, "service_id", 2, "check_command", "x")
	adaptive.Payload = append(adaptive.Payload, 0xff)
	c.Update(adaptive)
	large := makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 2, "output", strings.Repeat("x", MaxObject))
	c.Update(large)
	if got := c.Stats().Refused; got != 5 {
		t.Errorf("%d events refused, want 5", got)
	}
	want(t, c.Host(1), "name", "h")
	want(t, c.Service(1, 2), "description", "s", "output", "", "check_command", "")

	// A status that cannot be read leaves the object without one.
	status := makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 2, "state", 2)
	status.Payload = append(status.Payload, 0xff)
	c.Update(status)
	want(t, c.Service(1, 2), "description", "s", "state", 0)
	if got := c.Stats().Refused; got != 6 {
		t.Errorf("%d events refused, want 6", got)
	}
}

// A long output is kept whole, and those before it take no room for ever.
func TestLongOutput(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		c := newCache(t)
		update(t, c, of(legacy, legacyService, pbService), "host_id", 1, "service_id", 2, "description", "s", "enabled", true)
		long := strings.Repeat("0123456789", 7000)
		for range 50 {
			update(t, c, of(legacy, legacyServiceStatus, pbServiceStatus), "host_id", 1, "service_id", 2, "output", long)
			want(t, c.Service(1, 2), "output", long)
			update(t, c, of(legacy, legacyServiceStatus, pbServiceStatus), "host_id", 1, "service_id", 2, "output", "short")
			want(t, c.Service(1, 2), "output", "short")
		}
		if room := c.ofServices.size; room > outdated+segmentSize {
			t.Errorf("a short status takes %d bytes", room)
		}
	})
}

// Fields in another order than encoders write them are found all the same.
func TestFieldOrder(t *testing.T) {
	c := newCache(t)
	update(t, c, pbService, "host_id", 300, "service_id", 400, "description", "s", "enabled", true)
	e := makeEvent(t, pbServiceStatus, "service_id", 400, "state", 2)
	host := makeEvent(t, pbServiceStatus, "host_id", 300)
	e.Payload = append(e.Payload, host.Payload...)
	c.Update(e)
	want(t, c.Service(300, 400), "state", 2)
}

// What happens for every event does not allocate.
func TestAllocations(t *testing.T) {
	f := func(name string, run func()) {
		t.Helper()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	for _, legacy := range []bool{true, false} {
		c := newCache(t)
		c.Update(benchService(t, legacy, 1, 2))
		status := benchStatus(t, legacy, 1, 2)
		f("Update", func() { c.Update(status) })
		f("ServiceDescription", func() { c.ServiceDescription(1, 2) })
		f("Notes", func() { c.Notes(1, 2) })
	}
	text := []byte("'used'=25468321792B;0:42168954880;~:4744;0;52711193600 inodes=12,5%;;;0;1e3 d[x]=0.1234567890123456789")
	metrics := ParsePerfdata(nil, text)
	f("ParsePerfdata", func() { metrics = ParsePerfdata(metrics[:0], text) })
}

// Statuses find their service by a table of its own: many of them, those that were
// taken away and came again, and those nobody knows.
func TestStatusOfManyServices(t *testing.T) {
	c := NewCache(slog.New(slog.DiscardHandler))
	configure := func(host, service int, enabled bool) {
		c.Update(makeEvent(t, pbService, "host_id", host, "service_id", service, "description", "s", "enabled", enabled))
	}
	f := func(host, service, state int) {
		t.Helper()
		c.Update(makeEvent(t, pbServiceStatus, "host_id", host, "service_id", service, "state", state, "checked", true))
		if r := c.Service(uint64(host), uint64(service)); state != 0 && (r == nil || r.Get("state").Int() != int64(state)) {
			t.Fatalf("service %d %d is not in state %d: %v", host, service, state, r)
		} else if state == 0 && r != nil {
			t.Fatalf("service %d %d is known", host, service)
		}
	}
	for round := 1; round <= 3; round++ {
		for host := range 100 {
			for service := range 50 {
				if round != 2 {
					configure(host, service, true)
				}
				f(host, service, round)
			}
		}
		if round != 2 {
			continue
		}
		for host := range 100 {
			configure(host, host%50, false)
			f(host, host%50, 0)
		}
	}
	if c.counts.Unknown != 100 {
		t.Errorf("%d statuses of unknown services are counted, want 100", c.counts.Unknown)
	}
}

func TestWithoutStatuses(t *testing.T) {
	c := NewCache(slog.New(slog.DiscardHandler))
	c.WithoutStatuses()
	c.Update(makeEvent(t, pbService, "host_id", 1, "service_id", 2, "description", "disk", "enabled", true, "check_interval", 5))
	c.Update(makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 2, "state", 2, "output", "full"))
	c.Update(makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 3, "state", 2))
	r := c.Service(1, 2)
	if r == nil || string(r.Get("description").Text()) != "disk" || r.Get("check_interval").Int() != 5 || len(r.Get("output").Text()) > 0 {
		t.Errorf("%v", r)
	}
	if n := c.counts.Unknown; n != 1 {
		t.Errorf("%d unknown, want 1", n)
	}
}
