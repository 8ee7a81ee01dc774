package broker

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A cache that is loaded again goes on with its figures, and tells which names are others.
func TestRefreshGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	open := func() (*Cache, *File) {
		c := newCache(t)
		f, err := OpenFile(path, c, c.log)
		if err != nil {
			t.Fatal(err)
		}
		return c, f
	}
	one, first := open()
	update(t, one, pbHost, "host_id", 1, "name", "a", "enabled", true)
	update(t, one, pbService, "host_id", 1, "service_id", 2, "description", "s", "enabled", true)
	if err := first.Flush(); err != nil {
		t.Fatal(err)
	}
	two, second := open()
	two.ForgetDeleted()
	two.TrackNames()
	names := func() map[uint64]string {
		all := make(map[uint64]string)
		two.Names(func(host uint64, name []byte) { all[host] = string(name) }, func(_, service uint64, name []byte) { all[service] = string(name) })
		return all
	}
	if diff := cmp.Diff(map[uint64]string{1: "a", 2: "s"}, names()); diff != "" {
		t.Error(diff)
	}
	two.Hostname(77)
	update(t, two, pbInstance, "instance_id", 3, "running", true) // before the other one has ended: of the dump that follows

	update(t, one, pbHost, "host_id", 3, "name", "c", "enabled", true)
	update(t, one, pbService, "host_id", 1, "service_id", 2, "enabled", false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Refresh(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uint64]string{1: "a", 2: "", 3: "c"}, names()); diff != "" {
		t.Errorf("names after the refresh: %s", diff)
	}
	if s := two.Stats(); s.Misses != 1 || s.Hosts != 2 {
		t.Errorf("figures %+v", s)
	}
	update(t, two, pbHost, "host_id", 3, "name", "c", "enabled", true)
	update(t, two, pbInstanceConfiguration, "poller_id", 3, "loaded", true)
	if _, ok := two.Hostname(1); ok {
		t.Error("what was deleted is not forgotten after a refresh")
	}
	if diff := cmp.Diff(map[uint64]string{1: ""}, names()); diff != "" {
		t.Errorf("names at the end: %s", diff)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
