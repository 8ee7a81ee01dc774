package broker

import "github.com/weirhq/weir/internal/event"

// ForgetDeleted makes the cache forget the hosts and services of a poller that
// it did not send again between the start of its engine and the end of its
// configuration (6.2): they were deleted. Without it they stay until the poller
// says that they are disabled. It is called after Load.
func (c *Cache) ForgetDeleted() { c.rounds = make(map[uint32]uint32) }

// started notes that the engine of a poller has started: it sends everything anew.
func (c *Cache) started(poller uint32) {
	if c.rounds != nil {
		c.round++
		c.rounds[poller] = c.round
	}
}

// loaded forgets what a poller did not send since it has started.
func (c *Cache) loaded(poller uint32) {
	round := c.rounds[poller]
	if round == 0 { // its start was not seen
		return
	}
	delete(c.rounds, poller)
	forgotten := 0
	gone := func(o *object) bool { return o.source == poller && o.round < round }
	for id, o := range c.services {
		if gone(o) {
			c.Update(newRecord(pbService, "host_id", id.host, "service_id", id.service, "enabled", false).Encode())
			forgotten++
		}
	}
	for id, o := range c.hosts {
		if gone(o) {
			c.Update(newRecord(pbHost, "host_id", id, "enabled", false).Encode())
			forgotten++
		}
	}
	if forgotten > 0 {
		c.log.Warn("hosts and services that are not in the configuration of their poller any more are forgotten", "poller", poller, "objects", forgotten)
	}
}

// turn applies the events that begin and end a configuration.
func (c *Cache) turn(r *event.Record) {
	switch r.Descriptor.Type {
	case pbInstance:
		if r.Get("running").Bool() {
			c.started(uint32(r.Get("instance_id").Int()))
		}
	case pbInstanceConfiguration:
		if r.Get("loaded").Bool() {
			c.loaded(uint32(r.Get("poller_id").Int()))
		}
	}
}
