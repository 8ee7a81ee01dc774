package broker

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

func TestPoints(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		c := newCache(t)
		reg := telemetry.NewRegistry()
		p := NewPoints(c, 60, reg)
		if err := p.status.Validate(); err != nil {
			t.Error(err)
		}
		if err := p.metric.Validate(); err != nil {
			t.Error(err)
		}
		update(t, c, of(legacy, legacyHost, pbHost), "host_id", 1, "name", "srv", "enabled", true)
		update(t, c, of(legacy, legacyService, pbService), "host_id", 1, "service_id", 2, "description", "Disk /", "enabled", true)
		service, host := of(legacy, legacyServiceStatus, pbServiceStatus), of(legacy, legacyHostStatus, pbHostStatus)
		points := p.Of([]event.Event{
			makeEvent(t, service, "host_id", 1, "service_id", 2, "checked", true, "last_check", 1000, "state", 2, "last_hard_state", 1,
				"perfdata", "used=5GB;~:8;@1:9;0;10 none=nan low=-inf bad\x00label=1"),
			makeEvent(t, host, "host_id", 1, "checked", true, "last_check", 1001, "state", 1, "perfdata", "'two\nlines'=1 rta=0.5"),
			makeEvent(t, host, "host_id", 1, "last_check", 1001, "state", 0),                                             // no check
			makeEvent(t, host, "host_id", 9, "checked", true, "last_check", 1001),                                        // unknown
			makeEvent(t, service, "host_id", 1, "service_id", 9, "checked", true, "last_check", 1001, "perfdata", "a=1"), // unknown
			makeEvent(t, service, "host_id", 1, "service_id", 2, "checked", true, "perfdata", "a=1"),                     // no time
			{Type: host, Payload: []byte{0xff}},                                                                          // damaged
			makeEvent(t, of(legacy, legacyHost, pbHost), "host_id", 1, "name", "srv", "enabled", true),
		})
		var got []string
		for _, x := range points {
			if err := x.Validate(); err != nil {
				t.Error(err)
			}
			got = append(got, fmt.Sprintf("%s %d %q %v", x.Schema.Name, x.Time, x.Tags, x.Values))
		}
		want := []string{
			`centreon:status 1000 ["srv" "Disk /"] [2]`,
			`centreon:metric 1000 ["srv" "Disk /" "used"] [5 NaN 8 1 9 0 10]`,
			`centreon:status 1001 ["srv" ""] [1]`,
			`centreon:metric 1001 ["srv" "" "rta"] [0.5 NaN NaN NaN NaN NaN NaN]`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("points (-want +got):\n%s", diff)
		}
		accounts := reg.Accounts()
		for _, a := range accounts {
			if !a.Balanced() {
				t.Errorf("does not balance: %+v", a)
			}
		}
		i := slices.IndexFunc(accounts, func(a telemetry.Account) bool { return a.Component == "centreon.statuses" })
		if diff := cmp.Diff(map[string]int64{"unknown_name": 2, "unreadable": 1, "invalid_point": 1}, accounts[i].Discarded); diff != "" {
			t.Errorf("discarded statuses (-want +got):\n%s", diff)
		}
		// The next call uses the room again.
		if again := p.Of(nil); len(again) != 0 {
			t.Errorf("%d points of nothing", len(again))
		}
	})
}

// Legacy statuses of services bring names along.
func TestPointsWithoutConfiguration(t *testing.T) {
	p := NewPoints(newCache(t), 60, telemetry.NewRegistry())
	points := p.Of([]event.Event{makeEvent(t, legacyServiceStatus, "host_id", 1, "service_id", 2, "host_name", "srv", "service_description", "Disk",
		"checked", true, "last_check", 1000, "perfdata", "a=1")})
	if len(points) != 2 || !slices.Equal(points[1].Tags, []string{"srv", "Disk", "a"}) || points[1].Values[0] != 1 || !math.IsNaN(points[1].Values[1]) {
		t.Errorf("points %v", points)
	}
}

// The hosts of several installations are different series.
func TestPointsOfInstallations(t *testing.T) {
	c := newCache(t)
	update(t, c, pbHost, "host_id", 1, "name", "srv", "enabled", true)
	p := NewPoints(c, 60, telemetry.NewRegistry())
	p.Prefix("paris/")
	events := []event.Event{
		makeEvent(t, pbHostStatus, "host_id", 1, "checked", true, "last_check", 1000),
		makeEvent(t, legacyServiceStatus, "host_id", 9, "service_id", 2, "host_name", "other", "service_description", "Disk", "checked", true, "last_check", 1000),
	}
	for range 2 {
		points := p.Of(events)
		if len(points) != 2 || points[0].Tags[0] != "paris/srv" || points[1].Tags[0] != "paris/other" {
			t.Errorf("points %v", points)
		}
	}
	if n := testing.AllocsPerRun(100, func() { p.Of(events) }); n != 0 {
		t.Errorf("Of allocates %v times", n)
	}
	if a, b := InstallationNumber("paris"), InstallationNumber("lyon"); a == b || a == 0 || b == 0 || InstallationNumber("") != 0 {
		t.Error("numbers of installations", a, b)
	}
}
