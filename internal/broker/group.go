package broker

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/weirhq/weir/internal/event"
)

// groups are host groups or service groups by number.
type groups map[uint64]*group

type group struct {
	name, alias string
	pollers     []uint64 // that have the group enabled, ascending
}

// update applies a group event. A group exists while at least one poller has it
// enabled.
func (m groups) update(c *Cache, id uint64, r *event.Record) bool {
	poller := uint64(r.Get("poller_id").Int())
	g := m[id]
	if !r.Get("enabled").Bool() {
		if g == nil {
			return false
		}
		i, found := slices.BinarySearch(g.pollers, poller)
		if found {
			g.pollers = slices.Delete(g.pollers, i, i+1)
		}
		if len(g.pollers) == 0 {
			delete(m, id)
		}
		return true
	}
	name := c.intern(r.Get("name").Text())
	if g == nil {
		g = &group{name: name, alias: string(r.Get("alias").Text())}
		m[id] = g
	}
	renamed := g.name != name
	g.name = name
	i, found := slices.BinarySearch(g.pollers, poller)
	if !found {
		g.pollers = slices.Insert(g.pollers, i, poller)
	}
	return renamed || !found
}

// Group is a group a host or service belongs to, with the name its membership
// came with.
type Group struct {
	ID   uint64
	Name string
}

// members are the groups of hosts (service 0) or services, ascending by number.
type members map[pair][]Group

func (m members) update(c *Cache, of pair, id uint64, r *event.Record) bool {
	list := m[of]
	i, found := slices.BinarySearchFunc(list, id, func(g Group, id uint64) int {
		if g.ID < id {
			return -1
		} else if g.ID > id {
			return 1
		}
		return 0
	})
	if !r.Get("enabled").Bool() {
		if !found {
			return false
		}
		list = slices.Delete(list, i, i+1)
		if len(list) == 0 {
			delete(m, of)
		} else {
			m[of] = list
		}
		return true
	}
	name := c.intern(r.Get("name").Text())
	if found {
		changed := list[i].Name != name
		list[i].Name = name
		return changed
	}
	m[of] = slices.Insert(list, i, Group{ID: id, Name: name})
	return true
}

// intern returns one string for equal names, since every member of a group
// carries the group's.
func (c *Cache) intern(name []byte) string {
	if s, ok := c.names[string(name)]; ok {
		return s
	}
	s := string(name)
	c.names[s] = s
	return s
}

// customVariable keeps the severity of a host or service.
func (c *Cache) customVariable(r *event.Record) bool {
	if string(r.Get("name").Text()) != "CRITICALITY_LEVEL" {
		return false
	}
	of := pair{uint64(r.Get("host_id").Int()), uint64(r.Get("service_id").Int())}
	text := string(bytes.TrimSpace(r.Get("value").Text()))
	level, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		c.log.Error("cannot use custom variable CRITICALITY_LEVEL: its value is not a 32-bit integer", "value", text, "host", of.host, "service", of.service)
		return false
	}
	if level == 0 {
		return false
	}
	return replace(c.severities, of, int32(level))
}

// keep stores a copy of an event under a number.
func keep(m map[uint64]event.Event, id uint64, e *event.Event) bool {
	if old, ok := m[id]; ok && old.Type == e.Type && bytes.Equal(old.Payload, e.Payload) {
		return false
	}
	kept := *e
	kept.Payload = slices.Clone(e.Payload)
	m[id] = kept
	return true
}

// relate adds a business view to those of a business activity.
func (c *Cache) relate(ba, bv uint64) bool {
	i, found := slices.BinarySearch(c.relations[ba], bv)
	if !found {
		c.relations[ba] = slices.Insert(c.relations[ba], i, bv)
	}
	return !found
}
