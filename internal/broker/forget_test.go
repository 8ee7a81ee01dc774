package broker

import (
	"path/filepath"
	"testing"

	"github.com/weirhq/weir/internal/event"
)

func TestForgetDeleted(t *testing.T) {
	generations(t, func(t *testing.T, legacy bool) {
		path := filepath.Join(t.TempDir(), "cache")
		open := func() (*Cache, *File) {
			c := newCache(t)
			f, err := OpenFile(path, c, c.log)
			if err != nil {
				t.Fatal(err)
			}
			return c, f
		}
		c, f := open()
		c.ForgetDeleted()
		send := func(poller int, typ event.Type, members ...any) {
			e := makeEvent(t, typ, members...)
			e.Source = uint32(poller)
			c.Update(e)
		}
		instance := func(poller int, running bool) {
			send(poller, of(legacy, legacyInstance, pbInstance), "instance_id", poller, "name", "p", "running", running)
		}
		loaded := func(poller int, yes bool) {
			send(poller, of(legacy, legacyInstanceConfiguration, pbInstanceConfiguration), "poller_id", poller, "loaded", yes)
		}
		host := func(poller, id int) {
			send(poller, of(legacy, legacyHost, pbHost), "host_id", id, "name", "h", "enabled", true, "instance_id", poller)
		}
		service := func(poller, id, service int) {
			send(poller, of(legacy, legacyService, pbService), "host_id", id, "service_id", service, "description", "s", "enabled", true)
		}
		check := func(what string, hosts, services int) {
			t.Helper()
			if s := c.Stats(); s.Hosts != hosts || s.Services != services {
				t.Errorf("%s: %d hosts and %d services, want %d and %d", what, s.Hosts, s.Services, hosts, services)
			}
		}
		all := func() {
			for id := 1; id <= 3; id++ {
				host(3, id)
				service(3, id, 10+id)
			}
		}
		instance(3, true)
		all()
		loaded(3, true)
		host(4, 7)
		service(4, 7, 1)
		check("first", 4, 4)

		instance(3, true)
		host(3, 1)
		service(3, 1, 11)
		check("in the middle", 4, 4)
		loaded(3, false)
		check("not loaded", 4, 4)
		loaded(4, true)
		check("another poller", 4, 4)
		loaded(3, true)
		check("loaded", 2, 2)
		if _, ok := c.Hostname(2); ok || c.Service(3, 13) != nil {
			t.Error("what was deleted is still there")
		}
		if _, ok := c.ServiceDescription(7, 1); !ok {
			t.Error("a service of another poller is gone")
		}
		loaded(3, true) // without a start: nothing
		check("again", 2, 2)
		instance(3, false)
		loaded(3, true)
		check("stopped", 2, 2)

		// What is forgotten stays so after a crash, and a restart in the middle forgets nothing.
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		c, _ = open()
		check("after a crash", 2, 2)
		c.ForgetDeleted()
		loaded(3, true)
		check("the start was not seen", 2, 2)

		c, f = open()
		instance(3, true)
		loaded(3, true)
		check("not asked for", 2, 2)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}
